"""Running a study's cells: what is begun when, what is done when one is lost, held or failed; whoever does the work.

Cells know nothing of each other, so neither their number at a time nor their order nor the machine changes a result.
"""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from ganatomy.core.errors import UserError
from ganatomy.core.text import counted
from ganatomy.studies.folder import CELL_TAKEN, Cell, CellTaken, StudyFolder
from ganatomy.studies.forecast import Count, Forecast
from ganatomy.studies.processes import Outcome, cell_of, last_words, outcome, sigterm_interrupts, start, stop

Say = Callable[[str], None]
Show = Callable[[Count], None]
POLL = 0.2  # seconds
LOOK_AGAIN = 5.0  # seconds, at a cell that another process holds
ATTEMPTS = 3  # of a cell whose process is killed: a lost worker costs its cell's unfinished part only


class Crew(Protocol):
    """Whoever runs cells: processes of this machine, or a cluster."""

    def slots(self) -> int:
        """How many cells it can run at a time, as of now."""

    def start(self, cell: Cell) -> None:
        """Begin one."""

    def ended(self) -> list[tuple[Cell, Outcome, str]]:
        """Those that have ended since it was last asked, with a word on how a lost one ended; waits a moment."""

    def stop(self) -> None:
        """Have those that run save what they have and end."""


class Here:
    """Cells on this machine, `workers` at a time, each in a process of its own with one thread."""

    def __init__(self, study: StudyFolder, command: Sequence[str], workers: int) -> None:
        if workers < 1:
            raise UserError(f"{workers} workers do nothing", where="--workers", fix="give at least 1")
        self._study, self._command, self._workers = study, list(command), workers
        self._running: dict[Cell, subprocess.Popen[bytes]] = {}

    def slots(self) -> int:
        """See `Crew`."""
        return self._workers

    def start(self, cell: Cell) -> None:
        """See `Crew`."""
        self._running[cell] = start(cell_of(self._command, cell.name), self._study.cell(cell).log_file)

    def ended(self) -> list[tuple[Cell, Outcome, str]]:
        """See `Crew`."""
        time.sleep(POLL)
        codes = {cell: process.poll() for cell, process in self._running.items()}
        found = [(cell, outcome(code), f"exit code {code}" if code > 0 else f"signal {-code}")
                 for cell, code in codes.items() if code is not None]
        for cell, _, _ in found:
            del self._running[cell]
        return found

    def stop(self) -> None:
        """See `Crew`."""
        stop(self._running.values())
        self._running.clear()


def run_cells(study: StudyFolder, cells: Sequence[Cell], crew: Crew, say: Say,
              show: Show = lambda count: None) -> None:
    """Run cells to their end. One whose process is killed is run again, one that another process holds is waited for.

    Args:
        study: the folder.
        cells: those that are not done.
        crew: who does it.
        say: called with lines for the user.
        show: called with every change, and now and then.

    Raises:
        UserError: a cell failed; the others that were running are brought to their end first.
        KeyboardInterrupt: SIGINT or SIGTERM; every cell has been stopped, and goes on when it is run again.
    """
    queue = _Queue(study, cells, crew, say, show)
    with sigterm_interrupts():
        try:
            queue.run()
        except KeyboardInterrupt:
            if queue.running:
                say(f"stopping {counted(len(queue.running), 'cell')}, which will go on from where they are")
            raise
        finally:
            crew.stop()
    if queue.failed is not None:
        cell, how = queue.failed
        log = study.cell(cell).log_file
        what, _, own_fix = last_words(log).partition(" -> ")
        mend = f"{own_fix}; " if own_fix else ""
        raise UserError(f"{cell.name} {how}: {what}", where=study.path,
                        fix=f"{mend}its log is {log}; run the same command again to go on")


class _Queue:
    """Which cells wait, which run, and the first that failed."""

    def __init__(self, study: StudyFolder, cells: Sequence[Cell], crew: Crew, say: Say, show: Show) -> None:
        self.study, self.crew, self.say, self.show = study, crew, say, show
        self.total = len(study.all_cells())
        self.waiting, self.running = list(cells), dict[Cell, float]()  # since when
        self.held, self.told = dict[Cell, float](), set[Cell]()  # by another process: when that was last looked at
        self.lost, self.taken_up = Counter[Cell](), set[Cell]()
        self.failed: tuple[Cell, str] | None = None
        self.forecast = Forecast()
        if len(cells) < self.total:
            say(f"{self.total - len(cells)} of {counted(self.total, 'cell')} are done already")

    def run(self) -> None:
        """Begin cells and take note of how they end, until there is nothing left to do."""
        while True:
            if self.failed is None:
                self._begin()
            self.show(self.count())
            if not self.running and (self.failed is not None or not (self.waiting or self.held)):
                return
            for cell, how, word in self.crew.ended():
                self._note(cell, how, word)

    def count(self) -> Count:
        """Where it stands."""
        now, left = time.monotonic(), [*self.waiting, *self.held]
        seconds = self.forecast.left([(c.k, now - begun) for c, begun in self.running.items()], [c.k for c in left],
                                     self.crew.slots())
        return Count(self.total, self.total - len(left) - len(self.running), tuple(c.name for c in self.running),
                     len(left), seconds)

    def _begin(self) -> None:
        """Fill the free slots."""
        for cell in [c for c, looked in self.held.items() if time.monotonic() - looked >= LOOK_AGAIN]:
            del self.held[cell]
            self.waiting.append(cell)
        while self.waiting and len(self.running) < self.crew.slots():
            cell = self.waiting.pop(0)
            if self.study.cell(cell).is_done():
                self.say(f"{cell.name} has been done by another process: {self.count()}")
            elif self._is_held(cell):
                self._hold(cell)
            else:
                if self.study.cell(cell).manifest_file.exists():
                    self.taken_up.add(cell)
                self.crew.start(cell)
                self.running[cell] = time.monotonic()

    def _is_held(self, cell: Cell) -> bool:
        try:
            with self.study.cell(cell).lock():
                return False
        except CellTaken:
            return True

    def _hold(self, cell: Cell) -> None:
        self.held[cell] = time.monotonic()
        if cell not in self.told:
            self.told.add(cell)
            self.say(f"{cell.name}: {CELL_TAKEN}; others go first, and it is looked at again every {LOOK_AGAIN:.0f} s")

    def _note(self, cell: Cell, how: Outcome, word: str) -> None:
        """A cell's process has ended."""
        seconds = time.monotonic() - self.running.pop(cell)
        if how == "done":
            if cell not in self.taken_up:  # of others, no whole time is known
                self.forecast.note(cell.k, seconds)
            self.say(f"{cell.name} is done: {self.count()}")
        elif how == "busy":
            self._hold(cell)
        elif how == "lost" and self.lost[cell] + 1 < ATTEMPTS:
            self.lost[cell] += 1
            self.say(f"warning: the worker of {cell.name} was lost ({word}); the cell goes on from where it was")
            self.waiting.insert(0, cell)
        elif self.failed is None:
            self.failed = cell, "failed" if how == "failed" else \
                f"was lost {ATTEMPTS} times ({word}: memory may have run out) and said last"
