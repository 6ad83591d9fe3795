"""Diversity: how far apart the images of a sample are, synthetic beside real pairs of different subjects."""

from __future__ import annotations

from typing import Any

import numpy as np

from ganatomy.metrics.appearance import chosen_rows
from ganatomy.metrics.base import MIN_SUBJECTS, POSITIVE, About, Column, Grave, Result, Sample, Samples
from ganatomy.metrics.prdc import squared_distances
from ganatomy.statistics.resampling import (
    BOOTSTRAPS,
    between_mean,
    block_sums,
    bootstrap_interval,
    multinomial_weights,
)
from ganatomy.statistics.subjects import Points

ORDER = 3
ABOUT = (
    About("Diversity", "How far apart pairs of images are. Should match real pairs of different subjects; well below,"
          " the generator repeats itself.", "diverse", "match",
          column=Column("diversity_ratio", "diversity ratio", ratio=True, order=8), span=POSITIVE),
)
HALF = 0.5  # times the diversity of real images: less is a failure, not a shortcoming
LESS = 0.9  # less is a shortcoming, if surely below 1
MOST_IMAGES = 500
_NEEDS = "needs at least two synthetic images, of different subjects"
_CAVEAT = "says nothing about whether the images are right: noise is diverse too"


class Diversity:
    """Mean distance over pairs of different subjects, with bootstrap draws over the subjects."""

    def __init__(self, points: Points, seed: int, stream: int) -> None:
        """Of two subjects or more; `stream` keeps the weights of compared samples independent of each other."""
        counts = np.bincount(points.subjects).astype(np.float64)
        distances = np.sqrt(squared_distances(points.features, points.features))
        blocks = block_sums(distances, points.subjects, points.subjects)
        self.n_subjects, self.n_images = len(counts), points.n_images
        self.value = float(between_mean(blocks, counts, np.ones((1, len(counts))))[0])
        rng = np.random.default_rng((seed, 8, stream))
        self.draws = between_mean(blocks, counts, multinomial_weights(len(counts), BOOTSTRAPS, rng))

    def interval(self) -> tuple[float, float] | None:
        """95%, over subjects; None below five."""
        return bootstrap_interval(self.value, self.draws, self.n_subjects) if self.n_subjects >= MIN_SUBJECTS else None


def compute(samples: Samples) -> list[Result]:
    """Diversity of the synthetic images in features, beside that of test and of train."""
    own = _diversity(samples.synthetic, samples.seed, stream=0)
    name, results = samples.extractor.metric("Diversity"), []
    for against, real in samples.real():
        if own is None:
            results.append(samples.result(name, against, None, "match", caveat=_NEEDS))
            continue
        beside = None if samples.control else _diversity(real, samples.seed, stream=1)
        # below five real subjects nothing has an interval
        interval = own.interval() if real.n_subjects >= MIN_SUBJECTS else None
        results.append(samples.result(name, against, own.value, "match", interval=interval,
                                      caveat=_caveat(samples, real, own), **_beside(own, beside, against)))
    return results


def fault(result: Result) -> str:
    """That the images are less diverse than real ones: surely, or by so much that it is said without an interval too.
    """
    if result.ratio is None or result.ratio >= LESS:
        return ""
    text = f"{result.name} is {result.ratio:.2f} times that of real images."
    surely, by_far = result.ratio_interval is not None and result.ratio_interval[1] < 1, result.ratio < HALF
    if surely and by_far:
        return Grave(f"{text} The generator repeats itself.")
    return text if surely else f"{text} With so few that may be chance." if by_far else ""


def _diversity(sample: Sample, seed: int, stream: int) -> Diversity | None:
    points = Points.of(sample, chosen_rows(sample.n_images, 9, seed, MOST_IMAGES))
    return Diversity(points, seed, stream) if points.n_subjects > 1 else None


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


def _caveat(samples: Samples, real: Sample, own: Diversity) -> str:
    if own.value == 0:
        return "the synthetic images are all the same"
    if real.n_subjects < 2 and not samples.control:
        return f"{_CAVEAT}; here there are no two real patients to compare with"
    return _CAVEAT
