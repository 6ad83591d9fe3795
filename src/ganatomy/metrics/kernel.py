"""Kernel distance (KD-Lite0): squared maximum mean discrepancy, over pairs of different subjects.

The kernel summed over pairs of subjects is all that value, interval, floor and permutation test need.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.features.base import Features, choose
from ganatomy.metrics.base import MIN_SUBJECTS, About, Column, Images, Result, Sample, Samples
from ganatomy.metrics.floors import Floor, noise_floor
from ganatomy.metrics.permutation import Values, permuted
from ganatomy.statistics.resampling import (
    BOOTSTRAPS,
    Array,
    across_mean,
    between_mean,
    block_sums,
    bootstrap_interval,
    multinomial_weights,
)
from ganatomy.statistics.subjects import Grouped, Index, Points, dealt

MOST_SUBJECTS, GROUPS = 5000, 1000  # more subjects than the former are dealt into the latter: sums are [S, S]
_AT_ONCE = 16_000_000  # kernel values held at a time; more are summed in tiles
_TILE = 2000


def kernel(x: NDArray[Any], y: NDArray[Any]) -> Array:
    """k(x, y) = (x . y / d + 1)^3 for all pairs: [n, d], [m, d] -> [n, m] (Binkowski et al., ICLR 2018, sec. 4)."""
    product: Array = x @ y.T
    product /= x.shape[1]
    product += 1
    return product * product * product


def kernel_sums(x: Points, y: Points) -> Array:
    """The kernel summed over pairs of subjects: [S, T].

    Of many images it is computed in tiles and in single precision, whose rounding (1e-6 of a value) averages out over
    16 million values and more; the sums are in double precision.
    """
    if x.n_images * y.n_images <= _AT_ONCE:
        return block_sums(kernel(x.features, y.features), x.subjects, y.subjects)
    sums = np.zeros((x.n_subjects, y.n_subjects))
    for i, rows in enumerate(_tiles(x)):
        left = x.features[rows].astype(np.float32)
        for j, columns in enumerate(_tiles(y)):
            if x is y and j < i:
                continue
            part = block_sums(kernel(left, y.features[columns].astype(np.float32)), x.subjects[rows],
                              y.subjects[columns])
            where = np.unique(x.subjects[rows]), np.unique(y.subjects[columns])
            sums[np.ix_(*where)] += part
            if x is y and j > i:
                sums[np.ix_(*where[::-1])] += part.T
    return sums


def _tiles(points: Points) -> Iterator[Index]:
    """Rows in parts, whole subjects together as far as they go."""
    order = np.argsort(points.subjects, kind="stable")
    return (order[start:start + _TILE] for start in range(0, len(order), _TILE))


class Summed(Points):
    """A sample whose kernel sums within are computed once.

    A sample of one subject has no pairs of different ones: its images stand in for subjects.
    """

    @classmethod
    def from_sample(cls, sample: Grouped) -> Summed:
        if isinstance(sample, Summed):
            return sample
        subjects = sample.subjects if sample.n_subjects > 1 else np.arange(sample.n_images, dtype=np.intp)
        return cls(sample.features, subjects)

    @cached_property
    def within(self) -> Array:
        """[S, S]."""
        return kernel_sums(self, self)

    @cached_property
    def counts(self) -> Array:
        """Images a subject: [S]."""
        return np.bincount(self.subjects).astype(np.float64)


@dataclass(frozen=True)
class Blocks:
    """The kernel summed over pairs of subjects, within two samples and across; nx [S] and ny [T] images a subject."""

    xx: Array
    yy: Array
    xy: Array
    nx: Array
    ny: Array

    @classmethod
    def of(cls, x: Grouped, y: Grouped) -> Blocks:
        x, y = Summed.from_sample(x), Summed.from_sample(y)
        return cls(x.within, y.within, kernel_sums(x, y), x.counts, y.counts)

    @classmethod
    def within(cls, sums: Array, counts: Array) -> Blocks:
        """Of a sample [S, S] with itself: `distance` is that between the parts of it that have weight."""
        return cls(sums, sums, sums, counts, counts)

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


def kernel_distance(x: Grouped, y: Grouped) -> float:
    """Squared MMD between two samples, pairs of the same subject left out; NaN if a sample has one image only."""
    return float(Blocks.of(x, y).distance()[0])


ORDER = 0
ABOUT = (
    About("KD", "Kernel distance: how far apart the two sets of images lie, by the features of a network. Near 0 "
          "where they cannot be told apart.", "realistic", "lower", also="KID", column=Column("kd", "KD", order=0),
          factor=1000.0),
)
_NEEDS = "needs at least two images on either side"
ONE_SUBJECT = "one subject only: its slices stand in for subjects"
_TOO_HIGH = f"{ONE_SUBJECT} and are nearer to each other than those of several, so the value is too high"
_DRAWN = 2000  # of more than MOST_SUBJECTS: subjects in the permutation test, synthetic images in the halvings


def compute(samples: Samples) -> list[Result]:
    """KD-Lite0 of the synthetic images against test and against train.

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
    halves = Blocks.within(blocks.xx, blocks.nx)
    return noise_floor(real, len(blocks.ny), lambda a: halves.distance(a, 1 - a), blocks.distance, seed)


