"""The report of a translation: the verdict question by question, and all values in tables and charts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ganatomy.core import table
from ganatomy.core.text import NOTHING, Interval, estimate, grouped, listed, number, p_value, rounded, sentence
from ganatomy.metrics import shown
from ganatomy.metrics.base import MIN_SUBJECTS
from ganatomy.metrics.schema import (
    HISTOGRAM_MATCHED,
    INPUT_RETURNED,
    INSIDE,
    MODEL,
    WHOLE,
    AnatomyResult,
    Comparison,
    Direction,
    PairedResult,
)
from ganatomy.metrics.translation.anatomy import JUDGED
from ganatomy.metrics.translation.paired import Standing, disagreeing, primary, standing
from ganatomy.metrics.translation.registration import DEFORMATION, INVENTED, KEPT, LOST, SHIFT
from ganatomy.reports import drawings, run_sections
from ganatomy.reports.blocks import Block, Columns, Drawing, Heading, Table, Terms, Words
from ganatomy.reports.context import Context
from ganatomy.reports.evaluation_sections import NOT_YET

NAMES = {MODEL: "this model", INPUT_RETURNED: "the input returned", HISTOGRAM_MATCHED: "histogram matching"}
HEADS = {MODEL: "This model", HISTOGRAM_MATCHED: "Histogram matching", INPUT_RETURNED: "Input returned"}
QUESTIONS = {INPUT_RETURNED: "Nearer to the truth than the input itself?",
             HISTOGRAM_MATCHED: "Nearer than the input with its grey values matched?"}
REGIONS = {INSIDE: "Inside the patient", WHOLE: "The whole picture (empty background flatters)"}
MEANINGS = {
    SHIFT: "The whole output against its input.",
    DEFORMATION: "How far parts of it are moved against the rest (95th percentile over an image's blocks).",
    LOST: "Share of the blocks with content that are not in the output.",
    KEPT: "Share of the input's strong edges that the output has, too.",
    INVENTED: "Share of the output's strong edges that the input does not have.",
}
BY_SUBJECT = ("MAE", "PSNR", "SSIM")
UNMEASURED, UNKNOWN = "Not measured", "Cannot be told"
GONE = 0.1  # from this share of vanished lesions on, the answer is printed as a warning
# the answer to "is it nearer?", and the same in a sentence
STANDINGS: dict[Standing, tuple[str, str]] = {
    "ahead": ("Yes", "is nearer to the truth than {}"), "behind": ("No", "is farther from the truth than {}"),
    "open": (UNKNOWN, "cannot be told apart from {} by its distance to the truth")}
GLOSSARY = [
    ("MAE, PSNR", "Mean absolute error in per cent of the grey range, and peak signal-to-noise ratio, between output "
     "and truth. The range is fixed (all that the dataset can hold), as in the SynthRAD challenges (Thummerer et al., "
     "2023)."),
    ("SSIM, MS-SSIM", "Structural similarity, Wang et al., 2004 and 2003, with its maps averaged inside the patient."),
    ("Inside the patient", "Where either real image stands out from its background by a tenth of the range. Nothing "
     "outside of it has an influence."),
    ("Input returned, histogram matching", "Translations without knowledge of anatomy: the input as it is, and its "
     "grey values mapped rank to rank to those of the training targets. A model that is not ahead of both has learned "
     "nothing worth having."),
    ("Kernel distance (KD)", "The squared maximum mean discrepancy with a cubic polynomial kernel, after Bińkowski et "
     "al., 2018, over the features named behind the hyphen. Only images of different subjects are compared. How far "
     "the outputs as a set are from real images; not comparable with published KIDs."),
    ("95% interval", "Over subjects, not images: slices of one patient resemble each other."),
    ("Vanished lesion", "An outlined lesion that stands out in the real target and has less than a quarter of that "
     "contrast in the output."),
]
NOT_SHOWN = (
    "Whether a radiologist would reach the same diagnosis: nobody has read these images blindly. Small errors on "
    "average can be large where it matters.",
    "Slices are translated one by one: in a volume there may be steps from slice to slice.",
    "Other scanners, sequences, ages and diseases than those of the training data.",
    "MAE, PSNR and SSIM favour blur where the model is unsure; the kernel distance favours sharpness, true or not. "
    "None sees what a radiologist looks for.")


class Finding(NamedTuple):
    """A question, its answer in a word or two, and what the answer rests on."""

    question: str
    answer: str
    tone: str
    words: str


def learned_from(context: Context) -> str:
    """The training images in words: 340 pairs of slices of 4 subjects; "" without the dataset."""
    recipe, dataset = context.recipe, context.dataset
    if dataset is None:
        return ""
    targets, sources = context.rows("train"), context.rows("train", recipe.source)
    who = context.of_subjects(len({row.subject for row in (*targets, *sources)}))
    if context.gan.paired:
        return f"{grouped(len(targets), 'pair')} of slices{who}"
    pairs = ", without use of their pairing" if dataset.info.paired else ", which are not paired"
    return f"{len(sources):,} {recipe.source} and {len(targets):,} {recipe.domain} slices{who}{pairs}"


def tiles(context: Context) -> list[tuple[str, str]]:
    """The headline values for the head of a page."""
    if context.translation is None or not context.translation.directions:
        return []
    direction = context.translation.directions[0]
    rows = []
    own, returned = (direction.value(name, f"MAE {INSIDE}") for name in (MODEL, INPUT_RETURNED))
    if own and own.value is not None:
        other = f" (input returned {number(returned.value)}%)" if returned else ""
        rows.append(("MAE inside the patient", f"{rounded(own.value, own.interval)}%{other}"))
    kernel, real = direction.kernel.translators.get(MODEL), direction.kernel.reference
    if kernel and kernel.value is not None:
        other = f" (real train vs test {rounded(real.value, real.interval, 1000)})" \
            if real and real.value is not None else ""
        rows.append((f"{kernel.name} × 1000, test", rounded(kernel.value, kernel.interval, 1000) + other))
    return [*rows, ("Test subjects", f"{direction.n_subjects:,} ({direction.n_images:,} slices)")]


# ------------------------------------------------------------------ the verdict

def verdict(context: Context) -> Iterator[Block]:
    """The questions a reader has of a translation, direction by direction."""
    metrics = context.translation
    if metrics is None:
        return
    yield Heading("The verdict")
    if context.stale:
        yield Words(context.stale, lead="These figures may be out of date.", style="warn")
    for direction in metrics.directions:
        who = context.of_subjects(direction.n_subjects)
        yield Heading(f"{direction.source} to {direction.target}, "
                      f"{grouped(direction.n_images, 'test slice')}{who}", level=3)
        yield Terms([(f.question, Words(f.words, lead=f"{f.answer}.", tone=f.tone)) for f in findings(direction)],
                    "findings")
    few = " Below five test subjects no interval is possible, and nothing is known about other patients." \
        if any(d.n_subjects < MIN_SUBJECTS for d in metrics.directions) else ""
    yield Words(f"In brackets 95% intervals over {context.units}. Differences are this model minus the other, inside "
                "the patient: for MAE lower is better, for PSNR and SSIM higher. MAE alone decides, as named "
                f"beforehand; the others are shown beside it.{few}", style="note")
    if metrics.own_warnings:
        yield Words(lead="Warnings of the evaluation", items=metrics.own_warnings, style="warn")


def lede(direction: Direction) -> str:
    """The verdict in a sentence or three, for the top of the page."""
    who, texts = grouped(direction.n_subjects, "test subject"), []
    if direction.returned and direction.returned.no_translation:
        truth = " or the truth" if direction.paired else ""
        texts.append({"input": "The model returns its input nearly unchanged.",
                      "grey values": "The model only changes grey values.",
                      "unrelated": f"The model's images have little to do with its input{truth}."}[
            direction.returned.finding])
    if direction.comparisons:
        few = "" if direction.n_subjects >= MIN_SUBJECTS else \
            "; with so few no interval is possible, and it may be chance"
        texts.append(f"On {who} the synthetic {direction.target} {_standings(direction)}{few}.")
    else:
        texts.append(f"There is no true {direction.target} of the {who} to compare with.")
    if direction.anatomy and direction.anatomy.kept is not None:
        texts.append(f"The anatomy {'stays in place' if direction.anatomy.kept else 'is not kept'}.")
    lesions = direction.lesions
    if lesions and lesions.n_clear and lesions.vanished is not None:
        new = lesions.invented
        invented = f", and 100 slices show {new.per_100:.0f} spots like lesions that the truth does not have " \
                   f"({new.missing_per_100:.0f} the other way round)" if new is not None else ""
        texts.append(f"Of {grouped(lesions.n_clear, 'clear lesion')} {lesions.vanished:.0%} vanished{invented}.")
    return " ".join(texts)


def ledes(context: Context) -> list[str]:
    """The verdict of each direction; of two each names its own."""
    directions = context.translation.directions if context.translation else ()
    names = [f"{d.source} to {d.target}: " if len(directions) > 1 else "" for d in directions]
    return [name + lede(direction) for name, direction in zip(names, directions, strict=True)]


def methods(context: Context) -> str:
    """The same as prose, for a methods section."""
    texts = []
    for direction in context.translation.directions if context.translation else ():
        texts += [lede(direction), *(f.words for f in findings(direction) if f.answer != UNMEASURED)]
    return " ".join([*texts, *context.notes])


def _disagreeing(direction: Direction, other: str) -> str:
    """The values that lead the other way than the one that decides: `SSIM disagrees`; else ""."""
    names = [_short(c.name) for c in disagreeing(direction.compared(other))]
    return f"{listed(names)} {'disagree' if len(names) > 1 else 'disagrees'}" if names else ""


def _others(direction: Direction) -> list[str]:
    """The other translators with which the model was compared, those that know no anatomy first."""
    runs = [name for name in direction.names if name not in NAMES]
    return [name for name in (INPUT_RETURNED, HISTOGRAM_MATCHED, *runs) if direction.compared(name)]


def _standings(direction: Direction) -> str:
    """Is nearer to the truth than the input returned and unet, but not than histogram matching."""
    by: dict[Standing, list[str]] = {}
    for other in _others(direction):
        against = _disagreeing(direction, other)
        by.setdefault(standing(direction.compared(other)), []).append(
            NAMES.get(other, f"the run {other}") + (f" ({against})" if against else ""))
    return listed([text.format(listed(by[key])) for key, (_, text) in STANDINGS.items() if key in by]) \
        or "cannot be compared"


def findings(direction: Direction) -> list[Finding]:
    """The questions a reader has of a translation, the most important first."""
    own = [_nearer(direction, other) for other in _others(direction)]
    if not direction.paired:
        own.append(Finding("Near to the truth?", UNMEASURED, "", "The two contrasts are not of the same slices, so "
                           "there is no true image to compare with."))
    returned, anatomy = direction.returned, direction.anatomy
    if returned is not None:
        answer, tone = {"": ("No", ""), "input": ("Yes, nearly", "bad"),
                        "grey values": ("It only changes grey values", "bad"),
                        "unrelated": ("No, they have little in common", "bad")}.get(returned.finding, (UNKNOWN, ""))
        own.append(Finding("Does it return its input?", answer, tone, returned.sentence))
    if anatomy is not None:
        answer, tone = {True: ("Yes", "good"), False: ("No", "bad"), None: (UNKNOWN, "")}[anatomy.kept]
        also = " (Whoever returns the input keeps its anatomy, too.)" \
            if returned and returned.finding in ("input", "grey values") else ""
        own.append(Finding("Is the anatomy in place?", answer, tone, sentence(anatomy.sentence) + also))
    return [*own, _lesions(direction), *_looks_real(direction)]


def _nearer(direction: Direction, other: str) -> Finding:
    compared = direction.compared(other)
    place = standing(compared)
    n = min(c.n_subjects for c in compared)
    few, answer = n < MIN_SUBJECTS, STANDINGS[place][0]
    if few and place in ("ahead", "behind"):
        answer += f", on {grouped(n, 'subject')} alone"
    one = primary(compared)
    words = [", ".join(map(_difference, compared)) + "."]
    words += [f"MAE decides, with Holm's p = {p_value(one.p_holm)} over all that it is compared with."] \
        if one is not None and one.p_holm is not None else []
    if n > 1:
        wins = one or compared[0]
        words.append(f"Nearer by MAE on {wins.first_ahead} of {grouped(wins.n_subjects, 'test subject')}.")
    against = _disagreeing(direction, other)
    words += [f"{against}."] if against else []
    words += ["No interval is possible with so few: chance cannot be ruled out."] if few else []
    tone = "" if few else {"ahead": "good", "behind": "bad"}.get(place, "")
    return Finding(QUESTIONS.get(other, f"Nearer than the run {other}?"), answer, tone, " ".join(words))


def _difference(comparison: Comparison) -> str:
    """The difference with its interval: MAE -2.1% of range (-2.5 to -1.7)."""
    unit = comparison.units if comparison.units.startswith("%") else f" {comparison.units}".rstrip()
    return f"{_short(comparison.name)} {estimate(comparison.difference, comparison.interval, unit=unit, sign=True)}"


def _lesions(direction: Direction) -> Finding:
    lesions, question = direction.lesions, "Are lesions kept?"
    if lesions is None:
        return Finding(question, UNMEASURED, "", "Lesions are not outlined in this dataset at this size, so nothing "
                       "here says whether some vanish or are invented.")
    if not lesions.n_clear or lesions.vanished is None:
        return Finding(question, UNKNOWN, "", sentence(lesions.sentence))
    floor, new = lesions.floor_vanished, lesions.invented
    noise = f" (of the real target with its own noise again {floor:.0%})" if floor is not None else ""
    words = [f"Of {grouped(lesions.n_clear, 'lesion')} of {grouped(lesions.n_subjects, 'subject')} that stand out in "
             f"the real {direction.target}, {_share(lesions.vanished, lesions.vanished_interval)} vanished{noise}"]
    if lesions.slope is not None:
        noise = f" (with that noise {lesions.floor_slope:.0%})" if lesions.floor_slope is not None else ""
        words.append(f"{estimate(lesions.slope, lesions.slope_interval, 100, unit='%')} of their contrast is "
                     f"kept{noise}")
    if new is not None:
        span = f" ({new.interval[0]:.0f} to {new.interval[1]:.0f})" if new.interval else ""
        words.append(f"in 100 images {new.per_100:.0f}{span} spots look like lesions and are not in the truth "
                     f"({new.missing_per_100:.0f} such are in the truth alone; noise makes {new.floor_per_100:.0f})")
    surely = lesions.vanished_interval is not None and lesions.vanished_interval[0] > (floor or 0.0)
    tone = "bad" if surely and lesions.vanished - (floor or 0.0) >= GONE else ""
    return Finding(question, f"{lesions.vanished:.0%} vanished", tone, "; ".join(words) + ".")


def _looks_real(direction: Direction) -> Iterator[Finding]:
    """The kernel distance in words: told apart where its interval lies above 0. That of real images is context."""
    own, real = direction.kernel.translators.get(MODEL), direction.kernel.reference
    if own is None:
        return
    others = [f"{NAMES.get(name, name)} {estimate(r.value, r.interval, 1000)}"
              for name, r in direction.kernel.translators.items() if name != MODEL]
    words = [f"{own.name} × 1000, lower is better: {estimate(own.value, own.interval, 1000)}; {', '.join(others)}"]
    if real is not None and real.value is not None:
        words.append(f"for context, {real.what} {estimate(real.value, real.interval, 1000)}")
    answer, close = (UNKNOWN, "No interval is possible with so few subjects.") if own.interval is None else \
        ("No, they can be told apart", "") if own.interval[0] > 0 else \
        ("No difference shown", "That is no evidence that there is none.")
    yield Finding(f"Do the images together look like real {direction.target}?", answer, "",
                  " ".join(filter(None, ("; ".join(words) + ".", sentence(own.caveat), close))))


def _share(value: float, span: Interval | None) -> str:
    """A share in per cent with its interval."""
    if span is None:
        return f"{value:.0%}"
    return f"{value:.0%} ({span[0]:.0%} to {span[1]:.0%})"


# ------------------------------------------------------------------ all figures

def values(context: Context) -> Iterator[Block]:
    """Every value, a column a translator; by subject; there and back; the anatomy."""
    yield Heading("All figures")
    if context.translation is None:
        yield Words(NOT_YET)
        return
    for direction in context.translation.directions:
        yield Heading(f"{direction.source} to {direction.target}", level=3)
        yield from _standing(context, direction)
        yield _main_table(context, direction)
        yield from _by_subject(direction)
        yield from _there_and_back(direction)
        yield from _anatomy_table(direction)


def _standing(context: Context, direction: Direction) -> Iterator[Block]:
    """Where the model stands among the others: mean absolute error, and kernel distance with its reference."""
    def mark(name: str, value: float | None, interval: Interval | None) -> list[drawings.Mark]:
        kind = "control" if name in (INPUT_RETURNED, HISTOGRAM_MATCHED) else "model"
        return [(HEADS.get(name, name), value, interval, kind)] if value is not None else []

    charts, errors, distances = [], list[drawings.Mark](), list[drawings.Mark]()
    real = direction.kernel.reference
    if real and real.value is not None:
        distances.append(("Real train vs test", real.value, real.interval, "real"))
    for name in direction.names:
        error, distance = direction.value(name, f"MAE {INSIDE}"), direction.kernel.translators.get(name)
        errors += mark(name, error.value, error.interval) if error else []
        distances += mark(name, distance.value, distance.interval) if distance else []
    if len(errors) > 1:
        charts.append(Drawing(drawings.standing("MAE inside the patient, % of range", errors)))
    if len(distances) > 1:
        charts.append(Drawing(drawings.standing(_kernel_name(direction), distances, 1000.0)))
    if charts:
        none = ", none with so few subjects" if direction.n_subjects < MIN_SUBJECTS else ""
        yield Columns(charts)
        yield Words(f"Lower is better in both. Bars: 95% intervals over {context.units}{none}. Diamonds: translations "
                    "that know no anatomy.", style="note")


def _kernel_name(direction: Direction) -> str:
    """The kernel distance's, with that of the features: KD-Lite0 × 1000."""
    return shown(next((r.name for r in direction.kernel.translators.values()), "KD"))


