"""Are generated images copies of patients, do they repeat, which artefacts have they; and the map of all images."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import AliasChoices, Field, ValidationError, model_validator

from ganatomy.core.errors import UserError
from ganatomy.core.reading import Record, Whole, read_json
from ganatomy.core.text import estimate, grouped, listed, number, percent
from ganatomy.data.likeness import FLIPS
from ganatomy.data.pictures import Tiles, tiles, to_uint8, untiled
from ganatomy.evaluation.map import thumbnails
from ganatomy.metrics.schema import Part, Result
from ganatomy.reports import drawings
from ganatomy.reports.blocks import (
    COPIED,
    Block,
    Columns,
    Drawing,
    Heading,
    Map,
    Picture,
    Pictures,
    Point,
    Stack,
    Thumbnails,
    Words,
)
from ganatomy.reports.context import Context, verdict_of
from ganatomy.reports.evaluation_sections import meaning, share
from ganatomy.reports.image_sections import generated, layout, picture, read_picture, real, reduce, single, strip

MOST_PAIRS = 6
MOST_GROUPS, MOST_IN_GROUP = 6, 8
ANSWERS = {"clean": ("No sign of copies", "good"), "suspicious": ("Suspicious", "warn"), "copies": ("Copies", "bad")}
A_COPY = ("this is the version for sharing, and a copy shows a patient as much as the image that it was copied "
          "from.")
SUSPECT = "this is the version for sharing, and these images lie suspiciously near to training images."

Kind = Literal["train", "test", "synthetic"]
WIDTH, HEIGHT, EDGE = 640, 560, 14  # of the map, SVG units
COLUMNS = 20  # of the sheet of real thumbnails
SHEET_BYTES = 900_000  # of a sheet of thumbnails in the page, before base64
AGAIN = "run `ganatomy evaluate RUN` again"
NAMES: dict[Kind, str] = {"train": "Training", "test": "Test", "synthetic": "Generated"}
# told apart by shape as well as by colour: a ring, a square, a cross
MARKS = {"train": "M-3.2 0a3.2 3.2 0 1 0 6.4 0a3.2 3.2 0 1 0-6.4 0", "test": "M-2.8-2.8h5.6v5.6h-5.6z",
         "synthetic": "M-3-3L3 3M-3 3L3-3"}
WITHOUT = Words("Real images are marks without pictures in this version, which is for sharing.", style="note")


class Pair(Part):
    """An image and the nearest training image."""

    left: str = Field(validation_alias=AliasChoices("synthetic", "test"))
    right: str = Field(validation_alias=AliasChoices("real", "train"))
    p: float | None = None
    channel: str = ""
    view: str = ""
    flagged: bool | None = None


class Copied(Part):
    """A patient whose images are copied, and how many images are copies."""

    subject: str
    images: int | None = None


class Audit(Part):
    """What an audit of copies has counted, and what an audit of repeats."""

    verdict: str = "suspicious"
    flagged: int | None = None
    expected_subjects: float | None = None
    p_by_chance: float | None = None
    evident: int = 0
    exact: int = 0
    held_out_evident: int = 0
    training_subjects: int | None = None
    calibration_subjects: int | None = None
    resolution: float | None = None
    copied: tuple[Copied, ...] = ()
    flagged_images: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    compared: int | None = None
    effective: float | None = None
    groups: tuple[tuple[str, ...], ...] = ()


def audit_of(result: Result) -> Audit:
    """A result's details; none of those that another version has written otherwise."""
    try:
        return Audit.model_validate(result.details or {})
    except ValidationError:
        return Audit()


def suspects(context: Context) -> set[str]:
    """Numbers of the generated images that the audit has flagged, or that lie nearest where it does not say which."""
    result = context.result("Copies")
    audit = audit_of(result) if result is not None else Audit()
    return {*audit.flagged_images, *(pair.left for pair in audit.pairs[:MOST_PAIRS] if pair.flagged is not False)}


# ------------------------------------------------------------------ copies of patients

