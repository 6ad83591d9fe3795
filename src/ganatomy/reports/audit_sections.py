"""Are generated images copies of patients, do they repeat each other, and which artefacts have they?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import AliasChoices, Field, ValidationError

from ganatomy.core.text import estimate, grouped, number, percent
from ganatomy.metrics import appearance, spectrum
from ganatomy.metrics.schema import Part, Result
from ganatomy.reports import drawings
from ganatomy.reports.blocks import COPIED, Block, Columns, Drawing, Heading, Picture, Pictures, Stack, Words
from ganatomy.reports.context import Context, verdict_of
from ganatomy.reports.evaluation_sections import meaning, share
from ganatomy.reports.image_sections import generated, layout, real, single, strip

MOST_PAIRS = 6
MOST_GROUPS, MOST_IN_GROUP = 6, 8
TILE = 128  # CSS pixels of an image in a strip
ANSWERS = {"clean": ("No sign of copies", "good"), "suspicious": ("Suspicious", "warn"), "copies": ("Copies", "bad")}
AS_IT_IS = "as it is"
TURNED = {"mirrored left-right": (1,), "mirrored top-bottom": (0,), "turned by 180 degrees": (0, 1)}  # axes of [h, w]
A_COPY = ("this is the version made for sharing, and a copy shows a patient as much as the image that it was copied "
          "from.")
SUSPECT = "this is the version made for sharing, and these images lie suspiciously near to training images."


class Pair(Part):
    """An image and the nearest training image."""

    left: str = Field(validation_alias=AliasChoices("synthetic", "test"))
    right: str = Field(validation_alias=AliasChoices("real", "train"))
    p: float | None = None
    channel: str = ""
    view: str = ""
    flagged: bool | None = None


class Audit(Part):
    """What an audit of copies has counted, and what an audit of repeats."""

    verdict: str = "suspicious"
    flagged: int | None = None
    rate: float | None = None
    expected: float | None = None
    evident: int = 0
    calibration_subjects: int | None = None
    resolution: float | None = None
    flagged_images: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    compared: int | None = None
    effective: float | None = None
    groups: tuple[tuple[str, ...], ...] = ()


def audit_of(result: Result) -> Audit:
    """A result's details; none where another version has written them in a form that cannot be read."""
    try:
        return Audit.model_validate(result.details or {})
    except ValidationError:
        return Audit()


def suspects(context: Context) -> set[str]:
    """Numbers of the generated images that the audit has flagged, or that lie nearest where it does not say which."""
    names = set[str]()
    for audit in map(audit_of, context.audits()):
        names |= {*audit.flagged_images, *(pair.left for pair in audit.pairs[:MOST_PAIRS] if pair.flagged is not False)}
    return names


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
        return
    shown = [*_pairs(context, result)]
    note = Words("Left the image in question, right the real image nearest to it; one scale and one grey range. p: how "
                 "often an image of another patient comes as near. The worst come first; near is not yet a copy: "
                 "compare sulci, vessels and whatever else is one person's own.", style="note")
    if shown:
        yield Stack([*shown, note], patients=True, instead=A_COPY)


