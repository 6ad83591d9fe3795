"""Paths taken apart: which words name a split, contrast, mask, visit or slice, and which are left to be understood."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

from ganatomy import formats
from ganatomy.data.vocabulary import (
    CONTRASTS,
    IMAGE_WORDS,
    MACHINES,
    MANNERS,
    MASK_FOLDER,
    PREVIEWS,
    SPLITS_BY_NAME,
    TIMES,
    is_mask_word,
)

VOLUMES = (*formats.nifti.SUFFIXES, *formats.itk.SUFFIXES)
_DATE = r"(?:19|20)\d\d(?P<s>[-_.]?)[01]\d(?P=s)[0-3]\d(?:[-_ T]\d\d[-_.]\d\d[-_.]\d\d(?:\.\d+)?)?(?!\d)"
_VISIT = r"(?:(?:ses|session|visit|timepoint|tp)(?:[-_ ]?[dmwy]?\d+)?|(?:followup|fu)\d*)"
_WORD = re.compile(rf"(?P<date>(?<!\d){_DATE})|(?P<visit>(?<![^\W\d_]){_VISIT}(?![^\W_]))"
                   r"|(?P<slice>(?<![^\W\d_])(?:z|sl|slc|slice|schicht|coupe|corte|fetta)[-_ ]?\d+(?![^\W_]))"
                   r"|(?P<word>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[^\W_]+)",
                   re.IGNORECASE)
_SPLITS = "|".join(SPLITS_BY_NAME)
_FUSED = re.compile(rf"(?i:({_SPLITS}))((?i:{'|'.join(sorted(CONTRASTS, key=len, reverse=True))})|[AB])")
_SPLIT_NUMBER = re.compile(rf"((?i:{_SPLITS}))(\d+)")
_CAMEL = re.compile(rf"((?i:{_SPLITS}))(?i:data|set|dataset|images|imgs)")
_IMAGES_OF = re.compile(r"(?:images?|imgs?)[-_ ]?(tr|ts|va|train|test|val)", re.IGNORECASE)
_NUMBERED = re.compile(r"(images?|imgs?|masks?|labels?|segs?)(\d+)", re.IGNORECASE)
_UNIT = re.compile(r"[^\W\d_]*\d+|[^\W\d_]+")
_SLICE = re.compile(r"(?:z|s|sl|slc|slice)\d+", re.IGNORECASE)
_TIME = re.compile(rf"{_VISIT}|[mdwvy]\d+", re.IGNORECASE)
_FIELD = re.compile(r"\d+[^\W\d_]+")
_POINT = re.compile(r"t\d{1,2}", re.IGNORECASE)
WRAPPED = 0.95
"""A folder with so large a share of the files says nothing of any of them."""
LONELY = 0.6
"""A word of the vocabulary names a contrast only where so large a share of files have one at that place."""
_CHANNEL = re.compile(r"(.+)_(\d{4})")
_ABBREVIATED = {"tr": "train", "ts": "test", "va": "val"}


class Word(NamedTuple):
    """A word of a path.

    Attributes:
        kind: split, contrast, mask, image (says only that it is one), visit, slice, date, or "" where not understood.
        text: as it is written.
        start, end: where it lies within its component.
    """

    kind: str
    text: str
    start: int
    end: int


@dataclass
class FileName:
    """A file's relative path, taken apart.

    Attributes:
        name: the path; volume: whether it is a volume by its ending, not a picture.
        components: the folders, then the name without its ending; words: of each of them.
        mask: what it is called as a mask, "" for images.
        preview: whether it is called a picture for people to look at.
        contrast: the words of contrast, with lines between, "" where there are none.
    """

    name: str
    volume: bool
    components: list[str]
    words: list[tuple[Word, ...]]
    mask: str = ""
    contrast: str = ""
    preview: bool = False

    def of_kind(self, *kinds: str) -> Iterator[str]:
        """The words of some kinds, from the top to the name."""
        return (word.text for words in self.words for word in words if word.kind in kinds)

    @cached_property
    def left(self) -> list[int]:
        """The numbers of the folders with words that are not understood, then that of the name."""
        last = len(self.words) - 1
        return [i for i, words in enumerate(self.words) if i == last or any(not word.kind for word in words)]

    @cached_property
    def _open(self) -> list[list[Word]]:
        return [[word for word in self.words[i] if not word.kind] for i in self.left]

    def open(self, level: int) -> list[Word]:
        """The words of one of these components that are not understood."""
        return self._open[level]

    def component(self, level: int) -> str:
        """The text of one of these components."""
        return self.components[self.left[level]]

    @property
    def contrasts(self) -> list[str]:
        """The words of contrast, from the top to the name; those that an earlier one holds are left out."""
        out: dict[str, str] = {}
        for text in self.of_kind("contrast"):
            held = {part for earlier in out for part in re.split(r"[\W_]+", earlier)}
            if not set(re.split(r"[\W_]+", text.lower())) <= held:
                out[text.lower()] = text
        return list(out.values())


def count_wrappers(names: Sequence[str]) -> int:
    """How many of the first folders hold all files, or all but a few."""
    folders = [name.split("/")[:-1] for name in names]
    depth = 0
    while len(names) > 1:
        own = Counter(tuple(path[:depth + 1]) for path in folders if len(path) > depth)
        if not own or own.most_common(1)[0][1] < WRAPPED * len(names):
            return depth
        depth += 1
    return depth


def take_apart(name: str, contrasts: frozenset[str] = frozenset(), wrappers: int = 0) -> FileName:
    """The words of a path, those that stand for contrast, split and so on by the vocabulary told from the rest.

    Args:
        name: the path.
        contrasts: further words, in small letters, that name contrasts.
        wrappers: how many of its first folders hold all files: they say nothing, but for a contrast.
    """
    *folders, file = name.split("/")
    components = [*folders, formats.stem(file)]
    words = [*(_wrapper(folder, contrasts) for folder in folders[:wrappers]),
             *(words_of(folder, contrasts) for folder in folders[wrappers:]), _words(components[-1], False, contrasts)]
    folders = folders[wrappers:]
    mask = next((word.text for own in words[:-1] for word in own if word.kind == "mask"), "")
    if any(_IMAGES_OF.fullmatch(folder) or MASK_FOLDER.fullmatch(folder) for folder in folders):
        words[-1] = _channel(components[-1], words[-1], bool(mask))
    mask = mask or "-".join(word.text for word in words[-1] if word.kind == "mask")
    preview = any(component.lower().strip("0123456789_- ") in PREVIEWS for component in components)
    return FileName(name, name.lower().endswith(VOLUMES), components, words, mask, preview=preview)


@lru_cache(65536)
def _wrapper(text: str, contrasts: frozenset[str]) -> tuple[Word, ...]:
    words = words_of(text, contrasts)
    return words if [word.kind for word in words] == ["contrast"] else ()


def _channel(stem: str, words: tuple[Word, ...], mask: bool) -> tuple[Word, ...]:
    """The words of a name below imagesTr and the like: CASE_0000 ends with the number of a contrast."""
    match = _CHANNEL.fullmatch(stem)
    if mask or match is None:
        return words
    return (*(word for word in words if word.end <= match.end(1)), Word("contrast", match[2], *match.span(2)))


@lru_cache(65536)
def words_of(text: str, contrasts: frozenset[str] = frozenset()) -> tuple[Word, ...]:
    """The words of a folder's name."""
    own = text.lower()
    if match := MASK_FOLDER.fullmatch(text):
        return (Word("mask", match[1], 0, len(text)),)
    if match := _IMAGES_OF.fullmatch(text):
        kind = "image" if match[1].lower() in _ABBREVIATED else "split"
        return (Word(kind, match[1] if kind == "split" else text, 0, len(text)),)
    if own in IMAGE_WORDS:
        return (Word("image", text, 0, len(text)),)
    words = _words(text, True, contrasts)
    if any(is_mask_word(word.text) for word in words) and not re.search(r"\d\d", text):
        return (Word("mask", text, 0, len(text)),)
    named = any(word.kind == "contrast" for word in words)
    if named and not any(word.kind in ("visit", "date") or (not word.kind and re.search(r"\d", word.text))
                             for word in words):  # Axial_PD_T2_FSE is one contrast, patient7_T1 is not
        left = [word for word in words if word.kind == "split"]
        start, end = min(w.start for w in words if w not in left), max(w.end for w in words if w not in left)
        return tuple(sorted([*left, Word("contrast", text[start:end], start, end)], key=lambda word: word.start))
    return words


