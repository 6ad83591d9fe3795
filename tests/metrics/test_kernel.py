"""The kernel distance: against a double loop, unbiased for correlated subjects, with intervals that cover."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ganatomy.features.builtin import Lite0
from ganatomy.metrics import kernel
from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.kernel import Blocks, KDScorer, compute, kernel_distance, p_no_difference

D = 20
MIX = np.random.default_rng(99).normal(size=(D, D)) / np.sqrt(D)


def sample(feats: np.ndarray, subjects: list[str] | None = None) -> Sample:
    return Sample(np.zeros((len(feats), 1, 1, 1), np.float32), subjects, feats)


def patients(count: int, each: int, rng: np.random.Generator, shift: float = 0.0) -> Sample:
    """Images that resemble each other within a patient (correlation 0.5)."""
    own, noise = rng.normal(size=(count, 1, D)), rng.normal(size=(count, each, D))
    feats = ((own + noise) / np.sqrt(2)).reshape(-1, D) @ MIX + shift
    return sample(feats, [f"p{i}" for i in range(count) for _ in range(each)])


def independent(count: int, rng: np.random.Generator, shift: float = 0.0) -> Sample:
    return sample(rng.normal(size=(count, D)) @ MIX + shift)


def by_hand(x: Sample, y: Sample) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    def within(s: Sample) -> float:
        pairs = [k(s.features[i], s.features[j]) for i, j in itertools.product(range(s.n_images), repeat=2)
                 if s.subjects[i] != s.subjects[j]]
        return sum(pairs) / len(pairs)

    across = [k(a, b) for a in x.features for b in y.features]
    return within(x) + within(y) - 2 * sum(across) / len(across)


def test_equals_a_double_loop_over_different_subjects() -> None:
    rng = np.random.default_rng(0)
    x = sample(rng.normal(size=(7, D)), list("abacbba"))  # uneven, not in order
    y = sample(rng.normal(size=(5, D)) + 0.3)
    z = sample(rng.normal(size=(6, D)), list("uvuvww"))
    assert kernel_distance(x, y) == pytest.approx(by_hand(x, y), rel=1e-12)
    assert kernel_distance(x, z) == pytest.approx(by_hand(x, z), rel=1e-12)


def test_integer_weights_are_copies_of_subjects_that_never_meet() -> None:
    rng = np.random.default_rng(1)
    x, y = patients(3, 2, rng), independent(4, rng)
    weighted = Blocks.of(x, y).distance(np.array([[2.0, 1.0, 0.0]]), np.ones((1, 4)))[0]
    rows = [0, 1, 0, 1, 2, 3]  # subject p0 twice, under its own name
    copied = sample(x.features[rows], ["p0"] * 4 + ["p1"] * 2)
    assert weighted == pytest.approx(by_hand(copied, y), rel=1e-12)


def test_averages_zero_between_halves_of_correlated_data_where_image_pairs_do_not() -> None:
    rng = np.random.default_rng(2)
    ours, usual = [], []
    for _ in range(200):
        x, y = patients(6, 8, rng), patients(6, 8, rng)
        ours.append(kernel_distance(x, y))
        usual.append(kernel_distance(sample(x.features), sample(y.features)))
    error = np.std(ours) / np.sqrt(len(ours))
    assert abs(np.mean(ours)) < 2 * error
    assert np.mean(usual) > 5 * np.std(usual) / np.sqrt(len(usual))


def test_many_images_are_summed_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    x, y = patients(9, 5, rng), sample(rng.normal(size=(40, D)), [f"s{i % 7}" for i in range(40)])
    whole = Blocks.of(x, y)
    monkeypatch.setattr(kernel, "_AT_ONCE", 100)
    monkeypatch.setattr(kernel, "_TILE", 12)
    tiled = Blocks.of(x, y)
    for one, other in ((whole.xx, tiled.xx), (whole.yy, tiled.yy), (whole.xy, tiled.xy)):
        assert other == pytest.approx(one, rel=1e-4, abs=1e-4)
    assert float(tiled.distance()[0]) == pytest.approx(float(whole.distance()[0]), abs=1e-6)


def test_groups_take_the_place_of_many_subjects_and_stay_unbiased(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other pairs than those within a group are lost, so value and interval hardly differ."""
    rng = np.random.default_rng(11)
    samples = Samples(patients(12, 5, rng), independent(600, rng, 0.4), patients(20, 5, rng))
    exact = compute(samples)[0]
    monkeypatch.setattr(kernel, "MOST_SUBJECTS", 200)
    monkeypatch.setattr(kernel, "GROUPS", 60)
    found = compute(samples)[0]
    assert exact.value is not None and exact.interval is not None and found.value is not None and found.interval
    width = exact.interval[1] - exact.interval[0]
    assert found.value != exact.value and abs(found.value - exact.value) < 0.1 * width
    assert found.interval[1] - found.interval[0] == pytest.approx(width, rel=0.2)
    assert found.equal_n is not None and exact.equal_n is not None
    assert found.equal_n.value == pytest.approx(exact.equal_n.value, rel=0.1)
    assert found.p_no_difference == exact.p_no_difference
    monkeypatch.setattr(kernel, "GROUPS", 10)
    zero = [kernel_distance(patients(6, 5, rng), kernel.dealt(independent(60, rng), 50, 10, rng)) for _ in range(150)]
    assert abs(np.mean(zero)) < 2 * np.std(zero) / np.sqrt(150)


