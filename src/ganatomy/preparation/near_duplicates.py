"""The same picture under two patients: found although it was saved again, resized, brightened, moved or mirrored.

Registered brains all look alike, so that no fixed distance can tell a copy. Here every image is compared with the most
similar images of *other* subjects, finely and after alignment, and a copy is what lies far below the distances usual
between the subjects of the same data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.text import counted, grouped
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.preparation.likeness import (
    FINE_BAND,
    Array,
    band,
    coarse,
    correlation,
    detail,
    to_grey,
    unit,
    variants,
)

MAX_IMAGES = 5_000
NEAREST = 3
"""Other subjects with which an image is compared finely."""
DEVIATIONS = 4.0
"""A copy is nearer than usual by this many robust standard deviations of the log distance."""
RATIO = 5.0
"""... and this many times nearer."""
IDENTICAL = 0.01
"""A pair nearer than this is a copy in any data."""
FEWEST_SUBJECTS = 3
LEAST_CONTENT = 0.3
"""Images with less contrast than this share of what the fullest tenth has are not compared: what the last slices show,
a spot or nothing, is alike in all patients."""
_BLOCK = 256

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images by index, their distance, and whether their splits differ."""

    one: int
    other: int
    distance: float
    leak: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Near-duplicates among images.

    Attributes:
        pairs: of different subjects, nearest first.
        threshold: distances below it are near-duplicates.
        usual: the median distance to other subjects; None where there are too few subjects to say.
        compared: how many images were compared; the rest is nearly empty.
    """

    pairs: list[Pair]
    threshold: float
    usual: float | None
    compared: int


@dataclass(frozen=True, slots=True)
class Report:
    """Near-duplicates in a dataset.

    Attributes:
        pairs: (domain, image_id, image_id, distance, in different splits), leaks first, then nearest first.
        leaks: how many of them are in different splits.
        warning: a sentence for the user, "" if there are none.
    """

    pairs: list[tuple[str, str, str, float, bool]]
    leaks: int
    warning: str


def near_duplicates(dataset: Dataset, say: Callable[[str], None] = lambda text: None) -> Report:
    """Look for near-duplicates among a dataset's subjects; where domains are paired, the first stands for all.

    Args:
        dataset: any; of more than 5,000 images a domain, as many are taken evenly from each subject.
        say: told of the cap.
    """
    pairs: list[tuple[str, str, str, float, bool]] = []
    for domain in dataset.info.domains[:1] if dataset.info.paired else dataset.info.domains:
        every = dataset.rows(domain)
        rows = _spread(every)
        if len(rows) < len(every):
            say(f"near-duplicates are looked for among {len(rows):,} of {grouped(len(every), 'image')}, evenly from "
                "each subject")
        small = np.concatenate([to_grey(dataset.pixels(rows[i:i + _BLOCK])) for i in range(0, len(rows), _BLOCK)])
        found = find(small, [r.subject for r in rows], [r.split for r in rows])
        pairs += [(domain, rows[p.one].image_id, rows[p.other].image_id, p.distance, p.leak) for p in found.pairs]
    leaks = sum(pair[4] for pair in pairs)
    return Report(sorted(pairs, key=lambda p: (not p[4], p[3])), leaks, _warning(len(pairs), leaks))


def _warning(pairs: int, leaks: int) -> str:
    if not pairs:
        return ""
    text = (f"{counted(pairs, 'pair')} of nearly the same image under two subjects, far more alike than different "
            "subjects are in these data")
    return text + (f"; {leaks} of them in different splits: patients leak" if leaks else "")


def _spread(rows: Sequence[Row]) -> list[Row]:
    """At most `MAX_IMAGES` rows, evenly over the subjects and along each one's slices."""
    owned: dict[str, list[Row]] = {}
    for row in rows:
        owned.setdefault(row.subject, []).append(row)
    room, chosen = MAX_IMAGES, list[Row]()
    # the smallest first: what they leave is shared by the rest
    for left, found in zip(range(len(owned), 0, -1), sorted(owned.values(), key=len), strict=True):
        share = min(len(found), max(1, room // left))
        if room <= 0:
            break
        chosen += [found[i] for i in np.linspace(0, len(found) - 1, share).round().astype(int)]
        room -= share
    return sorted(chosen, key=lambda row: row.row)


def find(images: Array, subjects: Sequence[str], splits: Sequence[str]) -> Found:
    """Pairs of images of different subjects that are far more alike than is usual between the subjects.

    The distance is 1 - r, where r is the correlation of the band-passed images at the shift, zoom and mirroring at
    which they agree best: 0 for the same image, about 1 for unrelated ones. The threshold lies 4 robust standard
    deviations (1.4826 x median absolute deviation) below the median of the log distance of all images to the second
    of the subjects most like them; the second, so that cohorts in which everybody is there twice are found out too.

    Args:
        images: float32 [n, h, w] of `to_grey`.
        subjects, splits: of each image.
    """
    if len(set(subjects)) < 2:
        return Found([], IDENTICAL, None, len(subjects))
    order = np.argsort(np.array(subjects), kind="stable")
    content = np.concatenate([np.sqrt((band(images[i], FINE_BAND) ** 2).mean((1, 2))) for i in _blocks(order)])
    usable = content > max(LEAST_CONTENT * float(np.percentile(content, 90)), 1e-5 * float(np.abs(images).max()))
    order = order[usable]
    names, owner = np.unique(np.array(subjects)[order], return_inverse=True)
    if len(names) < 2:
        return Found([], IDENTICAL, None, len(order))
    others, distances = _nearest(images, order, owner, min(NEAREST, len(names) - 1))
    threshold, usual = IDENTICAL, None
    if len(names) >= FEWEST_SUBJECTS:
        second = np.sort(distances, axis=1)[:, 1]
        usual = float(np.median(second))
        threshold = _threshold(second)
    best: dict[tuple[int, int], float] = {}
    for i, k in zip(*np.nonzero(distances < threshold), strict=True):
        one, other = sorted((int(order[i]), int(order[others[i, k]])))
        best[one, other] = min(float(distances[i, k]), best.get((one, other), 2.0))
    pairs = [Pair(one, other, d, splits[one] != splits[other]) for (one, other), d in best.items()]
    return Found(sorted(pairs, key=lambda p: p.distance), threshold, usual, len(order))


def _threshold(usual: Array) -> float:
    logs = np.log(np.maximum(usual, 1e-6))
    middle = float(np.median(logs))
    spread = 1.4826 * float(np.median(np.abs(logs - middle)))
    return max(IDENTICAL, float(np.exp(min(middle - DEVIATIONS * spread, middle - np.log(RATIO)))))


def _nearest(images: Array, order: Index, owner: Index, count: int) -> tuple[Index, Array]:
    """For every image the most similar image of each of `count` other subjects, and the distances, both [n, count].

    Images are taken in `order`, which sorts them by owner; what is returned counts in that order. Candidates come from
    two kinds of small band-passed images, less their mean over the cohort, so that the anatomy that all share does not
    count.
    """
    known = [np.concatenate([coarse(images[i], centred) for i in _blocks(order)]) for centred in (False, True)]
    means = [kind.mean(0) for kind in known]
    known = [unit(kind - mean) for kind, mean in zip(known, means, strict=True)]
    starts = np.searchsorted(owner, np.arange(owner[-1] + 2))
    others = np.zeros((len(order), count), np.intp)
    distances = np.ones((len(order), count), np.float32)
    for block in _blocks(np.arange(len(order))):
        changed = list(variants(images[order[block]]))
        views = [(kind, unit(coarse(v, kind == 1) - means[kind])) for v in changed for kind in (0, 1)]
        likeness = np.stack([np.maximum.reduceat(v @ known[kind].T, starts[:-1], axis=1) for kind, v in views])
        likeness[:, np.arange(len(block)), owner[block]] = -2.0  # oneself
        likely = np.argpartition(likeness.max(0), -count, axis=1)[:, -count:]
        which = np.take_along_axis(likeness.argmax(0), likely, 1)
        for (row, k), view in np.ndenumerate(which):
            kind, vectors = views[view]
            span = slice(starts[likely[row, k]], starts[likely[row, k] + 1])
            others[block[row], k] = span.start + int((known[kind][span] @ vectors[row]).argmax())
        finer = [detail(v) for v in changed]
        for k in range(count):
            query = np.stack([finer[view // 2][row] for row, view in enumerate(which[:, k])])
            distances[block, k] = 1.0 - correlation(query, detail(images[order[others[block, k]]]))
    return others, distances


def _blocks(order: Index) -> list[Index]:
    return [order[i:i + _BLOCK] for i in range(0, len(order), _BLOCK)]