def copies(context: Context) -> Iterator[Block]:
    """The audit's finding, how sure it is, and the worst pairs side by side."""
    yield Heading("Copies of patients?", "copies")
    result = context.result("Copies", "train")
    if result is None:
        run = "" if context.metrics else " yet: run `ganatomy evaluate RUN`"
        yield Words(f"Not audited{run}. Whether any generated image copies a training patient is not known.")
        return
    answer, tone = ANSWERS[context.audit]
    first, *more = _words(context, result)
    yield Words(first, lead=f"{answer}.", tone=tone, items=more, style="answer")
    if context.stale and audit_of(result).pairs:
        yield Words("The pairs are left out: the figures are of other weights or data.", style="none")
    elif pairs := [*_pairs(context, result)]:
        note = ("Left the image in question, right the real image nearest to it; one scale and one grey range. p: "
                "the share of held-out patients who are approached as closely. The worst come first; near is not yet "
                "a copy: compare sulci, vessels and whatever else is one person's own.")
        copied = audit_of(result).copied
        names = listed(one.subject + (f" ({grouped(one.images, 'image')})" if one.images else "") for one in copied)
        whose = [Words(f"Whose images they are: {names}.")] if copied else []
        yield Stack([*whose, *pairs, Words(note, style="note")], patients=True, instead=A_COPY)


def _words(context: Context, result: Result) -> Iterator[str]:
    """The audit's finding, how sure it is, and what the neighbouring metrics say."""
    audit = audit_of(result)
    yield f"Estimated share of copies among {grouped(result.n_synthetic or 0, 'generated image')}: {share(result)}."
    if audit.flagged is not None and audit.calibration_subjects is not None:
        who = f"{grouped(audit.flagged, 'image')} {'lies' if audit.flagged == 1 else 'lie'} nearer to " \
              f"{grouped(len(audit.copied), 'training patient')}" if audit.flagged else \
            "No image lies nearer to a training patient"
        yield (f"{who} than any image to the "
               f"{grouped(audit.calibration_subjects, 'patient')} whom the generator has not seen.")
    if audit.training_subjects and audit.expected_subjects is not None and audit.p_by_chance is not None:
        yield (f"By chance fewer than {audit.expected_subjects:.1f} of "
               f"{grouped(audit.training_subjects, 'training patient')} would be approached so; that as many are the "
               f"nearest of all has p = {number(audit.p_by_chance)}.")
    if audit.evident or audit.exact:
        yield f"Evident copies: {audit.evident:,}; the same picture but for rounding and mirroring: {audit.exact:,}."
    if audit.held_out_evident:
        yield (f"As near to patients whom the generator should not have seen: "
               f"{grouped(audit.held_out_evident, 'image')}. It has seen them, or they are in two splits, "
               "or it is chance.")
    others = {name: own for name in ("Leak", "Membership", "Gaps")
              if (own := context.result(name)) is not None and own.value is not None}
    if leak := others.get("Leak"):
        yield f"No sign that test images are copies of training images: {share(leak)}." \
            if not leak.value or verdict_of(leak) == "clean" else \
            (f"Test images resemble training images too much, by a share of {share(leak)}: one patient may be in both "
             "splits, and figures against test then flatter.")
    if member := others.get("Membership"):
        yield ("The discriminator tells training from test images with an area under the curve of "
               f"{estimate(member.value, member.interval)}; 0.5 is guessing, and above it, it has memorised training "
               "images.")
    if "Gaps" in others:
        yield (f"Gaps filled: {share(others['Gaps'])} of the test images lie nearer to a generated than to a training "
               "image, at equal numbers; with images of new patients it would be 50%.")


