"""What is compared: a run's images, or a synthetic dataset, and the real images of a dataset; how rows are chosen."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors, temporary_place
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset, is_dataset
from ganatomy.data.manifest import Row
from ganatomy.features.base import CHUNK, Extractor, Stack
from ganatomy.generators.config import read_config
from ganatomy.generators.folder import load_discriminator, load_generator
from ganatomy.generators.sampler import Sampler, untrained_generator
from ganatomy.metrics.base import Array, Images, Sample, Samples
from ganatomy.metrics.schema import MOST_IMAGES, OF_DATASET

FEWEST_SYNTHETIC = 500  # drawn from a run by default, even for a small test split
MOST_TRAINING = 20_000  # every training image counts: a copy may be of any of them
IN_MEMORY = 2**29  # bytes of generated images; more are kept in a temporary file
MOST_VALUE = 100.0  # where -1 to 1 is the dataset's range
FRESH = 1  # added to the seed for images that are drawn beside those that are measured
DEFAULT_NETWORK = "of the default recipe's network: the origin of the second dataset is not known"


@dataclass
class Task:
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
    looks_through: tuple[str, ...] = ()
    fresh: Callable[[int, int], Images] | None = None
    judge: Callable[[Images], Array] | None = None


def of_run(path: Path, n: int | None, seed: int, data: str | Path | None, domain: str | None, label: str | None,
           extractor: Extractor) -> Task:
    """Images drawn from a run's generator, against its dataset. Raises `UserError` as `evaluate` says."""
    run = Run.open(path)
    sampler = load_generator(path)
    notes = sampler.notes or {}
    dataset = Dataset.of_run(run, data)
    learnt = {"domain": notes.get("domain") or run.recipe().domain, "label": run.recipe().label}
    for key, wanted in (("domain", domain), ("label", label)):
        if wanted not in (None, learnt[key]):
            raise UserError(f"this run learnt the {key} {learnt[key]!r}, not {wanted!r}", where=path,
                            fix=f"leave --{key} out, or compare two datasets with `ganatomy evaluate REAL SYNTHETIC`")
    domain, label = dataset.domain(learnt["domain"]), learnt["label"]
    same_channels(dataset, sampler.channels, "the run")
    test = dataset.require("test", domain, label)
    images, content = _drawn(sampler, n or min(max(len(test), FEWEST_SYNTHETIC), MOST_IMAGES), seed, path)
    warnings = dataset_warnings(dataset)

    def untrained(count: int) -> Images:
        return untrained_generator(sampler, sampler.size, sampler.channels, seed).sample(count, seed)

    def fresh(count: int, other: int) -> Images:
        return np.clip(sampler.sample(count, (seed + FRESH + other) % 2**31), -1, 1)

    step = notes.get("step", run.status().get("step"))
    return Task(dataset, domain, label, sampler.size, Sample(images, extractor=extractor), content, untrained, step,
                warnings, fresh=fresh, judge=load_discriminator(run, step), looks_through=seen_by(run.generator))


def seen_by(path: Path) -> tuple[str, ...]:
    """The networks that a training looked through: of its generator folder, or of a dataset that it has generated.

    Empty where the folder does not say.
    """
    if (path / "config.json").is_file():
        return read_config(path).looks_through
    told = Dataset.open(path).info.provenance.get("looks_through", ()) if is_dataset(path, "synthetic") else ()
    return tuple(map(str, told))


def _drawn(sampler: Sampler, n: int, seed: int, where: Path) -> tuple[Stack, str]:
    """`n` images and their hash; in a temporary file where memory might not hold them."""
    shape, digest = (n, sampler.channels, sampler.size, sampler.size), hashlib.sha256()
    images: Images = np.empty(shape, np.float32)
    if images.nbytes > IN_MEMORY:
        with disk_errors(temporary_place()), tempfile.TemporaryFile() as handle:  # nameless; the map keeps it
            if hasattr(os, "posix_fallocate"):  # a disk that gets full under a map ends the process
                os.posix_fallocate(handle.fileno(), 0, images.nbytes)
            images = np.memmap(handle, np.float32, "w+", shape=shape)
    done = 0
    for chunk in sampler.stream(n, seed):
        if not np.isfinite(chunk).all():
            raise UserError("the generator gives images that hold NaN or infinity", where=where, fix="train it again")
        np.clip(chunk, -1, 1, out=images[done:done + len(chunk)])
        digest.update(chunk.tobytes())
        done += len(chunk)
    return images, digest.hexdigest()


