"""Runs and their metrics.json as a comparison reads them, which may be compared, and which values stand in columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.metrics import registry
from ganatomy.metrics.schema import (
    HISTOGRAM_MATCHED,
    INPUT_RETURNED,
    MODEL,
    MOST_IMAGES,
    Better,
    Control,
    Direction,
    Evaluation,
    Interval,
    Metrics,
    PairedResult,
    Result,
    TranslationMetrics,
    read_metrics,
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Evaluated:
    """A run with what is known of it. `name` is the folder as the user gave it."""

    name: str
    run: Run
    recipe: Recipe
    metrics: Metrics | TranslationMetrics

    @property
    def steps(self) -> int | None:
        """Generator updates in all; the weights may be of an earlier step."""
        return _whole(self.run.status().get("step")) or self.metrics.step

    @property
    def seconds(self) -> float | None:
        """Time trained."""
        found = self.run.status().get("seconds")
        return float(found) if isinstance(found, int | float) and found > 0 else None

    def environment(self, key: str) -> str:
        """What environment.json says, such as the "device" or the "precision" it was trained in; "" if nothing."""
        found = read_json(self.run.environment_file) if self.run.environment_file.is_file() else {}
        return str(found.get(key) or "") if isinstance(found, dict) else ""

    def generator_step(self) -> int | None:
        """The step of the generator's weights; None where it does not say."""
        config = self.run.generator / "config.json"
        notes = read_json(config) if config.is_file() else {}
        return _whole(notes.get("step")) if isinstance(notes, dict) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_runs(paths: Sequence[str | Path], say: Say) -> list[Evaluated]:
    """The runs in their order, each once.

    Raises:
        UserError: a folder that is no run, runs that were not evaluated (all of them are named), or a broken file.
    """
    if not paths:
        raise UserError("there is nothing to compare", fix="name run folders: `ganatomy compare RUN RUN ...`")
    known: dict[Path, Run] = {}
    for path in paths:
        _refuse_dataset(Path(path))
        run, place = Run.open(path), Path(path).resolve()
        if place in known:
            say(f"{path} is given twice; it counts once")
        known.setdefault(place, run)
    missing = [str(run.path) for run in known.values() if not run.metrics_file.is_file()]
    if missing:
        what = f"{', '.join(missing)}: not evaluated yet, there is no metrics.json"
        raise UserError(what, fix="; ".join(f"ganatomy evaluate {name}" for name in missing))
    return [Evaluated(str(run.path), run, run.recipe(), read_metrics(run.metrics_file)) for run in known.values()]


def _refuse_dataset(path: Path) -> None:
    if (path / "manifest.csv").is_file():
        raise UserError("is a dataset folder, not a run", where=path,
                        fix="name folders that `ganatomy train` made; of two datasets, `ganatomy evaluate REAL SYN`")


def refuse_incomparable(runs: Sequence[Evaluated]) -> None:
    """Raise `UserError`, naming the run and the difference, unless all of one kind were measured alike."""
    first, *others = runs
    for other in others:
        for what, (ours, theirs) in _differences(facts(first), facts(other)).items():
            raise UserError(f"cannot be compared with {first.name}: its {what} is {theirs}, there {ours}",
                            where=other.name, fix=_FIXES.get(what, "compare runs of one task in one call"))
        _refuse_other_images(first, other)


