"""Pictures for a report: tiles, grids and film strips as PNG data URIs, small enough to travel by mail."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ganatomy.core.errors import UserError
from ganatomy.data.manifest import Row

Tiles = NDArray[np.uint8]  # [n, height, width] or [n, height, width, 3]

GRID_WIDTH = 512  # CSS pixels a grid takes: two stand side by side on a page 1100 wide
MOST_TILES = 24
GRID_BYTES = 1_600_000  # of raw pixels a grid; noise hardly compresses, so this bounds the file
STRIP_TILE = 96  # a film strip's tiles are shown about this wide
STRIP_BYTES = 1_200_000
FRAMES = 10  # of a film strip, at most
FEW_FRAMES = 5  # up to so many lie one below the other, each a row of latents, and fill the page's width
LATENTS, LATENTS_ACROSS = 6, 10
SAMPLE_COLUMNS, SAMPLE_ROWS = 8, 4
GAP, GAP_GREY = 1, 44
MEND = "remove it and report again"


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the report: a data URI, its size in CSS pixels and what a blind reader should hear."""

    uri: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True, slots=True)
class Layout:
    """How a grid is laid out, so that two grids have the same scale."""

    columns: int
    rows: int
    zoom: int
    shrink: int

    @property
    def tiles(self) -> int:
        return self.columns * self.rows


def layout(height: int, width: int, channels: int, available: int, sheet: int = GRID_WIDTH) -> Layout:
    """Choose columns, rows, an integer zoom and an integer reduction for tiles [height, width].

    Args:
        height, width: of a tile, pixels.
        channels: 1 or 3.
        available: how many tiles there are.
        sheet: width of the grid on the page, CSS pixels.
    """
    shrink = -(-max(height, width) // 256)
    w, h = width // shrink, height // shrink
    zoom = max(1, 128 // max(w, h))
    columns = max(1, sheet // (w * zoom))
    most = min(MOST_TILES, available, GRID_BYTES // (w * h * channels))
    columns = max(1, min(columns, most))
    return Layout(columns, max(1, most // columns), zoom, shrink)


def grid(tiles: Tiles, how: Layout, alt: str) -> Picture:
    """The first tiles as one picture, row by row, with thin gaps."""
    tiles = reduce(tiles[: how.tiles], how.shrink)
    sheet = tile(tiles, how.columns)
    return Picture(png_uri(sheet), sheet.shape[1] * how.zoom, sheet.shape[0] * how.zoom, alt)


def tile(tiles: Tiles, columns: int) -> NDArray[np.uint8]:
    """Tiles on one sheet [H, W] or [H, W, 3], row by row, `GAP` pixels apart."""
    n, h, w = tiles.shape[:3]
    rows = -(-n // columns)
    sheet = np.full((rows * (h + GAP) - GAP, columns * (w + GAP) - GAP, *tiles.shape[3:]), GAP_GREY, np.uint8)
    for i, image in enumerate(tiles):
        y, x = (i // columns) * (h + GAP), (i % columns) * (w + GAP)
        sheet[y : y + h, x : x + w] = image
    return sheet


def png_uri(pixels: NDArray[np.uint8]) -> str:
    """Pixels [h, w] or [h, w, 3] as a data URI holding a PNG without any metadata."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def spread(rows: Sequence[Row], n: int) -> list[Row]:
    """At most n rows: one of each subject first, then a second of each, and so on.

    Within a subject the images are taken evenly over its list, so that the choice is the same every time and
    nobody picked the prettiest.
    """
    by_subject: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_subject[row.subject].append(row)
    turns = -(-n // max(1, len(by_subject)))
    chosen: list[list[Row]] = []
    for subject in sorted(by_subject):
        own = by_subject[subject]
        take = min(turns, len(own))
        chosen.append([own[(2 * i + 1) * len(own) // (2 * take)] for i in range(take)])
    rounds = [[own[i] for own in chosen if i < len(own)] for i in range(turns)]
    return [row for turn in rounds for row in turn][:n]


def read_sheet(path: Path) -> Tiles:
    """The 32 tiles of a sample sheet (8 columns x 4 rows, no gaps).

    Raises:
        UserError: not a readable image, or not divisible into 8 x 4 tiles.
    """
    try:
        with Image.open(path) as opened:
            sheet = np.asarray(opened.convert("L" if opened.mode in ("1", "L") else "RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError("this sample sheet cannot be read", where=path, fix=MEND) from error
    h, w = sheet.shape[0] // SAMPLE_ROWS, sheet.shape[1] // SAMPLE_COLUMNS
    if not h or not w or sheet.shape[0] % SAMPLE_ROWS or sheet.shape[1] % SAMPLE_COLUMNS:
        raise UserError(f"this sample sheet of {sheet.shape[1]}x{sheet.shape[0]} pixels is not 8 x 4 tiles",
                        where=path, fix=MEND)
    tiles = sheet.reshape(SAMPLE_ROWS, h, SAMPLE_COLUMNS, w, *sheet.shape[2:]).swapaxes(1, 2)
    return tiles.reshape(SAMPLE_ROWS * SAMPLE_COLUMNS, h, w, *sheet.shape[2:])


def film_frames(sheets: Sequence[tuple[int, Path]]) -> list[tuple[int, Picture]]:
    """A film strip: for each of a few steps, the same latents one below the other, or of few steps side by side.

    `sheets` are (step, sample sheet), oldest first.
    """
    chosen = [sheets[i] for i in log_spaced([step for step, _ in sheets], FRAMES)]
    across = len(chosen) <= FEW_FRAMES
    latents = LATENTS_ACROSS if across else LATENTS
    strip = []
    for step, path in chosen:
        tiles = read_sheet(path)[:latents]
        fit = max(1, max(tiles.shape[1:3]) // STRIP_TILE)
        while tiles.size // fit**2 * len(chosen) > STRIP_BYTES:
            fit += 1
        sheet = tile(reduce(tiles, fit), latents if across else 1)
        strip.append((step, Picture(png_uri(sheet), sheet.shape[1], sheet.shape[0],
                                    f"generated images of {latents} fixed latents at step {step}")))
    return strip


def log_spaced(steps: Sequence[int], n: int) -> list[int]:
    """Indices of at most n of the steps, the first and the last among them, evenly apart on a logarithmic scale.

    Most happens early in a training, so the early steps deserve more frames.
    """
    if len(steps) <= n:
        return list(range(len(steps)))
    logs = np.log(np.asarray(steps, dtype=float) - steps[0] + max(1, steps[1] - steps[0]))
    chosen = {int(np.argmin(np.abs(logs - target))) for target in np.linspace(logs[0], logs[-1], n)}
    while len(chosen) < n:  # two targets met in one step: take the step farthest from any that is chosen
        free = [i for i in range(len(steps)) if i not in chosen]
        chosen.add(max(free, key=lambda i: min(abs(logs[i] - logs[j]) for j in chosen)))
    return sorted(chosen)


def reduce(tiles: Tiles, factor: int) -> Tiles:
    """Average blocks of factor x factor pixels; a remainder at the right or bottom joins the last block."""
    if factor == 1:
        return tiles
    return np.stack([np.asarray(Image.fromarray(image).reduce(factor)) for image in tiles])
