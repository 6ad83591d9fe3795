"""evaluate: how good and how diverse synthetic images are, against test patients, with floors and controls."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ganatomy.core.errors import UserError, whole
from ganatomy.core.files import claimed, several, write_json
from ganatomy.core.origin import Origin, check_writable, file_hash, nothing_to_do
from ganatomy.core.run import Run
from ganatomy.core.text import Say, command_line, grouped, listed
from ganatomy.data.dataset import Dataset
from ganatomy.evaluation.map import write_map
from ganatomy.evaluation.samples import Task, of_datasets, of_run, samples_of, seen_by
from ganatomy.evaluation.table import table
from ganatomy.evaluation.translation import evaluate_translation, translates
from ganatomy.evaluation.verdicts import FEW_SYNTHETIC, FLATTERING, check_gates, verdicts, with_fault
from ganatomy.features.base import NAMES, Extractor, choose, independent, own_eyes
from ganatomy.generators.sampler import check_seed
from ganatomy.metrics import about, bounded, metric_modules
from ganatomy.metrics.base import Samples
from ganatomy.metrics.floors import UNTRAINED, controls
from ganatomy.metrics.schema import MOST_IMAGES, Control, Count, Evaluation, Metrics, Result, read_metrics
from ganatomy.statistics.subjects import size_warning

__all__ = ["check_gates", "evaluate", "table"]

MOST_ASKED = 1_000_000



def evaluate(real: str | Path, synthetic: str | Path | None = None, *, n: int | None = None, seed: int = 0,
             data: str | Path | None = None, domain: str | None = None, label: str | None = None,
             beside: str | Path | Sequence[str | Path] = (), features: str | None = None, critic: bool = False,
             fail_on: Sequence[str] = (), say: Say = lambda text: None) -> dict[str, Any]:
    """Measure a run, or a synthetic dataset against a real one.

    With one argument, a run: images are drawn from its generator, compared with the test split of its dataset (and,
    beside it, with the train split), and metrics.json is written into the run, where it takes the place of another
    command's; the same command of the same generator and data again only reads it. With two, both are dataset folders,
    compared at the smaller size of the two, and nothing is written.

    Args:
        real: a run folder; or, with `synthetic`, a dataset folder with a test split.
        synthetic: a dataset folder. Of one marked real, the subjects count; synthetic images are independent.
        n: synthetic images, 2 to 1,000,000; by default as many as there are test images, at least 500, at most 2,000.
        seed: of the images drawn and of all resampling.
        data: the run's dataset, where it has moved.
        domain, label: which contrast and class; by default the run's own.
        features: the extractor: lite0, virtual, inception, random, or a TorchScript or ONNX file; by default Lite0, or
            virtual where the training looked through Lite0 or a relative.
        critic: also train independent critics (minutes).
        fail_on: gates; "copies" for a model that copies training images.
        beside: of a run that translates: further runs of the same task, such as the recipe unet's, measured with it.
        say: called with lines for the user.

    Returns:
        What metrics.json holds (docs/design.md). Every value has its n, an interval over subjects and a real-real
        value beside it; below five test subjects there are values per subject and no intervals.

    Raises:
        UserError: no such folder, no test split, sizes or channels that do not fit, or `n` out of range.
        GateError: a gate did not pass; metrics.json is written.

    Example:
        >>> metrics = ganatomy.evaluate("run", n=20)
        >>> metrics["results"][0]["name"]
        'KD-Lite0'
    """
    started = time.perf_counter()
    n = None if n is None else whole(n, "-n", 2, MOST_ASKED)
    seed, beside = check_seed(seed), several(beside)
    command = command_line("evaluate", "RUN", n=n, seed=seed or None, domain=domain, label=label,
                           beside=beside, critic=critic,
                           features=features if features is None or features in NAMES else Path())
    translation = synthetic is None and translates(real)
    if translation:
        if domain is not None or label is not None:
            raise UserError("a run that translates is measured in the contrasts and the class that it learnt",
                            where="--domain, --label", fix="leave them out")
        if features is not None or critic or fail_on:
            raise UserError("other features, the critic and the audit of copies are for images from noise",
                            where="--features, --critic, --fail-on", fix="leave them out for a run that translates")
    elif beside:
        raise UserError("only runs that translate are measured beside each other", where="--beside",
                        fix="leave it out, or evaluate each run by itself")
    run = Run.open(real) if synthetic is None else None
    looks_through = seen_by(run.generator if run else Path(synthetic or ""))
    extractor, asked = choose(features or independent(looks_through)), frozenset({"critic"} if critic else ())
    if run is None:
        task = of_datasets(Path(real), Path(synthetic or ""), n, seed, domain, label, extractor)
        values = _timed(_measure(task, samples_of(task, seed), asked, say), started)
        check_gates(values, fail_on)
        return values
    dataset = Dataset.of_run(run, data)
    generators = [file_hash(own.generator / "config.json") for own in (run, *map(Run, beside))]
    origin = Origin.of(command, [dataset.info.content, extractor.identity, *generators])
    values = _kept(run)
    if all(generators) and origin.made(values):
        nothing_to_do(run.metrics_file, say)
    else:
        # before the work, so that what two processes write is never mixed, and that it can be written is known
        check_writable(run.metrics_file, run.map_file, run.map_file.with_suffix(".png"), run.commands_file)
        with claimed(run.metrics_file, "another process is evaluating this run"):
            metrics: Evaluation
            if translation:
                metrics = evaluate_translation(Path(real), n=n, seed=seed, data=data, beside=beside, say=say)
            else:
                task = of_run(Path(real), n, seed, data, domain, label, extractor)
                samples = samples_of(task, seed)
                measured = _measure(task, samples, asked, say)
                write_map(run, samples, measured, say)
                metrics = measured
            values = _timed(metrics.model_copy(update=asdict(origin)), started)
            run.record_command(command)
            write_json(run.metrics_file, values)
            say(f"written: {run.metrics_file}")
    check_gates(values, fail_on)
    return values


def with_eyes(result: Result, extractor: Extractor, eyes: bool) -> Result:
    """A result, marked where it is of features that are the training's own eyes."""
    kind = about(result.name)
    mine = eyes and kind is not None and result.name == extractor.metric(kind.name)
    return result.model_copy(update={"flattering": True}) if mine else result


