"""A study gives the same result to the byte whoever runs its cells, in whatever order, disturbed or not. Real cells."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from ganatomy.core.errors import UserError
from ganatomy.studies import study as verb
from ganatomy.studies.clusters import write_jobs
from ganatomy.studies.folder import CellFolder, StudyFolder
from ganatomy.studies.workers import Count, study_command
from tests.builders import TINY
from tests.studies.study_dataset import OPTIONS, wait_for, write_labelled

pytestmark = pytest.mark.slow
TWO_CELLS = {**OPTIONS, "seeds": 1, "set": TINY, "device": "cpu", "classifier": {"updates": 200}}


def result(path: Path) -> dict[str, str]:
    """SHA-256 of folds, predictions, audits and results; none of them holds a time."""
    files = [path / "folds.csv", path / "results.json", *sorted(path.glob("cells/*/arms/*.csv")),
             *sorted(path.glob("cells/*/gan-*/audit.json"))]
    assert len(files) == 2 + 4 + 2
    return {str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, and a study of it by one worker."""
    home = tmp_path_factory.mktemp("home")
    write_labelled(home / "data")
    verb.study(home / "data", home / "one", workers=1, **TWO_CELLS)
    return home


def test_two_workers_of_which_one_is_killed(home: Path) -> None:
    folder, killed = StudyFolder(home / "two"), list[str]()

    def kill(count: Count) -> None:
        """SIGKILL the first cell's worker while it trains its classifiers: its GAN is finished by then."""
        log = folder.cell(folder.all_cells()[0]).log_file
        if not killed and log.is_file() and "arm ORG" in log.read_text():
            killed.append(folder.all_cells()[0].name)
            os.kill(process_of(folder.cell(folder.all_cells()[0])), signal.SIGKILL)

    said: list[str] = []
    verb.study(home / "data", folder.path, workers=2, say=said.append, show=kill, **TWO_CELLS)
    assert killed
    assert [line for line in said if "was lost (signal 9)" in line]
    begun = [folder.cell(c).log_file.read_text() for c in folder.all_cells()]
    assert [log.count("begun ") for log in begun] == [2, 1]
    assert begun[0].count("recipe projected-64") == 1  # what was finished was kept
    assert result(home / "two") == result(home / "one")


def test_the_job_array_by_hand_in_reverse_order(home: Path) -> None:
    folder = verb.begin(home / "data", home / "an array", external=None,
                        **TWO_CELLS)
    write_jobs(folder, study_command(home / "data", folder.path, "cpu"), 2, 60.0)
    last_first = folder.cell(folder.all_cells()[0])
    with last_first.lock():  # so that the first task does the second cell
        subprocess.run(["bash", folder.slurm_file], check=True)
    assert not last_first.is_done()
    subprocess.run(["bash", folder.slurm_file], check=True)
    assert last_first.is_done()
    subprocess.run(["bash", folder.path / "slurm-gather.sh"], check=True)
    assert result(folder.path) == result(home / "one")


def test_a_ray_cluster_of_this_machine(home: Path) -> None:
    pytest.importorskip("ray")
    verb.study(home / "data", home / "ray", workers=2, ray="local", **TWO_CELLS)
    assert result(home / "ray") == result(home / "one")


def test_a_lost_ray_task_is_run_again_and_a_failed_one_is_named(home: Path) -> None:
    pytest.importorskip("ray")
    folder, killed = StudyFolder(home / "lost"), list[int]()

    def kill(count: Count) -> None:
        """SIGKILL Ray's own worker process, as if its node were gone."""
        first, other = folder.all_cells()
        log = folder.cell(first).log_file
        if not killed and log.is_file() and "begun" in log.read_text():
            command = Path(f"/proc/{process_of(folder.cell(first))}/cmdline").read_bytes().split(b"\0")
            killed.append(int(command[command.index(b"--parent") + 1]))
            os.kill(killed[0], signal.SIGKILL)
            folder.cell(other).path.mkdir()  # which is to fail
            folder.cell(other).manifest_file.write_text("broken")

    said: list[str] = []
    with pytest.raises(UserError, match="k0004-fold1-seed0 failed: "):
        verb.study(home / "data", folder.path, workers=1, ray="local", say=said.append, show=kill, **TWO_CELLS)
    assert [line for line in said if "a worker was lost" in line]
    assert folder.cell(folder.all_cells()[0]).is_done()


@pytest.mark.parametrize(("how", "more"), [(signal.SIGTERM, []), (signal.SIGKILL, []),
                                           (signal.SIGTERM, ["--ray", "local"])])
def test_a_stopped_study_saves_what_it_has_and_leaves_nothing_running(home: Path, how: signal.Signals,
                                                                      more: list[str]) -> None:
    """Asked to stop, it stops its workers; killed, they notice. Either way the GAN goes on from where it was."""
    if more:
        pytest.importorskip("ray")
    out = home / f"stopped {how.name} {len(more)}"
    long = {**TWO_CELLS, "set": {**TINY, "steps": 200_000, "checkpoint_every": 100_000}}
    folder = verb.begin(home / "data", out, **long)
    first = folder.all_cells()[0]
    parent = subprocess.Popen([*study_command(home / "data", out, "cpu"), *more], stderr=subprocess.PIPE, text=True)
    run = folder.cell(first).gan(1).run(0)
    wait_for(lambda: (run / "log.jsonl").is_file() and (run / "log.jsonl").read_text() != "")
    worker = process_of(folder.cell(first))
    parent.send_signal(how)
    _, said = parent.communicate(timeout=90)
    wait_for(lambda: not Path(f"/proc/{worker}").exists())
    assert json.loads((run / "status.json").read_bytes())["state"] == "interrupted"
    assert len(list((run / "checkpoints").glob("*.pt"))) == 1
    assert "stopped and saved" in folder.cell(first).log_file.read_text()
    if how == signal.SIGTERM:
        assert parent.returncode == 143
        assert "run the same command again to go on" in said
    assert "Traceback" not in said + folder.cell(first).log_file.read_text()


def process_of(place: CellFolder) -> int:
    """The process that holds this cell."""
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if link.resolve() == place.path.resolve().with_name(f".{place.path.name}.lock"):
                return int(link.parts[2])
    raise AssertionError(f"no process is at {place.path.name}")
