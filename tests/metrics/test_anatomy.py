"""Is the anatomy kept: planted shifts, deformations and lost parts are result; contrast, noise and blur are none."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ganatomy.core.errors import UserError
from ganatomy.metrics.schema import Anatomy
from ganatomy.metrics.translation.anatomy import anatomy
from ganatomy.metrics.translation.registration import (
    DEFORMATION,
    INVENTED,
    KEPT,
    LOST,
    SHIFT,
    block_shifts,
    edge_agreement,
    image_shifts,
    structure,
)
from ganatomy.phantoms.cohort import subject_images
from tests.metrics.cohorts import MS_MRI, blurred, ms_mri, noisy

SUBJECTS = 8
NAMES = [f"s{i}" for i in range(SUBJECTS)]


@cache
def pairs(size: int = 128) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """T1 and T2 [n, 1, s, s] of phantom subjects, and the foreground."""
    outputs = [subject_images(i, 3, size, anatomy="first") for i in range(SUBJECTS)]
    t1, t2 = (np.clip(2 * np.concatenate(x) / white - 1, -1, 1).astype(np.float32)[:, None]
              for x, white in (([m.t1 for m in outputs], 800), ([m.t2 for m in outputs], 1200)))
    return t1, t2, np.concatenate([m.brain for m in outputs]) > 0


def moved(images: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    return np.stack([ndimage.shift(i[0], shift, order=5, mode="nearest") for i in images])[:, None].astype(np.float32)


def judged(outputs: np.ndarray, n: int = SUBJECTS, **options: object) -> Anatomy:
    """Outputs for the first `n` T1."""
    t1, t2, masks = (x[:n] for x in pairs())
    return anatomy(t1, outputs, masks, **{"subjects": NAMES[:n], "targets": t2, **options})


def shifts_between(first: np.ndarray, second: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return image_shifts(structure(first, masks), structure(second, masks)).vectors


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.25, 0.0), (0.0, -0.5), (1.0, -0.25), (-3.0, 1.0), (0.0, 9.0)])
def test_planted_shifts_are_found_across_contrasts(shift: tuple[float, float], size: int) -> None:
    t1, t2, masks = pairs(size)
    error = np.linalg.norm(shifts_between(t1, moved(t2, shift), masks) - shift, axis=1)
    assert error.max() < 0.15 and np.median(error) < 0.1


def test_turning_the_contrast_round_shifts_nothing() -> None:
    t1, _, masks = pairs()
    for other in (-t1, -0.3 * t1 + 0.2):
        assert np.abs(shifts_between(t1, other, masks)).max() < 0.02


def test_different_anatomy_has_no_shift_to_speak_of() -> None:
    t1, t2, masks = pairs()
    rng = np.random.default_rng(0)
    noise, empty, strangers, own = (
        image_shifts(structure(t1, masks), structure(other, masks))
        for other in (rng.uniform(-1, 1, t1.shape).astype(np.float32), np.full_like(t1, -1), np.roll(t2, 1, 0), t2))
    for shifts in (noise, empty):
        assert np.isnan(shifts.vectors).all() and shifts.correlation.max() < 0.1
    assert strangers.correlation.max() < own.correlation.min() - 0.2


def test_a_deformation_is_found_where_it_is() -> None:
    """Two pixels down over one block in the middle of the brain, falling off smoothly."""
    t1, t2, masks = pairs()
    y, x = np.mgrid[:128, :128]
    amount = 2 * np.exp(-(((y - 64) ** 2 + (x - 48) ** 2) / 18**2) ** 3)
    bent = np.float32([ndimage.map_coordinates(i[0], (y - amount, x), order=3, mode="nearest") for i in t2])[:, None]
    lengths = np.linalg.norm(block_shifts(structure(t1, masks), structure(bent, masks), masks).vectors, axis=-1)
    starts = np.linspace(0, 96, 9).round().astype(int) + 16
    centres = np.array([(a, b) for a in starts for b in starts])
    hit, far = (np.abs(centres - (64, 48)).max(1) <= 4), np.abs(centres - (64, 48)).max(1) >= 40
    assert lengths[:, hit].shape[1] == 1 and np.nanmedian(lengths[:, hit]) == pytest.approx(2, abs=0.25)
    assert np.nanquantile(lengths[:, far], 0.95) < 0.3
    assert judged(bent)[DEFORMATION].faulty


def test_edges_of_squares() -> None:
    """Of two squares one is kept; a third is new: half of the edges kept, half of the others invented."""
    first, second = (np.full((1, 1, 64, 64), -1, np.float32) for _ in range(2))
    for image, corners in ((first, ((8, 8), (8, 40))), (second, ((8, 8), (40, 40)))):
        for y, x in corners:
            image[..., y:y + 14, x:x + 14] = 0.5
    masks = np.ones((1, 64, 64), bool)
    kept, invented = edge_agreement(first, -second, masks)
    assert kept[0] == pytest.approx(0.5, abs=0.02) and invented[0] == pytest.approx(0.5, abs=0.02)
    assert [float(v[0]) for v in edge_agreement(first, -first, masks)] == [1, 0]


def test_real_pairs_noise_and_blur_keep_the_anatomy() -> None:
    t1, t2, _ = pairs()
    for outputs in (t2, t1, -t1, noisy(t2, 0.1).clip(-1, 1), blurred(t2, 1.0)):
        result = judged(outputs)
        assert result.kept, result.sentence
        assert result.sentence.startswith("The anatomy is in place: outputs are shifted by 0.0")
    strong = judged(noisy(t2, 0.35).clip(-1, 1))  # blocks in which hardly anything is recognised are not guessed
    assert (strong[DEFORMATION].value or 0) < 0.5 and strong[SHIFT].value < 0.1
    real = judged(t2)
    assert all(f.value == f.reference.value for f in real.figures if f.reference)
    assert real[SHIFT].value < 0.1 and real[KEPT].value > 0.85 and real[LOST].value == 0


def test_a_shift_is_told_in_mm_with_what_real_pairs_have() -> None:
    result = judged(moved(pairs()[1], (1.0, 0.0)), spacing=(1.5, 2.0))
    assert not result.kept
    assert result[SHIFT].value == pytest.approx(1.5, abs=0.1) and result[SHIFT].unit == "mm"
    assert result[SHIFT].beyond == 1 and result[SHIFT].reference.value < 0.1
    assert "shifted by 1.5" in result.sentence and "(real pairs: 0.0" in result.sentence
    assert not result[DEFORMATION].faulty
    without = judged(moved(pairs()[1], (0.0, 2.0)), targets=None)
    assert not without.kept and "no real pairs" in without.sentence
    assert without[SHIFT].reference.what == "the input against itself"


def test_a_lost_part_is_found_and_its_image_shown_first() -> None:
    _, t2, masks = pairs()
    outputs = t2.copy()
    for i in (2, 5):
        outputs[i, :, 40:90, 20:70] = outputs[i][:, masks[i]].mean()
    result = judged(outputs)
    assert {one.image for one in result[LOST].worst[:2]} == {2, 5}
    assert result[LOST].faulty and result[LOST].beyond == 2 / SUBJECTS and not result.kept
    outputs = t2.copy()
    outputs[:, 0, 50:80, 50:80] += 0.6 * np.indices((30, 30)).sum(0) % 10 / 5
    assert judged(np.clip(outputs, -1, 1))[INVENTED].value > judged(t2)[INVENTED].value + 0.1


PAIR = st.tuples(st.sampled_from("abcd"), st.sampled_from(["", "", "off", "stranger", "empty", "no foreground"]))


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(PAIR, min_size=1, max_size=12))
def test_the_truth_itself_is_never_called_not_kept(rows: list[tuple[str, str]]) -> None:
    """However few the images, however badly some are registered, and where some pairs have nothing in common."""
    t1, t2, masks = (np.resize(x[:, ..., 32:96, 32:96], (len(rows), *x.shape[1:-2], 64, 64)) for x in pairs())
    rng = np.random.default_rng(len(rows))
    for i, (_, fate) in enumerate(rows):
        if fate == "off":
            t2[i:i + 1] = moved(t2[i:i + 1], tuple(rng.uniform(-6, 6, 2)))
        elif fate == "stranger":
            t2[i] = rng.uniform(-1, 1, t2[i].shape)
        elif fate == "empty":
            t2[i] = -1
        masks[i] &= fate != "no foreground"
    result = anatomy(t1, t2, masks, [name for name, _ in rows], targets=t2)
    assert result.kept is not False and not any(one.faulty for one in result.figures), result.sentence


@pytest.mark.parametrize("n", [2, 6])
def test_of_few_images_one_that_is_moved_is_found(n: int) -> None:
    """The limit is that of the worst real pair then, and not below it."""
    outputs = pairs()[1][:n].copy()
    outputs[1:2] = moved(outputs[1:2], (2.0, 0.0))
    result = judged(outputs, n)
    assert result.kept is False and result[SHIFT].beyond == pytest.approx(1 / n) and result[SHIFT].worst[0].image == 1


def test_one_badly_registered_patient_does_not_excuse_the_others() -> None:
    """Two rows of one patient in many are 4 pixels apart: the truth passes, and outputs moved by 1 pixel do not."""
    t1, t2, masks = (np.concatenate([np.tile(x, (6, *[1] * (x.ndim - 1))), x[:2]])[..., 32:96, 32:96] for x in pairs())
    names = [f"s{i % 4}" for i in range(48)] + ["off", "off"]
    t2[48:] = moved(t2[48:], (4.0, 0.0))
    truth = anatomy(t1, t2, masks, names, targets=t2)
    assert truth.kept and truth[SHIFT].beyond == truth[SHIFT].reference.beyond == pytest.approx(0.2)
    assert truth[SHIFT].allowed == pytest.approx(0.3)
    assert "20% of the real pairs are themselves beyond" in truth.sentence
    assert not anatomy(t1, moved(t2, (0.0, 1.0)), masks, names, targets=t2).kept


def test_real_pairs_without_a_match_are_counted_like_outputs() -> None:
    t2 = pairs()[1].copy()
    t2[:2] = np.random.default_rng(0).uniform(-1, 1, t2[:2].shape)
    truth = judged(t2, targets=t2)
    assert truth.kept and truth[SHIFT].beyond == truth[SHIFT].reference.beyond == 0.25
    lost = judged(np.concatenate([t2[:4], t2[:4]]), targets=t2)
    assert lost.kept is False and "(of the real pairs 25%)" in lost.sentence
    unlike = np.random.default_rng(1).uniform(-1, 1, t2.shape).astype(np.float32)
    nothing = judged(unlike, targets=unlike)
    assert nothing.kept is None and "real pairs have nothing in common themselves" in nothing.sentence


def test_intervals_stay_within_what_the_values_can_be() -> None:
    """One image of eight is without its parts: Student's t alone reaches below 0 lost parts and above 1 kept edges."""
    outputs = pairs()[1].copy()
    outputs[3] = np.random.default_rng(0).uniform(-1, 1, outputs[3].shape)
    outputs[4:5] = moved(outputs[4:5], (5.0, 0.0))
    result = judged(outputs)
    assert result[LOST].interval[0] == result[SHIFT].interval[0] == 0
    for name in (LOST, KEPT, INVENTED):
        assert 0 <= result[name].interval[0] <= result[name].value <= result[name].interval[1] <= 1


