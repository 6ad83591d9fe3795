"""The first pass: the header of every file, and how it looks along the chosen axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from ganatomy.core.errors import UserError
from ganatomy.data.geometry import Axis, View, acquired, orientation, view
from ganatomy.data.images import LONGEST_SIDE
from ganatomy.data.parallel import FEW, in_order
from ganatomy.formats import Header, Unreadable
from ganatomy.sources.entry import Entry, scan_entry

CHUNK = 64
"""Headers are read this many at a time."""

Skipped = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Scanned:
    """A file, its header, and how it looks along the chosen axis.

    `native` is the file's own header where `header` is that of the grid it is to be resampled to.
    """

    entry: Entry
    header: Header
    view: View
    native: Header | None = None


def scan_files(entries: Sequence[Entry], axis: Axis, workers: int = 1,
               progress: Callable[[int], None] = lambda done: None) -> tuple[list[Scanned], Skipped]:
    """Read every header. Returns the files that can be read and (name, reason) of those that cannot.

    Args:
        entries: the files.
        axis: along which they will be seen.
        workers: processes.
        progress: called with the number of files done.

    Raises:
        UserError: an axis for files that have no orientation.
    """
    scanned, skipped = [], Skipped()
    chunks = (entries[i:i + CHUNK] for i in range(0, len(entries), CHUNK))
    headers = chain.from_iterable(in_order(_scan_chunk, chunks, workers if len(entries) > FEW else 1))
    alike: dict[Any, tuple[Header, View]] = {}  # pictures of one shape share one header: there may be many
    for done, (entry, header) in enumerate(zip(entries, headers, strict=True), start=1):
        progress(done)
        if isinstance(header, str):
            skipped.append((entry.name, header))
            continue
        if header.volumetric and header.affine is None and axis != "axial":
            raise UserError(f"has no orientation, so there are no {axis} slices", where=entry.name,
                            fix="leave --axis out: slices are then taken along the first axis")
        if header.affine is not None and not np.isfinite(orientation(header.affine)).all():
            skipped.append((entry.name, "its affine (voxels to mm) is almost singular; its directions are unknown"))
            continue
        scanned_along = acquired(header)
        if header.starts and scanned_along != axis:
            skipped.append((entry.name, f"its slices are unevenly spaced, so that only {scanned_along} pictures can be "
                                        f"taken of it: --axis {scanned_along}"))
            continue
        if header.affine is None:
            header, seen = alike.setdefault(header, (header, view(header, axis)))
        else:
            seen = view(header, axis)
        if max(seen.height, seen.width) > LONGEST_SIDE:
            skipped.append((entry.name, f"claims a side of {max(seen.height, seen.width):,} pixels; more than "
                                        f"{LONGEST_SIDE:,} are not read"))
            continue
        scanned.append(Scanned(entry, header, seen))
    return scanned, skipped


def _scan_chunk(entries: Sequence[Entry]) -> list[Header | str]:
    return [_scan(entry) for entry in entries]


def _scan(entry: Entry) -> Header | str:
    """A file's header, or the reason why it has none."""
    try:
        return scan_entry(entry)
    except Unreadable as error:
        return str(error)
