"""metrics.json of a translation as lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ganatomy.core.text import counted


def aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Cells as columns."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def translation_table(metrics: dict[str, Any]) -> str:
    """For each direction a table, a column a translator, then what it means in words; KD-Lite0 times 1000."""
    text = []
    for direction in metrics["directions"]:
        n = f"{counted(direction['n_images'], 'slice')} of {counted(direction['n_subjects'], 'test subject')}"
        text += [f"{direction['source']} to {direction['target']}, {n}", *_figures(direction), *_words(direction), ""]
    return "\n".join([*text, *(f"note: {warning}" for warning in metrics["warnings"])])


def _figures(direction: dict[str, Any]) -> list[str]:
    """A line a figure with its intervals, a column a translator; KD-Lite0 last."""
    kernel, paired = direction["kernel"], direction.get("translators", {})
    translators = list(kernel["translators"])
    reference = kernel["reference"]
    lines = [["", *translators, *([reference["what"]] if reference else [])]]
    for figure in next(iter(paired.values()), []):
        units = f" ({figure['units']})" if figure["units"] else ""
        cells = [next(f for f in paired[name] if f["name"] == figure["name"]) for name in translators]
        lines.append([figure["name"] + units, *map(_cell, cells), *([""] if reference else [])])
    last = [kernel["translators"][name] for name in translators] + ([reference] if reference else [])
    return aligned([*lines, ["KD-Lite0 × 1000", *(_cell(found, 1000.0) for found in last)]])


def _cell(figure: dict[str, Any] | None, factor: float = 1.0) -> str:
    if figure is None or figure["value"] is None:
        return "-"
    text = f"{factor * figure['value']:.4g}"
    if figure.get("interval"):
        low, high = (factor * end for end in figure["interval"])
        text += f" ({low:.4g} to {high:.4g})"
    return text


def _words(direction: dict[str, Any]) -> list[str]:
    lines = [*direction.get("headlines", {}).values()]
    lines += [direction[key]["sentence"] for key in ("returned", "anatomy", "lesions") if direction.get(key)]
    for key, what in (("cycle", "there and back again"), ("identity", "a real target through the same generator")):
        errors = [f"{f['name']} {_cell(f)}" for f in direction.get(key, []) if f["name"].startswith(("MAE", "SSIM"))]
        lines += [f"{key} error ({what}): {', '.join(errors)}"] if errors else []
    caveats = dict.fromkeys(found["caveat"] for found in direction["kernel"]["translators"].values())
    lines += [f"KD-Lite0: {caveat}" for caveat in caveats if caveat]
    return [*dict.fromkeys(lines), *([direction["note"]] if direction["note"] else [])]
