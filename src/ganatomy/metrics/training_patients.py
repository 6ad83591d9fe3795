"""What a model has of its training patients: does its discriminator know them, and do its images reach beyond them?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ganatomy.features.base import CHUNK, Images
from ganatomy.metrics.base import MIN_SUBJECTS, NO_TRAIN, SHARE, About, Result, Sample, Samples
from ganatomy.metrics.prdc import squared_distances
from ganatomy.statistics.resampling import Array, jackknife_variance, wilson
from ganatomy.statistics.subjects import Index, one_each

ORDER, CONTROLS = 11, False
ABOUT = (
    About("Membership", "How well the discriminator's score tells training images from test images of other patients."
          " 0.5: not at all.", "copies", "match", span=SHARE),
    About("Gaps", "Share of test images nearer to a generated than to any training image, at equal numbers. 0.5 is as"
          " good as new patients; below, generated images add less than these would.", "copies", "match", span=SHARE),
)
CHANCE = 0.5
DRAWS, MOST = 60, 500  # draws of one image a training subject and as many synthetic ones; at most 500 of each
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
_ALONE = "0.5: it cannot tell training from test patients; what leaks when only the generator is shared is less"
_NOT_FINITE = "the discriminator gives scores that are not finite"
_CAVEAT = ("fresh patients would have 0.5. Below: the synthetic images lie farther from new patients than as many real "
           "ones, or are copies of training images (about 0.3). Above: they lie nearer, which average, blurred images "
           "do too, so that more is no better: read it with the distances, precision and the audit of copies")
_NEEDS = "needs at least two training subjects and two synthetic images"


def compute(samples: Samples) -> list[Result]:
    """`membership` and `gaps`."""
    return membership(samples) + gaps(samples)


def membership(samples: Samples) -> list[Result]:
    """The area under the ROC curve of the discriminator's scores, train against test; nothing without a discriminator.

    Source: Hayes et al., LOGAN, PETS 2019, section 4.1 (white box: the discriminator's confidence).
    """
    if samples.judge is None:
        return []
    if samples.train is None:
        return [samples.result("Membership", "test", None, "match", caveat=NO_TRAIN)]
    train, test = samples.train, samples.test
    member, other = (_scores(samples.judge, sample) for sample in (train, test))
    if not (np.isfinite(member).all() and np.isfinite(other).all()):
        return [samples.result("Membership", "test", None, "match", caveat=_NOT_FINITE)]
    value, interval = auc(member, other, train, test)
    reference = {"what": "a discriminator that remembers nobody", "value": CHANCE, "n_images": train.n_images}
    return [samples.result("Membership", "test", value, "match", interval=interval, floor=CHANCE, reference=reference,
                           caveat=_ALONE, ranked=False,
                           details={"train_images": train.n_images, "train_subjects": train.n_subjects})]


def gaps(samples: Samples) -> list[Result]:
    """The share of test images nearer to a synthetic than to any training image, in features; counts are matched.

    A draw takes k training images of different subjects and k synthetic images, k the smaller number, at most 500. A
    generator learns from images, so that subjects of many are seen more often: training images are drawn likewise (see
    `_drawn`). Then for a perfect generator the nearest of the 2k is a synthetic one with a probability of exactly 1/2,
    whoever has how many; ties count half. The value is the mean over draws.
    """
    test, train, synthetic = samples.test, samples.train, samples.synthetic
    name = samples.extractor.metric("Gaps")
    if train is None or min(train.n_subjects, synthetic.n_subjects) < 2:
        return [samples.result(name, "test", None, "match", caveat=NO_TRAIN if train is None else _NEEDS)]
    value, interval, k = filled(test, train, synthetic, samples.seed)
    reference = {"what": "fresh patients in the place of the synthetic images", "value": CHANCE, "n_images": k}
    return [samples.result(name, "test", value, "match", interval=interval, floor=CHANCE, reference=reference,
                           caveat=f"{_CAVEAT}; {k} real and {k} synthetic images at a time, {DRAWS} draws",
                           details={"at_a_time": k, "draws": DRAWS}, ranked=False)]


def _scores(judge: Callable[[Images], Array], sample: Sample) -> Array:
    parts = [np.asarray(judge(sample.images[start:start + CHUNK]), np.float64).ravel()
             for start in range(0, sample.n_images, CHUNK)]
    return np.concatenate(parts)


def auc(member: Array, other: Array, train: Sample, test: Sample) -> tuple[float, tuple[float, float] | None]:
    """The share of pairs of subjects in which the training one scores higher, ties counting half; 95% interval.

    Of the scores `member` [n] of train and `other` [m] of test. A subject counts once, however many images it has. The
    interval takes each subject out in turn, on both sides (jackknife, as in DeLong et al., Biometrics 1988, for
    clusters), and has Wilson's form, within 0 and 1. None below five subjects on either side.
    """
    weights = [1.0 / np.bincount(sample.subjects)[sample.subjects] for sample in (train, test)]
    sides = [_above(member, other, weights[1]), 1 - _above(other, member, weights[0])]
    by_subject = [np.bincount(sample.subjects, share * weight) for sample, share, weight in
                  zip((train, test), sides, weights, strict=True)]
    value = float(by_subject[0].mean())
    if min(train.n_subjects, test.n_subjects) < MIN_SUBJECTS:
        return value, None
    variance = sum(map(_variance_of_mean, by_subject))
    few = min(train.n_subjects, test.n_subjects)
    return value, wilson(value, variance, few, train.n_images + test.n_images)


def _variance_of_mean(values: NDArray[Any]) -> float:
    return jackknife_variance((values.sum() - values) / (len(values) - 1))


def _above(scores: Array, others: Array, weights: Array) -> Array:
    """For each score the weighted share of the others that it is above, ties counting half: [n]."""
    order = np.argsort(others)
    cumulative = np.concatenate([[0.0], np.cumsum(weights[order])])
    places = [np.searchsorted(others[order], scores, side=side) for side in _SIDES]
    share: Array = (cumulative[places[0]] + cumulative[places[1]]) / (2 * cumulative[-1])
    return share


def filled(test: Sample, train: Sample, synthetic: Sample,
           seed: int) -> tuple[float, tuple[float, float] | None, int]:
    """The share, its 95% interval (None below five subjects on any side), and the mean k.

    The interval is over test subjects, training subjects and synthetic images. Were only the test subjects to vary, one
    training image that is near to everything would go unnoticed. It has Wilson's form, within 0 and 1.
    """
    counts = []
    rng = np.random.default_rng((seed, 301))
    weights = 1.0 / (np.bincount(test.subjects)[test.subjects] * test.n_subjects)
    shares = np.zeros((DRAWS, test.n_images))
    changes = _Changes(test, train), _Changes(test, synthetic)
    for draw in range(DRAWS):
        rows = [_drawn(sample, rng) for sample in (train, synthetic)]
        counts.append(min(*map(len, rows), MOST))
        real, generated = (_two_nearest(test, sample, rng.permutation(own)[:counts[-1]])
                           for sample, own in zip((train, synthetic), rows, strict=True))
        shares[draw] = _nearer(generated.first, real.first)
        changes[0].add(real, (_nearer(generated.first, real.second) - shares[draw]) * weights)
        changes[1].add(generated, (_nearer(generated.second, real.first) - shares[draw]) * weights)
    by_subject = np.bincount(test.subjects, shares.mean(0) * weights * test.n_subjects)
    value, k = float(by_subject.mean()), round(float(np.mean(counts)))
    if min(test.n_subjects, train.n_subjects, synthetic.n_subjects) < MIN_SUBJECTS:
        return value, None, k
    variance = _variance_of_mean(by_subject) + sum(change.variance() for change in changes)
    return value, wilson(value, variance, test.n_subjects, test.n_images), k


@dataclass(frozen=True)
class _Near:
    """Squared distances [n] of test images to the nearest and second nearest of the `rows` drawn, and which it is."""

    first: Array
    second: Array
    nearest: Index
    rows: Index


class _Changes:
    """What taking out each subject of one side changes, as test images then fall to their second nearest."""

    def __init__(self, test: Sample, side: Sample) -> None:
        self.test, self.side = test, side
        self.drawn = np.zeros(side.n_subjects)
        self.parts: list[tuple[Array, Index]] = []

    def add(self, near: _Near, change: Array) -> None:
        self.drawn += np.bincount(self.side.subjects[near.rows], minlength=self.side.n_subjects)
        self.parts.append((change / DRAWS, self.side.subjects[near.rows[near.nearest]]))

    def variance(self) -> float:
        """The jackknife's, at least 0.

        What a subject changes in one and the same test subject is left out: the variance over test subjects has it
        already. Draws of some of many have another in its place, which changes the mean the other way.
        """
        from scipy.sparse import coo_array

        change = np.concatenate([part for part, _ in self.parts])
        owner = np.concatenate([part for _, part in self.parts])
        pairs = coo_array((change, (np.tile(self.test.subjects, DRAWS), owner)),
                          shape=(self.test.n_subjects, self.side.n_subjects)).tocsr()
        whole = np.bincount(owner, change, self.side.n_subjects)
        influence = whole - self.drawn * (whole.sum() / self.drawn.sum())
        return max(0.0, float(np.square(influence).sum()) - float(np.square(pairs.data).sum()))


def _drawn(sample: Sample, rng: np.random.Generator) -> Index:
    """Rows of independent images, each image as likely as any other: of every subject one, kept with a probability of
    its number of images over the largest; two at least."""
    counts = np.bincount(sample.subjects)
    turn = rng.random(len(counts)) * counts.max() / counts
    kept = max(2, np.count_nonzero(turn < 1))
    rows: Index = one_each(sample.subjects, rng)[np.argsort(turn, kind="stable")[:kept]]
    return rows


def _two_nearest(test: Sample, sample: Sample, rows: Index) -> _Near:
    squared = squared_distances(test.features, sample.features[rows])
    two = np.partition(squared, 1, axis=1)
    return _Near(two[:, 0], two[:, 1], squared.argmin(1), rows)


def _nearer(synthetic: Array, real: Array) -> Array:
    share: Array = (synthetic < real) + 0.5 * (synthetic == real)
    return share
