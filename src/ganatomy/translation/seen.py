"""A volume as the model sees it: what `prepare` did to the training data, done to one more volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.data.geometry import NORMAL, Frame, View, acquired, choose_slices, orientation, planes, view
from ganatomy.data.images import LONGEST_SIDE, is_coloured, luma, normalise, shrink
from ganatomy.data.intensity import Levels, Mapping, mapping, measure
from ganatomy.data.manifest import evenly
from ganatomy.formats import Header, Pixels
from ganatomy.translation.way import Way

SAMPLE = 32
"""Slices by which a volume's contrast is judged."""
STRAYED = 0.01
"""Of a volume whose values are kept as they are, at most this share may lie beyond the training data's."""
THICK = 2.0
"""Pictures whose pixels are this much longer than wide are cut across thick slices."""


@dataclass(frozen=True)
class Seen:
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
        kept = choose_slices(range(len(self.pictures)), "content", self.foreground)
        return evenly(kept, SAMPLE)


def see(pixels: Pixels, header: Header, way: Way, channels: int, name: str, say: Callable[[str], None]) -> Seen:
    """Check a volume and measure its values, as `prepare` does.

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
    found = _view(header, way, name, say)
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
    return Seen(pictures, found, way.frame(found), levels, mapping(way.how, levels, way.dtype), background,
                tuple(float(share) for share in shares / (shares.max() or 1.0)), way)


def to_channels(picture: Pixels, channels: int) -> Pixels:
    """A picture [h, w] or [h, w, 3] in the model's channels."""
    if channels == 3:
        return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, -1)
    if picture.ndim == 2:
        return picture
    return luma(picture)


def _view(header: Header, way: Way, name: str, say: Callable[[str], None]) -> View:
    axis, own = way.grid.axis, acquired(header) if header.affine is not None else None
    if header.affine is None:
        return _pictures_view(header, way, name, say)
    if not np.isfinite(orientation(header.affine)).all():
        raise UserError("its affine (voxels to mm) is almost singular, so its directions are unknown", where=name,
                        fix="export it again")
    if header.starts and own != axis:
        raise UserError(f"its slices are unevenly spaced, so there are no {axis} slices of it", where=name,
                        fix=f"use a model that was trained on {own} slices")
    found = view(header, axis)
    if min(found.height, found.width) < 2:
        what = f"is a single {own} slice, and the model translates {axis} ones" if own != axis else "is one voxel wide"
        raise UserError(what, where=name, fix=f"use a model that was trained on {own} slices" if own != axis
                        else "give a whole volume")
    if max(found.height, found.width) > LONGEST_SIDE:
        raise UserError(f"claims a side of {max(found.height, found.width):,} pixels", where=name,
                        fix=f"cut it to at most {LONGEST_SIDE:,}")
    if found.spacing is not None and own != axis and max(found.spacing) > THICK * min(found.spacing):
        say(f"warning: {name}: its slices are {own} and thick; the model translates {axis} ones, cut across them")
    if not header.oriented:
        say(f"warning: {name}: does not say how the patient lies; left and right are taken as its affine has them")
    if way.grid.fit != "resize" and way.grid.mm is None and _differs(found.spacing, way.spacing):
        assert way.spacing is not None
        assert found.spacing is not None
        say(f"warning: {name}: its pixels are {found.spacing[0]:.3g} x {found.spacing[1]:.3g} mm, those of the "
            f"training data {way.spacing[0]:.3g} x {way.spacing[1]:.3g}; they are taken one for one (--fit "
            f"{way.grid.fit})")
    if way.grid.fit == "resize" and way.grid.mm is None:
        say(f"warning: {name}: the model was trained on pictures without a pixel size; slices are scaled to fit")
    return found


def _differs(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    """Whether two pixel sizes are known and differ by more than a tenth."""
    return one is not None and other is not None and any(abs(a / b - 1) > 0.1 for a, b in zip(one, other, strict=True))


def _pictures_view(header: Header, way: Way, name: str, say: Callable[[str], None]) -> View:
    axis = way.grid.axis
    if header.volumetric and axis != "axial":
        raise UserError(f"does not say how the patient lies, so there are no {axis} slices of it", where=name,
                        fix=f"give NIfTI or DICOM{', or single pictures' if NORMAL[axis] != 2 else ''}")
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
