"""What lies in a study's folder is not believed: planted leaks, foreign images, lost or broken files are found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ganatomy.core.errors import UserError
from ganatomy.core.files import write_json
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import read_manifest, write_manifest
from ganatomy.reports.report import report
from ganatomy.studies.cell import Roles, _audit, figure_of, read_audit, run_cell
from ganatomy.studies.folder import Cell, StudyFolder
from ganatomy.studies.results import write_results
from ganatomy.studies.study import study
from tests.studies.study_dataset import write_labelled

FIRST, OTHER = Cell(4, 0, 0), Cell(4, 1, 0)
Spoil = Callable[[StudyFolder], Any]


def quiet(text: str) -> None:
    """Nobody listens."""


def go_on(folder: StudyFolder) -> list[Cell]:
    """Run what is left, as the command does; the cells that had something left to do."""
    left = folder.cells_left()
    for cell in left:
        run_cell(folder.path.parent / "data", folder.path, cell, device="cpu")
    return left


def fix_file(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_whole_study_is_gathered_to_the_same_bytes(finished: StudyFolder, copy: StudyFolder) -> None:
    assert not copy.cells_left()
    write_results(copy, quiet)
    assert copy.results_file.read_bytes() == finished.results_file.read_bytes()
    assert len(json.loads(copy.results_file.read_bytes())["audits"]) == 2


def plant_patient(folder: StudyFolder, file: str) -> None:
    """All images of one tested subject become training images."""
    path = getattr(folder.cell(FIRST), file)
    rows = read_manifest(path)
    wrong = next(r.subject for r in rows if r.split == "test")
    write_manifest(path, [replace(r, split="train") if r.subject == wrong else r for r in rows])


def drop_test_image(folder: StudyFolder) -> None:
    path = folder.cell(FIRST).manifest_file
    write_manifest(path, [r for r in read_manifest(path) if r.split == "train"] +
                   [r for r in read_manifest(path) if r.split == "test"][1:])


def take(folder: StudyFolder, part: str) -> None:
    """A part of the first cell's GAN is taken from the other cell, which learnt from those whom the first tests."""
    here, there = (folder.cell(c).gan(1).path / part for c in (FIRST, OTHER))
    (shutil.rmtree if here.is_dir() else Path.unlink)(here)
    (shutil.copytree if there.is_dir() else shutil.copy)(there, here)


def take_real(folder: StudyFolder) -> None:
    gan = folder.cell(FIRST).gan(1)
    shutil.rmtree(gan.synthetic)
    shutil.copytree(gan.data, gan.synthetic)


def change_prediction(folder: StudyFolder, column: int, value: str, external: bool = False) -> None:
    path = folder.cell(FIRST).predictions("GAN", external)
    lines = [line.split(",") for line in path.read_text().splitlines()]
    lines[1][column] = value
    path.write_text("\n".join(map(",".join, lines)) + "\n")


CHANGED = "has been changed since its cell was done"


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda f: plant_patient(f, "manifest_file"), "held-out subjects are among the training images"),
    (lambda f: plant_patient(f, "fresh_file"), "held-out subjects are among the training images"),
    (drop_test_image, "its test images are not those that this fold holds out"),
    (lambda f: take(f, "data"), "held-out subjects are among the training images"),
    (lambda f: take(f, "synthetic"), CHANGED),
    (lambda f: take(f, "audit.json"), CHANGED),
    (lambda f: change_prediction(f, 4, "nan"), CHANGED),
    (lambda f: change_prediction(f, 0, "image-999", external=True), CHANGED),
    (lambda f: shutil.rmtree(f.cell(FIRST).gan(1).path), "1 cell of 2 not done"),
    (lambda f: f.cell(FIRST).predictions("GAN", external=True).unlink(), "1 cell of 2 not done"),
    (lambda f: fix_file(f.folds_file, ",0,", ",1,"), "its folds are not those that this dataset and seed give"),
    (lambda f: fix_file(f.folds_file, "sub-000,", "sub-900,"), "its folds are not those"),
])
def test_what_is_planted_in_a_finished_study_is_refused(copy: StudyFolder, spoil: Spoil, says: str) -> None:
    spoil(copy)
    with pytest.raises(UserError, match=says) as caught:
        write_results(copy, quiet)
    assert "prepare" not in str(caught.value.fix)
    assert not copy.results_file.exists() and not copy.table_file.exists()


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda f: plant_patient(f, "manifest_file"), "held-out subjects are among the training images"),
    (lambda f: change_prediction(f, 4, "1.5"), "1.5 is no probability"),
    (lambda f: change_prediction(f, 5, "yes"), "yes is neither 0 nor 1"),
    (lambda f: change_prediction(f, 1, "sub-999"), "not of the images and halves"),
    (lambda f: change_prediction(f, 2, "common"), "not of the images and halves"),
    (lambda f: change_prediction(f, 0, "image-999", external=True), "not of the images and halves"),
    (lambda f: f.cell(FIRST).gan(1).audit_file.write_text("[]"), "does not hold what it should")])
def test_whoever_changes_the_hashes_too_is_refused(copy: StudyFolder, spoil: Spoil, says: str) -> None:
    spoil(copy)
    place = copy.cell(FIRST)
    place.note_done([place.path / name for name in json.loads(place.done_file.read_bytes())["files"]])
    with pytest.raises(UserError, match=says):
        write_results(copy, quiet)


