"""The one answer of a study, from its primary comparison and those that must agree with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ganatomy.studies.answers import CANT_TELL, DOES_NOT, HELPS, HURTS, LEVEL, Answer, Frame, arm_words, signed
from ganatomy.studies.contrasts import companion_of, named

Row = Mapping[str, Any]
LEARNT_NOTHING = "Neither arm's classifier has surely learnt anything"


def verdict(contrasts: Sequence[Row], controls: Sequence[Row], arms: Sequence[str], frame: Frame,
            scores: Sequence[Row] = ()) -> dict[str, Any]:
    """The study's answer: verdict, sentence, why (sentences), and the primary comparison's arms.

    Helps needs two: the primary comparison helps, and without augmentation the same images beat OVERSAMPLE (Holm),
    where that is in the study. If one of the two says so and the other does not, it is can't tell; so it is where a
    negative control helps too, or where neither classifier has surely learnt anything.

    Args:
        contrasts, controls: rows of these tables.
        arms: names of the study's arms.
        frame: for the sentences.
        scores: rows of this table, to see whether anything was learnt.
    """
    primary = next((row for row in contrasts if row["primary"] and row["answer"] is not None), None)
    if primary is None:
        return {"verdict": CANT_TELL, "primary": None, "why": [],
                "sentence": "Nothing can be said about synthetic images: no arm that adds images stands beside an "
                            "OVERSAMPLE arm with the same augmentation and as many images."}
    names = primary["treatment"], primary["reference"]
    partner = companion_of(names, arms)
    ignorance = _ignorance(names, scores)
    other = next((row for row in contrasts if (row["treatment"], row["reference"]) == partner
                  and row["answer"] is not None), None)
    answer, against = _believed(*_agreed(primary, other), controls, ignorance)
    why = [*against, primary["sentence"], *([other["sentence"]] if other else []), *(c["says"] for c in controls),
           *_limits(primary, other, frame)]
    return {"verdict": answer, "primary": list(names), "sentence": _sentence(answer, primary, other, frame),
            "why": why}


def _agreed(primary: Row, other: Row | None) -> tuple[Answer, list[str]]:
    answer: Answer = primary["answer"]
    if other is None or (answer == HELPS) == _beats(other):
        return answer, []
    won, lost = (primary, other) if answer == HELPS else (other, primary)
    return CANT_TELL, [f"The two comparisons that must agree do not: {won['treatment']} beats {won['reference']}, but "
                       f"{lost['treatment']} against {lost['reference']} is: {lost['answer']}."]


def _believed(answer: Answer, against: list[str], controls: Sequence[Row],
              ignorance: str) -> tuple[Answer, list[str]]:
    """The answer, unless the study's own controls or its classifiers forbid to believe it."""
    failed = [c["treatment"] for c in controls if c["source"] != "FRESH" and not c["as_expected"]]
    if answer == HELPS and failed:
        answer, against = CANT_TELL, [*against, f"{' and '.join(failed)} came out as helping too, which cannot be."]
    if ignorance:
        answer, against = CANT_TELL if answer == DOES_NOT else answer, [*against, ignorance]
    return answer, against


def _ignorance(names: tuple[str, str], scores: Sequence[Row]) -> str:
    """A sentence if neither of the two arms surely ranks better than chance; "" if one does, or none was scored."""
    found = {row["arm"]: row for row in scores if row["metric"] == "roc_auc" and row["k"] is None
             and row["arm"] in names and row["interval"]}
    if len(found) < 2 or any(row["interval"][0] > row["floor"] for row in found.values()):
        return ""
    told = ", ".join(f"{name} {found[name]['value']:.2f}, {found[name]['interval'][0]:.2f} to "
                     f"{found[name]['interval'][1]:.2f}" for name in names)
    return (f"{LEARNT_NOTHING} (ROC AUC of {told}; 0.5 is chance): this says "
            "little about the images that were added.")


def _beats(row: Row) -> bool:
    return row["difference"] is not None and row["difference"] > 0 and row["p_holm"] is not None \
        and row["p_holm"] < LEVEL


def _sentence(answer: Answer, primary: Row, other: Row | None, frame: Frame) -> str:
    arm = named(primary["treatment"])
    what = f"synthetic images{f' ({arm.factor} x k)' if arm.factor else ''}" if arm.source == "GAN" \
        else arm_words(primary["treatment"])
    interval = primary["interval"]
    told = f"F1 {signed(primary['difference'])}" if primary["difference"] is not None else "F1 unknown"
    told += f", 95% interval {signed(interval[0])} to {signed(interval[1])}" if interval else ", no interval"
    beside = f"{primary['treatment']} − {primary['reference']}: {told}; {frame.margin:g} would matter; {frame.words()}"
    said = {HELPS: f"Yes: adding {what} makes this classifier better than repeating the real ones",
            HURTS: f"No: adding {what} makes this classifier worse than repeating the real ones",
            DOES_NOT: f"No: adding {what} brings no gain of {frame.margin:g} or more over repeating the real ones",
            CANT_TELL: f"These data can't tell whether adding {what} makes this classifier better than repeating the "
                       "real ones"}[answer]
    return f"{said} ({beside})."


def _limits(primary: Row, other: Row | None, frame: Frame) -> list[str]:
    said = []
    if other is None and named(primary["treatment"]).prefix:
        said.append("There is no comparison without augmentation beside it, which ought to agree.")
    if named(primary["treatment"]).source != "GAN":
        said.append("There is no arm with a GAN's images to compare: this is about a control in its place.")
    if frame.seeds < 2:
        said.append("With one seed it is not known how much another training would change: the bootstrap's interval is "
                    "over subjects only, and refits differ by their fold alone.")
    said.append("This holds for this classifier, these GANs, these numbers of images and patients like these, not for "
                "others.")
    return said
