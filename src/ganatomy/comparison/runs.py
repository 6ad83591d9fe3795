"""Runs and their metrics.json as a comparison reads them, and which of them may be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.metrics.schema import MOST_IMAGES, Evaluation, Metrics, TranslationMetrics, read_metrics

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
