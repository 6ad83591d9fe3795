"""Job scripts for SLURM, plans, and what can be said of Ray without a cluster."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganatomy.cli.study import study as verb
from ganatomy.core.errors import UserError
from ganatomy.studies import dry_run, processes, ray_cluster, ray_node, slurm
from ganatomy.studies.cost import Rates
from ganatomy.studies.folder import Cell, StudyFolder
from tests.builders import TINY
from tests.studies.study_dataset import OPTIONS, begun, write_labelled


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return begun(tmp_path)


def test_job_scripts_name_every_cell_once_whatever_the_paths(folder: StudyFolder, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "it's a study 100%"
    folder.path.rename(home)
    study, data = StudyFolder.open(home), tmp_path / "my data; $HOME `x`"
    shell = tmp_path / "python stub"
    shell.write_text('#!/bin/sh\nprintf "%s\\n" "$OMP_NUM_THREADS" "$@"\n')
    shell.chmod(0o755)
    monkeypatch.setattr(processes.sys, "executable", str(shell))
    lines = slurm.write_jobs(study, study.all_cells(), data, None, "cpu", 1200.0, 5e8)
    ran = [subprocess.run(["bash", study.slurm_file], env={**os.environ, "SLURM_ARRAY_TASK_ID": str(i)}, check=True,
                          capture_output=True, text=True).stdout.splitlines() for i in range(4)]
    assert ran == [["1", "-m", "ganatomy", "study", str(data), str(home), "--device", "cpu", "--cell", cell.name]
                   for cell in study.all_cells()]
    text = study.slurm_file.read_text()
    assert "#SBATCH --array=0-3\n" in text
    assert "#SBATCH --time=01:00:00\n" in text  # three times what a cell takes, in quarters of an hour
    assert f'#SBATCH --output="{str(home).replace("%", "%%")}/logs/%A_%a.txt"\n' in text
    assert (home / "logs").is_dir()  # SLURM makes none
    gather = home / "slurm-gather.sh"
    done = subprocess.run(["bash", gather], capture_output=True, text=True, check=True).stdout.splitlines()
    assert done[1:] == ["-m", "ganatomy", "study", str(data), str(home), "--device", "cpu", "--workers", "1"]
    check_submission(lines, [study.slurm_file, gather], tmp_path)


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


def test_job_scripts_are_of_what_is_left(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "measure", lambda *args: RATES)
    data = folder.dataset_path() or Path()
    folder.cell(folder.all_cells()[1]).path.mkdir(parents=True)
    folder.cell(folder.all_cells()[1]).note_done([])
    assert len(slurm.jobs(data, folder.path)) == 2
    assert re.findall(r"^  (k\S+)$", folder.slurm_file.read_text(), re.M) == [
        "k0004-fold0-seed0", "k0004-fold1-seed0", "k0004-fold1-seed1"]
    for cell in folder.all_cells():
        folder.cell(cell).path.mkdir(exist_ok=True)
        folder.cell(cell).note_done([])
    assert slurm.jobs(data, folder.path) == []


def test_a_path_that_no_job_script_can_hold(folder: StudyFolder) -> None:
    odd = folder.path.rename(folder.path.with_name('my "study"'))
    with pytest.raises(UserError, match="job script"):
        slurm.write_jobs(StudyFolder(odd), folder_cells(odd), Path("data"), None, "cpu", 1.0, 1.0)
    assert not (odd / "slurm.sh").exists()


def folder_cells(path: Path) -> list[Cell]:
    return StudyFolder.open(path).all_cells()


RATES = Rates(step=0.01, update={"none": 0.002, "flips": 0.003}, judged=0.001)


def test_a_plan_says_what_would_be_done_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "measure", lambda *args: RATES)
    data = write_labelled(tmp_path / "data").path
    before = sorted(p.name for p in tmp_path.iterdir())
    text = dry_run.dry_run(data, tmp_path / "study", set={**TINY, "steps": 6000}, workers=4, **OPTIONS)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert "12 subjects, 48 images (halves of 6 and 6 subjects): common 8 subjects, 32 images; rare 4 subjects" in text
    assert "cells        4 = 1 k x 2 folds x 2 seeds" in text
    assert re.search(r"k = 4 +learns from 12 common of 3( to 4)? subjects, 4 rare of 1( to 2)? subject", text)
    assert "ORG 16, AUG_GAN 22 images" in text  # 1.5 x 4 more
    assert re.search(r"GANs +4 \(1 a cell, of class rare\): .*6,000 steps .*about 60 s each", text)
    assert re.search(r"classifiers +8 \(2 a cell\): fcn, 20 updates of 32 images", text)
    whole, four = (float(re.search(rf"about (\S+) \S+ {what}", text)[1])  # type: ignore[index]
                   for what in ("of one core", "with 4 workers"))
    assert whole == pytest.approx(4 * four / 60, rel=0.2)  # minutes and seconds


def test_a_plan_of_a_study_that_has_begun_is_of_what_is_left(folder: StudyFolder,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "measure", lambda *args: RATES)
    folder.cell(folder.all_cells()[0]).path.mkdir(parents=True)
    folder.cell(folder.all_cells()[0]).note_done([])
    text = dry_run.dry_run(folder.dataset_path() or Path(), folder.path)
    assert "1 are done, 3 left" in text
    with pytest.raises(UserError, match="other settings"):
        dry_run.dry_run(folder.dataset_path() or Path(), folder.path, k=(2,))


def test_without_ray_it_is_said_how_to_get_it(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r'pip install "ganatomy\[ray\]"'):
        ray_cluster.OnRay(folder, [], [], "local", 1, None, "cpu")


def test_a_node_without_the_same_folders_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{}")
    there, gone = str(tmp_path / "dataset.json"), str(tmp_path / "gone" / "dataset.json")
    mark = tmp_path / "mark"
    _, lacking = ray_node.look(str(mark), {there: "another hash", gone: ""}, "/no/python")
    assert lacking == [str(tmp_path), str(tmp_path), str(tmp_path / "gone"), "/no/python"]
    mark.touch()
    right = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # SHA-256 of {}
    assert ray_node.look(str(mark), {there: right}, sys.executable)[1] == []


@pytest.mark.parametrize("options", [["--slurm", "--dry-run"], ["--slurm", "--ray", "auto"], ["--workers", "0"]])
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: list[str]) -> None:
    done = CliRunner().invoke(verb, [str(tmp_path / "data"), str(tmp_path / "study"), *options])
    assert done.exit_code == 2
    assert not (tmp_path / "study").exists()
