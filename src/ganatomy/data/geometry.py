"""From voxels to square pictures and back: canonical planes, slice choice, and resampling to one pixel size.

Pictures are in radiological convention, from the NIfTI affine (x to the patient's right, y to the front, z up):

    axial      front at the top, the patient's left on the right of the picture; slices count from the feet up
    coronal    head at the top, the patient's left on the right; slices count from the back to the front
    sagittal   head at the top, front at the left; slices count from the patient's left to the right

Oblique volumes are turned to the nearest of these planes, not resampled. `planes` gives a view, so that what is written
into the planes of an empty volume lands in its voxels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.data.images import Header, Pixels

Axis = Literal["axial", "coronal", "sagittal"]
Fit = Literal["resize", "crop", "pad"]
Spacing = tuple[float, float]

NORMAL: dict[Axis, int] = {"axial": 2, "coronal": 1, "sagittal": 0}
MAX_SIZE = 1024  # pixels along a side of a stored image
CONTENT = 0.4  # of the largest slice's foreground: a slice with as much has content
EPS = 1e-6  # source pixels: what lies this close to the frame's edge lies on it
_Weights = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class View:
    """A file seen along an axis: number of slices, height and width in pixels, mm per pixel (y, x) if known."""

    slices: int
    height: int
    width: int
    spacing: Spacing | None


def orientation(affine: NDArray[np.float64]) -> NDArray[Any]:
    """Of each voxel axis the nearest axis of the patient, and whether it runs against it: [3, 2], as nibabel has it."""
    import nibabel

    return np.asarray(nibabel.orientations.io_orientation(affine))


def view(header: Header, axis: Axis) -> View:
    """What `planes` will give for a file, from its header alone."""
    if header.affine is None:
        return View(*header.shape, spacing=header.spacing)
    shape, sizes = canonical_shape(header), canonical_spacing(header)
    normal = NORMAL[shown_along(header, axis)]
    across, down = [i for i in range(3) if i != normal]
    return View(shape[normal], shape[down], shape[across], (sizes[down], sizes[across]))


def shown_along(header: Header, axis: Axis) -> Axis:
    """The axis along which a file is seen where `axis` is asked for: a single plane is seen as the picture that it is,
    never cut across into strips."""
    if header.affine is None:
        return axis
    shape = canonical_shape(header)
    thin = [name for name, number in NORMAL.items() if shape[number] < 2]
    return thin[0] if len(thin) == 1 else axis


def acquired(header: Header) -> Axis | None:
    """The axis along which a volume's own slices lie, as far as DICOM and most of NIfTI keep them last; else None."""
    if header.affine is None:
        return None
    normal = int(orientation(header.affine)[2, 0])
    return next(axis for axis, number in NORMAL.items() if number == normal)


def planes(pixels: Pixels, header: Header, axis: Axis) -> Pixels:
    """Pictures [slices, h, w(, 3)] of a file along an axis; files without geometry as they are.

    Args:
        pixels: [i, j, k] in file order where the header has an affine, else [slices, h, w(, 3)].
        header: of that file.
        axis: which planes; see the module's head for the directions. Of a single plane that one, see `shown_along`.
    """
    if header.affine is None:
        return pixels
    normal = NORMAL[shown_along(header, axis)]
    across, down = [i for i in range(3) if i != normal]
    return np.transpose(canonical(pixels, header), (normal, down, across))[:, ::-1, ::-1]


def canonical(pixels: Pixels, header: Header) -> Pixels:
    """Voxels [i, j, k] turned so that their axes run about to the patient's right, front and head."""
    import nibabel

    return np.asarray(nibabel.orientations.apply_orientation(pixels, orientation(_affine(header))))


def canonical_spacing(header: Header) -> tuple[float, float, float]:
    """mm between voxels along the axes of `canonical`."""
    affine = _affine(header)
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(0))
    x, y, z = sizes[np.argsort(orientation(affine)[:, 0])]
    return float(x), float(y), float(z)


