"""The table of DICOM series for a terminal: what there is, over all patients, and what it is taken for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ganatomy.core.text import printable
from ganatomy.sources.dicom.domains import Named, title
from ganatomy.sources.dicom.series import Volume

WIDTH, MOST_ROWS, _DESCRIPTION = 116, 60, 44


def table(volumes: Sequence[Volume], named: Named) -> list[str]:
    """The series by what they are, over all patients, as lines of text at most `WIDTH` characters wide.

    Args:
        volumes: all there are.
        named: those that are taken; the domain of others is shown as "-".
    """
    domains = dict(named)
    rows: dict[tuple[str, str, str, str], list[Volume]] = defaultdict(list)
    for volume in volumes:
        seen = volume.plane or "picture"
        rows[_cut(_label(volume)), volume.facts.modality or "?", seen, domains.get(volume, "-")].append(volume)
    order = sorted(rows, key=lambda row: (row[3] == "-", row[3], -len(rows[row]), row))
    cells = [("series", "modality", "plane", "slices", "mm", "patients", "domain")]
    for row in order[:MOST_ROWS]:
        (text, modality, seen, domain), found = row, rows[row]
        cells.append((text, modality, seen + _degrees(found), _span([v.slices for v in found], "{:d}"),
                      _spacing(found), str(len({v.facts.patient_id for v in found})), domain))
    widths = [max(len(line[i]) for line in cells) for i in range(7)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()[:WIDTH]
             for line in cells]
    more = len(order) - MOST_ROWS
    return lines if more <= 0 else [*lines, f"and {more} more kinds of series"]


def _degrees(volumes: Sequence[Volume]) -> str:
    """How far oblique slices are off their plane."""
    off = [round(v.tilt) for v in volumes]
    return f" {_span(off, '{:d}')}°" if max(off) else ""


def _label(volume: Volume) -> str:
    text, protocol = title(volume), volume.facts.protocol
    return text if protocol in ("", text) else f"{text} / {protocol}"


def _cut(text: str) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= _DESCRIPTION else text[:_DESCRIPTION - 3] + "..."


def _span(values: Sequence[float], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low}..{high}"


def _spacing(volumes: Sequence[Volume]) -> str:
    """Pixel size and step, from the smallest to the largest: 0.9x5, or 0.5..0.9x3..5."""
    spacing = [_pixel(v) for v in volumes if _pixel(v)]
    if not spacing:
        return "-"
    steps = [v.step for v in volumes if v.step]
    return _span(spacing, "{:.2g}") + (f"x{_span(steps, '{:.2g}')}" if steps else "")


def _pixel(volume: Volume) -> float:
    """mm from column to column, 0 where unknown."""
    header = volume.header
    if header.affine is not None:
        return float(np.linalg.norm(header.affine[:3, 0]))
    return header.spacing[1] if header.spacing else 0.0
