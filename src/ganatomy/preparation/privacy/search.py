"""Looking for very many byte strings at once, in data of any size."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHORTEST = 6
"""Bytes; shorter strings turn up by chance in anything."""
_MULTIPLIERS: dict[int, Any] = {4: np.uint32(2654435761), 8: np.uint64(0x9E3779B97F4A7C15)}
_ANOTHER = np.uint64(0xC2B2AE3D27D4EB4F)
_KEYS = {4: "<u4", 8: "<u8"}


class Needles:
    """Byte strings to look for, all at once.

    Of every string one window of fixed length is chosen. Each place where a window can lie covers exactly one of the
    grams that are read at every `stride`-th byte (the skipping of Wu and Manber 1994); a table says which grams are
    of interest, and only around these few the strings themselves are compared.

    Args:
        patterns: distinct byte strings of at least `SHORTEST` bytes, ASCII letters in lower case.
    """

    def __init__(self, patterns: Iterable[bytes]) -> None:
        patterns = sorted(set(patterns))
        self.longest = max(map(len, patterns), default=0)
        long = [p for p in patterns if len(p) >= 11]
        short = [p for p in patterns if len(p) < 11]
        self._groups = [_Group(group, window, gram) for group, window, gram in ((short, 6, 4), (long, 11, 8)) if group]

    def find(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(offset, pattern) of all occurrences in `data`, whose ASCII letters are in lower case; in no given order."""
        for group in self._groups:
            yield from group.find(data)


class _Group:
    """Patterns of at least `window` bytes."""

    def __init__(self, patterns: list[bytes], window: int, gram: int) -> None:
        self._window, self._gram, self._stride = window, gram, window - gram + 1
        seen = Counter(p[at:at + window] for p in patterns for at in _places(p, window))
        self._table: dict[bytes, list[tuple[bytes, int]]] = defaultdict(list)
        for pattern in patterns:
            at = min(_places(pattern, window), key=lambda at: seen[pattern[at:at + window]])
            self._table[pattern[at:at + window]].append((pattern, at))
        windows = np.frombuffer(b"".join(self._table), np.uint8).reshape(-1, window)
        grams = np.concatenate([_column(windows, at, gram) for at in range(self._stride)])
        bits = min(24, max(16, int(16 * len(grams)).bit_length()))
        self._shift = (32 if gram == 4 else 64) - bits
        self._wanted = np.zeros(1 << bits, dtype=bool)
        self._wanted[self._hash(grams)] = True
        keys = _key(_column(windows, 0, gram), _column(windows, window - 4, 4))
        self._key_shift = np.uint64(64 - bits)
        self._key_wanted = np.zeros(1 << bits, dtype=bool)
        self._key_wanted[keys >> self._key_shift] = True

    def find(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        last = len(data) - self._window
        if last < 0:
            return
        sampled = _view(data, self._gram, self._stride)
        places = np.flatnonzero(self._wanted[self._hash(sampled)]) * self._stride
        if not len(places):
            return
        heads, tails = _view(data, self._gram, 1), _view(data, 4, 1)
        for back in range(self._stride):
            starts = places - back
            starts = starts[(starts >= 0) & (starts <= last)]
            keys = _key(heads[starts], tails[starts + self._window - 4])
            for start in starts[self._key_wanted[keys >> self._key_shift]].tolist():
                for pattern, offset in self._table.get(data[start:start + self._window], ()):
                    if start >= offset and data.startswith(pattern, start - offset):
                        yield start - offset, pattern

    def _hash(self, grams: NDArray[Any]) -> NDArray[Any]:
        hashed = grams * _MULTIPLIERS[self._gram]
        hashed >>= hashed.dtype.type(self._shift)
        return np.asarray(hashed)


def _places(pattern: bytes, window: int) -> tuple[int, ...]:
    """Where a window may be taken from: the rarest of these is, as many patterns begin alike."""
    last = len(pattern) - window
    return 0, last // 2, last


def _view(data: bytes, width: int, stride: int) -> NDArray[Any]:
    """Little-endian numbers of `width` bytes, one at every `stride`-th byte; nothing is copied."""
    return np.ndarray(((len(data) - width) // stride + 1,), _KEYS[width], data, strides=(stride,))


def _column(windows: NDArray[np.uint8], at: int, width: int) -> NDArray[Any]:
    return np.ascontiguousarray(windows[:, at:at + width]).view(_KEYS[width])[:, 0]


def _key(heads: NDArray[Any], tails: NDArray[Any]) -> NDArray[np.uint64]:
    """A hash of windows, from their first gram and their last four bytes."""
    mixed = heads.astype(np.uint64) * _MULTIPLIERS[8] ^ tails.astype(np.uint64) * _ANOTHER
    return np.asarray((mixed ^ (mixed >> np.uint64(29))) * _MULTIPLIERS[8])
