"""Translating trainings: resumed to the same bits, progress pictures on schedule and in private, no false alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganatomy.core.recipe import Recipe, load
from ganatomy.data.dataset import Dataset
from ganatomy.generators.sampler import Sampler
from ganatomy.networks.unet import UNet
from ganatomy.training.train import TrainingStopped, train
from tests.builders import SMALL, write_contrasts

WAY = {"source": "T1", "domain": "T2"}
STAGES = {"steps": 12, "model.stages": [0, 0.5, 1], "checkpoint_every": 2, "preview_every": 6}


def small(name: str, **settings: Any) -> Recipe:
    return load(name, SMALL[name] | WAY | settings)


# ------------------------------------------------------------------ the same bits

def test_the_pool_is_part_of_a_checkpoint(pairs: Dataset, tmp_path: Path) -> None:
    recipe = small("cyclegan-resnet")
    run = train(pairs.path, tmp_path / "run", recipe)
    held = [torch.load(run.checkpoint(step), weights_only=True)["model"] for step in (4, 6)]
    for side in ("source", "target"):
        assert int(held[0][f"pool.{side}.filled"]) == 5
        images = [h[f"pool.{side}.images"] for h in held]
        assert images[0].shape == (5, 1, 32, 32)
        assert all((image.abs().amax((1, 2, 3)) > 0).all() for image in images)
        assert not torch.equal(*images)


# ------------------------------------------------------------------ progress pictures

def rows_of(picture: Path) -> bytes:
    pixels = np.asarray(Image.open(picture).convert("RGB"))[..., 0]
    return b"|".join(np.ascontiguousarray(row).tobytes() for row in pixels)


def shows(picture: Path, data: Dataset) -> bool:
    """Whether a row of any real image is in a picture, enlarged or not."""
    there = rows_of(picture)
    for domain in data.info.domains:
        for image in data.pixels(data.rows(domain)):
            row = image[np.argmax(image.std(1))]
            if any(np.repeat(row, zoom).tobytes() in there for zoom in (1, 2, 4)):
                return True
    return False


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan-mri", "hybrid-brain-64"])
def test_pictures_of_patients_are_on_schedule_and_in_private_alone(pairs: Dataset, tmp_path: Path, name: str) -> None:
    run = train(pairs.path, tmp_path / "run", small(name))
    pictures = sorted(run.private_progress.iterdir())
    assert [p.name for p in pictures] == [f"step-{step:06d}.png" for step in (0, 3, 6)]
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in pictures)
    assert run.private_progress.parent.stat().st_mode & 0o777 == 0o700
    assert all(shows(p, pairs) for p in pictures)
    public = list(run.path.rglob("*.png"))
    assert not any(shows(p, pairs) for p in public)
    generated = {"step-000000.png", "step-000003.png", "step-000006.png"} if name.startswith("hybrid") else set()
    assert {p.name for p in public} == {"loss_plot.png"} | generated


def test_progress_shows_validation_images_and_no_others(pairs: Dataset, tmp_path: Path) -> None:
    run = train(pairs.path, tmp_path / "run", small("pix2pix", steps=1))
    there = rows_of(run.private_progress / "step-000001.png")
    for split, expected in (("val", True), ("train", False), ("test", False)):
        for domain in WAY.values():
            for image in pairs.pixels(pairs.require(split, domain)):
                row = np.repeat(image[np.argmax(image.std(1))], 4)
                assert (row.tobytes() in there) == expected


def test_pictures_later_than_the_checkpoint_are_forgotten(pairs: Dataset, tmp_path: Path) -> None:
    run = train(pairs.path, tmp_path / "run", small("hybrid-brain-64"))
    run.cut_back(4)
    for folder in (run.private_progress, run.samples):
        assert sorted(p.name for p in folder.iterdir()) == ["step-000000.png", "step-000003.png"]


# ------------------------------------------------------------------ collapse, and what only looks like it

@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganatomy.training.validation.WARM_UP_STEPS", (1, 1))


@pytest.mark.usefixtures("impatient")
def test_one_validation_slice_is_no_collapse(tmp_path: Path) -> None:
    data = write_contrasts(tmp_path / "data", subjects=4, per_subject=1, splits=("train", "train", "train", "val"))
    assert train(data.path, tmp_path / "run", small("pix2pix")).status()["state"] == "finished"


@pytest.mark.usefixtures("impatient")
def test_one_image_for_every_input_is_a_collapse(pairs: Dataset, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    sound = UNet.forward
    monkeypatch.setattr(UNet, "forward", lambda self, x, keep=None: 1e-6 * sound(self, x, keep))
    with pytest.raises(TrainingStopped, match="mode collapse"):
        train(pairs.path, tmp_path / "run", small("pix2pix"))


@pytest.mark.usefixtures("impatient")
def test_a_hybrid_that_does_not_yet_live_on_noise_has_not_collapsed(pairs: Dataset, tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """What the generator of a pix2pix makes of pure noise looks all the same; of images it makes others."""
    sound = UNet.forward
    monkeypatch.setattr(UNet, "forward", lambda self, x, keep=None: torch.tanh(x + 1e-6 * sound(self, x, keep)))
    monkeypatch.setattr(Sampler, "sample", lambda self, n, seed: np.zeros((n, 1, 32, 32), np.float32))
    run = train(pairs.path, tmp_path / "run", small("hybrid-brain-64"))
    assert run.status()["state"] == "finished"
