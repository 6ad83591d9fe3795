"""The kernel of the kernel distance, summed over pairs of subjects: all that value, interval, floor and test need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.statistics.resampling import (
    BOOTSTRAPS,
    Array,
    across_mean,
    between_mean,
    block_sums,
    bootstrap_interval,
    multinomial_weights,
)
from ganatomy.statistics.subjects import Grouped, Points

MOST_SUBJECTS, GROUPS = 5000, 1000  # more subjects than the former are dealt into the latter: sums are [S, S]
_AT_ONCE = 16_000_000  # kernel values held at a time; more are summed in tiles
_TILE = 2000


def kernel(x: NDArray[Any], y: NDArray[Any]) -> Array:
    """k(x, y) = (x . y / d + 1)^3 for all pairs: [n, d], [m, d] -> [n, m] (Binkowski et al., ICLR 2018, sec. 4)."""
    product: Array = x @ y.T
    product /= x.shape[1]
    product += 1
    return product * product * product


def kernel_sums(x: Points, y: Points) -> Array:
    """The kernel summed over pairs of subjects: [S, T].

    Of many images it is computed in tiles and in single precision, whose rounding (1e-6 of a value) averages out over
    16 million values and more; the sums are in double precision.
    """
    if x.n_images * y.n_images <= _AT_ONCE:
        return block_sums(kernel(x.features, y.features), x.subjects, y.subjects)
    sums = np.zeros((x.n_subjects, y.n_subjects))
    for i, rows in enumerate(_tiles(x)):
        left = x.features[rows].astype(np.float32)
        for j, columns in enumerate(_tiles(y)):
            if x is y and j < i:
                continue
            part = block_sums(kernel(left, y.features[columns].astype(np.float32)), x.subjects[rows],
                              y.subjects[columns])
            where = np.unique(x.subjects[rows]), np.unique(y.subjects[columns])
            sums[np.ix_(*where)] += part
            if x is y and j > i:
                sums[np.ix_(*where[::-1])] += part.T
    return sums


def _tiles(points: Points) -> Iterator[NDArray[np.intp]]:
    """Rows in parts, whole subjects together as far as they go."""
    order = np.argsort(points.subjects, kind="stable")
    return (order[start:start + _TILE] for start in range(0, len(order), _TILE))


class Summed(Points):
    """A sample whose kernel sums within are computed once. Of one subject its images stand in for subjects."""

    @classmethod
    def from_sample(cls, sample: Grouped) -> Summed:
        """The sample itself if it is one already."""
        if isinstance(sample, Summed):
            return sample
        subjects = sample.subjects if sample.n_subjects > 1 else np.arange(sample.n_images, dtype=np.intp)
        return cls(sample.features, subjects)

    @cached_property
    def within(self) -> Array:
        """[S, S]."""
        return kernel_sums(self, self)

    @cached_property
    def counts(self) -> Array:
        """Images a subject: [S]."""
        return np.bincount(self.subjects).astype(np.float64)


@dataclass(frozen=True)
class Blocks:
    """The kernel summed over pairs of subjects.

    xx [S, S] and yy [T, T] within the samples, xy [S, T] across, nx [S] and ny [T] images a subject.
    """

    xx: Array
    yy: Array
    xy: Array
    nx: Array
    ny: Array

    @classmethod
    def of(cls, x: Grouped, y: Grouped) -> Blocks:
        """Compute them. A sample of one subject has no pairs of different ones: its images stand in for subjects."""
        x, y = Summed.from_sample(x), Summed.from_sample(y)
        return cls(x.within, y.within, kernel_sums(x, y), x.counts, y.counts)

    def distance(self, wx: Array | None = None, wy: Array | None = None) -> Array:
        """Squared MMD for each row of subject weights [draws, S], [draws, T] (default: one row of ones): [draws].

        mean k over x, x' of different subjects + mean k over y, y' of different subjects - 2 mean k over x, y.
        Unbiased for independent subjects, so it can be negative (Gretton et al., JMLR 2012, eq. 3).
        """
        wx = np.ones((1, len(self.nx))) if wx is None else wx
        wy = np.ones((1, len(self.ny))) if wy is None else wy
        cross = across_mean(self.xy, (self.nx, self.ny), (wx, wy))
        return between_mean(self.xx, self.nx, wx) + between_mean(self.yy, self.ny, wy) - 2 * cross

    def interval(self, seed: int) -> tuple[float, float] | None:
        """95% interval from multinomial weights on the subjects of both samples; None for fewer than two."""
        rng = np.random.default_rng((seed, 1))
        draws = self.distance(multinomial_weights(len(self.nx), BOOTSTRAPS, rng),
                              multinomial_weights(len(self.ny), BOOTSTRAPS, rng))
        return bootstrap_interval(float(self.distance()[0]), draws, min(len(self.nx), len(self.ny)))


def between_parts(blocks: Array, counts: Array, part: Array) -> Array:
    """Distance between two parts of one sample: blocks [S, S], counts [S], part [draws, S] of 1 (in) and 0: [draws]."""
    rest = 1 - part
    cross = across_mean(blocks, (counts, counts), (part, rest))
    return between_mean(blocks, counts, part) + between_mean(blocks, counts, rest) - 2 * cross


def kernel_distance(x: Grouped, y: Grouped) -> float:
    """Squared MMD between two samples, pairs of the same subject left out; NaN if a sample has one image only."""
    return float(Blocks.of(x, y).distance()[0])
