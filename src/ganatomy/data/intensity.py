"""From scanner values to stored integers: one mapping a volume, physical = stored x scale + offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.readers import Pixels

Method = Literal["identity", "percentile", "minmax"]

TOP_PERCENTILE = 99.8
"""Of the foreground: above it lie vessels, artefacts and noise that would take up the range."""
BOTTOM_PERCENTILE = 0.2
BORDER_SHARE = 0.2
"""A value that at least this share of the border has is the background."""
FOREGROUND = 0.1
"""A pixel is foreground if it differs from the background by more than this share of the range."""
SAMPLE = 2_000_000
"""Percentiles are taken over at most about this many pixels of a volume."""


@dataclass(frozen=True, slots=True)
class Levels:
    """What the values of a volume mean.

    Attributes:
        background: of what surrounds the patient, in the file's values.
        low, high: the ends of the useful range.
        lowest, highest: the extremes.
    """

    background: float
    low: float
    high: float
    lowest: float
    highest: float

    @property
    def constant(self) -> bool:
        """Whether all pixels have the same value."""
        return self.lowest == self.highest

    def foreground(self, pixels: Pixels) -> NDArray[np.bool_]:
        """Which pixels stand out from the background; colour pixels by any channel."""
        reach = max(self.high - self.background, self.background - self.low)
        found: NDArray[np.bool_] = np.abs(pixels.astype(np.float32) - self.background) > max(FOREGROUND * reach, 0.0)
        return found


@dataclass(frozen=True, slots=True)
class Mapping:
    """physical = stored x scale + offset; stored values are of `dtype`."""

    offset: float
    scale: float
    dtype: np.dtype[Any]

    def encode(self, physical: NDArray[np.float32]) -> Pixels:
        """Physical values to stored ones, rounded and clipped to the dtype's range."""
        stored = (physical.astype(np.float64) - self.offset) / self.scale
        if self.dtype.kind == "f":
            return stored.astype(self.dtype)
        ends = np.iinfo(self.dtype)
        return np.clip(np.rint(stored), ends.min, ends.max).astype(self.dtype)


def border_value(pictures: Sequence[Pixels]) -> float | None:
    """The value most frequent along the pictures' edges, None if it is not frequent enough to be a background."""
    edges = np.concatenate([np.concatenate((p[0].ravel(), p[-1].ravel(), p[:, 0].ravel(), p[:, -1].ravel()))
                            for p in pictures])
    values, counts = np.unique(edges, return_counts=True)
    best = int(counts.argmax())
    return float(values[best]) if counts[best] >= BORDER_SHARE * len(edges) else None


def measure(pictures: Sequence[Pixels], background: float | None = None) -> Levels:
    """Background and useful range of a volume.

    With a uniform background the low end is that value, and the high end the 99.8th percentile of the rest: small
    negative values that interpolation leaves around a skull-stripped brain are cut off, air in CT is the low end.
    A background brighter than most of the content (inverted images) does not end the range. Without a uniform
    background the foreground is what lies above the mean, and the low end 0, or the 0.2th percentile where values go
    below 0.

    Args:
        pictures: the volume's slices [h, w(, 3)], sizes may differ.
        background: the value around the patient, if known.
    """
    total = sum(p.size for p in pictures)
    step = max(1, total // SAMPLE)
    values = np.concatenate([p.ravel()[::step] for p in pictures]).astype(np.float32)
    lowest, highest = float(min(p.min() for p in pictures)), float(max(p.max() for p in pictures))
    border = border_value(pictures) if background is None else background
    content = values[values != border] if border is not None else values[values >= values.mean()]
    if content.size == 0:
        content = values
    high = float(np.percentile(content, TOP_PERCENTILE))
    if border is not None and border <= float(np.percentile(content, 25)):
        low = border
    elif border is None and lowest >= 0:
        low = 0.0
    else:
        low = float(np.percentile(values if border is None else content, BOTTOM_PERCENTILE))
        high = max(high, border) if border is not None else high
    if high <= low:
        low, high = lowest, highest
    return Levels(low if border is None else border, low, high, lowest, highest)


def mapping(method: Method, levels: Levels, dtype: np.dtype[Any]) -> Mapping:
    """The mapping of one volume to `dtype`; see `stored_dtype`."""
    if method == "identity":
        return Mapping(0.0, 1.0, dtype)
    low, high = (levels.low, levels.high) if method == "percentile" else (levels.lowest, levels.highest)
    return Mapping(low, (high - low) / 65535.0 if high > low else 1.0, dtype)


def choose_method(wanted: str, dtypes: set[np.dtype[Any]]) -> Method:
    """`auto` keeps bytes as they are if all files hold bytes, and otherwise maps percentiles."""
    if wanted == "auto":
        return "identity" if dtypes == {np.dtype(np.uint8)} else "percentile"
    return "minmax" if wanted == "minmax" else "identity" if wanted == "identity" else "percentile"


def stored_dtype(method: Method, dtypes: set[np.dtype[Any]]) -> np.dtype[Any]:
    """What is stored: uint16 for mapped values, the files' own type for identity (float32 where they differ)."""
    if method != "identity":
        return np.dtype(np.uint16)
    return next(iter(dtypes)) if len(dtypes) == 1 else np.dtype(np.float32)
