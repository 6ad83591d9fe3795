"""Do synthetic images fill gaps? How often a new patient's nearest image is a synthetic one rather than a real one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import MIN_SUBJECTS, MetricResult, Sample, Samples
from ganatomy.metrics.neighbours import squared_distances
from ganatomy.metrics.prdc import wilson
from ganatomy.metrics.resampling import Array, jackknife_variance

ORDER, CONTROLS = 12, False
DRAWS, MOST = 60, 500
"""Draws of one image a training subject and as many synthetic ones; at most 500 of each."""
CHANCE = 0.5
_CAVEAT = ("fresh patients would have 0.5. Below: the synthetic images lie farther from new patients than as many real "
           "ones, or are copies of training images (about 0.3). Above: they lie nearer, which average, blurred images "
           "do too, so that more is no better: read it with the distances, precision and the audit of copies")
_NEEDS = "needs at least two training subjects and two synthetic images"
Index = NDArray[np.intp]


def compute(samples: Samples) -> list[MetricResult]:
    """The share of test images nearer to a synthetic than to any training image, in features; counts are matched.

    A draw takes one image each of k training subjects and k independent synthetic images, k the smaller number, at most
    500. For a perfect generator the 2k images are exchangeable given the test image, so that the nearest is a
    synthetic one with a probability of exactly 1/2; ties count half. The value is the mean over draws.
    """
    test, train, synthetic = samples.test, samples.train, samples.synthetic
    name, sizes = samples.extractor.metric("Gaps"), (test.n_images, test.n_subjects, synthetic.n_images)
    if train is None or min(train.n_subjects, synthetic.n_subjects) < 2:
        reason = "there is no train split" if train is None else _NEEDS
        return [MetricResult(name, "test", None, *sizes, "match", caveat=reason)]
    value, interval, k = filled(test, train, synthetic, samples.seed)
    reference = {"what": "fresh patients in the place of the synthetic images", "value": CHANCE, "interval": None,
                 "n_images": k}
    return [MetricResult(name, "test", value, *sizes, "match", interval=interval, floor=CHANCE, reference=reference,
                         caveat=f"{_CAVEAT}; {k} real and {k} synthetic images at a time, {DRAWS} draws",
                         details={"at_a_time": k, "draws": DRAWS}, ranked=False)]


def filled(test: Sample, train: Sample, synthetic: Sample,
           seed: int) -> tuple[float, tuple[float, float] | None, int]:
    """The share, its 95% interval (None below five subjects on any side), and k.

    The interval is over test subjects, training subjects and synthetic images: each is left out in turn (jackknife);
    with a training image gone, test images fall to the second nearest. Were only the test subjects to vary, one
    training image that is near to everything would go unnoticed.
    """
    k = min(train.n_subjects, synthetic.n_subjects, MOST)
    rng = np.random.default_rng((seed, 301))
    weights = 1.0 / (np.bincount(test.subjects)[test.subjects] * test.n_subjects)
    shares = np.zeros((DRAWS, test.n_images))
    lost = [np.zeros(sample.n_subjects) for sample in (train, synthetic)]
    drawn = [np.zeros(sample.n_subjects) for sample in (train, synthetic)]
    for draw in range(DRAWS):
        rows = [one_each(sample, k, rng) for sample in (train, synthetic)]
        near = [_two_nearest(test, sample, own) for sample, own in zip((train, synthetic), rows, strict=True)]
        shares[draw] = _nearer(near[1][0][:, 0], near[0][0][:, 0])
        for side, (sample, own) in enumerate(zip((train, synthetic), rows, strict=True)):
            changed = _nearer(near[1][0][:, int(side == 1)], near[0][0][:, int(side == 0)]) - shares[draw]
            owner = sample.subjects[own]
            lost[side] += np.bincount(owner[near[side][1]], changed * weights, sample.n_subjects)
            drawn[side] += np.bincount(owner, minlength=sample.n_subjects)
    by_subject = np.bincount(test.subjects, shares.mean(0) * weights * test.n_subjects)
    value = float(by_subject.mean())
    if min(test.n_subjects, train.n_subjects, synthetic.n_subjects) < MIN_SUBJECTS:
        return value, None, k
    variance = jackknife_variance((by_subject.sum() - by_subject) / (len(by_subject) - 1))
    for change, count in zip(lost, drawn, strict=True):
        variance += _variance(change, count, k)
    return value, wilson(value, variance, test.n_subjects, test.n_images), k


def _variance(change: Array, drawn: Array, k: int) -> float:
    """The jackknife's variance of a mean over draws, from what leaving each subject out changes in them."""
    seen = drawn > 0
    influence = change[seen] / DRAWS  # of one that is in a part of the draws: the change of the mean over all draws
    return float((k - 1) / k * np.square(influence - influence.mean()).sum())


def one_each(sample: Sample, k: int, rng: np.random.Generator) -> Index:
    """Rows of one random image of each of k random subjects."""
    order = rng.permutation(sample.n_images)
    _, first = np.unique(sample.subjects[order], return_index=True)
    rows: Index = order[rng.permutation(first)[:k]]
    return rows


def _two_nearest(test: Sample, sample: Sample, rows: Index) -> tuple[Array, Index]:
    """Squared distances to the two nearest of some images [n, 2], and which of `rows` the nearest is [n]."""
    squared = squared_distances(test.features, sample.features[rows])
    nearest = squared.argmin(1)
    return np.partition(squared, 1, axis=1)[:, :2], nearest


def _nearer(synthetic: Array, real: Array) -> Array:
    share: Array = (synthetic < real) + 0.5 * (synthetic == real)
    return share
