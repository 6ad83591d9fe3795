"""The losses after each epoch, their picture, and what --debug keeps beside them."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganatomy.core.run import Run
from ganatomy.core.text import estimate
from ganatomy.data.dataset import Dataset
from ganatomy.evaluation.evaluate import evaluate
from ganatomy.evaluation.evaluate import table as as_table
from ganatomy.gans import dcgan_knee
from ganatomy.gans.base import Batch, Context, Fakes, Losses
from ganatomy.generators.folder import load_generator
from ganatomy.metrics.ssim import ssim
from ganatomy.training.train import Interrupted, TrainingStopped, train
from tests.builders import interrupt_at, write_dataset

KNEE = {"size": 16, "batch_size": 4, "epochs": 3, "model.z_dim": 8, "model.start_side": 4, "model.start_channels": 4,
        "checkpoint_epochs": 1, "preview_every": 100}
ONE_EACH = ("train",) * 4 + ("val", "test")


@pytest.fixture
def knees(tmp_path: Path) -> Dataset:
    """Four patients to learn, one for validation, one for test, five images each."""
    return write_dataset(tmp_path / "knees", subjects=6, per_subject=5, splits=ONE_EACH)


def knee_run(data: Dataset, run: Path, debug: bool = True, **more: Any) -> Run:
    return train(data.path, run, "dcgan-knee-128", set=KNEE | more.pop("set", {}), debug=debug, **more)


def rows(run: Run) -> list[dict[str, str]]:
    with (run.path / "losses.csv").open() as handle:
        return list(csv.DictReader(handle))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_one_call_takes_every_parameter_of_the_published_function(knees: Dataset, tmp_path: Path) -> None:
    run = train(knees.path, tmp_path / "run", "dcgan-knee-128", debug=True,
                set=KNEE | {"epochs": 2, "batch_size": 5, "model.z_dim": 6, "model.start_side": 8,
                            "learning_rate.generator": 1e-3, "learning_rate.discriminator": 3e-4})
    assert run.status()["step"] == 8  # 20 images are 4 batches of 5, twice
    model = load_generator(run.path).model
    assert model.noise_shape() == (6,)
    assert model.generator.first.out_features == 8 * 8 * 4


def test_debug_keeps_every_epochs_parts(knees: Dataset, tmp_path: Path) -> None:
    said: list[str] = []
    run = knee_run(knees, tmp_path / "run", say=said.append)
    epochs = ["epoch-001", "epoch-002", "epoch-003"]
    assert sorted(p.name for p in (run.path / "debug").iterdir()) == epochs
    for number, name in enumerate(epochs, 1):
        folder = run.path / "debug" / name
        assert Image.open(folder / "generated.png").size == (8 * 16, 4 * 16)
        assert (folder / "discriminator.safetensors").is_file()
        sampler = load_generator(folder / "generator")
        assert sampler.notes is not None
        assert sampler.notes["step"] == 5 * number
        kept = json.loads((folder / "ssim.json").read_text())
        assert (kept["epoch"], kept["step"], kept["validation_subjects"]) == (number, 5 * number, 1)
        assert -1 <= kept["ssim"] <= 1
        assert -1 <= kept["between_real_patients"] <= 1
    assert any("must not travel" in line for line in said)


def test_real_images_are_kept_in_the_private_folder_alone(knees: Dataset, tmp_path: Path) -> None:
    run = knee_run(knees, tmp_path / "run")
    picture = tmp_path / "run.private" / "debug" / "epoch-002" / "training.png"
    assert picture.stat().st_mode & 0o077 == 0
    tiles = np.asarray(Image.open(picture))[:16].reshape(16, 8, 16).swapaxes(0, 1)
    real = Counter(pixels.tobytes() for pixels in knees.pixels(knees.require("train")))
    assert all(tile.tobytes() in real for tile in tiles[:4])  # the batch of four; the rest is black
    assert not any("training" in p.name for p in run.path.rglob("*"))
    assert sorted(p.name for p in run.samples.iterdir()) == ["step-000000.png", "step-000015.png"]


def test_debug_changes_no_bit_and_is_no_part_of_the_recipe(knees: Dataset, tmp_path: Path) -> None:
    plain, debugged = knee_run(knees, tmp_path / "plain", debug=False), knee_run(knees, tmp_path / "debugged")
    assert contents(plain.generator) == contents(debugged.generator)
    assert not (plain.path / "debug").exists()
    assert plain.recipe_file.read_bytes() == debugged.recipe_file.read_bytes()
    assert rows(plain) == rows(debugged)


@pytest.mark.parametrize("later", [True, False])
def test_interrupted_amid_an_epoch_the_parts_and_losses_are_the_same(knees: Dataset, tmp_path: Path,
                                                                     later: bool) -> None:
    by_step = {"checkpoint_every": 4}  # checkpoints fall amid the epochs of five steps
    setting = {k: v for k, v in KNEE.items() if k != "checkpoint_epochs"} | by_step
    whole = train(knees.path, tmp_path / "whole", "dcgan-knee-128", set=setting, debug=True)

    with pytest.raises(Interrupted):
        train(knees.path, tmp_path / "parts", "dcgan-knee-128", set=setting, debug=True, on_log=interrupt_at(8))
    parts = train(knees.path, tmp_path / "parts", "dcgan-knee-128", set=setting, debug=later)
    assert contents(parts.generator) == contents(whole.generator)
    assert rows(parts) == rows(whole)
    if later:
        assert contents(parts.path / "debug") == contents(whole.path / "debug")


def test_what_was_kept_of_epochs_that_are_trained_again_is_forgotten(knees: Dataset, tmp_path: Path) -> None:
    run = knee_run(knees, tmp_path / "run")
    run.checkpoint(15).unlink()
    run.write_status("running", 10)

    def interrupt(entry: dict[str, Any]) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        knee_run(knees, run.path, debug=False, budget=100, on_log=interrupt)
    for place in (run.path, tmp_path / "run.private"):
        assert sorted(p.name for p in (place / "debug").iterdir())[:2] == ["epoch-001", "epoch-002"]
        assert not (place / "debug" / "epoch-003").exists()


def test_weights_that_are_not_finite_at_an_epochs_end_are_explained_and_not_kept(
        knees: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = dcgan_knee.Model.generator_loss

    def poisons(self: Any, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        losses: Losses = sound(self, batch, fakes, ctx)
        if ctx.step == 9:  # the last step of the second epoch: a sound loss whose gradient is not
            losses.terms["adversarial"][1].register_hook(lambda gradient: gradient * float("nan"))
        return losses

    monkeypatch.setattr(dcgan_knee.Model, "generator_loss", poisons)
    with pytest.raises(TrainingStopped, match="weights are no longer finite at step 10"):
        knee_run(knees, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run" / "debug").iterdir()] == ["epoch-001"]


def test_the_losses_of_an_interrupted_training_can_be_read(knees: Dataset, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        knee_run(knees, tmp_path / "run", debug=False, on_log=interrupt_at(10))
    assert [row["epoch"] for row in rows(Run(tmp_path / "run"))] == ["1", "2"]
    assert (tmp_path / "run" / "loss_plot.png").is_file()


def test_a_training_killed_as_it_draws_its_losses_at_the_end_draws_them_when_resumed(
        knees: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("ganatomy.training.train.write_curves", killed)
        with pytest.raises(KeyboardInterrupt):
            knee_run(knees, tmp_path / "run", debug=False)
    run = knee_run(knees, tmp_path / "run", debug=False)
    assert run.status()["state"] == "finished"
    assert [row["epoch"] for row in rows(run)] == ["1", "2", "3"]


def killed(run: Run) -> None:
    raise KeyboardInterrupt


def test_losses_of_every_epoch_are_a_table_and_a_picture(knees: Dataset, tmp_path: Path) -> None:
    run = knee_run(knees, tmp_path / "run", debug=False)
    table = rows(run)
    assert list(table[0])[:4] == ["epoch", "step", "generator", "discriminator"]
    assert [(row["epoch"], row["step"]) for row in table] == [("1", "5"), ("2", "10"), ("3", "15")]
    logged = [entry["losses"]["generator"] for entry in run.log() if entry["kind"] == "train"]
    assert [float(row["generator"]) for row in table] == pytest.approx(logged)  # checkpoints at the ends of epochs
    picture = np.asarray(Image.open(run.path / "loss_plot.png").convert("RGB"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


def test_ssim_in_debug_is_that_of_the_images_beside_it(knees: Dataset, tmp_path: Path) -> None:
    run = knee_run(knees, tmp_path / "run")
    folder = run.path / "debug" / "epoch-003"
    kept = json.loads((folder / "ssim.json").read_text())
    val = knees.images(knees.require("val"))
    fakes = load_generator(folder / "generator").sample(128, seed=1)
    every = np.mean([ssim(np.repeat(image[None], 128, 0), fakes).mean() for image in val])
    assert kept["ssim"] == pytest.approx(every, abs=0.02)  # of all pairs; the file has a sample of them


def test_debug_without_validation_images_says_so(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", subjects=4, splits=("train",))
    run = knee_run(data, tmp_path / "run", set={"epochs": 1})
    kept = json.loads((run.path / "debug" / "epoch-001" / "ssim.json").read_text())
    assert kept["ssim"] is None
    assert "no validation images" in kept["note"]


@pytest.mark.parametrize("per_subject", [5, 1])
def test_one_patient_for_validation_and_one_for_test_can_be_evaluated(tmp_path: Path, per_subject: int) -> None:
    data = write_dataset(tmp_path / "data", subjects=6, per_subject=per_subject, splits=ONE_EACH)
    run = knee_run(data, tmp_path / "run", debug=False)
    metrics = evaluate(run.path, n=50)
    by_name = {(r["name"], r["against"]): r for r in metrics["results"]}
    found = by_name["SSIM", "test"]
    assert found["n_subjects"] == 1
    assert list(found["per_subject"].values()) == [pytest.approx(found["value"])]
    assert found["interval"] is None
    assert found["reference"]["what"] == "test against train images: different patients"
    assert -1 <= found["reference"]["value"] <= 1
    assert any(text.startswith("Only 1 test subject:") for text in metrics["warnings"])
    kernel = by_name.get(("KD-Lite0", "test"))
    if per_subject > 1:
        assert kernel is not None
        assert kernel["caveat"].startswith("one subject only")
        assert kernel["interval"] is kernel["floor"] is None
    else:  # no pair of real images
        assert kernel is None
        assert any("KD-Lite0 against test" in text and "could not be computed" in text for text in metrics["warnings"])
    (subject, value), = found["per_subject"].items()
    assert f"SSIM against test, each subject by itself: {subject} {estimate(value)}" in as_table(metrics)
