"""DATASET.private/: what leads from a dataset back to patients and files and must not travel with it, and what the
dataset comes from, so that a second run over unchanged files is known to be one."""

from __future__ import annotations

import csv
import getpass
import hashlib
import importlib.util
import io
import os
import re
import secrets
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import private_path, refuse_occupied, write_json, write_text
from ganatomy.core.reading import read_csv, read_json
from ganatomy.data.dataset import Dataset, is_dataset
from ganatomy.formats import stem
from ganatomy.preparation.convert import Notes, Origin
from ganatomy.preparation.headers import Survey
from ganatomy.preparation.options import Options
from ganatomy.sources.csv_table import find_table, read_table
from ganatomy.sources.dicom import tags_of
from ganatomy.sources.entry import Layout, is_hidden, is_prepared, listings
from ganatomy.sources.metadata import metadata_file

FILES = (".gitignore", "key", "sources.csv", "skipped.csv", "identifiers.csv", "state.json")
IDENTIFIER_COLUMNS = ("kind", "value")


def is_private(folder: Path) -> bool:
    """Whether a folder holds nothing but what `prepare` writes there."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= set(FILES)


def read_key(dataset: Path) -> bytes:
    """The key of the `source` hashes; that of the dataset being replaced, so that hashes stay comparable."""
    try:
        return bytes.fromhex((private_path(dataset) / "key").read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return secrets.token_bytes(32)


def collect_identifiers(layout: Layout, source: Path, origins: Iterable[Origin] = ()) -> set[tuple[str, str]]:
    """What names patients, files and people, as (kind, value): nothing of it may stand in a dataset.

    A kind is a DICOM keyword, or subject, session, group, file, folder, path, host, user or home.
    """
    pairs = set(layout.identifiers)
    for entry in layout.entries:
        pairs |= {("subject", entry.subject), ("session", entry.session), ("group", entry.group)}
    pairs |= {pair for origin in origins
              for pair in (("subject", origin.original_subject), ("session", origin.original_session))}
    folders = {str(folder) for folder in (source.absolute(), source.resolve(), *source.resolve().parents)}
    for path in _paths(layout, origins):  # of which there may be many: as plain texts
        folder, _, name = path.rpartition("/")
        pairs |= {("path", path), ("file", name), ("file", stem(name))}
        folders.add(folder)
    for folder in folders:
        pairs |= {("path", folder), *(("folder", part) for part in folder.split("/"))}
    host = socket.gethostname()
    pairs |= {("host", host), ("host", host.partition(".")[0]), ("home", str(Path.home())), ("user", Path.home().name)}
    with suppress(OSError, KeyError, ImportError):  # a container may know no user of this number
        pairs.add(("user", getpass.getuser()))
    values = {(kind, value.strip()) for kind, value in pairs if value.strip(" ./")}
    # names whose bytes are no UTF-8 are taken for latin-1
    return {(kind, value.encode("utf-8", "surrogateescape").decode("latin-1") if re.search("[\ud800-\udfff]", value)
             else value) for kind, value in values}


def _paths(layout: Layout, origins: Iterable[Origin]) -> Iterator[str]:
    """Paths of all files, as the user knows them and in full; some more than once."""
    for entry in layout.entries:
        yield entry.name
        yield from (path for path, _ in entry.piece.frames) if entry.piece.frames else (str(entry.path),)
    yield from (origin.path for origin in origins)
    yield from (name for name, _ in layout.unmatched)


def read_identifiers(dataset: Path) -> set[tuple[str, str]]:
    """The pairs of identifiers.csv beside a dataset. Raises `UserError` if there are none to be read."""
    path = private_path(dataset) / "identifiers.csv"
    fix = "bring the private folder beside the dataset, or prepare the dataset again"
    head, lines = read_csv(path, fix)
    if not lines or head != list(IDENTIFIER_COLUMNS):
        raise UserError("holds no identifiers to look for", where=path, fix=fix)
    return {(kind, value) for kind, value in lines}


def write_private(folder: Path, cohort: Survey, notes: Notes, source: Path) -> None:
    """Key, sources.csv, skipped.csv and identifiers.csv, each readable by the owner alone, and a .gitignore against
    committing them."""
    layout = cohort.layout
    if not layout.identifiers:  # DICOM files may have come by a table or a pattern, too
        tagged = {item.entry.path for visit in cohort.visits for files in visit.files.values()
                  for item in files.values() if item.header.modality}
        layout = replace(layout, identifiers=tags_of(tagged))
    write_text(folder / ".gitignore", "*\n", mode=0o600)
    write_text(folder / "key", cohort.plan.key.hex() + "\n", mode=0o600)
    for name, head, lines in (
            ("sources.csv", Origin._fields, notes.origins),
            ("skipped.csv", ("path", "reason"), [*notes.skipped, *notes.left_out]),
            ("identifiers.csv", IDENTIFIER_COLUMNS, sorted(collect_identifiers(layout, source, notes.origins)))):
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(lines)
        write_text(folder / name, buffer.getvalue(), mode=0o600)


State: TypeAlias = dict[str, str]
"""Hashes of the source's files (path, size, time of change), of the options, and of the versions: of Ganatomy, and of
what it needs for some formats and can do without."""


def read_state(source: Path, dataset: Path, options: Options) -> State:
    """The state of a source now, also of one that is not there: that is told later."""
    shaping = sorted(f"{name} {value!r}" for name, value in options if name != "workers")
    versions = f"{__version__} {importlib.util.find_spec('SimpleITK') is not None}"
    return {"files": _hash(_file_lines(source, dataset, options)), "options": _hash(shaping),
            "versions": _hash([versions])}


def write_state(private: Path, state: State, content: str) -> None:
    """Keep the state beside the dataset whose content hash this is."""
    write_json(private / "state.json", {**state, "content": content}, mode=0o600)


def is_unchanged(dataset: Path, state: State) -> bool:
    """Whether a whole dataset of this very state is there."""
    before = _noted(dataset)
    with suppress(UserError):
        return state.items() <= before.items() and Dataset.open(dataset).info.content == before.get("content")
    return False


def refuse_taken(dataset: Path, state: State, overwrite: bool) -> None:
    """Raise `UserError` if the dataset's place is taken by what must not be replaced; says what has changed."""
    before = _noted(dataset)
    if before and not overwrite and is_dataset(dataset, "real"):
        changed = [what for what, value in state.items() if before.get(what) != value]
        raise UserError(f"is a dataset already, and the {' and '.join(changed) or 'dataset'} differ from then",
                        where=dataset, fix="choose another folder, or add --overwrite")
    # at once, not only after everything has been read
    refuse_occupied(dataset, overwrite, is_prepared, "exists and is no dataset folder; it is not overwritten")
    folder = private_path(dataset)
    if folder.is_symlink() or (folder.exists() and not is_private(folder)):
        raise UserError("exists and holds other things than prepare's own; it is not overwritten", where=folder,
                        fix="move it away, or give the dataset another name")


