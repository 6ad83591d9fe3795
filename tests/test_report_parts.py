"""The parts of a report: the command that makes a run again, pictures, numbers, and what is cut out of text."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganatomy.errors import UserError
from ganatomy.recipe import Recipe, load, parse_assignments
from ganatomy.reporting import images, reproduce, results
from ganatomy.reporting.facts import without_paths
from tests.conftest import TINY, write_dataset


def replay(command: str) -> Recipe:
    """The recipe that the command line would train."""
    words = shlex.split(command)
    given = list(zip(words[4::2], words[5::2], strict=True))
    flags = {"--steps": "steps", "--seed": "seed", "--batch-size": "batch_size"}
    overrides: dict[str, Any] = {flags[flag]: int(value) for flag, value in given if flag in flags}
    overrides |= {flag[2:]: value for flag, value in given if flag == "--precision"}
    overrides |= parse_assignments([value for flag, value in given if flag == "--set"])
    return load(dict(given)["--recipe"], overrides)


@pytest.mark.parametrize("overrides", [
    {}, TINY, {"epochs": 2.5}, {"learning_rate.generator": 1e-5, "betas": [0.5, 0.9], "seed": 7},
    {"label": "it's; a $(class)", "domain": "T1", "precision": "fp32", "ema": None},
])
def test_the_command_makes_the_same_recipe_again(overrides: dict[str, Any]) -> None:
    recipe = load("rpgan-64", overrides)
    assert replay(reproduce.train_command(recipe)) == recipe


def test_an_own_recipe_is_named_as_a_file(tiny: Recipe) -> None:
    assert reproduce.train_command(tiny.model_copy(update={"name": "mine"})).endswith("--recipe RECIPE.yaml")


def test_film_strip_steps_are_few_and_keep_both_ends() -> None:
    steps = list(range(0, 4001, 250))
    chosen = [steps[i] for i in images.log_spaced(steps, 10)]
    assert len(chosen) == 10 and chosen[0] == 0 and chosen[-1] == 4000
    assert np.diff(chosen)[0] < np.diff(chosen)[-1]
    assert images.log_spaced([5], 10) == [0]


def test_a_sheet_is_cut_into_its_tiles(tmp_path: Path) -> None:
    tiles = np.random.default_rng(0).integers(0, 255, (32, 6, 6), np.uint8)
    sheet = tiles.reshape(4, 8, 6, 6).swapaxes(1, 2).reshape(24, 48)
    Image.fromarray(sheet).save(tmp_path / "step-000001.png")
    assert (images.read_sheet(tmp_path / "step-000001.png") == tiles).all()
    Image.fromarray(sheet[:23]).save(tmp_path / "step-000002.png")
    with pytest.raises(UserError, match="8 x 4"):
        images.read_sheet(tmp_path / "step-000002.png")


def test_real_images_go_round_the_subjects(tmp_path: Path) -> None:
    rows = write_dataset(tmp_path / "dataset", subjects=12, per_subject=3).rows()
    assert len({row.subject for row in images.spread(rows, 12)}) == 12
    assert len({row.image_id for row in images.spread(rows, 100)}) == 36


@pytest.mark.parametrize(("size", "channels"), [(64, 1), (256, 3), (512, 3), (1024, 1)])
def test_a_grid_of_noise_stays_small(size: int, channels: int) -> None:
    how = images.layout(size, size, channels, 24)
    shape = (how.tiles, size, size) if channels == 1 else (how.tiles, size, size, 3)
    picture = images.grid(np.random.default_rng(0).integers(0, 256, shape, np.uint8), how, "noise")
    assert len(picture.uri) < 2_300_000 and picture.width <= 520


@pytest.mark.parametrize(("value", "text"), [(81.23, "81.2"), (0.00047, "4.70e−04"), (1430.4, "1,430"), (0.0, "0.00"),
                                             (-4.7, "−4.70"), (999.7, "1,000")])
def test_numbers_are_readable(value: float, text: str) -> None:
    assert results.number(value) == text


def test_paths_are_cut_out_of_text_and_nothing_else() -> None:
    for text in ("/home/jane/scans", r"C:\Users\jane\scans", "~/jane/x", "file:///data/jane", r"\\server\jane\x"):
        assert "jane" not in without_paths(f"read {text} today"), text
    for text in ("images/s and/or 1/2", "discriminator/adversarial", "n = 3 / 4 generated", "KD 1/1000"):
        assert without_paths(text) == text
    assert not re.search("doe", without_paths("at /mnt/jane doe/ct/a.nii"))
