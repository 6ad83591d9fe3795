"""Opening a DICOM file without trusting it: tags of interest and the place of its pixels, in bounded memory."""

from __future__ import annotations

import io
import math
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ganatomy.core.errors import silenced
from ganatomy.data.images import Unreadable

MAX_ELEMENT = 2**26
"""Elements before the pixels that are larger than this many bytes are passed over."""
MAX_INFLATED = 2**28
"""A deflated file that grows beyond this many bytes is not opened: it is held in memory more than once."""
_PIXELS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
_UNDEFINED = 0xFFFFFFFF
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"UN")
_NO_META = {(False, True): ExplicitVRLittleEndian, (False, False): ExplicitVRBigEndian}


@dataclass(frozen=True, slots=True)
class Opened:
    """An open DICOM file.

    Attributes:
        dataset: pydicom's, with the tags asked for.
        syntax: UID of the transfer syntax.
        keyword: which kind of pixel data there is, "" for none.
        vr: of the pixel data, "" where the file does not say.
        source: what the pixel data are read from.
        start: offset in `source` of the first byte of the pixel data's value.
        length: bytes there really are of it.
    """

    dataset: Any
    syntax: str
    keyword: str
    vr: str
    source: BinaryIO
    start: int
    length: int


class _Reader(io.BufferedReader):
    """A file of which no more is read than there is."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = path.stat().st_size
        self.inflates = False

    def read(self, size: int | None = -1, /) -> bytes:
        """As a file's; all that is left is asked for only to be inflated."""
        if size is None or size < 0:
            self.inflates = True
            packed = super().read()
            if len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, MAX_INFLATED + 1)) > MAX_INFLATED:
                raise Unreadable(f"is larger than {MAX_INFLATED // 2**20} MB when inflated")
            return packed
        if size > 2**20:  # Python reserves memory for all that is asked for
            size = max(0, min(size, self.size - self.tell()))
        return super().read(size)


@contextmanager
def opened(path: Path, tags: Sequence[int]) -> Iterator[Opened]:
    """A DICOM file with these tags read. Raises `Unreadable`, also for anything that goes wrong in the block."""
    try:
        with silenced("pydicom"), warnings.catch_warnings(), _Reader(path) as handle:
            warnings.simplefilter("ignore")
            if handle.peek(2)[:2] == b"\x1f\x8b":
                raise Unreadable("is a DICOM file packed with gzip; unpack it first")
            yield _parsed(handle, tags)
    except Unreadable:
        raise
    except Exception as error:  # pydicom and its decoders raise almost anything on a damaged file
        text = " ".join(str(error).split())[-120:]
        raise Unreadable(f"cannot be read as DICOM ({type(error).__name__}: {text})") from error


def _parsed(handle: _Reader, tags: Sequence[int]) -> Opened:
    from pydicom.filereader import read_partial

    pixels: list[tuple[int, str | None, int]] = []

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        if int(tag) not in _PIXELS or handle.inflates:
            return False
        pixels.append((int(tag), vr, length))
        return True

    asked = [*tags, *_PIXELS] if tags else None
    dataset = read_partial(handle, stop_when=at_pixels, force=True, specific_tags=asked, defer_size=MAX_ELEMENT)
    syntax = text(dataset.file_meta, "TransferSyntaxUID") or _NO_META.get(dataset.original_encoding,
                                                                           ImplicitVRLittleEndian)
    if handle.inflates:
        return _inflated(dataset, syntax)
    if not pixels:
        return Opened(dataset, syntax, "", "", handle, 0, 0)
    tag, vr, length = pixels[-1]
    head = handle.read(8)
    start = handle.tell() + (4 if vr and head[4:6] in _LONG else 0)
    there = max(0, handle.size - start)
    return Opened(dataset, syntax, _PIXELS[tag], vr or "", handle, start,
                  there if length == _UNDEFINED else min(length, there))


def _inflated(dataset: Any, syntax: str) -> Opened:
    keyword = next((k for k in _PIXELS.values() if k in dataset), "")
    data = value(dataset, keyword) if keyword else b""
    data = data if isinstance(data, bytes) else b""
    vr = str(dataset[keyword].VR) if keyword else ""
    return Opened(dataset, syntax, keyword, vr, io.BytesIO(data), 0, len(data))


def value(dataset: Any, keyword: str) -> Any:
    """A tag's value, None where it is absent, empty or damaged."""
    if dataset is None:
        return None
    tag = _tag(keyword)
    try:
        held = dataset[tag].value if tag in dataset else None
    except Exception:  # a damaged value raises almost anything, and then counts as absent
        return None
    return None if held is None or (not isinstance(held, int | float) and len(held) == 0) else held


@cache
def _tag(keyword: str) -> Any:
    from pydicom.tag import Tag

    return Tag(keyword)


def text(dataset: Any, keyword: str) -> str:
    """A tag's text, stripped; the first of several; "" where absent."""
    return next(iter(texts(dataset, keyword)), "")


def texts(dataset: Any, keyword: str) -> tuple[str, ...]:
    """A tag's texts, stripped, without empty ones at the end."""
    held = value(dataset, keyword)
    if held is None:
        return ()
    single = isinstance(held, str | int | float) or not isinstance(held, Sequence) or hasattr(held, "components")
    words = [str(word).strip(" \0\t\r\n") for word in ([held] if single else held)]
    while words and not words[-1]:
        words.pop()
    return tuple(words)


def number(dataset: Any, keyword: str) -> float | None:
    """A tag's number, the first of several; None where absent or no finite number."""
    return next(iter(numbers(dataset, keyword)), None)


def numbers(dataset: Any, keyword: str) -> tuple[float, ...]:
    """A tag's numbers; () where absent or where one of them is no finite number."""
    held = value(dataset, keyword)
    if held is None:
        return ()
    try:
        listed = [float(held)] if isinstance(held, str | int | float) else [float(x) for x in held]
    except (TypeError, ValueError, OverflowError):
        return ()
    return tuple(listed) if all(map(math.isfinite, listed)) else ()


def whole(dataset: Any, keyword: str) -> int | None:
    """A tag's whole number, the first of several; None where absent."""
    held = number(dataset, keyword)
    return int(held) if held is not None and held == int(held) else None


def items(dataset: Any, keyword: str) -> list[Any]:
    """The items of a sequence, [] where absent."""
    held = value(dataset, keyword)
    return list(held) if held is not None and hasattr(held, "is_undefined_length") else []


def item(dataset: Any, keyword: str) -> Any:
    """The first item of a sequence, None where absent."""
    return next(iter(items(dataset, keyword)), None)
