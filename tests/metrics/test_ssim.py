"""SSIM beside pairs of different patients and MS-SSIM among generated images; their values are torchmetrics' own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from ganatomy.metrics.base import Result, Sample, Samples
from ganatomy.metrics.similarity import EXPONENTS, ms_ssim_name, scales, similarity, ssim
from ganatomy.metrics.ssim import compute, ms_ssim, number_of_pairs
from tests.metrics.textures import smooth


def diversity(real: Sample, synthetic: Sample) -> Result:
    return ms_ssim(Samples(real, synthetic))[0]


@pytest.mark.parametrize(("size", "channels"), [(44, 1), (65, 3), (176, 1)])
def test_equals_torchmetrics(size: int, channels: int) -> None:
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure,
        structural_similarity_index_measure,
    )

    a = smooth(3, size, 0, channels=channels)
    b = (0.7 * a + np.random.default_rng(1).normal(0, 0.2, a.shape)).astype(np.float32)
    pair = torch.from_numpy(a + 1), torch.from_numpy(b + 1)  # black is 0
    ours, ours_ms = similarity(a, b)
    assert ours == pytest.approx(structural_similarity_index_measure(*pair, data_range=2.0, reduction="none"), abs=1e-4)
    assert ssim(a, b) == pytest.approx(ours, abs=1e-6)
    betas = tuple(np.array(EXPONENTS[:scales(size)]) / sum(EXPONENTS[:scales(size)]))
    theirs = multiscale_structural_similarity_index_measure(*pair, data_range=2.0, reduction="none", betas=betas)
    assert ours_ms == pytest.approx(theirs.numpy(), abs=1e-4)
    two = diversity(Sample(smooth(4, size, 2, channels=channels)), Sample(np.stack([a[0], b[0]])))
    assert (two.name, two.value) == (ms_ssim_name(size), pytest.approx(ours_ms[0]))  # two images have one pair
    assert ("to sum 1" in two.caveat) == (size < 176)


def test_black_counts_as_nothing_so_an_inverted_image_is_not_similar() -> None:
    stripes = np.sign(np.sin(np.arange(32)))[None, None, None].repeat(32, 2).astype(np.float32)
    assert ssim(0.9 * stripes, -0.9 * stripes)[0] < 0
    black, dark = np.full((1, 1, 32, 32), -1, np.float32), np.full((1, 1, 32, 32), -0.5, np.float32)
    assert ssim(black, dark)[0] == pytest.approx(0.02**2 / (0.5**2 + 0.02**2), rel=1e-4)  # luminance alone
    image = smooth(1, 48, 3)
    inverted = diversity(Sample(smooth(4, 48, 2)), Sample(np.concatenate([image, -image])))
    assert inverted.value == 0  # a negative mean of the structure counts as 0


# ---- SSIM of real against generated images

def patient_images(subjects: int, each: int, rng: np.random.Generator) -> Sample:
    own = rng.uniform(-1, 1, (subjects, 1, 1, 16, 16))
    images = 0.8 * own + 0.2 * rng.uniform(-1, 1, (subjects, each, 1, 16, 16))
    names = [f"s{i}" for i in range(subjects) for _ in range(each)]
    return Sample(images.reshape(-1, 1, 16, 16).astype(np.float32), names)


def test_reference_compares_different_patients_only() -> None:
    rng = np.random.default_rng(1)
    test = patient_images(6, 4, rng)
    result = compute(Samples(test, patient_images(40, 1, rng)))[0]
    within = ssim(test.images[0::4], test.images[1::4]).mean()
    assert within > 0.5  # images of one patient look alike
    assert result.reference.value < 0.5 * within
    assert result.reference.pairs == number_of_pairs(24, 256)
    assert result.better == "match" and not result.ranked


def test_one_test_patient_is_compared_with_train_patients_if_there_are_any() -> None:
    rng = np.random.default_rng(2)
    test, synthetic = patient_images(1, 5, rng), patient_images(10, 1, rng)
    result = compute(Samples(test, synthetic, train=patient_images(4, 3, rng)))[0]
    assert result.interval is None and set(result.per_subject or {}) == {"s0"}
    assert "train" in result.reference.what
    alone = compute(Samples(test, synthetic))[0]
    assert alone.reference is None and "no two real patients" in alone.caveat


def test_intervals_hold_the_mean_over_other_patients_and_other_images() -> None:
    """Also where few synthetic images are compared with many real ones, and between real patients."""
    rng, results = np.random.default_rng(4), []
    for seed in range(60):
        grey = rng.uniform(0.2, 0.8, (20, 1, 1, 1))
        real, own = (np.broadcast_to(g, (len(g), 1, 12, 12)).astype(np.float32) for g in (grey[:12], grey[12:]))
        results.append(compute(Samples(Sample(real), Sample(own), seed=seed))[0])
    for kind in ([(r.value, r.interval) for r in results],
                 [(r.reference.value, r.reference.interval) for r in results if r.reference]):
        mean = np.mean([value for value, _ in kind])
        assert np.mean([low <= mean <= high for _, (low, high) in kind]) >= 0.9


# ---- MS-SSIM among generated images

def test_below_the_least_size_there_is_a_reason_and_no_value() -> None:
    for size, known in ((43, False), (44, True)):
        result = diversity(Sample(smooth(6, size, 4)), Sample(smooth(6, size, 5)))
        assert (result.value is not None) == known
        assert ("44 px" in result.caveat) != known


def test_pairs_are_of_different_patients_and_equally_many() -> None:
    own = smooth(10, 44, 5)
    slices = np.repeat(own, 8, axis=0)  # the slices of a patient are the same
    result = diversity(Sample(slices, [f"s{i // 8}" for i in range(80)]), Sample(smooth(30, 44, 6)))
    different = np.mean([similarity(own[[i]], own[[j]])[1] for i in range(10) for j in range(10) if i != j])
    assert result.reference.value == pytest.approx(different, abs=0.05)
    assert f"{result.reference.pairs} pairs" in result.caveat and result.reference.pairs == 240
    assert (result.better, result.ranked, result.floor) == ("match", False, result.reference.value)


def test_a_generator_that_repeats_itself_has_a_large_ratio() -> None:
    real = Sample(smooth(40, 44, 6, 0.3), [f"s{i // 2}" for i in range(40)])
    collapsed, fine = (diversity(real, Sample(smooth(60, 44, 7, alike))) for alike in (0.95, 0.3))
    assert collapsed.ratio_interval[0] > 1.5
    assert fine.ratio_interval[0] < 1 < fine.ratio_interval[1]


def test_few_images_subjects_or_greys_get_a_clear_answer() -> None:
    real, black = Sample(smooth(10, 44, 7)), Sample(np.full((9, 1, 44, 44), -1, np.float32))
    one = diversity(real, Sample(smooth(1, 44, 8)))
    assert one.value is None and "two synthetic images" in one.caveat
    alone = diversity(Sample(smooth(6, 44, 8), ["a"] * 6), black)
    assert (alone.value, alone.reference, alone.interval) == (1, None, None) and "no two real patients" in alone.caveat
    few = diversity(Sample(smooth(6, 44, 8), list("aabbcc")), black)
    assert few.interval is None and few.reference.interval is None
    for result in (one, alone, few, *ms_ssim(Samples(black, real, train=real))):
        json.dumps(result.to_json(), allow_nan=False)
