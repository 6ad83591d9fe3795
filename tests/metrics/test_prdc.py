"""Precision, recall, density and coverage: counted by hand, against loops, and on planted generators."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganatomy.evaluation.evaluate import behind_model
from ganatomy.metrics import prdc
from ganatomy.metrics.base import Grave, Result, Sample, Samples
from ganatomy.metrics.prdc import Comparison, K, compute, wilson
from tests.metrics.textures import points

KINDS = ("Precision", "Recall", "Density", "Coverage")


def results(samples: Samples, against: str = "test") -> dict[str, Result]:
    found = compute(samples)
    assert [r.name.partition("-")[0] for r in found if r.against == against] == list(KINDS)
    return {r.name.partition("-")[0]: r for r in found if r.against == against}


def values(real: Sample, synthetic: Sample, seed: int = 0) -> list[float | None]:
    return [r.value for r in results(Samples(real, synthetic, seed=seed, control=True)).values()]  # no evidence beside


def cohort(rng: np.random.Generator, subjects: int, each: int, d: int = 2, alike: float = 0.0) -> Sample:
    """Standard normal features; `alike` is the share of their variance that a subject's images have in common."""
    own = rng.normal(size=(subjects, 1, d)) * np.sqrt(alike)
    features = own + rng.normal(size=(subjects, each, d)) * np.sqrt(1 - alike)
    return points(features.reshape(-1, d), np.repeat(np.arange(subjects), each))


def by_loops(x: np.ndarray, sx: list[int], y: np.ndarray, sy: list[int]) -> list[float]:
    """The four figures from their definitions, an image at a time, in exact integers."""
    def squared(a: np.ndarray, b: np.ndarray) -> int:
        return int(((a - b) ** 2).sum())

    def radius(i: int, z: np.ndarray, s: list[int]) -> int:
        others = {s[j] for j in range(len(z))} - {s[i]}
        return sorted(min(squared(z[i], z[j]) for j in range(len(z)) if s[j] == other) for other in others)[K - 1]

    rx, ry = [radius(i, x, sx) for i in range(len(x))], [radius(j, y, sy) for j in range(len(y))]
    balls = [[squared(a, b) <= rx[i] for i, a in enumerate(x)] for b in y]  # for each synthetic, which real balls
    recalled = [any(squared(a, b) <= ry[j] for j, b in enumerate(y)) for a in x]
    covered = [any(balls[j][i] for j in range(len(y))) for i in range(len(x))]
    return [float(np.mean([any(row) for row in balls])), float(np.mean(recalled)),
            sum(map(sum, balls)) / len(x) * len(set(sx)) / K / len(y), float(np.mean(covered))]


def test_six_patients_on_a_line_counted_by_hand() -> None:
    # two slices each, at 0, 1, 2, 3, 4 and 10: the fifth other patient is 10, 9, 8, 7, 6 and 10 away
    real = points(np.repeat([0, 1, 2, 3, 4, 10], 2), np.repeat(list("abcdef"), 2))
    synthetic = [-9.0] * 6 + [12.0] * 6  # -9: a's ball alone; 12: f's alone
    found = results(Samples(real, points(synthetic)))
    assert [r.value for r in found.values()] == pytest.approx([1, 0, (2 + 2) / 24 * 6 / 5, 4 / 12])
    assert values(real, points([-9.0] * 6 + [*range(12, 18)]))[1] == 2 / 12  # 17 reaches to 12, 12 to 17: f is near
    assert values(points(real.features, np.repeat(list("abcde"), [2, 2, 2, 2, 4])), points(synthetic)) == [None] * 4


