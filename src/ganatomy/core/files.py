"""Writing files so that nothing half-written is left looking whole."""

from __future__ import annotations

import csv
import errno
import glob
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ganatomy.core.errors import UserError
from ganatomy.core.interrupts import delayed
from ganatomy.core.reading import read_json

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # that a system knows no locks: `claimed` does without
    from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

PRIVATE_SUFFIX = ".private"
Commands = tuple[Annotated[str, Field(pattern=r"^ganatomy \S")], ...]
"""commands.json."""
_CANNOT_WRITE = {
    errno.ENOSPC: "the disk is full", errno.EDQUOT: "your disk quota is used up", errno.EACCES: "permission denied",
    errno.EFBIG: "the file would be larger than is allowed here", errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only", errno.ENOENT: "no folder can be created there",
    errno.ENOTDIR: "a part of this path is a file, not a folder", errno.EEXIST: "something else is there already",
    errno.ENOTEMPTY: "another process has created it meanwhile", errno.ELOOP: "its links go in a circle",
    errno.ENAMETOOLONG: "this name is too long for the file system", errno.ENOLCK: "the file system has no locks",
    errno.EBUSY: "it is a mount point: name a folder in it", errno.EXDEV: "it is a mount point: name a folder in it"}
_LEFT = re.compile(r"\.(.+)\.partial-[0-9a-f]+", re.DOTALL)
_OURS = re.compile(r"(?:(?<=/)|^)\.([^/]+)\.(?:partial-[0-9a-f]+(?:/\1)?|lock)(?=/|$)")


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """Turn a full disk, a missing permission and the like into a `UserError` that names the place."""
    try:
        yield
    except OSError as error:
        number = errno.ENOSPC if "requested and" in str(error) else error.errno  # numpy's, which has no number
        if number not in _CANNOT_WRITE:
            raise
        named = str(error.filename or where)  # temporary names are none of the user's
        fix = "free some space or choose another folder" if number in (errno.ENOSPC, errno.EDQUOT) \
            else "choose another folder"
        raise UserError(f"cannot write: {_CANNOT_WRITE[number]}", where=_OURS.sub(r"\1", named),
                        fix=fix) from error


@contextmanager
def claimed(path: Path, taken: str = "another process is writing here", kind: type[UserError] = UserError,
            wait: float = 0.2) -> Iterator[None]:
    """Hold a file or folder, which need not exist, for this thread: nobody else can claim it, from whatever machine.

    The lock is a file .NAME.lock beside it. The system frees it when the process ends, however it ends; where the
    system knows no locks, the file itself is the lock. Claims of the same path can be nested.

    Raises:
        UserError: of this `kind`, if another process still holds it after `wait` seconds; `taken` says what that means.
    """
    path = Path(os.path.realpath(path.parent), path.name) if path.name not in ("", "..") else path.resolve()
    lock = _hidden(path, "lock")
    missing: list[Path] = []
    held = FileLock(lock, mode=0o600, is_singleton=True)
    try:
        with disk_errors(path), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                _acquire(held, path, missing, wait)
            except (Timeout, PermissionError) as error:
                if not lock.exists() and isinstance(error, PermissionError):
                    raise
                if not lock.exists():  # as where no file can be created, though permissions allow it
                    probe = _hidden(path)
                    probe.touch(0o600)
                    probe.unlink()
                left = f"; if nobody does any more, remove {lock}" \
                    if isinstance(held, SoftFileLock) or isinstance(error, PermissionError) else ""
                raise kind(taken, where=path, fix=f"wait for it, stop it, or choose another folder{left}") from error
        yield
    finally:
        with delayed():
            if held.is_locked:
                if held.lock_counter == 1:
                    with suppress(OSError):  # Windows removes it later
                        lock.unlink()
                held.release()
            for folder in missing:
                with suppress(OSError):  # something is in it
                    folder.rmdir()


def _acquire(held: BaseFileLock, path: Path, made: list[Path], wait: float) -> None:
    """The lock, and the folders for it; those that are made are appended to `made`."""
    for left in reversed(range(10)):
        made += [folder for folder in path.parents if not folder.exists() and folder not in made]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.acquire(timeout=wait)
            return
        except (FileNotFoundError, FileExistsError):  # who made a folder for a claim has just removed it again
            if not left:
                raise


