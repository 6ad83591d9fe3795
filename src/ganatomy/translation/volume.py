"""One volume in the other contrast: as `prepare` would have it, slice by slice through the model, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.core.text import Say
from ganatomy.data.contrast import named_otherwise, objection
from ganatomy.data.geometry import Frame, View, acquired, choose_slices, orientation, planes, restore, shown_along, view
from ganatomy.data.images import Header, Pixels, is_coloured, luma, normalise, shrink
from ganatomy.data.intensity import Levels, Mapping, mapping, measure
from ganatomy.data.manifest import evenly
from ganatomy.generators.sampler import TRANSLATED, Sampler
from ganatomy.metrics.translation.paired import LOWEST, background, foreground
from ganatomy.translation.conversion import Conversion

SAMPLE = 32  # slices by which a volume's contrast is judged
STRAYED = 0.01  # of values that are kept as they are, at most this share may lie beyond the training data's
THICK = 2.0  # pictures whose pixels are this much longer than wide are cut across thick slices
OTHER_PIXELS = 0.1  # pixel sizes that differ by more than this share are told
RIM = 3  # the model's pixels around the patient in which tissue may appear that is dark in one contrast only
BACKGROUND = -1.0  # what the model makes of nothing


def translate_volume(pixels: Pixels, header: Header, translator: Sampler, conversion: Conversion, *,
                     name: str = "the volume", seed: int = 0, force: bool = False,
                     say: Say = lambda text: None) -> NDArray[Any]:
    """A volume in the target's contrast and units, on its own grid.

    Needs memory for both volumes and a few slices, and for a copy of the volume while its values are measured.

    Args:
        pixels: as the readers give them: [i, j, k] where the header has an affine, else [slices, h, w(, 3)].
        translator: what translates images.
        name: of the file, for messages.
        force: translate it although it does not look like the source domain.

    Returns:
        Values of the shape of `pixels` (its colours are those of the model) in `conversion.about.units`, of
        `conversion.values_dtype`. What lies outside of the frame or in the air around the patient, and slices without
        anything in them, have the target's lowest value.

    Raises:
        UserError: the volume cannot be translated, and why.
    """
    volume = _prepared(pixels, header, conversion, translator.channels, name, say)
    _check_contrast(volume, translator.channels, name, force, say)
    colours = (3,) if translator.channels == 3 else ()
    out = np.empty((*header.shape, *colours), conversion.values_dtype)
    out[...] = conversion.physical(np.full(1, BACKGROUND, np.float32))[0]
    pictures = planes(out, header, conversion.grid.axis)  # a view: what is written there lands in the voxels
    filled = volume.filled
    for first in range(0, len(filled), TRANSLATED):
        numbers = filled[first:first + TRANSLATED]
        for number, image in zip(numbers, _translated(volume, numbers, translator, seed), strict=True):
            values = conversion.physical(image)
            pictures[number] = np.moveaxis(values, 0, -1) if colours else values[0]
    return out


def _translated(volume: Prepared, numbers: list[int], translator: Sampler, seed: int) -> NDArray[np.float32]:
    """Slices [n, c, h, w] in [-1, 1] in the other contrast, on the pictures' own grid.

    What a model makes of the air more than `RIM` pixels around the patient, most of all near the ends of the body, is
    no picture of anything and becomes background, but in images that have no background or a bright one.
    """
    from scipy.ndimage import binary_dilation

    images = volume.images(numbers, translator.channels)
    translated = translator.translate(images, seed=seed, backward=volume.conversion.backward)
    if not np.isfinite(translated).all():
        raise UserError("the model makes values that are not finite", where="weights", fix="train it again")
    patient = np.stack([binary_dilation(mask, iterations=RIM) for mask in foreground(images, images)])
    dark = background(images) == LOWEST
    translated = np.where(patient[:, None] | ~dark[:, None, None, None], translated, np.float32(BACKGROUND))
    shape = (volume.view.height, volume.view.width)
    return restore(translated, shape, volume.frame, volume.view.spacing, BACKGROUND, (-1.0, 1.0))


def _check_contrast(volume: Prepared, channels: int, name: str, force: bool, say: Say) -> None:
    """Refuse a volume that is plainly not of the source's contrast, by its name or its looks; warn with `force`."""
    conversion, source, target = volume.conversion, volume.conversion.about.source, volume.conversion.about.target
    if not volume.sample:
        return
    reason = named_otherwise(name, source)
    if not reason and not conversion.contrasts:
        say(f"warning: {name}: this model does not say what its contrasts look like, so nothing tells whether this is "
            f"{source}")
        return
    reason = reason or objection(volume.images(volume.sample, channels), source, conversion.contrasts)
    if reason and not force:
        turned = f"choose --direction {target}:{source} if it is {target}, or " if conversion.two_way else ""
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
    conversion: Conversion

    def images(self, numbers: list[int], channels: int) -> NDArray[np.float32]:
        """Slices as the model sees them: [n, c, s, s] in [-1, 1]."""
        stored = []
        for n in numbers:
            picture = self.levels.without_padding(_to_channels(self.pictures[n], channels))
            stored.append(self.mapping.encode(self.frame.apply(picture, self.view.spacing, self.background)))
        images = shrink(normalise(np.stack(stored), self.conversion.ends), self.conversion.size)
        return np.clip(images, -1.0, 1.0, out=images)

    @property
    def filled(self) -> list[int]:
        """Slices that show anything; `prepare` leaves empty ones out, so that no model has seen any."""
        return [n for n, share in enumerate(self.foreground) if share > 0]

    @property
    def sample(self) -> list[int]:
        """Some of the slices that `prepare` would keep, evenly from all of them."""
        return evenly(choose_slices(range(len(self.pictures)), "content", self.foreground), SAMPLE)


