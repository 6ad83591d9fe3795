"""Membership inference: does the model's own discriminator know the training patients from new ones?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from ganatomy.features.base import CHUNK, Images
from ganatomy.metrics.base import MIN_SUBJECTS, NO_TRAIN, About, Result, Sample, Samples
from ganatomy.statistics.resampling import Array, jackknife_variance, wilson

ORDER, CONTROLS = 11, False
ABOUT = (
    About("Membership", "How well the discriminator's score tells training images from test images of other patients."
          " 0.5: not at all.", "copies", "match"),
)
CHANCE = 0.5
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
_CAVEAT = "0.5: it cannot tell training from test patients; what leaks when only the generator is shared is less"
_NOT_FINITE = "the discriminator gives scores that are not finite"


def compute(samples: Samples) -> list[Result]:
    """The area under the ROC curve of the discriminator's scores, train against test; nothing without a discriminator.

    Source: Hayes et al., LOGAN, PETS 2019, section 4.1 (white box: the discriminator's confidence).
    """
    if samples.judge is None:
        return []
    if samples.train is None:
        return [samples.result("Membership", "test", None, "match", caveat=NO_TRAIN)]
    train, test = samples.train, samples.test
    scores = [scores_of(samples.judge, sample) for sample in (train, test)]
    if not all(np.isfinite(own).all() for own in scores):
        return [samples.result("Membership", "test", None, "match", caveat=_NOT_FINITE)]
    value, interval = auc(scores[0], scores[1], train, test)
    reference = {"what": "a discriminator that remembers nobody", "value": CHANCE, "n_images": train.n_images}
    return [samples.result("Membership", "test", value, "match", interval=interval, floor=CHANCE, reference=reference,
                           caveat=_CAVEAT, ranked=False,
                           details={"train_images": train.n_images, "train_subjects": train.n_subjects})]


def scores_of(judge: Callable[[Images], Array], sample: Sample) -> Array:
    """The discriminator's scores [n], a few hundred images at a time."""
    parts = [np.asarray(judge(sample.images[start:start + CHUNK]), np.float64).ravel()
             for start in range(0, sample.n_images, CHUNK)]
    return np.concatenate(parts)


def auc(member: Array, other: Array, train: Sample, test: Sample) -> tuple[float, tuple[float, float] | None]:
    """The share of pairs of subjects in which the training one scores higher, ties counting half; 95% interval.

    A subject counts once, however many images it has: its share is the mean over pairs of images. The interval takes
    each subject out in turn, on both sides (jackknife, as in DeLong et al., Biometrics 1988, for clusters), and has
    Wilson's form, within 0 and 1. None below five subjects on either side.

    Args:
        member, other: scores [n], [m].
        train, test: whose images these are.
    """
    weights = [1.0 / np.bincount(sample.subjects)[sample.subjects] for sample in (train, test)]
    sides = [_above(member, other, weights[1]), 1 - _above(other, member, weights[0])]
    by_subject = [np.bincount(sample.subjects, share * weight) for sample, share, weight in
                  zip((train, test), sides, weights, strict=True)]
    value = float(by_subject[0].mean())
    if min(train.n_subjects, test.n_subjects) < MIN_SUBJECTS:
        return value, None
    left_out = [(own.sum() - own) / (len(own) - 1) for own in by_subject]
    variance = sum(jackknife_variance(own) for own in left_out)
    few = min(train.n_subjects, test.n_subjects)
    return value, wilson(value, variance, few, train.n_images + test.n_images)


def _above(scores: Array, others: Array, weights: Array) -> Array:
    """For each score the weighted share of the others that it is above, ties counting half: [n]."""
    order = np.argsort(others)
    cumulative = np.concatenate([[0.0], np.cumsum(weights[order])])
    places = [np.searchsorted(others[order], scores, side=side) for side in _SIDES]
    share: Array = (cumulative[places[0]] + cumulative[places[1]]) / (2 * cumulative[-1])
    return share
