"""Running a study's cells on this machine: so many at a time, each in a process of its own with one thread."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ganatomy.errors import UserError
from ganatomy.studying.folder import Cell, StudyFolder
from ganatomy.wording import counted

Say = Callable[[str], None]
POLL = 0.2  # seconds
ATTEMPTS = 3  # of a cell whose process is killed: a lost worker costs its cell's unfinished part only


def cell_command(data: Path, study: Path, cell: Cell, device: str, external: Path | None = None) -> list[str]:
    """What a worker runs, on this machine or another."""
    more = ["--external", str(external)] if external else []
    return [sys.executable, "-m", "ganatomy", "study", str(data), str(study), "--cell", cell.name, "--device", device,
            *more]


def cell_environment() -> dict[str, str]:
    """One thread a worker: two on one core are slower than one, and the bits depend on their number."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive"}


def run_here(study: StudyFolder, cells: Sequence[Cell], command: Callable[[Cell], list[str]], workers: int,
             say: Say) -> None:
    """Run cells, `workers` at a time. A process that is killed has its cell run again.

    Raises:
        UserError: a cell failed; the others that were running are brought to their end first.
    """
    waiting, running, lost = list(cells), dict[Cell, subprocess.Popen[bytes]](), dict[Cell, int]()
    progress = Progress(len(study.all_cells()), len(cells), say)
    failed: Cell | None = None
    try:
        while running or (waiting and failed is None):
            while waiting and len(running) < workers and failed is None:
                cell = waiting.pop(0)
                running[cell] = _start(study, cell, command(cell))
            time.sleep(POLL)
            for cell in [c for c, process in running.items() if process.poll() is not None]:
                code = running.pop(cell).returncode
                if code == 0:
                    progress.done(cell, len(running), len(waiting))
                elif code < 0 and lost.get(cell, 0) + 1 < ATTEMPTS:
                    lost[cell] = lost.get(cell, 0) + 1
                    say(f"warning: the worker of {cell.name} was killed (signal {-code}); the cell goes on from where "
                        "it was")
                    waiting.insert(0, cell)
                else:
                    failed = failed or cell
    finally:
        for process in running.values():
            process.terminate()
    if failed is not None:
        raise UserError(f"{failed.name} failed: {last_words(study, failed)}", where=study.path,
                        fix=f"its log is {study.cell(failed).log_file}; run the same command again to go on")


def _start(study: StudyFolder, cell: Cell, command: list[str]) -> subprocess.Popen[bytes]:
    folder = study.cell(cell)
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.log_file.open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=cell_environment())


def last_words(study: StudyFolder, cell: Cell) -> str:
    """The last line of a cell's log, which says why it failed."""
    log = study.cell(cell).log_file
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return next((line.removeprefix("error: ") for line in reversed(lines) if line.strip()), "it left no message")


class Progress:
    """Says how many cells are done, running and left, and about how long the rest will take."""

    def __init__(self, total: int, left: int, say: Say) -> None:
        self.total, self.finished, self.say = total, total - left, say
        self.before, self.started = total - left, time.perf_counter()
        if self.before:
            say(f"{self.before} of {counted(total, 'cell')} are done already")

    def done(self, cell: Cell, running: int, waiting: int) -> None:
        """A cell is finished."""
        self.finished += 1
        passed = time.perf_counter() - self.started
        left = passed / (self.finished - self.before) * (self.total - self.finished)
        self.say(f"{cell.name} is done: {self.finished} of {self.total} cells, {running} running, {waiting} waiting, "
                 f"about {_minutes(left)} left")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
