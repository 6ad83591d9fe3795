"""Networks of translation: two generators that turn an image into another, two discriminators that judge its parts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ganatomy.core.errors import UserError
from ganatomy.networks.blocks import Norm, UpConv2d, norm_layer

Upsampling = Literal["nearest", "transposed"]


class UNet(nn.Module):
    """Images [n, c, size, size] to images [n, c, size, size] in [-1, 1] (Ronneberger et al. 2015; Isola et al. 2017).

    Strided convolutions halve the side until `smallest`; a mirrored path doubles it, and at every size takes in the
    encoder's features by concatenation. All but the first layer and those at one pixel are normalised: there, a
    batch of one would have no spread.

    Args:
        size: side of the images, pixels.
        channels: of the images.
        widths: feature channels at size / 2, size / 4, ..., the smallest side.
        norm: batch, or instance, in which no image depends on the others of its batch.
        upsampling: nearest, then a convolution, which cannot checkerboard; or a transposed convolution.
        kernel: side of the convolutions' kernels: 4, or 3 for both ways.
        dropout: probability, after the first `dropout_stages` stages of the decoder.
        dropout_stages: how many.
        full_skip: the last layer sees the input too; otherwise all passes through half the side, and what is one pixel
            wide is lost.
    """

    def __init__(self, size: int, channels: int, widths: Sequence[int], *, norm: Norm = "batch",
                 upsampling: Upsampling = "nearest", kernel: int = 4, dropout: float = 0.0,
                 dropout_stages: int = 3, full_skip: bool = False) -> None:
        super().__init__()
        sides = [size >> i for i in range(1, len(widths) + 1)]
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, kernel, 2, 1, bias=i == 0 or side == 1),
                          *([norm_layer(norm, b)] if i > 0 and side > 1 else []), nn.LeakyReLU(0.2, inplace=True))
            for i, (a, b, side) in enumerate(zip([channels, *widths], widths, sides, strict=False)))
        above, below = list(widths[-2::-1]), [widths[-1], *(2 * w for w in widths[-2:0:-1])]
        self.up = nn.ModuleList(
            nn.Sequential(_up(upsampling, a, b, kernel, bias=False), norm_layer(norm, b), nn.ReLU(inplace=True))
            for a, b in zip(below, above, strict=True))
        last = widths[0] if len(widths) == 1 else 2 * widths[0]
        half = max(1, widths[0] // 2)
        self.last = nn.Sequential(_up(upsampling, last, half if full_skip else channels, kernel, bias=True),
                                  nn.LeakyReLU(0.2, inplace=True) if full_skip else nn.Tanh())
        self.mix = nn.Sequential(nn.Conv2d(half + channels, channels, 3, 1, 1), nn.Tanh()) if full_skip else None
        stages = min(dropout_stages, len(self.up)) if dropout > 0 else 0
        self.dropped = [(above[i], 2 * sides[-1] << i) for i in range(stages)]

    @property
    def switches(self) -> int:
        """How many on-or-off switches dropout has for one image."""
        return sum(c * side * side for c, side in self.dropped)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Translate.

        Args:
            x: [n, c, size, size].
            keep: dropout's factors [n, switches], 0 or 1 / (1 - probability); None drops nothing.
        """
        given, passed = x, []
        for layer in self.down:
            x = layer(x)
            passed.append(x)
        parts = torch.split(keep, [c * s * s for c, s in self.dropped], 1) if keep is not None else ()
        for i, (layer, skip) in enumerate(zip(self.up, passed[-2::-1], strict=True)):
            x = layer(x)
            if i < len(parts):
                x = x * parts[i].view(x.shape).to(x.dtype)
            x = torch.cat([x, skip], 1)
        images: Tensor = self.last(x)
        return images if self.mix is None else self.mix(torch.cat([images, given], 1))


def widths(size: int, smallest: int, width: int, most: int) -> list[int]:
    """Feature channels at size / 2, ..., `smallest`: `width`, doubling, at most `most`.

    Raises:
        UserError: fewer than two sides, which make no U-Net.
    """
    sides = itertools.takewhile(lambda side: side >= smallest, (size >> i for i in itertools.count(1)))
    channels = [min(most, width << i) for i, _ in enumerate(sides)]
    if len(channels) < 2:
        raise UserError(f"a U-Net from {size} pixels down to {smallest} has fewer than two levels",
                        where="model.smallest", fix=f"use at most {size // 4}")
    return channels


def _up(kind: Upsampling, a: int, b: int, kernel: int, bias: bool) -> nn.Module:
    if kind == "nearest":
        return UpConv2d(a, b, kernel, bias=bias)
    return nn.ConvTranspose2d(a, b, kernel, 2, 1, output_padding=kernel % 2, bias=bias)


class Residual(nn.Module):
    """x + f(x), f two mirrored 3x3 convolutions with instance norm: [n, c, h, w] to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(*_conv(channels, channels, 3), nn.ReLU(inplace=True), *_conv(channels, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.net(x)


class ResNet(nn.Module):
    """Images [n, c, s, s] to images [n, c, s, s] in [-1, 1], s a multiple of 4 (Johnson et al. 2016; Zhu et al. 2017).

    Two halvings of the side, each doubling the `width` feature channels of the first layer, residual `blocks`, and two
    doublings of the side.
    """

    def __init__(self, channels: int, width: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_conv(channels, width, 7), nn.ReLU(inplace=True)]
        for w in (width, 2 * width):
            layers += [nn.Conv2d(w, 2 * w, 3, 2, 1, bias=False), norm_layer("instance", 2 * w), nn.ReLU(inplace=True)]
        layers += [Residual(4 * width) for _ in range(blocks)]
        for w in (2 * width, width):
            layers += [nn.ConvTranspose2d(2 * w, w, 3, 2, 1, output_padding=1, bias=False), norm_layer("instance", w),
                       nn.ReLU(inplace=True)]
        self.net = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def _conv(a: int, b: int, kernel: int) -> list[nn.Module]:
    """Mirrored edges instead of zeros, so that the border is no landmark."""
    return [nn.ReflectionPad2d(kernel // 2), nn.Conv2d(a, b, kernel, bias=False), norm_layer("instance", b)]


class PatchGAN(nn.Module):
    """Images [n, c, s, s] to logits [n, 1, m, m], each of a square of the image (Isola et al. 2017, sec. 6.1.2).

    `layers` strided 4x4 convolutions and two of stride 1; with three layers each logit sees 70x70 pixels, and 256x256
    pixels give 30x30 logits.

    `width` feature channels after the first layer, doubling up to eightfold; the first and the last layer have no norm.

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
        return self.net(x).float()


class StridedScores(nn.Module):
    """Images [n, c, s, s] to logits [n, 1, 4, 4]: strided 3x3 convolutions down to 4x4, then one to a single map.

    `width` feature channels after the first layer, doubling up to `most`; the first and the last layer have no norm.
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
        return self.net(x).float()