def _main_table(context: Context, direction: Direction) -> Table:
    """Values as rows, translators as columns; the kernel distance last, with real images as its reference."""
    names, kernel = direction.names, direction.kernel
    rows: list[list[str]] = []
    groups: dict[int, str] = {}
    remarks: dict[int, str] = {}
    for region, title in REGIONS.items():
        own = [r for r in direction.translators.get(MODEL, ()) if r.name.endswith(region)]
        groups |= {len(rows): title} if own else {}
        rows += [[_titled(r), *(_cell(direction.value(name, r.name), _wins(direction, name, r.name)) for name in names)]
                 for r in own]
    if kernel.translators:
        groups[len(rows)] = "All images together, against real ones"
        notes = [sentence(text) for text in dict.fromkeys(r.caveat for r in kernel.translators.values()) if text]
        if kernel.reference and kernel.reference.value is not None:
            real = estimate(kernel.reference.value, kernel.reference.interval, 1000)
            notes.append(f"Reference, {kernel.reference.what}: {real}.")
        remarks = {len(rows): " ".join(notes)} if notes else {}
        distances = [kernel.translators.get(name) for name in names]
        rows.append([f"{_kernel_name(direction)} ↓",
                     *(estimate(d.value, d.interval, 1000) if d else "" for d in distances)])
    spans = ", in brackets 95% intervals over subjects" if direction.n_subjects >= MIN_SUBJECTS else ""
    note = (f"n = {grouped(direction.n_images, 'slice')}{context.of_subjects(direction.n_subjects)}; means over "
            f"subjects of the means of their slices{spans}. ↓ lower is better, ↑ higher is better. "
            f"{sentence(direction.note)}").rstrip()
    heads = ["Figure", *(HEADS.get(name, name) for name in names)]
    return Table(table.Table(heads, rows, notes=[note]), "figures", groups, remarks)


