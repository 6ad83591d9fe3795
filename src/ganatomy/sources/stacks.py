"""Many pictures in one file: .npy stacks, .npz archives, and MedMNIST with its own split."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.data.images import check_size, simple_dtype
from ganatomy.data.vocabulary import SPLITS_BY_NAME
from ganatomy.formats import Header, Unreadable
from ganatomy.sources.entry import Entry, Layout, Piece, safe_name
from ganatomy.sources.unpacking import Archive, Array, check_room, describe_file, opened, write_stack

SUFFIXES = (".npy", ".npz")
MAX_CLASSES = 100
_MEDMNIST = re.compile(r"(train|val|test)_images")
_SUBJECTS = re.compile(r"(subject|patient)s?(_?ids?)?", re.IGNORECASE)
_LABELS = re.compile(r"labels?|y|targets?|class(es)?", re.IGNORECASE)

Say = Callable[[str], None]


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
            layout = _plain(name, path, own, scratch / f"stack{number}")
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


def _plain(name: str, path: Path, own: str, scratch: Path) -> Layout:
    array = describe_file(path)
    if not array.is_pictures:
        raise _no_pictures(path, {name: array})
    if array.shape[3:] == (1,):
        check_room(path, array.nbytes, scratch)
        with path.open("rb") as stream:
            stream.seek(array.offset)
            path = write_stack(stream, array, scratch / "array.npy")
    header = _header(path, array)
    entries = [Entry(path, f"{name}/{i:06d}", f"{own}{i:06d}", piece=Piece(index=i), header=header)
               for i in range(array.shape[0])]
    return Layout("a stack of pictures", entries, subjects_known=False)


def _archive(name: str, path: Path, own: str, scratch: Path, say: Say) -> Layout:
    with opened(path) as archive:
        splits = [found.group(1) for key in archive.arrays if (found := _MEDMNIST.fullmatch(key))]
        keys = [f"{split}_images" for split in splits] or [
            key for key, array in archive.arrays.items() if array.is_pictures]
        if not keys or not all(archive.arrays[key].is_pictures for key in keys):
            raise _no_pictures(path, archive.arrays)
        needed = sum(archive.arrays[key].nbytes for key in keys)
        check_room(path, needed, scratch)
        if needed > 2**30:
            say(f"unpacking {name}: {needed / 2**30:.1f} GB")
        if splits:
            return _medmnist(name, path, archive, splits, own, scratch)
        return _generic(name, path, archive, keys, own, scratch)


def _medmnist(name: str, path: Path, archive: Archive, splits: Sequence[str], own: str, scratch: Path) -> Layout:
    entries: list[Entry] = []
    notes = ["the file's own split into train, val and test is kept"]
    for split in splits:
        key, labels_key = f"{split}_images", f"{split}_labels"
        count = archive.arrays[key].shape[0]
        labels, problem = _classes(archive, labels_key, count) if labels_key in archive.arrays else (None, "")
        if problem and problem not in notes:
            notes.append(problem)
        place, header = archive.unpack(key, scratch / f"{split}.npy"), _header(path, archive.arrays[key])
        entries += [Entry(place, f"{name}/{key}/{i:06d}", f"{own}{split}/{i:06d}", label=labels[i] if labels else "",
                          split=split, piece=Piece(index=i), header=header) for i in range(count)]
    return Layout("an archive like those of MedMNIST", entries, subjects_known=False, notes=notes)


def _generic(name: str, path: Path, archive: Archive, keys: Sequence[str], own: str, scratch: Path) -> Layout:
    counts = Counter(archive.arrays[key].shape[0] for key in keys)
    together, count = len(counts) == 1, next(iter(counts))
    others = [key for key in archive.arrays if key not in keys]
    subjects = _subjects(path, archive, others, counts)
    labels, notes = None, []
    for key in (key for key in others if _LABELS.fullmatch(key)):
        labels, problem = _classes(archive, key, count) if together else (
            None, "the labels are not used: the arrays hold different numbers of pictures")
        notes += [problem] if problem else []
        break
    if len(keys) > 1:
        notes.append("arrays of as many pictures are taken for domains, pictures of one number belong together: "
                     + ", ".join(keys) if together else
                     "arrays of different numbers of pictures are taken for unpaired domains: " + ", ".join(keys))
    entries = []
    ranks = _ranks(subjects) if subjects else None
    for number, (domain, key) in enumerate(_domains(keys).items()):
        place, header = archive.unpack(key, scratch / f"{number}.npy"), _header(path, archive.arrays[key])
        alone = own if together else f"{own}{key}/"
        entries += [Entry(place, f"{name}/{key}/{i:06d}", subjects[i] if subjects else f"{alone}{i:06d}",
                          domain=domain, label=labels[i] if labels else "", slice=ranks[i] if ranks else None,
                          piece=Piece(index=i), header=header) for i in range(archive.arrays[key].shape[0])]
    return Layout("an archive of pictures", entries, subjects_known=subjects is not None, notes=notes,
                  unpaired=not together)


def _domains(keys: Sequence[str]) -> dict[str, str]:
    """Domain -> key."""
    if len(keys) == 1:
        return {"image": keys[0]}
    domains: dict[str, str] = {}
    for key in keys:
        name, number = safe_name(key), 2
        while name in domains:
            name, number = f"{safe_name(key)}-{number}", number + 1
        domains[name] = key
    return domains


def _header(path: Path, array: Array) -> Header:
    """The header of one picture; all entries share it."""
    height, width = array.shape[1:3]
    try:
        check_size((height, width), array.dtype.itemsize)
    except Unreadable as error:
        raise UserError(str(error), where=path) from error
    return Header((1, height, width), simple_dtype(array.dtype), channels=3 if array.shape[3:] in ((3,), (4,)) else 1)


def _subjects(path: Path, archive: Archive, keys: Sequence[str], counts: Counter[int]) -> list[str] | None:
    key = next((key for key in keys if _SUBJECTS.fullmatch(key)), None)
    if key is None:
        return None
    values = archive.column(key)
    if values.dtype.kind not in "iuSU" or list(counts) != [values.size]:
        raise UserError(f"the array {key!r} is {_shape(archive.arrays[key])}, but there are "
                        f"{' and '.join(map(str, counts))} pictures", where=path,
                        fix="store one name or whole number for each picture")
    subjects = [_text(value).strip() for value in values.ravel().tolist()]
    if "" in subjects:
        raise UserError(f"the array {key!r} is empty at number {subjects.index('')}", where=path, fix="fill it in")
    return subjects


def _classes(archive: Archive, key: str, count: int) -> tuple[list[str] | None, str]:
    """The class of each picture, or None and why there are none."""
    array = archive.arrays[key]
    if array.shape[:1] != (count,) or array.shape not in ((count,), (count, 1)):
        return None, f"the array {key!r} is {_shape(array)}, not one label for each picture: there are no classes"
    values: NDArray[Any] = archive.column(key).ravel()
    if values.dtype.kind in "SU":
        names = [safe_name(_text(value)) for value in values.tolist()]
        note = (f"warning: the texts in {key!r} are taken for classes; class names are stored in the dataset and shown "
                "in reports: they must not be patients' names")
    elif values.dtype.kind in "biu" or (values.dtype.kind == "f" and bool((values == np.round(values)).all())):
        names, note = [f"class-{int(value)}" for value in values.tolist()], ""
    else:
        return None, f"the array {key!r} holds no whole numbers: there are no classes"
    if len(set(names)) > MAX_CLASSES:
        return None, f"the array {key!r} holds {len(set(names))} different values: they are taken for no classes"
    return [*map({name: name for name in names}.__getitem__, names)], note  # one string object a class


def _ranks(subjects: Sequence[str]) -> list[int]:
    """The how-manyth picture of its subject each is."""
    seen: Counter[str] = Counter()
    ranks = []
    for subject in subjects:
        ranks.append(seen[subject])
        seen[subject] += 1
    return ranks


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _shape(array: Array) -> str:
    return f"{array.dtype} [{', '.join(map(str, array.shape))}]"


def _no_pictures(path: Path, arrays: dict[str, Array]) -> UserError:
    found = ", ".join(f"{key} {_shape(array)}" for key, array in list(arrays.items())[:6]) or "nothing"
    volumes = any(len(array.shape) == 4 and array.dtype.kind in "buif" for array in arrays.values())
    return UserError(f"holds no stack of pictures [n, rows, columns] or [n, rows, columns, 3]: {found}", where=path,
                     fix="save each volume as an .npy or NIfTI file of its own in a folder" if volumes else
                     "save the pictures in one array, the first axis counting them")
