"""Frechet distance (FD-Lite0) between the Gaussians that have the features' means and covariances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ganatomy.features.base import Features
from ganatomy.metrics.base import MIN_SUBJECTS, About, Column, Result, Sample, Samples
from ganatomy.metrics.floors import noise_floor
from ganatomy.statistics.resampling import Array
from ganatomy.statistics.subjects import one_each

ORDER = 1
ABOUT = (
    About("FD", "Fréchet distance between two Gaussians fitted to features. Grows as images get fewer: compare only "
          "at equal numbers.", "realistic", "lower", also="FID", column=Column("fd", "FD", order=2)),
)
MOST_RESAMPLED = 400  # images a side in halvings, where a hundred distances are computed
_NEEDS = "needs at least two images on either side"
_CENTRED = 4000  # features centred at a time
_CAVEAT = "falls with n and is biased upward: there is no interval, and it compares at equal n only"


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


def compute(samples: Samples) -> list[Result]:
    """FD-Lite0 of the synthetic images against test and against train."""
    synthetic, results = _gaussian(samples.synthetic), []
    moments = {against: _gaussian(real) for against, real in samples.real()}
    for against, real in samples.real():
        value = _distance(moments[against], synthetic)
        extra = {} if samples.control else _evidence(samples, against, real, moments)
        results.append(samples.result(samples.extractor.metric("FD"), against, value, "lower",
                                      caveat=_NEEDS if value is None else _CAVEAT, **extra))
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
    train = samples.train
    value = None if train is None else _distance(moments["train"], moments["test"])
    if train is None or value is None:
        return None
    return {"what": "real train against real test", "value": value, "n_images": train.n_images}


def _per_subject(real: Sample, synthetic: Sample) -> dict[str, float]:
    other = _gaussian(synthetic)
    own = {name: real.features[real.subjects == i] for i, name in enumerate(real.names)}
    return {name: Gaussian.of(features).distance(other) for name, features in own.items()
            if other is not None and len(features) > 1}


def _floor(real: Sample, synthetic: Sample, seed: int) -> dict[str, Any]:
    """The floor at equal n. Many images of few patients have a larger distance than as many independent ones, so with
    several images a subject each half is one image a subject, and the score is taken with as many synthetic ones."""
    if synthetic.n_images < 2:
        return {}

    several, rng = real.n_images > real.n_subjects, np.random.default_rng((seed, 9))

    def half(chosen: Array, most: int) -> Features:
        rows = np.flatnonzero(chosen[real.subjects])
        if several:
            rows = rows[one_each(real.subjects[rows], rng)]
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

    return noise_floor(real, synthetic.n_images, between, score, seed, MOST_RESAMPLED, several).fields()