def test_five_slices_a_patient_do_not_fill_the_fifth_place() -> None:
    """The nearest other patient's five alike slices would be the five nearest images: a ball of one patient."""
    rng = np.random.default_rng(20)
    own = rng.normal(size=(20, 1, 2))
    real = points((own + 0.001 * rng.normal(size=(20, 5, 2))).reshape(-1, 2), np.repeat(np.arange(20), 5))
    one_slice = points(own[:, 0])
    for one in (real, one_slice):  # the slices tell nothing new, so the balls stay as they are
        radius = np.sqrt(prdc.radii(prdc.squared_distances(one.features, one.features), one.subjects))
        assert np.sort(radius)[::one.n_images // 20] == pytest.approx(np.sort(radius_of(own[:, 0])), abs=0.02)


def radius_of(features: np.ndarray) -> np.ndarray:
    return np.sort(np.linalg.norm(features[:, None] - features[None], axis=2))[:, K]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_loops_from_the_definitions(data: st.DataObject) -> None:
    n, d = data.draw(st.integers(8, 14)), data.draw(st.integers(1, 3))
    x, y = (np.array(data.draw(st.lists(st.lists(st.integers(-9, 9), min_size=d, max_size=d), min_size=n, max_size=n)))
            for _ in range(2))
    sx, sy = ([i % data.draw(st.integers(3, n)) for i in range(n)] for _ in range(2))
    enough = all(len(set(s)) > K for s in (sx, sy))
    found = values(points(x, sx), points(y, sy))
    assert found == (pytest.approx(by_loops(x, sx, y, sy)) if enough else [None] * 4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), each=st.integers(1, 3))
