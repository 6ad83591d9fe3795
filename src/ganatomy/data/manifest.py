"""manifest.csv: one row an image (which subject, contrast, split, where its pixels are); and choices among rows."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ganatomy.core.errors import UserError
from ganatomy.core.files import write_text
from ganatomy.core.reading import MOST, read_csv

T = TypeVar("T")
SPLITS = ("train", "val", "test")
_AGAIN = "prepare the dataset again"


@dataclass(frozen=True, slots=True)
class Row:
    """One image of a dataset.

    Attributes:
        image_id: unique within a domain, pseudonymous; the same slice has the same id in every paired domain.
        subject: pseudonym of the patient; splits and statistics go by it.
        session: pseudonym of the visit; "" where there is one.
        slice: index of the slice along the chosen axis of the canonical volume; 0 for projections.
        domain: contrast or modality, such as T1.
        label: class name, "" where there are none.
        split: train, val or test; "" for synthetic images.
        row: index into images-<domain>.npy (and masks.npy where there is one).
        offset, scale: physical value = stored value x scale + offset, one pair a volume.
        spacing: mm per pixel of the stored image as "y x x", "" where unknown.
        source: keyed hash of the file it came from; the key lies outside the dataset.
        sha256: of the stored pixels' bytes.
        position: of the centre of the first pixel (top left) in the patient's space, mm as "x y z" (right, anterior,
            superior, as NIfTI has it); "" where unknown.
        orientation: unit vectors to the right and down the picture in the same space, six numbers; "" where unknown.
        has_mask: False where other images have a mask and this one's is missing: what masks.npy holds of it means
            nothing. The file has this column, 1 or 0, only where some mask is missing.
    """

    image_id: str
    subject: str
    session: str
    slice: int
    domain: str
    label: str
    split: str
    row: int
    offset: float
    scale: float
    spacing: str
    source: str
    sha256: str
    position: str = ""
    orientation: str = ""
    has_mask: bool = True


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(f"{text} is below 0")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not abs(value) <= MOST:  # NaN compares as false
        raise ValueError(f"{text} is no finite number")
    return value


COLUMNS = [f.name for f in fields(Row)]
_CASTS: dict[str, Callable[[str], Any]] = {"int": _count, "float": _finite, "str": str, "bool": lambda t: bool(int(t))}
_TYPES = [_CASTS[str(f.type)] for f in fields(Row)]


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as CSV, atomically."""
    rows, buffer = list(rows), io.StringIO()
    columns = COLUMNS[:-1] if all(row.has_mask for row in rows) else COLUMNS
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = [getattr(row, name) for name in columns]
        writer.writerow([int(value) if isinstance(value, bool) else value for value in values])
    write_text(path, buffer.getvalue())


def read_manifest(path: Path) -> list[Row]:
    """Read and check a manifest.

    Raises:
        UserError: missing file, wrong columns, a value of the wrong kind, an unknown split, or a subject that is in
            two splits.
    """
    head, lines = read_csv(path, _AGAIN)
    if head not in (COLUMNS, COLUMNS[:-1]):
        raise UserError(f"its columns are not {', '.join(COLUMNS)}", where=path, fix=_AGAIN)
    values: list[list[Any]] = lines  # in place: there may be a million
    for place, (name, cast) in enumerate(zip(head, _TYPES, strict=False)):
        try:
            for line in values if cast is not str else ():
                line[place] = cast(line[place])
        except ValueError as error:
            raise UserError(f"the column {name} is broken ({error})", where=path, fix=_AGAIN) from error
    rows = [Row(*line) for line in values]
    refuse_overlap(rows, path)
    return rows


def evenly(items: Sequence[T], most: int) -> list[T]:
    """At most `most` of the items, evenly spaced from the first to the last."""
    return [items[i] for i in np.linspace(0, len(items) - 1, min(most, len(items))).astype(int)]


def refuse_overlap(rows: Sequence[Row], where: str | Path) -> None:
    """Raise `UserError` if a split is unknown or one subject is in two splits: that would leak patients."""
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.split not in (*SPLITS, ""):
            raise UserError(f"{row.image_id} is in the unknown split {row.split!r}", where=where,
                            fix=f"use one of {', '.join(SPLITS)}")
        splits[row.subject].add(row.split)
    leaks = sorted(subject for subject, own in splits.items() if len(own) > 1)
    if leaks:
        raise UserError(f"subjects in more than one split: {', '.join(leaks[:5])} ({len(leaks)} in all)", where=where,
                        fix="put every image of a subject into one split")
