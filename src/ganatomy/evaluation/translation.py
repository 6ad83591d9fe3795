"""evaluate, for runs that translate: against the truth if there is one, against real images, and is the anatomy kept?

Beside the model stand the input returned, histogram matching, and other runs such as the recipe unet's.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganatomy.core.errors import UserError
from ganatomy.core.run import Run
from ganatomy.core.text import Say, counted
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.evaluation.samples import at_most, dataset_warnings, same_channels
from ganatomy.features.base import Extractor, choose, independent
from ganatomy.generators.folder import load_generator
from ganatomy.generators.sampler import Sampler
from ganatomy.metrics import schema
from ganatomy.metrics.base import Images, Sample
from ganatomy.metrics.kernel import real_distance, translated_distance
from ganatomy.metrics.schema import HISTOGRAM_MATCHED, INPUT_RETURNED, MODEL, MOST_IMAGES
from ganatomy.metrics.translation.anatomy import anatomy
from ganatomy.metrics.translation.baselines import (
    HistogramMatch,
    both_histogram_matches,
    fit_histogram_match,
    returned_input,
    returned_unpaired,
)
from ganatomy.metrics.translation.lesions import lesions
from ganatomy.metrics.translation.paired import compare, foreground, headline, pair_values, summarise
from ganatomy.statistics.subjects import rows_of, size_warning
from ganatomy.training.draws import partners

MOST_TRAINING = MOST_IMAGES // 4  # to learn a histogram from, and for the distance of real train to real test


@dataclass
class TranslationTask:
    """What is measured: the dataset, and the samplers by name, the model's first, then those of the runs beside it."""

    dataset: Dataset
    samplers: dict[str, Sampler]
    source: str
    target: str
    label: str | None
    seed: int
    warnings: list[str]

    @property
    def size(self) -> int:
        return self.samplers[MODEL].size

    @property
    def extractor(self) -> Extractor:
        """Of features that the training of none of them looked through."""
        return choose(independent(seen for one in self.samplers.values() for seen in one.model.looks_through))

    @property
    def two_way(self) -> bool:
        return self.samplers[MODEL].model.two_way


class Slices:
    """The test slices of one direction, which is `backward` from the contrast that was the target in training.

    Attributes:
        rows, inputs: of the contrast `source`.
        real, truth: rows and images of the contrast `target`; of the same slices where `paired`.
        mask: foreground of the real images, [n, s, s].
        subjects: of the rows.
    """

    def __init__(self, task: TranslationTask, backward: bool, n: int | None) -> None:
        dataset, self.task, self.backward = task.dataset, task, backward
        self.source, self.target = (task.target, task.source) if backward else (task.source, task.target)

        def chosen(domain: str) -> list[Row]:
            return at_most(dataset.require("test", domain, task.label), n or MOST_IMAGES, task.seed)

        self.rows, self.paired = chosen(self.source), dataset.info.paired
        self.real = partners(dataset, self.rows, self.target) if self.paired else chosen(self.target)
        self.inputs, self.truth = dataset.images(self.rows, task.size), dataset.images(self.real, task.size)
        self.mask = foreground(self.inputs, self.truth if self.paired else self.inputs)
        self.subjects = [row.subject for row in self.rows]


def translated(slices: Slices, say: Say) -> tuple[dict[str, Images], str]:
    """Every translator's images, the model's first, and a note on the baselines."""
    task, outputs = slices.task, dict[str, Images]()
    for name, sampler in task.samplers.items():
        if slices.backward and not sampler.model.two_way:
            continue
        say(f"translating with {name} ...")
        images = sampler.translate(slices.inputs, task.seed, slices.backward)
        if not np.isfinite(images).all():
            raise UserError("the generator gives images that hold NaN or infinity", where=name, fix="train it again")
        outputs[name] = images
    outputs[INPUT_RETURNED] = slices.inputs
    if not slices.paired:
        return outputs, ""
    rows = _training_rows(task, slices.source)
    if not rows:
        return outputs, "no training images: histogram matching is left out"
    truth = task.dataset.images(partners(task.dataset, rows, slices.target), task.size)
    match = fit_histogram_match(task.dataset.images(rows, task.size), truth, [row.subject for row in rows])
    outputs[HISTOGRAM_MATCHED] = _matched(slices, match)
    return outputs, match.note


def _training_rows(task: TranslationTask, domain: str) -> list[Row]:
    """Of as many whole training subjects as histogram matching learns from."""
    return whole_subjects(task.dataset.rows(domain, "train", task.label), MOST_TRAINING, task.seed)


