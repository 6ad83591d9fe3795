"""Paired values: known answers, masks of real images only, subjects, and comparisons in words."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch

from ganatomy.core.errors import UserError
from ganatomy.metrics.schema import Comparison
from ganatomy.metrics.translation.paired import (
    PSNR_CAP,
    PairValues,
    background,
    compare,
    foreground,
    headline,
    pair_values,
    summarise,
)
from tests.metrics.cohorts import noisy
from tests.metrics.textures import smooth


def disc(size: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size - 0.5
    return np.hypot(y, x) < radius


def whole(images: np.ndarray) -> np.ndarray:
    return np.ones((len(images), *images.shape[2:]), bool)


def test_psnr_is_torchmetrics_and_a_mask_of_all_changes_nothing() -> None:
    from torchmetrics.functional.image import peak_signal_noise_ratio

    target = smooth(3, 65, channels=3)
    output = noisy(0.7 * target, 0.2)
    values = pair_values(target, output, whole(target)).values
    expected = peak_signal_noise_ratio(torch.from_numpy(output), torch.from_numpy(target), data_range=2.0,
                                       reduction="none", dim=(1, 2, 3))
    assert values["PSNR whole image"] == pytest.approx(expected.numpy(), abs=1e-4)
    for name in ("PSNR", "MAE", "SSIM", "MS-SSIM-3"):
        assert values[f"{name} foreground"] == pytest.approx(values[f"{name} whole image"], abs=1e-9)


def test_constants_by_hand() -> None:
    target, output = np.full((2, 1, 64, 64), 0.25, np.float32), np.full((2, 1, 64, 64), 0.75, np.float32)
    result = pair_values(target, output, np.repeat(disc(64, 0.3)[None], 2, 0), scale=np.array([1000.0, 500.0]),
                         units="HU")
    assert result.values["MAE foreground"] == pytest.approx([25, 25])  # 0.5 of a range of 2
    assert result.values["MAE in HU foreground"] == pytest.approx([500, 250])
    assert result.units["MAE in HU foreground"] == "HU"
    assert result.values["PSNR foreground"] == pytest.approx(10 * np.log10(4 / 0.25))
    c1 = 0.02**2
    assert result.values["SSIM whole image"] == pytest.approx((2 * 1.25 * 1.75 + c1) / (1.25**2 + 1.75**2 + c1), 1e-4)


def test_identical_pairs_get_the_best_values_and_inverted_structure_none() -> None:
    target = smooth(2, 64)
    same, inverted = (pair_values(target, images, whole(target)).values for images in (target.copy(), -target))
    for region in ("foreground", "whole image"):
        assert same[f"MAE {region}"].tolist() == [0, 0]
        assert same[f"PSNR {region}"].tolist() == [PSNR_CAP] * 2
        assert same[f"SSIM {region}"] == pytest.approx(1, abs=1e-6)
        assert same[f"MS-SSIM-3 {region}"] == pytest.approx(1, abs=1e-6)
    assert inverted["MS-SSIM-3 whole image"].tolist() == [0, 0]
    assert (inverted["SSIM whole image"] < 0).all()  # that dark is bright as well makes it no better


def test_rubbish_outside_the_mask_changes_nothing_inside() -> None:
    mask = np.repeat(disc(64, 0.3)[None], 3, 0)
    target = np.where(mask[:, None], smooth(3, 64), -1).astype(np.float32)
    output = np.where(mask[:, None], noisy(target, 0.1), -1).astype(np.float32)
    rubbish = np.where(mask[:, None], output, smooth(3, 64, seed=5)).astype(np.float32)
    clean, dirty = (pair_values(target, images, mask).values for images in (output, rubbish))
    for name in clean:
        assert np.array_equal(clean[name], dirty[name]) == name.endswith("foreground"), name


def test_inside_figures_are_means_over_the_masks_pixels() -> None:
    target = np.full((1, 1, 64, 64), -1, np.float32)
    mask = disc(64, 0.25)[None]
    target[0, 0][mask[0]] = 0.5
    output = target.copy()
    output[0, 0, 32, 32] = -0.5
    result = pair_values(target, output, mask).values
    assert result["MAE foreground"][0] == pytest.approx(50 / mask.sum(), rel=1e-5)
    assert result["MAE whole image"][0] == pytest.approx(50 / 64**2, rel=1e-5)
    apart = 1 - result["SSIM foreground"][0], 1 - result["SSIM whole image"][0]
    assert apart[0] / apart[1] == pytest.approx(64**2 / mask.sum(), rel=1e-3)  # the fault lies well inside


def test_order_of_the_batch_does_not_matter() -> None:
    target = smooth(40, 64)
    output, mask = noisy(target, 0.1), np.random.default_rng(3).random((40, 64, 64)) < 0.6
    order = np.random.default_rng(4).permutation(40)
    first, second = pair_values(target, output, mask), pair_values(target[order], output[order], mask[order])
    for name, values in first.values.items():
        assert np.array_equal(values[order], second.values[name])


def test_small_images_have_no_ms_ssim_and_empty_masks_no_inside_figures() -> None:
    target = smooth(2, 32)
    mask = whole(target)
    mask[1] = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = pair_values(target, noisy(target, 0.1), mask).values
    assert not any(name.startswith("MS-SSIM") for name in result)
    for name, values in result.items():
        assert np.isnan(values).tolist() == [False, name.endswith("foreground")]


def test_values_that_are_not_finite_are_refused() -> None:
    target = smooth(1, 16)
    with pytest.raises(UserError, match="not finite"):
        pair_values(target, np.where(target == target.max(), np.nan, target), whole(target))


# ---- foreground

@pytest.mark.parametrize("noise", [0.0, 0.065])  # of the latter 0.9% of the air stands out
def test_foreground_is_the_filled_head_whatever_the_noise_in_air(noise: float) -> None:
    rng = np.random.default_rng(0)
    signal = np.where(disc(128, 0.38), 1.2, 0.0)
    signal[disc(128, 0.1)] = 0.05  # dark fluid
    rician = np.hypot(signal + rng.normal(0, noise, (128, 128)), rng.normal(0, noise, (128, 128)))
    image = np.clip(rician - 1, -1, 1)[None, None].astype(np.float32)
    assert (foreground(image, image)[0] != disc(128, 0.38)).mean() < 0.002


def test_foreground_is_the_union_of_both_real_images() -> None:
    left, right = (np.full((1, 1, 64, 64), -1, np.float32) for _ in range(2))
    assert not foreground(left, right).any()  # empty slices have none
    left[0, 0, 20:40, 10:30] = 0
    right[0, 0, 20:40, 25:50] = 0
    assert foreground(left, right)[0].sum() == 20 * 40


@pytest.mark.parametrize("level", [1.0, 0.1])
def test_foreground_of_bright_and_of_grey_backgrounds(level: float) -> None:
    image = np.full((1, 1, 64, 64), level, np.float32)
    image[0, 0][disc(64, 0.3)] = -0.5
    assert background(image)[0] == pytest.approx(level)
    assert np.array_equal(foreground(image, image)[0], disc(64, 0.3))


def test_without_background_all_is_foreground() -> None:
    x_ray = smooth(1, 64) * 0.5 + 0.3
    assert np.isnan(background(x_ray)[0]) and foreground(x_ray, x_ray).all()


# ---- subjects

def values_of(mae: list[float], ssim: list[float]) -> PairValues:
    return PairValues({"MAE foreground": np.array(mae), "SSIM foreground": np.array(ssim)},
                       {"MAE foreground": "% of range", "SSIM foreground": ""})


def test_a_subject_counts_once_however_many_slices_it_has() -> None:
    result = summarise(values_of([1, 1, 1, 5], [0.9, 0.9, np.nan, np.nan]), ["a", "a", "a", "b"])
    assert result[0].value == pytest.approx(3) and result[0].per_subject == {"a": 1, "b": 5}
    assert (result[0].n_images, result[0].n_subjects, result[0].interval, result[0].better) == (4, 2, None, "lower")
    assert (result[1].n_images, result[1].n_subjects, result[1].value) == (2, 1, pytest.approx(0.9))
    json.dumps([one.to_json() for one in result], allow_nan=False)


def test_a_figure_that_no_image_has_is_none() -> None:
    nothing = values_of([np.nan], [np.nan])
    result = summarise(nothing, ["a"])[0]
    assert result.value is None and result.n_subjects == 0
    assert "no image" in headline(compare(("x", nothing), {"y": nothing}, ["a"])["y"])


def test_intervals_over_subjects_cover_as_often_as_they_should() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        each = np.repeat(rng.normal(10, 2, 8), 5) + rng.normal(0, 0.1, 40)
        result = summarise(values_of(list(each), [0.5] * 40), [f"s{i // 5}" for i in range(40)])[0]
        hits += result.interval[0] <= 10 <= result.interval[1]
    assert 180 <= hits <= 198  # 190 expected; slices taken for subjects would give about 120


def test_a_difference_within_subjects_shows_although_subjects_differ_more() -> None:
    rng = np.random.default_rng(1)
    hard = rng.uniform(5, 20, 8)
    subjects = [f"s{i}" for i in range(8)]
    one, other = values_of(list(hard), [0.8] * 8), values_of(list(hard + rng.normal(1, 0.2, 8)), [0.8] * 8)
    mae, ssim = compare(("unet", one), {"input": other}, subjects)["input"]
    assert mae.ahead == "unet" and mae.first_ahead == 8 and mae.difference < 0
    assert mae.units == "% of range"
    assert ssim.ahead is None and (ssim.first_ahead, ssim.second_ahead) == (0, 0)
    back = compare(("input", other), {"unet": one}, subjects)["unet"][0]
    assert back.ahead == "unet" and back.difference == pytest.approx(-mae.difference)
    json.dumps(mae.to_json(), allow_nan=False)


def test_below_five_subjects_it_counts_and_says_so() -> None:
    result = compare(("a", values_of([1, 2, 9], [0.9] * 3)), {"b": values_of([2, 3, 4], [0.8] * 3)}, list("xyz"))["b"]
    assert result[0].interval is None and result[0].ahead is None
    assert (result[0].first_ahead, result[0].second_ahead, result[0].leader) == (2, 1, None)
    assert result[1].leader == "a" and "cannot be told apart by MAE (3 subjects; with fewer" in headline(result)
    led = compare(("a", values_of([1, 2, 3], [0.9] * 3)), {"b": values_of([2, 3, 4], [0.8] * 3)}, list("xyz"))["b"]
    assert "a is ahead of b by MAE (3 subjects; with fewer" in headline(led)


def test_many_rivals_need_more_to_be_beaten_and_what_is_negligible_beats_nobody() -> None:
    rng = np.random.default_rng(2)
    own, subjects = rng.uniform(5, 20, 8), [f"s{i}" for i in range(8)]
    weak = own + 1 + rng.normal(0, 1.2, 8)
    rivals = {f"rival {i}": values_of(list(own + rng.normal(0, 1, 8)), [0.8] * 8) for i in range(12)}

    def against_weak(others: dict[str, PairValues]) -> Comparison:
        return compare(("model", values_of(list(own), [0.9] * 8)), {"weak": values_of(list(weak), [0.8] * 8)} | others,
                       subjects)["weak"][0]

    alone, among = against_weak({}), against_weak(rivals)
    assert alone.ahead == "model" and alone.p_holm == alone.p < 0.05 and among.p == alone.p
    assert among.p_holm > 0.05 and among.ahead is None and among.interval == alone.interval
    assert "cannot be told apart" in headline([among]) and "Holm's p" in headline([among])
    hair = compare(("a", values_of(list(own), [0.9] * 8)), {"b": values_of(list(own + 0.01), [0.8] * 8)}, subjects)["b"]
    assert hair[0].interval[1] < 0 and hair[0].p < 1e-9 and hair[0].ahead is None
    assert "cannot be told apart" in headline(hair)


def test_intervals_end_where_values_do() -> None:
    result = summarise(values_of([0.0, 0.0, 0.0, 0.0, 3.0], [1.0, 1.0, 1.0, 1.0, 0.9]), list("abcde"))
    assert result[0].interval[0] == 0 < result[0].value and result[1].interval[1] == 1 > result[1].value


def comparison(**ahead: str | None) -> list[Comparison]:
    """Of "a" and "b" by figures of six subjects; who is ahead by each."""
    return [Comparison(name=f"{name.replace('_', '-')} foreground", first="a", second="b", difference=1, n_subjects=6,
                       better="higher", interval=(0.5, 1.5), first_ahead=6, ahead=who) for name, who in ahead.items()]


@pytest.mark.parametrize(("ahead", "words"), [
    ({"MAE": "a", "SSIM": "a"}, "a is ahead of b by MAE ("),
    ({"MAE": "a", "PSNR": "a", "SSIM": "b", "MS_SSIM": "b"},
     "a is ahead of b by MAE; by SSIM and MS-SSIM it is behind, which ranks nobody"),
    ({"MAE": "b", "PSNR": None, "SSIM": "a"}, "b is ahead of a by MAE; by SSIM it is behind"),
    ({"MAE": None, "PSNR": "a", "SSIM": "a", "MS_SSIM": "b"}, "a and b cannot be told apart by MAE ("),
    ({"SSIM": "a"}, "cannot be compared")])
def test_the_value_named_beforehand_alone_ranks_and_the_others_disagree(ahead: dict[str, str | None],
                                                                        words: str) -> None:
    assert words in headline(comparison(**ahead))
