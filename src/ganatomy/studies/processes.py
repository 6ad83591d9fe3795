"""A cell as a process of its own: how it is started, here or on another machine, and what its end means.

Nothing heavy is imported: this is what a Ray node works with.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from ganatomy.core.files import disk_errors

BUSY = 75  # exit code: another process is at this cell (EX_TEMPFAIL of sysexits.h)
INTERRUPTED = 130
BEGUN = "begun "  # how a cell's log opens every attempt
GRACE = 60.0  # seconds that a process has to save what it has, before it is killed
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
              "OMP_WAIT_POLICY": "passive"}
"""Two threads on one core are slower than one, and the bits of a result depend on their number."""

Outcome = Literal["done", "busy", "lost", "failed"]


def study_command(data: Path, study: Path, device: str, external: Path | None = None) -> list[str]:
    """What goes on with a study, here or on another machine: absolute paths, the Python of this environment."""
    more = ["--external", str(external.absolute())] if external else []
    return [sys.executable, "-m", "ganatomy", "study", str(data.absolute()), str(study.absolute()), "--device", device,
            *more]


def cell_of(command: Sequence[str], cell: str) -> list[str]:
    """The command for one cell of the study."""
    return [*command, "--cell", cell]


def start(command: Sequence[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start a cell's process, with one thread; what it says is added to its log.

    It is told who started it, and ends when that process is gone. An interrupt from the keyboard reaches only whoever
    started it, and a group of its own makes sure that it leaves nothing behind.
    """
    with disk_errors(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        handle = log.open("ab")
    with handle:
        return subprocess.Popen([*command, "--worker-of", str(os.getpid())], stdout=handle, stderr=handle,
                                stdin=subprocess.DEVNULL, start_new_session=True,
                                env={**os.environ, **ONE_THREAD, **environment})


def outcome(code: int) -> Outcome:
    """What an exit code means. Lost: ended from outside (by a signal, or asked to stop), so worth another attempt."""
    if code == 0:
        return "done"
    if code == BUSY:
        return "busy"
    return "lost" if code < 0 or code > 128 else "failed"  # a shell between says 128 + signal


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


def last_words(log: Path) -> str:
    """The last line of a cell's log, which says why it failed."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.is_file() else []
    said = (line for line in reversed(lines) if line.strip() and not line.startswith(BEGUN))
    return next(said, "it left no message").removeprefix("error: ")


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Have SIGTERM do for a while what Ctrl-C does; in other threads than the main one nothing is changed."""
    try:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