def _prepared(pixels: Pixels, header: Header, conversion: Conversion, channels: int, name: str, say: Say) -> Prepared:
    """A volume with its values measured as `prepare` does, after checks; see `translate_volume`."""
    shown = _view(header, conversion, name)
    for oddity in _oddities(header, shown, conversion):
        say(f"warning: {name}: {oddity}")
    pictures = planes(pixels, header, conversion.grid.axis)
    if channels == 3 and header.affine is not None:
        raise UserError("is a volume of one value a voxel, and the model makes colour pictures", where=name,
                        fix="give colour pictures, or use a model of grey images")
    if channels == 1 and pictures.ndim == 4 and any(is_coloured(picture) for picture in pictures):
        raise UserError("is in colour, and the model was trained on grey images", where=name,
                        fix="save it in grey, or train a model on colour pictures")
    slices = [_to_channels(picture, channels) for picture in pictures] if pictures.ndim == 4 else list(pictures)
    levels = measure(slices, conversion.grid.background, conversion.how)
    if levels.constant:
        raise UserError(f"is empty: every value is {levels.lowest:g}", where=name,
                        fix="give a volume that shows something")
    _refuse_strange(slices, levels, conversion, name)
    shares = np.array([levels.foreground(picture).mean() for picture in slices])
    background = levels.background if conversion.grid.background is None else conversion.grid.background
    encoding = mapping(conversion.how, levels, conversion.dtype)
    return Prepared(pictures, shown, conversion.frame(shown), levels, encoding, background,
                    tuple((shares / (shares.max() or 1.0)).tolist()), conversion)


def _to_channels(picture: Pixels, channels: int) -> Pixels:
    """A picture [h, w] or [h, w, 3] in the model's channels."""
    if channels == 3:
        return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, -1)
    return picture if picture.ndim == 2 else luma(picture)


def _view(header: Header, conversion: Conversion, name: str) -> View:
    """The volume's slices along the model's axis. Raises `UserError` where there are none."""
    if header.affine is not None and not np.isfinite(orientation(header.affine)).all():
        raise UserError("its affine (voxels to mm) is almost singular, so its directions are unknown", where=name,
                        fix="export it again")
    axis, own, why = conversion.grid.axis, acquired(header), ""
    if header.affine is None and header.volumetric and axis != "axial":
        why = "does not say how the patient lies"
    elif header.starts and own != axis:
        why = "its slices are unevenly spaced"
    elif (plane := shown_along(header, axis)) != axis:
        own, why = plane, f"is a single {plane} slice"
    elif header.affine is not None and min(view(header, axis).height, view(header, axis).width) < 2:
        why = "is one voxel wide"
    if why:
        raise UserError(f"{why}, so there are no {axis} slices of it, which the model translates", where=name,
                        fix=f"give another volume, or use a model that was trained on {own or 'axial'} slices")
    return view(header, axis)


def _oddities(header: Header, shown: View, conversion: Conversion) -> Iterator[str]:
    """What of a volume differs from the training data in a conversion that the user may not expect."""
    grid, spacing, trained, own = conversion.grid, shown.spacing, conversion.spacing, acquired(header)
    if own not in (None, grid.axis) and spacing is not None and max(spacing) > THICK * min(spacing):
        yield f"its slices are {own} and thick; the model translates {grid.axis} ones, cut across them"
    if header.along_last:
        yield "is sliced along its last axis, the odd one by its shape"
    if header.affine is not None and not header.oriented:
        yield "does not say how the patient lies; left and right are taken as its affine has them"
    if spacing is None and grid.mm is not None:
        yield "does not say how large a pixel is; " + (
            "it is scaled until it fits" if grid.fit == "resize" else f"{grid.mm:.3g} mm are assumed")
    elif spacing is not None and grid.mm is None and grid.fit == "resize":
        yield "the model was trained on pictures without a pixel size; slices are scaled to fit"
    elif spacing is not None and grid.mm is None and trained is not None and any(
            abs(mine / theirs - 1) > OTHER_PIXELS for mine, theirs in zip(spacing, trained, strict=True)):
        yield (f"its pixels are {spacing[0]:.3g} x {spacing[1]:.3g} mm, those of the training data {trained[0]:.3g} x "
               f"{trained[1]:.3g}; they are taken one for one (--fit {grid.fit})")


def _refuse_strange(slices: list[Pixels], levels: Levels, conversion: Conversion, name: str) -> None:
    """Where values are kept as they are, a file of another range is not of the training data's kind."""
    low, high = conversion.ends
    if conversion.how.method != "identity" or (low <= levels.lowest and levels.highest <= high):
        return
    if np.mean([((picture < low) | (picture > high)).mean() for picture in slices]) > STRAYED:
        raise UserError(f"its values run from {levels.lowest:g} to {levels.highest:g}, and the model was trained on "
                        f"values from {low:g} to {high:g}, kept as they are", where=name,
                        fix="bring it to the range of the training data first")
