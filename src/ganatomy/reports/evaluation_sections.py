"""How good generated images are: the answers at the top, every value at a glance and in full, and the methods."""

from __future__ import annotations

from collections.abc import Iterator

from ganatomy.core import table
from ganatomy.core.text import NOTHING, estimate, grouped, listed, p_value, percent, rounded, sentence
from ganatomy.metrics import about, factor, shown, titled
from ganatomy.metrics.schema import Control, Metrics, Result
from ganatomy.reports import drawings, run_sections
from ganatomy.reports.blocks import Block, Columns, Drawing, Fold, Heading, Light, Lights, Stack, Table, Words
from ganatomy.reports.context import Context

QUESTIONS = {"realistic": ("Do they look real?", "good"), "diverse": ("Are they diverse?", "good"),
             "copies": ("Are they copies of patients?", "copies"),
             "enough data": ("Is there enough data to say so?", "data")}
OTHER = "Further figures"
LIGHTS = {"green": "Good", "amber": "Caution", "red": "Problem", "grey": "Cannot tell"}
BETTER = {"lower": ("↓ lower", "lower is better"), "higher": ("↑ higher", "higher is better"),
          "match": ("= as real", "should match real vs real")}
ORDER = {"test": 0, "val": 1, "train": 2}
CONTROLS = {"mean image": "the mean training image", "untrained generator": "the images of an untrained generator"}
EXTRACTORS = {"Lite0": "EfficientNet-Lite0, trained on photographs (ImageNet)",
              "Inception": "InceptionV3 (weights of 2015, ImageNet)",
              "Virtual": "a small network that has learnt from virtual patients",
              "Random": "a network with fixed random weights"}
NOT_YET = "Not evaluated yet: run `ganatomy evaluate RUN`, then `ganatomy report RUN` again."
GLOSSARY = [
    ("Kernel distance (KD)", "The squared maximum mean discrepancy with a cubic polynomial kernel, after Bińkowski et "
     "al., 2018. Here only images of different subjects are compared, over the features named behind the hyphen. "
     "Called KID only with Inception features; figures over other features are not comparable with published KIDs."),
    ("Fréchet distance (FD)", "After Heusel et al., 2017, who used Inception features (FID). Biased upward for small "
                              "n."),
    ("Precision, recall, density, coverage", "Kynkäänniemi et al., 2019, and Naeem et al., 2020, with five nearest "
     "neighbours, here of other subjects."),
    ("Independent critic", "A network trained after the GAN to tell real from generated images and judged on subjects "
     "it has not seen. Its Jensen-Shannon, chi-squared and Kullback-Leibler figures are lower bounds: no critic can "
     "exceed the truth on average."),
    ("p of a pair", "Conformal: the share of held-out patients who are approached as closely, the pair itself counted. "
     "It cannot be below 1 in (held-out patients + 1)."),
    ("t-SNE", "A map that keeps near neighbours near; van der Maaten and Hinton, 2008. Distances between groups mean "
     "nothing."),
    ("Power spectrum", "How much of an image is coarse (low frequencies) and fine (high ones). Upsampling can leave "
     "peaks at periods of 2, 4 or 8 pixels: a checkerboard."),
    ("SSIM, MS-SSIM", "Structural similarity, Wang et al., 2004, of unpaired images a description, not a score; "
     "multi-scale, 2003, MS-SSIM-3 with three scales, for images below 176 pixels."),
    ("Real vs real, or noise floor", "The same figure between two random halves of the real subjects: what a perfect "
     "generator would get at such numbers. In brackets, the spread over halvings. Where a figure should match, it is "
     "the same figure between real pairs. “At equal n” is the model's figure with as many images as the halves."),
    ("Controls", "Deliberately bad generators. If a control is not behind the model, the model is no better than it or "
     "the measure is blind here; look at the images."),
]


def intervals(context: Context) -> tuple[str, str]:
    """The entry of the glossary about intervals."""
    over = "Over subjects, not images: slices of one patient resemble each other." if context.known else \
        "Over images, as the patients are unknown: too narrow if several are of one patient."
    return "95% interval", f"{over} Of diversity, over the synthetic images."


def lights(metrics: Metrics | None) -> Lights:
    """The lights in the file's order; none where it has none."""
    return Lights([Light(v.light, LIGHTS[v.light], v.says, *QUESTIONS[v.question])
                   for v in (metrics.verdicts if metrics else ())])


