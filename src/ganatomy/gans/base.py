"""What every GAN is: networks, what they need, two losses, how to generate. No devices, optimisers or files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Frozen


class GANConfig(Frozen):
    """Settings that one kind of GAN understands: the recipe's `model` section."""


@dataclass(frozen=True)
class Shape:
    """What the images look like: side in pixels, channels (1 or 3)."""

    size: int
    channels: int


@dataclass
class Batch:
    """What a step works on; a GAN's `needs` says which of these must be there.

    Attributes:
        noise: latents, shaped as the GAN's `noise_shape` says.
        target: images to learn, [n, c, h, w] in [-1, 1].
        source: images to translate from, likewise.
        label: class indices, [n].
    """

    noise: Tensor | None = None
    target: Tensor | None = None
    source: Tensor | None = None
    label: Tensor | None = None


@dataclass
class Fakes:
    """What the generator made in one pass; both losses may share it."""

    target: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """Where training stands: step counts generator updates from 0, progress runs from 0 to 1."""

    step: int
    epoch: int
    progress: float


@dataclass
class Losses:
    """Named loss terms, each with its weight, and diagnostics that are logged but not minimised."""

    terms: dict[str, tuple[float, Tensor]]
    diagnostics: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The weighted sum."""
        return torch.stack([weight * value.float() for weight, value in self.terms.values()]).sum()


class GAN(nn.Module):
    """Base of all GANs. A subclass named `Model`, with a `Config`, in models/<name>.py is found by its file's name.

    A subclass sets `generator` and `discriminator` (any modules), draws random numbers only with torch's global
    generators (the loop seeds them from (seed, step), so that a resumed run draws the same), and keeps state that
    must survive a resume in registered buffers.

    Attributes:
        needs: what a batch must hold in training.
        paired: source and target of a batch are of one slice; otherwise they are drawn independently.
        two_way: `generate` also turns targets into sources.
        translates: `generate` starts from an image and not from noise alone.
        adversarial: there is a discriminator to train.
        needs_all_steps: what the last steps do decides what the model is, so that a training must not end early.
        starts_from: what `init_from` should name, in words; "" where training starts from nothing.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"noise", "target"})
    paired: ClassVar[bool] = True
    two_way: ClassVar[bool] = False
    translates: ClassVar[bool] = False
    adversarial: ClassVar[bool] = True
    needs_all_steps: ClassVar[bool] = False
    starts_from: ClassVar[str] = ""
    generator: nn.Module
    discriminator: nn.Module

    def __init__(self, config: Any, shape: Shape) -> None:
        super().__init__()
        self.config, self.shape = config, shape

    def least_steps(self) -> int:
        """Generator updates below which training makes no sense."""
        return 1

    def noise_shape(self) -> tuple[int, ...]:
        """Shape of one latent."""
        raise NotImplementedError

    def draw_noise(self, n: int, rng: np.random.Generator) -> Tensor:
        """`n` latents, standard normal unless a subclass says otherwise; on the CPU, so every device sees the same."""
        return torch.from_numpy(rng.standard_normal((n, *self.noise_shape()), np.float32))

    def forward(self, batch: Batch, ctx: Context) -> Fakes:
        """The generator's pass of a training step."""
        raise NotImplementedError

    def discriminator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        """What the discriminator minimises; no gradient may reach the generator."""
        raise NotImplementedError

    def generator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        """What the generator minimises; the loop has frozen the discriminator."""
        raise NotImplementedError

    def generate(self, batch: Batch) -> Batch:
        """Images for the given latents or sources: the answer's `target`, [n, c, h, w] in [-1, 1].

        Given targets and no sources, a two-way GAN answers with the `source`.
        """
        raise NotImplementedError

    def preview(self, batch: Batch, ctx: Context) -> Batch:
        """What `generate` would make where training stands; only for GANs whose task changes on the way."""
        return self.generate(batch)


class NoiseGAN(GAN):
    """Base of the GANs whose generator takes a vector of the config's `z_dim`."""

    def noise_shape(self) -> tuple[int, ...]:
        return (int(self.config.z_dim),)

    def forward(self, batch: Batch, ctx: Context) -> Fakes:
        return Fakes(self.generator(batch.noise).float())

    def generate(self, batch: Batch) -> Batch:
        return Batch(target=self.generator(batch.noise).float())


def require_power_of_two(size: int, least: int, gan: str) -> None:
    """Raise `UserError` unless `size` is a power of two of at least `least` pixels."""
    if size < least or size & (size - 1):
        raise UserError(f"{gan} makes images whose side is a power of two from {least} pixels up, not {size}",
                        where="size", fix="prepare the dataset with --size 64, 128 or 256")
