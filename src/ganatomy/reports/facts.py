"""The facts of a run in words: what was trained on what, how long, on which device. No paths, no names."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json
from ganatomy.core.recipe import Recipe, flat
from ganatomy.core.run import Run
from ganatomy.core.text import grouped
from ganatomy.data.dataset import Dataset
from ganatomy.data.manifest import SPLITS
from ganatomy.evaluation.samples import dataset_warnings
from ganatomy.gans.base import GAN
from ganatomy.metrics.schema import OF_DATASET
from ganatomy.reports.results import Metrics

WEIGHTS = "weights.safetensors"
LEFT_OUT = "[path left out]"
PRIVATE_KEYS = re.compile(r"host|node|user|login|path|cwd|argv|command|home|folder|dir$|mail|address", re.I)
# an absolute path of two parts or more, with or without ~, a drive letter or file://; "and/or" is none
PATHS = re.compile(r"""file:/\S+|~[\\/]\S+
    |(?<![\w/\\.)])(?:~[\w.-]*|[A-Za-z]:)?(?:[\\/]{1,2}[^\s\\/'\"<>,;:|]+){2,}[\\/]?
     (?:[ ][^\s\\/]+[\\/]\S*)*""", re.VERBOSE)  # the last line: names with spaces in them

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Split:
    """How much of a split there is of the trained domain and class."""

    name: str
    images: int
    subjects: int | None
    patients_known: bool = True

    @property
    def words(self) -> str:
        """Images and subjects: 42 images of 30 subjects."""
        if not self.patients_known:
            return f"{grouped(self.images, 'image')} (patients unknown)"
        return grouped(self.images, "image") + (f" of {grouped(self.subjects, 'subject')}" if self.subjects else "")


def without_paths(text: str, places: Iterable[Path] = ()) -> str:
    """The text without any absolute path, and without `places`: a path may name a person or a machine."""
    for place in {str(form) for path in places for form in (path, path.resolve()) if len(form.parts) > 2}:
        text = text.replace(place, LEFT_OUT)
    return PATHS.sub(LEFT_OUT, text)


def dataset_notes(dataset: Dataset | None, metrics: Metrics | None) -> list[str]:
    """What `prepare` warned of, from the dataset, or from metrics.json where the dataset is gone."""
    found = dataset_warnings(dataset) if dataset is not None else list(metrics.warnings) if metrics else []
    texts = [text.removeprefix(OF_DATASET) for text in found if text.startswith(OF_DATASET)]
    return [text[:1].upper() + text[1:] for text in texts]


def splits(dataset: Dataset | None, recipe: Recipe, metrics: Metrics | None, known: bool) -> list[Split]:
    """Images and subjects by split, from the dataset, or from metrics.json where the dataset is gone.

    `known` says whether it is known which images belong to one patient.
    """
    if dataset is not None:
        rows = dataset.rows(recipe.domain, label=recipe.label)
        found = {name: [r for r in rows if r.split == name] for name in SPLITS}
        return [Split(name, len(own), len({r.subject for r in own}), known) for name, own in found.items() if own]
    counts = metrics.counts if metrics else {}
    return [Split(name, counts[name].images, counts[name].subjects, known) for name in SPLITS if name in counts]


def environment(run: Run) -> dict[str, str]:
    """environment.json, flat, without anything that might name a machine, a person or a place."""
    raw = read_json(run.environment_file) if run.environment_file.is_file() else {}
    items = flat(raw) if isinstance(raw, dict) else {}
    return {key: str(value) for key, value in items.items() if not PRIVATE_KEYS.search(key)}


def parameters(run: Run) -> int | None:
    """How many weights the generator has, batch-norm statistics not counted; None where it cannot be read."""
    weights = run.generator / WEIGHTS
    if not weights.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, framework="np") as tensors:
            names = [n for n in tensors.keys()  # noqa: SIM118
                     if not n.endswith(("running_mean", "running_var", "num_batches_tracked"))]
            return sum(math.prod(map(int, tensors.get_slice(name).get_shape())) for name in names)
    except (OSError, SafetensorError):
        return None


def kind(recipe: Recipe) -> type[GAN]:
    """The GAN's class; of one that this ganatomy does not know, the base of all."""
    try:
        return gans.kind(recipe)
    except UserError:
        return GAN


def score(recipe: Recipe) -> str:
    """Which of the log's validation scores chooses the checkpoint, or is shown where none does."""
    return {"fd": "fd", "critic": "critic_js"}.get(recipe.select, "kd")


def generator_step(run: Run, recipe: Recipe, validation: Sequence[tuple[int, float]]) -> int | None:
    """The step whose weights are the generator: as its own config says, else by the recipe's rule."""
    config = run.generator / "config.json"
    notes = read_json(config) if config.is_file() else {}
    if isinstance(notes, dict) and isinstance(notes.get("step"), int):
        return int(notes["step"])
    if recipe.select != "last" and validation:
        return min(validation, key=lambda point: point[1])[0]
    return int(run.status().get("step", 0)) or None


def domain(recipe: Recipe, dataset: Dataset | None) -> str:
    """The contrast that was learned; "" where none can tell, or where it is only called image."""
    name = recipe.domain or (dataset.domain() if dataset is not None else "")
    return "" if name.lower() in ("image", "images") else name


def training(run: Run, recipe: Recipe, learned: str, log: Sequence[dict[str, Any]], step: int | None) -> Pairs:
    """What was trained, as (label, words); `learned` is the domain, `step` that of the generator's weights."""
    status, machine = run.status(), environment(run)
    total = recipe.steps or status.get("steps")
    weights = parameters(run)
    rates = [e["images_per_second"] for e in log if isinstance(e.get("images_per_second"), int | float)]
    adversarial, translates = kind(recipe).adversarial, kind(recipe).translates
    rows = [("Recipe", recipe.name), ("GAN" if adversarial else "Network", recipe.gan),
            ("Discriminator", "" if adversarial else "none"),
            ("Image size", f"{recipe.size} × {recipe.size} pixels"),
            ("Translates", f"{recipe.source} to {learned}" if translates else ""),
            ("Domain", "" if translates else learned), ("Class", recipe.label or "all"),
            ("Started from", f"the {recipe.init_from}" if recipe.init_from else ""),
            ("Steps", f"{int(status.get('step', 0)):,}" + (f" of {int(total):,}" if total else "")),
            ("Batch size", str(recipe.batch_size)), ("Seed", str(recipe.seed)),
            ("Time", duration(seconds(run, log))),
            ("Speed", f"{statistics.median(rates):.3g} images a second: training steps only, without checkpoints, "
                      "previews and validation" if rates else ""),
            ("Device", device(run)), ("Precision", machine.get("precision", recipe.precision)),
            ("Generator", f"{compact(weights)} weights" if weights else ""),
            ("Weights used", f"step {step:,}, {_rule(recipe)}" if step else ""),
            ("Dataset", _fingerprint(run))]
    return [(label, text) for label, text in rows if text]


def device(run: Run) -> str:
    """What it was trained on: a CPU or a GPU and, as far as known, which."""
    machine = environment(run)
    kind = {"cpu": "CPU", "cuda": "GPU"}.get(machine.get("device_type", ""), "")
    return ": ".join(part for part in (kind, machine.get("device", "")) if part)


def seconds(run: Run, log: Sequence[dict[str, Any]]) -> float | None:
    """Wall time of the training."""
    found = run.status().get("seconds")
    if not isinstance(found, int | float):
        found = next((e["seconds"] for e in reversed(log) if isinstance(e.get("seconds"), int | float)), None)
    return None if found is None else float(found)


def duration(value: float | None) -> str:
    """Seconds in words: 48 s, 11 min, 3 h 20 min."""
    if value is None:
        return ""
    if value < 90:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def compact(value: int) -> str:
    """A large count with three digits: 1.07 million."""
    for size, word in ((1_000_000, " million"), (1_000, " thousand")):
        if value >= size:
            return f"{value / size:#.3g}".rstrip(".") + word
    return str(value)


def dataset_rows(dataset: Dataset) -> Pairs:
    """How the dataset was made and what its values mean, as (label, words)."""
    info = dataset.info
    spacing = f"{info.spacing[0]:.3g} × {info.spacing[1]:.3g} mm (median)" if info.spacing else ""
    rows = [("Stored size", f"{info.size[0]} × {info.size[1]} pixels"), ("Pixel spacing", spacing),
            ("Channels", "3 (colour)" if info.channels == 3 else "1 (grey)"),
            ("Value range", f"{info.value_range[0]:g} to {info.value_range[1]:g}, the same for all images"),
            ("Domains", ", ".join(info.domains)), ("Classes", ", ".join(info.classes))]
    rows += [(f"Intensity, {name}", f"{how.method}; {how.units}") for name, how in info.intensity.items()]
    options = {key: value for key, value in flat(info.provenance).items()
               if not PRIVATE_KEYS.search(key) and value is not None and value is not False and value not in ([], "")}
    rows += [(key.replace("_", " "), _plain(value)) for key, value in options.items()]
    return [(label, text) for label, text in rows if text]


def pixel_size(run: Run, recipe: Recipe, dataset: Dataset | None) -> str:
    """Millimetres a pixel of the generated images, as a sentence; "" where the files did not tell."""
    config = run.generator / "config.json"
    notes = read_json(config) if config.is_file() else {}
    spacing = notes.get("spacing") if isinstance(notes, dict) else None
    if not spacing and dataset is not None and dataset.info.spacing:
        spacing = [s * dataset.info.size[0] / recipe.size for s in dataset.info.spacing]
    if not isinstance(spacing, list | tuple) or len(spacing) != 2:
        return ""
    return f"A pixel is {float(spacing[0]):.3g} × {float(spacing[1]):.3g} mm (median)."


def _plain(value: Any) -> str:
    """An option as a user would write it."""
    if isinstance(value, bool):
        return "given"
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else \
        f"{value:g}" if isinstance(value, float) else str(value)


def _fingerprint(run: Run) -> str:
    try:
        return run.dataset_content()[:12]
    except (UserError, KeyError, TypeError):
        return ""


def _rule(recipe: Recipe) -> str:
    average = "" if recipe.ema is None else ", averaged"
    return ("best on validation" if recipe.select != "last" else "the last") + average
