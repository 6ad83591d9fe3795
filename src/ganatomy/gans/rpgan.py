"""rpgan: our own GAN for small data. DCGAN-shaped, and judged in two ways, each with a weight.

By pixels: a discriminator of the whole image or of patches. By features: heads on what a frozen network sees (Sauer et
al. 2021, Projected GANs). Both with the relativistic pairing loss that makes small GANs converge (Jolicoeur-Martineau
2018; Huang et al. 2024, R3GAN) and a lazy R1 penalty on what they are given, pixels or maps (Mescheder et al. 2018;
every few steps as in Karras et al. 2020), with minibatch standard deviation (Karras et al. 2018; not on patches), and
under differentiable translation (Zhao et al. 2020).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from ganatomy.gans.base import Batch, Context, Fakes, GANConfig, Losses, NoiseGAN, Shape, require_power_of_two
from ganatomy.networks.blocks import Bend, MinibatchStd, UpConv2d, channels_by_size, translate
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
    bend: float = Field(0.0, ge=0, le=0.5, description="largest shift, share of the side, of a smooth field by which a "
                                                       "latent moves the last map")
    gamma: float = Field(0.1, ge=0, description="R1 weight, on the gradient summed over pixels")
    lazy: int = Field(8, ge=1, description="steps between R1 penalties")
    translation: float = Field(0.125, ge=0, le=0.5, description="largest random shift, share of the side")
    group: int = Field(8, ge=1, description="samples a group for the minibatch standard deviation")
    pixels: float = Field(1.0, ge=0, description="weight of the judgement by pixels in the generator's loss")
    patch_layers: int | None = Field(None, ge=1, le=8, description="judge patches, after so many halvings of the side; "
                                                                   "null is the whole image")
    features: float = Field(0.0, ge=0, description="weight of the judgement by frozen EfficientNet-Lite0 features")
    feature_gamma: float = Field(1.0, ge=0, description="R1 weight there, on the gradient summed over a map")
    feature_side: int = Field(64, ge=32, le=4096, description="the frozen network sees images averaged to this side")
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
        self.bend = Bend(config.z_dim, config.bend, shape.size // 2) if config.bend else None
        self.last = _up(config, channels[-1], shape.channels, bias=True)
        nn.init.normal_(self.last.weight, 0.0, 0.02)

    def forward(self, z: Tensor) -> Tensor:
        x = self.first(z).unflatten(1, (-1, 4, 4)).contiguous(memory_format=torch.channels_last)
        x = self.up(F.leaky_relu(self.norm(x), 0.2))
        return torch.tanh(self.last(x if self.bend is None else self.bend(x, z)))


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
        self.features = FeatureDiscriminator(shape.size, config.feature_side, config.feature_width, config.group) \
            if config.features else None

    def forward(self, x: Tensor) -> Tensor:
        """Scores [n] of images [n, c, size, size]: the mean over the judges that there are."""
        scores = [] if self.pixels is None else [self.pixels(x)]
        if self.features is not None:
            scores.append(self.features(x).mean(1))
        return torch.stack(scores).mean(0)


class Model(NoiseGAN):
    """See the module's head."""

    config: Config
    discriminator: Discriminator

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        # the frozen network halves the side five times
        require_power_of_two(shape.size, 32 if config.features else 16, "rpgan")
        self.generator = Generator(config, shape)
        self.discriminator = Discriminator(config, shape)

    @property
    def looks_through(self) -> tuple[str, ...]:
        return (FeatureDiscriminator.network,) if self.config.features else ()

    def discriminator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        assert batch.target is not None
        losses, pixels, features = Losses({}), self.discriminator.pixels, self.discriminator.features
        penalised = ctx.step % self.config.lazy == 0
        if pixels is not None:
            moved = self._moved(batch.target)
            real_score, fake_score = pixels(moved), pixels(self._moved(fakes.target.detach()))
            losses.terms["adversarial"] = (1.0, _paired(real_score, fake_score))
            fakes.extra["pixels"] = real_score.detach()
            losses.diagnostics |= {"real_score": real_score.detach().mean(), "fake_score": fake_score.detach().mean()}
            if penalised and self.config.gamma:
                losses.terms["r1"] = (self._r1_weight(self.config.gamma), r1(lambda x: pixels(x[0]), [moved]))
        if features is not None:
            real, fake = self._seen(features, batch.target, fakes)
            real_score, fake_score = features.heads(real), features.heads([x.detach() for x in fake])
            losses.terms["features"] = (1.0, _paired(real_score, fake_score))
            fakes.extra["features"] = real_score.detach()
            if penalised and self.config.feature_gamma:
                losses.terms["features_r1"] = (self._r1_weight(self.config.feature_gamma), r1(features.heads, real))
        return losses

    def generator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        target = batch.target
        assert target is not None
        losses, pixels, features = Losses({}), self.discriminator.pixels, self.discriminator.features
        if pixels is not None:
            real_score = _once(fakes, "pixels", lambda: pixels(self._moved(target)))
            fake_score = pixels(self._moved(fakes.target))
            losses.terms["adversarial"] = (self.config.pixels, _paired(fake_score, real_score))
        if features is not None:
            real, fake = self._seen(features, target, fakes)
            real_score = _once(fakes, "features", lambda: features.heads(real))
            losses.terms["features"] = (self.config.features, _paired(features.heads(fake), real_score))
        return losses

    def _moved(self, images: Tensor) -> Tensor:
        return translate(images, self.config.translation)

    def _seen(self, features: FeatureDiscriminator, real: Tensor, fakes: Fakes) -> tuple[list[Tensor], list[Tensor]]:
        """What the frozen network sees in real images and in fakes: once, where both losses share these fakes."""
        maps = [seen for name, seen in fakes.extra.items() if name.startswith("map")]
        if not maps:
            with torch.no_grad():
                maps = features.look(self._moved(real))
            maps += features.look(self._moved(fakes.target))
            fakes.extra |= {f"map {number}": seen for number, seen in enumerate(maps)}
        return maps[:len(maps) // 2], maps[len(maps) // 2:]

    def _r1_weight(self, gamma: float) -> float:
        return gamma / 2 * self.config.lazy  # the penalty stands for the steps without one too


def _once(fakes: Fakes, judge: str, score: Callable[[], Tensor]) -> Tensor:
    """A judge's scores of the real images: those of the discriminator's step, where it has just shared these fakes."""
    if judge not in fakes.extra:
        with torch.no_grad():
            fakes.extra[judge] = score()
    return fakes.extra[judge]


def _paired(wins: Tensor, loses: Tensor) -> Tensor:
    """The relativistic pairing loss of scores, [n] or [n, k], of whom is to win and whom to lose."""
    return F.softplus(loses - wins).mean()


def r1(score: Callable[[list[Tensor]], Tensor], seen: list[Tensor]) -> Tensor:
    """Squared gradient of scores [n] or [n, k], each of an input of its own, at what is real; in fp32.

    Summed over an input's elements, averaged over images and inputs.
    """
    with torch.autocast(seen[0].device.type, enabled=False):
        seen = [x.detach().float().requires_grad_(True) for x in seen]
        gradients = torch.autograd.grad(score(seen).sum(), seen, create_graph=True)
        return torch.stack([g.square().sum((1, 2, 3)).mean() for g in gradients]).mean()


def _up(config: Config, a: int, b: int, bias: bool = False) -> nn.ConvTranspose2d | UpConv2d:
    if config.upsampling == "nearest":
        return UpConv2d(a, b, 3, bias=bias)
    layer = nn.ConvTranspose2d(a, b, 4, 2, 1, bias=bias)
    nn.init.normal_(layer.weight, 0.0, math.sqrt(2 / (1 + 0.2**2) / (a * 4)))  # four taps reach an output pixel
    return layer
