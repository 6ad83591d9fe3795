"""The critics' bounds: against the divergences of known distributions, and as what they claim to be."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from ganatomy.metrics.critic.critics import (
    CHI2,
    JS,
    KL,
    LN2,
    SWAPPED,
    Critic,
    Objective,
    Plan,
    Sides,
    train_critic,
)

PLAN = Plan(steps=600, batch=256, rate=3e-3, betas=(0.9, 0.999), decay=1e-4, every=25, patience=6)
BOUNDS = (JS, CHI2, KL)
N = 10_000


def network(dimensions: int = 1) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(dimensions, 32), torch.nn.SiLU(), torch.nn.Linear(32, 1))


def gaussians(n: int, separation: float, rng: np.random.Generator) -> Sides:
    real, fake = (rng.standard_normal((n, 1)) + side * separation / 2 for side in (1, -1))
    return Sides(real.astype(np.float32), fake.astype(np.float32))


def divergence(name: str, separation: float) -> float:
    """Between two unit Gaussians so far apart, by numerical integration over densities alone."""
    def p(x: float) -> float:
        return float(norm.pdf(x, separation / 2))

    def q(x: float) -> float:
        return float(norm.pdf(x, -separation / 2))

    def m(x: float) -> float:
        return (p(x) + q(x)) / 2

    integrands: dict[str, Callable[[float], float]] = {
        "JS": lambda x: (p(x) * np.log(p(x) / m(x)) + q(x) * np.log(q(x) / m(x))) / 2,
        "chi2": lambda x: (p(x) - m(x)) ** 2 / m(x),
        "KL": lambda x: p(x) * np.log(p(x) / q(x))}
    return float(quad(integrands[name], -12, 12)[0])


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


@pytest.mark.parametrize("objective", BOUNDS, ids=lambda o: o.name)
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
@pytest.mark.parametrize("objective", BOUNDS, ids=lambda o: o.name)
@pytest.mark.parametrize("separation", [0.5, 1.0, 2.0])
def test_the_mean_over_repeats_is_never_above_the_known_divergence(objective: Objective, separation: float) -> None:
    values = []
    for repeat in range(40):
        critic, rng = trained(objective, separation, repeat)
        values.append(critic.value(objective, gaussians(N, separation, rng)))
    truth = divergence(objective.name, separation)
    assert np.mean(values) <= truth + 2 * np.std(values, ddof=1) / np.sqrt(len(values))
    assert np.mean(values) >= 0.9 * truth


@pytest.mark.parametrize("objective", BOUNDS, ids=lambda o: o.name)
def test_the_log_ratio_attains_the_divergence_and_no_other_score_exceeds_it(objective: Objective) -> None:
    """On ten values with known probabilities, where the expectations are sums."""
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(10), 2)
    m = (p + q) / 2
    truth = {"JS": (p * np.log(p / m) + q * np.log(q / m)).sum() / 2, "chi2": ((p - m) ** 2 / m).sum(),
             "KL": (p * np.log(p / q)).sum()}[objective.name]

    def figure(scores: np.ndarray) -> float:
        real, fake = objective.gains(scores, scores)
        return float(p @ real + q @ fake)

    best = np.log(p / q)
    assert figure(best) == pytest.approx(truth)
    assert figure(np.zeros(10)) == pytest.approx(0)
    assert all(figure(best + rng.normal(0, spread, 10)) < truth for spread in (0.01, 0.3, 3) for _ in range(20))


@pytest.mark.parametrize("objective", BOUNDS, ids=lambda o: o.name)
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

    def wide() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(20, 64), torch.nn.SiLU(), torch.nn.Linear(64, 1))

    plan = Plan(steps=300, rate=3e-3)
    stopped, trained = (train_critic(wide, sides[0], held_out, JS, plan, 0) for held_out in (sides[1], None))
    assert trained.value(JS, sides[0]) > 0.5 > 0.1 > stopped.value(JS, sides[0])
    assert trained.value(JS, sides[2]) < stopped.value(JS, sides[2]) < 0.1
