"""One cell, start to end: who is in it, the GANs, their audits, a classifier for every arm. Run again, it goes on."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors, write_json
from ganatomy.core.hardware import choose_device
from ganatomy.core.reading import Bounded, Record, Whole, read_json
from ganatomy.core.text import listed
from ganatomy.data.dataset import Dataset, new_dataset
from ganatomy.data.manifest import Row, read_manifest, write_manifest
from ganatomy.evaluation.verdicts import copies as audited
from ganatomy.features.base import choose, independent
from ganatomy.generators.generation import generate
from ganatomy.metrics import copies, diversity, kernel
from ganatomy.metrics.base import Result, Sample, Samples
from ganatomy.metrics.floors import blurred
from ganatomy.studies.classifiers import TrainingSet, decide, select, train_classifier
from ganatomy.studies.folder import REMOVE_CELL, Cell, GanFolder, StudyFolder, mended
from ganatomy.studies.folds import Subset, check_places, draw_subset
from ganatomy.studies.predictions import Predictions, read_predictions, write_predictions
from ganatomy.studies.protocol import Arm, StudySettings
from ganatomy.training.train import TrainingStopped, train

COPIES, NOISE, CELL_SEED = 3, 4, 5  # what random numbers are drawn for, beside those of folds.py
AUDITED = 200  # images are drawn at least, so that the audit has enough of them
ATTEMPTS = 3
LIGHTS = ("green", "amber", "red", "grey")
Say = Callable[[str], None]
Images = NDArray[np.float32]


def run_cell(data: str | Path, study: str | Path, cell: Cell, *, external: str | Path | None = None,
             device: str = "auto", say: Say = lambda text: None) -> None:
    """Do whatever is left to do in one cell of a study that has been started.

    The result depends on the study's settings and the cell alone, as long as torch, device and the number of threads
    (one, set here) are the same. `external` is where the external dataset is, if elsewhere than when the study began.

    Raises:
        UserError: another dataset, a cell that the study has not, held-out patients among the training images, or
            another process at this cell.
    """
    folder = StudyFolder.open(study)
    if cell not in folder.all_cells():
        raise UserError(f"has no cell {cell.name}", where=folder.path, fix="`ganatomy study ... --dry-run` lists them")
    where = choose_device(device)
    torch.set_num_threads(1)
    dataset, other = Dataset.open(data), folder.open_external(external)
    folder.refuse_difference(folder.settings(), dataset, other)
    with folder.cell(cell).lock():
        if not folder.cell(cell).is_done():
            with folder.cell(cell).attempt():
                _do(Roles(folder, cell, dataset), other, where, say)


def cell_seed(settings: StudySettings, cell: Cell) -> int:
    """The seed of a cell's GANs and classifiers: the same for every k and arm of a fold and seed."""
    drawn = np.random.SeedSequence((CELL_SEED, settings.seed, cell.fold, cell.seed)).generate_state(1)
    return int(drawn[0]) % 2**31


class Roles:
    """Who does what in a cell, by the study's folds alone: whatever lies in the cell's folder is compared with it."""

    def __init__(self, study: StudyFolder, cell: Cell, dataset: Dataset) -> None:
        """Raises `UserError` if the study's folds are not the dataset's."""
        self.settings, self.cell, self.folder, self.dataset = study.settings(), cell, study.cell(cell), dataset
        places, rows = study.places(), dataset.rows(self.settings.domain)
        check_places(places, rows, self.settings, study.folds_file)
        self.pool = {subject for subject, place in places.items() if place.fold != cell.fold}
        self.subset = draw_subset(rows, places, self.settings, cell.k, cell.fold, cell.seed)
        self.held_out = [r for r in rows if r.subject not in self.pool]
        self.halves = np.array([places[r.subject].half for r in self.held_out], np.intp)
        self.number = {label: i for i, label in enumerate(dataset.info.classes)}
        self.synthetic = synthetic_needed(self.settings, cell.k, self.subset)
        self.manifests = {self.folder.manifest_file: self.subset.rows, self.folder.fresh_file: self.subset.fresh_rows}
        self.seed = cell_seed(self.settings, cell)

    def gan(self, label: str) -> GanFolder:
        """The folder of a class's GAN."""
        return self.folder.gan(self.number[label])

    def refuse_leaks(self) -> None:
        """Raise `UserError` unless classifiers and GANs learn from the images of this cell and from nobody else.

        What there is of manifest.csv, fresh.csv and the GANs' datasets must have the training and test images of this
        cell.
        """
        of_gans = {self.gan(label).data / "manifest.csv": self.subset.of(label) for label in self.synthetic}
        for path, wanted in (self.manifests | of_gans).items():
            if not path.parent.is_dir():
                continue
            with mended(fix=REMOVE_CELL):
                rows = read_manifest(path)
            training = [r for r in rows if r.split == "train"]
            leaks, what = sorted({r.subject for r in training} - self.pool), ""
            if leaks:
                what = f"held-out subjects are among the training images: {listed(leaks[:5])} ({len(leaks)} in all)"
            elif _identities(training) != _identities(wanted):
                what = "its training images are not those that this cell draws"
            elif _identities(r for r in rows if r.split != "train") != \
                    _identities(self.held_out if path in self.manifests else []):
                what = "its test images are not those that this fold holds out"
            if what:
                raise UserError(what, where=path, fix=REMOVE_CELL)


