"""What one classifier predicts for images that it had not seen: one CSV an arm and cell; and how good that is.

Every metric is a function (truth bool [n], scores float64 [n], decisions bool [n], weights float64 [r, n]) -> [r]: its
value where image i counts weights[r, i] times, so that 2,000 bootstrap replicates cost one sort. A whole weight w is
the same as w copies of the row. What is undefined is NaN, unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.files import write_csv
from ganatomy.core.reading import read_csv, reading

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Metric = Callable[[Bools, Array, Bools, Array], Array]
BINS = 10  # of the calibration error
_AT_ONCE = 256  # weightings, so that the sums stay in the processor's cache
Key = tuple[int, int, int, str]
"""k, fold, seed, arm."""
_FIXED = ["image_id", "subject", "label", "half"]
_SCORE, _DECISION = "score:", "decision:"
REMOVE_FILE = "remove this file and run the study again: the rest is kept"


@dataclass(frozen=True)
class Predictions:
    """Scores and decisions of n images, the same order in all fields.

    Attributes:
        half: intp [n]; checkpoint and threshold were chosen on the other half of the held-out subjects. An image of
            an external set has two rows, one for each choice.
        scores, decisions: by positive class, float64 [n], its probability, 0 to 1; bool [n], whether it is called so.
    """

    image_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    labels: tuple[str, ...]
    half: NDArray[np.intp]
    scores: dict[str, Array]
    decisions: dict[str, NDArray[np.bool_]]


Outcomes = Mapping[Key, Predictions]


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write as CSV, atomically; numbers are written so that they come back to the same bits."""
    p = predictions
    head = [*_FIXED, *(_SCORE + c for c in p.scores), *(_DECISION + c for c in p.decisions)]
    columns = [p.image_ids, p.subjects, p.labels, p.half.tolist(), *([repr(v) for v in s.tolist()] for s in
               p.scores.values()), *(d.astype(int).tolist() for d in p.decisions.values())]
    write_csv(path, [head, *zip(*columns, strict=True)])


def read_predictions(path: Path) -> Predictions:
    """Read what `write_predictions` wrote. Raises `UserError` if it is missing or broken."""
    head, lines = read_csv(path, REMOVE_FILE)
    with reading(path, REMOVE_FILE):
        columns = dict(zip(head, zip(*lines, strict=True), strict=True))
        classes = [name.removeprefix(_SCORE) for name in head if name.startswith(_SCORE)]
        return Predictions(columns["image_id"], columns["subject"], columns["label"],
                           np.array([_bit(v) for v in columns["half"]], np.intp),
                           {c: np.array([_probability(v) for v in columns[_SCORE + c]]) for c in classes},
                           {c: np.array([_bit(v) == 1 for v in columns[_DECISION + c]]) for c in classes})


def _bit(text: str) -> int:
    if text not in ("0", "1"):
        raise ValueError(f"{text} is neither 0 nor 1")
    return int(text)


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:  # NaN is not either
        raise ValueError(f"{text} is no probability")
    return value


def _ratio(above: Array, below: Array, otherwise: float = float("nan")) -> Array:
    ratio: Array = np.divide(above, below, out=np.full(np.shape(below), otherwise), where=below > 0)
    return ratio


def _counts(truth: Bools, decisions: Bools, weights: Array) -> tuple[Array, Array, Array]:
    """True positives, all called positive, all positive: each [r]."""
    columns = np.stack([truth & decisions, decisions, truth], axis=1).astype(np.float64)
    hits, called, positive = (weights @ columns).T
    return hits, called, positive


def f1(truth: Bools, scores: Array, decisions: Bools, weights: Array) -> Array:
    """2 TP / (called positive + positive); 0 where nothing is called positive or is."""
    hits, called, positive = _counts(truth, decisions, weights)
    return _ratio(2 * hits, called + positive, 0.0)


def precision(truth: Bools, scores: Array, decisions: Bools, weights: Array) -> Array:
    """Share of those called positive that are; 0 where nothing is called positive."""
    hits, called, _ = _counts(truth, decisions, weights)
    return _ratio(hits, called, 0.0)


def recall(truth: Bools, scores: Array, decisions: Bools, weights: Array) -> Array:
    """Share of the positives that are called positive."""
    hits, _, positive = _counts(truth, decisions, weights)
    return _ratio(hits, positive)


def balanced_accuracy(truth: Bools, scores: Array, decisions: Bools, weights: Array) -> Array:
    """Mean of the share of positives and the share of negatives that are called right."""
    return (recall(truth, scores, decisions, weights) + recall(~truth, scores, ~decisions, weights)) / 2


