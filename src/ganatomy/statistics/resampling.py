"""Drawing subjects: bootstrap weights, halvings, jackknife groups; the intervals that follow, and Holm's p-values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = NDArray[np.intp]
HALVINGS = 50
BOOTSTRAPS = 1000
JACKKNIFE_GROUPS = 20


def multinomial_weights(subjects: int, draws: int, rng: np.random.Generator) -> Array:
    """How often each of `subjects` is drawn, with replacement: [draws, subjects], rows summing to `subjects`."""
    return rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=draws).astype(np.float64)


def halvings(subjects: int, draws: int, rng: np.random.Generator) -> Array:
    """Random halves of the subjects as 0/1: [draws, subjects]; 1 is half A, 0 is half B (B has one more if odd)."""
    weights = np.zeros((draws, subjects))
    for row in weights:
        row[rng.permutation(subjects)[:subjects // 2]] = 1
    return weights


def dealt_alike(n: int, m: int, rng: np.random.Generator, most: int | None = None,
                least: int = 1) -> tuple[Index, Index]:
    """Rows of two samples of `n` and `m`, equally many of both a part: two of [parts, size].

    A part is as large as the smaller sample, at most `most`. Parts are dealt until all rows of the larger sample have
    been used, and again until there are `least`, where the samples are not equally large.
    """
    size = min(n, m, most or n)
    once = -(-max(n, m) // size)
    deals = 1 if once == 1 else -(-least // once)
    rows, columns = (np.concatenate([np.resize(rng.permutation(count), (once, size)) for _ in range(deals)])
                     for count in (n, m))
    return rows, columns


def student(value: float, spread: float, subjects: int) -> tuple[float, float]:
    """The 95% interval value +- t x spread with subjects - 1 degrees of freedom; `spread` is a standard error."""
    from scipy.stats import t

    half = float(t.ppf(0.975, max(1, subjects - 1))) * spread
    return value - half, value + half


def wilson(share: float, variance: float, subjects: int, most: int) -> tuple[float, float]:
    """95% interval of a share with this variance: Wilson's (JASA 1927), with Student's t for the few subjects.

    The number of observations is that of independent ones with the same variance, at least `subjects` where the
    share is 0 or 1 and no variance can be seen, at most `most`.
    """
    from scipy.stats import t

    spread = share * (1 - share)
    n = float(subjects) if spread == 0 else (most if variance <= 0 else min(spread / variance, most))
    z = float(t.ppf(0.975, subjects - 1)) ** 2 / n
    centre, half = (share + z / 2) / (1 + z), float(np.sqrt(z * spread + z * z / 4)) / (1 + z)
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: at most 1, in the order given.

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    adjusted, largest = [0.0] * len(p), 0.0
    for done, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - done) * p[i]))
        adjusted[i] = largest
    return adjusted


def bootstrap_interval(value: float, draws: Array, subjects: int) -> tuple[float, float] | None:
    """A 95% interval from the standard deviation of bootstrap draws.

    Student's t and the factor sqrt(S / (S - 1)) make up for the few subjects; percentiles cover too little there.
    Draws that are not finite (one subject drawn every time) are left out.
    """
    kept = draws[np.isfinite(draws)]
    if len(kept) < 2 or subjects < 2 or not math.isfinite(value):
        return None
    return student(value, float(kept.std(ddof=1)) * math.sqrt(subjects / (subjects - 1)), subjects)


def central(draws: Array) -> tuple[float, float]:
    """The central 95% of draws."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def jackknife_groups(subjects: int, rng: np.random.Generator) -> list[NDArray[np.intp]]:
    """Whole subjects dealt into at most 20 groups, each left out once."""
    order = rng.permutation(subjects).astype(np.intp)
    return list(np.array_split(order, min(subjects, JACKKNIFE_GROUPS)))


def jackknife_variance(left_out: Array) -> float:
    """Variance of an estimate from its values with each group left out (delete-a-group jackknife)."""
    groups = len(left_out)
    return float((groups - 1) / groups * np.square(left_out - left_out.mean()).sum())


def pair_variance(values: Array, first: NDArray[np.intp], second: NDArray[np.intp], same: bool) -> float:
    """Variance of a mean over pairs: every subject is left out in turn with all its pairs (jackknife).

    Such a mean varies with the subjects on both sides; what is peculiar to a single pair counts twice, so the variance
    is rather too large where pairs are few.

    Args:
        values: [pairs].
        first, second: [pairs], numbers of the subjects on either side.
        same: the numbers mean the same subjects on both sides; else the sides are independent.
    """
    if same:
        return jackknife_variance(_without_each(np.tile(values, 2), np.concatenate([first, second]), values))
    return sum(jackknife_variance(_without_each(values, side, values)) for side in (first, second))


def _without_each(values: Array, subjects: NDArray[np.intp], pairs: Array) -> Array:
    """The mean over pairs without each subject's; a subject without which no pair is left is passed over."""
    counts, sums = np.bincount(subjects), np.bincount(subjects, values)
    some = (counts > 0) & (counts < len(pairs))
    return np.asarray((pairs.sum() - sums[some]) / (len(pairs) - counts[some]))


def block_sums(pairs: Array, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
    """Sum a matrix over pairs of images [n, m] into one over pairs of subjects [S, T]."""
    return _sum_rows(_sum_rows(pairs, rows).T, columns).T


def _sum_rows(matrix: Array, subjects: NDArray[np.intp]) -> Array:
    order = np.argsort(subjects, kind="stable")
    starts = np.flatnonzero(np.diff(subjects[order], prepend=-1))
    return np.add.reduceat(matrix[order], starts, axis=0, dtype=np.float64)


def between_mean(blocks: Array, counts: Array, weights: Array) -> Array:
    """The weighted mean over pairs of images of *different* subjects.

    Args:
        blocks: [S, S], sums over pairs of subjects.
        counts: [S], images a subject.
        weights: [draws, S], weights of the subjects.

    Returns:
        [draws]; NaN where fewer than two subjects have weight.
    """
    # the diagonal is left out even for a subject drawn twice: its copies would meet themselves
    off = blocks.copy()
    np.fill_diagonal(off, 0)
    sums = ((weights @ off) * weights).sum(1)
    pairs = (weights @ counts) ** 2 - np.square(weights * counts).sum(1)
    return np.asarray(np.divide(sums, pairs, out=np.full(len(weights), np.nan), where=pairs > 0.5))


def across_mean(blocks: Array, counts: tuple[Array, Array], weights: tuple[Array, Array]) -> Array:
    """The weighted mean over pairs of one image from each of two samples: blocks [S, T], weights [draws, S or T]."""
    (left, right), (n_left, n_right) = weights, counts
    return np.asarray(((left @ blocks) * right).sum(1) / ((left @ n_left) * (right @ n_right)))
