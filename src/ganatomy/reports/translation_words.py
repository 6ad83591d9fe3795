"""What may be said about a translation, question by question, and no more than its figures bear out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ganatomy.core.text import grouped
from ganatomy.metrics.base import MIN_SUBJECTS
from ganatomy.metrics.schema import MODEL
from ganatomy.metrics.translation.baselines import HISTOGRAM_MATCHED, INPUT_RETURNED
from ganatomy.reports.numbers import Interval, bracketed, spanned
from ganatomy.reports.translation_results import NAMES, Direction, Standing

GONE = 0.1
"""From this share of vanished lesions on, the answer is printed as a warning."""
QUESTIONS = {INPUT_RETURNED: "Nearer to the truth than the input itself?",
             HISTOGRAM_MATCHED: "Nearer than the input with its grey values matched?"}
ANSWERS: dict[Standing, str] = {"ahead": "Yes", "behind": "No", "mixed": "The figures disagree",
                                "ssim": "Cannot be told", "open": "Cannot be told"}
Tone = Literal["good", "bad", ""]


@dataclass(frozen=True, slots=True)
class Finding:
    """A question, its answer in a word or two, and what the answer rests on."""

    question: str
    answer: str
    tone: Tone
    words: str


def findings(direction: Direction) -> list[Finding]:
    """The questions a reader has of a translation, the most important first."""
    order = [INPUT_RETURNED, HISTOGRAM_MATCHED, *direction.beside]
    found = [_nearer(direction, other) for other in order if direction.compared(other)]
    if not direction.paired:
        found.append(Finding("Near to the truth?", "Not measured", "", "The two contrasts are not of the same slices, "
                             "so there is no true image to compare with."))
    parts = [_returned(direction), _anatomy(direction), _lesions(direction), _real(direction)]
    return found + [part for part in parts if part is not None]


def lede(direction: Direction) -> str:
    """The verdict in a sentence or three, for the top of the page."""
    who, said = grouped(direction.n_subjects, "test subject"), []
    if direction.returned and direction.returned.found:
        said.append({"input": "The model returns its input nearly unchanged.",
                     "grey values": "The model only changes grey values.",
                     "unrelated": "The model's images have little to do with its input"
                                  f"{' or the truth' if direction.paired else ''}."}[direction.returned.finding])
    if direction.comparisons:
        few = "; with so few no interval is possible, and it may be chance" \
            if direction.n_subjects < MIN_SUBJECTS else ""
        said.append(f"On {who} the synthetic {direction.target} {_standings(direction)}{few}.")
    else:
        said.append(f"There is no true {direction.target} of the {who} to compare with.")
    if direction.anatomy and direction.anatomy.kept is not None:
        said.append(f"The anatomy {'stays in place' if direction.anatomy.kept else 'is not kept'}.")
    return " ".join([*said, *_of_lesions(direction)])


def _of_lesions(direction: Direction) -> list[str]:
    found = direction.lesions
    if found is None or not found.n_clear or found.vanished is None:
        return []
    new = found.invented
    invented = f", and 100 slices show {new.per_100:.0f} spots like lesions that the truth does not have " \
               f"({new.missing_per_100:.0f} the other way round)" if new is not None else ""
    return [f"Of {grouped(found.n_clear, 'clear lesion')} {100 * found.vanished:.0f}% vanished{invented}."]


def _standings(direction: Direction) -> str:
    """Is nearer to the truth than the input returned and unet, but not than histogram matching."""
    by: dict[Standing, list[str]] = {}
    for other in (INPUT_RETURNED, HISTOGRAM_MATCHED, *direction.beside):
        if direction.compared(other):
            against = direction.disagreeing(other)
            remark = f" ({listed(against)} {'disagree' if len(against) > 1 else 'disagrees'})" if against else ""
            by.setdefault(direction.standing(other), []).append(NAMES.get(other, f"the run {other}") + remark)
    words: dict[Standing, str] = {
        "ahead": "is nearer to the truth than {}", "behind": "is farther from the truth than {}",
        "mixed": "is nearer by some figures and farther by others than {}",
        "open": "cannot be told apart from {} by its distance to the truth",
        "ssim": "differs from {} by SSIM alone, which ranks neither"}
    return listed([text.format(listed(by[standing])) for standing, text in words.items() if standing in by]) \
        or "cannot be compared"


def _nearer(direction: Direction, other: str) -> Finding:
    standing, compared = direction.standing(other), direction.compared(other)
    n = min(c.n_subjects for c in compared)
    answer = ANSWERS[standing]
    if n < MIN_SUBJECTS and standing in ("ahead", "behind"):
        answer += f", on {'this subject' if n == 1 else f'all {n} subjects'}" if standing == "ahead" else \
            f", not on {'this subject' if n == 1 else f'any of {n} subjects'}"
    tone: Tone = "good" if standing == "ahead" else "bad" if standing == "behind" else ""
    wins = next((c for c in compared if c.name.startswith("MAE")), compared[0])
    score = f" Nearer by MAE on {wins.first_ahead} of {grouped(wins.n_subjects, 'test subject')}." if n > 1 else ""
    against = direction.disagreeing(other)
    note = f" {listed(against)} {'disagree' if len(against) > 1 else 'disagrees'}." if against else ""
    if against or standing == "ssim":
        note += " SSIM and MS-SSIM can rise with blur: they rank nothing alone."
    chance = "" if n >= MIN_SUBJECTS else " No interval is possible with so few: chance cannot be ruled out."
    question = QUESTIONS.get(other, f"Nearer than the run {other}?")
    return Finding(question, answer, tone, f"{', '.join(c.words for c in compared)}.{score}{note}{chance}")


def _returned(direction: Direction) -> Finding | None:
    found = direction.returned
    if found is None:
        return None
    answers: dict[str, tuple[str, Tone]] = {"": ("No", ""), "input": ("Yes, nearly", "bad"),
                                            "grey values": ("It only changes grey values", "bad"),
                                            "unrelated": ("No, they have little in common", "bad")}
    return Finding("Does it return its input?", *answers.get(found.finding, ("Cannot be told", "")), found.sentence)


def _anatomy(direction: Direction) -> Finding | None:
    found = direction.anatomy
    if found is None:
        return None
    answers: dict[bool | None, tuple[str, Tone]] = {True: ("Yes", "good"), False: ("No", "bad"),
                                                    None: ("Cannot be told", "")}
    also = " (Whoever returns the input keeps its anatomy, too.)" if direction.returned \
        and direction.returned.finding in ("input", "grey values") else ""
    return Finding("Is the anatomy in place?", *answers[found.kept], f"{found.sentence.rstrip('.')}.{also}")


def _lesions(direction: Direction) -> Finding:
    found = direction.lesions
    if found is None:
        return Finding("Are lesions kept?", "Not measured", "", "Lesions are not outlined in this dataset at this "
                       "size, so nothing here says whether some vanish or are invented.")
    if not found.n_clear or found.vanished is None:
        return Finding("Are lesions kept?", "Cannot be told", "", f"{found.sentence.rstrip('.')}.")
    floor = found.floor_vanished or 0.0
    tone: Tone = "bad" if found.vanished - floor >= GONE else ""
    words = [f"Of {grouped(found.n_clear, 'lesion')} of {grouped(found.n_subjects, 'subject')} that stand out in the "
             f"real {direction.target}, {_share(found.vanished, found.vanished_interval)} vanished"]
    if found.floor_vanished is not None:
        words[0] += f" (of the real target with its own noise again {100 * floor:.0f}%)"
    if found.slope is not None:
        words.append(f"{_slope(found.slope, found.slope_interval)} of their contrast is kept" + (
            f" (with that noise {100 * found.floor_slope:.0f}%)" if found.floor_slope is not None else ""))
    if found.invented is not None:
        new = found.invented
        words.append(f"in 100 images {_positive(new.per_100, new.interval)} spots look like lesions and are not in the "
                     f"truth ({new.missing_per_100:.0f} such are in the truth alone; noise makes "
                     f"{new.floor_per_100:.0f})")
    return Finding("Are lesions kept?", f"{100 * found.vanished:.0f}% vanished", tone, "; ".join(words) + ".")


def _real(direction: Direction) -> Finding | None:
    """The kernel distance in words: told apart where its interval lies above 0. That of real images is context."""
    own = direction.kernel.translators.get(MODEL)
    if own is None:
        return None
    others = [f"{_named(name)} {bracketed(found.value, found.interval, 1000)}"
              for name, found in direction.kernel.translators.items() if name != MODEL]
    words = [f"KD-Lite0 × 1000, lower is better: {bracketed(own.value, own.interval, 1000)}; {', '.join(others)}"]
    real, close = direction.kernel.reference, f" {own.caveat[:1].upper()}{own.caveat[1:]}." if own.caveat else ""
    if real is not None and real.value is not None:
        words.append(f"for context, {real.what} {bracketed(real.value, real.interval, 1000)}")
    if own.interval is None:
        answer, close = "Cannot be told", f"{close} No interval is possible with so few subjects."
    elif own.interval[0] > 0:
        answer = "No, they can be told apart"
    else:
        answer, close = "No difference shown", f"{close} That is no evidence that there is none."
    question = f"Do the images together look like real {direction.target}?"
    return Finding(question, answer, "", "; ".join(words) + "." + close)


def _share(value: float, interval: Interval | None) -> str:
    """A share in per cent with its interval."""
    if interval is None:
        return f"{100 * value:.0f}%"
    low, high = (min(100.0, max(0.0, 100 * end)) for end in interval)
    return f"{100 * value:.0f}% ({low:.0f}% to {high:.0f}%)"


def _slope(value: float, interval: Interval | None) -> str:
    """Likewise of a contrast, which may turn round or grow."""
    text, span = spanned(value, interval, 100)
    return f"{text}%{f' ({span})' if span else ''}"


def _positive(value: float, interval: Interval | None) -> str:
    """A count of 100 images with its interval."""
    span = f" ({max(0.0, interval[0]):.0f} to {interval[1]:.0f})" if interval and interval[1] > interval[0] else ""
    return f"{value:.0f}{span}"


def _named(name: str) -> str:
    return NAMES.get(name, name)


def listed(words: Sequence[str]) -> str:
    """One, two and three."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def methods(direction: Direction) -> str:
    """The same as prose, for a methods section."""
    parts = [lede(direction)]
    parts += [found.words for found in findings(direction) if found.answer != "Not measured"]
    return " ".join(parts)
