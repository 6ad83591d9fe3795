"""Baselines that know no anatomy."""

from __future__ import annotations

import numpy as np
import pytest

from ganatomy.core.errors import UserError
from ganatomy.metrics.translation.baselines import fit_histogram_match
from ganatomy.metrics.translation.paired import foreground, pair_values
from ganatomy.phantoms.cohort import subject_images


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
    made, inside = match(new, names), foreground(new, new)
    assert (made[:, 0][~inside] == -1).all()
    quantiles = np.linspace(0.05, 0.95, 7)
    for rows in (slice(0, 2), slice(6, 8)):
        expected = np.quantile(match.levels[0], quantiles)
        assert np.quantile(made[rows, 0][inside[rows]], quantiles) == pytest.approx(expected, abs=0.02)
        ranks = np.argsort(new[rows, 0][inside[rows]]), np.argsort(made[rows, 0][inside[rows]])
        assert np.array_equal(ranks[0], ranks[1] if match.rising else ranks[1][::-1])


def test_subjects_do_not_influence_each_other() -> None:
    source, subjects = volume(5)
    match = fit_histogram_match(source, volume(6)[0], subjects)
    assert np.array_equal(match(source, subjects)[2:4], match(source[2:4], subjects[2:4]))


def test_t1_to_t2_takes_the_falling_map_and_beats_the_input_returned() -> None:
    pairs = [subject_images(i, 0, 64) for i in range(6)]
    source, target = (np.stack([np.clip(image / top * 2 - 1, -1, 1) for image in images])
                      for images, top in (([p.t1 for p in pairs], 800), ([p.t2 for p in pairs], 1200)))
    names = [f"s{i}" for i in range(6)]
    match = fit_histogram_match(source[:4], target[:4], names[:4])
    assert not match.rising and "falling map" in match.note
    mask = foreground(source, target)[4:]
    matched, returned = (pair_values(target[4:], made, mask).values["MAE foreground"].mean()
                         for made in (match(source[4:], names[4:]), source[4:]))
    assert matched < returned / 3


def test_empty_training_images_are_refused() -> None:
    empty = np.full((2, 1, 16, 16), -1, np.float32)
    with pytest.raises(UserError, match="empty"):
        fit_histogram_match(empty, empty, ["a", "b"])


def test_an_empty_volume_stays_background() -> None:
    source, subjects = volume(7)
    match = fit_histogram_match(source, source, subjects)
    assert (match(np.full((2, 1, 24, 24), -1, np.float32), ["x", "x"]) == -1).all()
