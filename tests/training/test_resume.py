"""Interrupted, killed or damaged, a training goes on and ends with the bits of one that was left alone."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe, load
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.generators.folder import export, load_discriminator, load_generator
from ganatomy.training.train import Interrupted, train
from tests.builders import SMALL, TINY, interrupt_at, random_kills, weights

NOISE = {"size": 16, "batch_size": 5, "steps": 12, "checkpoint_every": 4, "preview_every": 4, "select": "last"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "rpgan, lazy penalty, average": ("rpgan-64", TINY),
    "two discriminator steps": ("rpgan-64", TINY | {"d_steps": 2, "reuse_fake": False}),
    "generator first, bf16": ("rpgan-64", TINY | {"order": "g_first", "precision": "bf16"}),
    "chosen by kd": ("rpgan-64", TINY | {"select": "kd"}),
    "chosen by fd": ("rpgan-64", TINY | {"select": "fd"}),
    "dcgan": ("dcgan-brain-128", NOISE | {"model.z_dim": 8, "model.width": 4}),
    "dropout, minibatch discrimination": ("dcgan-brain-256", NOISE | {
        "model.architecture": "dense", "model.dense.z_dim": 8, "model.minibatch_discrimination": {"kernels": 3}}),
    "label smoothing, decay, flips": ("dcgan-mammo-128", NOISE | {
        "model.ngf": 3, "model.ndf": 3, "model.z_dim": 8, "learning_rate_decay.generator.epochs": 1}),
    "chosen by a critic": ("dcgan-knee-128", NOISE | {"model.start_channels": 4, "select": "critic"}),
    "mirrored, turned, other contrast": ("pix2pix", SMALL["pix2pix"]),
    "unet": ("unet", SMALL["unet"]),
    "pool of fakes": ("cyclegan-resnet", SMALL["cyclegan-resnet"]),  # of five: four images at step 2, full at step 3
    "stages of four steps": ("hybrid-brain-64", SMALL["hybrid-brain-64"] | {
        "steps": 12, "model.stages": [0, 0.5, 1], "preview_every": 6})}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def state(run: Run) -> dict[str, Tensor]:
    """Networks, both optimisers, pool and average at the end."""
    kept = torch.load(run.checkpoints()[-1], weights_only=True)
    tensors = dict(kept["model"])
    for name in ("optimiser_g", "optimiser_d"):
        for i, moments in kept[name]["state"].items():
            tensors |= {f"{name} {i} {key}": value for key, value in moments.items()}
    return tensors | {f"ema {key}": value for key, value in (kept["ema"] or {"weights": {}})["weights"].items()}


def same_bits(one: Run, other: Run) -> None:
    a, b = state(one), state(other)
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == []
    assert weights(one) == weights(other)
    assert one.losses_file.read_bytes() == other.losses_file.read_bytes()
    assert not list(one.path.rglob(".*"))


def test_the_matrix_has_every_gan() -> None:
    assert {load(recipe).gan for recipe, _ in CASES.values()} == set(gans.names())


@pytest.mark.usefixtures("quick_scores")
@pytest.mark.parametrize("case", CASES)
def test_interrupted_twice_and_resumed_ends_with_the_same_bits(dataset: Dataset, pairs: Dataset, tmp_path: Path,
                                                               case: str) -> None:
    name, settings = CASES[case]
    recipe = load(name, settings)
    data = pairs if "source" in gans.kind(recipe).needs else dataset
    whole = train(data.path, tmp_path / "whole", recipe)
    every = recipe.checkpoint_every
    for stop in (every, 2 * every):
        with pytest.raises(Interrupted, match=rf"saved at step {stop} of {recipe.steps}"):
            train(data.path, tmp_path / "parts", recipe, on_log=interrupt_at(stop))
        assert Run(tmp_path / "parts").status()["state"] == "interrupted"
        assert not (tmp_path / "parts" / "generator").exists()
    parts = train(data.path, tmp_path / "parts", recipe)
    same_bits(parts, whole)
    epochs_and_scores = [[e for e in run.log() if e["kind"] != "train"] for run in (parts, whole)]
    assert epochs_and_scores[0] == epochs_and_scores[1]
    assert parts.status()["selected_step"] == whole.status()["selected_step"]
    for folder in ("samples", "private_progress"):
        pictures = [{p.name: p.read_bytes() for p in getattr(run, folder).glob("*.png")} for run in (parts, whole)]
        assert pictures[0] == pictures[1]


# ------------------------------------------------------------------ killed

def command(data: Path, run: Path, recipe: str, settings: dict[str, Any]) -> list[str]:
    sets = [f"--set={key}={value}" for key, value in settings.items()]
    return [sys.executable, "-m", "ganatomy", "train", str(data), str(run), "--recipe", recipe, *sets]


def kill_and_resume(data: Path, folder: Path, kills: int, rng: random.Random, recipe: str = "rpgan-64",
                    **settings: Any) -> int:
    """Train whole; train again, killed after random times, to the end; how often it was really killed."""
    start = time.monotonic()
    subprocess.run(command(data, folder / "whole", recipe, settings), env=ENVIRONMENT, check=True, capture_output=True)
    longest, killed, again = time.monotonic() - start, 0, command(data, folder / "parts", recipe, settings)
    for _ in range(kills):
        process = subprocess.Popen(again, env=ENVIRONMENT, stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(0.3, 0.6) * longest)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    subprocess.run(again, env=ENVIRONMENT, check=True, capture_output=True)
    same_bits(Run(folder / "parts"), Run(folder / "whole"))
    return killed


def test_killed_at_random_moments_ends_with_the_same_bits(dataset: Dataset, tmp_path: Path) -> None:
    settings = TINY | {"steps": 250, "checkpoint_every": 10, "preview_every": 5}
    assert kill_and_resume(dataset.path, tmp_path, 2, random_kills(), **settings) >= 1


@pytest.mark.slow
def test_killed_forty_times_over_ten_runs_ends_with_the_same_bits(dataset: Dataset, tmp_path: Path) -> None:
    rng, killed = random_kills(), 0
    for number in range(10):
        settings = TINY | {"steps": 400, "checkpoint_every": 7, "preview_every": 3, "seed": number}
        if number % 5 == 0:  # scoring takes seconds, so it is done at few checkpoints
            settings |= {"select": "kd", "checkpoint_every": 130}
        killed += kill_and_resume(dataset.path, tmp_path / str(number), 4, rng, **settings)
    assert killed >= 20


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("pix2pix", 600), ("cyclegan-resnet", 250), ("hybrid-brain-64", 550)])
def test_translations_killed_at_random_moments(pairs: Dataset, tmp_path: Path, name: str, steps: int) -> None:
    settings = SMALL[name] | {"steps": steps, "checkpoint_every": 7, "preview_every": 20}
    assert kill_and_resume(pairs.path, tmp_path, 4, random_kills(), name, **settings) >= 1


# ------------------------------------------------------------------ damaged

@pytest.mark.parametrize("damaged", [False, True])
def test_without_its_newest_checkpoint_a_run_resumes_to_the_same_bits(dataset: Dataset, trained_run: Run, own_run: Run,
                                                                      damaged: bool) -> None:
    newest = own_run.checkpoint(12)
    if damaged:
        newest.write_bytes(newest.read_bytes()[:1000])
    else:
        newest.unlink()
    own_run.write_status("running", 12)
    train(dataset.path, own_run.path, own_run.recipe())
    assert newest.with_suffix(".damaged").is_file() == damaged
    assert weights(own_run) == weights(trained_run)


FOREIGN: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "seed": (lambda state: state["recipe"].update(seed=1), "of another training: seed was 0, now 1"),
    "setting": (lambda state: state["recipe"]["model"].update(gamma=9), "of another training: model.gamma was 0.1"),
    "dataset": (lambda state: state["notes"].update(dataset="0"), "of another training: the dataset differs"),
    "step": (lambda state: state.update(step=8), "is of step 8")}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_checkpoint_of_another_training_is_set_aside_and_refused_by_every_reader(
        dataset: Dataset, trained_run: Run, own_run: Run, kind: str) -> None:
    change, words = FOREIGN[kind]
    newest = own_run.checkpoint(12)
    state = torch.load(newest, weights_only=True)
    change(state)
    torch.save(state, newest)
    for read in (lambda: load_generator(own_run.path, "raw"), lambda: load_discriminator(own_run, 12)):
        with pytest.raises(UserError, match=words):
            read()
    own_run.write_status("running", 12)
    said: list[str] = []
    train(dataset.path, own_run.path, own_run.recipe(), say=said.append)
    assert any(re.search(f"{words}.*set aside as step-000012.damaged", line) for line in said)
    assert weights(own_run) == weights(trained_run)


@pytest.mark.parametrize("part", ["model", "ema"])
def test_a_checkpoint_whose_weights_are_not_finite_is_set_aside(dataset: Dataset, trained_run: Run, own_run: Run,
                                                                part: str) -> None:
    newest = own_run.checkpoint(12)
    state = torch.load(newest, weights_only=True)
    next(iter((state["model"] if part == "model" else state["ema"]["weights"]).values())).view(-1)[0] = torch.nan
    torch.save(state, newest)
    shutil.rmtree(own_run.generator)
    said: list[str] = []
    train(dataset.path, own_run.path, own_run.recipe(), say=said.append)
    assert any("weights hold NaN or infinity" in line and "step-000012.damaged" in line for line in said)
    assert weights(own_run) == weights(trained_run)


def test_a_generator_whose_weights_are_not_finite_is_not_exported(own_run: Run, tmp_path: Path) -> None:
    sampler = load_generator(own_run.path)
    with torch.no_grad():
        next(sampler.model.generator.parameters()).view(-1)[0] = torch.inf
    with pytest.raises(UserError, match="hold NaN or infinity"):
        export(sampler, tmp_path / "generator", {})
    assert not (tmp_path / "generator").exists()


def test_a_folder_in_the_place_of_a_checkpoint_is_told_with_a_way_to_mend(dataset: Dataset, own_run: Run) -> None:
    own_run.write_status("interrupted", 12)
    own_run.checkpoint(13).mkdir()
    with pytest.raises(UserError, match="Is a directory") as told:
        train(dataset.path, own_run.path, own_run.recipe())
    assert "move it away" in told.value.fix


def test_a_generator_of_another_training_is_refused(dataset: Dataset, own_run: Run) -> None:
    config = own_run.generator / "config.json"
    config.write_text(config.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(UserError, match="this generator is of another training: seed was 0, now 1"):
        load_generator(own_run.path)


@pytest.fixture
def chosen_run(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Trained to its end; of three scored checkpoints the first, of step 4, is the best."""
    scores = iter([0.1, 0.3, 0.2])
    monkeypatch.setattr("ganatomy.training.validation.Validator.score", lambda self, sampler: {"kd": next(scores)})
    return train(dataset.path, tmp_path / "run", load("rpgan-64", TINY | {"select": "kd"}))


