"""The CSV layout: a table that says of each file which patient, contrast, class and split it belongs to."""

from __future__ import annotations

import codecs
import csv
import io
import posixpath
from collections import Counter
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.data.manifest import SPLITS
from ganatomy.data.vocabulary import SPLITS_BY_NAME
from ganatomy.sources.entry import Entry, Layout, safe_name

MAX_BYTES = 256 * 2**20
NEEDED = ("path", "subject")
OPTIONAL = ("domain", "label", "split", "session", "slice")


def find_table(folder: Path) -> Path | None:
    """The CSV file of a folder that has the columns path and subject; files.csv is taken whatever it holds.

    Raises:
        UserError: several such files, none called files.csv.
    """
    if (folder / "files.csv").is_file():
        return folder / "files.csv"  # were a broken one passed over, every image would become a patient of its own
    tables = [path for path in sorted(folder.glob("*.csv")) if not path.name.startswith(".")
              and path.is_file() and set(NEEDED) <= set(_columns(path))]
    if len(tables) > 1:
        raise UserError(f"holds several tables ({', '.join(p.name for p in tables)})", where=folder,
                        fix="give the CSV file itself as SOURCE")
    return tables[0] if tables else None


def read_table(table: Path, split_by: str | None = None) -> Layout:
    """Read a table with the columns path and subject, and where there are such domain, label, split, session, slice.

    Paths are relative to the table's folder. The columns' order and case do not matter, others are passed over;
    comma, semicolon and tab are understood, UTF-8, UTF-16 with its mark, and cp1252.

    Args:
        table: the CSV file.
        split_by: a column to split by. If it holds nothing but train, val and test these are the splits; else its
            values (a hospital, a family, a scanner) are groups that the split never parts.

    Raises:
        UserError: not a table, a missing column or value, a column or file that occurs twice, an unknown split, a
            slice that is no number.
    """
    columns, rows, encoding = read_cells(table)
    by = (split_by or "").strip().lower()
    _check_columns(table, columns, [*NEEDED, *([by] if by else [])])
    if not rows:
        raise UserError("the table has no rows", where=table, fix="one row a file: path,subject,domain,label")
    held = {name: {line[name].lower() for line in rows.values()} for name in filter(None, columns)}
    group = by if by and not held[by] <= SPLITS_BY_NAME.keys() else ""
    split_column = "" if group else by or ("split" if any(held.get("split", ())) else "")
    entries = [_entry(table, number, line, split_column, group) for number, line in rows.items()]
    _refuse_twice(table, dict(zip(rows, entries, strict=True)))
    notes = [f"the column {split_column} says the splits"] if split_column else []
    if encoding == "cp1252":
        notes.append(f"{table.name} is not UTF-8; it is read as Windows-1252")
    return Layout("a CSV table", entries, notes=notes)


def read_cells(table: Path) -> tuple[list[str], dict[int, dict[str, str]], str]:
    """The head of any table, in lower case; line number -> row; the encoding. Raises `UserError`."""
    text, encoding = _text(table)
    return *_rows(table, text), encoding


def _entry(table: Path, number: int, line: dict[str, str], split_column: str, group: str) -> Entry:
    where = f"{table}, line {number}"
    for name in (*NEEDED, *([group] if group else [])):
        if not line[name]:
            raise UserError(f"the column {name} is empty", where=where, fix="fill it in, or remove the line")
    split = line.get(split_column, "").lower()
    if split_column and split not in SPLITS_BY_NAME:
        raise UserError(f"unknown split {split!r}", where=where, fix=f"use one of {', '.join(SPLITS)}")
    number_text = line.get("slice", "")
    if number_text and not (number_text.isdecimal() and len(number_text) < 10):
        raise UserError(f"the slice {number_text[:20]!r} is no whole number", where=where, fix="count slices from 0")
    name = line["path"].replace("\\", "/")
    return Entry(table.parent / name, name, line["subject"], line.get("session", ""),
                 safe_name(line.get("domain", "") or "image"), line.get("label", ""),
                 SPLITS_BY_NAME.get(split, ""), int(number_text) if number_text else None, line.get(group, ""))


def _check_columns(table: Path, columns: list[str], needed: list[str]) -> None:
    missing = [name for name in needed if name not in columns]
    if missing:
        raise UserError(f"has no column {', '.join(missing)}", where=table,
                        fix=f"it has {', '.join(filter(None, columns)) or 'no rows'}; path and subject are needed; "
                            "rename it if it is no table of the images")
    if twice := [name for name, count in Counter(columns).items() if count > 1 and name in (*needed, *OPTIONAL)]:
        raise UserError(f"has the column {twice[0]} more than once", where=table, fix="remove or rename one of them")


def _refuse_twice(table: Path, entries: dict[int, Entry]) -> None:
    first: dict[str, int] = {}
    for number, entry in entries.items():
        line = first.setdefault(posixpath.normpath(entry.name), number)
        if line != number:
            raise UserError(f"lines {line} and {number} name the same file {entry.name}", where=table,
                            fix="remove one of them")


def _rows(table: Path, text: str) -> tuple[list[str], dict[int, dict[str, str]]]:
    """The head, in lower case, and line number -> row. Blank lines are passed over."""
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        rows = [(reader.line_num, row) for row in reader if any(cell.strip(" ,;\t") for cell in row)]
    except csv.Error as error:
        raise UserError(f"cannot be read as a table ({error})", where=table, fix="save it as CSV in UTF-8") from error
    columns = [name.strip().lower() for name in rows[0][1]] if rows else []
    for number, row in rows:
        if len(row) > len(columns):
            raise UserError(f"has {len(row)} cells, its head {len(columns)}", where=f"{table}, line {number}",
                            fix="put values that hold a comma in quotes")
    return columns, {number: dict(zip(columns, [*(cell.strip() for cell in row), *[""] * (len(columns) - len(row))],
                                      strict=True)) for number, row in rows[1:]}


def _text(table: Path) -> tuple[str, str]:
    """A table's text and encoding."""
    try:
        if table.stat().st_size > MAX_BYTES:
            raise UserError(f"is larger than a table can be ({MAX_BYTES // 2**20} MB)", where=table,
                            fix="give one row a file")
        raw = table.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=table) from error
    marked = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "cp1252"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text, encoding
    raise UserError("cannot be read as a table: its encoding is unknown", where=table, fix="save it as CSV in UTF-8")


def _columns(table: Path) -> list[str]:
    try:
        text = _text(table)[0]
    except UserError:
        return []
    return [name.strip().strip('"').lower() for name in _head(text).split(_delimiter(text))]


def _head(text: str) -> str:
    """The first line with anything in it."""
    return next((line for line in text.splitlines() if line.strip(" ,;\t")), "")


def _delimiter(text: str) -> str:
    return max(",;\t", key=_head(text).count)
