"""Diversity: how far apart the images of a sample are, synthetic beside real pairs of different subjects."""

from __future__ import annotations

from typing import Any

import numpy as np

from ganatomy.metrics.base import MIN_SUBJECTS, MetricResult, Sample, Samples
from ganatomy.statistics.resampling import (
    BOOTSTRAPS,
    Array,
    between_mean,
    block_sums,
    bootstrap_interval,
    multinomial_weights,
)

ORDER = 3
MOST_IMAGES = 500
_NEEDS = "needs at least two synthetic images, of different subjects"
_CAVEAT = "says nothing about whether the images are right: noise is diverse too"


def feature_distances(sample: Sample) -> Array:
    """Euclidean distance between the features of all pairs of images: [n, n]."""
    return _euclidean(sample.features)


def pixel_distances(sample: Sample) -> Array:
    """Root mean square difference of all pairs of images, in units of half the grey scale (-1 to 1): [n, n]."""
    flat = sample.images[:].reshape(sample.n_images, -1)
    rms: Array = _euclidean(flat) / np.sqrt(flat.shape[1])
    return rms


METRICS = {"features": feature_distances, "pixels": pixel_distances}


def _euclidean(x: Any) -> Array:
    x = x - x.mean(0)  # smaller numbers, so that little is lost where they cancel
    norms = np.square(x).sum(1, dtype=np.float64)
    product = (x @ x.T).astype(np.float64)
    distances: Array = np.sqrt(np.maximum(norms[:, None] + norms[None] - 2 * product, 0))
    return distances


class Diversity:
    """Mean distance over pairs of different subjects, with bootstrap draws over the subjects."""

    def __init__(self, sample: Sample, distances: Array, seed: int, stream: int) -> None:
        """Take a sample of two subjects or more, and the distances between its images [n, n].

        `stream` keeps the weights of samples that are compared independent of each other.
        """
        counts = np.bincount(sample.subjects).astype(np.float64)
        blocks = block_sums(distances, sample.subjects, sample.subjects)
        self.n_subjects, self.n_images = len(counts), sample.n_images
        self.value = float(between_mean(blocks, counts, np.ones((1, len(counts))))[0])
        rng = np.random.default_rng((seed, 8, stream))
        self.draws = between_mean(blocks, counts, multinomial_weights(len(counts), BOOTSTRAPS, rng))

    def interval(self) -> tuple[float, float] | None:
        """95%, over subjects; None below five."""
        return bootstrap_interval(self.value, self.draws, self.n_subjects) if self.n_subjects >= MIN_SUBJECTS else None


def compute(samples: Samples) -> list[MetricResult]:
    """Diversity of the synthetic images in features and in pixels, beside that of test and of train."""
    return [result for name in METRICS for result in _results(name, samples)]


def _results(name: str, samples: Samples) -> list[MetricResult]:
    own = _diversity(name, samples.synthetic, samples.seed, stream=0)
    results = []
    for against, real in samples.real():
        extra: dict[str, Any] = {}
        if own is not None and not samples.control:
            extra = _beside(own, _diversity(name, real, samples.seed, stream=1), against)
        shown = samples.extractor.metric("Diversity") if name == "features" else "Diversity-pixels"
        results.append(MetricResult(shown, against, own.value if own else None, real.n_images, real.n_subjects,
                                    samples.synthetic.n_images, "match", interval=_interval(own, real),
                                    caveat=_caveat(samples, real, own), **extra))
    return results


def _diversity(name: str, sample: Sample, seed: int, stream: int) -> Diversity | None:
    if sample.n_images > MOST_IMAGES:
        rows = np.random.default_rng((seed, 9)).choice(sample.n_images, MOST_IMAGES, replace=False)
        sample = sample.take(np.sort(rows))
    if sample.n_subjects < 2:
        return None
    return Diversity(sample, METRICS[name](sample), seed, stream)


def _interval(own: Diversity | None, real: Sample) -> tuple[float, float] | None:
    """Of the synthetic images; None below five real subjects, where no figure has one."""
    return own.interval() if own is not None and real.n_subjects >= MIN_SUBJECTS else None


def _beside(own: Diversity, real: Diversity | None, against: str) -> dict[str, Any]:
    if real is None:
        return {}
    reference = {"what": f"{against} images of different patients", "value": real.value, "interval": real.interval(),
                 "n_images": real.n_images}
    extra = {"reference": reference, "floor": real.value, "floor_interval": reference["interval"]}
    if real.value == 0:
        return extra
    ratio, few = own.value / real.value, real.n_subjects < MIN_SUBJECTS
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = own.draws / real.draws
    interval = None if few else bootstrap_interval(ratio, draws, min(own.n_subjects, real.n_subjects))
    return extra | {"ratio": ratio, "ratio_interval": interval}


def _caveat(samples: Samples, real: Sample, own: Diversity | None) -> str:
    if own is None:
        return _NEEDS
    if own.value == 0:
        return "the synthetic images are all the same"
    if real.n_subjects < 2 and not samples.control:
        return f"{_CAVEAT}; here there are no two real patients to compare with"
    return _CAVEAT
