"""The audit's rule: its rates hold, its intervals cover, and slices, duplicates and few patients are allowed for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from ganatomy.metrics.copies.calibration import (
    MARGIN,
    SURE,
    TARGET,
    Calibration,
    Group,
    by_chance,
    rank,
    share_of_copies,
    verdict,
)


def group(logs: Any, subjects: Any = None, counts: float = 1.0) -> Group:
    """Both channels alike, unless logs is [n, 2]: of the two; distance as the ratio."""
    logs = np.asarray(logs, float)
    both = np.repeat(logs[:, None], 2, 1) if logs.ndim == 1 else logs
    names = np.array([str(i) for i in (range(len(logs)) if subjects is None else subjects)], dtype=object)
    return Group(np.repeat(both[:, :, None], 2, 2), names, counts)


def calibration(logs: Any, subjects: Any = None, counts: float = 1.0) -> Calibration:
    found = Calibration.of([group(logs, subjects, counts)])
    assert found is not None
    return found


def flagged(rule: Calibration, logs: Any) -> np.ndarray:
    return rule.channels(group(logs)).min(1) < rule.threshold


@pytest.mark.parametrize("subjects", [1, 50, 298, 299, 472, 473, 2000])
def test_the_rank_is_the_highest_that_keeps_the_rate_with_95_percent_confidence(subjects: int) -> None:
    k = rank(subjects)
    assert k == 1 or binom.cdf(k - 1, subjects, TARGET) <= 1 - SURE
    assert binom.cdf(k, subjects, TARGET) > 1 - SURE
    assert (k > 1) == (subjects >= 473)


@pytest.mark.parametrize("draw", ["normal", "heavy"])
def test_false_alarms_stay_below_one_percent_whoever_calibrates(draw: str) -> None:
    rng = np.random.default_rng(0)

    def scores(n: int) -> np.ndarray:
        return 0.1 * (rng.normal(size=(n, 2)) if draw == "normal" else rng.standard_t(4, (n, 2)))

    rates = [flagged(calibration(scores(300)), scores(5000)).mean() for _ in range(60)]
    assert np.mean(np.array(rates) > TARGET) <= 0.05


def test_p_values_of_fresh_patients_are_no_smaller_than_they_say_and_never_below_the_resolution() -> None:
    rng = np.random.default_rng(1)
    rules = [calibration(rng.normal(size=(39, 2))) for _ in range(400)]
    p = np.array([rule.p(rule.channels(group(rng.normal(size=(1, 2)))).min(1))[0] for rule in rules])
    assert p.min() >= 1 / 40 and p.max() <= 1
    for level in (0.1, 0.3, 0.5):
        assert level / 3 < np.mean(p <= level) <= level + 3 * np.sqrt(level * (1 - level) / 400)  # a margin is in them


def test_slices_of_a_subject_count_as_one_and_training_subjects_as_half() -> None:
    logs = np.random.default_rng(2).normal(size=(30, 2)) * 0.1
    once, thrice = calibration(logs), calibration(np.repeat(logs, 3, 0), np.repeat(np.arange(30), 3))
    score = np.array([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(once.p(score), thrice.p(score))
    assert thrice.n_subjects == 30 and thrice.rate == pytest.approx(1 / 31)
    half = calibration(logs, counts=0.5)
    assert half.n_subjects == 30 and half.rate == pytest.approx(1 / 16)


def test_reference_subjects_against_each_other_give_half_the_resolution() -> None:
    """How often is a new point nearer to a cloud than all of its own points are to each other?"""
    rng, passed = np.random.default_rng(3), 0
    for _ in range(2000):
        points = rng.normal(size=(21, 12))
        apart = np.linalg.norm(points[:, None] - points[None], axis=2) + 99 * np.eye(21)
        passed += apart[20, :20].min() < apart[:20, :20].min()
    rate = passed / 2000
    assert abs(rate - 1 / 10.5) < 0.03 and rate > 1.4 / 21


def test_subjects_who_are_copies_themselves_do_not_set_the_scale() -> None:
    logs = np.random.default_rng(4).normal(size=(60, 2)) * 0.1
    spoilt = np.concatenate([logs, np.full((3, 2), -4.0)])
    rule, clean = calibration(spoilt), calibration(logs)
    assert rule.doubles == ("60", "61", "62") and rule.n_subjects == 60
    assert rule.threshold == pytest.approx(clean.threshold)


def test_one_low_channel_is_enough_and_both_ratio_and_distance_are_needed_to_be_evident() -> None:
    rule = calibration(np.random.default_rng(5).normal(size=(60, 2)) * 0.1)
    found = group([[-3.0, 0.0], [0.0, -3.0], [0.0, 0.0]])
    assert rule.evident(found).tolist() == [True, True, False]
    found.logs[:2, :, 1] = 0.0  # near only in comparison with the third subject
    assert not rule.evident(found).any()


def test_images_that_are_not_judged_are_never_flagged() -> None:
    rule = calibration(np.random.default_rng(6).normal(size=(30, 2)) * 0.1)
    found = group(np.full((2, 2), np.nan))
    assert np.isinf(rule.channels(found)).all() and not rule.evident(found).any()
    assert Calibration.of([found]) is None and Calibration.of([]) is None


def test_the_share_of_copies_is_never_too_high_on_average_and_its_interval_covers() -> None:
    rng, share, values, covered = np.random.default_rng(7), 0.1, [], []
    for _ in range(200):
        rule = calibration(0.1 * rng.normal(size=(100, 2)))
        logs = np.where(rng.random((300, 1)) < share, -3.0, 0.1 * rng.normal(size=(300, 2)))
        value, interval = share_of_copies(float(flagged(rule, logs).mean()), 300, rule)
        assert interval is not None
        values.append(value)
        covered.append(interval[0] <= share <= interval[1])
    assert share - 0.01 <= np.mean(values) <= share + 0.002  # false alarms are subtracted at the claimed rate
    assert np.mean(covered) >= 0.93


def test_no_flags_give_zero_with_an_interval_that_goes_below_and_above() -> None:
    rule = calibration(0.1 * np.random.default_rng(8).normal(size=(100, 2)))
    value, interval = share_of_copies(0.0, 300, rule)
    assert value == 0 and interval is not None and interval[0] < 0 < interval[1] < 0.02
    assert share_of_copies(1.0, 300, rule) == (1.0, pytest.approx((0.95, 1.0), abs=0.05))
    assert share_of_copies(0.5, 4, rule)[1] is None


def test_chance_explains_few_flags_and_not_many() -> None:
    rule = calibration(0.1 * np.random.default_rng(9).normal(size=(100, 2)))
    odds = [by_chance(k, 300, rule) for k in range(40)]
    assert odds[0] == 1 and all(a > b for a, b in pairwise(odds))
    assert odds[1] == pytest.approx(300 / 400)  # the lowest of 400 is one of the 300
    assert odds[3] > 0.05 > odds[30]


@pytest.mark.parametrize(("evident", "chance", "interval", "expected"), [
    (0, 1.0, (-0.02, 0.01), "clean"),
    (0, 0.3, None, "clean"),
    (0, 0.04, (-0.01, 0.05), "suspicious"),
    (0, 0.06, (0.001, 0.05), "suspicious"),
    (0, 0.001, (0.02, 0.05), "copies"),
    (1, 1.0, (-0.02, 0.01), "copies"),
    (1, 1.0, None, "copies"),
])
def test_verdicts(evident: int, chance: float, interval: tuple[float, float] | None, expected: str) -> None:
    assert verdict(evident, chance, interval) == expected


def test_an_image_must_lie_below_all_patients_by_a_margin() -> None:
    rule = calibration(0.1 * np.random.default_rng(10).normal(size=(100, 2)))
    assert rule.threshold == pytest.approx(rule.scores[0] - MARGIN)
