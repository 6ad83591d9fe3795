"""The map of a run's images: points on a plane, and the thumbnails that show when one is pointed at."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field, ValidationError, model_validator

from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.data.pictures import to_uint8
from ganatomy.evaluation.map import thumbnails
from ganatomy.reports import images
from ganatomy.reports.copies import audited, suspects
from ganatomy.reports.images import Picture, Tiles
from ganatomy.reports.results import Metrics, Read

Say = Callable[[str], None]
WIDTH, HEIGHT, EDGE = 640, 560, 14  # of the plane, SVG units
COLUMNS = 20  # of the sheet of real thumbnails
SHEET_BYTES = 900_000  # of a sheet of thumbnails in the page, before base64
AGAIN = "run `ganatomy evaluate RUN` again"
NAMES = {"train": "Training", "test": "Test", "synthetic": "Generated"}
# told apart by shape as well as by colour: a ring, a square, a cross
MARKS = {"train": "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0", "test": "M-2.8-2.8h5.6v5.6h-5.6z",
         "synthetic": "M-3-3L3 3M-3 3L3-3"}


class MapFile(Read):
    """RUN/map.json."""

    kind: list[Literal["train", "test", "synthetic"]]
    id: list[str]
    tsne: list[tuple[float, float]]
    pca: list[tuple[float, float]]
    seed: int
    extractor: str = ""
    perplexity: float | None = None
    explained: tuple[float, float] | None = None
    synthetic: str | None = None
    thumbnail: tuple[int, int] | None = None
    columns: int = Field(20, ge=1)

    @model_validator(mode="after")
    def _fits(self) -> MapFile:
        if not len(self.kind) == len(self.id) == len(self.tsne) == len(self.pca):
            raise ValueError("the points have no equal numbers of kinds, names and places")
        return self


@dataclass(frozen=True, slots=True)
class Point:
    """A mark: where it lies on either plane, what it is, and its thumbnail's number (-1 for none)."""

    kind: str
    x: float
    y: float
    other: str
    name: str
    tile: int


@dataclass(frozen=True, slots=True)
class Sheet:
    """Thumbnails side by side."""

    picture: Picture
    width: int
    height: int
    columns: int


@dataclass(frozen=True, slots=True)
class Map:
    """What the template draws."""

    points: list[Point]
    counts: list[tuple[str, str, str, int]]  # kind, name, mark, points
    real: Sheet | None
    generated: Sheet | None
    about: MapFile


def image_map(run: Run, recipe: Recipe, dataset: Dataset | None, metrics: Metrics | None, shareable: bool,
              say: Say) -> Map | None:
    """The map of the run's newest evaluation; None where there is none. Shareable ones show no real image.

    Raises:
        UserError: a broken map.json.
    """
    if metrics is None or not run.map_file.is_file():
        return None
    try:
        about = MapFile.model_validate(read_json(run.map_file))
    except ValidationError as error:
        raise UserError("does not hold what it should", where=run.map_file, fix=AGAIN) from error
    if about.synthetic != metrics.synthetic or not about.kind:
        say("the report goes without the map: it is of another evaluation" if about.kind else
            "the report goes without a map: there are too few images")
        return None
    generated = _generated(run, about, _not_to_share(metrics, about) if shareable else ())
    real, tiles = (None, {}) if shareable else _real(dataset, recipe, about, say)
    return Map(_points(about, tiles, generated is not None, shareable), _counts(about), real, generated, about)


def script() -> tuple[str, str]:
    """The map's script, and the hash by which the page's security policy allows it and no other."""
    text = (resources.files("ganatomy.reports") / "map.js").read_text(encoding="utf-8")
    return text, base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _counts(about: MapFile) -> list[tuple[str, str, str, int]]:
    found = [(kind, name, MARKS[kind], about.kind.count(kind)) for kind, name in NAMES.items()]  # type: ignore[arg-type]
    return [entry for entry in found if entry[3]]


