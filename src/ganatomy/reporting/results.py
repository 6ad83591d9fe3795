"""metrics.json in words: what each figure is, which way it should go, and what can be said from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ganatomy.errors import UserError
from ganatomy.files import read_json

Interval = tuple[float, float]

MEANINGS = {
    "KD": "Kernel distance: how far apart the two sets of images lie, by the features of a network trained on "
    "photographs. Near 0 where they cannot be told apart.",
    "KID": "Kernel Inception distance: how far apart the two sets of images lie, by Inception features. Near 0 "
    "where they cannot be told apart.",
    "FD": "Fréchet distance between two Gaussians fitted to the same features. Grows as images get fewer: compare "
    "only at equal numbers.",
    "FID": "Fréchet Inception distance. Grows as images get fewer: compare only at equal numbers.",
    "SSIM": "Mean structural similarity of pairs of images. Should match that of real pairs; blur and empty "
    "background raise it.",
    "MS-SSIM": "Mean similarity of pairs of generated images. Above that of real pairs, the generator repeats "
    "itself.",
    "Diversity": "How far apart pairs of images are. Should match real pairs of different subjects; well below, the "
    "generator repeats itself.",
    "Precision": "Share of generated images that lie among the real ones.",
    "Recall": "Share of real images that lie among the generated ones.",
    "Density": "How densely real images surround each generated one.",
    "Coverage": "Share of real images with a generated one nearby.",
}
DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", "match": "should match real vs real"}
KERNEL = ("KD", "KID")
LEVEL = 0.05
ORDER = {"test": 0, "val": 1, "train": 2}


class _Read(BaseModel):
    # a newer ganatomy may write more keys; what is known is still right
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Result(_Read):
    """One figure of metrics.json."""

    name: str
    against: str
    value: float
    interval: Interval | None = None
    floor: float | None = None
    floor_interval: Interval | None = None
    paired_difference: dict[str, Any] | None = None
    reference: dict[str, Any] | None = None
    ratio: float | None = None
    ratio_interval: Interval | None = None
    p_no_difference: float | None = None
    per_subject: dict[str, float] | None = None
    n_images: int | None = None
    n_subjects: int | None = None
    n_synthetic: int | None = None
    better: Literal["lower", "higher", "match"] = "lower"
    caveat: str = ""


class Control(_Read):
    """A deliberately bad generator, put through the same metric."""

    control: str
    name: str
    value: float
    interval: Interval | None = None
    behind_model: bool | None = None


class Count(_Read):
    """How much of a split was evaluated."""

    images: int
    subjects: int | None = None


class Metrics(_Read):
    """What metrics.json holds; see the design for its keys."""

    schema_version: int = 1
    extractor: str = ""
    dataset: str | None = None
    step: int | None = None
    counts: dict[str, Count] = {}
    results: tuple[Result, ...] = ()
    controls: tuple[Control, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A result as shown: numbers as text, n and remarks in words."""

    against: str
    value: str
    interval: str
    floor: str
    floor_interval: str
    difference: str
    n: str
    remarks: list[str]


@dataclass(frozen=True, slots=True)
class Group:
    """All results of one metric."""

    title: str
    meaning: str
    direction: str
    lines: list[Line]
    controls: list[tuple[str, str, str, bool | None]]  # name, value, interval, ranked behind the model


def read_metrics(path: Path) -> Metrics | None:
    """metrics.json, or None where a run was not evaluated yet. Raises `UserError` if it is broken."""
    if not path.is_file():
        return None
    try:
        return Metrics.model_validate(read_json(path))
    except ValidationError as error:
        places = sorted({".".join(map(str, e["loc"])) for e in error.errors()})
        raise UserError(f"does not hold what it should ({', '.join(places[:4])})", where=path,
                        fix="run `ganatomy evaluate RUN` again") from error


def groups(metrics: Metrics) -> list[Group]:
    """The results by metric, in the file's order; within one, against test first, then train."""
    made = []
    for name in dict.fromkeys(r.name for r in metrics.results):
        own = sorted((r for r in metrics.results if r.name == name), key=lambda r: ORDER.get(r.against, 9))
        k = factor(name)
        controls = [(c.control, number(k * c.value), _interval(c.interval, k), c.behind_model)
                    for c in metrics.controls if c.name == name]
        made.append(Group(title(name), _meaning(name), DIRECTIONS[own[0].better], _lines(own, k), controls))
    return made


def headline(metrics: Metrics) -> Result | None:
    """The first kernel distance against test, else against train, else the first result."""
    ranked = sorted(metrics.results, key=lambda r: (_kind(r.name) not in KERNEL, ORDER.get(r.against, 9)))
    return ranked[0] if ranked else None


def verdict(result: Result) -> str:
    """What the headline lets one say about the images, and no more than that."""
    k, who = factor(result.name), f"the {result.against} images"
    if result.n_subjects:
        who = f"the images of {count(result.n_subjects, result.against + ' subject')}"
    spread = f" ({_interval(result.interval, k)})" if result.interval else ""
    figure = f"{title(result.name)} = {number(k * result.value)}{spread}"
    if result.floor is None:
        return f"Against {who}, {figure}; without real against real beside it, this says little."
    reference = f"real against real, {number(k * result.floor)}"
    differs = _differs(result)
    if differs is None:
        return f"Against {who}, {figure}; {reference}. Without an interval nothing can be concluded."
    if result.p_no_difference is not None:
        reference += f"; permutation test of no difference, p = {result.p_no_difference:.2g}"
    if differs:
        return f"The generated images can be told from {who}: {figure}; {reference}."
    return (f"This measure cannot tell the generated images from {who}: {figure}; {reference}. At this number "
            f"of subjects that does not show that there is no difference.")


