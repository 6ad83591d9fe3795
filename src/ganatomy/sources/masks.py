"""Files of masks, each brought to the image that it belongs to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ganatomy.data.vocabulary import is_contrast_name, is_mask_name
from ganatomy.formats import Unreadable
from ganatomy.sources.entry import Entry, Layout, natural, read_entry, safe_name
from ganatomy.sources.words import FileName, number, units

Place = tuple[tuple[str, ...], tuple[str, ...]]


LOOKED_AT, MOST_LABELS, LEAST_EMPTY = 3, 32, 0.3


def with_label_maps(layout: Layout) -> Layout:
    """The layout in which contrasts that the vocabulary does not know, and that are label maps, are masks.

    A label map holds few, whole values, 0 in most places; some files of each such contrast are looked at.
    """
    own: dict[str, list[Entry]] = defaultdict(list)
    for entry in layout.entries:
        own[entry.domain].append(entry)
    maps = [name for name, entries in own.items() if not is_contrast_name(name) and not is_mask_name(name)
            and all(map(_is_label_map, entries[::max(1, len(entries) // LOOKED_AT)]))]
    if not maps or len(maps) == len(own):
        return layout
    note = f"taken for masks by what they hold (few, whole values): {', '.join(maps)}; --masks says it otherwise"
    return replace(layout, entries=[replace(e, domain=f"{e.domain}-mask") if e.domain in maps else e
                                    for e in layout.entries], notes=[*layout.notes, note])


def _is_label_map(entry: Entry) -> bool:
    try:
        pixels = read_entry(entry)
    except (Unreadable, OSError):
        return False
    values = np.unique(pixels)
    return (pixels.ndim == 3 and len(values) <= MOST_LABELS and values[0] == 0 and bool((values % 1 == 0).all())
            and float((pixels == 0).mean()) > LEAST_EMPTY)


def attach_masks(source: Path, layout: Layout, images: Sequence[FileName], masks: Sequence[FileName],
                 contrasts: Collection[str] = ()) -> Layout:
    """Add masks to a layout of images; `contrasts` are words that name contrasts, beyond the vocabulary.

    A mask belongs to the image whose path has the same words, but for those of masks, images and contrasts; else, where
    its folder holds the images of one subject's visit alone, to that visit. What its name says more names its domain.
    """
    if not masks:
        return layout
    entries = {entry.name: entry for entry in layout.entries}
    exact: dict[Place, Entry] = {}
    visits: dict[tuple[str, ...], set[tuple[str, str]]] = defaultdict(set)
    by_folder: dict[tuple[str, ...], Entry] = {}
    for file in images:
        if entry := entries.get(file.name):
            folders, words = place_of(file, contrasts)
            exact.setdefault((folders, words), entry)
            for depth in range(1, len(folders) + 1):
                visits[folders[:depth]].add((entry.subject, entry.session))
                by_folder.setdefault(folders[:depth], entry)
    several = len({file.contrast.lower() for file in masks}) > 1
    added: list[tuple[FileName, Entry, tuple[str, ...]]] = []
    unmatched = []
    for file in masks:
        folders, words = place_of(file, contrasts)
        image = exact.get((folders, words))
        rest: tuple[str, ...] = ()
        for cut in range(len(words) - 1, 0, -1):
            if image is None:
                image, rest = exact.get((folders, words[:cut])), words[cut:]
        if image is None and len(visits.get(folders, ())) == 1:
            image, rest = by_folder[folders], words
        if image is None:
            unmatched.append((file.name, "is a mask by its name, and no image belongs to it"))
            continue
        added.append((file, image, rest))
    recurring = _recurring(added)
    out = []
    for file, image, rest in added:
        more = [word for word in rest if not word.isdigit() and word in recurring]
        name = "-".join([*([file.contrast] if several and file.contrast else []), *more, file.mask])
        name += "".join(f"_{word}" for word in rest if word.isdigit() and image.slice is None)
        numbers = [*file.of_kind("slice")] or [word for word in rest if word.isdigit()]
        own = number(numbers[-1]) if numbers and rest and image.slice is not None else image.slice
        out.append(replace(image, path=source / file.name, name=file.name, domain=safe_name(name), slice=own))
    if len({(e.subject, e.session, e.slice) for e in out}) == len(out) and out:
        usual = Counter(entry.domain for entry in out).most_common(1)[0][0]  # one mask each, by whatever name
        out = [replace(entry, domain=usual) for entry in out]
    notes = [*layout.notes, *([f"warning: {len(unmatched)} of {len(masks)} masks match no image by name and are left "
                               "out; --pattern says what belongs together"] if unmatched else [])]
    return replace(layout, entries=sorted([*layout.entries, *out], key=lambda e: natural(e.name)),
                   unmatched=[*layout.unmatched, *unmatched], notes=notes)


def _recurring(added: Sequence[tuple[FileName, Entry, tuple[str, ...]]]) -> set[str]:
    """The words that several subjects' masks have: liver, not the name of one patient."""
    owners: dict[str, set[str]] = defaultdict(set)
    for _, image, rest in added:
        for word in rest:
            owners[word].add(image.subject)
    return {word for word, own in owners.items() if len(own) > 1}


def place_of(file: FileName, contrasts: Collection[str]) -> Place:
    """The folders and the words of the name that say where a file belongs, in small letters."""
    kinds = ("", "visit", "date", "slice", "split")
    *folders, name = [tuple(_plain(unit) for word in words if word.kind in kinds and word.text.lower() not in contrasts
                            for unit in units(word.text)) for words in file.words]
    return tuple(text for words in folders if (text := " ".join(words)) and text not in contrasts), name


def _plain(text: str) -> str:
    """A word in small letters, its number without zeros before it."""
    return text.lower().lstrip("0") or "0"
