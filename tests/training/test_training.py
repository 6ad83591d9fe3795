"""Training: resumes to the same bits, stops with an explanation, leaves nothing half-written."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe, load
from ganatomy.core.run import Run
from ganatomy.data.batches import Feed
from ganatomy.data.dataset import Dataset
from ganatomy.gans import rpgan
from ganatomy.generators.folder import load_generator
from ganatomy.metrics.base import Sample
from ganatomy.metrics.frechet import frechet_distance
from ganatomy.metrics.kernel import kernel_distance
from ganatomy.training import validation
from ganatomy.training.draws import make_feed
from ganatomy.training.state import TrainingState
from ganatomy.training.train import Interrupted, TrainingStopped, train
from tests.builders import TINY, interrupt_at, weights, write_dataset


def test_the_run_folder_holds_what_the_design_says(trained_run: Run, tiny: Recipe) -> None:
    run = trained_run
    assert run.status()["state"] == "finished"
    assert run.recipe() == tiny
    assert sorted(p.name for p in run.samples.iterdir()) == [f"step-{s:06d}.png" for s in (0, 4, 8, 12)]
    assert [p.name for p in run.checkpoints()] == ["step-000008.pt", "step-000012.pt"]
    entries = run.log()
    assert [e["step"] for e in entries if e["kind"] == "train"] == [4, 8, 12]
    assert {"discriminator", "generator", "discriminator/adversarial", "discriminator/r1"} <= set(entries[0]["losses"])
    assert json.loads(run.environment_file.read_text())["precision"] in ("fp32", "bf16")
    torch.load(run.checkpoints()[-1], weights_only=True)
    assert not list(run.path.rglob(".*"))


def test_nothing_in_the_run_names_the_place_of_the_data(tmp_path: Path, tiny: Recipe) -> None:
    data = write_dataset(tmp_path / "Doe_John_19700101" / "dataset").path
    run = train(data, tmp_path / "run", tiny)
    for path in run.path.rglob("*"):
        if path.is_file():
            assert b"Doe_John" not in path.read_bytes(), path
    private = tmp_path / "run.private" / "dataset.json"
    assert "Doe_John" in private.read_text()
    assert private.stat().st_mode & 0o077 == 0
    assert private.parent.stat().st_mode & 0o077 == 0


def test_an_update_that_makes_weights_nan_is_never_saved(dataset: Dataset, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    sound = rpgan.Model.generator_loss

    def poisons(self, batch, fakes, ctx):  # type: ignore[no-untyped-def]
        losses = sound(self, batch, fakes, ctx)
        if ctx.step == 7:  # a sound loss whose gradient is not
            losses.terms["adversarial"][1].register_hook(lambda gradient: gradient * float("nan"))
        return losses

    monkeypatch.setattr(rpgan.Model, "generator_loss", poisons)
    with pytest.raises(TrainingStopped, match=r"weights are no longer finite at step 8.*step-000004\.pt"):
        train(dataset.path, tmp_path / "run", load("rpgan-64", TINY | {"preview_every": 100}))


def test_a_budget_that_ends_after_an_interruption_still_scores(dataset: Dataset, tmp_path: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganatomy.training.validation.Validator.score", lambda self, sampler: {"kd": 0.5})
    recipe = load("rpgan-64", TINY | {"select": "kd", "steps": 1000, "checkpoint_every": 900, "preview_every": 900})

    def interrupt(entry: dict[str, object]) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train(dataset.path, tmp_path / "run", recipe, on_log=interrupt)
    run = train(dataset.path, tmp_path / "run", recipe, budget=0.01)
    assert [e["kind"] for e in run.log()][-1] == "validation"
    assert run.status()["selected_step"] == run.status()["step"]


def test_a_finished_run_is_left_alone(dataset: Dataset, tiny: Recipe, own_run: Run) -> None:
    run = own_run
    before = {p: p.stat().st_mtime_ns for p in run.generator.iterdir()}
    lines: list[str] = []
    train(dataset.path, run.path, tiny, say=lines.append)
    assert any("already finished" in line for line in lines)
    assert {p: p.stat().st_mtime_ns for p in run.generator.iterdir()} == before


def test_another_recipe_in_the_same_folder_is_refused_naming_the_keys(dataset: Dataset, own_run: Run) -> None:
    other = load("rpgan-64", TINY | {"batch_size": 8, "model.gamma": 0.5})
    with pytest.raises(UserError, match=r"batch_size was 4, now 8; model.gamma was 0.1, now 0.5"):
        train(dataset.path, own_run.path, other)


@pytest.mark.usefixtures("own_run")
def test_another_dataset_or_folder_is_refused(dataset: Dataset, tiny: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="another dataset"):
        train(write_dataset(tmp_path / "other", seed=1).path, tmp_path / "run", tiny)
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_text("x")
    with pytest.raises(UserError, match="not a run folder"):
        train(dataset.path, tmp_path / "holiday", tiny)


def test_looking_for_the_dataset_of_a_shared_run_leaves_no_trace(own_run: Run, tmp_path: Path) -> None:
    own_run.path.rename(tmp_path / "shared")
    with pytest.raises(UserError, match=r"RUN\.private was left behind"):
        Run(tmp_path / "shared").dataset_path()
    assert not (tmp_path / "shared.private").exists()


def test_two_trainings_in_one_folder_are_refused(dataset: Dataset, tiny: Recipe, tmp_path: Path) -> None:
    with Run(tmp_path / "run").lock(), pytest.raises(UserError, match="another training"):
        train(dataset.path, tmp_path / "run", tiny)


def test_losses_that_are_not_finite_stop_with_the_last_good_checkpoint(dataset: Dataset, tiny: Recipe, tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    sound = rpgan.Model.generator_loss

    def breaks(self, batch, fakes, ctx):  # type: ignore[no-untyped-def]
        losses = sound(self, batch, fakes, ctx)
        if ctx.step >= 5:
            losses.terms["adversarial"] = (1.0, losses.terms["adversarial"][1] * float("nan"))
        return losses

    monkeypatch.setattr(rpgan.Model, "generator_loss", breaks)
    with pytest.raises(TrainingStopped, match=r"no longer finite at step 8.*step-000004\.pt"):
        train(dataset.path, tmp_path / "run", tiny)
    run = Run(tmp_path / "run")
    assert run.status()["state"] == "stopped"
    state = torch.load(run.checkpoints()[-1], weights_only=True)
    assert all(torch.isfinite(v).all() for v in state["model"].values())


def test_collapse_stops_with_an_explanation(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpgan.Generator, "forward", _one_image)
    recipe = load("rpgan-64", TINY | {"steps": 520, "preview_every": 510, "checkpoint_every": 500, "model.lazy": 600})
    with pytest.raises(TrainingStopped, match="mode collapse"):
        train(dataset.path, tmp_path / "run", recipe)


def _one_image(self: rpgan.Generator, z: torch.Tensor) -> torch.Tensor:
    weights = torch.stack([p.sum() for p in self.parameters()]).sum()
    return torch.zeros(len(z), 1, 16, 16) + 0 * weights


def test_a_time_budget_ends_training_early_and_whole(dataset: Dataset, tmp_path: Path) -> None:
    recipe = load("rpgan-64", TINY | {"steps": 1_000_000, "checkpoint_every": 1_000_000})
    run = train(dataset.path, tmp_path / "run", recipe, budget=1.0)
    assert run.status()["state"] == "finished"
    assert 0 < run.status()["step"] < 1_000_000
    assert len(load_generator(run.path).sample(2, seed=0)) == 2


def test_single_keys_can_be_set_of_a_recipe_given_whole(dataset: Dataset, tiny: Recipe, tmp_path: Path) -> None:
    run = train(dataset.path, tmp_path / "run", tiny, set={"steps": 3, "model.gamma": 0.5})
    assert run.status()["step"] == 3
    assert run.recipe() == load("rpgan-64", TINY | {"steps": 3, "model.gamma": 0.5})


def test_every_entry_of_the_log_is_handed_on(dataset: Dataset, tiny: Recipe, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    run = train(dataset.path, tmp_path / "run", tiny, on_log=seen.append)
    assert [(e["kind"], e["step"]) for e in seen] == [(e["kind"], e["step"]) for e in run.log()]
    assert [e["epoch"] for e in seen if e["kind"] == "epoch"] == [1, 2, 3, 4]


def test_epochs_count_passes_over_the_training_images(dataset: Dataset, tmp_path: Path) -> None:
    recipe = load("rpgan-64", {k: v for k, v in TINY.items() if k != "steps"} | {"epochs": 2})
    run = train(dataset.path, tmp_path / "run", recipe)
    # 6 of 12 subjects, 2 images each, train: 12 images are 3 batches of 4 a pass
    assert run.status()["step"] == 6


def test_the_best_validation_score_chooses_the_generator(dataset: Dataset, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([0.3, 0.1, 0.2, 0.2])
    monkeypatch.setattr("ganatomy.training.validation.Validator.score", lambda self, sampler: {"kd": next(scores)})
    recipe = load("rpgan-64", TINY | {"select": "kd", "steps": 16})
    run = train(dataset.path, tmp_path / "run", recipe)
    assert run.status()["selected_step"] == 8
    assert [p.name for p in run.checkpoints()] == ["step-000008.pt", "step-000012.pt", "step-000016.pt"]
    chosen = torch.load(run.checkpoint(8), weights_only=True)["ema"]["weights"]["first.weight"]
    assert torch.equal(load_generator(run.path).model.generator.first.weight, chosen)


def test_the_best_checkpoint_outlives_an_interruption(dataset: Dataset, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load("rpgan-64", TINY | {"select": "fd", "steps": 20})

    def scored(run: Path, on_log: Any = lambda entry: None) -> Run:
        return train(dataset.path, run, recipe, on_log=on_log)

    values = [40.0, 20.0, 30.0, 25.0, 35.0]  # at 4, 8, 12, 16, 20
    scores = iter(values * 2)
    monkeypatch.setattr("ganatomy.training.validation.Validator.score",
                        lambda self, sampler: {"kd": 0.1, "fd": next(scores)})
    whole = scored(tmp_path / "whole")
    with pytest.raises(Interrupted):
        scored(tmp_path / "parts", interrupt_at(12))
    parts = scored(tmp_path / "parts")
    assert parts.status()["selected_step"] == whole.status()["selected_step"] == 8
    assert weights(parts) == weights(whole)
    assert [e["fd"] for e in parts.log() if e["kind"] == "validation"] == values


def test_the_frechet_distance_can_choose_the_generator_instead(dataset: Dataset, tmp_path: Path,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([{"kd": 0.1, "fd": 50.0}, {"kd": 0.3, "fd": 40.0}, {"kd": 0.2, "fd": 45.0}])
    monkeypatch.setattr("ganatomy.training.validation.Validator.score", lambda self, sampler: next(scores))
    lines: list[str] = []
    run = train(dataset.path, tmp_path / "run", load("rpgan-64", TINY | {"select": "fd"}), say=lines.append)
    assert run.status()["selected_step"] == 8
    assert [(e["kd"], e["fd"]) for e in run.log() if e["kind"] == "validation"][1] == (0.3, 40.0)
    assert any("FD-Lite0 = 40.0" in line for line in lines)


def test_validation_scores_are_those_of_the_metrics(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganatomy.training.validation.FEWEST_FAKE", 16)
    recipe = load("rpgan-64", TINY | {"select": "fd"})
    sampler = TrainingState(recipe, 1, torch.device("cpu")).sampler()
    rows = dataset.require("val")
    real = Sample(dataset.images(rows), [r.subject for r in rows])
    fake = Sample(sampler.sample(16, validation.SEED))
    scores = validation.Validator(make_feed(dataset, recipe, torch.device("cpu")), recipe).score(sampler)
    assert scores == pytest.approx({"kd": kernel_distance(real, fake),
                                    "fd": frechet_distance(real.features, fake.features)})


@pytest.mark.parametrize("select", ["kd", "fd"])
def test_without_validation_subjects_the_last_checkpoint_counts_and_it_is_said(tmp_path: Path, select: str) -> None:
    data = write_dataset(tmp_path / "dataset", splits=("train",)).path
    lines: list[str] = []
    run = train(data, tmp_path / "run", load("rpgan-64", TINY | {"select": select}), say=lines.append)
    assert run.status()["selected_step"] == 12
    assert any("fewer than two validation subjects" in line for line in lines)


def test_a_missing_split_is_named(tmp_path: Path, tiny: Recipe) -> None:
    data = write_dataset(tmp_path / "dataset", splits=("test",)).path
    with pytest.raises(UserError, match="'train'"):
        train(data, tmp_path / "run", tiny)


def test_larger_images_are_averaged_down_and_others_refused(tmp_path: Path, tiny: Recipe) -> None:
    assert train(write_dataset(tmp_path / "big", size=32).path, tmp_path / "run", tiny).status()["state"] == "finished"
    with pytest.raises(UserError, match="cannot be averaged down"):
        train(write_dataset(tmp_path / "odd", size=24).path, tmp_path / "odd-run", tiny)
    assert not (tmp_path / "odd-run" / "recipe.yaml").exists()


def test_colour_images_are_learnt_as_colour(tmp_path: Path, tiny: Recipe) -> None:
    run = train(write_dataset(tmp_path / "rgb", channels=3).path, tmp_path / "run", tiny)
    assert load_generator(run.path).sample(2, seed=0).shape == (2, 3, 16, 16)


def test_an_unknown_device_is_refused(dataset: Dataset, tiny: Recipe, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="device"):
        train(dataset.path, tmp_path / "run", tiny, device="quantum")


def test_training_learns_discs(tmp_path: Path) -> None:
    """The mean of the generated images comes near the mean of the real ones."""
    dataset = write_dataset(tmp_path / "dataset", subjects=60, splits=("train",))
    recipe = load("rpgan-64", TINY | {"steps": 400, "batch_size": 16, "checkpoint_every": 400, "preview_every": 400})
    run = train(dataset.path, tmp_path / "run", recipe)
    real = dataset.images(dataset.rows())
    fake = load_generator(run.path).sample(128, seed=0)
    start = TrainingState(recipe, 1, torch.device("cpu")).sampler().sample(128, seed=0)
    assert np.abs(fake.mean(0) - real.mean(0)).mean() < 0.15 < np.abs(start.mean(0) - real.mean(0)).mean()
    assert fake.std(0).mean() > 0.5 * real.std(0).mean()


@pytest.mark.parametrize("name", ["dcgan-brain-128", "rpgan-64"])
def test_the_fast_path_computes_the_same_losses_as_a_plain_loop(tmp_path: Path, name: str) -> None:
    from benchmarks.step_time import PlainLoop, our_loop

    dataset = write_dataset(tmp_path / "dataset", size=32)
    recipe = load(name, {"size": 32, "batch_size": 8, "precision": "fp32"})
    feed = Feed(dataset, dataset.rows(), 32, 8, 0, torch.device("cpu"))
    plain, ours = PlainLoop(recipe, feed), our_loop(recipe, feed, "fp32")
    assert [float(loss) for loss in ours()] == pytest.approx(plain(), rel=1e-5)
