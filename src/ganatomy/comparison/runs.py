"""Runs and their metrics.json as a comparison reads them: which may be compared, and which values stand in columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

from ganatomy.core.errors import UserError
from ganatomy.core.files import several
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.core.text import Interval, Say
from ganatomy.features.base import SECOND
from ganatomy.generators.config import read_config
from ganatomy.metrics import is_of, metric_modules, shown
from ganatomy.metrics.base import POSITIVE, Column
from ganatomy.metrics.schema import (
    HISTOGRAM_MATCHED,
    INPUT_RETURNED,
    INSIDE,
    MODEL,
    MOST_IMAGES,
    Control,
    Direction,
    Metrics,
    PairedResult,
    Result,
    TranslationMetrics,
    read_metrics,
)
from ganatomy.metrics.translation.paired import better, span
from ganatomy.statistics.subjects import clipped

Primary = Literal["kd", "critic", "fd"]
Entry = Result | Control | PairedResult
COPIES = "copies"
SEVERITY = ("clean", "suspicious", COPIES)  # the audit's verdicts, worst last
_AGAIN = "evaluate both again with the same options"
_FIXES = {"extractor": f"{_AGAIN}: --features {SECOND}, which judges every run",
          "number of synthetic images": f"{_AGAIN} (-n)",
          "number of test images": f"{_AGAIN}, on the same dataset",
          "test dataset": "evaluate both on the same dataset (--data)"}
_RETURNED = {"": "changed", "input": "RETURNED", "grey values": "greys only", "unrelated": "unrelated",
             "alike": "can't tell", "cannot tell": "can't tell"}


class Estimate(NamedTuple):
    """A value with its 95% interval over test subjects, None where there is none, and its name in metrics.json."""

    value: float
    interval: Interval | None = None
    name: str = ""

    def to_json(self) -> dict[str, Any]:
        """Without the name, which columns have."""
        return {"value": self.value, "interval": self.interval}


def entry_of(column: Column, entries: Sequence[Entry]) -> Entry | None:
    """The first of these values that is this column's."""
    return next((entry for entry in entries
                 if entry.name.replace("-3 ", " ") == column.name or is_of(entry.name, column.name)), None)


def head(column: Column, name: str) -> str:
    """A column's head; distances carry the extractor's name, and kernel distances the factor they are shown by."""
    return shown(name) if column.key in ("kd", "fd") else column.head


def span_of(column: Column) -> Interval:
    """The smallest and the largest value there can be in it."""
    return POSITIVE if column.ratio else column.span


TRANSLATION_COLUMNS = (Column("kd", "KD", name="KD"), *(
    Column(key, title, name=f"{name} {INSIDE}", better=better(name), span=span(name)) for key, title, name in (
        ("mae", "MAE (%)", "MAE"), ("psnr", "PSNR (dB)", "PSNR"), ("ssim", "SSIM", "SSIM"),
        ("ms_ssim", "MS-SSIM", "MS-SSIM"))))


def noise_columns() -> tuple[Column, ...]:
    """Those that metrics declare, in the order that they ask for."""
    known = [replace(one.column, name=one.name, better=one.better, span=one.span)
             for module in metric_modules(None) for one in module.ABOUT if one.column]
    return tuple(sorted(known, key=lambda column: column.order))


@dataclass(frozen=True)
class Evaluated:
    """A run and, of images from noise or of one direction of a translation, its values against test by column's key.

    Attributes:
        name: the folder as the user gave it.
        references, controls: values of real against real; of each control.
        words: further cells: the audit's verdict on copies, or whether a translator keeps the anatomy.
    """

    name: str
    run: Run
    recipe: Recipe
    metrics: Metrics | TranslationMetrics
    values: Mapping[str, Estimate] = field(default_factory=dict)
    references: Mapping[str, Estimate] = field(default_factory=dict)
    controls: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    @property
    def steps(self) -> int | None:
        """Generator updates in all; the weights may be of an earlier step."""
        return self.run.status()["step"] or self.metrics.step

    @property
    def seconds(self) -> float | None:
        """Time trained."""
        return self.run.status().get("seconds") or None

    @property
    def device(self) -> str:
        """What it was trained on; "" where that is not known."""
        environment = self.run.environment()
        return environment.device if environment is not None else ""

    @property
    def generator_step(self) -> int | None:
        """The step of the generator's weights; None where it does not say."""
        return read_config(self.run.generator).step if self.run.generator.is_dir() else None

    @property
    def flattered(self) -> bool:
        """Whether it was measured by features that its training looked through."""
        return isinstance(self.metrics, Metrics) and any(r.flattering for r in self.metrics.results)

    @property
    def learnt_from(self) -> str:
        """The content of the dataset that it was trained on; "" where that is not known."""
        with suppress(UserError):
            return self.run.dataset_content()
        return ""

    @property
    def measured_on(self) -> str:
        """The content of the dataset of its metrics; "" where that is not known."""
        return self.metrics.dataset or ""


def read_runs(paths: str | Path | Sequence[str | Path], say: Say) -> list[Evaluated]:
    """The runs in their order, each once, their values not yet read.

    Raises:
        UserError: a folder that is no run, runs that were not evaluated (all of them are named), or a broken file.
    """
    if not paths:
        raise UserError("there is nothing to compare", fix="name run folders: `ganatomy compare RUN RUN ...`")
    known: dict[Path, Run] = {}
    for path in several(paths):
        if (path / "manifest.csv").is_file():
            raise UserError("is a dataset folder, not a run", where=path,
                            fix="name folders of `ganatomy train`; of two datasets, `ganatomy evaluate REAL SYN`")
        run = Run.open(path)
        if path.resolve() in known:
            say(f"{path} is given twice; it counts once")
        known.setdefault(path.resolve(), run)
    missing = [str(run.path) for run in known.values() if not run.metrics_file.is_file()]
    if missing:
        raise UserError(f"{', '.join(missing)}: not evaluated yet, there is no metrics.json",
                        fix="; ".join(f"ganatomy evaluate {name}" for name in missing))
    return [Evaluated(str(run.path), run, run.recipe(), read_metrics(run.metrics_file)) for run in known.values()]


