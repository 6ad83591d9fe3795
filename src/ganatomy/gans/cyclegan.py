"""cyclegan: two-way translation learnt without pairs (Zhu et al. 2017): there and back again must give the image.

Both generators and both discriminators are trained together. With `generator: unet`, `discriminator: strided`,
`adversarial: bce` it is what Ganapathy describes for T1 and T2 MR; with resnet, patchgan and least_squares it is the
original paper's. All norms are per image, so several inputs go through a generator as one batch.

Nothing in these losses says which tissue becomes which, and exchanging two of them is as cyclic as the truth: from T1
to T2, fluid often stays dark. Where it is known that one contrast is about the reverse of the other, `greys: falling`
guides the first steps towards each image's own grey values in reverse order; no pair is looked at.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ganatomy.gans.base import (
    GAN,
    Batch,
    Context,
    Fakes,
    GANConfig,
    Losses,
    Shape,
    bce,
    initialise,
    require_power_of_two,
)
from ganatomy.gans.unet import BACKGROUND
from ganatomy.networks.image_to_image import PatchGAN, ResNet, StridedScores, UNet, widths


class Config(GANConfig):
    """Settings of cyclegan."""

    generator: Literal["unet", "resnet"] = "unet"
    width: int = Field(64, ge=1, le=1024, description="channels of the generators' first layer")
    most_channels: int = Field(512, ge=1, le=4096, description="cap on the U-Net's and the strided scores' channels")
    smallest: int = Field(4, ge=2, le=64, description="side at the bottom of the U-Net, pixels, a power of two")
    upsampling: Literal["nearest", "transposed"] = Field("transposed", description="of the U-Net")
    kernel: Literal[3, 4] = Field(3, description="side of the U-Net's kernels")
    blocks: int = Field(9, ge=1, le=32, description="of the ResNet")
    discriminator: Literal["strided", "patchgan"] = Field("strided", description="strided: 4 x 4 scores an image")
    d_width: int = Field(64, ge=1, le=1024, description="channels of the discriminators' first layer")
    adversarial: Literal["bce", "least_squares"] = "bce"
    cycle_weight: float = Field(15.0, ge=0, description="lambda, of the mean absolute error there and back")
    greys: Literal["rising", "falling"] | None = Field(
        None, description="what is known of the grey values: what is brighter here is brighter, or darker, there")
    warm_up: float = Field(0.1, ge=0, le=1, description="first share of the training that this guides")
    warm_weight: float = Field(10.0, ge=0, description="of the guide at the start, falling evenly to 0")
    identity_weight: float = Field(0.25, ge=0, description="share of lambda, of an image of a generator's own target")
    pool: int = Field(0, ge=0, le=1000, description="older fakes kept for each discriminator")


class Model(GAN):
    """See the module's head. `generator` and `discriminator` hold two networks each, by what they make or judge."""

    config: Config
    needs = frozenset({"source", "target"})
    paired = False
    two_way = True
    translates = True

    def __init__(self, config: Config, shape: Shape) -> None:
        super().__init__(config, shape)
        require_power_of_two(shape.size, 2 * config.smallest if config.generator == "unet" else 16, "cyclegan")
        self.generator = nn.ModuleDict({side: _generator(config, shape) for side in ("target", "source")})
        self.discriminator = nn.ModuleDict({side: _discriminator(config, shape) for side in ("target", "source")})
        image = (shape.channels, shape.size, shape.size)
        self.pool = nn.ModuleDict({side: ImagePool(config.pool, image) for side in ("target", "source")})
        self.apply(initialise)

    def forward(self, batch: Batch, ctx: Context) -> Fakes:
        assert batch.source is not None
        assert batch.target is not None
        both = self.config.identity_weight > 0
        to_target = self._make("target", [batch.source, batch.target][: 1 + both])
        to_source = self._make("source", [batch.target, batch.source][: 1 + both])
        extra = {"source": to_source[0], "source_again": self._make("source", [to_target[0]])[0],
                 "target_again": self._make("target", [to_source[0]])[0]}
        if both:
            extra |= {"same_target": to_target[1], "same_source": to_source[1]}
        return Fakes(to_target[0], extra)

    def discriminator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        losses = Losses({})
        for side, (given, fake) in _sides(batch, fakes).items():
            shown = self.pool[side].swap(fake.detach())  # type: ignore
            on_real, on_fake = self.discriminator[side](torch.cat([given, shown])).chunk(2)  # type: ignore
            losses.terms |= {f"real_{side}": (0.5, self._adversarial(on_real, 1.0)),
                             f"fake_{side}": (0.5, self._adversarial(on_fake, 0.0))}
            losses.diagnostics |= {f"score_of_real_{side}": on_real.detach().mean(),
                                   f"score_of_fake_{side}": on_fake.detach().mean()}
        return losses

    def generator_loss(self, batch: Batch, fakes: Fakes, ctx: Context) -> Losses:
        cycle, losses = self.config.cycle_weight, Losses({})
        guide = self.guide_weight(ctx.progress)
        for side, (given, fake) in _sides(batch, fakes).items():
            judged = self.discriminator[side](fake)  # type: ignore
            losses.terms[f"adversarial_{side}"] = (1.0, self._adversarial(judged, 1.0))
            losses.terms[f"cycle_{side}"] = (cycle, (fakes.extra[f"{side}_again"] - given).abs().mean())
            if self.config.identity_weight > 0:
                losses.terms[f"identity_{side}"] = (cycle * self.config.identity_weight,
                                                    (fakes.extra[f"same_{side}"] - given).abs().mean())
            if guide > 0:
                other = batch.source if side == "target" else batch.target
                assert other is not None
                guess = with_greys_of(given, other, self.config.greys == "falling")
                losses.terms[f"greys_{side}"] = (guide, (fake - guess).abs().mean())
        return losses

    def guide_weight(self, progress: float) -> float:
        """Weight of the guide by grey values at a progress from 0 to 1."""
        if self.config.greys is None or progress >= self.config.warm_up:
            return 0.0
        return self.config.warm_weight * (1 - progress / self.config.warm_up)

    def generate(self, batch: Batch) -> Batch:
        if batch.source is not None:
            return Batch(target=self._make("target", [batch.source])[0])
        assert batch.target is not None
        return Batch(source=self._make("source", [batch.target])[0])

    def _make(self, side: str, inputs: list[Tensor]) -> tuple[Tensor, ...]:
        """Images of `side` from each of the inputs, in one pass."""
        images: Tensor = self.generator[side](torch.cat(inputs) if len(inputs) > 1 else inputs[0])  # type: ignore
        return images.float().chunk(len(inputs))

    def _adversarial(self, scores: Tensor, label: float) -> Tensor:
        return bce(scores, label) if self.config.adversarial == "bce" else (scores - label).square().mean()