def _pairs(context: Context, result: Result) -> Iterator[Block]:
    """The worst pairs; those with test images only where the audit is not clean."""
    kinds = [("The generated images nearest to training images", result, "Generated no.", "Training"),
             ("The test images nearest to training images", context.result("Leak"), "Test", "Training")]
    groups = [(title, left, right, audit_of(own).pairs[:MOST_PAIRS]) for title, own, left, right in kinds
              if own is result or (own is not None and verdict_of(own) != "clean")]
    names = {name for *_, pairs in groups for pair in pairs for name in (pair.left, pair.right)}
    drawn = generated(context, {pair.left for _, left, _, pairs in groups if left != "Test" for pair in pairs})
    rows = [row for row in context.rows(None) if row.image_id in names]
    pixels = real(context, rows)
    patients = {} if pixels is None else dict(zip((row.image_id for row in rows), pixels, strict=True))
    for title, left, right, pairs in groups:
        lefts = patients if left == "Test" else drawn
        shown = [block for pair in pairs
                 if (block := _pair(pair, lefts.get(pair.left), patients.get(pair.right), left, right))]
        if shown:
            yield Heading(title, level=3)
            yield Columns(shown, flow=True)


def _pair(pair: Pair, left: np.ndarray | None, right: np.ndarray | None, label: str, beside: str) -> Pictures | None:
    """Both images at one scale, of a mirrored pair the real one mirrored; None where one is not at hand."""
    if left is None or right is None or left.shape != right.shape:
        return None
    turned = FLIPS.get(pair.view.partition(",")[0], ())
    right = np.flip(right, turned)
    words = [f"p = {number(pair.p)}" if pair.p is not None else "", f"by {pair.channel}" if pair.channel else "",
             pair.view.removeprefix("as it is").removeprefix(", "), "shown so" if turned else "",
             "beyond the limit" if pair.flagged else ""]
    labels = f"{label} {pair.left}", f"{beside} {pair.right}"
    return Pictures([single(image, name, name) for image, name in zip((left, right), labels, strict=True)], "pair",
                    caption=", ".join(filter(None, words)), patients=True)


# ------------------------------------------------------------------ artefacts and repeats

def artefacts(context: Context) -> Iterator[Block]:
    """Near-duplicates, power spectrum and grey values, each drawn with a sentence."""
    checks = [check for part in (_spectrum, _histogram) if (check := part(context)) is not None]
    repeats = context.result("Duplicates")
    if not checks and repeats is None:
        return
    yield Heading("Artefacts and repeats", "artefacts")
    if repeats is not None and repeats.value is not None:
        yield Heading("Repeated images", level=3)
        yield Words(_repeated(repeats))
        yield Columns([*_strips(context, repeats)], flow=True)
    yield Columns(checks)


def _repeated(result: Result) -> str:
    audit = audit_of(result)
    among = f" among {audit.compared:,}" if audit.compared is not None else ""
    floor = f"; real against real {percent(result.floor)}" if result.floor is not None else ""
    amount = f" They amount to about {number(audit.effective, 0)} different images of {result.n_synthetic:,}." \
        if audit.effective is not None and result.n_synthetic else ""
    return f"Share of the generated images with a near-duplicate{among}: {share(result)}{floor}.{amount}"


def _strips(context: Context, result: Result) -> Iterator[Block]:
    """The largest groups of generated images that are all but the same."""
    groups = [group for group in audit_of(result).groups if len(group) > 1]
    groups = sorted(groups, key=len, reverse=True)[:MOST_GROUPS]
    images = generated(context, {name for group in groups for name in group[:MOST_IN_GROUP]})
    doubtful = suspects(context)
    for group in groups:
        whole, safe = _strip(group, images, without=()), _strip(group, images, without=doubtful)
        if whole is not None:
            copied = context.audit == "copies"
            yield replace(whole, patients=copied or bool(doubtful & set(group)),
                          instead=COPIED if copied else safe or SUSPECT)


def _strip(group: Sequence[str], images: Mapping[str, np.ndarray], without: Collection[str]) -> Pictures | None:
    """A group with its caption, `without` some; None where fewer than two are left."""
    names = [name for name in group if name in images and name not in without][:MOST_IN_GROUP]
    if len(names) < 2:
        return None
    pixels = np.stack([images[name] for name in names])
    how = layout(pixels.shape[1], pixels.shape[2], 3 if pixels.ndim == 4 else 1, len(names), 1024)
    more = f" and {len(group) - len(names)} more" if len(group) > len(names) else ""
    shown = strip(pixels, len(names), f"generated images {', '.join(names)}", how.zoom, how.shrink)
    return Pictures([shown], "repeat", caption=f"{grouped(len(group), 'image')}: no. {', '.join(names)}{more}")


