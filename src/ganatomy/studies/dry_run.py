"""What a study would be: who is held out, what is learnt from, what it takes. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganatomy.core.recipe import Recipe
from ganatomy.core.text import counted, grouped
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.studies.cell import external_rows, synthetic_needed
from ganatomy.studies.cost import CellCost, Rates, cell_cost, images_of_arm, measure, memory, training_disk
from ganatomy.studies.folder import Cell, StudyFolder, cells_of
from ganatomy.studies.folds import Place, draw_subset
from ganatomy.studies.forecast import makespan, span
from ganatomy.studies.protocol import StudySettings
from ganatomy.studies.running import Say
from ganatomy.studies.study import cells_left, open_both, settle
from ganatomy.training.step import steps_for

SAME = "each on a core of its own"
_END = ("time         everything is done", "nothing has been written")


def dry_run(data: str | Path, out: str | Path, *, recipe: str | Path | Recipe | None = None,
            set: Mapping[str, Any] | None = None, budget: float | None = None, external: str | Path | None = None,
            workers: int = 1, device: str = "auto", say: Say = lambda text: None, **settings: Any) -> str:
    """What `study` with these arguments would do, and what it would take, in words; some seconds of trials.

    Raises:
        UserError: whatever `study` would refuse before its first cell.
    """
    folder = StudyFolder(out)
    dataset, other = open_both(data, external, folder)
    settled, places = settle(folder, dataset, other, recipe, set, budget, device, say, settings)
    cells = cells_left(folder) if folder.exists() else cells_of(settled)
    outside = len(external_rows(other, settled)) if other else 0
    if not cells:
        return "\n".join([*_folds(settled, places, dataset), *_cells(settled, places, dataset, cells), *_END])
    return describe(settled, places, dataset, outside, cells, workers, measure(settled, dataset, places, device))


def describe(settings: StudySettings, places: Mapping[str, Place], dataset: Dataset, outside: int,
             cells: Sequence[Cell], workers: int, rates: Rates) -> str:
    """The text of `--dry-run`.

    Args:
        settings, places: of the study.
        dataset: its.
        outside: number of external images.
        cells: those that are not done, at least one.
        workers: how many shall run at a time.
        rates: as measured.
    """
    costs = {k: cell_cost(settings, dataset, places, rates, k, outside) for k in settings.k}
    lines = [*_folds(settings, places, dataset), *_cells(settings, places, dataset, cells),
             *_work(settings, places, dataset, cells, costs), *_cost(cells, costs, workers),
             f"memory       about {_size(memory(settings, dataset))} a worker",
             f"disk         about {_size(sum(costs[c.k].disk for c in cells))}, and "
             f"{_size(training_disk(settings, dataset))} a worker while its GAN is trained",
             "nothing has been written"]
    return "\n".join(lines)


def _folds(settings: StudySettings, places: Mapping[str, Place], dataset: Dataset) -> list[str]:
    rows = dataset.rows(settings.domain)
    lines = []
    for fold in range(settings.folds):
        own = [r for r in rows if places[r.subject].fold == fold]
        halves = " and ".join(str(len({r.subject for r in own if places[r.subject].half == h})) for h in (0, 1))
        lines.append(f"fold {fold}       held out are {_who(own)} (halves of {halves} subjects): "
                     f"{_by_class(own, dataset.info.classes)}")
    return lines


def _cells(settings: StudySettings, places: Mapping[str, Place], dataset: Dataset, cells: Sequence[Cell]) -> list[str]:
    total = len(cells_of(settings))
    done = f"; {total - len(cells)} are done, {len(cells)} left" if len(cells) < total else ""
    lines = [f"cells        {total} = {len(settings.k)} k x {counted(settings.folds, 'fold')} x "
             f"{counted(settings.seeds, 'seed')}{done}"]
    rows = dataset.rows(settings.domain)
    for k in settings.k:
        drawn = [draw_subset(rows, places, settings, k, f, s) for f in range(settings.folds)
                 for s in range(settings.seeds)]
        parts = []
        for label in dataset.info.classes:
            own = [[r for r in subset.rows if r.label == label] for subset in drawn]
            subjects = [len({r.subject for r in found}) for found in own]
            among = f"{min(subjects)} to {max(subjects)} subjects" if min(subjects) < max(subjects) \
                else counted(subjects[0], "subject")
            parts.append(f"{len(own[0])} {label} of {among}")
        lines.append(f"  k = {k:<7}learns from {', '.join(parts)}")
        lines.append("             with what the arms add: " + ", ".join(
            f"{arm.name} {images_of_arm(arm, settings, drawn[0], k)}" for arm in settings.parsed_arms()) + " images")
    return lines


def _work(settings: StudySettings, places: Mapping[str, Place], dataset: Dataset, cells: Sequence[Cell],
          costs: Mapping[int, CellCost]) -> list[str]:
    rows, recipe, chosen = dataset.rows(settings.domain), settings.recipe, settings.classifier
    k = settings.k[-1]
    own = synthetic_needed(settings, k, draw_subset(rows, places, settings, k, 0, 0))
    how = "logistic regression on features" if chosen.name == "features" else \
        f"{chosen.name}, {grouped(chosen.updates, 'update')} of {counted(chosen.batch_size, 'image')} each"
    arms = len(settings.parsed_arms())
    lines = [f"classifiers  {arms * len(cells)} ({arms} a cell): {how}, about "
             f"{span(costs[k].classifiers / arms)} each"]
    if own:
        made = sorted({steps_for(recipe, n) for n in settings.k})
        often = f"{made[0]:,}" if len(made) == 1 else f"{made[0]:,} to {made[-1]:,}"
        lines.insert(0, f"GANs         {len(own) * len(cells)} ({len(own)} a cell, of class {', '.join(own)}): "
                        f"{recipe.name}, {often} steps of {counted(recipe.batch_size, 'image')} each, about "
                        f"{span(costs[k].gans / len(own))} each, and {span(costs[k].audits / len(own))} to audit one")
    return lines


def _cost(cells: Sequence[Cell], costs: Mapping[int, CellCost], workers: int) -> list[str]:
    seconds = [costs[c.k].seconds for c in cells]
    lines = [f"time         about {span(sum(seconds))} of one core in all, by a short trial on this machine"]
    if workers > 1:
        lines.append(f"             about {span(makespan(seconds, [], workers))} with {workers} workers, {SAME}")
    return lines


def _who(rows: Sequence[Row]) -> str:
    return f"{counted(len({r.subject for r in rows}), 'subject')}, {counted(len(rows), 'image')}"


def _by_class(rows: Sequence[Row], classes: Sequence[str]) -> str:
    return "; ".join(f"{label} {_who([r for r in rows if r.label == label])}" for label in classes)


def _size(size: float) -> str:
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{size / 2**20:.0f} MB"