def headline(metrics: Metrics) -> Result | None:
    """The first kernel distance against test, else against train, else the first result; None where it flatters."""
    ranked = sorted(metrics.results, key=lambda r: (factor(r.name) == 1, ORDER.get(r.against, 9)))
    return ranked[0] if ranked and not ranked[0].flattering else None


def tile(metrics: Metrics) -> list[tuple[str, str]]:
    """The headline's value for the head of a page, with real against real in brackets."""
    head = headline(metrics)
    if head is None:
        return []
    floor = "" if head.floor is None else rounded(head.floor, head.floor_interval, factor(head.name))
    beside = f" (real vs real {floor})" if floor else ""
    return [(f"{shown(head.name)}, {head.against}", _point(head) + beside)]


def good(context: Context) -> Iterator[Block]:
    """How good they are: the headline, every metric on a line, and folded up all about each."""
    yield Heading("How good they are", "good")
    metrics = context.metrics
    if metrics is None:
        yield Words(NOT_YET)
        return
    if context.stale:
        yield Words(context.stale, lead="These figures may be out of date.", style="warn")
    words = Stack([*_in_words(context, metrics)])
    standing = _standing(context, metrics)
    yield Columns([standing, words]) if standing else words
    if not metrics.results:
        return
    groups = _by_question(metrics)
    yield _glance(context, groups)
    for question, names in groups.items():
        blocks = [block for name in names for block in _in_full(context, metrics, name)]
        yield Fold(blocks, title=question, beside=", ".join(map(shown, names)))


def _by_question(metrics: Metrics) -> dict[str, list[str]]:
    """The metrics by question; those that no question has come last."""
    groups = {title: list[str]() for title in [*(title for title, _ in QUESTIONS.values()), OTHER]}
    for name in dict.fromkeys(r.name for r in metrics.results):
        declared = about(name)
        groups[QUESTIONS[declared.question][0] if declared else OTHER].append(name)
    return {title: names for title, names in groups.items() if names}


def meaning(name: str) -> str:
    """What a metric means; "" of one that is not known."""
    declared = about(name)
    return declared.meaning if declared else ""


def _of(metrics: Metrics, name: str) -> list[Result]:
    """A metric's results: against test first, then train."""
    return sorted((r for r in metrics.results if r.name == name), key=lambda r: ORDER.get(r.against, 9))


def _glance(context: Context, groups: dict[str, list[str]]) -> Table:
    assert context.metrics is not None
    rows: list[list[str]] = []
    titles = {}
    for question, names in groups.items():
        titles[len(rows)] = question
        for name in names:
            own = _of(context.metrics, name)
            train = next((r for r in own if r.against == "train"), None)
            first = next((r for r in own if r is not train), None)
            beside = "" if train is None else _value(train) if first is None else _point(train)
            rows.append([titled(own[0]), _value(first) if first else "", _real_vs_real(own[0]), beside,
                         BETTER[own[0].better][0]])
    note = (f"Small: 95% intervals over {context.units}; beside real vs real, the spread of that. What each figure "
            "means, its n, the controls and what to read beside it:")
    return Table(table.Table(["Figure", "Against test", "Real vs real", "Against train", "Better"], rows, notes=[note]),
                 "glance", titles)


def _value(result: Result | Control) -> str:
    """A value with its interval."""
    return estimate(result.value, result.interval, factor(result.name))


def _point(result: Result | Control) -> str:
    """A value without its interval."""
    return NOTHING if result.value is None else rounded(result.value, result.interval, factor(result.name))


def _real_vs_real(result: Result) -> str:
    """The noise floor; of a metric that should match, the value between real images."""
    k = factor(result.name)
    if result.floor is not None:
        return estimate(result.floor, result.floor_interval, k)
    reference = result.reference if result.better == "match" else None
    return estimate(reference.value, reference.interval, k) if reference and reference.value is not None else ""


