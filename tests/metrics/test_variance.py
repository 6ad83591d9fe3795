"""Variance over images: scaled data, alike slices, and what is found."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ganatomy.metrics import variance
from ganatomy.metrics.base import MetricResult, Sample, Samples
from tests.metrics.textures import textures


def sample(images: np.ndarray, subjects: list[str] | None = None) -> Sample:
    return Sample(images.astype(np.float32), subjects, np.zeros((len(images), 2)))


def against_test(real: Sample, synthetic: Sample) -> MetricResult:
    return next(r for r in variance.compute(Samples(real, synthetic)) if r.against == "test")


def test_is_numpys_variance_of_independent_images() -> None:
    images = np.random.default_rng(0).uniform(-1, 1, (30, 3, 8, 8))
    result = against_test(sample(images), sample(images))
    assert result.value == pytest.approx(images.var(0, ddof=1).mean(), rel=1e-4)
    found = variance.Variance.of(sample(images), 0)
    assert found is not None and found.pixels == pytest.approx(images.var(0, ddof=1), rel=1e-3)


def test_is_half_the_squared_difference_of_pairs_of_different_subjects() -> None:
    rng = np.random.default_rng(1)
    images, subjects = rng.uniform(-1, 1, (9, 1, 4, 4)).astype(np.float32), list("abbacccca")
    pairs = [(images[i] - images[j]) ** 2 / 2 for i, j in itertools.combinations(range(9), 2)
             if subjects[i] != subjects[j]]
    found = variance.Variance.of(sample(images, subjects), 0)
    assert found is not None and found.pixels == pytest.approx(np.mean(pairs, 0), rel=1e-4)
    assert found.mean()[0] == pytest.approx(np.mean(pairs), rel=1e-4)


def test_half_the_contrast_has_a_quarter_of_the_variance() -> None:
    images = textures(60, np.random.default_rng(2))
    result = against_test(sample(images), sample(images / 2))
    assert result.ratio == pytest.approx(0.25, rel=1e-4)
    assert result.ratio_interval is not None and result.ratio_interval[1] < 0.35
    assert "too alike" in variance.found(result.to_json())
    assert "too much" in variance.found(against_test(sample(images / 2), sample(images)).to_json())


def test_alike_slices_do_not_make_patients_seem_less_varied() -> None:
    rng = np.random.default_rng(3)
    patients = textures(10, rng)
    slices = np.repeat(patients, 20, 0) + 0.01 * rng.standard_normal((200, 1, 32, 32))
    names = [f"p{i // 20}" for i in range(200)]
    result = against_test(sample(slices, names), sample(textures(200, rng)))
    assert result.reference is not None
    assert result.reference["value"] == pytest.approx(patients.var(0, ddof=1).mean(), rel=0.01)
    assert variance.found(result.to_json()) == ""
    assert result.details is not None and result.details["halves"][0] < 1 < result.details["halves"][1]


def test_maps_are_at_most_32_pixels_wide_and_show_where_images_vary() -> None:
    images = np.zeros((20, 1, 50, 50))
    images[:, :, :25] = np.random.default_rng(4).normal(0, 0.2, (20, 1, 1, 1))
    details = against_test(sample(images), sample(images)).details
    assert details is not None
    drawn = np.array(details["real"])
    assert drawn.shape == (32, 32) and (drawn[17:] == 0).all() and drawn[:15].min() > 0.1


def test_constant_images_and_a_single_one() -> None:
    real = sample(textures(8, np.random.default_rng(5)))
    constant = against_test(real, sample(np.zeros((6, 1, 32, 32))))
    assert constant.value == pytest.approx(0, abs=1e-9) and "too alike" in variance.found(constant.to_json())
    alone = against_test(real, sample(np.zeros((1, 1, 32, 32))))
    assert alone.value is None and "two" in alone.caveat
    nothing = against_test(sample(np.zeros((8, 1, 32, 32))), real)
    assert nothing.ratio is None and variance.found(nothing.to_json()) == ""
