"""Values of every arm and k with their intervals and p-values, from few subjects, two seeds and overlapping refits.

Folds are fixed: each subject is held out once, and nothing is learnt by pretending otherwise. The bootstrap resamples
the test subjects of each fold, within strata of the classes that a subject has, and uses the same draws for all arms,
k and seeds, so that what arms share cancels in their differences. Of a stratum of S subjects S - 1 are drawn and
weighted S / (S - 1): then the variance of the replicates is right for few subjects too (Rao & Wu, JASA 1988).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.studies.predictions import Array, Bools, Metric, Outcomes

Interval = tuple[float, float]
NONE = 1e-18  # a variance that is rounding


class Error(NamedTuple):
    """A variance of an estimate and its degrees of freedom."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Estimate:
    """A value with two 95% intervals, over test subjects and seeds and over refits, and the wider one.

    `p` is the larger of the two p-values of "it is 0"; below 0.05 just where `interval` leaves 0 out.
    """

    value: float
    interval: Interval | None = None
    bootstrap_interval: Interval | None = None
    refit_interval: Interval | None = None
    p: float | None = None


def estimate(measured: Measured, ks: Sequence[int], arm: int, reference: int | None, freedom: int | None,
             external: bool = False) -> Estimate:
    """The score of an arm, or its difference from a reference arm, averaged over k; all by their places in the grid.

    Args:
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
    return Estimate(value, max(first, second, key=lambda own: own[1]), first, second, max(p_first, p_second))


def over_seeds(exchanged: Array) -> Error:
    """What seeds add to the variance over subjects of a mean over seeds; [folds, seeds] as in `Measured`.

    Seeds are independent in each fold, so this is the sum over folds of s^2 / seeds, with s^2 the variance between the
    values that each of the fold's seeds would give. That seeds differ on just these test subjects is in both variances:
    the sum is rather too large.
    """
    folds, seeds = exchanged.shape
    if seeds < 2:
        return Error(0.0, math.inf)
    return Error(float(exchanged.var(1, ddof=1).sum()) / seeds, folds * (seeds - 1))


def over_refits(refits: Array) -> Error:
    """The corrected variance of a mean over J refits [folds, seeds]: s^2 (1/J + n_test / n_train), J - 1 of freedom.

    Refits share training subjects and so are alike: s^2 / J alone is too small. n_test / n_train = 1 / (folds - 1) is
    that of the pools of subjects that the folds deal out: the share of one pool in the next makes refits alike, while
    the k images are drawn anew from it for every seed.

    Source: Nadeau and Bengio, Machine Learning 2003, the corrected resampled t-test; Bouckaert and Frank, PAKDD 2004,
    use it for repeated folds.
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


REPLICATES = 2000


@dataclass(frozen=True)
class Grid:
    """The cells and arms: k, numbers of folds and seeds, and names of arms, in the order of all tables."""

    ks: tuple[int, ...]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    arms: tuple[str, ...]


@dataclass(frozen=True)
class Pool:
    """Test images, in an order that does not depend on that of the outcomes, and how they were judged.

    Attributes:
        subjects: number of each image's subject [n]; `names` are theirs.
        fold: place of each image's fold in the grid [n]; all 0 for an external set.
        labels: class of each image [n].
        truth: by positive class, bool [n].
        scores, decisions: [positive classes, arms, k, seeds, n]; [positive classes, arms, k, seeds, folds, 2, n] of an
            external set, which the classifiers of every fold judge, by which half the choices were made for.
        external: whether it is of an external set.
    """

    names: tuple[str, ...]
    subjects: NDArray[np.intp]
    fold: NDArray[np.intp]
    labels: tuple[str, ...]
    truth: dict[str, Bools]
    scores: Array
    decisions: Bools
    external: bool

    def freedom(self) -> int:
        """Degrees of freedom of a variance over subjects within folds: of those with or without a class, the fewer."""
        counts: list[int] = []
        for truth in (side for own in self.truth.values() for side in (own, ~own)):
            pairs = np.unique(np.stack([self.fold[truth], self.subjects[truth]]), axis=1)
            counts.append(pairs.shape[1] - len(np.unique(pairs[0])))
        return max(1, min(counts))


