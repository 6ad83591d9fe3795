"""The parts of a report: the command that makes a run again, pictures, numbers, and what is cut out of text."""

from __future__ import annotations

import base64
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe, load, parse_assignments
from ganatomy.data.dataset import DatasetInfo
from ganatomy.reports import figures, images, methods, numbers, reproduce, results, verdict
from ganatomy.reports.facts import without_paths
from tests.builders import TINY, write_dataset


def replay(command: str) -> Recipe:
    """The recipe that the command line would train."""
    words = shlex.split(command)
    given = list(zip(words[4::2], words[5::2], strict=True))
    kinds = {"--steps": int, "--seed": int, "--batch-size": int, "--checkpoint-every": int, "--epochs": float,
             "--precision": str, "--domain": str, "--label": str}
    overrides: dict[str, Any] = {flag[2:].replace("-", "_"): kinds[flag](value) for flag, value in given
                                 if flag in kinds}
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


def test_flags_are_used_where_there_are_any_and_a_time_limit_becomes_steps() -> None:
    recipe = load("rpgan-64", {"domain": "T1", "label": "AD", "checkpoint_every": 40, "epochs": 3})
    command = reproduce.train_command(recipe)
    assert "--domain T1 --label AD" in command and "--checkpoint-every 40" in command and "--epochs 3.0" in command
    assert "--set" not in command
    ended = reproduce.train_command(recipe, ended=171)
    assert "--steps 171" in ended and "epochs" not in ended
    assert reproduce.train_command(recipe.model_copy(update={"name": "mine"}), 171).endswith("RECIPE.yaml --steps 171")


def info(**given: Any) -> DatasetInfo:
    return DatasetInfo(size=(64, 64), channels=1, value_range=(0, 255), domains=("image",), paired=False, content="",
                       provenance=given)


def test_prepare_is_written_with_what_differs_and_nothing_else() -> None:
    plain = {"ganatomy": "0.1.0"}
    assert reproduce.prepare_command(info(**plain), 64) == "ganatomy prepare SOURCE DATASET --size 64"
    assert not reproduce.needs_options(info(**plain)) and reproduce.needs_options(info())
    other = plain | {"axis": "coronal", "slices": "60:120:2", "fit": "pad", "spacing": 1.5, "seed": 3, "pattern": True,
                     "split": [0.8, 0.1, 0.1], "split-by": True, "intensity": "minmax", "test-subjects": 2,
                     "domains": ["T1", "T2"], "channels": "3", "labels": ["AD"], "masks": ["seg"],
                     "background": 0.0}
    command = reproduce.prepare_command(info(**other), 128)
    for option in ("--size 128", "--domains T1,T2", "--channels 3", "--axis coronal", "--slices 60:120:2", "--fit pad",
                   "--spacing 1.5", "--seed 3", "--pattern PATTERN", "--split-by COLUMN", "--split 80,10,10",
                   "--intensity minmax", "--test-subjects IDS", "--labels AD", "--masks seg", "--background 0"):
        assert option in command, option
    assert "True" not in command


@pytest.mark.parametrize(("given", "command"), [
    ((9, 500, 0), "ganatomy evaluate RUN"), ((9, 60, 0), "ganatomy evaluate RUN -n 60"),
    ((600, 600, 4), "ganatomy evaluate RUN --seed 4"), ((None, None, None), "ganatomy evaluate RUN"),
])
def test_evaluate_is_written_with_what_is_not_the_default(given: tuple[int, int, int], command: str) -> None:
    assert reproduce.evaluate_command(*given) == command


def measured(**control: Any) -> results.Metrics:
    model = {"name": "KD-Lite0", "against": "test", "value": 0.894, "interval": (0.84, 0.95), "floor": 0.0036,
             "p_no_difference": 0.002, "n_images": 9, "n_subjects": 9}
    mean = {"control": "mean image", "name": "KD-Lite0", "value": 0.557, "interval": (0.5, 0.6), "behind_model": False}
    return results.Metrics.model_validate({"results": [model], "controls": [mean | control], "warnings": ["Rough."]})


