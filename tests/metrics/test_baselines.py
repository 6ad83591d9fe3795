"""Baselines that know no anatomy, and translators that do no more than they: returned inputs, changed grey values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ganatomy.core.errors import UserError
from ganatomy.metrics.translation.baselines import (
    both_histogram_matches,
    fit_histogram_match,
    returned_input,
    returned_unpaired,
)
from ganatomy.metrics.translation.paired import foreground, pair_values
from tests.metrics.cohorts import MS_MRI, Pairs, blurred, ms_mri, noisy, phantom

COHORTS = [pytest.param(phantom, id="phantom"),
           pytest.param(ms_mri, id="ms-mri", marks=pytest.mark.skipif(not MS_MRI.is_dir(), reason="no real data"))]


def judged(pairs: Pairs, output: np.ndarray) -> Any:
    return returned_input(pairs.source, output.astype(np.float32), pairs.target, pairs.mask, pairs.subjects)


FINDINGS = {
    "input": ("returns its input", [
        lambda x, y: x, lambda x, y: noisy(x, 0.05), lambda x, y: 0.9 * x + 0.1 * y, lambda x, y: blurred(x, 0.5)]),
    "grey values": ("only changes grey values", [
        lambda x, y: 2 * ((x + 1) / 2) ** 0.5 - 1, lambda x, y: (x + 1) ** 2 / 2 - 1, lambda x, y: -x,
        lambda x, y: 1 - x**2]),
    "": ("does more", [
        lambda x, y: y, lambda x, y: noisy(y, 0.06), lambda x, y: blurred(y, 0.7), lambda x, y: blurred(y, 1.5),
        lambda x, y: y + 0.2 * (x + 1), lambda x, y: 0.8 * y + 0.2 * x]),
    "unrelated": ("little to do with its input or the truth", [lambda x, y: np.clip(noisy(0 * x, 0.5), -1, 1)])}


@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("finding", FINDINGS)
def test_what_translators_do_is_told(cohort, finding: str) -> None:
    pairs = cohort()
    words, translators = FINDINGS[finding]
    for translator in translators:
        result = judged(pairs, translator(pairs.source, pairs.target))
        assert result.finding == finding and words in result.sentence
        assert result.no_translation == bool(finding)


def test_histogram_matching_takes_the_falling_map_beats_the_input_returned_and_only_changes_grey_values() -> None:
    pairs = phantom()
    match = fit_histogram_match(pairs.source[:9], pairs.target[:9], pairs.subjects[:9])
    assert not match.rising and "falling map" in match.note
    matched = match(pairs.source, pairs.subjects)
    own, returned = (pair_values(pairs.target[9:], images[9:], pairs.mask[9:]).values["MAE foreground"].mean()
                     for images in (matched, pairs.source))
    assert own < returned / 3
    assert judged(pairs, matched).finding == "grey values"


def test_a_third_of_what_no_curve_explains_is_enough_to_be_left_in_peace() -> None:
    pairs = phantom()
    curve = -pairs.source
    left = pairs.target - curve
    straight = np.polyval(np.polyfit(pairs.source.ravel().astype(float), left.ravel(), 7), pairs.source)
    result = judged(pairs, curve + straight + 0.35 * (left - straight))
    assert result.curve_made - result.curve_real > 0.8 * (1 - result.curve_real)  # hardly more than a curve
    assert result.finding == "" and 0.2 < result.reproduced < 0.5


def test_noise_as_strong_as_what_the_curve_leaves_is_neither_accused_nor_praised() -> None:
    pairs = phantom()
    result = judged(pairs, noisy(-pairs.source, 0.07))
    assert result.finding == "" and result.reproduced < 0.2
    assert "little of the truth" in result.sentence and "does more" not in result.sentence


@pytest.mark.parametrize("cohort", COHORTS)
@pytest.mark.parametrize("turned", [False, True])
def test_without_a_truth_the_input_returned_is_found_and_real_targets_are_left_in_peace(cohort, turned: bool) -> None:
    pairs = cohort()
    source, target = (pairs.target, pairs.source) if turned else (pairs.source, pairs.target)
    maps = both_histogram_matches(target)
    matched = [match(source, pairs.subjects) for match in maps]

    def result(output: np.ndarray) -> Any:
        return returned_unpaired(source, output.astype(np.float32), matched, foreground(source, source), pairs.subjects)

    for output in (source, noisy(source, 0.05), 0.9 * source + 0.1 * target):
        assert result(output).finding == "input" and "returns its input" in result(output).sentence
    for output in (target, blurred(target, 0.7), *matched):
        assert result(output).finding == "" and "does not return its input" in result(output).sentence
    unrelated = result(np.clip(noisy(0 * source, 0.5), -1, 1))
    assert unrelated.finding == "unrelated" and "truth" not in unrelated.sentence
    json.dumps(unrelated.to_json(), allow_nan=False)


def test_without_a_truth_it_may_be_impossible_to_tell() -> None:
    pairs = phantom()
    same = both_histogram_matches(pairs.source)
    for matched in ([match(pairs.source, pairs.subjects) for match in same], []):
        result = returned_unpaired(pairs.source, pairs.source, matched, pairs.mask, pairs.subjects)
        assert not result.no_translation and "cannot be told" in result.sentence
    assert both_histogram_matches(np.full_like(pairs.source, -1)) is None


def test_quiet_where_source_and_target_look_alike() -> None:
    pairs = phantom()
    alike = pairs._replace(target=noisy(pairs.source, 0.03))
    assert judged(alike, pairs.source).finding == "alike"
    curve = pairs._replace(target=noisy(-pairs.source, 0.02))
    result = judged(curve, -pairs.source)
    assert result.finding == "alike" and not result.no_translation and "cannot be told" in result.sentence


def test_one_grey_or_no_foreground_cannot_be_judged() -> None:
    pairs = phantom()
    for unclear, output in ((pairs, 0 * pairs.source), (pairs._replace(mask=pairs.mask & False), pairs.source)):
        result = judged(unclear, output)
        assert result.finding == "cannot tell" and result.n_subjects == 0
        json.dumps(result.to_json(), allow_nan=False)


def test_values_of_a_tenth_of_the_way_and_of_the_truth() -> None:
    pairs = phantom()
    tenth, truth = judged(pairs, 0.9 * pairs.source + 0.1 * pairs.target), judged(pairs, pairs.target)
    assert tenth.moved == pytest.approx(0.1, abs=1e-3) and tenth.n_subjects == 6
    assert (truth.moved, truth.reproduced) == (pytest.approx(1), pytest.approx(1))
    assert truth.curve_made == pytest.approx(truth.curve_real)


def volume(seed: int, subjects: int = 4, size: int = 24) -> tuple[np.ndarray, list[str]]:
    """Discs of random values on -1, two slices a subject, subjects of different contrast."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    values = rng.uniform(-0.7, 0.9, (2 * subjects, 1, size, size)) * np.repeat(rng.uniform(0.5, 1, subjects), 2)[
        :, None, None, None]
    images = np.where(np.hypot(y, x) < 0.4 * size, values, -1).astype(np.float32)
    return images, [f"s{i // 2}" for i in range(2 * subjects)]


