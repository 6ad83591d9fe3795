"""What a model has of its training patients: known areas, one half for fresh patients, intervals that cover."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.training_patients import auc, gaps, membership
from tests.metrics.textures import points

# ---- membership: the discriminator's scores

def greys(values: Any, subjects: Any = None) -> Sample:
    """Images of one grey value each, which a judge reads off."""
    values = np.asarray(values, np.float32)
    names = None if subjects is None else list(map(str, subjects))
    return Sample(np.tile(values[:, None, None, None], (1, 1, 2, 2)), names, np.zeros((len(values), 2)))


def judge(images: np.ndarray) -> np.ndarray:
    return np.asarray(images.mean((1, 2, 3)), float)


def area(train: Sample, test: Sample) -> Any:
    found, = membership(Samples(test, greys([0.0, 0.0]), train, judge=judge))
    return found


def test_without_a_discriminator_there_is_no_result_and_without_train_no_value() -> None:
    assert membership(Samples(greys([0, 1]), greys([0, 1]), greys([0, 1]))) == []
    found, = membership(Samples(greys([0, 1]), greys([0, 1]), judge=judge))
    assert found.value is None and "no train split" in found.caveat


def test_known_areas() -> None:
    low, high = greys(np.linspace(-1, -0.5, 20)), greys(np.linspace(0.5, 1, 30))
    assert area(high, low).value == 1 and area(low, high).value == 0
    assert area(greys(np.zeros(20)), greys(np.zeros(9))).value == 0.5
    assert area(greys([0.1, 0.4]), greys([0.2, 0.3])).value == 0.5
    found = area(high, low)
    assert found.better == "match" and found.reference.value == 0.5 and found.interval[0] < 1 == found.interval[1]


def test_a_subject_counts_once_however_many_images_it_has() -> None:
    train = greys([0.9] * 50 + [0.1, 0.2, 0.3, 0.4], [0] * 50 + [1, 2, 3, 4])
    assert area(train, greys([0.5] * 6)).value == pytest.approx(1 / 5)


def test_no_interval_below_five_subjects_and_a_wide_one_for_few() -> None:
    rng = np.random.default_rng(0)
    few = greys(rng.normal(size=40), np.repeat(np.arange(4), 10))
    many = greys(rng.normal(size=300), np.arange(300))
    assert area(many, few).interval is None
    low, high = area(many, greys(np.repeat(rng.normal(size=6), 10), np.repeat(np.arange(6), 10))).interval
    assert high - low > 0.3


@pytest.mark.parametrize("gap", [0.0, 1.0])
def test_the_interval_covers_with_several_slices_a_subject(gap: float) -> None:
    rng, covered = np.random.default_rng(1), []
    for _ in range(150):
        scores = [np.repeat(rng.normal(size=s), 4) * 0.9 + rng.normal(size=4 * s) * np.sqrt(0.19) for s in (40, 12)]
        train, test = (greys(own, np.repeat(np.arange(len(own) // 4), 4)) for own in scores)
        low, high = auc(scores[0] + gap, scores[1], train, test)[1]
        covered.append(low <= norm.cdf(gap / np.sqrt(2)) <= high)
    assert np.mean(covered) >= 0.9


def test_scores_that_are_not_finite_are_said() -> None:
    pair = greys([0, 1])
    found, = membership(Samples(pair, pair, pair, judge=lambda x: np.full(len(x), np.nan)))
    assert found.value is None and "not finite" in found.caveat


# ---- gaps: test images nearer to synthetic than to training ones

def cohort(rng: np.random.Generator, subjects: int, each: int = 1, d: int = 6) -> Sample:
    own = rng.normal(size=(subjects, 1, d)) * 0.9
    features = own + rng.normal(size=(subjects, each, d)) * 0.4
    return points(features.reshape(-1, d), np.repeat(np.arange(subjects), each))


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


def test_one_half_holds_where_those_who_have_many_images_are_unlike_the_others() -> None:
    """Who has one image lies at 0, who has nine at 1: a perfect generator makes nine of ten images like the latter."""
    values = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        many = rng.random(30) < 0.5
        subjects = np.repeat(np.arange(30), np.where(many, 9, 1))
        train = points(many[subjects] + rng.normal(0, 0.3, len(subjects)), subjects)
        made = points((rng.random(60) < 0.9) + rng.normal(0, 0.3, 60))
        test = points(np.repeat([0.0, 1.0], 20))
        values.append(filled(test, made, train, seed).value)
    assert abs(np.mean(values) - 0.5) < 3 * np.std(values) / np.sqrt(60) < 0.1


def test_known_shares() -> None:
    rng = np.random.default_rng(0)
    test, train = cohort(rng, 20), cohort(rng, 30)
    far = points(train.features + 50)
    assert filled(test, far, train).value == 0
    assert filled(test, points(np.repeat(test.features, 3, 0)), points(train.features + 50)).value == 1
    assert filled(test, points(train.features), train).value == 0.5  # the same images: ties
    repeated = points(train.features[rng.integers(0, 30, 300)])
    assert 0.2 < filled(test, repeated, train).value < 0.42  # copies with repeats


def test_average_images_lie_nearer_than_real_ones_and_the_caveat_says_so() -> None:
    rng = np.random.default_rng(1)
    test, train = cohort(rng, 20, d=60), cohort(rng, 30, d=60)
    found = filled(test, points(rng.normal(0, 0.1, (30, 60))), train)
    assert found.value > 0.95 and found.better == "match" and "blurred" in found.caveat


def test_too_few_or_no_training_images() -> None:
    rng = np.random.default_rng(2)
    test, made = cohort(rng, 10), cohort(rng, 10)
    assert "no train split" in filled(test, made, None).caveat
    for found in (filled(test, made, cohort(rng, 1, 5)), filled(test, cohort(rng, 1), cohort(rng, 9))):
        assert found.value is None and "at least two" in found.caveat
    few = filled(cohort(rng, 4), made, cohort(rng, 9))
    assert few.value is not None and few.interval is None
