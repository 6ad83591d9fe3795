"""Running a study's cells: lost, held and failed workers, interrupts; with workers that only play."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganatomy.core.errors import UserError
from ganatomy.studies import processes, running, worker
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.forecast import Count, Forecast, makespan
from ganatomy.studies.running import Here, run_cells
from ganatomy.studies.study import cells_left
from tests.studies.study_dataset import begun

PLAY = """
import json, os, signal, sys, time
from pathlib import Path
cell = sys.argv[sys.argv.index("--cell") + 1]
folder = Path({study!r}) / "cells" / cell
begun = time.time()
(folder / "manifest.csv").touch()
with (folder / "attempts").open("a") as f:
    f.write("x")
attempt = (folder / "attempts").stat().st_size
print("begun today", flush=True)
print("reading", flush=True)
{what}
(folder / "done.json").write_text(json.dumps({{"files": [], "times": [begun, time.time()]}}))
"""


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A study of four cells, of which none is begun."""
    return begun(tmp_path)


def playing(folder: StudyFolder, what: str = "") -> list[str]:
    """The command of a worker that does nothing but this."""
    return [sys.executable, "-S", "-c", PLAY.format(study=str(folder.path), what=what)]


def attempts(folder: StudyFolder) -> list[int]:
    """How often each cell was begun."""
    files = [folder.cell(c).path / "attempts" for c in folder.all_cells()]
    return [f.stat().st_size if f.exists() else 0 for f in files]


def go(folder: StudyFolder, what: str = "", workers: int = 2) -> tuple[list[str], list[Count]]:
    said: list[str] = []
    counts: list[Count] = []
    run_cells(folder, cells_left(folder), Here(folder, playing(folder, what), workers), said.append, counts.append)
    return said, counts


@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_run_at_a_time_as_there_are_workers(folder: StudyFolder, workers: int) -> None:
    said, counts = go(folder, "time.sleep(0.3)", workers)
    times = [json.loads(folder.cell(c).done_file.read_text())["times"] for c in folder.all_cells()]
    most = max(sum(a <= begun < b for a, b in times) for begun, _ in times)
    assert most == workers
    assert max(len(c.running) for c in counts) == workers
    assert all(c.done + len(c.running) + c.waiting == c.total == 4 for c in counts)
    assert counts[-1].done == 4
    assert sum("is done" in line for line in said) == 4
    assert attempts(folder) == [1, 1, 1, 1]


def test_what_is_done_is_not_done_again(folder: StudyFolder) -> None:
    go(folder)
    folder.cell(folder.all_cells()[2]).done_file.unlink()
    said, _ = go(folder)
    assert attempts(folder) == [1, 1, 2, 1]
    assert said[0] == "3 of 4 cells are done already"


def test_a_killed_worker_costs_its_own_cell_only(folder: StudyFolder) -> None:
    said, _ = go(folder, "if cell.endswith('fold1-seed0') and attempt == 1: os.kill(os.getpid(), signal.SIGKILL)")
    assert attempts(folder) == [1, 1, 2, 1]
    assert not cells_left(folder)
    assert [line for line in said if "warning" in line] == [
        "warning: the worker of k0004-fold1-seed0 was lost (signal 9); the cell goes on from where it was"]


def test_a_worker_that_always_dies_is_given_up(folder: StudyFolder) -> None:
    with pytest.raises(UserError, match=r"k0004-fold0-seed0 was lost 3 times \(signal 9.*: reading ") as caught:
        go(folder, "os.kill(os.getpid(), signal.SIGKILL)", workers=1)
    assert attempts(folder) == [3, 0, 0, 0]
    assert str(folder.cell(folder.all_cells()[0]).log_file) in str(caught.value.fix)


def test_a_failed_cell_is_named_and_the_others_end_in_peace(folder: StudyFolder) -> None:
    what = "if cell.endswith('fold0-seed0'): print('error: no such thing -> mend it', file=sys.stderr); sys.exit(2)\n" \
           "time.sleep(1)"
    with pytest.raises(UserError, match="k0004-fold0-seed0 failed: no such thing -> mend it") as caught:
        go(folder, what)
    assert attempts(folder) == [1, 1, 0, 0]  # nothing more was begun
    assert [c.name for c in cells_left(folder)] == ["k0004-fold0-seed0", "k0004-fold1-seed0", "k0004-fold1-seed1"]
    assert "log.txt" in str(caught.value.fix)


