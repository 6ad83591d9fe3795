"""pix2pix: paired translation after Isola et al. 2017: a U-Net, a discriminator of patches that sees both, and L1.

The U-Net's decoder is upsampling and convolution, as Schilling 2020 (Linkoping) has it. Dropout in the decoder is the
noise: given with the batch, so that the same noise gives the same image.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ganatomy.gans.base import Batch, Context, Fakes, Losses, Shape, bce, initialise, judged
from ganatomy.gans.unet import UNetConfig, UNetGAN, l1
from ganatomy.networks.image_to_image import PatchGAN


class Config(UNetConfig):
    """Settings of pix2pix."""

    d_width: int = Field(64, ge=1, le=1024, description="channels of the discriminator's first layer")
    d_layers: int = Field(3, ge=1, le=5, description="strided layers of the discriminator; 3 see 70 x 70 pixels")
    adversarial_weight: float = Field(1.0, ge=0)


class Model(UNetGAN):
    """See the module's head."""

    config: Config

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        self.discriminator = PatchGAN(shape.size, 2 * shape.channels, config.d_width, config.d_layers, config.norm)
        self.apply(initialise)

    def discriminator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        # halved as in Isola et al. 2017, sec. 3.3; Adam makes nothing of a constant factor
        return judged(self._judge(batch, batch.target), self._judge(batch, fakes.target.detach()), weight=0.5)

    def generator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        adversarial = bce(self._judge(batch, fakes.target), 1.0)
        return Losses({"adversarial": (self.config.adversarial_weight, adversarial),
                       "l1": (self.config.l1_weight, l1(fakes.target, batch, self.config.background_weight))})

    def _judge(self, batch: Batch, target: Tensor | None) -> Tensor:
        assert batch.source is not None
        assert target is not None
        return self.discriminator(torch.cat([batch.source, target], 1))
