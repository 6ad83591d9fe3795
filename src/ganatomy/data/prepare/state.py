"""What a dataset was made of, so that a second run over unchanged files is known to be one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ganatomy import __version__
from ganatomy.data.dataset import Dataset, is_dataset
from ganatomy.data.layouts.table import read_table
from ganatomy.data.prepare.options import Options
from ganatomy.data.prepare.private import refuse_foreign
from ganatomy.data.sources import is_prepared
from ganatomy.errors import UserError
from ganatomy.files import PRIVATE_SUFFIX, private_path, read_json, refuse_occupied, write_json

NAME = "state.json"


@dataclass(frozen=True)
class State:
    """Hashes of the source's files (path, size, time of change) and of the options."""

    files: str
    options: str

    def write(self, private: Path, content: str) -> None:
        """Note the state beside the dataset whose content hash this is."""
        write_json(private / NAME, {**asdict(self), "content": content}, mode=0o600)

    def refuse_occupied(self, dataset: Path, overwrite: bool) -> None:
        """Raise `UserError` if the dataset's place is taken by what must not be replaced; says what has changed."""
        before = _read(dataset)
        if before and not overwrite and is_dataset(dataset, "real"):
            changed = [what for what in ("files", "options") if before.get(what) != getattr(self, what)]
            raise UserError(f"is a dataset already, and the {' and '.join(changed) or 'dataset'} differ from then",
                            where=dataset, fix="choose another folder, or add --overwrite")
        # at once, not only after everything has been read
        refuse_occupied(dataset, overwrite, is_prepared, "exists and is no dataset folder; it is not overwritten")
        refuse_foreign(dataset)


def read_state(source: Path, dataset: Path, options: Options) -> State:
    """The state of a source now. A source that is not there has one too: its absence is told later."""
    files = hashlib.sha256()
    for line in _lines(source, dataset, options):
        files.update(line.encode("utf-8", "surrogateescape"))
    shaping = {name: value for name, value in asdict(options).items() if name != "workers"}
    text = f"{__version__} {sorted((name, repr(value)) for name, value in shaping.items())}"
    return State(files.hexdigest(), hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest())


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
    """A line a file: path, size, time of change."""
    if source.is_dir():
        yield from _walk(source, {dataset.resolve(), private_path(dataset).resolve()})
        return
    yield _line(source)
    if source.suffix.lower() == ".csv" and source.is_file():
        for entry in read_table(source, options.split_by).entries:
            yield _line(entry.path)


def _walk(folder: Path, leave_out: set[Path]) -> Iterator[str]:
    for place, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and not f.endswith(PRIVATE_SUFFIX)
                            and (Path(place) / f).resolve() not in leave_out)
        for name in sorted(files):
            yield _line(Path(place) / name)


def _line(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return f"{path}\tgone\n"
    return f"{path}\t{status.st_size}\t{status.st_mtime_ns}\n"
