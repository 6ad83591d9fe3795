"""A cell's GANs, one for each class that gets synthetic images: trained on that cell's real images of it alone.

Each is audited: how far its images are from the held-out patients', and whether they copy its own.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors, read_json, write_json
from ganatomy.data.dataset import Dataset, new_dataset
from ganatomy.data.manifest import Row
from ganatomy.evaluation.verdicts import verdicts
from ganatomy.features.choose import choose
from ganatomy.generators.generation import generate
from ganatomy.metrics import copies, diversity, kernel
from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.controls import blurred
from ganatomy.studies.cell_checks import made_of, of_a_cell, open_synthetic
from ganatomy.studies.folder import GanFolder
from ganatomy.studies.protocol import StudySettings
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


_SHAPE = {"label": str, "training_subjects": int, "training_images": int, "synthetic_images": int, "results": list,
          "blurred": float, "copies": dict}
LIGHTS = ("green", "amber", "red", "grey")
OTHERS = ("Copies-test", "Leak")
"""What the audit says besides: of test patients, whom no GAN here has seen and the protocol keeps out."""


def audit(dataset: Dataset, synthetic: Dataset, label: str, rows: Sequence[Row], unseen: Sequence[Row],
          held_out: Sequence[Row], size: int) -> dict[str, Any]:
    """Kernel distance, diversity and the memorisation audit of one GAN's images in its cell.

    The reference is the fold's held-out images of the class. The audit of copies calibrates itself by these and by the
    images that lie outside of the fold and that this GAN has not learnt from either.

    Returns:
        `label`, `training_subjects`, `training_images`, `results` (as in metrics.json), `blurred` (the kernel distance
        of the blurred training images, a yardstick: worse than these is poor) and `copies`: light and sentence of the
        verdict, where green says clean, red copies, grey that it could not be audited.
    """
    extractor = choose()

    def real(chosen: Sequence[Row]) -> Sample:
        return Sample(dataset.stack(chosen, size), [r.subject for r in chosen], extractor=extractor,
                      ids=[r.image_id for r in chosen])

    made, train = synthetic.rows(), real(rows)
    samples = Samples(real(held_out), Sample(synthetic.stack(made, size), extractor=extractor), train,
                      real(unseen) if unseen else None)
    soft = kernel.compute(samples.with_control(blurred(train, len(made))))[0].value
    results = [r for metric in (kernel, diversity, copies) for r in metric.compute(samples)]
    entries = [entry for entry in (r.to_json() for r in results) if entry["value"] is not None]
    of_training = [entry for entry in entries if entry["name"] not in OTHERS]
    verdict = next(v for v in verdicts(of_training, []) if v["question"] == "copies")
    return {"label": label, "training_subjects": len({r.subject for r in rows}), "training_images": len(rows),
            "synthetic_images": len(made), "results": entries, "blurred": soft,
            "copies": {"light": verdict["light"], "says": verdict["says"]}}


def light_of(found: Mapping[str, Any]) -> str:
    """green, amber, red, or grey where it is not known whether the GAN copies."""
    light = str((found.get("copies") or {}).get("light"))
    return light if light in LIGHTS else "grey"


def figure_of(found: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """An audit's figure against the held-out patients: KD or Diversity, whatever the features; None without one."""
    return next((r for r in found.get("results") or () if r["name"].partition("-")[0] == kind and r["against"] == "test"
                 and r["value"] is not None), None)


def read_audit(path: Path, label: str | None = None) -> dict[str, Any]:
    """What `audit` found, and `of` which images (see cell_checks.made_of). Raises `UserError` if it is broken.

    Args:
        path: audit.json.
        label: the class that it must be of.
    """
    try:
        found = read_json(path)
        json.dumps(found, allow_nan=False)
        whole = isinstance(found, dict) and all(isinstance(found.get(k), kind) for k, kind in _SHAPE.items()) and \
            all(_is_result(entry) for entry in found["results"]) and label in (None, found["label"])
    except (UserError, ValueError):
        whole = False
    if not whole:
        raise UserError("is missing or no audit of this GAN", where=path,
                        fix="remove this file and run the study again: the rest is kept")
    return {"of": None, **found}


def _is_result(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(k), str) for k in ("name", "against")) and \
        isinstance(entry.get("value"), int | float)