def brier(truth: Bools, scores: Array, decisions: Bools, weights: Array) -> Array:
    """Mean squared difference between the score and 0 or 1, the truth: 0 is best (Brier 1950)."""
    return _ratio(weights @ np.square(scores - truth), weights.sum(1))


def average_precision(truth: Bools, scores: Array, decisions: Bools, weights: Array) -> Array:
    """Sum over falling thresholds of (rise in recall) x (precision there), no interpolation; equal scores are one."""
    values = []
    for hits, called in _cumulative(truth, scores, weights):
        precisions = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
        values.append(_ratio((np.diff(hits, axis=1, prepend=0) * precisions).sum(1), hits[:, -1]))
    return np.concatenate(values)


def roc_auc(truth: Bools, scores: Array, decisions: Bools, weights: Array) -> Array:
    """Probability that a positive has a higher score than a negative; a tie counts half."""
    values = []
    for hits, called in _cumulative(truth, scores, weights):
        false = called - hits
        before = np.hstack([np.zeros((len(hits), 1)), hits[:, :-1]])
        above = (np.diff(false, axis=1, prepend=0) * (before + hits)).sum(1) / 2
        values.append(_ratio(above, hits[:, -1] * false[:, -1]))
    return np.concatenate(values)


def calibration_error(truth: Bools, scores: Array, decisions: Bools, weights: Array) -> Array:
    """Mean over images of |mean score - share of positives| in the image's bin: 0 is best.

    Ten bins of equal mass: images are ordered by score and an image is in the bin where the middle of all images of
    its score lies, so that equal scores share a bin. (Naeini, Cooper, Hauskrecht, AAAI 2015, has bins of equal width.)
    It is above 0 by chance even for a calibrated classifier, the more the fewer images there are.
    """
    order, ends, group = _ties(scores)
    gap, values = (scores - truth)[order], []
    for part in _parts(weights):
        own = part[:, order]
        reached = own.cumsum(1)[:, ends]
        middle = reached - np.diff(reached, axis=1, prepend=0) / 2
        total = reached[:, -1:]
        place = np.minimum((BINS * middle / np.where(total > 0, total, 1)).astype(np.intp), BINS - 1)[:, group]
        place += BINS * np.arange(len(own))[:, None]
        sums = np.bincount(place.ravel(), (own * gap).ravel(), BINS * len(own)).reshape(len(own), BINS)
        values.append(_ratio(np.abs(sums).sum(1), total[:, 0]))
    return np.concatenate(values)


METRICS: dict[str, Metric] = {"f1": f1, "average_precision": average_precision, "precision": precision,
                              "recall": recall, "roc_auc": roc_auc, "balanced_accuracy": balanced_accuracy,
                              "brier": brier, "calibration_error": calibration_error}
LOWER_IS_BETTER = ("brier", "calibration_error")
RANKING = (average_precision, roc_auc)
"""They compare scores with each other, which must be one classifier's: of each fold alone, then averaged."""


def ignorant(metric: str, prevalence: float) -> float | None:
    """What a classifier scores that knows nothing but the share of positives; None where that says nothing.

    Calling everything positive has the F1, precision and balanced accuracy, but also recall 1; equal scores have the AP
    and ROC AUC; always giving the prevalence has Brier's, but also no calibration error.
    """
    known = {"f1": 2 * prevalence / (1 + prevalence), "average_precision": prevalence, "precision": prevalence,
             "roc_auc": 0.5, "balanced_accuracy": 0.5, "brier": prevalence * (1 - prevalence)}
    return known.get(metric)


def _parts(weights: Array) -> Iterator[Array]:
    for start in range(0, len(weights), _AT_ONCE):
        yield weights[start:start + _AT_ONCE]


def _ties(scores: Array, falling: bool = False) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Order by score, the last place of each group of equal scores in it, and the group at each place."""
    order = np.argsort(-scores if falling else scores, kind="stable")
    new = np.diff(scores[order]) != 0
    ends = np.append(np.flatnonzero(new), len(scores) - 1)
    return order, ends, np.concatenate([[0], np.cumsum(new)]).astype(np.intp)


def _cumulative(truth: Bools, scores: Array, weights: Array) -> Iterator[tuple[Array, Array]]:
    """Weight of the positives and of all at or above each distinct score, falling: each [some r, scores]."""
    order, ends, _ = _ties(scores, falling=True)
    positive = truth[order].astype(np.float64)
    for part in _parts(weights):
        own = part[:, order]
        yield (own * positive).cumsum(1)[:, ends], own.cumsum(1)[:, ends]
