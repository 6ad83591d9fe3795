"""Searching files for terms: all as bytes, texts also without their escapes, and what is packed in them."""

from __future__ import annotations

import base64
import binascii
import codecs
import gzip
import html
import io
import json
import re
import struct
import zipfile
import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, NamedTuple, cast
from urllib.parse import unquote_to_bytes

from ganatomy.preparation.privacy.search import Needles
from ganatomy.preparation.privacy.terms import WORD, Needle, Term, Terms

CHUNK = 1 << 24
MOST_TEXT = 1 << 26
"""Texts are read in pieces of this size."""
MOST_PACKED = 1 << 28
"""What is packed within something packed may be this large."""
DEPTH = 4
CHANCE = 0.01
"""Hits of which this many are expected by chance are none."""
AROUND = 256
_PAYLOAD = re.compile(rb"data:[\w.+/;=\s-]{0,200}base64,((?:[A-Za-z0-9+/=\s]|%2[bBfF]|%3[dD])+)")
_UNICODE = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+")
_JOINED = re.compile(r"[^\W_]+(?:[-.'][^\W_]+)+")
_HEX = re.compile(rb"[0-9a-f]{32,}")
_PNG = b"\x89PNG\r\n\x1a\n"


class Hit(NamedTuple):
    """A term that was found: how encoded, in what part of the file, at which byte of it."""

    term: Term
    encoding: str
    part: str
    offset: int


