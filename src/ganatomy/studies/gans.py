"""A cell's GANs: one for each class that gets synthetic images, trained on that cell's real images of it alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors, write_json
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.data.writers import new_dataset
from ganatomy.generators.generation import generate
from ganatomy.studies.audit import audit, read_audit
from ganatomy.studies.cell_checks import made_of, of_a_cell, open_synthetic
from ganatomy.studies.folder import GanFolder
from ganatomy.studies.settings import StudySettings
from ganatomy.training.train import TrainingStopped, train

Say = Callable[[str], None]
AUDITED = 200  # images are made at least, so that the audit has enough of them
ATTEMPTS = 3
_MOST_SEED = 2**31


def make_synthetic(dataset: Dataset, label: str, rows: Sequence[Row], unseen: Sequence[Row], held_out: Sequence[Row],
                   wanted: int, folder: GanFolder, settings: StudySettings, seed: int, device: str,
                   say: Say) -> Dataset:
    """Train a GAN on `rows` and nothing else, draw its images, audit them; what is already there is kept.

    Args:
        dataset: the study's.
        label: the class.
        rows: this cell's real training images of the class.
        unseen: further real images of it, of subjects outside of the cell's training images and of the fold.
        held_out: those of the fold.
        wanted: how many images the arms need.
        folder: where to.
        settings: the study's.
        seed: of training and drawing.
        device: auto, cpu or cuda.
        say: called with lines for the log.

    Raises:
        UserError: training stopped at every attempt, or the images that are there are not this GAN's.
    """
    if not folder.data.is_dir():
        write_images(dataset, rows, label, folder.data, settings)
    if not (folder.synthetic.is_dir() and folder.made_file.is_file()):
        _draw(folder, settings, label, wanted, seed, device, say)
    synthetic = open_synthetic(folder, wanted)
    with of_a_cell():
        synthetic.verify(synthetic.rows())
    if not _is_audited(folder, label):
        say(f"auditing the images of class {label}")
        found = audit(dataset, synthetic, label, rows, unseen, held_out, settings.size)
        write_json(folder.audit_file, {**found, "of": made_of(folder)})
    return synthetic


def _draw(folder: GanFolder, settings: StudySettings, label: str, wanted: int, seed: int, device: str,
          say: Say) -> None:
    """Train and draw, and note what was drawn, so that nothing else is taken for it."""
    run = _train(folder, settings, label, seed, device, say)
    with disk_errors(folder.synthetic):
        shutil.rmtree(folder.synthetic, ignore_errors=True)  # without a note, whoever put it there
    generate(run, folder.synthetic, max(wanted, AUDITED), seed=seed, format="none", device=device, say=say)
    write_json(folder.made_file, made_of(folder))
    shutil.rmtree(run / "checkpoints", ignore_errors=True)  # the generator is kept; a study has many of these


def _is_audited(folder: GanFolder, label: str) -> bool:
    """Whether there is an audit of these very images."""
    try:
        return bool(read_audit(folder.audit_file, label)["of"] == made_of(folder))
    except UserError:
        return False


def write_images(dataset: Dataset, rows: Sequence[Row], label: str, out: Path, settings: StudySettings) -> None:
    """The cell's images of one class as a dataset folder of its own: all that its GAN ever sees."""
    pixels = dataset.pixels(rows)
    info = dataset.info.model_copy(update={
        "domains": (settings.domain,), "paired": True, "classes": (label,), "mask_values": {}, "fingerprint": {},
        "intensity": {d: i for d, i in dataset.info.intensity.items() if d == settings.domain},
        "provenance": {"ganatomy": __version__, "study": "training images of one cell"}})
    with new_dataset(out, dataset.info.size, dataset.info.channels, pixels.dtype) as writer:
        for image, row in zip(pixels, rows, strict=True):
            writer.add(image, replace(row, split="train"))
        writer.finish(info)


def _train(folder: GanFolder, settings: StudySettings, label: str, seed: int, device: str, say: Say) -> Path:
    """The finished run; a training that collapsed is begun again from other random weights, which audit.json tells."""
    for attempt in range(ATTEMPTS):
        recipe = settings.recipe.model_copy(update={"label": label, "seed": (seed + attempt) % _MOST_SEED})
        try:
            train(folder.data, folder.run(attempt), recipe, device=device, say=say)
            return folder.run(attempt)
        except TrainingStopped as stopped:
            say(f"warning: {stopped}")
            last = stopped
    raise UserError(f"the GAN of class {label} could not be trained in {ATTEMPTS} attempts: {last.what}",
                    where=folder.path, fix="choose another --recipe, such as rpgan-64, or more images (--k)")
