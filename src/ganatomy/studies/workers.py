"""Workers: any number of identical processes that claim free cells from the study folder, whoever starts them.

A worker is the study's own command with one thread. It takes one free cell after the other until there is none. The
lock that keeps two of them from one cell is freed by the system when its process ends, however it ends; done.json comes
last. So neither their number nor their order nor the machine changes a result. Here they are processes of this machine;
clusters.py starts them as tasks of a SLURM array or on a Ray cluster.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ganatomy.core import interrupts
from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors, write_text
from ganatomy.core.text import counted, duration

if TYPE_CHECKING:  # it loads torch, which a worker does after it has learnt to be interrupted
    from ganatomy.studies.folder import StudyFolder

Say = Callable[[str], None]
GRACE = 60.0  # seconds that a worker has to save what it has, before it is killed
POLL = 0.5  # seconds
LOOK_AGAIN = 15.0  # seconds, where what is left is held by workers of others
LOSSES = 3  # workers killed for each cell of the study: then something else is wrong
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
              "OMP_WAIT_POLICY": "passive"}
"""Two threads on one core are slower than one, and the bits of a result depend on their number."""


# -- what a worker does


def work(data: Path, study: Path, external: Path | None, device: str, parent: int | None, say: Say) -> int:
    """Run free cells until there is none. SIGTERM has it save its GAN's state and stop, as has the end of `parent`.

    A cell that has failed is left alone. With a parent, which tells of it, no other is begun after a failure either.

    Args:
        data, study, external, device: as of `cell.run_cell`.
        parent: the process that started this one, if it shall not outlive it.
        say: called with each cell's name; what is done there is in the cell's log.

    Returns:
        The exit code: 0 there is nothing left for it, above 128 stopped.

    Raises:
        UserError: a cell failed, which its folder notes.
    """
    with interrupts.raised():  # before the slow imports
        try:
            if parent is not None:
                threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
            _run_free_cells(data, study, external, device, parent is not None, say)
            return 0
        except KeyboardInterrupt:
            say("stopped; run the same command again to go on")
            return interrupts.exit_code()


def _run_free_cells(data: Path, study: Path, external: Path | None, device: str, has_parent: bool, say: Say) -> None:
    from ganatomy.studies.cell import run_cell
    from ganatomy.studies.folder import CellTaken, StudyFolder
    from ganatomy.training.train import Interrupted

    folder = StudyFolder.open(study)
    for cell in folder.all_cells():
        place = folder.cell(cell)
        if has_parent and folder.failures():
            return
        if place.is_done() or place.failed_file.is_file():
            continue
        say(cell.name)
        try:
            run_cell(data, study, cell, external=external, device=device, say=place.log)
        except CellTaken:
            continue
        except Interrupted as stopped:
            place.log(str(stopped))
            raise KeyboardInterrupt from stopped
        except Exception as error:
            text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            place.log(f"error: {text}")
            write_text(place.failed_file, text)
            if has_parent or not isinstance(error, UserError):
                raise


def _end_with(process: int) -> None:
    """Ask this process to stop, until it does, once it is no longer the child of the one that started it."""
    while os.getppid() == process:
        time.sleep(1.0)
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10.0)


# -- how workers are kept going


@dataclass(frozen=True)
class Count:
    """Where a study stands. `seconds_left` is None while nothing is known of how long a cell takes."""

    total: int
    done: int
    seconds_left: float | None = None

    def __str__(self) -> str:
        left = "" if self.seconds_left is None or self.done == self.total else \
            f", about {duration(self.seconds_left)} left"
        return f"{self.done} of {counted(self.total, 'cell')} done{left}"


Show = Callable[[Count], None]


class Crew(Protocol):
    """Whoever starts workers: this machine, or a cluster."""

    def slots(self) -> int:
        """How many can run at a time, as of now."""

    def start(self, log: Path) -> None:
        """Begin one more; what it writes to its output is added to `log`."""

    def running(self) -> int:
        """How many run."""

    def ended(self) -> list[tuple[int, Path]]:
        """Exit code and log of those that have ended since it was last asked; waits a moment."""

    def stop(self) -> None:
        """Have those that run save what they have and end."""


def run_cells(study: StudyFolder, crew: Crew, say: Say, show: Show = lambda count: None) -> None:
    """Have workers run all cells of a study that are not done. One that is killed is replaced.

    Raises:
        UserError: a cell failed; the others that were running are brought to their end first.
        KeyboardInterrupt: SIGINT or SIGTERM; every worker has been stopped, and its cell goes on when it is run again.
    """
    for cell in study.all_cells():
        study.cell(cell).begin_anew()
    with interrupts.raised():
        try:
            _Watch(study, crew, say, show).run()
        except KeyboardInterrupt:
            if crew.running():
                say(f"stopping {counted(crew.running(), 'worker')}, whose cells will go on from where they are")
            raise
        finally:
            crew.stop()
    for cell in study.failures():
        place = study.cell(cell)
        what, _, own_fix = place.failed_file.read_text(encoding="utf-8", errors="replace").partition(" -> ")
        mend = f"{own_fix}; " if own_fix else ""
        raise UserError(f"{cell.name} failed: {what}", where=study.path,
                        fix=f"{mend}its log is {place.log_file}; run the same command again to go on")


class _Watch:
    """Starts workers and takes note of how they end, until all cells are done or one has failed."""

    def __init__(self, study: StudyFolder, crew: Crew, say: Say, show: Show) -> None:
        self.study, self.crew, self.say, self.show = study, crew, say, show
        self.total, self.left = len(study.all_cells()), study.cells_left()
        self.before, self.begun, self.started, self.lost = len(self.left), time.monotonic(), 0, 0
        self.pause_until, self.held = 0.0, False
        if self.before < self.total:
            say(f"{self.total - self.before} of {counted(self.total, 'cell')} are done already")

    def run(self) -> None:
        while self.crew.running() or (self.left and not self.study.failures()):
            wanted = 0 if self.study.failures() else min(self.crew.slots(), len(self.left))
            while self.crew.running() < wanted and time.monotonic() >= self.pause_until:
                self.crew.start(self.study.path.absolute() / "logs" / f"worker-{self.started}.txt")
                self.started += 1
            for code, log in self.crew.ended():
                self._note_end(code, log)
            for cell in [c for c in self.left if self.study.cell(c).is_done()]:
                self.left.remove(cell)
                self.say(f"{cell.name} is done: {self.count()}")
            self.show(self.count())

    def count(self) -> Count:
        """Where it stands; the rest takes as long, a cell, as those that were done here."""
        done = self.before - len(self.left)
        seconds = (time.monotonic() - self.begun) * len(self.left) / done if done else None
        return Count(self.total, self.total - len(self.left), seconds)

    def _note_end(self, code: int, log: Path) -> None:
        again, word = "run the same command again to go on", f"exit code {code}" if code > 0 else f"signal {-code}"
        if code == 0:
            self.pause_until = time.monotonic() + LOOK_AGAIN
            if not self.held and not self.crew.running() and self.study.cells_left():
                self.held = True
                self.say("what is left is held by workers that another command started: it is looked at again every "
                         f"{LOOK_AGAIN:.0f} s")
        elif code < 0 or code > 128:  # from outside: by a signal, or asked to stop; a shell between says 128 + signal
            self.lost += 1
            if self.lost > LOSSES * self.total:
                raise UserError(f"{self.lost} workers were lost, the last one by {word}", where=log, fix=again)
            self.say(f"warning: a worker was lost ({word}); its cell goes on from where it was")
        elif not self.study.failures():
            raise UserError(f"a worker failed ({word}): {last_words(log)}", where=log, fix=again)


def last_words(log: Path) -> str:
    """The last line of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    return next((line for line in reversed(lines) if line.strip()), "it left no message").removeprefix("error: ")


