"""Membership inference by the discriminator: known areas, and intervals over subjects that cover."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.training_patients import auc, membership


def sample(values: Any, subjects: Any = None) -> Sample:
    """Images of one grey value each, which a judge reads off."""
    values = np.asarray(values, np.float32)
    names = None if subjects is None else list(map(str, subjects))
    return Sample(np.tile(values[:, None, None, None], (1, 1, 2, 2)), names, np.zeros((len(values), 2)))


def judge(images: np.ndarray) -> np.ndarray:
    return np.asarray(images.mean((1, 2, 3)), float)


def area(train: Sample, test: Sample) -> Any:
    found, = membership(Samples(test, sample([0.0, 0.0]), train, judge=judge))
    return found


def test_without_a_discriminator_there_is_no_result_and_without_train_no_value() -> None:
    assert membership(Samples(sample([0, 1]), sample([0, 1]), sample([0, 1]))) == []
    found, = membership(Samples(sample([0, 1]), sample([0, 1]), judge=judge))
    assert found.value is None and "no train split" in found.caveat


def test_known_areas() -> None:
    low, high = sample(np.linspace(-1, -0.5, 20)), sample(np.linspace(0.5, 1, 30))
    assert area(high, low).value == 1 and area(low, high).value == 0
    assert area(sample(np.zeros(20)), sample(np.zeros(9))).value == 0.5
    assert area(sample([0.1, 0.4]), sample([0.2, 0.3])).value == 0.5
    found = area(high, low)
    assert found.better == "match" and found.reference.value == 0.5 and found.interval[0] < 1 == found.interval[1]


def test_a_subject_counts_once_however_many_images_it_has() -> None:
    train = sample([0.9] * 50 + [0.1, 0.2, 0.3, 0.4], [0] * 50 + [1, 2, 3, 4])
    assert area(train, sample([0.5] * 6)).value == pytest.approx(1 / 5)


def test_no_interval_below_five_subjects_and_a_wide_one_for_few() -> None:
    rng = np.random.default_rng(0)
    few = sample(rng.normal(size=40), np.repeat(np.arange(4), 10))
    many = sample(rng.normal(size=300), np.arange(300))
    assert area(many, few).interval is None
    low, high = area(many, sample(np.repeat(rng.normal(size=6), 10), np.repeat(np.arange(6), 10))).interval
    assert high - low > 0.3


@pytest.mark.parametrize("gap", [0.0, 1.0])
def test_the_interval_covers_with_several_slices_a_subject(gap: float) -> None:
    rng, covered = np.random.default_rng(1), []
    for _ in range(150):
        scores = [np.repeat(rng.normal(size=s), 4) * 0.9 + rng.normal(size=4 * s) * np.sqrt(0.19) for s in (40, 12)]
        train, test = (sample(own, np.repeat(np.arange(len(own) // 4), 4)) for own in scores)
        interval = auc(scores[0] + gap, scores[1], train, test)[1]
        assert interval is not None
        covered.append(interval[0] <= norm.cdf(gap / np.sqrt(2)) <= interval[1])
    assert np.mean(covered) >= 0.9


def test_scores_that_are_not_finite_are_said() -> None:
    pair = sample([0, 1])
    found, = membership(Samples(pair, pair, pair, judge=lambda x: np.full(len(x), np.nan)))
    assert found.value is None and "not finite" in found.caveat
