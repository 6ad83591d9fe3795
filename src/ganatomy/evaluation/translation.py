"""evaluate, for runs that translate: against the truth if there is one, against real images, and is the anatomy kept?

Beside the model stand the input returned, histogram matching, and other runs such as the recipe unet's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganatomy.core.errors import UserError
from ganatomy.core.run import Run
from ganatomy.core.text import counted
from ganatomy.data.dataset import Dataset
from ganatomy.evaluation.pairs import (
    MODEL,
    MOST_TRAINING,
    Direction,
    Say,
    Task,
    direction_of,
    lesion_masks,
    physical,
    spacing,
    to_targets,
    translations,
)
from ganatomy.evaluation.rows import at_most, dataset_warnings, same_channels, size_warning
from ganatomy.features.choose import choose
from ganatomy.generators.folder import load_generator
from ganatomy.metrics.base import Images, Sample, finite
from ganatomy.metrics.kernel_pairs import real_distance, translated_distance
from ganatomy.metrics.translation.anatomy import anatomy
from ganatomy.metrics.translation.baselines import returned_input, returned_unpaired
from ganatomy.metrics.translation.lesions import lesions
from ganatomy.metrics.translation.paired import (
    PairFigures,
    compare,
    foreground,
    headline,
    pair_figures,
    ranking,
    summarise,
)

SCHEMA_VERSION = 1
KIND = "translation"


def translates(path: str | Path) -> bool:
    """Whether a folder is a run of a model that translates."""
    from ganatomy.gans import kind

    return Run.is_run(path) and kind(Run.open(path).recipe()).translates


def evaluate_translation(path: Path, *, n: int | None, seed: int, data: str | Path | None,
                         beside: Sequence[str | Path], say: Say) -> dict[str, Any]:
    """What metrics.json holds of a run that translates; see docs/design.md. Arguments as for `evaluate`."""
    task = _task(path, seed, data, beside)
    directions = [False, True] if task.samplers[MODEL].model.two_way else [False]
    measured, digest = [], hashlib.sha256()
    for backward in directions:
        direction = direction_of(task, backward, n)
        say(f"{direction.rows[0].domain} to {direction.real[0].domain}: {len(direction.rows)} test slices of "
            f"{counted(len(set(direction.subjects)), 'subject')}")
        entry, made = _measure(direction, say)
        measured.append(entry)
        digest.update(made.tobytes())
    notes = task.samplers[MODEL].notes or {}
    return {"schema_version": SCHEMA_VERSION, "kind": KIND, "extractor": choose().name, "seconds": 0.0,
            "dataset": task.dataset.info.content, "synthetic": digest.hexdigest(), "step": notes.get("step"),
            "seed": seed, "n": n, "source": task.source, "domain": task.target, "label": task.label, "size": task.size,
            "directions": measured, "warnings": task.warnings}


def _task(path: Path, seed: int, data: str | Path | None, beside: Sequence[str | Path]) -> Task:
    run, sampler = Run.open(path), load_generator(path)
    notes = sampler.notes or {}
    dataset = Dataset.open(data or run.dataset_path())
    source, target = (dataset.domain(notes[key]) for key in ("source_domain", "domain"))
    same_channels(dataset, sampler.channels, "the run")
    task = Task(dataset, {MODEL: sampler}, source, target, run.recipe().label, seed, dataset_warnings(dataset))
    if dataset.info.content != run.dataset_content():
        task.warnings.append("This is not the dataset that the model was trained on, or it has changed since.")
    for other in beside:
        _add_beside(task, Path(other), run.dataset_content())
    return task


def _add_beside(task: Task, path: Path, content: str) -> None:
    """Put another run's generator beside the model. Raises `UserError` if it does something else."""
    run, sampler = Run.open(path), load_generator(path)
    notes = sampler.notes or {}
    if not sampler.model.translates or sampler.size != task.size or run.dataset_content() != content \
            or (notes["source_domain"], notes["domain"]) != (task.source, task.target):
        raise UserError("does not translate the same contrasts of the same dataset at the same size", where=path,
                        fix="put runs of one dataset, direction and size beside each other")
    name = run.recipe().name
    number = sum(known.partition(" #")[0] == name for known in task.samplers) + 1
    task.samplers[name if number == 1 else f"{name} #{number}"] = sampler


