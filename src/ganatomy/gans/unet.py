"""unet: the generator of pix2pix trained on the L1 distance alone, without a GAN: the baseline to beat.

Also what the GANs with a U-Net generator share: its settings, its dropout, the distance to the truth.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ganatomy.gans.base import GAN, Batch, Context, Fakes, GANConfig, Losses, Shape, initialise, require_power_of_two
from ganatomy.networks.image_to_image import UNet, widths

BACKGROUND = -0.8
"""A pixel is background where source and target are both below: a tenth of the range above its low end."""


class UNetConfig(GANConfig):
    """Settings of a U-Net generator that is held to the truth."""

    width: int = Field(64, ge=1, le=1024, description="channels at half the image's side; doubles downwards")
    most_channels: int = Field(512, ge=1, le=4096, description="cap on the channels")
    smallest: int = Field(1, ge=1, le=64, description="side at the bottom of the U-Net, pixels, a power of two")
    norm: Literal["batch", "instance"] = "batch"
    upsampling: Literal["nearest", "transposed"] = Field(
        "nearest", description="nearest + convolution, which cannot checkerboard, or a transposed convolution")
    kernel: Literal[3, 4] = Field(4, description="side of the convolutions' kernels")
    full_skip: bool = Field(False, description="the last layer sees the input too, for what is one pixel wide")
    dropout: float = Field(0.25, ge=0, lt=1, description="in the first three stages of the decoder: it is the noise")
    dropout_at_test: bool = Field(True, description="keep it on, seeded, in generation")

    l1_weight: float = Field(100.0, ge=0, description="of the mean absolute error")
    background_weight: float = Field(1.0, ge=0, le=1,
                                     description="of pixels where source and target are both background; 1 is a mean")


class UNetGAN(GAN):
    """Base of GANs whose generator is a U-Net with dropout as its noise."""

    needs = frozenset({"source", "target", "noise"})
    translates = True
    generator: UNet

    def __init__(self, config: Any, shape: Shape) -> None:
        super().__init__(config, shape)
        require_power_of_two(shape.size, max(8, 2 * config.smallest), "a U-Net")
        channels = widths(shape.size, config.smallest, config.width, config.most_channels)
        self.generator = UNet(shape.size, shape.channels, channels, norm=config.norm, upsampling=config.upsampling,
                              kernel=config.kernel, dropout=config.dropout, full_skip=config.full_skip)

    def noise_shape(self) -> tuple[int, ...]:
        return (self.generator.switches,)

    def draw_noise(self, n: int, rng: np.random.Generator) -> Tensor:
        """Dropout's factors [n, switches], 0 or 1 / (1 - probability)."""
        kept = rng.random((n, self.generator.switches), np.float32) >= self.config.dropout
        return torch.from_numpy(kept.astype(np.float32) / np.float32(1 - self.config.dropout))

    def forward(self, batch: Batch, ctx: Context) -> Fakes:
        return Fakes(self.generator(batch.source, batch.noise).float())

    def generate(self, batch: Batch) -> Batch:
        keep = batch.noise if self.config.dropout_at_test else None
        return Batch(target=self.generator(batch.source, keep).float())


def l1(images: Tensor, batch: Batch, background_weight: float) -> Tensor:
    """Mean absolute error of images [n, c, h, w] against the batch's target.

    With a background weight below 1 the mean is weighted, so that much empty space does not water it down.
    """
    assert batch.target is not None
    error = (images - batch.target).abs()
    if background_weight == 1:
        return error.mean()
    assert batch.source is not None
    content = (torch.maximum(batch.source, batch.target) > BACKGROUND).any(1, keepdim=True)
    weight = torch.where(content, 1.0, background_weight).to(error.dtype).expand_as(error)
    return (weight * error).sum() / weight.sum().clamp(min=1e-6)


class Config(UNetConfig):
    """Settings of unet."""


class Model(UNetGAN):
    """See the module's head."""

    config: Config
    adversarial = False

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.discriminator = nn.Identity()
        self.apply(initialise)

    def discriminator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        return Losses({})

    def generator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        return Losses({"l1": (self.config.l1_weight, l1(fakes.target, batch, self.config.background_weight))})
