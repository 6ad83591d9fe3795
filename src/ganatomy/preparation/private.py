"""DATASET.private/: what leads from a dataset back to patients and files and must not travel with it, and what the
dataset comes from, so that a second run over unchanged files is known to be one."""

from __future__ import annotations

import csv
import getpass
import hashlib
import importlib.util
import io
import os
import secrets
import socket
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import private_path, read_json, refuse_occupied, write_json, write_text
from ganatomy.data.dataset import Dataset, is_dataset
from ganatomy.formats import stem
from ganatomy.preparation.options import Options
from ganatomy.preparation.visits import Skipped
from ganatomy.sources.csv_table import find_table, read_table
from ganatomy.sources.entry import Layout, is_hidden, is_prepared, listings

FILES = (".gitignore", "key", "sources.csv", "skipped.csv", "identifiers.csv", "state.json")
IDENTIFIER_COLUMNS = ("kind", "value")
ORIGIN_COLUMNS = ("image_id", "subject", "domain", "original_subject", "original_session", "path", "slice")
STATE = "state.json"

Origin = tuple[str, str, str, str, str, str, int]
"""A row of sources.csv: see `ORIGIN_COLUMNS`."""


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
                        origins: Iterable[Origin] = ()) -> set[tuple[str, str]]:
    """What names patients, files and people, as (kind, value): nothing of it may stand in a dataset.

    Args:
        layout: gives the tags' values, under their DICOM keywords, and names of subjects, sessions, groups and files.
        source: where the files lie.
        origins: the rows of sources.csv.

    Returns:
        Pairs whose kind is a DICOM keyword, or subject, session, group, file, folder, path, host, user or home.
    """
    pairs = set(layout.identifiers)
    for entry in layout.entries:
        pairs |= {("subject", entry.subject), ("session", entry.session), ("group", entry.group)}
    pairs |= {pair for origin in origins for pair in (("subject", origin[3]), ("session", origin[4]))}
    folders = {str(folder) for folder in (source.absolute(), source.resolve(), *source.resolve().parents)}
    for path in _paths(layout, origins):  # of which there may be many: as plain texts
        folder, _, name = path.rpartition("/")
        pairs |= {("path", path), ("file", name), ("file", stem(name))}
        folders.add(folder)
    for folder in folders:
        pairs |= {("path", folder), *(("folder", part) for part in folder.split("/"))}
    host = socket.gethostname()
    pairs |= {("host", host), ("host", host.partition(".")[0]), ("home", str(Path.home())), ("user", Path.home().name)}
    with suppress(OSError, KeyError):  # a container may know no user of this number
        pairs.add(("user", getpass.getuser()))
    return {(kind, _text(value.strip())) for kind, value in pairs if value.strip(" ./")}


def _paths(layout: Layout, origins: Iterable[Origin]) -> Iterator[str]:
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


def write_private(folder: Path, key: bytes, origins: Iterable[Origin], skipped: Skipped,
                  identifiers: Iterable[tuple[str, str]]) -> None:
    """Key, sources.csv, skipped.csv and identifiers.csv, each readable by the owner alone, and a .gitignore against
    committing them."""
    write_text(folder / ".gitignore", "*\n", mode=0o600)
    write_text(folder / "key", key.hex() + "\n", mode=0o600)
    for name, head, lines in (("sources.csv", ORIGIN_COLUMNS, origins),
                              ("skipped.csv", ("path", "reason"), skipped),
                              ("identifiers.csv", IDENTIFIER_COLUMNS, sorted(identifiers))):
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(lines)
        write_text(folder / name, buffer.getvalue(), mode=0o600)


@dataclass(frozen=True)
class State:
    """Hashes of the source's files (path, size, time of change), of the options, and of the versions: of Ganatomy, and
    of what it needs for some formats and can do without."""

    files: str
    options: str
    versions: str

    def write(self, private: Path, content: str) -> None:
        """Note the state beside the dataset whose content hash this is."""
        write_json(private / STATE, {**asdict(self), "content": content}, mode=0o600)

    def refuse_occupied(self, dataset: Path, overwrite: bool) -> None:
        """Raise `UserError` if the dataset's place is taken by what must not be replaced; says what has changed."""
        before = _read_state(dataset)
        if before and not overwrite and is_dataset(dataset, "real"):
            changed = [what for what, value in asdict(self).items() if before.get(what) != value]
            raise UserError(f"is a dataset already, and the {' and '.join(changed) or 'dataset'} differ from then",
                            where=dataset, fix="choose another folder, or add --overwrite")
        # at once, not only after everything has been read
        refuse_occupied(dataset, overwrite, is_prepared, "exists and is no dataset folder; it is not overwritten")
        refuse_foreign(dataset)


def read_state(source: Path, dataset: Path, options: Options) -> State:
    """The state of a source now. A source that is not there has one too: its absence is told later."""
    shaping = sorted(f"{name} {value!r}" for name, value in options if name != "workers")
    versions = f"{__version__} {importlib.util.find_spec('SimpleITK') is not None}"
    return State(_hash(_file_lines(source, dataset, options)), _hash(shaping), _hash([versions]))


def _hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def is_unchanged(dataset: Path, state: State) -> bool:
    """Whether a whole dataset of this very state is there."""
    before = _read_state(dataset)
    if before is None or any(before.get(what) != value for what, value in asdict(state).items()):
        return False
    try:
        return Dataset.open(dataset).info.content == before.get("content")
    except UserError:
        return False


def _read_state(dataset: Path) -> dict[str, str] | None:
    try:
        state = read_json(private_path(dataset) / STATE)
    except UserError:
        return None
    return state if isinstance(state, dict) else None


def _file_lines(source: Path, dataset: Path, options: Options) -> Iterator[str]:
    """A line a file: path, size, time of change, and whether it may be read."""
    yield str(source.resolve())
    table: Path | None = source if source.suffix.lower() == ".csv" and source.is_file() else None
    if source.is_dir():
        for prefix, items in listings(source, [dataset], Counter()):
            yield from (_line(source, prefix + item.name) for item in items if not is_hidden(item.name))
        if options.pattern is None and options.layout in ("auto", "csv"):
            with suppress(UserError):  # several tables: told when the layout is looked for
                table = find_table(source)
    else:
        yield _line(source.parent, source.name)
    if table is not None:
        yield from _named_in(table, options)


def _named_in(table: Path, options: Options) -> Iterator[str]:
    """A table's files may lie anywhere."""
    with suppress(UserError):  # a broken table, too
        for entry in read_table(table, options.split_by).entries:
            yield _line(table.parent, entry.name)


def _line(folder: Path, name: str) -> str:
    path = folder / name
    try:
        status = path.stat()
    except OSError:
        return f"{name}\tgone"
    return f"{name}\t{status.st_size}\t{status.st_mtime_ns}\t{os.access(path, os.R_OK)}"
