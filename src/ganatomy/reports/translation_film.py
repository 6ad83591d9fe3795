"""A translation learning, and the hybrid letting go of its input: from the progress pictures, which show patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run, checkpoint_step
from ganatomy.data.pictures import LABEL_HEIGHT
from ganatomy.gans import hybrid
from ganatomy.reports import images
from ganatomy.reports.images import MEND, Picture, Tiles

FRAMES = 6
SLICES = 2  # of those in the progress pictures, from the middle, where there is most to see
GAP = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One column of a film: what stands above it, and below, and its tiles one below the other."""

    title: str
    note: str
    picture: Picture


def progress_sheets(run: Run) -> list[tuple[int, Path]]:
    """The progress pictures of a run as (step, file), oldest first."""
    found = [path for path in run.private_progress.glob("step-*.png") if checkpoint_step(path) >= 0]
    return sorted((checkpoint_step(path), path) for path in found)


def film(run: Run, recipe: Recipe) -> list[Frame]:
    """Input, then output and error at a few steps evenly apart on a logarithmic scale, then the truth."""
    sheets = progress_sheets(run)
    frames, rows = [], dict[str, Tiles]()
    for step, path in [sheets[i] for i in images.log_spaced([step for step, _ in sheets], FRAMES)]:
        rows = read_progress(path, recipe)
        shown = [rows[label] for label in ("output", "error") if label in rows]
        frames.append(Frame(f"step {step:,}", "", _stacked(shown, f"output and error at step {step}")))
    return _between_input_and_truth(frames, rows, recipe, with_errors="error" in rows)


def letting_go(run: Run, recipe: Recipe, steps: int) -> list[Frame]:
    """The hybrid's output for the same input and noise, at the last progress picture of every w.

    Args:
        steps: that the training has, or had planned.
    """
    model = gans.resolve(recipe, 1)
    assert isinstance(model, hybrid.Model)
    # a picture is of the step that was trained last; see training_preview.py
    last = {model.noise_share(max(0, step - 1) / steps): (step, path) for step, path in progress_sheets(run)}
    frames, rows = [], dict[str, Tiles]()
    for w, (step, path) in sorted(last.items()):
        rows = read_progress(path, recipe)
        frames.append(Frame(f"w = {w:g}", f"step {step:,}",
                            _stacked([rows["output"]], f"output at w = {w:g}, step {step}")))
    return _between_input_and_truth(frames, rows, recipe, with_errors=False)


def read_progress(path: Path, recipe: Recipe) -> dict[str, Tiles]:
    """The rows of a progress picture: label to tiles [n, size, size] or [n, size, size, 3].

    Raises:
        UserError: not a readable picture, or not of this recipe's layout.
    """
    try:
        with Image.open(path) as opened:
            pixels = np.asarray(opened.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError("this progress picture cannot be read", where=path, fix=MEND) from error
    zoom = max(1, 128 // recipe.size)
    side = recipe.size * zoom
    n, rest = divmod(pixels.shape[1] + GAP, side + GAP)
    count, over = divmod(pixels.shape[0] - LABEL_HEIGHT, side + LABEL_HEIGHT)
    labels = _labels(count, gans.kind(recipe).two_way)
    if rest or over or not n or labels is None:
        raise UserError("this progress picture is not laid out as a training's", where=path, fix=MEND)
    found = {}
    for r, label in enumerate(labels):
        top = LABEL_HEIGHT + r * (side + LABEL_HEIGHT) + LABEL_HEIGHT
        band = [pixels[top:top + side:zoom, i * (side + GAP):i * (side + GAP) + side:zoom] for i in range(n)]
        found[label] = np.stack(band)
    return found


def _labels(count: int, two_way: bool) -> list[str] | None:
    known = {(2, False): ["input", "output"], (4, False): ["input", "output", "truth", "error"],
             (4, True): ["input", "output", "and back", "error of it"],
             (6, True): ["input", "output", "truth", "error", "and back", "error of it"]}
    return known.get((count, two_way))


def _between_input_and_truth(frames: list[Frame], rows: dict[str, Tiles], recipe: Recipe, *,
                             with_errors: bool) -> list[Frame]:
    """The frames with the input before and the truth after them, their tiles where those of the outputs are."""
    def still(label: str, domain: str | None) -> list[Frame]:
        if label not in rows:
            return []
        shown = [rows[label], *([np.zeros_like(rows[label])] if with_errors else [])]
        return [Frame(label, f"real {domain}", _stacked(shown, f"{label}, real {domain}"))]

    return [*still("input", recipe.source), *frames, *still("truth", recipe.domain)]


def _stacked(rows: Sequence[Tiles], alt: str) -> Picture:
    """For each of a few slices its tiles, one below the other."""
    n = len(rows[0])
    middle = sorted({(2 * i + 1) * n // (2 * SLICES) for i in range(SLICES)})
    tiles = np.stack([row[i] for i in middle for row in rows])
    grey = bool((tiles == tiles[..., :1]).all())
    sheet = images.tile(tiles[..., 0] if grey else tiles, 1)
    return Picture(images.png_uri(sheet), sheet.shape[1], sheet.shape[0], alt)
