"""Selecting a checkpoint by a distance or by a fresh critic: what is logged, and what is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe, load, names
from ganatomy.data.dataset import Dataset
from ganatomy.generators.folder import load_generator
from ganatomy.metrics.base import Sample
from ganatomy.metrics.critic.critics import LN2, SWAPPED
from ganatomy.metrics.frechet import frechet_distance
from ganatomy.metrics.kernel import kernel_distance
from ganatomy.training.draws import make_feed
from ganatomy.training.state import TrainingState
from ganatomy.training.train import train
from ganatomy.training.validation import SEED, Validator
from tests.builders import TINY, write_dataset

CPU = torch.device("cpu")
KNEE = {"size": 16, "batch_size": 5, "steps": 12, "model.start_channels": 4, "checkpoint_every": 4, "select": "critic"}


def recipe_of(select: str) -> Recipe:
    return load("dcgan-knee-128", KNEE) if select == "critic" else load("rpgan-64", TINY | {"select": select})


def scored(dataset: Dataset, recipe: Recipe, state: TrainingState) -> dict[str, float]:
    return Validator(make_feed(dataset, recipe, CPU), recipe).score(state.sampler())


@pytest.mark.parametrize(("select", "scores", "words"), [
    ("kd", [{"kd": kd} for kd in (0.3, 0.1, 0.2)], "KD-Lite0 x 1000 = 100.0"),
    ("fd", [{"kd": kd, "fd": fd} for kd, fd in ((0.1, 50.0), (0.3, 40.0), (0.2, 45.0))], "FD-Lite0 = 40.0"),
    ("critic", [{"kd": kd, "critic_js": js} for kd, js in ((0.1, 0.5), (0.3, 0.2), (0.2, 0.4))],
     "Jensen-Shannon bound of a fresh critic = 0.200 nats"),
    ("critic", [{"kd": kd, "critic_js": js} for kd, js in ((0.3, -0.5), (0.1, -0.2), (0.2, 0.4))], "= 0.000 nats")])
def test_the_best_validation_score_chooses_the_generator(
        dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, select: str,
        scores: list[dict[str, float]], words: str) -> None:
    """Below 0 a critic's bound says nothing of the images: then the kernel distance chooses."""
    values, lines = iter(scores), list[str]()
    monkeypatch.setattr(Validator, "score", lambda self, sampler: next(values))
    run = train(dataset.path, tmp_path / "run", recipe_of(select), say=lines.append)
    assert run.status()["selected_step"] == 8
    assert words in lines[-1]
    assert [{key: e[key] for key in scores[0]} for e in run.log() if e["kind"] == "validation"] == scores
    state = torch.load(run.checkpoint(8), weights_only=True)
    chosen = state["ema"]["weights"] if state["ema"] else \
        {k.removeprefix("generator."): v for k, v in state["model"].items()}
    weight = load_generator(run.path).model.generator.first.weight
    assert torch.equal(weight, chosen["first.weight"])


def test_validation_scores_are_those_of_the_metrics(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganatomy.training.validation.FEWEST_FAKE", 16)
    recipe = load("rpgan-64", TINY | {"select": "fd"})
    state = TrainingState(recipe, 1, CPU)
    rows = dataset.require("val")
    real = Sample(dataset.images(rows), [r.subject for r in rows])
    fake = Sample(state.sampler().sample(16, SEED))
    assert scored(dataset, recipe, state) == pytest.approx({
        "kd": kernel_distance(real, fake), "fd": frechet_distance(real.features, fake.features)})


@pytest.mark.usefixtures("quick_scores")
def test_scores_are_a_function_of_recipe_and_generator_alone(dataset: Dataset) -> None:
    knee = recipe_of("critic")
    state = TrainingState(knee, 1, CPU)
    torch.manual_seed(1)
    first = scored(dataset, knee, state)
    torch.rand(5)
    before = torch.random.get_rng_state()
    again = scored(dataset, knee, state)
    assert torch.equal(before, torch.random.get_rng_state())
    assert first == again
    other = knee.model_copy(update={"seed": 1})
    assert scored(dataset, other, state)["critic_js"] != first["critic_js"]


@pytest.mark.usefixtures("quick_scores")
def test_the_discriminators_own_loss_is_logged_with_labels_swapped(dataset: Dataset) -> None:
    knee = recipe_of("critic")
    state = TrainingState(knee, 1, CPU)
    scores = scored(dataset, knee, state)
    real = dataset.images(dataset.require("val"))
    fake = state.sampler().sample(16, SEED)
    with torch.no_grad():
        logits = [state.model.discriminator.eval()(torch.from_numpy(side)).double().numpy() for side in (real, fake)]
    assert scores["discriminator"] == pytest.approx(SWAPPED.value(*logits), rel=1e-4)
    assert scores["critic_js"] <= LN2


@pytest.mark.usefixtures("quick_scores")
@pytest.mark.parametrize(("select", "names"), [("kd", {"kd", "fd"}),
                                               ("critic", {"kd", "fd", "critic_js", "critic_swapped"})])
def test_only_what_selects_is_computed_and_a_discriminator_without_logits_is_left_out(
        dataset: Dataset, select: str, names: set[str]) -> None:
    recipe = load("rpgan-64", TINY | {"select": select})
    assert set(scored(dataset, recipe, TrainingState(recipe, 1, CPU))) == names


def test_images_too_small_for_a_critic_are_refused(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "dataset", size=8).path
    with pytest.raises(UserError, match="16 pixels or more"):
        train(data, tmp_path / "run", load("dcgan-brain-128", {"size": 8, "batch_size": 4}))


@pytest.mark.parametrize("select", ["kd", "critic"])
def test_without_validation_subjects_the_last_checkpoint_counts_and_it_is_said(tmp_path: Path, select: str) -> None:
    data = write_dataset(tmp_path / "dataset", splits=("train",)).path
    lines: list[str] = []
    run = train(data, tmp_path / "run", recipe_of(select), say=lines.append)
    assert run.status()["selected_step"] == 12
    assert any("fewer than two validation subjects" in line for line in lines)


def test_the_brain_recipes_are_published_with_this_rule() -> None:
    published = [load(name) for name in names() if name.startswith("dcgan-brain")]
    assert [(recipe.select, recipe.checkpoint_every) for recipe in published] == [("critic", 100)] * 2
