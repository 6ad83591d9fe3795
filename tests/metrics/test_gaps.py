"""Filling gaps: one half for fresh patients, whatever the counts and slices; less for copies and for far images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.training_patients import gaps


def sample(features: Any, subjects: Any = None) -> Sample:
    features = np.asarray(features, np.float64)
    names = None if subjects is None else list(map(str, subjects))
    return Sample(np.zeros((len(features), 1, 2, 2), np.float32), names, features)


def cohort(rng: np.random.Generator, subjects: int, each: int = 1, d: int = 6) -> Sample:
    own = rng.normal(size=(subjects, 1, d)) * 0.9
    features = own + rng.normal(size=(subjects, each, d)) * 0.4
    return sample(features.reshape(-1, d), np.repeat(np.arange(subjects), each))


def filled(test: Sample, synthetic: Sample, train: Sample | None, seed: int = 0) -> Any:
    found, = gaps(Samples(test, synthetic, train, seed=seed))
    return found


@pytest.mark.parametrize(("test", "train", "fresh"), [((20, 3), (40, 3), (90, 1)), ((30, 1), (60, 4), (25, 5))])
def test_fresh_patients_have_one_half_and_the_interval_covers_it(test: Any, train: Any, fresh: Any) -> None:
    values, covered = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        found = filled(cohort(rng, *test), cohort(rng, *fresh), cohort(rng, *train), seed)
        values.append(found.value)
        covered.append(found.interval[0] <= 0.5 <= found.interval[1])
    assert abs(np.mean(values) - 0.5) < 3 * np.std(values) / np.sqrt(40)
    assert np.mean(covered) >= 0.9


def test_known_answers() -> None:
    rng = np.random.default_rng(0)
    test, train = cohort(rng, 20), cohort(rng, 30)
    far = sample(train.features + 50)
    assert filled(test, far, train).value == 0
    assert filled(test, sample(np.repeat(test.features, 3, 0)), sample(train.features + 50)).value == 1
    assert filled(test, sample(train.features), train).value == 0.5  # the same images: ties
    repeated = sample(train.features[rng.integers(0, 30, 300)])
    assert 0.2 < filled(test, repeated, train).value < 0.42  # copies with repeats


def test_average_images_lie_nearer_than_real_ones_and_the_caveat_says_so() -> None:
    rng = np.random.default_rng(1)
    test, train = cohort(rng, 20, d=60), cohort(rng, 30, d=60)
    found = filled(test, sample(rng.normal(0, 0.1, (30, 60))), train)
    assert found.value > 0.95 and found.better == "match" and "blurred" in found.caveat


def test_too_few_or_no_training_images() -> None:
    rng = np.random.default_rng(2)
    test, made = cohort(rng, 10), cohort(rng, 10)
    assert "no train split" in filled(test, made, None).caveat
    for found in (filled(test, made, cohort(rng, 1, 5)), filled(test, cohort(rng, 1), cohort(rng, 9))):
        assert found.value is None and "at least two" in found.caveat
    few = filled(cohort(rng, 4), made, cohort(rng, 9))
    assert few.value is not None and few.interval is None
