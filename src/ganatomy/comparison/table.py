"""A leaderboard as text: for a terminal, and as CSV or Markdown."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganatomy.comparison.differences import duration, number
from ganatomy.core.errors import UserError
from ganatomy.core.files import write_text
from ganatomy.core.table import Table
from ganatomy.core.text import counted, printable

WIDTH = 160
LONGEST_NAME = 44
ONE_SEED = "*"  # behind an interval that is over test patients
Board = Mapping[str, Any]
Lines = list[list[str]]


def table(found: Mapping[str, Any]) -> str:
    """All tables of `compare` for a terminal, at most 160 columns wide: wide ones go on below."""
    return "\n\n".join("\n".join(_text(one)) for one in found["tables"])


def write_table(found: Mapping[str, Any], path: Path) -> None:
    """Write the tables as CSV or Markdown, by the file's ending. Raises `UserError` as `check_ending` does."""
    check_ending(path)
    write_text(path, _csv(found) if path.suffix.lower() == ".csv" else _markdown(found))


def check_ending(path: Path) -> None:
    """Raise `UserError` unless the file's name ends in .csv or .md."""
    if path.suffix.lower() not in (".csv", ".md"):
        raise UserError("is neither a .csv nor a .md file", where=path, fix="name one of these with --out")


def _text(one: Board) -> list[str]:
    tables = [Table(heads, rows).text() for heads, *rows in _wrapped(_cells(one))]
    text = [_title(one), *(line for block in tables for line in ["", *block.split("\n")]), "", *_legend(one)]
    if one["differences"]:
        text += ["", f"By {_primary(one)}, over seeds:"]
        text += [line for d in one["differences"] for line in _folded(f"  {d['sentence']}")]
    return [printable(line) for line in [*text, "", *(line for n in one["notes"] for line in _folded(f"note: {n}"))]]


