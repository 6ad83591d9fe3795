"""Images to features by a network of the user's own: a TorchScript or an ONNX file."""

from __future__ import annotations

import hashlib
import importlib
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.features.base import Extractor, Features

TORCHSCRIPT, ONNX = (".pt", ".pts", ".ts", ".torchscript"), (".onnx",)
SUFFIXES = TORCHSCRIPT + ONNX
_BATCH = 32
_CONTRACT = "it must turn float32 [n, c, s, s] in [-1, 1], as the dataset has them, into [n, d] or [n, d, h, w]"

Run = Callable[[NDArray[np.float32], str], Any]


class Custom(Extractor):
    """A network from a file.

    It is given float32 [n, c, s, s] in [-1, 1], c 1 or 3 and s as the dataset has them (resizing and repeating grey to
    three channels are its own affair), at most 32 images at a time, and gives [n, d], or [n, d, h, w], which is then
    averaged over h and w; d at least 2. An ONNX file needs `pip install 'ganatomy[onnx]'`; its first input and first
    output count, and a fixed number of images is respected. Such files hold programs: use those you trust.
    """

    def __init__(self, path: Path) -> None:
        """Read the file. Raises `UserError` if there is none, no network in it, or onnxruntime is missing."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"cannot be read ({str(error.strerror).lower()})", where=path,
                            fix="give a TorchScript or ONNX file") from error
        self.name = re.sub(r"[^A-Za-z0-9]+", "-", path.stem).strip("-") or "Custom"
        self.network, self.dimensions = self.name, 0
        self.identity = hashlib.sha256(b"custom" + content).hexdigest()
        self._path, self._batch = path, _BATCH
        self._run: Run = self._onnx() if path.suffix.lower() in ONNX else self._torchscript()

    def compute(self, images: NDArray[np.float32], device: str = "cpu") -> Features:
        """Features [n, d] of images [n, c, s, s]. Raises `UserError` if the network fails or breaks the rules."""
        parts = [self._part(np.ascontiguousarray(images[start:start + self._batch], np.float32), device)
                 for start in range(0, len(images), self._batch)]
        return np.concatenate(parts) if parts else np.empty((0, self.dimensions))

    def _part(self, images: NDArray[np.float32], device: str) -> Features:
        try:
            output = self._run(images, device)
        except MemoryError:
            raise
        except Exception as error:  # whatever the user's network raises
            raise self._wrong(f"fails on images of shape {list(images.shape)} ({_line(error)})") from error
        if not isinstance(output, np.ndarray):
            raise self._wrong(f"gives a {type(output).__name__}, not one array")
        if output.ndim == 4:
            output = output.mean((2, 3), dtype=np.float64)
        if output.ndim != 2 or len(output) != len(images) or output.shape[1] < 2:
            raise self._wrong(f"gives {list(output.shape)} for {len(images)} images")
        if self.dimensions not in (0, output.shape[1]):
            raise self._wrong(f"gives {self.dimensions} features of some images and {output.shape[1]} of others")
        if output.dtype.kind not in "fiu" or not np.isfinite(output).all():
            raise self._wrong("gives features that are not finite numbers")
        self.dimensions = output.shape[1]
        return np.asarray(output.astype(np.float64))

    def _torchscript(self) -> Run:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                net = torch.jit.load(str(self._path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except Exception as error:  # a file of another kind can raise nearly anything here
            raise UserError(f"is not a TorchScript file ({_line(error)})", where=self._path,
                            fix="write one with torch.jit.trace(network, example).save(FILE)") from error

        def run(images: NDArray[np.float32], device: str) -> Any:
            with torch.inference_mode():
                output = net.to(device)(torch.from_numpy(images.copy()).to(device))
            return output.cpu().numpy() if isinstance(output, torch.Tensor) else output

        return run

    def _onnx(self) -> Run:
        try:
            runtime = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise UserError("ONNX files need onnxruntime, which is not installed", where=self._path,
                            fix="pip install 'ganatomy[onnx]', or give a TorchScript file") from error
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 4
        try:
            session = runtime.InferenceSession(str(self._path), options, providers=["CPUExecutionProvider"])
            first = session.get_inputs()[0]
        except Exception as error:  # onnxruntime has exceptions of its own
            raise UserError(f"is not an ONNX file that onnxruntime can read ({_line(error)})", where=self._path,
                            fix="write one with torch.onnx.export") from error
        if first.shape and isinstance(first.shape[0], int):
            self._batch = first.shape[0]
        last = session.get_outputs()[0].name
        return lambda images, device: session.run([last], {first.name: images})[0]

    def _wrong(self, what: str) -> UserError:
        return UserError(f"this network {what}", where=self._path, fix=_CONTRACT)


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1][:120]
