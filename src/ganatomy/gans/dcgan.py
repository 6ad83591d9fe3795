"""dcgan: noise-to-image GAN after Radford et al. 2016, with nearest upsampling and convolutions in the generator.

The shape of the networks follows Schilling 2020 (Linkoping): from a vector 1x1, upsampling and 4x4 convolutions that
halve the channels; a discriminator of strided convolutions. `architecture: dense` is the shape of the same author's
training script. Binary cross-entropy, the generator's loss non-saturating.
"""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ganatomy.core.recipe import Frozen
from ganatomy.gans.base import BCEGAN, GANConfig, Scores, Shape, initialise, require_power_of_two
from ganatomy.networks.blocks import MinibatchDiscrimination, UpConv2d, channels_by_size

DENSE_START, DENSE_WIDTHS = 128, (32, 64, 128, 256)  # of the dense architecture: first maps, strided layers
DENSE_MOMENTUM = 0.2  # of its batch norm: the new batch's share, 1 - 0.8 of the other convention


class Dense(Frozen):
    """Settings that only `architecture: dense` has."""

    z_dim: int = Field(100, ge=1, le=4096, description="length of a latent, in place of the other architecture's")
    dropout: float = Field(0.25, ge=0, lt=1, description="in both networks")


class Discrimination(Frozen):
    """Settings of minibatch discrimination."""

    kernels: int = Field(100, ge=1, le=4096, description="numbers appended to the features before the score")
    dims: int = Field(5, ge=1, le=256, description="dimensions of each kernel")


class Config(GANConfig):
    """Settings of dcgan."""

    architecture: Literal["upsampling", "dense"] = "upsampling"
    z_dim: int = Field(512, ge=1, le=4096, description="length of a latent")
    noise: Literal["gaussian", "uniform"] = Field("gaussian", description="uniform is on [-1, 1]")
    width: int = Field(16, ge=1, le=4096,
                       description="channels at half the image's side; doubles towards smaller sides")
    most_channels: int = Field(512, ge=1, le=4096, description="cap on both networks' channels")
    kernel: int = Field(4, ge=3, le=7, description="side of the convolutions' kernels")
    dense: Dense = Field(Dense(), description="used by architecture: dense alone, instead of z_dim, width and kernel")
    minibatch_discrimination: Discrimination | None = Field(None, description="before the score; null is none")


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
        return self.net(z[:, :, None, None].contiguous(memory_format=torch.channels_last))


class DenseGenerator(nn.Module):
    """Latents [n, z_dim] to images [n, c, size, size] in [-1, 1].

    A dense layer to 128 maps of size / 4, twice nearest upsampling and a 3x3 convolution (128, 64 channels) with batch
    norm, dropout and ReLU, then a 3x3 convolution and tanh.
    """

    def __init__(self, z_dim: int, size: int, channels: int, dropout: float) -> None:
        super().__init__()
        side = size // 4
        self.first = nn.Linear(z_dim, DENSE_START * side * side)
        self.net = nn.Sequential(
            nn.ReLU(inplace=True), nn.Unflatten(1, (DENSE_START, side, side)), *_dense_up(DENSE_START, 128, dropout),
            *_dense_up(128, 64, dropout), nn.Conv2d(64, channels, 3, 1, 1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        return self.net(self.first(z))


def _dense_up(a: int, b: int, dropout: float) -> list[nn.Module]:
    return [UpConv2d(a, b, 3), nn.BatchNorm2d(b, momentum=DENSE_MOMENTUM), nn.Dropout(dropout), nn.ReLU(inplace=True)]


def upsampling_features(config: Config, shape: Shape) -> tuple[nn.Sequential, int]:
    """The discriminator up to its score: images [n, c, size, size] to features [n, f]; and f."""
    channels = [shape.channels, *channels_by_size(shape.size // 2, 2, config.width, config.most_channels)[::-1]]
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(channels)):
        layers.append(nn.Conv2d(a, b, 4, 2, 1, bias=i == 0))
        if i > 0:
            layers.append(nn.BatchNorm2d(b))
        layers.append(nn.LeakyReLU(0.2, inplace=True))
    return nn.Sequential(*layers, nn.Flatten()), channels[-1] * 4


def dense_features(size: int, channels: int, dropout: float) -> tuple[nn.Sequential, int]:
    """Likewise of the dense architecture, f = 256 (size / 16)^2.

    3x3 convolutions of stride 2 with 32, 64, 128, 256 channels, batch norm (not on the first), dropout, LeakyReLU 0.2.
    """
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise((channels, *DENSE_WIDTHS))):
        # with an even side and stride 2, zero padding to "the same" size adds a row below and a column to the right
        layers += [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(a, b, 3, 2)]
        if i > 0:
            layers.append(nn.BatchNorm2d(b, momentum=DENSE_MOMENTUM))
        layers += [nn.Dropout(dropout), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Flatten()), DENSE_WIDTHS[-1] * (size >> len(DENSE_WIDTHS))**2


class Discriminator(Scores):
    """Images [n, c, size, size] to logits [n]; their sigmoid is the probability of being real."""

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__()
        features, length = dense_features(shape.size, shape.channels, config.dense.dropout) \
            if config.architecture == "dense" else upsampling_features(config, shape)
        appended = config.minibatch_discrimination
        if appended:
            features.append(MinibatchDiscrimination(length, appended.kernels, appended.dims))
            length += appended.kernels
        self.net = features.append(nn.Linear(length, 1))


class Model(BCEGAN):
    """See the module's head."""

    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        dense = config.architecture == "dense"
        require_power_of_two(shape.size, 16 if dense else 8, "dcgan")
        self.generator = DenseGenerator(config.dense.z_dim, shape.size, shape.channels, config.dense.dropout) \
            if dense else Generator(config, shape)
        self.discriminator = Discriminator(config, shape)
        self.apply(initialise)

    def noise_shape(self) -> tuple[int, ...]:
        return (self.config.dense.z_dim,) if self.config.architecture == "dense" else super().noise_shape()

    def draw_noise(self, n: int, rng: np.random.Generator) -> Tensor:
        if self.config.noise == "uniform":
            return torch.from_numpy(rng.uniform(-1, 1, (n, *self.noise_shape())).astype(np.float32))
        return super().draw_noise(n, rng)
