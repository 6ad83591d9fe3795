"""The files a dataset is made from: what is known of each before it is opened, and finding them in a folder."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ganatomy.data import readers
from ganatomy.data.dataset import is_dataset
from ganatomy.data.readers import Header
from ganatomy.files import PRIVATE_SUFFIX
from ganatomy.run import Run

_MASK = re.compile(r"mask|seg|label|lesion", re.IGNORECASE)
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class Piece:
    """What of a file an entry means, where it is not the whole of it; at most one of these is set.

    Attributes:
        frames: (path, number of the frame) of each slice of a DICOM volume, in the order of its k axis.
        index: one picture of a stack, along the first axis.
        half: one of two pictures that stand side by side in one.
    """

    frames: tuple[tuple[str, int], ...] = ()
    index: int | None = None
    half: Literal["", "left", "right"] = ""


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


@dataclass(frozen=True)
class Layout:
    """What the source was found to be.

    Attributes:
        kind: in words, such as "a folder per subject".
        entries: the files, in the order of their names.
        subjects_known: False where each image had to be taken for a patient of its own.
        unmatched: image files that do not fit, with the reason: (name, reason).
        notes: to be said aloud.
        unpaired: the source itself says that its domains do not belong together image by image.
        identifiers: (kind, value) of what names patients, from the files' tags; for the private folder alone.
    """

    kind: str
    entries: list[Entry]
    subjects_known: bool = True
    unmatched: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unpaired: bool = False
    identifiers: frozenset[tuple[str, str]] = frozenset()


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sorting key by which img2 comes before img10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in _DIGITS.split(text) if part]


def safe_name(text: str) -> str:
    """A domain's or class's name, fit for a file name."""
    return re.sub(r"[^\w.+-]+", "-", text.strip()).strip("-.")[:60] or "image"


def printable(text: str) -> str:
    """A name with line breaks, other control characters and bytes that are no UTF-8 written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def typed(path: Path) -> str:
    """A path as one would type it into a shell."""
    return printable(shlex.quote(str(path)))


def is_prepared(folder: Path) -> bool:
    """Whether a folder is a dataset that Ganatomy made, and not one of others that has a dataset.json too."""
    return (folder / "dataset.json").is_file() and is_dataset(folder)


def is_mask_name(domain: str) -> bool:
    """Whether a domain of this name is taken for a mask."""
    return bool(_MASK.search(domain))


def walk(source: Path, leave_out: Sequence[Path] = ()) -> tuple[list[str], Counter[str]]:
    """The image files below a folder, as sorted relative paths, and a count by kind of the files passed over.

    Hidden files, pipes and the like, dataset and run folders and their private folders are passed over; links to
    folders are followed once.
    """
    found: list[str] = []
    passed: Counter[str] = Counter()
    seen: set[tuple[int, int]] = set()
    left_out = {path.resolve() for path in leave_out}
    for folder, folders, files in os.walk(source, followlinks=True):
        place, status = Path(folder), Path(folder).stat()
        ours = ("manifest.csv" in files and is_prepared(place)) or ("recipe.yaml" in files and Run.is_run(place))
        if (status.st_dev, status.st_ino) in seen or ours or place.resolve() in left_out:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not f.endswith(PRIVATE_SUFFIX))
        for name in files:
            if name.startswith((".", "__MACOSX")) or name == "Thumbs.db":
                passed["hidden"] += 1
            elif readers.is_candidate(name) and (place / name).is_file():
                found.append((place / name).relative_to(source).as_posix())
            else:
                passed["DICOM" if name.lower().endswith((".dcm", ".ima")) else "other"] += 1
    return sorted(found, key=natural), passed
