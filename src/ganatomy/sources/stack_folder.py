"""A folder of .npy files that each hold a cohort's pictures: trainA.npy and trainB.npy, images.npy and labels.npy.

Their names say contrast and split and no patient; a folder of one volume a patient has names that differ beyond that.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ganatomy.core.errors import Offer, Question
from ganatomy.core.text import listed
from ganatomy.data.images import Unreadable
from ganatomy.data.vocabulary import COUNTERPARTS, IMAGE_WORDS, PARCELS
from ganatomy.formats import npy
from ganatomy.sources.entry import Layout, safe_name
from ganatomy.sources.folders import split_of
from ganatomy.sources.stacks import LABELS, SUBJECTS, Array, generic
from ganatomy.sources.words import take_apart

MOST_FILES = 64
LARGE = 512
"""No volume has so many slices: arrays of so many pictures are stacks without a question."""
_PLURAL = re.compile(r"images|imgs|masks|labels|scans|slices|pictures|x|y", re.IGNORECASE)
_PARCEL = re.compile(r"([a-z]+)\d+", re.IGNORECASE)


class _Name(NamedTuple):
    """What a name says: a split, a parcel of a download, what the array holds; whether of many pictures."""

    split: str
    parcel: str
    key: str
    many: bool


def is_stack_folder(source: Path, names: Sequence[str]) -> bool:
    """Whether .npy files are stacks of pictures by their names, and by their shapes can be."""
    return bool(_arrays(source, names))


def read_stack_folder(source: Path, names: Sequence[str], sure: bool) -> Layout | None:
    """A folder of stacks as if the files of each split were one archive; None if it is none.

    Raises `Question` unless sure, where the arrays might be the volumes of one patient.
    """
    groups = _arrays(source, names)
    if not groups:
        return None
    files = {array.path: name for own in groups.values() for name, array in own.values()}
    longest = max(len(array.values) for own in groups.values() for _, array in own.values())
    if not sure and longest < LARGE and not any(_name(name).split or _name(name).many for name in names):
        raise Question(f"{listed(names[:4])} may be stacks of many patients' pictures or volumes of one patient", [
            Offer("stacks: every picture counts as a patient of its own", {"layout": "stacks"}),
            Offer("volumes of one patient", {"layout": "folders", "subject_regex": r"\.npy$"})], where=source)
    entries, notes, unpaired, known = [], list[str](), False, True
    images = {key for own in groups.values() for key, (_, array) in own.items() if array.is_pictures}
    for (split, parcel), own in groups.items():
        arrays = {key: array for key, (_, array) in own.items()}
        keys = [key for key, array in arrays.items() if array.is_pictures]
        layout = generic(split, source, arrays, keys, "/".join(filter(None, (split, parcel))) + "/")
        notes += [note for note in layout.notes if note not in notes]
        unpaired, known = unpaired or layout.unpaired, known and layout.subjects_known
        domains = {arrays[key].path: safe_name(key) if len(images) > 1 else "image" for key in keys}
        entries += [replace(entry, split=split, domain=domains[entry.path],
                            name=f"{files[entry.path]}/{entry.name.rpartition('/')[2]}") for entry in layout.entries]
    return Layout("stacks of pictures", entries, subjects_known=known, notes=notes, unpaired=unpaired)


def _arrays(source: Path, names: Sequence[str]) -> dict[tuple[str, str], dict[str, tuple[str, Array]]]:
    """(split, parcel) -> what it is -> (name, array), {} if the files are no stacks."""
    if not 0 < len(names) <= MOST_FILES or not all(name.lower().endswith(npy.SUFFIXES) for name in names):
        return {}
    if len({_rest(name) for name in names}) > 1 or (len(names) == 1 and any(map(str.isdigit, _rest(names[0])))):
        return {}
    groups: dict[tuple[str, str], dict[str, tuple[str, Array]]] = defaultdict(dict)
    shapes = set()
    for name in names:
        split, parcel, key, _ = _name(name)
        try:
            array = Array(source / name, npy.mapped(source / name))
        except (Unreadable, OSError):
            return {}
        if array.is_pictures:
            key = "mask" if key.lower() == "y" and len(np.unique(array.values[:16])) <= 8 else key
            shapes.add(npy.planes(array.values.shape)[0][1:])
        elif not (LABELS.fullmatch(key) or SUBJECTS.fullmatch(key)):
            return {}
        if key in groups[split, parcel]:
            return {}
        groups[split, parcel][key] = name, array
    whole = all(any(array.is_pictures for _, array in own.values()) for own in groups.values())
    return groups if whole and len(shapes) == 1 else {}


def _name(name: str) -> _Name:
    file = take_apart(name)
    words = [word for own in file.words for word in own if word.kind != "split"]
    parcels = [word.text for word in words if _is_parcel(word.text)]
    telling = [word.text for word in words if (not word.kind and word.text.lower() in COUNTERPARTS | {"x", "y"})
               or word.kind in ("contrast", "mask") or SUBJECTS.fullmatch(word.text) or LABELS.fullmatch(word.text)]
    return _Name(split_of(file), "-".join(parcels), "-".join(dict.fromkeys(telling)) or "image",
                 any(_PLURAL.fullmatch(word.text) for word in words))


def _rest(name: str) -> str:
    """What a name says beyond split, contrast and the like."""
    words = [word for own in take_apart(name).words for word in own]
    return " ".join(w.text.lower() for w in words if w.kind in ("", "visit", "date", "slice") and not _is_parcel(w.text)
                    and w.text.lower() not in COUNTERPARTS | IMAGE_WORDS | {"x", "y"}
                    and not SUBJECTS.fullmatch(w.text) and not LABELS.fullmatch(w.text))


def _is_parcel(text: str) -> bool:
    match = _PARCEL.fullmatch(text)
    return match is not None and match[1].lower() in PARCELS
