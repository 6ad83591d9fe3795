"""Pictures of a translation: test slices with their truth and error, and the worst cases. They show patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.text import grouped
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.data.pictures import ERROR_SHOWN, error_colours, to_uint8
from ganatomy.generators.sampler import Sampler
from ganatomy.metrics.base import Images
from ganatomy.metrics.translation.anatomy import JUDGED, OF_ITSELF
from ganatomy.metrics.translation.paired import INSIDE, foreground, pair_figures
from ganatomy.metrics.translation.registration import DEFORMATION, INVENTED, KEPT, LOST, SHIFT
from ganatomy.reports import images
from ganatomy.reports.images import Picture, Tiles, png_uri
from ganatomy.reports.numbers import number
from ganatomy.reports.translation_results import AnatomyFigure, Direction, Worst
from ganatomy.training.draws import partners

Say = Callable[[str], None]
Place = tuple[int, int]
Reasons = dict[str, list[tuple[str, Place | None]]]
SHEET_WIDTH = 1040  # CSS pixels
COLUMNS, CASES = 8, 6
TILE = 256  # CSS pixels, at most
MARK, MARK_COLOUR = 7, (60, 220, 255)
MARGIN = 4
WHY = {SHIFT: "shifted by {} against the input", DEFORMATION: "parts of it are moved by up to {}",
       LOST: "{} of its parts are not to be found", KEPT: "only {} of the input's strong edges are kept",
       INVENTED: "{} of its strong edges are not in the input"}


@dataclass(frozen=True, slots=True)
class Sheet:
    """Labelled rows of tiles, with a few lines below every column."""

    rows: list[tuple[str, Picture]]
    columns: list[list[str]]
    caption: str


@dataclass(frozen=True, slots=True)
class Case:
    """One image that is among the worst, why, and its labelled tiles."""

    title: str
    reasons: list[str]
    tiles: list[tuple[str, Picture]]


@dataclass(frozen=True)
class Slices:
    """Some test slices: what went in, what came out, and the truth where there is one."""

    rows: list[Row]
    inputs: Images
    made: Images
    truth: Images | None
    source: str
    target: str

    def labelled(self) -> list[tuple[str, Tiles]]:
        """The rows of a sheet with their labels."""
        found = [(f"Input, real {self.source}", to_uint8(self.inputs)),
                 (f"Output, synthetic {self.target}", to_uint8(self.made))]
        if self.truth is not None:
            found += [(f"Truth, real {self.target}", to_uint8(self.truth)),
                      ("Error, |output − truth|", error_colours(self.made, self.truth))]
        return found

    def errors(self) -> list[str]:
        """MAE inside the patient of each slice, in words; "" without a truth."""
        if self.truth is None:
            return [""] * len(self.rows)
        mask = foreground(self.inputs, self.truth)
        values = pair_figures(self.truth, self.made, mask).values[f"MAE {INSIDE}"]
        return ["" if np.isnan(value) else f"MAE {number(float(value))}%" for value in values]


def translate(sampler: Sampler, dataset: Dataset, rows: Sequence[Row], target: str, seed: int,
              backward: bool) -> Slices:
    """What the generator makes of real slices, with the seed of the figures."""
    inputs = dataset.images(rows, sampler.size)
    truth = dataset.images(partners(dataset, rows, target), sampler.size) if dataset.info.paired else None
    return Slices(list(rows), inputs, sampler.translate(inputs, seed, backward), truth, rows[0].domain, target)


def sheet(sampler: Sampler, dataset: Dataset, rows: Sequence[Row], target: str, seed: int, backward: bool,
          known: bool) -> Sheet:
    """Test slices taken evenly over the subjects and over each one's slices.

    Args:
        rows: all test slices of the source's contrast; at least one.
        known: whether it is known whose each is.
    """
    scale = max(1, 128 // sampler.size), -(-sampler.size // TILE)
    columns = max(2, min(COLUMNS, SHEET_WIDTH // (sampler.size * scale[0] // scale[1])))
    everyone = sorted({row.subject for row in rows})
    some = {everyone[i] for i in np.linspace(0, len(everyone) - 1, min(columns, len(everyone))).round().astype(int)}
    chosen = sorted(images.spread([row for row in rows if row.subject in some], columns),
                    key=lambda row: (row.subject, row.slice))
    slices = translate(sampler, dataset, chosen, target, seed, backward)
    names = {subject: i for i, subject in enumerate(dict.fromkeys(row.subject for row in chosen), 1)}
    titles = [list(filter(None, (f"subject {names[row.subject]}" if known and len(names) > 1 else "",
                                 f"slice {row.slice}", error)))
              for row, error in zip(chosen, slices.errors(), strict=True)]
    strips = [(label, _strip(tiles, *scale, label)) for label, tiles in slices.labelled()]
    people = f" of {grouped(len({row.subject for row in rows}), 'test subject')}" if known else " (patients unknown)"
    shown = f"{scale[0]} times enlarged" if scale[0] > 1 else \
        f"reduced {scale[1]} times" if scale[1] > 1 else "pixel by pixel"
    return Sheet(strips, titles, f"{len(chosen)} of the {len(rows):,} test slices{people}, taken evenly and not picked "
                                 f"by hand; {sampler.size} × {sampler.size} pixels each, shown {shown}."
                                 + _sides(chosen))


def worst_reasons(direction: Direction) -> Reasons:
    """Image ids of the worst cases with the reasons and the place of each, the most telling first.

    In turn from every list, so that no figure takes all places; what is within the usual comes after all else.
    """
    lists = _of_lesions(direction)
    usual: list[list[tuple[str, str, Place | None]]] = []
    for figure in direction.anatomy.figures if direction.anatomy else ():
        if figure.name in JUDGED:
            own = [one for one in figure.worst if one.value != OF_ITSELF[figure.name]]
            beyond = [one for one in own if _beyond(figure, one)]
            lists.append([(one.image_id, _why(figure, one), None) for one in beyond])
            usual.append([(one.image_id, _why(figure, one), None) for one in own if one not in beyond])
    found: Reasons = {}
    for part in (lists, usual):
        for turn in range(max(map(len, part), default=0)):
            for image_id, reason, place in (own[turn] for own in part if turn < len(own)):
                if image_id and (image_id in found or len(found) < CASES):
                    found.setdefault(image_id, []).append((reason, place))
    return found


def _of_lesions(direction: Direction) -> list[list[tuple[str, str, Place | None]]]:
    if direction.lesions is None:
        return []
    invented = direction.lesions.invented.worst if direction.lesions.invented else ()
    return [[(one.image_id, _lesion(one), one.place) for one in direction.lesions.worst],
            [(one.image_id, "a spot like a lesion that the truth does not have (marked)", one.place)
             for one in invented]]


def cases(sampler: Sampler, dataset: Dataset, direction: Direction, seed: int, backward: bool) -> list[Case]:
    """The worst cases, translated anew; empty where the figures name none of the dataset's images."""
    reasons = worst_reasons(direction)
    rows = [row for row in dataset.rows(direction.source, "test") if row.image_id in reasons]
    rows.sort(key=lambda row: list(reasons).index(row.image_id))
    if not rows:
        return []
    slices = translate(sampler, dataset, rows, direction.target, seed, backward)
    labelled, errors = slices.labelled(), slices.errors()
    patient = foreground(slices.inputs, slices.inputs if slices.truth is None else slices.truth)
    found = []
    for i, row in enumerate(rows):
        top, left, side = _window(patient[i])
        places = [(place[0] - top, place[1] - left) for _, place in reasons[row.image_id] if place is not None]
        tiles = [(label, _tile(own[i][top:top + side, left:left + side], [] if label.startswith("Error") else places,
                               label)) for label, own in labelled]
        title = f"{row.image_id}{f' ({errors[i]})' if errors[i] else ''}"
        found.append(Case(title, list(dict.fromkeys(text for text, _ in reasons[row.image_id])), tiles))
    return found