def _points(about: MapFile, real: dict[int, int], generated: bool, shareable: bool) -> list[Point]:
    """The points in a shuffled order, so that no kind lies on top of the others."""
    here, there = _placed(about.tsne), _placed(about.pca)
    numbers = {i: n for n, i in enumerate(i for i, kind in enumerate(about.kind) if kind == "synthetic")}
    made = []
    for i in np.random.default_rng(603).permutation(len(about.kind)).tolist():
        kind = about.kind[i]
        tile = (numbers[i] if generated else -1) if kind == "synthetic" else real.get(i, -1)
        name = about.id[i] if kind == "synthetic" or not shareable else ""
        x, y = here[i]
        made.append(Point(kind, x, y, f"{there[i][0]:g} {there[i][1]:g}", name, tile))
    return made


def _placed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Places on the plane, in SVG units: as large as fits, with the proportions kept."""
    array = np.array(points, dtype=float)
    low, high = array.min(0), array.max(0)
    room = np.array([WIDTH - 2 * EDGE, HEIGHT - 2 * EDGE])
    scale = float((room / np.maximum(high - low, 1e-9)).min())
    placed = (array - (low + high) / 2) * scale * [1, -1] + [WIDTH / 2, HEIGHT / 2]
    return [(round(x, 1), round(y, 1)) for x, y in placed.tolist()]


def _not_to_share(metrics: Metrics, about: MapFile) -> Sequence[str]:
    """Generated images that may show a patient: all of a model that copies, else those that the audit has flagged."""
    if audited(metrics) == "copies":
        return [name for kind, name in zip(about.kind, about.id, strict=True) if kind == "synthetic"]
    return sorted(suspects(metrics))


def _generated(run: Run, about: MapFile, left_out: Sequence[str]) -> Sheet | None:
    """The thumbnails that `evaluate` has kept, those left out blackened; None where they do not fit the map."""
    names = [name for kind, name in zip(about.kind, about.id, strict=True) if kind == "synthetic"]
    path = run.map_file.with_suffix(".png")
    if about.thumbnail is None or not path.is_file() or set(names) <= set(left_out):
        return None
    (h, w), rows = about.thumbnail, -(-len(names) // about.columns)
    try:
        with Image.open(path) as opened:
            sheet = np.asarray(opened.convert("L" if opened.mode in ("1", "L") else "RGB")).copy()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError("these thumbnails cannot be read", where=path, fix=AGAIN) from error
    if sheet.shape[:2] != (rows * h, about.columns * w):
        return None
    for i in (i for i, name in enumerate(names) if name in left_out):
        y, x = i // about.columns * h, i % about.columns * w
        sheet[y:y + h, x:x + w] = 0
    return _sheet(sheet.reshape(rows, h, about.columns, w, *sheet.shape[2:]).swapaxes(1, 2)
                  .reshape(-1, h, w, *sheet.shape[2:]), about.columns, "generated images")


def _real(dataset: Dataset | None, recipe: Recipe, about: MapFile, say: Say) -> tuple[Sheet | None, dict[int, int]]:
    """Thumbnails of the real points, and the number in the sheet of each point that has one."""
    wanted = {name: i for i, name in enumerate(about.id) if about.kind[i] != "synthetic"}
    rows = [row for row in dataset.rows(recipe.domain) if row.image_id in wanted] if dataset is not None else []
    if not rows or dataset is None:
        return None, {}
    try:
        pictures = thumbnails(dataset.images(rows, recipe.size))
    except UserError as error:
        say(f"the map goes without real images: {error}")
        return None, {}
    numbers = {wanted[row.image_id]: n for n, row in enumerate(rows)}
    return _sheet(to_uint8(pictures), COLUMNS, "real images"), numbers


def _sheet(tiles: Tiles, columns: int, alt: str) -> Sheet:
    """Tiles without gaps, reduced until the page stays small: noise hardly compresses."""
    while True:
        n, h, w = tiles.shape[:3]
        rows = -(-n // columns)
        canvas = np.zeros((rows * columns, *tiles.shape[1:]), np.uint8)
        canvas[:n] = tiles
        flat = canvas.reshape(rows, columns, *tiles.shape[1:]).swapaxes(1, 2).reshape(
            rows * h, columns * w, *tiles.shape[3:])
        uri = images.png_uri(flat)
        if len(uri) * 3 / 4 <= SHEET_BYTES or min(h, w) < 16:
            return Sheet(Picture(uri, flat.shape[1], flat.shape[0], alt), w, h, columns)
        tiles = images.reduce(tiles, 2)