def test_a_cell_that_another_process_holds_is_waited_for(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LOOK_AGAIN", 0.1)
    first, *others = folder.all_cells()
    free = threading.Event()

    def hold() -> None:
        with folder.cell(first).lock():
            held.set()
            free.wait(20)

    held = threading.Event()
    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(10)

    def release(line: str) -> None:
        said.append(line)
        if all(folder.cell(c).is_done() for c in others):
            free.set()

    said: list[str] = []
    run_cells(folder, folder.all_cells(), Here(folder, playing(folder), 1), release)
    other.join()
    assert attempts(folder) == [1, 1, 1, 1]
    assert len([line for line in said if "another process is at this cell" in line]) == 1
    assert "k0004-fold0-seed0 is done" in said[-1]


def test_a_cell_that_another_process_finishes_is_left_alone(folder: StudyFolder) -> None:
    first, *_, last = folder.all_cells()
    what = f"if cell == {first.name!r}: (Path({str(folder.cells)!r}) / {last.name!r}).mkdir(); " \
           f"(Path({str(folder.cells)!r}) / {last.name!r} / 'done.json').write_text(json.dumps({{'files': []}}))"
    go(folder, what, workers=1)
    assert attempts(folder) == [1, 1, 1, 0]


def test_a_worker_that_finds_its_cell_held_comes_back(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "LOOK_AGAIN", 0.1)
    go(folder, f"if attempt == 1 and cell.endswith('1'): sys.exit({processes.BUSY})")
    assert attempts(folder) == [1, 2, 1, 2]


def test_a_held_cell_is_no_failure_of_the_worker(folder: StudyFolder) -> None:
    cell = folder.all_cells()[0]
    said: list[str] = []
    with folder.cell(cell).lock():
        code = worker.work(folder.dataset_path() or Path(), folder.path, cell.name, None, "cpu", None, said.append)
    assert code == processes.BUSY
    assert "another process" in said[-1]


@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_workers_first(folder: StudyFolder, ask: signal.Signals) -> None:
    what = """
def save(number, frame):
    (folder / "saved").write_text(str(os.getpid()))
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
(folder / "ready").touch()
time.sleep(60)
"""
    code = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.running import Here, run_cells
folder = StudyFolder.open({str(folder.path)!r})
try:
    run_cells(folder, folder.all_cells(), Here(folder, {playing(folder, what)!r}, 2), print)
except KeyboardInterrupt:
    sys.exit(130)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    paths = [folder.cell(c).path for c in folder.all_cells()[:2]]
    wait_for(lambda: all((p / "ready").exists() for p in paths))
    parent.send_signal(ask)
    said, _ = parent.communicate(timeout=30)
    assert parent.returncode == 130
    assert "stopping 2 cells" in said
    for path in paths:
        assert not Path(f"/proc/{(path / 'saved').read_text()}").exists()
    assert attempts(folder) == [1, 1, 0, 0]


def test_a_worker_that_does_not_heed_is_killed_with_its_children(tmp_path: Path) -> None:
    code = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" \
           "print(subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)']).pid, flush=True)\n" \
           "time.sleep(60)"
    log = tmp_path / "log.txt"
    process = processes.start([sys.executable, "-S", "-c", code], log)
    wait_for(lambda: log.read_text().strip() != "")
    processes.stop([process], grace=0.2)
    assert process.returncode == -signal.SIGKILL
    wait_for(lambda: not is_alive(int(log.read_text())))


def test_a_worker_does_not_outlive_whoever_began_it(folder: StudyFolder) -> None:
    command = [*processes.cell_of(processes.study_command(Path("none"), folder.path, "cpu"), "k0004-fold0-seed0"),
               "--worker-of", str(os.getppid())]  # not this process, as if that were gone
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == processes.INTERRUPTED
    assert "run the same command again" in done.stderr
    assert "Traceback" not in done.stderr


def wait_for(condition: Any, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_one_thread_whatever_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    log = tmp_path / "cell" / "log.txt"
    processes.start([sys.executable, "-S", "-c", "import os; print(os.environ['OMP_NUM_THREADS'])"], log).wait()
    assert log.read_text() == "1\n"


def test_the_rest_is_estimated_from_finished_cells() -> None:
    forecast = Forecast()
    assert forecast.left([(4, 1.0)], [4, 8], 2) is None  # nothing is known yet
    forecast.note(10, 40.0)
    assert forecast.left([], [10, 10, 10, 10], 2) == 80.0
    assert forecast.left([(10, 30.0)], [10], 1) == 50.0
    assert forecast.left([(10, 500.0)], [], 1) == 0.0  # late already
    forecast.note(20, 60.0)
    forecast.note(20, 80.0)
    assert forecast.expected(20) == 70.0
    assert forecast.expected(40) == pytest.approx(130.0)  # on the line through (10, 40) and (20, 70)


def test_wall_time_of_workers_that_take_the_next_cell_as_they_become_free() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        seconds, slots = rng.uniform(1, 9, rng.integers(1, 12)).tolist(), int(rng.integers(1, 5))
        found = makespan(seconds, [], slots)
        assert max(max(seconds), sum(seconds) / slots) <= found + 1e-9  # no way to be faster
        assert found <= sum(seconds) / slots + max(seconds) + 1e-9  # Graham's bound
    assert makespan([3.0, 3.0, 3.0], [], 2) == 6.0


def test_exit_codes_mean_what_they_mean() -> None:
    assert {processes.outcome(c) for c in (-9, -15, 130, 137, 143)} == {"lost"}
    assert [processes.outcome(c) for c in (0, 1, 2, 3, 75)] == ["done", "failed", "failed", "failed", "busy"]
