"""The two grids of a report: real images and generated ones, at one scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run, checkpoint_step
from ganatomy.core.text import grouped
from ganatomy.data.dataset import Dataset
from ganatomy.data.pictures import to_uint8
from ganatomy.reports import facts, images
from ganatomy.reports.images import Layout, Picture, Tiles

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two grids: its picture, or why there is none."""

    title: str
    picture: Picture | None
    caption: str


def sides(run: Run, recipe: Recipe, dataset: Dataset | None, shareable: bool, known: bool,
          say: Say) -> tuple[Side, Side]:
    """The grids of real and generated images, at one scale; `known` says whether it is known whose each is."""
    real, told = _real(recipe, dataset, shareable, known, say)
    made, said = _generated(run, recipe, say)
    shapes = [tiles.shape for tiles in (real, made) if tiles is not None]
    if not shapes:
        return Side("Real", None, told), Side("Generated", None, said)
    channels = 3 if len(shapes[0]) == 4 else 1
    most, sheet = max(shape[0] for shape in shapes), images.GRID_WIDTH * (3 - len(shapes))  # one alone: both halves
    how = images.layout(shapes[0][1], shapes[0][2], channels, most, sheet)
    pixel = facts.pixel_size(run, recipe, dataset)
    return _side("Real", real, how, told, pixel), _side("Generated", made, how, said, pixel)


def _side(title: str, tiles: Tiles | None, how: Layout, caption: str, pixel: str) -> Side:
    if tiles is None:
        return Side(title, None, caption)
    n = min(len(tiles), how.tiles)
    scale = f"shown {how.zoom} times enlarged" if how.zoom > 1 else "shown pixel by pixel"
    scale = f"shown reduced {how.shrink} times" if how.shrink > 1 else scale
    picture = images.grid(tiles, how, f"{n} {title.lower()} images")
    size = f"{tiles.shape[2]} × {tiles.shape[1]} pixels each, {scale}."
    return Side(title, picture, f"n = {n}. {caption} {size} {pixel}".rstrip())


def _real(recipe: Recipe, dataset: Dataset | None, shareable: bool, known: bool,
          say: Say) -> tuple[Tiles | None, str]:
    """Real images of the test split, else of train, and a caption; or None and why."""
    if shareable:
        return None, "Left out: this is the version made for sharing, without any real image."
    if dataset is None:
        return None, "The dataset was not at hand when this report was made, so no real images are shown."
    for split in ("test", "train"):
        there = dataset.rows(recipe.domain, split, recipe.label)
        rows = images.spread(there, images.MOST_TILES)
        if rows:
            try:
                tiles = to_uint8(dataset.images(rows, recipe.size))
            except UserError as error:
                say(f"the report goes without real images: {error}")
                return None, "The dataset's images do not fit the size that the recipe learned."
            if not known:
                found = grouped(len(there), f"{split} image")
                return tiles, f"From the {found} (patients unknown), not picked by hand."
            subjects = grouped(len({row.subject for row in there}), f"{split} subject")
            return tiles, (f"From the {grouped(len(there), 'image')} of {subjects}, spread over the subjects, "
                           "not picked by hand.")
    return None, "The dataset has no test or train images of this domain and class."


def _generated(run: Run, recipe: Recipe, say: Say) -> tuple[Tiles | None, str]:
    """Images of the generator, else of the newest sample sheet, and a caption; or None and why."""
    if (run.generator / facts.WEIGHTS).is_file():
        from ganatomy.generators.folder import load_generator

        say(f"generating {images.MOST_TILES} images")
        made = load_generator(run.path).sample(images.MOST_TILES, recipe.seed)
        return to_uint8(made), f"The first ones that seed {recipe.seed} gives, not picked by hand."
    saved = sheets(run)
    if saved:
        step, path = saved[-1]
        return images.read_sheet(path), f"The preview at step {step:,}; there is no finished generator yet."
    return None, "Nothing has been generated yet."


def sheets(run: Run) -> list[tuple[int, Path]]:
    """The previews of a run as (step, sample sheet), oldest first."""
    found = [path for path in run.samples.glob("step-*.png") if path.stem.removeprefix("step-").isdecimal()]
    return sorted((checkpoint_step(path), path) for path in found)
