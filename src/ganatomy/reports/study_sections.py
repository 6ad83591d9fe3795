"""The report of a study: the answer, what it rests on, curves and tables, the GANs, the protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ganatomy.core import table
from ganatomy.core.errors import UserError
from ganatomy.core.files import recorded_commands
from ganatomy.core.text import Interval, estimate, grouped, number
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row as ManifestRow
from ganatomy.data.pictures import tiles, to_uint8
from ganatomy.reports import drawings, study_context
from ganatomy.reports.blocks import (
    COPIED,
    Block,
    Columns,
    Drawing,
    Fold,
    Heading,
    Light,
    Lights,
    Page,
    Picture,
    Pictures,
    Stack,
    Table,
    Terms,
    Words,
)
from ganatomy.reports.drawings import Array
from ganatomy.reports.image_sections import GAP, GAP_GREY, picture, reduce, spread
from ganatomy.reports.study_context import StudyContext, read_results
from ganatomy.studies.answers import CANT_TELL, DOES_NOT, HELPS, HURTS, IN_BRACKETS, by_parts_of, counts_alone
from ganatomy.studies.cell import figure_of, light_of, read_audit
from ganatomy.studies.folder import Cell, GanFolder, StudyFolder
from ganatomy.studies.predictions import Predictions, f1, read_predictions
from ganatomy.studies.results import audited, by_k, called_right, comparisons, name_of

Row = Mapping[str, Any]
LIGHTS = {HELPS: ("green", "Helps"), DOES_NOT: ("amber", "Does not help"), HURTS: ("red", "Hurts"),
          CANT_TELL: ("grey", "Can't tell")}
AUDITS = {"green": "No sign of copies", "amber": "With reservations", "red": "Copies", "grey": "Not audited"}
TITLES = {"f1": "F1", "average_precision": "Average precision", "precision": "Precision", "recall": "Recall",
          "roc_auc": "ROC AUC", "balanced_accuracy": "Balanced accuracy", "brier": "Brier score",
          "calibration_error": "Calibration error"}
MEANINGS = {
    "f1": "Harmonic mean of precision and recall at the threshold chosen on the other half. This is what the answers "
          "are about.",
    "average_precision": "Area under precision against recall, over all thresholds; the share of positives is what "
                         "chance gives. Pooled over folds and checkpoints, whose scores need not be on one scale: that "
                         "lowers it, and not in every arm alike.",
    "precision": "Share of the images called positive that are, at the chosen threshold.",
    "recall": "Share of the positive images that are called so, at the chosen threshold (sensitivity).",
    "roc_auc": "Probability that a positive image has a higher score than a negative one. Looks good easily where "
               "positives are rare. Pooled like average precision, with the same caveat.",
    "balanced_accuracy": "Mean of sensitivity and specificity at the chosen threshold.",
    "brier": "Mean squared distance of the score from the truth.",
    "calibration_error": "Mean distance between score and observed share, in ten bins of equally many images; above 0 "
                         "by chance even for calibrated scores. Arms that add positives are trained at another share "
                         "of positives than that of the test images, and so are off by construction.",
}
FLOORS = {"f1": "everything called positive", "average_precision": "equal scores", "precision": "everything called "
          "positive", "roc_auc": "equal scores", "balanced_accuracy": "everything called positive",
          "brier": "the share of positives as every score"}
RESERVED = ("But synthetic images are in it about which the audit for copies has reservations, or whose GAN could not "
            "be audited: look at the full report before you share it.")
UNSURE = "That no sign of copies was found does not prove that no synthetic image resembles a training image."
BINS = 10  # of the calibration curves
FEW_GANS = 5  # below this there is no correlation to speak of
DRAWS = 1000
MOST_GANS = 24  # that are shown; a study may have hundreds
TILES, TILE = 8, 64  # of a strip; pixels, about


def study_page(folder: StudyFolder, say: Any) -> Page:
    """The report of a finished study as blocks. Raises `UserError` if it is not finished, or a file in it is broken."""
    context = StudyContext(folder, folder.settings(), read_results(folder), say)
    sections = (_why, _figures, _external, _gans, _images, _calibration, _methods)
    title = f"Do synthetic images help to recognise {context.positives}?"
    notices: list[Block] = [Terms(_key(context), "key")]
    if context.settings.needs_gan:
        notices.append(Words("They were drawn by models. Neither they nor these classifiers must be used to decide on "
                             "anyone's care.", lead="Synthetic images. Not for diagnosis.", style="warn"))
    warnings = study_context.warnings(context)
    notices += [Words(lead="Before you believe the answer", items=warnings, style="warn")] if warnings else []
    return Page(f"Augmentation study, {context.positives}", "augmentation study",
                [Heading(title, level=1), _light(context.results)], notices,
                [block for section in sections for block in section(context)], "Not for diagnosis.")


def _light(part: Row) -> Lights:
    colour, word = LIGHTS.get(part["answer"]["verdict"], LIGHTS[CANT_TELL])
    return Lights([Light(colour, word, part["answer"]["sentence"])])


def _key(context: StudyContext) -> list[tuple[str, str]]:
    results, settings, primary = context.results, context.settings, _primary(context)
    rows = [] if primary is None or primary["difference"] is None else \
        [(f"{name_of(primary)}, F1", drawings.difference(primary["difference"], primary["interval"]))]
    return [*rows, ("Smallest that would matter", f"{settings.margin:g}"),
            ("Test subjects", f"{results['n_subjects']:,}"),
            *((f"with {name}", f"{n:,}") for name, n in results["n_positive_subjects"].items()),
            ("Folds × seeds", f"{settings.folds} × {settings.seeds}")]


def _primary(context: StudyContext) -> Row | None:
    return next((c for c in context.results["contrasts"] if c["primary"] and c["answer"] is not None), None)


# ------------------------------------------------------------------ the answer, for one set of test images

def _why(context: StudyContext) -> Iterator[Block]:
    yield Heading("What the answer rests on", "why")
    primary = _primary(context)
    text = (f"The primary comparison, named before any result was known: {name_of(primary)}, the difference in F1 "
            "averaged over k. The reference repeats real images as often as the other arm adds synthetic ones, so that "
            "what is seen is new images and not balance.") if primary else ""
    yield Words(text, items=context.results["answer"]["why"])


def _figures(context: StudyContext) -> Iterator[Block]:
    yield Heading("F1 against the number of real training images", "curves")
    yield from _drawn(context, context.results)
    yield Heading("Which arm is better than which", "contrasts")
    yield from _compared(context, context.results)
    yield Heading("All figures", "tables")
    many = "" if context.one_class else " Means over the positive classes, each one against the rest."
    yield Words(f"{_counted(context.results)}; each judged once a seed by classifiers that learnt from other "
                f"subjects.{many}", style="note")
    yield from _scores(context, context.results)


def _drawn(context: StudyContext, part: Row) -> Iterator[Block]:
    panels = drawings.f1_curves(part["scores"], context.results["arms"], context.settings.k)
    if not panels:
        yield Words("There is no F1 to draw.", style="note")
        return
    for i in range(0, len(panels), 2):
        yield Columns([Drawing(own, title) for title, own in panels[i:i + 2]])
    lines, bands = ("Lines", "Bands") if len(context.settings.k) > 1 else ("Marks", "Bars")
    yield Words(f"{lines}: F1 from the predictions, the mean over seeds. {bands}: 95% intervals over test subjects, "
                "seeds and refits. The arms share test subjects, so intervals that overlap do not mean that two arms "
                "are alike: differences are below. Dotted: a classifier that calls everything positive. All panels "
                "have the same scale.",
                style="note")


def _compared(context: StudyContext, part: Row) -> Iterator[Block]:
    settings, contrasts = context.settings, part["contrasts"]
    answers = [c for c in contrasts if c["answer"] is not None]
    forest = drawings.forest(contrasts, settings.margin)
    if forest:
        yield Drawing(forest, wide=True)
        over = "Averaged over k." if len(settings.k) > 1 else f"At k = {settings.k[0]:,}."
        primary = " The primary comparison, named before any result was known, is bold." \
            if any(c["primary"] for c in answers) else ""
        holm = "; all but the primary one must stand the correction for several comparisons, too (Holm)" \
            if len(answers) > 2 else ""
        brackets = "" if all(map(counts_alone, answers)) else f" {IN_BRACKETS}"
        yield Words(f"{over}{primary}{brackets} Grey band: differences below {settings.margin:g}, which would not "
                    "matter. An interval that reaches over 0 and beyond the band leaves the question "
                    f"open{holm}.", style="note")
    if not answers:
        yield Words("The arms of this study allow no comparison.", style="note")
        return
    yield Fold([Table(comparisons(answers), marks={i: "primary" for i, c in enumerate(answers) if c["primary"]}),
                Words(items=[c["sentence"] for c in answers])], title="The comparisons in figures and words")
    for i, metric in enumerate(dict.fromkeys(c["metric"] for c in contrasts)):
        own = {(name_of(c), c["k"]): c for c in contrasts if c["metric"] == metric}
        note = "Single k are descriptions, not claims." if i == 0 else "A description, not a claim."
        yield Fold([Table(by_k("Comparison", own, settings.k, note=note), "figures")],
                   title=f"Difference in {TITLES.get(metric, metric)}, for every k")


def _counted(part: Row) -> str:
    positive = ", ".join(f"{n} with {name}" for name, n in part["n_positive_subjects"].items())
    return f"{grouped(part['n_images'], 'image')} of {grouped(part['n_subjects'], 'subject')}, {positive}"


def _scores(context: StudyContext, part: Row) -> Iterator[Block]:
    for i, metric in enumerate(dict.fromkeys(s["metric"] for s in part["scores"])):
        own = {(s["arm"], s["k"]): s for s in part["scores"] if s["metric"] == metric}
        first = next(iter(own.values()))
        figures = by_k("Arm", own, context.settings.k, f"Knows nothing ({FLOORS.get(metric, '')})",
                       f"{MEANINGS.get(metric, '')} Small: 95% intervals.")
        yield Fold([Table(figures, "figures")],
                   title=TITLES.get(metric, metric), beside=f"{first['better']} is better", open=i == 0)
    shares = part.get("per_subject")
    if shares:
        numbered = [f"subject {i + 1}" for i in range(len(next(iter(shares.values()))))]
        yield Fold([Table(called_right(shares, numbered), "figures"),
                    Words("There are fewer than five subjects with or without a class, too few for intervals. Mean "
                          "over k and seeds.", style="note")],
                   title="Share of each subject's images that are called right", open=True)


def _external(context: StudyContext) -> Iterator[Block]:
    part = context.results["external"]
    if part is None:
        return
    yield Heading("On the external set", "external")
    yield _light(part)
    yield Words(f"{_counted(part)}, from elsewhere, judged by every classifier of the study; checkpoints and "
                "thresholds are those chosen on the study's own subjects.", items=part["answer"]["why"], style="note")
    yield from _drawn(context, part)
    yield from _compared(context, part)
    yield from _scores(context, part)


# ------------------------------------------------------------------ the GANs

def _gans(context: StudyContext) -> Iterator[Block]:
    """The audit of every GAN, and whether a better distance meant a better F1."""
    audits = context.audits
    if not audits:
        return
    yield Heading("The GANs", "gans")
    yield Words(f"{grouped(len(audits), 'GAN')}, each trained on its cell's real images alone: {audited(audits)}.")
    yield from _relation(context)
    heads = ["k", "Fold", "Seed", "Class", "Patients", "KD × 1000", "Real vs real", "Diversity", "Copies"]
    rows: list[list[str]] = []
    remarks: dict[int, str] = {}
    for i, audit in enumerate(audits):
        kernel, spread_of, light = figure_of(audit, "KD"), figure_of(audit, "Diversity"), light_of(audit)
        floor = kernel.get("floor") if kernel else None
        rows.append([f"{audit['k']:,}", str(audit["fold"]), str(audit["seed"]), audit["label"],
                     str(audit["training_subjects"]),
                     estimate(kernel["value"], kernel.get("interval"), 1000) if kernel else "",
                     number(None if floor is None else 1000 * floor), number((spread_of or {}).get("ratio"), 2),
                     AUDITS[light]])
        says = (audit.get("copies") or {}).get("says")
        remarks |= {i: str(says)} if says else {}
    if context.one_class:
        heads, rows = [*heads[:3], *heads[4:]], [[*row[:3], *row[4:]] for row in rows]
    notes = ["Patients: those that the GAN's k training images are of. KD: kernel distance of the synthetic images "
             "from the held-out images of the class, lower is better; real vs real is the mean over halvings of these. "
             "Diversity: how far apart pairs of images are, as a share of that of real images of different patients; "
             "near 1 is good."]
    tones = {(i, len(heads) - 1): light_of(a) for i, a in enumerate(audits)}
    marks = {i: "copied" for i, audit in enumerate(audits) if light_of(audit) == "red"}
    yield Fold([Table(table.Table(heads, rows, notes=notes), remarks=remarks, marks=marks, tones=tones)],
               title="The audit of every GAN", open=len(audits) <= MOST_GANS)


def _relation(context: StudyContext) -> Iterator[Block]:
    """Whether GANs with a better distance gave classifiers a better F1; nothing where that cannot be looked at.

    A point is a GAN: the F1 of its class on its cell's held-out images, less that of the OVERSAMPLE arm beside it, the
    mean over the arms with its images.
    """
    pairs, gains = _gan_arms(context.results["arms"])
    points = []
    for audit in context.audits:
        kernel = figure_of(audit, "KD")
        gain = _gain(context.folder, audit, pairs) if kernel and pairs else None
        if kernel and gain is not None:
            points.append((1000 * float(kernel["value"]), gain, int(audit["k"]), light_of(audit) == "red"))
    if len(points) < 2:
        return
    less = ", less that of the OVERSAMPLE arm beside each" if gains else ""
    chart = drawings.scatter(points, "F1 gained over OVERSAMPLE" if gains else "F1 with synthetic images")
    yield Columns([Drawing(chart, "Did a better distance mean a better F1?"), Stack([
        Heading("In words", level=3), Words(_related(points, gains)),
        Words("A mark is a GAN. F1 is that of its class, on the held-out images of its cell alone, the mean over the "
              f"arms with its images{less}.", style="note")])])


def _gan_arms(arms: Sequence[str]) -> tuple[list[tuple[str, str | None]], bool]:
    """The arms with synthetic images and their OVERSAMPLE arms; where none has one, without."""
    known = by_parts_of(arms)
    pairs = [(name, known.get((prefix, "OVERSAMPLE", at))) for (prefix, source, at), name in known.items()
             if source == "GAN"]
    beside = [pair for pair in pairs if pair[1]]
    if beside:
        return beside, True
    return [(name, None) for (_, source, _), name in known.items() if source in ("GAN", "GAN_ONLY")], False


def _gain(folder: StudyFolder, audit: Row, pairs: Sequence[tuple[str, str | None]]) -> float | None:
    cell = folder.cell(Cell(int(audit["k"]), int(audit["fold"]), int(audit["seed"])))

    def score(arm: str) -> float:
        own: Predictions = read_predictions(cell.predictions(arm))
        label = audit["label"]
        truth = np.array([true == label for true in own.labels], dtype=bool)
        return float(f1(truth, own.scores[label], own.decisions[label], np.ones((1, len(truth))))[0])

    try:
        return float(np.mean([score(a) - (score(b) if b else 0.0) for a, b in pairs]))
    except (UserError, KeyError):  # a class that is not positive (GAN_ONLY has GANs of all), or files that are gone
        return None


def _related(points: Sequence[tuple[float, float, int, bool]], gains: bool) -> str:
    x, y, k = (np.array(column, dtype=float) for column in list(zip(*points, strict=True))[:3])
    what, count = "the gain in F1" if gains else "F1", grouped(len(points), "GAN")
    if len(points) < FEW_GANS:
        return f"With {count} there is no correlation to speak of."
    value, span = correlation_within(x, y, k)
    if value is None or span is None:
        return "All GANs of a k have the same distance or the same F1: there is no correlation to speak of."
    held = " among GANs of the same k" if len(set(k.tolist())) > 1 else ""
    nearer = "the nearer the GAN's images were to held-out patients, the"
    answer = f"Yes, here: {nearer} better {what}" if span[1] < 0 else \
        f"No, the other way round: {nearer} worse {what}" if span[0] > 0 else \
        f"That can't be told: the distance to held-out patients did not go with {what} clearly, either way"
    return (f"{answer} (rank correlation{held} {estimate(value, span)}, {count}; in brackets the 95% interval over "
            "GANs). GANs share patients, so this describes these GANs and is no test.")


def correlation_within(x: Array, y: Array, group: Array) -> tuple[float | None, Interval | None]:
    """Rank correlation of x and y [n], -1 to 1, within groups: of ranks in them, less their means.

    None if x or y does not vary; with it a 95% interval, from drawing again within groups.
    """
    value = _correlation(x, y, group)
    if value is None:
        return None, None
    rng, drawn = np.random.default_rng(0), []
    places = [np.flatnonzero(group == g) for g in np.unique(group)]
    for _ in range(DRAWS):
        rows = np.concatenate([rng.choice(p, len(p)) for p in places])
        drawn.append(_correlation(x[rows], y[rows], group[rows]))
    low, high = np.percentile([d for d in drawn if d is not None], [2.5, 97.5])
    return value, (float(low), float(high))


def _correlation(x: Array, y: Array, group: Array) -> float | None:
    from scipy.stats import rankdata

    a, b = np.zeros(len(x)), np.zeros(len(x))
    for g in np.unique(group):
        own = group == g
        for values, ranks in ((x, a), (y, b)):
            ranks[own] = rankdata(values[own])
            ranks[own] -= ranks[own].mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else None


# ------------------------------------------------------------------ synthetic images

def _images(context: StudyContext) -> Iterator[Block]:
    """The first images of each GAN, as its seed drew them, beside the real ones that it learnt from."""
    gans = [(cell, gan) for cell in context.folder.all_cells() for gan in context.folder.cell(cell).gans()
            if gan.synthetic.is_dir()]
    gans.sort(key=lambda own: (own[0].fold, own[0].seed, own[0].k))
    first, others = list[Block](), list[Block]()
    for cell, gan in gans[:MOST_GANS]:
        try:
            (others if cell.fold or cell.seed else first).extend(_strips(context, cell, gan))
        except UserError as error:
            context.say(f"the report goes without the images of {cell.name}: {error}")
    if not first and not others:
        return
    yield Heading("Synthetic images and the real ones they were learnt from", "images")
    yield Words("The first images that each seed drew: nobody picked them. Synthetic left, real ones of the cell's "
                "training images right, which go round the patients. The same grey or colour range on both sides.")
    yield from first
    if others:
        total = len(others) // 2
        of = f" of {total + len(gans) - MOST_GANS}" if len(gans) > MOST_GANS else ""
        yield Fold(others, title=f"Other folds and seeds ({total}{of})")


def _strips(context: StudyContext, cell: Cell, gan: GanFolder) -> list[Block]:
    """A heading, and the GAN's images beside real ones."""
    audit, size = read_audit(gan.audit_file), context.settings.size
    light = light_of(audit)
    whose = "" if context.one_class else f", {audit.get('label')}"
    title = f"k = {cell.k:,}, fold {cell.fold}, seed {cell.seed}{whose}"
    synthetic, learnt = Dataset.open(gan.synthetic), Dataset.open(gan.data)
    drawn = _strip(synthetic, synthetic.rows()[:TILES], size, f"synthetic images, {title}")
    real = _strip(learnt, spread(learnt.rows(), TILES), size, f"real training images, {title}")
    remark = "" if light == "red" else UNSURE if light == "green" else RESERVED
    return [Heading(title, level=3, beside=AUDITS[light], tone=light),
            Columns([Pictures([drawn], "strip", patients=light == "red", instead=COPIED, remark=remark),
                     Pictures([real], "strip", patients=True)])]


