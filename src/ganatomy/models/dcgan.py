"""dcgan: noise-to-image GAN after Radford et al. 2016, with nearest upsampling and convolutions in the generator.

The shape of the networks follows Schilling 2020 (Linkoping): from a vector 1x1, upsampling and 4x4 convolutions that
halve the channels; a discriminator of strided convolutions. Binary cross-entropy, the generator's loss non-saturating.
"""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ganatomy.models.base import Batch, Context, Fakes, GANConfig, Losses, NoiseGAN, Shape, require_power_of_two
from ganatomy.nn.blocks import UpConv2d, channels_by_size


class Config(GANConfig):
    """Settings of dcgan."""

    z_dim: int = Field(512, ge=1, le=4096, description="length of a latent")
    noise: Literal["gaussian", "uniform"] = Field("gaussian", description="uniform is on [-1, 1]")
    width: int = Field(16, ge=1, le=4096,
                       description="channels at half the image's side; doubles towards smaller sides")
    most_channels: int = Field(512, ge=1, le=4096, description="cap on both networks' channels")
    kernel: int = Field(4, ge=3, le=7, description="side of the convolutions' kernels")


class Generator(nn.Module):
    """Latents [n, z_dim] to images [n, c, size, size] in [-1, 1]."""

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__()
        channels = [config.z_dim, *channels_by_size(shape.size // 2, 2, config.width, config.most_channels)]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(channels):
            layers += [UpConv2d(a, b, config.kernel, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)]
        self.net = nn.Sequential(*layers, UpConv2d(channels[-1], shape.channels, config.kernel), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        images: Tensor = self.net(z[:, :, None, None].contiguous(memory_format=torch.channels_last))
        return images


class Discriminator(nn.Module):
    """Images [n, c, size, size] to logits [n]; their sigmoid is the probability of being real."""

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__()
        channels = [shape.channels, *channels_by_size(shape.size // 2, 2, config.width, config.most_channels)[::-1]]
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(itertools.pairwise(channels)):
            layers.append(nn.Conv2d(a, b, 4, 2, 1, bias=i == 0))
            if i > 0:
                layers.append(nn.BatchNorm2d(b))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * 4, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.flatten().float()


class Model(NoiseGAN):
    """See the module's head."""

    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        require_power_of_two(shape.size, 8, "dcgan")
        self.generator = Generator(config, shape)
        self.discriminator = Discriminator(config, shape)
        self.apply(_initialise)

    def draw_noise(self, n: int, rng: np.random.Generator) -> Tensor:
        if self.config.noise == "uniform":
            return torch.from_numpy(rng.uniform(-1, 1, (n, *self.noise_shape())).astype(np.float32))
        return super().draw_noise(n, rng)

    def discriminator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        real, fake = self.discriminator(batch.target), self.discriminator(fakes.target.detach())
        return Losses({"real": (1.0, F.softplus(-real).mean()), "fake": (1.0, F.softplus(fake).mean())},
                      {"real_probability": real.detach().sigmoid().mean(),
                       "fake_probability": fake.detach().sigmoid().mean()})

    def generator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        return Losses({"adversarial": (1.0, F.softplus(-self.discriminator(fakes.target)).mean())})


def _initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02), batch norm scales from N(1, 0.02), as Radford et al. 2016 and its successors do."""
    if isinstance(module, (nn.Conv2d, nn.Linear, UpConv2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
