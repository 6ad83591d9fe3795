"""Vanished, weakened and invented lesions: known answers with discs and with phantom patients."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from ganatomy.core.errors import UserError
from ganatomy.metrics.translation.lesions import lesion_contrasts, lesions
from ganatomy.phantoms.cohort import subject_images
from tests.metrics.cohorts import blurred, noisy

SUBJECTS = 8


@cache
def patients(lesion: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """T2 [n, 1, 128, 128] of phantom patients, lesion masks, foreground and subjects; two slices each."""
    output = [subject_images(i, 5, 128, slices=2, lesion=lesion, anatomy="first") for i in range(SUBJECTS)]
    t2 = np.clip(2 * np.concatenate([m.t2 for m in output]) / 1200 - 1, -1, 1).astype(np.float32)[:, None]
    masks, brain = (np.concatenate([getattr(m, key) for m in output]) for key in ("lesions", "brain"))
    return t2, masks, brain > 0, [f"s{i}" for i in range(SUBJECTS) for _ in range(2)]


def discs(contrast: float, places: tuple[tuple[int, int], ...] = ((20, 20), (20, 44), (44, 32)), n: int = 6,
          radius: float = 2.5) -> tuple[np.ndarray, np.ndarray]:
    """Grey images with discs that are brighter by `contrast` per cent of the range, and the discs."""
    y, x = np.mgrid[:64, :64]
    mask = np.zeros((64, 64), bool)
    for cy, cx in places:
        mask |= np.hypot(y - cy, x - cx) <= radius
    texture = np.random.default_rng(0).normal(-0.2, 0.01, (n, 1, 64, 64))
    return (texture + contrast / 50 * mask).astype(np.float32), np.broadcast_to(mask, (n, 64, 64)).astype(np.uint8)


HEAD = np.broadcast_to(np.hypot(*(np.mgrid[:64, :64] - 32)) < 30, (6, 64, 64))
NAMES = [f"s{i}" for i in range(6)]


@pytest.mark.parametrize("kept", [1.0, 0.5, 0.0, -0.5])
@pytest.mark.parametrize("contrast", [20.0, -15.0])
def test_slope_is_the_share_of_the_contrast_that_is_kept(contrast: float, kept: float) -> None:
    (real, masks), (output, _) = discs(contrast), discs(kept * contrast)
    result = lesions(real, output, masks, HEAD, NAMES)
    assert (result.n_clear, result.n_images, result.n_subjects) == (18, 6, 6)
    assert result.contrast == pytest.approx(contrast, abs=0.5)
    assert result.slope == pytest.approx(kept, abs=0.02)
    assert result.vanished == (0 if kept >= 0.5 else 1)
    assert result.slope_interval is not None and result.per_subject is None
    assert f"{100 * result.vanished:.0f}% have vanished" in result.sentence


def test_one_lesion_of_three_is_lost_in_every_patient() -> None:
    (real, masks), (output, _) = discs(20), discs(20, ((20, 20), (20, 44)))
    result = lesions(real, output, masks, HEAD, NAMES)
    assert result.vanished == pytest.approx(1 / 3)
    assert {lesion.place for lesion in result.worst} == {(44, 32)}
    few = lesions(real, output, masks, HEAD, ["a", "a", "a", "b", "b", "b"])
    assert few.vanished_interval is None and few.per_subject["b"] == {
        "lesions": 9, "slope": pytest.approx(2 / 3, abs=0.02), "vanished": pytest.approx(1 / 3)}
    json.dumps(few.to_json(), allow_nan=False)


@pytest.mark.parametrize("beside", ["lesions", "air"])
def test_neither_other_lesions_nor_air_are_surroundings(beside: str) -> None:
    """A narrow lesion with brighter or darker things one pixel away on both sides, more than half of what is near."""
    real, head = discs(0)[0], HEAD.copy()
    masks = np.zeros(HEAD.shape, np.uint8)
    masks[:, 26:38, 29:31] = 1
    if beside == "lesions":
        masks[:, 15:50, 20:28] = masks[:, 15:50, 32:40] = 1
    else:
        head[:, :, :28] = head[:, :, 32:] = False
    real = np.where(head[:, None], real + 0.4 * masks[:, None], -1).astype(np.float32)
    result = [one for one in lesion_contrasts(real, real, masks, head, NAMES) if one.pixels == 24]
    assert len(result) == 6 and all(one.real == pytest.approx(20, abs=1) for one in result)


@pytest.mark.parametrize("contrast", [20.0, -20.0])
def test_blobs_are_invented_only_inside_the_head_and_outside_of_the_mask(contrast: float) -> None:
    """A third lesion is faint in the real image and clear in the synthetic one; a spot lies at the rim of the head."""
    places = ((20, 20), (20, 44), (44, 32))
    (real, _), (output, masks) = discs(contrast, places[:2]), discs(1.1 * contrast, (*places, (32, 4)))
    masks = masks.copy()
    masks[:, :, :10] = 0
    assert lesions(real, output, masks, HEAD, NAMES).invented.per_100 == 0
    masks[:, 36:] = 0
    result = lesions(real, output, masks, HEAD, NAMES).invented
    assert result.per_100 == 100 and {one.place for one in result.worst} == {(44, 32)}


def test_a_perfect_copy_loses_and_invents_nothing_nor_do_noise_and_slight_blur() -> None:
    t2, masks, head, names = patients()
    result = lesions(t2, t2, masks, head, names)
    assert result.n_clear > 40 and result.n_subjects == SUBJECTS
    assert (result.vanished, result.slope) == (0, pytest.approx(1))
    assert result.invented.per_100 == result.invented.missing_per_100 == 0
    assert result.invented.floor_per_100 < 10
    for output in (noisy(t2, 0.05), blurred(t2, 0.7)):
        result = lesions(t2, output, masks, head, names)
        assert result.vanished < 0.03 and result.invented.per_100 < 10


def test_patients_without_their_lesions_lose_all_of_them() -> None:
    t2, masks, head, names = patients()
    healthy = patients(lesion=False)[0]
    result = lesions(t2, healthy, masks, head, names)
    assert result.vanished > 0.97 and abs(result.slope) < 0.15
    assert result.invented.per_100 == 0
    half = lesions(t2, (t2 + healthy) / 2, masks, head, names)
    assert half.slope == pytest.approx(0.5, abs=0.06) and half.vanished < 0.15


def test_planted_blobs_are_found_where_they_are() -> None:
    t2, masks, head, names = patients()
    quiet = ndimage.binary_erosion(head & (t2[:, 0] < -0.2) & (masks == 0), np.ones((1, 13, 13)))
    output, places = t2.copy(), {}
    y, x = np.mgrid[:128, :128]
    for i in np.flatnonzero(quiet.any((1, 2))):
        cy, cx = np.argwhere(quiet[i])[0]
        output[i, 0][np.hypot(y - cy, x - cx) <= 2.5] += 0.8
        places[int(i)] = (cy, cx)
    assert len(places) >= 4
    result = lesions(t2, output, masks, head, names)
    assert result.invented.per_100 == pytest.approx(100 * len(places) / len(t2), rel=0.15)
    for one in result.invented.worst:
        assert np.hypot(*np.subtract(one.place, places[one.image])) <= 3
    turned = lesions(output, t2, masks, head, names).invented
    assert turned.per_100 == 0 and turned.missing_per_100 == pytest.approx(result.invented.per_100, rel=0.2)


def small(contrast: float, noise: float, n: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Noisy truth, the same without noise, and lesions of 4 pixels; contrasts vary about `contrast` % of the range."""
    rng = np.random.default_rng(4)
    mask, clean = np.zeros((n, 64, 64), np.uint8), np.full((n, 1, 64, 64), -0.2, np.float32)
    for i in range(n):
        for y in range(16, 48, 10):
            for x in range(16, 48, 10):
                mask[i, y:y + 2, x:x + 2] = 1
                clean[i, 0, y:y + 2, x:x + 2] += abs(rng.normal(contrast, contrast / 2)) / 50
    return (clean + rng.normal(0, noise / 50, clean.shape)).astype(np.float32), clean, mask


