"""rpgan: our own GAN for small data. DCGAN-shaped, and judged in two ways, each with a weight.

By pixels: a discriminator of the whole image or of patches, with the relativistic pairing loss that makes small GANs
converge (Jolicoeur-Martineau 2018; Huang et al. 2024, R3GAN), a lazy R1 penalty (Mescheder et al. 2018; every few steps
as in Karras et al. 2020) and minibatch standard deviation (Karras et al. 2018). By features: heads on what a frozen
network sees, with the hinge loss (Sauer et al. 2021, Projected GANs). Both see images under differentiable translation
(Zhao et al. 2020).
"""

from __future__ import annotations

import itertools
import math
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from ganatomy.gans.base import Batch, Context, Fakes, GANConfig, Losses, NoiseGAN, Shape, require_power_of_two
from ganatomy.networks.blocks import MinibatchStd, UpConv2d, channels_by_size, translate
from ganatomy.networks.frozen import FeatureDiscriminator


class Config(GANConfig):
    """Settings of rpgan."""

    z_dim: int = Field(64, ge=1, le=4096, description="length of a latent")
    width: int = Field(32, ge=1, le=4096,
                       description="generator channels at half the image's side; doubles downwards")
    d_width: int = Field(32, ge=1, le=4096,
                       description="discriminator channels at half the image's side; doubles downwards")
    most_channels: int = Field(256, ge=1, le=4096, description="cap on both")
    upsampling: str = Field("nearest", pattern="^(transposed|nearest)$",
                            description="free 4x4 kernels, or nearest + 3x3, which cannot checkerboard")
    gamma: float = Field(0.1, ge=0, description="R1 weight, on the gradient summed over pixels")
    lazy: int = Field(8, ge=1, description="steps between R1 penalties")
    translation: float = Field(0.125, ge=0, le=0.5, description="largest random shift, share of the side")
    group: int = Field(8, ge=1, description="samples a group for the minibatch standard deviation")
    pixels: float = Field(1.0, ge=0, description="weight of the judgement by pixels in the generator's loss")
    patch_layers: int | None = Field(None, ge=1, le=8, description="judge patches, after so many halvings of the side; "
                                                                   "null is the whole image")
    features: float = Field(0.0, ge=0, description="weight of the judgement by frozen EfficientNet-Lite0 features")
    feature_width: int = Field(64, ge=8, le=4096, multiple_of=8, description="channels of the features' mix and heads")

    @model_validator(mode="after")
    def _judged(self) -> Self:
        if not (self.pixels or self.features):
            raise ValueError("pixels or features must be above 0, or nobody judges the images")
        return self


