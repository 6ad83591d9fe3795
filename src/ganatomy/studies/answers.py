"""What a study's differences allow to conclude: which arms are compared, an answer for each pair, and one of the study.

A difference helps, hurts, does not help, or can't tell. The primary comparison is named before anything is known.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ganatomy.core.text import counted, estimate, grouped, number, p_value
from ganatomy.studies.inference import Estimate
from ganatomy.studies.protocol import CONTROLS, Arm, named

Answer = Literal["helps", "hurts", "does not help", "can't tell"]
HELPS: Answer = "helps"
HURTS: Answer = "hurts"
DOES_NOT: Answer = "does not help"
CANT_TELL: Answer = "can't tell"
Row = Mapping[str, Any]
LEVEL = 0.05
LEARNT_NOTHING = "Neither arm's classifier has surely learnt anything"
ADDING = ("GAN", *CONTROLS)
PRIMARY_PREFIXES = ("AUG_", "", "AUG2_")  # in this order, the first that is there
IN_BRACKETS = "In brackets: counts only together with the primary comparison."
_SOURCES = {"ORG": "the real images alone", "OVERSAMPLE": "repeated real images", "GAN": "synthetic images",
            "GAN_ONLY": "synthetic images alone", "FRESH": "real images of further patients",
            "COPIES": "random draws of the training images", "NOISE": "images of noise"}
_AUGMENTED = {"": "", "AUG_": ", with flips", "AUG2_": ", with strong augmentation"}
_METRICS = {"f1": "F1", "average_precision": "average precision", "roc_auc": "ROC AUC"}


# -- which arms are compared


@dataclass(frozen=True)
class Pair:
    """Treatment against reference.

    Attributes:
        corrected: by Holm, as all are but the primary comparison and its companion: "helps" takes both of these, and
            where both must be true neither needs a correction (an intersection-union test; Berger, Technometrics 1982).
    """

    treatment: str
    reference: str
    primary: bool = False
    corrected: bool = True


def pairs_of(arms: Sequence[str]) -> list[Pair]:
    """All comparisons that the arms allow, the primary one first.

    What is added against OVERSAMPLE, which adds as many images without new ones, and against ORG; OVERSAMPLE against
    ORG; augmentation against none, the stronger against flips; synthetic images alone against real ones.
    """
    by_parts, primary = by_parts_of(arms), primary_of(arms)
    together = (primary, companion_of(primary, arms)) if primary else ()
    pairs = [Pair(arm.name, reference, (arm.name, reference) == primary, (arm.name, reference) not in together)
             for arm in map(named, arms) for reference in _references(arm, by_parts)]
    return sorted(pairs, key=lambda pair: not pair.primary)


def primary_of(arms: Sequence[str]) -> tuple[str, str] | None:
    """Treatment and reference of the primary comparison; None where no arm that adds images has its OVERSAMPLE.

    It is GAN - OVERSAMPLE with AUG_, if these arms are not there without augmentation, then with AUG2_; of several
    factors the first. Without any of them FRESH, then COPIES, then NOISE take the place of GAN.
    """
    by_parts = by_parts_of(arms)
    for source, prefix in itertools.product(ADDING, PRIMARY_PREFIXES):
        for arm in (a for a in map(named, arms) if (a.source, a.prefix) == (source, prefix)):
            if reference := by_parts.get((prefix, "OVERSAMPLE", arm.at)):
                return arm.name, reference
    return None


def companion_of(primary: tuple[str, str], arms: Sequence[str]) -> tuple[str, str] | None:
    """The same comparison without augmentation, which must agree before it is concluded that images help."""
    by_parts, arm = by_parts_of(arms), named(primary[0])
    treatment, reference = (by_parts.get(("", source, arm.at)) for source in (arm.source, "OVERSAMPLE"))
    return (treatment, reference) if arm.prefix and treatment and reference else None


def _references(arm: Arm, by_parts: Mapping[tuple[str, str, str], str]) -> list[str]:
    if arm.source == "ORG":  # the next weaker augmentation that is there
        weaker = {"AUG_": ("",), "AUG2_": ("AUG_", "")}.get(arm.prefix, ())
        return [by_parts[prefix, "ORG", ""] for prefix in weaker if (prefix, "ORG", "") in by_parts][:1]
    wanted = [(arm.prefix, "OVERSAMPLE", arm.at)] if arm.source in ADDING else []
    return [by_parts[parts] for parts in (*wanted, (arm.prefix, "ORG", "")) if parts in by_parts]


def by_parts_of(arms: Sequence[str]) -> dict[tuple[str, str, str], str]:
    """The names of arms by prefix, source and factor."""
    return {(arm.prefix, arm.source, arm.at): arm.name for arm in map(named, arms)}


# -- the answer for one pair


def _in_words(arm: Arm) -> str:
    """Such as: synthetic images, with flips (AUG_GAN)."""
    factor = f", {arm.at} x k of them" if arm.at else ""
    return f"{_SOURCES[arm.source]}{factor}{_AUGMENTED[arm.prefix]} ({arm.name})"


@dataclass(frozen=True)
class Frame:
    """What every sentence says of the study.

    The smallest difference in F1 that would matter, how many test subjects (of the
    external set, if it is of that) have each positive class and how many do not, the grid, and over how many
    comparisons Holm's correction is.
    """

    margin: float
    positives: Mapping[str, tuple[int, int]]
    ks: Sequence[int]
    folds: int
    seeds: int
    compared: int
    external: bool = False

    def words(self) -> str:
        """What a difference is of: averaged over k = 25, 50 real positive images; tested on 24 subjects with ..."""
        who = " and ".join(f"{grouped(own, 'subject')} with {c} and {other:,} without"
                           for c, (own, other) in self.positives.items())
        where = " of the external set" if self.external else ""
        return (f"{self.of_k()} real positive images; tested on {who}{where}; {counted(self.folds, 'fold')}, "
                f"{counted(self.seeds, 'seed')}")

    def of_k(self) -> str:
        """Over which k a value is averaged."""
        return f"{'averaged over' if len(self.ks) > 1 else 'at'} k = {', '.join(map(str, self.ks))}"


def answer_of(difference: Estimate, margin: float, p_holm: float | None) -> Answer:
    """What one difference in F1 allows to conclude; `p_holm` is None for a pair that needs no correction.

    Helps (hurts): the interval is above (below) 0, the difference is at least the margin, and Holm's p is below 0.05.
    Does not help: the interval is below the margin, so that a gain that matters is ruled out.
    """
    if difference.interval is None:
        return CANT_TELL
    low, high = difference.interval
    sure = p_holm is None or p_holm < LEVEL
    if low > 0 and difference.value >= margin and sure:
        return HELPS
    if high < 0 and difference.value <= -margin and sure:
        return HURTS
    return DOES_NOT if high < margin else CANT_TELL


def sentence(row: Row, frame: Frame) -> str:
    """One row of "contrasts" in words."""
    gain = f"{_METRICS[row['metric']]} {_difference(row)}"
    if row["answer"] is None:
        at = frame.of_k() if row["k"] is None else f"at k = {row['k']}"
        return f"{row['treatment']} against {row['reference']}, {at}: {gain}. A description, not a claim."
    floor = "" if row["floor"] is None else f"; two seeds of {row['reference']} differ by {number(row['floor'], 3)}"
    holm = "" if row["p_holm"] is None else \
        f", Holm's p among {grouped(frame.compared, 'comparison')} {p_value(row['p_holm'])}"
    treatment, reference = (_in_words(named(row[side])) for side in ("treatment", "reference"))
    together = "" if counts_alone(row) else ", which counts only together with the primary comparison"
    return (f"Classifiers with {treatment} against {reference}: {gain}, {frame.words()}{floor}. "
            f"{row['answer'].capitalize()}{together} ({frame.margin:g} would matter{holm}).")


def counts_alone(row: Row) -> bool:
    """Whether a row's answer stands by itself: that of the primary comparison's companion, not corrected, does not."""
    return row["primary"] or row["p_holm"] is not None or row["answer"] not in (HELPS, HURTS)


def bracketed(row: Row) -> str:
    """A row's answer for a table, see `IN_BRACKETS`."""
    return str(row["answer"]) if counts_alone(row) else f"({row['answer']})"


