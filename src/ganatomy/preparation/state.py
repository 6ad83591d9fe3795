"""What a dataset was made of, so that a second run over unchanged files is known to be one."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import private_path, read_json, refuse_occupied, write_json
from ganatomy.data.dataset import Dataset, is_dataset
from ganatomy.preparation.options import Options
from ganatomy.preparation.private import refuse_foreign
from ganatomy.sources.csv_table import find_table, read_table
from ganatomy.sources.entry import is_hidden, is_prepared, listings

NAME = "state.json"


@dataclass(frozen=True)
class State:
    """Hashes of the source's files (path, size, time of change), of the options, and of the versions: of Ganatomy, and
    of what it needs for some formats and can do without."""

    files: str
    options: str
    versions: str

    def write(self, private: Path, content: str) -> None:
        """Note the state beside the dataset whose content hash this is."""
        write_json(private / NAME, {**asdict(self), "content": content}, mode=0o600)

    def refuse_occupied(self, dataset: Path, overwrite: bool) -> None:
        """Raise `UserError` if the dataset's place is taken by what must not be replaced; says what has changed."""
        before = _read(dataset)
        if before and not overwrite and is_dataset(dataset, "real"):
            changed = [what for what, value in asdict(self).items() if before.get(what) != value]
            raise UserError(f"is a dataset already, and the {' and '.join(changed) or 'dataset'} differ from then",
                            where=dataset, fix="choose another folder, or add --overwrite")
        # at once, not only after everything has been read
        refuse_occupied(dataset, overwrite, is_prepared, "exists and is no dataset folder; it is not overwritten")
        refuse_foreign(dataset)


def read_state(source: Path, dataset: Path, options: Options) -> State:
    """The state of a source now. A source that is not there has one too: its absence is told later."""
    shaping = {name: value for name, value in asdict(options).items() if name != "workers"}
    versions = f"{__version__} {importlib.util.find_spec('SimpleITK') is not None}"
    return State(_hash(_lines(source, dataset, options)), _hash(sorted(f"{name} {v!r}" for name, v in shaping.items())),
                 _hash([versions]))


def _hash(lines: Iterable[str]) -> str:
    found = hashlib.sha256()
    for line in lines:
        found.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return found.hexdigest()


def is_unchanged(dataset: Path, state: State) -> bool:
    """Whether a whole dataset made of this very state is there."""
    before = _read(dataset)
    if before is None or any(before.get(what) != value for what, value in asdict(state).items()):
        return False
    try:
        return Dataset.open(dataset).info.content == before.get("content")
    except UserError:
        return False


def _read(dataset: Path) -> dict[str, str] | None:
    try:
        found = read_json(private_path(dataset) / NAME)
    except UserError:
        return None
    return found if isinstance(found, dict) else None


def _lines(source: Path, dataset: Path, options: Options) -> Iterator[str]:
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
