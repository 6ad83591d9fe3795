"""Frechet distance (FD-Lite0) between the Gaussians that have the features' means and covariances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ganatomy.features.base import Features
from ganatomy.metrics.base import MIN_SUBJECTS, MetricResult, Sample, Samples
from ganatomy.metrics.floors import noise_floor
from ganatomy.statistics.resampling import Array, jackknife_groups, jackknife_variance, student
from ganatomy.statistics.subjects import Points

ORDER = 1
MOST_RESAMPLED = 400  # images a side in halvings and jackknife, where a hundred distances are computed
_NEEDS = "needs at least two images on either side"
_CENTRED = 4000  # features centred at a time
_CAVEAT = "falls with n and is biased upward; the interval is for its expectation at this n, not for n without limit"


def frechet_distance(x: Features, y: Features) -> float:
    """|mean x - mean y|^2 + tr Cx + tr Cy - 2 tr (Cx Cy)^(1/2), with covariances over n - 1.

    With A and B the centred features over sqrt(n - 1), the last trace is the sum of the singular values of A B',
    an n x m matrix: exact and cheap where n and m are below d, when the covariances are singular. Otherwise it is
    the sum of the roots of the eigenvalues of a symmetric product, on the smaller side.

    Args:
        x: [n, d], n > 1.
        y: [m, d], m > 1.

    Returns:
        The distance, 0 or more but for rounding.

    Source: Dowson and Landau, J. Multivariate Analysis 1982, eq. 4.
    """
    return Gaussian.of(x).distance(Gaussian.of(y))


@dataclass(frozen=True)
class Gaussian:
    """A Gaussian of d dimensions: mean [d], and a factor [r, d] with factor' factor = covariance."""

    mean: Array
    factor: Array

    @classmethod
    def of(cls, x: Features) -> Gaussian:
        """With the moments of features [n, d]; of many, r is d, so that they are not held a second time."""
        mean = x.mean(0)
        if len(x) <= max(_CENTRED, x.shape[1]):
            return cls(mean, (x - mean) / np.sqrt(len(x) - 1))
        covariance = np.zeros((x.shape[1], x.shape[1]))
        for start in range(0, len(x), _CENTRED):
            chunk = x[start:start + _CENTRED] - mean
            covariance += chunk.T @ chunk
        return cls(mean, _root(covariance / (len(x) - 1)))

    def distance(self, other: Gaussian) -> float:
        """See `frechet_distance`."""
        a, b = self.factor, other.factor
        apart = float(np.square(self.mean - other.mean).sum())
        return apart + float(np.square(a).sum() + np.square(b).sum()) - 2 * _trace_of_root(a, b)


def _root(covariance: Array) -> Array:
    """Any a with a' a = covariance will do."""
    values, vectors = np.linalg.eigh(covariance)
    root: Array = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    return root


def _trace_of_root(a: Array, b: Array) -> float:
    d = a.shape[1]
    if len(a) < d and len(b) < d:
        return float(np.linalg.svd(a @ b.T, compute_uv=False).sum())
    a, b = (a, b) if len(a) <= len(b) else (b, a)
    covariance = b.T @ b
    if len(a) >= d:
        a = _root(a.T @ a)
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(a @ covariance @ a.T), 0)).sum())


def frechet_interval(x: Sample, y: Sample, seed: int, value: float | None = None) -> tuple[float, float] | None:
    """95% interval for E[FD_n]: both samples' whole subjects are left out in at most 20 groups in turn (jackknife).

    It tells how the figure would vary with other subjects at the same n; it does not cover the distance between
    the populations, which lies below. Of more than 400 images a side, the spread is that of 400 drawn at random, so
    rather too wide. None if a sample has fewer than two subjects. `value` is the distance, where it is known.
    """
    if min(x.n_subjects, y.n_subjects) < 2:
        return None
    value = frechet_distance(x.features, y.features) if value is None else value
    rng, fewest, variance = np.random.default_rng((seed, 4)), x.n_subjects, 0.0
    a, b = (_at_most(s, MOST_RESAMPLED, rng) for s in (x, y))
    for out, other in ((a, b), (b, a)):
        groups = jackknife_groups(out.n_subjects, rng)
        kept = [out.features[~np.isin(out.subjects, group)] for group in groups]
        if min(map(len, kept)) < 2:
            return None
        variance += jackknife_variance(np.array([frechet_distance(features, other.features) for features in kept]))
        fewest = min(fewest, len(groups))
    return student(value, np.sqrt(variance), fewest)


