"""Arrays out of .npz archives: described before anything is unpacked, never unpickled, written as plain .npy files."""

from __future__ import annotations

import math
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors

MAX_BYTES = 32 * 2**30
"""Archives that claim more are not unpacked."""
MAX_COLUMN = 256 * 2**20
"""Bytes of an array of labels or subjects."""
MAX_MEMBERS = 10_000
_CHUNK = 4 * 2**20
_DEFLATE_LIMIT = 1040  # no deflate stream shrinks more than this many times
_AGAIN = "download or save the file again"


@dataclass(frozen=True, slots=True)
class Array:
    """An array as its head describes it; `offset` is where its values begin in its stream."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    offset: int

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.size * self.dtype.itemsize

    @property
    def is_pictures(self) -> bool:
        """Whether it is a stack [n, h, w], [n, h, w, 1] or [n, h, w, 3 or 4] of plain numbers."""
        if self.dtype.kind not in "buif" or not self.size or len(self.shape) not in (3, 4):
            return False
        colour = self.shape[-1] in (3, 4) and min(self.shape[-3:-1]) > 4
        return not colour if len(self.shape) == 3 else colour or self.shape[-1] == 1


class Archive:
    """An open .npz file; `arrays` describes what is in it, by key."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self._zip = path, archive
        self._members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()
                         if info.filename.endswith(".npy")}
        if len(self._members) > MAX_MEMBERS:
            raise UserError(f"holds {len(self._members)} arrays; {MAX_MEMBERS} are read", where=path,
                            fix="store the pictures in one array, the first axis counting them")
        self.arrays = {key: self._described(key) for key in self._members}

    def column(self, key: str) -> NDArray[Any]:
        """A small array such as the labels, in memory."""
        array = self.arrays[key]
        if array.nbytes > MAX_COLUMN:
            raise UserError(f"the array {key!r} of {array.nbytes:,} bytes is too large for labels or subjects",
                            where=self.path)
        with _told(self.path, key), self._zip.open(self._members[key]) as stream:
            stream.read(array.offset)
            raw = stream.read(array.nbytes)
            stream.read(1)  # reaches the end, where the check sum is compared
            order = "F" if array.fortran else "C"
            values: NDArray[Any] = np.frombuffer(raw, array.dtype).reshape(array.shape, order=order)  # type: ignore[call-overload]
            return values

    def unpack(self, key: str, target: Path) -> Path:
        """Write an array of pictures as an .npy file; see `write_stack`."""
        with _told(self.path, key), self._zip.open(self._members[key]) as stream:
            stream.read(self.arrays[key].offset)
            return write_stack(stream, self.arrays[key], target)

    def _described(self, key: str) -> Array:
        info = self._members[key]
        with _told(self.path, key):
            if info.compress_type == zipfile.ZIP_DEFLATED and info.file_size > info.compress_size * _DEFLATE_LIMIT:
                raise ValueError("it claims more bytes than such an archive can hold")
            with self._zip.open(info) as stream:
                array = described(stream)
            if array.offset + array.nbytes != info.file_size:
                raise ValueError("its size is not what its head says")
        return array


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Open an .npz file.

    Raises:
        UserError: it is none, or an array in it is damaged or holds Python objects.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise UserError(f"cannot be read as .npz ({str(error)[:100]})", where=path, fix=_AGAIN) from error
    with archive:
        yield Archive(path, archive)


def described(stream: IO[bytes]) -> Array:
    """The head of an .npy stream. Raises ValueError and the like for a broken one."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"its version {version} is for records, not for plain numbers")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    if any(n < 0 for n in shape):
        raise ValueError("its shape is negative")
    return Array(dtype, tuple(int(n) for n in shape), fortran, stream.tell())


def describe_file(path: Path) -> Array:
    """The head of an .npy file. Raises `UserError`."""
    with _told(path, ""), path.open("rb") as stream:
        array = described(stream)
        if path.stat().st_size < array.offset + array.nbytes:
            raise ValueError("it is cut short")
        return array


def check_room(where: Path, needed: int, scratch: Path) -> None:
    """Make the scratch folder, and raise `UserError` if so many bytes must not be written to it."""
    with disk_errors(scratch):
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        free = shutil.disk_usage(scratch).free
    if needed > MAX_BYTES:
        raise UserError(f"claims {needed / 2**30:,.0f} GB; more than {MAX_BYTES // 2**30} GB are not unpacked",
                        where=where, fix="cut it into several files, or save the pictures as files of their own")
    if needed > free / 2:
        raise UserError(f"needs {needed / 2**30:.1f} GB unpacked, and {free / 2**30:.1f} GB are free", where=where,
                        fix="free some space: half of it must stay free for the dataset")


def write_stack(stream: IO[bytes], array: Array, target: Path) -> Path:
    """Write the pictures of a stream, which stands at the first value, as an .npy file [n, h, w(, 3 or 4)]."""
    shape = array.shape[:-1] if len(array.shape) == 4 and array.shape[-1] == 1 else array.shape
    head = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": array.fortran, "shape": shape}
    with disk_errors(target), target.open("wb") as handle:
        np.lib.format.write_array_header_2_0(handle, head)
        _copy(stream, handle, array.nbytes)
    stream.read(1)  # reaches the end, where an archive compares the check sum
    return target


def _copy(stream: IO[bytes], handle: IO[bytes], count: int) -> None:
    while count:
        chunk = stream.read(min(_CHUNK, count))
        if not chunk:
            raise ValueError("it is cut short")
        handle.write(chunk)
        count -= len(chunk)


@contextmanager
def _told(path: Path, key: str) -> Iterator[None]:
    """Turn what a damaged array raises into a `UserError` that names it."""
    try:
        yield
    except UserError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, TypeError, SyntaxError,
            OverflowError, MemoryError, RuntimeError, NotImplementedError, TokenError) as error:
        text = f"the array {key!r} cannot be read" if key else "cannot be read as .npy"
        raise UserError(f"{text} ({' '.join(str(error).split())[:120] or type(error).__name__})", where=path,
                        fix="save plain numbers" if "Python objects" in str(error) else _AGAIN) from error