def _by_subject(direction: Direction) -> Iterator[Block]:
    """Every subject's values, where there are two or more, but too few for an interval."""
    if not 1 < direction.n_subjects < MIN_SUBJECTS or not direction.translators:
        return
    rows: list[list[str]] = []
    groups: dict[int, str] = {}
    for result in direction.translators[MODEL]:
        if _short(result.name) in BY_SUBJECT and result.name.endswith(INSIDE):
            groups[len(rows)] = f"{_titled(result)}, {INSIDE}"
            own = [direction.value(name, result.name) for name in direction.names]
            rows += [[f"Subject {i}", *(number(r.per_subject.get(subject)) if r else "" for r in own)]
                     for i, subject in enumerate(result.per_subject, 1)]
    yield Heading("Subject by subject", level=3)
    yield Table(table.Table(["Subject", *(HEADS.get(name, name) for name in direction.names)], rows), "figures", groups)


def _there_and_back(direction: Direction) -> Iterator[Block]:
    """Errors of the way there and back, and of a real target through the same generator; two-way models only."""
    if not direction.cycle:
        return
    identity = {r.name: r for r in direction.identity}
    rows = [[_titled(r), _cell(r), _cell(identity.get(r.name))] for r in direction.cycle
            if r.name.endswith(INSIDE) and _short(r.name) in BY_SUBJECT]
    heads = ["Inside the patient", "There and back (cycle)", f"Real {direction.target} put in (identity)"]
    yield Heading("Cycle and identity error", level=3)
    yield Table(table.Table(heads, rows, notes=[
        "A small cycle error does not show that the translation is right: a model can hide its input in its output. "
        "Identity: a real image of the contrast to make should come through unchanged."]), "figures")