def _timed(metrics: Evaluation, started: float) -> dict[str, Any]:
    """The metrics with the time they took."""
    return metrics.model_copy(update={"seconds": round(time.perf_counter() - started, 1)}).to_json()


def _kept(run: Run) -> dict[str, Any]:
    """The metrics of a run's last evaluation; {} where there are none that can be read."""
    with suppress(UserError):
        return read_metrics(run.metrics_file).to_json()
    return {}


def _measure(task: Task, samples: Samples, asked: frozenset[str], say: Say) -> Metrics:
    counts = {name: Count(images=s.n_images, subjects=s.n_subjects)
              for name, s in (("train", samples.train), ("test", samples.test)) if s is not None}
    counts["synthetic"] = Count(images=samples.synthetic.n_images)
    eyes = own_eyes(samples.extractor.network, task.looks_through)
    head = Metrics(extractor=samples.extractor.name, looks_through=task.looks_through,
                   dataset=task.dataset.info.content, synthetic=task.content, step=task.step, seed=samples.seed,
                   domain=task.domain, label=task.label, size=task.size, counts=counts, warnings=tuple(task.warnings),
                   patients_unknown=task.dataset.info.told.patients_unknown)
    whose = "(patients unknown)" if head.patients_unknown else f"of {grouped(samples.test.n_subjects, 'subject')}"
    say(f"{samples.synthetic.n_images:,} synthetic images against {grouped(samples.test.n_images, 'test image')} "
        f"{whose}; features of {samples.extractor.name} ...")
    results = list[Result]()
    for metric in metric_modules(asked):
        say(f"{metric.__name__.rpartition('.')[2]} ...")
        results += [with_eyes(bounded(r), samples.extractor, eyes) for r in metric.compute(samples)]
    say("controls ...")
    judged, blind = _controls(task, samples, results)
    warnings = [*task.warnings, *size_warning(samples.test.n_subjects)]
    if samples.train is None:
        warnings.append("No train split: nothing stands beside the values against test.")
    if samples.synthetic.n_images < FEW_SYNTHETIC:
        warnings.append(f"Only {samples.synthetic.n_images} synthetic images: use at least {FEW_SYNTHETIC}.")
    if eyes:
        warnings.insert(0, f"{FLATTERING.format(samples.extractor.name)} Leave --features out, or name others.")
    warnings += [*blind, *_missing(results)]
    known = tuple(with_fault(r) for r in results if r.value is not None)
    return head.model_copy(update={"verdicts": verdicts(known, judged), "results": known, "controls": tuple(judged),
                                    "warnings": tuple(warnings)})


def _missing(results: Sequence[Result]) -> list[str]:
    """A sentence for each reason why values could not be computed."""
    names: dict[str, list[str]] = {}
    for r in results:
        if r.value is None:
            names.setdefault(r.caveat, []).append(f"{r.name} against {r.against}")
    return [f"{', '.join(own)} could not be computed: {reason}." for reason, own in names.items()]


def _controls(task: Task, samples: Samples, results: Sequence[Result]) -> tuple[list[Control], list[str]]:
    """Every metric on every control, and sentences about those that it does not place behind the model."""
    warnings, n = [], min(samples.synthetic.n_images, MOST_IMAGES)
    try:
        untrained = task.untrained(n)
    except UserError as error:
        untrained = None
        warnings.append(f"The control with an untrained generator is left out: {error}.")
    if samples.train is None:
        warnings.append("There is no train split: the controls come from test images, which flatters them.")
    models = {r.name: r for r in results if r.against == "test"}
    judged = list[Control]()
    for name, sample in controls(samples.train or samples.test, n, untrained, samples.seed).items():
        caveat = task.untrained_caveat if name == UNTRAINED else ""
        bad = samples.with_control(sample)
        values = [bounded(r) for m in metric_modules() if getattr(m, "CONTROLS", True) for r in m.compute(bad)]
        own = [Control(control=name, name=r.name, value=r.value, interval=r.interval, n_synthetic=sample.n_images,
                       behind_model=behind_model(models[r.name], r.value), caveat=caveat)
               for r in values if r.value is not None and r.name in models and models[r.name].value is not None]
        blind = [c.name for c in own if c.behind_model is False and models[c.name].better != "match"]
        if blind:
            warnings.append(f"The control “{name}” is not behind the model by {listed(blind)}: either the model is no "
                            "better than it, or the measure is blind here. Look at the images.")
        judged += own
    return judged, warnings


def behind_model(model: Result, control: float) -> bool | None:
    """Whether a control's value is worse than the model's; None for a value that is never ranked."""
    if not model.ranked or model.value is None:
        return None
    if model.better == "match":
        reference = model.reference.value if model.reference else None
        return None if reference is None else abs(control - reference) > abs(model.value - reference)
    return control > model.value if model.better == "lower" else control < model.value
