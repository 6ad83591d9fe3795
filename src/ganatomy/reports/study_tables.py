"""The tables of a study's report, as text: every arm for every k, and every comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ganatomy.reports.numbers import number, pair
from ganatomy.reports.translation_tables import Cell, Line, Table

Row = Mapping[str, Any]
TITLES = {"f1": "F1", "average_precision": "Average precision", "precision": "Precision", "recall": "Recall",
          "roc_auc": "ROC AUC", "balanced_accuracy": "Balanced accuracy", "brier": "Brier score",
          "calibration_error": "Calibration error"}
MEANINGS = {
    "f1": "Harmonic mean of precision and recall at the threshold chosen on the other half. This is what the answers "
          "are about.",
    "average_precision": "Area under precision against recall, over all thresholds; the share of positives is what "
                         "chance gives. Pooled over folds and checkpoints, whose scores need not be on one scale: that "
                         "lowers it, and not in every arm alike.",
    "precision": "Share of the images called positive that are, at the chosen threshold.",
    "recall": "Share of the positive images that are called so, at the chosen threshold (sensitivity).",
    "roc_auc": "Probability that a positive image has a higher score than a negative one. Looks good easily where "
               "positives are rare. Pooled like average precision, with the same caveat.",
    "balanced_accuracy": "Mean of sensitivity and specificity at the chosen threshold.",
    "brier": "Mean squared distance of the score from the truth.",
    "calibration_error": "Mean distance between score and observed share, in ten bins of equally many images; above 0 "
                         "by chance even for calibrated scores. Arms that add positives are trained at another share "
                         "of positives than that of the test images, and so are off by construction.",
}
FLOORS = {"f1": "everything called positive", "average_precision": "equal scores", "precision": "everything called "
          "positive", "roc_auc": "equal scores", "balanced_accuracy": "everything called positive",
          "brier": "the share of positives as every score"}
MEAN = "mean over k"


@dataclass(frozen=True, slots=True)
class Titled:
    """A table with its title, which way is better, and what it means."""

    title: str
    direction: str
    meaning: str
    table: Table


def score_tables(scores: Sequence[Row], ks: Sequence[int]) -> list[Titled]:
    """For each metric a table, a line an arm and a column a k."""
    found = []
    for metric in dict.fromkeys(s["metric"] for s in scores):
        own = {(s["arm"], s["k"]): s for s in scores if s["metric"] == metric}
        columns = _columns(ks)
        lines = [Line(arm, [_cell(own.get((arm, k)), "value") for k in columns])
                 for arm in dict.fromkeys(arm for arm, _ in own)]
        floor = next((s["floor"] for s in own.values() if s["floor"] is not None), None)
        if floor is not None:
            lines.append(Line(f"Knows nothing ({FLOORS.get(metric, '')})", [Cell(number(floor, 3)) for _ in columns]))
        better = next(iter(own.values()))["better"]
        found.append(Titled(TITLES.get(metric, metric), f"{better} is better", MEANINGS.get(metric, ""),
                            Table([_head(k) for k in columns], [("", lines)])))
    return found


def difference_tables(contrasts: Sequence[Row], ks: Sequence[int]) -> list[Titled]:
    """For each metric a table, a line a comparison and a column a k."""
    found = []
    for metric in dict.fromkeys(c["metric"] for c in contrasts):
        own = {(_name(c), c["k"]): c for c in contrasts if c["metric"] == metric}
        columns = _columns(ks)
        lines = [Line(name, [_cell(own.get((name, k)), "difference") for k in columns])
                 for name in dict.fromkeys(name for name, _ in own)]
        found.append(Titled(f"Difference in {TITLES.get(metric, metric)}", "above 0: better than the reference", "",
                            Table([_head(k) for k in columns], [("", lines)])))
    return found


def answers(contrasts: Sequence[Row]) -> list[dict[str, Any]]:
    """The comparisons that have an answer: name, difference, interval, both p, answer, sentence."""
    found = []
    for row in (c for c in contrasts if c["answer"] is not None):
        cell = _cell(row, "difference")
        found.append({"name": _name(row), "primary": row["primary"], "difference": cell.value or "–",
                      "interval": cell.interval or "–", "p": p_value(row["p"]), "p_holm": p_value(row["p_holm"]),
                      "limited_by": row.get("limited_by") or "", "floor": _floor(row["floor"]), "answer": row["answer"],
                      "sentence": row["sentence"]})
    return found


def by_subject(per_subject: Mapping[str, Mapping[str, float | None]] | None) -> Table | None:
    """Where subjects are too few for intervals, the share of each one's images that is called right."""
    if not per_subject:
        return None
    arms = list(per_subject)
    names = list(per_subject[arms[0]])
    return Table(arms, [("", [Line(f"subject {i}", [_share(per_subject[arm].get(name)) for arm in arms])
                              for i, name in enumerate(names, start=1)])])


def p_value(p: float | None) -> str:
    """With two digits; "–" without one."""
    return "–" if p is None else f"{p:.2g}" if p >= 1e-4 else "< 0.0001"


def _columns(ks: Sequence[int]) -> list[int | None]:
    return [*ks, *([None] if len(ks) > 1 else [])]


def _head(k: int | None) -> str:
    return MEAN if k is None else f"k = {k:,}"


def _name(row: Row) -> str:
    return f"{row['treatment']} − {row['reference']}"


def _cell(row: Row | None, key: str) -> Cell:
    if row is None or row[key] is None:
        return Cell("–")
    low, high = pair(row["interval"]) or (None, None)
    return Cell(_shown(row[key], key), f"{_shown(low, key)} to {_shown(high, key)}" if low is not None else "")


def _shown(value: float | None, key: str) -> str:
    """With three decimals, so that the figures of a table can be compared; differences with their sign."""
    text = "–" if value is None else number(value, 3)
    return f"+{text}" if key == "difference" and value is not None and value >= 0 else text


def _floor(value: float | None) -> str:
    return "–" if value is None else number(value, 3)


def _share(value: float | None) -> Cell:
    return Cell("–" if value is None else f"{value:.0%}")
