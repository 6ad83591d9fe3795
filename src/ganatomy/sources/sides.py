"""Two domains by the side they are on: folders trainA and trainB, or two pictures side by side in one file."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.formats import Unreadable
from ganatomy.sources.entry import Entry, Layout, Piece
from ganatomy.sources.table import SPLIT_NAMES

SAMPLE = 64
"""Pictures whose sizes are looked at."""
_SIDE = re.compile(r"(train|val|valid|validation|test)[-_]?([AB])", re.IGNORECASE)
_HALVES = (("A", Piece(half="left")), ("B", Piece(half="right")))


def is_sided(names: Sequence[str]) -> bool:
    """Whether there are folders trainA and trainB, or others called so, on the first level."""
    sides = {side for name in names if (side := _side(name)) is not None}
    return {"A", "B"} <= {side for _, side in sides}


def read_sides(source: Path, names: Sequence[str]) -> Layout:
    """trainA, trainB, testA, testB (and valA, valB): domains A and B, the splits from the folders.

    Where every split has the same file names in A and B, images of one name are pairs and share a subject; else the
    layout is unpaired. Each image, or pair, is a subject of its own.

    Raises:
        UserError: there are no such folders.
    """
    if not is_sided(names):
        raise UserError("has no folders trainA and trainB", where=source,
                        fix="leave --layout out, or call the folders of the two domains so")
    known = {name: found for name in names if (found := _side(name)) is not None}
    paired = _agree(known)
    entries = [Entry(source / name, name, f"{split}{'' if paired else side}/{_stem(name.partition('/')[2])}",
                     domain=side, split=split) for name, (split, side) in known.items()]
    unmatched = [(name, "lies outside of the folders trainA, trainB and so on") for name in names if name not in known]
    note = ("the file names in A and B agree: images of one name are taken for pairs; add --unpaired if they are none"
            if paired else "the file names in A and B do not agree: A and B are taken for unpaired")
    return Layout("folders trainA and trainB", entries, subjects_known=False, unmatched=unmatched, notes=[note],
                  unpaired=not paired)


def looks_side_by_side(source: Path, names: Sequence[str]) -> bool:
    """Whether all pictures lie in train, val and test, and those of a sample are twice as wide as high."""
    tops = {name.partition("/")[0].lower() if "/" in name else "" for name in names}
    if not tops <= SPLIT_NAMES.keys() or "train" not in {SPLIT_NAMES[top] for top in tops}:
        return False
    if any(name.count("/") > 1 for name in names):
        return False
    sizes = _sizes(source, names)
    return bool(sizes) and all(width == 2 * height for height, width in sizes)


def read_side_by_side(source: Path, names: Sequence[str]) -> Layout:
    """Pictures that hold A in their left half and B in the right one, a subject each.

    Raises:
        UserError: no picture of the sample can be read, or some cannot be halved.
    """
    sizes = _sizes(source, names)
    odd = [size for size in sizes if size[1] % 2 or size[1] < size[0]]
    if odd or not sizes:
        found = f"there is one of {odd[0][0]} rows and {odd[0][1]} columns" if odd else "none can be read"
        raise UserError(f"its pictures are not two halves side by side: {found}", where=source,
                        fix="leave --layout out")
    tops = {name.partition("/")[0].lower() if "/" in name else "" for name in names}
    splits = tops <= SPLIT_NAMES.keys()
    entries = []
    for name in names:
        path, subject = source / name, _stem(name)
        split = SPLIT_NAMES[name.partition("/")[0].lower()] if splits else ""
        entries += [Entry(path, name, subject, domain=domain, split=split, piece=half) for domain, half in _HALVES]
    note = ("every picture is taken for two side by side: its left half is domain A, its right half B; "
            "if that is wrong, add --layout folders")
    return Layout("pictures A|B side by side", entries, subjects_known=False, notes=[note])


def _side(name: str) -> tuple[str, str] | None:
    """(split, A or B) of a file, None where its folder says none."""
    found = _SIDE.fullmatch(name.partition("/")[0]) if "/" in name else None
    return (SPLIT_NAMES[found.group(1).lower()], found.group(2).upper()) if found else None


def _agree(places: Mapping[str, tuple[str, str]]) -> bool:
    """Whether A and B hold files of the same names in every split."""
    stems: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, place in places.items():
        stems[place].append(_stem(name.partition("/")[2]))
    other = {"A": "B", "B": "A"}
    return all(len(set(found)) == len(found) and set(found) == set(stems.get((split, other[side]), ()))
               for (split, side), found in stems.items())


def _stem(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + formats.stem(file)


def _sizes(source: Path, names: Sequence[str]) -> list[tuple[int, int]]:
    """(height, width) of a sample of the pictures; volumes count as nothing that has halves."""
    sizes = []
    for name in names[::max(1, len(names) // SAMPLE)]:
        try:
            header = formats.scan(source / name)
        except Unreadable:
            continue
        sizes.append((header.shape[1], header.shape[2]) if not header.volumetric else (1, 1))
    return sizes