def with_values(run: Evaluated) -> Evaluated:
    """A run that makes images from noise with its values, all against test."""
    assert isinstance(run.metrics, Metrics)
    results, columns = [r for r in run.metrics.results if r.against == "test"], noise_columns()
    controls: dict[str, list[Control]] = {}
    for entry in run.metrics.controls:
        controls.setdefault(entry.control, []).append(entry)
    audit = next((str((r.details or {}).get("verdict")) for r in run.metrics.results if r.name == "Copies"), "")
    words = {COPIES: audit if audit in SEVERITY else "-"}
    return replace(run, values=_values(results, columns), references=_references(results, columns),
                   controls={name: _values(own, columns) for name, own in controls.items()}, words=words)


def with_direction(run: Evaluated, direction: Direction) -> Evaluated:
    """A run that translates with its values in one direction."""
    entries: dict[str, list[Entry]] = {name: [entry, *direction.translators.get(name, ())]
                                       for name, entry in direction.kernel.translators.items()}
    values = {name: _values(own, TRANSLATION_COLUMNS) for name, own in entries.items()}
    reference = direction.kernel.reference
    between_real = Estimate(reference.value, reference.interval) if reference and reference.value is not None else None
    kept = {True: "kept", False: "NOT kept", None: "-"}[direction.anatomy.kept if direction.anatomy else None]
    words = {"input": _RETURNED[direction.returned.finding] if direction.returned else "-", "anatomy": kept}
    return replace(run, values=values.get(MODEL, {}), references={"kd": between_real} if between_real else {},
                   controls={name: values[name] for name in (INPUT_RETURNED, HISTOGRAM_MATCHED) if name in values},
                   words=words)


def _values(entries: Sequence[Entry], columns: Sequence[Column]) -> dict[str, Estimate]:
    values = {}
    for column in columns:
        entry = entry_of(column, entries)
        if entry is None:
            continue
        value, interval = entry.value, entry.interval
        if column.ratio:  # a control has none
            value, interval = (entry.ratio, entry.ratio_interval) if isinstance(entry, Result) else (None, None)
        if value is not None:
            low, high = span_of(column)
            values[column.key] = Estimate(min(max(value, low), high), clipped(interval, (low, high)), entry.name)
    return values


def _references(results: Sequence[Result], columns: Sequence[Column]) -> dict[str, Estimate]:
    """Real train against real test images; of values without it, the mean over halvings."""
    references = {}
    for column in columns:
        entry = entry_of(column, results)
        if not isinstance(entry, Result):
            continue
        if column.ratio:
            references[column.key] = Estimate(1.0)
        elif entry.reference is not None and entry.reference.value is not None:
            references[column.key] = Estimate(entry.reference.value, entry.reference.interval)
        elif entry.floor is not None:
            references[column.key] = Estimate(entry.floor)
    return references


def typical(estimates: Sequence[Estimate]) -> Estimate:
    """The median of the values, and of each end of the intervals."""
    ends = [one.interval for one in estimates if one.interval is not None]
    interval = (median(low for low, _ in ends), median(high for _, high in ends)) if ends else None
    return Estimate(median(one.value for one in estimates), interval)


def task_of(run: Evaluated) -> dict[str, Any]:
    """What must be equal of runs that are compared; None where metrics.json is too old to tell."""
    metrics, recipe = run.metrics, run.recipe
    task = {"test dataset": run.measured_on[:12] or None, "training dataset": run.learnt_from[:12] or None,
            "class": metrics.label or recipe.label or "(all)", "size": metrics.size or recipe.size,
            "extractor": metrics.extractor or None}
    if isinstance(metrics, TranslationMetrics):  # what is translated into what is compared by direction
        return task
    synthetic = metrics.counts.get("synthetic")
    return task | {"domain": metrics.domain or recipe.domain,
                   "number of test images": metrics.test.images if metrics.test else None,
                   "number of synthetic images": synthetic.images if synthetic else None}


def refuse_incomparable(runs: Sequence[Evaluated]) -> None:
    """Raise `UserError`, naming the run and the difference, unless all of one kind were measured alike."""
    for first, other in ((runs[0], other) for other in runs[1:]):
        ours = task_of(first)
        for what, theirs in task_of(other).items():
            if None not in (ours[what], theirs) and ours[what] != theirs:
                raise UserError(f"cannot be compared with {first.name}: its {what} is {theirs}, there {ours[what]}",
                                where=other.name, fix=_FIXES.get(what, "compare runs of one task in one call"))
        seeds = first.metrics.seed, other.metrics.seed
        if None not in seeds and seeds[0] != seeds[1] and (_drawn(first) or _drawn(other)):
            raise UserError(f"cannot be compared with {first.name}: its test images were drawn with the evaluation "
                            f"seed {seeds[1]}, there {seeds[0]}", where=other.name, fix=f"{_AGAIN} (--seed)")


def _drawn(run: Evaluated) -> bool:
    """Whether its test images may be a part of a large split, drawn by the evaluation's seed."""
    metrics = run.metrics
    if isinstance(metrics, TranslationMetrics):
        most = min(metrics.n or MOST_IMAGES, MOST_IMAGES)
        return any(direction.n_images >= most for direction in metrics.directions)
    return metrics.test is not None and metrics.test.images >= MOST_IMAGES
