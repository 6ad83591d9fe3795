"""Image-to-image GANs: every loss term by hand, the image pool, the hybrid's stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganatomy.gans.base import GAN, Batch, Context
from ganatomy.gans.cyclegan import ImagePool, with_greys_of
from ganatomy.gans.unet import l1
from tests.gans.models import START, Toy, a_batch, small


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
