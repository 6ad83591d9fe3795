"""Checkerboards and stripes are named; what real images have, and repeated images, are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ganatomy.metrics import spectrum
from ganatomy.metrics.base import Samples
from tests.metrics.textures import sample, textures

SIZE = 64


def named(real: np.ndarray, synthetic: np.ndarray, subjects: list[str] | None = None) -> list[dict[str, Any]]:
    result = spectrum.compute(Samples(sample(real, subjects), sample(synthetic)))[0]
    assert result.details is not None
    found: list[dict[str, Any]] = result.details["peaks"]
    assert bool(found) == ("pattern" in spectrum.fault(result))
    return found


def pattern(kind: str, period: float) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] * (2 * np.pi / period)
    return {"horizontal": np.cos(x), "vertical": np.cos(y), "diagonal": np.cos(x + y),
            "both (checkerboard)": np.cos(x) * np.cos(y)}[kind]


@pytest.mark.parametrize(("kind", "period"), [("both (checkerboard)", 2), ("horizontal", 2), ("vertical", 4),
                                              ("horizontal", 8), ("vertical", 3), ("diagonal", 4)])
def test_a_pattern_of_two_per_cent_is_named(kind: str, period: float) -> None:
    rng = np.random.default_rng(0)
    real, synthetic = textures(60, rng, SIZE), textures(60, rng, SIZE) + 0.04 * pattern(kind, period)
    found = named(real, synthetic)
    assert [p["direction"] for p in found] == [kind] and found[0]["excess_db"] > 10
    assert found[0]["period_px"] == pytest.approx(period, abs=0.15)


def test_every_second_pixel_brighter_both_ways_is_one_checkerboard() -> None:
    rng = np.random.default_rng(2)
    comb = (np.arange(SIZE) % 2 == 0) * 1.0
    synthetic = textures(60, rng, SIZE) + 0.08 * (np.outer(comb, comb) - 0.25)
    assert [p["direction"] for p in named(textures(60, rng, SIZE), synthetic)] == ["both (checkerboard)"]


def test_a_pattern_that_real_images_have_is_no_fault() -> None:
    rng = np.random.default_rng(3)
    grid = 0.04 * pattern("vertical", 4)
    assert named(textures(60, rng, SIZE) + grid, textures(60, rng, SIZE) + grid) == []


def test_fresh_patients_and_repeated_images_have_no_pattern() -> None:
    rng = np.random.default_rng(4)
    for _ in range(10):
        real = textures(60, rng, SIZE)
        assert named(real, textures(60, rng, SIZE)) == []
        assert named(real, textures(5, rng, SIZE)[rng.integers(5, size=60)]) == []
        assert named(np.repeat(real[:8], 5, 0), textures(60, rng, SIZE), [f"p{i // 5}" for i in range(40)]) == []


def test_a_single_patient_and_little_images() -> None:
    rng = np.random.default_rng(5)
    assert named(textures(6, rng, SIZE), textures(6, rng, SIZE), ["a"] * 6) == []
    assert named(textures(2, rng, 16), textures(1, rng, 16), ["a", "a"]) == []
    assert named(textures(12, rng, 16), textures(12, rng, 16)) == []