def canonical_affine(header: Header) -> NDArray[np.float64]:
    """4x4: voxel indices of `canonical` to mm."""
    import nibabel

    affine = _affine(header)
    return np.asarray(affine @ nibabel.orientations.inv_ornt_aff(orientation(affine), header.shape))


def canonical_shape(header: Header) -> tuple[int, int, int]:
    """Numbers of voxels along the axes of `canonical`."""
    x, y, z = (header.shape[int(i)] for i in np.argsort(orientation(_affine(header))[:, 0]))
    return x, y, z


def _affine(header: Header) -> NDArray[np.float64]:
    assert header.affine is not None
    return header.affine


def parse_slices(text: str) -> slice | None:
    """"a:b" or "a:b:step" (b not included) as a slice; None for "all" and "content"; else `UserError`."""
    if text in ("all", "content"):
        return None
    match = re.fullmatch(r"(\d{0,9}):(\d{0,9})(?::([1-9]\d{0,8}))?", str(text).strip())
    if match is None:
        raise UserError(f"{str(text)[:40]!r} is no choice of slices", where="--slices",
                        fix="use content, all or 60:120:2")
    start, stop, step = (int(part) if part else None for part in match.groups())
    return slice(start or 0, stop, step or 1)


def choose_slices(available: Sequence[int], chosen: str, content: Sequence[float] | None = None) -> list[int]:
    """Which of the available slice numbers are kept.

    Args:
        available: slice numbers, ascending.
        chosen: as for `parse_slices`.
        content: foreground share of each, relative to the largest; None where every picture counts.
    """
    span = parse_slices(chosen)
    if span is not None:
        stop = max(available, default=0) + 1 if span.stop is None else span.stop
        wanted = range(span.start, stop, span.step)
        return [number for number in available if number in wanted]
    if chosen == "all" or content is None:
        return list(available)
    return [number for number, share in zip(available, content, strict=True) if share >= CONTENT and share > 0]


@dataclass(frozen=True, slots=True)
class Frame:
    """How pictures are brought to size x size.

    Attributes:
        size: height and width, pixels.
        mm: mm per pixel for every picture of known spacing; None where each keeps its own finer pixel size.
        fit: resize scales a picture of unknown spacing until it fits; crop and pad leave its pixels alone.
    """

    size: int
    mm: float | None
    fit: Fit

    def steps(self, height: int, width: int, spacing: Spacing | None) -> tuple[float, float]:
        """Source pixels per stored pixel, y and x, of a picture of this shape."""
        stored = self.spacing(spacing)
        if spacing is not None and stored is not None:
            return stored[0] / spacing[0], stored[1] / spacing[1]
        step = max(height, width) / self.size if self.fit == "resize" else 1.0
        return step, step

    def spacing(self, spacing: Spacing | None) -> Spacing | None:
        """mm per stored pixel, y and x."""
        if spacing is None:
            return None
        mm = self.mm if self.mm is not None else min(spacing)
        return mm, mm

    def apply(self, picture: Pixels, spacing: Spacing | None, background: float) -> NDArray[np.float32]:
        """Resample a picture [h, w(, 3)] about its centre to float32 [size, size(, 3)], `background` around it."""
        down, across = self._weights(picture.shape[0], picture.shape[1], spacing)
        if picture.ndim == 2:
            return _weigh(picture, down, across, background)
        return np.stack([_weigh(picture[..., c], down, across, background) for c in range(picture.shape[2])], -1)

    def apply_mask(self, mask: NDArray[np.uint8], spacing: Spacing | None) -> NDArray[np.uint8]:
        """Resample a mask [h, w]: every stored pixel takes the value that covers most of it."""
        down, across = self._weights(mask.shape[0], mask.shape[1], spacing)
        values = np.unique(mask[mask > 0])
        best = np.full((self.size, self.size), 0.5, dtype=np.float32)
        out = np.zeros((self.size, self.size), dtype=np.uint8)
        if len(values) > 1:
            best = 1.0 - _weigh(mask > 0, down, across, 0.0)
        for value in values:
            share = _weigh(mask == value, down, across, 0.0)
            out = np.where(share >= best, value, out)
            best = np.maximum(best, share)
        return out.astype(np.uint8)

    def _weights(self, height: int, width: int, spacing: Spacing | None) -> tuple[_Weights, ...]:
        step_y, step_x = self.steps(height, width, spacing)
        return _line_weights(height, self.size, round(step_y, 9)), _line_weights(width, self.size, round(step_x, 9))