@contextmanager
def atomic_path(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path near `path`; on success it takes `path`'s place in one step.

    Until then only its owner can read it: it lies in a hidden folder beside `path`, as a `staged_folder` does.
    """
    staged = ".partial-" in str(path.parent)  # in such a folder already, which may get many files
    hidden = _hidden(path)
    temporary = hidden if staged else hidden / path.name
    with nullcontext() if staged else claimed(path, wait=60.0), disk_errors(path):
        try:
            if staged:
                path.parent.mkdir(parents=True, exist_ok=True)
            else:
                _remove_left(path)
                hidden.mkdir(mode=0o700)
            if mode is not None:
                temporary.touch(mode)
            yield temporary
            with temporary.open("r+b") as handle:
                os.fsync(handle.fileno())
            if mode is not None:
                temporary.chmod(mode)
            if path.is_dir():
                raise UserError("is a folder, and a file of that name is to be written", where=path,
                                fix="move the folder away")
            temporary.replace(path)
        finally:
            with delayed():
                temporary.unlink(missing_ok=True)
                if not staged:
                    shutil.rmtree(hidden, ignore_errors=True)


def write_text(path: Path, text: str, mode: int | None = None) -> bool:
    """Write UTF-8 text atomically, unless the file holds it already; whether it was written."""
    with disk_errors(path):
        if path.is_file() and path.read_bytes() == text.encode():
            return False
    with atomic_path(path, mode) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return True


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> bool:
    """Write rows as CSV, as `write_text` does; None is an empty cell."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return write_text(path, buffer.getvalue())


def write_json(path: Path, value: Any, mode: int | None = None) -> bool:
    """Write indented JSON, as `write_text` does; NaN and infinity are refused (ValueError)."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", mode)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def record_command(file: Path, command: str) -> None:
    """Keep a command in a folder's commands.json, in the place of the last one of the same verb."""
    kept = {line.split()[1]: line for line in recorded_commands(file)}
    verb = command.split()[1]
    if kept.get(verb) != command:
        write_json(file, [*(kept | {verb: command}).values()])


def recorded_commands(file: Path) -> list[str]:
    """What `record_command` kept; [] where there is no such file or it holds something else."""
    with suppress(UserError):
        return list(read_json(file, Commands))
    return []


@contextmanager
def staged_folder(target: Path, overwrite: bool = False,
                  ours: Callable[[Path], bool] = lambda folder: True) -> Iterator[Path]:
    """Yield an empty folder that becomes `target` when the block succeeds, and vanishes when it fails.

    Until then it lies in a hidden folder beside `target` that only its owner can read; what else is put there
    vanishes in any case. Nobody else can make `target` meanwhile.

    Args:
        target: the folder to make; it may exist if it is empty. Links are followed.
        overwrite: replace a folder with something in it ...
        ours: ... if this says so; --overwrite must not remove the work of another command or a person.

    Raises:
        UserError: `target` is there already, or another process is making it.
    """
    target = Path(os.path.realpath(target))
    if target.is_symlink():
        raise UserError(f"cannot write: {_CANNOT_WRITE[errno.ELOOP]}", where=target, fix="choose another folder")
    with claimed(target), disk_errors(target):
        refuse_occupied(target, overwrite, ours)
        _remove_left(target)
        hidden = _hidden(target)
        stage, replaced = hidden / target.name, hidden / f"{target.name}.replaced"
        try:
            hidden.mkdir(mode=0o700)
            stage.mkdir()
            yield stage
            refuse_occupied(target, overwrite, ours)  # someone may have put a file into it meanwhile
            with delayed():
                if target.exists():
                    target.rename(replaced)
                try:
                    stage.rename(target)
                except OSError:
                    if replaced.exists():
                        replaced.rename(target)
                    raise
        finally:
            with delayed():
                shutil.rmtree(hidden, ignore_errors=True)


def temporary_place() -> Path:
    """The system's folder for temporary files. Raises `UserError` if none can be written to."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise UserError("there is no folder for temporary files that can be written to",
                        fix="set TMPDIR to one with some space") from error


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder that only its owner can read; it vanishes after the block."""
    place = temporary_place()
    with disk_errors(place):
        folder = place / f"ganatomy-{secrets.token_hex(8)}"
        try:
            folder.mkdir(mode=0o700)
            yield folder
        finally:
            with delayed():
                shutil.rmtree(folder, ignore_errors=True)


def refuse_occupied(target: Path, overwrite: bool, ours: Callable[[Path], bool],
                    otherwise: str = "will not be overwritten: it is not what this command makes") -> None:
    """Raise `UserError` if `target` holds what must not be replaced; `otherwise` if it isn't ours.."""
    occupied = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if occupied and not overwrite:
        raise UserError("already exists", where=target, fix="choose another folder, or add --overwrite")
    if occupied and not ours(target):
        raise UserError(otherwise, where=target, fix="choose another folder, or remove it yourself")


def _hidden(path: Path, ending: str = "") -> Path:
    """The name beside a path of its lock, or of an attempt at it, which no other process or machine uses."""
    if not path.name:
        raise _nameless(path)
    return path.with_name(f".{path.name}.{ending or f'partial-{secrets.token_hex(8)}'}")


def _nameless(path: Path) -> UserError:
    return UserError("is no place for a dataset or a run", where=path, fix="name a folder of its own")


def _remove_left(path: Path) -> None:
    """Remove what processes that were killed left of their attempts at `path`, which must be claimed."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.partial-*"):
        if not _LEFT.fullmatch(left.name):
            continue
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            with suppress(OSError):
                left.unlink()


def several(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The paths that are meant, where one alone may stand for a list of one."""
    return [*map(Path, [paths] if isinstance(paths, str | os.PathLike) else paths)]


def private_path(of: Path) -> Path:
    """Where the private folder of a dataset or run lies, whether or not it is there."""
    of = of.absolute()  # "." has no name
    if not of.name:
        raise _nameless(of)
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
