"""What may be said about the images from metrics.json, and no more than that."""

from __future__ import annotations

from ganatomy.core.text import grouped
from ganatomy.reports.meanings import KERNEL, kind
from ganatomy.reports.numbers import bracketed, spanned
from ganatomy.reports.results import ORDER, Control, Metrics, Result, factor, title

LEVEL = 0.05
PHRASES = {"mean image": "the mean training image", "blurred real images": "blurred real images",
           "untrained generator": "the images of an untrained generator"}


def headline(metrics: Metrics) -> Result | None:
    """The first kernel distance against test, else against train, else the first result."""
    ranked = sorted(metrics.results, key=lambda r: (kind(r.name) not in KERNEL, ORDER.get(r.against, 9)))
    return ranked[0] if ranked else None


def conclusion(metrics: Metrics) -> str:
    """What the headline figure lets one say, in words; "" where there is no figure."""
    result = headline(metrics)
    if result is None:
        return ""
    who, lost = _who(metrics, result), _lost(metrics, result)
    if result.floor is None:
        said = f"Against {who}, without real against real beside it, the figure says little."
    elif (differs := _differs(result)) is None:
        said = f"Against {who}, without an interval nothing can be concluded."
    elif differs:
        said = f"The generated images can be told apart from {who}."
    else:
        units = "images" if metrics.patients_unknown else "subjects"
        said = (f"This measure cannot tell the generated images apart from {who}. At this number of {units} that does "
                "not show that there is no difference.")
    return " ".join(part for part in (lost, said) if part)


def figures(metrics: Metrics) -> str:
    """The headline figure with what stands beside it, as a sentence."""
    result = headline(metrics)
    if result is None:
        return ""
    k = factor(result.name)
    parts = [f"{title(result.name)} against {_who(metrics, result)}: {bracketed(result.value, result.interval, k)}"]
    if result.floor is not None:
        parts.append(f"real against real, {bracketed(result.floor, result.floor_interval, k)}")
    if result.p_no_difference is not None:
        parts.append(f"permutation test of no difference, p = {result.p_no_difference:.2g}")
    return "; ".join(parts) + "."


def beside_controls(metrics: Metrics) -> str:
    """The controls' values of the headline figure, as a sentence; "" where there are none."""
    result = headline(metrics)
    own = _controls(metrics, result) if result else []
    if result is None or not own:
        return ""
    said = ", ".join(f"{_phrase(c)} {spanned(c.value, c.interval, factor(result.name))[0]}" for c in own)
    ahead = [_phrase(c) for c in own if c.behind_model is False]
    if not ahead:
        return f"Controls, all of them behind the model: {said}."
    return f"Controls: {said}. Not behind the model: {_and(ahead)}."


def _lost(metrics: Metrics, result: Result) -> str:
    """A plain sentence where controls are better than the model; "" where none is."""
    k, ahead = factor(result.name), [c for c in _controls(metrics, result) if c.behind_model is False]
    clearly = [c for c in ahead if _apart(c, result)]
    if not ahead:
        return ""
    worse = {"lower": "farther from real ones", "higher": "worse", "match": "farther from real ones"}[result.better]
    named = _and([f"{_phrase(c)} ({spanned(c.value, c.interval, k)[0]})" for c in clearly or ahead])
    if clearly:
        return f"The generated images are clearly {worse} than {named}: this model has not learned the anatomy."
    return f"The figures do not place the model before {named}: nothing here shows that it has learned the anatomy."


def _apart(control: Control, result: Result) -> bool:
    """Whether the intervals of a control and the model do not overlap."""
    if control.interval is None or result.interval is None:
        return False
    return control.interval[1] < result.interval[0] or control.interval[0] > result.interval[1]


def _controls(metrics: Metrics, result: Result) -> list[Control]:
    return [c for c in metrics.controls if c.name == result.name]


def _who(metrics: Metrics, result: Result) -> str:
    if metrics.patients_unknown and result.n_images:
        return f"the {grouped(result.n_images, result.against + ' image')} (patients unknown)"
    if result.n_subjects:
        return f"the images of {grouped(result.n_subjects, result.against + ' subject')}"
    return f"the {result.against} images"


def _phrase(control: Control) -> str:
    return PHRASES.get(control.control, control.control)


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _differs(result: Result) -> bool | None:
    """Whether generated images are farther off than real ones from each other; None if it cannot be said."""
    if result.p_no_difference is not None:
        return result.p_no_difference <= LEVEL
    if result.equal_n is not None:
        sides = {"lower": ("above",), "higher": ("below",), "match": ("above", "below")}
        return result.equal_n.side in sides[result.better]
    paired = None
    if result.interval is not None and result.floor is not None:
        upper = result.floor_interval or (result.floor, result.floor)
        paired = (result.interval[0] - upper[1], result.interval[1] - upper[0])
    if paired is None:
        return None
    low, high = paired
    if result.better == "lower":
        return low > 0
    return high < 0 if result.better == "higher" else low > 0 or high < 0


def tile(metrics: Metrics) -> tuple[str, str, str] | None:
    """The headline figure for the head of a page: value, what it is, and real against real."""
    result = headline(metrics)
    if result is None:
        return None
    k = factor(result.name)
    floor = spanned(result.floor, result.floor_interval, k)[0] if result.floor is not None else ""
    return (spanned(result.value, result.interval, k)[0], f"{title(result.name)}, {result.against}",
            f"real vs real {floor}" if floor else "")