def _strip(dataset: Dataset, rows: Sequence[ManifestRow], size: int, alt: str) -> Picture:
    images = reduce(to_uint8(dataset.images(rows, size)), max(1, size // TILE))
    missing = TILES - len(images)  # so that all strips have one scale
    if missing > 0:
        images = np.concatenate([images, np.full((missing, *images.shape[1:]), GAP_GREY, np.uint8)])
    return picture(tiles(images, TILES, GAP, GAP_GREY), f"{len(rows)} {alt}")


# ------------------------------------------------------------------ calibration, methods

def _calibration(context: StudyContext) -> Iterator[Block]:
    """Curves of the arms at the largest k: held-out images of all folds and seeds, all positive classes together."""
    settings, curves = context.settings, {}
    for arm in context.results["arms"]:
        try:
            own = [read_predictions(context.folder.cell(c).predictions(arm)) for c in context.folder.all_cells()
                   if c.k == settings.k[-1]]
            scores = np.concatenate([p.scores[c] for p in own for c in settings.positives])
            truth = np.concatenate([[label == c for label in p.labels] for p in own for c in settings.positives])
        except (UserError, KeyError, ValueError):  # the cells' folders are gone: results.json is enough for the rest
            continue
        bins = [part for part in np.array_split(np.argsort(scores, kind="stable"), BINS) if len(part)]
        curves[arm] = np.array([scores[b].mean() for b in bins]), np.array([truth[b].mean() for b in bins])
    if not curves:
        return
    yield Heading("Can the scores be read as probabilities?", "calibration")
    panels = [Drawing(drawings.reliability(panel, curves), panel.title) for panel in drawings.panels(list(curves))]
    for i in range(0, len(panels), 2):
        yield Columns(panels[i:i + 2])
    yield Words(f"At k = {settings.k[-1]:,}, the held-out images of all folds and seeds, in ten bins of equally many. "
                "On the dotted line, scores are probabilities; below it, they promise too much. Arms that add "
                "positives learn at another share of positives than that of the test images, which moves their curves. "
                "Bins hold images of the same patients: there is no interval.", style="note")


def _methods(context: StudyContext) -> Iterator[Block]:
    yield Heading("For a methods section", "methods")
    for text in study_context.methods(context):
        yield Words(text)
    yield Heading("How to make it again", level=3)
    commands = recorded_commands(context.folder.path / "commands.json")
    if commands:
        yield Words("\n".join([*commands, "ganatomy report STUDY"]), style="code")
    yield Words("Words in capitals stand for your folders. study.json holds every setting. Equal bits need the same "
                "torch, device and one thread.", style="note")
    if context.settings.needs_gan:
        yield Fold([Words(context.settings.recipe.to_yaml(), style="code")], title="The full recipe of the GANs")
    yield Heading("References", level=3)
    yield Words(items=[f"{text} {what}" for text, what in study_context.REFERENCES])
