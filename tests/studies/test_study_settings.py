"""What a study refuses before it begins."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ganatomy.cli.study import study as verb
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import load
from ganatomy.data.dataset import Dataset
from ganatomy.studies import planning
from ganatomy.studies.planning import plan
from ganatomy.studies.protocol import StudySettings
from ganatomy.studies.study import begin, chosen_recipe, dry_run
from tests.builders import TINY
from tests.studies.study_dataset import OPTIONS, begun, changed, write_labelled


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """24 subjects of four images, a third of them rare."""
    return write_labelled(tmp_path_factory.mktemp("data") / "data")


def planned(dataset: Dataset, external: Dataset | None = None, recipe: Any = None, set: Any = None,
            say: Callable[[str], None] = lambda text: None, **given: Any) -> StudySettings:
    return plan(dataset, chosen_recipe(recipe, {**TINY, **(set or {})}), external, {**OPTIONS, **given}, say)[0]


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
    ({"set": {"source": "T1"}}, "has no source")])
def test_what_would_fail_in_a_cell_is_refused_beforehand(data: Dataset, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        planned(data, **given)
    assert caught.value.what.count(";") == 0  # said once


def test_a_recipe_of_too_few_steps_is_refused(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganatomy.gans.rpgan.Model.least_steps", lambda self: 13)
    with pytest.raises(UserError, match="cannot go through them in 12 steps"):
        planned(data)
    with pytest.raises(UserError, match="cannot go through them in 2 steps"):  # 2 x 4 images in batches of 4
        planned(data, set={"steps": None, "epochs": 2})
    assert planned(data, set={"steps": None, "epochs": 13}).recipe.epochs == 13
    assert planned(data, arms=("ORG", "OVERSAMPLE")).needs_gan is False


@pytest.mark.parametrize(("budget", "said"), [(1e-9, "too short to make a step"), (1e12, "more than a recipe can have"),
                                              (float("inf"), "no time"), (float("nan"), "no time")])
def test_a_budget_of_no_use(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: float,
                            said: str) -> None:
    monkeypatch.setattr(planning, "TRIAL_SECONDS", 0.1)
    with pytest.raises(UserError, match=said) as caught:
        begin(data.path, tmp_path / "study", recipe=None, set=TINY, budget=budget, external=None, device="cpu",
              say=lambda text: None, **OPTIONS)
    assert caught.value.where == "--budget"
    assert not (tmp_path / "study").exists()


# -- the external set


def test_an_external_set_of_positives_alone(data: Dataset, tmp_path: Path) -> None:
    external = changed(data, tmp_path / "all rare", lambda i, row: replace(row, label="rare"))
    with pytest.raises(UserError, match="has images of class rare alone"):
        planned(data, external)


def test_an_external_set_of_another_size_is_named(data: Dataset, tmp_path: Path) -> None:
    small = write_labelled(tmp_path / "small", size=8)
    with pytest.raises(UserError, match=r"the external set's images of 8x8 .* study's 16x16 -> prepare it with --size"):
        planned(data, small)


def test_the_pixels_of_the_external_set_are_verified(data: Dataset, tmp_path: Path) -> None:
    external = changed(data, tmp_path / "external")
    planned(data, external)
    pixels = np.load(external.path / "images-disc.npy")
    pixels[5] += 1
    np.save(external.path / "images-disc.npy", pixels)
    with pytest.raises(UserError, match="the pixels of image-005 are not those that were prepared"):
        planned(data, Dataset.open(external.path))


def test_patients_who_are_in_the_external_set_too(tmp_path: Path) -> None:
    """By the names that they had before they were prepared: pseudonyms are the same numbers in every dataset."""
    data = write_labelled(tmp_path / "data")
    external = changed(data, tmp_path / "external")
    said: list[str] = []
    planned(data, external, say=said.append)
    assert said == []
    for dataset, names in ((data, "ann bob cid"), (external, "bob cid dan")):
        private = Path(f"{dataset.path}.private")
        private.mkdir()
        (private / "sources.csv").write_text("image_id,original_subject\n" + "".join(
            f"i,{name}\n" for name in names.split() * 2))
    planned(data, external, say=said.append)
    assert len(said) == 1 and said[0].startswith("warning: 2 subjects of the external set")
    assert not any(name in said[0] for name in ("ann", "bob", "cid", "dan"))


# -- where it may be


def test_study_and_dataset_do_not_lie_in_one_another(data: Dataset, tmp_path: Path) -> None:
    inner = write_labelled(tmp_path / "outer" / "data")
    (tmp_path / "link").symlink_to(data.path)
    options = {"set": TINY, **OPTIONS}
    for dataset, study in ((data, data.path / "study"), (data, data.path), (data, tmp_path / "link" / "a" / "study"),
                           (inner, tmp_path / "outer")):
        with pytest.raises(UserError, match="would lie in a dataset, or around one"):
            dry_run(dataset.path, study, **options)
        with pytest.raises(UserError, match="would lie in a dataset, or around one"):
            begin(dataset.path, study, recipe=None, budget=None, external=None, device="cpu", say=lambda text: None,
                  **options)
    assert not (data.path / "study").exists()


def test_a_plan_refuses_an_occupied_place_as_the_study_does(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(UserError, match="exists and is not a study folder"):
            dry_run(data.path, place, set=TINY, **OPTIONS)


# -- options


@pytest.mark.parametrize("options", [
    ["--k", ""], ["--arms", ""], ["--arms", ","], ["--positive", ""], ["--synthetic", ""], ["--synthetic", "nan"],
    ["--ray", ""], ["--gpu-share", "nan"], ["--margin", "nan"], ["--imbalance", "inf"]])
def test_an_empty_or_endless_option_is_no_default(data: Dataset, tmp_path: Path, options: list[str]) -> None:
    done = CliRunner().invoke(verb, [str(data.path), str(tmp_path / "study"), *options])
    assert done.exit_code == 2 and f"Invalid value for '{options[0]}'" in done.output
    assert not (tmp_path / "study").exists()
