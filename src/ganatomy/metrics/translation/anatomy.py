"""Is the anatomy kept? Shift, deformation, lost parts and edges between input and output.

None of it needs the true target image. Real pairs, where there are any, say what the values are when the anatomy is
the same and only the contrast differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ganatomy.metrics.base import MIN_SUBJECTS, Images, refuse_not_finite
from ganatomy.metrics.schema import Anatomy, AnatomyResult, Reference, Worst
from ganatomy.metrics.translation.registration import DEFORMATION, INVENTED, KEPT, LOST, NAMES, SHIFT, Masks, measure
from ganatomy.statistics.resampling import Array
from ganatomy.statistics.subjects import by_subject, clipped, over_subjects

JUDGED = NAMES
LENGTHS = (SHIFT, DEFORMATION)
OF_ITSELF = {SHIFT: 0.0, DEFORMATION: 0.0, LOST: 0.0, KEPT: 1.0, INVENTED: 0.0}  # values of the input against itself
LEAST = {SHIFT: 0.25, DEFORMATION: 0.75, LOST: 0.1}  # pixels, share: so much noise and blur alone can make of nothing
EDGE_MARGIN = 0.1  # some blur costs edges without moving any
# at most 5% of the real pairs that can be measured are beyond the limit; outputs are faulty where more than 15% are, or
# 10% more than of the real pairs: with badly registered or unlike pairs that is the higher bar
TAIL, ALLOWED = 0.05, 0.15
PAIRS = "real pairs"
_WORST = 5
_PHRASES = {SHIFT: "outputs are shifted by {} against their inputs", DEFORMATION: "parts of them are moved by up to {}",
            LOST: "{} of the parts are lost", KEPT: "{} of the strong edges are kept",
            INVENTED: "{} of the outputs' strong edges are not in the inputs"}


class _Rows(NamedTuple):
    """What the values belong to: subjects [n], whether a row has foreground [n], unit and size of a pixel."""

    subjects: list[str]
    usable: Masks
    unit: str
    pixel: float


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
    real = {} if targets is None else measure(inputs, targets, masks, pixel)
    rows = _Rows(list(subjects), np.asarray(masks.any((1, 2))), "pixels" if spacing is None else "mm",
                 float(pixel.mean()) if len(pixel) else 1.0)
    results = tuple(_result(name, values, real.get(name), rows)
                    for name, values in measure(inputs, outputs, masks, pixel).items())
    sentence, kept = _judgement({result.name: result for result in results}, rows.pixel)
    return Anatomy(kept=kept, sentence=sentence, figures=results)


def _result(name: str, values: Array, real: Array | None, rows: _Rows) -> AnatomyResult:
    means = by_subject(values, rows.subjects)
    value, interval = over_subjects(means)
    most = np.inf if name in LENGTHS else 1.0
    limit = _limit(name, real, rows)
    beyond, usual = (_beyond(name, own, limit, rows) for own in (values, real))
    reference = Reference(what="the input against itself", value=OF_ITSELF[name])
    if real is not None:
        usually, span = over_subjects(by_subject(real, rows.subjects))
        reference = Reference(what=PAIRS, value=usually, interval=clipped(span, (0.0, most)), beyond=usual)
    badness = _badness(name, values)
    order = [i for i in np.argsort(-badness, kind="stable") if rows.usable[i] and badness[i] > -np.inf]
    return AnatomyResult(
        name=name, unit=rows.unit if name in LENGTHS else "", value=value, better="higher" if name == KEPT else "lower",
        n_images=int(np.isfinite(values).sum()), n_subjects=len(means), interval=clipped(interval, (0.0, most)),
        per_subject=means if len(means) < MIN_SUBJECTS else None, reference=reference, limit=limit, beyond=beyond,
        allowed=None if beyond is None else max(ALLOWED, (usual or 0.0) + ALLOWED - TAIL),
        worst=tuple(Worst(image=i, value=values[i]) for i in order[:_WORST]))


def _badness(name: str, values: Array) -> Array:
    """Larger is worse; nothing in common is the worst shift."""
    return np.where(np.isfinite(values), -values if name == KEPT else values, np.inf if name == SHIFT else -np.inf)


def _beyond(name: str, values: Array | None, limit: float | None, rows: _Rows) -> float | None:
    """Share of the images worse than the limit, of outputs and real pairs alike: the same images give the same."""
    if values is None or limit is None:
        return None
    bar = -limit if name == KEPT else limit
    over = np.where(rows.usable, _badness(name, values) > bar + 1e-9, np.nan)
    return over_subjects(by_subject(over, rows.subjects))[0]


def _limit(name: str, real: Array | None, rows: _Rows) -> float | None:
    """What the real pairs' own spread allows; without real pairs twice the least limit, and none for edges.

    Quantiles are values of pairs: one between the worst two of a few pairs would have the worst beyond it.
    """
    least = LEAST.get(name, -np.inf) * (rows.pixel if name in LENGTHS else 1.0)
    usual = np.zeros(0) if real is None else real[np.isfinite(real)]
    if not usual.size:
        return 2 * least if name in LEAST else None
    if name == KEPT:
        return float(np.quantile(usual, TAIL, method="lower")) - EDGE_MARGIN
    return max(least, float(np.quantile(usual, 1 - TAIL, method="higher")) + (EDGE_MARGIN if name == INVENTED else 0.0))


def _judgement(results: Mapping[str, AnatomyResult], pixel: float) -> tuple[str, bool | None]:
    """A sentence on the anatomy, and whether it is kept; None where nothing could be measured."""
    shift = results[SHIFT]
    wrong = [result for result in results.values() if result.faulty]
    if shift.beyond is None:
        return "Whether the anatomy is kept cannot be measured: the images have no foreground", None
    if not wrong and (shift.allowed or 0.0) >= 1:
        return "Whether the anatomy is kept cannot be measured: real pairs have nothing in common themselves", None
    if not wrong:
        parts = ", ".join(_phrase(results[name]) for name in (SHIFT, DEFORMATION, KEPT))
        return f"The anatomy is in place: {parts}{_note(shift, pixel)}", True
    if shift.value is None:
        return "The anatomy is not kept: the outputs have nothing in common with their inputs", False
    parts = "; ".join(_excess(result) for result in wrong)
    return f"The anatomy is not kept: {parts}{_note(shift, pixel)}", False


def _note(shift: AnatomyResult, pixel: float) -> str:
    """What is to be known of the real pairs."""
    real = shift.reference or Reference()
    if real.what != PAIRS:
        return "; there are no real pairs to compare with"
    if (real.value or 0.0) > pixel:
        return f"; real pairs are themselves {_amount(shift, real.value)} apart: they are not well registered"
    if (real.beyond or 0.0) > ALLOWED:
        return f"; {real.beyond:.0%} of the real pairs are themselves beyond {_amount(shift, shift.limit)}"
    return ""


def _phrase(result: AnatomyResult) -> str:
    real = result.reference
    beside = f" (real pairs: {_amount(result, real.value)})" if real and real.what == PAIRS else ""
    return _PHRASES[result.name].format(_amount(result, result.value)) + beside


def _excess(result: AnatomyResult) -> str:
    usual = (result.reference or Reference()).beyond or 0.0
    beside = f" (of the real pairs {usual:.0%})" if usual > TAIL else ""
    return f"{_phrase(result)} and {result.beyond or 0:.0%} of the images are beyond " \
           f"{_amount(result, result.limit)}{beside}"


def _amount(result: AnatomyResult, value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:.2f} {result.unit}" if result.unit else f"{value:.0%}"
