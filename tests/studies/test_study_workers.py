"""Workers and how they are kept going: lost, held and failed cells, interrupts; with workers that only play."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ganatomy.core.errors import UserError
from ganatomy.studies import workers
from ganatomy.studies.folder import ATTEMPTS, Cell, StudyFolder
from ganatomy.studies.workers import Count, Here, run_cells
from tests.studies.study_dataset import begun, wait_for

PLAY = """
import fcntl, json, os, signal, sys, time
from pathlib import Path
for cell in {cells!r}:
    folder = Path({study!r}) / "cells" / cell
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder.parent / f".{{folder.name}}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        continue
    if any(folder.parent.glob("*/failed.txt")):
        break
    if (folder / "done.json").exists():
        continue
    begun = time.time()
    with (folder / "tries").open("a") as f:
        f.write("x")
    attempt = (folder / "tries").stat().st_size
    print("at", cell, flush=True)
    {what}
    (folder / "done.json").write_text(json.dumps({{"files": {{}}, "times": [begun, time.time()]}}))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    """A study of four cells, of which none is begun."""
    monkeypatch.setattr(workers, "POLL", 0.1)
    monkeypatch.setattr(workers, "LOOK_AGAIN", 0.3)
    return begun(tmp_path)


def playing(folder: StudyFolder, what: str = "pass") -> list[str]:
    """The command of a worker that does nothing but this."""
    cells = [c.name for c in folder.all_cells()]
    return [sys.executable, "-S", "-c", PLAY.format(study=str(folder.path), cells=cells, what=what)]


def tries(folder: StudyFolder) -> list[int]:
    """How often each cell was begun."""
    files = [folder.cell(c).path / "tries" for c in folder.all_cells()]
    return [f.stat().st_size if f.exists() else 0 for f in files]


def go(folder: StudyFolder, what: str = "pass", crew: int = 2) -> tuple[list[str], list[Count]]:
    lines: list[str] = []
    counts: list[Count] = []
    run_cells(folder, Here(playing(folder, what), crew), lines.append, counts.append)
    return lines, counts


@pytest.mark.parametrize("crew", [1, 3])
def test_as_many_run_at_a_time_as_there_are_workers(folder: StudyFolder, crew: int) -> None:
    lines, counts = go(folder, "time.sleep(0.6)", crew)
    times = [json.loads(folder.cell(c).done_file.read_text())["times"] for c in folder.all_cells()]
    assert max(sum(a <= begun < b for a, b in times) for begun, _ in times) == crew
    assert (counts[-1].done, counts[-1].total) == (4, 4)
    assert sum("is done" in line for line in lines) == 4
    assert tries(folder) == [1, 1, 1, 1]


def test_a_killed_worker_costs_its_own_cell_only(folder: StudyFolder) -> None:
    lines, _ = go(folder, "if cell.endswith('fold1-seed0') and attempt == 1: os.kill(os.getpid(), signal.SIGKILL)")
    assert tries(folder) == [1, 1, 2, 1]
    assert not folder.cells_left()
    assert [line for line in lines if "warning" in line] == [
        "warning: a worker was lost (signal 9); its cell goes on from where it was"]