def _sides(batch: Batch, fakes: Fakes) -> dict[str, tuple[Tensor, Tensor]]:
    """(real images, fakes) of each side."""
    assert batch.target is not None
    assert batch.source is not None
    return {"target": (batch.target, fakes.target), "source": (batch.source, fakes.extra["source"])}


def _generator(config: Config, shape: Shape) -> nn.Module:
    if config.generator == "resnet":
        return ResNet(shape.channels, config.width, config.blocks)
    channels = widths(shape.size, config.smallest, config.width, config.most_channels)
    return UNet(shape.size, shape.channels, channels, norm="instance", upsampling=config.upsampling,
                kernel=config.kernel)


def _discriminator(config: Config, shape: Shape) -> nn.Module:
    if config.discriminator == "patchgan":
        return PatchGAN(shape.size, shape.channels, config.d_width, norm="instance")
    return StridedScores(shape.size, shape.channels, config.d_width, config.most_channels)


class ImagePool(nn.Module):
    """Gives a discriminator older fakes beside new ones, so that it does not forget what it has learnt.

    Until its `size` images are there, images pass and are kept. Then each is, with probability one half, kept in the
    place of a random older one, which is handed out instead. The pool is part of a model's state.

    Source: Shrivastava et al. 2017, section 2.3.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, size: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def swap(self, new: Tensor) -> Tensor:
        """Images [n, c, h, w] for as many given; draws from torch's global generator on the CPU."""
        if self.size == 0:
            return new
        out, filled = new.detach().clone(), int(self.filled)
        places, kept = torch.randint(self.size, (len(new),)).tolist(), (torch.rand(len(new)) < 0.5).tolist()
        for i, (place, keep) in enumerate(zip(places, kept, strict=True)):
            if filled < self.size:
                self.images[filled] = new[i]
                filled += 1
            elif keep:
                out[i] = self.images[place]
                self.images[place] = new[i]
        self.filled.fill_(filled)
        return out


@torch.no_grad()
def with_greys_of(like: Tensor, images: Tensor, falling: bool) -> Tensor:
    """`images` [n, c, h, w] in [-1, 1] with the foreground's grey values of `like`, which need not show the same.

    The brightest pixel of an image gets the brightest value of its partner and so on; where `falling`, the darkest.
    """
    out = images.clone()
    for changed, image, other in zip(out, images, like, strict=True):
        for channel, values in enumerate(other):
            inside = image[channel] > BACKGROUND
            known = values[values > BACKGROUND].sort(descending=falling).values
            count = int(inside.sum())
            if count and len(known):
                ranks = image[channel][inside].argsort().argsort()
                places = ranks.double() * ((len(known) - 1) / max(1, count - 1))
                changed[channel][inside] = known[places.round().long()]
    return out