def error_scale() -> Picture:
    """The colours of the error, from none to a quarter of the range or more."""
    ramp = np.linspace(0, ERROR_SHOWN, 240, dtype=np.float32)[None, None, None].repeat(12, 2)
    pixels = error_colours(ramp, np.zeros_like(ramp))[0]
    return Picture(png_uri(pixels), 240, 12, "colours from no error, black, to a quarter of the range or more, white")


def _sides(rows: Sequence[Row]) -> str:
    """Which side of the patient is where, if the files tell it, and alike for all."""
    across = {row.orientation.split(" ")[0] for row in rows}
    said = {"-1": "left", "1": "right"}.get(across.pop()) if len(across) == 1 else None
    return f" The patient's {said} is on the right of each picture." if said else ""


def _strip(tiles: Tiles, zoom: int, shrink: int, alt: str) -> Picture:
    pixels = images.tile(images.reduce(tiles, shrink), len(tiles))
    return Picture(png_uri(pixels), pixels.shape[1] * zoom, pixels.shape[0] * zoom, f"{alt}: {len(tiles)} slices")


def _window(mask: NDArray[np.bool_]) -> tuple[int, int, int]:
    """Top, left and side of the square around the patient with a margin; of the whole picture if there is none."""
    height, width = mask.shape
    if not mask.any():
        return 0, 0, max(height, width)
    places = np.argwhere(mask)
    low, high = places.min(0), places.max(0) + 1
    side = min(height, int((high - low).max()) + 2 * MARGIN)
    top, left = (int(np.clip((a + b - side) // 2, 0, height - side)) for a, b in zip(low, high, strict=True))
    return top, left, side


def _tile(pixels: NDArray[np.uint8], places: Sequence[Place], alt: str) -> Picture:
    side = max(pixels.shape[:2])
    zoom, shrink = max(1, TILE // side), -(-side // TILE)
    if places:
        pixels, zoom = _marked(pixels, places, zoom), 1
    shown = images.reduce(pixels[None], shrink)[0]
    return Picture(png_uri(shown), shown.shape[1] * zoom, shown.shape[0] * zoom, alt)


def _marked(pixels: NDArray[np.uint8], places: Sequence[Place], zoom: int) -> NDArray[np.uint8]:
    """The tile enlarged, with the corners of a square around each place; the lesion itself stays free."""
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, -1)
    large = np.array(rgb.repeat(zoom, 0).repeat(zoom, 1))
    reach, arm = MARK * zoom, max(3, MARK * zoom // 3)
    for y, x in places:
        cy, cx = round((y + 0.5) * zoom), round((x + 0.5) * zoom)
        dy, dx = (np.abs(np.arange(side) - centre) for side, centre in zip(large.shape, (cy, cx), strict=False))
        edge = np.abs(np.maximum(dy[:, None], dx[None]) - reach) < 2
        corner = np.minimum(dy[:, None], dx[None]) > reach - arm
        large[edge & corner] = MARK_COLOUR
    return large


def _why(figure: AnatomyFigure, one: Worst) -> str:
    if one.value is None:
        return "nothing in the output could be matched with the input"
    amount = f"{number(one.value)} {figure.unit}" if figure.unit else f"{100 * one.value:.0f}%"
    usual = "" if figure.limit is None else f" ({'beyond' if _beyond(figure, one) else 'within'} the usual)"
    return WHY[figure.name].format(amount) + usual


def _beyond(figure: AnatomyFigure, one: Worst) -> bool:
    """Whether it is beyond what is usual in real pairs; so is what could not be measured."""
    if one.value is None or figure.limit is None:
        return one.value is None
    return one.value < figure.limit if figure.name == KEPT else one.value > figure.limit


def _lesion(one: Worst) -> str:
    if one.real is None or one.made is None:
        return "a lesion lost most of its contrast (marked)"
    return (f"a lesion's contrast to its surroundings is {number(one.made)}% of the range, in the truth "
            f"{number(one.real)}% (marked)")
