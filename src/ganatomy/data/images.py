"""An image at each of its stages: a file's header and pixels, stored values, and what a model sees of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError

Pixels = NDArray[Any]

MAX_BYTES = 3 * 2**29  # of a file's pixels, as stored and as float32: a broken header must not exhaust the memory
LONGEST_SIDE = 2**15  # pixels; a picture that claims more is not read
COLOUR_DIFFERENCE, COLOUR_SHARE = 16, 0.01  # of 255, of the pixels: channels that differ more are truly colour


class Unreadable(Exception):
    """A file that cannot be used; the message is the reason, in plain words."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a file without decoding its pixels.

    Attributes:
        shape: of the pixels without channels: [i, j, k] voxels where there is an affine, else [slices, h, w].
        dtype: of the values that `read` gives.
        channels: 1 or 3.
        affine: 4x4, voxel indices to mm (right, anterior, superior); None where the file has no geometry.
        volumetric: several slices in one file; False for single pictures.
        lossy: compressed as JPEG does it, so that values are only about right.
        oriented: the file itself says how the patient lies; otherwise the affine's directions are assumed.
        modality: as DICOM calls it (CT, MR, DX, US, ...), "" where the file does not say.
        body: what a DICOM file says of the part of the body, in free text.
        spacing: mm per pixel (y, x) of a picture without an affine, None where unknown.
        starts: where the first voxel of each slice along k truly lies, mm (right, anterior, superior); () where the
            affine says it, that is, where the slices are evenly spaced.
        along_last: the slices are those along the last axis of an array, which its shape alone tells.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    channels: int = 1
    affine: NDArray[np.float64] | None = None
    volumetric: bool = False
    lossy: bool = False
    oriented: bool = False
    modality: str = ""
    body: str = ""
    spacing: tuple[float, float] | None = None
    starts: tuple[tuple[float, float, float], ...] = ()
    along_last: bool = False

    @property
    def eight_bit(self) -> bool:
        """Whether the values are plain bytes."""
        return self.dtype == np.uint8


def check_size(shape: tuple[int, ...], itemsize: int = 2) -> None:
    """Raise `Unreadable` for an empty or absurdly large shape of values that are stored in `itemsize` bytes."""
    if not shape or min(shape) < 1:
        raise Unreadable(f"holds no pixels (its shape is {shape})")
    voxels = math.prod(map(int, shape))
    most = MAX_BYTES // (itemsize + 4)
    if voxels > most:
        raise Unreadable(f"claims {voxels:,} pixels; more than {most:,} are not read at once; cut it into parts")


def check_finite(pixels: Pixels) -> Pixels:
    """`pixels`, or `Unreadable` if NaN or infinite values are among them."""
    if pixels.dtype.kind == "f":
        bad = pixels.size - int(np.isfinite(pixels).sum())
        if bad:
            raise Unreadable(f"holds {bad:,} values that are NaN or infinite")
    return pixels


def check_affine(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """`affine`, 4x4 of voxels to mm, or `Unreadable` if it places nothing."""
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise Unreadable("its affine (voxels to mm) is singular; orientation and pixel size are unknown")
    return affine


def simple_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype kept for a file's values: uint8, uint16 and int16 as they are, others float32; `Unreadable` if none."""
    if dtype.kind not in "buif":
        raise Unreadable(f"its values are of the kind {dtype}, not plain numbers")
    native = dtype.newbyteorder("=")
    return native if native in (np.uint8, np.uint16, np.int16) else np.dtype(np.float32)


def is_coloured(pictures: Pixels) -> bool:
    """Whether pictures [..., 3] are truly colour: their channels differ clearly in more than 1% of the pixels."""
    spread = pictures.max(-1).astype(np.float32) - pictures.min(-1)
    limit = COLOUR_DIFFERENCE if pictures.dtype == np.uint8 else COLOUR_DIFFERENCE / 255 * float(pictures.max() or 1)
    return bool((spread > limit).mean() > COLOUR_SHARE)


def luma(pictures: Pixels) -> Pixels:
    """Pictures [..., 3] in grey [...], in their own dtype: ITU-R BT.601."""
    grey = pictures.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.rint(grey).astype(pictures.dtype) if pictures.dtype.kind in "ui" else grey.astype(pictures.dtype)


def normalise(pixels: Pixels, value_range: tuple[float, float]) -> NDArray[np.float32]:
    """Stored values [n, h, w(, c)] to float32 [n, c, h, w]; the ends of `value_range` become -1 and 1."""
    low, high = value_range
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    images = np.moveaxis(pixels, -1, 1).astype(np.float32)
    images -= low
    images *= 2.0 / (high - low)
    images -= 1.0
    return np.ascontiguousarray(images)


def denormalise(images: NDArray[np.float32], value_range: tuple[float, float], dtype: np.dtype[Any]) -> Pixels:
    """The inverse of `normalise`: float32 [n, c, h, w] in [-1, 1] to stored values [n, h, w(, c)], rounded, clipped."""
    low, high = value_range
    values = (np.clip(images, -1.0, 1.0) + 1.0) * np.float32((high - low) / 2.0) + np.float32(low)
    if np.issubdtype(dtype, np.integer):
        values = np.rint(values)
    values = np.moveaxis(values.astype(dtype), 1, -1)
    return values[..., 0] if values.shape[-1] == 1 else values


def shrink(images: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Images [n, c, h, w] to [n, c, size, size] by averaging whole blocks of pixels; see `shrink_factor`."""
    factor = shrink_factor((images.shape[-2], images.shape[-1]), size)
    return images if factor == 1 else averaged(images, factor)


def averaged(images: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Means over blocks of factor x factor pixels of the last two axes; what is left at the right and below is cut."""
    h, w = images.shape[-2] // factor, images.shape[-1] // factor
    whole = images[..., :h * factor, :w * factor]
    return np.asarray(whole.reshape(*images.shape[:-2], h, factor, w, factor).mean((-3, -1)), np.float32)


def shrink_factor(size: tuple[int, int], wanted: int) -> int:
    """How many pixels along each side become one; raises `UserError` unless that is a whole number."""
    h, w = size
    if h != w or h % wanted:
        raise UserError(f"images of {h}x{w} pixels cannot be averaged down to {wanted}x{wanted}",
                        fix=f"prepare the dataset with --size {wanted}, or train with --set size={h}")
    return h // wanted
