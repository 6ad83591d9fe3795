"""The map of a run's images: points on a plane, and the thumbnails that show when one is pointed at."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json
from ganatomy.core.text import percent
from ganatomy.data.pictures import Tiles, tiles, to_uint8, untiled
from ganatomy.evaluation.map import thumbnails
from ganatomy.metrics.schema import Part
from ganatomy.reports.audit_sections import suspects
from ganatomy.reports.blocks import Block, Heading, Map, Point, Stack, Thumbnails, Words
from ganatomy.reports.context import Context
from ganatomy.reports.image_sections import picture, read_picture, reduce

Kind = Literal["train", "test", "synthetic"]
WIDTH, HEIGHT, EDGE = 640, 560, 14  # of the plane, SVG units
COLUMNS = 20  # of the sheet of real thumbnails
SHEET_BYTES = 900_000  # of a sheet of thumbnails in the page, before base64
AGAIN = "run `ganatomy evaluate RUN` again"
NAMES: dict[Kind, str] = {"train": "Training", "test": "Test", "synthetic": "Generated"}
# told apart by shape as well as by colour: a ring, a square, a cross
MARKS = {"train": "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0", "test": "M-2.8-2.8h5.6v5.6h-5.6z",
         "synthetic": "M-3-3L3 3M-3 3L3-3"}
WITHOUT = Words("Real images are marks without pictures in this version, which is made for sharing.", style="note")


class MapFile(Part):
    """RUN/map.json."""

    kind: list[Kind]
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

    @property
    def generated(self) -> list[str]:
        """The names of the generated images."""
        return [name for kind, name in zip(self.kind, self.id, strict=True) if kind == "synthetic"]


def image_map(context: Context) -> Iterator[Block]:
    """The map of the run's newest evaluation; nothing where there is none.

    Raises:
        UserError: a broken map.json.
    """
    if context.metrics is None or not context.run.map_file.is_file():
        return
    try:
        about = MapFile.model_validate(read_json(context.run.map_file))
    except ValidationError as error:
        raise UserError("does not hold what it should", where=context.run.map_file, fix=AGAIN) from error
    if about.synthetic != context.metrics.synthetic or not about.kind:
        context.say("the report goes without the map: it is of another evaluation" if about.kind else
                    "the report goes without a map: there are too few images")
        return
    yield Heading("Map of the images", "map")
    yield Words("Each mark is an image; images with like features lie near each other. Good generated images mix with "
                "the real ones and leave none of their places empty. Point at a mark, tap it, or use the arrow keys to "
                "see the image.")
    doubtful = set(about.generated) if context.audit == "copies" else suspects(context)
    sheet, tile_of = _real(context, about)
    whole = _generated(context, about, ())
    shared = _map(about, {}, {"generated": _generated(context, about, doubtful)})
    yield _map(about, tile_of, {"generated": whole, "real": sheet}, patients=sheet is not None or bool(doubtful),
               instead=Stack([shared, WITHOUT]))


def _map(about: MapFile, tile_of: dict[int, int], sheets: dict[str, Thumbnails | None], *, patients: bool = False,
         instead: Block | str = "") -> Map:
    """The block; real images without a thumbnail have no name either."""
    legend = [(kind, name, MARKS[kind], [*about.kind].count(kind)) for kind, name in NAMES.items()]
    perplexity = f", perplexity {about.perplexity:g}" if about.perplexity else ""
    across, up = map(percent, about.explained or (0.0, 0.0))
    explained = f"; the two shown hold {across} (across) and {up} (up) of their variance" if about.explained else ""
    tsne = (f"t-SNE of {about.extractor} features{perplexity}, seed {about.seed}, at most 300 images of each kind. It "
            "shows which images are close neighbours. Distances between groups, their sizes and their spread mean "
            "nothing, and groups may appear where there are none: two sets that look mixed here can still differ. "
            "Judge by the figures.")
    pca = (f"Principal components of {about.extractor} features of all images together{explained}. Distances are true "
           "to scale as far as two of many dimensions can show them; images that lie together here may differ in the "
           "others.")
    return Map(_points(about, tile_of, sheets["generated"] is not None), [entry for entry in legend if entry[3]],
               {name: sheet for name, sheet in sheets.items() if sheet is not None}, (tsne, pca), patients=patients,
               instead=instead)


def _points(about: MapFile, tile_of: dict[int, int], generated: bool) -> list[Point]:
    """The points in a shuffled order, so that no kind lies on top of the others."""
    here, there = _placed(about.tsne), _placed(about.pca)
    numbers = {i: n for n, i in enumerate(i for i, kind in enumerate(about.kind) if kind == "synthetic")}
    points = []
    for i in np.random.default_rng(603).permutation(len(about.kind)).tolist():
        fake = about.kind[i] == "synthetic"
        tile = (numbers[i] if generated else -1) if fake else tile_of.get(i, -1)
        x, y = here[i]
        points.append(Point(about.kind[i], x, y, f"{there[i][0]:g} {there[i][1]:g}",
                            about.id[i] if fake or tile >= 0 else "", tile))
    return points


def _placed(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Places on the plane, in SVG units: as large as fits, with the proportions kept."""
    array = np.array(points, dtype=float)
    low, high = array.min(0), array.max(0)
    room = np.array([WIDTH - 2 * EDGE, HEIGHT - 2 * EDGE])
    scale = float((room / np.maximum(high - low, 1e-9)).min())
    placed = (array - (low + high) / 2) * scale * [1, -1] + [WIDTH / 2, HEIGHT / 2]
    return [(round(x, 1), round(y, 1)) for x, y in placed.tolist()]


def _generated(context: Context, about: MapFile, left_out: Collection[str]) -> Thumbnails | None:
    """The thumbnails that `evaluate` has kept, those left out blackened; None where they do not fit the map."""
    names, path = about.generated, context.run.map_file.with_suffix(".png")
    if about.thumbnail is None or not path.is_file() or set(names) <= set(left_out):
        return None
    (h, w), rows = about.thumbnail, -(-len(names) // about.columns)
    sheet = read_picture(path, AGAIN)
    if sheet.shape[:2] != (rows * h, about.columns * w):
        return None
    images = untiled(sheet, about.columns, rows).copy()
    images[[i for i, name in enumerate(names) if name in left_out]] = 0
    return _sheet(images, about.columns, "generated images")


def _real(context: Context, about: MapFile) -> tuple[Thumbnails | None, dict[int, int]]:
    """Thumbnails of the real points, and the number in the sheet of each point that has one."""
    wanted = {name: i for i, name in enumerate(about.id) if about.kind[i] != "synthetic"}
    dataset = context.dataset
    rows = [row for row in dataset.rows(context.recipe.domain) if row.image_id in wanted] if dataset is not None else []
    if not rows or dataset is None:
        return None, {}
    try:
        images = thumbnails(dataset.images(rows, context.recipe.size))
    except UserError as error:
        context.say(f"the map goes without real images: {error}")
        return None, {}
    return _sheet(to_uint8(images), COLUMNS, "real images"), {wanted[row.image_id]: n for n, row in enumerate(rows)}


def _sheet(images: Tiles, columns: int, alt: str) -> Thumbnails:
    """Tiles without gaps, reduced until the page stays small: noise hardly compresses."""
    while True:
        h, w = images.shape[1:3]
        shown = picture(tiles(images, columns), alt)
        if len(shown.uri) * 3 / 4 <= SHEET_BYTES or min(h, w) < 16:
            return Thumbnails(shown, w, h, columns)
        images = reduce(images, 2)
