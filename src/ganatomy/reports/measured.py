"""What metrics.json and the map of a run say, in words, pictures and figures, for the template."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.reports import artefacts, copies, figures, methods, results, verdict
from ganatomy.reports.gallery import Gallery, gather
from ganatomy.reports.image_map import MARKS, Map, image_map, script
from ganatomy.reports.images import Picture
from ganatomy.reports.lights import lights
from ganatomy.reports.results import Metrics
from ganatomy.reports.summary import sections

Say = Callable[[str], None]


def measured(run: Run, recipe: Recipe, dataset: Dataset | None, metrics: Metrics | None, *, shareable: bool,
             stale: bool, say: Say) -> dict[str, Any]:
    """What the template shows of an evaluation; empty where there was none.

    Args:
        shareable: show no real image, and no generated one that may be a copy of one.
        stale: the figures are of other weights or data, so that generated images cannot be drawn again.
    """
    gallery = Gallery() if metrics is None or stale else _gallery(run, recipe, dataset, metrics, shareable, say)
    repeats, strips = artefacts.duplicates(metrics, gallery)
    found = {"lights": lights(metrics), "copies": copies.copies(metrics, gallery, shareable, stale),
             "audited": copies.audited(metrics), "repeats": repeats, "strips": strips,
             "artefacts": artefacts.artefacts(metrics, shareable)}
    found |= _mapped(image_map(run, recipe, dataset, metrics, shareable, say))
    if metrics is None:
        empty = dict.fromkeys(("verdict", "figures_said", "controls_said", "methods"), "")
        return {"sections": [], "headline": None, "standing": None, **empty, **found}
    return {"sections": sections(metrics), "headline": verdict.tile(metrics), "standing": _standing(metrics),
            "verdict": verdict.conclusion(metrics), "figures_said": verdict.figures(metrics),
            "controls_said": verdict.beside_controls(metrics), "methods": methods.paragraph(metrics), **found}


def _gallery(run: Run, recipe: Recipe, dataset: Dataset | None, metrics: Metrics, shareable: bool, say: Say) -> Gallery:
    """The images that the sections on copies and repeats show."""
    generated, real = (set(), set()) if shareable else copies.named(metrics)
    shown = {name for group in artefacts.groups_of(metrics) for name in group[:artefacts.MOST_IN_GROUP]}
    if shareable:
        shown = set() if copies.audited(metrics) == "copies" else shown - copies.suspects(metrics)
    generated |= shown
    return gather(run, recipe, None if shareable else dataset, generated, real, metrics.seed or 0, say)


def _mapped(found: Map | None) -> dict[str, Any]:
    """The map, its script and the script's hash: where there is no map, the page allows no script at all."""
    if found is None:
        return {"map": None, "marks": MARKS, "script": "", "script_hash": ""}
    text, digest = script()
    return {"map": found, "marks": MARKS, "script": Markup(text), "script_hash": Markup(digest)}


def shows_patients(found: dict[str, Any]) -> bool:
    """Whether any of it is an image of a patient."""
    section, drawn = found["copies"], found["map"]
    return bool(section and (section.pairs)) or bool(drawn and drawn.real)


def _standing(metrics: Metrics) -> Picture | None:
    """The headline metric of real images, of the model and of the controls in one picture."""
    best = verdict.headline(metrics)
    if best is None:
        return None
    marks: list[figures.Mark] = []
    if best.floor is not None:
        marks.append(("real vs real", best.floor, best.floor_interval, "real"))
    own = [r for r in metrics.results if r.name == best.name]
    marks += [(f"model vs {r.against}", r.value, r.interval, "model") for r in own]
    marks += [(c.control, c.value, c.interval, "control") for c in metrics.controls if c.name == best.name]
    if len(marks) < 2:
        return None
    return figures.standing_figure(results.title(best.name), marks, results.factor(best.name))
