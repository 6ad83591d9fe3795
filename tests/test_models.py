"""What the GANs promise: the fast paths equal the plain ones, gradients go where they should."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ganatomy import models
from ganatomy.errors import UserError
from ganatomy.models.base import Batch, Context
from ganatomy.nn.augment import translate
from ganatomy.nn.blocks import MinibatchStd, UpConv2d
from ganatomy.nn.ema import EMA
from ganatomy.recipe import load
from ganatomy.testing import check_gan

RNG = np.random.default_rng(0)
NEW_GAN = '''
import torch
from torch import nn
from ganatomy.models.base import GAN, Batch, Fakes, GANConfig, Losses

class Config(GANConfig):
    strength: float = 1.0

class Model(GAN):
    def __init__(self, config, shape):
        super().__init__(config, shape)
        self.generator = nn.Conv2d(1, shape.channels, 3, padding=1)
        self.discriminator = nn.Conv2d(shape.channels, 1, 3, padding=1)

    def noise_shape(self):
        return (1, self.shape.size, self.shape.size)

    def forward(self, batch, ctx):
        return Fakes(torch.tanh(self.generator(batch.noise)))

    def discriminator_loss(self, batch, fakes, ctx):
        fake = fakes.target DETACH
        return Losses({"hinge": (self.config.strength, torch.relu(1 - self.discriminator(batch.target)).mean()
                                 + torch.relu(1 + self.discriminator(fake)).mean())})

    def generator_loss(self, batch, fakes, ctx):
        return Losses({"hinge": (1.0, -self.discriminator(fakes.target).mean())})

    def generate(self, batch):
        return Batch(target=torch.tanh(self.generator(batch.noise)))
'''


@pytest.fixture
def gan_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("ganatomy.models.new_")]:
        del sys.modules[name]


def test_a_new_gan_is_one_file(gan_folder: Path, tmp_path: Path) -> None:
    (gan_folder / "new_conv.py").write_text(NEW_GAN.replace("DETACH", ".detach()"))
    check_gan("new_conv", tmp_path / "check")


def test_check_gan_finds_a_discriminator_loss_that_trains_the_generator(gan_folder: Path, tmp_path: Path) -> None:
    (gan_folder / "new_leak.py").write_text(NEW_GAN.replace("DETACH", ""))
    with pytest.raises(AssertionError, match="generator"):
        check_gan("new_leak", tmp_path / "check")


@pytest.mark.parametrize("name", models.names())
def test_every_gan_passes_check_gan(name: str, tmp_path: Path) -> None:
    check_gan(name, tmp_path)


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 7), st.integers(1, 4), st.integers(1, 4), st.integers(1, 9), st.booleans())
def test_upconv_equals_upsampling_then_convolution(k: int, cin: int, cout: int, side: int, bias: bool) -> None:
    torch.manual_seed(k * 1000 + side)
    fused = UpConv2d(cin, cout, k, bias=bias).double()
    plain = fused.as_two_steps()
    x = torch.randn(2, cin, side, side + 1, dtype=torch.double)
    torch.testing.assert_close(fused(x), plain(x), rtol=1e-12, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000), st.floats(0.0, 0.4))
def test_translate_moves_whole_images_and_fills_with_background(seed: int, ratio: float) -> None:
    torch.manual_seed(seed)
    images = torch.full((4, 1, 16, 16), -1.0)
    images[:, :, 7:9, 7:9] = torch.arange(1.0, 5.0).view(4, 1, 1, 1)
    moved = translate(images, ratio)
    for before, after in zip(images, moved, strict=True):
        assert sorted(after.flatten().tolist()) == sorted(before.flatten().tolist())
    assert moved.shape == images.shape


def test_translate_lets_gradients_through() -> None:
    images = torch.zeros(3, 1, 8, 8, requires_grad=True)
    translate(images, 0.125).sum().backward()
    assert images.grad is not None
    assert set(images.grad.unique().tolist()) <= {0.0, 1.0}
    assert images.grad[:, :, 1:-1, 1:-1].min() == 1.0


def test_minibatch_std_tells_a_collapsed_batch_from_a_varied_one() -> None:
    layer = MinibatchStd(4)
    same = layer(torch.ones(8, 2, 4, 4))
    assert same.shape == (8, 3, 4, 4)
    assert same[:, 2].abs().max() < 1e-3
    values = torch.tensor([0.0, 0.0, 2.0, 2.0] * 2).view(8, 1, 1, 1).expand(8, 2, 4, 4)
    # samples 0, 2, 4, 6 and 1, 3, 5, 7 are the groups: each holds 0, 2, 0, 2
    torch.testing.assert_close(layer(values)[:, 2], torch.ones(8, 4, 4), rtol=1e-3, atol=1e-3)


def test_r1_is_the_squared_gradient_summed_over_pixels() -> None:
    model = models.resolve(load("rpgan-64", {"size": 16, "model.width": 8, "model.d_width": 8}), 1)
    weight = torch.randn(1, 1, 16, 16)
    model.discriminator = Linear(weight)
    torch.testing.assert_close(model._r1(torch.randn(5, 1, 16, 16)), weight.square().sum())


class Linear(torch.nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).sum((1, 2, 3))


def test_the_penalty_is_lazy_and_weighted_for_it() -> None:
    model = models.resolve(load("rpgan-64", {"size": 16, "model.lazy": 4, "model.gamma": 0.5}), 1)
    batch = Batch(noise=model.draw_noise(8, RNG), target=torch.rand(8, 1, 16, 16))
    terms = []
    for step in range(5):
        ctx = Context(step, 0, 0.0)
        terms.append(model.discriminator_loss(batch, model(batch, ctx), ctx).terms)
    assert ["r1" in t for t in terms] == [True, False, False, False, True]
    assert terms[0]["r1"][0] == pytest.approx(0.5 / 2 * 4)


def test_dcgan_brain_128_has_the_published_shape() -> None:
    model = models.resolve(load("dcgan-brain-128"), 1)
    shapes = []
    for module in model.generator.modules():
        if isinstance(module, UpConv2d):
            module.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    images = model.generate(Batch(noise=model.draw_noise(2, RNG))).target
    sides, channels = [2, 4, 8, 16, 32, 64, 128], [512, 256, 128, 64, 32, 16, 1]
    assert shapes == [(c, side, side) for c, side in zip(channels, sides, strict=True)]
    assert images is not None
    assert images.abs().max() <= 1


@pytest.mark.parametrize(("gan", "size"), [("rpgan-64", 48), ("dcgan-brain-128", 100)])
def test_sizes_the_networks_cannot_have_are_refused(gan: str, size: int) -> None:
    with pytest.raises(UserError, match="power of two"):
        models.resolve(load(gan, {"size": size}), 1)


def test_an_unknown_gan_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="dcgan, rpgan"):
        models.resolve(load("rpgan-64", {"gan": "vae"}), 1)


def test_ema_halves_the_old_weights_share_over_its_half_life() -> None:
    source, target = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    source.weight.data.fill_(1.0)
    target.weight.data.fill_(0.0)
    ema = EMA(target, share=0.5)
    ema.seen = 1000
    # half-life is about 500 images now: five hundred single images halve the distance, a little less as it grows
    for _ in range(500):
        ema.update(source, 1)
    assert 1 - target.weight.item() == pytest.approx((1000 / 1500) ** (2 * 0.6931), rel=0.01)