class Generator(nn.Module):
    """Latents [n, z_dim] to images [n, c, size, size] in [-1, 1]."""

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__()
        channels = channels_by_size(shape.size // 2, 4, config.width, config.most_channels)
        self.first = nn.Linear(config.z_dim, channels[0] * 16, bias=False)
        self.norm = nn.BatchNorm2d(channels[0])
        self.up = nn.Sequential(*[
            nn.Sequential(_up(config, a, b), nn.BatchNorm2d(b), nn.LeakyReLU(0.2, inplace=True))
            for a, b in itertools.pairwise(channels)])
        self.last = _up(config, channels[-1], shape.channels, bias=True)
        nn.init.normal_(self.last.weight, 0.0, 0.02)

    def forward(self, z: Tensor) -> Tensor:
        x = self.first(z).unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        return torch.tanh(self.last(self.up(F.leaky_relu(self.norm(x), 0.2))))


class PixelDiscriminator(nn.Module):
    """Images [n, c, size, size] to scores [n]: of the whole image, or the mean over patches."""

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__()
        widths = channels_by_size(shape.size // 2, 4, config.d_width, config.most_channels)[::-1]
        channels = [shape.channels, *widths[:config.patch_layers]]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(channels):
            layers += [nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        top = channels[-1]
        if config.patch_layers is None:
            layers += [MinibatchStd(config.group), nn.Conv2d(top + 1, top, 3, 1, 1), nn.LeakyReLU(0.2, inplace=True),
                       nn.Flatten(), nn.Linear(top * 16, 1)]
        else:
            layers += [nn.Conv2d(top, top, 3, 1, 1), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(top, 1, 1)]
        self.net = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, 0.2)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).float().flatten(1).mean(1)


class Discriminator(nn.Module):
    """The judges that the recipe gives a weight; each of them None where it has none."""

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__()
        self.pixels = PixelDiscriminator(config, shape) if config.pixels else None
        self.features = FeatureDiscriminator(shape.size, config.feature_width) if config.features else None

    def forward(self, x: Tensor) -> Tensor:
        """Scores [n] of images [n, c, size, size]: the mean over the judges that there are."""
        scores = [] if self.pixels is None else [self.pixels(x)]
        if self.features is not None:
            heads = self.features.heads(self.features.look(x))
            scores.append(torch.stack([head.flatten(1).mean(1) for head in heads]).mean(0))
        return torch.stack(scores).mean(0)


class Model(NoiseGAN):
    """See the module's head."""

    config: Config
    discriminator: Discriminator

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        require_power_of_two(shape.size, 16, "rpgan")
        self.generator = Generator(config, shape)
        self.discriminator = Discriminator(config, shape)

    @property
    def looks_through(self) -> tuple[str, ...]:
        return (FeatureDiscriminator.network,) if self.config.features else ()

    def discriminator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        assert batch.target is not None
        losses, pixels, features = Losses({}), self.discriminator.pixels, self.discriminator.features
        if pixels is not None:
            real = self._moved(batch.target)
            real_score, fake_score = pixels(real), pixels(self._moved(fakes.target.detach()))
            losses.terms["adversarial"] = (1.0, F.softplus(fake_score - real_score).mean())
            losses.diagnostics |= {"real_score": real_score.detach().mean(), "fake_score": fake_score.detach().mean()}
            if self.config.gamma and ctx.step % self.config.lazy == 0:
                # the penalty stands for the steps without one too, hence the factor
                losses.terms["r1"] = (self.config.gamma / 2 * self.config.lazy, self._r1(pixels, real))
        if features is not None:
            with torch.no_grad():
                real_maps = features.look(self._moved(batch.target))
            real_scores = features.heads(real_maps)
            fake_scores = features.heads([seen.detach() for seen in self._seen(features, fakes)])
            hinges = [F.relu(1 - real).mean() + F.relu(1 + fake).mean()
                      for real, fake in zip(real_scores, fake_scores, strict=True)]
            losses.terms["features"] = (1.0, torch.stack(hinges).mean())
            losses.diagnostics["real_sign"] = torch.stack([s.detach().sign().mean() for s in real_scores]).mean()
        return losses

    def generator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        assert batch.target is not None
        losses, pixels, features = Losses({}), self.discriminator.pixels, self.discriminator.features
        if pixels is not None:
            with torch.no_grad():
                real_score = pixels(self._moved(batch.target))
            fake_score = pixels(self._moved(fakes.target))
            losses.terms["adversarial"] = (self.config.pixels, F.softplus(real_score - fake_score).mean())
        if features is not None:
            scores = features.heads(self._seen(features, fakes))
            losses.terms["features"] = (self.config.features, -torch.stack([s.mean() for s in scores]).mean())
        return losses

    def _moved(self, images: Tensor) -> Tensor:
        return translate(images, self.config.translation)

    def _seen(self, features: FeatureDiscriminator, fakes: Fakes) -> list[Tensor]:
        """What the frozen network sees in the fakes: once, where both losses share a pass of the generator."""
        if not fakes.extra:
            fakes.extra = dict(zip("0123", features.look(self._moved(fakes.target)), strict=True))
        return list(fakes.extra.values())

    @staticmethod
    def _r1(pixels: PixelDiscriminator, real: Tensor) -> Tensor:
        """Squared gradient of the score at real images, summed over pixels, averaged over images; in fp32."""
        with torch.autocast(real.device.type, enabled=False):
            real = real.detach().float().requires_grad_(True)
            (gradient,) = torch.autograd.grad(pixels(real).sum(), real, create_graph=True)
            return gradient.square().sum((1, 2, 3)).mean()


def _up(config: Config, a: int, b: int, bias: bool = False) -> nn.ConvTranspose2d | UpConv2d:
    if config.upsampling == "nearest":
        return UpConv2d(a, b, 3, bias=bias)
    layer = nn.ConvTranspose2d(a, b, 4, 2, 1, bias=bias)
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / (1 + 0.2**2) / (a * 4)))  # four taps reach an output pixel
    return layer
