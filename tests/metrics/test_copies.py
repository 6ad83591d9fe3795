"""The memorisation audit on invented anatomies: planted copies are found, fresh patients and average images are not."""

from __future__ import annotations

import json
from math import comb
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ganatomy.metrics.base import Result, Sample, Samples
from ganatomy.metrics.copies import CHANCE, adjusted, by_chance, compute, share_of_copies, verdict

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
VIEWS = ("mirrored left-right", "mirrored top-bottom", "turned by 180 degrees")
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
    assert {one["subject"] for one in own["copied"]} == {f"train{i}" for i in range(8)}
    assert {pair["synthetic"]: pair["real"] for pair in own["pairs"] if pair["flagged"]} == \
        {str(i): f"train-{i}" for i in range(8)}
    assert own["exact"] == (8 if kind in ("exact", *VIEWS) else 0)
    assert result.value == pytest.approx(8 / 48) and result.interval[0] < 8 / 48 < result.interval[1]
    pixels = {pair["view"] for pair in own["pairs"][:8] if pair["channel"] == "pixels"}
    if kind in VIEWS:
        assert pixels == {kind}
    if kind == "enlarged":
        assert pixels == {"as it is, enlarged"}


def test_fresh_patients_are_clean() -> None:
    result = audit(synthetic(anatomies(200, 6)))
    own = result.details
    assert own["verdict"] == "clean" and own["flagged"] == own["evident"] == 0 and own["copied"] == []
    assert result.value == 0 == result.interval[0] < result.interval[1] < 0.05
    assert own["calibration_subjects"] == 40 and own["resolution"] == pytest.approx(1 / 41)
    assert own["expected_subjects"] == pytest.approx(60 / 41)


@pytest.mark.parametrize("seed", range(2))
def test_average_and_blurred_images_are_no_copies_although_they_are_near_to_everything(seed: int) -> None:
    average = KNOWN.mean(0) + np.random.default_rng(seed).normal(0, 0.03, (20, 1, SIZE, SIZE))
    blurred = ndimage.gaussian_filter(anatomies(20, 7 + seed), (0, 0, 1.5, 1.5))
    own = details(synthetic(average, blurred))
    assert own["evident"] == 0 and own["verdict"] == "clean"


def noisy_blobs(n: int, rng: np.random.Generator, grain: float) -> Images:
    """Three soft blobs in grain, 32 x 32: [n, 1, 32, 32]."""
    place = rng.uniform(4, 28, (2, n, 3, 1, 1))
    width, height = rng.uniform(2, 5, (n, 3, 1, 1)), rng.uniform(0.5, 1, (n, 3, 1, 1))
    y, x = np.mgrid[:32, :32]
    images = (height * np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / 2 / width**2)).sum(1)
    return (np.clip(images + grain * rng.normal(size=images.shape), 0, 1) * 2 - 1)[:, None].astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_smooth_images_among_noisy_patients_are_no_copies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    train, test = noisy_blobs(40, rng, 0.1), noisy_blobs(20, rng, 0.1)
    assert details(synthetic(noisy_blobs(120, rng, 0.0)), train, test)["verdict"] != "copies"
    copied = synthetic(train[:4], noisy_blobs(60, rng, 0.0))
    assert details(copied, train, test)["flagged_images"][:4] == ["0", "1", "2", "3"]


def test_one_exact_copy_condemns_and_one_that_is_merely_near_does_not() -> None:
    stored = np.rint((KNOWN[:1, ..., ::-1] + 1) * 127.5) / 127.5 - 1  # as 8 bits, mirrored
    own = details(synthetic(stored, anatomies(9, 8)), KNOWN[:6], TESTED[:5])
    assert (own["verdict"], own["evident"], own["exact"]) == ("copies", 1, 1)
    assert own["rate"] == pytest.approx(1 / 6) and "too few for a rate of 1%" in own["caveat"]
    near = details(synthetic(KNOWN[:1] + NOISE[:1], anatomies(60, 8)))
    assert (near["verdict"], near["evident"], near["exact"]) == ("suspicious", 1, 0)
    assert details(synthetic(KNOWN[:2] + NOISE[:2], anatomies(60, 8)))["verdict"] == "copies"


def test_a_patient_under_two_names_in_train_does_not_hide_copies_of_both() -> None:
    own = details(synthetic(KNOWN[:3] + 0.5 * NOISE[:3], FRESH), np.concatenate([KNOWN, KNOWN[:3]]))
    assert own["flagged_images"] == ["0", "1", "2"]