@pytest.mark.parametrize(("subjects", "shift"), [(6, 0.3), (15, 0.3)])
def test_interval_covers_the_distance_between_populations(subjects: int, shift: float) -> None:
    rng = np.random.default_rng(3)
    truth = np.mean([kernel_distance(independent(2000, rng), independent(2000, rng, shift)) for _ in range(4)])
    hits, draws = 0, 150
    for i in range(draws):
        low, high = Blocks.of(patients(subjects, 6, rng), independent(80, rng, shift)).interval(i) or (np.nan, np.nan)
        hits += low <= truth <= high
    assert hits / draws >= 0.9


def test_no_difference_is_rarely_rejected_when_true_and_seen_when_false() -> None:
    rng = np.random.default_rng(4)
    true = [p_no_difference(patients(8, 5, rng), independent(60, rng), i) for i in range(30)]
    swapped = [p_no_difference(patients(8, 5, rng), patients(7, 4, rng), i) for i in range(30)]
    assert np.mean(np.array(true) < 0.05) <= 0.1
    assert np.mean(np.array(swapped) < 0.05) <= 0.17  # 5 of 30; more has a chance of 0.3% at level 0.05
    assert p_no_difference(patients(8, 5, rng), independent(60, rng, 1.0), 0) < 0.02


def test_few_subjects_give_values_per_subject_and_no_interval() -> None:
    rng = np.random.default_rng(5)
    three = compute(Samples(patients(3, 4, rng), independent(30, rng)))[0]
    assert three.interval is None and three.floor is None
    assert set(three.per_subject or {}) == {"p0", "p1", "p2"}
    one = compute(Samples(patients(1, 4, rng), independent(30, rng)))[0]
    assert one.value is not None and np.isfinite(one.value)
    assert "one subject" in one.caveat


def test_synthetic_images_of_few_subjects_have_no_interval_however_many_they_are() -> None:
    """Eighty slices made of one patient are no eighty patients."""
    rng = np.random.default_rng(8)
    real = patients(12, 3, rng)
    for people in (1, 3):
        found = compute(Samples(real, patients(people, 40, rng)))[0]
        assert (found.interval, found.floor, found.p_no_difference, found.per_subject) == (None, None, None, None)
        assert ("one subject only" if people == 1 else "of 3 subjects only") in found.caveat
        assert compute(Samples(real, patients(people, 40, rng), control=True))[0].interval is None
    assert compute(Samples(real, patients(6, 10, rng)))[0].interval is not None
    assert compute(Samples(real, independent(4, rng)))[0].interval is not None  # each for itself, as before


def test_floor_is_near_zero_and_the_value_at_equal_n_shows_a_shift() -> None:
    rng = np.random.default_rng(6)
    near, far = (compute(Samples(patients(12, 5, rng), independent(80, rng, shift)))[0] for shift in (0.0, 1.0))
    assert far.floor is not None and far.value is not None and far.equal_n is not None
    assert abs(far.floor) < 0.05 * far.value
    assert far.equal_n.side == "above"
    assert near.equal_n is not None and near.equal_n.side != "above"


def test_scorer_equals_the_metric_and_repeats_its_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lite0, "compute",
                        lambda self, images, device="cpu": images.reshape(len(images), -1).astype(float))
    rng = np.random.default_rng(7)
    real, fake = (rng.normal(size=(n, 1, 4, 4)).astype(np.float32) for n in (9, 6))
    subjects = list("aaabbbccc")
    score = KDScorer(real, subjects)
    expected = kernel_distance(sample(real.reshape(9, -1).astype(float), subjects),
                               sample(fake.reshape(6, -1).astype(float)))
    assert score(fake) == pytest.approx(expected, rel=1e-9)
    assert score(fake) == KDScorer(real, subjects)(fake)


def test_fewer_than_two_images_are_refused_with_a_reason_and_alike_ones_are_not() -> None:
    rng = np.random.default_rng(12)
    for real, made in ((patients(6, 2, rng), independent(1, rng)), (patients(1, 1, rng), independent(9, rng))):
        result = compute(Samples(real, made, patients(5, 2, rng)))[0]
        assert (result.value, result.interval, result.floor) == (None, None, None)
        assert "at least two images" in result.caveat
    alike = compute(Samples(sample(np.ones((10, D)), list("aabbccddee")), sample(np.ones((10, D)))))[0]
    assert (alike.value, alike.p_no_difference) == (0, 1)