def _words(text: str, folder: bool, more: frozenset[str] = frozenset()) -> tuple[Word, ...]:
    words: list[Word] = []
    for match in _WORD.finditer(text):
        group = match.lastgroup or ""
        if group not in ("word", "slice") or (group == "slice" and not folder):
            words.append(Word(group, match.group(), *match.span()))
            continue
        own = match.group().lower()
        if own not in MANNERS and (fused := _FUSED.fullmatch(match.group())):
            start = match.start()
            words += [Word("split", fused[1], start, start + fused.end(1)),
                      Word("contrast" if len(fused[2]) > 1 else "", fused[2], start + fused.start(2),
                           start + fused.end(2))]
            continue
        if numbered := _SPLIT_NUMBER.fullmatch(match.group()):
            start = match.start()
            words += [Word("split", numbered[1], start, start + numbered.end(1)),
                      Word("", numbered[2], start + numbered.start(2), start + numbered.end(2))]
            continue
        if not words and not folder and (numbered := _NUMBERED.fullmatch(match.group())):
            start = match.start()
            words += [Word(_kind(numbered[1].lower(), folder, words), numbered[1], start, start + numbered.end(1)),
                      Word("", numbered[2], start + numbered.start(2), start + numbered.end(2))]
            continue
        kind = "contrast" if own in more else _kind(own, folder, words)
        said = _CAMEL.fullmatch(match.group()) if kind == "split" else None  # TrainingData says training
        words.append(Word(kind, said[1] if said else match.group(), *match.span()))
    return tuple(words)


