"""dcgan_knee: a small DCGAN for knee MR (Brand, on the OAI AKOA images): no normalisation, max pooling, dense layers.

A generator of transposed 3x3 convolutions and ReLU after a dense layer; a discriminator of 3x3 convolutions with max
pooling and two dense layers. Binary cross-entropy on logits, the generator's loss non-saturating.
"""

from __future__ import annotations

import itertools

import torch
from pydantic import Field
from torch import Tensor, nn

from ganatomy.core.errors import UserError
from ganatomy.gans.base import BCEGAN, GANConfig, Scores, Shape

UP, LAST_UP = 32, 16  # channels after each doubling of the side, and after the last
DOWN = (16, 32, 64)  # and after each halving
DENSE = 256


class Config(GANConfig):
    """Settings of dcgan_knee."""

    z_dim: int = Field(256, ge=1, le=4096, description="length of a latent")
    start_side: int = Field(8, ge=1, le=512, description="side of the generator's first maps, pixels; doubled until it "
                            "is the image's")
    start_channels: int = Field(64, ge=1, le=4096, description="how many first maps")


class Generator(nn.Module):
    """Latents [n, z_dim] to images [n, c, size, size] in [-1, 1]."""

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__()
        self.side = config.start_side
        self.first = nn.Linear(config.z_dim, config.start_channels * self.side * self.side)
        doublings = (shape.size // self.side).bit_length() - 1
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise((config.start_channels, *[UP] * (doublings - 1), LAST_UP)):
            layers += [nn.ConvTranspose2d(a, b, 3, 2, 1, output_padding=1), nn.ReLU(inplace=True)]
        self.net = nn.Sequential(*layers, nn.ConvTranspose2d(LAST_UP, shape.channels, 3, 1, 1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        x = torch.relu(self.first(z)).view(len(z), -1, self.side, self.side)
        return self.net(x.contiguous(memory_format=torch.channels_last))


class Discriminator(Scores):
    """Images [n, c, size, size] to logits [n]; their sigmoid is the probability of being real."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise((shape.channels, *DOWN)):
            layers += [nn.Conv2d(a, b, 3, 1, 1), nn.MaxPool2d(2), nn.LeakyReLU(0.2, inplace=True)]
        side = shape.size >> len(DOWN)
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(DOWN[-1] * side * side, DENSE),
                                 nn.LeakyReLU(0.2, inplace=True), nn.Linear(DENSE, 1))


class Model(BCEGAN):
    """See the module's head."""

    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        size, start = shape.size, config.start_side
        times = size // start
        if size % start or times < 2 or times & (times - 1) or size % 2 ** len(DOWN):
            raise UserError(f"dcgan_knee makes images whose side is a multiple of {2 ** len(DOWN)}, and 2, 4, 8, ... "
                            f"times start_side ({start}), not {size}", where="size", fix="use the sizes 64, 128 or 256")
        self.generator = Generator(config, shape)
        self.discriminator = Discriminator(shape)
        self.apply(_initialise)


def _initialise(module: nn.Module) -> None:
    """Uniform weights after Glorot and Bengio 2010, no biases at first.

    Without normalisation, N(0, 0.02) would make every image the same grey.
    """
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
