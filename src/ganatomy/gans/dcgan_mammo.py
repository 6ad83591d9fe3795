"""dcgan_mammo: DCGAN for mammographic masses (Alyafi 2019; Alyafi et al., SPIE Medical Imaging 2020).

A generator of transposed 4x4 convolutions, batch norm and LeakyReLU; a discriminator whose strided kernels are 6x6 but
for the first and the last; no biases in the convolutions. Binary cross-entropy with one-sided label smoothing (Salimans
et al. 2016): the label of real images is drawn anew each epoch, one for all images, and is the generator's aim too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ganatomy.gans.base import BCEGAN, Context, GANConfig, Scores, Shape, initialise, require_power_of_two

WIDTHS = (1, 2, 4, 8, 10)  # times ngf or ndf, from half the image's side to smaller sides; the last one further down


class Config(GANConfig):
    """Settings of dcgan_mammo."""

    z_dim: int = Field(200, ge=1, le=4096, description="length of a latent")
    ngf: int = Field(45, ge=1, le=1024, description="generator channels at half the image's side")
    ndf: int = Field(45, ge=1, le=1024, description="discriminator channels at half the image's side")
    real_label: tuple[float, float] = Field((0.7, 1.0), description="range of the real label, drawn anew each epoch")

    @model_validator(mode="after")
    def _in_order(self) -> Config:
        low, high = self.real_label
        if not 0 < low <= high <= 1:
            raise ValueError("real_label must be two numbers from 0 to 1, the smaller first")
        return self


def channels_downwards(size: int, width: int) -> list[int]:
    """Channels at size / 2, size / 4, ..., 4 pixels."""
    steps = int(math.log2(size)) - 2
    return [width * WIDTHS[min(i, len(WIDTHS) - 1)] for i in range(steps)]


def strided(channels: Sequence[int]) -> list[nn.Module]:
    """Convolutions that halve the side, from each number of channels to the next: 4x4 and without norm, then 6x6."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(channels)):
        kernel = 4 if i == 0 else 6
        layers.append(nn.Conv2d(a, b, kernel, 2, kernel // 2 - 1, bias=False))
        if i > 0:
            layers.append(nn.BatchNorm2d(b))
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return layers


class Generator(nn.Module):
    """Latents [n, z_dim] to images [n, c, size, size] in [-1, 1]."""

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__()
        channels = [config.z_dim, *channels_downwards(shape.size, config.ngf)[::-1]]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(itertools.pairwise(channels)):
            up = nn.ConvTranspose2d(a, b, 4, 1, 0, bias=False) if i == 0 \
                else nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False)  # 1x1 to 4x4, then twice the side
            layers += [up, nn.BatchNorm2d(b), nn.LeakyReLU(0.2, inplace=True)]
        last = nn.ConvTranspose2d(channels[-1], shape.channels, 4, 2, 1, bias=False)
        self.net = nn.Sequential(*layers, last, nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z[:, :, None, None].contiguous(memory_format=torch.channels_last))


class Discriminator(Scores):
    """Images [n, c, size, size] to logits [n]; their sigmoid is the probability of being real."""

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__()
        channels = [shape.channels, *channels_downwards(shape.size, config.ndf)]
        self.net = nn.Sequential(*strided(channels), nn.Conv2d(channels[-1], 1, 4, bias=False))


class Model(BCEGAN):
    """See the module's head."""

    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        require_power_of_two(shape.size, 16, "dcgan_mammo")
        # the loop has seeded torch from the recipe's seed alone, so that a resumed training has the same number here
        self.label_seed = int(torch.randint(2**31, ()))
        self.generator = Generator(config, shape)
        self.discriminator = Discriminator(config, shape)
        self.apply(initialise)

    def real_label(self, ctx: Context) -> float:
        return float(np.random.default_rng((self.label_seed, ctx.epoch)).uniform(*self.config.real_label))