def _folded(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _title(one: Board) -> str:
    way = " to ".join(one["direction"]) if one["direction"] else one["domain"]
    whose = f" of {counted(one['test_subjects'], 'patient')}" if one["test_subjects"] else ""
    parts = [one["kind"], way, f"class {one['class']}" if one["class"] != "(all)" else "", f"{one['size']} px",
             f"features {one['extractor']}" if one["extractor"] else "",
             f"{one['test_images']} test images{whose}" if one["test_images"] else "",
             f"{one['synthetic_images']} synthetic" if one["synthetic_images"] else ""]
    return ", ".join(part for part in parts if part)


def _primary(one: Board) -> str:
    return next((str(c["head"]) for c in one["columns"] if c["name"] == one["primary"]), str(one["primary"]))


def _legend(one: Board) -> list[str]:
    named = [c["head"] for c in one["columns"] if c["primary"]]
    lines = [f"Mean over seeds (95% interval over seeds). Primary: {' and '.join(named)}; ranked by "
             f"{_primary(one)}.", f"Better: {'; '.join(_better(one))}."]
    if ONE_SEED in "".join(cell for line in _cells(one) for cell in line):
        lines.append(f"{ONE_SEED} interval over test patients: there is none over seeds of one seed, of seeds that are "
                     "all alike, of real images and of controls.")
    return lines


def _better(one: Board) -> list[str]:
    """Which way each figure should go: "lower KD-Lite0 x 1000, FD-Lite0; higher precision"."""
    ways = {"lower": "lower", "higher": "higher", "match": "near real against real in"}
    found = {way: [c["head"] for c in one["columns"] if c["better"] == way] for way in ways}
    return [f"{ways[way]} {', '.join(heads)}" for way, heads in found.items() if heads]


def _cells(one: Board) -> Lines:
    """The whole table: heads, groups, real against real, controls."""
    columns, words = one["columns"], _said(one)
    key = next(c["key"] for c in columns if c["name"] == one["primary"])
    heads = ["rank", "group", "seeds", "steps", "time"]
    for c in columns:
        heads += [c["head"], "over patients"] if c["key"] == key else [c["head"]]
    lines = [[*heads, *words]]
    for g in one["groups"]:
        cells = [str(g["rank"] or "-"), g["name"], str(len(g["seeds"])), _count(g["mean_steps"]), _time(g)]
        for c in columns:
            summary = g["figures"].get(c["key"])
            cells.append(_summary(summary, c["factor"]))
            if c["key"] == key:
                cells.append(_interval(summary["over_subjects"], c["factor"]) or "-")
        lines.append([*cells, *(g["words"][word] for word in words)])
    for name, figures in [("real against real", one["reference"]), *one["controls"].items()]:
        if figures:
            lines.append(["", name, "", "", "", *_beside(figures, columns, key), *([""] * len(words))])
    return lines


def _said(one: Board) -> list[str]:
    """The columns of words that say anything."""
    return [word for word in one["groups"][0]["words"] if any(g["words"][word] != "-" for g in one["groups"])]


def _count(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _time(group: Board) -> str:
    return "-" if group["mean_seconds"] is None else duration(group["mean_seconds"])


def _summary(summary: Board | None, k: float) -> str:
    if summary is None:
        return "-"
    mark = ONE_SEED if summary["interval_over"] == "subjects" else ""
    return _figure(summary["mean"], summary["interval"], k, mark)


def _figure(value: float, interval: Sequence[float] | None, k: float, mark: str) -> str:
    spread = _interval(interval, k)
    return f"{number(k * value)}" + (f" ({spread}){mark}" if spread else "")


def _interval(interval: Sequence[float] | None, k: float) -> str:
    return f"{number(k * interval[0])} to {number(k * interval[1])}" if interval else ""


def _beside(figures: Mapping[str, Any], columns: Sequence[Board], key: str) -> list[str]:
    """The cells of real against real, or of a control."""
    cells = []
    for c in columns:
        f = figures.get(c["key"])
        if c["key"] == key:
            cells += [f"{number(c['factor'] * f['value'])}", _interval(f["interval"], c["factor"])] if f else ["", ""]
        else:
            cells.append(_figure(f["value"], f["interval"], c["factor"], ONE_SEED) if f else "")
    return cells


def _wrapped(lines: Lines) -> list[Lines]:
    """Columns as far as the width goes; the rest below, with rank and group again. Long names are cut."""
    lines = [[line[0], _cut(line[1]), *line[2:]] for line in lines]
    widths = [max(len(line[i]) for line in lines) + 2 for i in range(len(lines[0]))]
    blocks, taken, room = list[list[int]](), list[int](), WIDTH - sum(widths[:2])
    for i in range(2, len(widths)):
        if taken and sum(widths[j] for j in taken) + widths[i] - 2 > room:
            blocks.append(taken)
            taken = []
        taken.append(i)
    return [[[*line[:2], *(line[i] for i in own)] for line in lines] for own in (*blocks, taken)]


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME - 1] + "…"


def _markdown(found: Mapping[str, Any]) -> str:
    """Every table with its legend, differences and notes."""
    parts = []
    for one in found["tables"]:
        heads, *rows = [[printable(cell).replace("|", "\\|") for cell in line] for line in _cells(one)]
        rule = ["---"] * len(heads)
        grid = "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *rows))
        said = [f"- {d['sentence']}" for d in one["differences"]] + [f"- Note: {note}" for note in one["notes"]]
        parts.append("\n\n".join([f"## {_title(one)}", grid, " ".join(_legend(one)), "\n".join(map(printable, said))]))
    return "\n\n".join(parts) + "\n"


def _csv(found: Mapping[str, Any]) -> str:
    """A row a group, of all tables; figures unscaled, with the ends of their intervals."""
    rows = [_row(one, group) for one in found["tables"] for group in one["groups"]]
    handle = io.StringIO()
    writer = csv.DictWriter(handle, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return handle.getvalue()


def _row(one: Board, group: Board) -> dict[str, Any]:
    row: dict[str, Any] = {"kind": one["kind"], "direction": " to ".join(one["direction"] or ()), "rank": group["rank"],
           "group": _harmless(group["name"]), "seeds": len(group["seeds"]), "steps": group["mean_steps"],
           "seconds": group["mean_seconds"]}
    for column in one["columns"]:
        summary, key = group["figures"].get(column["key"]), column["key"]
        if summary:
            low, high = summary["interval"] or (None, None)
            row |= {key: summary["mean"], f"{key}_low": low, f"{key}_high": high,
                    f"{key}_interval_over": summary["interval_over"]}
            if column["name"] == one["primary"]:
                low, high = summary["over_subjects"] or (None, None)
                row |= {f"{key}_subjects_low": low, f"{key}_subjects_high": high}
    return {**row, **group["words"]}


def _harmless(name: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{name}" if name[:1] in "=+-@" else printable(name)
