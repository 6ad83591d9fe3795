"""Translating trainings: resumed to the same bits, progress pictures on schedule and in private, no false alarm."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ganatomy.core.recipe import Recipe, load
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.generators.sampler import Sampler
from ganatomy.networks.unet import UNet
from ganatomy.training.train import Interrupted, TrainingStopped, train
from tests.builders import SMALL, interrupt_at, random_kills, weights, write_contrasts

WAY = {"source": "T1", "domain": "T2"}
STAGES = {"steps": 12, "model.stages": [0, 0.5, 1], "checkpoint_every": 2, "preview_every": 6}


def small(name: str, **settings: Any) -> Recipe:
    return load(name, SMALL[name] | WAY | settings)


def state(run: Run) -> dict[str, Tensor]:
    """Networks, both optimisers, pool and average at the end."""
    found = torch.load(run.checkpoints()[-1], weights_only=True)
    tensors = dict(found["model"])
    for name in ("optimiser_g", "optimiser_d"):
        for i, kept in found[name]["state"].items():
            tensors |= {f"{name} {i} {key}": value for key, value in kept.items()}
    return tensors | {f"ema {key}": value for key, value in (found["ema"] or {"weights": {}})["weights"].items()}


def same_bits(one: Run, other: Run) -> None:
    a, b = state(one), state(other)
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []
    assert weights(one) == weights(other)


# ------------------------------------------------------------------ the same bits

@pytest.mark.parametrize(("name", "settings", "stops"), [
    ("pix2pix", {}, (2, 4)),  # mirrored, turned, other contrast, averaged
    ("cyclegan-resnet", {}, (2, 4)),  # the pool of five holds four images at step 2, and is full at step 3
    ("hybrid-brain-64", STAGES, (2, 6))])  # stages of four steps
def test_interrupted_and_resumed_ends_with_the_same_bits(pairs: Dataset, tmp_path: Path, name: str,
                                                         settings: dict[str, Any], stops: tuple[int, ...]) -> None:
    recipe = small(name, **settings)
    whole = train(pairs.path, tmp_path / "whole", recipe)
    for _ in stops:
        with pytest.raises(Interrupted):
            train(pairs.path, tmp_path / "parts", recipe, on_log=interrupt_at(*stops))
    parts = train(pairs.path, tmp_path / "parts", recipe)
    same_bits(parts, whole)
    pictures = [{p.name: p.read_bytes() for p in run.private_progress.iterdir()} for run in (parts, whole)]
    assert pictures[0] == pictures[1]


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


def command(data: Path, run: Path, name: str, **settings: object) -> list[str]:
    sets = [f"--set={key}={value}" for key, value in (SMALL[name] | WAY | settings).items()]
    return [sys.executable, "-m", "ganatomy", "train", str(data), str(run), "--recipe", name, *sets]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings"), [
    ("pix2pix", {"steps": 600}), ("cyclegan-resnet", {"steps": 250, "model.pool": 50}),
    ("hybrid-brain-64", {"steps": 550})])
def test_killed_at_random_moments_ends_with_the_same_bits(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    data = write_contrasts(tmp_path / "data").path
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    settings |= {"checkpoint_every": 7, "preview_every": 20}
    started = time.monotonic()
    subprocess.run(command(data, tmp_path / "whole", name, **settings), env=environment, check=True,
                   capture_output=True)
    longest, killed, rng = time.monotonic() - started, 0, random_kills()
    for _ in range(4):
        process = subprocess.Popen(command(data, tmp_path / "parts", name, **settings), env=environment,
                                   stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(0.3 * longest, 0.6 * longest))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    subprocess.run(command(data, tmp_path / "parts", name, **settings), env=environment, check=True,
                   capture_output=True)
    assert killed >= 1
    same_bits(Run(tmp_path / "parts"), Run(tmp_path / "whole"))
    assert not list((tmp_path / "parts").rglob(".*"))


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
