"""Every verb: the same command again does nothing, another one in its place is refused, checks come before work."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from ganatomy.core.recipe import load
from ganatomy.preparation.prepare import prepare
from ganatomy.training.train import train
from tests.builders import SMALL, cohort, head, save, write_dataset
from tests.cli.typed import PREPARE, SETS, run


@pytest.fixture(scope="module")
def place(folder: Path) -> Path:
    """Scans, a dataset and a run, and beside them a run that translates with things to translate."""
    cohort(folder / "people", mask=False)
    prepare(folder / "people", folder / "contrasts", size=32, workers=1)
    train(folder / "contrasts", folder / "translator", load("unet", SMALL["unet"] | {"source": "T1", "domain": "T2"}))
    for i, name in enumerate(("volume.nii.gz", "volumes/a.nii.gz", "volumes/b.nii.gz")):
        save(folder / name, head(i))
    shutil.copytree(folder / "run", folder / "another")
    write_dataset(folder / "labelled", subjects=24, classes=("rare", "common", "common"), splits=("train",))
    return folder


STUDY = ["study", "labelled", "study", "--k", 2, "--folds", 2, "--seeds", 1, "--arms", "OVERSAMPLE,COPIES",
         "--imbalance", 1, "--updates", 10, "--positive", "rare"]
AGAIN = {  # a command, and what makes it another one
    "phantom": (["phantom", "cohort", "--subjects", 1, "--size", 16], [["--seed", 1], ["--format", "png"]]),
    "prepare": (["prepare", "scans", "dataset", *PREPARE], [["--fit", "crop"], ["--seed", 2]]),
    "train": (["train", "dataset", "run", *SETS], [["--seed", 1], ["--recipe", "dcgan-brain-128"]]),
    "generate": (["generate", "run", "images", "-n", 4], [["--seed", 1], ["-n", 5], ["--format", "npy"],
                                                          ["--weights", "raw"]]),
    "translate, a file": (["translate", "translator", "volume.nii.gz", "t2.nii.gz", "--force"],
                          [["--direction", "T1:T2"], ["--seed", 1]]),
    "translate, a folder": (["translate", "translator", "volumes", "t2", "--force"], [["--seed", 1]]),
    "evaluate": (["evaluate", "run", "-n", 8], []),  # a run has one evaluation, that of the last command
    "report": (["report", "run"], []),
    "report, a file": (["report", "run", "--out", "page.html"], [["--shareable"]]),
    "compare": (["compare", "run", "--out", "board.md"], [["--primary", "fd"]]),
    "study": (STUDY, [["--updates", 11], ["--k", 3]])}


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Bytes and time of change of every file that may travel."""
    return {str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
            for path in folder.rglob("*") if path.is_file() and ".private" not in str(path)}


@pytest.mark.parametrize("verb", [pytest.param(verb, marks=[pytest.mark.slow] if verb == "study" else [])
                                  for verb in AGAIN])
def test_the_same_command_again_does_nothing_and_another_one_is_refused(
        place: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.chdir(place)
    words, others = AGAIN[verb]
    if verb == "compare":
        run("evaluate", "run", "-n", 8)
    first = run(*words)
    assert first.returncode == 0, first.stderr
    before = state(place)
    again = run(*words)
    assert again.returncode == 0, again.stderr
    assert "nothing to do" in again.stderr and again.stdout == first.stdout
    for other in others:
        refused = run(*words, *other)
        assert refused.returncode == 2, (other, refused.stderr)
    assert state(place) == before


def test_of_another_run_is_another_command(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert run("generate", "run", "of run", "-n", 2).returncode == 0
    assert run("generate", "another", "of run", "-n", 2).returncode == 0, "the same weights"
    assert run("train", "dataset", "third", *SETS, "--seed", 3).returncode == 0
    assert "already exists" in run("generate", "third", "of run", "-n", 2).stderr


def test_what_is_not_whole_any_more_is_not_done(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    for name, words in (("broken/images/syn-000001.png", ("generate", "run", "broken", "-n", 2)),
                        ("lost/files.csv", ("phantom", "lost", "--subjects", 1, "--size", 16)),
                        ("changed.nii.gz", ("translate", "translator", "volume.nii.gz", "changed.nii.gz", "--force"))):
        assert run(*words).returncode == 0
        if name.endswith(".gz"):
            Path(name).write_bytes(b"something else")
        else:
            Path(name).unlink()
        assert run(*words).returncode == 2


def test_a_report_is_brought_up_to_date_by_its_command(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    words = ("report", "another", "--out", "other.html")
    assert run(*words).returncode == 0
    (Path("another") / "status.json").write_text((Path("another") / "status.json").read_text() + " ")
    assert "wrote" in run(*words).stderr
    Path("notes.html").write_text("mine")
    assert "this command did not write it" in run(*words[:3], "notes.html").stderr


WORK = {  # what would take its time, and a command whose output has no place
    "phantom": ("phantoms.cohort.subject_images", ["phantom", "file/out"]),
    "prepare": ("preparation.prepare.make_survey", ["prepare", "scans", "file/out"]),
    "train": ("training.train.Loop", ["train", "dataset", "file/out", *SETS]),
    "generate": ("generators.generation._write_images", ["generate", "run", "file/out"]),
    "translate, a file": ("translation.translate.translate_volume", ["translate", "translator", "volume.nii.gz",
                                                                     "file/out.nii.gz"]),
    "translate, a folder": ("translation.translate.translate_volume", ["translate", "translator", "volumes",
                                                                       "file/out"]),
    "evaluate": ("evaluation.evaluate._measure", ["evaluate", "blocked"]),
    "report": ("reports.report._run_page", ["report", "blocked"]),
    "report, a file": ("reports.report._run_page", ["report", "run", "--out", "file/out.html"]),
    "compare": ("comparison.compare.compare", ["compare", "run", "--out", "file/out.csv"]),
    "study": ("studies.study.plan", [*STUDY[:2], "file/out", "--positive", "rare"]),
    "weights": ("features.weights._downloaded", ["weights", "install", "inception"])}


@pytest.mark.parametrize("verb", WORK)
def test_where_nothing_can_be_written_no_work_is_done(place: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("GANATOMY_HOME", "file/out")
    Path("file").touch()
    if not Path("blocked").exists():
        shutil.copytree("run", "blocked")
        shutil.copytree("run.private", "blocked.private")
        for name in ("report.html", "map.png", "metrics.json"):
            shutil.rmtree("blocked/" + name, ignore_errors=True)
            Path("blocked", name).unlink(missing_ok=True)
            Path("blocked", name).mkdir()
    work, words = WORK[verb]
    monkeypatch.setattr(f"ganatomy.{work}", _refuse_to_work())
    before = state(place)
    done = run(*words)
    assert done.returncode == 2, done.stderr
    assert "cannot write" in done.stderr or "is a folder" in done.stderr
    assert state(place) == before


def _refuse_to_work() -> Callable[..., NoReturn]:
    def work(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError("worked before it was sure that the result can be written")

    return work
