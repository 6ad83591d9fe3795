"""results.json as lines for a terminal: the answer first, then the figures it rests on."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ganatomy.core.text import counted
from ganatomy.metrics.translation_table import aligned
from ganatomy.studies.answers import CANT_TELL, DOES_NOT, HELPS, HURTS
from ganatomy.studies.audit import figure_of, light_of

LIGHTS = {HELPS: "[+]", DOES_NOT: "[!]", HURTS: "[x]", CANT_TELL: "[?]"}
AUDITS = {"green": "without a sign of copies", "amber": "with reservations about copies",
          "red": "WITH COPIES of training patients", "grey": "not audited for copies"}
MOST_SUBJECTS = 12  # named one by one, where they are too few for intervals
Entry = Mapping[str, Any]


def table(results: dict[str, Any]) -> str:
    """results.json as lines for a terminal.

    The answer and why, F1 of every arm for every k, the comparisons that have an answer, the audits of the GANs in one
    line; then the same of the external set, where there is one.
    """
    parts = [_answer(results), *_figures(results, results["ks"]), _audits(results.get("audits") or [])]
    external = results.get("external")
    if external:
        parts += [[f"On the external set ({counted(external['n_images'], 'image')} of "
                   f"{counted(external['n_subjects'], 'subject')}):", *_answer(external)],
                  *_figures(external, results["ks"])]
    return "\n\n".join("\n".join(part) for part in parts if part)


def _figures(found: Entry, ks: Sequence[int]) -> list[list[str]]:
    """Scores, comparisons and, where subjects are few, each one's share, of one set of test images."""
    floor = next((s["floor"] for s in found["scores"] if s["metric"] == "f1" and s["k"] is None), None)
    return [_scores(found, ks, floor), _contrasts(found["contrasts"]), _per_subject(found.get("per_subject"))]


def _answer(found: Entry) -> list[str]:
    """[+] helps, [!] does not help, [x] hurts, [?] can't tell; then why, a line a reason."""
    answer = found["answer"]
    return [f"{LIGHTS.get(answer['verdict'], '[?]')} {answer['verdict']}: {answer['sentence']}",
            *(f"    {text}" for text in answer["why"])]


def _scores(found: Entry, ks: Sequence[int], floor: float | None) -> list[str]:
    """A line an arm, a column a k; the mean over k where there are several."""
    shown: list[int | None] = [*ks, *([None] if len(ks) > 1 else [])]
    rows = {(s["arm"], s["k"]): s for s in found["scores"] if s["metric"] == "f1"}
    heads = ("F1", *(f"k = {k}" if k is not None else "mean over k" for k in shown))
    lines = [(arm, *(_span(rows[arm, k]["value"], rows[arm, k]["interval"], "") for k in shown))
             for arm in dict.fromkeys(arm for arm, _ in rows)]
    if floor is not None:
        lines.append(("all called positive", *([f"{floor:.3f}"] * len(shown))))
    return [*aligned([heads, *lines]), "In brackets 95% intervals."]


def _contrasts(contrasts: Sequence[Entry]) -> list[str]:
    """The comparisons that have an answer; the rest is in results.json and the report."""
    answered = [c for c in contrasts if c["answer"] is not None]
    if not answered:
        return []
    heads = ("F1, mean over k", "difference", "p", "Holm's p", "answer")
    lines = [(f"{c['treatment']} - {c['reference']}" + (" (primary)" if c["primary"] else ""),
              _span(c["difference"], c["interval"], "+"), _p(c["p"]), _p(c["p_holm"]), c["answer"] + _needed(c))
             for c in answered]
    return aligned([heads, *lines])


def _needed(contrast: Entry) -> str:
    needed = contrast["subjects_needed"]
    return f"; about {needed:,} subjects would" if needed else ""


def _per_subject(per_subject: Mapping[str, Mapping[str, float]] | None) -> list[str]:
    """Where subjects are too few for intervals, the share of each one's images that is called right."""
    if not per_subject or any(len(shares) > MOST_SUBJECTS for shares in per_subject.values()):
        return []
    arms = list(per_subject)
    subjects = list(per_subject[arms[0]])
    return aligned([("called right", *subjects),
                    *((arm, *(_number(per_subject[arm].get(s)) for s in subjects)) for arm in arms)])


def _audits(audits: Sequence[Entry]) -> list[str]:
    """All GANs in one line: how many copy, and the kernel distance by k."""
    if not audits:
        return []
    known = [light_of(a) for a in audits]
    said = ", ".join(f"{known.count(light)} {what}" for light, what in AUDITS.items() if light in known)
    copied = [a["cell"] for a, light in zip(audits, known, strict=True) if light == "red"]
    named = f" ({', '.join(dict.fromkeys(copied))})" if copied else ""
    return [f"{counted(len(audits), 'GAN')}: {said}{named}{_distances(audits)}", *poor_gans(audits)]


def poor_gans(audits: Sequence[Entry]) -> list[str]:
    """A sentence if GANs are farther from the held-out patients than blurred real images are."""
    far = [a for a in audits if a.get("blurred") is not None
           and (distance := figure_of(a, "KD")) and a["blurred"] < distance["value"]]
    if not far:
        return []
    return [f"The synthetic images of {len(far)} of {counted(len(audits), 'GAN')} are farther from held-out patients "
            "than blurred real images are: where they are many, the answer is about poor images. Train longer "
            "(--budget, --set steps=N)."]


def _distances(audits: Sequence[Entry]) -> str:
    """The median kernel distance of the GANs of every k, times 1000."""
    by_k: dict[int, list[float]] = {}
    for a in audits:
        distance = figure_of(a, "KD")
        by_k.setdefault(a["k"], []).extend([1000 * distance["value"]] if distance else [])
    said = ", ".join(f"{statistics.median(values):.3g} (k = {k})" for k, values in sorted(by_k.items()) if values)
    return f"; median kernel distance x 1000 from held-out patients: {said}; real images 0 on average" if said else ""


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}" if value >= 1e-4 else "<0.0001"


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"


def _span(value: float | None, interval: Sequence[float] | None, sign: str) -> str:
    """0.512 (0.430 to 0.593), with signs for differences."""
    if value is None or interval is None:
        return _number(value, sign)
    return f"{_number(value, sign)} ({_number(interval[0], sign)} to {_number(interval[1], sign)})"
