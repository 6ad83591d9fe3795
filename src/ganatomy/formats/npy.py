"""NumPy arrays (.npy): [h, w], [slices, h, w], with a last axis of 3 or 4 colour. Never unpickled.

Axes of one element count for nothing. Of a volume whose last axis is the odd one, such as [256, 256, 20], the slices
lie along that: so nibabel's arrays are saved.
"""

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
    return describe(mapped(path))


def read(path: Path) -> Pixels:
    """Pixels [slices, h, w] or [slices, h, w, 3]. Raises `Unreadable`."""
    return _values(mapped(path))


def read_one(path: Path, index: int) -> Pixels:
    """Picture `index` [h, w] or [h, w, 3] of a stack. Raises `Unreadable`."""
    array = mapped(path)
    if array.ndim < 3 or not 0 <= index < len(array):
        raise Unreadable(f"has no picture number {index}")
    return np.asarray(_values(array[index:index + 1])[0])  # of the whole stack there may be more than can be read


def mapped(path: Path) -> Pixels:
    """The array of a file, mapped into memory, [n, 1, h, w] as [n, h, w], [n, 3, h, w] as [n, h, w, 3].

    Raises `Unreadable`.
    """
    try:
        array: Pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError, MemoryError, TokenError) as error:
        text = str(error)
        if "pickle" in text or "object" in text.lower():
            raise Unreadable("holds Python objects, which are never loaded; save plain numbers") from error
        short = "mmap" in text or "EOF" in text or "larger" in text
        raise Unreadable("is cut short" if short else f"cannot be read as .npy ({text[:120]})") from error
    channels, *sides = array.shape[1:] if array.ndim == 4 else (0,)
    if channels in (1, 3) and min(sides) > 4:
        return array[:, 0] if channels == 1 else np.moveaxis(array, 1, -1)
    return array


def planes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """The axes of an array without that of its channels, [h, w] or [slices, h, w], and how many channels: 1 or 3."""
    if len(shape) in (3, 4) and shape[-1] in (3, 4) and min(shape[-3:-1]) > 4:
        return shape[:-1], 3
    return (shape[:-1] if len(shape) == 4 and shape[-1] == 1 else shape), 1


def describe(array: Pixels) -> Header:
    """The header of an array. Raises `Unreadable`."""
    check_size(array.shape, array.dtype.itemsize)
    plane, channels = planes(array.shape)
    sides = tuple(n for n in plane if n > 1) if len(plane) > 2 else plane
    if len(sides) not in (2, 3) or min(sides) < 2:
        raise Unreadable(f"its shape {array.shape} is neither [h, w] nor [slices, h, w]")
    last = len(sides) == 3 and channels == 1 and _last_is_odd(*sides)
    slices, height, width = (sides[-1:] + sides[:-1] if last else sides) if len(sides) == 3 else (1, *sides)
    return Header((slices, height, width), simple_dtype(array.dtype), channels=channels, volumetric=len(sides) == 3,
                  along_last=last)


def _last_is_odd(first: int, second: int, last: int) -> bool:
    """Whether two long axes are alike and the last is shorter: pictures would be much higher than wide."""
    return last < first == second or (2 * last <= min(first, second) and max(first, second) <= 1.5 * min(first, second))


def _values(array: Pixels) -> Pixels:
    header = describe(array)
    values = array[..., :3] if header.channels == 3 else array
    with np.errstate(over="ignore"):  # what float32 cannot hold is told as infinite
        if header.along_last:
            values = np.moveaxis(values.squeeze(), -1, 0)
        return check_finite(values.astype(header.dtype).reshape(*header.shape, *(3,) * (header.channels == 3)))
