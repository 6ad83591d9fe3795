"""The same function over many files, in several processes, results in order, memory bounded."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from ganatomy.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2
"""Items a worker may be ahead of the one that takes the results: what is waiting is held in memory."""
FEW = 64
"""Fewer items than this are not worth other processes."""
MOST_WORKERS = 64


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
        UserError: a process died, as they do when memory runs out.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    method = "fork" if sys.platform == "linux" else "spawn"
    with ProcessPoolExecutor(workers, multiprocessing.get_context(method), initializer=_begin_worker) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(_work, function, item))
                if len(waiting) >= workers * AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError("a reading process was ended from outside, most likely because memory ran out",
                            fix="add --workers 1, or free memory") from error
        finally:
            for future in waiting:
                future.cancel()


def _begin_worker() -> None:
    """Make a worker end at once, and silently, with the process it works for.

    Left alone, a worker waits for ever where that process was killed, since it holds the other end of its own queue.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _work(function: Callable[[T], R], item: T) -> R:
    """`function(item)`, ended at once and silently by an interrupt from the keyboard.

    Only here: were a worker to end while it sends a result, the other process would wait for the rest for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return function(item)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
