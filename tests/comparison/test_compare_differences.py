"""Differences between groups of runs over seeds: known answers, and how often equal groups are told apart."""

from __future__ import annotations

import numpy as np
import pytest

from ganatomy.comparison.groups import difference, differences, over_seeds
from ganatomy.statistics.resampling import holm


def test_interval_over_seeds_is_students() -> None:
    low, high = over_seeds([1.0, 2.0, 3.0, 4.0, 5.0])  # sd 1.5811, t(4) = 2.7764
    assert (low, high) == pytest.approx((3 - 1.96324, 3 + 1.96324), abs=1e-4)
    assert over_seeds([1.0]) is None


def test_welch_is_as_in_scipy() -> None:
    from scipy.stats import ttest_ind

    a, b = {0: 27.5, 1: 21.0, 2: 19.0, 3: 23.6}, {7: 27.1, 8: 22.0, 9: 20.8, 10: 23.4, 11: 28.9, 12: 31.0}
    ours, theirs = difference(a, b), ttest_ind(list(b.values()), list(a.values()), equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert ours.method == "Welch"
    assert (ours.p, ours.freedom) == pytest.approx((theirs.pvalue, theirs.df))
    assert ours.interval == pytest.approx((interval.low, interval.high))


def test_the_same_seeds_are_paired_in_whatever_order() -> None:
    # differences 1, 2, 3: mean 2, sd 1, t(2) = 4.3027
    found = difference({0: 10.0, 1: 50.0, 2: 90.0}, {2: 93.0, 0: 11.0, 1: 52.0})
    assert found.method == "paired by seed"
    assert found.interval == pytest.approx((2 - 4.30265 / 3 ** 0.5, 2 + 4.30265 / 3 ** 0.5), abs=1e-4)


@pytest.mark.parametrize("other", [1.0, 2.0])
def test_seeds_that_do_not_differ_say_nothing_of_chance(other: float) -> None:
    found = difference(dict.fromkeys(range(5), 1.0), dict.fromkeys(range(5), other))
    assert found.ahead_by == other - 1.0 and found.p is None and found.interval is None


def test_holm_known_answer() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_equal_groups_are_seldom_told_apart_although_the_best_was_chosen_by_its_mean() -> None:
    rng, tables = np.random.default_rng(701), 200
    false = 0
    for _ in range(tables):
        values = rng.normal(size=(5, 5))
        groups = [dict(enumerate(own)) for own in values[np.argsort(values.mean(1))]]
        false += any(d.claim for d in differences(groups))
    assert false / tables <= 0.05 + 2 * (0.05 * 0.95 / tables) ** 0.5
