"""Models that translate without any training, so that the truth is known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

KEPT = {"method": "identity", "rule": "identity"}
PERCENTILE = {"method": "percentile", "rule": "percentile", "offset": 0.0, "scale": 0.02}
WINDOW = {"method": "window -1000 to 1000", "rule": "window", "low": -1000.0, "high": 1000.0, "units": "HU",
          "offset": -1000.0, "scale": 2000 / 65535}
BYTES: dict[str, Any] = {"source_intensity": KEPT, "intensity": KEPT, "dtype": "uint8", "value_range": (0, 255)}
"""Of a model whose data were bytes, kept as they are."""


class Fake:
    """Stands for a loaded generator: it returns its input, or turns bright and dark around."""

    def __init__(self, size: int = 32, channels: int = 1, *, inverted: bool = False, two_way: bool = False,
                 translates: bool = True, **notes: Any) -> None:
        self.size, self.channels, self.inverted = size, channels, inverted
        self.model = SimpleNamespace(translates=translates, two_way=two_way)
        self.seen: list[np.ndarray] = []
        self.backward: list[bool] = []
        self.notes: dict[str, Any] | None = {
            "source_domain": "T1", "domain": "T2", "source_intensity": PERCENTILE, "intensity": PERCENTILE,
            "value_range": (0.0, 65535.0), "dtype": "uint16", "spacing": None, "contrasts": {},
            "grid": {"axis": "axial", "fit": "crop", "mm": 1.0, "background": None},
            "recipe": {"name": "pix2pix"}, "weights_sha256": "ab" * 32, **notes}

    def translate(self, images: np.ndarray, seed: int = 0, backward: bool = False) -> np.ndarray:
        assert images.dtype == np.float32 and images.shape[1:] == (self.channels, self.size, self.size)
        assert np.abs(images).max() <= 1
        self.seen += list(images)
        self.backward.append(backward)
        return -images if self.inverted else images


def floats(size: int, low: float, high: float, **notes: Any) -> Fake:
    """A model whose data were kept as float32, so that nothing is rounded."""
    return Fake(size, **{"source_intensity": KEPT, "intensity": KEPT, "dtype": "float32", "value_range": (low, high),
                         **notes})


def grid(axis: str = "axial", fit: str = "crop", mm: float | None = 1.0) -> dict[str, Any]:
    """As a dataset's `grid`."""
    return {"axis": axis, "fit": fit, "mm": mm, "background": None}


def instead_of_a_run(monkeypatch: Any, fake: Fake) -> Path:
    """Have `translate` load `fake` whatever run is named."""
    monkeypatch.setattr("ganatomy.translation.translate.load_generator", lambda run, device: fake)
    return Path("run")