def test_a_test_patient_who_is_in_train_is_a_leak_and_does_not_spoil_the_calibration() -> None:
    test = sample(np.concatenate([TESTED, KNOWN[20:22] + 0.5 * NOISE[:2]]).astype(np.float32), prefix="test")
    copied = synthetic(KNOWN[18:22] + 0.5 * NOISE[:4], FRESH)
    leak, own = details(copied, test=test, name="Leak"), details(copied, test=test)
    assert leak["verdict"] == "copies" and leak["flagged"] == 2
    assert {(p["test"], p["real"]) for p in leak["pairs"][:2]} == {("test-40", "train-20"), ("test-41", "train-21")}
    assert own["left_out"] == ["test40", "test41"] and own["flagged_images"] == ["0", "1", "2", "3"]
    assert {one["subject"] for one in own["copied"]} == {f"train{i}" for i in range(18, 22)}
    assert details(copied, name="Leak")["verdict"] == "clean"
    val = Samples(sample(TESTED), copied, sample(KNOWN, prefix="train"), sample(test.images[40:], prefix="val"))
    assert compute(val)[0].details["left_out"] == ["val0", "val1"] and compute(val)[1].details["verdict"] == "clean"


def test_patients_of_no_training_whom_the_generator_has_seen_are_said_and_hide_nobody() -> None:
    own = details(synthetic(TESTED[:6] + 0.5 * NOISE[:6], FRESH))
    assert (own["verdict"], own["held_out_evident"], own["flagged"]) == ("suspicious", 6, 0)
    both = details(synthetic(TESTED[:6] + 0.5 * NOISE[:6], KNOWN[:2] + 0.5 * NOISE[:2], FRESH))
    assert both["verdict"] == "copies" and both["flagged_images"] == ["6", "7"]


def volume(images: Images, seed: int, slices: int = 4) -> Images:
    own = np.random.default_rng(seed).normal(0, 0.05, (len(images), slices, SIZE, SIZE))
    return np.clip(images + own, -1, 1).reshape(-1, 1, SIZE, SIZE).astype(np.float32)


def test_slices_of_one_patient_count_as_one() -> None:
    train = sample(volume(KNOWN[:30], 1), np.repeat(np.arange(30), 4))
    test = sample(volume(TESTED[:20], 2), np.repeat(np.arange(20), 4) + 100)
    own = details(synthetic(volume(KNOWN[:2], 3), FRESH), train, test)
    assert own["calibration_subjects"] == 20 and own["left_out"] == []
    assert own["flagged_images"] == [str(i) for i in range(8)]
    assert [(one["subject"], one["images"]) for one in own["copied"]] == [("0", 4), ("1", 4)]


def test_patients_of_many_images_are_compared_by_as_many_as_the_others_have_and_copied_by_any() -> None:
    train = sample(volume(KNOWN[:30], 1, 8), np.repeat(np.arange(30), 8))
    test = sample(TESTED[:20], np.arange(20) + 100)
    assert details(synthetic(FRESH), train, test)["verdict"] == "clean"
    assert details(synthetic(train.images[:8], FRESH), train, test)["flagged_images"] == [str(i) for i in range(8)]


