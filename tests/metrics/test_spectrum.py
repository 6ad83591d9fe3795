"""Power spectra: sines in their place, Parseval, decibels, blur and noise; checkerboards and stripes are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ganatomy.metrics import spectrum
from ganatomy.metrics.base import Result, Sample, Samples
from tests.metrics.textures import sample, textures


def results(real: Sample, synthetic: Sample) -> dict[str, Result]:
    return {r.name: r for r in spectrum.compute(Samples(real, synthetic)) if r.against == "test"}


@pytest.mark.parametrize("cycles", [3, 8, 13])
def test_a_sine_is_in_its_ring(cycles: int) -> None:
    x = np.arange(32) / 32
    images = np.broadcast_to(0.5 * np.sin(2 * np.pi * cycles * x), (6, 1, 32, 32))
    details = results(sample(images), sample(images))["Spectrum"].details
    assert details["frequency"][int(np.argmax(details["real"]))] == cycles / 32


@pytest.mark.parametrize(("size", "channels"), [(32, 1), (31, 3)])
def test_mean_power_is_the_variance_under_the_window(size: int, channels: int) -> None:
    images = np.random.default_rng(0).uniform(-1, 1, (3, channels, size, size)).astype(np.float32)
    line = np.hanning(2 * size + 1)[1::2]
    window = np.outer(line, line)
    mean = (images * window).sum((2, 3), keepdims=True) / window.sum()
    variance = ((images - mean) ** 2 * window ** 2).sum((2, 3)) / (window ** 2).sum()
    _, counts = spectrum.frequencies(size)
    total = (spectrum.power(images) * counts).sum((1, 2)) / size ** 2
    assert total == pytest.approx(variance.mean(1), rel=1e-4)


def test_twice_the_contrast_is_six_decibels_and_four_times_the_power() -> None:
    images = textures(30, np.random.default_rng(1)) / 4
    found = results(sample(images), sample(2 * images))
    assert found["Spectrum"].value == pytest.approx(20 * np.log10(2), abs=0.1)
    assert found["Sharpness"].ratio == pytest.approx(4, rel=1e-3)


def test_white_noise_has_its_variance_in_every_ring_and_in_the_upper_half() -> None:
    images = 0.1 * np.random.default_rng(2).standard_normal((200, 1, 32, 32))
    found = results(sample(images), sample(images))
    assert found["Sharpness"].value == pytest.approx(0.01, rel=0.02)
    details = found["Spectrum"].details
    assert details["real"][4:] == pytest.approx([-20] * 12, abs=1)


def test_blur_and_noise_are_found_and_fresh_patients_are_not() -> None:
    rng = np.random.default_rng(3)
    real, fresh = sample(textures(60, rng)), textures(60, rng)
    innocent = results(real, sample(fresh))
    assert [spectrum.fault(r) for r in innocent.values()] == ["", ""]
    blurred = results(real, sample(gaussian_filter(fresh, (0, 0, 1, 1))))
    assert "dB" in spectrum.fault(blurred["Spectrum"])
    assert "blurred" in spectrum.fault(blurred["Sharpness"])
    noisy = results(real, sample(fresh + 0.1 * rng.standard_normal(fresh.shape)))
    assert "noisy" in spectrum.fault(noisy["Sharpness"])
    assert blurred["Spectrum"].value > 10 * blurred["Spectrum"].floor


def test_what_rounding_hides_does_not_count() -> None:
    smooth = gaussian_filter(textures(20, np.random.default_rng(4)), (0, 0, 3, 3))
    rounded = np.rint((smooth + 1) * 127.5) / 127.5 - 1
    value = results(sample(smooth), sample(rounded))["Spectrum"].value
    assert value < 3  # without the power of rounding beside it: more than 20 dB


def test_constant_images_and_a_single_one() -> None:
    real = sample(textures(8, np.random.default_rng(5)))
    for images in (np.full((6, 1, 32, 32), 0.3), np.full((1, 1, 32, 32), 0.3)):
        found = results(real, sample(images))
        assert found["Spectrum"].value > 5
        assert found["Sharpness"].value == pytest.approx(0, abs=1e-9)
    both = results(sample(np.zeros((6, 1, 32, 32))), sample(np.zeros((6, 1, 32, 32))))
    assert both["Spectrum"].value == 0 and both["Sharpness"].ratio is None
    assert [spectrum.fault(r) for r in both.values()] == ["", ""]


def test_below_five_subjects_there_is_no_interval() -> None:
    real = sample(textures(8, np.random.default_rng(6)), list("aabbccdd"))
    found = results(real, sample(textures(8, np.random.default_rng(7))))
    assert found["Spectrum"].interval is None and found["Sharpness"].interval is None
    assert len(found["Spectrum"].per_subject) == 4


# ---- peaks

SIZE = 64


def named(real: np.ndarray, synthetic: np.ndarray, subjects: list[str] | None = None) -> list[dict[str, Any]]:
    result = spectrum.compute(Samples(sample(real, subjects), sample(synthetic)))[0]
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
