"""A translator that returns its input, or only changes grey values, is found; one that translates is left in peace."""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ganatomy.metrics.translation.baselines import (
    both_histogram_matches,
    fit_histogram_match,
    returned_input,
    returned_unpaired,
)
from ganatomy.metrics.translation.paired import foreground
from ganatomy.phantoms.cohort import subject_images

REAL = Path(os.environ.get("GANATOMY_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "ms-mri"


class Pairs(NamedTuple):
    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray
    subjects: list[str]


def scaled(volume: np.ndarray) -> np.ndarray:
    """A volume [slices, h, w] in [-1, 1], its background -1."""
    high = np.percentile(volume[volume > 0], 99.8)
    return np.clip(2 * volume[:, None] / high - 1, -1, 1).astype(np.float32)


@cache
def phantom() -> Pairs:
    images = [subject_images(i, 0, 64, slices=3) for i in range(6)]
    source, target = (np.concatenate([scaled(v) for v in volumes])
                      for volumes in ([i.t1 for i in images], [i.t2 for i in images]))
    return Pairs(source, target, foreground(source, target), [f"s{i // 3}" for i in range(18)])


@cache
def ms_mri() -> Pairs:
    import nibabel
    from scipy.ndimage import zoom

    volumes: dict[str, list[np.ndarray]] = {"T1": [], "T2": []}
    for domain, found in volumes.items():
        for path in sorted(REAL.glob(f"*/*_{domain}.nii.gz")):
            planes = np.asarray(nibabel.load(path).dataobj, np.float32)[:, :, 50:130:10].transpose(2, 1, 0)
            found.append(scaled(np.maximum(zoom(planes, (1, 128 / 218, 128 / 218), order=1), 0)))
    source, target = (np.pad(np.concatenate(volumes[d]), ((0, 0), (0, 0), (0, 0), (0, 21)), constant_values=-1)
                      for d in ("T1", "T2"))
    return Pairs(source, target, foreground(source, target), [f"s{i // 8}" for i in range(len(source))])


COHORTS = [pytest.param(phantom, id="phantom"),
           pytest.param(ms_mri, id="ms-mri", marks=pytest.mark.skipif(not REAL.is_dir(), reason="no real data"))]


def judged(pairs: Pairs, made: np.ndarray) -> Any:
    return returned_input(pairs.source, made.astype(np.float32), pairs.target, pairs.mask, pairs.subjects)


def noise(images: np.ndarray, sd: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, sd, images.shape)


@pytest.mark.parametrize("cohort", COHORTS)
def test_the_input_returned_is_found(cohort) -> None:
    pairs = cohort()
    blurred = gaussian_filter(pairs.source, (0, 0, 0.5, 0.5))
    for made in (pairs.source, pairs.source + noise(pairs.source, 0.05), 0.9 * pairs.source + 0.1 * pairs.target,
                 blurred):
        found = judged(pairs, made)
        assert found.finding == "input" and found.no_translation and "returns its input" in found.sentence


@pytest.mark.parametrize("cohort", COHORTS)
def test_a_change_of_grey_values_is_found_and_told_from_the_input_returned(cohort) -> None:
    pairs = cohort()
    share = (pairs.source + 1) / 2
    for made in (2 * share**0.5 - 1, 2 * share**2 - 1, -pairs.source, 1 - 4 * (share - 0.5) ** 2):
        found = judged(pairs, made)
        assert found.finding == "grey values" and "only changes grey values" in found.sentence


def test_histogram_matching_is_a_change_of_grey_values() -> None:
    pairs = phantom()
    matched = fit_histogram_match(pairs.source[:9], pairs.target[:9], pairs.subjects[:9])(pairs.source, pairs.subjects)
    assert judged(pairs, matched).finding == "grey values"


@pytest.mark.parametrize("cohort", COHORTS)
def test_real_targets_are_left_in_peace(cohort) -> None:
    pairs = cohort()
    blurred = [gaussian_filter(pairs.target, (0, 0, sd, sd)) for sd in (0.7, 1.5)]
    for made in (pairs.target, pairs.target + noise(pairs.target, 0.06), *blurred,
                 pairs.target + 0.2 * (pairs.source + 1), 0.8 * pairs.target + 0.2 * pairs.source):
        found = judged(pairs, made)
        assert found.finding == "" and not found.no_translation and "does more" in found.sentence


def test_a_third_of_what_no_curve_explains_is_enough_to_be_left_in_peace() -> None:
    pairs = phantom()
    curve = -pairs.source
    left = pairs.target - curve
    straight = np.polyval(np.polyfit(pairs.source.ravel().astype(float), left.ravel(), 7), pairs.source)
    found = judged(pairs, curve + straight + 0.35 * (left - straight))
    assert found.curve_made - found.curve_real > 0.8 * (1 - found.curve_real)  # hardly more than a curve
    assert found.finding == "" and 0.2 < found.reproduced < 0.5


def test_noise_as_strong_as_what_the_curve_leaves_accuses_nobody() -> None:
    pairs = phantom()
    found = judged(pairs, -pairs.source + noise(pairs.source, 0.07))
    assert found.finding == "" and found.reproduced < 0.2


@pytest.mark.parametrize("cohort", COHORTS)
def test_what_has_nothing_to_do_with_input_or_truth_is_not_praised(cohort) -> None:
    pairs = cohort()
    found = judged(pairs, np.clip(noise(pairs.source, 0.5), -1, 1))
    assert found.finding == "unrelated" and found.no_translation
    assert "little to do with its input or the truth" in found.sentence and "does more" not in found.sentence


def test_noise_upon_a_curve_is_not_said_to_bring_anything_of_the_truth() -> None:
    pairs = phantom()
    found = judged(pairs, -pairs.source + noise(pairs.source, 0.07))
    assert "little of the truth" in found.sentence and "does more" not in found.sentence


@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("turned", [False, True])
def test_without_a_truth_the_input_returned_is_found_and_real_targets_are_left_in_peace(cohort, turned: bool) -> None:
    pairs = cohort()
    source, target = (pairs.target, pairs.source) if turned else (pairs.source, pairs.target)
    maps = both_histogram_matches(target)
    assert maps is not None
    matched = [match(source, pairs.subjects) for match in maps]

    def found(made: np.ndarray) -> Any:
        return returned_unpaired(source, made.astype(np.float32), matched, foreground(source, source), pairs.subjects)

    for made in (source, source + noise(source, 0.05), 0.9 * source + 0.1 * target):
        assert found(made).finding == "input" and "returns its input" in found(made).sentence
    for made in (target, gaussian_filter(target, (0, 0, 0.7, 0.7)), *matched):
        assert found(made).finding == "" and "does not return its input" in found(made).sentence
    unrelated = found(np.clip(noise(source, 0.5), -1, 1))
    assert unrelated.finding == "unrelated" and "truth" not in unrelated.sentence
    json.dumps(unrelated.to_json(), allow_nan=False)


def test_without_a_truth_it_may_be_impossible_to_tell() -> None:
    pairs = phantom()
    same = both_histogram_matches(pairs.source)
    assert same is not None
    for matched in ([match(pairs.source, pairs.subjects) for match in same], []):
        found = returned_unpaired(pairs.source, pairs.source, matched, pairs.mask, pairs.subjects)
        assert not found.no_translation and "cannot be told" in found.sentence
    assert both_histogram_matches(np.full_like(pairs.source, -1)) is None


def test_quiet_where_source_and_target_look_alike() -> None:
    pairs = phantom()
    alike = pairs._replace(target=(pairs.source + noise(pairs.source, 0.03)).astype(np.float32))
    assert judged(alike, pairs.source).finding == "alike"
    curve = pairs._replace(target=(-pairs.source + noise(pairs.source, 0.02)).astype(np.float32))
    found = judged(curve, -pairs.source)
    assert found.finding == "alike" and not found.no_translation and "cannot be told" in found.sentence


def test_one_grey_or_no_foreground_cannot_be_judged() -> None:
    pairs = phantom()
    assert judged(pairs, np.zeros_like(pairs.source)).finding == "cannot tell"
    found = judged(pairs._replace(mask=np.zeros_like(pairs.mask)), pairs.source)
    assert found.finding == "cannot tell" and found.n_subjects == 0
    json.dumps(found.to_json(), allow_nan=False)


def test_figures_say_what_was_measured() -> None:
    pairs = phantom()
    found = judged(pairs, 0.9 * pairs.source + 0.1 * pairs.target)
    assert found.moved == pytest.approx(0.1, abs=1e-3) and found.n_subjects == 6
    real = judged(pairs, pairs.target)
    assert (real.moved, real.reproduced) == (pytest.approx(1), pytest.approx(1))
    assert real.curve_made == pytest.approx(real.curve_real) and real.same_made == pytest.approx(real.same_real)
    json.dumps(real.to_json(), allow_nan=False)
