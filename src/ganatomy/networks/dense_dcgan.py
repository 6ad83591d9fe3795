"""The networks of dcgan's `architecture: dense`: a dense layer to a quarter of the side, dropout in both networks."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from ganatomy.networks.blocks import UpConv2d

MOMENTUM = 0.2  # of batch norm: the new batch's share, 1 - 0.8 of the other convention
START = 128
WIDTHS = (32, 64, 128, 256)


class DenseGenerator(nn.Module):
    """Latents [n, z_dim] to images [n, c, size, size] in [-1, 1].

    A dense layer to 128 maps of size / 4, twice nearest upsampling and a 3x3 convolution (128, 64 channels) with batch
    norm, dropout and ReLU, then a 3x3 convolution and tanh.
    """

    def __init__(self, z_dim: int, size: int, channels: int, dropout: float) -> None:
        super().__init__()
        side = size // 4
        self.first = nn.Linear(z_dim, START * side * side)
        self.net = nn.Sequential(
            nn.ReLU(inplace=True), nn.Unflatten(1, (START, side, side)), *_up(START, 128, dropout),
            *_up(128, 64, dropout), nn.Conv2d(64, channels, 3, 1, 1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        images: Tensor = self.net(self.first(z))
        return images


def _up(a: int, b: int, dropout: float) -> list[nn.Module]:
    return [UpConv2d(a, b, 3), nn.BatchNorm2d(b, momentum=MOMENTUM), nn.Dropout(dropout), nn.ReLU(inplace=True)]


def dense_features(size: int, channels: int, dropout: float) -> nn.Sequential:
    """The discriminator up to its score: images [n, c, size, size] to features [n, 256 (size / 16)^2].

    3x3 convolutions of stride 2 with 32, 64, 128, 256 channels, batch norm (not on the first), dropout, LeakyReLU 0.2.
    """
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise((channels, *WIDTHS))):
        # with an even side and stride 2, zero padding to "the same" size adds a row below and a column to the right
        layers += [nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(a, b, 3, 2)]
        if i > 0:
            layers.append(nn.BatchNorm2d(b, momentum=MOMENTUM))
        layers += [nn.Dropout(dropout), nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers, nn.Flatten())


def dense_feature_length(size: int) -> int:
    """How many features `dense_features` gives."""
    side = size >> len(WIDTHS)
    return WIDTHS[-1] * side * side