@pytest.mark.parametrize("spoil", [
    lambda cell: cell.predictions("ORG", external=True).unlink(),
    lambda cell: cell.gan(1).audit_file.unlink(),
    lambda cell: shutil.rmtree(cell.gan(1).data),
    lambda cell: cell.manifest_file.unlink(),
    lambda cell: shutil.rmtree(cell.path)])  # which is the way to mend whatever was changed
def test_what_is_lost_is_made_again(finished: StudyFolder, copy: StudyFolder, spoil: Callable[..., Any]) -> None:
    spoil(copy.cell(FIRST))
    assert go_on(copy) == [FIRST]
    write_results(copy, quiet)
    assert copy.results_file.read_bytes() == finished.results_file.read_bytes()


@pytest.mark.parametrize("spoil", [
    lambda f: f.cell(FIRST).predictions("GAN", external=True).write_text(""),
    take_real,  # no audit vouches for them
    lambda f: (take(f, "synthetic"), take(f, "audit.json"))])  # of a GAN that learnt from others
def test_what_an_unfinished_cell_cannot_have_written_is_made_again(finished: StudyFolder, copy: StudyFolder,
                                                                  spoil: Spoil) -> None:
    copy.cell(FIRST).done_file.unlink()
    spoil(copy)
    go_on(copy)
    write_results(copy, quiet)
    assert copy.results_file.read_bytes() == finished.results_file.read_bytes()


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda f: (f.cell(FIRST).gan(1).synthetic / "images-disc.npy").write_bytes(
        (f.cell(OTHER).gan(1).synthetic / "images-disc.npy").read_bytes()), "not those that were prepared"),
    (lambda f: f.cell(FIRST).manifest_file.write_text("nothing"), "its columns are not"),
    (lambda f: plant_patient(f, "manifest_file"), "held-out subjects are among the training images"),
    (lambda f: plant_patient(f, "fresh_file"), "held-out subjects are among the training images"),
    (lambda f: take(f, "data"), "held-out subjects are among the training images"),
])
def test_no_classifier_learns_from_foreign_images(copy: StudyFolder, spoil: Spoil, says: str) -> None:
    copy.cell(FIRST).done_file.unlink()
    spoil(copy)
    with pytest.raises(UserError, match=says) as caught:
        go_on(copy)
    assert caught.value.fix == "remove this cell's folder and run the study again"


def spoil_results(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    results = json.loads(path.read_text())
    change(results)
    path.write_text(json.dumps(results))


@pytest.mark.parametrize("change", [
    lambda r: r["settings"].update(margin=0.5), lambda r: r.update(dataset="another"), lambda r: r.clear(),
    lambda r: r.update(external_dataset=None), lambda r: r.update(external=None), lambda r: r.update(answer="helps"),
    lambda r: r["scores"][0].update(value="much"), lambda r: r["audits"][0].update(training_subjects=float("nan"))])
def test_a_report_is_of_its_study_and_of_whole_results(copy: StudyFolder, change: Callable[..., Any]) -> None:
    spoil_results(copy.results_file, change)
    with pytest.raises(UserError, match=r"results\.json") as caught:
        report(copy.path)
    assert "to its end" in str(caught.value.fix) and not copy.report_file.exists()


@pytest.mark.parametrize("broken", ["[]", '{"schema_version": 1}',
                                    '{"schema_version": 1, "dataset": "a", "external": null, "settings": {}}'])
def test_a_broken_study_file_is_told(copy: StudyFolder, broken: str) -> None:
    copy.settings_file.write_text(broken)
    for use in (report, lambda path: write_results(StudyFolder(path), quiet), lambda path: run_cell(
            copy.path.parent / "data", path, FIRST)):
        with pytest.raises(UserError, match=r"study\.json"):
            use(copy.path)


def test_a_finished_study_is_left_alone(copy: StudyFolder) -> None:
    def state() -> dict[str, tuple[bytes, int]]:
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns)
                for path in copy.path.parent.rglob("*") if path.is_file() and path.name != ".gitignore"}

    said: list[str] = []
    study(copy.path.parent / "data", copy.path)
    before = state()
    study(copy.path.parent / "data", copy.path, say=said.append)
    assert "nothing to do" in said[-1] and state() == before
    with pytest.raises(UserError, match="margin was"):
        study(copy.path.parent / "data", copy.path, margin=0.3)
    assert state() == before


def test_other_data_are_named_once(copy: StudyFolder, tmp_path: Path) -> None:
    other = write_labelled(tmp_path / "other", subjects=27).path
    with pytest.raises(UserError, match="was started with another dataset, or the dataset has changed since"):
        run_cell(other, copy.path, FIRST)
    with pytest.raises(UserError, match="was started with another external dataset, or the external dataset has"):
        run_cell(copy.path.parent / "data", copy.path, FIRST, external=other)


@pytest.mark.parametrize("held_out", [0, 1])
def test_a_gan_is_audited_by_however_few_held_out_images_there_are(
        finished: StudyFolder, tmp_path: Path, held_out: int) -> None:
    """With several negative classes a fold may hold out one image of a class, or none, and GAN_ONLY draws them all."""
    roles = Roles(finished, FIRST, finished.open_dataset())
    roles.held_out = [r for r in roles.held_out if r.label == "rare"][:held_out]
    write_json(tmp_path / "audit.json", _audit(roles, "rare", Dataset.open(roles.gan("rare").synthetic)))
    audit = read_audit(tmp_path / "audit.json")
    assert audit["copies"]["light"] == "grey"
    assert figure_of(audit, "KD") is None
    assert (figure_of(audit, "Diversity") is None) == (held_out == 0)
