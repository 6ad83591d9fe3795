"""From scanner values to stored integers: one mapping a volume, physical = stored x scale + offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.images import Pixels

Method = Literal["identity", "percentile", "minmax", "window", "fixed"]

HOUNSFIELD = "HU"
ARBITRARY = "arbitrary units"
TOP_PERCENTILE = 99.8  # of the foreground: above lie vessels, artefacts and noise that would take up the range
BOTTOM_PERCENTILE = 0.2
PROJECTION_PERCENTILES = (0.1, 99.9)  # of a projection's content: a calcification of a few pixels must not be cut off
BORDER_SHARE = 0.2  # of the border: a value that so much of it has is the background
BAND = 0.02  # of the range: what is so near to a projection's background is its scatter and noise
HEAP = 0.0002  # of a projection's pixels: so many at its highest value are saturated, such as a lead marker
FOREGROUND = 0.1  # of the range: a pixel that differs more from the background is foreground
SAMPLE = 2_000_000  # pixels of a volume, about, over which percentiles are taken at most
AIR = -1000.0  # HU, by definition
LEAST = -1024.0  # HU: nothing lower is measured; scanners write -2000 or -3024 where their round field of view ends
TISSUE = 100.0  # HU above air: a voxel of CT beyond is foreground; lung is, noise in air is not


@dataclass(frozen=True, slots=True)
class Decision:
    """How the values of one domain are mapped, and why.

    Attributes:
        method: see `mapping`.
        low, high: the values that become the ends of the stored range; None where each volume has its own.
        units: of the physical values.
        reason: a sentence for the user.
        projection: an image of a beam through the body: both ends of its percentiles are taken from the content, since
            collimators, markers and the bare beam lie outside of it.
    """

    method: Method
    low: float | None = None
    high: float | None = None
    units: str = ARBITRARY
    reason: str = ""
    projection: bool = False

    @property
    def label(self) -> str:
        """The method in words, such as "window -1000 to 1000"."""
        if self.low is None or self.method == "identity":
            return self.method
        return f"{self.method} {self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class Levels:
    """What the values of a volume mean.

    Attributes:
        background: of what surrounds the patient, in the file's values.
        low, high: the ends of the useful range.
        lowest, highest: the extremes.
        margin: a pixel that differs from the background by more than this is foreground.
        floor: lower values say that nothing was measured; they count as this value.
        exact: every value is kept, padding too.
    """

    background: float
    low: float
    high: float
    lowest: float
    highest: float
    margin: float
    floor: float = -np.inf
    exact: bool = False

    @property
    def constant(self) -> bool:
        """Whether all pixels have the same value."""
        return self.lowest == self.highest

    def foreground(self, pixels: Pixels) -> NDArray[np.bool_]:
        """Which pixels stand out from the background; colour pixels by any channel."""
        values = np.maximum(pixels.astype(np.float32), np.float32(self.floor))
        return np.asarray(np.abs(values - self.background) > self.margin)

    def without_padding(self, pixels: Pixels) -> Pixels:
        """The pixels with values below the floor lifted to it: interpolation must not mix them into the patient."""
        least = np.iinfo(pixels.dtype).min if pixels.dtype.kind in "ui" else -np.inf
        lift = self.floor > least and not self.exact
        return np.maximum(pixels, np.array(self.floor, pixels.dtype)) if lift else pixels


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
    edges = _edges(pictures)
    values, counts = np.unique(edges, return_counts=True)
    best = int(counts.argmax())
    return float(values[best]) if counts[best] >= BORDER_SHARE * len(edges) else None


def measure(pictures: Sequence[Pixels], background: float | None = None, how: Decision | None = None) -> Levels:
    """Background and useful range of a volume.

    With a uniform background the low end is that value, and the high end the 99.8th percentile of the rest; but a
    background brighter than most of the content (inverted images) does not end the range. Without one the foreground
    is what lies above the mean, and the low end 0, or the 0.2th percentile where values go below 0. In Hounsfield units
    the background is air, whatever padding lies around it. Of a projection, see `_projection_levels`.

    Args:
        pictures: the volume's slices [h, w(, 3)], sizes may differ.
        background: the value around the patient, if known.
        how: what was decided for the domain.
    """
    floor = -np.inf
    if how is not None and how.units == HOUNSFIELD:
        floor = LEAST if how.low is None else min(LEAST, how.low)
        background = AIR if background is None else background
    step = max(1, sum(p.size for p in pictures) // SAMPLE)
    values = np.maximum(np.concatenate([p.ravel()[::step].astype(np.float32) for p in pictures]), floor)
    lowest, highest = float(min(p.min() for p in pictures)), float(max(p.max() for p in pictures))
    lowest, highest = max(lowest, floor), max(highest, floor)
    border = border_value(pictures) if background is None else background
    if how is not None and how.projection and background is None:
        border, low, high = _projection_levels(pictures, values)
    else:
        low, high = _volume_levels(values, border, lowest)
    if high <= low:
        low, high = lowest, highest
    border = low if border is None else border
    margin = TISSUE if np.isfinite(floor) else FOREGROUND * max(high - border, border - low, 0.0)
    return Levels(border, low, high, lowest, highest, margin, floor, how is not None and how.method == "identity")


def _volume_levels(values: NDArray[np.float32], border: float | None, lowest: float) -> tuple[float, float]:
    """Low and high end; see `measure`."""
    content = values[values != border] if border is not None else values[values >= values.mean()]
    if content.size == 0:
        content = values
    high = float(np.percentile(content, TOP_PERCENTILE))
    if border is not None and border <= float(np.percentile(content, 25)):
        return border, high
    if border is None and lowest >= 0:
        return 0.0, high
    low = float(np.percentile(values if border is None else content, BOTTOM_PERCENTILE))
    return low, high if border is None else max(high, border)


def _projection_levels(pictures: Sequence[Pixels], values: NDArray[np.float32]) -> tuple[float | None, float, float]:
    """Background (None if there is none), low and high end of an X-ray image: those of what is neither background,
    be it collimator or bare beam, with its scatter, nor saturated.

    The background is the mode of the edge, if that is an end of the histogram and a heap in it.
    """
    top = float(values.max())
    saturated = int((values == top).sum())
    if max(10.0, HEAP * values.size) <= saturated < values.size:
        values = values[values < top]
    bottom, top = (float(v) for v in np.percentile(values, (0.05, 99.95)))
    border = _border_heap(np.sort(_edges(pictures).astype(np.float32)), values, 2 * BAND * (top - bottom))
    if border is not None:
        values = values[np.abs(values - border) > 2 * BAND * (top - bottom)]
    low, high = (float(v) for v in np.percentile(values, PROJECTION_PERCENTILES))
    return border, low, high


def _border_heap(edges: NDArray[np.float32], values: NDArray[np.float32], width: float) -> float | None:
    """The middle of the heap of at most `width` in the sorted edges that is a projection's background; else None."""
    counts = np.searchsorted(edges, edges + width, side="right") - np.arange(edges.size)
    best = int(counts.argmax())
    if counts[best] < BORDER_SHARE * edges.size:
        return None
    middle = float(np.median(edges[best:best + counts[best]]))
    distance = np.abs(values - middle)
    heap, beyond = int((distance <= width / 2).sum()), int(((distance > width) & (distance <= 2 * width)).sum())
    content = values[distance > width]
    if not content.size or heap < 2 * beyond or 0.02 < float((content < middle).mean()) < 0.98:
        return None  # all is alike, part of a gradient, or in the midst of the anatomy
    return middle


def _edges(pictures: Sequence[Pixels]) -> Pixels:
    return np.concatenate([np.concatenate((p[0].ravel(), p[-1].ravel(), p[:, 0].ravel(), p[:, -1].ravel()))
                           for p in pictures])


def mapping(how: Decision | Method, levels: Levels, dtype: np.dtype[Any]) -> Mapping:
    """The mapping of one volume to `dtype`, which is the whole dataset's.

    Ends that were decided for the domain hold for all its volumes. Otherwise identity keeps the files' values,
    percentile takes the volume's useful range, and minmax its extremes.
    """
    decision = Decision(how) if isinstance(how, str) else how
    if decision.low is not None and decision.high is not None:
        return _linear(decision.low, decision.high, dtype)
    if decision.method == "identity":
        return Mapping(0.0, 1.0, dtype)
    if decision.method == "percentile":
        return _linear(levels.low, levels.high, dtype)
    return _linear(levels.lowest, levels.highest, dtype)


def _linear(low: float, high: float, dtype: np.dtype[Any]) -> Mapping:
    return Mapping(low, (high - low) / 65535.0 if high > low else 1.0, dtype)
