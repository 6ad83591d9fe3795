"""GANs that translate: the published networks layer by layer, every loss term by hand, what generators promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import load
from ganatomy.gans.base import GAN, Batch, Context
from ganatomy.gans.cyclegan import ImagePool, with_greys_of
from ganatomy.gans.unet import l1
from ganatomy.generators.sampler import Sampler
from ganatomy.networks.image_to_image import PatchGAN, Residual
from tests.builders import SMALL

START = Context(0, 0, 0.0)


def small(name: str, channels: int = 1, **settings: Any) -> GAN:
    torch.manual_seed(0)
    return gans.resolve(load(name, SMALL[name] | settings), channels)


def a_batch(model: GAN, n: int = 3, seed: int = 0) -> Batch:
    torch.manual_seed(seed)
    shape = (n, model.shape.channels, model.shape.size, model.shape.size)
    noise = model.draw_noise(n, np.random.default_rng(seed)) if "noise" in model.needs else None
    return Batch(noise=noise, target=torch.rand(shape) * 2 - 1, source=torch.rand(shape) * 2 - 1)


class Toy(nn.Module):
    """Any function as a network; keeps what it was given."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function, self.given = function, []

    def forward(self, x: Tensor, *more: Any) -> Tensor:
        self.given.append(x.detach().clone())
        return self.function(x)


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


# ------------------------------------------------------------------ losses

def row(*values: float) -> Tensor:
    return torch.tensor(values).view(1, 1, 1, -1)


def test_the_distance_to_the_truth_counts_background_as_told() -> None:
    source, target = row(-1, 0, -1, 1), row(-1, -0.9, 0, 1)
    made = target + row(0.1, -0.2, 0.3, -0.4)
    batch = Batch(source=source, target=target)
    assert float(l1(made, batch, 1.0)) == pytest.approx((0.1 + 0.2 + 0.3 + 0.4) / 4)
    # only the first pixel is background in both
    assert float(l1(made, batch, 0.1)) == pytest.approx((0.1 * 0.1 + 0.2 + 0.3 + 0.4) / 3.1)
    assert float(l1(made, batch, 0.0)) == pytest.approx((0.2 + 0.3 + 0.4) / 3)
    empty = Batch(source=row(-1, -1), target=row(-1, -1))
    assert float(l1(row(0, 0), empty, 0.0)) == 0.0
    # a pixel is content where any colour is
    colours = Batch(source=torch.cat([row(-1, -1), row(0.5, -1)], 1), target=torch.full((1, 2, 1, 2), -1.0))
    assert float(l1(torch.cat([row(-1, 0), row(-0.5, 0)], 1), colours, 0.0)) == pytest.approx(0.25)


def test_pix2pix_weighs_100_times_the_distance_and_half_of_each_discriminator_term() -> None:
    model = small("pix2pix-brain-128")
    batch = a_batch(model)
    model.discriminator = Toy(lambda x: torch.full((len(x), 1, 2, 2), 0.7) + 0 * x.sum())
    fakes = model(batch, START)
    d, g = model.discriminator_loss(batch, fakes, START), model.generator_loss(batch, fakes, START)
    softplus = {sign: float(F.softplus(torch.tensor(sign * 0.7))) for sign in (-1, 1)}
    assert float(d.total) == pytest.approx(0.5 * softplus[-1] + 0.5 * softplus[1])
    distance = float((fakes.target.detach() - batch.target).abs().mean())
    assert float(g.total) == pytest.approx(softplus[-1] + 100 * distance, rel=1e-5)
    pairs = [torch.cat([batch.source, image.detach()], 1) for image in (batch.target, fakes.target, fakes.target)]
    for given, expected in zip(model.discriminator.given, pairs, strict=True):
        assert torch.equal(given, expected)  # the discriminator sees what was to be translated beside the answer


