"""metrics.json as lines for a terminal: what can be said first, then the figures it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganatomy.metrics.base import factor
from ganatomy.metrics.translation_table import aligned, translation_table

HEADS = ("metric", "against", "value", "95% interval", "real vs real", "difference at equal n, or ratio",
         "n real/subjects/synthetic", "better")
LIGHTS = {"green": "[+]", "amber": "[!]", "red": "[x]", "grey": "[?]"}
Entry = Mapping[str, Any]


def table(metrics: dict[str, Any], full: bool = False) -> str:
    """metrics.json as lines for a terminal; kernel distances times 1000, as they are usually quoted.

    The verdicts, every figure against test, the controls that are not behind the model, the notes; with `full` also
    the figures against train and every control.
    """
    if metrics.get("kind") == "translation":
        return translation_table(metrics)
    shown = [r for r in metrics["results"] if full or r["against"] == "test" or r["name"] in _only_train(metrics)]
    caveats = dict.fromkeys(f"{c['control']}: {c['caveat']}" for c in metrics["controls"] if c.get("caveat"))
    notes = [f"note: {warning}" for warning in metrics["warnings"]]
    controls = _controls(metrics["controls"]) if full else _headline_controls(metrics)
    rest = [] if full else ["Figures against train and all controls: --full, or the report."]
    parts = [_verdicts(metrics.get("verdicts", [])), _figures(shown), controls, _per_subject(shown),
             [*caveats, *notes, *rest]]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _verdicts(verdicts: list[dict[str, str]]) -> list[str]:
    """[+] yes, [!] with reservations, [x] no, [?] cannot be told."""
    return [f"{LIGHTS[v['light']]} {v['question'] + '?':14}{v['says']}" for v in verdicts]


def _only_train(metrics: Entry) -> set[str]:
    """Metrics that are of the training images by their nature."""
    return {r["name"] for r in metrics["results"]} - {r["name"] for r in metrics["results"] if r["against"] == "test"}


def _figures(results: list[Entry]) -> list[str]:
    lines = [HEADS]
    for r in results:
        k = factor(r["name"])
        n = f"{r['n_images']}/{r['n_subjects']}/{r['n_synthetic']}"
        real = _span(r["floor"], r["floor_interval"], k)
        lines.append((_shown(r["name"]), r["against"], f"{k * r['value']:.4g}", _interval(r["interval"], k), real,
                      _beside(r, k), n, r["better"]))
    return aligned(lines)


def _headline_controls(metrics: Entry) -> list[str]:
    """The controls by the headline figure, and what does not place them behind the model."""
    if not metrics["results"] or not metrics["controls"]:
        return []
    name = metrics["results"][0]["name"]
    said = [f"{c['control']} {_control(c)}" for c in metrics["controls"] if c["name"] == name]
    return [f"controls by {_shown(name)}: {'; '.join(said)}"] if said else []


def _controls(controls: list[dict[str, Any]]) -> list[str]:
    """A line a metric, a column a control: the value, its interval, and whether the control is behind the model."""
    if not controls:
        return []
    sets = {c["control"]: c["n_synthetic"] for c in controls}
    cells = {(c["name"], c["control"]): _control(c) for c in controls}
    heads = ("control", *(f"{name}, n = {n}" for name, n in sets.items()))
    return aligned([heads, *((_shown(name), *(cells.get((name, control), "-") for control in sets))
                             for name in dict.fromkeys(c["name"] for c in controls))])


def _control(control: dict[str, Any]) -> str:
    behind = {True: ", behind the model", False: ", NOT behind the model", None: ""}[control["behind_model"]]
    return _span(control["value"], control["interval"], factor(control["name"])) + behind


def _per_subject(results: list[Entry]) -> list[str]:
    """Where subjects are too few for intervals, a line with the value of each."""
    lines = []
    for r in results:
        k = factor(r["name"])
        values = ", ".join(f"{subject} {k * value:.4g}" for subject, value in (r["per_subject"] or {}).items())
        if values:
            lines.append(f"{_shown(r['name'])} against {r['against']}, each subject by itself: {values}")
    return lines


def _beside(result: Entry, k: float) -> str:
    """Score minus floor with the number of images of both, or the ratio to real images."""
    paired = result["paired_difference"]
    n = f", n = {paired['n_images']:g}" if paired else ""
    if result["ratio"] is not None:
        return f"{_span(result['ratio'], result['ratio_interval'], 1.0)} times real{n}"
    return f"{_span(paired['value'], paired['interval'], k)}{n}" if paired else "-"


def _shown(name: str) -> str:
    return f"{name} x 1000" if factor(name) == 1000 else name


def _interval(interval: list[float] | None, k: float) -> str:
    return f"{k * interval[0]:.4g} to {k * interval[1]:.4g}" if interval else "-"


def _span(value: float | None, interval: list[float] | None, k: float) -> str:
    if value is None:
        return "-"
    return f"{k * value:.4g}" + (f" ({_interval(interval, k)})" if interval else "")
