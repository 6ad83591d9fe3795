"""Selecting a checkpoint by a fresh critic: what is logged, what is chosen, the same bits after a resume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe, load, names
from ganatomy.data.dataset import Dataset
from ganatomy.gans.dcgan_knee import Model as Knee
from ganatomy.metrics.critic import critics
from ganatomy.metrics.critic.critics import LN2, SWAPPED, Sides, train_critic
from ganatomy.metrics.kernel import KDScorer
from ganatomy.reports import drawings
from ganatomy.reports.context import Context
from ganatomy.training.draws import make_feed
from ganatomy.training.state import TrainingState
from ganatomy.training.train import train
from ganatomy.training.validation import SEED, Validator
from tests.builders import TINY, write_dataset

KNEE = {"size": 16, "batch_size": 5, "steps": 12, "model.start_channels": 4, "checkpoint_every": 4, "select": "critic"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few batches and fakes, and features that cost nothing: what the critic does is not what they are."""
    monkeypatch.setattr("ganatomy.training.validation.FEWEST_FAKE", 16)
    monkeypatch.setattr(critics, "PUBLISHED", replace(critics.PUBLISHED, steps=10))
    monkeypatch.setattr(KDScorer, "features", lambda self, made: made.reshape(len(made), -1)[:, :64].astype(float))


def scored(validator: Validator, state: TrainingState) -> dict[str, float]:
    return validator.score(state.sampler())


@pytest.fixture
def knee() -> Recipe:
    return load("dcgan-knee-128", KNEE)


def test_the_smallest_bound_chooses_and_the_end_says_so(dataset: Dataset, tmp_path: Path, knee: Recipe,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    found = iter([0.5, 0.2, 0.4])
    monkeypatch.setattr("ganatomy.training.validation.Validator._critic_scores",
                        lambda self, sampler, held_out: {"critic_js": next(found), "critic_swapped": 1.0})
    said: list[str] = []
    run = train(dataset.path, tmp_path / "run", knee, say=said.append)
    assert run.status()["selected_step"] == 8
    assert "Jensen-Shannon bound of a fresh critic = 0.200 nats" in said[-1]
    context = Context.of(run, None, said.append)
    assert context.validation == [(4, 0.5), (8, 0.2), (12, 0.4)] and context.step == 8
    picture = drawings.validation(context.validation, 8, context.score)
    assert "Jensen-Shannon bound of a fresh critic" in picture.alt


def test_scores_are_a_function_of_recipe_and_generator_alone(dataset: Dataset, knee: Recipe) -> None:
    feed = make_feed(dataset, knee, torch.device("cpu"))
    state = TrainingState(knee, 1, torch.device("cpu"))
    torch.manual_seed(1)
    first = scored(Validator(feed, knee), state)
    torch.rand(5)
    before = torch.random.get_rng_state()
    again = scored(Validator(feed, knee), state)
    assert torch.equal(before, torch.random.get_rng_state())
    assert first == again
    other = knee.model_copy(update={"seed": 1})
    assert scored(Validator(feed, other), state)["critic_js"] != first["critic_js"]


def test_the_discriminators_own_loss_is_logged_with_labels_swapped(dataset: Dataset, knee: Recipe) -> None:
    state = TrainingState(knee, 1, torch.device("cpu"))
    assert isinstance(state.model, Knee)
    found = scored(Validator(make_feed(dataset, knee, torch.device("cpu")), knee), state)
    real = dataset.images(dataset.require("val"))
    fake = state.sampler().sample(16, SEED)
    with torch.no_grad():
        logits = [state.model.discriminator.eval()(torch.from_numpy(side)).double().numpy() for side in (real, fake)]
    assert found["discriminator"] == pytest.approx(SWAPPED.value(*logits), rel=1e-4)
    assert found["critic_js"] <= LN2


def test_a_discriminator_whose_scores_are_no_logits_is_left_out(dataset: Dataset) -> None:
    recipe = load("rpgan-64", TINY | {"select": "critic"})
    found = scored(Validator(make_feed(dataset, recipe, torch.device("cpu")), recipe),
                   TrainingState(recipe, 1, torch.device("cpu")))
    assert set(found) == {"kd", "fd", "critic_js", "critic_swapped"}


@pytest.mark.parametrize("select", ["kd", "fd"])
def test_other_rules_train_no_critic(dataset: Dataset, select: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganatomy.training.validation.published_critic", None)
    recipe = load("rpgan-64", TINY | {"select": select})
    found = scored(Validator(make_feed(dataset, recipe, torch.device("cpu")), recipe),
                   TrainingState(recipe, 1, torch.device("cpu")))
    assert set(found) == {"kd", "fd"}


def test_images_too_small_for_a_critic_are_refused(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "dataset", size=8).path
    with pytest.raises(UserError, match="16 pixels or more"):
        train(data, tmp_path / "run", load("dcgan-brain-128", {"size": 8, "batch_size": 4}))


def test_without_validation_subjects_the_last_checkpoint_counts_and_it_is_said(tmp_path: Path, knee: Recipe) -> None:
    data = write_dataset(tmp_path / "dataset", splits=("train",)).path
    said: list[str] = []
    run = train(data, tmp_path / "run", knee, say=said.append)
    assert run.status()["selected_step"] == 12
    assert any("fewer than two validation subjects" in line for line in said)


def test_the_brain_recipes_are_published_with_this_rule() -> None:
    published = [name for name in names() if name.startswith("dcgan-brain")]
    assert len(published) == 2
    for name in published:
        assert (load(name).select, load(name).checkpoint_every) == ("critic", 100)


def test_a_critic_starts_from_the_same_weights_whatever_it_is_shown() -> None:
    rng = np.random.default_rng(0)
    first, second = (Sides(*rng.standard_normal((2, 8, 1, 16, 16)).astype(np.float32)) for _ in range(2))
    plan = replace(critics.PUBLISHED, steps=0)

    def build() -> torch.nn.Module:
        return critics.ImageCritic(16, 1, from_nothing=False)

    states = [dict(train_critic(build, sides, None, SWAPPED, plan, 4).network.named_parameters())
              for sides in (first, second)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
