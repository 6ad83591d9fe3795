"""The files of a source: what is known of each before it is opened, and how they are listed, scanned and read."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import numpy as np

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.core.files import PRIVATE_SUFFIX
from ganatomy.core.run import Run
from ganatomy.core.text import printable
from ganatomy.data.dataset import is_dataset
from ganatomy.formats import Header, Pixels, Unreadable

_NO_IMAGES = (".txt", ".csv", ".tsv", ".json", ".xml", ".html", ".htm", ".pdf", ".md", ".py", ".log", ".yaml", ".yml",
              ".zip", ".gz", ".tar", ".bvec", ".bval", ".raw", ".zraw", ".xls", ".xlsx", ".doc", ".docx", ".mat", ".pt")


@dataclass(frozen=True, slots=True)
class Piece:
    """What of a file an entry means, where it is not the whole of it; at most one of these is set.

    Attributes:
        frames: (path, number of the frame) of each slice of a DICOM volume, in the order of its k axis.
        index: one picture of a stack, along the first axis.
        half: one of two pictures that stand side by side in one.
        contrast: number of one volume in the fourth axis of a NIfTI file.
        channels_first: an array [3, h, w] is a colour picture.
    """

    frames: tuple[tuple[str, int], ...] = ()
    index: int | None = None
    half: Literal["", "left", "right"] = ""
    contrast: int | None = None
    channels_first: bool = False


WHOLE = Piece()


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the source, or one volume of a DICOM series.

    Attributes:
        path: where it is.
        name: its path relative to the source, as the user knows it.
        subject, session: original names; session is "" where there is one visit.
        domain: contrast or modality, safe as part of a file name.
        label: class, "" where there are none.
        split: train, val or test where the source says so, else "".
        slice: number of the slice where the source says so, else None.
        group: subjects of one group are never parted by the split; "" where there are none.
        piece: what of the file is meant.
        header: of that piece, where finding the layout has told it already.
        counted: a DICOM picture of which only a number, and not the place, is known.
        frame: name of the frame of reference: coordinates of files of one frame can be compared; "" where unknown.
    """

    path: Path
    name: str
    subject: str
    session: str = ""
    domain: str = "image"
    label: str = ""
    split: str = ""
    slice: int | None = None
    group: str = ""
    piece: Piece = WHOLE
    header: Header | None = None
    frame: str = ""
    counted: bool = False


@dataclass(frozen=True)
class Layout:
    """What a source is taken for.

    Attributes:
        kind: in words, such as "a folder per subject".
        entries: the files, in the order of their names.
        subjects_known: False where each image had to be taken for a patient of its own.
        unmatched: image files that do not fit, with the reason: (name, reason).
        notes: to be told.
        unpaired: the source itself says that its domains do not belong together image by image.
        examples: how some files are read, a line each; they may name patients, and are told and not stored.
        identifiers: (kind, value) of what names patients, from the files' tags; for the private folder alone.
    """

    kind: str
    entries: list[Entry]
    subjects_known: bool = True
    unmatched: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unpaired: bool = False
    identifiers: frozenset[tuple[str, str]] = frozenset()
    examples: list[str] = field(default_factory=list)


def natural(text: str) -> str:
    """A sorting key by which img2 comes before img10: every number is preceded by how many digits it has."""
    def preceded(number: re.Match[str]) -> str:
        digits = number.group().lstrip("0")
        return f"\1{chr(len(digits))}{digits}"  # \1, since numbers come before letters

    return re.sub(r"[0-9]+", preceded, text)


def safe_name(text: str) -> str:
    """A domain's or class's name, fit for a file name."""
    return re.sub(r"[^\w.+-]+", "-", normalize("NFC", text.strip())).strip("-.")[:60] or "image"


def is_prepared(folder: Path) -> bool:
    """Whether a folder is a dataset of Ganatomy, and not one of others that has a dataset.json too."""
    return (folder / "dataset.json").is_file() and is_dataset(folder)


def compiled(text: str, option: str) -> re.Pattern[str]:
    """A regular expression that the user gave, upper and lower case alike.

    Raises:
        UserError: it is none.
    """
    if not text:
        raise UserError("the regular expression is empty", where=option, fix="write what the names hold, such as T1")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(text, re.IGNORECASE)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"{printable(text)!r} is no regular expression ({error})", where=option,
                        fix="put a backslash before ( [ * + ? and . that are meant as such") from error


def subject_in(name: str, regex: re.Pattern[str]) -> str:
    """The subject that the regular expression finds in a file's name, "" if it finds none."""
    match = regex.search(name)
    return (match[subject_group(regex)] or "").strip() if match else ""


def subject_group(regex: re.Pattern[str]) -> str | int:
    """Which group of a regular expression is the subject."""
    return "subject" if "subject" in regex.groupindex else min(regex.groups, 1)