def _measure(direction: Direction, say: Say) -> tuple[dict[str, Any], Images]:
    """The figures of one direction as JSON, and the model's images."""
    task, subjects = direction.task, direction.subjects
    made, note = translations(direction, say)
    real = Sample(direction.truth, [row.subject for row in direction.real])
    entry: dict[str, Any] = {
        "source": direction.rows[0].domain, "target": direction.real[0].domain, "paired": direction.paired,
        "n_images": len(subjects), "n_subjects": len(set(subjects)), "note": note,
        "kernel": _kernel(direction, made, real, say)}
    if direction.paired:
        say("against the truth ...")
        entry |= _against_truth(direction, made)
    else:
        entry["returned"] = returned_unpaired(direction.inputs, made[MODEL], to_targets(direction), direction.mask,
                                              subjects).to_json()
    say("anatomy ...")
    kept = anatomy(direction.inputs, made[MODEL], direction.mask, subjects, spacing=spacing(direction),
                   targets=direction.truth if direction.paired else None)
    entry["anatomy"] = kept.to_json()
    outlined = lesion_masks(direction)
    if outlined is not None:
        entry["lesions"] = lesions(direction.truth, made[MODEL], outlined, direction.mask, subjects,
                                   task.seed).to_json()
    if task.samplers[MODEL].model.two_way:
        entry |= _there_and_back(direction, made[MODEL])
    task.warnings += size_warning(len(set(subjects)), task.warnings)
    named: dict[str, Any] = _with_ids(finite(entry), [row.image_id for row in direction.rows])
    return named, made[MODEL]


def _kernel(direction: Direction, made: dict[str, Images], real: Sample, say: Say) -> dict[str, Any]:
    """KD-Lite0 of every translator's images, and between real images of train and test."""
    say(f"features of {choose().name} ...")
    task, found = direction.task, dict[str, Any]()
    for name, images in made.items():
        found[name] = translated_distance(real, Sample(images, direction.subjects), task.seed).to_json()
    rows = at_most(task.dataset.rows(direction.real[0].domain, "train", task.label), MOST_TRAINING, task.seed)
    reference = None
    if rows:
        train = Sample(task.dataset.images(rows, task.size), [row.subject for row in rows])
        reference = real_distance(real, train, task.seed)
    return {"translators": found, "reference": reference}


def _against_truth(direction: Direction, made: dict[str, Images]) -> dict[str, Any]:
    """Paired figures of every translator, who is ahead of whom, and whether the model returns its input."""
    subjects = direction.subjects
    scale, units = physical(direction)
    figures = {name: pair_figures(direction.truth, images, direction.mask, scale=scale, units=units)
               for name, images in made.items()}
    others = [name for name in figures if name != MODEL]
    comparisons = {name: compare((MODEL, figures[MODEL]), (name, figures[name]), subjects) for name in others}
    returned = returned_input(direction.inputs, made[MODEL], direction.truth, direction.mask, subjects)
    return {"translators": {name: [r.to_json() for r in summarise(found, subjects)]
                            for name, found in figures.items()},
            "comparisons": {name: [c.to_json() for c in found] for name, found in comparisons.items()},
            "headlines": {name: headline(found) for name, found in comparisons.items()},
            "ranking": ranking(figures, subjects), "returned": returned.to_json()}


def _there_and_back(direction: Direction, made: Images) -> dict[str, Any]:
    """Cycle error: an input there and back again. Identity error: a real target through the same generator."""
    task, subjects = direction.task, direction.subjects
    sampler = task.samplers[MODEL]
    again = sampler.translate(made, task.seed, not direction.backward)
    same = sampler.translate(direction.truth, task.seed, direction.backward)
    of_real = [row.subject for row in direction.real]
    mask = foreground(direction.truth, direction.truth)

    def summary(figures: PairFigures, whose: list[str]) -> list[dict[str, Any]]:
        return [r.to_json() for r in summarise(figures, whose)]

    return {"cycle": summary(pair_figures(direction.inputs, again, direction.mask), subjects),
            "identity": summary(pair_figures(direction.truth, same, mask), of_real)}


def _with_ids(value: Any, ids: list[str]) -> Any:
    """`value` with the image's id beside every number of an image."""
    if isinstance(value, dict):
        found = {key: _with_ids(item, ids) for key, item in value.items()}
        return found | {"image_id": ids[value["image"]]} if isinstance(value.get("image"), int) else found
    return [_with_ids(item, ids) for item in value] if isinstance(value, list) else value
