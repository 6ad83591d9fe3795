"""What an image file is to all: a header that costs next to nothing, pixels, and the reason why it cannot be used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]

MAX_BYTES = 3 * 2**29
"""Memory that a file's pixels may need, as stored and as float32: a broken header must not exhaust the memory."""

LONGEST_SIDE = 2**15
"""Pixels; a picture that claims more is not read."""
COLOUR_DIFFERENCE, COLOUR_SHARE = 16, 0.01
"""Channels that differ by more than this, of 255, in more than this share of the pixels are truly colour."""


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
        spacing: mm per pixel (y, x) of a picture without an affine, None where unknown.
        starts: where the first voxel of each slice along k truly lies, mm (right, anterior, superior); () where the
            affine says it, that is, where the slices are evenly spaced.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    channels: int = 1
    affine: NDArray[np.float64] | None = None
    volumetric: bool = False
    lossy: bool = False
    oriented: bool = False
    modality: str = ""
    spacing: tuple[float, float] | None = None
    starts: tuple[tuple[float, float, float], ...] = ()

    @property
    def eight_bit(self) -> bool:
        """Whether the values are plain bytes."""
        return self.dtype == np.uint8


def check_size(shape: tuple[int, ...], itemsize: int = 2) -> None:
    """Raise `Unreadable` for an empty or absurdly large shape of values that are stored in `itemsize` bytes."""
    if not shape or min(shape) < 1:
        raise Unreadable(f"holds no pixels (its shape is {shape})")
    voxels = 1
    for n in shape:
        voxels *= int(n)
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


def simple_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype kept for a file's values: uint8, uint16 and int16 as they are, all other numbers as float32.

    Raises:
        Unreadable: complex numbers, records, text, objects.
    """
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
