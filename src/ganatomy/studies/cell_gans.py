"""A cell's GANs, one for each class that gets synthetic images: trained on that cell's real images of it alone.

Each is audited: how far its images are from the held-out patients', and whether they copy its own.
"""

from __future__ import annotations

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
from ganatomy.evaluation.verdicts import copies as audited
from ganatomy.features.base import choose
from ganatomy.generators.generation import generate
from ganatomy.metrics import copies, diversity, kernel
from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.floors import blurred
from ganatomy.studies.folder import REMOVE_CELL, GanFolder, of_a_cell
from ganatomy.studies.protocol import StudySettings
from ganatomy.training.train import TrainingStopped, train

Say = Callable[[str], None]
AUDITED = 200  # images are drawn at least, so that the audit has enough of them
ATTEMPTS = 3
_MOST_SEED = 2**31


def make_synthetic(dataset: Dataset, label: str, rows: Sequence[Row], unseen: Sequence[Row], held_out: Sequence[Row],
                   wanted: int, folder: GanFolder, settings: StudySettings, seed: int, device: str,
                   say: Say) -> Dataset:
    """Train a GAN on `rows` and nothing else, draw its images, audit them; what is already there is kept.

    Args:
        rows: this cell's real training images of the class.
        unseen, held_out: those of subjects outside of the cell's training images and of the fold; those of the fold.
        wanted: how many synthetic images the arms need.

    Raises:
        UserError: training stopped at every attempt, or the pixels have been changed.
    """
    if not folder.data.is_dir():
        write_images(dataset, rows, label, folder.data, settings)
    if not _is_audited(folder):
        run = _train(folder, settings, label, seed, device, say)
        with disk_errors(folder.synthetic):
            shutil.rmtree(folder.synthetic, ignore_errors=True)
        generate(run, folder.synthetic, max(wanted, AUDITED), seed=seed, format="none", device=device, say=say)
        say(f"auditing the images of class {label}")
        report = audit(dataset, Dataset.open(folder.synthetic), label, rows, unseen, held_out, settings.size)
        write_json(folder.audit_file, {**report, "of": _identities(folder)})
        shutil.rmtree(run / "checkpoints", ignore_errors=True)  # the generator is kept; a study has many of these
    with of_a_cell():
        synthetic = Dataset.open(folder.synthetic)
        synthetic.verify(synthetic.rows())
    return synthetic


def _is_audited(folder: GanFolder) -> bool:
    """Whether an audit vouches for these very images, of a GAN that learnt from what lies beside them."""
    try:
        return bool(read_audit(folder.audit_file)["of"] == _identities(folder))
    except UserError:
        return False


def _identities(folder: GanFolder) -> dict[str, str]:
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
            writer.add(image, replace(row, split="train"))
        writer.finish(info)


def _train(folder: GanFolder, settings: StudySettings, label: str, seed: int, device: str, say: Say) -> Path:
    """The finished run; a training that collapsed is begun again from other random weights."""
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


LIGHTS = ("green", "amber", "red", "grey")
OTHERS = ("Copies-test", "Leak")  # of test patients, whom the protocol keeps out of every GAN


def audit(dataset: Dataset, synthetic: Dataset, label: str, rows: Sequence[Row], unseen: Sequence[Row],
          held_out: Sequence[Row], size: int) -> dict[str, Any]:
    """Kernel distance, diversity and the memorisation audit of one GAN's images, against the fold's held-out images.

    The audit of copies calibrates itself by these and by `unseen`, from which this GAN has not learnt either. `blurred`
    is the kernel distance of the blurred training images, a yardstick: worse than these is poor; `copies` the light and
    the sentence of the verdict; the other keys are as in metrics.json.
    """
    extractor = choose()

    def real(chosen: Sequence[Row]) -> Sample:
        return Sample(dataset.stack(chosen, size), [r.subject for r in chosen], extractor=extractor,
                      ids=[r.image_id for r in chosen])

    drawn, train = synthetic.rows(), real(rows)
    samples = Samples(real(held_out), Sample(synthetic.stack(drawn, size), extractor=extractor), train,
                      real(unseen) if unseen else None)
    soft = kernel.compute(samples.with_control(blurred(train, len(drawn))))[0].value
    results = [r for metric in (kernel, diversity, copies) for r in metric.compute(samples)]
    known = [r for r in results if r.value is not None]
    verdict = audited([r for r in known if r.name not in OTHERS])
    return {"label": label, "training_subjects": len({r.subject for r in rows}), "training_images": len(rows),
            "synthetic_images": len(drawn), "results": [r.to_json() for r in known], "blurred": soft,
            "copies": {"light": verdict.light, "says": verdict.says}}


def read_audit(path: Path) -> dict[str, Any]:
    """What `audit` returned, and `of` which images it is. Raises `UserError` if it is missing or broken."""
    report = read_json(path)
    if not isinstance(report, dict) or not isinstance(report.get("results"), list):
        raise UserError("is no audit of a GAN", where=path, fix=REMOVE_CELL)
    return {"of": None, **report}


def light_of(report: Mapping[str, Any]) -> str:
    """green, amber, red, or grey where it is not known whether the GAN copies."""
    light = str((report.get("copies") or {}).get("light"))
    return light if light in LIGHTS else "grey"


def figure_of(report: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """An audit's value against the held-out patients: KD or Diversity, whatever the features; None without one."""
    return next((r for r in report.get("results") or () if r["name"].partition("-")[0] == kind
                 and r["against"] == "test" and r["value"] is not None), None)
