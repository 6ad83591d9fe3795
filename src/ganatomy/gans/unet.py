"""unet: the generator of pix2pix trained on the L1 distance alone, without a GAN: the baseline to beat."""

from __future__ import annotations

from torch import nn

from ganatomy.gans._bce import initialise
from ganatomy.gans._unet import L1Config, UNetGAN, l1
from ganatomy.gans.base import Batch, Context, Fakes, Losses, Shape


class Config(L1Config):
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