def _reference(samples: Samples, prepared: dict[str, Summed]) -> dict[str, Any] | None:
    train, test = samples.train, samples.test
    if train is None or min(train.n_images, test.n_images) < 2:
        return None
    reference = _between_real(Blocks.of(prepared["test"], prepared["train"]), test, train, samples.seed)
    p = None if reference["interval"] is None else p_no_difference(test, train, samples.seed)
    return reference | {"p_no_difference": p}


def _between_real(blocks: Blocks, one: Sample, other: Sample, seed: int) -> dict[str, Any]:
    few = min(one.n_subjects, other.n_subjects) < MIN_SUBJECTS
    return {"what": "real train against real test", "value": float(blocks.distance()[0]),
            "interval": None if few else blocks.interval(seed), "n_images": other.n_images}


def per_subject(real: Sample, synthetic: Sample) -> dict[str, float]:
    """Distance of each subject's own images (pairs within it) to the synthetic ones; subjects of one image left out."""
    counts, other = np.bincount(real.subjects), _prepared(synthetic, 0)
    return {name: kernel_distance(Points.alone(real.features[real.subjects == i]), other)
            for i, name in enumerate(real.names) if counts[i] > 1}


def p_no_difference(x: Sample | Points, y: Sample | Points, seed: int) -> float:
    """P value of "no difference", from permuting subjects between the samples (see `permuted`).

    The smallest value is 1/500, or 2/500 with draws. Of more than 5,000 subjects a side, 2,000 drawn at random are
    exchanged.
    """
    x, y = (_fewer(s, seed) for s in (x, y))

    def measure(rows: Index, columns: Index) -> Values:
        blocks = Blocks.of(Points.of(x, rows), Points.of(y, columns))
        pooled = np.block([[blocks.xx, blocks.xy], [blocks.xy.T, blocks.yy]])
        both = Blocks.within(pooled, np.concatenate([blocks.nx, blocks.ny]))
        return lambda labels: both.distance(labels, 1 - labels)

    return permuted(x, y, measure, np.random.default_rng((seed, 2)), whole=True).p


def _fewer(sample: Sample | Points, seed: int) -> Sample | Points:
    if sample.n_subjects <= MOST_SUBJECTS:
        return sample
    rng = np.random.default_rng((seed, 502))
    chosen = rng.choice(sample.n_subjects, min(_DRAWN, sample.n_subjects), replace=False)
    return Points.of(sample, np.flatnonzero(np.isin(sample.subjects, chosen)))


def _fewest(real: Sample, synthetic: Sample) -> int:
    """Subjects of the sample that has fewer; synthetic images that stand alone have none."""
    alone = synthetic.n_subjects == synthetic.n_images
    return real.n_subjects if alone else min(real.n_subjects, synthetic.n_subjects)