def study_command(data: Path, study: Path, device: str, external: Path | None = None) -> list[str]:
    """What goes on with a study, here or on another machine: absolute paths, the Python of this environment."""
    more = ["--external", str(external.absolute())] if external else []
    return [sys.executable, "-m", "ganatomy", "study", str(data.absolute()), str(study.absolute()), "--device", device,
            *more]


def start(command: Sequence[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a worker, with one thread; its output is added to `log`.

    It ends when this process is gone. It has a group of its own, so that an interrupt from the keyboard reaches this
    process alone, and that it leaves nothing behind.
    """
    with disk_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        handle = log.open("ab")
    with handle:
        return subprocess.Popen([*command, "--worker", "--parent", str(os.getpid())], stdout=handle, stderr=handle,
                                stdin=subprocess.DEVNULL, start_new_session=True,
                                env={**os.environ, **ONE_THREAD, **environment})


def stop(processes: Iterable[subprocess.Popen[bytes]], grace: float = GRACE) -> None:
    """Ask processes to save and end, and kill what is left of them after `grace` seconds, or at a second Ctrl-C."""
    processes = list(processes)
    try:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + grace
        for process in processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for process in processes:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # also what it may have started itself
                process.wait()


# -- on this machine


class Here:
    """A `Crew` on this machine."""

    def __init__(self, command: Sequence[str], workers: int) -> None:
        if workers < 1:
            raise UserError(f"{workers} workers do nothing", where="--workers", fix="give at least 1")
        self._command, self._workers = list(command), workers
        self._running: list[tuple[subprocess.Popen[bytes], Path]] = []

    def slots(self) -> int:
        return self._workers

    def start(self, log: Path) -> None:
        self._running.append((start(self._command, log), log))

    def running(self) -> int:
        return len(self._running)

    def ended(self) -> list[tuple[int, Path]]:
        time.sleep(POLL)
        codes = [(process.poll(), log) for process, log in self._running]
        self._running = [pair for pair in self._running if pair[0].returncode is None]
        return [(code, log) for code, log in codes if code is not None]

    def stop(self) -> None:
        stop(process for process, _ in self._running)
        self._running.clear()
