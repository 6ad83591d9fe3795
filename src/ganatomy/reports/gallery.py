"""Single images that a report speaks of: generated ones by their number, real ones by their name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.data.pictures import to_uint8
from ganatomy.reports import facts, images
from ganatomy.reports.images import Picture

Say = Callable[[str], None]
Tile = NDArray[np.uint8]  # [h, w] or [h, w, 3]
FARTHEST = 4000  # generated images are drawn one after the other; this many take seconds
SHOWN = 200  # CSS pixels a single image takes, about


@dataclass
class Gallery:
    """The images at hand, at the recipe's size; `known` says whether real ones may be shown."""

    generated: dict[str, Tile] = field(default_factory=dict)
    real: dict[str, Tile] = field(default_factory=dict)


def gather(run: Run, recipe: Recipe, dataset: Dataset | None, generated: Iterable[str], real: Iterable[str], seed: int,
           say: Say) -> Gallery:
    """Draw these generated images again, with the seed that they were measured with, and read these real ones.

    What is not to be had is left out: the generator or the dataset gone, unknown names, very late numbers.
    """
    numbers = sorted({int(name) for name in generated if name.isdecimal() and int(name) < FARTHEST})
    names, made = set(real), Gallery()
    if numbers and (run.generator / facts.WEIGHTS).is_file():
        say("drawing the generated images that the report speaks of")
        made.generated = _drawn(run, numbers, seed)
    rows = [row for row in dataset.rows(recipe.domain) if row.image_id in names] if dataset is not None else []
    if rows and dataset is not None:
        try:
            tiles = to_uint8(dataset.images(rows, recipe.size))
        except UserError as error:
            say(f"the report goes without some real images: {error}")
            return made
        made.real = dict(zip((row.image_id for row in rows), tiles, strict=True))
    return made


def _drawn(run: Run, numbers: list[int], seed: int) -> dict[str, Tile]:
    from ganatomy.generators.folder import load_generator

    found: dict[str, Tile] = {}
    start = 0
    for chunk in load_generator(run.path).stream(numbers[-1] + 1, seed):
        wanted = [n for n in numbers if start <= n < start + len(chunk)]
        if wanted:
            tiles = to_uint8(chunk[[n - start for n in wanted]])
            found |= dict(zip(map(str, wanted), tiles, strict=True))
        start += len(chunk)
    return found


def picture(tile: Tile, alt: str, shown: int = SHOWN) -> Picture:
    """One image, enlarged by a whole number or reduced by averaging, to about `shown` CSS pixels."""
    side = max(tile.shape[:2])
    shrink, zoom = max(1, side // (2 * shown)), max(1, round(shown / side))
    small = images.reduce(tile[None], shrink)[0]
    h, w = small.shape[:2]
    wide = zoom if shrink == 1 else 1
    return Picture(images.png_uri(small), w * wide, h * wide, alt)
