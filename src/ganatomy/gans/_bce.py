"""What the published DCGANs share: binary cross-entropy on logits, first weights from N(0, 0.02)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ganatomy.gans.base import Batch, Context, Fakes, Losses, NoiseGAN
from ganatomy.networks.blocks import UpConv2d


class BCEGAN(NoiseGAN):
    """A noise-to-image GAN of binary cross-entropy, the generator's loss non-saturating (Goodfellow et al. 2014).

    The discriminator gives logits [n]; their sigmoid is the probability of being real.
    """

    def real_label(self, ctx: Context) -> float:
        """What is to be said of real images, and the generator's aim for its own; less than 1 smooths both.

        Salimans et al. 2016 smooth the discriminator's label of real images alone.
        """
        return 1.0

    def discriminator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        return judged(self.discriminator(batch.target), self.discriminator(fakes.target.detach()),
                      self.real_label(ctx))

    def generator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        return Losses({"adversarial": (1.0, bce(self.discriminator(fakes.target), self.real_label(ctx)))})


class Scores(nn.Module):
    """Base of discriminators of one chain of layers, `net`: images [n, c, size, size] to logits [n]."""

    net: nn.Sequential

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.flatten().float()


def judged(real: Tensor, fake: Tensor, real_label: float = 1.0, weight: float = 1.0) -> Losses:
    """What a discriminator minimises that gave these logits to real images and to fakes, each term with a weight."""
    return Losses({"real": (weight, bce(real, real_label)), "fake": (weight, bce(fake, 0.0))},
                  {"real_probability": real.detach().sigmoid().mean(),
                   "fake_probability": fake.detach().sigmoid().mean()})


def bce(logits: Tensor, label: float) -> Tensor:
    """Binary cross-entropy of logits [n] against one label in 0 to 1, averaged."""
    if label == 1:
        return F.softplus(-logits).mean()
    return label * F.softplus(-logits).mean() + (1 - label) * F.softplus(logits).mean()


def initialise(module: nn.Module) -> None:
    """Weights from N(0, 0.02), batch norm scales from N(1, 0.02), as Radford et al. 2016 and its successors do."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, UpConv2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d)):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
