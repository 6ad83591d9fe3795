"""What may be said again, or left out, of a study that has begun; how its subjects were dealt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganatomy.core.errors import UserError
from ganatomy.data.manifest import Row
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.folds import check_held_out, deal
from ganatomy.studies.study import begin, dry_run, jobs
from tests.builders import TINY
from tests.studies.study_dataset import OPTIONS, begun, changed, write_labelled


def go_on(folder: StudyFolder, say: Callable[[str], None] = lambda text: None, **options: Any) -> StudyFolder:
    """The study begun again, with these options and no others."""
    given = {"recipe": None, "set": None, "budget": None, "external": None, "device": "cpu", **options}
    return begin(folder.dataset_path() or Path(), folder.path, say=say, **given)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A study with an external set, of which no cell is done."""
    home = tmp_path_factory.mktemp("there")
    dataset = write_labelled(home / "data")
    external = changed(dataset, home / "external")
    return begin(dataset.path, home / "study", recipe=None, set=TINY, budget=None, external=external.path,
                 device="cpu", say=lambda text: None, **OPTIONS)


def test_the_command_that_began_it_is_kept_without_paths(there: StudyFolder) -> None:
    (command,) = there.commands()
    assert command.startswith("ganatomy study DATASET STUDY --set size=16 --set batch_size=4")
    assert command.endswith("--external EXTERNAL --device cpu --updates 20 --k 4 --folds 2 --seeds 2 "
                            "--arms ORG,AUG_GAN --imbalance 3")


@pytest.mark.parametrize(("given", "said"), [
    ({"k": (50, 25)}, "study: k: give rising numbers"), ({"k": (0,)}, "study: k"),
    ({"margin": float("nan")}, "study: margin"), ({"classifier": {"updates": 5}}, "more checkpoints than updates"),
    ({"classifier": {"updates": 30}}, "other settings: classifier.updates was 20, now 30"),
    ({"positives": ("rare", "rare")}, "name each class once"), ({"no_such": 1}, "no_such: unknown key"),
    ({"set": {"batch_size": 5}}, "other settings: recipe.batch_size was 4, now 5"),
    ({"set": {"init_from": "run"}}, "init_from"), ({"set": {"no_such": 5}}, "no_such: unknown key"),
    ({"set": {"steps": 13}}, "recipe.steps was 12, now 13"), ({"recipe": "rpgan-64"}, "recipe.batch_size was 4, now"),
    ({"recipe": "dcgan-brain-128", "set": TINY}, "recipe.")])
def test_other_options_than_it_was_begun_with(there: StudyFolder, given: dict[str, Any], said: str) -> None:
    before = there.settings_file.read_bytes()
    with pytest.raises(UserError, match=said):
        go_on(there, **given)
    assert there.settings_file.read_bytes() == before


@pytest.mark.parametrize("given", [
    {}, {"set": TINY}, {"set": {"batch_size": 4}}, {"recipe": "rpgan-64", "set": TINY}, {"classifier": {"name": "fcn"}},
    {"classifier": {"updates": 20}}, {"k": (4,)}, {"recipe": "rpgan-64", "set": {**TINY, "select": "kd"}}])
def test_the_same_options_again_or_none(there: StudyFolder, given: dict[str, Any]) -> None:
    external = there.external_path()
    assert external is not None
    said: list[str] = []
    assert go_on(there, said.append, **given).settings() == there.settings()
    assert there.external_path() == external  # the next one knows it too
    assert said == []


def test_steps_of_a_budget_stay(there: StudyFolder) -> None:
    for more in ({}, {"recipe": "rpgan-64", "set": {k: v for k, v in TINY.items() if k != "steps"}}):
        said: list[str] = []
        assert go_on(there, said.append, budget=240.0, **more).settings().recipe.steps == 12
        assert len(said) == 1 and "the 12 steps of before" in said[0]
    with pytest.raises(UserError, match=r"recipe\.batch_size was 4, now 5"):
        go_on(there, budget=240.0, set={"batch_size": 5})


