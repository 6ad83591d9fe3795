"""The networks that a study's classifiers are, and what their training images are changed by on the fly."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganatomy.core.errors import UserError
from ganatomy.gans.base import Shape, initialise
from ganatomy.gans.dcgan_mammo import channels_downwards, strided

SMALLEST = 16  # px a side: two halvings at least


class FullyConvolutional(nn.Module):
    """The discriminator of `dcgan_mammo` with nine feature maps and one logit a class (Alyafi et al. 2020).

    Two classes get two logits too: their softmax is the sigmoid of their difference, so that it is the same model as
    one logit with binary cross-entropy, and any number of classes has the same form. The last convolution is as large
    as what the halvings leave, 4x4 where the side is a power of two and up to 7x7 elsewhere.

    Args:
        shape: of the images.
        classes: how many.
        width: feature maps at half the side.
    """

    def __init__(self, shape: Shape, classes: int, width: int = 9) -> None:
        super().__init__()
        channels = [shape.channels, *channels_downwards(shape.size, width)]
        left = shape.size >> (len(channels) - 1)
        self.net = nn.Sequential(*strided(channels), nn.Conv2d(channels[-1], classes, left))
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, size, size] to logits [n, classes]."""
        logits: Tensor = self.net(x)
        return logits.flatten(1)


class ResNet(nn.Module):
    """A small residual network of ten layers: three stages of one block, 16, 32, 64 channels (He et al. 2016).

    The first convolution halves the side already, which makes it four times cheaper; the last feature map is averaged,
    so that any size will do.

    Args:
        shape: of the images.
        classes: how many.
        widths: channels of the stages, each at half the side of the one before.
    """

    def __init__(self, shape: Shape, classes: int, widths: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        first = widths[0]
        blocks = [_Block(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(itertools.pairwise((first, *widths)))]
        self.net = nn.Sequential(nn.Conv2d(shape.channels, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first),
                                 nn.ReLU(inplace=True), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                 nn.Linear(widths[-1], classes))
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, size, size] to logits [n, classes]."""
        logits: Tensor = self.net(x)
        return logits


class _Block(nn.Module):
    """[n, a, h, w] to [n, b, h / stride, w / stride]: two 3x3 convolutions beside a shortcut."""

    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True),
                                   nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b))
        self.shortcut: nn.Module = nn.Identity()
        if (a, stride) != (b, 1):
            self.shortcut = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.inner(x) + self.shortcut(x))


def build(name: str, shape: Shape, classes: int) -> nn.Module:
    """The network of that name, its first weights drawn from torch's generator.

    Raises:
        UserError: images too small to be halved twice.
    """
    if shape.size < SMALLEST:
        raise UserError(f"the classifier {name} needs images of {SMALLEST} pixels a side or more, not {shape.size}",
                        where="--classifier", fix="prepare the dataset with a larger --size, or use features")
    return NETWORKS[name](shape, classes)


NETWORKS: dict[str, Callable[[Shape, int], nn.Module]] = {"fcn": FullyConvolutional, "resnet": ResNet}


TURN = math.radians(15)  # at most, either way
POWER = 0.35  # grey values in [0, 1] are raised to exp(-POWER) to exp(POWER)
KNOTS = 5  # a side, that are shifted at random; shifts between them are interpolated, so that bending is smooth
SHIFT = 0.02  # of a knot at most, as a share of the side; the next knot is 12 times as far, so that nothing folds


def generator(seed: int, *step: int) -> torch.Generator:
    """Random numbers of one step, on the CPU so that every device sees the same; a function of (seed, step) alone."""
    return torch.Generator().manual_seed(zlib.crc32("/".join(map(str, ("study", seed, *step))).encode()))


def flip(images: Tensor, random: torch.Generator) -> Tensor:
    """Each image [n, c, h, w] mirrored left-right or not and up-down or not, each with probability 1/2."""
    across, down = torch.rand((2, len(images)), generator=random).to(images.device) < 0.5
    images = torch.where(across[:, None, None, None], images.flip(3), images)
    return torch.where(down[:, None, None, None], images.flip(2), images)


def strong(images: Tensor, random: torch.Generator) -> Tensor:
    """Images [n, c, s, s] in [-1, 1], each mirrored, turned, bent and re-graded at random; -1 from outside.

    What a practitioner would use: rotation by up to 15 degrees, smooth elastic deformation in the manner of Simard et
    al. 2003, and a random power of the grey values, which changes brightness and contrast and leaves background alone.
    """
    images = flip(images, random)
    n, _, side, _ = images.shape
    angles, powers = torch.rand((2, n), generator=random) * 2 - 1
    knots = (torch.rand((n, 2, KNOTS, KNOTS), generator=random) * 2 - 1) * (2 * SHIFT)  # of a grid that is 2 wide
    spread = F.interpolate(torch.eye(KNOTS)[None, None], size=(side, KNOTS), mode="bicubic", align_corners=True)[0, 0]
    shifts = (spread @ knots @ spread.T).to(images.device)  # bicubic along both sides, [n, 2, side, side]
    # turned and bent in one step, which blurs once
    grid = F.affine_grid(_rotations(angles * TURN).to(images.device), list(images.shape), align_corners=False)
    images = F.grid_sample(images + 1, grid + shifts.permute(0, 2, 3, 1), padding_mode="zeros", align_corners=False)
    power = (powers * POWER).exp().to(images.device)[:, None, None, None]
    graded: Tensor = (images / 2).clamp(0, 1) ** power * 2 - 1
    return graded


def _rotations(angles: Tensor) -> Tensor:
    """Matrices [n, 2, 3] of turns about the centre, by angles [n] in radians."""
    zero = torch.zeros_like(angles)
    return torch.stack([torch.stack([angles.cos(), -angles.sin(), zero], 1),
                        torch.stack([angles.sin(), angles.cos(), zero], 1)], 1)
