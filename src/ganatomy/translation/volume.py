"""One volume in the other contrast: as `prepare` would have it, slice by slice through the model, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.data.contrast import named_otherwise, objection
from ganatomy.data.geometry import Frame, View, acquired, choose_slices, orientation, planes, restore, view
from ganatomy.data.images import LONGEST_SIDE, Header, Pixels, is_coloured, luma, normalise, shrink
from ganatomy.data.intensity import Levels, Mapping, mapping, measure
from ganatomy.data.manifest import evenly
from ganatomy.generators.sampler import TRANSLATED
from ganatomy.metrics.translation.paired import LOWEST, background, foreground
from ganatomy.translation.way import Translator, Way

SAMPLE = 32
"""Slices by which a volume's contrast is judged."""
STRAYED = 0.01
"""Of a volume whose values are kept as they are, at most this share may lie beyond the training data's."""
THICK = 2.0
"""Pictures whose pixels are this much longer than wide are cut across thick slices."""
OTHER_PIXELS = 0.1
"""Pixel sizes that differ by more than this share are told."""
RIM = 3
"""Pixels of the model around the patient in which something may appear: tissue that is dark in one contrast only."""
BACKGROUND = -1.0
"""What the model makes of nothing."""
Say = Callable[[str], None]


def translate_volume(pixels: Pixels, header: Header, translator: Translator, way: Way, *, name: str = "the volume",
                     seed: int = 0, force: bool = False, say: Say = lambda text: None) -> NDArray[Any]:
    """A volume in the target's contrast and units, on its own grid.

    Needs memory for both volumes and a few slices, and for a copy of the volume while its values are measured.

    Args:
        pixels: as the readers give them: [i, j, k] where the header has an affine, else [slices, h, w(, 3)].
        header: of the same file.
        translator: what translates images.
        way: from which domain to which.
        name: of the file, for messages.
        seed: of the model's noise.
        force: translate it although it does not look like the source domain.
        say: called with lines for the user.

    Returns:
        Values of the shape of `pixels` (its colours are those of the model) in `way.units`: int16 for Hounsfield
        units, float32 otherwise, or the stored type where the target's values were kept as they are. What lies outside
        of the frame or in the air around the patient, and slices without anything in them, have the target's lowest
        value.

    Raises:
        UserError: the volume cannot be translated, and why.
    """
    volume = prepared(pixels, header, way, translator.channels, name, say)
    _check_contrast(volume, translator.channels, name, force, say)
    colours = (3,) if translator.channels == 3 else ()
    out = np.empty((*header.shape, *colours), way.values_dtype)
    out[...] = way.physical(np.full(1, BACKGROUND, np.float32))[0]
    pictures = planes(out, header, way.grid.axis)  # a view: what is written there lands in the voxels
    filled = volume.filled
    for first in range(0, len(filled), TRANSLATED):
        numbers = filled[first:first + TRANSLATED]
        for number, image in zip(numbers, _translated(volume, numbers, translator, seed), strict=True):
            values = way.physical(image)
            pictures[number] = np.moveaxis(values, 0, -1) if colours else values[0]
    return out


def _translated(volume: Prepared, numbers: Sequence[int], translator: Translator, seed: int) -> NDArray[np.float32]:
    """Slices [n, c, h, w] in [-1, 1] in the other contrast, on the pictures' own grid."""
    images = volume.images(list(numbers), translator.channels)
    translated = translator.translate(images, seed=seed, backward=volume.way.backward)
    if not np.isfinite(translated).all():
        raise UserError("the model makes values that are not finite", where="weights", fix="train it again")
    dark = background(images) == LOWEST
    translated = np.where(_around(images)[:, None] | ~dark[:, None, None, None], translated, np.float32(BACKGROUND))
    shape = (volume.view.height, volume.view.width)
    return restore(translated, shape, volume.frame, volume.view.spacing, BACKGROUND, (-1.0, 1.0))


