"""Images [n, c, h, w] in [-1, 1] to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganatomy.core.files import atomic_path
from ganatomy.data.dataset import denormalise


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


ERROR_SHOWN = 0.5
"""The difference, of images in [-1, 1], that has the brightest colour: a quarter of the range."""


def error_colours(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Absolute differences of images [n, c, h, w] in [-1, 1] as colours [n, h, w, 3]: black is none, white is much."""
    share = np.clip(np.abs(a - b).mean(1) / ERROR_SHOWN, 0, 1)
    levels = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    red, green, blue = (0, 110, 220, 245, 250, 255), (0, 10, 40, 120, 200, 255), (0, 90, 60, 20, 60, 255)
    colours = np.stack([np.interp(share, levels, channel) for channel in (red, green, blue)], -1)
    return np.asarray(np.rint(colours), np.uint8)


LABEL_HEIGHT = 16


def sheet(rows: dict[str, NDArray[np.uint8]], title: str, gap: int = 2) -> NDArray[np.uint8]:
    """Labelled rows of pictures as one [H, W, 3]: {label: tiles [n, h, w] or [n, h, w, 3]}; all of one size and number.

    Small tiles are enlarged two- or threefold, so that labels and pictures fit each other.
    """
    from PIL import ImageDraw

    tiles = [t if t.ndim == 4 else np.repeat(t[..., None], 3, -1) for t in rows.values()]
    n, h, w = tiles[0].shape[:3]
    zoom = max(1, 128 // max(h, w))
    h, w = h * zoom, w * zoom
    canvas = np.full((LABEL_HEIGHT + len(tiles) * (h + LABEL_HEIGHT), n * (w + gap) - gap, 3), 24, np.uint8)
    places = []
    for r, images in enumerate(tiles):
        top = LABEL_HEIGHT + r * (h + LABEL_HEIGHT)
        places.append(top)
        for i, image in enumerate(images):
            large = image.repeat(zoom, 0).repeat(zoom, 1)
            canvas[top + LABEL_HEIGHT:top + LABEL_HEIGHT + h, i * (w + gap):i * (w + gap) + w] = large
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    pen.text((3, 2), title, fill=(255, 255, 255))
    for top, label in zip(places, rows, strict=True):
        pen.text((3, top + 2), label, fill=(200, 200, 200))
    return np.asarray(picture)


def write_png(path: Path, pixels: NDArray[Any], mode: int | None = None) -> None:
    """Write uint8 or uint16 grey, or uint8 RGB, atomically."""
    with atomic_path(path, mode) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