@dataclass(frozen=True)
class Files:
    """What lies below a folder, as relative paths in natural order.

    Attributes:
        images: files called like an image, but for DICOM.
        dicom: files called like DICOM, and those without a known ending that hold it.
        archives: .npz files.
        passed: a count by kind of the files passed over: hidden, other, DICOMDIR, closed folder, and the suffix of a
            format that is not read.
    """

    images: list[str] = field(default_factory=list)
    dicom: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)


def walk(source: Path, leave_out: Sequence[Path] = ()) -> Files:
    """Find the files below a folder that may be images.

    Hidden files, pipes and the like, dataset and run folders and their private folders are passed over; links to
    folders are followed once. The first bytes of a file are looked at only where its name says nothing.
    """
    files = Files()
    for prefix, items in listings(source, leave_out, files.passed):
        for item in items:
            _sort_in(files, prefix + item.name, item)
    for names in (files.images, files.dicom, files.archives):
        names.sort(key=natural)
    return files


def listings(source: Path, leave_out: Sequence[Path],
             passed: Counter[str]) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """(relative path with a slash at its end, what is no folder) of every folder that `walk` looks into."""
    seen: set[tuple[int, int]] = set()
    left_out = {os.path.realpath(path) for path in leave_out}
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        place = source / prefix
        try:
            status = place.stat()
            with os.scandir(place) as listing:
                items = {item.name: item for item in listing}
        except OSError:
            passed["closed folder"] += 1
            continue
        ours = ("manifest.csv" in items and is_prepared(place)) or ("recipe.yaml" in items and Run.is_run(place))
        if (status.st_dev, status.st_ino) in seen or ours or os.path.realpath(place) in left_out:
            continue
        seen.add((status.st_dev, status.st_ino))
        names = sorted(items, reverse=True)  # the first folder is to be taken first from the end of `waiting`
        folders = {name for name in names if _is_folder(items[name])}
        waiting += [f"{prefix}{name}/" for name in names if name in folders
                    and not name.startswith((".", "__MACOSX")) and not name.endswith(PRIVATE_SUFFIX)]
        yield prefix, [items[name] for name in names if name not in folders]


def is_hidden(name: str) -> bool:
    """Whether a file of this name is none of the user's: file managers and archives leave such behind."""
    return name.lower().startswith((".", "__macosx")) or name.lower() == "thumbs.db"


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:
        return False


def _sort_in(files: Files, name: str, item: os.DirEntry[str]) -> None:
    own = item.name.lower()
    try:
        plain = item.is_file()
    except OSError:
        plain = False
    if is_hidden(own):
        files.passed["hidden"] += 1
    elif not plain:
        files.passed["other"] += 1
    elif own == "dicomdir":
        files.passed["DICOMDIR"] += 1
    elif own.endswith(formats.dicom.SUFFIXES):
        files.dicom.append(name)
    elif (suffix := Path(own).suffix) in formats.CONVERT:
        files.passed[suffix] += 1
    elif own.endswith(formats.SUFFIXES):
        files.images.append(name)
    elif own.endswith(".npz"):
        files.archives.append(name)
    elif not own.endswith(_NO_IMAGES) and _holds_dicom(item.path):
        files.dicom.append(name)
    else:
        files.passed["other"] += 1


def _holds_dicom(path: str) -> bool:
    try:
        return formats.format_of(path) is formats.dicom
    except OSError:
        return False


def example(entry: Entry) -> str:
    """How one file is read, in a line."""
    parts = [("class", entry.label), ("subject", entry.subject), ("visit", entry.session), ("contrast", entry.domain),
             ("slice", "" if entry.slice is None else str(entry.slice)), ("split", entry.split)]
    return f"{printable(entry.name)} -> " + ", ".join(f"{name} {printable(text)}" for name, text in parts if text)


def scan_entry(entry: Entry) -> Header:
    """The header of an entry, pixels not decoded. Raises `Unreadable` with the reason."""
    if entry.header is not None:
        return entry.header
    header = formats.scan(entry.path, entry.piece.contrast)
    slices, height, width = header.shape
    if entry.piece.index is not None:
        if not 0 <= entry.piece.index < slices:
            raise Unreadable(f"has {slices} pictures and no number {entry.piece.index}")
        return replace(header, shape=(1, height, width), volumetric=False)
    if entry.piece.half:
        if header.volumetric or width < 2:
            raise Unreadable("is no picture of two halves")
        return replace(header, shape=(1, height, width // 2))
    return header


def read_entry(entry: Entry) -> Pixels:
    """Pixels of an entry as `formats.read` gives them; all finite. Raises `Unreadable` with the reason."""
    piece = entry.piece
    if piece.frames:
        return formats.read_frames(piece.frames)
    if piece.index is not None:
        return np.asarray(formats.read_one(entry.path, piece.index)[None])
    pixels = formats.read(entry.path, piece.contrast)
    if piece.channels_first:
        return np.moveaxis(pixels, 0, -1)[None]
    if not piece.half:
        return pixels
    middle = pixels.shape[2] // 2
    return pixels[:, :, :middle] if piece.half == "left" else pixels[:, :, pixels.shape[2] - middle:]