def test_unet_learns_from_the_distance_alone() -> None:
    model = small("unet")
    batch = a_batch(model)
    fakes = model(batch, START)
    losses = model.generator_loss(batch, fakes, START)
    assert list(losses.terms) == ["l1"]
    assert float(losses.total) == pytest.approx(100 * float(l1(fakes.target, batch, 0.1)), rel=1e-5)
    assert not model.adversarial
    assert model.discriminator_loss(batch, fakes, START).terms == {}


def toy_cyclegan(name: str, to_target: Any, to_source: Any, **settings: Any) -> GAN:
    """cyclegan with functions as generators, and discriminators that give the image itself as its scores."""
    model = small(name, **{"model.pool": 0} | settings)
    model.generator = nn.ModuleDict({"target": Toy(to_target), "source": Toy(to_source)})
    model.discriminator = nn.ModuleDict({"target": Toy(lambda x: x), "source": Toy(lambda x: x)})
    return model


def term(losses: Any, name: str) -> tuple[float, float]:
    weight, value = losses.terms[name]
    return weight, float(value)


def mean(values: Tensor) -> Any:
    return pytest.approx(float(values.mean()), rel=1e-5)


@pytest.mark.parametrize(("name", "cycle", "identity"), [("cyclegan-resnet", 10, 5), ("cyclegan-mri", 15, 3.75)])
def test_cyclegan_term_by_term(name: str, cycle: float, identity: float) -> None:
    model = toy_cyclegan(name, lambda x: x / 2, lambda x: x + 0.25)
    batch = a_batch(model)
    s, t = batch.source, batch.target
    assert s is not None and t is not None
    fakes = model(batch, START)
    g = model.generator_loss(batch, fakes, START)
    assert term(g, "cycle_source") == (cycle, mean((s / 2 + 0.25 - s).abs()))
    assert term(g, "cycle_target") == (cycle, mean(((t + 0.25) / 2 - t).abs()))
    assert term(g, "identity_target") == (identity, mean((t / 2 - t).abs()))
    assert term(g, "identity_source") == (identity, pytest.approx(0.25, rel=1e-5))

    def against(scores: Tensor, label: int) -> Any:
        squares = name == "cyclegan-resnet"
        return mean((scores - label) ** 2 if squares else F.softplus(scores if label == 0 else -scores))

    assert term(g, "adversarial_target") == (1, against(s / 2, 1))
    assert term(g, "adversarial_source") == (1, against(t + 0.25, 1))
    d = model.discriminator_loss(batch, fakes, START)
    assert term(d, "real_target") == (0.5, against(t, 1))
    assert term(d, "fake_target") == (0.5, against(s / 2, 0))
    assert term(d, "real_source") == (0.5, against(s, 1))
    assert term(d, "fake_source") == (0.5, against(t + 0.25, 0))
    assert len(g.terms) == 6
    assert len(d.terms) == 4


# ------------------------------------------------------------------ the image pool

def numbered(first: int, n: int) -> Tensor:
    return torch.arange(first, first + n, dtype=torch.float32).view(n, 1, 1, 1)


def test_a_full_pool_swaps_half_of_the_images_for_older_ones_each_of_which_leaves_it() -> None:
    torch.manual_seed(0)
    pool = ImagePool(10, (1, 1, 1))
    assert torch.equal(pool.swap(numbered(0, 10)), numbered(0, 10))  # until it is full it passes and keeps
    assert torch.equal(pool.images, numbered(0, 10))
    n = 4000
    given = numbered(10, n)
    out = torch.cat([pool.swap(part) for part in given.split(4)])
    older = out[out != given].flatten()
    assert abs(len(older) / n - 0.5) < 4 * 0.5 / n**0.5
    assert len(set(older.tolist())) == len(older)  # handed out once, then gone
    assert sorted([*out.flatten().tolist(), *pool.images.flatten().tolist()]) == list(range(n + 10))
    ages = (given - out)[out != given]
    assert float(ages.min()) > 0
    assert float(ages.mean()) == pytest.approx(2 * 10, rel=0.15)  # of ten places one is emptied every second image


