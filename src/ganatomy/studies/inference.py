"""Intervals and p-values of a score or of a difference of two, from few subjects, two seeds and overlapping refits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ganatomy.studies.pooling import Measured
from ganatomy.studies.scores import Array

Interval = tuple[float, float]
NONE = 1e-18  # a variance that is rounding


class Error(NamedTuple):
    """A variance of an estimate and its degrees of freedom."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Estimate:
    """A figure with two 95% intervals around it, and the wider one.

    Attributes:
        value: the figure.
        interval: the wider of the two.
        bootstrap_interval: over test subjects and seeds, with these training sets.
        refit_interval: over refits, Nadeau and Bengio's.
        p: the larger of the two p-values of "it is 0"; below 0.05 just where `interval` leaves 0 out.
        limited_by: "refits" or "subjects": which interval is the wider.
    """

    value: float
    interval: Interval | None = None
    bootstrap_interval: Interval | None = None
    refit_interval: Interval | None = None
    p: float | None = None
    limited_by: str = ""


def estimate(measured: Measured, ks: Sequence[int], arm: int, reference: int | None, freedom: int | None,
             external: bool = False) -> Estimate:
    """The score of an arm, or its difference from a reference arm, averaged over some k.

    Args:
        measured: one metric.
        ks: places of these k in the grid.
        arm, reference: places of the arms; None for the arm's own score.
        freedom: degrees of freedom of a variance over test subjects; None where these are too few for an interval.
        external: all classifiers judged the same subjects, so that refits do not differ by their test subjects; what
            these vary is added to what refits do.
    """
    def own(values: Array) -> Array:
        """Of [arms, k, ...] the figure [...]; the same numbers in both arms give exactly 0."""
        mean: Array = values[arm, list(ks)].mean(0)
        return mean if reference is None else mean - values[reference, list(ks)].mean(0)

    value = float(own(measured.per_seed).mean())
    if freedom is None or not math.isfinite(value):
        return Estimate(value)
    fewest = freedom + (1 if external else measured.refits.shape[2])
    subjects = _at_least(Error(_variance(own(measured.draws)), freedom), fewest)
    boot = _sum(subjects, over_seeds(own(measured.exchanged)))
    refits = over_refits(own(measured.refits))
    refits = _sum(refits, subjects) if external else refits
    if not (math.isfinite(boot.variance) and math.isfinite(refits.variance)):
        return Estimate(value)
    (first, p_first), (second, p_second) = _test(value, boot), _test(value, refits)
    wider, limit = (first, "subjects") if first[1] >= second[1] else (second, "refits")
    return Estimate(value, wider, first, second, max(p_first, p_second), limit)


def over_seeds(exchanged: Array) -> Error:
    """What seeds add to the variance over subjects of a mean over seeds.

    Seeds are independent in each fold, so this is the sum over folds of s^2 / seeds, with s^2 the variance between the
    values that each of the fold's seeds would give. (Drawing two seeds with replacement would find half of it.) That
    seeds differ on just these test subjects is in both variances and so counted twice: the sum is rather too large.

    Args:
        exchanged: [folds, seeds], as in `Measured`.
    """
    folds, seeds = exchanged.shape
    if seeds < 2:
        return Error(0.0, math.inf)
    return Error(float(exchanged.var(1, ddof=1).sum()) / seeds, folds * (seeds - 1))


def over_refits(refits: Array) -> Error:
    """The corrected variance of a mean over refits: s^2 (1/J + n_test / n_train), J - 1 degrees of freedom.

    Refits share training subjects and so are alike: s^2 / J alone is too small. n_test / n_train = 1 / (folds - 1) is
    that of the pools of subjects which the folds deal out. It is the share of one pool in the next that makes refits
    alike; the k images are drawn anew from it for every seed, which makes them less alike, not more. With the k images
    as n_train the correction would say that fewer training images make refits more alike.

    Source: Nadeau and Bengio, Machine Learning 2003, the corrected resampled t-test (for random splits); Bouckaert and
    Frank, PAKDD 2004, use it for repeated folds.

    Args:
        refits: [folds, seeds], at least two folds; the figure of each refit on its own test subjects.
    """
    folds, count = len(refits), refits.size
    return Error(float(refits.var(ddof=1)) * (1 / count + 1 / (folds - 1)), count - 1)


def _at_least(error: Error, subjects: int) -> Error:
    """An error that is not 0 where no test subject differs: others may, and resampling these cannot know of them.

    A share q of subjects has no member among n with a probability of 2.5% at most if q is 1 - 0.025^(1/n). If as many
    positive subjects were missed by one arm alone, F1 would differ by q / (2 - q): that becomes the half width.
    """
    from scipy.stats import t

    if not error.variance <= NONE:
        return error
    q = 1 - 0.025 ** (1 / subjects)
    return Error((q / (2 - q) / float(t.ppf(0.975, error.freedom))) ** 2, error.freedom)


def _variance(draws: Array) -> float:
    kept = draws[np.isfinite(draws)]
    return float(kept.var(ddof=1)) if len(kept) > 1 else math.nan


def _sum(first: Error, second: Error) -> Error:
    """Of independent parts; the degrees of freedom are Welch's and Satterthwaite's."""
    total = first.variance + second.variance
    if not total > 0:
        return Error(total, first.freedom)
    shares = (first.variance / total) ** 2 / first.freedom + (second.variance / total) ** 2 / second.freedom
    return Error(total, 1 / shares)


def _test(value: float, error: Error) -> tuple[Interval, float]:
    from scipy.stats import t

    spread = math.sqrt(error.variance)
    half = float(t.ppf(0.975, error.freedom)) * spread
    if spread == 0:
        return (value, value), 1.0 if value == 0 else 0.0
    return (value - half, value + half), 2 * float(t.sf(abs(value) / spread, error.freedom))