_AGAIN = "evaluate both again with the same options"
_FIXES = {"extractor": f"{_AGAIN} (--features)", "number of synthetic images": f"{_AGAIN} (-n)",
          "number of test images": f"{_AGAIN}, on the same dataset",
          "test dataset": "evaluate both on the same dataset (--data)"}


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What differs and is known of both."""
    return {what: (ours[what], theirs[what]) for what in ours
            if None not in (ours[what], theirs[what]) and ours[what] != theirs[what]}


def facts(run: Evaluated) -> dict[str, Any]:
    """What must be equal of runs that are compared; None where metrics.json is too old to tell."""
    metrics, recipe = run.metrics, run.recipe
    test, shared = metrics.test, {
        "test dataset": _short(metrics.dataset), "training dataset": _short(_trained_on(run.run)),
        "class": metrics.label or recipe.label or "(all)", "size": metrics.size or recipe.size,
        "extractor": metrics.extractor or None}
    if isinstance(metrics, TranslationMetrics):  # what is translated into what is compared by direction
        return shared
    made = metrics.counts.get("synthetic")
    return shared | {"domain": metrics.domain or recipe.domain, "number of test images": test.images if test else None,
                     "number of synthetic images": made.images if made else None}


def _trained_on(run: Run) -> str | None:
    try:
        return run.dataset_content()
    except UserError:
        return None


def _short(content: str | None) -> str | None:
    return content[:12] if content else None


def _refuse_other_images(first: Evaluated, other: Evaluated) -> None:
    """Of a large test split, some images are drawn by the evaluation's seed."""
    seeds = first.metrics.seed, other.metrics.seed
    counts = [image_count(run.metrics) for run in (first, other)]
    if None in seeds or seeds[0] == seeds[1] or not any(n >= _drawn(run) for n, run in
                                                       zip(counts, (first, other), strict=True)):
        return
    raise UserError(f"cannot be compared with {first.name}: its test images were drawn with the evaluation seed "
                    f"{seeds[1]}, there {seeds[0]}", where=other.name, fix=f"{_AGAIN} (--seed)")


def image_count(metrics: Evaluation) -> int:
    """How many test images were measured, in the direction that has most; 0 where metrics.json does not say."""
    if isinstance(metrics, TranslationMetrics):
        return max((d.n_images for d in metrics.directions), default=0)
    return metrics.test.images if metrics.test else 0


def _drawn(run: Evaluated) -> int:
    """From how many test images on they may be a part of the split, drawn by the seed."""
    n = run.metrics.n if isinstance(run.metrics, TranslationMetrics) else None
    return min(n or MOST_IMAGES, MOST_IMAGES)


Primary = Literal["kd", "critic", "fd"]
COPIES = "copies"
SEVERITY = ("clean", "suspicious", COPIES)  # the audit's verdicts, worst last


@dataclass(frozen=True)
class Column:
    """A value of the leaderboard.

    Attributes:
        key: its name in the result of `compare`.
        head: its name in tables, where it does not carry its own.
        name: of the values in metrics.json, without the extractor.
        ratio: the ratio to real images is taken, not the value.
        share: between 0 and 1.
    """

    key: str
    head: str
    name: str
    better: Better
    ratio: bool = False
    share: bool = False

    def matches(self, name: str) -> bool:
        """Whether a value of metrics.json is this one."""
        one = registry.about(name)
        return name.replace("-3 ", " ") == self.name or (one is not None and one.name == self.name)


def noise_columns() -> tuple[Column, ...]:
    """Those that metrics declare, in the order that they ask for."""
    known = [(one.column, one) for module in registry.every(None) for one in module.ABOUT if one.column]
    return tuple(Column(c.key, c.head, one.name, one.better, c.ratio, c.share)
                 for c, one in sorted(known, key=lambda pair: pair[0].order))


TRANSLATION_COLUMNS = (
    Column("kd", "KD", "KD", "lower"), Column("mae", "MAE (%)", "MAE foreground", "lower"),
    Column("psnr", "PSNR (dB)", "PSNR foreground", "higher"), Column("ssim", "SSIM", "SSIM foreground", "higher"),
    Column("ms_ssim", "MS-SSIM", "MS-SSIM foreground", "higher"))
Entry = Result | Control | PairedResult


@dataclass(frozen=True)
class Figure:
    """A value with its 95% interval over test subjects, None where there is none."""

    value: float
    interval: Interval | None = None


@dataclass(frozen=True)
class Measured:
    """One run's figures.

    Attributes:
        figures: by the column's key.
        names: the same figures' names in metrics.json.
        references: real against real.
        controls: for each control its figures.
        words: further cells of the table: what the audit for copies found, or whether a translator keeps the anatomy.
    """

    run: Evaluated
    figures: Mapping[str, Figure]
    names: Mapping[str, str]
    references: Mapping[str, Figure]
    controls: Mapping[str, Mapping[str, Figure]]
    words: Mapping[str, str]


