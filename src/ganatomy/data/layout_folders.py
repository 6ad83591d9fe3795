"""What the names of folders and files say: a folder per subject, a folder per class, or one flat folder."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ganatomy.data import readers
from ganatomy.data.layout_csv import SPLIT_NAMES
from ganatomy.data.sources import Entry, Layout, is_mask_name, safe_name

_SESSION = re.compile(r"(ses|session|visit|timepoint|tp)[-_]?[a-z0-9]+", re.IGNORECASE)
_NUMBER = re.compile(r"(?:z|s|sl|slice|i|im|img|image)?[-_]?(\d+)", re.IGNORECASE)
_MASK_END = re.compile(r"(.+?)[\s._-]+((?:[a-z]+-)?(?:mask|seg|segmentation|label)(?:[-_]?\d+)?)", re.IGNORECASE)
_PLAIN_FOLDERS = {"image", "images", "img", "imgs", "data", "nifti", "niftis", "png", "pngs", "scans", "anat", "raw"}
MAX_DOMAINS = 12


@dataclass(frozen=True, slots=True)
class _File:
    """A file's relative path, taken apart; `folders` shrinks as its levels are understood."""

    name: str
    folders: tuple[str, ...]
    stem: str
    split: str = ""
    label: str = ""


def read_folders(source: Path, names: Sequence[str]) -> Layout:
    """Guess the layout from relative paths of image files.

    A first level named train, val and test gives the splits. Folders whose names hold a number are subjects; other
    folders are classes, unless the same few file names return in each. CLASS/SUBJECT/file is understood too.
    """
    files = [_File(name, tuple(name.split("/")[:-1]), readers.stem(name.split("/")[-1])) for name in names]
    files = _take_splits([_without_plain(file) for file in files])
    if all(not file.folders for file in files):
        return _flat(source, files)
    loose = [(file.name, "lies outside of the subjects' or classes' folders") for file in files if not file.folders]
    files = [file for file in files if file.folders]
    if _class_above_subject(files):
        files = [replace(file, label=file.folders[0], folders=file.folders[1:]) for file in files]
        layout = _per_subject(source, files)
        return replace(layout, kind="a folder per class, in it a folder per subject", unmatched=loose)
    if _mostly_numbered({file.folders[0] for file in files}) or _same_names_return(files):
        return replace(_per_subject(source, files), unmatched=loose)
    return replace(_per_class(source, files), unmatched=loose)


def _without_plain(file: _File) -> _File:
    return replace(file, folders=tuple(f for f in file.folders if f.lower() not in _PLAIN_FOLDERS))


def _take_splits(files: list[_File]) -> list[_File]:
    tops = {file.folders[0].lower() if file.folders else "" for file in files}
    if not tops <= SPLIT_NAMES.keys() or len(tops) < 2:
        return files
    return [replace(file, split=SPLIT_NAMES[file.folders[0].lower()], folders=file.folders[1:]) for file in files]


def _mostly_numbered(names: set[str]) -> bool:
    return 2 * sum(any(c.isdigit() for c in name) for name in names) >= len(names)


def _class_above_subject(files: list[_File]) -> bool:
    tops = {file.folders[0] for file in files}
    seconds = {file.folders[1] for file in files if len(file.folders) > 1 and not _SESSION.fullmatch(file.folders[1])}
    deep = all(len(file.folders) > 1 for file in files)
    return deep and bool(seconds) and not _mostly_numbered(tops) and _mostly_numbered(seconds)


def _same_names_return(files: list[_File]) -> bool:
    """Whether each folder holds one file of each kind, and the kinds return in other folders (Smith/T1, Jones/T1)."""
    kinds = Counter((file.folders, _remainder(file)) for file in files)
    places = Counter(kind for _, kind in {(file.folders[0], _remainder(file)) for file in files} if kind)
    return bool(places) and max(kinds.values()) == 1 and max(places.values()) > 1 and len(places) <= MAX_DOMAINS