def test_a_model_that_loses_to_a_control_is_said_to_have_learned_nothing() -> None:
    said = verdict.conclusion(measured())
    assert said.startswith("The generated images are clearly farther from real ones than the mean training image (557)")
    assert "has not learned the anatomy" in said and "can be told apart from" in said
    written = methods.paragraph(measured())
    assert "mean training image 557" in written and "Rough." in written and "894" in written
    assert "clearly" not in verdict.conclusion(measured(interval=(0.2, 0.9)))
    assert "anatomy" not in verdict.conclusion(measured(value=1.2, interval=(1.1, 1.3), behind_model=True))
    assert verdict.tile(measured()) == ("894", "KD-Lite0 × 1000, test", "real vs real 3.60")


def test_a_distance_without_a_floor_shows_none_of_another_n() -> None:
    few = {"name": "FD-Lite0", "against": "test", "value": 300.0, "n_subjects": 2,
           "reference": {"what": "real train against real test", "value": 61.0}}
    (group,) = results.groups(results.Metrics.model_validate({"results": [few]}))
    assert group.lines[0].floor == "–" and group.beside == "At equal n"
    assert "Real train against real test: 61.0." in group.lines[0].remarks
    paired = few | {"floor": 4.0, "equal_n": {"value": 9.0, "n_images": 3.0}}
    (group,) = results.groups(results.Metrics.model_validate({"results": [paired]}))
    assert group.lines[0].floor == "4.00 (n\u00a0=\u00a03)" and group.lines[0].difference == "9.00 (n\u00a0=\u00a03)"
    ratio = few | {"name": "SSIM", "better": "match", "ratio": 0.5}
    assert results.groups(results.Metrics.model_validate({"results": [ratio]}))[0].beside == "Ratio to real"
    density = paired | {"name": "Density-Lite0", "better": "match", "value": 1.4, "ratio": 0.8}
    (group,) = results.groups(results.Metrics.model_validate({"results": [density]}))
    assert group.lines[0].difference == "0.800 (n\u00a0=\u00a03)"  # the ratio is not of the value beside it
    assert "real images of other subjects" in group.meaning and group.direction == "should match real vs real"


@pytest.mark.parametrize("low", [-0.03, 0.002])
def test_the_axis_of_the_standing_is_labelled_and_holds_zero(low: float) -> None:
    marks: list[figures.Mark] = [("real vs real", low, None, "real"), ("model", 0.9, (0.8, 1.0), "model")]
    svg = base64.b64decode(figures.standing_figure("KD", marks, 1000).uri.partition(",")[2]).decode()
    ticks = re.findall(r">([\d,−]+)</text>", svg)
    assert "0" in ticks and len(ticks) >= 4


def test_losses_of_a_few_lines_are_not_averaged() -> None:
    def averaged(n: int) -> bool:
        return figures.loss_figure({"d": [(i, 1.0 / (i + 1)) for i in range(n)]})[2]
    assert not averaged(1) and not averaged(20) and averaged(200)


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
    assert numbers.number(value) == text


@pytest.mark.parametrize(("value", "interval", "text"), [
    (894.3, (870.2, 960.7), "894 (870 to 961)"), (4.66, (1.02, 9.31), "4.7 (1.0 to 9.3)"),
    (0.30144, (0.2847, 0.3182), "0.301 (0.285 to 0.318)"), (-0.2, (-26.4, 42.0), "0 (−26 to 42)"),
    (3.5, (3.5, 3.5), "3.50 (3.50 to 3.50)"), (3.54, None, "3.54"),
])
def test_an_interval_decides_how_many_digits_are_shown(value: float, interval: Any, text: str) -> None:
    assert numbers.bracketed(value, interval) == text


def test_paths_are_cut_out_of_text_and_nothing_else() -> None:
    for text in ("/home/jane/scans", r"C:\Users\jane\scans", "~/jane/x", "file:///data/jane", r"\\server\jane\x"):
        assert "jane" not in without_paths(f"read {text} today"), text
    for text in ("images/s and/or 1/2", "discriminator/adversarial", "n = 3 / 4 generated", "KD 1/1000"):
        assert without_paths(text) == text
    assert not re.search("doe", without_paths("at /mnt/jane doe/ct/a.nii"))
