"""Folders of images, read by their names: the best reading, told aloud, or a question where none is clearly best."""

from __future__ import annotations

import filecmp
import gc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ganatomy.core.errors import Offer, Question
from ganatomy.core.text import listed, printable
from ganatomy.data.vocabulary import SPLITS_BY_NAME, is_mask_name
from ganatomy.sources.columns import FEW, ODD, Column, Group, groups_by_depth
from ganatomy.sources.doubts import refuse_doubtful, some, spread
from ganatomy.sources.entry import Entry, Layout, example, safe_name
from ganatomy.sources.inference import CLASS, DOMAIN, PARCEL, SLICE, SUBJECT, VISIT, Reading, is_alone, readings
from ganatomy.sources.masks import attach_masks, with_label_maps
from ganatomy.sources.words import (
    FileName,
    count_wrappers,
    number,
    settle_contrasts,
    settle_words,
    take_apart,
    words_of,
)

PAIRED = 0.9
"""Pictures of several contrasts are pairs where each contrast has so large a share of all names."""
COMPARED = 50
"""Files of a folder that are compared with those beside it."""


@contextmanager
def _uncollected() -> Iterator[None]:
    """Within the block nothing is searched for what can be freed: that takes half of the time where files are many."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_uncollected()
def read_folders(source: Path, names: Sequence[str], sure: bool = False, contrasts: Sequence[str] = ()) -> Layout:
    """Infer class, subject, visit, contrast, slice and split of image files from their relative paths.

    Args:
        source: the folder; names: relative paths, in natural order.
        sure: take the best reading without a question.
        contrasts: words that name contrasts, beyond the vocabulary.

    Raises:
        Question: no reading is clearly the best, or the best has the marks of a mistake.
    """
    depth = count_wrappers(names)
    kept, unmatched = _without_copies(source, names, depth)
    given = frozenset(map(str.lower, contrasts))
    wrappers = count_wrappers(kept)
    files = [take_apart(name, given, wrappers) for name in kept]
    unmatched += [(file.name, "is called a preview") for file in files if file.preview]
    files = [file for file in files if not file.preview] or files
    images, masks = _images(files, unmatched)
    settle_words(images)
    settle_words(masks)
    settle_contrasts(files)
    splits = len({split_of(file) for file in images} - {""}) > 1
    tried, others = _tried(source, images, splits, unmatched)
    reading = tried[0]
    entries, alone = entries_of(source, reading, splits)
    layout = Layout(kind_of(reading), [*entries, *others], not alone, unmatched,
                    _class_names(entries), examples=[example(entry) for entry in spread(entries)])
    layout = with_label_maps(layout)
    layout = attach_masks(source, layout, images, masks, contrast_words(reading))
    if not sure:
        if masks and not any(entry.name == mask.name for mask in masks for entry in layout.entries):
            raise _masks_of_nobody(source, layout, masks)

        def read(other: Reading) -> list[Entry]:
            own, _ = entries_of(source, other, splits)
            return attach_masks(source, Layout("", own), images, masks, contrast_words(other)).entries

        refuse_doubtful(source, tried, layout.entries, not alone, read)
    return _apart(layout) if alone else layout


def _tried(source: Path, images: Sequence[FileName], splits: bool, unmatched: list[tuple[str, str]]
           ) -> tuple[list[Reading], list[Entry]]:
    """The readings of the images that are nested as most are, the best first; and the entries of the others. Those of a
    shape that few have are left out."""
    tried: list[Reading] = []
    others: list[Entry] = []
    for groups in groups_by_depth(images):
        own = [file for group in groups for file in group.files]
        if tried and len(own) < FEW * len(images):
            unmatched += [(file.name, "its folders are nested otherwise than those of the others") for file in own]
            continue
        odd = [group for group in groups[1:] if len(group.files) < ODD * len(own)]
        unmatched += [(f.name, "is named otherwise than the others") for group in odd for f in group.files]
        best = readings([group for group in groups if not any(group is one for one in odd)])
        others += entries_of(source, best[0], splits)[0] if tried else []
        tried = tried or best
    return tried, others


def _masks_of_nobody(source: Path, layout: Layout, masks: Sequence[FileName]) -> Question:
    first = next(entry.name for entry in layout.entries)
    return Question(f"none of {len(masks)} masks, such as {printable(masks[0].name)}, belongs to an image by its name",
                    [Offer("take the images without them", {"yes": True}),
                     Offer(f"say by patterns which mask belongs to {printable(first)}",
                           {"pattern": "{subject}/MASKS|{subject}/IMAGES"})], where=source)


def _apart(layout: Layout) -> Layout:
    """Pictures that are subjects of their own, in contrasts of which most lack a counterpart, are no pairs."""
    owners: dict[str, set[str]] = defaultdict(set)
    for entry in layout.entries:
        if not is_mask_name(entry.domain):
            owners[entry.domain].add(entry.subject)
    everybody = set().union(*owners.values())
    if len(owners) < 2 or all(len(own) >= PAIRED * len(everybody) for own in owners.values()):
        return layout
    return replace(layout, unpaired=True, notes=[*layout.notes, f"the names in {listed(owners)} do not agree: they are "
                   "taken for unpaired"])


def _class_names(entries: Sequence[Entry]) -> list[str]:
    classes = sorted({entry.label for entry in entries} - {""})
    return [f"warning: the folders {some(classes)} are taken for classes; class names are stored in the "
            "dataset and shown in reports: they must not be patients' names"] if classes else []


def _images(files: Sequence[FileName], unmatched: list[tuple[str, str]]) -> tuple[list[FileName], list[FileName]]:
    """The images and the masks; pictures beside volumes are previews, and are left out."""
    images, masks = [f for f in files if not f.mask], [f for f in files if f.mask]
    images, masks = (images, masks) if images else (masks, [])
    if not images[0].mask and 0 < (volumes := sum(file.volume for file in images)) < len(images):
        keep = volumes >= FEW * len(images)
        unmatched += [(f.name, "a picture among volumes" if keep else "a volume among pictures")
                      for f in images if f.volume != keep]
        images = [file for file in images if file.volume == keep]
    return images, masks


def _without_copies(source: Path, names: Sequence[str], depth: int) -> tuple[list[str], list[tuple[str, str]]]:
    """The names without those of a folder that holds what lies beside it once more; `depth` folders hold all files."""
    known = set(names)
    tops: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for name in names:
        *above, rest = name.split("/", depth)
        top, _, below = rest.partition("/")
        tops[top].append((name, "/".join([*above, below]) if below else ""))
    again = {name for top, pairs in tops.items()
             if not (top.isalnum() and any(word.kind for word in words_of(top)))
             and all(other in known for _, other in pairs) and _same_files(source, pairs) for name, _ in pairs}
    return ([name for name in names if name not in again],
            [(name, "a copy of what lies outside of its folder") for name in names if name in again])


def _same_files(source: Path, pairs: Sequence[tuple[str, str]]) -> bool:
    """Whether, in a sample, the two files of each pair are the same byte for byte."""
    try:
        return all(filecmp.cmp(source / one, source / other, shallow=False)
                   for one, other in pairs[::max(1, len(pairs) // COMPARED)])
    except OSError:
        return False


def entries_of(source: Path, reading: Reading, splits: bool) -> tuple[list[Entry], bool]:
    """The entries of a reading, and whether each picture is taken for a subject of its own."""
    out, single = [], False
    several = any(file.contrast for group in reading.groups for file in group.files)
    columns = any(DOMAIN in roles for roles in reading.roles)
    constant = columns and len({file.contrast.lower() for group in reading.groups for file in group.files}) == 1
    for group, roles in zip(reading.groups, reading.roles, strict=True):
        alone = is_alone(group, roles)
        single = single or (alone and not group.volume)
        pairs = list(zip(group.columns, roles, strict=True))
        unsaid = _constant_words(group, reading.groups)
        for k, file in enumerate(group.files):
            split = split_of(file) if splits else ""
            told = {text.lower() for text in _words(k, pairs, DOMAIN)}
            varying = {n for n in group.varying if file.open(-1)[n].text.lower() not in told} if told else group.varying
            subject = "/".join(_texts(file, pairs, SUBJECT, varying)) or _constant(file)
            label = "/".join(_whole(file, pairs, CLASS))
            if alone and not group.volume:
                subject = "/".join(filter(None, (split, *_whole(file, pairs, CLASS + PARCEL), subject)))
            session = "/".join(dict.fromkeys([*file.of_kind("visit", "date"), *_texts(file, pairs, VISIT)]))
            contrast = "" if constant else file.contrast or ("-".join(unsaid) if several and not columns else "")
            domain = "-".join(filter(None, [contrast, *_words(k, pairs, DOMAIN)]))
            slices = [*file.of_kind("slice"), *_words(k, pairs, SLICE)]
            out.append(Entry(source / file.name, file.name, subject, session, safe_name(domain or file.mask or "image"),
                             label, split, number(slices[-1]) if slices and not file.volume else None))
    return out, single


def _constant_words(group: Group, groups: Sequence[Group]) -> list[str]:
    """The words that the names of a group have, all of them, and those of no other group: tumor_reader1."""
    def everywhere(own: Group) -> dict[str, None]:
        first, *rest = ([word.text for word in file.open(-1)] for file in own.files)
        return {text: None for text in first if all(text in texts for texts in rest)} if len(own.files) > 1 else {}

    elsewhere = {text for own in groups if own is not group for text in everywhere(own)}
    return [text for text in everywhere(group) if text not in elsewhere]


def contrast_words(reading: Reading) -> set[str]:
    """The texts by which a column tells contrasts."""
    return {text.lower() for group, roles in zip(reading.groups, reading.roles, strict=True)
            for column, role in zip(group.columns, roles, strict=True) if role == DOMAIN for text in column.texts}


def split_of(file: FileName) -> str:
    """train, val or test as the path says, "" where it does not."""
    words = list(file.of_kind("split"))
    return SPLITS_BY_NAME[words[0].lower()] if words else ""


def _constant(file: FileName) -> str:
    """A subject's name where nothing varies: the words of the name, or of the innermost folder that has some."""
    for level in range(-1, -len(file.left) - 1, -1):
        if words := file.open(level):
            text = file.component(level)
            return text if len(words) == len(file.words[file.left[level]]) else text[words[0].start:words[-1].end]
    plain = [folder for folder in file.components[:-1] if not any(word.kind for word in words_of(folder))]
    return plain[-1] if plain else "subject"


