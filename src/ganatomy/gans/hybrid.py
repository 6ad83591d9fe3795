"""hybrid: a pix2pix generator turned, stage by stage, into a noise-to-image GAN (Schilling 2020, Linkoping).

The generator's input is (1 - w) x image + w x noise; w rises from 0 to 1 in stages of equal length, and at w = 1 the
image plays no part. The discriminator is dcgan's and sees one image. Where the description is silent: the L1 term is
weighted by 1 - w, and the stages are 0, 0.1, ..., 1. Meant to start from a pix2pix run (`init_from`).
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from ganatomy.gans import dcgan
from ganatomy.gans.base import Batch, Context, Fakes, Losses, Shape, bce, initialise, judged
from ganatomy.gans.unet import UNetConfig, UNetGAN, l1


class Config(UNetConfig):
    """Settings of hybrid; those of the U-Net must be the pix2pix run's."""

    stages: tuple[float, ...] = Field(tuple(i / 10 for i in range(11)), min_length=1, max_length=1000,
                                      description="w of each stage, ascending to 1")
    d_width: int = Field(16, ge=1, le=1024, description="dcgan's width, of the discriminator")
    d_most_channels: int = Field(512, ge=1, le=4096)

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if sorted(self.stages) != list(self.stages) or self.stages[0] < 0 or self.stages[-1] != 1:
            raise ValueError("stages must rise from 0 or more to 1")
        return self


class Model(UNetGAN):
    """See the module's head. Noise is [n, c x size x size + dropout's switches]: a Gaussian image, then the factors."""

    config: Config
    translates = False
    starts_from = "a pix2pix run with the same size and model settings"

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        settings = dcgan.Config(width=config.d_width, most_channels=config.d_most_channels)
        self.discriminator = dcgan.Discriminator(settings, shape)
        self.apply(initialise)

    def least_steps(self) -> int:
        return len(self.config.stages)

    def noise_shape(self) -> tuple[int, ...]:
        return (self._pixels + self.generator.switches,)

    def draw_noise(self, n: int, rng: np.random.Generator) -> Tensor:
        image = torch.from_numpy(rng.standard_normal((n, self._pixels), np.float32))
        return torch.cat([image, super().draw_noise(n, rng)], 1)

    @property
    def _pixels(self) -> int:
        return self.shape.channels * self.shape.size**2

    def noise_share(self, progress: float) -> float:
        """w at a progress from 0 to 1."""
        stages = self.config.stages
        return stages[min(len(stages) - 1, int(progress * len(stages) + 1e-9))]

    def forward(self, batch: Batch, ctx: Context) -> Fakes:
        return Fakes(self._blend(batch, self.noise_share(ctx.progress), keep=True))

    def discriminator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        return judged(self.discriminator(batch.target), self.discriminator(fakes.target.detach()))

    def generator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        w = self.noise_share(ctx.progress)
        return Losses({"adversarial": (1.0, bce(self.discriminator(fakes.target), 1.0)),
                       "l1": (self.config.l1_weight * (1 - w), l1(fakes.target, batch, self.config.background_weight))},
                      {"noise_share": fakes.target.new_tensor(w)})

    def generate(self, batch: Batch) -> Batch:
        return Batch(target=self._blend(batch, 1.0, self.config.dropout_at_test))

    def preview(self, batch: Batch, ctx: Context) -> Batch:
        return Batch(target=self._blend(batch, self.noise_share(ctx.progress), self.config.dropout_at_test))

    def _blend(self, batch: Batch, w: float, keep: bool) -> Tensor:
        """The generator's images for (1 - w) x source + w x noise."""
        assert batch.noise is not None
        noise, switches = torch.split(batch.noise, [self._pixels, self.generator.switches], 1)
        mixed = w * noise.view(-1, self.shape.channels, self.shape.size, self.shape.size)
        if w < 1:
            assert batch.source is not None
            mixed = mixed + (1 - w) * batch.source
        return self.generator(mixed, switches if keep else None).float()
