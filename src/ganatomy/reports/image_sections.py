"""Tiles as pictures; real and generated images side by side, and the same latents over training."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ganatomy.core.errors import UserError
from ganatomy.core.run import checkpoint_step
from ganatomy.core.text import grouped
from ganatomy.data.manifest import Row
from ganatomy.data.pictures import Tiles, png, tiles, to_uint8, untiled
from ganatomy.reports.blocks import COPIED, REAL, Block, Columns, Heading, Picture, Pictures, Words
from ganatomy.reports.context import NO_DATASET, Context

GRID_WIDTH = 512  # CSS pixels a grid takes: two stand side by side on a page 1100 wide
MOST_TILES = 24
GRID_BYTES = 1_600_000  # of raw pixels a grid; noise hardly compresses, so this bounds the file
STRIP_TILE = 96  # a film strip's tiles are shown about this wide
STRIP_BYTES = 1_200_000
FRAMES = 10  # of a film strip, at most
FEW_FRAMES = 5  # up to so many lie one below the other, each a row of latents, and fill the page's width
LATENTS, LATENTS_ACROSS = 6, 10
SAMPLES = 8, 4  # columns and rows of a sample sheet
GAP, GAP_GREY = 1, 44
FARTHEST = 4000  # generated images are drawn one after the other; this many take seconds
MEND = "remove it and report again"
REMARKS = {"suspicious": "But the audit shows generated images suspiciously near to training images, and some may be "
                         "shown here: look at the full report before you share it.",
           "clean": "The audit shows no sign that generated images copy training images; that does not prove that none "
                    "does.",
           "copies": "",
           "": "That does not prove that no generated image resembles a training image: memorisation has not been "
               "audited."}


# ------------------------------------------------------------------ tiles to pictures

class Layout(NamedTuple):
    """How a grid is laid out, so that two grids have the same scale."""

    columns: int
    tiles: int
    zoom: int
    shrink: int

    @property
    def scale(self) -> str:
        """The scale in words."""
        return f"shown {self.zoom} times enlarged" if self.zoom > 1 else \
            f"shown reduced {self.shrink} times" if self.shrink > 1 else "shown pixel by pixel"


def layout(height: int, width: int, channels: int, available: int, sheet: int = GRID_WIDTH) -> Layout:
    """Columns, tiles, an integer zoom and an integer reduction of a grid `sheet` CSS pixels wide.

    For so many available tiles [height, width] of 1 or 3 channels.
    """
    shrink = -(-max(height, width) // 256)
    w, h = width // shrink, height // shrink
    zoom = max(1, 128 // max(w, h))
    most = min(MOST_TILES, available, GRID_BYTES // (w * h * channels))
    columns = max(1, min(sheet // (w * zoom), most))
    return Layout(columns, columns * max(1, most // columns), zoom, shrink)


def picture(pixels: np.ndarray, alt: str, zoom: int = 1, label: str = "", note: str = "") -> Picture:
    """Pixels [h, w] or [h, w, 3] as a PNG without any metadata, shown `zoom` times enlarged."""
    uri = "data:image/png;base64," + base64.b64encode(png(pixels)).decode("ascii")
    return Picture(uri, pixels.shape[1] * zoom, pixels.shape[0] * zoom, alt, label, note)


def strip(images: Tiles, columns: int, alt: str, zoom: int = 1, shrink: int = 1, label: str = "",
          note: str = "") -> Picture:
    """Tiles as one picture, row by row, with thin gaps."""
    return picture(tiles(reduce(images, shrink), columns, GAP, GAP_GREY), alt, zoom, label, note)


def single(image: np.ndarray, alt: str, label: str = "", shown: int = 200) -> Picture:
    """One image, enlarged by a whole number or reduced by averaging, to about `shown` CSS pixels."""
    side = max(image.shape[:2])
    shrink = max(1, side // (2 * shown))
    return picture(reduce(image[None], shrink)[0], alt, max(1, round(shown / side)) if shrink == 1 else 1, label)


def reduce(images: Tiles, factor: int) -> Tiles:
    """Average blocks of factor x factor pixels; a remainder at the right or bottom joins the last block."""
    return images if factor == 1 else np.stack([np.asarray(Image.fromarray(image).reduce(factor)) for image in images])


def spread(rows: Sequence[Row], n: int) -> list[Row]:
    """At most n rows: one of each subject first, then a second; within a subject evenly, so that nobody picked them."""
    by_subject: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_subject[row.subject].append(row)
    turns = -(-n // max(1, len(by_subject)))
    chosen: list[list[Row]] = []
    for _, own in sorted(by_subject.items()):
        take = min(turns, len(own))
        chosen.append([own[(2 * i + 1) * len(own) // (2 * take)] for i in range(take)])
    return [own[i] for i in range(turns) for own in chosen if i < len(own)][:n]


def generated(context: Context, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The generated images of these numbers, drawn again with the seed that they were measured with.

    What is not to be had is left out: a generator that is gone or another one, unknown names, very late numbers.
    """
    numbers = sorted({int(name) for name in names if name.isdecimal() and int(name) < FARTHEST})
    if not numbers or context.sampler is None or context.stale or context.metrics is None:
        return {}
    context.say("drawing the generated images that the report speaks of")
    drawn: dict[str, np.ndarray] = {}
    start = 0
    for chunk in context.sampler.stream(numbers[-1] + 1, context.metrics.seed or 0):
        own = [n for n in numbers if start <= n < start + len(chunk)]
        drawn |= {str(n): to_uint8(chunk[n - start:n - start + 1])[0] for n in own}
        start += len(chunk)
    return drawn


