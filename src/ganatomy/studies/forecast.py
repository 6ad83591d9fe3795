"""How long the rest of a study will take, from the cells that are finished."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Count:
    """Where a study stands. `seconds_left` is None while nothing is known of how long a cell takes."""

    total: int
    done: int
    running: tuple[str, ...]
    waiting: int
    seconds_left: float | None

    def __str__(self) -> str:
        left = "" if self.seconds_left is None or self.done == self.total else f", about {span(self.seconds_left)} left"
        return f"{self.done} of {self.total} cells done, {len(self.running)} running, {self.waiting} waiting{left}"


class Forecast:
    """Seconds that cells have taken, by k, and what follows for the others."""

    def __init__(self) -> None:
        self._seen: dict[int, list[float]] = defaultdict(list)

    def note(self, k: int, seconds: float) -> None:
        """A cell has been done from its start to its end."""
        self._seen[k].append(seconds)

    def expected(self, k: int) -> float | None:
        """Seconds of a cell of this k, None if none is known.

        GANs and classifiers make as many updates whatever k is. What grows with it, images to make and to audit, does
        so in proportion: where two k are known the others lie on a line.
        """
        means = {seen: sum(s) / len(s) for seen, s in self._seen.items()}
        if k in means or not means:
            return means.get(k)
        if len(means) == 1:
            return next(iter(means.values()))
        slope, start = np.polyfit(list(means), list(means.values()), 1)
        return max(float(start + slope * k), min(means.values()))

    def left(self, running: Iterable[tuple[int, float]], waiting: Sequence[int], slots: int) -> float | None:
        """Seconds until everything is done.

        Args:
            running: k and age in seconds of each cell that runs.
            waiting: k of each other one, in the order in which they will be begun.
            slots: how many run at a time.
        """
        expected = {k: self.expected(k) for k in {*waiting, *(k for k, _ in running)}}
        known = {k: seconds for k, seconds in expected.items() if seconds is not None}
        if len(known) < len(expected):
            return None
        return makespan([known[k] for k in waiting], [max(0.0, known[k] - age) for k, age in running], slots)


def makespan(waiting: Sequence[float], running: Sequence[float], slots: int) -> float:
    """When the last of these ends if each is begun, in this order, as soon as one of `slots` workers is free.

    Args:
        waiting: seconds that each will take.
        running: seconds that each of those that run will still take.
        slots: how many run at a time, at least 1.
    """
    free = [*running, *[0.0] * max(0, slots - len(running))]
    heapq.heapify(free)
    for seconds in waiting:
        heapq.heapreplace(free, free[0] + seconds)
    return max(free)


def span(seconds: float) -> str:
    """A time in words: 40 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
