"""Grey values: Wasserstein distances known by hand, floors between patients, shifts found."""

from __future__ import annotations

import numpy as np
import pytest

from ganatomy.metrics import appearance
from ganatomy.metrics.base import Result, Sample, Samples
from tests.metrics.textures import sample, textures


def against_test(real: Sample, synthetic: Sample) -> Result:
    return next(r for r in appearance.compute(Samples(real, synthetic)) if r.against == "test")


@pytest.mark.parametrize(("real", "synthetic", "apart", "brighter"), [
    ((-1, 0), (0, 1), 0.5, 0.5), ((-1, 1), (-0.5, 0.5), 1 / 8, 0)])
def test_uniform_distributions_are_apart_by_the_area_between_their_quantiles(
        real: tuple[int, int], synthetic: tuple[float, float], apart: float, brighter: float) -> None:
    one, other = (np.repeat(np.linspace(*ends, 4096).reshape(1, 1, 64, 64), 6, 0) for ends in (real, synthetic))
    result = against_test(sample(one), sample(other))
    assert result.value == pytest.approx(apart, abs=1e-3)
    assert result.details["brighter"] == pytest.approx(brighter, abs=1e-3)


def test_eight_bit_values_are_counted_exactly() -> None:
    levels = np.array([0, 3, 200, 255])
    images = (levels / 255 * 2 - 1).astype(np.float32).reshape(1, 1, 2, 2)
    assert np.flatnonzero(appearance.histograms(images)[0, 0]).tolist() == levels.tolist()


def test_channels_are_measured_each_and_averaged() -> None:
    real = np.full((6, 3, 8, 8), -1.0)
    synthetic = real.copy()
    synthetic[:, 2] = -0.4
    result = against_test(sample(real), sample(synthetic))
    assert result.details["channels"] == pytest.approx([0, 0, 0.3], abs=2e-3)
    assert result.value == pytest.approx(0.1, abs=1e-3)


def test_a_gamma_is_found_and_fresh_patients_are_not() -> None:
    rng = np.random.default_rng(0)
    real, fresh = textures(80, rng), textures(80, rng)
    brighter = ((fresh + 1) / 2) ** 0.8 * 2 - 1
    innocent = against_test(sample(real), sample(fresh))
    off = against_test(sample(real), sample(brighter))
    assert appearance.fault(innocent) == "" and innocent.p_no_difference > 0.01
    assert "brighter" in appearance.fault(off)
    assert off.value > 5 * off.floor and off.interval[0] < off.value < off.interval[1]


def test_many_alike_slices_of_few_patients_do_not_accuse_a_perfect_generator() -> None:
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(20):
        patients = rng.uniform(-0.3, 0.3, 8)
        real = np.repeat(patients, 15)[:, None, None, None] + rng.uniform(-0.5, 0.5, (120, 1, 8, 8))
        synthetic = rng.uniform(-0.3, 0.3, (120, 1, 1, 1)) + rng.uniform(-0.5, 0.5, (120, 1, 8, 8))
        result = against_test(sample(real, [f"p{i // 15}" for i in range(120)]), sample(synthetic))
        alarms += bool(appearance.fault(result))
    assert alarms <= 1


def test_below_five_subjects_there_is_a_value_for_each_and_no_interval() -> None:
    real = textures(9, np.random.default_rng(2))
    result = against_test(sample(real, list("aaabbbccc")), sample(real[:1]))
    assert result.interval is None and result.floor is None and appearance.fault(result) == ""
    assert list(result.per_subject) == ["a", "b", "c"]


def test_of_many_images_two_thousand_are_used_and_the_caveat_says_so() -> None:
    rng = np.random.default_rng(3)
    result = against_test(sample(textures(20, rng, 8)), sample(textures(2100, rng, 8)))
    assert result.n_synthetic == 2000 and "2,000 of 2,100 synthetic images" in result.caveat
