"""Pictures of a translation, which show patients: test slices with truth and error, the worst cases, how it learned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe
from ganatomy.core.text import number, sentence
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.data.pictures import ERROR_SHOWN, LABEL_HEIGHT, Tiles, error_colours, to_uint8
from ganatomy.generators.sampler import Sampler
from ganatomy.metrics.base import Images
from ganatomy.metrics.schema import INSIDE, AnatomyResult, Direction, Worst
from ganatomy.metrics.translation.anatomy import JUDGED, OF_ITSELF
from ganatomy.metrics.translation.paired import foreground, pair_values
from ganatomy.metrics.translation.registration import DEFORMATION, INVENTED, KEPT, LOST, SHIFT
from ganatomy.reports.blocks import REAL, Block, Heading, Picture, Pictures, Stack, Words
from ganatomy.reports.context import NO_DATASET, Context
from ganatomy.reports.image_sections import (
    MEND,
    chosen_sheets,
    layout,
    picture,
    read_picture,
    reduce,
    sheets,
    spread,
    strip,
)
from ganatomy.training.draws import partners

Place = tuple[int, int]
Reason = tuple[str, str, Place | None]  # image id, why, where
SHEET_WIDTH = 1040  # CSS pixels
COLUMNS, CASES = 8, 6
TILE = 256  # CSS pixels, at most
MARK, MARK_COLOUR = 7, (60, 220, 255)
MARGIN = 4
FRAMES, FRAME_SLICES, FRAME_GAP = 6, 2, 2  # of how it learned: the slices are from the middle, with most to see
ANATOMY = ("the translation of a patient's slice shows that patient's anatomy, so that it is left out of the version "
           "for sharing, like the real images. Figures and tables remain.")
WHY = {SHIFT: "shifted by {} against the input", DEFORMATION: "parts of it are moved by up to {}",
       LOST: "{} of its parts are not in the output", KEPT: "only {} of the input's strong edges are kept",
       INVENTED: "{} of its strong edges are not in the input"}


@dataclass(frozen=True)
class Slices:
    """Some test slices: what went in, what came out, and the truth where there is one."""

    source: str
    target: str
    inputs: Images
    outputs: Images
    truth: Images | None

    def labelled(self) -> list[tuple[str, Tiles]]:
        """The rows of a sheet with their labels."""
        rows = [(f"Input, real {self.source}", to_uint8(self.inputs)),
                (f"Output, synthetic {self.target}", to_uint8(self.outputs))]
        if self.truth is not None:
            rows += [(f"Truth, real {self.target}", to_uint8(self.truth)),
                     ("Error, |output − truth|", error_colours(self.outputs, self.truth))]
        return rows

    def errors(self) -> list[str]:
        """MAE inside the patient of each slice, in words; "" without a truth."""
        if self.truth is None:
            return [""] * len(self.inputs)
        mask = foreground(self.inputs, self.truth)
        values = pair_values(self.truth, self.outputs, mask).values[f"MAE {INSIDE}"]
        return ["" if np.isnan(value) else f"MAE {number(float(value))}%" for value in values]


@dataclass(frozen=True)
class Translator:
    """One direction of the run's generator, with the seed of the values."""

    sampler: Sampler
    dataset: Dataset
    source: str
    target: str
    seed: int
    backward: bool = False

    @property
    def title(self) -> str:
        """Such as T1 to T2."""
        return f"{self.source} to {self.target}"

    def translate(self, rows: Sequence[Row]) -> Slices:
        """What the generator makes of real slices."""
        inputs, truth = self.dataset.images(rows, self.sampler.size), None
        if self.dataset.info.paired:
            truth = self.dataset.images(partners(self.dataset, rows, self.target), self.sampler.size)
        outputs = self.sampler.translate(inputs, self.seed, self.backward)
        return Slices(self.source, self.target, inputs, outputs, truth)


