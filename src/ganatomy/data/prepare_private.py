"""DATASET.private/: what leads from a dataset back to patients and files, and must not travel with it."""

from __future__ import annotations

import csv
import io
import secrets
from pathlib import Path

from ganatomy.data.convert import ORIGIN_COLUMNS, Outcome
from ganatomy.errors import UserError
from ganatomy.files import private_path, write_text

FILES = (".gitignore", "key", "sources.csv", "skipped.csv")


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


def write_private(folder: Path, key: bytes, outcome: Outcome) -> None:
    """Key, sources.csv and skipped.csv, each readable by the owner alone, and a .gitignore against committing them."""
    write_text(folder / ".gitignore", "*\n", mode=0o600)
    write_text(folder / "key", key.hex() + "\n", mode=0o600)
    for name, head, lines in (("sources.csv", ORIGIN_COLUMNS, outcome.origins),
                              ("skipped.csv", ("path", "reason"), [*outcome.skipped, *outcome.left_out])):
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(lines)
        write_text(folder / name, buffer.getvalue(), mode=0o600)
