"""Training GANs that translate: which domains, where they start from, progress pictures in private, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe, load
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.generators.folder import load_generator
from ganatomy.generators.generation import generate
from ganatomy.generators.sampler import Sampler
from ganatomy.networks.image_to_image import UNet
from ganatomy.training.draws import with_domains
from ganatomy.training.train import Interrupted, TrainingStopped, plan, train
from tests.builders import SMALL, interrupt_at, weights, write_contrasts

TO_T2 = {"source": "T1", "domain": "T2"}


def small(name: str, **settings: Any) -> Recipe:
    return load(name, SMALL[name] | TO_T2 | settings)


@pytest.fixture(scope="module")
def pretrained(pairs: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A pix2pix run that a hybrid can start from; not to be changed."""
    folder = tmp_path_factory.mktemp("Doe_John")
    return train(pairs.path, folder / "run", small("pix2pix-brain-128", ema=0.5, steps=2))


# ------------------------------------------------------------------ which domains

THREE = ("T1", "T2", "PD")


@pytest.mark.parametrize(("name", "settings", "data", "words"), [
    ("pix2pix", {"source": "T1", "domain": "T1"}, {}, "T1 is both"), ("pix2pix", {"source": "FLAIR"}, {}, "FLAIR"),
    ("pix2pix", {"domain": "FLAIR"}, {}, "FLAIR"), ("pix2pix", {"source": ""}, {}, "--source"),
    ("rpgan-64", TO_T2, {}, "starts from noise and has no source"),
    ("cyclegan-mri", {}, {"domains": ("T1",)}, "the one domain T1"),
    ("pix2pix", {}, {"domains": THREE}, "T1, T2, PD"), ("pix2pix", {"source": "T1"}, {"domains": THREE}, "T1, T2, PD"),
    ("pix2pix", {}, {"paired": False}, "unpaired"), ("hybrid-brain-64", {}, {"paired": False}, "unpaired"),
    ("pix2pix", {"label": "cyst"}, {}, "class 'cyst'"),
    ("hybrid-brain-64", {"steps": 10, "model.stages": [i / 10 for i in range(11)]}, {}, "11 stages"),
    ("pix2pix", {"model.widht": 4}, {}, "unknown key"), ("pix2pix", {"size": 48}, {"size": 48}, "power of two"),
    ("pix2pix", {}, {"size": 48}, "cannot be averaged down to 32x32")])
def test_what_cannot_be_is_refused_and_leaves_nothing(tmp_path: Path, name: str, settings: dict[str, Any],
                                                      data: dict[str, Any], words: str) -> None:
    dataset = write_contrasts(tmp_path / "data", **data)
    with pytest.raises(UserError, match=words):
        train(dataset.path, tmp_path / "run", load(name, SMALL.get(name, {}) | settings))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("given", "expected"), [
    ({}, ("T1", "T2")), ({"source": "T1"}, ("T1", "T2")), ({"source": "T2"}, ("T2", "T1")),
    ({"domain": "T1"}, ("T2", "T1")), ({"domain": "T2"}, ("T1", "T2"))])
def test_of_two_domains_one_says_the_other(pairs: Dataset, given: dict[str, str], expected: tuple[str, str]) -> None:
    recipe = with_domains(load("pix2pix", SMALL["pix2pix"] | given), pairs)
    assert (recipe.source, recipe.domain) == expected


def test_of_three_domains_two_are_named_and_learnt(tmp_path: Path) -> None:
    three = write_contrasts(tmp_path / "three", domains=THREE)
    run = train(three.path, tmp_path / "run", small("pix2pix", source="PD", domain="T1", steps=2))
    notes = load_generator(run.path).notes
    assert notes is not None
    assert (notes["source_domain"], notes["domain"]) == ("PD", "T1")
    assert (run.recipe().source, run.recipe().domain) == ("PD", "T1")


@pytest.mark.parametrize("name", ["unet", "cyclegan-mri", "hybrid-brain-64"])
def test_a_dry_run_says_what_a_translation_would_be(pairs: Dataset, name: str) -> None:
    text = plan(small(name, source="T2", domain="T1"), pairs.path, "run", "cpu")
    assert "source: T2" in text
    assert "training images   12 of 6 subjects" in text
    assert "expected memory" in text