def _words(context: Context, result: Result) -> Iterator[str]:
    """The audit's finding, how sure it is, and what the neighbouring metrics say."""
    audit = audit_of(result)
    yield f"Estimated share of copies among {grouped(result.n_synthetic or 0, 'generated image')}: {share(result)}."
    if audit.flagged is not None and audit.rate is not None:
        chance = f"; by chance alone {audit.expected:.1f} would be" if audit.expected is not None else ""
        yield (f"{grouped(audit.flagged, 'image')} {'lies' if audit.flagged == 1 else 'lie'} nearer to a training "
               f"image than {percent(1 - audit.rate)} of other patients' images do (false-alarm rate "
               f"{percent(audit.rate)}){chance}.")
    if audit.evident:
        yield f"Evident copies: {audit.evident:,}."
    if audit.calibration_subjects is not None:
        limit = f", so that no rate below {percent(audit.resolution)} can be claimed" if audit.resolution else ""
        yield f"Calibrated on {grouped(audit.calibration_subjects, 'subject')}{limit}."
    sentences: dict[str, Callable[[Result], str]] = {
        "Copies-test": lambda r: "The same audit against test images, which the generator never saw, gives "
                                 f"{share(r)}.",
        "Leak": _leak,
        "Membership": lambda r: "The discriminator tells training from test images with an area under the curve of "
                                f"{estimate(r.value, r.interval)}; 0.5 is guessing, and above it, it has memorised "
                                "training images.",
        "Gaps": lambda r: f"Gaps filled: {share(r)} of the test images lie nearer to a generated than to a training "
                          "image, at equal numbers; with images of new patients it would be 50%."}
    for name, sentence in sentences.items():
        other = context.result(name)
        if other is not None and other.value is not None:
            yield sentence(other)


def _leak(result: Result) -> str:
    if not result.value or verdict_of(result) == "clean":
        return f"No sign that test images are copies of training images: {share(result)}."
    return (f"Test images resemble training images too much, by a share of {share(result)}: one patient may be in both "
            "splits, and figures against test then flatter.")


def _pairs(context: Context, result: Result) -> Iterator[Block]:
    """The worst pairs; those with test images only where the audit is not clean."""
    seen, leak = context.result("Copies-test"), context.result("Leak")
    groups = [("The generated images nearest to training images", result, "Generated no.", "Training")]
    if seen and verdict_of(seen) != "clean":
        groups.append(("The generated images nearest to test images", seen, "Generated no.", "Test"))
    if leak and verdict_of(leak) != "clean":
        groups.append(("The test images nearest to training images", leak, "Test", "Training"))
    lefts = generated(context, {pair.left for _, r, label, _ in groups if label != "Test"
                                for pair in audit_of(r).pairs[:MOST_PAIRS]})
    names = {name for _, r, label, _ in groups for pair in audit_of(r).pairs[:MOST_PAIRS]
             for name in (pair.right, *([pair.left] if label == "Test" else []))}
    rows = [row for row in context.rows(None) if row.image_id in names]
    pixels = real(context, rows)
    rights = {} if pixels is None else dict(zip((row.image_id for row in rows), pixels, strict=True))
    for title, r, label, beside in groups:
        shown = [block for pair in audit_of(r).pairs[:MOST_PAIRS]
                 if (block := _pair(pair, (rights if label == "Test" else lefts).get(pair.left), rights.get(pair.right),
                                    label, beside))]
        if shown:
            yield Heading(title, level=3)
            yield Columns(shown, flow=True)


