"""Which file is which patient, contrast and class: an explicit pattern, a CSV table, or what the folders show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ganatomy.data.layout_csv import find_table, read_table
from ganatomy.data.layout_folders import read_folders
from ganatomy.data.sources import Entry, Layout, safe_name, walk
from ganatomy.errors import UserError

FIELDS = ("subject", "session", "domain", "label", "slice")
READS = "NIfTI (.nii, .nii.gz), PNG, JPEG, TIFF and .npy"


def find_layout(source: Path, *, pattern: str | None = None, split_by: str | None = None,
                domains: Sequence[str] = (), leave_out: Sequence[Path] = ()) -> Layout:
    """Find out what the source is.

    Args:
        source: a folder, or a CSV file.
        pattern: such as "{subject}/{subject}_{domain}.nii.gz"; goes before everything else.
        split_by: a column of the CSV file; see `layout_csv.read_table`.
        domains: names to look for first where {domain} could be read in several ways.
        leave_out: folders below the source that are not looked into.

    Raises:
        UserError: nothing there, nothing that can be read, a pattern that fits no file, a broken table.
    """
    if not source.exists():
        raise UserError("there is no such file or folder", where=source, fix="check the path")
    if source.is_file() and source.suffix.lower() != ".csv":
        raise UserError("is a file", where=source, fix="give a folder, or a .csv with the columns path and subject")
    if source.is_dir() and (source / "dataset.json").is_file():
        raise UserError("is a dataset folder already", where=source, fix="give the folder of the original scans")
    table = source if source.is_file() else (None if pattern else find_table(source))
    if table is not None:
        return read_table(table, split_by)
    if split_by is not None:
        raise UserError("--split-by needs a CSV file", where=source, fix="give a .csv with that column as SOURCE")
    names, passed = walk(source, leave_out)
    if not names:
        raise _nothing(source, passed)
    layout = match_pattern(source, names, pattern, domains) if pattern else read_folders(source, names)
    if passed["other"] or passed["DICOM"]:
        count = passed["other"] + passed["DICOM"]
        layout.notes.append(f"passed over {count} other file{'' if count == 1 else 's'}, no images by name")
    return layout


def match_pattern(source: Path, names: Sequence[str], pattern: str, domains: Sequence[str] = ()) -> Layout:
    """Read subject, session, domain, label and slice out of relative paths.

    `*` stands for anything within one folder's or file's name, `**` for anything; a field that occurs twice must
    have the same value in both places.

    Raises:
        UserError: an unknown field, no {subject}, or no file that fits.
    """
    expression = re.compile(_expression(pattern, domains))
    entries, unmatched = [], []
    for name in names:
        found = expression.fullmatch(name)
        if found is None:
            unmatched.append((name, "does not fit the pattern"))
            continue
        values = found.groupdict()
        number = values.get("slice")
        entries.append(Entry(source / name, name, values["subject"], values.get("session") or "",
                             safe_name(values.get("domain") or "image"), values.get("label") or "",
                             slice=None if number is None else int(number)))
    if not entries:
        raise UserError(f"none of {len(names)} image files fits the pattern {pattern!r}", where=source,
                        fix=f"the first file is {names[0]!r}; write the pattern after it")
    return Layout("files that fit the pattern", entries, unmatched=unmatched)


def _expression(pattern: str, domains: Sequence[str]) -> str:
    """The pattern as a regular expression with one named group a field."""
    kinds = {"slice": r"\d+", "domain": "|".join([*map(re.escape, domains), "[^/]+"])}
    seen: set[str] = set()
    parts = []
    for part in re.split(r"(\{[^{}]*\}|\*\*/?|\*)", pattern.removeprefix("./")):
        if part.startswith("{"):
            name = part[1:-1]
            if name not in FIELDS:
                raise UserError(f"unknown field {part} in the pattern", where="--pattern",
                                fix=f"known fields: {', '.join('{' + f + '}' for f in FIELDS)}")
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{kinds.get(name, '[^/]+')})")
            seen.add(name)
        elif part.startswith("**"):
            parts.append("(?:.*/)?" if part.endswith("/") else ".*")
        else:
            parts.append("[^/]*" if part == "*" else re.escape(part))
    if "subject" not in seen:
        raise UserError("the pattern has no {subject}", where="--pattern",
                        fix="say which part names the patient; splits go by it")
    return "".join(parts)


def _nothing(source: Path, passed: Counter[str]) -> UserError:
    if passed["DICOM"]:
        return UserError(f"holds {passed['DICOM']} DICOM files, which this version does not read", where=source,
                         fix="convert them to NIfTI first, for example with dcm2niix")
    if not sum(passed.values()):
        return UserError("the folder is empty", where=source, fix=f"put images into it: {READS}")
    return UserError(f"holds no images ({sum(passed.values())} other files)", where=source,
                     fix=f"what can be read: {READS}")
