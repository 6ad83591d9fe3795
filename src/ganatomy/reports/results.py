"""metrics.json in words: what each figure is, which way it should go, and what can be said from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json
from ganatomy.core.text import grouped
from ganatomy.metrics.schema import OF_DATASET, PATIENTS_UNKNOWN, EqualN
from ganatomy.reports.meanings import KERNEL, kind, meaning
from ganatomy.reports.numbers import Interval, bracketed, pair, spanned

DIRECTIONS = {"lower": "lower is better", "higher": "higher is better", "match": "should match real vs real"}
ORDER = {"test": 0, "val": 1, "train": 2}


class Read(BaseModel):
    # a newer ganatomy may write more keys; what is known is still right
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Result(Read):
    """One figure of metrics.json."""

    name: str
    against: str
    value: float
    interval: Interval | None = None
    floor: float | None = None
    floor_interval: Interval | None = None
    equal_n: EqualN | None = None
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
    details: dict[str, Any] | None = None


class Control(Read):
    """A deliberately bad generator, put through the same metric."""

    control: str
    name: str
    value: float
    interval: Interval | None = None
    behind_model: bool | None = None


class Count(Read):
    """How much of a split was evaluated."""

    images: int
    subjects: int | None = None


class Verdict(Read):
    """One traffic light: a question, its colour, and why."""

    question: str
    light: str
    says: str = ""


class Metrics(Read):
    """What metrics.json holds; see the design for its keys."""

    schema_version: int = 1
    extractor: str = ""
    dataset: str | None = None
    synthetic: str | None = None
    step: int | None = None
    seed: int | None = None
    counts: dict[str, Count] = {}
    verdicts: tuple[Verdict, ...] = ()
    results: tuple[Result, ...] = ()
    controls: tuple[Control, ...] = ()
    warnings: tuple[str, ...] = ()
    patients_known: bool = True

    @property
    def patients_unknown(self) -> bool:
        """Whether each image was counted as a subject because nothing says whose it is."""
        return not self.patients_known or any(PATIENTS_UNKNOWN in text for text in self.warnings)

    def find(self, metric: str, against: str | None = None) -> Result | None:
        """The first result of that kind of metric, such as KD; against any sample if None."""
        return next((r for r in self.results if kind(r.name) == metric and against in (None, r.against)), None)

    @property
    def own_warnings(self) -> list[str]:
        """The warnings of the evaluation itself, without those about the dataset."""
        return [text for text in self.warnings if not text.startswith(OF_DATASET)]


M = TypeVar("M", bound=Metrics)


@dataclass(frozen=True, slots=True)
class Line:
    """A result as shown: numbers as text, n and remarks in words."""

    against: str
    value: str
    interval: str
    floor: str
    difference: str
    n: str
    remarks: list[str]


@dataclass(frozen=True, slots=True)
class Group:
    """All results of one metric."""

    title: str
    meaning: str
    direction: str
    beside: str
    lines: list[Line]
    controls: list[tuple[str, str, str, bool | None]]  # name, value, interval, ranked behind the model


def read_metrics(path: Path, kind: type[M]) -> M | None:
    """metrics.json, or None where a run was not evaluated yet. Raises `UserError` if it is broken."""
    if not path.is_file():
        return None
    try:
        return kind.model_validate(read_json(path))
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
        controls = [(c.control, *spanned(c.value, c.interval, k), c.behind_model)
                    for c in metrics.controls if c.name == name]
        beside = "Ratio to real" if own[0].better == "match" else "At equal n"
        made.append(Group(title(name), meaning(name), DIRECTIONS[own[0].better], beside,
                          _lines(own, k, metrics.patients_unknown), controls))
    return made


def title(name: str) -> str:
    """The metric's name with the factor it is shown by."""
    return f"{name} × 1000" if factor(name) == 1000 else name


def factor(name: str) -> float:
    """Kernel distances are small and shown times 1000, as is the custom."""
    return 1000.0 if kind(name) in KERNEL else 1.0


def _lines(own: list[Result], k: float, unknown: bool) -> list[Line]:
    """The results of one metric; what was remarked on one line is not said again on the next."""
    lines, said = [], set[str]()
    for result in own:
        line = _line(result, k, unknown)
        lines.append(replace(line, remarks=[text for text in line.remarks if text not in said]))
        said |= set(line.remarks)
    return lines


def _line(result: Result, k: float, unknown: bool) -> Line:
    images = grouped(result.n_images, "image") if result.n_images is not None else ""
    subjects = " of " + grouped(result.n_subjects, "subject") if result.n_subjects is not None else ""
    synthetic = f"{result.n_synthetic:,} generated" if result.n_synthetic is not None else ""
    value, interval = spanned(result.value, result.interval, k)
    return Line(against=result.against, value=value, interval=interval or _why_none(result),
                floor=_real_vs_real(result, k), difference=_difference(result, k),
                n=" / ".join(part for part in (images + (" (patients unknown)" if unknown else subjects), synthetic)
                             if part), remarks=_remarks(result, k))


def _why_none(result: Result) -> str:
    return "too few subjects" if (result.n_subjects or 99) < 5 else "not given"


def _real_vs_real(result: Result, k: float) -> str:
    """The noise floor with its n; of a figure that should match, the same figure between real images."""
    if result.floor is not None:
        return bracketed(result.floor, result.floor_interval, k, _equal_n(result))
    reference = result.reference or {}
    value = reference.get("value")
    if result.better == "match" and isinstance(value, int | float):
        return bracketed(value, pair(reference.get("interval")), k)
    return "–"  # a distance at another n is no floor


def _remarks(result: Result, k: float) -> list[str]:
    """What must be read beside the numbers, in sentences."""
    said = [result.caveat] if result.caveat else []
    reference = result.reference or {}
    value = reference.get("value")
    if isinstance(value, int | float) and value != result.floor:
        said.append(f"{reference.get('what', 'real against real')}: "
                    + bracketed(value, pair(reference.get("interval")), k))
    if result.p_no_difference is not None:
        said.append(f"permutation test of no difference, over subjects: p = {result.p_no_difference:.2g}")
    if result.per_subject:
        said.append("subject by subject: " + ", ".join(spanned(v, None, k)[0] for v in result.per_subject.values()))
    return [text[:1].upper() + text[1:].rstrip(".") + "." for text in said]


def _difference(result: Result, k: float) -> str:
    """The value at the floor's n, or the ratio to real images."""
    if result.ratio is not None:
        return bracketed(result.ratio, result.ratio_interval, 1.0, _equal_n(result))
    return bracketed(result.equal_n.value, None, k, _equal_n(result)) if result.equal_n else ""


def _equal_n(result: Result) -> str:
    """Images on either side of the floor; the spaces do not break."""
    return f"n\u00a0=\u00a0{result.equal_n.n_images:g}" if result.equal_n else ""
