"""A discriminator that looks through a frozen network, after Sauer et al. (Projected GANs, NeurIPS 2021).

What EfficientNet-Lite0 sees at four scales is mixed at random, once and for all, and a small head judges each scale.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganatomy.networks import LITE0
from ganatomy.networks.blocks import MinibatchStd
from ganatomy.networks.lite0 import as_lite0_sees, lite0

_TAPS = {3: (4, 24), 5: (8, 40), 11: (16, 112), 16: (32, 320)}  # Lite0's layers: their stride and channels
_SIZES = (8.0, 6.7, 5.3, 2.3)  # root mean square of the mixed maps; on heads and brains alike to a tenth
_SMALLEST = 4  # pixels of a map that a head makes no smaller


class FrozenFeatures(nn.Module):
    """Images [n, c, s, s] in [-1, 1] to four maps [n, width, s / 4], s / 8, s / 16 and s / 32 pixels a side.

    The network's maps are mixed by 1 x 1 convolutions over channels and from coarse to fine over scales, with weights
    that are drawn at the start and never learnt, so that no head can live off a few of its channels (ibid., 3.2), and
    brought to values of about 1. In float32 on a processor: the gradient of its channelwise convolutions is slow in
    bfloat16.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList(list(lite0())[:max(_TAPS) + 1])
        self.across = nn.ModuleList([nn.Conv2d(channels, width, 1) for _, channels in _TAPS.values()])
        self.down = nn.ModuleList([nn.Conv2d(width, width, 3, 1, 1) for _ in _TAPS])
        for conv in (*self.across, *self.down):
            nn.init.kaiming_normal_(conv.weight, 1.0)
            nn.init.zeros_(conv.bias)
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """See the class; the finest map first. Gradients reach the images."""
        on_cpu = images.device.type == "cpu"
        with torch.autocast(images.device.type, torch.bfloat16, enabled=not on_cpu and torch.is_autocast_enabled()):
            maps, x = [], as_lite0_sees(images)
            for number, layer in enumerate(self.net):
                x = layer(x)
                if number in _TAPS:
                    maps.append(x)
            mixed: list[Tensor] = []
            for across, down, seen in zip(reversed(self.across), reversed(self.down), reversed(maps), strict=True):
                x = across(seen)
                if mixed:
                    x = (x + F.interpolate(mixed[-1], size=x.shape[-2:], mode="bilinear")) / math.sqrt(2)
                mixed.append(down(x))
            return [x / size for x, size in zip(reversed(mixed), _SIZES, strict=True)]


class Heads(nn.Module):
    """The four maps of `FrozenFeatures` to scores [n, 4]: of each scale the mean over places.

    Each head halves its map to 4 pixels a side, appends the minibatch standard deviation over `group` samples, and
    judges every place. Without spectral norm: what bounds their slope is a penalty on their gradient (see gans/rpgan).
    """

    def __init__(self, size: int, width: int, group: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList([_head(size // stride, width, group) for stride, _ in _TAPS.values()])

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Scores [n, 4] in float32."""
        return torch.stack([head(seen).float().mean(1) for head, seen in zip(self.heads, maps, strict=True)], 1)


class FeatureDiscriminator(nn.Module):
    """`look`, from images to maps, and `heads`, from maps to scores: what has been seen once can be judged twice.

    Images larger than `side` pixels are averaged down to it: the frozen network judges shapes.
    """

    network = LITE0

    def __init__(self, size: int, side: int, width: int, group: int) -> None:
        super().__init__()
        side = min(size, side)
        self.look = nn.Sequential(nn.AvgPool2d(size // side), FrozenFeatures(width))
        self.heads = Heads(side, width, group)

    def forward(self, x: Tensor) -> Tensor:
        """Images [n, c, size, size] in [-1, 1] to scores [n, 4]."""
        return self.heads(self.look(x))


def _head(side: int, width: int, group: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    while side > _SMALLEST:
        layers += [nn.Conv2d(width, width, 4, 2, 1, bias=False), nn.GroupNorm(8, width),
                   nn.LeakyReLU(0.2, inplace=True)]
        side //= 2
    layers += [MinibatchStd(group, places=True), nn.Conv2d(width + 1, width, 3, 1, 1), nn.LeakyReLU(0.2, inplace=True),
               nn.Conv2d(width, 1, 1), nn.Flatten()]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, 0.2)
    return nn.Sequential(*layers)