def _anatomy_table(direction: Direction) -> Iterator[Block]:
    results = [r for r in direction.anatomy.figures if r.name in JUDGED] if direction.anatomy else []
    if not results:
        return
    rows = [[f"{r.name}\n{MEANINGS[r.name]}", _amount(r, r.value, r.interval), *_against_limit(r)] for r in results]
    tones = {(i, 3): "bad" for i, result in enumerate(results) if result.faulty}
    keep = "real pairs" if direction.paired else "outputs should"
    yield Heading("Is the anatomy in place?", level=3)
    yield Table(table.Table(["Figure", "Output against input", "Reference", "Beyond the limit"], rows, notes=[
        f"Measured between input and output, without the truth. The limit is what 95% of {keep} keep, never narrower "
        "than noise alone needs; more than 15% of the images beyond it are a fault. A model that returns its input "
        "keeps the anatomy perfectly: read this beside the error."]), "figures", tones=tones)


def _against_limit(result: AnatomyResult) -> tuple[str, str]:
    """The reference with what it is of, and how many images lie beyond the limit."""
    reference, side = result.reference, "below" if result.name == KEPT else "above"
    real = f"{_amount(result, reference.value, reference.interval)} ({reference.what})" \
        if reference and reference.value is not None else NOTHING
    beyond = f"{result.beyond:.0%} of images {side} {_amount(result, result.limit, None)}" \
        if result.beyond is not None and result.limit is not None else NOTHING
    return real, beyond


