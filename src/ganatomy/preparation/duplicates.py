"""Files that lie twice in a source; and the same picture under two patients, although it was saved again or changed.

Registered brains all look alike, so that no fixed distance can tell a copy. Here every image is compared with the most
similar images of *other* subjects, finely and after alignment, and a copy is what lies far below the distances usual
between the subjects of the same data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from hashlib import file_digest

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.text import counted, grouped
from ganatomy.data.dataset import Dataset
from ganatomy.data.likeness import (
    FEWEST_SUBJECTS,
    FINE_BAND,
    IDENTICAL,
    Array,
    Pictures,
    band,
    far_nearer_than_usual,
    to_grey,
)
from ganatomy.data.manifest import Row
from ganatomy.data.vocabulary import is_mask_name
from ganatomy.formats import Unreadable
from ganatomy.sources.entry import WHOLE, Entry, Layout, read_entry

MAX_IMAGES = 5_000
NEARER = 4.2  # times nearer than usual: fewer than the audit's, whose finding condemns; these pairs are looked at
LEAST_CONTENT = 0.3
"""Images with less contrast than this share of what the fullest tenth has are not compared: what the last slices show,
a spot or nothing, is alike in all patients."""
MOST_LISTED = 100
"""Pairs that dataset.json lists."""
_BLOCK = 256

Index = NDArray[np.intp]


Pair = tuple[str, str, str, float, bool]
"""Domain, both images' ids, their distance, and whether they are in different splits."""


def near_duplicates(dataset: Dataset, say: Callable[[str], None] = lambda text: None) -> list[Pair]:
    """Near-duplicates among a dataset's subjects, those in different splits first, then the nearest.

    Where domains are paired, the first stands for all. Of more than 5,000 images a domain as many are taken, evenly
    from each subject, which `say` is told.
    """
    pairs: list[Pair] = []
    for domain in dataset.info.domains[:1] if dataset.info.paired else dataset.info.domains:
        every = dataset.rows(domain)
        rows = _evenly(every)
        if len(rows) < len(every):
            say(f"near-duplicates are looked for among {len(rows):,} of {grouped(len(every), 'image')}, evenly from "
                "each subject")
        small = np.concatenate([to_grey(dataset.pixels(rows[i:i + _BLOCK])) for i in range(0, len(rows), _BLOCK)])
        for i, k, distance in compare(small, [row.subject for row in rows]):
            one, other = rows[i], rows[k]
            pairs.append((domain, one.image_id, other.image_id, distance, one.split != other.split))
    return sorted(pairs, key=lambda pair: (not pair[4], pair[3]))