def shares(begin: NDArray[np.floating[Any]], end: NDArray[np.floating[Any]], pixels: int) -> NDArray[np.float64]:
    """How much of each of a line's pixels lies between `begin` and `end`, all in pixels: [..., n, pixels], 0 to 1.

    Divided by `end - begin` these are the weights that average over areas, which cannot alias as sampling does.
    """
    edges = np.arange(pixels, dtype=np.float64)
    return np.asarray(np.clip(np.minimum(end[..., None], edges + 1.0) - np.maximum(begin[..., None], edges), 0.0, None))


def _weigh(picture: Pixels, down: _Weights, across: _Weights, background: float) -> NDArray[np.float32]:
    values = picture.astype(np.float32) - np.float32(background)
    return np.asarray(down @ values @ across.T + np.float32(background))


def line_start(source: int, target: int, step: float) -> float:
    """Where the first stored pixel of a line begins, in source pixels from the line's edge."""
    start = (source - target * step) / 2.0
    # whole pixels stay whole instead of being blurred by half a pixel
    return float(np.floor(start)) if abs(step - round(step)) < 1e-6 else start


@lru_cache(maxsize=256)
def _line_weights(source: int, target: int, step: float) -> NDArray[np.float32]:
    """Weights [target, source] that resample a line about its centre, `step` source pixels to a stored one.

    Where the step is 1 or more: the exact share that each source pixel has in the stored one. Below: linear
    interpolation. Rows sum to less than 1 at and beyond the border.
    """
    start = line_start(source, target, step)
    low = start + step * np.arange(target, dtype=np.float64)
    if step >= 1.0:
        return np.asarray(shares(low, low + step, source) / step, dtype=np.float32)
    centre = low[:, None] + step / 2.0 - 0.5
    edges = np.arange(source, dtype=np.float64)
    inside = (centre > -0.5 - 1e-9) & (centre < source - 0.5 + 1e-9)
    weights = np.clip(1.0 - np.abs(np.clip(centre, 0, source - 1) - edges), 0.0, None)
    return np.asarray(weights * inside, dtype=np.float32)