# ------------------------------------------------------------------ hybrid

@pytest.mark.parametrize("steps", [11, 33, 110, 3300, 3000])
def test_every_stage_of_the_hybrid_takes_an_equal_share_of_the_steps(steps: int) -> None:
    model = hybrid_stages(ELEVEN)
    shares = [model.noise_share(step / steps) for step in range(steps)]
    assert shares == sorted(shares)
    assert sorted(set(shares)) == [i / 10 for i in range(11)]
    counts = [shares.count(w) for w in sorted(set(shares))]
    assert max(counts) - min(counts) <= 1
    assert (shares[0], shares[-1], model.noise_share(1.0)) == (0, 1, 1)


ELEVEN = [i / 10 for i in range(11)]


def hybrid_stages(stages: Sequence[float]) -> GAN:
    return small("hybrid-brain-64", **{"model.stages": list(stages)})


def test_the_hybrids_input_is_the_image_and_noise_by_w() -> None:
    model = hybrid_stages([0.3, 1])
    batch = a_batch(model)
    toy = Toy(torch.tanh)
    toy.switches = model.generator.switches
    model.generator = toy
    model(batch, START)
    noise = batch.noise[:, :32 * 32].view(3, 1, 32, 32)
    torch.testing.assert_close(toy.given[0], 0.7 * batch.source + 0.3 * noise)
    assert abs(float(noise.std()) - 1) < 0.05


def test_the_weight_of_the_distance_falls_as_the_noise_rises() -> None:
    model = hybrid_stages(ELEVEN)
    batch = a_batch(model)
    for k in range(11):
        ctx = Context(k, 0, k / 11)
        losses = model.generator_loss(batch, model(batch, ctx), ctx)
        assert losses.terms["l1"][0] == pytest.approx(100 * (1 - k / 10))
        assert losses.terms["adversarial"][0] == 1


def test_at_the_end_the_image_plays_no_part() -> None:
    ctx = Context(99, 0, 1.0)
    answers = []
    for seed in (1, 2):
        model = small("hybrid-brain-64", **{"model.background_weight": 0.1})
        batch = a_batch(model)
        batch.source = a_batch(model, seed=seed).source
        fakes = model(batch, ctx)
        model.generator_loss(batch, fakes, ctx).total.backward()
        answers.append([fakes.target, *(p.grad for p in model.generator.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*answers, strict=True))


def test_greys_guide_the_first_steps_and_no_others() -> None:
    model = small("cyclegan", **{"model.greys": "falling", "model.warm_up": 0.5, "model.warm_weight": 8})
    batch = a_batch(model)
    for progress, wanted in ((0.0, 8.0), (0.25, 4.0)):
        ctx = Context(0, 0, progress)
        terms = model.generator_loss(batch, model(batch, ctx), ctx).terms
        assert terms["greys_source"][0] == terms["greys_target"][0] == pytest.approx(wanted)
    late = Context(0, 0, 0.5)
    assert "greys_target" not in model.generator_loss(batch, model(batch, late), late).terms
    for name in ("cyclegan", "cyclegan-mri", "cyclegan-resnet"):
        assert small(name).guide_weight(0.0) == 0


@pytest.mark.parametrize(("falling", "wanted"), [(True, [-1, 0.9, 0.5, 0.1]), (False, [-1, 0.1, 0.5, 0.9])])
def test_an_image_gets_the_greys_of_another_in_order(falling: bool, wanted: list[float]) -> None:
    image, like = (torch.tensor(values).view(1, 1, 2, 2) for values in ([-1, -0.5, 0.0, 0.7], [0.9, 0.1, -0.9, 0.5]))
    torch.testing.assert_close(with_greys_of(like, image, falling).flatten(), torch.tensor(wanted))
