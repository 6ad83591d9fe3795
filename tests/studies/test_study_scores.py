"""The study's scores: sklearn's values, with images that count several times, with ties, and where nothing is found."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from ganatomy.studies import predictions as scores

N = 60


def data(seed: int, ties: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.random(N) < 0.3
    values = np.clip(0.3 * truth + rng.random(N) * 0.7, 0, 1)
    values = np.round(values, 1) if ties else values
    return truth, values, values >= 0.5


KNOWN = {"f1": lambda y, p, d: sk.f1_score(y, d), "precision": lambda y, p, d: sk.precision_score(y, d),
         "recall": lambda y, p, d: sk.recall_score(y, d), "brier": lambda y, p, d: sk.brier_score_loss(y, p),
         "balanced_accuracy": lambda y, p, d: sk.balanced_accuracy_score(y, d),
         "average_precision": lambda y, p, d: sk.average_precision_score(y, p),
         "roc_auc": lambda y, p, d: sk.roc_auc_score(y, p)}


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", KNOWN)
def test_scores_are_those_of_sklearn(name: str, ties: bool) -> None:
    for seed in range(5):
        truth, values, decided = data(seed, ties)
        found = scores.METRICS[name](truth, values, decided, np.ones((1, N)))
        assert found == pytest.approx([KNOWN[name](truth, values, decided)], abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", scores.METRICS)
def test_a_weight_is_a_number_of_copies(name: str, ties: bool) -> None:
    truth, values, decided = data(1, ties)
    weights = np.random.default_rng(0).integers(0, 4, (300, N)).astype(float)  # more than are done at once
    found = scores.METRICS[name](truth, values, decided, weights)
    for row in (0, 255, 256, 299):
        copies = np.repeat(np.arange(N), weights[row].astype(int))
        once = np.ones((1, len(copies)))
        repeated = scores.METRICS[name](truth[copies], values[copies], decided[copies], once)[0]
        assert found[row] == pytest.approx(repeated, abs=1e-12)
        if name in KNOWN:
            assert found[row] == pytest.approx(KNOWN[name](truth[copies], values[copies], decided[copies]), abs=1e-12)


def test_nothing_called_positive_scores_0_and_no_positives_are_undefined() -> None:
    truth, never = np.array([True, False, False]), np.zeros(3, bool)
    values, once = np.array([0.2, 0.1, 0.3]), np.ones((1, 3))
    assert scores.f1(truth, values, never, once) == scores.precision(truth, values, never, once) == 0
    for name in ("recall", "average_precision", "roc_auc", "balanced_accuracy"):
        assert np.isnan(scores.METRICS[name](never, values, never, once)).all()


def test_calibration_error_of_known_scores() -> None:
    truth = np.tile([True] * 3 + [False] * 7, 10)
    for said, error in ((0.3, 0.0), (0.5, 0.2), (0.0, 0.3)):
        values = np.full(100, said)
        assert scores.calibration_error(truth, values, truth, np.ones((1, 100))) == pytest.approx([error], abs=1e-12)
    # half the images get 0.1 and half 0.9, and both halves are positive half the time: off by 0.4 everywhere
    values, truth = np.repeat([0.1, 0.9], 50), np.tile([True, False], 50)
    assert scores.calibration_error(truth, values, truth, np.ones((1, 100))) == pytest.approx([0.4])
    # ten bins: an error of opposite sign in the lower and the upper half of each score's neighbours does not cancel
    values, truth = np.linspace(0, 1, 100), np.arange(100) >= 50
    bins = [abs(values[i:i + 10].mean() - truth[i:i + 10].mean()) for i in range(0, 100, 10)]
    assert scores.calibration_error(truth, values, truth, np.ones((1, 100))) == pytest.approx([np.mean(bins)])


def test_what_knows_nothing_scores_the_floor() -> None:
    truth = np.arange(100) < 20
    always, equal, once = np.ones(100, bool), np.full(100, 0.2), np.ones((1, 100))
    for name in scores.METRICS:
        floor = scores.ignorant(name, 0.2)
        if floor is not None:
            assert scores.METRICS[name](truth, equal, always, once) == pytest.approx([floor])
    assert scores.ignorant("recall", 0.2) is None