def _remainder(file: _File) -> str:
    """What is left of the file's name without its folders' names, sessions and numbers: the contrast, if any."""
    text = file.stem
    for folder in file.folders:
        if text.lower().startswith(folder.lower()):
            text = text[len(folder):].lstrip("_-. ")
    tokens = [t for t in re.split(r"[_\s]+", text) if t and not _SESSION.fullmatch(t) and not _NUMBER.fullmatch(t)
              and t.lower() not in {f.lower() for f in file.folders}]
    return "_".join(tokens)


def _per_subject(source: Path, files: list[_File]) -> Layout:
    tokens: dict[str, set[str]] = defaultdict(set)  # token -> subjects
    subjects = {file.folders[0] for file in files}
    for file in files:
        for token in _remainder(file).split("_"):
            tokens[token].add(file.folders[0])
    # a token of one patient alone may be a name or a date; what returns in others is a contrast
    shared = {token for token, found in tokens.items() if len(found) > 1 or len(subjects) == 1}
    entries = []
    for file in files:
        domain = "-".join(t for t in _remainder(file).split("_") if t and t in shared)
        entries.append(Entry(source / file.name, file.name, file.folders[0], _session(file),
                             safe_name(domain), file.label, file.split, _slice(file)))
    return Layout("a folder per subject", entries)


def _session(file: _File) -> str:
    for part in (*file.folders[1:], *re.split(r"[_\s]+", file.stem)):
        if _SESSION.fullmatch(part):
            return part
    return file.folders[1] if len(file.folders) > 1 else ""


def _slice(file: _File) -> int | None:
    """The last numbered token of a picture's name; volumes have none."""
    if file.name.lower().endswith((".nii", ".nii.gz")):
        return None
    text = file.stem.removeprefix(file.folders[0]) if file.folders else file.stem
    numbers = [found for token in re.split(r"[_\s]+", text) if (found := _NUMBER.fullmatch(token))]
    return int(numbers[-1].group(1)) if numbers else None


def _per_class(source: Path, files: list[_File]) -> Layout:
    entries = [_single(source, file, file.folders[0]) for file in files]
    return Layout("a folder per class", entries, subjects_known=False)


def _single(source: Path, file: _File, label: str = "") -> Entry:
    """An image that is a subject of its own; NAME_mask is the mask of NAME."""
    found = _MASK_END.fullmatch(file.stem)
    base, domain = (found.group(1), found.group(2)) if found else (file.stem, "image")
    subject = "/".join((*((file.split,) if file.split else ()), *file.folders, base))
    return Entry(source / file.name, file.name, subject, "", safe_name(domain), label, file.split)


def _flat(source: Path, files: list[_File]) -> Layout:
    """SUBJECT_DOMAIN files in one folder, or images that each stand alone."""
    named = [_subject_and_domain(file) for file in files]
    subjects: dict[str, set[str]] = defaultdict(set)
    for entry in named:
        subjects[entry[1] if entry else ""].add(entry[0] if entry else "")
    returning = all(domain and (len(found) > 1 or is_mask_name(domain)) for domain, found in subjects.items())
    if not returning or len(subjects) > MAX_DOMAINS:
        return Layout("a flat folder of images", [_single(source, file) for file in files], subjects_known=False)
    entries = [Entry(source / file.name, file.name, entry[0], "", safe_name(entry[1]), "", file.split, _slice(file))
               for file, entry in zip(files, named, strict=True) if entry]
    return Layout("a flat folder of files SUBJECT_DOMAIN", entries)


def _subject_and_domain(file: _File) -> tuple[str, str] | None:
    """sub-0001_T1_z007 -> (sub-0001, T1); None where the last part is no word."""
    parts = file.stem.split("_")
    while len(parts) > 1 and _NUMBER.fullmatch(parts[-1]):
        parts.pop()
    subject, _, domain = "_".join(parts).rpartition("_" if len(parts) > 1 else "-")
    return (subject, domain) if subject and any(c.isalpha() for c in domain) else None