def _difference(row: Row) -> str:
    """Such as: +0.031 (0.004 to 0.058)."""
    if row["difference"] is None:
        return "cannot be compared"
    if row["interval"] is None:
        return f"{number(row['difference'], 3, sign=True)} (too few test subjects with or without a class for an " \
               "interval)"
    return estimate(row["difference"], row["interval"], sign=True)


# -- the controls


def controls_of(contrasts: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of "controls": FRESH, COPIES and NOISE against OVERSAMPLE, in F1 averaged over k."""
    rows = []
    for row in contrasts:
        source = named(row["treatment"]).source
        if row["answer"] is not None and source in CONTROLS and named(row["reference"]).source == "OVERSAMPLE":
            fresh, helps = source == "FRESH", row["answer"] == HELPS
            rows.append({"source": source, **row, "as_expected": helps == fresh,
                         "says": f"{row['treatment']}: {_CONTROLS[fresh, helps]}"})
    return rows


_CONTROLS = {
    (True, True): "Real images of further patients help: the study can see such an effect.",
    (True, False): "Not even real images of further patients visibly help: the study cannot see what a perfect "
                   "generator would bring.",
    (False, True): "This control comes out as helping, which it cannot by what it shows: do not trust a gain of this "
                   "size of any other arm.",
    (False, False): "This control is not seen to help, as it should be."}
"""What a control tells of the study's power to see an effect, by whether it is FRESH and whether it helps."""


# -- the one answer


def verdict(contrasts: Sequence[Row], controls: Sequence[Row], arms: Sequence[str], frame: Frame,
            scores: Sequence[Row] = ()) -> dict[str, Any]:
    """The study's answer: verdict, sentence, why (sentences), and the primary comparison's arms.

    Helps needs two: the primary comparison, and the same without augmentation, where that is in the study. It is can't
    tell where the two disagree or a negative control helps too.
    """
    answered = {(row["treatment"], row["reference"]): row for row in contrasts if row["answer"] is not None}
    primary = next((row for row in answered.values() if row["primary"]), None)
    if primary is None:
        return {"verdict": CANT_TELL, "primary": None, "why": [],
                "sentence": "Nothing can be concluded about synthetic images: no arm that adds images stands beside an "
                            "OVERSAMPLE arm with the same augmentation and as many images."}
    names = primary["treatment"], primary["reference"]
    other = answered.get(companion_of(names, arms) or ("", ""))
    answer, against = _agreed(primary, other)
    failed = [c["treatment"] for c in controls if c["source"] != "FRESH" and not c["as_expected"]]
    if answer == HELPS and failed:
        answer, against = CANT_TELL, [*against, f"{' and '.join(failed)} came out as helping too, which cannot be."]
    why = [*against, *_ignorance(names, scores), primary["sentence"], *([other["sentence"]] if other else []),
           *(c["says"] for c in controls), *_limits(primary, other, frame)]
    return {"verdict": answer, "primary": list(names), "sentence": _sentence(answer, primary, frame), "why": why}


def _agreed(primary: Row, other: Row | None) -> tuple[Answer, list[str]]:
    """The primary comparison's answer; can't tell, and why, where the one without augmentation contradicts it."""
    answer: Answer = primary["answer"]
    if other is None or (answer == HELPS) == (other["interval"] is not None and other["interval"][0] > 0):
        return answer, []
    won, lost = (primary, other) if answer == HELPS else (other, primary)
    return CANT_TELL, [f"The two comparisons that must agree do not: {won['treatment']} beats {won['reference']}, but "
                       f"{lost['treatment']} against {lost['reference']} is: {lost['answer']}."]


def _ignorance(names: tuple[str, str], scores: Sequence[Row]) -> list[str]:
    """A sentence if neither of the two arms surely ranks better than chance; none if one does, or none was scored."""
    rows = {row["arm"]: row for row in scores if row["metric"] == "roc_auc" and row["k"] is None
            and row["arm"] in names and row["interval"]}
    if len(rows) < 2 or any(row["interval"][0] > row["floor"] for row in rows.values()):
        return []
    areas = ", ".join(f"{name} {estimate(rows[name]['value'], rows[name]['interval'])}" for name in names)
    return [f"{LEARNT_NOTHING} (ROC AUC of {areas}; 0.5 is chance): this says little about the images that were added."]


def _sentence(answer: Answer, primary: Row, frame: Frame) -> str:
    arm = named(primary["treatment"])
    what = f"synthetic images{f' ({arm.at} x k)' if arm.at else ''}" if arm.source == "GAN" else _in_words(arm)
    words = {HELPS: f"Yes: adding {what} makes this classifier better than",
             HURTS: f"No: adding {what} makes this classifier worse than",
             DOES_NOT: f"No: adding {what} brings no gain of {frame.margin:g} or more over",
             CANT_TELL: f"These data can't tell whether adding {what} makes this classifier better than"}[answer]
    return (f"{words} repeating the real ones ({primary['treatment']} − {primary['reference']}: F1 "
            f"{_difference(primary)}; {frame.margin:g} would matter; {frame.words()}).")


def _limits(primary: Row, other: Row | None, frame: Frame) -> list[str]:
    limits = []
    if other is None and named(primary["treatment"]).prefix:
        limits.append("There is no comparison without augmentation beside it, which ought to agree.")
    if frame.seeds < 2:
        limits.append("With one seed it is not known how much another training would change.")
    return [*limits, "This holds for this classifier, these GANs, these numbers of images and patients like these, not "
                     "for others."]
