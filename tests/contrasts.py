"""Little datasets of two contrasts, and translating GANs small enough to train in a second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganatomy import gans
from ganatomy.core.recipe import load
from ganatomy.data.dataset import Dataset, DatasetInfo
from ganatomy.data.manifest import Row
from ganatomy.data.writers import new_dataset
from ganatomy.gans.base import GAN, Batch, Context
from tests.conftest import discs

START = Context(0, 0, 0.0)
_TRAINING = {"size": 32, "batch_size": 4, "steps": 6, "checkpoint_every": 2, "preview_every": 3}
_UNET = {"model.width": 4, "model.most_channels": 8}
SMALL: dict[str, dict[str, Any]] = {
    "pix2pix": _TRAINING | _UNET | {"model.d_width": 4},
    "pix2pix-brain-128": _TRAINING | _UNET | {"model.d_width": 4},
    "pix2pix-brain-256": _TRAINING | _UNET | {"model.d_width": 4},
    "unet": _TRAINING | _UNET,
    "cyclegan": _TRAINING | _UNET | {"model.d_width": 4, "model.pool": 5},
    "cyclegan-mri": _TRAINING | _UNET | {"model.d_width": 4},
    "cyclegan-resnet": _TRAINING | {"batch_size": 2, "model.width": 4, "model.d_width": 4, "model.blocks": 1,
                                    "model.pool": 5},
    "hybrid-brain-64": _TRAINING | _UNET | {"model.d_width": 4, "model.stages": [0, 1]},
    "hybrid-brain-128": _TRAINING | _UNET | {"model.d_width": 4, "model.stages": [0, 1]}}
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


def small(name: str, channels: int = 1, **settings: Any) -> GAN:
    torch.manual_seed(0)
    return gans.resolve(load(name, SMALL[name] | settings), channels)


def a_batch(model: GAN, n: int = 3, seed: int = 0) -> Batch:
    torch.manual_seed(seed)
    shape = (n, model.shape.channels, model.shape.size, model.shape.size)
    noise = model.draw_noise(n, np.random.default_rng(seed)) if "noise" in model.needs else None
    return Batch(noise=noise, target=torch.rand(shape) * 2 - 1, source=torch.rand(shape) * 2 - 1)


class Toy(nn.Module):
    """Any function as a network; keeps what it was given."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.given = function, []

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        self.given.append(x.detach().clone())
        return self.function(x)
