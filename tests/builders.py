"""What tests of several packages build: little datasets, cohorts of files, trainings of a second, interruptions.

What one package alone needs lies beside its tests.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image

from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset, DatasetInfo, new_dataset
from ganatomy.data.manifest import Row

# ------------------------------------------------------------------ datasets and settings to train on them

TINY = {"size": 16, "batch_size": 4, "steps": 12, "model.width": 8, "model.d_width": 8, "model.z_dim": 8,
        "model.features": 0.0, "checkpoint_every": 4, "preview_every": 4, "select": "last"}


def discs(n: int, size: int = 16, seed: int = 0) -> np.ndarray:
    """uint8 images [n, size, size] of a bright disc of random place and radius on black."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    centre, radius = rng.uniform(0.3, 0.7, (n, 2)), rng.uniform(0.1, 0.3, n)
    distance = np.hypot(y - centre[:, :1, None], x - centre[:, 1:, None])
    return (255 * np.clip((radius[:, None, None] - distance) * size / 2 + 0.5, 0, 1)).astype(np.uint8)


def write_dataset(path: Path, subjects: int = 12, per_subject: int = 2, size: int = 16, seed: int = 0,
                  splits: tuple[str, ...] = ("train", "train", "val", "test"), channels: int = 1,
                  classes: tuple[str, ...] = ()) -> Dataset:
    """A dataset folder of discs; subjects take the splits, and images the classes, in turn."""
    images = discs(subjects * per_subject, size, seed)
    if channels == 3:
        images = np.stack([images, images // 2, 255 - images], -1)
    with new_dataset(path, (size, size), channels, np.uint8) as writer:
        for i, image in enumerate(images):
            subject = i // per_subject
            label = classes[i % len(classes)] if classes else ""
            writer.add(image, Row(f"image-{i:03d}", f"sub-{subject:03d}", "", i % per_subject, "disc", label,
                                  splits[subject % len(splits)], 0, 0.0, 1.0, "1x1", "", ""))
        writer.finish(DatasetInfo(size=(size, size), channels=channels, value_range=(0, 255), domains=("disc",),
                                  paired=True, classes=classes, content=""))
    return Dataset.open(path)


_UNET = {"size": 32, "batch_size": 4, "steps": 6, "checkpoint_every": 2, "preview_every": 3, "model.width": 4,
         "model.most_channels": 8}
_GAN = _UNET | {"model.d_width": 4}
SMALL: dict[str, dict[str, Any]] = {
    "unet": _UNET, "pix2pix": _GAN, "pix2pix-brain-128": _GAN, "cyclegan-mri": _GAN,
    "cyclegan": _GAN | {"model.pool": 5},
    "cyclegan-resnet": _GAN | {"batch_size": 2, "model.blocks": 1, "model.pool": 5},
    "hybrid-brain-64": _GAN | {"model.stages": [0, 1]}}
"""Settings by recipe."""


def inverted(image: np.ndarray) -> np.ndarray:
    """Bright and dark swapped inside of the patient."""
    return np.where(image > 25, 280 - image.astype(np.int16), 0).clip(0, 255).astype(np.uint8)


def write_contrasts(path: Path, *, subjects: int = 12, per_subject: int = 2, size: int = 32, seed: int = 0,
                    splits: Sequence[str] = ("train", "train", "val", "test"), domains: Sequence[str] = ("T1", "T2"),
                    paired: bool = True, channels: int = 1, labels: Sequence[str] = ("",),
                    other: Callable[[np.ndarray], np.ndarray] = inverted) -> Dataset:
    """A dataset folder of discs of random brightness and, in every further domain, what `other` makes of them.

    Unpaired domains have subjects of their own, and the second has two more than the first. Subjects take splits and
    labels in turn.
    """
    with new_dataset(path, (size, size), channels, np.uint8) as writer:
        for d, domain in enumerate(domains):
            people = subjects + (2 * d if not paired else 0)
            images = _images(people * per_subject, size, seed if paired else seed + 100 * d, channels)
            for i, image in enumerate(images):
                person, letter = i // per_subject, "" if paired else "abc"[d]
                writer.add(other(image) if d else image,
                           Row(f"image-{letter}{i:03d}", f"sub-{letter}{person:03d}", "", i % per_subject, domain,
                               labels[person % len(labels)], splits[person % len(splits)], 0, 0.0, 1.0, "1x1", "", ""))
        writer.finish(DatasetInfo(size=(size, size), channels=channels, value_range=(0, 255), domains=tuple(domains),
                                  paired=paired, classes=tuple(sorted({*labels} - {""})), content=""))
    return Dataset.open(path)


def _images(n: int, size: int, seed: int, channels: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    images = discs(n, size, seed) * rng.uniform(0.4, 0.9, (n, 1, 1)) * rng.uniform(0.8, 1.1, (n, size, size))
    grey = (images.clip(0, 254) // 2 * 2).astype(np.uint8)
    return grey if channels == 1 else np.stack([grey, grey // 4 * 2, grey[:, ::-1]], -1)


# ------------------------------------------------------------------ trainings

def interrupt_at(*steps: int, kind: str = "train") -> Callable[[dict[str, Any]], None]:
    """An `on_log` that interrupts the training, as Ctrl-C does, where the log reaches one of these steps."""
    def on_log(entry: dict[str, Any]) -> None:
        if entry["kind"] == kind and entry["step"] in steps:
            os.kill(os.getpid(), signal.SIGINT)
    return on_log


def weights(run: Run) -> bytes:
    """The exported generator's weights."""
    return (run.generator / "weights.safetensors").read_bytes()


def copy_run(run: Run, folder: Path) -> Run:
    """A run and its private folder, to change."""
    for path in (run.path, run.path.with_name(run.path.name + ".private")):
        shutil.copytree(path, folder / path.name)
    return Run(folder / run.path.name)


def random_kills() -> random.Random:
    """When to kill: by chance, so that many runs of the tests try many moments; GANATOMY_KILL_SEED repeats one."""
    seed = os.environ.get("GANATOMY_KILL_SEED") or str(time.time_ns())
    print(f"kills at random moments: GANATOMY_KILL_SEED={seed} repeats them")
    return random.Random(seed)


# ------------------------------------------------------------------ files of a hospital

NAMES = ("Anna-Smith7", "Bert-Jones8", "Carl-Miller9", "Dora-Brown10")


def head(seed: int, shape: tuple[int, int, int] = (20, 24, 16)) -> np.ndarray:
    """A noisy ellipsoid of about 100 on 0, float32."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    inside = (grid**2).sum(0) < 0.7
    return (inside * np.random.default_rng(seed).normal(100, 10, shape)).astype(np.float32)


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)


def cohort(folder: Path, names: tuple[str, ...] = NAMES, domains: tuple[str, ...] = ("T1", "T2"),
           mask: bool = True) -> Path:
    """A folder per subject; the mask marks where T1 is above 110."""
    for i, name in enumerate(names):
        for j, domain in enumerate(domains):
            save(folder / name / f"{name}_{domain}.nii.gz", head(i) * (1 + j))
        if mask:
            save(folder / name / f"{name}_lesion-mask.nii.gz", (head(i) > 110).astype(np.uint8) * 255)
    return folder


def pictures(folder: Path, count: int = 12, label: str = "") -> Path:
    """8-bit pictures, each different."""
    (folder / label).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        values = np.random.default_rng(i + 100 * len(label)).integers(1, 255, (16, 16)).astype(np.uint8)
        Image.fromarray(values).save(folder / label / f"p{i}.png")
    return folder


def touch(folder: Path, *names: str) -> Path:
    """Files of one byte, for layouts that are told by names alone."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))
