"""What the GANs promise: the fast paths equal the plain ones, gradients go where they should."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import load
from ganatomy.gans.base import Batch, Context, Fakes
from ganatomy.gans.dcgan import dense_features
from ganatomy.gans.rpgan import r1
from ganatomy.networks.blocks import Bend, MinibatchDiscrimination, MinibatchStd, UpConv2d, translate
from ganatomy.testing import check_gan
from ganatomy.training.state import EMA, TrainingState

RNG = np.random.default_rng(0)
# small, for the shapes and rules are those of any width
NARROW = {"cyclegan": {"width": 4, "most_channels": 8, "d_width": 4, "pool": 2},
          "hybrid": {"width": 4, "most_channels": 8}, "pix2pix": {"width": 4, "most_channels": 8, "d_width": 4},
          "unet": {"width": 4, "most_channels": 8},
          "dcgan": {"width": 4, "most_channels": 8, "z_dim": 8}, "dcgan_mammo": {"ngf": 2, "ndf": 2, "z_dim": 8},
          "dcgan_knee": {"start_channels": 4, "z_dim": 8}, "rpgan": {"width": 4, "d_width": 4, "z_dim": 8}}


@pytest.mark.parametrize("name", gans.names())
def test_every_gan_passes_check_gan(name: str, tmp_path: Path) -> None:
    check_gan(name, tmp_path, NARROW[name])


def test_a_bent_generator_judged_by_patches_and_by_features_passes_check_gan(tmp_path: Path) -> None:
    bent = {"patch_layers": 2, "features": 1.0, "feature_width": 8, "bend": 0.15}
    check_gan("rpgan", tmp_path, NARROW["rpgan"] | bent, (32, 128))


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 7), st.integers(1, 4), st.integers(1, 4), st.integers(1, 9), st.booleans())
def test_upconv_equals_upsampling_then_convolution(k: int, cin: int, cout: int, side: int, bias: bool) -> None:
    from benchmarks.step_time import two_steps

    torch.manual_seed(k * 1000 + side)
    fused = UpConv2d(cin, cout, k, bias=bias).double()
    plain = two_steps(fused)
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


def test_minibatch_std_tells_a_collapsed_batch_from_a_varied_one() -> None:
    layer = MinibatchStd(4)
    same = layer(torch.ones(8, 2, 4, 4))
    assert same.shape == (8, 3, 4, 4)
    assert same[:, 2].abs().max() < 1e-3
    values = torch.tensor([0.0, 0.0, 2.0, 2.0] * 2).view(8, 1, 1, 1).expand(8, 2, 4, 4)
    # samples 0, 2, 4, 6 and 1, 3, 5, 7 are the groups: each holds 0, 2, 0, 2
    torch.testing.assert_close(layer(values)[:, 2], torch.ones(8, 4, 4), rtol=1e-3, atol=1e-3)


def test_minibatch_std_by_place_says_where_a_batch_varies() -> None:
    values = torch.zeros(2, 3, 4, 4)
    values[0, :, 1, 2] = 2.0
    expected = torch.zeros(2, 4, 4)
    expected[:, 1, 2] = 1.0
    torch.testing.assert_close(MinibatchStd(2, places=True)(values)[:, 3], expected, rtol=1e-3, atol=1e-3)
    four = torch.cat([values, torch.zeros(2, 3, 4, 4)])  # samples 0 and 2 are a group: the first varies as before
    torch.testing.assert_close(MinibatchStd(2, places=True)(four)[:, 3], expected[[0, 0, 0, 0]]
                               * torch.tensor([1.0, 0.0, 1.0, 0.0]).view(4, 1, 1), rtol=1e-3, atol=1e-3)


def test_bend_moves_by_what_its_field_says_and_each_image_by_its_own_latent() -> None:
    layer, images, latents = Bend(8, 0.25, 16), torch.rand(3, 2, 16, 16), torch.randn(3, 8)
    with torch.no_grad():
        torch.testing.assert_close(layer(images, torch.zeros(3, 8)), images)
        layer.field.bias[:36] = math.atanh(2 / 16 / 0.25)  # two pixels along x, everywhere, and one up
        layer.field.bias[36:] = math.atanh(-1 / 16 / 0.25)
        moved = layer(images, torch.zeros(3, 8))
        torch.testing.assert_close(moved[:, :, 1:, :-2], images[:, :, :-1, 2:], atol=1e-5, rtol=0)
        torch.testing.assert_close(moved[:, :, 1:, -1], images[:, :, :-1, -1], atol=1e-5, rtol=0)  # the border goes on
    nn.init.normal_(layer.field.weight)
    bent = layer(images[:1].expand(3, -1, -1, -1), latents)
    torch.testing.assert_close(bent[1:2], layer(images[:1], latents[1:2]))
    assert not torch.allclose(bent[0], bent[1], atol=0.1)
    bent.square().sum().backward()
    assert layer.field.weight.grad is not None and layer.field.weight.grad.abs().min() > 0


@given(st.integers(0, 10_000))
def test_bend_moves_no_place_farther_than_its_reach(seed: int) -> None:
    torch.manual_seed(seed)
    layer, side = Bend(4, 0.1, 32), 32
    nn.init.normal_(layer.field.weight, 0.0, 20.0)  # knots at their bounds, of either sign: where a cubic goes beyond
    ramp = torch.arange(side).float().expand(1, 1, side, side).contiguous()
    shift = (layer(ramp, torch.randn(1, 4)) - ramp).abs()
    assert 0.08 * side < shift.max() < 0.1 * side + 1e-3


def test_r1_is_the_squared_gradient_summed_over_an_input_and_averaged_over_inputs() -> None:
    weights = [torch.randn(1, 1, 16, 16), torch.randn(1, 3, 4, 4)]
    seen = [torch.randn(5, *weight.shape[1:]) for weight in weights]
    penalty = r1(lambda maps: sum((x * w).sum((1, 2, 3)) for x, w in zip(maps, weights, strict=True)), seen)
    torch.testing.assert_close(penalty, (weights[0].square().sum() + weights[1].square().sum()) / 2)


@pytest.mark.parametrize("pixels", [0.0, 1.0])
def test_a_frozen_network_is_looked_through_once_a_step_and_never_learns(pixels: float) -> None:
    settings = {"size": 32, "model": {"width": 4, "d_width": 4, "features": 1.0, "feature_width": 8, "pixels": pixels}}
    state = TrainingState(load("rpgan-64", settings), 1, torch.device("cpu"))
    model, seen = state.model, []
    model.discriminator.features.look.register_forward_hook(lambda *_: seen.append(1))
    batch = Batch(noise=model.draw_noise(4, RNG), target=torch.rand(4, 1, 32, 32))
    fakes = model(batch, Context(0, 0, 0.0))
    model.discriminator_loss(batch, fakes, Context(0, 0, 0.0)).total.backward()
    model.generator_loss(batch, fakes, Context(0, 0, 0.0)).total.backward()
    assert len(seen) == 2  # real images, fakes
    assert all(p.grad is not None for p in model.generator.parameters())
    assert not any(p.requires_grad for p in model.discriminator.features.look.parameters())
    assert model.looks_through == ("EfficientNet-Lite0",)
    kept = [name for name in model.state_dict() if ".look." in name]  # checkpoints hold what is drawn or learnt
    assert kept and not [name for name in kept if ".net." in name]


@pytest.mark.parametrize("judges", [{"features": 0.0}, {"features": 1.0, "pixels": 0.0}])
def test_real_images_are_scored_once_a_step_and_the_generator_is_told_the_same(judges: dict[str, float]) -> None:
    settings = {"size": 32, "model": {"width": 4, "d_width": 4, "feature_width": 8, "translation": 0.0, **judges}}
    model, ctx, scored = gans.resolve(load("rpgan-64", settings), 1), Context(1, 0, 0.0), []
    judge = model.discriminator.pixels or model.discriminator.features.heads
    batch = Batch(noise=model.draw_noise(4, RNG), target=torch.rand(4, 1, 32, 32))
    fakes = model(batch, ctx)
    alone = model.generator_loss(batch, Fakes(fakes.target), ctx).total
    judge.register_forward_hook(lambda *_: scored.append(1))
    model.discriminator_loss(batch, fakes, ctx)
    shared = model.generator_loss(batch, fakes, ctx).total
    assert len(scored) == 3  # real images, fakes, and fakes for the generator
    torch.testing.assert_close(shared, alone)


def test_the_penalty_is_lazy_and_weighted_for_it() -> None:
    model = gans.resolve(load("rpgan-64", {"size": 16, "model.lazy": 4, "model.gamma": 0.5}), 1)
    batch = Batch(noise=model.draw_noise(8, RNG), target=torch.rand(8, 1, 16, 16))
    terms = []
    for step in range(5):
        ctx = Context(step, 0, 0.0)
        terms.append(model.discriminator_loss(batch, model(batch, ctx), ctx).terms)
    assert ["r1" in t for t in terms] == [True, False, False, False, True]
    assert terms[0]["r1"][0] == pytest.approx(0.5 / 2 * 4)


def output_shapes(network: torch.nn.Module, kinds: tuple[type, ...], x: torch.Tensor) -> list[tuple[int, ...]]:
    """Shapes [c, h, w] or [f] that the layers of these kinds give, in their order."""
    shapes: list[tuple[int, ...]] = []
    hooks = [m.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
             for m in network.modules() if isinstance(m, kinds)]
    network.eval()(x)
    for hook in hooks:
        hook.remove()
    return shapes


def squares(*channels_by_side: tuple[int, int]) -> list[tuple[int, ...]]:
    return [(c, side, side) for c, side in channels_by_side]


@pytest.mark.parametrize(("size", "channels"), [(128, [512, 256, 128, 64, 32, 16, 1]),
                                                (256, [512, 512, 256, 128, 64, 32, 16, 1])])
def test_dcgan_brain_has_the_published_shape(size: int, channels: list[int]) -> None:
    model = gans.resolve(load(f"dcgan-brain-{size}"), 1)
    shapes = output_shapes(model.generator, (UpConv2d,), model.draw_noise(1, RNG))
    assert shapes == squares(*((c, 2 << i) for i, c in enumerate(channels)))


def test_the_dense_architecture_has_the_shape_of_the_training_script() -> None:
    model = gans.resolve(load("dcgan-brain-128", {"model.architecture": "dense"}), 1)
    assert model.noise_shape() == (100,)
    drawn = output_shapes(model.generator, (torch.nn.Linear, UpConv2d, torch.nn.Conv2d), model.draw_noise(1, RNG))
    assert drawn == [(128 * 32 * 32,), *squares((128, 64), (64, 128), (1, 128))]
    judged = output_shapes(model.discriminator, (torch.nn.Conv2d, torch.nn.Linear), torch.zeros(1, 1, 128, 128))
    assert judged == [*squares((32, 64), (64, 32), (128, 16), (256, 8)), (1,)]
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert [(m.num_features, m.momentum) for m in norms] == [(c, 0.2) for c in (128, 64, 64, 128, 256)]
    assert [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)] == [0.25] * 6


def test_the_dense_discriminators_first_convolution_starts_at_the_first_pixel() -> None:
    """"Same" padding of stride 2 on an even side adds nothing above and to the left."""
    convolution = torch.nn.Sequential(*list(dense_features(16, 1, 0.0)[0])[:2])
    convolution[1].weight.data.zero_()
    convolution[1].bias.data.zero_()
    convolution[1].weight.data[0, 0, 0, 0] = 1
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(convolution(x)[0, 0], x[0, 0, ::2, ::2])


@pytest.mark.parametrize("ema", [None, 0.05])
def test_dropout_is_off_in_sampling_and_in_batch_norms_statistics(ema: float | None) -> None:
    recipe = load("dcgan-brain-128", {"size": 16, "model.architecture": "dense", "ema": ema})
    state = TrainingState(recipe, 1, torch.device("cpu"))
    images = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        images.append(state.sampler().sample(4, seed=5))
    assert np.array_equal(*images)


def test_the_variants_of_dcgan_pass_check_gan(tmp_path: Path) -> None:
    check_gan("dcgan", tmp_path, {"architecture": "dense", "minibatch_discrimination": {"kernels": 7, "dims": 2}},
              sizes=(16,))


def test_minibatch_discrimination_gives_the_known_answer() -> None:
    layer = MinibatchDiscrimination(features=2, kernels=2, dims=2)
    # the first kernel sees (x0, x1), the second (2 x0, 0)
    layer.weight.data = torch.tensor([[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 3.0]])
    out = layer(x)
    assert torch.equal(out[:, :2], x)
    # L1 distances by the first kernel: 0-1: 1, 0-2: 4, 1-2: 3; by the second: 2, 2, 0
    e = np.exp
    known = [[e(-1) + e(-4), e(-2) + e(-2)], [e(-1) + e(-3), e(-2) + e(0)], [e(-4) + e(-3), e(-2) + e(0)]]
    torch.testing.assert_close(out[:, 2:], torch.tensor(known, dtype=torch.float32))


def test_dcgan_mammo_128_has_the_published_shape() -> None:
    model = gans.resolve(load("dcgan-mammo-128", {"model.ngf": 2, "model.ndf": 3}), 1)
    assert model.noise_shape() == (200,)
    drawn = output_shapes(model.generator, (torch.nn.ConvTranspose2d,), model.draw_noise(1, RNG))
    assert drawn == squares((20, 4), (16, 8), (8, 16), (4, 32), (2, 64), (1, 128))
    judged = output_shapes(model.discriminator, (torch.nn.Conv2d,), torch.zeros(1, 1, 128, 128))
    assert judged == squares((3, 64), (6, 32), (12, 16), (24, 8), (30, 4), (1, 1))
    kinds = (torch.nn.Conv2d, torch.nn.ConvTranspose2d)
    assert all(m.bias is None for m in model.modules() if isinstance(m, kinds))
    kernels = [m.kernel_size[0] for m in model.discriminator.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kernels == [4, 6, 6, 6, 6, 4]
    published = gans.resolve(load("dcgan-mammo-128"), 1)
    g, d = (sum(p.numel() for p in n.parameters()) / 1e6 for n in (published.generator, published.discriminator))
    assert (round(g), round(d, 1)) == (5, 8.9)


@pytest.mark.parametrize(("side", "upwards"), [(8, squares((32, 16), (32, 32), (32, 64), (16, 128), (1, 128))),
                                               (32, squares((32, 64), (16, 128), (1, 128)))])
def test_dcgan_knee_128_has_the_published_shape_from_any_first_side(side: int, upwards: list[tuple[int, ...]]) -> None:
    model = gans.resolve(load("dcgan-knee-128", {"model.start_side": side}), 1)
    kinds = (torch.nn.Linear, torch.nn.ConvTranspose2d)
    assert output_shapes(model.generator, kinds, model.draw_noise(1, RNG)) == [(side * side * 64,), *upwards]
    judged = output_shapes(model.discriminator, (torch.nn.MaxPool2d, torch.nn.Linear), torch.zeros(1, 1, 128, 128))
    assert judged == [*squares((16, 64), (32, 32), (64, 16)), (256,), (1,)]


def test_the_real_label_is_drawn_once_an_epoch_from_the_seed() -> None:
    recipe = load("dcgan-mammo-128", {"size": 16, "model.ngf": 2, "model.ndf": 2})

    def labels(seed: int) -> list[float]:
        torch.manual_seed(seed)
        model = gans.resolve(recipe, 1)
        return [model.real_label(Context(step, step // 2, 0.0)) for step in range(400)]

    drawn = labels(0)
    assert drawn[::2] == drawn[1::2]
    assert len(set(drawn)) == 200
    assert 0.7 <= min(drawn) < 0.71
    assert 0.99 < max(drawn) <= 1.0
    assert labels(0) == drawn
    assert labels(1) != drawn


def test_label_smoothing_is_one_sided_and_the_aim_of_both_networks() -> None:
    model = gans.resolve(load("dcgan-mammo-128", {"size": 16, "model.ngf": 2, "model.ndf": 2}), 1)
    batch, ctx = Batch(noise=model.draw_noise(6, RNG), target=torch.rand(6, 1, 16, 16) * 2 - 1), Context(9, 3, 0.0)
    fakes, label = model(batch, ctx), model.real_label(ctx)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    real, fake = model.discriminator(batch.target), model.discriminator(fakes.target)
    d, g = model.discriminator_loss(batch, fakes, ctx).total, model.generator_loss(batch, fakes, ctx).total
    torch.testing.assert_close(d, entropy(real, torch.full((6,), label)) + entropy(fake, torch.zeros(6)))
    torch.testing.assert_close(g, entropy(fake, torch.full((6,), label)))


@pytest.mark.parametrize(("gan", "settings", "words"), [
    ("rpgan-64", {"size": 48}, "whose side is .*not 48"), ("dcgan-brain-128", {"size": 100}, "whose side is .*not 100"),
    ("dcgan-mammo-128", {"size": 96}, "whose side is .*not 96"), ("dcgan-knee-128", {"size": 96}, "not 96"),
    ("dcgan-knee-128", {"size": 8}, "not 8"), ("dcgan-knee-128", {"model.start_side": 9}, r"start_side \(9\)")])
def test_sizes_the_networks_cannot_have_are_refused(gan: str, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        gans.resolve(load(gan, settings), 1)


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
