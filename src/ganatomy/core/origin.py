"""What made an output: kept where the output lies, so that the same command again has nothing to do.

A verb asks before its work whether OUT is what it would make, by the command and the hash of its inputs, and that
whatever it will write can be written.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import claimed, disk_errors, file_sha256
from ganatomy.core.text import Say, printable


@dataclass(frozen=True)
class Origin:
    """What an output comes from.

    Attributes:
        command: with stand-ins for files and folders (see `text.command_line`).
        inputs: SHA-256 of what it reads, and of the version.
    """

    command: str = ""
    inputs: str = ""

    @classmethod
    def of(cls, command: str, inputs: Iterable[str | bytes]) -> Origin:
        """Of the hashes or contents of inputs, in their order."""
        parts = [part.encode() if isinstance(part, str) else part for part in (__version__, *inputs)]
        return cls(command, hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest())

    def made(self, record: Mapping[str, Any]) -> bool:
        """Whether the record of an output, such as its JSON, says that it comes from this."""
        return record.items() >= asdict(self).items()


def nothing_to_do(out: Path, say: Say) -> None:
    """Say that an output is there already."""
    say(f"{printable(str(out))} is what this command makes already; nothing to do")


def file_hash(path: Path) -> str:
    """SHA-256 of a file; "" of one that is not there."""
    return file_sha256(path) if path.is_file() else ""


def stamp(folders: Iterable[Path], *, without: Iterable[Path] = ()) -> str:
    """A hash of the names, sizes and times of change of all files in folders: what is not read again is not hashed."""
    left_out, lines = {path.absolute() for path in without}, []
    for folder in folders:
        for place, names, files in os.walk(folder.absolute()):
            names[:] = sorted(name for name in names if not name.startswith("."))
            for path in (Path(place, name) for name in sorted(files) if not name.startswith(".")):
                if path not in left_out:
                    status = path.stat() if path.exists() else path.lstat()  # a link into nothing
                    lines.append(f"{path.relative_to(folder.absolute())}\t{status.st_size}\t{status.st_mtime_ns}\n")
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def check_writable(*files: Path) -> None:
    """Raise `UserError` now if one of these files could not be written after the work."""
    for path in files:
        if path.is_dir():
            raise UserError("is a folder, and a file of that name is to be written", where=path,
                            fix="move the folder away")
        with claimed(path), disk_errors(path):
            pass
