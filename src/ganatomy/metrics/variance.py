"""Variance of every pixel over images: do synthetic images differ from each other as much as real patients do?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import MIN_SUBJECTS, MetricResult, Sample, Samples
from ganatomy.metrics.profiles import MOST_IMAGES, block_means, chosen_rows, chunks, drawn, ratio_off, said
from ganatomy.statistics.resampling import (
    BOOTSTRAPS,
    HALVINGS,
    Array,
    between_mean,
    bootstrap_interval,
    central,
    halvings,
    multinomial_weights,
)

ORDER = 16
NAME = "Variance-pixels"
MAP = 32  # pixels a side of the maps in `details`
_MOST_VALUES = 2**27  # sums of all subjects that are held at a time: 512 MB
_CAVEAT = "says nothing about whether the images are right: noise varies too"


@dataclass(frozen=True)
class Variance:
    """The variance over images of different subjects, of every pixel and of their mean, and what resampling needs.

    The variance is half the mean squared difference over pairs of images of *different* subjects: alike slices of one
    subject neither deflate it nor count as more evidence.

    Attributes:
        pixels: [c, s, s], where the grey scale is 2 wide.
        blocks: [S, S], half the squared differences, averaged over pixels, summed over pairs of images.
        counts: [S], images a subject.
    """

    pixels: Array
    blocks: Array
    counts: Array

    @classmethod
    def of(cls, sample: Sample, seed: int) -> Variance | None:
        """None with fewer than two subjects. Of many images, 2,000 drawn at random (fewer above 256 px)."""
        most = min(MOST_IMAGES, max(2, _MOST_VALUES // int(np.prod(sample.images.shape[1:]))))
        rows = chosen_rows(sample, 405, seed, most)
        _, subjects = np.unique(sample.subjects[rows], return_inverse=True)
        counts = np.bincount(subjects).astype(np.float64)
        if len(counts) < 2:
            return None
        sums, squares, weighted = _sums(sample, rows, subjects, counts)
        pairs = len(rows) ** 2 - np.square(counts).sum()
        total = sums.sum(0, dtype=np.float64)
        pixels = (weighted - total * total + np.einsum("sp,sp->p", sums, sums, dtype=np.float64)) / pairs
        gram = (sums @ sums.T).astype(np.float64) / sums.shape[1]
        blocks = (counts[None] * squares[:, None] + counts[:, None] * squares[None]) / 2 - gram
        return cls(np.maximum(pixels, 0).reshape(sample.images.shape[1:]), np.maximum(blocks, 0), counts)

    def mean(self, weights: Array | None = None) -> Array:
        """The mean over pixels for each row of subject weights [draws, S] (default: one row of ones): [draws]."""
        weights = np.ones((1, len(self.counts))) if weights is None else weights
        return between_mean(self.blocks, self.counts, weights)

    def draws(self, rng: np.random.Generator) -> Array:
        """Bootstrap draws of the mean: [1000]."""
        return self.mean(multinomial_weights(len(self.counts), BOOTSTRAPS, rng))

    def interval(self, draws: Array) -> tuple[float, float] | None:
        """95%, over subjects; None below five."""
        few = len(self.counts) < MIN_SUBJECTS
        return None if few else bootstrap_interval(float(self.mean()[0]), draws, len(self.counts))

    def halves(self, seed: int) -> Array | None:
        """The ratio between random halves of the subjects: [50]; None where a half has fewer than two."""
        if len(self.counts) < max(MIN_SUBJECTS, 4):
            return None
        a = halvings(len(self.counts), HALVINGS, np.random.default_rng((seed, 406)))
        own, other = self.mean(a), self.mean(1 - a)
        return own / other if (other > 0).all() else None


def _sums(sample: Sample, rows: NDArray[np.intp], subjects: NDArray[np.intp],
          counts: Array) -> tuple[NDArray[np.float32], Array, Array]:
    """Over images less a constant one: their sum for each subject [S, pixels], the sum of their mean squares [S], and
    the sum of squares of each pixel [pixels], each image counted as often as there are images of other subjects."""
    values = int(np.prod(sample.images.shape[1:]))
    sums, squares, weighted = np.zeros((len(counts), values), np.float32), np.zeros(len(counts)), np.zeros(values)
    centre, start = None, 0
    for chunk in chunks(sample, rows):
        flat, own = chunk.reshape(len(chunk), -1), subjects[start:start + len(chunk)]
        centre = flat.mean(0) if centre is None else centre
        flat = flat - centre  # smaller numbers, so that little is lost where they cancel
        squared = np.square(flat)
        for subject, image, power in zip(own, flat, squared.mean(1, dtype=np.float64), strict=True):
            sums[subject] += image
            squares[subject] += power
        weighted += (len(rows) - counts[own]) @ squared
        start += len(chunk)
    return sums, squares, weighted


def compute(samples: Samples) -> list[MetricResult]:
    """The synthetic images' variance, beside that of test and of train."""
    synthetic = Variance.of(samples.synthetic, samples.seed)
    draws = None if synthetic is None else synthetic.draws(np.random.default_rng((samples.seed, 407)))
    return [_result(samples, against, real, synthetic, draws) for against, real in samples.real()]


