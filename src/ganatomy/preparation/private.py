"""DATASET.private/: what leads from a dataset back to patients and files, and must not travel with it."""

from __future__ import annotations

import csv
import getpass
import io
import secrets
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.core.files import private_path, write_text
from ganatomy.formats import stem
from ganatomy.preparation.convert import ORIGIN_COLUMNS, Outcome
from ganatomy.sources.entry import Layout

FILES = (".gitignore", "key", "sources.csv", "skipped.csv", "identifiers.csv", "state.json")
IDENTIFIER_COLUMNS = ("kind", "value")


def is_private(folder: Path) -> bool:
    """Whether a folder holds nothing but what `prepare` writes there."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= set(FILES)


def refuse_foreign(dataset: Path) -> None:
    """Raise `UserError` if somebody else's files are where the private folder will be."""
    folder = private_path(dataset)
    if folder.is_symlink() or (folder.exists() and not is_private(folder)):
        raise UserError("exists and holds other things than prepare's own; it is not overwritten", where=folder,
                        fix="move it away, or give the dataset another name")


def read_key(dataset: Path) -> bytes:
    """The key of the `source` hashes; that of the dataset being replaced, so that hashes stay comparable."""
    try:
        return bytes.fromhex((private_path(dataset) / "key").read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return secrets.token_bytes(32)


def collect_identifiers(layout: Layout, source: Path,
                        origins: Iterable[tuple[str, str, str, str, str, str, int]] = ()) -> set[tuple[str, str]]:
    """What names patients, files and people, as (kind, value): nothing of it may be found in a dataset.

    Args:
        layout: gives the tags' values, under their DICOM keywords, and names of subjects, sessions, groups and files.
        source: where the files lie.
        origins: the rows of sources.csv.

    Returns:
        Pairs whose kind is a DICOM keyword, or subject, session, group, file, folder, path, host, user or home.
    """
    found = set(layout.identifiers)
    for entry in layout.entries:
        found |= {("subject", entry.subject), ("session", entry.session), ("group", entry.group)}
    found |= {pair for origin in origins for pair in (("subject", origin[3]), ("session", origin[4]))}
    folders = {str(folder) for folder in (source.absolute(), source.resolve(), *source.resolve().parents)}
    for path in _paths(layout, origins):  # of which there may be many: as plain texts
        folder, _, name = path.rpartition("/")
        found |= {("path", path), ("file", name), ("file", stem(name))}
        folders.add(folder)
    for folder in folders:
        found |= {("path", folder), *(("folder", part) for part in folder.split("/"))}
    host = socket.gethostname()
    found |= {("host", host), ("host", host.partition(".")[0]), ("home", str(Path.home())), ("user", Path.home().name)}
    with suppress(OSError, KeyError):  # a container may know no user of this number
        found.add(("user", getpass.getuser()))
    return {(kind, _text(value.strip())) for kind, value in found if value.strip(" ./")}


def _paths(layout: Layout, origins: Iterable[tuple[str, str, str, str, str, str, int]]) -> Iterator[str]:
    """Paths of all files, as the user knows them and in full; some more than once."""
    for entry in layout.entries:
        yield entry.name
        yield from (path for path, _ in entry.piece.frames) if entry.piece.frames else (str(entry.path),)
    yield from (origin[5] for origin in origins)
    yield from (name for name, _ in layout.unmatched)


def _text(value: str) -> str:
    """A value that can be written; names whose bytes are no UTF-8 are taken for latin-1."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value


def read_identifiers(dataset: Path) -> set[tuple[str, str]]:
    """The pairs of identifiers.csv beside a dataset.

    Raises:
        UserError: it is not there, holds nothing or cannot be read.
    """
    path = private_path(dataset) / "identifiers.csv"
    fix = "bring the private folder beside the dataset, or prepare the dataset again"
    try:
        with path.open(newline="", encoding="utf-8") as handle:
            lines = list(csv.reader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is broken"
        raise UserError(f"the identifiers to look for cannot be read: {reason}", where=path, fix=fix) from error
    if len(lines) < 2 or lines[0] != list(IDENTIFIER_COLUMNS) or any(len(line) != 2 for line in lines):
        raise UserError("holds no identifiers to look for", where=path, fix=fix)
    return {(kind, value) for kind, value in lines[1:]}


def write_private(folder: Path, key: bytes, outcome: Outcome, identifiers: Iterable[tuple[str, str]] = ()) -> None:
    """Key, sources.csv, skipped.csv and identifiers.csv, each readable by the owner alone, and a .gitignore against
    committing them."""
    write_text(folder / ".gitignore", "*\n", mode=0o600)
    write_text(folder / "key", key.hex() + "\n", mode=0o600)
    for name, head, lines in (("sources.csv", ORIGIN_COLUMNS, outcome.origins),
                              ("skipped.csv", ("path", "reason"), [*outcome.skipped, *outcome.left_out]),
                              ("identifiers.csv", IDENTIFIER_COLUMNS, sorted(identifiers))):
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(lines)
        write_text(folder / name, buffer.getvalue(), mode=0o600)
