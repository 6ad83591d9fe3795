"""Image-to-image GANs: the published networks layer by layer, and what generators promise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import load
from ganatomy.gans.base import GAN, Batch
from ganatomy.generators.sampler import Sampler
from ganatomy.networks.image_to_image import PatchGAN, Residual
from tests.builders import SMALL
from tests.gans.models import START, a_batch, small


def full_size(name: str, **settings: Any) -> GAN:
    """As published, without memory or arithmetic."""
    with torch.device("meta"):
        return gans.resolve(load(name, settings), 1)


def lively(model: GAN) -> GAN:
    """Weights ten times as large: those of the start hardly do anything."""
    with torch.no_grad():
        for parameter in model.generator.parameters():
            if parameter.ndim == 4:
                parameter.mul_(10)
    return model.eval()


# ------------------------------------------------------------------ the published networks

def test_the_published_patchgan_gives_30_by_30_scores_for_256_pixels() -> None:
    discriminator = full_size("pix2pix-brain-256").discriminator
    assert discriminator(torch.empty(1, 2, 256, 256, device="meta")).shape == (1, 1, 30, 30)
    layers = [(m.in_channels, m.out_channels, m.kernel_size[0], m.stride[0])
              for m in discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert layers == [(2, 64, 4, 2), (64, 128, 4, 2), (128, 256, 4, 2), (256, 512, 4, 1), (512, 1, 4, 1)]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in discriminator.modules()) == 3  # not on the first, not on the last


def test_each_score_sees_70_by_70_pixels() -> None:
    torch.manual_seed(0)
    discriminator = PatchGAN(128, 1, 4).double().eval()  # batch norm off: it would show every score every pixel
    image = torch.rand(1, 1, 128, 128, dtype=torch.double, requires_grad=True)
    scores = discriminator(image)
    assert scores.shape == (1, 1, 14, 14)
    (seen,) = torch.autograd.grad(scores[0, 0, 7, 6], image)
    rows, columns = (torch.where(seen[0, 0].abs().sum(axis) > 0)[0] for axis in (1, 0))
    assert (len(rows), len(columns)) == (70, 70)
    assert rows.max() - rows.min() == columns.max() - columns.min() == 69


@pytest.mark.parametrize(("name", "channels"), [
    ("pix2pix-brain-256", [64, 128, 256, 512, 512, 512, 512, 512]),
    ("pix2pix-brain-128", [64, 128, 256, 512, 512, 512, 512]),
    ("hybrid-brain-128", [64, 128, 256, 512, 512, 512, 512]),
    ("hybrid-brain-64", [64, 128, 256, 512, 512, 512])])
def test_the_published_unet_goes_down_to_one_pixel_and_mirrors_itself(name: str, channels: list[int]) -> None:
    model = full_size(name)
    net, size = model.generator, model.shape.size
    x, sides = torch.empty(1, 1, size, size, device="meta"), []
    for layer in net.down:
        x = layer(x)
        sides.append(x.shape[2])
    assert sides == [size >> i for i in range(1, len(channels) + 1)]
    assert sides[-1] == 1
    assert [layer[0].out_channels for layer in net.down] == channels
    assert [layer[0].weight.shape[1] for layer in net.up] == channels[-2::-1]
    assert {layer[0].kernel_size for layer in net.down} == {(4, 4)}
    assert [layer[0].weight.shape[-1] for layer in net.up] == [4] * len(net.up)
    normed = [any(isinstance(m, nn.BatchNorm2d) for m in layer) for layer in net.down]
    assert normed == [False, *[True] * (len(channels) - 2), False]
    assert net.dropped == list(zip(channels[-2:-5:-1], (2, 4, 8), strict=True))  # the first three stages
    assert model.config.dropout == 0.25
    assert model.config.dropout_at_test


def test_the_described_cyclegan_ends_in_4_by_4_scores_and_upsamples_by_transposed_convolutions() -> None:
    model = full_size("cyclegan-mri")
    for side in ("source", "target"):
        assert model.discriminator[side](torch.empty(1, 1, 128, 128, device="meta")).shape == (1, 1, 4, 4)
        parts = list(model.generator[side].modules())
        assert all(m.kernel_size == (3, 3) for m in parts if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))
        assert sum(isinstance(m, nn.ConvTranspose2d) for m in parts) == 5  # 4 to 128 pixels
        assert not any(isinstance(m, nn.BatchNorm2d) for m in parts)
    assert (model.config.cycle_weight, model.config.identity_weight, model.config.adversarial) == (15, 0.25, "bce")


def test_the_published_cyclegan_has_9_residual_blocks_and_judges_patches() -> None:
    model = full_size("cyclegan-resnet", size=256)
    for side in ("source", "target"):
        net = model.generator[side]
        blocks = [m for m in net.modules() if isinstance(m, Residual)]
        assert len(blocks) == 9
        assert [m.out_channels for m in blocks[0].modules() if isinstance(m, nn.Conv2d)] == [256, 256]
        first = [m for m in net.modules() if isinstance(m, nn.Conv2d)][:3]
        layers = [(m.out_channels, m.kernel_size[0], m.stride[0]) for m in first]
        assert layers == [(64, 7, 1), (128, 3, 2), (256, 3, 2)]
        assert model.discriminator[side](torch.empty(1, 1, 256, 256, device="meta")).shape == (1, 1, 30, 30)
        assert model.pool[side].size == 50
    assert (model.config.cycle_weight, model.config.identity_weight) == (10, 0.5)
    assert model.config.adversarial == "least_squares"
    recipe = load("cyclegan-resnet")
    assert (recipe.batch_size, recipe.epochs, recipe.learning_rate_fade, recipe.order) == (1, 200, 0.5, "g_first")


@pytest.mark.parametrize("size", [64, 256])
@pytest.mark.parametrize("name", ["pix2pix", "pix2pix-brain-128", "unet", "cyclegan-mri", "cyclegan-resnet",
                                  "hybrid-brain-64"])
def test_every_recipe_makes_images_of_its_size(name: str, size: int) -> None:
    """Thin, but as deep as they are."""
    model = small(name, size=size, **({"model.blocks": 9} if name == "cyclegan-resnet" else {}))
    batch = a_batch(model, 2)
    with torch.no_grad():
        fakes = model(batch, START)
        assert fakes.target.shape == (2, 1, size, size)
        images = model.generate(Batch(noise=batch.noise, source=batch.source if model.translates else None)).target
        assert images is not None and images.shape == (2, 1, size, size)
        assert torch.isfinite(model.generator_loss(batch, fakes, START).total)


@pytest.mark.parametrize(("name", "settings", "words"), [
    ("pix2pix", {"size": 96}, "power of two"), ("cyclegan-mri", {"size": 48}, "power of two"),
    ("cyclegan-resnet", {"size": 100}, "power of two"), ("unet", {"size": 8}, "fewer than two levels"),
    ("pix2pix", {"size": 64, "model.smallest": 32}, "fewer than two levels"),
    ("pix2pix", {"size": 16}, "at least 32 pixels, not 16"), ("cyclegan-resnet", {"size": 16}, "at least 32 pixels"),
    ("pix2pix", {"size": 64, "model.d_layers": 5}, "at least 128 pixels, not 64"),
    ("cyclegan-mri", {"size": 8}, "fewer than two levels"), ("hybrid-brain-64", {"model.stages": [0, 0.5]}, "stages"),
    ("hybrid-brain-64", {"model.stages": [0.5, 0, 1]}, "stages must rise")])
def test_impossible_sizes_and_settings_are_refused_in_words(name: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        small(name, **settings)


# ------------------------------------------------------------------ what the generators do

@pytest.mark.parametrize("name", ["pix2pix", "unet", "cyclegan-mri", "cyclegan-resnet"])
def test_with_instance_norm_no_image_depends_on_its_batch(name: str) -> None:
    model = small(name).train()
    batch = a_batch(model)
    alone = Batch(*(None if x is None else x[:1] for x in (batch.noise, batch.target, batch.source)))
    with torch.no_grad():
        together, single = model(batch, START), model(alone, START)
        torch.testing.assert_close(together.target[:1], single.target, rtol=1e-4, atol=1e-5)
        for key in together.extra:
            torch.testing.assert_close(together.extra[key][:1], single.extra[key], rtol=1e-4, atol=1e-5)


def test_the_noise_is_dropout_of_the_decoder() -> None:
    model = lively(small("pix2pix-brain-128"))
    batch = a_batch(model)
    noise = [model.draw_noise(3, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    values, counts = np.unique(np.concatenate([n.flatten() for n in noise]), return_counts=True)
    np.testing.assert_allclose(values, [0, 1 / 0.75])
    assert counts[0] / counts.sum() == pytest.approx(0.25, abs=0.03)
    with torch.no_grad():
        one, again, other = (model.generate(Batch(noise=n, source=batch.source)).target for n in noise)
        assert torch.equal(one, again)
        assert (one - other).abs().max() > 1e-4
        model = lively(small("pix2pix-brain-128", **{"model.dropout_at_test": False}))
        one, _, other = (model.generate(Batch(noise=n, source=batch.source)).target for n in noise)
        assert torch.equal(one, other)  # off, and in training on all the same
        one, _, other = (model(Batch(noise=n, source=batch.source), START).target for n in noise)
        assert not torch.equal(one, other)


@pytest.mark.parametrize("name", ["pix2pix", "pix2pix-brain-128", "cyclegan-resnet"])
def test_translations_depend_neither_on_their_order_nor_on_how_many_come_together(name: str) -> None:
    recipe = load(name, SMALL[name])
    sampler = Sampler(lively(small(name)), recipe, torch.device("cpu"))
    images = np.random.default_rng(0).uniform(-1, 1, (11, 1, 32, 32)).astype(np.float32)
    whole = sampler.translate(images, seed=3)
    assert whole.dtype == np.float32
    parts = np.concatenate([sampler.translate(images[:2], seed=3), sampler.translate(images[2:], seed=3)])
    turned = sampler.translate(images[::-1], seed=3)[::-1]
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    np.testing.assert_allclose(turned, whole, atol=1e-5)
    assert sampler.translate(images[:0]).shape == (0, 1, 32, 32)
    same = sampler.translate(np.repeat(images[:1], 9, 0), seed=3)  # neighbouring slices must not differ by chance
    np.testing.assert_allclose(same, np.repeat(whole[:1], 9, 0), atol=1e-5)
    differ = np.abs(sampler.translate(images, seed=4) - whole).max()
    assert differ > 1e-4 if name == "pix2pix-brain-128" else differ == 0


def test_both_ways_use_a_generator_each() -> None:
    model = small("cyclegan-mri").eval()
    sampler = Sampler(model, load("cyclegan-mri", SMALL["cyclegan-mri"]), torch.device("cpu"))
    images = a_batch(model).source
    assert images is not None
    for side, backward in (("target", False), ("source", True)):
        with torch.no_grad():
            expected = model.generator[side](images).numpy()
        np.testing.assert_allclose(sampler.translate(images.numpy(), backward=backward), expected, atol=1e-6)
