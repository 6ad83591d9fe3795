"""The words of paths that no vocabulary understands, as columns: one place of the paths over all files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.vocabulary import IMAGE_WORDS
from ganatomy.sources.words import FileName

Codes = NDArray[np.int64]
FEW = 0.2
"""Files nested otherwise are left out where they are a smaller share."""
MOST_CLASSES = 40
LOOKED_AT = 500
"""Files of which the letters before a number are compared."""
ODD = 0.03
"""Names of another shape are left out where they are a smaller share."""
MOST_COLUMNS = 6
"""Columns beyond that are taken for nothing new, from the end."""


@dataclass
class Column:
    """One place of the words that are left, over all files of a group.

    Attributes:
        level, position: the folder's number among those with such words, or -1 for the file's name, and the word's
            number in it, -1 for all of them.
        texts: of each file.
        prefix: letters that stand before the number in all of them, in small letters.
        codes: of each file; equal texts have equal codes.
        numeric: the share of different texts that are a number with this prefix; half of it where letters differ.
        distinct: how many different texts there are.
    """

    level: int
    position: int
    texts: list[str]
    prefix: str = ""
    codes: Codes = field(init=False)
    numeric: float = 0
    distinct: int = 0

    def __post_init__(self) -> None:
        known: dict[str, int] = {}
        self.codes = np.array([known.setdefault(text.lower(), len(known)) for text in self.texts])
        self.distinct = len(known)
        matches = [re.fullmatch(r"([^\W\d_]*)(\d+)", text) for text in known]
        letters = {match[1] for match in matches if match}
        if all(matches) and len(letters) == 1:
            self.numeric, self.prefix = 1, letters.pop() or self.prefix
        else:
            self.numeric = float(np.mean([any(map(str.isdigit, text)) for text in known])) / 2

    @property
    def in_name(self) -> bool:
        """Whether it is a word of the file's name, not of a folder's."""
        return self.level == -1

    @property
    def bare(self) -> bool:
        """Whether it is a number without letters that say what it counts."""
        return self.numeric == 1 and self.prefix in {"", "i", "im", *IMAGE_WORDS}

    @property
    def wordy(self) -> bool:
        """Whether no text holds a digit."""
        return self.numeric == 0

    def known(self, words: set[str]) -> float:
        """The share of the different texts that hold one of these words."""
        texts = set(map(str.lower, self.texts))
        return sum(bool(words & set(re.split(r"[\W_]+", text))) for text in texts) / len(texts)

    def of(self, files: Sequence[int]) -> Column:
        """The column of some of its files."""
        return Column(self.level, self.position, [self.texts[i] for i in files], self.prefix)


@dataclass
class Group:
    """Image files whose paths have one shape.

    Attributes:
        files: they themselves.
        folders, names: the columns of their folders and of their names, without those that tell nothing new.
        contrast, visit, slice, split: codes of what the vocabulary tells of each file.
        volume: whether they are volumes.
        varying: the numbers of the names' words that vary.
    """

    files: list[FileName]
    folders: list[Column]
    names: list[Column]
    contrast: Codes
    visit: Codes
    slice: Codes
    split: Codes
    volume: bool
    varying: set[int]

    @property
    def columns(self) -> list[Column]:
        """Those of the folders, then those of the names."""
        return [*self.folders, *self.names]

    def of(self, roles: str, wanted: str, *fixed: Codes) -> Codes:
        """Codes of the columns that have one of the wanted roles, and of others, joined."""
        own = [column.codes for column, role in zip(self.columns, roles, strict=True) if role in wanted]
        return joined([*fixed, *own], len(self.files))


def coded(values: Iterable[object]) -> Codes:
    """Equal values have equal codes, counted from 0 in the order of appearance."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], np.int64)


def joined(columns: Sequence[Codes], length: int) -> Codes:
    """Codes of the rows of several columns."""
    out = np.zeros(length, np.int64)
    for column in columns:
        out = np.unique(out * (int(column.max(initial=0)) + 1) + column, return_inverse=True)[1].reshape(-1)
    return out


def determined(codes: Codes, by: Codes) -> bool:
    """Whether `codes` is a function of `by`."""
    return len(np.unique(joined([by, codes], len(by)))) == len(np.unique(by))


def recurrence(codes: Codes, owner: Codes) -> float:
    """The share of files whose value occurs with more than one owner."""
    pairs = np.unique(np.stack([codes, owner]), axis=1)
    owners = np.bincount(pairs[0], minlength=int(codes.max()) + 1)
    return float((owners[codes] > 1).mean())