def measured(run: Evaluated) -> Measured:
    """The figures of a run that makes images from noise, all against test."""
    assert isinstance(run.metrics, Metrics)
    results, columns = [r for r in run.metrics.results if r.against == "test"], noise_columns()
    controls: dict[str, list[Control]] = {}
    for entry in run.metrics.controls:
        controls.setdefault(entry.control, []).append(entry)
    return Measured(run, _figures(results, columns), _names(results, columns), _references(results, columns),
                    {name: _figures(own, columns) for name, own in controls.items()}, _audited(run.metrics.results))


def measured_direction(run: Evaluated, direction: Direction) -> Measured:
    """The figures of a translator in one direction."""
    kernel, references = direction.kernel, dict[str, Figure]()
    found: dict[str, list[Entry]] = {name: [entry, *direction.translators.get(name, ())]
                                     for name, entry in kernel.translators.items()}
    if kernel.reference is not None and kernel.reference.value is not None:
        references["kd"] = Figure(kernel.reference.value, kernel.reference.interval)
    controls = {name: _figures(found[name], TRANSLATION_COLUMNS) for name in (INPUT_RETURNED, HISTOGRAM_MATCHED)
                if name in found}
    own = found.get(MODEL, [])
    return Measured(run, _figures(own, TRANSLATION_COLUMNS), _names(own, TRANSLATION_COLUMNS), references, controls,
                    _kept(direction))


def _figures(entries: Sequence[Entry], columns: Iterable[Column]) -> dict[str, Figure]:
    found = {}
    for column in columns:
        entry = next((e for e in entries if column.matches(e.name)), None)
        if entry is None:
            continue
        value, interval = entry.value, entry.interval
        if column.ratio:  # a control has none
            value, interval = (entry.ratio, entry.ratio_interval) if isinstance(entry, Result) else (None, None)
        if value is not None:
            found[column.key] = Figure(value, interval)
    return found


def _names(entries: Sequence[Entry], columns: Iterable[Column]) -> dict[str, str]:
    return {c.key: next(e.name for e in entries if c.matches(e.name)) for c in columns
            if any(c.matches(e.name) for e in entries)}


def _references(results: Sequence[Result], columns: Iterable[Column]) -> dict[str, Figure]:
    """Real train against real test images; of figures without it, the mean over halvings."""
    found = {}
    for column in columns:
        entry = next((r for r in results if column.matches(r.name)), None)
        if entry is None:
            continue
        if column.ratio:
            found[column.key] = Figure(1.0)
        elif entry.reference is not None and entry.reference.value is not None:
            found[column.key] = Figure(entry.reference.value, entry.reference.interval)
        elif entry.floor is not None:
            found[column.key] = Figure(entry.floor)
    return found


def _audited(results: Sequence[Result]) -> dict[str, str]:
    """The worst of the audit's verdicts on copies of training and of test images."""
    found = [str((r.details or {}).get("verdict", "")) for r in results if r.name in ("Copies", "Copies-test")]
    known = [verdict for verdict in found if verdict in SEVERITY]
    return {COPIES: max(known, key=SEVERITY.index) if known else "-"}


def _kept(direction: Direction) -> dict[str, str]:
    kept = {True: "kept", False: "NOT kept", None: "-"}
    return {"input": _RETURNED[direction.returned.finding] if direction.returned else "-",
            "anatomy": kept[direction.anatomy.kept] if direction.anatomy else "-"}


_RETURNED = {"": "changed", "input": "RETURNED", "grey values": "greys only", "unrelated": "unrelated",
             "alike": "can't tell", "cannot tell": "can't tell"}


def typical(figures: Sequence[Figure]) -> Figure:
    """The median of the values, and of each end of the intervals."""
    ends = [f.interval for f in figures if f.interval is not None]
    interval = (median(low for low, _ in ends), median(high for _, high in ends)) if ends else None
    return Figure(median(f.value for f in figures), interval)


def shown_name(column: Column, name: str | None) -> str:
    """A column's head; distances carry the extractor's name, and kernel distances the factor they are shown by."""
    return registry.shown(name) if name is not None and column.key in ("kd", "fd") else column.head
