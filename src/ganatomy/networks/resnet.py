"""The residual generator of CycleGAN: down twice, residual blocks, up twice (Johnson et al. 2016; Zhu et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn

from ganatomy.networks.blocks import norm_layer


class Residual(nn.Module):
    """x + f(x), f two mirrored 3x3 convolutions with instance norm: [n, c, h, w] to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(*_conv(channels, channels, 3), nn.ReLU(inplace=True), *_conv(channels, channels, 3))

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = x + self.net(x)
        return changed


class ResNet(nn.Module):
    """Images [n, c, s, s] to images [n, c, s, s] in [-1, 1], s a multiple of 4.

    Args:
        channels: of the images.
        width: feature channels at full size, doubled at each of two halvings.
        blocks: residual blocks at a quarter of the side.
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
        images: Tensor = self.net(x)
        return images


def _conv(a: int, b: int, kernel: int) -> list[nn.Module]:
    """Mirrored edges instead of zeros, so that the border is no landmark."""
    return [nn.ReflectionPad2d(kernel // 2), nn.Conv2d(a, b, kernel, bias=False), norm_layer("instance", b)]
