"""The audit of a cell's GAN: how far its images are from the held-out patients', and whether they copy its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import Row
from ganatomy.evaluation.verdicts import verdicts
from ganatomy.features.choose import choose
from ganatomy.metrics import copies, diversity, kernel
from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.controls import blurred

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