def _identities(rows: Iterable[Row]) -> list[tuple[str, str, str, str]]:
    return sorted((r.image_id, r.subject, r.label, r.sha256) for r in rows)


def _do(roles: Roles, external: Dataset | None, device: torch.device, say: Say) -> None:
    """All of it, in order; what is finished is not done again."""
    started, folder = time.perf_counter(), roles.folder
    held_out = [replace(r, split="test") for r in roles.held_out]
    for path, rows in roles.manifests.items():  # written down before anything learns
        if not path.is_file():
            write_manifest(path, [replace(r, split="train") for r in rows] + held_out)
    roles.refuse_leaks()
    roles.dataset.verify([*roles.subset.rows, *roles.held_out])
    synthetic = {label: _draw_synthetic(roles, label, device, say) for label in roles.synthetic}
    gans = time.perf_counter() - started
    files = [*roles.manifests, *(p for label in synthetic for p in roles.gan(label).files())]
    for arm in roles.settings.parsed_arms():
        own = [folder.predictions(arm.name), *([folder.predictions(arm.name, external=True)] if external else [])]
        files += own
        if not _are_readable(own):
            say(f"arm {arm.name}")
            for path, predictions in zip(own, _classify(arm, roles, synthetic, external, device), strict=True):
                write_predictions(path, predictions)
    folder.note_done(files, seconds=round(time.perf_counter() - started, 1), seconds_of_gans=round(gans, 1))


def _are_readable(files: Iterable[Path]) -> bool:
    """Whether an arm's predictions are there and can be read; those that cannot are written anew."""
    try:
        return all(read_predictions(path) for path in files)
    except UserError:
        return False


def _classify(arm: Arm, roles: Roles, synthetic: Mapping[str, Dataset], external: Dataset | None,
              device: torch.device) -> list[Predictions]:
    """Train an arm's classifier, choose checkpoint and threshold on each half, apply them to the other."""
    settings, classes = roles.settings, roles.dataset.info.classes
    rows, outside = roles.held_out, external_rows(external, settings) if external else []
    stacks = [roles.dataset.stack(rows, settings.size)]
    stacks += [external.stack(outside, settings.size)] if external else []
    probabilities = train_classifier(training_set(arm, roles, synthetic), len(classes), stacks, settings.classifier,
                                     arm.augment, roles.seed, device)
    positives = [roles.number[c] for c in settings.positives]
    labels = np.array([roles.number[r.label] for r in rows], np.intp)
    chosen = select(probabilities[0], labels, roles.halves, positives)
    judged = [(rows, probabilities[0], roles.halves)]
    if external:  # each image is judged by the choice of either half
        judged.append(([*outside, *outside], np.concatenate([probabilities[1]] * 2, axis=1),
                       np.repeat(np.arange(2), len(outside))))
    predictions = []
    for of, probability, half in judged:
        scores, decisions = decide(probability, chosen, half, positives)
        predictions.append(Predictions(
            tuple(r.image_id for r in of), tuple(r.subject for r in of), tuple(r.label for r in of), half,
            {classes[c]: s for c, s in scores.items()}, {classes[c]: d for c, d in decisions.items()}))
    return predictions


def external_rows(external: Dataset, settings: StudySettings) -> list[Row]:
    """The images of the external set: all of its splits, in the study's domain or its only one."""
    only = len(external.info.domains) == 1
    return external.rows(None if only else settings.domain)


# -- its GANs, one for each class that gets synthetic images