def test_workers_that_always_die_are_given_up(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LOSSES", 1)
    with pytest.raises(UserError, match="5 workers were lost, the last one by signal 9"):
        go(folder, "os.kill(os.getpid(), signal.SIGKILL)", crew=1)


def test_a_cell_that_kills_its_workers_is_given_up(folder: StudyFolder) -> None:
    place = folder.cell(folder.all_cells()[0])
    with place.lock():
        for number in range(ATTEMPTS):
            with place.attempt():
                kept = place.attempts_file.read_text()
            assert not place.attempts_file.exists()  # it ended by itself
            place.attempts_file.write_text(kept if number == 0 else str(number + 1))  # it was killed
        with pytest.raises(UserError, match="was begun 3 times, and each time its process was killed"), place.attempt():
            pytest.fail("it was begun")
        place.begin_anew()
        with place.attempt():
            pass


def test_a_failed_cell_is_named_and_the_others_end_in_peace(folder: StudyFolder) -> None:
    what = "if cell.endswith('fold0-seed0'):\n" \
           "        while not (folder.parent / 'k0004-fold0-seed1' / 'tries').exists(): time.sleep(0.01)\n" \
           "        (folder / 'failed.txt').write_text('no such thing -> mend it')\n        sys.exit(2)\n" \
           "    time.sleep(1)"
    with pytest.raises(UserError, match="k0004-fold0-seed0 failed: no such thing -> mend it; its log is") as caught:
        go(folder, what)
    assert str(caught.value).count("->") == 1 and "log.txt" in str(caught.value.fix)
    assert tries(folder)[2:] == [0, 0]  # nothing more was begun
    assert folder.all_cells()[1] not in folder.cells_left()
    go(folder)  # the same command again begins it anew
    assert not folder.cells_left()


def test_a_worker_that_fails_before_it_has_a_cell_is_told_of(folder: StudyFolder) -> None:
    with pytest.raises(UserError, match=r"a worker failed \(exit code 2\): no such dataset"):
        run_cells(folder, Here([sys.executable, "-S", "-c", "raise SystemExit(print('error: no such dataset') or 2)"],
                               1), print)


def test_a_cell_that_another_process_holds_is_waited_for(folder: StudyFolder) -> None:
    first = folder.all_cells()[0]
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with folder.cell(first).lock():
            held.set()
            free.wait(20)

    other = threading.Thread(target=hold)
    other.start()
    assert held.wait(10)
    lines: list[str] = []

    def release(line: str) -> None:
        lines.append(line)
        if "held by workers" in line:
            free.set()

    run_cells(folder, Here(playing(folder), 1), release)
    other.join()
    assert tries(folder) == [1, 1, 1, 1]
    assert len([line for line in lines if "held by workers that another command started" in line]) == 1
    assert "k0004-fold0-seed0 is done" in lines[-1]


def working(folder: StudyFolder, monkeypatch: pytest.MonkeyPatch, run: Callable[[Cell], None],
            parent: int | None) -> list[str]:
    """The cells that a worker in this process takes, when each is this function."""
    taken: list[str] = []

    def run_cell(data: Path, study: Path, cell: Cell, **options: Any) -> None:
        with folder.cell(cell).lock():
            taken.append(cell.name)
            run(cell)
            folder.cell(cell).note_done([])

    monkeypatch.setattr("ganatomy.studies.cell.run_cell", run_cell)
    assert workers.work(Path(), folder.path, None, "cpu", parent, lambda text: None) == 0
    return taken


def test_a_worker_takes_what_is_free_and_notes_what_fails(folder: StudyFolder,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third, fourth = folder.all_cells()

    def fail_second(cell: Cell) -> None:
        if cell == second:
            raise UserError("no such thing", fix="mend it")

    with ThreadPoolExecutor(1) as other, folder.cell(first).lock():
        taken = other.submit(working, folder, monkeypatch, fail_second, None).result()
    assert taken == [second.name, third.name, fourth.name]
    assert folder.failures() == [second] and folder.cells_left() == [first, second]
    assert "no such thing -> mend it" in folder.cell(second).log_file.read_text()
    assert working(folder, monkeypatch, fail_second, os.getppid()) == []  # with a parent, which tells of the failure
    assert working(folder, monkeypatch, fail_second, None) == [first.name]


@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_workers_first(folder: StudyFolder, ask: signal.Signals) -> None:
    what = "save = lambda *of: ((folder / 'saved').write_text(str(os.getpid())), sys.exit(130))\n" \
           "    signal.signal(signal.SIGTERM, save)\n    (folder / 'ready').touch()\n    time.sleep(60)"
    code = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.workers import Here, run_cells
try:
    run_cells(StudyFolder.open({str(folder.path)!r}), Here({playing(folder, what)!r}, 2), print)
except KeyboardInterrupt:
    sys.exit(130)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    paths = [folder.cell(c).path for c in folder.all_cells()[:2]]
    wait_for(lambda: all((p / "ready").exists() for p in paths))
    parent.send_signal(ask)
    output, _ = parent.communicate(timeout=30)
    assert parent.returncode == 130
    assert "stopping 2 workers" in output
    for path in paths:
        assert not Path(f"/proc/{(path / 'saved').read_text()}").exists()
    assert tries(folder) == [1, 1, 0, 0]


def test_a_worker_ends_with_the_process_that_started_it() -> None:
    worker = "import os, sys, time; from ganatomy.studies import workers\n" \
             "workers._run_free_cells = lambda *given: time.sleep(60)\n" \
             "workers.work(None, None, None, 'cpu', os.getppid(), print)"
    parent = subprocess.Popen([sys.executable, "-c", "import subprocess, sys, time\n" \
                               f"print(subprocess.Popen([sys.executable, '-c', {worker!r}]).pid, flush=True)\n" \
                               "time.sleep(60)"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(1)
    assert is_alive(child)
    parent.kill()
    parent.communicate()
    wait_for(lambda: not is_alive(child), 20)


def test_a_worker_that_does_not_heed_is_killed_with_its_children(tmp_path: Path) -> None:
    code = "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" \
           "print(subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)']).pid, flush=True)\n" \
           "time.sleep(60)"
    log = tmp_path / "log.txt"
    process = workers.start([sys.executable, "-S", "-c", code], log)
    wait_for(lambda: log.read_text().strip() != "")
    workers.stop([process], grace=0.2)
    assert process.returncode == -signal.SIGKILL
    wait_for(lambda: not is_alive(int(log.read_text())))


def is_alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