def _around(images: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The patient and a few pixels around, [n, h, w]: what a model makes of the air beyond is no picture of anything.

    It matters in slices near the ends of the body, emptier than any of the training. Images without a background, or
    with a bright one, are left alone.
    """
    from scipy.ndimage import binary_dilation

    return np.stack([binary_dilation(mask, iterations=RIM) for mask in foreground(images, images)])


def _check_contrast(volume: Prepared, channels: int, name: str, force: bool, say: Say) -> None:
    numbers, way = volume.sample, volume.way
    if not numbers:
        return
    reason = named_otherwise(name, way.source)
    if not reason and not way.contrasts:
        say(f"warning: {name}: this model does not say what its contrasts look like, so nothing tells whether this is "
            f"{way.source}")
        return
    reason = reason or objection(volume.images(numbers, channels), way.source, way.contrasts)
    if reason and not force:
        turned = f"choose --direction {way.target}:{way.source} if it is {way.target}, or " if way.two_way else ""
        raise UserError(reason, where=name, fix=f"{turned}add --force to translate it nevertheless")
    if reason:
        say(f"warning: {name}: {reason}")


@dataclass(frozen=True)
class Prepared:
    """One volume, ready to be translated.

    Attributes:
        pictures: [slices, h, w] or [slices, h, w, 3], a view of the volume's pixels in the file's values.
        view: their number, sides and pixel size.
        frame: what brings them to the stored size.
        levels, mapping: what their values mean, and how they become stored ones.
        background: around the pictures, in the file's values.
        foreground: share of each slice, relative to the fullest.
    """

    pictures: Pixels
    view: View
    frame: Frame
    levels: Levels
    mapping: Mapping
    background: float
    foreground: tuple[float, ...]
    way: Way

    def images(self, numbers: list[int], channels: int) -> NDArray[np.float32]:
        """Slices as the model sees them: [n, c, s, s] in [-1, 1]."""
        stored = np.stack([self._stored(to_channels(self.pictures[n], channels)) for n in numbers])
        images = shrink(normalise(stored, self.way.ends), self.way.size)
        return np.clip(images, -1.0, 1.0, out=images)

    def _stored(self, picture: Pixels) -> Pixels:
        fitted = self.frame.apply(self.levels.without_padding(picture), self.view.spacing, self.background)
        return self.mapping.encode(fitted)

    @property
    def filled(self) -> list[int]:
        """Slices that show anything; `prepare` leaves empty ones out, so that no model has seen any."""
        return [n for n, share in enumerate(self.foreground) if share > 0]

    @property
    def sample(self) -> list[int]:
        """Some of the slices that `prepare` would keep, evenly from all of them."""
        return evenly(choose_slices(range(len(self.pictures)), "content", self.foreground), SAMPLE)


def prepared(pixels: Pixels, header: Header, way: Way, channels: int, name: str, say: Say) -> Prepared:
    """A volume with its values measured as `prepare` does, after checks.

    Args:
        pixels: as the readers give them.
        header: of the same file.
        way: what the model was trained on.
        channels: of the model.
        name: of the file, for messages.
        say: told what is odd.

    Raises:
        UserError: nothing in it, slices along another axis, colour or values that the model has never seen.
    """
    seen = _view(header, way, name, say)
    pictures = planes(pixels, header, way.grid.axis)
    _refuse_colour(pictures, header, channels, name)
    slices = [to_channels(picture, channels) for picture in pictures] if pictures.ndim == 4 else list(pictures)
    levels = measure(slices, way.grid.background, way.how)
    if levels.constant:
        raise UserError(f"is empty: every value is {levels.lowest:g}", where=name,
                        fix="give a volume that shows something")
    _refuse_strange(slices, levels, way, name)
    shares = np.array([levels.foreground(picture).mean() for picture in slices])
    background = levels.background if way.grid.background is None else way.grid.background
    return Prepared(pictures, seen, way.frame(seen), levels, mapping(way.how, levels, way.dtype), background,
                tuple(float(share) for share in shares / (shares.max() or 1.0)), way)


def to_channels(picture: Pixels, channels: int) -> Pixels:
    """A picture [h, w] or [h, w, 3] in the model's channels."""
    if channels == 3:
        return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, -1)
    return picture if picture.ndim == 2 else luma(picture)