def _first(context: Context, metric: str) -> Result | None:
    return context.result(metric, "test") or context.result(metric)


def _headed(what: str, result: Result, k: float = 1.0) -> str:
    """A value with its interval, floor and n, as a sentence."""
    floor = "" if result.floor is None else f"; real against real {estimate(result.floor, result.floor_interval, k)}"
    n = f"; n = {grouped(result.n_images, 'real image')} of {grouped(result.n_subjects, 'subject')}" \
        if result.n_images and result.n_subjects else ""
    return f"{what}: {estimate(result.value, result.interval, k)}{floor}{n}."


def _fault(result: Result, otherwise: str) -> str:
    """What the evaluation objected to; `otherwise` where it tested and found nothing."""
    return result.fault or (otherwise if result.p_no_difference is not None else "Not tested: too few patients.")


def _check(title: str, result: Result, fault: str, words: Sequence[str], what: str, drawn: Picture | None,
           k: float = 1.0) -> Block:
    caption = " ".join(filter(None, (fault, *words, _headed(what, result, k), meaning(result.name))))
    return Drawing(drawn, title, caption) if drawn else Words(caption, lead=f"{title}.", style="note")


def _spectrum(context: Context) -> Block | None:
    result, sharp = _first(context, "Spectrum"), _first(context, "Sharpness")
    if result is None:
        return None
    fault = _fault(result, "No single frequency stands out from real images; broad textures are not "
                                     "searched.")
    words = []
    if sharp is not None:
        much = f"{estimate(sharp.ratio, sharp.ratio_interval)} times the power of real images in fine detail" \
            if sharp.ratio is not None else estimate(sharp.value, sharp.interval)
        words = [f"Sharpness: {much}.", sharp.fault]
    return _check("Power spectrum", result, fault, words, "Distance in dB", drawings.spectrum(result.details or {}))


def _histogram(context: Context) -> Block | None:
    result = _first(context, "Histogram")
    if result is None:
        return None
    return _check("Grey values", result, _fault(result, "No difference was shown."), [],
                  "Distance in % of the grey range", drawings.histogram(result.details or {}), 100.0)


# ------------------------------------------------------------------ the map

Ordinate = Annotated[float, Field(ge=-1, le=1)]
TileSide = Annotated[int, Field(ge=1, le=64)]


class MapFile(Record):
    """RUN/map.json. Places are from -1 to 1."""

    kind: list[Kind]
    id: list[str]
    tsne: list[tuple[Ordinate, Ordinate]]
    pca: list[tuple[Ordinate, Ordinate]]
    seed: Whole
    extractor: str = ""
    perplexity: float | None = None
    explained: tuple[float, float] | None = None
    synthetic: str | None = None
    thumbnail: tuple[TileSide, TileSide] | None = None
    columns: int = Field(20, ge=1, le=1000)

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
    about = read_json(context.run.map_file, MapFile, AGAIN)
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
    shared = _map(about, {}, _generated(context, about, doubtful), None)
    yield replace(_map(about, tile_of, _generated(context, about, ()), sheet),
                  patients=sheet is not None or bool(doubtful), instead=Stack([shared, WITHOUT]))


def _map(about: MapFile, tile_of: dict[int, int], fake: Thumbnails | None, patients: Thumbnails | None) -> Map:
    """The block; real images without a thumbnail have no name either."""
    legend = [(kind, name, MARKS[kind], n) for kind, name in NAMES.items() if (n := about.kind.count(kind))]
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
    sheets = {name: sheet for name, sheet in (("generated", fake), ("real", patients)) if sheet is not None}
    return Map(_points(about, tile_of, fake is not None), legend, sheets, (tsne, pca))


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