def _draw_synthetic(roles: Roles, label: str, device: torch.device, say: Say) -> Dataset:
    """Train a class's GAN on the cell's real images of it, draw its images, audit them; what is there is kept.

    Raises `UserError` if training stopped at every attempt, or the pixels have been changed.
    """
    folder = roles.gan(label)
    if not folder.data.is_dir():
        write_images(roles.dataset, roles.subset.of(label), label, folder.data, roles.settings)
    if not _is_audited(folder):
        run = _train(roles, label, device, say)
        with disk_errors(folder.synthetic):
            shutil.rmtree(folder.synthetic, ignore_errors=True)
        generate(run, folder.synthetic, max(roles.synthetic[label], AUDITED), seed=roles.seed, format="none",
                 device=str(device), say=say)
        say(f"auditing the images of class {label}")
        report = _audit(roles, label, Dataset.open(folder.synthetic))
        write_json(folder.audit_file, {**report, "of": _contents(folder)})
        shutil.rmtree(run / "checkpoints", ignore_errors=True)  # the generator is kept; a study has many of these
    with mended(fix=REMOVE_CELL):
        synthetic = Dataset.open(folder.synthetic)
        synthetic.verify(synthetic.rows())
    return synthetic


def _is_audited(folder: GanFolder) -> bool:
    """Whether an audit vouches for these very images, of a GAN that learnt from what lies beside them."""
    try:
        return bool(read_audit(folder.audit_file)["of"] == _contents(folder))
    except UserError:
        return False


def _contents(folder: GanFolder) -> dict[str, str]:
    """Hashes of the real images that a GAN learns from and of the synthetic ones beside them."""
    return {"data": Dataset.open(folder.data).info.content, "synthetic": Dataset.open(folder.synthetic).info.content}


def write_images(dataset: Dataset, rows: Sequence[Row], label: str, out: Path, settings: StudySettings) -> None:
    """The cell's images of one class as a dataset folder of its own: all that its GAN ever sees."""
    pixels = dataset.pixels(rows)
    info = dataset.info.model_copy(update={
        "domains": (settings.domain,), "paired": True, "classes": (label,), "mask_values": {}, "fingerprint": {},
        "intensity": {d: i for d, i in dataset.info.intensity.items() if d == settings.domain},
        "provenance": {"ganatomy": __version__, "study": "training images of one cell"}})
    with new_dataset(out, dataset.info.size, dataset.info.channels, pixels.dtype) as writer:
        for image, row in zip(pixels, rows, strict=True):
            writer.add(image, replace(row, split="train", has_mask=True))
        writer.finish(info)


def _train(roles: Roles, label: str, device: torch.device, say: Say) -> Path:
    """The finished run; a training that collapsed is begun again from other random weights."""
    folder = roles.gan(label)
    for attempt in range(ATTEMPTS):
        recipe = roles.settings.recipe.model_copy(update={"label": label, "seed": (roles.seed + attempt) % 2**31})
        try:
            train(folder.data, folder.run(attempt), recipe, device=str(device), say=say)
            return folder.run(attempt)
        except TrainingStopped as stopped:
            say(f"warning: {stopped}")
            last = stopped
    raise UserError(f"the GAN of class {label} could not be trained in {ATTEMPTS} attempts: {last.what}",
                    where=folder.path, fix="choose another --recipe, such as rpgan-64, or more images (--k)")


def _audit(roles: Roles, label: str, synthetic: Dataset) -> dict[str, Any]:
    """Kernel distance, diversity and the memorisation audit of one GAN's images, against the fold's held-out images.

    The audit of copies calibrates itself by these and by the images of the pool that this GAN has not learnt from.
    `blurred` is the kernel distance of the blurred training images, a yardstick: worse than these is poor; `copies` the
    light and the sentence of the verdict; the other keys are as in metrics.json. There are no results for a class that
    this fold does not hold out, as may be with several negative ones.
    """
    extractor = choose(independent(synthetic.info.provenance.get("looks_through", ())))
    learnt = roles.subset.of(label)

    def real(rows: Sequence[Row]) -> Sample:
        return Sample(roles.dataset.stack(rows, roles.settings.size), [r.subject for r in rows], extractor=extractor,
                      ids=[r.image_id for r in rows])

    drawn, results, soft = synthetic.rows(), list[Result](), None
    if tested := [r for r in roles.held_out if r.label == label]:
        train, unseen = real(learnt), roles.subset.unseen[label]
        samples = Samples(real(tested), Sample(synthetic.stack(drawn, roles.settings.size), extractor=extractor), train,
                          real(unseen) if unseen else None)
        soft = kernel.compute(samples.with_control(blurred(train, len(drawn))))[0].value
        results = [r for metric in (kernel, diversity, copies) for r in metric.compute(samples) if r.value is not None]
    light, says = audited([r for r in results if r.name != "Leak"])  # the protocol keeps test patients out of every GAN
    return {"label": label, "training_subjects": len({r.subject for r in learnt}), "training_images": len(learnt),
            "synthetic_images": len(drawn), "results": [r.to_json() for r in results], "blurred": soft,
            "copies": {"light": light, "says": says}}