def _view(header: Header, way: Way, name: str, say: Say) -> View:
    """The volume's slices along the model's axis. Raises `UserError` where there are none; tells what is odd."""
    axis = way.grid.axis
    if header.affine is None:
        return _pictures_view(header, way, name, say)
    own = acquired(header)
    trained_so = f"use a model that was trained on {own} slices"
    if not np.isfinite(orientation(header.affine)).all():
        raise UserError("its affine (voxels to mm) is almost singular, so its directions are unknown", where=name,
                        fix="export it again")
    if header.starts and own != axis:
        raise UserError(f"its slices are unevenly spaced, so there are no {axis} slices of it", where=name,
                        fix=trained_so)
    seen = view(header, axis)
    if min(seen.height, seen.width) < 2:
        across = own != axis
        raise UserError(f"is a single {own} slice, and the model translates {axis} ones" if across else
                        "is one voxel wide", where=name, fix=trained_so if across else "give a whole volume")
    if max(seen.height, seen.width) > LONGEST_SIDE:
        raise UserError(f"claims a side of {max(seen.height, seen.width):,} pixels", where=name,
                        fix=f"cut it to at most {LONGEST_SIDE:,}")
    if seen.spacing is not None and own != axis and max(seen.spacing) > THICK * min(seen.spacing):
        say(f"warning: {name}: its slices are {own} and thick; the model translates {axis} ones, cut across them")
    if not header.oriented:
        say(f"warning: {name}: does not say how the patient lies; left and right are taken as its affine has them")
    _tell_size(seen.spacing, way, name, say)
    return seen


def _tell_size(spacing: tuple[float, float] | None, way: Way, name: str, say: Say) -> None:
    """Warn of slices whose pixels a model that keeps no mm shows larger or smaller than those it learnt from."""
    if way.grid.mm is not None:
        return
    if way.grid.fit == "resize":
        say(f"warning: {name}: the model was trained on pictures without a pixel size; slices are scaled to fit")
    elif spacing is not None and way.spacing is not None and any(
            abs(own / trained - 1) > OTHER_PIXELS for own, trained in zip(spacing, way.spacing, strict=True)):
        say(f"warning: {name}: its pixels are {spacing[0]:.3g} x {spacing[1]:.3g} mm, those of the training data "
            f"{way.spacing[0]:.3g} x {way.spacing[1]:.3g}; they are taken one for one (--fit {way.grid.fit})")


def _pictures_view(header: Header, way: Way, name: str, say: Say) -> View:
    axis = way.grid.axis
    if header.volumetric and axis != "axial":
        raise UserError(f"does not say how the patient lies, so there are no {axis} slices of it", where=name,
                        fix="give NIfTI or DICOM, or single pictures")
    if way.grid.mm is not None and header.spacing is None:
        say(f"warning: {name}: does not say how large a pixel is; it is scaled until it fits, while the model was "
            f"trained on pixels of {way.grid.mm:.3g} mm" if way.grid.fit == "resize" else
            f"warning: {name}: does not say how large a pixel is; {way.grid.mm:.3g} mm are assumed")
    return view(header, axis)


def _refuse_colour(pictures: Pixels, header: Header, channels: int, name: str) -> None:
    if channels == 3 and header.affine is not None:
        raise UserError("is a volume of one value a voxel, and the model makes colour pictures", where=name,
                        fix="give colour pictures, or use a model of grey images")
    if channels == 1 and pictures.ndim == 4 and any(is_coloured(picture) for picture in pictures):
        raise UserError("is in colour, and the model was trained on grey images", where=name,
                        fix="save it in grey, or train a model on colour pictures")


def _refuse_strange(slices: list[Pixels], levels: Levels, way: Way, name: str) -> None:
    """Where values are kept as they are, a file of another range is not of the training data's kind."""
    low, high = way.ends
    if way.how.method != "identity" or (low <= levels.lowest and levels.highest <= high):
        return
    beyond = sum(int(((picture < low) | (picture > high)).sum()) for picture in slices)
    if beyond > STRAYED * sum(picture.size for picture in slices):
        raise UserError(f"its values run from {levels.lowest:g} to {levels.highest:g}, and the model was trained on "
                        f"values from {low:g} to {high:g}, kept as they are", where=name,
                        fix="bring it to the range of the training data first")
