"""What a study refuses before it begins, who may begin it, and what may be said again of one that has begun."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ganatomy.cli.study import study as verb
from ganatomy.core.errors import UserError
from ganatomy.core.files import private_path
from ganatomy.data.dataset import Dataset
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.planning import plan
from ganatomy.studies.protocol import StudySettings
from ganatomy.studies.study import begin, chosen_recipe, dry_run
from ganatomy.training.budget import Pace
from tests.builders import TINY
from tests.studies.study_dataset import OPTIONS, begun, changed, write_labelled

FREE = {key: value for key, value in TINY.items() if key != "steps"}


def planned(dataset: Dataset, external: Dataset | None = None, set: Any = None,
            say: Callable[[str], None] = lambda text: None, **given: Any) -> StudySettings:
    return plan(dataset, chosen_recipe(None, {**TINY, **(set or {})}), external, {**OPTIONS, **given}, say).settings


@pytest.mark.parametrize(("given", "says"), [
    ({"positives": ("rare", "rare")}, "positives: give at least one, and each once"),
    ({"positives": ()}, "positives: give at least one, and each once"),
    ({"positives": ("rare", "common")}, "all classes are called positive"),
    ({"positives": ("odd",)}, "has no class 'odd'"),
    ({"k": (50, 25)}, "study: k: give rising numbers"),
    ({"classifier": {"updates": 5}}, "more checkpoints than updates"),
    ({"imbalance": 0.3}, r"with k = 4 there would be 1 training image of class common"),
    ({"synthetic": (0.01,)}, "AUG_GAN would add nothing"),
    ({"synthetic": (float("nan"),)}, "study: synthetic.0: "),
    ({"imbalance": float("inf")}, "study: imbalance: "),
    ({"margin": float("nan")}, "study: margin: "),
    ({"set": {"size": 64}}, r"data: images of 16x16 pixels cannot be averaged down to 64x64 -> prepare the dataset"),
    ({"size": 8, "set": {"size": 8}}, "needs images of 16 pixels a side"),
    ({"set": {"model.width": "wide"}}, "width"),
    ({"set": {"model.no_such": 1}}, "unknown key"),
    ({"set": {"source": "T1"}}, "has no source"),
    ({"set": {"init_from": "run"}}, "may have seen the patients that are held out")])
def test_what_would_fail_in_a_cell_is_refused_beforehand(labelled: Dataset, given: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        planned(labelled, **given)
    assert caught.value.what.count(";") == 0  # said once


def test_gans_of_no_use_here_are_refused(labelled: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    for recipe in ("pix2pix", "hybrid-brain-128"):
        with pytest.raises(UserError, match="learns from images of another contrast"):
            plan(labelled, chosen_recipe(recipe, None), None, OPTIONS)
    monkeypatch.setattr("ganatomy.gans.base.GAN.least_steps", lambda self: 13)
    with pytest.raises(UserError, match="cannot go through them in 12 steps"):
        planned(labelled)


def test_synthetic_images_are_no_patients(labelled: Dataset, tmp_path: Path) -> None:
    drawn = changed(labelled, tmp_path / "drawn", source="synthetic").path
    for data, external in ((drawn, None), (labelled.path, drawn)):
        with pytest.raises(UserError, match="holds synthetic images") as caught:
            begin(data, tmp_path / "study", external=external, set=TINY, **OPTIONS)
        assert caught.value.where == drawn
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(("label", "says"), [("", r"\(no label\) \(4\)"), ("odd", r"odd \(4\)")])
def test_every_image_has_a_class(labelled: Dataset, tmp_path: Path, label: str, says: str) -> None:
    wrong = changed(labelled, tmp_path / "wrong", lambda i, row: replace(row, label=label) if i < 4 else row)
    for data, external in ((wrong, None), (labelled, wrong)):
        with pytest.raises(UserError, match="4 of 96 images have none of the classes .*: " + says) as caught:
            planned(data, external)
        assert "or leave those out" in str(caught.value)


@pytest.mark.parametrize(("budget", "says"), [
    (0.01, "too short to train in"), (1e12, "budget: .* less than or equal"), (float("nan"), "budget: .* finite")])
def test_a_budget_of_no_use(labelled: Dataset, tmp_path: Path, budget: float, says: str) -> None:
    with pytest.raises(UserError, match=says):
        begin(labelled.path, tmp_path / "study", set=FREE, budget=budget, device="cpu", **OPTIONS)
    assert not (tmp_path / "study").exists()


def test_a_budget_becomes_the_same_steps_for_every_gan(labelled: Dataset, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace(step=10.0, checkpoint=0.0, preview=0.0, ends=0.0)
    monkeypatch.setattr("ganatomy.training.budget.measure", lambda *args: pace)
    recipe = {"set": FREE, "budget": "2m"}
    folder = begin(labelled.path, tmp_path / "study", device="cpu", **recipe, **OPTIONS)
    assert (folder.settings().recipe.steps, folder.settings().recipe.budget) == (11, 120)
    assert "--set steps=11 --device cpu" in folder.commands_file.read_text()
    monkeypatch.setattr("ganatomy.training.budget.measure", lambda *args: pytest.fail("it was measured again"))
    for again in ({}, recipe, {"set": FREE | {"budget": 300}}, {"budget": 60}):
        assert begin(labelled.path, folder.path, device="cpu", **again).settings() == folder.settings()


def test_an_external_set_is_of_the_same_classes_and_size_and_of_other_images(labelled: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no images of class common"):
        planned(labelled, changed(labelled, tmp_path / "rare", lambda i, row: replace(row, label="rare")))
    with pytest.raises(UserError, match=r"small: images of 8x8 pixels .* -> prepare the dataset with --size 16"):
        planned(labelled, write_labelled(tmp_path / "small", size=8))
    with pytest.raises(UserError, match="shares 96 images with the study's dataset"):
        planned(labelled, labelled)
    spoilt = changed(labelled, tmp_path / "spoilt")
    pixels = np.load(spoilt.path / "images-disc.npy")
    np.save(spoilt.path / "images-disc.npy", pixels[::-1])
    with pytest.raises(UserError, match="not those that were prepared"):
        planned(labelled, spoilt)


def test_patients_who_are_in_the_external_set_too(tmp_path: Path) -> None:
    """By the names that they had before they were prepared: pseudonyms are the same numbers in every dataset."""
    data = write_labelled(tmp_path / "data")
    external, lines = changed(data, tmp_path / "external"), list[str]()
    planned(data, external, say=lines.append)
    assert lines == []
    for dataset, names in ((data, "ann bob cid"), (external, "bob cid dan")):
        private = Path(f"{dataset.path}.private")
        private.mkdir()
        (private / "sources.csv").write_text("image_id,original_subject\n" + "".join(
            f"i,{name}\n" for name in names.split() * 2))
    planned(data, external, say=lines.append)
    assert len(lines) == 1 and lines[0].startswith("warning: 2 subjects of the external set")
    assert not any(name in lines[0] for name in ("ann", "bob", "cid", "dan"))


def test_study_and_dataset_do_not_lie_in_one_another(labelled: Dataset, tmp_path: Path) -> None:
    inner = write_labelled(tmp_path / "outer" / "data")
    (tmp_path / "link").symlink_to(labelled.path)
    for dataset, study in ((labelled, labelled.path / "study"), (labelled, tmp_path / "link" / "a" / "study"),
                           (inner, tmp_path / "outer")):
        for start in (dry_run, begin):
            with pytest.raises(UserError, match="would lie in a dataset, or around one"):
                start(dataset.path, study, set=TINY, **OPTIONS)
    assert not (labelled.path / "study").exists()


@pytest.mark.parametrize("options", [["--k", ""], ["--arms", ","], ["--positive", ""], ["--synthetic", "much"]])
def test_an_empty_option_is_no_default(labelled: Dataset, tmp_path: Path, options: list[str]) -> None:
    done = CliRunner().invoke(verb, [str(labelled.path), str(tmp_path / "study"), *options])
    assert done.exit_code == 2 and f"Invalid value for '{options[0]}'" in done.output
    assert not (tmp_path / "study").exists()


# -- who begins it


def starts(home: Path, seed: int, gate: Any, ended: Any) -> None:
    """Begin a study when the others do; tells how that ended."""
    gate.wait()
    try:
        begun(home, seed=seed)
        ended.put((seed, ""))
    except UserError as error:
        ended.put((seed, str(error)))


def test_of_studies_started_at_once_one_begins(tmp_path: Path) -> None:
    write_labelled(tmp_path / "data")
    forked = multiprocessing.get_context("fork")
    gate, ended = forked.Barrier(4), forked.Queue()
    processes = [forked.Process(target=starts, args=(tmp_path, seed, gate, ended)) for seed in range(4)]
    for process in processes:
        process.start()
    errors = dict(ended.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    (winner,) = (seed for seed, error in errors.items() if not error)
    assert all("another process" in error or "other settings" in error for error in errors.values() if error), errors
    assert StudyFolder(tmp_path / "study").settings().seed == winner
    begun(tmp_path, seed=winner)  # whose folds it has too


def test_a_start_that_was_killed_is_begun_again_and_a_folder_of_others_is_left_alone(tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "folds.csv").write_text("subject,fold,half\nsomebody,0,0\n")
    (study / ".study.json.partial-999999999").write_text("{")
    folder = begun(tmp_path)
    assert "somebody" not in folder.places() and len(folder.places()) == 24
    home = tmp_path / "other"
    (home / "study").mkdir(parents=True)
    (home / "study" / "holiday.txt").touch()
    with pytest.raises(UserError, match="exists and is not a study folder"):
        begun(home)
    assert not private_path(home / "study").exists()


# -- one that has begun


def go_on(folder: StudyFolder, say: Callable[[str], None] = lambda text: None, **options: Any) -> StudyFolder:
    """The study begun again, with these options and no others."""
    return begin(folder.path_of("dataset") or Path(), folder.path, say=say, device="cpu", **options)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A study with an external set, of which no cell is done."""
    home = tmp_path_factory.mktemp("there")
    return begun(home, external=changed(write_labelled(home / "data"), home / "external").path)


