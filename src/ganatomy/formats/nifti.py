"""NIfTI-1 and NIfTI-2 in one file (.nii, .nii.gz), voxels in file order with their affine."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ganatomy.core.errors import silenced
from ganatomy.data.images import Header, Pixels, Unreadable, check_affine, check_finite, check_size, simple_dtype

SUFFIXES = (".nii", ".nii.gz")
HEAD_BYTES = 352
GZIP = b"\x1f\x8b"
"""The first bytes of a packed file."""
_DEFLATE_LIMIT = 1040  # no gzip stream shrinks more than this many times
_TIME = 0b111000  # bits of the units: seconds, milliseconds, microseconds
_MILLIMETRES = {1: 1000.0, 3: 0.001}  # by the code of the unit: metre, micrometre


def is_mine(head: bytes) -> bool:
    """Whether these (uncompressed) first bytes are those of a NIfTI file."""
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"


def unpacked_head(path: Path) -> bytes:
    """The first bytes of a gzip file's content, b"" if there are none to be had."""
    try:
        with gzip.open(path) as handle:
            return handle.read(HEAD_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""


def description(path: Path) -> str:
    """What the header says of the image. Raises `Unreadable`."""
    with opened(path) as (image, _):
        return str(image.header["descrip"].item().decode("latin-1"))


def scan(path: Path, channel: int | None = None) -> Header:
    """Read the header only; of a 4-D file that of one volume. Raises `Unreadable`."""
    with opened(path) as (image, _):
        return _header(path, image, channel)


def read(path: Path, channel: int | None = None) -> Pixels:
    """Voxels [i, j, k] in file order, physical values; of a 4-D file one volume alone. Raises `Unreadable`."""
    with opened(path) as (image, handle):
        header = _header(path, image, channel)
        with np.errstate(over="ignore"):  # what float32 cannot hold is told as infinite below
            stored = image.dataobj if channel is None else image.dataobj[..., channel]
            data = np.asanyarray(stored) if _plain(image) else np.asarray(stored, dtype=np.float32)
            if _packed(path) and channel is None:
                handle.read(1)  # reaches the end of the stream, where gzip keeps its check sum
            return check_finite(np.asarray(data).reshape(header.shape).astype(header.dtype, copy=False))


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """The nibabel image of a file, its values not read, and the open file. Raises `Unreadable`."""
    import nibabel

    try:
        with silenced("nibabel.global"), gzip.open(path) if _packed(path) else path.open("rb") as handle:
            wide = handle.read(8)[4:] == b"n+2\0"
            handle.seek(0)
            yield (nibabel.Nifti2Image if wide else nibabel.Nifti1Image).from_stream(handle), handle
    except EOFError as error:
        raise Unreadable("is cut short") from error
    except Unreadable:
        raise
    except Exception as error:  # nibabel has several kinds of its own for a damaged header
        raise Unreadable(f"cannot be read as NIfTI ({type(error).__name__}: {str(error)[:120]})") from error


def _packed(path: Path) -> bool:
    with path.open("rb") as handle:
        return handle.read(2) == GZIP


def _plain(image: Any) -> bool:
    """Whether the stored values are the physical ones."""
    proxy = image.dataobj
    return (float(proxy.slope), float(proxy.inter)) == (1.0, 0.0)


def contrasts(path: Path) -> tuple[int, bool]:
    """How many volumes the fourth axis of a file counts, and whether in steps of time. Raises `Unreadable`."""
    with opened(path) as (image, _):
        shape, header = image.shape, image.header
        timed = int(header["xyzt_units"]) & _TIME > 0 and float(header["pixdim"][4]) > 0
        return (int(shape[3]) if len(shape) == 4 else 1), timed


def _header(path: Path, image: Any, channel: int | None = None) -> Header:
    shape, stored = volume_shape(image, channel), image.get_data_dtype()
    check_size(shape, stored.itemsize)
    kept = simple_dtype(stored)
    if path.stat().st_size * (_DEFLATE_LIMIT if _packed(path) else 1) < math.prod(image.shape) * stored.itemsize:
        raise Unreadable("is cut short: fewer bytes than its header promises")
    return volume_header(image, shape, kept if _plain(image) else np.dtype(np.float32))


def volume_shape(image: Any, channel: int | None = None) -> tuple[int, int, int]:
    """Shape of a nibabel image, or of one volume of a 4-D one. Raises `Unreadable` for a series of volumes."""
    shape = tuple(map(int, image.shape))
    if channel is not None:
        if len(shape) != 4 or channel >= shape[3]:
            raise Unreadable(f"has the shape {shape} and no volume number {channel + 1} in a fourth axis")
        shape = shape[:3]
    i, j, k, *more = (*shape, *(1,) * (3 - len(shape)))
    if math.prod(more) != 1:
        raise Unreadable(f"has {len(shape)} dimensions {shape}; split the series into 3-D volumes first")
    return i, j, k


def volume_header(image: Any, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> Header:
    """The header of a nibabel image, its affine in mm. Raises `Unreadable` for one that places nothing."""
    affine = np.asarray(image.affine, dtype=np.float64).copy()
    affine[:3] *= _MILLIMETRES.get(int(image.header["xyzt_units"]) & 7, 1.0)
    oriented = bool(image.header["qform_code"] > 0 or image.header["sform_code"] > 0)
    return Header(shape, dtype, affine=check_affine(affine), volumetric=True, oriented=oriented)