class AuditValue(Record):
    """One value of an audit, as in metrics.json."""

    model_config = ConfigDict(extra="allow")

    name: str
    against: str
    value: Bounded | None
    interval: tuple[Bounded, Bounded] | None = None
    floor: Bounded | None = None
    ratio: Bounded | None = None


class Audit(Record):
    """audit.json of a GAN; see `_audit`. `of` has the hashes of the images that it is of."""

    model_config = ConfigDict(extra="allow")

    label: str
    training_subjects: Whole
    results: tuple[AuditValue, ...]
    blurred: Bounded | None = None
    copies: dict[str, str | None] = Field(default_factory=dict)
    of: dict[str, str] | None = None


def read_audit(path: Path) -> dict[str, Any]:
    """What `_audit` returned, and `of` which images it is. Raises `UserError` if it is missing or broken."""
    return read_json(path, Audit, REMOVE_CELL).model_dump(mode="json")


def light_of(report: Mapping[str, Any]) -> str:
    """green, amber, red, or grey where it is not known whether the GAN copies."""
    light = str((report.get("copies") or {}).get("light"))
    return light if light in LIGHTS else "grey"


def figure_of(report: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """An audit's value against the held-out patients: KD or Diversity, whatever the features; None without one."""
    return next((r for r in report.get("results") or () if r["name"].partition("-")[0] == kind
                 and r["against"] == "test" and r["value"] is not None), None)


# -- what an arm's classifier learns from


def synthetic_needed(settings: StudySettings, k: int, subset: Subset) -> dict[str, int]:
    """How many synthetic images of each class the arms of a cell need; classes that need none are left out."""
    needed: dict[str, int] = {}
    for arm in settings.parsed_arms():
        needed |= {label: max(n, needed.get(label, 0)) for label, n in _drawn(arm, settings, k, subset).items()}
    return needed


def _drawn(arm: Arm, settings: StudySettings, k: int, subset: Subset) -> dict[str, int]:
    """How many synthetic images of each class an arm has; GAN_ONLY as many as GAN has in all."""
    if not arm.needs_gan:
        return {}
    real = Counter(r.label for r in subset.rows) if arm.source == "GAN_ONLY" else Counter[str]()
    return {label: real[label] + (arm.added(k) if label in settings.positives else 0)
            for label in sorted(real) or settings.positives}


def training_set(arm: Arm, roles: Roles, synthetic: Mapping[str, Dataset]) -> TrainingSet:
    """The images and the numbers of their classes: real ones first, then what is added."""
    settings, subset = roles.settings, roles.subset
    parts: list[tuple[str, Images]] = []
    if arm.source != "GAN_ONLY":
        parts = [(label, _real(roles, subset.of(label))) for label in sorted({r.label for r in subset.rows})]
    for label, n in _drawn(arm, settings, roles.cell.k, subset).items():
        parts.append((label, synthetic[label].images(synthetic[label].rows()[:n], settings.size)))
    if arm.source in _ADDED:
        parts += [(label, _ADDED[arm.source](roles, label, arm.added(roles.cell.k))) for label in settings.positives]
    return TrainingSet(np.concatenate([part for _, part in parts]),
                       np.repeat([roles.number[label] for label, _ in parts], [len(part) for _, part in parts]))


def _real(roles: Roles, rows: Sequence[Row]) -> Images:
    """Images [n, c, size, size] in [-1, 1]."""
    return roles.dataset.images(rows, roles.settings.size)


def _fresh(roles: Roles, label: str, n: int) -> Images:
    return _real(roles, roles.subset.fresh[label][:n])


def _oversampled(roles: Roles, label: str, n: int) -> Images:
    """Each as often as any other, the first ones once more."""
    own = roles.subset.of(label)
    return _real(roles, [own[i % len(own)] for i in range(n)])


def _copies(roles: Roles, label: str, n: int) -> Images:
    own, rng = roles.subset.of(label), np.random.default_rng((COPIES, roles.seed))
    return _real(roles, [own[i] for i in rng.integers(len(own), size=n)])


def _noise(roles: Roles, label: str, n: int) -> Images:
    images, rng = _real(roles, roles.subset.of(label)), np.random.default_rng((NOISE, roles.seed))
    drawn = rng.normal(images.mean(), images.std(), (n, *images.shape[1:]))
    return np.clip(drawn, -1, 1).astype(np.float32)


_ADDED: dict[str, Callable[[Roles, str, int], Images]] = {
    "FRESH": _fresh, "OVERSAMPLE": _oversampled, "COPIES": _copies, "NOISE": _noise}
"""What sources add for one positive class: n images [n, c, size, size]."""