@dataclass(frozen=True)
class Measured:
    """One metric, the mean over the positive classes.

    Attributes:
        per_seed: [arms, k, seeds]; the predictions of all folds pooled for each seed. Their mean is the value.
        draws: [arms, k, replicates], the value with subjects resampled and the seeds as they are.
        refits: [arms, k, folds, seeds], of each classifier on its own test images.
        exchanged: [arms, k, folds, seeds], the value if this seed had taken the place of all in its fold.
    """

    per_seed: Array
    draws: Array
    refits: Array
    exchanged: Array


def pool_images(outcomes: Outcomes, grid: Grid, positives: Sequence[str], external: bool = False) -> Pool:
    """The held-out images of all folds, one after the other, or those of an external set.

    Raises:
        UserError: a cell is missing, or cells that must judge the same images judged different ones.
    """
    if external:
        parts = [[_aligned(outcomes, grid, fold, positives, half) for half in (0, 1)] for fold in grid.folds]
        images = [parts[0][0][0]]
        for own, _, _ in (part for pair in parts for part in pair):
            _refuse_others(own == images[0], "the external set")
        scores, decisions = (np.stack([np.stack([part[i] for part in pair], axis=-2) for pair in parts], axis=-3)
                             for i in (1, 2))
    else:
        folds = [_aligned(outcomes, grid, fold, positives, None) for fold in grid.folds]
        images = [own for own, _, _ in folds]
        scores, decisions = (np.concatenate([part[i] for part in folds], axis=-1) for i in (1, 2))
    _, subjects, labels = (tuple(value for own in images for value in own[i]) for i in range(3))
    names, numbers = np.unique(np.array(subjects, dtype=str), return_inverse=True)
    return Pool(tuple(map(str, names)), numbers.astype(np.intp), np.repeat(np.arange(len(images)), [
        len(own[0]) for own in images]), labels, {c: np.array([label == c for label in labels]) for c in positives},
        scores, decisions, external)


Images = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Ids, subjects and labels of images."""


def _aligned(outcomes: Outcomes, grid: Grid, fold: int, positives: Sequence[str],
             half: int | None) -> tuple[Images, Array, Bools]:
    """The images of one fold (and half), sorted by id; scores and decisions [positive classes, arms, k, seeds, n]."""
    judged: list[tuple[Images, list[Array], list[Bools]]] = []
    for k, seed, arm in ((k, seed, arm) for arm in grid.arms for k in grid.ks for seed in grid.seeds):
        if (k, fold, seed, arm) not in outcomes:
            raise UserError(f"there are no predictions for k = {k}, fold {fold}, seed {seed}, arm {arm}",
                            fix="run the study again: what is there is kept, what is missing is done")
        own = outcomes[k, fold, seed, arm]
        rows = np.arange(len(own.image_ids)) if half is None else np.flatnonzero(own.half == half)
        rows = rows[np.argsort(np.array(own.image_ids, dtype=str)[rows], kind="stable")]
        ids, subjects, labels = (tuple(column[i] for i in rows) for column in (own.image_ids, own.subjects, own.labels))
        judged.append(((ids, subjects, labels), [own.scores[c][rows] for c in positives],
                       [own.decisions[c][rows] for c in positives]))
        _refuse_others(judged[-1][0] == judged[0][0], f"k = {k}, fold {fold}, seed {seed}, arm {arm}")
    shape = len(positives), len(grid.arms), len(grid.ks), len(grid.seeds), -1
    scores, decisions = (np.stack([own[i] for own in judged], axis=1).reshape(shape) for i in (1, 2))
    return judged[0][0], scores, decisions


def _refuse_others(same: bool, where: str) -> None:
    if not same:
        raise UserError("other images were judged here than in the other cells", where=where,
                        fix="run the study again in a new folder")


def replicate_weights(pool: Pool, replicates: int, seed: int) -> Array:
    """How often every image counts in every bootstrap replicate: [replicates, n]. The module's docstring says how."""
    rng, by_subject = np.random.default_rng(seed), np.ones((replicates, len(pool.names)))
    for stratum in _strata(pool):
        size = len(stratum)
        if size > 1:
            drawn = rng.multinomial(size - 1, np.full(size, 1 / size), size=replicates)
            by_subject[:, stratum] = drawn * (size / (size - 1))
    weights: Array = by_subject[:, pool.subjects]
    return weights