def _in_full(context: Context, metrics: Metrics, name: str) -> Iterator[Block]:
    """All about one metric: what it means, its results, and the controls'."""
    own = _of(metrics, name)
    match = own[0].better == "match"
    yield Heading(titled(own[0]), level=3, beside=f"({BETTER[own[0].better][1]})")
    yield Words(meaning(name), style="note")
    heads = ["Against", "Value", "Real vs real", "Ratio to real" if match else "At equal n", "n"]
    rows = [[r.against, _value(r), _real_vs_real(r), _ratio(r) if match else _equal_n(r), _counted(context, r)]
            for r in own]
    told = set[str]()  # what was remarked on one line is not repeated on the next
    remarks: dict[int, str] = {}
    for i, result in enumerate(own):
        texts = [text for text in _remarks(result) if text not in told]
        told |= set(texts)
        remarks |= {i: " ".join(texts)} if texts else {}
    yield Table(table.Table(heads, rows), "metric", remarks=remarks)
    controls = [c for c in metrics.controls if c.name == name]
    if controls:
        places = {True: "Yes, as it should be", None: "This figure ranks nothing", False: "No *"}
        tones = {(i, 2): "bad" for i, c in enumerate(controls) if c.behind_model is False}
        note = "* The model is no better than this control, or the measure is blind here; look at the images."
        lines = [[c.control, _value(c), places[c.behind_model]] for c in controls]
        yield Table(table.Table(["Control", "Value", "Ranked behind the model"], lines, notes=[note] if tones else []),
                    "metric", tones=tones)


def _ratio(result: Result) -> str:
    n = f"n = {result.equal_n.n_images:g}" if result.equal_n else ""
    return estimate(result.ratio, result.ratio_interval, more=n) if result.ratio is not None else ""


def _equal_n(result: Result) -> str:
    """The value with as many images as the floor has, beside which alone it may be put."""
    if result.equal_n is None:
        return ""
    return estimate(result.equal_n.value, None, factor(result.name), more=f"n = {result.equal_n.n_images:g}")


def _counted(context: Context, result: Result) -> str:
    real = "" if result.n_images is None else grouped(result.n_images, "image") + context.of_subjects(result.n_subjects)
    synthetic = f"{result.n_synthetic:,} generated" if result.n_synthetic is not None else ""
    return " / ".join(filter(None, (real, synthetic)))


def _remarks(result: Result) -> list[str]:
    """What must be read beside the numbers, in sentences."""
    k, reference = factor(result.name), result.reference
    texts = [result.caveat]
    if reference and reference.value is not None and reference.value != result.floor:
        texts.append(f"{reference.what or 'real against real'}: {estimate(reference.value, reference.interval, k)}")
    if result.p_no_difference is not None:
        texts.append(f"permutation test of no difference, over subjects: p = {p_value(result.p_no_difference)}")
    if result.per_subject:
        texts.append("subject by subject: " + ", ".join(estimate(v, None, k) for v in result.per_subject.values()))
    return [sentence(text) for text in texts if text]


# ------------------------------------------------------------------ the headline

def _who(context: Context, result: Result) -> str:
    """What a result is against: 8 test images of 4 subjects."""
    if not result.n_images:
        return f"the {result.against} images"
    return grouped(result.n_images, f"{result.against} image") + context.of_subjects(result.n_subjects)


def _in_words(context: Context, metrics: Metrics) -> Iterator[Block]:
    head = headline(metrics)
    yield Heading("In words", level=3)
    yield Words(f"{shown(head.name)} against {_who(context, head)}: {_beside(head)}." if head else
                "No figure judges these images.")
    controls = beside_controls(metrics)
    if controls:
        yield Words(controls)
    warnings = metrics.own_warnings
    if len(warnings) >= 4:
        yield Fold([Words(items=warnings)], title=f"Warnings of the evaluation ({len(warnings)})",
                   warn=True)
    elif warnings:
        yield Words(lead="Warnings of the evaluation", items=warnings, style="warn")


def _beside(result: Result) -> str:
    """The value with its interval, real against real, and the test of no difference."""
    parts = [_value(result)]
    if result.floor is not None:
        parts.append(f"real against real, {_real_vs_real(result)}")
    if result.p_no_difference is not None:
        parts.append(f"permutation test of no difference, over subjects, p = {p_value(result.p_no_difference)}")
    return "; ".join(parts)


def beside_controls(metrics: Metrics) -> str:
    """The controls' values of the headline, as a sentence; "" where there are none."""
    head = headline(metrics)
    own = [c for c in metrics.controls if head and c.name == head.name]
    if not own:
        return ""

    def named(control: Control) -> str:
        return CONTROLS.get(control.control, control.control)

    values = ", ".join(f"{named(c)} {_point(c)}" for c in own)
    ahead = [named(c) for c in own if c.behind_model is False]
    return f"Controls: {values}. Not behind the model: {listed(ahead)}." if ahead else \
        f"Controls, all of them behind the model: {values}."


