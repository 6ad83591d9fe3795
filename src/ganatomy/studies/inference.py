"""Values of every arm and k with one 95% interval and p-value, from few subjects, two seeds and overlapping refits.

Folds are fixed: each subject is held out once, and nothing is learnt by pretending otherwise. The variance of a value
has two parts. *Test subjects*: a bootstrap resamples them within folds and strata of the classes that a subject has,
with the same draws for all arms, k and seeds, so that what arms share cancels in their differences. Of a stratum of S
subjects S - 1 are drawn and weighted S / (S - 1): then the variance of the replicates is right for few subjects too
(Rao & Wu, JASA 1988). *Training*: by how much refits of one fold differ more than their test subjects make them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.studies.predictions import RANKING, Array, Bools, Metric, Outcomes

Interval = tuple[float, float]
NONE = 1e-18  # a variance that is rounding


class Error(NamedTuple):
    """A variance of an estimate and its degrees of freedom."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Estimate:
    """A value, its 95% interval, and the p-value of "it is 0", below 0.05 just where the interval leaves 0 out."""

    value: float
    interval: Interval | None = None
    p: float | None = None


def estimate(measured: Measured, ks: Sequence[int], arm: int, reference: int | None, freedom: int | None,
             external: bool = False) -> Estimate:
    """The score of an arm, or its difference from a reference arm, averaged over k; all by their places in the grid.

    Args:
        freedom: degrees of freedom of a variance over test subjects; None where these are too few for an interval.
        external: all classifiers judged the same subjects.
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
    error = with_training(subjects, own(measured.refits))
    return _test(value, error) if math.isfinite(error.variance) else Estimate(value)


ALIKE = 0.125
"""What all refits of a study have in common by sharing training subjects, as a part of their variance.

It would be F / (1 - F) x (folds - 1) / folds if a cell learnt from a share F of its pool's subjects and refits differed
by nothing else. It was chosen in simulations, for an interval that covers 95% (benchmarks/study_coverage.py).
"""


def with_training(subjects: Error, refits: Array) -> Error:
    """The variance of a mean over J refits: that over test subjects, and what training adds.

    A fold's refits differ by their seeds (subset, GAN, first weights) and by the test subjects that one seed gets right
    and another does not. The latter is in the bootstrap already, and is what the differences between seeds vary by from
    replicate to replicate. The variance that is left, if any, counts 1/J + `ALIKE` times. With one seed folds take the
    place of seeds. Degrees of freedom are Satterthwaite's, at least the fewer of the two parts'.

    Args:
        refits: [folds, seeds, 1 + replicates] as in `Measured`.
    """
    if refits.shape[1] == 1:
        refits = refits.swapaxes(0, 1)
    apart, freedom = refits - refits.mean(1, keepdims=True), refits.shape[0] * (refits.shape[1] - 1)
    between = float(np.square(apart[..., 0]).sum()) / freedom
    tested = sum(_variance(draws) for draws in apart[..., 1:].reshape(-1, apart.shape[2] - 1)) / freedom
    if between - tested <= NONE:
        return subjects
    weight = 1 / refits[..., 0].size + ALIKE
    total = subjects.variance + weight * (between - tested)
    parts = subjects.variance ** 2 / subjects.freedom + (weight * between) ** 2 / freedom
    return Error(total, max(min(freedom, subjects.freedom), total ** 2 / parts))


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


def _test(value: float, error: Error) -> Estimate:
    from scipy.stats import t

    spread = math.sqrt(error.variance)
    half = float(t.ppf(0.975, error.freedom)) * spread
    if spread == 0:
        return Estimate(value, (value, value), 1.0 if value == 0 else 0.0)
    return Estimate(value, (value - half, value + half), 2 * float(t.sf(abs(value) / spread, error.freedom)))


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
        per_seed: [arms, k, seeds]; the predictions of all folds pooled for each seed, or the mean over folds of metrics
            that rank. Their mean is the value.
        draws: [arms, k, replicates], the value with subjects resampled and the seeds as they are.
        refits: [arms, k, folds, seeds, 1 + replicates], of each classifier on its own test images, as they are and
            resampled.
    """

    per_seed: Array
    draws: Array
    refits: Array


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
    pooled = refits.mean(2)
    return Measured(pooled[..., 0], pooled[..., 1:].mean(2), refits)


def _measure_held_out(pool: Pool, metric: Metric, weights: Array, c: int) -> Measured:
    truth, scores, decisions = list(pool.truth.values())[c], pool.scores[c], pool.decisions[c]
    arms, ks, seeds, n = scores.shape
    own, folds = np.vstack([np.ones((1, n)), weights]), [pool.fold == f for f in range(int(pool.fold.max()) + 1)]
    refits = np.empty((arms, ks, len(folds), seeds, len(own)))
    for f, rows in enumerate(folds):
        for a, k, s in np.ndindex(arms, ks, seeds):
            refits[a, k, f, s] = metric(truth[rows], scores[a, k, s, rows], decisions[a, k, s, rows], own[:, rows])
    if metric in RANKING:
        pooled = refits.mean(2)
    else:
        pooled = np.stack([metric(truth, scores[at], decisions[at], own) for at in np.ndindex(arms, ks, seeds)])
        pooled = pooled.reshape(arms, ks, seeds, len(own))
    return Measured(pooled[..., 0], pooled[..., 1:].mean(2), refits)