def of_datasets(real: Path, other: Path, n: int | None, seed: int, domain: str | None, label: str | None,
                extractor: Extractor) -> Task:
    """A dataset, usually synthetic, against another. Raises `UserError` as `evaluate` says."""
    for path in (real, other):
        if Run.is_run(path):
            raise UserError("is a run folder; with two arguments give two datasets", where=path,
                            fix="use `ganatomy evaluate DATASET SYN`, or give the run alone: `ganatomy evaluate RUN`")
    dataset, second = Dataset.open(real), Dataset.open(other)
    domain = dataset.domain(domain)
    theirs = second.domain(domain if domain in second.info.domains or len(second.info.domains) > 1 else None)
    same_channels(dataset, second.info.channels, str(other))
    dataset.require("test", domain, label)
    rows = second.rows(theirs, label=label if label in second.info.classes else None)
    if len(rows) < 2:
        raise UserError("has fewer than 2 images to compare", where=other, fix="generate some, at least 50")
    chosen = at_most(rows, n or MOST_IMAGES, seed)
    size = min(dataset.size, second.size)
    synthetic = second.info.source == "synthetic"
    warnings = dataset_warnings(dataset)
    if not synthetic:
        warnings.append("The second dataset is not marked synthetic.")
    if n is None and len(chosen) < len(rows):
        warnings.append(f"Of {len(rows):,} synthetic images, {len(chosen):,} drawn at random were used; -n asks for "
                        "more.")
    if n is not None and n > len(rows):
        warnings.append(f"{n:,} images were asked for, the second dataset has {len(rows):,}.")
    if theirs != domain:
        warnings.append(f"Domain {theirs!r} was compared with {domain!r}.")

    def untrained(count: int) -> Images:
        return untrained_generator(None, size, dataset.info.channels, seed).sample(count, seed)

    return Task(dataset, domain, label, size, _sample(second, chosen, size, extractor, alone=synthetic),
                second.info.content, untrained, None, warnings, DEFAULT_NETWORK, seen_by(other))


def _sample(dataset: Dataset, rows: list[Row], size: int, extractor: Extractor, alone: bool = False) -> Sample:
    return Sample(dataset.stack(rows, size), None if alone else [r.subject for r in rows], extractor=extractor,
                  ids=[r.image_id for r in rows])


def _refuse_wild(sample: Sample, name: str) -> None:
    """Raise `UserError` if images hold values that are not finite, or far outside of the dataset's range."""
    for start in range(0, sample.n_images, CHUNK):
        largest = np.abs(sample.images[start:start + CHUNK]).max((1, 2, 3))
        wild = np.flatnonzero(~(largest <= MOST_VALUE))  # NaN compares as false
        if len(wild):
            raise UserError(f"the {name} image {sample.ids[start + int(wild[0])]} holds values that are not finite, or "
                            "far outside of the dataset's value range", where="images",
                            fix="mend the files and prepare the dataset again")


def samples_of(task: Task, seed: int) -> Samples:
    """The real images of the task's splits beside the synthetic ones."""
    extractor = task.synthetic.extractor

    def split(name: str, most: int = MOST_IMAGES) -> Sample | None:
        rows = task.dataset.rows(task.domain, name, task.label)
        chosen = at_most(rows, most, seed)
        if len(chosen) < len(rows):
            task.warnings.append(f"Of {len(rows):,} {name} images, {len(chosen):,} drawn at random were used.")
        return _sample(task.dataset, chosen, task.size, extractor) if chosen else None

    test, train, val = split("test"), split("train", MOST_TRAINING), split("val")
    assert test is not None  # `require` has seen to it
    for name, sample in (("synthetic", task.synthetic), ("test", test), ("train", train), ("val", val)):
        if sample is not None:
            _refuse_wild(sample, name)
    return Samples(test, task.synthetic, train, val, seed, fresh=task.fresh, judge=task.judge)


def dataset_warnings(dataset: Dataset) -> list[str]:
    """What `prepare` warned of, as sentences that begin with "Dataset: "."""
    texts = [text.strip().rstrip(".") for text in dataset.info.told.warnings]
    return [f"{OF_DATASET}{text}." for text in texts if text]


def same_channels(dataset: Dataset, channels: int, whose: str) -> None:
    """Raise `UserError` unless the dataset's images have as many channels as a model's or another dataset's."""
    if dataset.info.channels != channels:
        raise UserError(f"has images of {dataset.info.channels} channels, {whose} of {channels}", where=dataset.path,
                        fix="prepare it again with --channels")


def at_most(rows: list[Row], most: int, seed: int) -> list[Row]:
    """At most `most` of the rows, drawn at random, in their order."""
    if len(rows) <= most:
        return rows
    chosen = np.random.default_rng((seed, 11)).choice(len(rows), most, replace=False)
    return [rows[i] for i in np.sort(chosen)]


