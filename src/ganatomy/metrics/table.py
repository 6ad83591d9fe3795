"""metrics.json as lines for a terminal."""

from __future__ import annotations

from typing import Any

from ganatomy.metrics.base import factor
from ganatomy.metrics.translation_table import aligned, translation_table

HEADS = ("metric", "against", "value", "95% interval", "real vs real", "difference at equal n, or ratio",
         "n real/subjects/synthetic", "better")


def table(metrics: dict[str, Any]) -> str:
    """metrics.json as lines for a terminal; kernel distances times 1000, as they are usually quoted."""
    if metrics.get("kind") == "translation":
        return translation_table(metrics)
    lines = [HEADS]
    for r in metrics["results"]:
        k = factor(r["name"])
        n = f"{r['n_images']}/{r['n_subjects']}/{r['n_synthetic']}"
        real = _span(r["floor"], r["floor_interval"], k)
        lines.append((_shown(r["name"]), r["against"], f"{k * r['value']:.4g}", _interval(r["interval"], k), real,
                      _beside(r, k), n, r["better"]))
    caveats = dict.fromkeys(f"{c['control']}: {c['caveat']}" for c in metrics["controls"] if c.get("caveat"))
    notes = [f"note: {warning}" for warning in metrics["warnings"]]
    return "\n".join([*aligned(lines), *_controls(metrics["controls"]), *_per_subject(metrics["results"]),
                      *caveats, *notes])


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
    k = factor(control["name"])
    behind = {True: ", behind the model", False: ", NOT behind the model", None: ""}[control["behind_model"]]
    return _span(control["value"], control["interval"], k) + behind


def _per_subject(results: list[dict[str, Any]]) -> list[str]:
    """Where subjects are too few for intervals, a line with the value of each."""
    lines = []
    for r in results:
        k = factor(r["name"])
        values = ", ".join(f"{subject} {k * value:.4g}" for subject, value in (r["per_subject"] or {}).items())
        if values:
            lines.append(f"{_shown(r['name'])} against {r['against']}, each subject by itself: {values}")
    return lines


def _beside(result: dict[str, Any], k: float) -> str:
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