def common_frame(views: Sequence[View], size: int, fit: Fit, spacing: float | None) -> Frame:
    """One frame for a whole cohort.

    With fit="resize" the largest field of view, in mm, just fits; `spacing` is the stored pixel's size in mm for
    crop and pad.

    Raises:
        UserError: spacing together with resize or for files that have none; fit="pad" and an image that is larger.
    """
    sized = [(v.height * v.spacing[0], v.width * v.spacing[1]) for v in views if v.spacing is not None]
    if spacing is not None and fit == "resize":
        raise UserError("a pixel size cannot be kept while resizing", where="--spacing", fix="add --fit crop or pad")
    if spacing is not None and not sized:
        raise UserError("these images do not say how large a pixel is", where="--spacing", fix="leave it out")
    if fit == "resize":
        largest = max((side for pair in sized for side in pair), default=0.0)
        return Frame(size, largest / size if sized else None, fit)
    frame = Frame(size, spacing, fit)
    needed = max(extent(frame, v) for v in views)
    if fit == "pad" and needed > size:
        enough = -(-needed // 16) * 16
        larger = f"--size {enough}, " if enough <= MAX_SIZE else "a larger --spacing, " if spacing is not None else ""
        raise UserError(f"an image needs {needed} pixels and the size is {size}; padding never cuts", where="--fit pad",
                        fix=f"use {larger}--fit crop or --fit resize")
    return frame


def extent(frame: Frame, shown: View) -> int:
    """The longer side of an image in stored pixels."""
    step_y, step_x = frame.steps(shown.height, shown.width, shown.spacing)
    return int(np.ceil(max(shown.height / step_y, shown.width / step_x) - 1e-6))


def restore(images: NDArray[np.float32], shape: tuple[int, int], frame: Frame, spacing: Spacing | None,
            background: float, ends: tuple[float, float]) -> NDArray[np.float32]:
    """Bring images back to the grid of the pictures that `frame.apply` had.

    Along each side: cubic interpolation (R. Keys 1981, "Cubic Convolution Interpolation for Digital Image Processing",
    eq. 15, a = -1/2) where the images' pixels are as large as the picture's or larger, the exact mean over each of the
    picture's pixels where they are smaller. Where the pixels are the same, values are copied.

    Args:
        images: float32 [n, c, s, s]; s is frame.size or, after averaging blocks of pixels, a whole part of it.
        shape: height and width of the pictures.
        frame: that brought the pictures to these.
        spacing: mm per pixel (y, x) of the pictures; None where it is unknown.
        background: value of what lies outside of the frame.
        ends: interpolation goes beyond the values around edges; it is cut off at these.

    Returns:
        float32 [n, c, h, w].
    """
    factor = frame.size // images.shape[-1]
    (down, rows), (across, columns) = (
        _line(source, frame.size, round(step, 9), factor)
        for source, step in zip(shape, frame.steps(*shape, spacing), strict=True))
    outside = np.float32(1.0) - rows[:, None] * columns[None]
    return np.asarray(np.clip(down @ images @ across.T + outside * np.float32(background), *ends))


@lru_cache(maxsize=64)
def _line(source: int, target: int, step: float, factor: int) -> tuple[_Weights, _Weights]:
    """Weights [source, target / factor] of a line's way back, and how much of each source pixel the frame covers."""
    start, wide = line_start(source, target, step), step * factor
    begin = (np.arange(source, dtype=np.float64) - start) / wide  # of each source pixel, in stored pixels
    if wide >= 1.0 - 1e-9:
        return _cubic(begin + 0.5 / wide - 0.5, target // factor, EPS / wide)
    return _means(begin, begin + 1.0 / wide, target // factor)


def _cubic(centre: NDArray[np.float64], target: int, margin: float) -> tuple[_Weights, _Weights]:
    """Interpolation at centres, in stored pixels; beyond the outermost ones their value is repeated."""
    first = np.floor(centre).astype(np.intp)
    weights = np.zeros((len(centre), target))
    for tap in range(-1, 3):
        place = np.clip(first + tap, 0, target - 1)
        np.add.at(weights, (np.arange(len(centre)), place), _keys(np.abs(centre - first - tap)))
    inside = (centre >= -0.5 - margin) & (centre <= target - 0.5 + margin)
    return np.asarray(weights * inside[:, None], np.float32), inside.astype(np.float32)


def _keys(x: NDArray[np.float64]) -> NDArray[np.float64]:
    near, far = 1 - 2.5 * x**2 + 1.5 * x**3, 2 - 4 * x + 2.5 * x**2 - 0.5 * x**3
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _means(begin: NDArray[np.float64], end: NDArray[np.float64], target: int) -> tuple[_Weights, _Weights]:
    """Means over stored pixels from `begin` to `end`; of source pixels that the frame covers in part, that part's."""
    weights = shares(begin, end, target) / (end - begin)[:, None]
    covered = weights.sum(1)
    covered[covered > 1.0 - EPS] = 1.0
    return np.asarray(weights, np.float32), covered.astype(np.float32)
