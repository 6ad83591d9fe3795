"""A study gives the same result to the byte whoever runs its cells, in whatever order, disturbed or not. Real cells."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json
from ganatomy.studies import study as verb
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.forecast import Count
from ganatomy.studies.processes import study_command
from ganatomy.studies.slurm import write_jobs
from tests.builders import TINY
from tests.studies.study_dataset import OPTIONS, write_labelled

pytestmark = pytest.mark.slow
TWO_CELLS = {**OPTIONS, "seeds": 1, "set": TINY, "device": "cpu"}


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
        """SIGKILL the first cell's process while it trains its classifiers: its GAN is finished by then."""
        log = folder.cell(folder.all_cells()[0]).log_file
        if not killed and log.is_file() and "arm ORG" in log.read_text():
            killed.append(folder.all_cells()[0].name)
            os.kill(process_of(folder.path, killed[0]), signal.SIGKILL)

    said: list[str] = []
    verb.study(home / "data", folder.path, workers=2, say=said.append, show=kill, **TWO_CELLS)
    assert killed
    assert [line for line in said if "was lost (signal 9)" in line]
    begun = [folder.cell(c).log_file.read_text() for c in folder.all_cells()]
    assert [log.count("begun ") for log in begun] == [2, 1]
    assert begun[0].count("recipe rpgan-64") == 1  # what was finished was kept
    assert result(home / "two") == result(home / "one")


def test_the_job_array_by_hand_in_reverse_order(home: Path) -> None:
    folder = verb.begin(home / "data", home / "an array", recipe=None, budget=None, external=None,
                        say=lambda text: None, **TWO_CELLS)
    write_jobs(folder, folder.all_cells(), home / "data", None, "cpu", 60.0, 1e9)
    for task in (1, 0):
        subprocess.run(["bash", folder.slurm_file], env={**os.environ, "SLURM_ARRAY_TASK_ID": str(task)}, check=True)
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
        log = folder.cell(folder.all_cells()[0]).log_file
        if not killed and log.is_file() and "begun" in log.read_text():
            command = Path(f"/proc/{process_of(folder.path, 'k0004-fold0-seed0')}/cmdline").read_bytes().split(b"\0")
            killed.append(int(command[command.index(b"--worker-of") + 1]))
            os.kill(killed[0], signal.SIGKILL)
        if count.done:  # one is enough: the other cell shall fail
            folder.cell(folder.all_cells()[1]).manifest_file.write_text("broken")

    said: list[str] = []
    with pytest.raises(UserError, match="k0004-fold1-seed0 failed: "):
        verb.study(home / "data", folder.path, workers=1, ray="local", say=said.append, show=kill, **TWO_CELLS)
    assert [line for line in said if "k0004-fold0-seed0 was lost" in line]
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
    folder = verb.begin(home / "data", out, recipe=None, budget=None, external=None, say=lambda text: None, **long)
    first = folder.all_cells()[0]
    parent = subprocess.Popen([*study_command(home / "data", out, "cpu"), *more], stderr=subprocess.PIPE, text=True)
    run = folder.cell(first).gan(1).run(0)
    wait_for(lambda: (run / "log.jsonl").is_file() and (run / "log.jsonl").read_text() != "")
    worker = process_of(out, first.name)
    parent.send_signal(how)
    _, said = parent.communicate(timeout=90)
    wait_for(lambda: not Path(f"/proc/{worker}").exists())
    assert read_json(run / "status.json")["state"] == "interrupted"
    assert len(list((run / "checkpoints").glob("*.pt"))) == 1
    assert "stopped and saved" in folder.cell(first).log_file.read_text()
    if how == signal.SIGTERM:
        assert parent.returncode == 130
        assert "run the same command again to go on" in said
    assert "Traceback" not in said + folder.cell(first).log_file.read_text()


def process_of(study: Path, cell: str) -> int:
    """The process at this cell."""
    wanted = [os.fsencode(study), b"--cell", cell.encode()]
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().split(b"\0")
        except OSError:
            continue
        if all(word in words for word in wanted) and words[0] == os.fsencode(sys.executable):
            return int(entry.parent.name)
    raise AssertionError(f"no process is at {cell}")


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)