def _evenly(rows: Sequence[Row]) -> list[Row]:
    """At most `MAX_IMAGES` rows, evenly over the subjects and along each one's slices."""
    owned: dict[str, list[Row]] = {}
    for row in rows:
        owned.setdefault(row.subject, []).append(row)
    room, chosen = MAX_IMAGES, list[Row]()
    # the smallest first: what they leave is shared by the rest
    for left, own in zip(range(len(owned), 0, -1), sorted(owned.values(), key=len), strict=True):
        share = min(len(own), max(1, room // left))
        if room <= 0:
            break
        chosen += [own[i] for i in np.linspace(0, len(own) - 1, share).round().astype(int)]
        room -= share
    return sorted(chosen, key=lambda row: row.row)


def compare(images: Array, subjects: Sequence[str]) -> list[tuple[int, int, float]]:
    """Pairs of images of different subjects that are far more alike than is usual between the subjects.

    How near they are, `ganatomy.data.likeness.Pictures` says, and what is usual, `far_nearer_than_usual`. Images are
    those of `to_grey`; returned are the indices of both and their distance, the nearest first.
    """
    order = np.argsort(np.array(subjects), kind="stable")
    content = np.concatenate([np.sqrt((band(images[i], FINE_BAND) ** 2).mean((1, 2))) for i in _blocks(order)])
    order = order[content > max(LEAST_CONTENT * float(np.percentile(content, 90)), 1e-5 * float(np.abs(images).max()))]
    names, owner = np.unique(np.array(subjects)[order], return_inverse=True)
    if len(names) < 2:
        return []
    pictures = Pictures((images[i] for i in _blocks(order)), owner)
    near = [pictures.nearest(images[order[i]], owner[i]) for i in _blocks(np.arange(len(order)))]
    others, distances = (np.concatenate([getattr(part, name) for part in near]) for name in ("row", "distance"))
    threshold = far_nearer_than_usual(distances[:, 1], NEARER) if len(names) >= FEWEST_SUBJECTS else IDENTICAL
    best: dict[tuple[int, int], float] = {}
    for i, k in zip(*np.nonzero(distances < threshold), strict=True):
        one, other = sorted((int(order[i]), int(order[others[i, k]])))
        best[one, other] = min(float(distances[i, k]), best.get((one, other), 2.0))
    return sorted(((one, other, distance) for (one, other), distance in best.items()), key=lambda pair: pair[2])


def _blocks(order: Index) -> list[Index]:
    return [order[i:i + _BLOCK] for i in range(0, len(order), _BLOCK)]


def without_copies(layout: Layout, say: Callable[[str], None] = lambda text: None) -> Layout:
    """A layout without files of the same bytes as another of the same visit, or of another folder of the same class.

    The latter only where each picture had to be taken for a patient of its own. Images of one value are alike in all
    patients and stay, and so do copies in another split or visit: which of the two is meant is not known.
    """
    sizes: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
    for entry in layout.entries:
        if entry.piece == WHOLE and not is_mask_name(entry.domain):
            with suppress(OSError):
                size = entry.path.stat().st_size
                sizes[entry.domain, entry.session, entry.label, entry.split, size].append(entry)
    copies: dict[str, str] = {}
    for group in sizes.values():
        for alike in _by(partial(_digest, length=4096), group):
            for same in _by(_digest, alike):
                if not _is_flat(same[0]):
                    copies |= _copies(same, layout.subjects_known)
    if not copies:
        return layout
    name, original = next(iter(copies.items()))
    say(f"left out {counted(len(copies), 'file')} of the same bytes as another, for example {name}: as {original}")
    lost = [(copy, f"has the same bytes as {of}") for copy, of in copies.items()]
    return replace(layout, entries=[entry for entry in layout.entries if entry.name not in copies],
                   unmatched=[*layout.unmatched, *lost])


def _copies(same: Sequence[Entry], known: bool) -> dict[str, str]:
    """The names of those among files of the same bytes that are left out, with the name of what they are copies of."""
    kept: list[Entry] = []
    copies = {}
    for entry in same:
        of = next((other.name for other in kept if entry.slice in (None, other.slice) and (
            entry.subject == other.subject or (not known and entry.path.parent != other.path.parent))), None)
        if of is None:
            kept.append(entry)
        else:
            copies[entry.name] = of
    return copies


def _by(key: Callable[[Entry], object], entries: Sequence[Entry]) -> list[list[Entry]]:
    """Those of the entries that have a key in common, by it."""
    groups: dict[object, list[Entry]] = defaultdict(list)
    for entry in entries if len(entries) > 1 else ():
        with suppress(OSError):
            groups[key(entry)].append(entry)
    return [own for own in groups.values() if len(own) > 1]


def _digest(entry: Entry, length: int | None = None) -> bytes:
    """A hash of a file, or of so many bytes from its middle."""
    with entry.path.open("rb") as handle:
        if length is None:
            return file_digest(handle, "sha256").digest()
        handle.seek(entry.path.stat().st_size // 2)
        return handle.read(length)


def _is_flat(entry: Entry) -> bool:
    try:
        pixels = read_entry(entry)
    except Unreadable:
        return False
    return bool((pixels == pixels.flat[0]).all())
