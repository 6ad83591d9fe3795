"""Kernel distance (KD-Lite0): squared maximum mean discrepancy, over pairs of different subjects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.features.base import Features
from ganatomy.features.choose import choose
from ganatomy.metrics.base import MIN_SUBJECTS, Images, MetricResult, Sample, Samples
from ganatomy.metrics.floors import Floor, noise_floor
from ganatomy.metrics.resampling import (
    BOOTSTRAPS,
    Array,
    across_mean,
    between_mean,
    block_sums,
    bootstrap_interval,
    multinomial_weights,
)

ORDER = 0
PERMUTATIONS = 499
_DRAWS = 10  # draws of one image a subject in the permutation test
_PERMUTED = 500  # synthetic images in the permutation test, at most


def kernel(x: Features, y: Features) -> Array:
    """k(x, y) = (x . y / d + 1)^3 for all pairs: [n, d], [m, d] -> [n, m] (Binkowski et al., ICLR 2018, sec. 4)."""
    product: Array = x @ y.T
    product /= x.shape[1]
    product += 1
    return product * product * product


@dataclass(frozen=True)
class Blocks:
    """The kernel summed over pairs of subjects: all that value, interval, floor and test need.

    xx [S, S] and yy [T, T] within the samples, xy [S, T] across, nx [S] and ny [T] images a subject.
    """

    xx: Array
    yy: Array
    xy: Array
    nx: Array
    ny: Array

    @classmethod
    def of(cls, x: Sample, y: Sample) -> Blocks:
        """Compute them. A sample of one subject has no pairs of different ones: its images stand in for subjects."""
        sx, sy = _pairable(x), _pairable(y)
        return cls(block_sums(kernel(x.features, x.features), sx, sx),
                   block_sums(kernel(y.features, y.features), sy, sy),
                   block_sums(kernel(x.features, y.features), sx, sy),
                   np.bincount(sx).astype(np.float64), np.bincount(sy).astype(np.float64))

    def distance(self, wx: Array | None = None, wy: Array | None = None) -> Array:
        """Squared MMD for each row of subject weights [draws, S], [draws, T] (default: one row of ones): [draws].

        mean k over x, x' of different subjects + mean k over y, y' of different subjects - 2 mean k over x, y.
        Unbiased for independent subjects, so it can be negative (Gretton et al., JMLR 2012, eq. 3).
        """
        wx = np.ones((1, len(self.nx))) if wx is None else wx
        wy = np.ones((1, len(self.ny))) if wy is None else wy
        cross = across_mean(self.xy, (self.nx, self.ny), (wx, wy))
        return between_mean(self.xx, self.nx, wx) + between_mean(self.yy, self.ny, wy) - 2 * cross

    def interval(self, seed: int) -> tuple[float, float] | None:
        """95% interval from multinomial weights on the subjects of both samples; None for fewer than two."""
        rng = np.random.default_rng((seed, 1))
        draws = self.distance(multinomial_weights(len(self.nx), BOOTSTRAPS, rng),
                              multinomial_weights(len(self.ny), BOOTSTRAPS, rng))
        return bootstrap_interval(float(self.distance()[0]), draws, min(len(self.nx), len(self.ny)))


def between_parts(blocks: Array, counts: Array, part: Array) -> Array:
    """Distance between two parts of one sample: blocks [S, S], counts [S], part [draws, S] of 1 (in) and 0: [draws]."""
    rest = 1 - part
    cross = across_mean(blocks, (counts, counts), (part, rest))
    return between_mean(blocks, counts, part) + between_mean(blocks, counts, rest) - 2 * cross


def kernel_distance(x: Sample, y: Sample) -> float:
    """Squared MMD between two samples, pairs of the same subject left out; NaN if a sample has one image only."""
    return float(Blocks.of(x, y).distance()[0])


def compute(samples: Samples) -> list[MetricResult]:
    """KD-Lite0 of the synthetic images against test and against train."""
    results = []
    for against, real in samples.real():
        blocks = Blocks.of(real, samples.synthetic)
        few = _fewest(real, samples.synthetic) < MIN_SUBJECTS
        extra: dict[str, Any] = {"interval": None if few else blocks.interval(samples.seed)}
        if not samples.control:
            extra |= _evidence(samples, against, real, blocks)
        results.append(MetricResult(
            samples.extractor.metric("KD"), against, float(blocks.distance()[0]), real.n_images, real.n_subjects,
            samples.synthetic.n_images, "lower", caveat=_caveat(real, samples.synthetic, extra), **extra))
    return results


def _evidence(samples: Samples, against: str, real: Sample, blocks: Blocks) -> dict[str, Any]:
    extra: dict[str, Any] = {"reference": _reference(samples) if against == "test" else None}
    if real.n_subjects < MIN_SUBJECTS:
        return extra | {"per_subject": per_subject(real, samples.synthetic)}
    if _fewest(real, samples.synthetic) < MIN_SUBJECTS:
        return extra
    floor = _floor(real, samples.synthetic, blocks, samples.seed)
    return extra | floor.fields() | {"p_no_difference": p_no_difference(real, samples.synthetic, samples.seed)}


def _floor(real: Sample, synthetic: Sample, blocks: Blocks, seed: int) -> Floor:
    if len(blocks.ny) != synthetic.n_images:  # synthetic images are chosen one by one, not by subject
        blocks = Blocks.of(real, Sample(synthetic.images, None, synthetic.features))
    return noise_floor(real, synthetic.n_images, lambda a: between_parts(blocks.xx, blocks.nx, a), blocks.distance,
                       seed)


def _reference(samples: Samples) -> dict[str, Any] | None:
    train, test = samples.train, samples.test
    if train is None:
        return None
    blocks = Blocks.of(test, train)
    few = min(train.n_subjects, test.n_subjects) < MIN_SUBJECTS
    return {"what": "real train against real test", "value": float(blocks.distance()[0]),
            "interval": None if few else blocks.interval(samples.seed), "n_images": train.n_images,
            "p_no_difference": None if few else p_no_difference(test, train, samples.seed)}


def per_subject(real: Sample, synthetic: Sample) -> dict[str, float]:
    """Distance of each subject's own images (pairs within it) to the synthetic ones; subjects of one image left out."""
    counts = np.bincount(real.subjects)
    return {name: kernel_distance(real.of_subject(i), synthetic) for i, name in enumerate(real.names) if counts[i] > 1}