def title(name: str) -> str:
    """The metric's name with the factor it is shown by."""
    return f"{name} × 1000" if factor(name) == 1000 else name


def factor(name: str) -> float:
    """Kernel distances are small and shown times 1000, as is the custom."""
    return 1000.0 if _kind(name) in KERNEL else 1.0


def number(value: float) -> str:
    """Three significant digits without an exponent where that is readable."""
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.2e}".replace("-", "−")
    digits = f"{value:#.3g}" if abs(value) < 999.5 else f"{value:,.0f}"
    return digits.rstrip(".").replace("-", "−")


def count(n: int, noun: str) -> str:
    """A number and its noun: 1 subject, 1,200 subjects."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _lines(own: list[Result], k: float) -> list[Line]:
    """The results of one metric; what was remarked on one line is not said again on the next."""
    lines, said = [], set[str]()
    for result in own:
        line = _line(result, k)
        lines.append(replace(line, remarks=[text for text in line.remarks if text not in said]))
        said |= set(line.remarks)
    return lines


def _line(result: Result, k: float) -> Line:
    images = count(result.n_images, "image") if result.n_images is not None else ""
    subjects = " of " + count(result.n_subjects, "subject") if result.n_subjects is not None else ""
    synthetic = f"{result.n_synthetic:,} generated" if result.n_synthetic is not None else ""
    few = "too few subjects" if (result.n_subjects or 99) < 5 else "not given"
    floor, floor_interval = _real_vs_real(result)
    return Line(against=result.against, value=number(k * result.value),
                interval=_interval(result.interval, k) or few,
                floor=number(k * floor) if floor is not None else "not given",
                floor_interval=_interval(floor_interval, k), difference=_difference(result, k),
                n=" / ".join(part for part in (images + subjects, synthetic) if part), remarks=_remarks(result, k))


def _real_vs_real(result: Result) -> tuple[float | None, Interval | None]:
    """The noise floor; where there are too few subjects for one, the figure's real-real reference."""
    if result.floor is not None:
        return result.floor, result.floor_interval
    reference = result.reference or {}
    value = reference.get("value")
    return (float(value) if isinstance(value, int | float) else None), _pair(reference.get("interval"))


def _remarks(result: Result, k: float) -> list[str]:
    """What must be read beside the numbers, in sentences."""
    said = [result.caveat] if result.caveat else []
    reference = result.reference or {}
    value, interval = reference.get("value"), _interval(_pair(reference.get("interval")), k)
    if isinstance(value, int | float) and value != result.floor:
        said.append(f"{reference.get('what', 'real against real')}: {number(k * value)}"
                    + (f" ({interval})" if interval else ""))
    if result.p_no_difference is not None:
        said.append(f"permutation test of no difference, over subjects: p = {result.p_no_difference:.2g}")
    if result.per_subject:
        said.append("subject by subject: " + ", ".join(number(k * v) for v in result.per_subject.values()))
    return [text[:1].upper() + text[1:].rstrip(".") + "." for text in said]


def _difference(result: Result, k: float) -> str:
    if result.ratio is not None:
        span = _interval(result.ratio_interval, 1.0)
        return f"{number(result.ratio)} times real" + (f" ({span})" if span else "")
    paired = result.paired_difference or {}
    value, interval = paired.get("value"), _pair(paired.get("interval"))
    if not isinstance(value, int | float):
        return ""
    return number(k * value) + (f" ({_interval(interval, k)})" if interval else "")


def _differs(result: Result) -> bool | None:
    """Whether generated images are farther off than real ones from each other; None if it cannot be said."""
    if result.p_no_difference is not None:
        return result.p_no_difference <= LEVEL
    paired = _pair((result.paired_difference or {}).get("interval"))
    if paired is None and result.interval is not None and result.floor is not None:
        upper = result.floor_interval or (result.floor, result.floor)
        paired = (result.interval[0] - upper[1], result.interval[1] - upper[0])
    if paired is None:
        return None
    low, high = paired
    if result.better == "lower":
        return low > 0
    return high < 0 if result.better == "higher" else low > 0 or high < 0


def _pair(value: Any) -> Interval | None:
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int | float) for v in value):
        return float(value[0]), float(value[1])
    return None


def _interval(interval: Interval | None, k: float) -> str:
    return f"{number(k * interval[0])} to {number(k * interval[1])}" if interval else ""


def _kind(name: str) -> str:
    """The metric without its extractor or number of scales: KD of KD-Lite0, MS-SSIM of MS-SSIM-3."""
    return max((kind for kind in MEANINGS if name.lower().startswith(kind.lower())), key=len, default=name)


def _meaning(name: str) -> str:
    return MEANINGS.get(_kind(name), "")