def _caveat(real: Sample, synthetic: Sample, extra: dict[str, Any]) -> str:
    fewest = _fewest(real, synthetic)
    if fewest == 1:
        return _TOO_HIGH
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
    """Kernel distance of generated images to fixed real ones, for choosing a checkpoint during training.

    The real images' features, `real` [n, d], and the real-real term are computed once.
    """

    def __init__(self, real_images: Images, subjects: list[str], device: str = "cpu", features: str = "lite0") -> None:
        """Take real images [n, c, s, s] in [-1, 1], the n names of their subjects, and those of the features."""
        self._extractor, self._device = choose(features), device
        self.name = self._extractor.name
        self.real = self.features(real_images)
        sample = Summed.from_sample(Sample(real_images, subjects, self.real))
        self._within = float(between_mean(sample.within, sample.counts, np.ones((1, len(sample.counts))))[0])

    def features(self, images: Images) -> Features:
        """Features [n, d] of images [n, c, s, s]."""
        return self._extractor.compute(images, self._device)

    def distance(self, fake: Features) -> float:
        """Kernel distance (not multiplied by 1000) of the features [m, d] of at least two generated images."""
        own = kernel(fake, fake)
        m = len(fake)
        between = (own.sum() - np.trace(own)) / (m * (m - 1))
        return float(self._within + between - 2 * kernel(self.real, fake).mean())


@dataclass(frozen=True)
class _People:
    """Who the subjects of two samples are.

    x [S] and y [T] are the numbers, among `count` persons in both together, of the rows and columns of the blocks;
    apart [S, T] is 1 for different persons, whose pairs count, and 0 for one.
    """

    blocks: Blocks
    x: Index
    y: Index
    count: int
    apart: Array

    @classmethod
    def of(cls, real: Sample, translated: Sample) -> _People:
        blocks = Blocks.of(real, translated)
        number = {name: i for i, name in enumerate(dict.fromkeys((*real.names, *translated.names)))}
        x, y = (np.array([number[name] for name in (sample.names if sample.n_subjects > 1
                                                    else sample.names * sample.n_images)], np.intp)
                for sample in (real, translated))
        apart = (x[:, None] != y[None]).astype(np.float64)
        if not apart.any():  # one person in all: of the same slices, pairs of one slice are left out instead
            apart = 1 - np.eye(len(x)) if len(x) == len(y) else np.ones_like(apart)
        return cls(blocks, x, y, len(number), apart)

    def distance(self, weights: Array) -> Array:
        """Squared MMD over pairs of different persons, for weights of the persons [draws, count]: [draws]."""
        blocks, wx, wy = self.blocks, weights[:, self.x], weights[:, self.y]
        sums = ((wx @ (blocks.xy * self.apart)) * wy).sum(1)
        pairs = ((wx @ (np.outer(blocks.nx, blocks.ny) * self.apart)) * wy).sum(1)
        cross = np.divide(sums, pairs, out=np.full(len(weights), np.nan), where=pairs > 0.5)
        within = between_mean(blocks.xx, blocks.nx, wx) + between_mean(blocks.yy, blocks.ny, wy)
        distance: Array = within - 2 * cross
        return distance


def translated_distance(real: Sample, translated: Sample, seed: int = 0) -> Result:
    """Squared MMD between real images of a contrast and translations to it, of the same slices or others.

    Subjects of the same name are one person, whose images, real and translated, would seem nearer than independent
    ones are: pairs of one person are left out of all three terms. If both samples are of one person, its images stand
    in for subjects, and pairs of one slice are left out. There is no interval below five subjects on either side;
    `seed` is of the bootstrap, which draws a person with all its images.
    """
    people = _People.of(real, translated)
    value, interval = float(people.distance(np.ones((1, people.count)))[0]), None
    fewest = min(real.n_subjects, translated.n_subjects)
    if fewest >= MIN_SUBJECTS:
        draws = people.distance(multinomial_weights(people.count, BOOTSTRAPS, np.random.default_rng((seed, 12))))
        interval = bootstrap_interval(value, draws, fewest)
    caveat = "" if fewest > 1 else ONE_SUBJECT if real.names == translated.names else _TOO_HIGH
    return Result(name=real.extractor.metric("KD"), value=value, n_images=real.n_images, n_subjects=real.n_subjects,
                  n_synthetic=translated.n_images, interval=interval, caveat=caveat)


def real_distance(one: Sample, other: Sample, seed: int = 0) -> dict[str, object] | None:
    """The same between real images of two sets of patients; None where either is one, within whom it is something else.
    """
    if min(one.n_subjects, other.n_subjects) == 1:
        return None
    return _between_real(Blocks.of(one, other), one, other, seed) | {"n_subjects": other.n_subjects}