def _at_most(sample: Sample, most: int, rng: np.random.Generator) -> Points:
    if sample.n_images <= most:
        return Points(sample.features, sample.subjects)
    return Points.of(sample, np.sort(rng.choice(sample.n_images, most, replace=False)).astype(np.intp))


def compute(samples: Samples) -> list[MetricResult]:
    """FD-Lite0 of the synthetic images against test and against train."""
    made, results = _gaussian(samples.synthetic), []
    moments = {against: _gaussian(real) for against, real in samples.real()}
    for against, real in samples.real():
        value = _distance(moments[against], made)
        few = real.n_subjects < MIN_SUBJECTS
        extra: dict[str, Any] = {}
        if not few and value is not None:
            extra["interval"] = frechet_interval(real, samples.synthetic, samples.seed, value)
        if not samples.control:
            extra |= _evidence(samples, against, real, moments)
        results.append(MetricResult(
            samples.extractor.metric("FD"), against, value, real.n_images, real.n_subjects,
            samples.synthetic.n_images, "lower", caveat=_NEEDS if value is None else _CAVEAT, **extra))
    return results


def _gaussian(sample: Sample) -> Gaussian | None:
    return Gaussian.of(sample.features) if sample.n_images > 1 else None


def _distance(real: Gaussian | None, other: Gaussian | None) -> float | None:
    return None if real is None or other is None else real.distance(other)


def _evidence(samples: Samples, against: str, real: Sample, moments: dict[str, Gaussian | None]) -> dict[str, Any]:
    extra: dict[str, Any] = {"reference": _reference(samples, moments) if against == "test" else None}
    if real.n_subjects < MIN_SUBJECTS:
        return extra | {"per_subject": _per_subject(real, samples.synthetic)}
    return extra | _floor(real, samples.synthetic, samples.seed)


def _reference(samples: Samples, moments: dict[str, Gaussian | None]) -> dict[str, Any] | None:
    train, test = samples.train, samples.test
    value = None if train is None else _distance(moments["train"], moments["test"])
    if train is None or value is None:
        return None
    few = min(train.n_subjects, test.n_subjects) < MIN_SUBJECTS
    return {"what": "real train against real test", "value": value, "n_images": train.n_images,
            "interval": None if few else frechet_interval(test, train, samples.seed, value)}


def _per_subject(real: Sample, synthetic: Sample) -> dict[str, float]:
    made = _gaussian(synthetic)
    own = {name: real.features[real.subjects == i] for i, name in enumerate(real.names)}
    return {name: Gaussian.of(features).distance(made) for name, features in own.items()
            if made is not None and len(features) > 1}


def _floor(real: Sample, synthetic: Sample, seed: int) -> dict[str, Any]:
    """The floor at equal n. Many images of few patients have a larger distance than as many independent ones, so with
    several images a subject each half is one image a subject, and the score is taken with as many synthetic ones."""
    if synthetic.n_images < 2:
        return {}

    one_each, rng = real.n_images > real.n_subjects, np.random.default_rng((seed, 9))

    def half(chosen: Array, most: int) -> Features:
        rows = np.flatnonzero(chosen[real.subjects])
        if one_each:
            order = rng.permutation(rows)
            rows = order[np.unique(real.subjects[order], return_index=True)[1]]
        if len(rows) > most:  # the distance depends on n, so both sides of a comparison must have the same
            rows = np.sort(np.random.default_rng((seed, 5)).choice(rows, most, replace=False))
        picked: Features = real.features[rows]
        return picked

    def between(a: Array) -> Array:
        most_b = min(synthetic.n_images, MOST_RESAMPLED)
        return np.array([frechet_distance(half(row, MOST_RESAMPLED), half(1 - row, most_b)) for row in a])

    def score(a: Array, chosen: Array) -> Array:
        return np.array([frechet_distance(half(row, MOST_RESAMPLED), synthetic.features[picked == 1])
                         for row, picked in zip(a, chosen, strict=True)])

    return noise_floor(real, synthetic.n_images, between, score, seed, MOST_RESAMPLED, one_each).fields()
