"""The same function over many files, in several processes, results in order, memory and time bounded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from ganatomy.core.errors import UserError
from ganatomy.core.interrupts import SIGNALS, delayed

T = TypeVar("T")
R = TypeVar("R")

FEW = 64  # items: fewer are not worth other processes
MOST_WORKERS = 64
PROGRESS_SECONDS = 10.0
MOST_MEMORY = 16 * 2**30  # bytes that a process may take, or all that the machine has, if less
DEADLINE = 3600  # seconds that a process may need for one item


def progress(total: int, what: str, say: Callable[[str], None]) -> Callable[[int], None]:
    """A function to call with the number done: it says a line now and then, when this takes long."""
    start = last = time.monotonic()

    def done_so_far(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_SECONDS and done < total:
            last = now
            say(f"{done} of {total} {what}, about {(now - start) / done * (total - done):.0f} s left")

    return done_so_far


def default_workers() -> int:
    """One a core that this process may use; one where a fork is not to be had: scripts without a main guard would
    start themselves again."""
    if sys.platform != "linux":
        return 1
    return max(1, min(16, len(os.sched_getaffinity(0))))


def in_order(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """`function(item)` of every item, in the items' order.

    Args:
        function: a module's function; items and results travel between processes.
        items: taken one by one, as workers become free.
        workers: number of processes; 1 works in this one.

    Raises:
        UserError: a process died, as they do when memory runs out, or needed more than `DEADLINE` or `MOST_MEMORY`.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    crew: list[_Worker[T, R]] = []
    waiting: deque[_Worker[T, R]] = deque()
    try:
        for item in items:
            if len(crew) < workers:
                with delayed():
                    crew.append(_Worker(function, [worker.ours for worker in crew]))
                crew[-1].send(item)
                waiting.append(crew[-1])
                continue
            oldest = waiting.popleft()
            result = oldest.receive()
            oldest.send(item)  # before the result is taken, so that the worker has something to do meanwhile
            waiting.append(oldest)
            yield result
        while waiting:
            yield waiting.popleft().receive()
    finally:
        with delayed():
            for worker in crew:
                worker.end()


class _Worker(Generic[T, R]):
    """A process with a pipe of its own, which holds one item at a time: so neither can wait for the other for ever, and
    each notices at once when the other is gone."""

    def __init__(self, function: Callable[[T], R], others: Sequence[Connection]) -> None:
        context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self.ours, theirs = context.Pipe()
        inherited = [self.ours, *others] if sys.platform == "linux" else []
        with _undisturbed():
            self._process = context.Process(target=_work, args=(function, theirs, inherited), daemon=True)
            self._process.start()
        theirs.close()

    def send(self, item: T) -> None:
        """Give it the next item. Raises `UserError` if it is gone."""
        with self._told_when_gone():
            self.ours.send(item)

    def receive(self) -> R:
        """The result of its item. Raises what the function raised, and `UserError` if the process is gone."""
        result: R
        with self._told_when_gone():
            result, error = self.ours.recv()
        if error is not None:
            raise error
        return result

    def end(self) -> None:
        """End it at once, whatever it does."""
        self.ours.close()
        self._process.kill()
        self._process.join()

    @contextmanager
    def _told_when_gone(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            self._process.join()
            if self._process.exitcode == -signal.SIGTERM:  # as a scheduler sends it to all processes of a job
                raise KeyboardInterrupt from error
            if self._process.exitcode == -getattr(signal, "SIGALRM", 0):
                raise UserError(f"a reading process was at one file or volume for more than {DEADLINE // 60} minutes",
                                fix="prepare parts of the source to find out which, and leave it out") from error
            raise _out_of_memory("was ended from outside, most likely because memory ran out") from error


def _work(function: Callable[[Any], Any], pipe: Connection, inherited: Sequence[Connection]) -> None:
    """What a process does until there are no more items, or nobody who gives them."""
    for connection in inherited:  # while a copy of the other end is held here, its owner's end would not be noticed
        connection.close()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    if sys.platform == "linux":
        _limit_memory()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process
    alarm: Callable[[int], object] = getattr(signal, "alarm", lambda seconds: None)
    try:
        while True:
            item = pipe.recv()
            alarm(DEADLINE)
            try:
                answer: tuple[Any, Exception | None] = (function(item), None)
            except MemoryError:
                answer = (None, _out_of_memory("needs more memory than it may take"))
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = (None, error)
            alarm(0)
            pipe.send(answer)
    except (EOFError, OSError):
        return


def _limit_memory() -> None:
    """Let this process take `MOST_MEMORY` beside what it began with; files mapped to be read do not count."""
    try:
        import resource
    except ImportError:
        return
    page = resource.getpagesize()
    begun = int(Path("/proc/self/statm").read_text().split()[5]) * page
    most = begun + min(MOST_MEMORY, os.sysconf("SC_PHYS_PAGES") * page)
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _end_with_parent() -> None:
    """End this process, whatever it does, when the one that it works for has been killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _out_of_memory(what: str) -> UserError:
    return UserError(f"a reading process {what}", fix="add --workers 1, or free memory")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A process begun here is asked to end only when it knows what to do then; this one is asked afterwards."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    with delayed():
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
