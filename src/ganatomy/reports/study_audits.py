"""The audits of a study's GANs: a line each, how many copy, and whether a better distance meant a better F1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.core.text import grouped
from ganatomy.reports import study_figures
from ganatomy.reports.images import Picture
from ganatomy.reports.lights import SHAPES
from ganatomy.reports.numbers import bracketed, number, pair, spanned
from ganatomy.studies.answers import Named, named
from ganatomy.studies.cell_gans import figure_of, light_of
from ganatomy.studies.folder import Cell, StudyFolder
from ganatomy.studies.predictions import Predictions, f1, read_predictions

Row = Mapping[str, Any]
Array = NDArray[np.float64]
WORDS = {"green": "No sign of copies", "amber": "With reservations", "red": "Copies", "grey": "Not audited"}
FEW_CELLS = 5  # below this there is no correlation to speak of
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Audited:
    """One GAN's audit as text."""

    k: str
    fold: int
    seed: int
    label: str
    patients: int
    kernel: str
    interval: str
    floor: str
    diversity: str
    light: str
    shape: str
    word: str
    says: str


def lines(audits: Sequence[Row]) -> list[Audited]:
    """A line a GAN, in the order of k, fold, seed."""
    return [_line(a) for a in sorted(audits, key=lambda a: (a["k"], a["fold"], a["seed"], a["label"]))]


def _line(audit: Row) -> Audited:
    kernel, spread, light = figure_of(audit, "KD"), figure_of(audit, "Diversity"), light_of(audit)
    value, interval = spanned(kernel["value"], pair(kernel.get("interval")), 1000) if kernel else ("–", "")
    floor = kernel.get("floor") if kernel else None
    return Audited(f"{audit['k']:,}", audit["fold"], audit["seed"], audit["label"], audit["training_subjects"],
                   value, interval, "–" if floor is None else number(1000 * floor), _diversity(spread),
                   light, SHAPES[light], WORDS[light], str((audit.get("copies") or {}).get("says") or ""))


def _diversity(result: Row | None) -> str:
    """As a share of the diversity of real images of different patients."""
    ratio = result.get("ratio") if result else None
    return "–" if ratio is None else f"{ratio:.2f}"


def counts(audits: Sequence[Row]) -> dict[str, int]:
    """How many GANs have which light."""
    lights = [light_of(a) for a in audits]
    return {light: lights.count(light) for light in WORDS}


@dataclass(frozen=True, slots=True)
class Relation:
    """The scatter of kernel distance against F1, and what it allows to be said."""

    picture: Picture
    says: str
    gains: bool


def relation(folder: StudyFolder, audits: Sequence[Row], arms: Sequence[str]) -> Relation | None:
    """Whether GANs with a better distance gave classifiers a better F1; None where that cannot be looked at.

    A point is a GAN: the F1 of its class on its cell's held-out images, less that of the OVERSAMPLE arm beside it, the
    mean over the arms with its images.
    """
    pairs, gains = _gan_arms(arms)
    points = []
    for audit in audits:
        kernel = figure_of(audit, "KD")
        found = _gain(folder, audit, pairs) if kernel and pairs else None
        if kernel and found is not None:
            points.append((1000 * float(kernel["value"]), found, int(audit["k"]), light_of(audit) == "red"))
    if len(points) < 2:
        return None
    what = "F1 gained over OVERSAMPLE" if gains else "F1 with synthetic images"
    return Relation(study_figures.scatter(points, what), _said(points, gains), gains)


def _gan_arms(arms: Sequence[str]) -> tuple[list[tuple[str, str | None]], bool]:
    """The arms with synthetic images and their OVERSAMPLE arms; where none has one, without."""
    known = {name: named(name) for name in arms}
    pairs = [(name, _partner(arm, known)) for name, arm in known.items() if arm.source == "GAN"]
    with_partner = [(a, b) for a, b in pairs if b is not None]
    if with_partner:
        return list(with_partner), True
    return [(name, None) for name, arm in known.items() if arm.source in ("GAN", "GAN_ONLY")], False


def _partner(arm: Named, known: Mapping[str, Named]) -> str | None:
    wanted = arm.prefix, "OVERSAMPLE", arm.factor
    return next((name for name, other in known.items() if (other.prefix, other.source, other.factor) == wanted), None)


def _gain(folder: StudyFolder, audit: Row, pairs: Sequence[tuple[str, str | None]]) -> float | None:
    cell = folder.cell(Cell(int(audit["k"]), int(audit["fold"]), int(audit["seed"])))
    try:
        own = [(_f1(read_predictions(cell.predictions(a)), audit["label"]),
                _f1(read_predictions(cell.predictions(b)), audit["label"]) if b else 0.0) for a, b in pairs]
    except (UserError, KeyError):  # a class that is not positive (GAN_ONLY has GANs of all), or files that are gone
        return None
    return float(np.mean([first - second for first, second in own]))


def _f1(said: Predictions, label: str) -> float:
    truth = np.array([own == label for own in said.labels], dtype=bool)
    return float(f1(truth, said.scores[label], said.decisions[label], np.ones((1, len(truth))))[0])


def _said(points: Sequence[tuple[float, float, int, bool]], gains: bool) -> str:
    x, y, k = (np.array(column, dtype=float) for column in list(zip(*points, strict=True))[:3])
    what = "the gain in F1" if gains else "F1"
    if len(points) < FEW_CELLS:
        return f"With {grouped(len(points), 'GAN')} there is no correlation to speak of."
    value, interval = within(x, y, k)
    if value is None or interval is None:
        return "All GANs of a k have the same distance or the same F1: there is no correlation to speak of."
    held = " among GANs of the same k" if len(set(k.tolist())) > 1 else ""
    figure = f"rank correlation{held} {bracketed(value, interval)}, {grouped(len(points), 'GAN')}"
    if interval[1] < 0:
        answer = f"Yes, here: the nearer the GAN's images were to held-out patients, the better {what}"
    elif interval[0] > 0:
        answer = f"No, the other way round: the nearer the GAN's images were to held-out patients, the worse {what}"
    else:
        answer = f"That can't be told: the distance to held-out patients did not go with {what} clearly, either way"
    return (f"{answer} ({figure}; in brackets the 95% interval over GANs). GANs share patients, so this describes "
            "these GANs and is no test.")


def within(x: Array, y: Array, group: Array) -> tuple[float | None, tuple[float, float] | None]:
    """Rank correlation of x and y, with the group held fixed: ranks are taken within groups, and their means off.

    Args:
        x, y, group: [n].

    Returns:
        The correlation, -1 to 1, None if x or y does not vary; its 95% interval, from drawing again within groups.
    """
    value = _correlation(x, y, group)
    if value is None:
        return None, None
    rng, drawn = np.random.default_rng(0), []
    places = [np.flatnonzero(group == g) for g in np.unique(group)]
    for _ in range(DRAWS):
        rows = np.concatenate([rng.choice(p, len(p)) for p in places])
        drawn.append(_correlation(x[rows], y[rows], group[rows]))
    kept = [d for d in drawn if d is not None]
    low, high = np.percentile(kept, [2.5, 97.5])
    return value, (float(low), float(high))


def _correlation(x: Array, y: Array, group: Array) -> float | None:
    from scipy.stats import rankdata

    a, b = np.zeros(len(x)), np.zeros(len(x))
    for g in np.unique(group):
        own = group == g
        for values, ranks in ((x, a), (y, b)):
            ranks[own] = rankdata(values[own])
            ranks[own] -= ranks[own].mean()
    spread = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / spread) if spread > 0 else None
