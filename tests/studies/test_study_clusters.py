"""Job scripts for SLURM, plans, and what can be said of Ray without a cluster."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from ganatomy import __version__
from ganatomy.cli.study import study as verb
from ganatomy.core.errors import UserError
from ganatomy.studies import clusters, workers
from ganatomy.studies.folder import Cell, StudyFolder
from ganatomy.studies.study import dry_run, jobs
from tests.builders import TINY
from tests.studies.study_dataset import OPTIONS, begun, write_labelled


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return begun(tmp_path)


def test_job_scripts_hold_whatever_path(folder: StudyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "it's a study 100%"
    folder.path.rename(home)
    study, data = StudyFolder.open(home), tmp_path / "my data; $HOME `x`"
    shell = tmp_path / "python stub"
    shell.write_text('#!/bin/sh\nprintf "%s\\n" "$OMP_NUM_THREADS" "$@"\n')
    shell.chmod(0o755)
    monkeypatch.setattr(workers.sys, "executable", str(shell))
    lines = clusters.write_jobs(study, workers.study_command(data, home, "cpu"), 4, 1200.0)
    scripts = [study.slurm_file, home / "slurm-gather.sh"]
    printed = [subprocess.run(["bash", script], check=True, capture_output=True, text=True).stdout.splitlines()
               for script in scripts]
    command = ["1", "-m", "ganatomy", "study", str(data), str(home), "--device", "cpu"]
    assert printed == [[*command, "--worker"], [*command, "--workers", "1"]]
    text = study.slurm_file.read_text()
    assert "#SBATCH --array=0-3\n" in text
    assert "#SBATCH --time=01:00:00\n" in text  # three times what a task takes, in quarters of an hour
    assert f'#SBATCH --output="{str(home).replace("%", "%%")}/logs/%A_%a.txt"\n' in text
    assert (home / "logs").is_dir()  # SLURM makes none
    check_submission(lines, scripts, tmp_path)


def check_submission(lines: list[str], scripts: list[Path], tmp_path: Path) -> None:
    """The lines work in a shell whose sbatch writes down what it is given."""
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {shlex.quote(str(tmp_path / "given"))}\necho "77;here"\n')
    sbatch.chmod(0o755)
    subprocess.run(["bash", "-euc", "\n".join(lines)], check=True, capture_output=True,
                   env={**os.environ, "PATH": f"{sbatch.parent}:{os.environ['PATH']}"})
    assert (tmp_path / "given").read_text().splitlines() == [
        "--parsable", str(scripts[0]), "--dependency=afterany:77", str(scripts[1])]


def test_the_array_has_a_task_for_each_cell_that_is_left_or_fewer(folder: StudyFolder,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganatomy.studies.study.cell_seconds", lambda *args: 1200.0)
    data = folder.path_of("dataset") or Path()
    finish(folder, folder.all_cells()[1])
    for wanted, last, hours in ((None, 2, "01:00"), (2, 1, "02:00"), (9, 2, "01:00")):
        assert len(jobs(data, folder.path, workers=wanted)) == 2
        assert f"--array=0-{last}\n" in folder.slurm_file.read_text()
        assert f"--time={hours}:00\n" in folder.slurm_file.read_text()
    for cell in folder.all_cells():
        finish(folder, cell)
    assert jobs(data, folder.path) == []


def finish(folder: StudyFolder, cell: Cell) -> None:
    folder.cell(cell).path.mkdir(parents=True, exist_ok=True)
    folder.cell(cell).note_done([])


def test_a_plan_tells_what_would_be_done_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganatomy.studies.planning.cell_seconds", lambda *args: 2700.0)
    data = write_labelled(tmp_path / "data").path
    before = sorted(p.name for p in tmp_path.iterdir())
    text = dry_run(data, tmp_path / "study", set={**TINY, "steps": 6000}, workers=4, **OPTIONS)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert "12 subjects, 48 images (halves of 6 and 6 subjects): common 8 subjects, 32 images; rare 4 subjects" in text
    assert "cells        4 = 1 k x 2 folds x 2 seeds" in text
    assert re.search(r"k = 4 +learns from common [34] subjects, 12 images; rare [12] subjects?, 4 images", text)
    assert re.search(r"GANs +4 \(1 a cell, of class rare\): .*6,000 steps of 4 images each", text)
    assert re.search(r"classifiers +8 \(2 a cell\): fcn, 20 updates", text)
    assert "about 3 h to train them on one core, 45 min with 4 workers" in text


def test_a_plan_of_a_study_that_has_begun_is_of_what_is_left(folder: StudyFolder,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganatomy.studies.planning.cell_seconds", lambda *args: 60.0)
    data, (first, *others) = folder.path_of("dataset") or Path(), folder.all_cells()
    finish(folder, first)
    assert "1 are done, 3 left" in dry_run(data, folder.path)
    with pytest.raises(UserError, match="other settings"):
        dry_run(data, folder.path, k=(2,))
    for cell in others:
        finish(folder, cell)
    monkeypatch.setattr("ganatomy.studies.planning.cell_seconds", lambda *args: pytest.fail("it was measured"))
    assert "everything is done" in dry_run(data, folder.path)


def test_without_ray_it_tells_how_to_get_it(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r'pip install "ganatomy\[ray\]"'):
        clusters.OnRay(folder, [], "local", 1, None, "cpu")


def test_a_dead_ray_address_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    begun_at = time.monotonic()
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1", "127.0.0.1:99999"):
        with pytest.raises(UserError, match="no Ray cluster could be joined"):
            clusters.check_address(address)
    with pytest.raises(UserError, match="is empty"):
        clusters.check_address("")
    assert time.monotonic() - begun_at < 10
    for known in ("auto", "local"):
        clusters.check_address(known)


@pytest.mark.parametrize(("mark", "python", "version", "says"), [
    ("there", "/no/python", __version__, "does not see /no/python"), ("there", sys.executable, "0", "has ganatomy"),
    ("gone", sys.executable, __version__, "does not see .*gone")])
def test_what_a_node_lacks_is_told(tmp_path: Path, mark: str, python: str, version: str, says: str) -> None:
    (tmp_path / "there").touch()
    with pytest.raises(UserError, match=f"the node {says}"):
        clusters.refuse_node(str(tmp_path / mark), python, version)
    clusters.refuse_node(str(tmp_path / "there"), sys.executable, __version__)


@pytest.mark.parametrize("options", [["--slurm", "--dry-run"], ["--slurm", "--ray", "auto"], ["--workers", "0"]])
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: list[str]) -> None:
    done = CliRunner().invoke(verb, [str(tmp_path / "data"), str(tmp_path / "study"), *options])
    assert done.exit_code == 2
    assert not (tmp_path / "study").exists()