@pytest.mark.parametrize(("contrast", "noise"), [(3.0, 3.0), (12.0, 3.0)])
def test_the_floor_is_what_noise_alone_makes_of_a_perfect_translator(contrast: float, noise: float) -> None:
    """The translation is the truth without its noise, or with other noise: what seems lost is of the noise."""
    real, clean, masks = small(contrast, noise)
    head = np.ones(masks.shape, bool)
    names = [f"s{i % 6}" for i in range(len(real))]
    for output in (clean, noisy(clean, noise / 50, 9)):
        result = lesions(real, output, masks, head, names)
        assert result.slope == pytest.approx(result.floor_slope, abs=0.07)
        assert result.vanished == pytest.approx(result.floor_vanished, abs=0.04)
        assert f"with its own noise again {100 * result.floor_vanished:.0f}%)" in result.sentence
        assert f"with that noise {100 * result.floor_slope:.0f}%;" in result.sentence
    if contrast == 3:
        assert result.slope < 0.9 and result.floor_vanished > 0.02
    gone = lesions(real, np.full_like(clean, -0.2), masks, head, names)
    assert gone.vanished == 1 > gone.floor_vanished + 0.7


def test_a_translators_own_noise_does_not_excuse_it() -> None:
    """The floor has the real target's noise at most."""
    real, clean, masks = small(12, 1)
    names = [f"s{i % 6}" for i in range(len(real))]
    result = lesions(real, noisy(clean, 0.6, 9), masks, np.ones(masks.shape, bool), names)
    assert result.vanished > 0.1 and result.floor_vanished < 0.02