def test_jobs_and_plans_know_the_external_set(there: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganatomy.studies.study.cell_seconds", lambda *args: 60.0)
    monkeypatch.setattr("ganatomy.studies.planning.cell_seconds", lambda *args: 60.0)
    data, external = there.dataset_path() or Path(), there.external_path()
    jobs(data, there.path)
    assert f"--external {external}" in there.slurm_file.read_text()
    assert "cells        4" in dry_run(data, there.path)


def test_an_external_set_that_has_moved_is_asked_for(tmp_path: Path) -> None:
    dataset = write_labelled(tmp_path / "data")
    external = changed(dataset, tmp_path / "external").path
    folder = begin(dataset.path, tmp_path / "study", recipe=None, set=TINY, budget=None, external=external,
                   device="cpu", say=lambda text: None, **OPTIONS)
    moved = external.rename(tmp_path / "moved")
    with pytest.raises(UserError, match="name it with --external"):
        go_on(folder)
    go_on(folder, external=moved)
    assert folder.external_path() == moved


def test_folds_that_were_changed_are_refused_when_it_goes_on(tmp_path: Path) -> None:
    folder = begun(tmp_path)
    lines = folder.folds_file.read_text().splitlines()
    subject, fold, half = lines[1].split(",")
    for wrong in (f"{subject},{1 - int(fold)},{half}", f"{subject},{fold},{1 - int(half)}"):
        folder.folds_file.write_text("\n".join([lines[0], wrong, *lines[2:]]) + "\n")
        with pytest.raises(UserError, match="its folds are not those that this dataset and seed give"):
            go_on(folder)
    folder.folds_file.write_text("\n".join(lines) + "\n")
    go_on(folder)


def people(**kinds: int) -> list[Row]:
    """Images of so many subjects who have the classes that the name is made of."""
    rows = []
    for kind, count in kinds.items():
        for i in range(count):
            rows += [Row(f"{kind}{i}-{c}", f"{kind}{i}", "", 0, "x", c, "train", 0, 0.0, 1.0, "", "", f"{kind}{i}{c}")
                     for c in kind]
    return rows


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kinds", [{"p": 3, "np": 3, "n": 12}, {"p": 1, "np": 5, "n": 1}, {"np": 6}, {"p": 6, "n": 6}])
def test_positives_are_in_both_halves_whatever_else_their_subjects_have(there: StudyFolder, kinds: dict[str, int],
                                                                       seed: int) -> None:
    """As many subjects as two halves of three folds need: each half gets one, also where some have both classes."""
    rows = people(**kinds)
    places = deal(rows, 3, seed)
    settings = there.settings().model_copy(update={"folds": 3, "positives": ("p",)})
    check_held_out(rows, places, settings)
    halves = Counter((places[s].fold, places[s].half) for s in {r.subject for r in rows if r.label == "p"})
    assert set(halves.values()) == {1}


def test_strata_of_one_class_are_dealt_as_ever() -> None:
    """Studies that have been run stay what they are: each class begins in half fold % 2, then takes turns."""
    rows = people(a=7, b=5)
    places, last = deal(rows, 2, 3), dict[tuple[str, int], int]()
    rng, dealt = np.random.default_rng((1, 3)), 0
    for kind, count in (("a", 7), ("b", 5)):
        for index in rng.permutation(count):
            fold = dealt % 2
            half = 1 - last[kind, fold] if (kind, fold) in last else fold
            assert (places[f"{kind}{index}"].fold, places[f"{kind}{index}"].half) == (fold, half)
            last[kind, fold], dealt = half, dealt + 1


def test_a_half_without_a_class_is_named(there: StudyFolder) -> None:
    settings = there.settings().model_copy(update={"folds": 3, "positives": ("p",)})
    rows = people(p=5, n=12)
    with pytest.raises(UserError, match=r"fold \d would have no images of class p: .*5 subjects in all 3 folds") as no:
        check_held_out(rows, deal(rows, 3, 0), settings)
    assert "needs at least 6 subjects" in str(no.value.fix)
    rows = people(p=12, n=4)
    with pytest.raises(UserError, match="no images of class n: "):
        check_held_out(rows, deal(rows, 3, 0), settings)
