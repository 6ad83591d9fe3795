"""An evaluation for a terminal: the verdicts first, then the values it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ganatomy.core.table import Table
from ganatomy.core.text import NOTHING, counted, estimate, interval, number
from ganatomy.metrics import factor, shown, titled
from ganatomy.metrics.schema import (
    Control,
    Direction,
    Metrics,
    Reference,
    Result,
    TranslationMetrics,
    Verdict,
    parse_metrics,
)

HEADS = ("metric", "against", "value", "95% interval", "real vs real", "at equal n, or ratio",
         "n real/subjects/synthetic", "better")
LIGHTS = {"green": "[+]", "amber": "[!]", "red": "[x]", "grey": "[?]"}  # yes, with reservations, no, cannot be told


def table(metrics: Mapping[str, Any], full: bool = False) -> str:
    """metrics.json as lines for a terminal; kernel distances times 1000, as they are usually quoted.

    The verdicts, every value against test, the controls that are not behind the model, the notes; with `full` also
    the values against train and every control.
    """
    known = parse_metrics(metrics)
    return _translations(known) if isinstance(known, TranslationMetrics) else _table(known, full)


def _table(metrics: Metrics, full: bool) -> str:
    of_test = {r.name for r in metrics.results if r.against == "test"}  # the others are of training by their nature
    results = [r for r in metrics.results if full or r.against == "test" or r.name not in of_test]
    caveats = dict.fromkeys(f"{c.control}: {c.caveat}" for c in metrics.controls if c.caveat)
    rest = [] if full else ["Values against train and all controls: --full, or the report."]
    parts = [_verdicts(metrics.verdicts), Table(HEADS, [_row(r) for r in results]).text(),
             _controls(metrics.controls) if full else _headline_controls(metrics), _per_subject(results),
             "\n".join([*caveats, *(f"note: {warning}" for warning in metrics.warnings), *rest])]
    return "\n\n".join(part for part in parts if part)


def _verdicts(verdicts: Iterable[Verdict]) -> str:
    return "\n".join(f"{LIGHTS[v.light]} {v.question + '?':14}{v.says}" for v in verdicts)


def _row(r: Result) -> list[str]:
    k = factor(r.name)
    equal = f"n = {r.equal_n.n_images:g}" if r.equal_n else ""
    beside = NOTHING
    if r.ratio is not None:
        beside = f"{estimate(r.ratio, r.ratio_interval)} times real{equal and f', {equal}'}"
    elif r.equal_n:
        beside = f"{number(k * r.equal_n.value)}, {equal}"
    return [titled(r), r.against, estimate(r.value, None, k), interval(r.interval, k),
            estimate(r.floor, r.floor_interval, k), beside, f"{r.n_images}/{r.n_subjects}/{r.n_synthetic}", r.better]


def _headline_controls(metrics: Metrics) -> str:
    """The controls by the headline value, and what does not place them behind the model."""
    name = next((r.name for r in metrics.results[:1] if not r.flattering), "")
    own = "; ".join(f"{c.control} {_control(c)}" for c in metrics.controls if c.name == name)
    return f"controls by {shown(name)}: {own}" if own else ""


def _controls(controls: Sequence[Control]) -> str:
    """A line a metric, a column a control: the value, its interval, and whether the control is behind the model."""
    sets = {c.control: c.n_synthetic for c in controls}
    cells = {(c.name, c.control): _control(c) for c in controls}
    return Table(["control", *(f"{name}, n = {n}" for name, n in sets.items())],
                 [[shown(name), *(cells.get((name, control), NOTHING) for control in sets)]
                  for name in dict.fromkeys(c.name for c in controls)]).text()


def _control(control: Control) -> str:
    behind = {True: ", behind the model", False: ", NOT behind the model", None: ""}[control.behind_model]
    return estimate(control.value, control.interval, factor(control.name)) + behind


def _per_subject(results: Iterable[Result]) -> str:
    """Where subjects are too few for intervals, a line with the value of each."""
    each = [(r, ", ".join(f"{subject} {estimate(value, None, factor(r.name))}"
                          for subject, value in (r.per_subject or {}).items())) for r in results]
    return "\n".join(f"{shown(r.name)} against {r.against}, each subject by itself: {values}"
                     for r, values in each if values)


def _translations(metrics: TranslationMetrics) -> str:
    """For each direction a table, a column a translator, then what it means in words."""
    parts = []
    for one in metrics.directions:
        n = f"{counted(one.n_images, 'slice')} of {counted(one.n_subjects, 'test subject')}"
        parts += [f"{one.source} to {one.target}, {n}", _translators(one).text(), *_words(one), ""]
    return "\n".join([*parts, *(f"note: {warning}" for warning in metrics.warnings)])


def _translators(direction: Direction) -> Table:
    """A line a value with its intervals, a column a translator; KD-Lite0 last."""
    kernel = direction.kernel
    names, reference = list(kernel.translators), [kernel.reference] if kernel.reference else []
    rows = []
    for one in next(iter(direction.translators.values()), ()):
        values = [direction.value(name, one.name) for name in names]
        rows.append([one.name + (f" ({one.units})" if one.units else ""),
                     *(estimate(r.value, r.interval) if r else NOTHING for r in values), *("" for _ in reference)])
    head = next(iter(kernel.translators.values()), Result(name="KD"))
    last: list[Result | Reference] = [*kernel.translators.values(), *reference]
    rows.append([shown(head.name), *(estimate(r.value, r.interval, factor(head.name)) for r in last)])
    return Table(["value", *names, *(one.what for one in reference)], rows)


def _words(direction: Direction) -> list[str]:
    lines = list(direction.headlines.values())
    lines += [part.sentence for part in (direction.returned, direction.anatomy, direction.lesions) if part]
    for name, what, errors in (("cycle", "there and back again", direction.cycle),
                               ("identity", "a real target through the same generator", direction.identity)):
        kept = [f"{r.name} {estimate(r.value, r.interval)}" for r in errors if r.name.startswith(("MAE", "SSIM"))]
        lines += [f"{name} error ({what}): {', '.join(kept)}"] if kept else []
    lines += dict.fromkeys(f"{r.name}: {r.caveat}" for r in direction.kernel.translators.values() if r.caveat)
    return [*lines, *([direction.note] if direction.note else [])]