def test_a_contrast_within_its_error_is_not_judged() -> None:
    """Four pixels, with few around them, by 1.1 times as much as those vary."""
    real, mask = np.full((1, 1, 24, 24), -0.2, np.float32), np.zeros((1, 24, 24), np.uint8)
    mask[0, 10:12, 10:12] = 1
    head = np.zeros((1, 24, 24), bool)
    head[0, 10:12, 8:14] = head[0, 10:12, 14:16] = head[0, 10:12, 6:8] = True
    distance = ndimage.distance_transform_edt(mask[0] == 0)
    ring = head[0] & ~ndimage.binary_dilation(mask[0], np.ones((3, 3))) & (distance <= 4)
    values = np.linspace(-15, -5, ring.sum())
    real[0, 0][ring] = values / 50
    spread = 1.4826 * np.median(np.abs(values - np.median(values)))
    assert len(values) == 12
    for times, clear in ((1.1, False), (1.4, True)):
        real[0, 0][mask[0] > 0] = (np.median(values) + times * spread) / 50
        (result,) = lesion_contrasts(real, real, mask, head, ["a"])
        assert result.real == pytest.approx(times * spread, rel=0.01) and result.clear is clear


def test_intervals_of_shares_and_counts_stay_in_their_range() -> None:
    """One patient of six loses its lesions and gets one elsewhere: Student's t alone reaches below 0."""
    (real, masks), (one, _), (all_but_one, _) = discs(20), discs(20), discs(0)
    one[0], all_but_one[0] = discs(20, ((40, 14),))[0][0], real[0]
    result = lesions(real, one, masks, HEAD, NAMES)
    assert result.vanished == pytest.approx(1 / 6) and result.vanished_interval[0] == 0
    assert result.invented.per_100 == pytest.approx(100 / 6) and result.invented.interval[0] == 0
    result = lesions(real, all_but_one, masks, HEAD, NAMES)
    assert result.vanished == pytest.approx(5 / 6) and result.vanished_interval[1] == 1


def test_nothing_to_measure_has_a_sentence_and_rubbish_is_refused() -> None:
    real, masks = discs(20)
    none = lesions(real, real, np.zeros_like(masks), HEAD, NAMES)
    assert none.vanished is None and none.invented is None and none.sentence == "There are no lesions in these images"
    outside = lesions(real, real, masks, np.zeros_like(HEAD), NAMES)
    assert outside.n_lesions == 0 and "No lesion can be measured" in outside.sentence
    faint = lesions(discs(0.1)[0], real, masks, HEAD, NAMES)
    assert faint.n_lesions == 18 and faint.n_clear == 0 and "None of the 18 lesions" in faint.sentence
    for result in (none, outside, faint):
        json.dumps(result.to_json(), allow_nan=False)
    with pytest.raises(ValueError, match="one row for each image"):
        lesion_contrasts(real, real[:2], masks, HEAD, NAMES)
    with pytest.raises(UserError, match="translated images hold values that are not finite"):
        lesions(real, np.where(real > 0.1, np.nan, real), masks, HEAD, NAMES)