def _noted(dataset: Path) -> State:
    """The state of a dataset when it was prepared; empty if that is unknown."""
    with suppress(UserError):
        return read_json(private_path(dataset) / "state.json", State)
    return {}


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _file_lines(source: Path, dataset: Path, options: Options) -> Iterator[str]:
    """A line a file: path, size, time of change, and whether it may be read."""
    yield str(source.resolve())
    table: Path | None = source if source.suffix.lower() == ".csv" and source.is_file() else None
    if not source.is_dir():
        yield _line(source.parent, source.name)
    else:
        for prefix, items in listings(source, [dataset], Counter()):
            yield from (_line(source, prefix + item.name) for item in items if not is_hidden(item.name))
    if options.metadata is not None:
        yield _line(metadata_file(options.metadata)[0].parent, metadata_file(options.metadata)[0].name)
    with suppress(UserError):  # a broken table, or several: told when the layout is looked for
        if source.is_dir() and options.pattern is None and options.layout in ("auto", "csv"):
            table = find_table(source)
        if table is not None:  # its files may lie anywhere
            yield from (_line(table.parent, entry.name) for entry in read_table(table, options.split_by).entries)


def _line(folder: Path, name: str) -> str:
    path = folder / name
    try:
        status = path.stat()
    except OSError:
        return f"{name}\tgone"
    return f"{name}\t{status.st_size}\t{status.st_mtime_ns}\t{os.access(path, os.R_OK)}"
