"""The study's classifiers learn what can be learnt, alike in every arm, and the same bits every time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganatomy.features.base import choose
from ganatomy.gans.base import Shape
from ganatomy.studies import classifiers
from ganatomy.studies.classifiers import (
    NETWORKS,
    TrainingSet,
    best_threshold,
    decide,
    flip,
    generator,
    select,
    strong,
    train_classifier,
)
from ganatomy.studies.protocol import ClassifierSettings

CPU = torch.device("cpu")
QUICK = {"updates": 60, "checkpoints": 3, "batch_size": 16, "learning_rate": 2e-3}
ALL = (*NETWORKS, "features")


@pytest.fixture(autouse=True, scope="module")
def _quick_features() -> Iterator[None]:
    """A small random network in the place of the extractor, and nothing kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifiers, "choose", lambda: choose("random"))
        patch.setenv("GANATOMY_CACHE", "off")
        yield


def settings(name: str = "fcn", **changes: object) -> ClassifierSettings:
    return ClassifierSettings.model_validate(QUICK | {"name": name} | changes)


def blobs(n: int, size: int = 16, channels: int = 1, classes: int = 2, seed: int = 0) -> TrainingSet:
    """Noise with a bright blob in the middle, the larger the higher the class; the first class has none."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    y, x = np.mgrid[:size, :size][:, None] - (size - 1) / 2 + rng.normal(size=(2, n, 1, 1))
    inside = np.hypot(y, x) < labels[:, None, None] * size / (4 * (classes - 1))
    images = np.clip(-0.5 + 0.3 * rng.normal(size=(n, channels, size, size)) + inside[:, None], -1, 1)
    return TrainingSet(images.astype(np.float32), labels)


def judge(train: TrainingSet, test: TrainingSet, chosen: ClassifierSettings, augment: str = "none", seed: int = 0,
          classes: int = 2) -> np.ndarray:
    (said,) = train_classifier(train, classes, [test.images], chosen, augment, seed, CPU)  # type: ignore[arg-type]
    return said


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(("channels", "classes"), [(1, 2), (3, 4)])
def test_what_can_be_learnt_is_learnt(name: str, channels: int, classes: int) -> None:
    train, test = (blobs(n, channels=channels, classes=classes, seed=s) for n, s in ((160, 0), (80, 1)))
    said = judge(train, test, settings(name, updates=120), classes=classes)
    assert said.shape == ((1 if name == "features" else 3), 80, classes) and said.dtype == np.float32
    np.testing.assert_allclose(said.sum(2), 1, atol=1e-5)
    assert (said[-1].argmax(1) == test.labels).mean() > 0.9


@pytest.mark.parametrize(("name", "augment"), [("fcn", "none"), ("fcn", "flips"), ("fcn", "strong"),
                                               ("resnet", "strong"), ("features", "flips"), ("features", "strong")])
def test_the_same_bits_twice_and_the_global_generator_untouched(name: str, augment: str) -> None:
    train, test = blobs(12), blobs(8, seed=1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = judge(train, test, settings(name), augment)
    torch.rand(3)
    second = judge(train, test, settings(name), augment)
    torch.manual_seed(1)
    np.testing.assert_array_equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


def test_the_first_weights_depend_on_the_seed_alone() -> None:
    """A step size of next to nothing and one update: what is left is the network that training began with."""
    still = settings(updates=1, checkpoints=1, learning_rate=1e-12, weight_decay=0.0)
    test = blobs(20, seed=1)
    same, other = (judge(TrainingSet(np.full((n, 1, 16, 16), value, np.float32), np.arange(n) % 2), test, still)
                   for n, value in ((10, 0.0), (33, 0.0)))
    np.testing.assert_allclose(same, other, atol=1e-6)
    again = judge(TrainingSet(np.zeros((10, 1, 16, 16), np.float32), np.arange(10) % 2), test, still, seed=1)
    assert np.abs(same - again).max() > 1e-3


def test_judging_changes_nothing_in_training() -> None:
    train, test = blobs(40), blobs(20, seed=1)
    often = judge(train, test, settings(checkpoints=6))
    (rarely, none) = train_classifier(train, 2, [test.images, test.images[:0]], settings(), "none", 0, CPU)
    np.testing.assert_array_equal(often[1::2], rarely)
    assert none.shape == (3, 0, 2)


@pytest.mark.parametrize("size", [16, 20, 64, 100])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_size_from_16_pixels_up(name: str, size: int) -> None:
    logits = NETWORKS[name](Shape(size, 3), 4)(torch.zeros(2, 3, size, size))
    assert logits.shape == (2, 4)


def test_flips_are_the_four_mirrored_forms_about_equally_often() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4) / 16
    forms = [image, image.flip(2), image.flip(3), image.flip(2, 3)]
    flipped = flip(image.expand(400, -1, -1, -1), generator(0, 1))
    counts = [int((flipped == form).all((1, 2, 3)).sum()) for form in forms]
    assert sum(counts) == 400 and min(counts) > 60


def test_strong_stays_in_range_and_leaves_background_alone() -> None:
    images = torch.rand((20, 3, 32, 32), generator=generator(0)) * 2 - 1
    changed = strong(images, generator(0, 1))
    assert changed.shape == images.shape and changed.min() >= -1 and changed.max() <= 1
    assert (strong(torch.full((4, 1, 32, 32), -1.0), generator(0, 1)) == -1).all()
    assert torch.equal(changed, strong(images, generator(0, 1)))
    assert not torch.equal(changed, strong(images, generator(0, 2)))


def test_strong_moves_a_spot_as_far_as_turning_and_bending_allow() -> None:
    """A spot a quarter of the side right of the centre: mirrored or not, at most 15 degrees and a few pixels away."""
    side = 64
    images = torch.full((200, 1, side, side), -1.0)
    images[:, :, 31:33, 47:49] = 1.0  # at 48, 32
    light = strong(images, generator(3, 1))[:, 0] + 1
    axis = torch.arange(side) + 0.5 - side / 2
    x, y = ((light * a).sum((1, 2)) / light.sum((1, 2)) for a in (axis, axis[:, None]))
    radius, angle = torch.hypot(x, y), torch.atan2(y, x.abs()).abs().rad2deg()
    assert 0.4 < (x > 0).float().mean() < 0.6
    assert (radius - 16).abs().max() < 3.5 and (radius - 16).std() > 0.3  # bent
    assert angle.max() < 15 + 10 and angle.median() > 4  # turned


def test_a_repeated_image_weighs_more_in_the_features_too() -> None:
    train, test = blobs(20, seed=3), blobs(40, seed=4)
    positive = np.flatnonzero(train.labels == 1)
    more = TrainingSet(np.concatenate([train.images, *[train.images[positive]] * 3]),
                       np.concatenate([train.labels, *[train.labels[positive]] * 3]))
    plain, repeated = (judge(t, test, settings("features"))[0, :, 1].mean() for t in (train, more))
    assert repeated > plain + 0.01


def test_four_mirrored_forms_judge_a_mirrored_image_alike() -> None:
    train, test = blobs(20, seed=3), blobs(6, seed=4)
    ramp = np.linspace(-1, 1, 16, dtype=np.float32)[:, None]
    lopsided = np.clip(train.images + ramp * train.labels[:, None, None, None], -1, 1).astype(np.float32)
    ways = [TrainingSet(images, train.labels) for images in (lopsided, np.ascontiguousarray(lopsided[:, :, ::-1]))]
    one, other = (judge(way, test, settings("features"), "flips") for way in ways)
    np.testing.assert_allclose(one, other, atol=1e-3)
    one, other = (judge(way, test, settings("features")) for way in ways)
    assert np.abs(one - other).max() > 0.02


# -- checkpoints and thresholds are chosen on one half and applied to the other

THIRDS = st.integers(0, 8).map(lambda i: i / 8)  # few values, so that there are ties


def f1_of(called: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (called & truth).sum() / (called.sum() + truth.sum()))


def random_case(seed: int, n: int = 60, checkpoints: int = 4,
                classes: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities that say something of the labels, more so at later checkpoints."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    logits = rng.normal(size=(checkpoints, n, classes))
    logits += 0.5 * np.arange(checkpoints)[:, None, None] * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    return probabilities.astype(np.float32), labels, rng.permutation(np.arange(n) // classes % 2)


@given(st.lists(st.tuples(THIRDS, st.booleans()), min_size=2, max_size=30)
       .filter(lambda pairs: len({truth for _, truth in pairs}) == 2))
def test_no_threshold_is_better(pairs: list[tuple[float, bool]]) -> None:
    scores, truth = np.array([s for s, _ in pairs]), np.array([t for _, t in pairs])
    threshold, best = best_threshold(scores, truth)
    assert best == pytest.approx(f1_of(scores >= threshold, truth), abs=0)
    everywhere = [f1_of(scores >= cut, truth) for cut in np.linspace(-0.01, 1.01, 200)]
    assert best == pytest.approx(max(everywhere))
    assert threshold not in set(scores) - {0.0}


def test_of_equal_thresholds_the_one_nearest_to_a_half() -> None:
    scores = np.array([0.1, 0.3, 0.45, 0.9])
    truth = np.array([True, False, False, True])  # 0 and 0.675 both give 2/3
    assert best_threshold(scores, truth) == (pytest.approx(0.675), pytest.approx(2 / 3))


@given(st.integers(0, 1000))
def test_select_finds_what_brute_force_finds(seed: int) -> None:
    probabilities, labels, halves = random_case(seed, n=24)
    chosen = select(probabilities, labels, halves, [0])
    for half in (0, 1):
        other = halves == 1 - half
        cuts = np.unique(probabilities[:, other, 0]).astype(np.float64)
        best = [max(f1_of(round_[other, 0] >= cut, labels[other] == 0) for cut in cuts) for round_ in probabilities]
        assert chosen.checkpoints[half] == best.index(max(best))
        applied = probabilities[chosen.checkpoints[half], other, 0] >= chosen.thresholds[0][half]
        assert f1_of(applied, labels[other] == 0) == pytest.approx(max(best))


@pytest.mark.parametrize("half", [0, 1])
def test_a_halfs_own_labels_have_no_say_in_its_decisions(half: int) -> None:
    probabilities, labels, halves = random_case(3)
    _, before = decide(probabilities, select(probabilities, labels, halves, [1]), halves, [1])
    flipped = np.where(halves == half, 1 - labels, labels)
    _, after = decide(probabilities, select(probabilities, flipped, halves, [1]), halves, [1])
    own = halves == half
    np.testing.assert_array_equal(before[1][own], after[1][own])
    assert (before[1][~own] != after[1][~own]).any()  # while those of the other half do hang on them


def test_several_positive_classes_share_the_checkpoint() -> None:
    probabilities, labels, halves = random_case(5, n=90, classes=3)
    chosen = select(probabilities, labels, halves, [0, 2])
    assert set(chosen.thresholds) == {0, 2}
    scores, decisions = decide(probabilities, chosen, halves, [0, 2])
    for p in (0, 2):
        np.testing.assert_array_equal(
            scores[p], probabilities[np.array(chosen.checkpoints)[halves], np.arange(90), p].astype(np.float64))
        np.testing.assert_array_equal(decisions[p], scores[p] >= np.array(chosen.thresholds[p])[halves])
    for half in (0, 1):
        other = halves == 1 - half
        means = [np.mean([best_threshold(round_[other, p].astype(np.float64), labels[other] == p)[1] for p in (0, 2)])
                 for round_ in probabilities]
        assert chosen.checkpoints[half] == int(np.argmax(means))