def _words(k: int, pairs: Sequence[tuple[Column, str]], wanted: str) -> list[str]:
    return [column.texts[k] for column, role in pairs if role in wanted]


def _texts(file: FileName, pairs: Sequence[tuple[Column, str]], wanted: str,
           varying: set[int] | None = None) -> list[str]:
    """What the columns of a role say of a file, a text a level; of subjects, for which `varying` is given, with what
    does not vary before them."""
    by_level: dict[int, list[Column]] = {}
    for column, role in pairs:
        if role in wanted:
            by_level.setdefault(column.level, []).append(column)
    return [_span(file, columns, [c for c, role in pairs if role not in wanted and c.level == level], varying)
            for level, columns in by_level.items()]


def _span(file: FileName, columns: Sequence[Column], others: Sequence[Column],
          varying: set[int] | None) -> str:
    level = columns[0].level
    text, words = file.component(level), file.open(level)
    if columns[0].position < 0:
        return text
    first, last = words[columns[0].position], words[columns[-1].position]
    if varying is None:
        return text[first.start:last.end]
    barred = [word.end for word in file.words[file.left[level]] if word.end <= first.start
              and word.kind in ("contrast", "visit", "date", "slice", "mask", "split")]
    barred += [words[c.position].end for c in others if c.position < columns[0].position]
    ends, end = {words[c.position] for c in others if c.position > columns[-1].position}, last.end
    for word in file.words[file.left[level]]:  # what the rest determines belongs to the name: IXI002-Guys
        if word.start >= end:
            if word.kind or word in ends or (level == -1 and words.index(word) not in varying):
                break
            end = word.end
    return text[max(barred, default=0):end].lstrip("_-. ")


def _whole(file: FileName, pairs: Sequence[tuple[Column, str]], wanted: str) -> list[str]:
    """The names of the folders whose columns have a role."""
    return list({column.level: file.component(column.level) for column, role in pairs if role in wanted}.values())


def kind_of(reading: Reading) -> str:
    """The reading in words that hold no name."""
    names = {CLASS: "class", PARCEL: "parcel", SUBJECT: "subject", VISIT: "visit", DOMAIN: "contrast"}
    group, roles = reading.groups[0], reading.roles[0]
    levels = list(dict.fromkeys(names[role] for role in roles[:len(group.folders)] if role in names))
    if levels:
        return ", in it ".join(f"a folder per {level}" for level in levels)
    if group.contrast.max() > 0 and not any(word.kind == "contrast" for word in group.files[0].words[-1]):
        return "a folder per contrast"
    return "a flat folder of images"
