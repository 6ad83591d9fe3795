"""The kernel distance: against a double loop, unbiased for correlated subjects, with intervals that cover."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ganatomy.features.extractors import Lite0
from ganatomy.metrics import kernel
from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.kernel import (
    ONE_SUBJECT,
    Blocks,
    KDScorer,
    compute,
    kernel_distance,
    p_no_difference,
    real_distance,
    translated_distance,
)
from tests.metrics.textures import points

D = 20
MIX = np.random.default_rng(99).normal(size=(D, D)) / np.sqrt(D)


def patients(count: int, each: int, rng: np.random.Generator, shift: float = 0.0) -> Sample:
    """Images that resemble each other within a patient (correlation 0.5)."""
    own, noise = rng.normal(size=(count, 1, D)), rng.normal(size=(count, each, D))
    feats = ((own + noise) / np.sqrt(2)).reshape(-1, D) @ MIX + shift
    return points(feats, [f"p{i}" for i in range(count) for _ in range(each)])


def independent(count: int, rng: np.random.Generator, shift: float = 0.0) -> Sample:
    return points(rng.normal(size=(count, D)) @ MIX + shift)


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
    x = points(rng.normal(size=(7, D)), list("abacbba"))  # uneven, not in order
    y = points(rng.normal(size=(5, D)) + 0.3)
    z = points(rng.normal(size=(6, D)), list("uvuvww"))
    assert kernel_distance(x, y) == pytest.approx(by_hand(x, y), rel=1e-12)
    assert kernel_distance(x, z) == pytest.approx(by_hand(x, z), rel=1e-12)


def test_integer_weights_are_copies_of_subjects_that_never_meet() -> None:
    rng = np.random.default_rng(1)
    x, y = patients(3, 2, rng), independent(4, rng)
    weighted = Blocks.of(x, y).distance(np.array([[2.0, 1.0, 0.0]]), np.ones((1, 4)))[0]
    rows = [0, 1, 0, 1, 2, 3]  # subject p0 twice, under its own name
    copied = points(x.features[rows], ["p0"] * 4 + ["p1"] * 2)
    assert weighted == pytest.approx(by_hand(copied, y), rel=1e-12)


def test_averages_zero_between_halves_of_correlated_data_where_image_pairs_do_not() -> None:
    rng = np.random.default_rng(2)
    ours, usual = [], []
    for _ in range(200):
        x, y = patients(6, 8, rng), patients(6, 8, rng)
        ours.append(kernel_distance(x, y))
        usual.append(kernel_distance(points(x.features), points(y.features)))
    error = np.std(ours) / np.sqrt(len(ours))
    assert abs(np.mean(ours)) < 2 * error
    assert np.mean(usual) > 5 * np.std(usual) / np.sqrt(len(usual))


def test_many_images_are_summed_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(9)
    x, y = patients(9, 5, rng), points(rng.normal(size=(40, D)), [f"s{i % 7}" for i in range(40)])
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
    width = exact.interval[1] - exact.interval[0]
    assert found.value != exact.value and abs(found.value - exact.value) < 0.1 * width
    assert found.interval[1] - found.interval[0] == pytest.approx(width, rel=0.2)
    assert found.equal_n.value == pytest.approx(exact.equal_n.value, rel=0.1)
    assert found.p_no_difference == exact.p_no_difference
    monkeypatch.setattr(kernel, "GROUPS", 10)
    zero = [kernel_distance(patients(6, 5, rng), kernel.dealt(independent(60, rng), 50, 10, rng)) for _ in range(150)]
    assert abs(np.mean(zero)) < 2 * np.std(zero) / np.sqrt(150)


@pytest.mark.parametrize("subjects", [6, 15])
def test_interval_covers_the_distance_between_populations(subjects: int) -> None:
    rng, shift = np.random.default_rng(3), 0.3
    truth = np.mean([kernel_distance(independent(2000, rng), independent(2000, rng, shift)) for _ in range(4)])
    hits, draws = 0, 150
    for i in range(draws):
        low, high = Blocks.of(patients(subjects, 6, rng), independent(80, rng, shift)).interval(i)
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
    assert set(three.per_subject) == {"p0", "p1", "p2"}
    one = compute(Samples(patients(1, 4, rng), independent(30, rng)))[0]
    assert np.isfinite(one.value) and "one subject" in one.caveat


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
    assert abs(far.floor) < 0.05 * far.value
    assert far.equal_n.value > far.floor_interval[1] > near.equal_n.value


def test_scorer_equals_the_metric_and_repeats_its_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lite0, "compute",
                        lambda self, images, device="cpu": images.reshape(len(images), -1).astype(float))
    rng = np.random.default_rng(7)
    real, fake = (rng.normal(size=(n, 1, 4, 4)).astype(np.float32) for n in (9, 6))
    subjects = list("aaabbbccc")
    scorer, again = KDScorer(real, subjects), KDScorer(real, subjects)
    expected = kernel_distance(points(real.reshape(9, -1).astype(float), subjects),
                               points(fake.reshape(6, -1).astype(float)))
    score = scorer.distance(scorer.features(fake))
    assert score == pytest.approx(expected, rel=1e-9) and score == again.distance(again.features(fake))


def test_fewer_than_two_images_are_refused_with_a_reason_and_alike_ones_are_not() -> None:
    rng = np.random.default_rng(12)
    for real, made in ((patients(6, 2, rng), independent(1, rng)), (patients(1, 1, rng), independent(9, rng))):
        result = compute(Samples(real, made, patients(5, 2, rng)))[0]
        assert (result.value, result.interval, result.floor) == (None, None, None)
        assert "at least two images" in result.caveat
    alike = compute(Samples(points(np.ones((10, D)), list("aabbccddee")), points(np.ones((10, D)))))[0]
    assert (alike.value, alike.p_no_difference) == (0, 1)


# ---- translations: pairs of one person are left out, whichever rows and subjects are shared

def of_patients(rng: np.random.Generator, subjects: int, each: int, shift: float) -> tuple[Sample, Sample]:
    """Truths from N(0, 1), translations from N(shift, 1); those of a patient all resemble each other."""
    names, own = np.repeat(np.arange(subjects), each), np.repeat(rng.normal(size=(subjects, 1)), each, 0) * 0.8
    real, translated = (own + 0.6 * rng.normal(size=(subjects * each, 1)) for _ in range(2))
    return points(real, names), points(translated + shift, names)


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.0), (1.0, 22.0)])
def test_translations_of_the_same_patients_have_the_distance_of_independent_images(shift: float,
                                                                                    expected: float) -> None:
    """With the kernel (xy + 1)^3 it is 3 (m1 - n1)^2 + 3 (m2 - n2)^2 + (m3 - n3)^2 of the moments: 3 + 3 + 16."""
    rng = np.random.default_rng(0)
    values = np.array([translated_distance(*of_patients(rng, 12, 3, shift)).value for _ in range(400)])
    error = values.std() / len(values) ** 0.5
    assert abs(values.mean() - expected) < 4 * error
    assert error < 0.5 + 0.1 * expected


def test_perfect_translations_have_distance_zero() -> None:
    """All three terms leave out the same pairs, so the truth itself is at zero, neither above nor below."""
    real, _ = of_patients(np.random.default_rng(1), 8, 3, 0.0)
    found = translated_distance(real, real)
    assert found.value == pytest.approx(0, abs=1e-9)
    assert found.interval == pytest.approx((0, 0), abs=1e-9)
    alone, _ = of_patients(np.random.default_rng(1), 1, 5, 0.0)
    one = translated_distance(alone, alone)
    assert (one.value, one.interval) == (pytest.approx(0, abs=1e-9), None)


def scans(rng: np.random.Generator, count: int, shared: int) -> tuple[Sample, Sample]:
    """Real and translated scans N(0, 1) of `count` patients each, of which `shared` are in both, of unlike slices."""
    people = rng.normal(size=2 * count - shared) * 0.8
    parts = []
    for first, each in ((0, 2), (count - shared, 3)):
        who = np.repeat(np.arange(first, first + count), each)
        parts.append(points(people[who][:, None] + 0.6 * rng.normal(size=(len(who), 1)), who))
    return parts[0], parts[1]


@pytest.mark.parametrize("shared", [0, 5, 9])
def test_patients_who_are_in_both_domains_do_not_make_it_seem_nearer(shared: int) -> None:
    """Both come from one distribution: zero on average."""
    rng = np.random.default_rng(3)
    drawn = [scans(rng, 9, shared) for _ in range(400)]
    values = np.array([translated_distance(*pair).value for pair in drawn])
    assert abs(values.mean()) < 3 * values.std() / 20
    if shared == 9:
        counted = np.array([float(real_distance(*pair)["value"]) for pair in drawn])
        assert counted.mean() < -5 * counted.std() / 20  # with pairs of one person the cross term is too large


def test_intervals_cover_zero_when_some_patients_are_in_both_domains() -> None:
    rng = np.random.default_rng(4)
    found = [translated_distance(*scans(rng, 10, 4), seed=i).interval for i in range(60)]
    assert sum(low <= 0 <= high for low, high in found) >= 54


def test_equals_a_double_loop_over_different_persons() -> None:
    rng = np.random.default_rng(5)
    real, made = (points(rng.normal(size=(6, 3)), names) for names in ("abcabb", "cdbdea"))

    def mean(one: Sample, other: Sample) -> float:
        kernel = (one.features @ other.features.T / 3 + 1) ** 3
        apart = np.array([[one.names[i] != other.names[j] for j in other.subjects] for i in one.subjects])
        return float(kernel[apart].mean())

    expected = mean(real, real) + mean(made, made) - 2 * mean(real, made)
    found = translated_distance(real, made)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.interval is None  # three persons on one side


def test_one_subject_on_either_side_is_said_and_has_no_reference() -> None:
    rng = np.random.default_rng(6)
    (one, _), (many, _) = of_patients(rng, 1, 6, 0.0), of_patients(rng, 6, 2, 0.0)
    for real, made in ((one, many), (many, one)):
        found = translated_distance(real, made)
        assert found.interval is None and np.isfinite(found.value)
        assert ONE_SUBJECT in found.caveat and "too high" in found.caveat
        assert real_distance(real, made) is None
    assert translated_distance(one, one).caveat == ONE_SUBJECT
