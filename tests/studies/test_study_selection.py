"""Checkpoints and thresholds are chosen on one half and applied to the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganatomy.studies.classifiers import best_threshold, decide, select

THIRDS = st.integers(0, 8).map(lambda i: i / 8)  # few values, so that there are ties


def f1(called: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (called & truth).sum() / (called.sum() + truth.sum()))


def random_case(seed: int, n: int = 60, checkpoints: int = 4,
                classes: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities that say something of the labels, more so at later checkpoints."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    logits = rng.normal(size=(checkpoints, n, classes))
    logits += 0.5 * np.arange(checkpoints)[:, None, None] * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    return probabilities.astype(np.float32), labels, rng.permutation(np.arange(n) // classes % 2)


@given(st.lists(st.tuples(THIRDS, st.booleans()), min_size=2, max_size=30)
       .filter(lambda pairs: len({truth for _, truth in pairs}) == 2))
def test_no_threshold_is_better(pairs: list[tuple[float, bool]]) -> None:
    scores, truth = np.array([s for s, _ in pairs]), np.array([t for _, t in pairs])
    threshold, best = best_threshold(scores, truth)
    assert best == pytest.approx(f1(scores >= threshold, truth), abs=0)
    everywhere = [f1(scores >= cut, truth) for cut in np.linspace(-0.01, 1.01, 200)]
    assert best == pytest.approx(max(everywhere))
    assert threshold not in set(scores) - {0.0}


def test_of_equal_thresholds_the_one_nearest_to_a_half() -> None:
    scores = np.array([0.1, 0.3, 0.45, 0.9])
    truth = np.array([True, False, False, True])  # 0 and 0.675 both give 2/3
    assert best_threshold(scores, truth) == (pytest.approx(0.675), pytest.approx(2 / 3))


@given(st.integers(0, 1000))
def test_select_finds_what_brute_force_finds(seed: int) -> None:
    probabilities, labels, halves = random_case(seed, n=24)
    chosen = select(probabilities, labels, halves, [0])
    for half in (0, 1):
        other = halves == 1 - half
        cuts = np.unique(probabilities[:, other, 0]).astype(np.float64)
        best = [max(f1(round_[other, 0] >= cut, labels[other] == 0) for cut in cuts) for round_ in probabilities]
        assert chosen.checkpoints[half] == best.index(max(best))
        applied = probabilities[chosen.checkpoints[half], other, 0] >= chosen.thresholds[0][half]
        assert f1(applied, labels[other] == 0) == pytest.approx(max(best))


@pytest.mark.parametrize("half", [0, 1])
def test_a_halfs_own_labels_have_no_say_in_its_decisions(half: int) -> None:
    probabilities, labels, halves = random_case(3)
    _, before = decide(probabilities, select(probabilities, labels, halves, [1]), halves, [1])
    flipped = np.where(halves == half, 1 - labels, labels)
    _, after = decide(probabilities, select(probabilities, flipped, halves, [1]), halves, [1])
    own = halves == half
    np.testing.assert_array_equal(before[1][own], after[1][own])
    assert (before[1][~own] != after[1][~own]).any()  # while those of the other half do hang on them


def test_several_positive_classes_share_the_checkpoint() -> None:
    probabilities, labels, halves = random_case(5, n=90, classes=3)
    chosen = select(probabilities, labels, halves, [0, 2])
    assert set(chosen.thresholds) == {0, 2}
    scores, decisions = decide(probabilities, chosen, halves, [0, 2])
    for p in (0, 2):
        np.testing.assert_array_equal(
            scores[p], probabilities[np.array(chosen.checkpoints)[halves], np.arange(90), p].astype(np.float64))
        np.testing.assert_array_equal(decisions[p], scores[p] >= np.array(chosen.thresholds[p])[halves])
    for half in (0, 1):
        other = halves == 1 - half
        means = [np.mean([best_threshold(round_[other, p].astype(np.float64), labels[other] == p)[1] for p in (0, 2)])
                 for round_ in probabilities]
        assert chosen.checkpoints[half] == int(np.argmax(means))