class Scanner:
    """Searches streams of bytes.

    Attributes:
        by_chance: hits passed over because pixels, hashes or numbers make as many by chance.
        unsearched: what could not be looked into, with the reason.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._needles: Needles = terms.search
        self._lengths = Counter(len(pattern) for pattern in terms.needles)
        self.by_chance = 0
        self.unsearched: list[str] = []

    def file(self, opened: Callable[[], IO[bytes]], size: int, part: str = "", depth: int = 0) -> Iterator[Hit]:
        """Hits in what `opened` gives, about `size` bytes, read in pieces, and in what is packed in it.

        Raises:
            OSError: it cannot be read.
        """
        with opened() as stream:
            members = _members(stream) if depth == 0 else []
            head = stream.read(CHUNK)
            text = _is_text(head)
            for hit in self._pieces(head, stream, text, size):
                yield hit._replace(part=_member(members, hit.offset) or part)
            if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                for hit in self._words(head.decode("utf-16", "replace").encode()):
                    yield hit._replace(encoding="UTF-16, whole word", part=part)
        packed = head.startswith((b"PK\x03\x04", b"\x1f\x8b", _PNG)) or (text and b";base64," in head)
        if packed and depth < DEPTH:
            with opened() as stream:
                yield from self._packed(stream, head, part, depth)

    def text(self, data: bytes) -> Iterator[Hit]:
        """Hits in a text, also in short words and behind the escapes of JSON, HTML and addresses."""
        blank = _PAYLOAD.sub(lambda found: b" " * len(found.group()), data) if b";base64," in data else data
        yield from self._bytes(blank)
        yield from self._words(blank)
        plain = _unescaped(blank)
        if plain != blank:
            for hit in (*self._bytes(plain), *self._words(plain)):
                yield hit._replace(encoding=f"{hit.encoding}, escaped")

    def _pieces(self, head: bytes, stream: IO[bytes], text: bool, size: int) -> Iterator[Hit]:
        overlap, at, length = self._needles.longest + AROUND, 0, MOST_TEXT if text else CHUNK
        data = head + stream.read(length - CHUNK) if text else head
        while data:
            for hit in self.text(data) if text else self._bytes(data, size):
                yield hit._replace(offset=at + hit.offset)
            following = stream.read(length)
            if not following:
                return
            kept = data[-overlap:]
            at += len(data) - len(kept)
            data = kept + following

    def _bytes(self, data: bytes, size: int = 0) -> Iterator[Hit]:
        """Hits in bytes; `size` is that of the whole they are a piece of where they are no text."""
        low = data.lower()
        for start, pattern in self._needles.find(low):
            needle = self._terms.needles[pattern]
            if _within_number(low, start, start + len(pattern), needle):
                continue
            if self._expected(low, start, pattern, size) > CHANCE if size else _within_hash(low, start, pattern):
                self.by_chance += 1
            else:
                yield Hit(needle.term, needle.encoding, "", start)

    def _expected(self, low: bytes, start: int, pattern: bytes, size: int) -> float:
        """How many hits of terms of this length there would be if all bytes were like those around, in any order."""
        around = low[max(0, start - AROUND):start] + low[start + len(pattern):start + len(pattern) + AROUND]
        expected = float(size) * self._lengths[len(pattern)]
        for byte in pattern:
            expected *= (around.count(byte) + 1) / (len(around) + 256)
        return expected

    def _words(self, data: bytes) -> Iterator[Hit]:
        if not self._terms.words:
            return
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
        text = text.casefold()
        known = set(WORD.findall(text)) | set(_JOINED.findall(text))
        for word in known & self._terms.words.keys():
            offset = text.find(word)
            yield Hit(self._terms.words[word], "whole word", "", len(text[:offset].encode("utf-8", "replace")))

    def _packed(self, stream: IO[bytes], head: bytes, part: str, depth: int) -> Iterator[Hit]:
        inner = f"{part}: " if part else ""
        try:
            if head.startswith(b"PK"):
                yield from self._zip(stream if stream.seekable() else _whole(stream), inner, depth)
            elif head.startswith(b"\x1f\x8b"):
                yield from self.file(lambda: _unzipped(stream), CHUNK, f"{inner}unpacked", depth + 1)
            elif head.startswith(_PNG):
                for name, content in _png_texts(_whole(stream)):
                    yield from (hit._replace(part=f"{inner}{name}") for hit in self.text(content))
            else:
                for number, content in enumerate(_payloads(_whole(stream).getvalue()), start=1):
                    yield from self._inner(content, f"{inner}embedded file {number}", depth)
        except (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile, RuntimeError, NotImplementedError,
                ValueError, struct.error) as error:
            self.unsearched.append(f"{part or 'what is packed in it'} ({error})")

    def _zip(self, stream: IO[bytes], inner: str, depth: int) -> Iterator[Hit]:
        with zipfile.ZipFile(stream) as archive:
            for info in archive.infolist():
                part = f"{inner}{info.filename}"
                for hit in self.text(info.filename.encode() + b"\n" + info.comment):
                    yield hit._replace(part=f"{inner}name of a member")
                if not info.is_dir():
                    yield from self.file(partial(archive.open, info), info.file_size, part, depth + 1)

    def _inner(self, content: bytes, part: str, depth: int) -> Iterator[Hit]:
        yield from self.file(partial(io.BytesIO, content), len(content), part, depth + 1)


def _unzipped(stream: IO[bytes]) -> IO[bytes]:
    stream.seek(0)
    return cast(IO[bytes], gzip.GzipFile(fileobj=stream))


def _whole(stream: IO[bytes]) -> io.BytesIO:
    data = stream.read(MOST_PACKED + 1)
    if len(data) > MOST_PACKED:
        raise ValueError(f"more than {MOST_PACKED >> 20} MB within something packed")
    return io.BytesIO(data)


def _is_text(head: bytes) -> bool:
    """Whether these bytes are a text: no zeros, and hardly any control characters."""
    head = head[:1 << 16]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    controls = sum(head.count(byte) for byte in (*range(9), *range(14, 27), *range(28, 32), 127))
    return b"\0" not in head and controls * 100 <= len(head) and bool(head)


def _within_number(low: bytes, start: int, end: int, needle: Needle) -> bool:
    """Whether a hit that begins or ends with a digit is part of a longer number, or of one with decimals."""
    width = needle.width
    first, last = low[start:start + 1].isdigit(), low[end - 1:end].isdigit()
    before, after = low[max(0, start - width):start][:1], low[end - 1 + width:end + width]
    clock = re.match(rb"\d{4}(\d\d)?(?!\d)", low[end:end + 7]) if end - start == 8 else None  # a date, then the time
    if (first and before.isdigit()) or (last and after.isdigit() and not clock):
        return True
    if not needle.term.text.isdigit():
        return False
    return (before == b"." and low[start - 2:start - 1].isdigit()) or (after == b"." and low[end + 1:end + 2].isdigit())


def _within_hash(low: bytes, start: int, pattern: bytes) -> bool:
    """Whether a short hit is part of a hash in hexadecimal."""
    end = start + len(pattern)
    if len(pattern) >= 16:
        return False
    left = max(0, start - 128)
    return any(found.start() + left <= start and end <= found.end() + left
               for found in _HEX.finditer(low[left:end + 128]))


def _unescaped(data: bytes) -> bytes:
    """A text without the escapes of JSON, HTML and addresses."""
    if b"\\" in data:
        data = _UNICODE.sub(lambda found: json.loads(b'"' + found.group() + b'"').encode("utf-8", "replace"), data)
        data = data.replace(b"\\/", b"/").replace(b"\\\\", b"\\")
    if b"&" in data:
        data = html.unescape(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    return unquote_to_bytes(data) if b"%" in data else data


def _payloads(data: bytes) -> Iterator[bytes]:
    """What data addresses hold."""
    for found in _PAYLOAD.finditer(data):
        packed = b"".join(unquote_to_bytes(found.group(1)).split())
        packed = packed.rstrip(b"=")
        packed = packed[:-1] if len(packed) % 4 == 1 else packed
        try:
            yield base64.b64decode(packed + b"=" * (-len(packed) % 4))
        except binascii.Error:
            continue


def _png_texts(stream: io.BytesIO) -> Iterator[tuple[str, bytes]]:
    """(kind, content) of a PNG's chunks of text, unpacked."""
    stream.seek(len(_PNG))
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            stream.seek(length + 4, io.SEEK_CUR)
            continue
        key, _, rest = stream.read(length).partition(b"\0")
        stream.seek(4, io.SEEK_CUR)
        packed = kind in (b"zTXt", b"iCCP")
        if kind == b"iTXt":
            packed, rest = rest[:1] == b"\x01", rest[2:]
            language, _, rest = rest.partition(b"\0")
            translated, _, rest = rest.partition(b"\0")
            key = key + b"\n" + language + b"\n" + translated
        content = zlib.decompress(rest[1:] if kind != b"iTXt" else rest) if packed else rest
        yield f"PNG {kind.decode()}", key + b"\n" + content


def _members(stream: IO[bytes]) -> list[tuple[int, str]]:
    """(offset, name) of a zip's members, to say in which a hit lies."""
    try:
        if stream.read(4) != b"PK\x03\x04":
            return []
        with zipfile.ZipFile(stream) as archive:
            return sorted((info.header_offset, info.filename) for info in archive.infolist())
    except zipfile.BadZipFile:
        return []
    finally:
        stream.seek(0)


def _member(members: list[tuple[int, str]], offset: int) -> str:
    at = bisect_right(members, (offset, "\U0010ffff")) - 1
    return members[at][1] if at >= 0 else ""
