"""Is the anatomy kept? Shift, deformation, lost parts, edges and mutual information between input and output.

None of it needs the true target image. Real pairs, where there are any, say what the figures are when the anatomy is
the same and only the contrast differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ganatomy.metrics.base import MIN_SUBJECTS, Better, Images, finite, refuse_not_finite
from ganatomy.metrics.translation.registration import (
    AGREEMENT,
    BETTER,
    DEFORMATION,
    INFORMATION,
    INVENTED,
    KEPT,
    LENGTHS,
    LOST,
    MEDIAN_DEFORMATION,
    SHIFT,
    Masks,
    clipped,
    measure,
)
from ganatomy.statistics.resampling import Array
from ganatomy.statistics.subjects import by_subject, over_subjects

JUDGED = (SHIFT, DEFORMATION, LOST, KEPT, INVENTED)
"""The rest says the same in other words, or (mutual information) also falls for a better contrast."""
OF_ITSELF = {SHIFT: 0.0, DEFORMATION: 0.0, MEDIAN_DEFORMATION: 0.0, LOST: 0.0, KEPT: 1.0, INVENTED: 0.0,
             AGREEMENT: 1.0, INFORMATION: 2.0}
LEAST = {SHIFT: 0.25, DEFORMATION: 0.75, MEDIAN_DEFORMATION: 0.25, LOST: 0.1}
"""Limits are never narrower, in pixels and shares: so much noise and blur alone can make of nothing."""
EDGE_MARGIN = 0.1
"""Some blur costs edges without moving any."""
TAIL, ALLOWED = 0.05, 0.15
"""At most 5% of the real pairs that can be measured are beyond the limit; outputs are found faulty where more than 15%
are, or 10% more than of the real pairs: with badly registered or unlike pairs that is the higher bar."""
_WORST = 5


@dataclass(frozen=True)
class AnatomyFigure:
    """One figure: per image, then per subject, then the mean over subjects. Intervals are 95%, over subjects.

    Attributes:
        name: such as Shift.
        unit: mm, pixels, or "" for shares and mutual information.
        value: None where no image could be measured.
        better: lower, higher, or match (near the reference).
        n_images, n_subjects: how many could be measured.
        interval: None below five subjects.
        per_subject: below five subjects.
        reference: the same figure of real pairs (or of the input against itself): what, value, interval, beyond.
        limit: the value of a real pair that at most 5% of them are worse than, widened to `LEAST`.
        beyond: share of the images beyond the limit, those in which nothing could be matched included.
        allowed: what `beyond` may be at most, by that of the real pairs.
        worst: image numbers and values, the worst first.
        values: float64 [n], one an image; NaN where it could not be measured.
    """

    name: str
    unit: str
    value: float | None
    better: Better
    n_images: int
    n_subjects: int
    interval: tuple[float, float] | None = None
    per_subject: dict[str, float] | None = None
    reference: dict[str, Any] | None = None
    limit: float | None = None
    beyond: float | None = None
    allowed: float | None = None
    worst: tuple[dict[str, Any], ...] = ()
    values: Array = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)

    @property
    def faulty(self) -> bool:
        """Whether more images are beyond the limit than chance and a few hard cases explain."""
        return self.name in JUDGED and (
            self.beyond is not None and self.allowed is not None and self.beyond > self.allowed)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for metrics.json, without the values of every image."""
        return {key: finite(value) for key, value in vars(self).items() if key != "values"}


@dataclass(frozen=True)
class Anatomy:
    """The answer: the figures in the order of `BETTER`, and a sentence."""

    figures: tuple[AnatomyFigure, ...]
    sentence: str
    kept: bool | None

    def __getitem__(self, name: str) -> AnatomyFigure:
        """The figure of this name."""
        return next(figure for figure in self.figures if figure.name == name)

    def to_json(self) -> dict[str, Any]:
        """A dictionary for metrics.json."""
        return {"kept": self.kept, "sentence": self.sentence, "figures": [f.to_json() for f in self.figures]}


