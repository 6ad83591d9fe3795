"""What runs in a cell's process: the cell, an eye on whoever started it, and an exit code that tells how it ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.studies.processes import BEGUN, BUSY, INTERRUPTED, sigterm_interrupts

LOOK_EVERY, ASK_EVERY = 1.0, 10.0  # seconds


def work(data: Path, study: Path, cell: str, external: Path | None, device: str, worker_of: int | None,
         say: Callable[[str], None]) -> int:
    """Run one cell. SIGTERM has it save its GAN's state and stop, and so has the end of the process `worker_of`.

    Args:
        data, study, external, device: as of `cells.run_cell`.
        cell: its name.
        worker_of: the process that started this one, if it shall not outlive it.
        say: called with lines for the log.

    Returns:
        The exit code: 0 done, 75 another process is at this cell, 130 stopped.

    Raises:
        UserError: as `cells.run_cell`.
    """
    with sigterm_interrupts():  # before the slow imports
        try:
            if worker_of is not None:
                threading.Thread(target=_end_with, args=(worker_of,), daemon=True).start()
            say(f"{BEGUN}{time.strftime('%Y-%m-%d %H:%M:%S')}")
            return _run(data, study, cell, external, device, say)
        except KeyboardInterrupt:
            say("stopped; run the same command again to go on")
            return INTERRUPTED


def _run(data: Path, study: Path, cell: str, external: Path | None, device: str, say: Callable[[str], None]) -> int:
    from ganatomy.studies.cell import run_cell
    from ganatomy.studies.folder import Cell, CellTaken
    from ganatomy.training.train import Interrupted

    try:
        which = Cell.of(cell)
    except ValueError:
        raise UserError(f"{cell!r} is no cell", where="--cell", fix="name one such as k0025-fold0-seed0") from None
    try:
        run_cell(data, study, which, external=external, device=device, say=say)
    except Interrupted as stopped:
        say(str(stopped))
        return INTERRUPTED
    except CellTaken as error:
        say(f"{error.where}: {error.what}")
        return BUSY
    return 0


def _end_with(process: int) -> None:
    """Ask this process to stop, until it does, once it is no longer the child of the one that started it."""
    while os.getppid() == process:
        time.sleep(LOOK_EVERY)
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ASK_EVERY)