def test_slices(context: Context) -> Iterator[Block]:
    """Test slices of every direction, then the worst cases."""
    yield Heading("Test slices")
    if context.sampler is None:
        yield Words("There is no finished generator yet to translate test slices with.", style="none")
        return
    if context.dataset is None:
        yield Words(f"{NO_DATASET}, so no slices are shown.", style="none")
        return
    sampler, source, target = context.sampler, str(context.recipe.source), str(context.recipe.domain)
    seed = context.translation.seed or 0 if context.translation else 0
    translators = [Translator(sampler, context.dataset, source, target, seed)]
    if sampler.model.two_way:
        translators.append(Translator(sampler, context.dataset, target, source, seed, backward=True))
    try:
        yield Stack([*_sheets(context, translators)], patients=True, instead=ANATOMY)
    except UserError as error:
        context.say(f"the report goes without translated slices: {error}")
        yield Words("The dataset's images do not fit the size that the recipe learned.", style="none")
        return
    if context.translation and not context.stale:
        yield from _worst(translators, context.translation.directions)


def _sheets(context: Context, translators: Sequence[Translator]) -> Iterator[Block]:
    yield Words("Compare each output with the truth below it, structure by structure: borders of organs and tissues, "
                "fluid, lesions, and what lies outside of the patient. All rows have the same grey range.")
    for translator in translators:
        rows = context.rows("test", translator.source)
        if not rows:
            yield Words(f"The dataset has no test images of {translator.source}.", style="none")
            return
        context.say(f"translating slices from {translator.title}")
        yield _sheet(context, translator, rows)
    ramp = np.linspace(0, ERROR_SHOWN, 240, dtype=np.float32)[None, None, None].repeat(12, 2)
    scale = picture(error_colours(ramp, np.zeros_like(ramp))[0],
                    "colours from no error, black, to a quarter of the range or more, white")
    yield Pictures([scale], "scale", caption="Error, absolute: from 0 to 25% of the grey range or more.")


def _sheet(context: Context, translator: Translator, rows: Sequence[Row]) -> Pictures:
    """Test slices taken evenly over the subjects and over each one's slices."""
    size = translator.sampler.size
    how = layout(size, size, 3, COLUMNS, SHEET_WIDTH)
    everyone = sorted({row.subject for row in rows})
    some = {everyone[i] for i in np.linspace(0, len(everyone) - 1, min(how.columns, len(everyone))).round().astype(int)}
    chosen = sorted(spread([row for row in rows if row.subject in some], how.columns),
                    key=lambda row: (row.subject, row.slice))
    slices = translator.translate(chosen)
    names = {subject: i for i, subject in enumerate(dict.fromkeys(row.subject for row in chosen), 1)}
    lines = [list(filter(None, (f"subject {names[row.subject]}" if context.known and len(names) > 1 else "",
                                f"slice {row.slice}", error)))
             for row, error in zip(chosen, slices.errors(), strict=True)]
    strips = [strip(own, len(own), f"{label}: {len(own)} slices", how.zoom, how.shrink, label)
              for label, own in slices.labelled()]
    truth = "MAE: mean absolute error inside the patient, % of the range." if slices.truth is not None else \
        "The two contrasts are not of the same slices, so there is no truth to show."
    caption = [f"{len(chosen)} of the {len(rows):,} test slices{context.of_subjects(len(everyone))}, "
               f"taken evenly and not picked by hand; {size} × {size} pixels each, {how.scale}.", _sides(chosen),
               context.pixel, truth]
    return Pictures(strips, "rows", translator.title, " ".join(filter(None, caption)), lines, patients=True)


def _sides(rows: Sequence[Row]) -> str:
    """Which side of the patient is where, if the files tell it, and alike for all."""
    across = {row.orientation.split(" ")[0] for row in rows}
    side = {"-1": "left", "1": "right"}.get(across.pop()) if len(across) == 1 else None
    return f"The patient's {side} is on the right of each picture." if side else ""


# ------------------------------------------------------------------ the worst cases

def _worst(translators: Sequence[Translator], directions: Sequence[Direction]) -> Iterator[Block]:
    cases = [(translator.title, own) for translator, direction in zip(translators, directions, strict=False)
             if (own := _cases(translator, direction))]
    if not cases:
        return
    yield Heading("The worst cases")
    yield Words("Of all test slices, those that rank worst by lesions, shift, deformation and edges, in turn from each "
                "list, cut out around the patient. Even a good model has a worst case: the captions say whether it is "
                "beyond the usual, what 95% of real pairs keep. The names are those of manifest.csv.")
    for title, own in cases:
        yield Heading(title, level=3)
        yield from own
    yield Words("Corners mark the lesions or spots that are spoken of; they are not drawn on the error. MAE is inside "
                "the patient, % of the range.", style="note")


