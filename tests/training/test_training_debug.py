"""The losses after each epoch, their picture, and what --debug keeps beside them."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.generators.folder import load_generator
from ganatomy.metrics.similarity import ssim
from ganatomy.training.train import Interrupted, train
from tests.builders import SMALL, copy_run, interrupt_at, weights, write_contrasts, write_dataset

KNEE = {"size": 16, "batch_size": 4, "epochs": 3, "model.z_dim": 8, "model.start_side": 4, "model.start_channels": 4,
        "checkpoint_epochs": 1, "preview_every": 100}
ONE_EACH = ("train",) * 4 + ("val", "test")


@pytest.fixture(scope="module")
def knees(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Four patients to learn, one for validation, one for test, five images each; not to be changed."""
    return write_dataset(tmp_path_factory.mktemp("knees") / "data", subjects=6, per_subject=5, splits=ONE_EACH)


def knee_run(data: Dataset, run: Path, debug: bool = True, **more: Any) -> Run:
    return train(data.path, run, "dcgan-knee-128", set=KNEE | more.pop("set", {}), debug=debug, **more)


@pytest.fixture(scope="module")
def debugged(knees: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Three epochs of five steps with --debug; not to be changed."""
    return knee_run(knees, tmp_path_factory.mktemp("debugged") / "run")


def rows(run: Run) -> list[dict[str, str]]:
    with run.losses_file.open() as handle:
        return list(csv.DictReader(handle))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def similarity(run: Run, epoch: int) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads((run.debug / f"epoch-{epoch:03d}" / "ssim.json").read_text())
    return kept


def test_debug_keeps_every_epochs_parts(knees: Dataset, debugged: Run) -> None:
    assert sorted(p.name for p in debugged.debug.iterdir()) == ["epoch-001", "epoch-002", "epoch-003"]
    val = knees.images(knees.require("val"))
    for epoch in (1, 2, 3):
        folder = debugged.debug / f"epoch-{epoch:03d}"
        assert Image.open(folder / "generated.png").size == (8 * 16, 4 * 16)
        assert (folder / "discriminator.safetensors").is_file()
        sampler = load_generator(folder / "generator")
        assert sampler.notes is not None and sampler.notes["step"] == 5 * epoch
        kept, fakes = similarity(debugged, epoch), sampler.sample(128, seed=1)
        assert (kept["epoch"], kept["step"], kept["validation_subjects"]) == (epoch, 5 * epoch, 1)
        every = np.mean([ssim(np.repeat(image[None], 128, 0), fakes).mean() for image in val])
        assert kept["ssim"] == pytest.approx(every, abs=0.02)  # of all pairs; the file has a sample of them
        assert -1 <= kept["between_real_patients"] <= 1


def test_real_images_are_kept_in_the_private_folder_alone(knees: Dataset, debugged: Run) -> None:
    picture = debugged.private_debug / "epoch-002" / "training.png"
    assert picture.stat().st_mode & 0o077 == 0
    tiles = np.asarray(Image.open(picture))[:16].reshape(16, 8, 16).swapaxes(0, 1)
    real = Counter(pixels.tobytes() for pixels in knees.pixels(knees.require("train")))
    assert all(tile.tobytes() in real for tile in tiles[:4])  # the batch of four; the rest is black
    assert not any("training" in p.name for p in debugged.path.rglob("*"))


def test_debug_changes_no_bit_and_is_no_part_of_the_recipe(knees: Dataset, debugged: Run, tmp_path: Path) -> None:
    plain = knee_run(knees, tmp_path / "plain", debug=False)
    assert contents(plain.generator) == contents(debugged.generator)
    assert not plain.debug.exists()
    assert plain.recipe_file.read_bytes() == debugged.recipe_file.read_bytes()
    assert rows(plain) == rows(debugged)


@pytest.mark.parametrize("later", [True, False])
def test_interrupted_amid_an_epoch_the_parts_and_losses_are_the_same(knees: Dataset, debugged: Run, tmp_path: Path,
                                                                     later: bool) -> None:
    amid = {k: v for k, v in KNEE.items() if k != "checkpoint_epochs"} | {"checkpoint_every": 4}
    with pytest.raises(Interrupted):
        train(knees.path, tmp_path / "parts", "dcgan-knee-128", set=amid, debug=True, on_log=interrupt_at(8))
    assert [row["epoch"] for row in rows(Run(tmp_path / "parts"))] == ["1"]
    parts = train(knees.path, tmp_path / "parts", "dcgan-knee-128", set=amid, debug=later)
    assert weights(parts) == weights(debugged)
    assert rows(parts) == rows(debugged)
    if later:
        pictures = ("*/*.png", "*/ssim.json", "*/discriminator.safetensors")
        kept = [[p.read_bytes() for kind in pictures for p in sorted(run.debug.glob(kind))]
                for run in (parts, debugged)]
        assert kept[0] == kept[1] and len(kept[0]) == 9


def test_what_was_kept_of_epochs_that_are_trained_again_is_forgotten(knees: Dataset, debugged: Run,
                                                                     tmp_path: Path) -> None:
    run = copy_run(debugged, tmp_path)
    run.checkpoint(15).unlink()
    run.write_status("running", 10)
    knee_run(knees, run.path, debug=False)
    for place in (run.debug, run.private_debug):
        assert sorted(p.name for p in place.iterdir()) == ["epoch-001", "epoch-002"]


def test_a_training_killed_as_it_draws_its_losses_at_the_end_draws_them_when_resumed(
        knees: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(run: Run) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("ganatomy.training.train.write_curves", killed)
        knee_run(knees, tmp_path / "run", debug=False)
    run = knee_run(knees, tmp_path / "run", debug=False)
    assert run.status()["state"] == "finished"
    assert [row["epoch"] for row in rows(run)] == ["1", "2", "3"]


def test_losses_of_every_epoch_are_a_table_and_a_picture(debugged: Run) -> None:
    table = rows(debugged)
    assert list(table[0])[:4] == ["epoch", "step", "generator", "discriminator"]
    assert [(row["epoch"], row["step"]) for row in table] == [("1", "5"), ("2", "10"), ("3", "15")]
    logged = [entry["losses"]["generator"] for entry in debugged.log() if entry["kind"] == "train"]
    assert [float(row["generator"]) for row in table] == pytest.approx(logged)  # checkpoints at the ends of epochs
    picture = np.asarray(Image.open(debugged.loss_plot).convert("RGB"))
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


# ------------------------------------------------------------------ of translations

def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_debug_keeps_translations_in_the_private_folder(pairs: Dataset, tmp_path: Path) -> None:
    plain = train(pairs.path, tmp_path / "plain", "cyclegan-mri", set=SMALL["cyclegan-mri"])
    run = train(pairs.path, tmp_path / "run", "cyclegan-mri", set=SMALL["cyclegan-mri"], debug=True)
    assert weights(plain) == weights(run)
    kept = {"discriminator.safetensors", "generator/config.json", "generator/weights.safetensors", "ssim.json"}
    assert files(run.debug) == {f"epoch-{i:03d}/{file}" for i in (1, 2) for file in kept}
    pictures = {"translated.png", "training.png", "training-source.png"}
    assert files(run.private_debug) == {f"epoch-{i:03d}/{file}" for i in (1, 2) for file in pictures}
    assert all(p.stat().st_mode & 0o077 == 0 for p in run.private_debug.rglob("*.png"))
    scores = similarity(run, 2)
    assert (scores["validation_images"], scores["validation_subjects"]) == (6, 3)
    assert -1 <= scores["ssim"] <= 1


def test_debug_of_hybrids_and_where_there_is_no_similarity(pairs: Dataset, tmp_path: Path) -> None:
    hybrid = train(pairs.path, tmp_path / "hybrid", "hybrid-brain-64", debug=True,
                   set=SMALL["hybrid-brain-64"] | {"source": "T1", "domain": "T2", "steps": 3})
    assert Image.open(hybrid.debug / "epoch-001" / "generated.png").size == (8 * 32, 4 * 32)
    assert files(hybrid.private_debug) == {"epoch-001/training.png", "epoch-001/training-source.png"}
    unpaired = train(write_contrasts(tmp_path / "unpaired", paired=False).path, tmp_path / "run", "cyclegan-mri",
                     set=SMALL["cyclegan-mri"] | {"steps": 4}, debug=True)
    alone = knee_run(write_dataset(tmp_path / "data", subjects=4, splits=("train",)), tmp_path / "alone",
                     set={"epochs": 1})
    for run, words in ((unpaired, "no pairs"), (alone, "no validation images")):
        assert similarity(run, 1)["ssim"] is None
        assert words in similarity(run, 1)["note"]
