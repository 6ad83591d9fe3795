"""MS-SSIM diversity: against a slow computation and torchmetrics, and what it says of pairs of different patients."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.similarity import similarity
from ganatomy.metrics.ssim import ms_ssim as compute

WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]


def textures(n: int, size: int, rng: np.random.Generator, alike: float = 0.0) -> np.ndarray:
    """Smooth images [n, 1, size, size]; `alike` is the share that all have in common."""
    noise = gaussian_filter(rng.normal(size=(n + 1, 1, size, size)), (0, 0, 2, 2))
    noise /= noise.std()
    return np.clip(0.4 * (alike * noise[:1] + (1 - alike) * noise[1:]), -1, 1).astype(np.float32)


def slowly(a: np.ndarray, b: np.ndarray, weights: list[float]) -> float:
    """Wang's definition (Asilomar 2003, eq. 7) of two grey images from 0 to 1, window by window."""
    axis = np.exp(-np.arange(-5, 6) ** 2 / (2 * 1.5**2))
    window = np.outer(axis, axis) / np.outer(axis, axis).sum()
    c1, c2, product = 0.01**2, 0.03**2, 1.0
    for scale, weight in enumerate(weights):
        last = scale == len(weights) - 1
        x, y = (np.pad(image, 5, mode="reflect") if last else image for image in (a, b))
        terms = []
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                p, q = x[i:i + 11, j:j + 11], y[i:i + 11, j:j + 11]
                mp, mq = (window * p).sum(), (window * q).sum()
                vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
                structure = (2 * (window * (p - mp) * (q - mq)).sum() + c2) / (vp + vq + c2)
                terms.append(structure * ((2 * mp * mq + c1) / (mp**2 + mq**2 + c1) if last else 1))
        product *= max(float(np.mean(terms)), 0.0) ** (weight / sum(weights))
        a, b = (image.reshape(len(image) // 2, 2, len(image) // 2, 2).mean((1, 3)) for image in (a, b))
    return product


def test_three_scales_equal_the_definition() -> None:
    rng = np.random.default_rng(0)
    images = textures(3, 48, rng, 0.7)
    _, found = similarity(images[:2], images[1:])
    assert found is not None
    for i in range(2):
        x, y = (((images[i + j, 0] + 1) / 2).astype(np.float64) for j in range(2))
        assert found[i] == pytest.approx(slowly(x, y, WEIGHTS[:3]), abs=1e-5)


@pytest.mark.parametrize(("size", "scales", "name"), [(176, 5, "MS-SSIM"), (64, 3, "MS-SSIM-3")])
def test_values_are_means_of_torchmetrics_over_pairs(size: int, scales: int, name: str) -> None:
    from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

    images = textures(2, size, np.random.default_rng(1), 0.6)
    weights = tuple(np.array(WEIGHTS[:scales]) / sum(WEIGHTS[:scales]))
    pair = (torch.from_numpy((image[None] + 1) / 2) for image in images)
    expected = float(ms_ssim(*pair, data_range=1.0, betas=weights, normalize="relu"))
    result = compute(Samples(Sample(textures(4, size, np.random.default_rng(2))), Sample(images)))[0]
    assert (result.name, result.value) == (name, pytest.approx(expected, abs=1e-4))  # two images have one pair
    assert ("scaled to sum 1" in result.caveat or "to sum 1" in result.caveat) == (scales == 3)


def test_inverted_images_are_not_alike_and_no_power_fails() -> None:
    image = textures(1, 48, np.random.default_rng(3))
    result = compute(Samples(Sample(textures(4, 48, np.random.default_rng(2))),
                             Sample(np.concatenate([image, -image]))))[0]
    assert result.value == 0  # a negative mean of the structure counts as 0


def test_below_the_least_size_there_is_a_reason_and_no_value() -> None:
    rng = np.random.default_rng(4)
    for size, known in ((43, False), (44, True)):
        result = compute(Samples(Sample(textures(6, size, rng)), Sample(textures(6, size, rng))))[0]
        assert (result.value is not None) == known
        assert ("44 px" in result.caveat) != known


def test_pairs_are_of_different_patients_and_equally_many() -> None:
    rng = np.random.default_rng(5)
    own = textures(10, 44, rng)
    slices = np.repeat(own, 8, axis=0)  # the slices of a patient are the same
    test, made = Sample(slices, [f"s{i // 8}" for i in range(80)]), Sample(textures(30, 44, rng))
    result = compute(Samples(test, made))[0]
    assert result.reference is not None and result.interval is not None and result.value is not None
    different = np.mean([similarity(own[[i]], own[[j]])[1] for i in range(10) for j in range(10) if i != j])
    assert result.reference.value == pytest.approx(different, abs=0.05)
    assert f"{result.reference.pairs} pairs" in result.caveat and result.reference.pairs == 240
    assert (result.better, result.ranked, result.floor) == ("match", False, result.reference.value)


def test_a_generator_that_repeats_itself_has_a_large_ratio() -> None:
    rng = np.random.default_rng(6)
    real = Sample(textures(40, 44, rng, 0.3), [f"s{i // 2}" for i in range(40)])
    collapsed, fine = (compute(Samples(real, Sample(textures(60, 44, rng, alike))))[0] for alike in (0.95, 0.3))
    assert collapsed.ratio_interval is not None and collapsed.ratio_interval[0] > 1.5
    assert fine.ratio_interval is not None and fine.ratio_interval[0] < 1 < fine.ratio_interval[1]


def test_few_images_subjects_or_greys_get_a_clear_answer() -> None:
    rng = np.random.default_rng(7)
    real, black = Sample(textures(10, 44, rng)), Sample(np.full((9, 1, 44, 44), -1, np.float32))
    one = compute(Samples(real, Sample(textures(1, 44, rng))))[0]
    assert one.value is None and "two synthetic images" in one.caveat
    alone = compute(Samples(Sample(textures(6, 44, rng), ["a"] * 6), black))[0]
    assert (alone.value, alone.reference, alone.interval) == (1, None, None) and "no two real patients" in alone.caveat
    few = compute(Samples(Sample(textures(6, 44, rng), list("aabbcc")), black))[0]
    assert few.interval is None and few.reference is not None and few.reference.interval is None
    for result in (one, alone, few, *compute(Samples(black, real, train=real))):
        json.dumps(result.to_json(), allow_nan=False)
