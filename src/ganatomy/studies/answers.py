"""What a difference allows to be said: helps, hurts, does not help or can't tell, in words for those who will act."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ganatomy.core.text import grouped
from ganatomy.studies.arms import CONTROLS
from ganatomy.studies.contrasts import Named, named
from ganatomy.studies.inference import Estimate

Answer = Literal["helps", "hurts", "does not help", "can't tell"]
HELPS: Answer = "helps"
HURTS: Answer = "hurts"
DOES_NOT: Answer = "does not help"
CANT_TELL: Answer = "can't tell"
LEVEL = 0.05
MOST_NAMED = 10  # times as many subjects; a larger number says nothing
_SOURCES = {"ORG": "the real images alone", "OVERSAMPLE": "repeated real images", "GAN": "synthetic images",
            "GAN_ONLY": "synthetic images alone", "FRESH": "real images of further patients",
            "COPIES": "random draws of the training images", "NOISE": "images of noise"}
_AUGMENTED = {"": "", "AUG_": ", with flips", "AUG2_": ", with strong augmentation"}
_METRICS = {"f1": "F1", "average_precision": "average precision", "roc_auc": "ROC AUC"}


@dataclass(frozen=True)
class Frame:
    """What every sentence says of the study.

    Attributes:
        margin: the smallest difference in F1 that would matter.
        positives: by positive class, how many test subjects have it and how many do not.
        n_subjects: test subjects.
        ks, folds, seeds: of the grid.
        compared: how many comparisons Holm's correction is over.
        external: the subjects are those of an external set.
    """

    margin: float
    positives: Mapping[str, tuple[int, int]]
    n_subjects: int
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
        return (f"{self.of_k()} real positive images; tested on {who}{where}; {grouped(self.folds, 'fold')}, "
                f"{grouped(self.seeds, 'seed')}")

    def of_k(self) -> str:
        """Over which k a figure is averaged."""
        return f"{'averaged over' if len(self.ks) > 1 else 'at'} k = {', '.join(map(str, self.ks))}"


def answer_of(found: Estimate, margin: float, p_holm: float | None) -> Answer:
    """What one difference in F1 allows to be said.

    Helps (hurts): the interval is above (below) 0, the difference is at least the margin, and Holm's p is below 0.05.
    Does not help: the interval is below the margin, so that a gain that matters is ruled out.

    Args:
        found: treatment less reference.
        margin: above 0.
        p_holm: adjusted for the other comparisons; None for the primary one, which needs none.
    """
    if found.interval is None:
        return CANT_TELL
    low, high = found.interval
    sure = p_holm is None or p_holm < LEVEL
    if low > 0 and found.value >= margin and sure:
        return HELPS
    if high < 0 and found.value <= -margin and sure:
        return HURTS
    return DOES_NOT if high < margin else CANT_TELL


def subjects_needed(found: Estimate, margin: float, p_holm: float | None, n_subjects: int) -> int | None:
    """About how many test subjects would tell, if the difference stayed as it is: n x (half width / gap)^2.

    The gap is from the difference to 0 where it is at least the margin (the half width is then that at Holm's level),
    else to the margin, below which the interval would then lie. None without an interval, or if it is more than ten
    times as many. Two digits are given.
    """
    if found.interval is None:
        return None
    matters = found.value >= margin
    gap = found.value if matters else margin - found.value
    half = (found.interval[1] - found.interval[0]) / 2 * (_holm_factor(found.p, p_holm) if matters else 1.0)
    needed = n_subjects * (half / gap) ** 2
    if needed > MOST_NAMED * n_subjects:
        return None
    digits: int = 10 ** max(0, math.floor(math.log10(max(1.0, needed))) - 1)
    return max(n_subjects + 1, math.ceil(needed / digits) * digits)


def _holm_factor(p: float | None, p_holm: float | None) -> float:
    from scipy.stats import norm

    if not p or not p_holm or p_holm <= p:
        return 1.0
    return float(norm.ppf(1 - LEVEL / 2 * p / p_holm) / norm.ppf(1 - LEVEL / 2))


def arm_words(name: str) -> str:
    """An arm in words: synthetic images, with flips (AUG_GAN)."""
    arm: Named = named(name)
    factor = f", {arm.factor} x k of them" if arm.factor else ""
    return f"{_SOURCES[arm.source]}{factor}{_AUGMENTED[arm.prefix]} ({name})"


def sentence(row: Mapping[str, Any], found: Estimate, frame: Frame) -> str:
    """One row of "contrasts" in words."""
    name = _METRICS[row["metric"]]
    by = difference_words(name, found)
    if row["answer"] is None:
        at = frame.of_k() if row["k"] is None else f"at k = {row['k']}"
        return f"{row['treatment']} against {row['reference']}, {at}: {by}. A description, not a claim."
    floor = "" if row["floor"] is None else f"; two seeds of {row['reference']} differ by {row['floor']:.3f}"
    return (f"Classifiers with {arm_words(row['treatment'])} against {arm_words(row['reference'])}: {by}, "
            f"{frame.words()}{floor}. {_says(row, found, frame)}")


def difference_words(name: str, found: Estimate) -> str:
    """Such as: F1 higher by 0.031 (95% interval 0.004 to 0.058)."""
    if not math.isfinite(found.value):
        return f"{name} cannot be compared"
    way = "equal" if found.value == 0 else f"{'higher' if found.value > 0 else 'lower'} by {abs(found.value):.3f}"
    if found.interval is None:
        return f"{name} {way} (no interval)"
    low, high = (f"{limit:.3f}".replace("-", "−") for limit in found.interval)
    return f"{name} {way} (95% interval {low} to {high})"


def signed(value: float) -> str:
    """A difference with its sign, a minus where it is negative."""
    return f"{value:+.3f}".replace("-", "−")


def _says(row: Mapping[str, Any], found: Estimate, frame: Frame) -> str:
    margin, holm = f"{frame.margin:g}", row["p_holm"]
    corrected = "" if holm is None else f", also after correction for {grouped(frame.compared, 'comparison')} " \
                                        f"(Holm's p = {holm:.2g})"
    if row["answer"] == HELPS:
        return f"Helps: the whole interval is above 0 and the difference is at least {margin}{corrected}."
    if row["answer"] == HURTS:
        return f"Hurts: the whole interval is below 0 and the loss is at least {margin}{corrected}."
    if row["answer"] == DOES_NOT:
        return f"Does not help: a gain of {margin} or more, the smallest that would matter, is ruled out."
    return f"Can't tell: {_why_not(found, holm, frame)}. {_needed(row['subjects_needed'], found, frame)}".rstrip()


def _why_not(found: Estimate, holm: float | None, frame: Frame) -> str:
    if found.interval is None:
        return "there are fewer than five test subjects with or without a class, too few for an interval"
    low, high = found.interval
    if low <= 0 <= high:
        worse = f"a loss of {-low:.3f}" if low < 0 else "no difference"
        return f"everything from {worse} to a gain of {high:.3f} is compatible with these data"
    if holm is not None and holm >= LEVEL:
        return (f"by itself the interval leaves out 0, but of {grouped(frame.compared, 'comparison')} one may do so by "
                f"chance (Holm's p = {holm:.2g})")
    return f"there is a gain, but it may be smaller than {frame.margin:g}, the smallest that would matter"


def _needed(needed: int | None, found: Estimate, frame: Frame) -> str:
    if found.interval is None:
        return ""
    if needed is None:
        return "If the difference stays so, it would take more than ten times as many test subjects to tell."
    many = f"If the difference stays so, about {needed:,} test subjects in place of {frame.n_subjects:,} would tell"
    more = "; with more subjects there is also more to train on and refits differ less, so that fewer may do"
    limit = ". More seeds or folds narrow this interval too" if found.limited_by == "refits" else ""
    return f"{many}{more}{limit}."


def control_says(source: str, answer: Answer, margin: float) -> str:
    """What the contrast of a control with OVERSAMPLE tells of the study's power to see an effect."""
    if source == "FRESH":
        return {HELPS: "Real images of further patients help, and the study sees it: it can see such an effect.",
                HURTS: "Real images of further patients hurt: something is amiss with the data or the classifier.",
                DOES_NOT: f"Even as many real images of further patients bring no gain of {margin:g}: there is little "
                          "that so many images of any generator could add here.",
                CANT_TELL: "Even of real images of further patients it can't be told whether they help: the study is "
                           "too small to see what a perfect generator would bring."}[answer]
    what = "Random draws of the training images" if source == "COPIES" else "Images of noise"
    return {HELPS: f"{what} come out as helping, which they cannot by what they show: do not trust a gain of this size "
                   "of any other arm.",
            HURTS: f"{what} hurt." + (" Nothing new was in them: look at the protocol." if source == "COPIES" else ""),
            DOES_NOT: f"{what} do not help, as it should be.",
            CANT_TELL: f"{what} are not seen to help, as it should be, though this is not ruled out."}[answer]


def controls_of(contrasts: Sequence[Mapping[str, Any]], margin: float) -> list[dict[str, Any]]:
    """The rows of "controls": FRESH, COPIES and NOISE against OVERSAMPLE, in F1 averaged over k."""
    found = []
    for row in contrasts:
        source = named(row["treatment"]).source
        if row["answer"] is not None and source in CONTROLS and named(row["reference"]).source == "OVERSAMPLE":
            wanted = HELPS if source == "FRESH" else DOES_NOT
            as_expected = row["answer"] == HELPS if source == "FRESH" else row["answer"] != HELPS
            found.append({"source": source, **row, "expected": wanted, "as_expected": as_expected,
                          "says": f"{row['treatment']}: {control_says(source, row['answer'], margin)}"})
    return found
