"""Diversity: mean distance over pairs, of different subjects where real, and its ratio."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ganatomy.metrics.base import Result, Sample, Samples
from ganatomy.metrics.diversity import compute


def sample(images: np.ndarray, subjects: list[str] | None = None) -> Sample:
    return Sample(images.astype(np.float32), subjects, images.reshape(len(images), -1).astype(np.float64))


def diversity(real: Sample, synthetic: Sample) -> Result:
    (result,) = compute(Samples(real, synthetic))
    return result


def test_equals_loops_over_pairs_of_different_subjects() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.uniform(-1, 1, (9, 1, 4, 4)), rng.uniform(-1, 1, (5, 1, 4, 4))
    subjects = list("aabbbccdd")
    features = diversity(sample(real, subjects), sample(fake))
    synthetic = [np.linalg.norm(a - b) for a, b in itertools.combinations(fake, 2)]
    pairs = [np.linalg.norm(real[i] - real[j]) for i, j in itertools.combinations(range(9), 2)
             if subjects[i] != subjects[j]]
    assert features.value == pytest.approx(np.mean(synthetic))
    assert features.reference.value == pytest.approx(np.mean(pairs))
    assert features.ratio == pytest.approx(np.mean(synthetic) / np.mean(pairs))


def test_a_generator_that_repeats_itself_has_a_small_ratio_with_an_interval() -> None:
    rng = np.random.default_rng(1)
    real = sample(rng.uniform(-1, 1, (30, 1, 4, 4)), [f"s{i // 2}" for i in range(30)])
    repeated = rng.uniform(-1, 1, (1, 1, 4, 4)) + 0.05 * rng.uniform(-1, 1, (60, 1, 4, 4))
    assert diversity(real, sample(repeated)).ratio_interval[1] < 0.2
    low, high = diversity(real, sample(rng.uniform(-1, 1, (60, 1, 4, 4)))).ratio_interval
    assert low < 1 < high


def test_identical_images_have_none() -> None:
    real = sample(np.random.default_rng(2).uniform(-1, 1, (6, 1, 4, 4)), list("abcdef"))
    result = diversity(real, sample(np.full((8, 1, 4, 4), 0.3)))
    assert result.value == result.ratio == 0 and "all the same" in result.caveat


def test_fewer_than_two_images_or_patients_get_a_clear_answer() -> None:
    rng = np.random.default_rng(3)
    one = diversity(sample(rng.uniform(-1, 1, (6, 1, 4, 4)), list("aabbcc")), sample(np.zeros((1, 1, 4, 4))))
    assert one.value is None and "two synthetic images" in one.caveat
    alone = diversity(sample(rng.uniform(-1, 1, (6, 1, 4, 4)), ["a"] * 6), sample(rng.normal(size=(9, 1, 4, 4))))
    assert alone.value is not None and alone.reference is None and alone.interval is None
    assert "no two real patients" in alone.caveat
