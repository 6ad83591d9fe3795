"""evaluate: how good and how diverse synthetic images are, against test patients, with floors and controls."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ganatomy import sampling
from ganatomy.data.dataset import Dataset
from ganatomy.errors import UserError
from ganatomy.evaluation_rows import at_most, dataset_warnings, same_channels, size_warning
from ganatomy.evaluation_translation import evaluate_translation, translates
from ganatomy.files import write_json
from ganatomy.metrics.base import Images, MetricResult, Sample, Samples, found
from ganatomy.metrics.controls import controls
from ganatomy.metrics.features import EXTRACTOR
from ganatomy.metrics.table import table
from ganatomy.run import Run
from ganatomy.wording import grouped

__all__ = ["evaluate", "table"]

SCHEMA_VERSION = 1
FEWEST_SYNTHETIC = 500  # drawn from a run by default, even for a small test split
MOST_IMAGES = 2000  # of each sample: 2,000 images take half a minute on one core
MOST_ASKED = 5000
FEW_SYNTHETIC = 50
UNTRAINED = "untrained generator"  # its name among the controls
PATIENTS_UNKNOWN = "nothing says which images belong to one patient"
DEFAULT_NETWORK = "of the default recipe's network: what made the second dataset is not known"

Say = Callable[[str], None]


@dataclass
class _Task:
    """What is compared, and where it came from."""

    dataset: Dataset
    domain: str
    label: str | None
    size: int
    synthetic: Sample
    content: str
    untrained: Callable[[int], Images]
    step: int | None
    warnings: list[str]
    untrained_caveat: str = ""


def evaluate(real: str | Path, synthetic: str | Path | None = None, *, n: int | None = None, seed: int = 0,
             data: str | Path | None = None, domain: str | None = None, label: str | None = None,
             beside: Sequence[str | Path] = (), say: Say = lambda text: None) -> dict[str, Any]:
    """Measure a run, or a synthetic dataset against a real one.

    With one argument, a run: images are drawn from its generator, compared with the test split of its dataset (and,
    beside it, with the train split), and metrics.json is written into the run. With two, both are dataset folders,
    compared at the smaller size of the two, and nothing is written.

    Args:
        real: a run folder; or, with `synthetic`, a dataset folder with a test split.
        synthetic: a dataset folder. Of one marked real, the subjects count; synthetic images are independent.
        n: synthetic images, 2 to 5,000; by default as many as there are test images, at least 500, at most 2,000.
        seed: of the images drawn and of all resampling.
        data: the run's dataset, where it has moved.
        domain, label: which contrast and class; by default the run's own.
        beside: of a run that translates: further runs of the same task, such as the recipe unet's, measured with it.
        say: called with lines for the user.

    Returns:
        What metrics.json holds (docs/design.md). Every figure has its n, an interval over subjects and a real-real
        figure beside it; below five test subjects there are values per subject and no intervals.

    Raises:
        UserError: no such folder, no test split, sizes or channels that do not fit, or `n` out of range.
    """
    started = time.perf_counter()
    if n is not None and not 2 <= n <= MOST_ASKED:
        raise UserError(f"{grouped(n, 'synthetic image')} cannot be compared", where="-n",
                        fix=f"use 2 to {MOST_ASKED:,}")
    sampling.check_seed(seed)
    if synthetic is None and translates(real):
        if domain is not None or label is not None:
            raise UserError("a run that translates is measured in the contrasts and the class that it learnt",
                            where="--domain, --label", fix="leave them out")
        return _written(Run(real), evaluate_translation(Path(real), n=n, seed=seed, data=data, beside=beside, say=say),
                        started, say)
    if beside:
        raise UserError("only runs that translate are measured beside each other", where="--beside",
                        fix="leave it out, or evaluate each run by itself")
    task = _of_run(Path(real), n, seed, data, domain, label) if synthetic is None \
        else _of_datasets(Path(real), Path(synthetic), n, seed, domain, label)
    samples = _samples(task, seed)
    unknown = any(PATIENTS_UNKNOWN in text for text in task.warnings)
    whose = "(patients unknown)" if unknown else f"of {grouped(samples.test.n_subjects, 'subject')}"
    say(f"{task.synthetic.n_images:,} synthetic images against {grouped(samples.test.n_images, 'test image')} "
        f"{whose}; features of {EXTRACTOR} ...")
    metrics = _measure(task, samples, say)
    return _written(Run(real) if synthetic is None else None, metrics, started, say)


def _written(run: Run | None, metrics: dict[str, Any], started: float, say: Say) -> dict[str, Any]:
    """The metrics with the time they took; those of a run are kept in it."""
    metrics["seconds"] = round(time.perf_counter() - started, 1)
    if run is not None:
        write_json(run.metrics_file, metrics)
        say(f"written: {run.metrics_file}")
    return metrics


def _of_run(path: Path, n: int | None, seed: int, data: str | Path | None, domain: str | None,
            label: str | None) -> _Task:
    run = Run.open(path)
    sampler = sampling.load_generator(path)
    notes = sampler.notes or {}
    dataset = Dataset.open(data or run.dataset_path())
    learnt = {"domain": notes.get("domain") or run.recipe().domain, "label": run.recipe().label}
    for key, wanted in (("domain", domain), ("label", label)):
        if wanted not in (None, learnt[key]):
            raise UserError(f"this run learnt the {key} {learnt[key]!r}, not {wanted!r}", where=path,
                            fix=f"leave --{key} out, or compare two datasets with `ganatomy evaluate REAL SYNTHETIC`")
    domain, label = dataset.domain(learnt["domain"]), learnt["label"]
    same_channels(dataset, sampler.channels, "the run")
    test = dataset.require("test", domain, label)
    images = _checked(sampler.sample(n or default_n(len(test)), seed), path)
    warnings = dataset_warnings(dataset)
    if dataset.info.content != run.dataset_content():
        warnings.append("This is not the dataset that the model was trained on, or it has changed since.")

    def untrained(count: int) -> Images:
        return sampling.untrained_generator(sampler, sampler.size, sampler.channels, seed).sample(count, seed)

    return _Task(dataset, domain, label, sampler.size, Sample(images), hashlib.sha256(images.tobytes()).hexdigest(),
                 untrained, notes.get("step", run.status().get("step")), warnings)


def _of_datasets(real: Path, other: Path, n: int | None, seed: int, domain: str | None, label: str | None) -> _Task:
    for path in (real, other):
        if Run.is_run(path):
            raise UserError("is a run folder; with two arguments give two datasets", where=path,
                            fix="use `ganatomy evaluate DATASET SYN`, or give the run alone: `ganatomy evaluate RUN`")
    dataset, made = Dataset.open(real), Dataset.open(other)
    domain = dataset.domain(domain)
    theirs = made.domain(domain if domain in made.info.domains or len(made.info.domains) > 1 else None)
    same_channels(dataset, made.info.channels, str(other))
    dataset.require("test", domain, label)
    rows = made.rows(theirs, label=label if label in made.info.classes else None)
    if len(rows) < 2:
        raise UserError("has fewer than 2 images to compare", where=other, fix="generate some, at least 50")
    chosen = at_most(rows, n or MOST_IMAGES, seed)
    size = min(dataset.size, made.size)
    subjects = None if made.info.source == "synthetic" else [r.subject for r in chosen]
    warnings = dataset_warnings(dataset)
    if made.info.source != "synthetic":
        warnings.append("The second dataset is not marked synthetic.")
    if n is not None and n > len(rows):
        warnings.append(f"{n:,} images were asked for, the second dataset has {len(rows):,}.")
    if theirs != domain:
        warnings.append(f"Domain {theirs!r} was compared with {domain!r}.")

    def untrained(count: int) -> Images:
        return sampling.untrained_generator(None, size, dataset.info.channels, seed).sample(count, seed)

    return _Task(dataset, domain, label, size, Sample(made.images(chosen, size), subjects), made.info.content,
                 untrained, None, warnings, DEFAULT_NETWORK)


def default_n(n_test: int) -> int:
    """How many synthetic images are drawn for a test split of that many, unless asked otherwise."""
    return min(max(n_test, FEWEST_SYNTHETIC), MOST_IMAGES)


def _checked(images: Images, where: Path) -> Images:
    if not np.isfinite(images).all():
        raise UserError("the generator gives images that hold NaN or infinity", where=where, fix="train it again")
    return np.clip(images, -1, 1)


def _samples(task: _Task, seed: int) -> Samples:
    def split(name: str) -> Sample | None:
        rows = task.dataset.rows(task.domain, name, task.label)
        chosen = at_most(rows, MOST_IMAGES, seed)
        if len(chosen) < len(rows):
            task.warnings.append(f"Of {len(rows):,} {name} images, {len(chosen):,} drawn at random were used.")
        return Sample(task.dataset.images(chosen, task.size), [r.subject for r in chosen]) if chosen else None

    test, train = split("test"), split("train")
    assert test is not None  # `require` has seen to it
    return Samples(test, task.synthetic, train, seed=seed)


def _measure(task: _Task, samples: Samples, say: Say) -> dict[str, Any]:
    results, warnings = [], [*task.warnings, *_size_warnings(samples)]
    for metric in found():
        say(f"{metric.__name__.rpartition('.')[2]} ...")
        results += metric.compute(samples)
    say("controls ...")
    judged, more = _controls(task, samples, results)
    warnings += more + _missing(results)
    warnings += _diversity_warnings(results)
    counts = {name: {"images": s.n_images, "subjects": s.n_subjects}
              for name, s in (("train", samples.train), ("test", samples.test)) if s is not None}
    entries = [r.to_json() for r in results]
    return {"schema_version": SCHEMA_VERSION, "extractor": EXTRACTOR, "seconds": 0.0,
            "dataset": task.dataset.info.content, "synthetic": task.content, "step": task.step, "seed": samples.seed,
            "domain": task.domain, "label": task.label, "size": task.size,
            "counts": {**counts, "synthetic": {"images": samples.synthetic.n_images}},
            "results": [e for e in entries if e["value"] is not None], "controls": judged, "warnings": warnings}


def _missing(results: list[MetricResult]) -> list[str]:
    """A sentence for each reason why figures could not be computed."""
    names: dict[str, list[str]] = {}
    for r in results:
        if r.value is None or not np.isfinite(r.value):
            names.setdefault(r.caveat, []).append(f"{r.name} against {r.against}")
    return [f"{', '.join(found)} could not be computed: {reason}." for reason, found in names.items()]


def _controls(task: _Task, samples: Samples, results: list[MetricResult]) -> tuple[list[dict[str, Any]], list[str]]:
    """Every metric on every control, and sentences about those that it does not place behind the model."""
    warnings, n = [], samples.synthetic.n_images
    try:
        untrained = task.untrained(n)
    except UserError as error:
        untrained = None
        warnings.append(f"The control with an untrained generator is left out: {error}.")
    if samples.train is None:
        warnings.append("There is no train split: the controls are made from test images, which flatters them.")
    headline = {r.name: r for r in results if r.against == "test"}
    judged: list[dict[str, Any]] = []
    for name, sample in controls(samples.train or samples.test, n, untrained, samples.seed).items():
        caveat = task.untrained_caveat if name == UNTRAINED else ""
        own = [{"control": name, **entry, "caveat": caveat} for entry in _judge(samples.with_control(sample), headline)]
        blind = [e["name"] for e in own if e["behind_model"] is False and headline[e["name"]].better != "match"]
        if blind:
            warnings.append(f"The control “{name}” is not behind the model by {' and '.join(blind)}: either the model "
                            "is no better than it, or the measure is blind here. Look at the images.")
        judged += own
    return judged, warnings


def _judge(samples: Samples, headline: dict[str, MetricResult]) -> list[dict[str, Any]]:
    """Every metric on one control, beside the model's own figure."""
    judged = []
    for result in (result for metric in found() for result in metric.compute(samples)):
        entry, model = result.to_json(), headline[result.name]
        if entry["value"] is not None and model.value is not None:
            judged.append({"name": result.name, "value": entry["value"], "interval": entry["interval"],
                           "n_synthetic": samples.synthetic.n_images,
                           "behind_model": behind_model(model, entry["value"])})
    return judged


def behind_model(model: MetricResult, control: float) -> bool | None:
    """Whether a control's value is worse than the model's; None for a figure that is never ranked."""
    if not model.ranked or model.value is None:
        return None
    if model.better == "match":
        reference = (model.reference or {}).get("value")
        return None if reference is None else abs(control - reference) > abs(model.value - reference)
    return control > model.value if model.better == "lower" else control < model.value


def _size_warnings(samples: Samples) -> list[str]:
    warnings = size_warning(samples.test.n_subjects)
    if samples.train is None:
        warnings.append("No train split: nothing stands beside the figures against test.")
    if samples.synthetic.n_images < FEW_SYNTHETIC:
        warnings.append(f"Only {samples.synthetic.n_images} synthetic images: use at least {FEW_SYNTHETIC}.")
    return warnings


def _diversity_warnings(results: list[MetricResult]) -> list[str]:
    return [f"{r.name}: the synthetic images are only {r.ratio:.2f} times as diverse as images of different patients; "
            "the generator repeats itself." for r in results
            if r.name.startswith("Diversity") and r.against == "test" and r.ratio is not None and r.ratio < 0.5]