def test_unrelated_and_empty_images_get_a_plain_answer() -> None:
    t1, t2, masks = pairs()
    for outputs in (np.zeros_like(t1), np.full_like(t1, -1)):
        result = judged(outputs)
        assert result.kept is False and "nothing in common" in result.sentence
        assert result[SHIFT].value is None and result[SHIFT].beyond == 1 and result[SHIFT].n_images == 0
        json.dumps(result.to_json(), allow_nan=False)
    nothing = anatomy(t1, t2, np.zeros_like(masks), NAMES, targets=t2)
    assert nothing.kept is None and "no foreground" in nothing.sentence
    json.dumps(nothing.to_json(), allow_nan=False)
    assert anatomy(t1[:0], t2[:0], masks[:0], []).kept is None
    with pytest.raises(UserError, match="not finite"):
        anatomy(t1, t2 * np.float32(np.nan), masks, NAMES)
    with pytest.raises(ValueError, match="3 masks"):
        anatomy(t1, t2, masks[:3], NAMES)


def test_rows_without_foreground_are_left_out() -> None:
    t1, t2, masks = pairs()
    result = anatomy(t1, t2, masks & (np.arange(SUBJECTS) != 1)[:, None, None], NAMES, targets=t2)
    assert result[LOST].n_images == SUBJECTS - 1 and result[LOST].n_subjects == SUBJECTS - 1 and result.kept
    assert all(one.image != 1 for figure in result.figures for one in figure.worst)


