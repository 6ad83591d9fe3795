"""Images [n, c, h, w] in [-1, 1] to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganatomy.data.dataset import denormalise
from ganatomy.files import atomic_path


def to_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Float [n, c, h, w] in [-1, 1] to uint8 [n, h, w] or [n, h, w, 3]."""
    return denormalise(images, (0.0, 255.0), np.dtype(np.uint8))


def grid(images: NDArray[np.float32], columns: int) -> NDArray[np.uint8]:
    """Images [n, c, h, w] in [-1, 1] side by side, row by row, without gaps; missing ones are black."""
    tiles = to_uint8(images)
    n, h, w = tiles.shape[:3]
    rows = -(-n // columns)
    canvas = np.zeros((rows * columns, *tiles.shape[1:]), np.uint8)
    canvas[:n] = tiles
    canvas = canvas.reshape(rows, columns, *tiles.shape[1:]).swapaxes(1, 2)
    return canvas.reshape(rows * h, columns * w, *tiles.shape[3:])


def write_png(path: Path, pixels: NDArray[Any]) -> None:
    """Write uint8 or uint16 grey, or uint8 RGB, atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
