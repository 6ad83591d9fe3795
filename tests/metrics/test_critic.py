"""The independent critic as a metric: it finds what differs, not what does not, and says what it cannot tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from ganatomy.features.base import Extractor, Features
from ganatomy.metrics import critic, metric_modules
from ganatomy.metrics.base import Images, Result, Sample, Samples
from ganatomy.metrics.critic import Sides, critics
from ganatomy.metrics.critic.critics import (
    CHI2,
    JS,
    KL,
    LN2,
    SWAPPED,
    Critic,
    ImageCritic,
    Objective,
    Plan,
    mirrored_and_shifted,
    published_critic,
    train_critic,
)
from tests.builders import discs
from tests.metrics.cohorts import blurred as blur

NAMES = ["Critic-JS", "Critic-JS-Few", "Critic-chi2", "Critic-KL", "Critic-A"]


def images(n: int, seed: int) -> Images:
    """Discs with a texture that a blur takes away."""
    texture = np.random.default_rng((seed, 1)).normal(0, 0.3, (n, 1, 16, 16))
    return (discs(n, 16, seed)[:, None] / 127.5 - 1 + texture).clip(-1, 1).astype(np.float32)


class Few(Extractor):
    """Sixteen features: means of absolute differences, as a network's first layers would have."""

    name = "Few"
    dimensions = 16
    identity = "few"

    def compute(self, images: Images, device: str = "cpu") -> Features:
        return np.abs(np.diff(images[:, 0], axis=1)).mean(1)[:, :16].astype(np.float64)


def sample(n: int, seed: int) -> Sample:
    return Sample(images(n, seed), [f"{seed}-{i}" for i in range(n)], extractor=Few())