def anatomy(inputs: Images, outputs: Images, masks: Masks, subjects: Sequence[str], *,
            spacing: tuple[float, float] | Array | None = None, targets: Images | None = None) -> Anatomy:
    """Whether a translator's outputs show the anatomy of its inputs, at the same place.

    A translator that returns its input keeps the anatomy perfectly: read this beside the error against the truth.

    Args:
        inputs, outputs: [n, c, s, s] in [-1, 1], row by row the same slice; numbers of channels may differ.
        masks: [n, s, s], the foreground of the real images.
        subjects: of each row.
        spacing: mm a pixel, y and x, for all images or [n, 2]; None: lengths are in pixels.
        targets: the real images of the other contrast for the same rows, where the data are paired.

    Raises:
        UserError: values in `outputs` that are not finite.
        ValueError: arrays that do not fit together.
    """
    if not len(inputs) == len(outputs) == len(masks) == len(subjects):
        raise ValueError(f"{len(inputs)} inputs, {len(outputs)} outputs, {len(masks)} masks, {len(subjects)} subjects")
    refuse_not_finite(outputs)
    pixel = np.broadcast_to(np.asarray((1.0, 1.0) if spacing is None else spacing, np.float64), (len(inputs), 2))
    made = measure(inputs, outputs, masks, pixel)
    real = None if targets is None else measure(inputs, targets, masks, pixel)
    rows = _Rows(list(subjects), np.asarray(masks.any((1, 2))), "pixels" if spacing is None else "mm",
                 float(pixel.mean()) if len(pixel) else 1.0)
    figures = tuple(_figure(name, values, None if real is None else real[name], rows) for name, values in made.items())
    return Anatomy(figures, *_judgement({f.name: f for f in figures}, rows.pixel))


class _Rows(NamedTuple):
    """What the values belong to: subjects [n], whether a row has foreground [n], unit and size of a pixel."""

    subjects: list[str]
    usable: Masks
    unit: str
    pixel: float


def _figure(name: str, values: Array, real: Array | None, rows: _Rows) -> AnatomyFigure:
    means = by_subject(values, rows.subjects)
    value, interval = over_subjects(means)
    measured, badness = np.isfinite(values), _badness(name, values)
    limit = _limit(name, real, rows)
    beyond, usual = (_beyond(name, found, limit, rows) for found in (values, real))
    order = [i for i in np.argsort(-badness, kind="stable") if rows.usable[i] and badness[i] > -np.inf]
    worst = tuple({"image": int(i), "value": float(values[i]) if measured[i] else None} for i in order[:_WORST])
    unit = rows.unit if name in LENGTHS else ""
    return AnatomyFigure(name, unit, value, BETTER[name], int(measured.sum()), len(means),
                         clipped(interval, *_range(name)), means if len(means) < MIN_SUBJECTS else None,
                         _reference(name, real, usual, rows), limit, beyond,
                         None if beyond is None else max(ALLOWED, (usual or 0.0) + ALLOWED - TAIL), worst, values)


def _range(name: str) -> tuple[float, float]:
    if name == INFORMATION:
        return 1.0, 2.0
    return 0.0, np.inf if name in LENGTHS else 1.0


def _badness(name: str, values: Array) -> Array:
    """Larger is worse; nothing in common is the worst shift."""
    sign = 1.0 if BETTER[name] == "lower" else -1.0
    return np.where(np.isfinite(values), sign * values, np.inf if name == SHIFT else -np.inf)


def _beyond(name: str, values: Array | None, limit: float | None, rows: _Rows) -> float | None:
    """Share of the images worse than the limit, of outputs and real pairs alike: the same images give the same."""
    if values is None or limit is None:
        return None
    bar = limit if BETTER[name] == "lower" else -limit
    over = np.where(rows.usable, _badness(name, values) > bar + 1e-9, np.nan)
    return over_subjects(by_subject(over, rows.subjects))[0]