@lru_cache(65536)
def units(text: str) -> tuple[str, ...]:
    """The parts of a word, each to where letters follow a digit: person1d0182DWI -> person1, d0182, DWI."""
    out: list[str] = []
    for unit in _UNIT.findall(text):
        if out and (out[-1] + unit).lower() in CONTRASTS:
            out[-1] += unit
        else:
            out.append(unit)
    return tuple(out) if "".join(out) == text else (text,)


def _kind(own: str, folder: bool, before: list[Word]) -> str:
    manner = own in MANNERS and bool(before) and before[-1].kind == "contrast"
    return "contrast" if manner else _plain_kind(own, folder)


@lru_cache(65536)
def _plain_kind(own: str, folder: bool) -> str:
    """The kind of a word, in small letters, whatever stands before it."""
    if own in CONTRASTS:
        return "contrast"
    if own in SPLITS_BY_NAME or _CAMEL.fullmatch(own):
        return "split"
    if own in TIMES or own in ("pre", "post", "mid"):
        return "visit"
    if not folder and (is_mask_word(own) or re.fullmatch(r"lesions?\d*", own)):
        return "mask"
    return "image" if own in IMAGE_WORDS and not folder else ""


def number(text: str) -> int | None:
    """The whole number at the end of a word, None where there is none."""
    match = re.search(r"(\d{1,15})$", text)
    return int(match[1]) if match else None


def settle_words(files: Sequence[FileName]) -> None:
    """Settle what only all files together tell of a word.

    Words that can be parted alike in all of them are parted (L001d0520, not 4941 and A61B); T1 and T2 are visits where
    T0 or T3 stand at their place; and a word of the vocabulary that few have at its place is an ordinary one.
    """
    places: dict[tuple[int, int], list[FileName]] = defaultdict(list)
    for file in files:
        last = len(file.words) - 1
        for i, words in enumerate(file.words):
            places[-1 if i == last else i, len(words)].append(file)
    for (i, count), own in places.items():
        for k in reversed(range(count)):
            _settle_place(own, i, k)
    _settle_points(files)