def test_a_best_checkpoint_of_another_training_is_not_chosen(dataset: Dataset, chosen_run: Run) -> None:
    assert chosen_run.status()["selected_step"] == 4
    state = torch.load(chosen_run.checkpoint(4), weights_only=True)
    state["recipe"]["seed"] = 1
    torch.save(state, chosen_run.checkpoint(4))
    chosen_run.write_status("interrupted", 12)
    train(dataset.path, chosen_run.path, chosen_run.recipe())
    assert chosen_run.status()["selected_step"] == 12


def test_checkpoints_that_cannot_be_read_are_kept_and_training_does_not_start_over(
        dataset: Dataset, tiny: Recipe, own_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise error

    own_run.write_status("interrupted", 12)
    before = {p.name: p.read_bytes() for p in own_run.checkpoints()}
    error: Exception = OSError("stale file handle")
    read = Path.read_bytes
    with monkeypatch.context() as patch, pytest.raises(UserError, match="stale"):
        patch.setattr(Path, "read_bytes", lambda path: fails() if path.suffix == ".pt" else read(path))
        train(dataset.path, own_run.path, tiny)
    assert {p.name: p.read_bytes() for p in own_run.checkpoints()} == before
    error = RuntimeError("broken archive")
    monkeypatch.setattr(torch, "load", fails)
    with pytest.raises(UserError, match="none of its checkpoints can be used"):
        train(dataset.path, own_run.path, tiny)


def test_a_finished_run_is_left_alone_even_without_its_checkpoints(dataset: Dataset, tiny: Recipe,
                                                                   own_run: Run) -> None:
    for path in own_run.checkpoints():
        path.unlink()
    log, before = own_run.log(), {p: p.stat().st_mtime_ns for p in own_run.generator.iterdir()}
    train(dataset.path, own_run.path, tiny)
    assert own_run.log() == log
    assert {p: p.stat().st_mtime_ns for p in own_run.generator.iterdir()} == before


def test_a_start_that_was_killed_early_can_be_repeated(dataset: Dataset, tiny: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "dataset.json").write_text("{}")
    (tmp_path / "run" / ".recipe.yaml.partial-7").write_text("")
    assert train(dataset.path, tmp_path / "run", tiny, set={"steps": 2}).status()["state"] == "finished"


def test_a_training_that_was_killed_as_it_wrote_the_generator_can_be_finished(dataset: Dataset, trained_run: Run,
                                                                              own_run: Run) -> None:
    stage = own_run.path / ".generator.partial-99999999"
    shutil.copytree(own_run.generator, stage)
    (stage / ".config.json.partial-99999999").touch()
    shutil.rmtree(own_run.generator)
    own_run.write_status("running", 12)
    train(dataset.path, own_run.path, own_run.recipe())
    same_bits(own_run, trained_run)


def test_a_lost_best_checkpoint_is_no_dead_end(dataset: Dataset, chosen_run: Run) -> None:
    chosen_run.checkpoint(4).unlink()
    chosen_run.write_status("interrupted", 12)
    train(dataset.path, chosen_run.path, chosen_run.recipe())
    assert chosen_run.status()["selected_step"] == 12


def test_a_run_of_an_older_version_goes_on_to_the_same_bits(dataset: Dataset, trained_run: Run, own_run: Run) -> None:
    """Its recipe.yaml lacks the keys that came later, its checkpoint the losses of the epoch and its recipe."""
    kept = yaml.safe_load(own_run.recipe_file.read_text())
    for key in ("learning_rate_decay", "flips", "checkpoint_epochs"):
        del kept[key]
    own_run.recipe_file.write_text(yaml.safe_dump(kept))
    own_run.checkpoint(12).unlink()
    state = torch.load(own_run.checkpoint(8), weights_only=True)
    del state["epoch_sums"], state["epoch_steps"], state["recipe"]
    torch.save(state, own_run.checkpoint(8))
    own_run.write_status("running", 12)
    train(dataset.path, own_run.path, "rpgan-64", set=TINY)
    assert weights(own_run) == weights(trained_run)