def _standing(context: Context, metrics: Metrics) -> Drawing | None:
    """The headline metric of real images, of the model and of the controls in one chart."""
    head = headline(metrics)
    if head is None:
        return None
    marks = list[drawings.Mark]()
    if head.floor is not None:
        marks.append(("real vs real", head.floor, head.floor_interval, "real"))
    marks += [(f"model vs {r.against}", r.value, r.interval, "model") for r in _of(metrics, head.name)
              if r.value is not None]
    marks += [(c.control, c.value, c.interval, "control") for c in metrics.controls if c.name == head.name]
    if len(marks) < 2:
        return None
    spread = "; of “real vs real”, the spread over random halvings of them" if head.floor_interval else ""
    return Drawing(drawings.standing(shown(head.name), marks, factor(head.name)), caption=(
        "Where the model stands between real images of different subjects and controls that are bad on purpose. Bars: "
        f"95% intervals over {context.units}{spread}. Good is close to “real vs real”; the controls must lie further "
        "out."))


# ------------------------------------------------------------------ methods

def methods(context: Context) -> str:
    """The evaluation as a paragraph for a methods section; only what was computed."""
    metrics = context.metrics
    if metrics is None:
        return " ".join(context.notes)
    controls = beside_controls(metrics)
    over = "subjects" if context.known else "images (patients unknown)"
    spans = f"In brackets 95% intervals over {over}; real against real is the mean over random halvings of them." \
        if any(r.interval for r in metrics.results) else ""
    warnings = [text for text in metrics.warnings if not (controls and text.startswith("The control “"))]
    texts = [_sample(context, metrics), _measured(metrics), _audit(context), spans, controls, *warnings]
    return " ".join(filter(None, texts))


def _sample(context: Context, metrics: Metrics) -> str:
    """What was compared with what, and the primary measure."""
    head = headline(metrics)
    if head is None:
        return ""
    images = f"{grouped(head.n_synthetic, 'generated image')} were" if head.n_synthetic else "Generated images were"
    seed = f" (seed {metrics.seed})" if metrics.seed is not None else ""
    network = head.name.partition("-")[2]
    kernel = " (the squared maximum mean discrepancy with a cubic kernel over features of " \
        f"{EXTRACTORS.get(network, network or 'a network')}, between different subjects only)"
    measure = shown(head.name) + (kernel if factor(head.name) == 1000 else "")
    return f"{images} compared with {_who(context, head)}{seed}. The primary measure was {measure}: {_beside(head)}."


def _measured(metrics: Metrics) -> str:
    """The other measures of quality and diversity against test."""
    head = headline(metrics)
    own = [f"{titled(r)}: {_beside(r)}" for r in metrics.results if r.against == "test" and r is not head
           and (declared := about(r.name)) and declared.question in ("realistic", "diverse")]
    return f"Further measures against test: {'. '.join(own)}." if own else ""


def _audit(context: Context) -> str:
    result = context.result("Copies", "train")
    if result is None or result.value is None:
        return ""
    d = result.details or {}
    subjects = f" ({d['calibration_subjects']:,})" if isinstance(d.get("calibration_subjects"), int) else ""
    return ("For copies, how near the generated images come to each training subject (features and pixels) was set "
            f"against how near they come to held-out subjects{subjects}: the estimated share of copies was "
            f"{share(result)}.")


def share(result: Result) -> str:
    """A share in per cent with its interval: 10% (95% interval 5% to 20%)."""
    assert result.value is not None
    span = f" (95% interval {percent(result.interval[0])} to {percent(result.interval[1])})" if result.interval else ""
    return percent(result.value) + span


def not_shown(context: Context) -> Iterator[Block]:
    """What the images and figures cannot tell."""
    audited = ("Copies that are changed more than the audit can see (parts of a patient in another image, strong "
               "deformation) would not be seen.") if context.audit else \
        "Whether generated images copy training images has not been audited."
    yield Heading("What this does not show")
    yield Words(items=["These are single 2-D images: neighbouring slices do not fit together into a "
                       "volume.", *run_sections.not_shown(context), audited,
                       "Whether the images help a classifier.", "The distances use features of a network that does not "
                       "see what a radiologist looks for."])