def test_recall_is_precision_with_the_samples_exchanged_and_shares_are_shares(seed: int, each: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = cohort(rng, 9, each, alike=0.5), cohort(rng, 27 // each, each)
    forth, back = results(Samples(x, y, control=True)), results(Samples(y, x, control=True))
    if x.n_images == y.n_images:
        assert forth["Precision"].value == back["Recall"].value
    for kind in ("Precision", "Recall", "Coverage"):
        low, high = forth[kind].interval
        assert 0 <= low <= forth[kind].value <= high <= 1


def test_slices_of_one_patient_do_not_make_tiny_balls() -> None:
    rng = np.random.default_rng(0)
    centres, others = rng.normal(size=(20, 1, 2)), rng.normal(size=(160, 2))
    slices = (centres + 0.001 * rng.normal(size=(20, 8, 2))).reshape(-1, 2)
    known = values(points(slices, np.repeat(np.arange(20), 8)), points(others))
    ordinary = values(points(slices), points(others))  # neighbours from the same patient
    assert known[0] > 0.5 and known[3] > 0.8
    assert ordinary[0] < 0.05 and ordinary[3] < 0.05


def test_one_population_gives_the_expected_figures() -> None:
    rng = np.random.default_rng(1)
    real, synthetic, train = (cohort(rng, 400, 1) for _ in range(3))
    found = results(Samples(real, synthetic, train))
    assert found["Density"].value == pytest.approx(1, abs=0.12)
    assert found["Coverage"].value == pytest.approx(1 - 0.5**5, abs=0.03)  # nobody of the nearest 5 of both kinds
    for r in found.values():
        assert r.reference.n_images == 400
        assert r.interval[0] - 0.02 < r.reference.value < r.interval[1] + 0.02
        assert abs(r.equal_n.value - r.floor) < 0.06 and r.equal_n.n_images == 200
    assert found["Density"].better == "match" and found["Density"].ratio == pytest.approx(1, abs=0.1)
    assert {found[kind].better for kind in ("Precision", "Recall", "Coverage")} == {"higher"}


def test_a_generator_that_repeats_one_good_image_has_precision_and_nothing_else() -> None:
    rng = np.random.default_rng(2)
    real, train, good = cohort(rng, 40, 3, alike=0.5), cohort(rng, 60, 3, alike=0.5), cohort(rng, 120, 1)
    found = results(Samples(real, points(0.01 * rng.normal(size=(120, 2))), train))
    fine = results(Samples(real, good, train))
    precision, recall, _, coverage = (found[kind].value for kind in KINDS)
    assert precision == 1 and recall < 0.05 and coverage < 0.3
    assert behind_model(fine["Recall"], recall) and behind_model(fine["Coverage"], coverage)


def test_average_images_have_more_density_than_real_ones_and_do_not_win_by_it() -> None:
    rng = np.random.default_rng(12)
    real, train, good = cohort(rng, 40, 3, 8), cohort(rng, 60, 3, 8), cohort(rng, 120, 1, 8)
    found = results(Samples(real, points(0.1 * rng.normal(size=(120, 8))), train))["Density"]
    fine = results(Samples(real, good, train))["Density"]
    assert found.value > 3 * fine.value and found.ratio_interval[0] > 1.5
    assert behind_model(fine, found.value)


def test_garbage_far_away_gets_nothing() -> None:
    rng = np.random.default_rng(3)
    real = cohort(rng, 12, 4)
    for garbage in (1e9 + rng.normal(size=(48, 2)), 1e4 + rng.normal(size=(100, 2))):
        found = results(Samples(real, points(garbage)))
        assert [r.value for r in found.values()] == [0, 0, 0, 0]
        assert found["Density"].interval is None  # nothing varies, so nothing can be said
        low, high = found["Coverage"].interval
        assert low == 0 and 0.05 < high < 0.4  # twelve patients without it: up to about 3/12 of others may have it


def test_copies_lie_on_the_rim_whatever_the_rounding() -> None:
    features = 100 + np.random.default_rng(4).normal(size=(60, 1280))
    # a ball around a real image holds the copies of itself and of exactly five neighbours
    assert values(points(features), points(features[::-1].copy())) == pytest.approx([1, 1, 6 / 5, 1])


def test_more_synthetic_images_do_not_raise_recall_and_coverage_and_all_are_used() -> None:
    rng = np.random.default_rng(5)
    real, many = cohort(rng, 40, 1, d=6), rng.normal(size=(2000, 6))
    few_means = np.mean([values(real, points(many[i::50])) for i in range(50)], axis=0)
    found = results(Samples(real, points(many)))
    assert [r.value for r in found.values()] == pytest.approx(list(few_means), abs=0.02)
    assert all(r.n_synthetic == 2000 and "40 real and 40 synthetic images at a time, 50 draws" in r.caveat
               for r in found.values())
    radius = np.sort(np.linalg.norm(real.features[:, None] - real.features[None], axis=2))[:, K]
    inside = np.linalg.norm(many[:, None] - real.features[None], axis=2) <= radius
    assert found["Precision"].value == pytest.approx(inside.any(1).mean())
    assert found["Density"].value == pytest.approx(inside.mean() * 40 / K)


def test_distances_of_many_images_are_found_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(13)
    samples = Samples(cohort(rng, 20, 3, 4, 0.5), cohort(rng, 150, 1, 4), cohort(rng, 30, 3, 4, 0.5))
    kept = [r.to_json() for r in compute(samples)]
    monkeypatch.setattr(prdc, "_KEPT", 0)
    assert [r.to_json() for r in compute(samples)] == kept
    monkeypatch.setattr(prdc, "MOST_AT_ONCE", 40)
    for name, r in results(samples).items():
        assert r.interval is not None
        assert "40 real and 40 synthetic images at a time, 8 draws" in r.caveat  # twice four parts
        assert name != "Density" or 0.3 < r.value < 1.4


@pytest.mark.parametrize(("real", "synthetic"), [
    (points(range(5)), points(range(50))), (points(range(50)), points(range(5))),
    (points(range(40), [0] * 40), points(range(40))), (points(range(40), np.arange(40) % 5), points(range(40))),
])
def test_too_few_images_of_other_patients_are_named(real: Sample, synthetic: Sample) -> None:
    for r in compute(Samples(real, synthetic)):
        assert r.value is None and r.interval is None and "needs images of 5 other patients" in r.caveat
        json.dumps(r.to_json(), allow_nan=False)


def test_halves_that_are_too_small_give_no_floor_but_the_figures() -> None:
    rng = np.random.default_rng(7)
    found = results(Samples(cohort(rng, 9, 1), cohort(rng, 30, 1), cohort(rng, 30, 1)))
    for r in found.values():
        assert r.value is not None and r.interval is not None and r.reference is not None
        assert r.floor is None and r.equal_n is None and r.ratio is None


def test_a_control_is_compared_with_test_alone_and_has_no_floor() -> None:
    rng = np.random.default_rng(8)
    samples = Samples(cohort(rng, 12, 3), cohort(rng, 36, 1), cohort(rng, 20, 3))
    found = compute(samples.with_control(cohort(rng, 36, 1)))
    assert {r.against for r in found} == {"test"} and len(found) == 4
    assert all(r.floor is None and r.reference is None and r.interval is not None for r in found)
    assert [r.against for r in compute(samples)] == ["test", "train"] * 4


def test_the_interval_agrees_with_a_bootstrap_over_subjects_and_synthetic_images_left_out() -> None:
    rng = np.random.default_rng(10)
    real, made = cohort(rng, 40, 4, d=4, alike=0.7), 0.7 * rng.normal(size=(160, 4))
    found = Comparison(real, points(made), 0)
    means = found.images["Recall"].reshape(40, 4).mean(1)
    over_subjects = means[rng.integers(40, size=(4000, 40))].mean(1).var() * 40 / 39
    radius = np.sort(np.linalg.norm(made[:, None] - made[None], axis=2))[:, K]
    holds = np.linalg.norm(real.features[:, None] - made[None], axis=2) <= radius
    left_out = np.array([np.delete(holds, i, axis=1).any(1).mean() for i in range(160)])
    over_made = 159 / 160 * ((left_out - left_out.mean()) ** 2).sum()
    low, high = found.interval("Recall")
    assert high - low == pytest.approx(2 * 2.02 * np.sqrt(over_subjects + over_made), rel=0.1)


def test_intervals_hold_what_other_patients_would_give() -> None:
    rng = np.random.default_rng(11)
    found = [results(Samples(cohort(rng, 12, 3, 3, 0.6), points(0.3 + 0.8 * rng.normal(size=(36, 3))), control=True))
             for _ in range(150)]
    for kind in KINDS:
        expected = np.mean([r[kind].value for r in found])
        held = [low <= expected <= high for r in found if (interval := r[kind].interval) for low, high in [interval]]
        assert len(held) == 150 and np.mean(held) >= 0.9, kind


def test_pooled_images_give_the_same_recall_and_coverage_and_the_faults_are_shown() -> None:
    rng = np.random.default_rng(21)
    for real, made in ((rng.normal(size=(30, 3)), rng.normal(size=(30, 3))),
                       (rng.normal(size=(60, 3)), 0.1 * rng.normal(size=(60, 3)))):
        found = results(Samples(points(real), points(made)))
        for kind in ("Recall", "Coverage"):
            assert found[kind].exchanged.value == pytest.approx(found[kind].value)
            assert bool(prdc.fault(found[kind])) == (len(real) == 60)
    assert isinstance(prdc.fault(found["Coverage"]), Grave) and found["Coverage"].p_no_difference == 1 / 500
    assert found["Precision"].p_no_difference is None and prdc.fault(found["Precision"]) == ""


def test_shares_at_the_ends_keep_a_width() -> None:
    low, high = wilson(1.0, 0.0, 6, 100)
    assert high == 1 and 0.3 < low < 0.6
    assert wilson(0.0, 0.0, 6, 100) == pytest.approx((0, 1 - low))
    low, high = wilson(0.5, 0.25 / 1000, 1000, 1000)
    half = 1.962 * np.sqrt(0.25 / 1000)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-3)
