"""A leaderboard as text: for a terminal, as CSV or Markdown."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganatomy.core.errors import UserError
from ganatomy.core.files import write_text
from ganatomy.core.origin import check_writable, nothing_to_do
from ganatomy.core.table import Table
from ganatomy.core.text import NOTHING, Say, counted, duration, estimate, interval, number, printable

WIDTH = 160
LONGEST_NAME = 44
OVER_PATIENTS = "*"  # behind an interval that is over test patients
Leaderboard = Mapping[str, Any]
Lines = list[list[str]]


def table(board: Mapping[str, Any]) -> str:
    """All tables of `compare` for a terminal, at most 160 columns wide: wide ones go on below."""
    return "\n\n".join("\n".join(_text(one)) for one in board["tables"])


def write_table(board: Mapping[str, Any], path: Path, say: Say = lambda text: None) -> None:
    """Write the tables as CSV or Markdown, by the file's ending.

    Raises `UserError` as `check_place` does, or if the file is there and holds something else.
    """
    check_place(path)
    text = _csv(board) if path.suffix.lower() == ".csv" else _markdown(board)
    if path.is_file():
        if path.read_bytes() != text.encode():
            raise UserError("already exists, and holds something else", where=path,
                            fix="choose another name, or remove it yourself")
        nothing_to_do(path, say)
        return
    write_text(path, text)
    say(f"written: {path}")


def check_place(path: Path) -> None:
    """Raise `UserError` unless a table can be written there, and the file's name ends in .csv or .md."""
    if path.suffix.lower() not in (".csv", ".md"):
        raise UserError("is neither a .csv nor a .md file", where=path, fix="name one of these with --out")
    if not path.is_file():
        check_writable(path)


def _text(one: Leaderboard) -> list[str]:
    blocks = [Table(heads, rows).text().split("\n") for heads, *rows in _wrapped(_cells(one))]
    text = [_title(one), *(line for block in blocks for line in ["", *block]), "", _folded(_legend(one)), ""]
    text += [_folded(f"  {d['sentence']}") for d in one["differences"]] + [""] * bool(one["differences"])
    text += [_folded(f"note: {note}") for note in one["notes"]]
    return [printable(line) for lines in text for line in lines.split("\n")]


def _folded(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def _title(one: Leaderboard) -> str:
    whose = f" of {counted(one['test_subjects'], 'patient')}" if one["test_subjects"] else ""
    parts = [one["kind"], " to ".join(one["direction"]) if one["direction"] else one["domain"],
             f"class {one['class']}" if one["class"] != "(all)" else "", f"{one['size']} px",
             f"features {one['extractor']}" if one["extractor"] else "",
             f"{one['test_images']} test images{whose}" if one["test_images"] else "",
             f"{one['synthetic_images']} synthetic" if one["synthetic_images"] else ""]
    return ", ".join(part for part in parts if part)


def _legend(one: Leaderboard) -> str:
    columns = one["columns"]
    named = " and ".join(c["head"] for c in columns if c["primary"])
    rank = next((c["head"] for c in columns if c["name"] == one["primary"]), one["primary"])
    ways = {"lower": "lower", "higher": "higher", "match": "near real against real in"}
    heads = {way: ", ".join(c["head"] for c in columns if c["better"] == way) for way in ways}
    better = "; ".join(f"{ways[way]} {own}" for way, own in heads.items() if own)
    return (f"Mean over seeds (95% interval over five seeds or more; {OVER_PATIENTS} over test patients, where not). "
            f"Primary: {named}; ranked by {rank}. Better: {better}.")


def _cells(one: Leaderboard) -> Lines:
    """The whole table: heads, groups, real against real, controls."""
    columns, groups = one["columns"], one["groups"]
    words = [word for word in groups[0]["words"] if any(g["words"][word] != NOTHING for g in groups)]
    key = next(c["key"] for c in columns if c["name"] == one["primary"])
    heads = [head for c in columns for head in ([c["head"], "over patients"] if c["key"] == key else [c["head"]])]
    lines = [["rank", "group", "seeds", "steps", "time", *heads, *words]]
    for g in groups:
        cells = [str(g["rank"] or NOTHING), g["name"], str(len(g["seeds"])), number(g["mean_steps"], 0),
                 NOTHING if g["mean_seconds"] is None else duration(g["mean_seconds"])]
        for c in columns:
            own = g["figures"].get(c["key"])
            mark = OVER_PATIENTS if own and own["interval_over"] == "subjects" else ""
            cells.append(estimate(own["mean"], own["interval"], c["factor"]) + mark if own else NOTHING)
            cells += [interval(own["over_subjects"], c["factor"])] if c["key"] == key else []
        lines.append([*cells, *(g["words"][word] for word in words)])
    for name, values in [("real against real", one["reference"]), *one["controls"].items()]:
        cells = [cell for c in columns for cell in _beside(values.get(c["key"]), c["factor"], c["key"] == key)]
        lines += [["", name, "", "", "", *cells, *([""] * len(words))]] if values else []
    return lines


def _beside(one: Leaderboard | None, k: float, apart: bool) -> list[str]:
    """A value of real against real, or of a control; its interval in a cell of its own if `apart`."""
    if one is None:
        return ["", ""] if apart else [""]
    if apart:
        return [number(k * one["value"]), interval(one["interval"], k)]
    return [estimate(one["value"], one["interval"], k) + (OVER_PATIENTS if one["interval"] else "")]


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


def _markdown(board: Mapping[str, Any]) -> str:
    """Every table with its legend, differences and notes."""
    parts = []
    for one in board["tables"]:
        heads, *rows = [[printable(cell).replace("|", "\\|") for cell in line] for line in _cells(one)]
        grid = "\n".join(f"| {' | '.join(line)} |" for line in (heads, ["---"] * len(heads), *rows))
        items = [f"- {d['sentence']}" for d in one["differences"]] + [f"- Note: {note}" for note in one["notes"]]
        parts.append("\n\n".join([f"## {_title(one)}", grid, _legend(one), "\n".join(map(printable, items))]))
    return "\n\n".join(parts) + "\n"


def _csv(board: Mapping[str, Any]) -> str:
    """A row a group, of all tables; values unscaled, with the ends of their intervals."""
    rows = [_row(one, group) for one in board["tables"] for group in one["groups"]]
    handle = io.StringIO()
    writer = csv.DictWriter(handle, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return handle.getvalue()


def _row(one: Leaderboard, group: Leaderboard) -> dict[str, Any]:
    name = f"'{group['name']}" if group["name"][:1] in "=+-@" else printable(group["name"])  # no spreadsheet's formula
    row = {"kind": one["kind"], "direction": " to ".join(one["direction"] or ()), "rank": group["rank"], "group": name,
           "seeds": len(group["seeds"]), "steps": group["mean_steps"], "seconds": group["mean_seconds"]}
    for column in one["columns"]:
        own, key = group["figures"].get(column["key"]), column["key"]
        if own:
            low, high = own["interval"] or (None, None)
            row |= {key: own["mean"], f"{key}_low": low, f"{key}_high": high,
                    f"{key}_interval_over": own["interval_over"]}
            if column["name"] == one["primary"]:
                low, high = own["over_subjects"] or (None, None)
                row |= {f"{key}_subjects_low": low, f"{key}_subjects_high": high}
    return {**row, **group["words"]}