def _strata(pool: Pool) -> Iterator[list[int]]:
    """Subjects of the same fold with images of the same classes; one who would be alone joins others of the fold."""
    folds: dict[int, dict[int, set[str]]] = {}  # classes by fold and subject
    for subject, fold, label in zip(pool.subjects.tolist(), pool.fold.tolist(), pool.labels, strict=True):
        folds.setdefault(fold, {}).setdefault(subject, set()).add(label)
    for _, classes in sorted(folds.items()):
        by_classes: dict[tuple[str, ...], list[int]] = {}
        for subject in sorted(classes):
            by_classes.setdefault(tuple(sorted(classes[subject])), []).append(subject)
        strata = sorted(by_classes.values(), key=len)
        while len(strata) > 1 and len(strata[0]) == 1:
            strata = sorted([strata[0] + strata[1], *strata[2:]], key=len)
        yield from strata


def measure(pool: Pool, metric: Metric, weights: Array) -> Measured:
    """A metric, the mean over the positive classes. `weights` are those of `replicate_weights`."""
    of_class = _measure_external if pool.external else _measure_held_out
    parts = [of_class(pool, metric, weights, c) for c in range(len(pool.truth))]
    return Measured(**{name: np.mean([vars(part)[name] for part in parts], axis=0) for name in vars(parts[0])})


def _measure_external(pool: Pool, metric: Metric, weights: Array, c: int) -> Measured:
    """The mean over folds, halves and seeds of the metric of each classifier."""
    truth, scores, decisions = list(pool.truth.values())[c], pool.scores[c], pool.decisions[c]
    shape = scores.shape[:-1]
    own = np.vstack([np.ones((1, len(truth))), weights])
    each = np.stack([metric(truth, scores[at], decisions[at], own) for at in np.ndindex(shape)])
    refits = np.swapaxes(each.reshape(*shape, -1).mean(-2), 2, 3)  # [arms, k, folds, seeds, 1 + replicates]
    draws, refits = refits[..., 1:].mean((2, 3)), refits[..., 0]
    value, own_fold = refits.mean((2, 3), keepdims=True), refits.mean(3, keepdims=True)
    return Measured(refits.mean(2), draws, refits, value + (refits - own_fold) / refits.shape[2])


def _measure_held_out(pool: Pool, metric: Metric, weights: Array, c: int) -> Measured:
    """Rows of weights: every image once, each fold alone, then the replicates."""
    truth, scores, decisions = list(pool.truth.values())[c], pool.scores[c], pool.decisions[c]
    arms, ks, seeds, n = scores.shape
    folds = int(pool.fold.max()) + 1
    alone = pool.fold == np.arange(folds)[:, None]
    own = np.vstack([np.ones((1, n)), alone.astype(np.float64), weights])
    pooled = np.empty((arms, ks, seeds, len(own)))
    exchanged = np.empty((arms, ks, folds, seeds))
    for at in np.ndindex(arms, ks):
        for s in range(seeds):
            pooled[at][s] = metric(truth, scores[at][s], decisions[at][s], own)
        for f, s in np.ndindex(folds, seeds):
            others = [metric(truth, np.where(alone[f], scores[at][s], scores[at][j]),
                             np.where(alone[f], decisions[at][s], decisions[at][j]), own[:1])[0]
                      for j in range(seeds) if j != s]
            exchanged[at][f, s] = np.mean([pooled[at][s, 0], *others])
    refits = np.swapaxes(pooled[..., 1:1 + folds], 2, 3)
    return Measured(pooled[..., 0], pooled[..., 1 + folds:].mean(2), refits, exchanged)