def samples(n: int, synthetic: Images) -> Samples:
    train, val, test = (sample(count, seed) for seed, count in enumerate((n, n // 3, n // 3)))
    return Samples(test, Sample(synthetic, extractor=Few()), train, val)


@pytest.fixture(scope="module", autouse=True)
def short_plans() -> Iterator[None]:
    """Small images of one disc need no more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(critics, "OURS", replace(critics.OURS, steps=90, batch=16, every=30, patience=2, rate=2e-3))
        patch.setattr(critics, "LINEAR", replace(critics.LINEAR, steps=100))
        patch.setattr(critics, "PUBLISHED", replace(critics.PUBLISHED, steps=90, batch=16, rate=2e-3))
        yield


@pytest.fixture(scope="module")
def blurred() -> dict[str, Result]:
    """Of a generator that only blurs."""
    return {result.name: result for result in critic.compute(samples(90, blur(images(150, 9), 0.5)))}


def test_a_generator_that_blurs_is_found(blurred: dict[str, Result]) -> None:
    assert list(blurred) == NAMES
    for name, result in blurred.items():
        assert result.interval[0] <= result.value <= result.interval[1]
        assert result.interval[0] > result.floor_interval[1], name
        assert result.floor < 0.05 or name == "Critic-A"
        assert result.details["enough"], name
        assert "too little" not in result.caveat
        assert result.value == pytest.approx(np.mean(result.details["seeds"]))
        assert (result.against, result.better, result.n_subjects) == ("test", "lower", 30)
    assert 0.3 < blurred["Critic-JS"].value < LN2


def test_images_of_further_subjects_cannot_be_told_apart() -> None:
    given = samples(90, images(150, 9))
    parts = critic.image_parts(given)
    for kind, own in zip(critics.kinds(given, 50)[:2], (parts, critic.feature_parts(given, parts)), strict=True):
        judged = critic.against_fakes(kind, own, 0)
        assert judged.interval[0] <= 0.005
        assert judged.value < 0.02


def test_a_handful_of_images_is_too_little_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    for plan in ("OURS", "PUBLISHED"):
        monkeypatch.setattr(critics, plan, replace(getattr(critics, plan), steps=4))
    results = critic.compute(samples(9, images(40, 9)))
    assert all("too little data to tell" in result.caveat for result in results)
    assert all(not result.details["enough"] for result in results)
    assert all(result.interval is None and len(result.per_subject or {}) == 3 for result in results)


@pytest.mark.parametrize(("change", "reason"), [
    ({"val": None}, "no val split"), ({"train": None}, "no train split"),
    ({"train": sample(3, 0)}, "train has 3 images, a critic needs 8"),
    ({"synthetic": sample(5, 9)}, "5 synthetic images do not make three parts")])
def test_what_cannot_be_computed_has_no_value_and_a_reason(change: dict[str, Sample | None], reason: str) -> None:
    results = critic.compute(replace(samples(30, images(60, 9)), **change))
    assert [result.name for result in results] == NAMES
    assert all(result.value is None and reason in result.caveat for result in results)


def test_it_is_computed_only_when_asked_for() -> None:
    assert critic not in metric_modules()
    assert critic in metric_modules(frozenset({"critic"}))


def test_the_three_parts_of_synthetic_images_share_none_and_use_all() -> None:
    fakes = np.float32(np.arange(100)[:, None, None, None] / 100 * np.ones((1, 1, 16, 16)))
    numbers = [part.fake[:, 0, 0, 0] for part in critic.image_parts(samples(60, fakes)).values()]
    assert sorted(np.concatenate(numbers)) == sorted(fakes[:, 0, 0, 0])
    assert len(numbers[0]) > 2 * len(numbers[1])


def test_a_generator_draws_fresh_fakes_for_every_part() -> None:
    drawn: list[tuple[int, int]] = []

    def fresh(n: int, seed: int) -> Images:
        drawn.append((n, seed))
        return images(n, seed)

    parts = critic.image_parts(replace(samples(300, images(3, 9)), fresh=fresh))
    assert [n for n, _ in drawn] == [300, 200, 200] == [len(part.fake) for part in parts.values()]
    assert len({seed for _, seed in drawn}) == 3


def test_the_interval_of_independent_images_is_that_of_two_means() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(0.2, 0.3, 200), rng.normal(0.1, 0.2, 300)
    low, high = critic.interval(real, fake, np.arange(200), np.arange(300), 0)
    expected = 2 * 1.972 * np.sqrt(real.var(ddof=1) / 200 + fake.var(ddof=1) / 300)
    assert high - low == pytest.approx(expected, rel=0.1)


def test_slices_of_one_patient_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.normal(0.2, 0.3, 30), rng.normal(0.1, 0.2, 300)
    spans = [critic.interval(np.repeat(real, k), fake, np.repeat(np.arange(30), k), np.arange(300), 0)
             for k in (1, 10)]
    assert spans[0] == pytest.approx(spans[1])
    assert critic.interval(real, fake, np.arange(30) // 8, np.arange(300), 0) is None  # four subjects


def test_a_critic_that_is_sure_of_its_training_images_is_as_sure_when_judged() -> None:
    """Batch norms that kept the statistics of activations under dropout would put all scores on one side."""
    train = Sides(images(100, 0), blur(images(100, 1), 1.0))
    judged = published_critic(train, 30, 0, torch.device("cpu"))
    assert judged.value(JS, train) > 0.6
    assert judged.value(JS, Sides(images(60, 2), blur(images(60, 3), 1.0))) > 0.5


def test_an_untrained_critic_of_ours_knows_nothing() -> None:
    sides = Sides(images(20, 0), -images(20, 1))
    untrained = train_critic(lambda: ImageCritic(16, 1), sides, None, JS, Plan(steps=0), 0)
    assert untrained.value(JS, sides) == 0


def test_both_sides_are_mirrored_and_shifted_alike() -> None:
    pictures = torch.full((64, 1, 32, 32), -1.0)
    pictures[:, :, 16, 8] = 1.0
    places = mirrored_and_shifted(pictures).flatten(1).argmax(1)
    rows, columns = places // 32, places % 32
    assert set(rows.tolist()) == {15, 16, 17}
    assert set(columns.tolist()) == {7, 8, 9, 22, 23, 24}


def test_a_critic_takes_images_of_any_side_from_16() -> None:
    for size in (16, 48, 100):
        assert ImageCritic(size, 3)(torch.randn(2, 3, size, size)).shape == (2,)


# ---- the bounds, against the divergences of known distributions

PLAN = Plan(steps=600, batch=256, rate=3e-3, betas=(0.9, 0.999), decay=1e-4, every=25, patience=6)
BOUNDS = (JS, CHI2, KL)
N = 10_000


def network(dimensions: int = 1, width: int = 32) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(dimensions, width), torch.nn.SiLU(), torch.nn.Linear(width, 1))


def gaussians(n: int, separation: float, rng: np.random.Generator) -> Sides:
    real, fake = (rng.standard_normal((n, 1)) + side * separation / 2 for side in (1, -1))
    return Sides(real.astype(np.float32), fake.astype(np.float32))


def divergences(p: Any, q: Any) -> dict[str, Any]:
    """What each part of two distributions contributes."""
    m = (p + q) / 2
    return {"JS": (p * np.log(p / m) + q * np.log(q / m)) / 2, "chi2": (p - m) ** 2 / m, "KL": p * np.log(p / q)}


def divergence(name: str, separation: float) -> float:
    """Between two unit Gaussians so far apart, by numerical integration over densities alone."""
    return quad(lambda x: divergences(norm.pdf(x, separation / 2), norm.pdf(x, -separation / 2))[name], -12, 12)[0]


def trained(objective: Objective, separation: float, repeat: int) -> tuple[Critic, np.random.Generator]:
    rng = np.random.default_rng((repeat, BOUNDS.index(objective), round(10 * separation)))
    sides = [gaussians(N, separation, rng) for _ in range(2)]
    return train_critic(network, sides[0], sides[1], objective, PLAN, repeat), rng


def expected(objective: Objective, critic: Critic, separation: float) -> float:
    """The critic's figure over the Gaussians themselves, integrated numerically."""
    grid = np.linspace(-12, 12, 20_001)
    real, fake = objective.gains(*[critic.scores(np.float32(grid[:, None]))] * 2)
    p, q = norm.pdf(grid, separation / 2), norm.pdf(grid, -separation / 2)
    return float((p * real + q * fake).sum() * (grid[1] - grid[0]))


EACH = pytest.mark.parametrize("objective", BOUNDS, ids=lambda o: o.name)


@EACH
@pytest.mark.parametrize("separation", [0.5, 1.0, 2.0])
def test_two_gaussians_have_the_known_divergence_and_never_more(objective: Objective, separation: float) -> None:
    truth = divergence(objective.name, separation)
    critic, rng = trained(objective, separation, 0)
    assert 0.9 * truth < expected(objective, critic, separation) <= truth + 1e-6
    fresh = gaussians(100_000, separation, rng)
    gains = objective.gains(critic.scores(fresh.real), critic.scores(fresh.fake))
    error = np.sqrt(sum(part.var() / len(part) for part in gains))
    assert abs(critic.value(objective, fresh) - expected(objective, critic, separation)) < 4 * error


@pytest.mark.slow
@EACH
@pytest.mark.parametrize("separation", [0.5, 1.0, 2.0])
def test_the_mean_over_repeats_is_never_above_the_known_divergence(objective: Objective, separation: float) -> None:
    values = []
    for repeat in range(40):
        critic, rng = trained(objective, separation, repeat)
        values.append(critic.value(objective, gaussians(N, separation, rng)))
    truth = divergence(objective.name, separation)
    assert np.mean(values) <= truth + 2 * np.std(values, ddof=1) / np.sqrt(len(values))
    assert np.mean(values) >= 0.9 * truth


@EACH
def test_the_log_ratio_attains_the_divergence_and_no_other_score_exceeds_it(objective: Objective) -> None:
    """On ten values with known probabilities, where the expectations are sums."""
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(10), 2)
    truth = divergences(p, q)[objective.name].sum()

    def figure(scores: np.ndarray) -> float:
        real, fake = objective.gains(scores, scores)
        return float(p @ real + q @ fake)

    best = np.log(p / q)
    assert figure(best) == pytest.approx(truth)
    assert figure(np.zeros(10)) == pytest.approx(0)
    assert all(figure(best + rng.normal(0, spread, 10)) < truth for spread in (0.01, 0.3, 3) for _ in range(20))


@EACH
def test_a_lower_loss_is_a_higher_figure_by_the_same_formula(objective: Objective) -> None:
    """BCE = ln 2 - JS, MSE = (1 - chi2) / 4, and -KL itself."""
    scores = np.random.default_rng(1).normal(0, 1.5, (2, 50)).clip(-2.9, 2.9)
    loss = float(objective.loss(*map(torch.from_numpy, scores)))
    value = objective.value(*scores)
    assert loss == pytest.approx({"JS": LN2 - value, "chi2": (1 - value) / 4, "KL": -value}[objective.name])


def test_the_kullback_leibler_loss_stays_finite_where_a_fake_scores_high() -> None:
    loss = KL.loss(torch.zeros(4), torch.tensor([0.0, 0.0, 0.0, 500.0]))
    assert torch.isfinite(loss)
    assert loss < 1e4


def test_the_published_figure_is_large_far_apart_and_ln_2_without_knowledge() -> None:
    assert SWAPPED.value(np.zeros(3), np.zeros(3)) == pytest.approx(LN2)
    assert SWAPPED.value(np.full(3, 6.0), np.full(3, -6.0)) == pytest.approx(6, abs=0.01)
    assert SWAPPED.value(np.full(3, -6.0), np.full(3, 6.0)) < 0.01


def test_training_is_a_function_of_its_seed_and_leaves_torch_as_it_was() -> None:
    rng = np.random.default_rng(4)
    sides = [gaussians(200, 1.0, rng) for _ in range(2)]
    torch.manual_seed(7)
    numbers = torch.rand(3)
    torch.manual_seed(7)
    critics = [train_critic(network, *sides, JS, PLAN, seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.rand(3), numbers)
    scores = [critic.scores(sides[0].real) for critic in critics]
    assert np.array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_a_critic_of_equal_samples_is_stopped_before_it_learns_them_by_heart() -> None:
    rng = np.random.default_rng(5)
    sides = [Sides(*rng.standard_normal((2, 40, 20)).astype(np.float32)) for _ in range(3)]

    plan = Plan(steps=300, rate=3e-3)
    stopped, trained = (train_critic(lambda: network(20, 64), sides[0], held_out, JS, plan, 0)
                        for held_out in (sides[1], None))
    assert trained.value(JS, sides[0]) > 0.5 > 0.1 > stopped.value(JS, sides[0])
    assert trained.value(JS, sides[2]) < stopped.value(JS, sides[2]) < 0.1
