"""Dividing patients into train, val and test: once, by subject, spread over the classes, the same for a seed."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches

from ganatomy.core.errors import UserError
from ganatomy.data.manifest import SPLITS


def parse_shares(split: str | Sequence[float]) -> dict[str, float]:
    """Shares of train, val and test, from "70,15,15" or three numbers; they add up to 1.

    Raises:
        UserError: not three numbers from 0 up, or nothing for training.
    """
    try:
        numbers = [float(part) for part in (split.split(",") if isinstance(split, str) else split)]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3 or not all(math.isfinite(n) and n >= 0 for n in numbers) or numbers[0] <= 0:
        raise UserError(f"{split!r} is no split", where="--split", fix="give shares of train,val,test such as 70,15,15")
    numbers = [number / max(numbers) for number in numbers]  # so that their sum is finite
    return {name: number / sum(numbers) for name, number in zip(SPLITS, numbers, strict=True)}


def known_subjects(wanted: Collection[str], subjects: Collection[str], where: str) -> None:
    """Raise `UserError`, naming look-alikes, if a wanted subject does not exist."""
    for name in wanted:
        if name not in subjects:
            near = get_close_matches(name, sorted(subjects), n=3, cutoff=0.5)
            fix = f"did you mean {', '.join(near)}?" if near else f"the first are {', '.join(sorted(subjects)[:3])}"
            raise UserError(f"no subject is called {name!r} in the source", where=where, fix=fix)


def draw_splits(units: Mapping[str, str], shares: Mapping[str, float], seed: int,
                fixed: Mapping[str, str] | None = None) -> dict[str, str]:
    """Assign each unit (a subject, or a group of them) to a split.

    The number in each split is the share by largest remainder, but none that was asked for stays empty while there
    are enough units: train comes first, then test, then val. Within those numbers every class gets its whole share,
    and the remainders go to the classes with the largest. A split for which units are fixed gets no others.

    Args:
        units: name -> class, "" where there are none.
        shares: of train, val and test, adding up to 1.
        seed: the same seed and units give the same splits.
        fixed: units whose split is given.
    """
    fixed = dict(fixed or {})
    shares = {name: 0.0 if name != "train" and name in fixed.values() else shares[name] for name in SPLITS}
    free: dict[str, list[str]] = defaultdict(list)
    for name in sorted(units):
        if name not in fixed:
            free[units[name]].append(name)
    for label, names in free.items():
        random.Random(f"{seed}/{label}").shuffle(names)
    totals = _totals(sum(map(len, free.values())), {n: s / sum(shares.values()) for n, s in shares.items()})
    drawn = {name: fixed[name] for name in units if name in fixed}
    for split in ("test", "val"):
        for label, count in _spread(totals[split], {label: len(names) for label, names in free.items()},
                                    _class_sizes(units, fixed)).items():
            for _ in range(count):
                drawn[free[label].pop()] = split
    return {name: drawn.get(name, "train") for name in units}


def _class_sizes(units: Mapping[str, str], fixed: Mapping[str, str]) -> Counter[str]:
    return Counter(label for name, label in units.items() if name not in fixed)


def _totals(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """How many of `count` units each split gets."""
    wanted = [name for name in ("train", "test", "val") if shares[name] > 0]
    if count <= len(wanted):
        return {name: int(name in wanted[:count]) for name in SPLITS}
    exact = {name: count * shares[name] for name in SPLITS}
    totals = {name: math.floor(exact[name] + 1e-9) for name in SPLITS}
    order = sorted(("train", "test", "val"), key=lambda name: totals[name] - exact[name])
    for name in order[: count - sum(totals.values())]:
        totals[name] += 1
    for name in wanted:
        if totals[name] == 0:
            totals[max(totals, key=lambda n: totals[n])] -= 1
            totals[name] += 1
    return totals


def _spread(total: int, left: Mapping[str, int], sizes: Mapping[str, int]) -> dict[str, int]:
    """Divide `total` units of a split over the classes by their sizes, as far as the classes have units left."""
    everything = sum(sizes.values())
    exact = {label: total * sizes[label] / everything for label in left} if everything else {}
    counts = {label: min(math.floor(exact[label]), left[label]) for label in exact}
    while sum(counts.values()) < total:
        # keep at least one unit of each class for training where possible
        room = [n for n in counts if left[n] - counts[n] > 1] or [n for n in counts if left[n] > counts[n]]
        best = max(sorted(room), key=lambda label: (exact[label] - counts[label], sizes[label]))
        counts[best] += 1
    return counts
