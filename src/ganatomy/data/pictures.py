"""Images [n, c, h, w] in [-1, 1] to pictures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ganatomy.core.files import atomic_path
from ganatomy.data.images import denormalise

Tiles = NDArray[np.uint8]  # pictures of one size, [n, h, w] or [n, h, w, 3]
ERROR_SHOWN = 0.5  # the difference, of images in [-1, 1], that has the brightest colour: a quarter of the range
LABEL_HEIGHT, GROUND = 16, 24


def to_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Float [n, c, h, w] in [-1, 1] to uint8 [n, h, w] or [n, h, w, 3]."""
    return denormalise(images, (0.0, 255.0), np.dtype(np.uint8))


def tiles(images: Tiles, columns: int, gap: int = 0, ground: int = 0) -> NDArray[np.uint8]:
    """Pictures on one sheet [H, W] or [H, W, 3], row by row, `gap` pixels of the grey `ground` between them."""
    n, h, w = images.shape[:3]
    rows = -(-n // columns)
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, *images.shape[3:]), ground, np.uint8)
    for i, image in enumerate(images):
        y, x = (i // columns) * (h + gap), (i % columns) * (w + gap)
        sheet[y:y + h, x:x + w] = image
    return sheet


def untiled(sheet: NDArray[np.uint8], columns: int, rows: int) -> Tiles:
    """The pictures of a sheet without gaps, whose sides must be multiples of these numbers: the inverse of `tiles`."""
    h, w = sheet.shape[0] // rows, sheet.shape[1] // columns
    parts = sheet.reshape(rows, h, columns, w, *sheet.shape[2:]).swapaxes(1, 2)
    return parts.reshape(rows * columns, h, w, *sheet.shape[2:])


def grid(images: NDArray[np.float32], columns: int) -> NDArray[np.uint8]:
    """Images [n, c, h, w] in [-1, 1] side by side, row by row, without gaps; missing ones are black."""
    return tiles(to_uint8(images), columns)


def error_colours(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Absolute differences of images [n, c, h, w] in [-1, 1] as colours [n, h, w, 3]: black is none, white is much."""
    share = np.clip(np.abs(a - b).mean(1) / ERROR_SHOWN, 0, 1)
    levels = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    red, green, blue = (0, 110, 220, 245, 250, 255), (0, 10, 40, 120, 200, 255), (0, 90, 60, 20, 60, 255)
    colours = np.stack([np.interp(share, levels, channel) for channel in (red, green, blue)], -1)
    return np.asarray(np.rint(colours), np.uint8)


def sheet(rows: dict[str, Tiles], title: str, gap: int = 2) -> NDArray[np.uint8]:
    """Labelled rows of pictures as one [H, W, 3]: {label: tiles [n, h, w] or [n, h, w, 3]}; all of one size and number.

    Small tiles are enlarged two- or threefold, so that labels and pictures fit each other.
    """
    strips = [t if t.ndim == 4 else np.repeat(t[..., None], 3, -1) for t in rows.values()]
    n, h, w = strips[0].shape[:3]
    zoom = max(1, 128 // max(h, w))
    band = h * zoom + LABEL_HEIGHT
    canvas = np.full((LABEL_HEIGHT + len(strips) * band, n * (w * zoom + gap) - gap, 3), GROUND, np.uint8)
    for r, strip in enumerate(strips, start=1):
        canvas[r * band + LABEL_HEIGHT - h * zoom:r * band + LABEL_HEIGHT] = tiles(
            strip.repeat(zoom, 1).repeat(zoom, 2), n, gap, GROUND)
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    pen.text((3, 2), title, fill=(255, 255, 255))
    for r, label in enumerate(rows):
        pen.text((3, LABEL_HEIGHT + r * band + 2), label, fill=(200, 200, 200))
    return np.asarray(picture)


def png(pixels: NDArray[Any]) -> bytes:
    """A PNG file of uint8 grey or RGB [h, w(, 3)], as small as can be, without any metadata."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def write_png(path: Path, pixels: NDArray[Any], mode: int | None = None) -> None:
    """Write uint8 or uint16 grey, or uint8 RGB, atomically."""
    with atomic_path(path, mode) as temporary:
        Image.fromarray(pixels).save(temporary, format="PNG")