@pytest.mark.parametrize("curve", [lambda v: 0.4 * v**3 + 0.3, lambda v: 0.1 - 0.6 * v])
def test_one_curve_is_undone_whether_it_rises_or_falls(curve) -> None:
    source, subjects = volume(1)
    source[source > -1] = np.sign(source[source > -1]) * 0.7 * np.abs(source[source > -1])
    inside = foreground(source, source)[:, None]
    target = np.where(inside, curve(source), -1).astype(np.float32)
    match = fit_histogram_match(source[:2], target[:2], subjects[:2])
    assert match.rising == (curve(1.0) > curve(0.0))
    assert ("rising map" if match.rising else "falling map") in match.note.split("whose")[0]
    assert match.errors[0 if match.rising else 1] < 0.2
    assert np.abs(match(source[:2], subjects[:2]) - target[:2]).max() < 0.02


def test_every_subject_gets_the_training_distribution_and_keeps_its_background() -> None:
    source, subjects = volume(2)
    target, _ = volume(3)
    match = fit_histogram_match(source, target, subjects)
    new, names = volume(4)
    output, inside = match(new, names), foreground(new, new)
    assert (output[:, 0][~inside] == -1).all()
    quantiles = np.linspace(0.05, 0.95, 7)
    for rows in (slice(0, 2), slice(6, 8)):
        expected = np.quantile(match.levels[0], quantiles)
        assert np.quantile(output[rows, 0][inside[rows]], quantiles) == pytest.approx(expected, abs=0.02)
        ranks = np.argsort(new[rows, 0][inside[rows]]), np.argsort(output[rows, 0][inside[rows]])
        assert np.array_equal(ranks[0], ranks[1] if match.rising else ranks[1][::-1])


def test_subjects_do_not_influence_each_other_and_empty_ones_stay_background() -> None:
    source, subjects = volume(5)
    match = fit_histogram_match(source, volume(6)[0], subjects)
    assert np.array_equal(match(source, subjects)[2:4], match(source[2:4], subjects[2:4]))
    empty = np.full((2, 1, 24, 24), -1, np.float32)
    assert (match(empty, ["x", "x"]) == -1).all()
    with pytest.raises(UserError, match="empty"):
        fit_histogram_match(empty, empty, ["a", "b"])
