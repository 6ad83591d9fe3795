"""metrics.json as lines for a terminal."""

from __future__ import annotations

from typing import Any

from ganatomy.metrics.kernel import NAME as KERNEL
from ganatomy.metrics.translation_table import aligned, translation_table

HEADS = ("metric", "against", "value", "95% interval", "real vs real", "difference at equal n, or ratio",
         "n real/subjects/synthetic", "better")


def table(metrics: dict[str, Any]) -> str:
    """metrics.json as lines for a terminal; kernel distances times 1000, as they are usually quoted."""
    if metrics.get("kind") == "translation":
        return translation_table(metrics)
    lines = [HEADS]
    for r in metrics["results"]:
        k = 1000.0 if r["name"] == KERNEL else 1.0
        n = f"{r['n_images']}/{r['n_subjects']}/{r['n_synthetic']}"
        real = _span(r["floor"], r["floor_interval"], k)
        lines.append((_shown(r["name"]), r["against"], f"{k * r['value']:.4g}", _interval(r["interval"], k), real,
                      _beside(r, k), n, r["better"]))
    for c in metrics["controls"]:
        k = 1000.0 if c["name"] == KERNEL else 1.0
        behind = {True: "behind the model", False: "NOT behind the model", None: ""}[c["behind_model"]]
        lines.append((_shown(c["name"]), c["control"], f"{k * c['value']:.4g}", _interval(c["interval"], k), "", "",
                      str(c["n_synthetic"]), behind))
    text = aligned(lines)
    caveats = dict.fromkeys(f"{c['control']}: {c['caveat']}" for c in metrics["controls"] if c.get("caveat"))
    notes = [f"note: {warning}" for warning in metrics["warnings"]]
    return "\n".join([*text, *_per_subject(metrics["results"]), *caveats, *notes])


def _per_subject(results: list[dict[str, Any]]) -> list[str]:
    """Where subjects are too few for intervals, a line with the value of each."""
    lines = []
    for r in results:
        k = 1000.0 if r["name"] == KERNEL else 1.0
        values = ", ".join(f"{subject} {k * value:.4g}" for subject, value in (r["per_subject"] or {}).items())
        if values:
            lines.append(f"{_shown(r['name'])} against {r['against']}, each subject by itself: {values}")
    return lines


def _beside(result: dict[str, Any], k: float) -> str:
    """Score minus floor with the number of images of both, or the ratio to real images."""
    if result["ratio"] is not None:
        return f"{_span(result['ratio'], result['ratio_interval'], 1.0)} times real"
    paired = result["paired_difference"]
    if not paired:
        return "-"
    return f"{_span(paired['value'], paired['interval'], k)}, n = {paired['n_images']:g}"


def _shown(name: str) -> str:
    return f"{name} x 1000" if name == KERNEL else name


def _interval(interval: list[float] | None, k: float) -> str:
    return f"{k * interval[0]:.4g} to {k * interval[1]:.4g}" if interval else "-"


def _span(value: float | None, interval: list[float] | None, k: float) -> str:
    if value is None:
        return "-"
    return f"{k * value:.4g}" + (f" ({_interval(interval, k)})" if interval else "")
