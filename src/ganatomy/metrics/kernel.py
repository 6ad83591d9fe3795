"""Kernel distance (KD-Lite0): squared maximum mean discrepancy, over pairs of different subjects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.features.base import Features
from ganatomy.features.choose import choose
from ganatomy.metrics.base import MIN_SUBJECTS, About, Column, Images, Result, Sample, Samples
from ganatomy.metrics.floors import Floor, noise_floor
from ganatomy.metrics.kernel_blocks import (
    GROUPS,
    MOST_SUBJECTS,
    Blocks,
    Summed,
    between_parts,
    kernel,
    kernel_distance,
)
from ganatomy.statistics.resampling import between_mean
from ganatomy.statistics.subjects import Points, dealt

__all__ = ["Blocks", "KDScorer", "compute", "kernel_distance", "p_no_difference"]

ORDER = 0
ABOUT = (
    About("KD", "Kernel distance: how far apart the two sets of images lie, by the features of a network. Near 0 "
          "where they cannot be told apart.", "realistic", "lower", also="KID", column=Column("kd", "KD", order=0),
          factor=1000.0),
)
PERMUTATIONS = 499
_DRAWS = 10  # draws of one image a subject in the permutation test
_PERMUTED = 500  # synthetic images in the permutation test, at most
_NEEDS = "needs at least two images on either side"
_DRAWN = 2000  # of more than MOST_SUBJECTS: subjects in the permutation test, synthetic images in the halvings


def compute(samples: Samples) -> list[Result]:
    """KD-Lite0 of the synthetic images against test and against train; the whole samples, however large.

    Of more than 5,000 subjects, groups of them take their place (see `dealt`), also in the interval and the halvings.
    """
    prepared = {against: _prepared(real, samples.seed) for against, real in samples.real()}
    synthetic, results = _prepared(samples.synthetic, samples.seed), []
    for against, real in samples.real():
        if min(real.n_images, samples.synthetic.n_images) < 2:
            results.append(samples.result(samples.extractor.metric("KD"), against, None, "lower", caveat=_NEEDS))
            continue
        blocks = Blocks.of(prepared[against], synthetic)
        few = _fewest(real, samples.synthetic) < MIN_SUBJECTS
        extra: dict[str, Any] = {"interval": None if few else blocks.interval(samples.seed)}
        if not samples.control:
            extra |= _evidence(samples, against, real, blocks, prepared)
        results.append(samples.result(
            samples.extractor.metric("KD"), against, float(blocks.distance()[0]), "lower",
            caveat=_caveat(real, samples.synthetic, extra), **extra))
    return results


def _prepared(sample: Sample, seed: int) -> Summed:
    return Summed.from_sample(dealt(sample, MOST_SUBJECTS, GROUPS, np.random.default_rng((seed, 500))))


def _evidence(samples: Samples, against: str, real: Sample, blocks: Blocks,
              prepared: dict[str, Summed]) -> dict[str, Any]:
    extra: dict[str, Any] = {"reference": _reference(samples, prepared) if against == "test" else None}
    if real.n_subjects < MIN_SUBJECTS:
        return extra | {"per_subject": per_subject(real, samples.synthetic)}
    if _fewest(real, samples.synthetic) < MIN_SUBJECTS:
        return extra
    floor = _floor(prepared[against], samples.synthetic, blocks, samples.seed)
    return extra | floor.fields() | {"p_no_difference": p_no_difference(real, samples.synthetic, samples.seed)}


def _floor(real: Summed, synthetic: Sample, blocks: Blocks, seed: int) -> Floor:
    """Synthetic images are chosen one by one, not by subject: of more than 5,000 from 2,000 drawn at random."""
    if len(blocks.ny) != synthetic.n_images:
        pool = synthetic.features
        if len(pool) > MOST_SUBJECTS:
            rng = np.random.default_rng((seed, 501))
            pool = pool[np.sort(rng.choice(len(pool), min(_DRAWN, len(pool)), replace=False))]
        blocks = Blocks.of(real, Points.alone(pool))
    return noise_floor(real, len(blocks.ny), lambda a: between_parts(blocks.xx, blocks.nx, a), blocks.distance, seed)


def _reference(samples: Samples, prepared: dict[str, Summed]) -> dict[str, Any] | None:
    train, test = samples.train, samples.test
    if train is None or min(train.n_images, test.n_images) < 2:
        return None
    blocks = Blocks.of(prepared["test"], prepared["train"])
    few = min(train.n_subjects, test.n_subjects) < MIN_SUBJECTS
    return {"what": "real train against real test", "value": float(blocks.distance()[0]),
            "interval": None if few else blocks.interval(samples.seed), "n_images": train.n_images,
            "p_no_difference": None if few else p_no_difference(test, train, samples.seed)}


def per_subject(real: Sample, synthetic: Sample) -> dict[str, float]:
    """Distance of each subject's own images (pairs within it) to the synthetic ones; subjects of one image left out."""
    counts, other = np.bincount(real.subjects), _prepared(synthetic, 0)
    return {name: kernel_distance(Points.alone(real.features[real.subjects == i]), other)
            for i, name in enumerate(real.names) if counts[i] > 1}


def p_no_difference(x: Sample | Points, y: Sample | Points, seed: int) -> float:
    """P value of "no difference", from permuting subjects between the samples.

    At equality the statistic is degenerate, and an interval around it says little. Subjects of many images cannot be
    exchanged for synthetic images that stand alone, nor for subjects of few; then one image a subject is drawn, ten
    times, and twice the mean of the p values taken, which is valid whatever their dependence (Rueschendorf, Adv. Appl.
    Prob. 1982; Vovk and Wang, Biometrika 2020). The smallest value is 1/500, or 2/500 with draws. Of more than 5,000
    subjects a side, 2,000 drawn at random are exchanged.
    """
    rng = np.random.default_rng((seed, 2))
    x, y = (_fewer(s, seed) for s in (x, y))
    if len(set(np.bincount(x.subjects)) | set(np.bincount(y.subjects))) == 1:  # all have as many images
        return _permutation(Blocks.of(x, y), rng)
    sides = [_exchangeable(side, rng) for side in (x, y)]
    values = [_permutation(Blocks.of(*(side() for side in sides)), rng) for _ in range(_DRAWS)]
    return min(1.0, 2 * float(np.mean(values)))


def _exchangeable(sample: Sample | Points, rng: np.random.Generator) -> Callable[[], Points | Summed]:
    """What gives a sample of one image a subject: another draw at each call, or of images that stand alone the same."""
    if sample.n_subjects < sample.n_images:
        return lambda: Points.of(sample, _one_each(sample, rng))
    if sample.n_images > _PERMUTED:
        sample = Points.of(sample, np.sort(rng.choice(sample.n_images, _PERMUTED, replace=False)))
    summed = Summed.from_sample(sample)
    return lambda: summed


def _fewer(sample: Sample | Points, seed: int) -> Sample | Points:
    if sample.n_subjects <= MOST_SUBJECTS:
        return sample
    rng = np.random.default_rng((seed, 502))
    chosen = rng.choice(sample.n_subjects, min(_DRAWN, sample.n_subjects), replace=False)
    return Points.of(sample, np.flatnonzero(np.isin(sample.subjects, chosen)))


def _one_each(sample: Sample | Points, rng: np.random.Generator) -> NDArray[np.intp]:
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
        sample = Summed.from_sample(Sample(real_images, subjects, self.real))
        self._within = float(between_mean(sample.within, sample.counts, np.ones((1, len(sample.counts))))[0])

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
