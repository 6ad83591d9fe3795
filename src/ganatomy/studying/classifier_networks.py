"""The networks that the study's classifiers are: images in, one logit a class out."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from ganatomy.errors import UserError
from ganatomy.models._bce import initialise
from ganatomy.models.base import Shape
from ganatomy.models.dcgan_mammo import channels_downwards

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
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(itertools.pairwise(channels)):
            kernel = 4 if i == 0 else 6
            layers.append(nn.Conv2d(a, b, kernel, 2, kernel // 2 - 1, bias=False))
            if i > 0:
                layers.append(nn.BatchNorm2d(b))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        left = shape.size >> (len(channels) - 1)
        self.net = nn.Sequential(*layers, nn.Conv2d(channels[-1], classes, left))
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, size, size] to logits [n, classes]."""
        logits: Tensor = self.net(x)
        return logits.flatten(1)


def build(name: str, shape: Shape, classes: int) -> nn.Module:
    """The network of that name, its first weights drawn from torch's generator.

    Raises:
        UserError: images too small to be halved twice.
    """
    if shape.size < SMALLEST:
        raise UserError(f"the classifier {name} needs images of {SMALLEST} pixels a side or more, not {shape.size}",
                        where="--classifier", fix="prepare the dataset with a larger --size, or use features")
    return FullyConvolutional(shape, classes)