def whole_subjects(rows: list[Row], most: int, seed: int) -> list[Row]:
    """All rows of subjects drawn at random, at most `most` rows in all, but one subject at least; in their order."""
    subjects = list(dict.fromkeys(row.subject for row in rows))
    counts, chosen, total = Counter(row.subject for row in rows), set[str](), 0
    for i in np.random.default_rng((seed, 13)).permutation(len(subjects)):
        if not chosen or total + counts[subjects[i]] <= most:
            chosen.add(subjects[i])
            total += counts[subjects[i]]
    return [row for row in rows if row.subject in chosen]


def _matched(slices: Slices, match: HistogramMatch) -> Images:
    """The inputs matched: each ranks among all test slices of its subject, however few of them are measured."""
    task, outputs = slices.task, np.empty_like(slices.inputs)
    rows = task.dataset.rows(slices.source, "test", task.label)
    for subject, places in rows_of(slices.subjects):
        whole = [row for row in rows if row.subject == subject]
        images = match(task.dataset.images(whole, task.size), [subject] * len(whole))
        outputs[places] = images[[whole.index(slices.rows[i]) for i in places]]
    return outputs


def _physical(slices: Slices) -> tuple[Any, str]:
    """Units for a step of 1 in the images, of each row, and their name; (None, "") for arbitrary units."""
    info = slices.task.dataset.info
    intensity = info.intensity.get(slices.target)
    if intensity is None or intensity.units.startswith("arbitrary"):
        return None, ""
    low, high = info.value_range
    return np.array([(high - low) / 2 * row.scale for row in slices.real]), intensity.units


def _lesions(slices: Slices, outputs: Images) -> schema.Lesions | None:
    """What became of the lesions of the slices that have a mask; None where nothing outlines any, or the images are
    smaller than stored."""
    task, dataset = slices.task, slices.task.dataset
    values = [value for name, value in dataset.info.mask_values.items() if "lesion" in name.lower()]
    places = [i for i, row in enumerate(slices.rows) if row.has_mask]
    if not (values and places) or not slices.paired or task.size != dataset.size:
        return None
    if len(places) < len(slices.rows):
        task.warnings.append(f"{len(slices.rows) - len(places)} of {counted(len(slices.rows), 'test slice')} have no "
                             "mask: lesions are measured in the others alone")
    outlined = np.isin(dataset.masks([slices.rows[i] for i in places]), values)
    result = lesions(slices.truth[places], outputs[places], outlined, slices.mask[places],
                     [slices.subjects[i] for i in places], task.seed)

    def placed(part: Any) -> Any:
        """The part with its worst images numbered among all slices."""
        worst = tuple(one.model_copy(update={"image": places[one.image]}) for one in part.worst)
        return part.model_copy(update={"worst": worst})

    invented = result.invented and placed(result.invented)
    return schema.Lesions.model_validate(placed(result).model_copy(update={"invented": invented}))


def translates(path: str | Path) -> bool:
    """Whether a folder is a run of a model that translates."""
    from ganatomy.gans import kind

    return Run.is_run(path) and kind(Run.open(path).recipe()).translates


def evaluate_translation(path: Path, *, n: int | None, seed: int, data: str | Path | None,
                         beside: Sequence[str | Path], say: Say) -> schema.TranslationMetrics:
    """What metrics.json holds of a run that translates. Arguments as for `evaluate`."""
    task = _task(path, seed, data, beside)
    measured, digest = [], hashlib.sha256()
    for backward in (False, True) if task.two_way else (False,):
        slices = Slices(task, backward, n)
        say(f"{slices.source} to {slices.target}: {len(slices.rows)} test slices of "
            f"{counted(len(set(slices.subjects)), 'subject')}")
        entry, outputs = _measure(slices, say)
        measured.append(entry)
        digest.update(outputs.tobytes())
    notes = task.samplers[MODEL].notes or {}
    return schema.TranslationMetrics.model_validate(
        {"extractor": task.extractor.name, "dataset": task.dataset.info.content, "synthetic": digest.hexdigest(),
         "step": notes.get("step"), "seed": seed, "n": n, "source": task.source, "domain": task.target,
         "label": task.label, "size": task.size, "directions": measured,
         "warnings": list(dict.fromkeys(task.warnings)),
         "patients_unknown": task.dataset.info.told.patients_unknown})


def _task(path: Path, seed: int, data: str | Path | None, beside: Sequence[str | Path]) -> TranslationTask:
    run, sampler = Run.open(path), load_generator(path)
    notes = sampler.notes or {}
    dataset = Dataset.of_run(run, data)
    source, target = (dataset.domain(notes[key]) for key in ("source_domain", "domain"))
    same_channels(dataset, sampler.channels, "the run")
    task = TranslationTask(dataset, {MODEL: sampler}, source, target, run.recipe().label, seed,
                       dataset_warnings(dataset))
    for other in beside:
        _add_beside(task, Path(other), run.dataset_content())
    return task