def test_the_command_that_began_it_is_kept_without_paths(there: StudyFolder) -> None:
    command = there.commands_file.read_text()
    assert "ganatomy study DATASET STUDY --set size=16 --set batch_size=4" in command
    assert "--external EXTERNAL --device cpu --classifier fcn --updates 20 --k 4 --folds 2 --seeds 2 " \
           "--arms ORG,AUG_GAN --imbalance 3" in command


@pytest.mark.parametrize(("given", "says"), [
    ({"k": (0,)}, "study: k"), ({"no_such": 1}, "no_such: unknown key"),
    ({"classifier": {"updates": 30}}, "other settings: classifier.updates was 20, now 30"),
    ({"set": {"batch_size": 5}}, "other settings: recipe.batch_size was 4, now 5"),
    ({"budget": 240.0, "set": {"batch_size": 5}}, "recipe.batch_size was 4, now 5"),
    ({"set": {"steps": 13}}, "recipe.steps was 12, now 13"),
    ({"recipe": "projected-64"}, "recipe.batch_size was 4, now"),
    ({"recipe": "dcgan-brain-128", "set": TINY}, "recipe.")])
def test_other_options_than_it_was_begun_with(there: StudyFolder, given: dict[str, Any], says: str) -> None:
    before = there.settings_file.read_bytes()
    for start in (go_on, lambda folder, **more: dry_run(folder.path_of("dataset"), folder.path, **more)):
        with pytest.raises(UserError, match=says):
            start(there, **given)
    assert there.settings_file.read_bytes() == before


@pytest.mark.parametrize(("given", "says"), [
    ({}, 0), ({"set": {"batch_size": 4}}, 0), ({"classifier": "fcn"}, 0), ({"classifier": {"updates": 20}}, 0),
    ({"k": 4}, 0), ({"recipe": "projected-64", "set": {**TINY, "select": "kd"}}, 0), ({"budget": 240.0}, 1),
    ({"budget": 240.0, "recipe": "projected-64", "set": FREE}, 1)])
def test_the_same_options_again_or_none(there: StudyFolder, given: dict[str, Any], says: int) -> None:
    external, lines = there.path_of("external"), list[str]()
    assert external is not None
    assert go_on(there, lines.append, **given).settings() == there.settings()
    assert there.path_of("external") == external  # the next one knows it too
    assert len(lines) == says  # that the steps of a budget stay


def test_an_external_set_that_has_moved_is_asked_for(copy: StudyFolder) -> None:
    moved = (copy.path_of("external") or Path()).rename(copy.path.with_name("moved"))
    with pytest.raises(UserError, match="name it with --external"):
        go_on(copy)
    go_on(copy, external=moved)
    assert copy.path_of("external") == moved
