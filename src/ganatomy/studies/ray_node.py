"""What runs on a node of a Ray cluster. Nothing heavy is imported: a node's worker starts at once."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ganatomy import __version__
from ganatomy.studies.processes import start, stop

POLL = 0.2  # seconds


def look(mark: str, hashes: Mapping[str, str], python: str) -> tuple[str, list[str]]:
    """The version of ganatomy here, and which of these are not here, or are others: folders and the Python."""
    lacking = [] if Path(mark).exists() else [str(Path(mark).parent)]
    for path, wanted in hashes.items():
        if not Path(path).is_file() or hashlib.sha256(Path(path).read_bytes()).hexdigest() != wanted:
            lacking.append(str(Path(path).parent))
    if not Path(python).is_file():
        lacking.append(python)
    return __version__, lacking


def run(command: Sequence[str], log: str, gpu: bool) -> int:
    """Run a cell's process to its end; its exit code. A task that is cancelled stops it first.

    Without a share of a GPU the process sees none, so that cells do the same on every node.
    """
    with suppress(ValueError):  # ignored where Ray was begun in the background of a script, and Ray cancels by it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start(command, Path(log), **({} if gpu else {"CUDA_VISIBLE_DEVICES": ""}))
    try:
        while (code := process.poll()) is None:
            time.sleep(POLL)  # not wait(): Ray's way to cancel is noticed between two steps of Python only
        return code
    except BaseException:
        stop([process])
        raise