def _settle_place(files: Sequence[FileName], i: int, k: int) -> None:
    words = [file.words[i][k] for file in files]
    open_share = sum(not word.kind for word in words) / len(words)
    if open_share == 1 and len({word.text for word in words}) > 1:
        counts = {0 if _FIELD.fullmatch(word.text) and not any(part.kind for part in _parted(word, i != -1)) else
                  len(units(word.text)) for word in words}  # 80kV and 3T stay whole
        if len(counts) == 1 and max(counts) > 1:
            for file in files:
                file.words[i] = (*file.words[i][:k], *_parted(file.words[i][k], i != -1), *file.words[i][k + 1:])
    elif 0 < sum(word.kind == "contrast" for word in words) / len(words) < LONELY and open_share > 0:
        for file in files:
            if file.words[i][k].kind == "contrast":
                file.words[i] = (*file.words[i][:k], file.words[i][k]._replace(kind=""), *file.words[i][k + 1:])


def _parted(word: Word, folder: bool) -> list[Word]:
    out: list[Word] = []
    start = word.start
    for k, unit in enumerate(units(word.text)):
        time = "slice" if _SLICE.fullmatch(unit) else "visit" if _TIME.fullmatch(unit) else ""
        kind = _kind(unit.lower(), folder, out) or (time if k else "")
        out.append(Word(kind, unit, start, start + len(unit)))
        start += len(unit)
    return out


def _settle_points(files: Sequence[FileName]) -> None:
    """Make T0, T1, T2, T3 at one place visits."""
    points: dict[int, set[str]] = defaultdict(set)
    for file in files:
        last = len(file.words) - 1
        for i, words in enumerate(file.words):
            points[-1 if i == last else i] |= {word.text.lower() for word in words if _POINT.fullmatch(word.text)}
    for i, texts in points.items():
        if texts - {"t1", "t2"}:
            for file in files:
                if -1 <= i < len(file.words) - 1:
                    file.words[i] = tuple(word._replace(kind="visit") if _POINT.fullmatch(word.text)
                                          and word.kind in ("", "contrast") else word for word in file.words[i])


def _without_common(contrasts: list[list[str]]) -> list[list[str]]:
    """IXI-T1 and IXI-T2 are T1 and T2: what all names of folders share names no contrast."""
    parts = [{part for text in texts for part in re.split(r"[\W_]+", text)} for texts in contrasts if texts]
    if len(set(map(frozenset, parts))) < 2:
        return contrasts
    common = {part for part in set.intersection(*parts) if part.lower() not in {*CONTRASTS, *MANNERS, "channel"}}
    if not common:
        return contrasts
    pattern = rf"(?<![^\W_])(?:{'|'.join(map(re.escape, common))})(?![^\W_])"
    return [[re.sub(pattern, "", text).strip("-_. ") for text in texts] for texts in contrasts]


def settle_contrasts(files: Sequence[FileName]) -> None:
    """Give each file the contrast that its words tell, without words that all files have while others tell more."""
    own = [[f"channel-{text}" if text.isdecimal() else text for text in file.contrasts] for file in files]
    if {text for texts in own for text in texts} == {"channel-0000"}:
        own = [[] for _ in files]
    everywhere = set.intersection(*({text.lower() for text in texts} for texts in own)) & MACHINES if own else set()
    several = any({text.lower() for text in texts} - everywhere for texts in own)
    own = _without_common(own)
    spelled: dict[str, str] = {}
    for file, texts in zip(files, own, strict=True):
        text = "-".join(text for text in texts if not (several and text.lower() in everywhere))
        file.contrast = spelled.setdefault(text.lower(), text)