def _add_beside(task: TranslationTask, path: Path, content: str) -> None:
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


def _measure(slices: Slices, say: Say) -> tuple[dict[str, Any], Images]:
    """The values of one direction as JSON, and the model's images."""
    task, subjects = slices.task, slices.subjects
    outputs, note = translated(slices, say)
    info = task.dataset.info
    real = Sample(slices.truth, [row.subject for row in slices.real], extractor=task.extractor)
    entry: dict[str, Any] = {
        "source": slices.source, "target": slices.target, "paired": slices.paired,
        "n_images": len(subjects), "n_subjects": len(set(subjects)), "note": note,
        "kernel": _kernel(slices, outputs, real, say)}
    if slices.paired:
        say("against the truth ...")
        entry |= _against_truth(slices, outputs)
    else:
        rows = _training_rows(task, slices.target)
        maps = both_histogram_matches(task.dataset.images(rows, task.size)) if rows else None
        entry["returned"] = returned_unpaired(slices.inputs, outputs[MODEL], [_matched(slices, m) for m in maps or ()],
                                              slices.mask, subjects)
    say("anatomy ...")
    factor = task.dataset.size / task.size
    spacing = (info.spacing[0] * factor, info.spacing[1] * factor) if info.spacing else None
    entry["anatomy"] = anatomy(slices.inputs, outputs[MODEL], slices.mask, subjects, spacing=spacing,
                               targets=slices.truth if slices.paired else None)
    if (measured := _lesions(slices, outputs[MODEL])) is not None:
        entry["lesions"] = measured
    if task.two_way:
        entry |= _there_and_back(slices, outputs[MODEL])
    task.warnings += size_warning(len(set(subjects)))
    values: dict[str, Any] = _with_ids(schema.Direction(**entry).to_json(), [row.image_id for row in slices.rows])
    return values, outputs[MODEL]


def _kernel(slices: Slices, outputs: dict[str, Images], real: Sample, say: Say) -> schema.Kernel:
    """KD of every translator's images, and between real images of train and test."""
    say(f"features of {real.extractor.name} ...")
    task, reference = slices.task, None
    translators = {name: translated_distance(real, Sample(images, slices.subjects, extractor=real.extractor), task.seed)
                   for name, images in outputs.items()}
    rows = at_most(task.dataset.rows(slices.target, "train", task.label), MOST_TRAINING, task.seed)
    if rows:
        train = Sample(task.dataset.images(rows, task.size), [row.subject for row in rows], extractor=real.extractor)
        reference = real_distance(real, train, task.seed)
    return schema.Kernel(translators=translators, reference=reference)


def _against_truth(slices: Slices, outputs: dict[str, Images]) -> dict[str, Any]:
    """Paired values of every translator, who is ahead of whom, and whether the model returns its input."""
    subjects = slices.subjects
    scale, units = _physical(slices)
    pairs = {name: pair_values(slices.truth, images, slices.mask, scale=scale, units=units)
             for name, images in outputs.items()}
    comparisons = compare((MODEL, pairs[MODEL]), {name: own for name, own in pairs.items() if name != MODEL}, subjects)
    return {"translators": {name: summarise(own, subjects) for name, own in pairs.items()}, "comparisons": comparisons,
            "headlines": {name: headline(own) for name, own in comparisons.items()},
            "returned": returned_input(slices.inputs, outputs[MODEL], slices.truth, slices.mask, subjects)}


def _there_and_back(slices: Slices, outputs: Images) -> dict[str, Any]:
    """Cycle error: an input there and back again. Identity error: a real target through the same generator."""
    sampler, seed = slices.task.samplers[MODEL], slices.task.seed
    again = sampler.translate(outputs, seed, not slices.backward)
    same = sampler.translate(slices.truth, seed, slices.backward)
    mask = foreground(slices.truth, slices.truth)
    return {"cycle": summarise(pair_values(slices.inputs, again, slices.mask), slices.subjects),
            "identity": summarise(pair_values(slices.truth, same, mask), [row.subject for row in slices.real])}


def _with_ids(value: Any, ids: list[str]) -> Any:
    """`value` with the image's id beside every number of an image."""
    if isinstance(value, dict):
        entry = {key: _with_ids(item, ids) for key, item in value.items()}
        return entry | {"image_id": ids[value["image"]]} if isinstance(value.get("image"), int) else entry
    return [_with_ids(item, ids) for item in value] if isinstance(value, list) else value
