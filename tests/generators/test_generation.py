"""Synthetic images: reproducible, a dataset folder like any other, files in the asked format."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganatomy.core.errors import UserError
from ganatomy.core.run import Run
from ganatomy.generators.folder import load_generator
from ganatomy.generators.generation import generate
from ganatomy.generators.sampler import untrained_generator


def test_image_i_depends_on_the_seed_and_i_alone(trained_run: Run) -> None:
    sampler = load_generator(trained_run.path)
    many, few = sampler.sample(70, seed=3), sampler.sample(5, seed=3)
    assert sampler.sample(0, seed=3).shape == (0, 1, 16, 16)
    assert np.array_equal(many[:5], few)
    assert np.array_equal(np.concatenate(list(sampler.stream(70, seed=3))), many)
    for other in (4, 3 + 4096, 3 + 2**20):
        assert not np.array_equal(sampler.sample(5, seed=other), few)
    assert not np.array_equal(many[:32], many[32:64])


def test_the_synthetic_folder_is_a_dataset(trained_run: Run, tmp_path: Path) -> None:
    synthetic = generate(trained_run.path, tmp_path / "synthetic", 40, seed=1)
    assert synthetic.info.source == "synthetic"
    assert synthetic.info.run_id
    rows = synthetic.rows()
    assert len({r.subject for r in rows}) == 40
    images = synthetic.images(rows)
    expected = load_generator(trained_run.path).sample(40, seed=1)
    assert np.abs(images - expected).max() <= 1 / 255 + 1e-6
    again = generate(trained_run.path, tmp_path / "again", 40, seed=1)
    assert again.info.content == synthetic.info.content


@pytest.mark.parametrize(("format", "dtype", "most"), [("png8", np.uint8, 255), ("png16", np.uint16, 65535)])
def test_png_files_hold_the_images(trained_run: Run, tmp_path: Path, format: str, dtype: type, most: int) -> None:
    generate(trained_run.path, tmp_path / "out", 3, format=format)
    files = sorted((tmp_path / "out" / "images").iterdir())
    assert [f.name for f in files] == [f"syn-{i:06d}.png" for i in range(3)]
    pixels = np.asarray(Image.open(files[1]))
    assert pixels.dtype == dtype
    expected = load_generator(trained_run.path).sample(3, seed=0)[1, 0]
    assert np.abs(pixels / most * 2 - 1 - expected).max() <= 1 / most + 1e-6


def test_npy_files_and_none(trained_run: Run, tmp_path: Path) -> None:
    synthetic = generate(trained_run.path, tmp_path / "npy", 2, format="npy")
    stored = np.load(tmp_path / "npy" / "images" / "syn-000001.npy")
    assert np.array_equal(stored, synthetic.pixels(synthetic.rows())[1])
    generate(trained_run.path, tmp_path / "none", 2, format="none")
    assert not (tmp_path / "none" / "images").exists()


def test_raw_weights_are_those_of_the_newest_checkpoint(trained_run: Run) -> None:
    raw = load_generator(trained_run.path, weights="raw").model.generator.first.weight
    saved = torch.load(trained_run.checkpoints()[-1], weights_only=True)["model"]["generator.first.weight"]
    assert torch.equal(raw, saved)
    averaged, selected = load_generator(trained_run.path, weights="averaged"), load_generator(trained_run.path)
    assert np.array_equal(averaged.sample(4, 0), selected.sample(4, 0))


def test_what_can_go_wrong_is_said(trained_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="from 1 to"):
        generate(trained_run.path, tmp_path / "out", 0)
    with pytest.raises(UserError, match="neither a run folder nor a generator"):
        generate(tmp_path, tmp_path / "out", 1)
    shared = tmp_path / "shared"  # a generator folder alone is enough
    shutil.copytree(trained_run.generator, shared)
    assert len(generate(shared, tmp_path / "of shared", 2).rows()) == 2
    (shared / "weights.safetensors").write_bytes((trained_run.generator / "weights.safetensors").read_bytes()[:-7])
    with pytest.raises(UserError, match="not the weights that were exported"):
        generate(shared, tmp_path / "out", 1)
    config = shared / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"spacing": [0.0, 1.0]}))
    with pytest.raises(UserError, match=r"spacing\.0: should be greater than 0"):
        generate(shared, tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()
    generate(trained_run.path, tmp_path / "out", 1)
    with pytest.raises(UserError, match="already exists"):
        generate(trained_run.path, tmp_path / "out", 1, seed=1)
    assert len(generate(trained_run.path, tmp_path / "out", 2, overwrite=True).rows()) == 2


def test_an_untrained_generator_is_of_the_same_kind(trained_run: Run) -> None:
    trained = load_generator(trained_run.path)
    control = untrained_generator(trained, 16, 1)
    assert control.sample(3, seed=0).shape == (3, 1, 16, 16)
    assert not np.array_equal(control.sample(3, seed=0), trained.sample(3, seed=0))
    assert untrained_generator(None, 32, 3).sample(2, seed=0).shape == (2, 3, 32, 32)


@pytest.mark.parametrize(("light", "warned"), [("red", True), ("green", False)])
def test_who_generates_from_a_run_that_copies_patients_is_told(own_run: Run, tmp_path: Path, light: str,
                                                               warned: bool) -> None:
    lines: list[str] = []
    own_run.metrics_file.write_text(json.dumps({"verdicts": [{"question": "copies", "light": light, "says": "."}]}))
    generate(own_run.path, tmp_path / "out", 2, say=lines.append)
    assert any("copies of training patients" in line for line in lines) == warned
