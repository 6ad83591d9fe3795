"""Discriminators that judge an image part by part: a map of logits instead of one."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from ganatomy.core.errors import UserError
from ganatomy.networks.blocks import Norm, norm_layer


class PatchGAN(nn.Module):
    """Images [n, c, s, s] to logits [n, 1, m, m], each of a square of the image (Isola et al. 2017, sec. 6.1.2).

    `layers` strided 4x4 convolutions and two of stride 1; with three layers each logit sees 70x70 pixels, and 256x256
    pixels give 30x30 logits.

    Args:
        size: side of the images, pixels, a power of two.
        channels: of the input: source and target together where the discriminator is conditional.
        width: feature channels of the first layer, doubling up to eightfold.
        layers: how many halve the side.
        norm: batch or instance; the first and the last layer have none.

    Raises:
        UserError: images too small for so many layers.
    """

    def __init__(self, size: int, channels: int, width: int, layers: int = 3, norm: Norm = "batch") -> None:
        super().__init__()
        if size >> layers < 4:  # the two layers of stride 1 take a pixel each, and norms need more than one
            raise UserError(f"a discriminator of patches with {layers} strided layers takes images of at least "
                            f"{4 << layers} pixels, not {size}", where="size",
                            fix="prepare the dataset with a larger --size, or use fewer layers (pix2pix: --set "
                                "model.d_layers=...)")
        widths = [width * min(8, 2**i) for i in range(layers + 1)]
        parts: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for i, (a, b) in enumerate(itertools.pairwise(widths)):
            parts += [nn.Conv2d(a, b, 4, 2 if i < layers - 1 else 1, 1, bias=False), norm_layer(norm, b),
                      nn.LeakyReLU(0.2, inplace=True)]
        self.net = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.float()


class StridedScores(nn.Module):
    """Images [n, c, s, s] to logits [n, 1, 4, 4]: strided 3x3 convolutions down to 4x4, then one to a single map.

    Args:
        size: side of the images, pixels.
        channels: of the images.
        width: feature channels of the first layer, doubling up to `most`.
        most: cap on the channels.
        norm: batch or instance; the first and the last layer have none.
    """

    def __init__(self, size: int, channels: int, width: int, most: int, norm: Norm = "instance") -> None:
        super().__init__()
        parts: list[nn.Module] = []
        a, b = channels, width
        while size > 4:
            first = not parts
            parts += [nn.Conv2d(a, b, 3, 2, 1, bias=first), *([] if first else [norm_layer(norm, b)]),
                      nn.LeakyReLU(0.2, inplace=True)]
            a, b, size = b, min(most, 2 * b), size // 2
        self.net = nn.Sequential(*parts, nn.Conv2d(a, 1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.float()
