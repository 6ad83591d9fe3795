"""Training: what a run folder holds, when it stops and why, what is refused."""

from __future__ import annotations

import json
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
from ganatomy.generators.generation import generate
from ganatomy.phantoms.cohort import phantom
from ganatomy.training.state import TrainingState
from ganatomy.training.train import TrainingStopped, plan, train
from tests.builders import TINY, write_dataset


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
    run = train(data, tmp_path / "run", tiny, set={"steps": 2})
    for path in run.path.rglob("*"):
        assert not path.is_file() or b"Doe_John" not in path.read_bytes(), path
    private = tmp_path / "run.private" / "dataset.json"
    assert "Doe_John" in private.read_text()
    assert private.stat().st_mode & 0o077 == private.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("first", "gradient", "debug", "words"), [
    (5, False, False, r"losses are no longer finite at step 8.*step-000004\.pt"),
    (7, True, False, r"weights are no longer finite at step 8.*step-000004\.pt"),
    (5, True, True, r"weights are no longer finite at step 6.*step-000004\.pt")], ids=["loss", "update", "epoch"])
def test_what_is_not_finite_stops_the_training_and_is_never_saved(
        dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, gradient: bool, debug: bool,
        words: str) -> None:
    sound = rpgan.Model.generator_loss

    def poisoned(self, batch, fakes, ctx):  # type: ignore[no-untyped-def]
        losses = sound(self, batch, fakes, ctx)
        weight, value = losses.terms["adversarial"]
        if gradient and ctx.step == first:  # a sound loss whose gradient is not
            value.register_hook(lambda g: g * float("nan"))
        elif not gradient and ctx.step >= first:
            losses.terms["adversarial"] = (weight, value * float("nan"))
        return losses

    monkeypatch.setattr(rpgan.Model, "generator_loss", poisoned)
    with pytest.raises(TrainingStopped, match=words):
        train(dataset.path, tmp_path / "run", load("rpgan-64", TINY | {"preview_every": 100}), debug=debug)
    run = Run(tmp_path / "run")
    assert run.status()["state"] == "stopped"
    state = torch.load(run.checkpoints()[-1], weights_only=True)
    assert all(torch.isfinite(v).all() for v in state["model"].values())
    assert [p.name for p in run.debug.glob("*")] == ["epoch-001"] * debug


def test_collapse_stops_with_an_explanation(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_image(self: rpgan.Generator, z: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(z), 1, 16, 16) + 0 * torch.stack([p.sum() for p in self.parameters()]).sum()

    monkeypatch.setattr(rpgan.Generator, "forward", one_image)
    monkeypatch.setattr("ganatomy.training.validation.WARM_UP_STEPS", (6, 2000))
    with pytest.raises(TrainingStopped, match=r"by step 8 .*mode collapse"):
        train(dataset.path, tmp_path / "run", load("rpgan-64", TINY))


def test_another_recipe_dataset_or_folder_is_refused(dataset: Dataset, tiny: Recipe, own_run: Run,
                                                     tmp_path: Path) -> None:
    other = load("rpgan-64", TINY | {"batch_size": 8, "model.gamma": 0.5})
    with pytest.raises(UserError, match=r"batch_size was 4, now 8; model.gamma was 0.1, now 0.5"):
        train(dataset.path, own_run.path, other)
    with pytest.raises(UserError, match="another dataset"):
        train(write_dataset(tmp_path / "other", seed=1).path, own_run.path, tiny)
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.jpg").write_text("x")
    with pytest.raises(UserError, match="not a run folder"):
        train(dataset.path, tmp_path / "holiday", tiny)


def test_what_the_recipe_and_the_data_exclude_together_is_refused_before_there_is_a_folder(
        dataset: Dataset, tmp_path: Path) -> None:
    for device in ("cpu", None):  # a dry run refuses the same
        with pytest.raises(UserError, match="a critic needs images of"):
            recipe = load("dcgan-brain-128", {"size": 8, "steps": 2, "model.width": 4, "model.z_dim": 4})
            plan(recipe, dataset.path, tmp_path / "run") if device is None else \
                train(dataset.path, tmp_path / "run", recipe)
        assert not list(tmp_path.iterdir())


def test_what_a_verb_returns_can_be_given_to_the_next(dataset: Dataset, trained_run: Run, tmp_path: Path) -> None:
    longer = TINY | {"steps": 2, "init_from": trained_run.path}
    run = train(dataset, tmp_path / "run", "rpgan-64", set=longer)
    assert run.status()["step"] == 2
    assert len(generate(run, tmp_path / "out", 2).rows()) == 2


def test_numbers_of_numpy_are_numbers(dataset: Dataset, tmp_path: Path) -> None:
    tiny = {"steps": np.int64(2), "model.gamma": np.float32(0.5), "betas": (np.float64(0.5), np.float32(0.5))}
    run = train(dataset.path, tmp_path / "run", "rpgan-64", set=TINY | {"seed": np.int64(1), **tiny})
    assert (run.recipe().seed, run.recipe().model["gamma"]) == (1, 0.5)
    images = generate(run.path, tmp_path / "out", np.int64(2), seed=np.int32(3))
    assert images.info.provenance["seed"] == 3
    assert len(list(phantom(tmp_path / "scans", subjects=np.int64(1), size=np.uint8(16)).iterdir())) == 3


def test_epochs_count_passes_over_the_training_images(dataset: Dataset, tiny: Recipe, tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = []
    run = train(dataset.path, tmp_path / "run", tiny, set={"epochs": 2, "model.gamma": 0.5}, on_log=entries.append)
    # 6 of 12 subjects, 2 images each, train: 12 images are 3 batches of 4 a pass
    assert run.status()["step"] == 6
    assert (run.recipe().epochs, run.recipe().model["gamma"]) == (2, 0.5)
    logged = [(e["kind"], e["step"]) for e in run.log()]
    assert [(e["kind"], e["step"]) for e in entries if e["kind"] != "progress"] == logged
    assert [e["epoch"] for e in entries if e["kind"] == "epoch"] == [1, 2]


@pytest.mark.parametrize(("data", "device", "words"), [
    ({"splits": ("test",)}, "cpu", "'train'"), ({"size": 24}, "cpu", "cannot be averaged down"),
    ({}, "quantum", "device"), ({}, "mps", "device 'mps' cannot be used")])
def test_what_cannot_be_trained_on_is_refused(tmp_path: Path, tiny: Recipe, data: dict[str, Any], device: str,
                                              words: str) -> None:
    with pytest.raises(UserError, match=words):
        train(write_dataset(tmp_path / "data", **data).path, tmp_path / "run", tiny, device=device)
    assert not (tmp_path / "run").exists()


def test_larger_images_are_averaged_down_and_colour_is_learnt_as_colour(tmp_path: Path, tiny: Recipe) -> None:
    data = write_dataset(tmp_path / "rgb", size=32, channels=3)
    run = train(data.path, tmp_path / "run", tiny, set={"steps": 2})
    assert load_generator(run.path).sample(2, seed=0).shape == (2, 3, 16, 16)


def test_training_learns_discs(tmp_path: Path) -> None:
    """The mean of the generated images comes near the mean of the real ones."""
    dataset = write_dataset(tmp_path / "dataset", subjects=60, splits=("train",))
    recipe = load("rpgan-64", TINY | {"steps": 250, "batch_size": 12, "checkpoint_every": 400, "preview_every": 400})
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
