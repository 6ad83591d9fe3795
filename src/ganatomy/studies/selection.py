"""Which checkpoint and which threshold: chosen on one half of the held-out images, applied to the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float32]
Scores = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Chosen:
    """What was chosen; index h is to be applied to the images of half h, and comes from those of the other half.

    Attributes:
        checkpoints: numbers of the checkpoints.
        thresholds: by positive class; an image is called positive if its probability of the class is at least so large.
    """

    checkpoints: tuple[int, int]
    thresholds: dict[int, tuple[float, float]]


def select(probabilities: Probabilities, labels: NDArray[np.intp], halves: NDArray[np.intp],
           positives: Sequence[int]) -> Chosen:
    """Choose the checkpoint and the thresholds of each half on the other half.

    The checkpoint is the one of the best F1, the mean over the positive classes of each one's best F1 against the rest;
    the first of equals, which was trained less. The thresholds are the best of that checkpoint, see `best_threshold`.

    Args:
        probabilities: [checkpoints, n, classes].
        labels: [n], numbers of classes.
        halves: [n], 0 or 1.
        positives: numbers of the positive classes, at least one.

    Raises:
        ValueError: a half without images of a positive class, or with no others.
    """
    chosen = [_choose(probabilities[:, halves == 1 - h], labels[halves == 1 - h], positives) for h in (0, 1)]
    (first, first_cuts), (second, second_cuts) = chosen
    return Chosen((first, second), {p: (first_cuts[p], second_cuts[p]) for p in positives})


def decide(probabilities: Probabilities, chosen: Chosen, halves: NDArray[np.intp],
           positives: Sequence[int]) -> tuple[dict[int, Scores], dict[int, Bools]]:
    """Scores [n] in 0 to 1 and decisions [n] of each positive class, every image by what was chosen for its half.

    Args:
        probabilities: [checkpoints, n, classes], of the images that were chosen on or of any others.
        chosen: by `select`.
        halves: [n], 0 or 1.
        positives: numbers of the positive classes.
    """
    rows = np.arange(len(halves))
    own = probabilities[np.asarray(chosen.checkpoints)[halves], rows].astype(np.float64)
    scores = {p: own[:, p] for p in positives}
    return scores, {p: scores[p] >= np.asarray(chosen.thresholds[p])[halves] for p in positives}


def best_threshold(scores: Scores, positive: Bools) -> tuple[float, float]:
    """The threshold with the best F1 of `scores >= threshold`, and that F1.

    The candidates are the midpoints between neighbouring distinct scores, and 0, at which everything is positive: they
    tell apart all that any threshold can but calling nothing positive, whose F1 is 0. Of candidates of the same F1 it
    is the one nearest to 0.5, of those the smaller.

    Args:
        scores: [n] in 0 to 1.
        positive: [n], the truth; both kinds must be there.
    """
    if positive.all() or not positive.any():
        raise ValueError("a threshold is chosen on images of both kinds")
    values, place = np.unique(scores, return_inverse=True)
    hits = np.bincount(place, weights=positive, minlength=len(values))[::-1].cumsum()[::-1]
    called = np.bincount(place, minlength=len(values))[::-1].cumsum()[::-1]
    f1 = 2 * hits / (called + positive.sum())
    candidates = np.concatenate([[0.0], (values[:-1] + values[1:]) / 2])
    best = np.flatnonzero(f1 == f1.max())
    at = best[np.argmin(np.abs(candidates[best] - 0.5))]
    return float(candidates[at]), float(f1[at])


def _choose(probabilities: Probabilities, labels: NDArray[np.intp],
            positives: Sequence[int]) -> tuple[int, Mapping[int, float]]:
    found = [{p: best_threshold(round_[:, p].astype(np.float64), labels == p) for p in positives}
             for round_ in probabilities]
    best = int(np.argmax([sum(f1 for _, f1 in cuts.values()) for cuts in found]))
    return best, {p: threshold for p, (threshold, _) in found[best].items()}