def _pair(pair: Pair, left: np.ndarray | None, right: np.ndarray | None, label: str, beside: str) -> Pictures | None:
    """Both images at one scale, of a mirrored pair the real one mirrored; None where one is not at hand."""
    if left is None or right is None or left.shape != right.shape:
        return None
    turned = next((axes for word, axes in TURNED.items() if word in pair.view), None)
    if turned is not None:
        right = np.flip(right, turned)
    words = [f"p = {number(pair.p)}" if pair.p is not None else "", f"by {pair.channel}" if pair.channel else "",
             pair.view.removeprefix(AS_IT_IS).removeprefix(", "), "shown so" if turned is not None else "",
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
    parts = [f"95% interval {percent(max(0.0, result.interval[0]))} to {percent(result.interval[1])}"] \
        if result.interval else []
    parts += [f"real against real {percent(result.floor)}"] if result.floor is not None else []
    beside = f" ({'; '.join(parts)})" if parts else ""
    amount = f" They amount to about {number(audit.effective, 0)} different images of {result.n_synthetic:,}." \
        if audit.effective is not None and result.n_synthetic else ""
    return f"{percent(result.value or 0.0)} of the generated images have a near-duplicate{among}{beside}.{amount}"


def _strips(context: Context, result: Result) -> Iterator[Block]:
    """The largest groups of generated images that are all but the same."""
    groups = [group for group in audit_of(result).groups if len(group) > 1]
    groups = sorted(groups, key=len, reverse=True)[:MOST_GROUPS]
    images = generated(context, {name for group in groups for name in group[:MOST_IN_GROUP]})
    doubtful = suspects(context)
    for group in groups:
        whole, safe = (_strip(group, images, without) for without in (set[str](), doubtful))
        if whole is None:
            continue
        copied = context.audit == "copies"
        instead: Block | str = COPIED if copied else SUSPECT if safe is None else Pictures(**safe)
        yield Pictures(**whole, patients=copied or bool(doubtful & set(group)), instead=instead)


def _strip(group: Sequence[str], images: Mapping[str, np.ndarray], without: set[str]) -> dict[str, Any] | None:
    """The picture of a group and its caption, `without` some; None where fewer than two are left."""
    names = [name for name in group if name in images and name not in without][:MOST_IN_GROUP]
    if len(names) < 2:
        return None
    tiles = np.stack([images[name] for name in names])
    how = layout(tiles.shape[1], tiles.shape[2], 3 if tiles.ndim == 4 else 1, len(tiles), 1024)
    zoom = max(1, TILE // max(tiles.shape[1:3])) if how.shrink == 1 else 1
    more = f" and {len(group) - len(names)} more" if len(group) > len(names) else ""
    shown = strip(tiles, len(tiles), f"generated images {', '.join(names)}", zoom, how.shrink)
    caption = f"{grouped(len(group), 'image')}: no. {', '.join(names)}{more}"
    return {"pictures": [shown], "layout": "repeat", "caption": caption}


def _first(context: Context, metric: str) -> Result | None:
    return context.result(metric, "test") or context.result(metric)


def _headed(what: str, result: Result, k: float = 1.0) -> str:
    """A value with its interval, floor and n, as a sentence."""
    floor = "" if result.floor is None else f"; real against real {estimate(result.floor, result.floor_interval, k)}"
    n = f"; n = {grouped(result.n_images, 'real image')} of {grouped(result.n_subjects, 'subject')}" \
        if result.n_images and result.n_subjects else ""
    return f"{what}: {estimate(result.value, result.interval, k)}{floor}{n}."


def _fault(metric: Any, result: Result | None, otherwise: str = "") -> str:
    """What a metric says of its own result, in a sentence; `otherwise` where it has nothing to say but was tested."""
    try:
        fault = str(metric.fault(result)) if result is not None else ""
    except (KeyError, TypeError, ValueError):  # another version wrote the file
        fault = ""
    return fault or (otherwise if not otherwise or (result and result.equal_n) else "Not tested: too few patients.")


def _check(title: str, result: Result, fault: str, words: Sequence[str], what: str, drawn: Picture | None,
           k: float = 1.0) -> Block:
    caption = " ".join(filter(None, (fault, *words, _headed(what, result, k), meaning(result.name))))
    return Drawing(drawn, title, caption) if drawn else Words(caption, lead=f"{title}.", style="note")


def _spectrum(context: Context) -> Block | None:
    result, sharp = _first(context, "Spectrum"), _first(context, "Sharpness")
    if result is None:
        return None
    fault = _fault(spectrum, result, "No single frequency stands out from real images; broad textures are not "
                                     "searched.")
    words = []
    if sharp is not None:
        much = f"{estimate(sharp.ratio, sharp.ratio_interval)} times the power of real images in fine detail" \
            if sharp.ratio is not None else estimate(sharp.value, sharp.interval)
        words = [f"Sharpness: {much}.", _fault(spectrum, sharp)]
    return _check("Power spectrum", result, fault, words, "Distance in dB", drawings.spectrum(result.details or {}))


def _histogram(context: Context) -> Block | None:
    result = _first(context, "Histogram")
    if result is None:
        return None
    return _check("Grey values", result, _fault(appearance, result, "No difference was shown."), [],
                  "Distance in % of the grey range", drawings.histogram(result.details or {}), 100.0)