def real(context: Context, rows: Sequence[Row]) -> Tiles | None:
    """The pixels of these rows at the recipe's size; None, with a message, where they do not fit it."""
    if context.dataset is None or not rows:
        return None
    try:
        return to_uint8(context.dataset.images(rows, context.recipe.size))
    except UserError as error:
        context.say(f"the report goes without some real images: {error}")
        return None


# ------------------------------------------------------------------ real and generated images

def samples(context: Context) -> Iterator[Block]:
    """Both kinds of images, at one scale and with one range of grey values."""
    yield Heading("Real and generated images", "images")
    patients, whence = _real(context)
    images, origin = _generated(context)
    shapes = [own.shape for own in (patients, images) if own is not None]
    same = "The same scale and the same grey or colour range on both sides. " if len(shapes) == 2 else ""
    yield Words(f"{same}Look for anatomy that cannot be, for repeats, and for what real images show and generated ones "
                "never do.")
    how = None
    if shapes:
        channels = 3 if len(shapes[0]) == 4 else 1
        sheet = GRID_WIDTH * (3 - len(shapes))  # one alone: both halves
        how = layout(shapes[0][1], shapes[0][2], channels, max(shape[0] for shape in shapes), sheet)
    yield Columns([_grid(context, "Real", patients, whence, how), _grid(context, "Generated", images, origin, how)])


def _grid(context: Context, title: str, images: Tiles | None, origin: str, how: Layout | None) -> Block:
    """The images with whence they are; without any, why."""
    if images is None or how is None:
        return Words(origin, lead=f"{title}.", style="none")
    images = images[:how.tiles]
    shown = strip(images, how.columns, f"{len(images)} {title.lower()} images", how.zoom, how.shrink)
    size = f"{images.shape[2]} × {images.shape[1]} pixels each, {how.scale}."
    caption = f"n = {len(images)}. {origin} {size} {context.pixel}".rstrip()
    real_ones = title == "Real"
    return Pictures([shown], title=title, caption=caption, patients=real_ones or context.audit == "copies",
                    instead=REAL if real_ones else COPIED, remark="" if real_ones else REMARKS[context.audit])