def worst_reasons(direction: Direction) -> dict[str, list[tuple[str, Place | None]]]:
    """The worst cases with reasons and places, in turn from every list; those beyond the usual come first."""
    beyond, usual = list[list[Reason]](), list[list[Reason]]()
    if direction.lesions is not None:
        invented = direction.lesions.invented
        beyond = [[(one.image_id, _lesion(one), one.place) for one in direction.lesions.worst],
                  [(one.image_id, "a spot like a lesion that the truth does not have (marked)", one.place)
                   for one in (invented.worst if invented else ())]]
    for result in direction.anatomy.figures if direction.anatomy else ():
        if result.name in JUDGED:
            own = [one for one in result.worst if one.value != OF_ITSELF[result.name]]
            for kept, lists in ((True, beyond), (False, usual)):
                lists.append([(one.image_id, _why(result, one), None) for one in own if _beyond(result, one) == kept])
    reasons: dict[str, list[tuple[str, Place | None]]] = {}
    for lists in (beyond, usual):
        for turn in zip_longest(*lists):
            for image_id, reason, place in filter(None, turn):
                if image_id and (image_id in reasons or len(reasons) < CASES):
                    reasons.setdefault(image_id, []).append((reason, place))
    return reasons


def _cases(translator: Translator, direction: Direction) -> list[Pictures]:
    """The worst cases, translated anew; empty where the metrics name none of the dataset's images."""
    reasons = worst_reasons(direction)
    rows = [row for row in translator.dataset.rows(direction.source, "test") if row.image_id in reasons]
    rows.sort(key=lambda row: list(reasons).index(row.image_id))
    if not rows:
        return []
    slices = translator.translate(rows)
    patient = foreground(slices.inputs, slices.inputs if slices.truth is None else slices.truth)
    labelled, errors = slices.labelled(), slices.errors()
    cases = []
    for i, row in enumerate(rows):
        top, left, side = _window(patient[i])
        places = [(place[0] - top, place[1] - left) for _, place in reasons[row.image_id] if place is not None]
        tiles = [_tile(own[i][top:top + side, left:left + side], [] if label.startswith("Error") else places, label)
                 for label, own in labelled]
        error = f" ({errors[i]})" if errors[i] else ""
        why = "; ".join(dict.fromkeys(text for text, _ in reasons[row.image_id]))
        cases.append(Pictures(tiles, "tiles", f"{row.image_id}{error}", f": {why}.", patients=True, instead=ANATOMY))
    return cases


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