@pytest.mark.parametrize(("train", "test", "reason"), [
    (None, TESTED, "no train split"),
    (sample(BLACK), TESTED, "show nothing"),
    (sample(BLACK), BLACK, "show nothing"),
    (sample(np.where(KNOWN > 0.9, np.nan, KNOWN).astype(np.float32)), TESTED, "not finite"),
    (sample(KNOWN, ["a", "b"] * (TRAIN // 2)), TESTED[:4], "needs 5 held-out subjects")])
def test_what_cannot_be_judged_has_no_value_and_a_reason(train: Sample | None, test: Images, reason: str) -> None:
    copies, leak = compute(Samples(sample(test, prefix="test"), sample(FRESH[:5]), train))
    assert copies.value is None and copies.interval is None and reason in copies.caveat
    assert (leak.value is None) == (len(test) != 4)


def test_without_held_out_patients_the_same_picture_alone_is_a_copy() -> None:
    result = audit(synthetic(KNOWN[:2], FRESH[:6]), test=TESTED[:4])
    assert result.details["verdict"] == "copies" and result.details["flagged_images"] == ["0", "1"]
    assert (result.value, result.interval) == (0.25, None) and "needs 5" in result.caveat


@pytest.mark.parametrize("source", [KNOWN[:1], KNOWN])
def test_a_generator_of_nothing_but_copies_is_found(source: Images) -> None:
    many = np.resize(source, (80, 1, SIZE, SIZE)) + np.random.default_rng(1).normal(0, 0.05, (80, 1, SIZE, SIZE))
    result = audit(synthetic(many))
    assert result.details["verdict"] == "copies" and result.value > 0.95


def test_copies_of_two_training_patients_are_found_and_other_patients_pass() -> None:
    slices = np.concatenate([anatomies(1, seed) + ndimage.gaussian_filter(
        np.random.default_rng(seed + 1).normal(0, 0.5, (6, 1, SIZE, SIZE)), (0, 0, 3, 3)) for seed in (101, 102)])
    train = sample(np.clip(slices, -1, 1).astype(np.float32), ["a"] * 6 + ["b"] * 6)
    clean = details(synthetic(anatomies(30, 7)), train)
    assert clean["verdict"] == "clean" and clean["training_subjects"] == 2
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


# ---- the rule

def test_the_exact_test_alarms_no_more_often_than_it_says_whatever_the_scores() -> None:
    rng = np.random.default_rng(0)
    for training, held in ((40, 20), (4, 31), (200, 60)):
        p = []
        for _ in range(400):
            scores = rng.permutation(np.where(rng.random(training + held) < 0.3, np.inf,
                                              rng.standard_t(2, training + held)))
            p.append(by_chance(scores[:training], scores[training:]))
        for level in (0.01, 0.05, 0.2):
            assert np.mean(np.array(p) <= level) <= level + 2.5 * np.sqrt(level / 400)


def test_the_exact_test_counts_training_patients_below_the_lowest_held_out_ones() -> None:
    held = np.arange(20.0)
    assert by_chance(np.full(4, -1.0), held) == pytest.approx(3 / comb(24, 4))
    assert by_chance(np.full(4, 0.0), held) == pytest.approx(min(1, 3 * 5 / comb(24, 4)))  # ties are no evidence
    assert by_chance(held + 0.5, held) == 1.0
    assert by_chance(np.array([]), held) == 1.0 and by_chance(np.full(3, np.inf), np.full(5, np.inf)) == 1.0


def test_adjusted_p_values_name_patients_only_if_many_are_approached() -> None:
    one, many = np.full(100, 0.6), np.full(100, 0.6)
    one[0], many[:60] = 1 / 61, 1 / 61
    assert adjusted(one)[0] > CHANCE and (adjusted(many)[:60] < CHANCE).all() and (adjusted(many)[60:] > 0.5).all()
    assert (adjusted(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.04, 0.04]))


@pytest.mark.parametrize("held", [5, 60])
def test_share_and_interval_agree_at_the_ends_of_their_range(held: int) -> None:
    for chance in (0, 1):
        rule: Any = SimpleNamespace(held=np.zeros(held), held_out_share=chance / held)
        for flagged in (0, 1, 3, 30, 299, 300):
            for evident in {0, flagged // 2, flagged}:
                value, (low, high) = share_of_copies(flagged, evident, 300, rule)
                assert 0 <= low <= value <= high <= 1 and value >= evident / 300
                assert low > 0 or not evident
    assert share_of_copies(2, 2, 4, rule) == (0.5, None)


@pytest.mark.parametrize(("exact", "evident", "chance", "material", "expected"), [
    (0, 0, 1.0, False, "clean"),
    (0, 0, 1.0, True, "suspicious"),
    (0, 0, 0.04, False, "suspicious"),
    (0, 0, 0.04, True, "suspicious"),
    (0, 0, 0.001, False, "suspicious"),
    (0, 0, 0.001, True, "copies"),
    (0, 1, 1.0, False, "suspicious"),
    (0, 2, 1.0, False, "copies"),
    (1, 1, 1.0, False, "copies"),
])
def test_verdicts(exact: int, evident: int, chance: float, material: bool, expected: str) -> None:
    assert verdict(exact, evident, chance, material) == expected


@pytest.mark.parametrize("copied", [2, 20])
def test_a_memoriser_is_found_although_its_images_approach_no_held_out_patient(copied: int) -> None:
    rng = np.random.default_rng(8)
    blurred = ndimage.gaussian_filter(KNOWN[rng.choice(copied, 60)], (0, 0, 1.5, 1.5))
    noisy = blurred + 0.05 * rng.normal(size=blurred.shape)
    own = details(synthetic(noisy), sample(KNOWN[:20], prefix="train"), sample(TESTED[:5], prefix="test"))
    assert own["verdict"] in ("suspicious", "copies") and own["flagged"] > 50


@pytest.mark.parametrize("seed", range(4))
def test_few_held_out_patients_do_not_make_copies_of_fresh_images(seed: int) -> None:
    few = details(synthetic(anatomies(60, 50 + seed)), KNOWN, sample(anatomies(5, 90 + seed), prefix="test"))
    assert (few["verdict"], few["evident"]) == ("clean", 0)
