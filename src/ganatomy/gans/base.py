"""What every GAN is: networks, what they need, two losses, how to generate. No devices, optimisers or files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Frozen
from ganatomy.networks.blocks import UpConv2d


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
        label: numbers of their classes among the dataset's, int64 [n].
    """

    noise: Tensor | None = None
    target: Tensor | None = None
    source: Tensor | None = None
    label: Tensor | None = None


@dataclass
class Fakes:
    """The images of one pass of the generator; both losses may share it."""

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
    """Base of all GANs: a class `Model` beside its `Config` in one file, here or in any package that can be imported.

    A subclass sets `generator` and `discriminator` (any modules), draws random numbers only with torch's global
    generators (the loop seeds them from (seed, step), so that a resumed run draws the same), and keeps state that
    must survive a resume in registered buffers.

    Attributes:
        needs: what a batch must hold in training.
        paired: source and target of a batch are of one slice; otherwise they are drawn independently.
        two_way: `generate` also turns targets into sources.
        translates: `generate` starts from an image and not from noise alone.
        adversarial: there is a discriminator to train.
        scores_are_logits: the discriminator's scores, [n], are logits of being real.
        starts_from: what `init_from` should name, in words; "" where training starts from nothing.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"noise", "target"})
    paired: ClassVar[bool] = True
    two_way: ClassVar[bool] = False
    translates: ClassVar[bool] = False
    adversarial: ClassVar[bool] = True
    scores_are_logits: ClassVar[bool] = False
    starts_from: ClassVar[str] = ""
    generator: nn.Module
    discriminator: nn.Module

    def __init__(self, config: Any, shape: Shape) -> None:
        super().__init__()
        self.config, self.shape = config, shape

    @property
    def looks_through(self) -> tuple[str, ...]:
        """Trained networks that a loss looks through, such as EfficientNet-Lite0; see `features.base.own_eyes`.

        Images are made to please them, so that no figure over their features may judge these images.
        """
        return ()

    def least_steps(self) -> int:
        """Generator updates below which training makes no sense."""
        return 1

    def noise_shape(self) -> tuple[int, ...]:
        """Shape of one latent."""
        raise NotImplementedError

    def draw_noise(self, n: int, rng: np.random.Generator) -> Tensor:
        """`n` latents, standard normal unless a subclass says otherwise; on the CPU, so every device sees the same."""
        return torch.from_numpy(rng.standard_normal((n, *self.noise_shape()), np.float32))

    def draw_label(self, n: int, rng: np.random.Generator) -> Tensor:
        """Classes [n] of images that are generated from noise; only for GANs that need labels."""
        raise NotImplementedError

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

    def noise_share(self, progress: float) -> float:
        """Share of noise, 0 to 1, in what the generator starts from, at a progress from 0 to 1."""
        return 0.0 if self.translates else 1.0

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


class BCEGAN(NoiseGAN):
    """A noise-to-image GAN of binary cross-entropy, the generator's loss non-saturating (Goodfellow et al. 2014).

    The discriminator gives logits [n]; their sigmoid is the probability of being real.
    """

    scores_are_logits = True

    def real_label(self, ctx: Context) -> float:
        """The label of real images, and the generator's aim for its own; less than 1 smooths both.

        Salimans et al. 2016 smooth the discriminator's label of real images alone.
        """
        return 1.0

    def discriminator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        return judged(self.discriminator(batch.target), self.discriminator(fakes.target.detach()),
                      self.real_label(ctx))

    def generator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        return Losses({"adversarial": (1.0, bce(self.discriminator(fakes.target), self.real_label(ctx)))})


class Scores(nn.Module):
    """Base of discriminators of one chain of layers, `net`: images [n, c, size, size] to logits [n]."""

    net: nn.Sequential

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).flatten().float()


def judged(real: Tensor, fake: Tensor, real_label: float = 1.0, weight: float = 1.0) -> Losses:
    """What a discriminator minimises that gave these logits to real images and to fakes, each term with a weight."""
    return Losses({"real": (weight, bce(real, real_label)), "fake": (weight, bce(fake, 0.0))},
                  {"real_probability": real.detach().sigmoid().mean(),
                   "fake_probability": fake.detach().sigmoid().mean()})


def bce(logits: Tensor, label: float) -> Tensor:
    """Binary cross-entropy of logits [n] against one label in 0 to 1, averaged."""
    if label == 1:
        return F.softplus(-logits).mean()
    return label * F.softplus(-logits).mean() + (1 - label) * F.softplus(logits).mean()


def load_weights(network: nn.Module, weights: Mapping[str, Any]) -> None:
    """Load a state dictionary from a file. Raises `ValueError` unless it has the network's tensors and no others."""
    if differ := misfit(network, weights):
        raise ValueError(f"its weights do not fit the recipe: {differ}")
    network.load_state_dict(weights)


def misfit(network: nn.Module, weights: Mapping[str, Any]) -> str:
    """How many of the network's weights are missing or of another shape or type, and the first of them; "" if none."""
    own = network.state_dict()
    differ = sorted(k for k in own.keys() | weights.keys()
                    if k not in own or not isinstance(weights.get(k), Tensor) or own[k].shape != weights[k].shape
                    or own[k].dtype != weights[k].dtype)
    return f"{len(differ)} of {len(own)} weights differ, {differ[0]} first" if differ else ""


def initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02), batch norm scales from N(1, 0.02), as Radford et al. 2016 and its successors do."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, UpConv2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d)):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


def require_power_of_two(size: int, least: int, gan: str) -> None:
    """Raise `UserError` unless `size` is a power of two of at least `least` pixels."""
    if size < least or size & (size - 1):
        raise UserError(f"{gan} makes images whose side is a power of two from {least} pixels up, not {size}",
                        where="size", fix="prepare the dataset with --size 64, 128 or 256")
