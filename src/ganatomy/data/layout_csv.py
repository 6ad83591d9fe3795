"""The CSV layout: a table that says of each file which patient, contrast, class and split it belongs to."""

from __future__ import annotations

import csv
from pathlib import Path

from ganatomy.data.manifest import SPLITS
from ganatomy.data.sources import Entry, Layout, safe_name
from ganatomy.errors import UserError

SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
               "dev": "val", "test": "test", "testing": "test"}
NEEDED = ("path", "subject")


def find_table(folder: Path) -> Path | None:
    """The CSV file of a folder that has the columns path and subject; files.csv goes before others.

    Raises:
        UserError: several such files, none called files.csv.
    """
    tables = [path for path in sorted(folder.glob("*.csv")) if not path.name.startswith(".")
              and set(NEEDED) <= set(_columns(path))]
    for path in tables:
        if path.name == "files.csv":
            return path
    if len(tables) > 1:
        raise UserError(f"holds several tables ({', '.join(p.name for p in tables)})", where=folder,
                        fix="give the CSV file itself as SOURCE")
    return tables[0] if tables else None


def read_table(table: Path, split_by: str | None = None) -> Layout:
    """Read a table with the columns path and subject, and where there are such domain, label, split, session, slice.

    Paths are relative to the table's folder. The columns' order and case do not matter, others are passed over;
    comma, semicolon and tab are understood.

    Args:
        table: the CSV file.
        split_by: a column to split by. If it holds nothing but train, val and test these are the splits; else its
            values (a hospital, a family, a scanner) are groups that the split never parts.

    Raises:
        UserError: not a table, a missing column or value, an unknown split, a slice that is no number.
    """
    lines = _read(table)
    if not lines:
        raise UserError("the table has no rows", where=table, fix="one row a file: path,subject,domain,label")
    columns = list(lines[0])
    missing = [name for name in (*NEEDED, *([split_by.lower()] if split_by else [])) if name not in columns]
    if missing:
        raise UserError(f"has no column {', '.join(missing)}", where=table,
                        fix=f"it has {', '.join(columns)}; path and subject are needed")
    split_column = "split" if "split" in columns else ""
    if split_by:
        by = split_by.lower()
        says_splits = {line[by].lower() for line in lines} <= SPLIT_NAMES.keys()
        split_column, group = (by, "") if says_splits else ("", by)
    else:
        group = ""
    if split_column and not any(line[split_column] for line in lines):
        split_column = ""
    entries = [_entry(table, number, line, split_column, group) for number, line in enumerate(lines, start=2)]
    notes = [f"the column {split_column} says the splits"] if split_column else []
    return Layout("a CSV table", entries, notes=notes)


def _entry(table: Path, number: int, line: dict[str, str], split_column: str, group: str) -> Entry:
    where = f"{table}, line {number}"
    for name in (*NEEDED, *([group] if group else [])):
        if not line[name]:
            raise UserError(f"the column {name} is empty", where=where, fix="fill it in, or remove the line")
    split = line.get(split_column, "").lower()
    if split_column and split not in SPLIT_NAMES:
        raise UserError(f"unknown split {split!r}", where=where, fix=f"use one of {', '.join(SPLITS)}")
    number_text = line.get("slice", "")
    if number_text and not number_text.isdecimal():
        raise UserError(f"the slice {number_text!r} is no whole number", where=where, fix="count slices from 0")
    name = line["path"].replace("\\", "/")
    return Entry(table.parent / name, name, line["subject"], line.get("session", ""),
                 safe_name(line.get("domain", "") or "image"), line.get("label", ""),
                 SPLIT_NAMES.get(split, ""), int(number_text) if number_text else None, line.get(group, ""))


def _read(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as handle:
            rows = [row for row in csv.reader(handle, delimiter=_delimiter(table)) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot be read as a table ({error})", where=table, fix="save it as CSV in UTF-8") from error
    if not rows:
        return []
    columns = [name.strip().lower() for name in rows[0]]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) > len(columns):
            raise UserError(f"has {len(row)} cells, its head {len(columns)}", where=f"{table}, line {number}",
                            fix="put values that hold a comma in quotes")
    return [dict(zip(columns, [*(cell.strip() for cell in row), *[""] * (len(columns) - len(row))], strict=True))
            for row in rows[1:]]


def _columns(table: Path) -> list[str]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as handle:
            head = handle.readline(65536)
    except (OSError, UnicodeDecodeError):
        return []
    return [name.strip().strip('"').lower() for name in head.split(_delimiter(table))]


def _delimiter(table: Path) -> str:
    try:
        with table.open(newline="", encoding="utf-8-sig") as handle:
            head = handle.readline(65536)
    except (OSError, UnicodeDecodeError):
        return ","
    return max(",;\t", key=head.count)