def p_no_difference(x: Sample, y: Sample, seed: int) -> float:
    """P value of "no difference", from permuting subjects between the samples.

    At equality the statistic is degenerate, and an interval around it says little. Subjects of many images and
    synthetic images that stand alone cannot be exchanged for each other; then one image a subject is drawn, ten
    times, and twice the mean of the p values taken, which is valid whatever their dependence (Rueschendorf,
    Ann. Stat. 1982). The smallest value is 1/500, or 2/500 with draws.
    """
    rng = np.random.default_rng((seed, 2))
    clustered = x.n_subjects < x.n_images
    if y.n_subjects < y.n_images or not clustered:
        return _permutation(Blocks.of(x, y), rng)
    if y.n_images > _PERMUTED:
        y = y.take(np.sort(rng.choice(y.n_images, _PERMUTED, replace=False)))
    values = [_permutation(Blocks.of(x.take(_one_each(x, rng)), y), rng) for _ in range(_DRAWS)]
    return min(1.0, 2 * float(np.mean(values)))


def _one_each(sample: Sample, rng: np.random.Generator) -> NDArray[np.intp]:
    order = rng.permutation(sample.n_images)
    _, first = np.unique(sample.subjects[order], return_index=True)
    rows: NDArray[np.intp] = order[first].astype(np.intp)
    return rows


def _permutation(blocks: Blocks, rng: np.random.Generator) -> float:
    pooled = np.block([[blocks.xx, blocks.xy], [blocks.xy.T, blocks.yy]])
    labels = np.zeros((PERMUTATIONS + 1, len(pooled)))
    labels[:, :len(blocks.nx)] = 1
    labels[1:] = rng.permuted(labels[1:], axis=1)
    values = between_parts(pooled, np.concatenate([blocks.nx, blocks.ny]), labels)
    larger = np.count_nonzero(values[1:] >= values[0] - 1e-12 * abs(values[0]))
    return float((1 + larger) / (1 + PERMUTATIONS))


def _pairable(sample: Sample) -> NDArray[np.intp]:
    return sample.subjects if sample.n_subjects > 1 else np.arange(sample.n_images)


def _fewest(real: Sample, synthetic: Sample) -> int:
    """Subjects of the sample that has fewer; synthetic images that stand alone have none."""
    alone = synthetic.n_subjects == synthetic.n_images
    return real.n_subjects if alone else min(real.n_subjects, synthetic.n_subjects)


def _caveat(real: Sample, synthetic: Sample, extra: dict[str, Any]) -> str:
    fewest = _fewest(real, synthetic)
    if fewest == 1:
        return ("one subject only: pairs of its own images stand in for pairs of different subjects, "
                "so the figure is too high")
    if fewest < min(MIN_SUBJECTS, real.n_subjects):
        return f"the synthetic images are of {fewest} subjects only, so there is no interval"
    if real.n_subjects < MIN_SUBJECTS and extra.get("per_subject"):
        return "values per subject rest on pairs of one patient's own images, so they are too high"
    counts = np.bincount(real.subjects)
    if counts.max() > 2 * counts.min():
        return ("patients have very different numbers of images; if that goes with what the images show, "
                "the test of no difference finds one too easily")
    if (extra.get("p_no_difference") or 0) > 0.05:
        return "no difference shown at this sample size, which is not evidence that there is none"
    return ""


class KDScorer:
    """KD-Lite0 of generated images against fixed real ones, for choosing a checkpoint during training.

    Real features and the real-real term are computed once. The same images give the same bits (same machine, device
    and number of threads).

    Attributes:
        real: features of the real images, [n, 1280].
    """

    def __init__(self, real_images: Images, subjects: list[str], device: str = "cpu") -> None:
        """Take real images [n, c, s, s] in [-1, 1] and the n names of their subjects."""
        self._extractor, self._device = choose(), device
        self.real = self.features(real_images)
        numbers = _pairable(Sample(real_images, subjects, self.real))
        within = block_sums(kernel(self.real, self.real), numbers, numbers)
        counts = np.bincount(numbers).astype(np.float64)
        self._within = float(between_mean(within, counts, np.ones((1, len(counts))))[0])

    def __call__(self, fake_images: Images) -> float:
        """KD-Lite0 (not multiplied by 1000) of at least two generated images [m, c, s, s] in [-1, 1]."""
        return self.distance(self.features(fake_images))

    def features(self, images: Images) -> Features:
        """Features [n, 1280] of images [n, c, s, s]."""
        return self._extractor.compute(images, self._device)

    def distance(self, fake: Features) -> float:
        """KD-Lite0 (not multiplied by 1000) of the features of at least two generated images, [m, 1280]."""
        own = kernel(fake, fake)
        m = len(fake)
        between = (own.sum() - np.trace(own)) / (m * (m - 1))
        return float(self._within + between - 2 * kernel(self.real, fake).mean())
