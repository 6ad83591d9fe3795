"""What a study refuses before it begins, and what may be said again, or left out, of one that has begun."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ganatomy.cli_study import study as verb
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.data.writers import new_dataset
from ganatomy.errors import UserError
from ganatomy.recipe import load
from ganatomy.studying import dry_run, ray_cluster, slurm, trial
from ganatomy.studying.cost import Rates
from ganatomy.studying.folder import StudyFolder
from ganatomy.studying.folds import check_held_out, deal
from ganatomy.studying.settings import StudySettings
from ganatomy.studying.study import begin, plan
from tests.conftest import TINY
from tests.study_dataset import OPTIONS, begun, write_labelled

NO_TIME = Rates(step=0.01, update={"none": 0.002, "flips": 0.003}, judged=0.001)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """24 subjects of four images, a third of them rare."""
    return write_labelled(tmp_path_factory.mktemp("data") / "data")


def changed(dataset: Dataset, path: Path, change: Callable[[int, Row], Row] = lambda i, row: row,
            invert: bool = True, **info: Any) -> Dataset:
    """A dataset of other pixels, with other rows."""
    pixels = dataset.pixels(dataset.rows())
    with new_dataset(path, dataset.info.size, 1, np.uint8) as writer:
        for i, row in enumerate(dataset.rows()):
            writer.add(np.flipud(pixels[i]) if invert else pixels[i], change(i, row))
        writer.finish(dataset.info.model_copy(update={"content": "", **info}))
    return Dataset.open(path)


def planned(dataset: Dataset, external: Dataset | None = None, recipe: Any = None, set: Any = None,
            say: Callable[[str], None] = lambda text: None, **given: Any) -> StudySettings:
    return plan(dataset, recipe, {**TINY, **(set or {})}, external, {**OPTIONS, **given}, say)[0]


def go_on(folder: StudyFolder, say: Callable[[str], None] = lambda text: None, **options: Any) -> StudyFolder:
    """The study begun again, with these options and no others."""
    given = {"recipe": None, "set": None, "budget": None, "external": None, "device": "cpu", **options}
    return begin(folder.dataset_path() or Path(), folder.path, say=say, **given)


# -- what a new study refuses


def test_gans_begin_from_random_weights(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="may have seen the patients that are held out"):
        planned(data, set={"init_from": str(tmp_path)})
    recipe = load("rpgan-64", {**TINY, "init_from": "some run"})
    with pytest.raises(UserError, match="init_from"):
        planned(data, recipe=recipe)
    folder = begun(tmp_path)
    raw = json.loads(folder.settings_file.read_text())
    raw["settings"]["recipe"]["init_from"] = "some run"
    folder.settings_file.write_text(json.dumps(raw))
    with pytest.raises(UserError, match="settings are broken"):
        folder.settings()


def test_synthetic_images_are_no_patients(data: Dataset, tmp_path: Path) -> None:
    made = changed(data, tmp_path / "made", source="synthetic")
    options = {"recipe": None, "set": TINY, "budget": None, "device": "cpu", "say": lambda text: None, **OPTIONS}
    with pytest.raises(UserError, match="DATASET holds synthetic images"):
        begin(made.path, tmp_path / "study", external=None, **options)
    with pytest.raises(UserError, match="--external holds synthetic images"):
        begin(data.path, tmp_path / "study", external=made.path, **options)
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(("label", "said"), [("", r"\(no label\) \(4\)"), ("odd", r"odd \(4\)")])
def test_every_image_has_a_class(data: Dataset, tmp_path: Path, label: str, said: str) -> None:
    wrong = changed(data, tmp_path / "wrong", lambda i, row: replace(row, label=label) if i < 4 else row)
    with pytest.raises(UserError, match="4 of 96 images have none of the dataset's classes: " + said) as caught:
        planned(wrong)
    assert "give every image a class, or leave those out" in str(caught.value)
    with pytest.raises(UserError, match="that the study's dataset has not: " + said):
        planned(data, wrong)


@pytest.mark.parametrize(("given", "said"), [
    ({"positives": ("rare", "rare")}, "named twice"),
    ({"positives": ()}, "positives"),
    ({"imbalance": 0.3}, r"with k = 4 there would be 1 training image of class common"),
    ({"synthetic": (0.01,)}, "AUG_GAN would add nothing"),
    ({"synthetic": (float("nan"),)}, "study: synthetic.0: "),
    ({"imbalance": float("nan")}, "study: imbalance: "),
    ({"set": {"size": 64}}, r"data: its images of 16x16 pixels cannot be averaged down to the study's 64x64"),
    ({"size": 8, "set": {"size": 8}}, "needs images of 16 pixels a side"),
    ({"set": {"model.width": "wide"}}, "width"),
    ({"set": {"model.no_such": 1}}, "unknown key"),
    ({"set": {"source": "T1"}}, "has no source"),
    ({"recipe": "hybrid", "set": {}}, None)])
def test_what_would_fail_in_a_cell_is_refused_beforehand(data: Dataset, given: dict[str, Any],
                                                         said: str | None) -> None:
    if said is None:
        return
    with pytest.raises(UserError, match=said) as caught:
        planned(data, **given)
    assert str(caught.value).count("nan") + str(caught.value).count("greater than") <= 1  # said once


def test_the_recipe_must_have_enough_steps(data: Dataset) -> None:
    recipe = load("hybrid-mri", {"steps": 3}) if False else None
    assert recipe is None
