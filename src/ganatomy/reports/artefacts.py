"""Artefacts and repeats: spectrum, grey values and duplicates, each as a picture with a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from ganatomy.core.text import grouped
from ganatomy.metrics import histogram, schema, spectrum
from ganatomy.reports import artefact_figures, images
from ganatomy.reports.copies import percent
from ganatomy.reports.gallery import Gallery
from ganatomy.reports.images import Picture
from ganatomy.reports.meanings import meaning
from ganatomy.reports.numbers import bracketed, number
from ganatomy.reports.results import Metrics, Result

MOST_GROUPS, MOST_IN_GROUP = 6, 8
TILE = 128  # CSS pixels of an image in a strip


@dataclass(frozen=True, slots=True)
class Artefact:
    """One of the checks: pictures with labels outside of them, the figure, what it means and what was found."""

    title: str
    figure: str
    found: str
    words: list[str]
    pictures: list[tuple[str, Picture]]
    meaning: str
    dark: bool = False


@dataclass(frozen=True, slots=True)
class Strip:
    """Generated images that are all but the same."""

    title: str
    picture: Picture


def artefacts(metrics: Metrics | None, shareable: bool) -> list[Artefact]:
    """Every check that metrics.json has; a shareable one shows no map over so few subjects that it may show one."""
    made = [_spectrum(metrics), _histogram(metrics)] if metrics else []
    return [artefact for artefact in made if artefact is not None]


def groups_of(metrics: Metrics | None) -> list[list[str]]:
    """Numbers of generated images that are all but the same, the largest groups first, as many as are shown."""
    result = metrics.find("Duplicates") if metrics else None
    given = (result.details or {}).get("groups") if result else None
    found = [[str(i) for i in group] for group in given if isinstance(group, list) and len(group) > 1] \
        if isinstance(given, list) else []
    return sorted(found, key=len, reverse=True)[:MOST_GROUPS]


def duplicates(metrics: Metrics | None, gallery: Gallery) -> tuple[list[str], list[Strip]]:
    """Sentences about repeated images, and strips of the largest groups."""
    result = metrics.find("Duplicates") if metrics else None
    if metrics is None or result is None:
        return [], []
    d, strips = result.details or {}, []
    for group in groups_of(metrics):
        tiles = [gallery.generated[name] for name in group if name in gallery.generated][:MOST_IN_GROUP]
        if len(tiles) > 1:
            strips.append(_strip(group, np.stack(tiles)))
    return _repeated(result, d), strips


def _repeated(result: Result, d: dict[str, Any]) -> list[str]:
    among = f" among {d['compared']:,}" if isinstance(d.get("compared"), int) else ""
    words = [f"{percent(result.value)} of the generated images have a near-duplicate{among}"
             f"{_beside(result, share=True)}."]
    effective = d.get("effective")
    if isinstance(effective, int | float) and result.n_synthetic:
        words.append(f"They amount to about {number(effective, 0)} different images of {result.n_synthetic:,}.")
    return words


def _strip(group: list[str], tiles: images.Tiles) -> Strip:
    how = images.layout(tiles.shape[1], tiles.shape[2], 3 if tiles.ndim == 4 else 1, len(tiles), 2 * images.GRID_WIDTH)
    zoom = max(1, TILE // max(tiles.shape[1:3])) if how.shrink == 1 else 1
    sheet = images.tile(images.reduce(tiles, how.shrink), len(tiles))
    numbers = ", ".join(group[:len(tiles)])
    more = f" and {len(group) - len(tiles)} more" if len(group) > len(tiles) else ""
    h, w = zoom * sheet.shape[0], zoom * sheet.shape[1]
    return Strip(f"{grouped(len(group), 'image')}: no. {numbers}{more}",
                 Picture(images.png_uri(sheet), w, h, f"generated images {numbers}"))


def _beside(result: Result, share: bool = False) -> str:
    """Interval and floor of a figure, in brackets."""
    def shown(value: float) -> str:
        return percent(value) if share else number(value)

    parts = []
    if result.interval:
        parts.append(f"95% interval {shown(max(0.0, result.interval[0]))} to {shown(result.interval[1])}")
    if result.floor is not None:
        parts.append(f"real against real {shown(result.floor)}")
    return f" ({'; '.join(parts)})" if parts else ""


def _headed(what: str, result: Result, k: float = 1.0) -> str:
    """What the figure is, with its interval, floor and n, as a sentence."""
    real = f"; real against real {bracketed(result.floor, result.floor_interval, k)}" \
        if result.floor is not None else ""
    n = f"; n = {grouped(result.n_images, 'real image')} of {grouped(result.n_subjects, 'subject')}" \
        if result.n_images and result.n_subjects else ""
    return f"{what}: {bracketed(result.value, result.interval, k)}{real}{n}."


def _found(metric: ModuleType, result: Result | None) -> str:
    """What a metric says of its own result, in a sentence; "" where nothing, or if another version wrote the file."""
    try:
        return str(metric.fault(schema.Result(**result.model_dump()))) if result is not None else ""
    except (KeyError, TypeError, ValueError):
        return ""


def _spectrum(metrics: Metrics) -> Artefact | None:
    result, sharp = _first(metrics, "Spectrum"), _first(metrics, "Sharpness")
    if result is None:
        return None
    drawn = artefact_figures.spectrum(result.details or {})
    words = []
    if sharp is not None:
        beside = f": {bracketed(sharp.ratio, sharp.ratio_interval)} times the power of real images in fine detail" \
            if sharp.ratio is not None else f": {bracketed(sharp.value, sharp.interval)}"
        words = [text for text in (f"Sharpness{beside}.", _found(spectrum, sharp)) if text]
    return Artefact("Power spectrum", _headed("Distance in dB", result),
                    _found(spectrum, result) or _silent(
                        result, "No single frequency stands out from real images; broad textures are not searched."),
                    words, [("", drawn)] if drawn else [], meaning("Spectrum"))


def _silent(result: Result, said: str) -> str:
    """What to say of a check that found nothing, unless it could not have found anything."""
    return said if result.equal_n else "Not tested: too few patients."


def _histogram(metrics: Metrics) -> Artefact | None:
    result = _first(metrics, "Histogram")
    if result is None:
        return None
    drawn = artefact_figures.histogram(result.details or {})
    return Artefact("Grey values", _headed("Distance in % of the grey range", result, 100.0),
                    _found(histogram, result) or _silent(result, "No difference was shown."), [],
                    [("", drawn)] if drawn else [], meaning("Histogram"))


def _first(metrics: Metrics, metric: str) -> Result | None:
    return metrics.find(metric, "test") or metrics.find(metric)
