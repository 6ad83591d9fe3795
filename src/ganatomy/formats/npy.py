"""NumPy arrays (.npy): [h, w], [slices, h, w], and with a last axis of 3 or 4 colour. Never unpickled."""

from __future__ import annotations

from pathlib import Path
from tokenize import TokenError

import numpy as np

from ganatomy.data.images import Header, Pixels, Unreadable, check_finite, check_size, simple_dtype

SUFFIXES = (".npy",)


def is_mine(head: bytes) -> bool:
    """Whether these first bytes are those of an .npy file."""
    return head.startswith(b"\x93NUMPY")


def scan(path: Path) -> Header:
    """Read the header only. Raises `Unreadable`."""
    return _describe(_mapped(path))


def read(path: Path) -> Pixels:
    """Pixels [slices, h, w] or [slices, h, w, 3]. Raises `Unreadable`."""
    array = _mapped(path)
    header = _describe(array)
    with np.errstate(over="ignore"):
        pixels = np.asarray(array).astype(header.dtype)
    if header.channels == 3:
        return check_finite(pixels[..., :3].reshape(*header.shape, 3))
    return check_finite(pixels.reshape(header.shape))


def read_one(path: Path, index: int) -> Pixels:
    """Picture `index` [h, w] or [h, w, 3] of a stack. Raises `Unreadable`."""
    array = _mapped(path)
    if array.ndim < 3 or not 0 <= index < len(array):
        raise Unreadable(f"has no picture number {index}")
    header = _describe(array[index:index + 1])  # of the whole stack there may be more than can be read at once
    with np.errstate(over="ignore"):
        picture = np.asarray(array[index]).astype(header.dtype)
    return check_finite(picture[..., :3] if header.channels == 3 else picture)


def _mapped(path: Path) -> Pixels:
    try:
        array: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, TokenError) as error:
        text = str(error)
        if "pickle" in text or "object" in text.lower():
            raise Unreadable("holds Python objects, which are never loaded; save plain numbers") from error
        short = "mmap" in text or "EOF" in text or "larger" in text
        raise Unreadable("is cut short" if short else f"cannot be read as .npy ({text[:120]})") from error
    return array


def _describe(array: Pixels) -> Header:
    check_size(array.shape, array.dtype.itemsize)
    dtype = simple_dtype(array.dtype)
    colour = array.ndim in (3, 4) and array.shape[-1] in (3, 4) and min(array.shape[-3:-1]) > 4
    plane = array.shape[:-1] if colour else array.shape
    if len(plane) not in (2, 3):
        raise Unreadable(f"its shape {array.shape} is neither [h, w] nor [slices, h, w]")
    slices, height, width = plane if len(plane) == 3 else (1, *plane)
    return Header((slices, height, width), dtype, channels=3 if colour else 1, volumetric=len(plane) == 3)
