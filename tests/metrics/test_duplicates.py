"""Duplicates among synthetic images: a collapse is found, patients who look alike are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from ganatomy.metrics import duplicates
from ganatomy.metrics.base import Result, Sample, Samples
from tests.metrics.textures import textures

_PLANE = np.random.default_rng(99).standard_normal((32 * 32, 40))


def sample(images: np.ndarray, subjects: list[str] | None = None) -> Sample:
    """With random projections of the blurred image in the place of a network's features."""
    images = images.astype(np.float32)
    small = gaussian_filter(images, (0, 0, 1, 1)).reshape(len(images), -1)
    return Sample(images, subjects, (small @ _PLANE).astype(np.float64) + 5)


def against_test(real: Sample, synthetic: Sample) -> Result:
    return next(r for r in duplicates.compute(Samples(real, synthetic)) if r.against == "test")


def repeated(prototypes: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Each image one of the prototypes, moved by up to a pixel and with noise."""
    chosen = prototypes[rng.integers(len(prototypes), size=n)]
    moved = [shift(x, (0, *rng.uniform(-1, 1, 2)), order=1, mode="nearest") for x in chosen]
    return np.stack(moved) + 0.04 * rng.standard_normal(chosen.shape)


def test_a_collapse_to_ten_images_is_found_and_counted() -> None:
    rng = np.random.default_rng(0)
    real = sample(textures(150, rng))
    result = against_test(real, sample(repeated(textures(10, rng), 500, rng)))
    assert result.value > 0.95 and "near-duplicate" in duplicates.fault(result)
    assert 7 < result.details["effective"] < 14
    groups = result.details["groups"]
    assert len(groups) == 8 and all(len(group) == 12 for group in groups)


def test_groups_hold_the_ids_of_images_that_are_the_same() -> None:
    rng = np.random.default_rng(1)
    images = textures(60, rng)
    images[[3, 17, 40]] = images[5]
    images[8] = images[9]
    result = against_test(sample(textures(120, rng)), sample(images))
    assert [sorted(group, key=int) for group in result.details["groups"][:2]] == [["3", "5", "17", "40"], ["8", "9"]]
    assert result.value == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("constant", [False, True])
def test_a_single_image_again_and_again_is_found(constant: bool) -> None:
    rng = np.random.default_rng(2)
    images = np.zeros((40, 1, 32, 32)) if constant else repeated(textures(1, rng), 200, rng)
    result = against_test(sample(textures(120, rng)), sample(images))
    assert result.value > 0.95 and "near-duplicate" in duplicates.fault(result) and result.details["effective"] < 20


def test_fresh_patients_are_not_found_and_false_alarms_are_as_stated() -> None:
    rng = np.random.default_rng(3)
    shares, alarms = [], 0
    for _ in range(30):
        result = against_test(sample(textures(120, rng)), sample(textures(240, rng)))
        shares.append(result.value)
        alarms += bool(duplicates.fault(result))
    assert result.details["rate"] == pytest.approx(1 / 61) and result.details["compared"] == 120
    assert np.mean(shares) < 0.03 and alarms == 0


def test_blur_and_low_contrast_are_other_faults() -> None:
    rng = np.random.default_rng(4)
    real, fresh = sample(textures(150, rng)), textures(150, rng)
    for images in (gaussian_filter(fresh, (0, 0, 1, 1)), (fresh + fresh.mean(0)) / 2):
        assert duplicates.fault(against_test(real, sample(images))) == ""


def test_slices_of_one_patient_are_no_duplicates() -> None:
    rng = np.random.default_rng(5)
    slices = np.repeat(textures(40, rng), 6, 0) + 0.02 * rng.standard_normal((240, 1, 32, 32))
    result = against_test(sample(slices, [f"p{i // 6}" for i in range(240)]), sample(textures(240, rng)))
    assert result.details["rate"] == pytest.approx(1 / 21) and result.value < result.details["rate_high"]
    assert result.reference.n_images == 40
    assert duplicates.fault(result) == ""


def test_what_cannot_be_told_is_none_with_a_reason() -> None:
    rng = np.random.default_rng(6)
    real = sample(textures(12, rng))
    for known, synthetic, reason in ((sample(textures(4, rng)), real, "5 real subjects"),
                                     (real, sample(textures(1, rng)), "two synthetic images"),
                                     (sample(np.zeros((12, 1, 32, 32))), real, "are the same here")):
        result = against_test(known, synthetic)
        assert result.value is None and reason in result.caveat and duplicates.fault(result) == ""


def test_colour_images() -> None:
    rng = np.random.default_rng(8)

    def coloured(n: int) -> Sample:
        images = np.concatenate([textures(n, rng, 16) for _ in range(3)], 1)
        return Sample(images, None, images.mean(1).reshape(n, -1).astype(np.float64))

    fresh = coloured(40)
    again = Sample(np.repeat(fresh.images[:10], 4, 0), None, np.repeat(fresh.features[:10], 4, 0))
    assert against_test(coloured(60), again).value == 1
    assert duplicates.fault(against_test(coloured(60), fresh)) == ""
