"""Which file is which patient, contrast and class: an explicit pattern, a CSV table, or what the folders show."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from ganatomy.data.layout_csv import find_table, read_table
from ganatomy.data.layout_folders import read_folders
from ganatomy.data.sources import Entry, Layout, is_prepared, printable, safe_name, walk
from ganatomy.errors import UserError
from ganatomy.run import Run

FIELDS = ("subject", "session", "domain", "label", "slice")
MAX_PARTS = 100
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
    _check_source(source)
    table = source if source.is_file() else (None if pattern else find_table(source))
    if table is not None:
        return _printable(read_table(table, split_by))
    if split_by is not None:
        raise UserError("--split-by needs a CSV file", where=source, fix="give a .csv with that column as SOURCE")
    names, passed = walk(source, leave_out)
    if not names:
        raise _nothing(source, passed)
    layout = match_pattern(source, names, pattern, domains) if pattern else read_folders(source, names)
    if passed["other"] or passed["DICOM"]:
        count = passed["other"] + passed["DICOM"]
        layout.notes.append(f"passed over {count} other file{'' if count == 1 else 's'}, no images by name")
    return _printable(layout)


def _check_source(source: Path) -> None:
    if not source.exists():
        raise UserError("there is no such file or folder", where=source, fix="check the path")
    if not source.is_file() and not source.is_dir():
        raise UserError("is neither a folder nor a file", where=source, fix="give the folder of the scans")
    if source.is_file() and source.suffix.lower() != ".csv":
        raise UserError("is a file", where=source, fix="give a folder, or a .csv with the columns path and subject")
    for known, what in ((is_prepared, "dataset"), (Run.is_run, "run")):
        if source.is_dir() and known(source):
            raise UserError(f"is a {what} folder already", where=source, fix="give the folder of the original scans")


def _printable(layout: Layout) -> Layout:
    """What is shown, stored and written down can be; `path` stays as the file system has it."""
    entries = [replace(e, name=printable(e.name), subject=printable(e.subject), session=printable(e.session),
                       label=printable(e.label), group=printable(e.group)) for e in layout.entries]
    return replace(layout, entries=entries, unmatched=[(printable(name), why) for name, why in layout.unmatched])


def match_pattern(source: Path, names: Sequence[str], pattern: str, domains: Sequence[str] = ()) -> Layout:
    """Read subject, session, domain, label and slice out of relative paths.

    `*` stands for anything within one folder's or file's name, `**` for anything; a field that occurs twice must
    have the same value in both places.

    Raises:
        UserError: an unknown field, no {subject}, or no file that fits.
    """
    parts = _parts(pattern)
    entries, unmatched = [], []
    for name in names:
        values = _match(parts, name, domains)
        if values is None:
            unmatched.append((name, "does not fit the pattern"))
            continue
        number = values.get("slice")
        entries.append(Entry(source / name, name, values["subject"], values.get("session", ""),
                             safe_name(values.get("domain", "image")), values.get("label", ""),
                             slice=None if number is None else int(number)))
    if not entries:
        raise UserError(f"none of {len(names)} image files fits the pattern {pattern!r}", where=source,
                        fix=f"the first file is {names[0]!r}; write the pattern after it")
    return Layout("files that fit the pattern", entries, unmatched=unmatched)


def _parts(pattern: str) -> list[str]:
    """The pattern cut into fields such as {subject}, the wildcards *, ** and **/, and the text between them."""
    pattern = re.sub(r"\*{3,}", "**", pattern.removeprefix("./"))
    parts = [part for part in re.split(r"(\{[^{}]*\}|\*\*/?|\*)", pattern) if part]
    for part in parts:
        if part.startswith("{") and part[1:-1] not in FIELDS:
            raise UserError(f"unknown field {part} in the pattern", where="--pattern",
                            fix=f"known fields: {', '.join('{' + f + '}' for f in FIELDS)}")
    if "{subject}" not in parts:
        raise UserError("the pattern has no {subject}", where="--pattern",
                        fix="say which part names the patient; splits go by it")
    if len(parts) > MAX_PARTS:
        raise UserError(f"the pattern has {len(parts)} parts", where="--pattern", fix="write fewer * and fields")
    return parts


def _match(parts: list[str], name: str, domains: Sequence[str]) -> dict[str, str] | None:
    """The fields' values if the whole name fits. Each part takes as much as it can.

    What remains to be matched is remembered by place, so that no pattern takes more than polynomial time.
    """
    again = {part for part in parts if part.startswith("{") and parts.count(part) > 1}

    @cache
    def rest(i: int, start: int, known: tuple[tuple[str, str], ...]) -> dict[str, str] | None:
        if i == len(parts):
            return {} if start == len(name) else None
        part, following = parts[i], parts[i + 1] if i + 1 < len(parts) else ""
        text = dict(known).get(part, part)
        if text != part or part[0] not in "*{":
            return rest(i + 1, start + len(text), known) if name.startswith(text, start) else None
        for end in _ends(part, name, start, domains):
            if following and following[0] not in "*{" and not name.startswith(following, end):
                continue
            value = name[start:end]
            found = rest(i + 1, end, (*known, (part, value)) if part in again else known)
            if found is not None:
                return {**found, part[1:-1]: value} if part.startswith("{") else found
        return None

    return rest(0, 0, ())


def _ends(part: str, name: str, start: int, domains: Sequence[str]) -> Iterator[int]:
    """Where a wildcard or field that begins at `start` may end, the best place first."""
    slash = name.find("/", start)
    stop = len(name) if slash < 0 else slash
    if part == "**/":
        yield from (i for i in range(len(name), start, -1) if name[i - 1] == "/")
        yield start
    elif part.startswith("*"):
        yield from range(len(name) if part == "**" else stop, start - 1, -1)
    elif part == "{slice}":
        digits = re.compile(r"\d*").match(name, start)
        yield from range(digits.end() if digits else start, start, -1)
    else:
        if part == "{domain}":
            yield from (start + len(domain) for domain in domains if domain and name.startswith(domain, start))
        yield from range(stop, start, -1)


def _nothing(source: Path, passed: Counter[str]) -> UserError:
    if passed["DICOM"]:
        return UserError(f"holds {passed['DICOM']} DICOM files, which this version does not read", where=source,
                         fix="convert them to NIfTI first, for example with dcm2niix")
    if not sum(passed.values()):
        return UserError("the folder is empty", where=source, fix=f"put images into it: {READS}")
    return UserError(f"holds no images ({sum(passed.values())} other files)", where=source,
                     fix=f"what can be read: {READS}")
