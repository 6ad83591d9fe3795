"""The memorisation audit on made-up anatomies: planted copies are found, fresh patients and average images are not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ganatomy.metrics.base import Result, Sample, Samples
from ganatomy.metrics.copies import compute

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


def audit(samples: Samples, name: str = "Copies") -> Result:
    return next(result for result in compute(samples) if result.name == name)


def planted(changed: Images, fresh: int = 40, **more: Any) -> Result:
    """The audit of changed copies of the first training images among fresh ones."""
    made = np.concatenate([np.clip(changed, -1, 1).astype(np.float32), anatomies(fresh, 3)])
    return audit(Samples(sample(TESTED, prefix="test"), Sample(made, None, sample(made).features),
                         sample(KNOWN, prefix="train"), **more))


KNOWN, TESTED = anatomies(TRAIN, 1), anatomies(TEST, 2)
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
    found = planted(CHANGES[kind](KNOWN[:8]))
    details = found.details
    assert details is not None and details["verdict"] == "copies"
    assert details["flagged_images"] == [str(i) for i in range(8)]
    assert {pair["synthetic"]: pair["real"] for pair in details["pairs"] if pair["flagged"]} == \
        {str(i): f"train-{i}" for i in range(8)}
    assert found.value == pytest.approx((8 / 48 - details["rate"]) / (1 - details["rate"]))
    assert found.interval is not None
    assert found.interval[0] < 8 / 48 < found.interval[1]
    pixels = [pair["view"] for pair in details["pairs"][:8] if pair["channel"] == "pixels"]
    if kind.startswith(("mirrored", "turned")):
        assert pixels and set(pixels) == {kind}
    if kind == "enlarged":
        assert pixels and set(pixels) == {"as it is, enlarged"}


def test_fresh_patients_are_clean() -> None:
    found = audit(Samples(sample(TESTED), Sample((made := anatomies(200, 6)), None, sample(made).features),
                          sample(KNOWN, prefix="train")))
    assert found.details is not None and found.details["verdict"] == "clean"
    assert found.details["evident"] == 0 and found.details["flagged"] <= 2
    assert found.interval is not None and found.interval[0] < 0
    assert found.details["calibration_subjects"] == 100
    assert found.details["resolution"] == pytest.approx(1 / 71)  # training subjects count half


@pytest.mark.parametrize("seed", range(2))
def test_average_and_blurred_images_are_no_copies_although_they_are_near_to_everything(seed: int) -> None:
    rng = np.random.default_rng(seed)
    average = KNOWN.mean(0) + rng.normal(0, 0.03, (20, 1, SIZE, SIZE))
    blurred = ndimage.gaussian_filter(anatomies(20, 7 + seed), (0, 0, 1.5, 1.5))
    made = np.clip(np.concatenate([average, blurred]), -1, 1).astype(np.float32)
    found = audit(Samples(sample(TESTED), Sample(made, None, sample(made).features), sample(KNOWN, prefix="train")))
    assert found.details is not None and found.details["evident"] == 0 and found.details["verdict"] != "copies"


def test_one_exact_copy_is_evident_although_few_patients_calibrate_it() -> None:
    made = np.concatenate([KNOWN[:1], anatomies(9, 8)])
    found = audit(Samples(sample(TESTED[:4]), Sample(made, None, sample(made).features), sample(KNOWN[:6], prefix="t")))
    assert found.details is not None
    assert (found.details["verdict"], found.details["evident"]) == ("copies", 1)
    assert found.details["rate"] == pytest.approx(1 / 8) and "too few for a rate of 1%" in found.caveat


def test_a_patient_under_two_names_in_train_does_not_hide_copies_of_both() -> None:
    train = np.concatenate([KNOWN, KNOWN[:3]])
    made = np.concatenate([KNOWN[:3] + 0.5 * NOISE[:3], anatomies(40, 3)]).astype(np.float32)
    found = audit(Samples(sample(TESTED), Sample(made, None, sample(made).features), sample(train, prefix="train")))
    assert found.details is not None and found.details["flagged_images"] == ["0", "1", "2"]


def test_a_test_patient_who_is_in_train_is_a_leak_and_does_not_spoil_the_calibration() -> None:
    test = np.concatenate([TESTED, KNOWN[20:22] + 0.5 * NOISE[:2]]).astype(np.float32)
    made = np.concatenate([KNOWN[:4] + 0.5 * NOISE[:4], anatomies(40, 3)]).astype(np.float32)
    samples = Samples(sample(test, prefix="test"), Sample(made, None, sample(made).features),
                      sample(KNOWN, prefix="train"))
    leak, copies = audit(samples, "Leak"), audit(samples)
    assert leak.against == "test" and leak.details is not None and leak.details["verdict"] == "copies"
    assert leak.details["evident"] == 2
    assert {(p["test"], p["real"]) for p in leak.details["pairs"][:2]} == \
        {("test-40", "train-20"), ("test-41", "train-21")}
    assert copies.details is not None and copies.details["left_out"] == ["test40", "test41"]
    assert copies.details["flagged_images"] == ["0", "1", "2", "3"]
    clean = audit(Samples(sample(TESTED), samples.synthetic, samples.train), "Leak")
    assert clean.details is not None and clean.details["verdict"] == "clean"


def test_a_generator_that_has_seen_the_test_patients_is_found_beside_one_that_has_not() -> None:
    def verdicts(source: Images) -> list[str]:
        made = np.concatenate([source[:6] + 0.5 * NOISE[:6], anatomies(40, 3)]).astype(np.float32)
        found = compute(Samples(sample(TESTED), Sample(made, None, sample(made).features), sample(KNOWN, prefix="t")))
        return [(result.details or {})["verdict"] for result in found if result.name in ("Copies", "Copies-test")]

    assert verdicts(TESTED) == ["clean", "copies"]
    assert verdicts(KNOWN) == ["copies", "clean"]


def test_slices_of_one_patient_count_as_one_and_are_not_compared_with_each_other() -> None:
    def volume(images: Images, seed: int) -> Images:
        own = np.random.default_rng(seed).normal(0, 0.05, (len(images), 4, SIZE, SIZE))
        return np.clip(images + own, -1, 1).reshape(-1, 1, SIZE, SIZE).astype(np.float32)

    train = sample(volume(KNOWN[:30], 1), np.repeat(np.arange(30), 4))
    test = sample(volume(TESTED[:20], 2), np.repeat(np.arange(20), 4) + 100)
    made = np.concatenate([volume(KNOWN[:2], 3), anatomies(40, 3)])
    found = audit(Samples(test, Sample(made, None, sample(made).features), train))
    assert found.details is not None and found.details["calibration_subjects"] == 50
    assert found.details["left_out"] == [] and found.details["flagged_images"] == [str(i) for i in range(8)]


def test_without_training_images_or_too_few_or_empty_ones_it_says_why() -> None:
    made = sample(anatomies(5, 4))

    def reason(train: Sample | None, test: Sample | None = None) -> str:
        found = compute(Samples(test or sample(TESTED), made, train))
        assert [r.name for r in found] == ["Copies", "Copies-test", "Leak"]
        assert found[0].value is None and found[0].interval is None and found[2].value is None
        assert test is not None or found[1].value is not None
        return found[0].caveat

    assert "no train split" in reason(None)
    assert "needs 2 subjects" in reason(sample(KNOWN[:1]))
    assert "needs 2 subjects" in reason(sample(np.full((9, 1, SIZE, SIZE), -1, np.float32)))
    assert "not finite" in reason(sample(np.where(KNOWN > 0.9, np.nan, KNOWN).astype(np.float32)))
    black = sample(np.full((9, 1, SIZE, SIZE), -1, np.float32), prefix="b")
    assert "needs 2 subjects" in reason(black, black)


def test_copies_of_two_training_patients_are_found_and_other_patients_pass() -> None:
    slices = np.concatenate([anatomies(1, seed) + ndimage.gaussian_filter(
        np.random.default_rng(seed + 1).normal(0, 0.5, (6, 1, SIZE, SIZE)), (0, 0, 3, 3)) for seed in (101, 102)])
    train = sample(np.clip(slices, -1, 1).astype(np.float32), ["a"] * 6 + ["b"] * 6)
    test = sample(TESTED, prefix="test")

    def asked(images: Images) -> dict[str, Any]:
        details = audit(Samples(test, Sample(images, None, sample(images).features), train)).details
        assert details is not None and details["calibration_subjects"] == TEST  # not the two
        return details

    assert asked(anatomies(30, 7))["verdict"] == "clean"
    assert asked(np.concatenate([train.images[:8], anatomies(8, 8)]))["flagged_images"] == [str(i) for i in range(8)]


def test_fewer_than_five_other_patients_cannot_calibrate_an_audit() -> None:
    train, made = sample(KNOWN, ["a", "b"] * (TRAIN // 2)), sample(anatomies(5, 4))
    found = audit(Samples(sample(TESTED[:4], prefix="test"), made, train))
    assert found.value is None and found.caveat.startswith("needs 5 subjects")


def test_black_images_are_not_judged_and_counted() -> None:
    black = np.full((3, 1, SIZE, SIZE), -1, np.float32)
    made = np.concatenate([black, KNOWN[:1], anatomies(20, 4)])
    train = sample(np.concatenate([KNOWN, black[:1]]), prefix="train")
    found = audit(Samples(sample(TESTED), Sample(made, None, sample(made).features), train))
    assert found.details is not None and found.details["flagged_images"] == ["3"]
    assert found.details["judged"] == 21 and "3 images not judged" in found.caveat
    only = audit(Samples(sample(TESTED), Sample(black, None, sample(black).features), train))
    assert only.value is None and "shows enough" in only.caveat


@pytest.mark.parametrize("copy", [True, False])
def test_a_single_synthetic_image(copy: bool) -> None:
    made = KNOWN[:1] if copy else anatomies(1, 4)
    found = audit(Samples(sample(TESTED), Sample(made, None, sample(made).features), sample(KNOWN, prefix="t")))
    assert found.value == float(copy) and found.interval is None
    assert found.details is not None and found.details["verdict"] == ("copies" if copy else "clean")


def test_colour_and_other_sizes() -> None:
    def coloured(seed: int, n: int) -> Images:
        return np.concatenate([anatomies(n, seed + i, 32) for i in (0, 10, 20)], 1)

    train, test = coloured(1, 30), coloured(2, 20)
    made = np.concatenate([train[:3, :, :, ::-1], coloured(3, 20)])
    found = audit(Samples(sample(test), Sample(made, None, sample(made).features), sample(train, prefix="t")))
    assert found.details is not None and found.details["flagged_images"] == ["0", "1", "2"]


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
    details = first[0].details
    assert details is not None and set(details["flagged_images"]) >= {str(i) for i in range(300, 310)}
    assert len(details["pairs"]) == 12
    texts = [json.dumps([r.to_json() for r in results], allow_nan=False) for results in (first, again)]
    assert texts[0] == texts[1]
