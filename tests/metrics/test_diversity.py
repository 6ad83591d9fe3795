"""Diversity: mean distance over pairs, of different subjects where real, and its ratio."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ganatomy.metrics.base import Result, Sample, Samples
from ganatomy.metrics.diversity import compute


def sample(images: np.ndarray, subjects: list[str] | None = None) -> Sample:
    return Sample(images.astype(np.float32), subjects, images.reshape(len(images), -1).astype(np.float64))


def results(samples: Samples) -> dict[str, Result]:
    return {r.name: r for r in compute(samples) if r.against == "test"}


def test_equals_loops_over_pairs_of_different_subjects() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.uniform(-1, 1, (9, 1, 4, 4)), rng.uniform(-1, 1, (5, 1, 4, 4))
    subjects = list("aabbbccdd")
    found = results(Samples(sample(real, subjects), sample(fake)))
    synthetic = [np.linalg.norm(a - b) for a, b in itertools.combinations(fake, 2)]
    pairs = [np.linalg.norm(real[i] - real[j]) for i, j in itertools.combinations(range(9), 2)
             if subjects[i] != subjects[j]]
    features = found["Diversity-Lite0"]
    assert features.value == pytest.approx(np.mean(synthetic))
    assert features.reference is not None and features.reference.value == pytest.approx(np.mean(pairs))
    assert features.ratio == pytest.approx(np.mean(synthetic) / np.mean(pairs))


def test_a_generator_that_repeats_itself_has_a_small_ratio_with_an_interval() -> None:
    rng = np.random.default_rng(1)
    real = sample(rng.uniform(-1, 1, (30, 1, 4, 4)), [f"s{i // 2}" for i in range(30)])
    repeated = rng.uniform(-1, 1, (1, 1, 4, 4)) + 0.05 * rng.uniform(-1, 1, (60, 1, 4, 4))
    ratio = results(Samples(real, sample(repeated)))["Diversity-Lite0"]
    same = results(Samples(real, sample(rng.uniform(-1, 1, (60, 1, 4, 4)))))["Diversity-Lite0"]
    assert ratio.ratio_interval is not None and ratio.ratio_interval[1] < 0.2
    assert same.ratio_interval is not None and same.ratio_interval[0] < 1 < same.ratio_interval[1]


def test_identical_images_have_none() -> None:
    real = sample(np.random.default_rng(2).uniform(-1, 1, (6, 1, 4, 4)), list("abcdef"))
    found = results(Samples(real, sample(np.full((8, 1, 4, 4), 0.3))))
    assert found["Diversity-Lite0"].value == pytest.approx(0, abs=1e-6)
    assert "all the same" in found["Diversity-Lite0"].caveat and found["Diversity-Lite0"].ratio == 0


def test_fewer_than_two_images_or_patients_get_a_clear_answer() -> None:
    rng = np.random.default_rng(3)
    one = results(Samples(sample(rng.uniform(-1, 1, (6, 1, 4, 4)), list("aabbcc")), sample(np.zeros((1, 1, 4, 4)))))
    alone = results(Samples(sample(rng.uniform(-1, 1, (6, 1, 4, 4)), ["a"] * 6), sample(rng.normal(size=(9, 1, 4, 4)))))
    first, second = one["Diversity-Lite0"], alone["Diversity-Lite0"]
    assert first.value is None and "two synthetic images" in first.caveat
    assert second.value is not None and second.reference is None and second.interval is None
    assert "no two real patients" in second.caveat
