"""Many pictures in one file: .npy stacks, .npz archives, and MedMNIST with its own split."""

from __future__ import annotations

import re
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors
from ganatomy.core.text import listed
from ganatomy.data.images import Header, Pixels, Unreadable
from ganatomy.data.vocabulary import SPLITS_BY_NAME
from ganatomy.formats import npy
from ganatomy.sources.entry import Entry, Layout, Piece, safe_name

SUFFIXES = (".npy", ".npz")
MAX_CLASSES = 100
MAX_BYTES = 32 * 2**30
"""Archives that claim more are not unpacked."""
_AGAIN = "download or save the file again"
_MEDMNIST = re.compile(r"(train|val|test)_images")
SUBJECTS = re.compile(r"(subject|patient)s?(_?ids?)?", re.IGNORECASE)
LABELS = re.compile(r"labels?|y|targets?|class(es)?", re.IGNORECASE)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Array:
    """An array in an .npy file, mapped into memory."""

    path: Path
    values: Pixels

    @property
    def is_pictures(self) -> bool:
        """Whether it is a stack [n, h, w], [n, h, w, 1] or [n, h, w, 3 or 4] of plain numbers."""
        return bool(self.values.dtype.kind in "buif" and self.values.size
                    and len(npy.planes(self.values.shape)[0]) == 3)

    @property
    def header(self) -> Header:
        """The header of one picture. Raises `Unreadable`."""
        return replace(npy.describe(self.values[:1]), volumetric=False)

    def __str__(self) -> str:
        return f"{self.values.dtype} [{', '.join(map(str, self.values.shape))}]"


def read_stacks(files: Sequence[tuple[str, Path]], scratch: Path, say: Say) -> Layout:
    """Read .npy files [n, h, w(, 3)] and .npz archives of such arrays, each picture an entry.

    MedMNIST's own split is obeyed. Elsewhere arrays of as many pictures are domains, pictures of one number belong
    together; an array called subjects says whose they are, one called labels the classes. Without subjects each
    picture is a subject of its own.

    Args:
        files: (name, path) of each.
        scratch: where archives are unpacked, as .npy files.
        say: takes messages.

    Raises:
        UserError: a damaged file, one without pictures, one too large, arrays that do not go together.
    """
    prefix = len(files) > 1
    stems = [Path(name).stem.lower() for name, _ in files]
    splits = prefix and set(stems) <= SPLITS_BY_NAME.keys() and len(set(stems)) == len(stems)
    layouts = []
    for number, ((name, path), stem) in enumerate(zip(files, stems, strict=True)):
        own = f"{name}/" if prefix else ""
        if path.suffix.lower() == ".npy":
            layout = _plain(name, path, own)
        else:
            layout = _archive(name, path, own, scratch / f"stack{number}", say)
        if splits and not any(entry.split for entry in layout.entries):
            layout = replace(layout, entries=[replace(e, split=SPLITS_BY_NAME[stem]) for e in layout.entries])
        layouts.append(layout)
    if not prefix:
        return layouts[0]
    return Layout("stacks of pictures", [entry for layout in layouts for entry in layout.entries],
                  subjects_known=all(layout.subjects_known for layout in layouts),
                  notes=list(dict.fromkeys(note for layout in layouts for note in layout.notes)),
                  unpaired=any(layout.unpaired for layout in layouts))


def _plain(name: str, path: Path, own: str) -> Layout:
    with _reasons(path):
        array = Array(path, npy.mapped(path))
        if not array.is_pictures:
            raise _no_pictures(path, {name: array})
        header = array.header
    entries = [Entry(path, f"{name}/{i:06d}", f"{own}{i:06d}", piece=Piece(index=i), header=header)
               for i in range(len(array.values))]
    return Layout("a stack of pictures", entries, subjects_known=False)


def _archive(name: str, path: Path, own: str, scratch: Path, say: Say) -> Layout:
    arrays = _unpacked(name, path, scratch, say)
    splits = [match.group(1) for key in arrays if (match := _MEDMNIST.fullmatch(key))]
    keys = [f"{split}_images" for split in splits] or [key for key, array in arrays.items() if array.is_pictures]
    if not keys or not all(arrays[key].is_pictures for key in keys):
        raise _no_pictures(path, arrays)
    with _reasons(path):
        return _medmnist(name, arrays, splits, own) if splits else generic(name, path, arrays, keys, own)


def _unpacked(name: str, path: Path, scratch: Path, say: Say) -> dict[str, Array]:
    """The arrays of an archive by key, each unpacked into a file of its own."""
    arrays: dict[str, Array] = {}
    with _reasons(path, "cannot be read as .npz"), zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        needed = sum(info.file_size for info in members)
        _make_room(path, needed, scratch)
        if needed > 2**30:
            say(f"unpacking {name}: {needed / 2**30:.1f} GB")
        for number, info in enumerate(members):
            key, target = info.filename.removesuffix(".npy"), scratch / f"{number}.npy"
            with _reasons(path, f"the array {key!r} cannot be read"):
                with archive.open(info) as stream, disk_errors(target), target.open("wb") as handle:
                    shutil.copyfileobj(stream, handle)
                arrays[key] = Array(target, npy.mapped(target))
    return arrays


