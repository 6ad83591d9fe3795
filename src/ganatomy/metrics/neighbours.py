"""Nearest neighbours of other subjects: balls around images, and which images of the other kind lie in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganatomy.features.base import Features
from ganatomy.statistics.resampling import Array

K = 5
_KEPT = 16_000_000  # distances
_SAME = 1e-9  # relative: a copy of a neighbour lies on the rim of the ball, and rounding must not put it outside


def squared_distances(x: Features, y: Features) -> Array:
    """Squared Euclidean distances of all pairs: [n, d], [m, d] -> [n, m]; exactly 0 between equal rows."""
    centre = x.mean(0)  # smaller numbers, so that little is lost where they cancel
    x, y = x - centre, y - centre
    scale: Array = np.square(x).sum(1)[:, None] + np.square(y).sum(1)[None]
    squared: Array = scale - 2 * (x @ y.T)
    squared[squared < 1e-12 * scale] = 0
    return squared


class Distances:
    """Squared distances between the rows of two samples; of many they are computed when asked for, not kept."""

    def __init__(self, x: Features, y: Features) -> None:
        """Take features [n, d] and [m, d]."""
        self._x, self._y = x, y
        self._kept = squared_distances(x, y) if len(x) * len(y) <= _KEPT else None

    def of(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
        """Between these rows of the one and these of the other: [rows, columns]."""
        if self._kept is not None:
            kept: Array = self._kept[np.ix_(rows, columns)]
            return kept
        return squared_distances(self._x[rows], self._y[columns])


def radii(squared: Array, subjects: NDArray[np.intp]) -> Array | None:
    """The squared radius of each image's ball: to its k-th nearest image of *another subject*.

    Slices of one patient resemble each other; were they neighbours, a ball would hold little but that patient.

    Args:
        squared: [n, n], squared distances.
        subjects: [n].

    Returns:
        [n], a hair larger so that the k-th neighbour is inside; None if an image has fewer than k to choose from.
    """
    if len(subjects) - np.bincount(subjects).max() < K:
        return None
    others = np.where(subjects[:, None] == subjects[None], np.inf, squared)
    nearest: Array = np.partition(others, K - 1, axis=1)[:, K - 1]
    return nearest * (1 + _SAME)


@dataclass(frozen=True)
class Part:
    """Some real and some synthetic images: which of them lie in whose balls.

    inside [n, m] whether a real image's ball holds a synthetic image; recalled [n] whether any synthetic image's ball
    holds a real one; only [2, m] the shares of real images that are recalled, and covered, by this synthetic one alone.
    """

    inside: NDArray[np.bool_]
    recalled: NDArray[np.bool_]
    only: Array

    @classmethod
    def of(cls, real: Array, synthetic: Array, across: Array,
           subjects: tuple[NDArray[np.intp], NDArray[np.intp]]) -> Part | None:
        """From squared distances within real [n, n] and synthetic images [m, m] and across [n, m]; None if too few."""
        around_real, around_synthetic = radii(real, subjects[0]), radii(synthetic, subjects[1])
        if around_real is None or around_synthetic is None:
            return None
        inside, recalling = across <= around_real[:, None], across <= around_synthetic
        return cls(inside, np.logical_or.reduce(recalling, axis=1), np.stack([_alone(recalling), _alone(inside)]))

    def images(self) -> tuple[Array, Array, Array, Array]:
        """For each image what precision [m], recall, density and coverage [n] are the means of.

        precision: whether a synthetic image is in the ball of any real one; recall: whether a real image is in the
        ball of any synthetic one (Kynkaanniemi et al., NeurIPS 2019, eqs. 1-2); density: n/k times the share of
        synthetic images in a real image's ball, of which the mean is the number of real balls that a synthetic image
        lies in, over k; coverage: whether there is one in it (Naeem et al., ICML 2020, eqs. 4-5).
        """
        dense: Array = self.inside.mean(1) * len(self.inside) / K
        return (np.any(self.inside, axis=0).astype(np.float64), self.recalled.astype(np.float64), dense,
                np.any(self.inside, axis=1).astype(np.float64))

    def held(self, subjects: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Whether the balls of each subject, in ascending order, hold each synthetic image: [subjects, m]."""
        order = np.argsort(subjects, kind="stable")
        starts = np.flatnonzero(np.diff(subjects[order], prepend=-1))
        joined: NDArray[np.bool_] = np.logical_or.reduceat(self.inside[order], starts, axis=0)
        return joined


def _alone(held: NDArray[np.bool_]) -> Array:
    """The share of rows [n, m] that are true in this column and in no other: [m]."""
    shares: Array = held[held.sum(1) == 1].sum(0) / len(held)
    return shares