def test_values_are_means_over_subjects() -> None:
    outputs = pairs()[1].copy()
    outputs[:4] = moved(outputs[:4], (2.0, 0.0))
    shift = judged(outputs, subjects=["a"] * 4 + ["b", "b", "c", "c"])[SHIFT]
    assert shift.n_subjects == 3 and shift.interval is None
    assert shift.per_subject["a"] == pytest.approx(2, abs=0.1) and shift.per_subject["c"] < 0.1
    assert shift.value == pytest.approx(2 / 3, abs=0.1) and shift.beyond == pytest.approx(1 / 3)
    assert {one.image for one in shift.worst[:4]} == {0, 1, 2, 3}
    many = judged(outputs)[SHIFT]
    assert many.per_subject is None and many.interval[0] < many.value < many.interval[1]


@pytest.mark.skipif(not MS_MRI.is_dir(), reason="needs the real images")
def test_real_patients_t1_and_t2() -> None:
    t1, t2, masks, names = ms_mri()
    assert anatomy(t1, t2, masks, names, spacing=(1.7, 1.7), targets=t2)[SHIFT].value < 0.4
    wrong = anatomy(t1, moved(t2, (0, 1)), masks, names, spacing=(1.7, 1.7), targets=t2)
    assert wrong[SHIFT].value == pytest.approx(1.7, abs=0.3) and not wrong.kept