def _reference(name: str, real: Array | None, beyond: float | None, rows: _Rows) -> dict[str, Any]:
    if real is None:
        return {"what": "the input against itself", "value": OF_ITSELF[name], "interval": None, "beyond": None}
    value, interval = over_subjects(by_subject(real, rows.subjects))
    return {"what": "real pairs", "value": value, "interval": clipped(interval, *_range(name)), "beyond": beyond}


def _limit(name: str, real: Array | None, rows: _Rows) -> float | None:
    """What the real pairs' own spread allows; without real pairs twice the least limit, and none for edges.

    Quantiles are values of pairs: one between the worst two of a few pairs would have the worst beyond it.
    """
    least = LEAST.get(name, -np.inf) * (rows.pixel if name in LENGTHS else 1.0)
    found = np.zeros(0) if real is None else real[np.isfinite(real)]
    if name == INFORMATION or (not found.size and name not in LEAST):
        return None
    if not found.size:
        return 2 * least
    if BETTER[name] == "higher":
        return float(np.quantile(found, TAIL, method="lower")) - EDGE_MARGIN
    return max(least, float(np.quantile(found, 1 - TAIL, method="higher")) + (EDGE_MARGIN if name == INVENTED else 0.0))


def _judgement(figures: dict[str, AnatomyFigure], pixel: float) -> tuple[str, bool | None]:
    """A sentence on the anatomy, and whether it is kept; None where nothing could be measured."""
    if figures[SHIFT].beyond is None:
        return "Whether the anatomy is kept cannot be measured: the images have no foreground", None
    reference = figures[SHIFT].reference or {}
    real, note = reference["what"] == "real pairs", _note(figures[SHIFT], reference, pixel)
    wrong = [figure for figure in figures.values() if figure.faulty]
    if not wrong and (figures[SHIFT].allowed or 0.0) >= 1:
        return "Whether the anatomy is kept cannot be measured: real pairs have nothing in common themselves", None
    if not wrong:
        said = [_phrase(figures[name], real) for name in (SHIFT, DEFORMATION, KEPT)]
        return f"The anatomy is in place: {', '.join(said)}{note}", True
    if figures[SHIFT].value is None:
        return "The anatomy is not kept: the outputs have nothing in common with their inputs", False
    said = [f"{_phrase(figure, real)} and {100 * (figure.beyond or 0):.0f}% of the images are beyond "
            f"{_amount(figure, figure.limit)}{_usual(figure)}" for figure in wrong]
    return f"The anatomy is not kept: {'; '.join(said)}{note}", False


def _note(shift: AnatomyFigure, reference: dict[str, Any], pixel: float) -> str:
    """What is to be known of the real pairs."""
    if reference["what"] != "real pairs":
        return "; there are no real pairs to compare with"
    if reference["value"] is not None and reference["value"] > pixel:
        return f"; real pairs are themselves {_amount(shift, reference['value'])} apart: they are not well registered"
    if (reference["beyond"] or 0.0) > ALLOWED:
        return (f"; {100 * reference['beyond']:.0f}% of the real pairs are themselves beyond "
                f"{_amount(shift, shift.limit)} or have nothing in common")
    return ""


_PHRASES = {SHIFT: "outputs are shifted by {} against their inputs", DEFORMATION: "parts of them are moved by up to {}",
            LOST: "{} of the parts are not to be found", KEPT: "{} of the strong edges are kept",
            INVENTED: "{} of the outputs' strong edges are not in the inputs"}


def _phrase(figure: AnatomyFigure, real: bool) -> str:
    beside = f" (real pairs: {_amount(figure, figure.reference['value'])})" if real and figure.reference else ""
    return _PHRASES[figure.name].format(_amount(figure, figure.value)) + beside


def _usual(figure: AnatomyFigure) -> str:
    beyond = (figure.reference or {}).get("beyond") or 0.0
    return f" (of the real pairs {100 * beyond:.0f}%)" if beyond > TAIL else ""


def _amount(figure: AnatomyFigure, value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.2f} {figure.unit}" if figure.unit else f"{100 * value:.0f}%"
