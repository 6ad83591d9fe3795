"""SSIM of unpaired images, against a direct computation, beside pairs of different patients."""

from __future__ import annotations

import numpy as np
import pytest

from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.similarity import ssim
from ganatomy.metrics.ssim import compute, number_of_pairs


def directly(a: np.ndarray, b: np.ndarray) -> float:
    """Wang's formula with an 11x11 Gaussian window on one grey image from 0 (black) to 2, edges mirrored."""
    from scipy.ndimage import correlate1d

    window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window /= window.sum()

    def mean(x: np.ndarray) -> np.ndarray:
        return correlate1d(correlate1d(x, window, axis=0, mode="mirror"), window, axis=1, mode="mirror")

    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    return float((((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


def test_equals_the_formula_with_a_fixed_range() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(-0.3, 0.4, (4, 1, 32, 32)).astype(np.float32) for _ in range(2))
    b[0] = a[0]
    values = ssim(a, b)
    assert values[0] == pytest.approx(1)
    for i in range(4):
        assert values[i] == pytest.approx(directly(a[i, 0].astype(float) + 1, b[i, 0].astype(float) + 1), abs=1e-5)


def test_black_counts_as_nothing_so_an_inverted_image_is_not_similar() -> None:
    stripes = np.sign(np.sin(np.arange(32)))[None, None, None].repeat(32, 2).astype(np.float32)
    assert ssim(0.9 * stripes, -0.9 * stripes)[0] < 0
    black, dark = np.full((1, 1, 32, 32), -1, np.float32), np.full((1, 1, 32, 32), -0.5, np.float32)
    assert ssim(black, dark)[0] == pytest.approx(0.02**2 / (0.5**2 + 0.02**2), rel=1e-4)  # luminance alone


def test_equals_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(5)
    a, b = (rng.uniform(-1, 1, (2, 1, 40, 40)).astype(np.float32) for _ in range(2))
    for i in range(2):
        theirs = metrics.structural_similarity((a[i, 0] + 1) / 2, (b[i, 0] + 1) / 2, data_range=1, sigma=1.5,
                                               gaussian_weights=True, use_sample_covariance=False, full=True)[1]
        assert ssim(a, b)[i] == pytest.approx(theirs.mean(), abs=2e-3)  # its edges are reflected with the last pixel


def patient_images(subjects: int, each: int, rng: np.random.Generator) -> Sample:
    own = rng.uniform(-1, 1, (subjects, 1, 1, 16, 16))
    images = 0.8 * own + 0.2 * rng.uniform(-1, 1, (subjects, each, 1, 16, 16))
    names = [f"s{i}" for i in range(subjects) for _ in range(each)]
    return Sample(images.reshape(-1, 1, 16, 16).astype(np.float32), names)


def test_reference_compares_different_patients_only() -> None:
    rng = np.random.default_rng(1)
    test = patient_images(6, 4, rng)
    result = compute(Samples(test, patient_images(40, 1, rng)))[0]
    assert result.reference is not None and result.interval is not None and result.value is not None
    within = ssim(test.images[0::4], test.images[1::4]).mean()
    assert within > 0.5  # images of one patient look alike
    assert result.reference.value < 0.5 * within
    assert result.reference.pairs == number_of_pairs(24, 256)
    assert result.better == "match" and not result.ranked


def test_one_test_patient_is_compared_with_train_patients() -> None:
    rng = np.random.default_rng(2)
    result = compute(Samples(patient_images(1, 5, rng), patient_images(10, 1, rng), train=patient_images(4, 3, rng)))[0]
    assert result.interval is None and set(result.per_subject or {}) == {"s0"}
    assert result.reference is not None and "train" in result.reference.what


def test_without_two_patients_it_says_that_it_cannot_be_read() -> None:
    rng = np.random.default_rng(3)
    result = compute(Samples(patient_images(1, 5, rng), patient_images(10, 1, rng)))[0]
    assert result.reference is None and "no two real patients" in result.caveat


def test_intervals_hold_the_mean_over_other_patients_and_other_images() -> None:
    """Also where few synthetic images are compared with many real ones, and between real patients."""
    rng, found = np.random.default_rng(4), []
    for seed in range(60):
        grey = rng.uniform(0.2, 0.8, (20, 1, 1, 1))
        real, made = (np.broadcast_to(g, (len(g), 1, 12, 12)).astype(np.float32) for g in (grey[:12], grey[12:]))
        found.append(compute(Samples(Sample(real), Sample(made), seed=seed))[0])
    for kind in ([(r.value, r.interval) for r in found],
                 [(r.reference.value, r.reference.interval) for r in found if r.reference]):
        mean = np.mean([value for value, _ in kind])
        assert np.mean([low <= mean <= high for _, (low, high) in kind]) >= 0.9
