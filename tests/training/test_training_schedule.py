"""What is a function of the step: length in epochs, decay, flips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ganatomy.core.recipe import Recipe, load
from ganatomy.data.batches import Feed
from ganatomy.data.dataset import Dataset
from ganatomy.training.draws import real_images
from ganatomy.training.plan import plan
from ganatomy.training.state import TrainingState
from ganatomy.training.step import checkpoint_interval, epochs_done, learning_rates, steps_of, total_steps, update
from tests.builders import TINY, write_dataset

MAMMO = {"size": 16, "batch_size": 4, "model.ngf": 2, "model.ndf": 2, "model.z_dim": 4}


def feed_of(dataset: Dataset, recipe: Recipe) -> Feed:
    return Feed(dataset, dataset.require("train"), recipe.size, recipe.batch_size, recipe.seed, torch.device("cpu"))


def test_published_decay_is_by_one_percent_every_ten_and_eight_epochs() -> None:
    recipe = load("dcgan-mammo-128")
    rates = [learning_rates(recipe, epoch) for epoch in range(41)]
    assert rates[0] == rates[7] == (4e-4, 2e-4)
    assert rates[8] == pytest.approx((4e-4, 2e-4 * 0.99))
    assert rates[10] == pytest.approx((4e-4 * 0.99, 2e-4 * 0.99))
    assert rates[40] == pytest.approx((4e-4 * 0.99**4, 2e-4 * 0.99**5))


def test_without_decay_the_rate_stays() -> None:
    assert learning_rates(load("rpgan-64"), 10**6) == (1e-3, 1e-3)


def test_the_optimisers_take_the_rate_of_their_epoch(dataset: Dataset) -> None:
    recipe = load("dcgan-mammo-128", MAMMO | {"learning_rate_decay.generator": {"factor": 0.5, "epochs": 1},
                                              "learning_rate_decay.discriminator": {"factor": 0.1, "epochs": 2}})
    feed, state = feed_of(dataset, recipe), TrainingState(recipe, 1, torch.device("cpu"))
    seen = []
    for _ in range(9):  # 12 images are 3 steps an epoch
        update(state, feed, "fp32", 9)
        seen.append((state.optimiser_g.param_groups[0]["lr"], state.optimiser_d.param_groups[0]["lr"]))
    rates = [(4e-4, 2e-4)] * 3 + [(2e-4, 2e-4)] * 3 + [(1e-4, 2e-5)] * 3
    assert seen == [pytest.approx(pair) for pair in rates]


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 3), st.integers(1, 20))
def test_an_epoch_is_done_as_soon_as_every_image_was_drawn(images: int, batch: int, d_steps: int, epochs: int) -> None:
    recipe = load("rpgan-64", TINY | {"batch_size": batch, "d_steps": d_steps, "reuse_fake": False})

    class Rows:
        length = images

    feed: Feed = Rows()  # type: ignore[assignment]
    steps = next(s for s in range(10**5) if s * d_steps * batch >= epochs * images)
    assert epochs_done(recipe, feed, steps) >= epochs
    assert epochs_done(recipe, feed, steps - 1) < epochs
    assert steps_of(recipe, feed, epochs) == steps


def test_steps_are_counted_without_rounding_up_twice(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "dataset", subjects=11, splits=("train",))  # 22 images: 50 x (22 / 10) > 110
    recipe = load("dcgan-mammo-128", MAMMO | {"epochs": 50, "batch_size": 10})
    assert total_steps(recipe, feed_of(dataset, recipe)) == 110


def test_checkpoints_can_be_counted_in_epochs(dataset: Dataset) -> None:
    recipe = load("dcgan-mammo-128", MAMMO | {"epochs": 6, "checkpoint_epochs": 2})
    feed = feed_of(dataset, recipe)
    assert (total_steps(recipe, feed), checkpoint_interval(recipe, feed)) == (18, 6)
    assert checkpoint_interval(load("rpgan-64", TINY), feed) == TINY["checkpoint_every"]
    assert "every 6 steps" in plan(recipe, dataset.path, "cpu")


def mirrors(image: np.ndarray) -> dict[str, bytes]:
    return {"as it is": image.tobytes(), "horizontal": np.ascontiguousarray(image[:, ::-1]).tobytes(),
            "vertical": np.ascontiguousarray(image[::-1]).tobytes(),
            "both": np.ascontiguousarray(image[::-1, ::-1]).tobytes()}


@pytest.mark.parametrize(("flips", "allowed"), [
    ([], {"as it is"}), (["horizontal"], {"as it is", "horizontal"}), (["vertical"], {"as it is", "vertical"}),
    (["horizontal", "vertical"], {"as it is", "horizontal", "vertical", "both"})])
def test_flips_mirror_each_image_by_itself_and_as_often_as_not(tmp_path: Path, flips: list[str],
                                                               allowed: set[str]) -> None:
    dataset = write_dataset(tmp_path / "dataset", subjects=40, splits=("train",))
    recipe = load("dcgan-mammo-128", MAMMO | {"flips": flips, "batch_size": 80})
    feed = feed_of(dataset, recipe)
    counts = dict.fromkeys(allowed, 0)
    for draw in range(3):
        plain, seen = feed.draw(draw).numpy(), real_images(recipe, feed, draw)[0].numpy()
        assert np.array_equal(real_images(recipe, feed, draw)[0].numpy(), seen)
        for before, after in zip(plain[:, 0], seen[:, 0], strict=True):
            found = [name for name, pixels in mirrors(before).items() if pixels == after.tobytes()]
            assert found
            counts[found[0]] += 1
    assert all(abs(n - 240 / len(allowed)) < 40 for n in counts.values())
    assert sum(counts.values()) == 240
