"""Feature extractors: networks that turn images into rows of numbers, which are kept on disk once computed."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.core.files import atomic_path
from ganatomy.networks import LITE0

if TYPE_CHECKING:  # imported when something is computed: whoever reads values needs no torch
    import torch

Features = NDArray[np.float64]
Images = NDArray[np.float32]
CHUNK = 256  # images read, and their features kept, at a time
MOST_BYTES = 10**9
MOST_ENTRIES = 10_000
NAMES = {"lite0": "extractors.Lite0", "virtual": "virtual.Virtual", "inception": "extractors.Inception2015",
         "random": "extractors.Random"}  # module and class
SECOND = "virtual"  # judges what was made to please it
_SUFFIX = ".features"
_DIGEST = 32  # bytes of a sha256, before the array in every file


class Stack(Protocol):
    """Images that need not be in memory: an array, a memory map, a dataset's rows. float32 [n, c, s, s] in [-1, 1]."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Images: ...


class Extractor:
    """A feature extractor.

    Attributes:
        name: as metrics carry it behind a hyphen, such as Lite0.
        network: what has learnt to see, its family before a hyphen, such as EfficientNet-Lite0; "" where nothing has.
        searches: whether the search for copies goes by it; Lite0 otherwise.
        dimensions: length of a row of features; 0 while that is not known, of a user's network that has not run yet.
        identity: sha256 over the weights and all that is done to the images; features are cached under it.
    """

    name: str
    network: str = ""
    searches: bool = True
    dimensions: int
    identity: str

    batch: int  # images that go through the network together

    def rows(self, images: torch.Tensor) -> torch.Tensor:
        """Features [n, dimensions] of at most `batch` images, float32 [n, c, s, s] in [-1, 1] with c 1 or 3.

        Whoever has no network of torch's overrides `compute` instead.
        """
        raise NotImplementedError

    def compute(self, images: Images, device: str = "cpu") -> Features:
        """Features [n, dimensions] of images [n, c, s, s] in [-1, 1] with c 1 or 3, not cached."""
        import torch

        out = np.empty((len(images), self.dimensions), np.float64)
        with torch.inference_mode():
            for start in range(0, len(images), self.batch):
                part = torch.from_numpy(np.ascontiguousarray(images[start:start + self.batch], np.float32)).to(device)
                out[start:start + len(part)] = self.rows(part).double().cpu().numpy()
        return out

    def __call__(self, images: Stack) -> Features:
        """Features [n, dimensions] of any number of images, a chunk at a time; kept on disk, see `Cache`."""
        cache, out = Cache(self.identity), np.empty((len(images), self.dimensions), np.float64)
        for start in range(0, len(images), CHUNK):
            chunk = np.ascontiguousarray(images[start:start + CHUNK], np.float32)
            rows = cache.get(chunk)
            if rows is None:
                rows = self.compute(chunk)
                cache.put(chunk, rows)
            if not self.dimensions:
                self.dimensions = rows.shape[1]
            if out.shape[1] != self.dimensions:
                out = np.empty((len(images), self.dimensions), np.float64)
            out[start:start + CHUNK] = rows
        cache.prune()
        return out

    def metric(self, kind: str) -> str:
        """The name of a metric over these features: KD-Lite0."""
        return f"{kind}-{self.name}"


def own_eyes(network: str, looks_through: Iterable[str]) -> bool:
    """Whether a network, or a relative of its family, is one of those that a training looked through.

    Figures over its features then flatter: the images were made to please it (Kynkaanniemi et al., ICLR 2023).
    """
    family = network.partition("-")[0]
    return bool(network) and any(family == other.partition("-")[0] for other in looks_through)


def independent(looks_through: Iterable[str] = ()) -> str:
    """The name of the features that judge images whose training looked through these networks.

    They are Lite0's, which order faults and generators nearly as Inception's do, unless these are its own eyes.
    """
    return SECOND if own_eyes(LITE0, looks_through) else "lite0"


def choose(name: str = "lite0") -> Extractor:
    """The extractor of that name (see `NAMES`), or that of a TorchScript or ONNX file.

    Raises:
        UserError: no such extractor or file, weights that are not installed, or a file that holds no network.
    """
    if name in NAMES:
        return _named(name)
    from ganatomy.features.custom import SUFFIXES, Custom

    path = Path(name)
    if path.suffix.lower() in SUFFIXES:
        return Custom(path)
    raise UserError(f"no feature extractor is called {name!r}", where="--features",
                    fix=f"choose from {', '.join(NAMES)}, or give a file ({', '.join(SUFFIXES)})")


