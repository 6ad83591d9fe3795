"""What every feature extractor is: a network that turns images into rows of numbers, and a name for the distances."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ganatomy.features.cache import Cache

Features = NDArray[np.float64]
Images = NDArray[np.float32]
CHUNK = 256  # images read, and their features kept, at a time


class Stack(Protocol):
    """Images that need not be in memory: an array, a memory map, a dataset's rows. float32 [n, c, s, s] in [-1, 1]."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> Images: ...


class Extractor(ABC):
    """A feature extractor.

    Attributes:
        name: as metrics carry it behind a hyphen, such as Lite0.
        dimensions: length of a row of features; 0 while that is not known, of a user's network that has not run yet.
        identity: sha256 over the weights and all that is done to the images; features are cached under it.
    """

    name: str
    dimensions: int
    identity: str

    @abstractmethod
    def compute(self, images: Images, device: str = "cpu") -> Features:
        """Features [n, dimensions] of images [n, c, s, s] in [-1, 1] with c 1 or 3, not cached."""

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