def _amount(result: AnatomyResult, value: float | None, span: Interval | None) -> str:
    if value is None:
        return "not measurable"
    span = span if span and span[1] > span[0] else None
    if result.unit:
        return estimate(value, span, unit=f" {result.unit}")
    if span is None:
        return f"{100 * value:.1f}%"
    low, high = (min(100.0, max(0.0, 100 * end)) for end in span)
    return f"{100 * value:.1f}% ({low:.1f} to {high:.1f})"


def _short(name: str) -> str:
    """The name without its region: SSIM of "SSIM foreground"."""
    return name.removesuffix(f" {INSIDE}").removesuffix(f" {WHOLE}")


def _titled(result: PairedResult) -> str:
    """MAE (% of range) with an arrow to where it is better."""
    units = f" ({result.units})" if result.units and result.units not in result.name else ""
    return f"{_short(result.name)}{units} {'↓' if result.name.startswith('MAE') else '↑'}"


def _cell(result: PairedResult | None, more: str = "") -> str:
    return estimate(result.value, result.interval, more=more) if result else ""


def _wins(direction: Direction, name: str, value: str) -> str:
    own = next((c for c in direction.comparisons.get(name, ()) if c.name == value and c.n_subjects > 1), None)
    return f"model better on {own.first_ahead}/{own.n_subjects}" if own else ""


def not_shown(context: Context) -> Iterator[Block]:
    """What slices and figures cannot tell."""
    yield Heading("What this does not show")
    yield Words(items=[*NOT_SHOWN, *run_sections.not_shown(context)])