def _make_room(path: Path, needed: int, scratch: Path) -> None:
    """Make the scratch folder, and raise `UserError` if so many bytes must not be written to it."""
    with disk_errors(scratch):
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        room = min(MAX_BYTES, shutil.disk_usage(scratch).free // 2)  # the other half is for the dataset
    if needed > room:
        raise UserError(f"needs {needed / 2**20:,.1f} MB unpacked, and more than {room / 2**20:,.1f} are not unpacked",
                        where=path, fix="free some space, or save the pictures as files of their own")


@contextmanager
def _reasons(path: Path, problem: str = "") -> Iterator[None]:
    """Turn what a damaged file raises into a `UserError` that names it."""
    try:
        yield
    except UserError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, Unreadable) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"{problem} ({reason})" if problem else reason, where=path,
                        fix="save plain numbers" if "Python objects" in reason else _AGAIN) from error


def _medmnist(name: str, arrays: Mapping[str, Array], splits: Sequence[str], own: str) -> Layout:
    entries: list[Entry] = []
    notes = ["the file's own split into train, val and test is kept"]
    for split in splits:
        key, labels_key = f"{split}_images", f"{split}_labels"
        array, header = arrays[key], arrays[key].header
        labels, problem = _classes(arrays, labels_key, len(array.values)) if labels_key in arrays else (None, "")
        if problem and problem not in notes:
            notes.append(problem)
        entries += [Entry(array.path, f"{name}/{key}/{i:06d}", f"{own}{split}/{i:06d}",
                          label=labels[i] if labels else "", split=split, piece=Piece(index=i), header=header)
                    for i in range(len(array.values))]
    return Layout("an archive like those of MedMNIST", entries, subjects_known=False, notes=notes)


def generic(name: str, path: Path, arrays: Mapping[str, Array], keys: Sequence[str], own: str) -> Layout:
    """The layout of arrays by name, of which those called `keys` hold pictures.

    Args:
        name, path: of the archive.
        arrays, keys: what it holds.
        own: what subjects of this archive begin with.
    """
    counts = Counter(len(arrays[key].values) for key in keys)
    together, count = len(counts) == 1, next(iter(counts))
    others = [key for key in arrays if key not in keys]
    subjects = _subjects(path, arrays, others, counts)
    labels_key = next((key for key in others if LABELS.fullmatch(key)), "") if together else ""
    labels, problem = _classes(arrays, labels_key, count) if labels_key else (None, "")
    notes = [problem] if problem else []
    if len(keys) > 1:
        notes.append(f"the arrays {', '.join(keys)} are taken for domains, " + (
            "pictures of one number belong together" if together else
            "unpaired and without classes, since they hold different numbers of pictures"))
    ranks: list[int] = []  # of a picture among those of its subject
    seen: Counter[str] = Counter()
    for subject in subjects or ():
        ranks.append(seen[subject])
        seen[subject] += 1
    entries = []
    for domain, key in _domains(keys).items():
        array, header = arrays[key], arrays[key].header
        alone = own if together else f"{own}{key}/"
        entries += [Entry(array.path, f"{name}/{key}/{i:06d}", subjects[i] if subjects else f"{alone}{i:06d}",
                          domain=domain, label=labels[i] if labels else "", slice=ranks[i] if ranks else None,
                          piece=Piece(index=i), header=header) for i in range(len(array.values))]
    return Layout("an archive of pictures", entries, subjects_known=subjects is not None, notes=notes,
                  unpaired=not together)


def _domains(keys: Sequence[str]) -> dict[str, str]:
    """Domain -> key."""
    names = [safe_name(key) if len(keys) > 1 else "image" for key in keys]
    return {name if names.count(name) == 1 else f"{name}-{i}": key
            for i, (name, key) in enumerate(zip(names, keys, strict=True), 1)}


def _subjects(path: Path, arrays: Mapping[str, Array], keys: Sequence[str], counts: Counter[int]) -> list[str] | None:
    key = next((key for key in keys if SUBJECTS.fullmatch(key)), None)
    if key is None:
        return None
    values = arrays[key].values
    if values.dtype.kind not in "iuSU" or list(counts) != [values.size]:
        raise UserError(f"the array {key!r} is {arrays[key]}, but there are {listed(map(str, counts))} pictures",
                        where=path, fix="store one name or whole number for each picture")
    subjects = [_text(value).strip() for value in values.ravel().tolist()]
    if "" in subjects:
        raise UserError(f"the array {key!r} is empty at number {subjects.index('')}", where=path, fix="fill it in")
    return subjects


def _classes(arrays: Mapping[str, Array], key: str, count: int) -> tuple[list[str] | None, str]:
    """The class of each picture, or None and why there are none."""
    values, note = arrays[key].values, ""
    if values.shape not in ((count,), (count, 1)):
        return None, f"the array {key!r} is {arrays[key]}, not one label for each picture: there are no classes"
    values = values.ravel()
    if values.dtype.kind in "SU":
        names = [safe_name(_text(value)) for value in values.tolist()]
        note = (f"warning: the texts in {key!r} are taken for classes; class names are stored in the dataset and shown "
                "in reports: they must not be patients' names")
    else:
        whole = values.dtype.kind in "biu" or (values.dtype.kind == "f" and bool((values == np.round(values)).all()))
        names = [f"class-{int(value)}" for value in values.tolist()] if whole else []
    if not 0 < len(set(names)) <= MAX_CLASSES:
        return None, f"the array {key!r} holds no whole numbers or names of at most {MAX_CLASSES} classes"
    return [*map({name: name for name in names}.__getitem__, names)], note  # one string object a class


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _no_pictures(path: Path, arrays: Mapping[str, Array]) -> UserError:
    held = ", ".join(f"{key} {array}" for key, array in list(arrays.items())[:6]) or "nothing"
    return UserError(f"holds no stack of pictures [n, rows, columns] or [n, rows, columns, 3]: {held}", where=path,
                     fix="save pictures in one array, the first axis counting them; volumes as files of their own")