def _tile(pixels: NDArray[np.uint8], places: Sequence[Place], label: str) -> Picture:
    side = max(pixels.shape[:2])
    zoom, shrink = max(1, TILE // side), -(-side // TILE)
    if places:
        pixels, zoom = _marked(pixels, places, zoom), 1
    return picture(reduce(pixels[None], shrink)[0], label, zoom, label)


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


def _why(result: AnatomyResult, one: Worst) -> str:
    if one.value is None:
        return "nothing in the output could be matched with the input"
    amount = f"{number(one.value)} {result.unit}" if result.unit else f"{one.value:.0%}"
    usual = "" if result.limit is None else f" ({'beyond' if _beyond(result, one) else 'within'} the usual)"
    return WHY[result.name].format(amount) + usual


def _beyond(result: AnatomyResult, one: Worst) -> bool:
    """Whether it is beyond what is usual in real pairs; so is what could not be measured."""
    if one.value is None or result.limit is None:
        return one.value is None
    return one.value < result.limit if result.name == KEPT else one.value > result.limit


def _lesion(one: Worst) -> str:
    if one.real is None or one.synthetic is None:
        return "a lesion lost most of its contrast (marked)"
    return (f"a lesion's contrast to its surroundings is {number(one.synthetic)}% of the range, in the truth "
            f"{number(one.real)}% (marked)")


# ------------------------------------------------------------------ how it learned

def letting_go(context: Context) -> Iterator[Block]:
    """The hybrid's output for the same input and noise, at the last progress picture of every w."""
    from ganatomy.gans import hybrid

    recipe, steps = context.recipe, int(context.status.get("steps") or 0)
    saved = sheets(context.run.private_progress)
    if recipe.gan != "hybrid" or not saved:
        return
    model = gans.resolve(recipe, 1)
    assert isinstance(model, hybrid.Model)
    # a picture is of the step that was trained last
    last = {model.noise_share(max(0, step - 1) / steps): (step, path) for step, path in saved}
    frames = [(f"w = {w:g}", f"step {step:,}", path) for w, (step, path) in sorted(last.items())]
    yield Heading("The input loses its hold")
    yield Words(f"This generator first translated {recipe.source} to {recipe.domain}. Then its input was mixed with "
                "noise, (1 − w) × image + w × noise, with w rising stage by stage to 1, where only noise is left. "
                "Below, the same inputs and the same noise at the last picture saved for each w: see how long the "
                "output still follows its input and the truth, and what becomes of the anatomy once it does not.")
    yield Pictures(_progress(frames, recipe, errors=False), "film", caption=f"Real slices: {_held_out(context)}.",
                   patients=True, instead=REAL)


def learning(context: Context) -> Iterator[Block]:
    """A translation learning: input, then output and error at a few steps, then the truth."""
    yield Heading("How it learned to translate")
    saved = chosen_sheets(context.run.private_progress, FRAMES)
    if not saved:
        yield Words("No progress pictures were saved, or the folder RUN.private was left behind.", style="note")
        return
    yield Words("The same slices at a few steps of the training: the output, and below it its error where there is a "
                "truth.")
    frames = [(f"step {step:,}", "", path) for step, path in saved]
    yield Pictures(_progress(frames, context.recipe, errors=True), "film", patients=True, instead=REAL,
                   caption=f"{sentence(_held_out(context))} Steps evenly apart on a logarithmic scale as far as "
                           "pictures were saved.")


def _held_out(context: Context) -> str:
    """Which images the progress pictures are of."""
    if context.dataset is None:
        return "images of the validation split, or of training where there is none"
    return "validation images" if context.rows("val", context.recipe.source) else \
        "training images (there is no validation split)"


def _progress(frames: Sequence[tuple[str, str, Path]], recipe: Recipe, *, errors: bool) -> list[Picture]:
    """Progress pictures as frames (label, note, file) of a film, with the input before and the truth after them."""
    pictures, rows = [], dict[str, Tiles]()
    for label, note, path in frames:
        rows = read_progress(path, recipe)
        own = [rows[name] for name in ("output", "error")[:1 + errors] if name in rows]
        pictures.append(_stacked(own, f"output at {label}", label, note))
    blank = errors and "error" in rows

    def still(name: str, domain: str | None) -> list[Picture]:
        if name not in rows:
            return []
        own = [rows[name], *([np.zeros_like(rows[name])] if blank else [])]
        return [_stacked(own, f"{name}, real {domain}", name, f"real {domain}")]

    return [*still("input", recipe.source), *pictures, *still("truth", recipe.domain)]


def _stacked(rows: Sequence[Tiles], alt: str, label: str, note: str) -> Picture:
    """For each of a few slices its tiles, one below the other."""
    n = len(rows[0])
    middle = sorted({(2 * i + 1) * n // (2 * FRAME_SLICES) for i in range(FRAME_SLICES)})
    images = np.stack([row[i] for i in middle for row in rows])
    grey = bool((images == images[..., :1]).all())
    return strip(images[..., 0] if grey else images, 1, alt, label=label, note=note)


def read_progress(path: Path, recipe: Recipe) -> dict[str, Tiles]:
    """The rows of a progress picture: label to tiles [n, size, size, 3].

    Raises:
        UserError: not a readable picture, or not of this recipe's layout.
    """
    pixels = read_picture(path)
    pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, -1)
    zoom, two_way = max(1, 128 // recipe.size), gans.kind(recipe).two_way
    side = recipe.size * zoom
    n, rest = divmod(pixels.shape[1] + FRAME_GAP, side + FRAME_GAP)
    count, over = divmod(pixels.shape[0] - LABEL_HEIGHT, side + LABEL_HEIGHT)
    names = ["input", "output", *(["truth", "error"] if count == (6 if two_way else 4) else []),
             *(["and back", "error of it"] if two_way else [])]
    if rest or over or not n or count != len(names):
        raise UserError("this progress picture is not laid out as a training's", where=path, fix=MEND)
    rows = {}
    for r, name in enumerate(names):
        top = LABEL_HEIGHT + r * (side + LABEL_HEIGHT) + LABEL_HEIGHT
        rows[name] = np.stack([pixels[top:top + side:zoom, left:left + side:zoom]
                               for left in range(0, n * (side + FRAME_GAP), side + FRAME_GAP)])
    return rows
