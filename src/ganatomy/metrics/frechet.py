"""Frechet distance (FD-Lite0) between the Gaussians that have the features' means and covariances."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from ganatomy.features.base import Features
from ganatomy.metrics.base import MIN_SUBJECTS, POSITIVE, About, Column, Result, Sample, Samples
from ganatomy.metrics.floors import noise_floor
from ganatomy.statistics.resampling import Array, dealt_alike
from ganatomy.statistics.subjects import one_each

ORDER = 1
ABOUT = (
    About("FD", "Fréchet distance between two Gaussians fitted to features. Grows as images get fewer: compare only "
          "at equal numbers.", "realistic", "lower", also="FID", column=Column("fd", "FD", order=2),
          span=POSITIVE),
)
_MOST_HALVED = 400  # images a side in halvings, where a hundred distances are computed
_NEEDS = "needs at least two images on either side"
_MOST_PARTS = 10
_CENTRED = 4000  # features centred at a time
_CAVEAT = "biased upward, the more so the fewer the images: there is no interval, and it compares at equal n only"


def frechet_distance(x: Features, y: Features) -> float:
    """|mean x - mean y|^2 + tr Cx + tr Cy - 2 tr (Cx Cy)^(1/2), with covariances over n - 1.

    With A and B the centred features over sqrt(n - 1), the last trace is the sum of the singular values of A B',
    an n x m matrix: exact and cheap where n and m are below d, when the covariances are singular. Otherwise it is
    the sum of the roots of the eigenvalues of a symmetric product, on the smaller side.

    Args:
        x, y: [n, d] and [m, d], n and m above 1.

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
        """Of features [n, d]; of many, r is d, so that they are not held a second time."""
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
    """FD-Lite0 of the synthetic images against test and against train, with equally many images of both at a time."""
    results = []
    for against, real in samples.real():
        value = _distance(real, samples.synthetic, samples.seed)
        extra = {} if samples.control else _evidence(samples, against, real)
        results.append(samples.result(samples.extractor.metric("FD"), against, value, "lower",
                                      caveat=_NEEDS if value is None else _caveat(real, samples.synthetic), **extra))
    return results


def _distance(one: Sample, other: Sample, seed: int) -> float | None:
    """The mean over parts of the larger sample, each as large as the smaller one; None below two images."""
    if min(one.n_images, other.n_images) < 2:
        return None
    parts = zip(*dealt_alike(one.n_images, other.n_images, np.random.default_rng((seed, 12))), strict=True)
    return float(np.mean([frechet_distance(one.features[rows], other.features[columns])
                          for rows, columns in islice(parts, _MOST_PARTS)]))


def _caveat(one: Sample, other: Sample) -> str:
    return f"{_CAVEAT}; {min(one.n_images, other.n_images)} real and as many synthetic images at a time"


def _evidence(samples: Samples, against: str, real: Sample) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if against == "test" and samples.train and (value := _distance(samples.train, real, samples.seed)) is not None:
        extra["reference"] = {"what": "real train against real test", "value": value,
                              "n_images": samples.train.n_images}
    if samples.synthetic.n_images < 2:
        return extra
    if real.n_subjects >= MIN_SUBJECTS:
        return extra | _floor(real, samples.synthetic, samples.seed)
    own, whole = np.bincount(real.subjects), Gaussian.of(samples.synthetic.features)
    return extra | {"per_subject": {name: Gaussian.of(real.features[real.subjects == i]).distance(whole)
                                    for i, name in enumerate(real.names) if own[i] > 1}}


def _floor(real: Sample, synthetic: Sample, seed: int) -> dict[str, Any]:
    """The floor at equal n. Many images of few patients have a larger distance than as many independent ones, so with
    several images a subject each half is one image a subject, and the score is taken with as many synthetic ones."""
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
        most_b = min(synthetic.n_images, _MOST_HALVED)
        return np.array([frechet_distance(half(row, _MOST_HALVED), half(1 - row, most_b)) for row in a])

    def score(a: Array, chosen: Array) -> Array:
        return np.array([frechet_distance(half(row, _MOST_HALVED), synthetic.features[picked == 1])
                         for row, picked in zip(a, chosen, strict=True)])

    return noise_floor(real, synthetic.n_images, between, score, seed, _MOST_HALVED, several).fields()
