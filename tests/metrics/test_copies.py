"""The memorisation audit on invented anatomies: planted copies are found, fresh patients and average images are not."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import binom

from ganatomy.metrics.base import Result, Sample, Samples
from ganatomy.metrics.copies import (
    SURE,
    TARGET,
    Calibration,
    Group,
    by_chance,
    compute,
    rank,
    share_of_copies,
    verdict,
)

Images = NDArray[np.float32]
SIZE, TRAIN, TEST = 64, 60, 40


def anatomies(n: int, seed: int, size: int = SIZE) -> Images:
    """A head in the middle of a black picture, with structures of its own: [n, 1, size, size] in [-1, 1]."""
    rng = np.random.default_rng(seed)
    common, own = np.random.default_rng(99).normal(size=(size, size)), rng.normal(size=(n, size, size))
    texture = ndimage.gaussian_filter(0.7 * common + own, (0, size / 32, size / 32))
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) / size
    axes = rng.uniform(0.32, 0.38, (2, n, 1, 1))
    head = np.clip((1 - (y / axes[0]) ** 2 - (x / axes[1]) ** 2) * size / 8, 0, 1)
    grey = head * np.clip(0.5 + 0.25 * texture / texture.std(), 0, 1)
    return (2 * grey - 1)[:, None].astype(np.float32)


def sample(images: Images, subjects: Any = None, prefix: str = "") -> Sample:
    """With what a coarse eye sees as features: block means."""
    n, c, size, _ = images.shape
    features = images.reshape(n, c, 8, size // 8, 8, size // 8).mean((1, 3, 5)).reshape(n, -1).astype(np.float64)
    names = [f"{prefix}{i}" for i in range(n)] if subjects is None else list(subjects)
    return Sample(images, names, features, ids=[f"{prefix}-{i}" for i in range(n)])


KNOWN, TESTED = anatomies(TRAIN, 1), anatomies(TEST, 2)
FRESH = anatomies(40, 3)
BLACK = np.full((9, 1, SIZE, SIZE), -1, np.float32)


def synthetic(*parts: Images) -> Sample:
    images = np.clip(np.concatenate(parts), -1, 1).astype(np.float32)
    return Sample(images, None, sample(images).features)


def audit(generated: Sample, train: Any = KNOWN, test: Any = TESTED, name: str = "Copies") -> Result:
    train, test = (one if isinstance(one, Sample) else sample(one, prefix=prefix)
                   for one, prefix in ((train, "train"), (test, "test")))
    return next(result for result in compute(Samples(test, generated, train)) if result.name == name)


def details(generated: Sample, train: Any = KNOWN, test: Any = TESTED, name: str = "Copies") -> dict[str, Any]:
    return audit(generated, train, test, name).details


NOISE = np.random.default_rng(5).normal(0, 0.1, (8, 1, SIZE, SIZE))
CHANGES = {
    "exact": lambda x: x,
    "noise": lambda x: x + NOISE,
    "blur": lambda x: ndimage.gaussian_filter(x, (0, 0, 1, 1)),
    "gamma": lambda x: 2 * ((x + 1) / 2) ** 1.4 - 1,
    "shift": lambda x: np.roll(x, (4, -4), (2, 3)),
    "mirrored left-right": lambda x: x[..., ::-1],
    "mirrored top-bottom": lambda x: x[..., ::-1, :],
    "turned by 180 degrees": lambda x: x[..., ::-1, ::-1],
    "enlarged": lambda x: np.stack([ndimage.affine_transform(i[0], np.eye(2) / 1.06, np.full(2, 31.5 * (1 - 1 / 1.06)),
                                                              order=1, cval=-1)[None] for i in x]),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_changed_copies_are_found_and_traced_to_their_originals(kind: str) -> None:
    result = audit(synthetic(CHANGES[kind](KNOWN[:8]), FRESH))
    own = result.details
    assert own["verdict"] == "copies"
    assert own["flagged_images"] == [str(i) for i in range(8)]
    assert {pair["synthetic"]: pair["real"] for pair in own["pairs"] if pair["flagged"]} == \
        {str(i): f"train-{i}" for i in range(8)}
    assert result.value == pytest.approx((8 / 48 - own["rate"]) / (1 - own["rate"]))
    assert result.interval[0] < 8 / 48 < result.interval[1]
    pixels = {pair["view"] for pair in own["pairs"][:8] if pair["channel"] == "pixels"}
    if kind.startswith(("mirrored", "turned")):
        assert pixels == {kind}
    if kind == "enlarged":
        assert pixels == {"as it is, enlarged"}


def test_fresh_patients_are_clean() -> None:
    result = audit(synthetic(anatomies(200, 6)))
    assert result.details["verdict"] == "clean" and result.interval[0] < 0
    assert result.details["evident"] == 0 and result.details["flagged"] <= 2
    assert result.details["calibration_subjects"] == 100
    assert result.details["resolution"] == pytest.approx(1 / 71)  # training subjects count half


@pytest.mark.parametrize("seed", range(2))
def test_average_and_blurred_images_are_no_copies_although_they_are_near_to_everything(seed: int) -> None:
    average = KNOWN.mean(0) + np.random.default_rng(seed).normal(0, 0.03, (20, 1, SIZE, SIZE))
    blurred = ndimage.gaussian_filter(anatomies(20, 7 + seed), (0, 0, 1.5, 1.5))
    own = details(synthetic(average, blurred))
    assert own["evident"] == 0 and own["verdict"] != "copies"


def test_one_exact_copy_is_evident_although_few_patients_calibrate_it() -> None:
    own = details(synthetic(KNOWN[:1], anatomies(9, 8)), KNOWN[:6], TESTED[:4])
    assert (own["verdict"], own["evident"]) == ("copies", 1)
    assert own["rate"] == pytest.approx(1 / 8) and "too few for a rate of 1%" in own["caveat"]


def test_a_patient_under_two_names_in_train_does_not_hide_copies_of_both() -> None:
    own = details(synthetic(KNOWN[:3] + 0.5 * NOISE[:3], FRESH), np.concatenate([KNOWN, KNOWN[:3]]))
    assert own["flagged_images"] == ["0", "1", "2"]


def test_a_test_patient_who_is_in_train_is_a_leak_and_does_not_spoil_the_calibration() -> None:
    test = sample(np.concatenate([TESTED, KNOWN[20:22] + 0.5 * NOISE[:2]]).astype(np.float32), prefix="test")
    copied = synthetic(KNOWN[:4] + 0.5 * NOISE[:4], FRESH)
    leak, own = details(copied, test=test, name="Leak"), details(copied, test=test)
    assert leak["verdict"] == "copies" and leak["evident"] == 2
    assert {(p["test"], p["real"]) for p in leak["pairs"][:2]} == {("test-40", "train-20"), ("test-41", "train-21")}
    assert own["left_out"] == ["test40", "test41"] and own["flagged_images"] == ["0", "1", "2", "3"]
    assert details(copied, name="Leak")["verdict"] == "clean"


@pytest.mark.parametrize(("source", "verdicts"), [(TESTED, ["clean", "copies"]), (KNOWN, ["copies", "clean"])],
                         ids=["test", "train"])
def test_it_is_told_from_which_split_patients_are_copied(source: Images, verdicts: list[str]) -> None:
    copied = synthetic(source[:6] + 0.5 * NOISE[:6], FRESH)
    assert [details(copied, name=name)["verdict"] for name in ("Copies", "Copies-test")] == verdicts


def test_slices_of_one_patient_count_as_one_and_are_not_compared_with_each_other() -> None:
    def volume(images: Images, seed: int) -> Images:
        own = np.random.default_rng(seed).normal(0, 0.05, (len(images), 4, SIZE, SIZE))
        return np.clip(images + own, -1, 1).reshape(-1, 1, SIZE, SIZE).astype(np.float32)

    train = sample(volume(KNOWN[:30], 1), np.repeat(np.arange(30), 4))
    test = sample(volume(TESTED[:20], 2), np.repeat(np.arange(20), 4) + 100)
    own = details(synthetic(volume(KNOWN[:2], 3), FRESH), train, test)
    assert own["calibration_subjects"] == 50
    assert own["left_out"] == [] and own["flagged_images"] == [str(i) for i in range(8)]


@pytest.mark.parametrize(("train", "test", "reason"), [
    (None, TESTED, "no train split"),
    (sample(KNOWN[:1]), TESTED, "needs 2 subjects"),
    (sample(BLACK), TESTED, "needs 2 subjects"),
    (sample(BLACK), BLACK, "needs 2 subjects"),
    (sample(np.where(KNOWN > 0.9, np.nan, KNOWN).astype(np.float32)), TESTED, "not finite"),
    (sample(KNOWN, ["a", "b"] * (TRAIN // 2)), TESTED[:4], "needs 5 subjects")])
def test_what_cannot_be_judged_has_no_value_and_a_reason(train: Sample | None, test: Images, reason: str) -> None:
    copies, of_test, leak = compute(Samples(sample(test, prefix="test"), sample(FRESH[:5]), train))
    assert copies.value is None and copies.interval is None and reason in copies.caveat
    assert leak.value is None and (of_test.value is None) == (test is BLACK)


def test_copies_of_two_training_patients_are_found_and_other_patients_pass() -> None:
    slices = np.concatenate([anatomies(1, seed) + ndimage.gaussian_filter(
        np.random.default_rng(seed + 1).normal(0, 0.5, (6, 1, SIZE, SIZE)), (0, 0, 3, 3)) for seed in (101, 102)])
    train = sample(np.clip(slices, -1, 1).astype(np.float32), ["a"] * 6 + ["b"] * 6)
    clean = details(synthetic(anatomies(30, 7)), train)
    assert clean["verdict"] == "clean" and clean["calibration_subjects"] == TEST  # not the two
    copied = details(synthetic(train.images[:8], anatomies(8, 8)), train)
    assert copied["flagged_images"] == [str(i) for i in range(8)]


def test_black_images_are_not_judged_and_counted() -> None:
    own = details(synthetic(BLACK[:3], KNOWN[:1], anatomies(20, 4)), np.concatenate([KNOWN, BLACK[:1]]))
    assert own["flagged_images"] == ["3"]
    assert own["judged"] == 21 and "3 images not judged" in own["caveat"]
    only = audit(synthetic(BLACK))
    assert only.value is None and "shows enough" in only.caveat


@pytest.mark.parametrize("copy", [True, False])
def test_a_single_synthetic_image(copy: bool) -> None:
    result = audit(synthetic(KNOWN[:1] if copy else anatomies(1, 4)))
    assert result.value == float(copy) and result.interval is None
    assert result.details["verdict"] == ("copies" if copy else "clean")


def test_colour_and_other_sizes() -> None:
    def coloured(seed: int, n: int) -> Images:
        return np.concatenate([anatomies(n, seed + i, 32) for i in (0, 10, 20)], 1)

    train = coloured(1, 30)
    assert details(synthetic(train[:3, :, :, ::-1], coloured(3, 20)), train, coloured(2, 20))["flagged_images"] == \
        ["0", "1", "2"]


def test_images_are_read_a_few_hundred_at_a_time_and_the_result_is_plain_json() -> None:
    class Stack:
        def __init__(self, images: Images) -> None:
            self.images, self.shape, self.most = images, images.shape, 0

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, rows: Any) -> Images:
            self.most = max(self.most, len(self.images[rows]))
            return self.images[rows]

    stack = Stack(np.concatenate([anatomies(300, 3), KNOWN[:10]]))
    samples = Samples(sample(TESTED), Sample(stack, None, sample(stack.images).features), sample(KNOWN, prefix="t"))
    first, again = compute(samples), compute(samples)
    assert stack.most <= 256
    own = first[0].details
    assert set(own["flagged_images"]) >= {str(i) for i in range(300, 310)}
    assert len(own["pairs"]) == 12
    texts = [json.dumps([r.to_json() for r in results], allow_nan=False) for results in (first, again)]
    assert texts[0] == texts[1]


# ---- the rule: its rates hold, its intervals cover, and slices, duplicates and few patients are allowed for

def group(logs: Any, subjects: Any = None, counts: float = 1.0) -> Group:
    """Both channels alike, unless logs is [n, 2]: of the two; distance as the ratio."""
    logs = np.asarray(logs, float)
    both = np.repeat(logs[:, None], 2, 1) if logs.ndim == 1 else logs
    names = np.array([str(i) for i in (range(len(logs)) if subjects is None else subjects)], dtype=object)
    return Group(np.repeat(both[:, :, None], 2, 2), names, counts)


def calibration(logs: Any, subjects: Any = None, counts: float = 1.0) -> Calibration:
    return Calibration.of([group(logs, subjects, counts)])


def flagged(rule: Calibration, logs: Any) -> np.ndarray:
    return rule.channels(group(logs)).min(1) < rule.threshold


@pytest.mark.parametrize("subjects", [1, 50, 298, 299, 472, 473, 2000])
def test_the_rank_is_the_highest_that_keeps_the_rate_with_95_percent_confidence(subjects: int) -> None:
    k = rank(subjects)
    assert k == 1 or binom.cdf(k - 1, subjects, TARGET) <= 1 - SURE
    assert binom.cdf(k, subjects, TARGET) > 1 - SURE
    assert (k > 1) == (subjects >= 473)


@pytest.mark.parametrize("draw", ["normal", "heavy"])
def test_false_alarms_stay_below_one_percent_whoever_calibrates(draw: str) -> None:
    rng = np.random.default_rng(0)

    def scores(n: int) -> np.ndarray:
        return 0.1 * (rng.normal(size=(n, 2)) if draw == "normal" else rng.standard_t(4, (n, 2)))

    rates = [flagged(calibration(scores(300)), scores(5000)).mean() for _ in range(60)]
    assert np.mean(np.array(rates) > TARGET) <= 0.05


def test_p_values_of_fresh_patients_are_no_smaller_than_they_say_and_never_below_the_resolution() -> None:
    rng = np.random.default_rng(1)
    rules = [calibration(rng.normal(size=(39, 2))) for _ in range(400)]
    p = np.array([rule.p(rule.channels(group(rng.normal(size=(1, 2)))).min(1))[0] for rule in rules])
    assert p.min() >= 1 / 40 and p.max() <= 1
    for level in (0.1, 0.3, 0.5):
        assert level / 3 < np.mean(p <= level) <= level + 3 * np.sqrt(level * (1 - level) / 400)  # a margin is in them


def test_slices_of_a_subject_count_as_one_and_training_subjects_as_half() -> None:
    logs = np.random.default_rng(2).normal(size=(30, 2)) * 0.1
    once, thrice = calibration(logs), calibration(np.repeat(logs, 3, 0), np.repeat(np.arange(30), 3))
    score = np.array([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(once.p(score), thrice.p(score))
    assert thrice.n_subjects == 30 and thrice.rate == pytest.approx(1 / 31)
    half = calibration(logs, counts=0.5)
    assert half.n_subjects == 30 and half.rate == pytest.approx(1 / 16)


def test_subjects_who_are_copies_themselves_do_not_set_the_scale() -> None:
    logs = np.random.default_rng(4).normal(size=(60, 2)) * 0.1
    spoilt = np.concatenate([logs, np.full((3, 2), -4.0)])
    rule, clean = calibration(spoilt), calibration(logs)
    assert rule.doubles == ("60", "61", "62") and rule.n_subjects == 60
    assert rule.threshold == pytest.approx(clean.threshold)


def test_one_low_channel_is_enough_and_both_ratio_and_distance_are_needed_to_be_evident() -> None:
    rule = calibration(np.random.default_rng(5).normal(size=(60, 2)) * 0.1)
    images = group([[-3.0, 0.0], [0.0, -3.0], [0.0, 0.0]])
    assert rule.evident(images).tolist() == [True, True, False]
    images.logs[:2, :, 1] = 0.0  # near only in comparison with the third subject
    assert not rule.evident(images).any()


def test_images_that_are_not_judged_are_never_flagged() -> None:
    rule = calibration(np.random.default_rng(6).normal(size=(30, 2)) * 0.1)
    images = group(np.full((2, 2), np.nan))
    assert np.isinf(rule.channels(images)).all() and not rule.evident(images).any()
    assert Calibration.of([images]) is None and Calibration.of([]) is None


def test_the_share_of_copies_is_never_too_high_on_average_and_its_interval_covers() -> None:
    rng, share, values, covered = np.random.default_rng(7), 0.1, [], []
    for _ in range(200):
        rule = calibration(0.1 * rng.normal(size=(100, 2)))
        logs = np.where(rng.random((300, 1)) < share, -3.0, 0.1 * rng.normal(size=(300, 2)))
        value, interval = share_of_copies(float(flagged(rule, logs).mean()), 300, rule)
        values.append(value)
        covered.append(interval[0] <= share <= interval[1])
    assert share - 0.01 <= np.mean(values) <= share + 0.002  # false alarms are subtracted at the claimed rate
    assert np.mean(covered) >= 0.93


def test_no_flags_give_zero_with_an_interval_that_goes_below_and_above() -> None:
    rule = calibration(0.1 * np.random.default_rng(8).normal(size=(100, 2)))
    value, interval = share_of_copies(0.0, 300, rule)
    assert value == 0 and interval[0] < 0 < interval[1] < 0.02
    assert share_of_copies(1.0, 300, rule) == (1.0, pytest.approx((0.95, 1.0), abs=0.05))
    assert share_of_copies(0.5, 4, rule)[1] is None


def test_chance_explains_few_flags_and_not_many() -> None:
    rule = calibration(0.1 * np.random.default_rng(9).normal(size=(100, 2)))
    odds = [by_chance(k, 300, rule) for k in range(40)]
    assert odds[0] == 1 and all(a > b for a, b in pairwise(odds))
    assert odds[1] == pytest.approx(300 / 400)  # the lowest of 400 is one of the 300
    assert odds[3] > 0.05 > odds[30]


@pytest.mark.parametrize(("evident", "chance", "interval", "expected"), [
    (0, 1.0, (-0.02, 0.01), "clean"),
    (0, 0.3, None, "clean"),
    (0, 0.04, (-0.01, 0.05), "suspicious"),
    (0, 0.06, (0.001, 0.05), "suspicious"),
    (0, 0.001, (0.02, 0.05), "copies"),
    (1, 1.0, (-0.02, 0.01), "copies"),
    (1, 1.0, None, "copies"),
])
def test_verdicts(evident: int, chance: float, interval: tuple[float, float] | None, expected: str) -> None:
    assert verdict(evident, chance, interval) == expected
