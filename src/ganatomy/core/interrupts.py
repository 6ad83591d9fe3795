"""Being asked to end: by Ctrl-C, by a scheduler (SIGTERM), by a terminal that closes (SIGHUP). All three mean the same.

Whoever is asked leaves nothing half-made behind, and the same command again does its work or goes on with it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_received: list[int] = []
_delayed: list[int] = []
_delays = 0


class Ending(KeyboardInterrupt):
    """Of a type of its own: Python ends by a signal, whatever `sys.exit` says, when KeyboardInterrupt itself has come
    out of a text that was being executed, as some libraries do when they are imported."""


def exit_code() -> int:
    """That of a process which has been asked to end, as shells count: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_received[-1] if _received else signal.SIGINT)


@contextmanager
def raised() -> Iterator[None]:
    """Within the block each of the signals raises KeyboardInterrupt, in the main thread."""
    with _handled(_raise):
        yield


@contextmanager
def noted() -> Iterator[Callable[[], bool]]:
    """Within the block none of them interrupts anything; the yielded function says whether one has come."""
    before = len(_received)
    with _handled(lambda number, frame: _received.append(number)):
        yield lambda: len(_received) > before


@contextmanager
def delayed() -> Iterator[None]:
    """A block that is not to be left halfway, such as tidying up: the signals of `raised` take effect at its end."""
    global _delays
    _delays += 1
    try:
        yield
    finally:
        _delays -= 1
        if _delayed and not _delays:
            _delayed.clear()
            raise Ending


@contextmanager
def _handled(handler: Callable[[int, Any], object]) -> Iterator[None]:
    before = {}
    try:
        for number in SIGNALS:
            # nohup has SIGHUP ignored; shells ignore SIGINT in the background, and it is yet sent there on purpose
            if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    except ValueError:  # only the main thread is told of signals
        pass
    try:
        yield
    finally:
        for number, own in before.items():
            signal.signal(number, signal.SIG_DFL if own is None else own)


def _raise(number: int, frame: object) -> None:
    _received.append(number)
    if not _delays:
        raise Ending
    _delayed.append(number)