@lru_cache(maxsize=4)
def _named(name: str) -> Extractor:
    module, kind = NAMES[name].split(".")
    extractor: Extractor = getattr(importlib.import_module(f"ganatomy.features.{module}"), kind)()
    return extractor


def cache_folder() -> Path | None:
    """Where features are kept, or None: $GANATOMY_CACHE/features, else the user's cache folder; "off" for nowhere."""
    chosen = os.environ.get("GANATOMY_CACHE", "")
    if chosen.lower() == "off":
        return None
    try:
        home = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ganatomy"
    except RuntimeError:  # a user without a home
        return None
    return home / "features"


class Cache:
    """Features of one extractor, a file for every chunk of images that went through it together.

    The key is over the images' bytes and shape, the extractor's identity, and what decides about the last bits: our
    version and torch's, the processor and the number of threads. A hit is therefore, bit by bit, what would be
    computed; nothing is kept image by image, since a network's last bits may depend on what else is in its batch.

    Features of patients may be told apart by them, so the folder has mode 0700 and its files 0600. A cache is only a
    help: entries that are damaged count as missing, and where nothing can be written, nothing is kept, silently.
    """

    def __init__(self, identity: str, folder: Path | None = None) -> None:
        """Take the extractor's identity; `folder` is for tests."""
        self._identity, self._folder, self._written = identity, folder or cache_folder(), False

    def get(self, images: Images) -> Features | None:
        """The features [n, d] of images [n, c, s, s], None where they are not kept."""
        path = self._path(images)
        if path is None:
            return None
        try:
            content = path.read_bytes()
            os.utime(path)  # the oldest used go first
        except OSError:
            return None
        rows = _unpacked(content)
        return rows if rows is not None and rows.ndim == 2 and len(rows) == len(images) else None

    def put(self, images: Images, features: Features) -> None:
        """Keep the features of images, if that can be done."""
        path = self._path(images)
        if path is None:
            return
        with suppress(OSError, UserError):
            with atomic_path(path, mode=0o600) as temporary:
                temporary.write_bytes(_packed(features))
            self._written = True

    def prune(self) -> None:
        """Remove what was used longest ago until the folder is small enough; after writing only."""
        if not self._written or self._folder is None:
            return
        self._written = False
        with suppress(OSError):
            files = [(entry.stat().st_mtime_ns, entry.stat().st_size, entry.path)
                     for entry in os.scandir(self._folder) if entry.name.endswith(_SUFFIX)]
            room = MOST_BYTES
            for number, (_, size, path) in enumerate(sorted(files, reverse=True)):
                room -= size
                if room < 0 or number >= MOST_ENTRIES:
                    Path(path).unlink(missing_ok=True)

    def _path(self, images: Images) -> Path | None:
        if self._ready is None:
            return None
        digest = hashlib.sha256(f"{self._identity} {self._computed_on} {images.shape} {images.dtype.str} ".encode())
        digest.update(images.data.cast("B"))
        return self._ready / f"{digest.hexdigest()}{_SUFFIX}"

    @cached_property
    def _ready(self) -> Path | None:
        """The folder, one's own; None where it cannot be had."""
        if self._folder is None:
            return None
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if hasattr(os, "getuid") and self._folder.lstat().st_uid != os.getuid():
                return None
            self._folder.chmod(0o700)
        except OSError:
            return None
        return self._folder

    @cached_property
    def _computed_on(self) -> str:
        import torch

        from ganatomy.core.hardware import environment

        known = environment(torch.device("cpu"), "fp32")
        versions = f"{known['packages']['ganatomy']} {known['packages']['torch']}"
        return f"{versions} {known['device']} {known['system']} {known['threads']}"


def _packed(features: Features) -> bytes:
    small = features.astype(np.float32)
    buffer = io.BytesIO()  # networks compute in float32: then half the bytes lose nothing
    np.save(buffer, small if np.array_equal(small, features) else features, allow_pickle=False)
    content = buffer.getvalue()
    return hashlib.sha256(content).digest() + content


def _unpacked(content: bytes) -> Features | None:
    if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
        return None
    try:
        rows: Features = np.load(io.BytesIO(content[_DIGEST:]), allow_pickle=False).astype(np.float64)
    except (ValueError, EOFError, OSError):
        return None
    return rows