def test_a_hybrid_generates_and_what_translates_is_told_the_other_verb(pairs: Dataset, pretrained: Run,
                                                                       tmp_path: Path) -> None:
    run = train(pairs.path, tmp_path / "run", small("hybrid-brain-64", steps=3))
    synthetic = generate(run.path, tmp_path / "synthetic", n=5, seed=1)
    assert (synthetic.info.domains, synthetic.info.source, len(synthetic.rows())) == (("T2",), "synthetic", 5)
    with pytest.raises(UserError, match="ganatomy translate RUN INPUT OUT"):
        generate(pretrained.path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------ progress pictures

def lines_of(picture: Path) -> bytes:
    pixels = np.asarray(Image.open(picture).convert("RGB"))[..., 0]
    return b"|".join(np.ascontiguousarray(line).tobytes() for line in pixels)


def shows(picture: Path, data: Dataset, split: str | None = None) -> bool:
    """Whether a line of any real image, of this split, is in a picture, enlarged or not."""
    there = lines_of(picture)
    lines = [image[np.argmax(image.std(1))] for domain in data.info.domains
             for image in data.pixels(data.rows(domain, split))]
    return any(np.repeat(line, zoom).tobytes() in there for line in lines for zoom in (1, 2, 4))


@pytest.mark.parametrize("name", ["pix2pix", "cyclegan-mri", "hybrid-brain-64"])
def test_pictures_of_patients_are_on_schedule_and_in_private_alone(pairs: Dataset, tmp_path: Path, name: str) -> None:
    run = train(pairs.path, tmp_path / "run", small(name))
    pictures = sorted(run.private_progress.iterdir())
    assert [p.name for p in pictures] == [f"step-{step:06d}.png" for step in (0, 3, 6)]
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in pictures)
    assert run.private_progress.parent.stat().st_mode & 0o777 == 0o700
    assert [shows(pictures[0], pairs, split) for split in ("val", "train", "test")] == [True, False, False]
    public = list(run.path.rglob("*.png"))
    assert not any(shows(p, pairs) for p in public)
    generated = {"step-000000.png", "step-000003.png", "step-000006.png"} if name.startswith("hybrid") else set()
    assert {p.name for p in public} == {"loss_plot.png"} | generated
    run.cut_back(4)  # pictures later than the checkpoint are forgotten
    for folder in (run.private_progress, run.samples):
        assert not (folder / "step-000006.png").exists()
    assert len(list(run.private_progress.iterdir())) == 2


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


# ------------------------------------------------------------------ starting from another run

def parameters(run: Run) -> dict[str, torch.Tensor]:
    return dict(load_generator(run.path).model.generator.named_parameters())


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_training_starts_from_the_other_runs_generator(pairs: Dataset, pretrained: Run, tmp_path: Path,
                                                         ema: float | None) -> None:
    standing = {"learning_rate.generator": 1e-30, "learning_rate.discriminator": 1e-30, "steps": 2, "ema": ema}
    lines: list[str] = []
    run = train(pairs.path, tmp_path / "run", small("hybrid-brain-64", init_from=str(pretrained.path), **standing),
                say=lines.append)
    fresh = train(pairs.path, tmp_path / "fresh", small("hybrid-brain-64", **standing))
    one, two, other = parameters(pretrained), parameters(run), parameters(fresh)
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)
    assert any("has learnt T1 to T2 (recipe pix2pix-brain-128)" in line for line in lines)
    assert (run.recipe().init_from or "").startswith("generator ")
    for path in run.path.rglob("*"):
        assert not path.is_file() or b"Doe_John" not in path.read_bytes(), path


def test_a_start_that_cannot_be_is_refused_and_leaves_nothing(pairs: Dataset, pretrained: Run, tmp_path: Path) -> None:
    for path, settings, words in ((tmp_path / "nowhere", {}, "no such run"), (pairs.path, {}, "neither a run folder"),
                                  (pretrained.path, {"model.width": 8}, r"another shape.*model\.width"),
                                  (pretrained.path, {"model.norm": "instance"}, "another shape")):
        with pytest.raises(UserError, match=words):
            train(pairs.path, tmp_path / "run", small("hybrid-brain-64", init_from=str(path), **settings))
        with pytest.raises(UserError, match=words):
            plan(small("hybrid-brain-64", init_from=str(path), **settings), pairs.path, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_it_goes_on_without_the_first_run_and_not_with_a_changed_one(pairs: Dataset, tmp_path: Path) -> None:
    first = train(pairs.path, tmp_path / "first", small("pix2pix-brain-128", steps=2))
    recipe = small("hybrid-brain-64", init_from=str(first.path))
    whole = train(pairs.path, tmp_path / "whole", recipe)
    with pytest.raises(Interrupted):
        train(pairs.path, tmp_path / "parts", recipe, on_log=interrupt_at(2))
    shutil.rmtree(first.path)
    train(pairs.path, first.path, small("pix2pix-brain-128", steps=2, seed=5))
    with pytest.raises(UserError, match=r"init_from was generator .*, now generator"):
        train(pairs.path, tmp_path / "parts", recipe)
    shutil.rmtree(first.path)
    assert weights(train(pairs.path, tmp_path / "parts", recipe)) == weights(whole)
