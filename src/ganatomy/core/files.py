"""Writing files so that nothing half-written is left looking whole."""

from __future__ import annotations

import csv
import errno
import glob
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ganatomy.core.errors import UserError

PRIVATE_SUFFIX = ".private"
_CANNOT_WRITE = {
    errno.ENOSPC: "the disk is full", errno.EDQUOT: "your disk quota is used up", errno.EACCES: "permission denied",
    errno.EFBIG: "the file would be larger than is allowed here", errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only", errno.ENOENT: "no folder can be created there",
    errno.ENOTDIR: "a part of this path is a file, not a folder", errno.EEXIST: "something else is there already",
    errno.ENOTEMPTY: "another process has created it meanwhile", errno.ELOOP: "its links go in a circle",
    errno.ENAMETOOLONG: "this name is too long for the file system"}
_TEMPORARY = re.compile(r"(?:(?<=/)|^)\.([^/]+)\.partial-\d+(?=/|$)")


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn a full disk, a missing permission and the like into a `UserError` that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        named = str(error.filename or where)  # temporary names are none of the user's
        fix = "free some space or choose another folder" if error.errno in (errno.ENOSPC, errno.EDQUOT) \
            else "choose another folder"
        raise UserError(f"cannot write: {_CANNOT_WRITE[error.errno]}", where=_TEMPORARY.sub(r"\1", named),
                        fix=fix) from error


@contextmanager
def atomic_path(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it takes `path`'s place in one step."""
    temporary = path.with_name(f".{path.name}.partial-{os.getpid()}")
    with disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if ".partial-" not in str(path.parent):  # nothing is left over in a new folder, which may hold many files
                _remove_stale(path)
            yield temporary
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            if mode is not None:
                temporary.chmod(mode)
            if path.is_dir():
                raise UserError("is a folder, and a file of that name is to be written", where=path,
                                fix="move the folder away")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, mode: int | None = None) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path, mode) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as CSV, atomically; None is an empty cell."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    write_text(path, buffer.getvalue())


def write_json(path: Path, value: Any, mode: int | None = None) -> None:
    """Write indented JSON atomically; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", mode)


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or broken one is a `UserError`."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError("this file is missing", where=path) from error
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"cannot be read as JSON ({error})", where=path) from error


def record_command(file: Path, command: str) -> None:
    """Keep a command in a folder's commands.json, in the place of the last one of the same verb."""
    kept = {line.split()[1]: line for line in recorded_commands(file)}
    verb = command.split()[1]
    if kept.get(verb) != command:
        write_json(file, [*(kept | {verb: command}).values()])


def recorded_commands(file: Path) -> list[str]:
    """What `record_command` kept; [] where there is no such file or it holds something else."""
    kept = read_json(file) if file.is_file() else []
    return [line for line in kept if isinstance(line, str) and line.startswith("ganatomy ")] \
        if isinstance(kept, list) else []


@contextmanager
def staged_folder(target: Path, overwrite: bool = False,
                  ours: Callable[[Path], bool] = lambda folder: True) -> Iterator[Path]:
    """Yield an empty hidden folder that becomes `target` when the block succeeds, and vanishes when it fails.

    Args:
        target: the folder to make; it may exist if it is empty. Links are followed.
        overwrite: replace a folder with something in it ...
        ours: ... if this says so; --overwrite must not remove the work of another command or a person.

    Raises:
        UserError: `target` is there already, or has been created by another process meanwhile.
    """
    target = Path(os.path.realpath(target))
    with disk_errors(target):
        refuse_occupied(target, overwrite, ours)
        _remove_stale(target)
        stage = target.with_name(f".{target.name}.partial-{os.getpid()}")
        shutil.rmtree(stage, ignore_errors=True)
        stage.mkdir(parents=True)
        try:
            yield stage
            if target.is_dir() and overwrite:
                shutil.rmtree(target)
            stage.replace(target)
        finally:
            shutil.rmtree(stage, ignore_errors=True)


def refuse_occupied(target: Path, overwrite: bool, ours: Callable[[Path], bool],
                    otherwise: str = "will not be overwritten: it is not what this command makes") -> None:
    """Raise `UserError` if `target` holds what must not be replaced; `otherwise` if it isn't ours.."""
    occupied = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if occupied and not overwrite:
        raise UserError("already exists", where=target, fix="choose another folder, or add --overwrite")
    if occupied and not ours(target):
        raise UserError(otherwise, where=target, fix="choose another folder, or remove it yourself")


def _remove_stale(target: Path) -> None:
    """Remove what processes that were killed left of their attempts at `target`."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.partial-*"):
        owner = left.name.rpartition("-")[2]
        if not owner.isdecimal() or Path(f"/proc/{owner}").exists():
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with suppress(OSError):
                left.unlink()


def private_path(of: Path) -> Path:
    """Where the private folder of a dataset or run lies, whether or not it is there."""
    of = of.absolute()  # "." has no name
    if not of.name:
        raise UserError("is no place for a dataset or a run", where=of, fix="name a folder of its own")
    return of.with_name(of.name + PRIVATE_SUFFIX)


def private_folder(of: Path) -> Path:
    """The folder beside a dataset or run that holds what must not travel with it: paths, names, keys.

    Created with mode 0700. Files in it are to be written with mode 0600.
    """
    folder = private_path(of)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / ".gitignore").write_text("*\n")  # nobody shall commit it by accident
    return folder


@contextmanager
def locked(lock: Path, where: Path, taken: str, kind: type[UserError] = UserError) -> Iterator[None]:
    """Hold a lock file for this process; it is free again when the process ends, however it ends.

    Raises a `UserError` of this `kind` if another process holds it; `taken` says what that means, `where` is the
    folder.
    """
    held = FileLock(lock, mode=0o600)
    try:
        with disk_errors(where):
            held.acquire(blocking=False)
    except Timeout as error:
        raise kind(taken, where=where, fix="wait for it, stop it, or choose another folder") from error
    try:
        yield
    finally:
        held.release()