def crossed(codes: Codes, rest: Codes) -> float:
    """How full the table of `rest` against the values of a column is, over those of `rest`: 1 if all have all."""
    pairs = np.unique(np.stack([rest, codes]), axis=1)
    each = np.bincount(pairs[0])
    return float((each[each > 0] / len(np.unique(codes))).mean())


def groups_by_depth(files: Sequence[FileName]) -> list[list[Group]]:
    """Groups of image files by the shape of their paths; those of one list are nested alike, the largest list first."""
    depths: dict[int, list[FileName]] = defaultdict(list)
    for file in files:
        depths[len(file.left) - 1].append(file)
    return [_same_depth(own) for own in sorted(depths.values(), key=len, reverse=True)]


def _same_depth(files: list[FileName]) -> list[Group]:
    """The groups of files whose folders are nested alike: the folders' columns are theirs together."""
    contrast = coded(file.contrast.lower() for file in files)
    folders, earlier = list[Column](), list[Column]()
    for level in range(len(files[0].left) - 1):
        visits = [_visits_above(file, level) for file in files]
        columns = _columns(level, files)
        folders += _telling(columns, earlier, contrast, *([coded(visits)] if folders else []))
        earlier += columns
    by_shape: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for k, file in enumerate(files):
        own = file.open(-1)
        by_shape[len(own), bool(own) and any(map(str.isdigit, own[0].text))].append(k)
    groups = []
    for ks in sorted(by_shape.values(), key=len, reverse=True):
        shared, some = [column.of(ks) for column in folders], [files[k] for k in ks]
        above = [coded(_visits_above(file, -1) for file in some)] if shared else []
        columns = _columns(-1, some)
        names = _telling(columns, [column.of(ks) for column in earlier], contrast[ks], *above)
        groups.append(_group(some, shared, names, {column.position for column in columns if column.distinct > 1}))
    return groups


def _visits_above(file: FileName, level: int) -> tuple[str, ...]:
    return tuple(word.text for words in file.words[:file.left[level]] for word in words
                 if word.kind in ("visit", "date"))


def _telling(columns: Sequence[Column], earlier: Sequence[Column], *before: Codes) -> list[Column]:
    """The columns that vary where none of those before them does.

    Those of other levels are not taken together: within a class or parcel few subjects may share a hospital's number.
    Nor does a folder's word tell a number below it, which it may only seem to where there are few files.
    """
    kept: list[Column] = []
    for number, column in enumerate(columns):
        single = [own for own in (*earlier, *columns[:number])
                  if not (own.wordy and own.level != column.level and not column.wordy)]
        known = [*([own.codes] for own in single), [own.codes for own in kept]]
        if column.distinct > 1 and not any(
                determined(column.codes, joined([*before, *codes], len(column.codes))) for codes in known):
            kept.append(column)
    return kept


def _columns(level: int, files: Sequence[FileName]) -> list[Column]:
    """The columns of one level: a word each, or all where the numbers of words differ."""
    own = [file.open(level) for file in files]
    if len({len(words) for words in own}) > 1:
        return [Column(level, -1, [" ".join(word.text for word in words) for words in own])]
    return [Column(level, k, [words[k].text for words in own], _letters_before(level, files, k))
            for k in range(len(own[0]))]


def _letters_before(level: int, files: Sequence[FileName], k: int) -> str:
    """The letters that stand, in a sample of them, before a word of a level: patient of patient_7."""
    some = files[::max(1, len(files) // LOOKED_AT)]
    matches = (re.search(r"([^\W\d_]*)[\W_]*$", file.component(level)[:file.open(level)[k].start]) for file in some)
    before = {match[1].lower() for match in matches if match}
    return before.pop() if len(before) == 1 else ""


def _group(files: list[FileName], folders: list[Column], names: list[Column], varying: set[int]) -> Group:
    def of_kind(*kinds: str) -> Codes:
        return coded(tuple(map(str.lower, file.of_kind(*kinds))) for file in files)

    return Group(files, folders, names[:max(0, MOST_COLUMNS - len(folders))],
                 coded(file.contrast.lower() for file in files), of_kind("visit", "date"), of_kind("slice"),
                 of_kind("split"), 2 * sum(file.volume for file in files) > len(files), varying)