def _real(context: Context) -> tuple[Tiles | None, str]:
    """Real images of the test split, else of train, and whence; or None and why."""
    if context.dataset is None:
        return None, f"{NO_DATASET}, so no real images are shown."
    for split in ("test", "train"):
        available = context.rows(split)
        if available:
            images = real(context, spread(available, MOST_TILES))
            if images is None:
                return None, "The dataset's images do not fit the size that the recipe learned."
            of = context.of_subjects(len({row.subject for row in available}))
            over = ", spread over the subjects" if context.known else ""
            return images, f"From the {grouped(len(available), f'{split} image')}{of}{over}, not picked by hand."
    return None, "The dataset has no test or train images of this domain and class."


def _generated(context: Context) -> tuple[Tiles | None, str]:
    """Images of the generator, else of the newest sample sheet, and whence; or None and why."""
    seed = context.recipe.seed
    if context.sampler is not None:
        context.say(f"generating {MOST_TILES} images")
        images = to_uint8(context.sampler.sample(MOST_TILES, seed))
        return images, f"The first ones that seed {seed} gives, not picked by hand."
    saved = sheets(context.run.samples)
    if saved:
        step, path = saved[-1]
        return read_sheet(path), f"The preview at step {step:,}; there is no finished generator yet."
    return None, "Nothing has been generated yet."


# ------------------------------------------------------------------ over training

def sheets(folder: Path) -> list[tuple[int, Path]]:
    """The saved pictures of a training as (step, file), oldest first."""
    return sorted((checkpoint_step(path), path) for path in folder.glob("step-*.png") if checkpoint_step(path) >= 0)


def read_sheet(path: Path) -> Tiles:
    """The 32 tiles of a sample sheet (8 columns x 4 rows, no gaps). Raises `UserError` if it is none."""
    sheet, (columns, rows) = read_picture(path), SAMPLES
    height, width = sheet.shape[:2]
    if min(height // rows, width // columns) < 1 or height % rows or width % columns:
        raise UserError(f"this sample sheet of {width}x{height} pixels is not 8 x 4 tiles", where=path, fix=MEND)
    return untiled(sheet, columns, rows)


def read_picture(path: Path, fix: str = MEND) -> np.ndarray:
    """The pixels of a saved picture, [h, w] or [h, w, 3]. Raises `UserError` if it cannot be read."""
    try:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("L" if opened.mode in ("1", "L") else "RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError("this picture cannot be read", where=path, fix=fix) from error


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


def chosen_sheets(folder: Path, n: int) -> list[tuple[int, Path]]:
    """At most n of the saved pictures, evenly apart on a logarithmic scale of steps."""
    saved = sheets(folder)
    return [saved[i] for i in log_spaced([step for step, _ in saved], n)]


def film(context: Context) -> Iterator[Block]:
    """The same latents at a few steps of the training."""
    yield Heading("The same latents over training")
    frames = chosen_sheets(context.run.samples, FRAMES)
    if not frames:
        yield Words("No previews were saved.", style="note")
        return
    context.say(f"laying out {len(frames)} sample sheets")
    across = len(frames) <= FEW_FRAMES
    latents, line = (LATENTS_ACROSS, "column") if across else (LATENTS, "row")
    hybrid = "" if context.recipe.source is None else \
        " Early ones are of a generator that still expected an image beside the noise."
    yield Words(f"Each {line} is one point of the generator's input, drawn again as training goes on. {line.title()}s "
                f"that grow alike are a sign of collapse.{hybrid}")
    pictures = []
    for step, path in frames:
        images = read_sheet(path)[:latents]
        shrink = max(1, max(images.shape[1:3]) // STRIP_TILE)
        while images.size // shrink**2 * len(frames) > STRIP_BYTES:
            shrink += 1
        alt = f"generated images of {latents} fixed latents at step {step}"
        pictures.append(strip(images, latents if across else 1, alt, shrink=shrink, label=f"{step:,}"))
    every = len(frames) == len(sheets(context.run.samples))
    spaced = "" if every else ", evenly apart on a logarithmic scale as far as previews were saved"
    yield Pictures(pictures, "across" if across else "film", caption=f"Numbers are steps{spaced}.",
                   patients=context.audit == "copies", instead=COPIED)