def _result(samples: Samples, against: str, sample: Sample, own: Variance | None, draws: Array | None) -> MetricResult:
    counted = sample.n_images, sample.n_subjects, samples.synthetic.n_images
    if own is None or draws is None:
        return MetricResult(NAME, against, None, *counted, "match", caveat="needs at least two synthetic images")
    extra: dict[str, Any] = {}
    caveat = said(_CAVEAT, drawn(sample, "real"), drawn(samples.synthetic, "synthetic"))
    if sample.n_subjects >= MIN_SUBJECTS:
        extra["interval"] = own.interval(draws)
    if not samples.control:
        real = Variance.of(sample, samples.seed)
        if real is None:
            caveat = said(caveat, "here there are no two real patients to compare with")
        else:
            extra |= _beside(own, draws, real, against, samples.seed)
    return MetricResult(NAME, against, float(own.mean()[0]), *counted, "match", caveat=caveat, **extra)


def _beside(own: Variance, draws: Array, real: Variance, against: str, seed: int) -> dict[str, Any]:
    value, theirs = float(real.mean()[0]), real.draws(np.random.default_rng((seed, 408)))
    reference = {"what": f"{against} images of different patients", "value": value, "interval": real.interval(theirs),
                 "n_images": int(real.counts.sum())}
    halves = real.halves(seed)
    extra = {"reference": reference, "floor": value, "floor_interval": reference["interval"],
             "details": {"real": _map(real.pixels), "synthetic": _map(own.pixels),
                         "halves": None if halves is None else list(central(halves))}}
    if value <= 0:
        return extra
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = draws / theirs
    fewest = min(len(own.counts), len(real.counts))
    interval = bootstrap_interval(float(own.mean()[0]) / value, ratios, fewest) if fewest >= MIN_SUBJECTS else None
    return extra | {"ratio": float(own.mean()[0]) / value, "ratio_interval": interval}


def _map(pixels: Array) -> list[list[float]]:
    """Standard deviation over images, of at most 32 x 32 blocks of pixels and over channels (root mean square)."""
    return [[float(f"{x:.4g}") for x in row] for row in np.sqrt(block_means(pixels.mean(0), MAP))]


def found(result: Mapping[str, Any]) -> str:
    """A sentence if the variance is surely off, from a result of metrics.json; else "", also of other metrics.

    Surely: the ratio is below 0.8 or above 1.25, and its interval as a whole below or above 1.
    """
    off = ratio_off(result) if result["name"] == NAME else ""
    if not off:
        return ""
    what = "the images are too alike" if off == "low" else "too much"
    return f"Pixels vary {result['ratio']:.2f} times as much as between real patients: {what}."
