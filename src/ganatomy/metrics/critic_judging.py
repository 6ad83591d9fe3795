"""Critics of one kind on one comparison: their figure with an interval, real against real, and a planted blur."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from ganatomy.metrics.base import MIN_SUBJECTS
from ganatomy.metrics.critic_objectives import Array, Objective
from ganatomy.metrics.critic_parts import Part, Parts, Rows
from ganatomy.metrics.critic_training import Build, Critic, Plan, Sides, train_critic
from ganatomy.statistics.resampling import (
    BOOTSTRAPS,
    HALVINGS,
    bootstrap_interval,
    central,
    halvings,
    multinomial_weights,
)

Span = tuple[float, float]
FEWEST_HALF = 4  # training images in half of the subjects, below which real against real is left out


@dataclass(frozen=True)
class Kind:
    """One kind of critic: what it minimises and is judged by, its network and training, and with how many seeds.

    Attributes:
        stops: whether it is stopped by the validation split; otherwise it is trained to the plan's end.
        planted: seeds of the critics of real against real and of the blur, which only check the setting.
        over_features: whether it looks at features instead of images.
    """

    objective: Objective
    build: Build
    plan: Plan
    stops: bool = True
    seeds: int = 3
    planted: int = 1
    over_features: bool = False

    def critics(self, train: Sides, val: Sides, seed: int, count: int) -> list[Critic]:
        """Critics of `count` seeds from `seed` on."""
        fit = partial(train_critic, self.build, train, val if self.stops else None, self.objective, self.plan)
        return [fit((seed + i) % 2**31) for i in range(count)]


@dataclass(frozen=True)
class Figure:
    """What critics find: the mean over seeds, its 95% interval over test subjects and fakes, and how it came about."""

    value: float
    interval: Span | None
    seeds: list[float]
    steps: list[int]
    per_subject: Array


def model_figure(kind: Kind, parts: Parts, seed: int) -> Figure:
    """Real images against the model's fakes."""
    critics = kind.critics(parts["train"].sides(), parts["val"].sides(), seed, kind.seeds)
    test = parts["test"]
    return _judged(kind, critics, test.sides(), test.subjects, np.arange(len(test.fake)), seed)


def blur_figure(kind: Kind, parts: Parts, seed: int) -> Figure:
    """Real images against themselves blurred, at the sample size at hand.

    The interval resamples the two sides each by itself, as if the blurred images were of other subjects, as fakes are.
    """
    critics = kind.critics(parts["train"].planted(), parts["val"].planted(), seed, kind.planted)
    test = parts["test"]
    return _judged(kind, critics, test.planted(), test.subjects, test.subjects[test.rows], seed)


def real_figure(kind: Kind, parts: Parts, seed: int) -> tuple[float, Span] | None:
    """Half of the subjects against the other half: mean over halvings of the test subjects and their central 95%.

    Each seed halves train and val anew. None where half of the training subjects have fewer than four images, or a
    split has one subject.
    """
    rng = np.random.default_rng((seed, 203))
    gains = []
    if min(_subjects(part) for part in parts.values()) < 2:
        return None
    for i in range(kind.planted):
        train, val = parts["train"].halves(rng), parts["val"].halves(rng)
        if min(len(train.real), len(train.fake)) < FEWEST_HALF:
            return None
        critic, = kind.critics(train, val, seed + i, 1)
        scores = critic.scores(parts["test"].real)
        gains.append(kind.objective.gains(scores, scores))
    draws = _halved(np.mean([real for real, _ in gains], 0), np.mean([fake for _, fake in gains], 0),
                    parts["test"].subjects, rng)
    return float(draws.mean()), central(draws)


def _halved(real: Array, fake: Array, subjects: Rows, rng: np.random.Generator) -> Array:
    """The figure with half of the test subjects as the real ones and the others as the fakes: [halvings]."""
    chosen = halvings(int(subjects.max()) + 1, HALVINGS, rng)[:, subjects]
    first: Array = chosen @ real / chosen.sum(1)
    second: Array = (1 - chosen) @ fake / (1 - chosen).sum(1)
    return first + second


def _subjects(part: Part) -> int:
    return int(part.subjects.max()) + 1


def _judged(kind: Kind, critics: list[Critic], test: Sides, subjects: Rows, fakes: Rows, seed: int) -> Figure:
    """The critics on test images of `subjects` [n] and fakes of `fakes` [m], each number a subject."""
    gains = [kind.objective.gains(critic.scores(test.real), critic.scores(test.fake)) for critic in critics]
    seeds = [float(real.mean() + fake.mean()) for real, fake in gains]
    real, fake = np.mean([g[0] for g in gains], 0), np.mean([g[1] for g in gains], 0)
    value = float(real.mean() + fake.mean())
    per_subject = np.bincount(subjects, real) / np.bincount(subjects) + fake.mean()
    return Figure(value, interval(real, fake, subjects, fakes, seed), seeds, [c.steps for c in critics], per_subject)


def interval(real: Array, fake: Array, subjects: Rows, fakes: Rows, seed: int) -> Span | None:
    """95%, the critics taken as they are: gains [n] and [m] resampled by subject [n] and by fake [m], each by itself.

    None below five subjects.
    """
    count = int(subjects.max()) + 1
    if count < MIN_SUBJECTS:
        return None
    rng = np.random.default_rng((seed, 204))
    draws = _resampled(real, subjects, rng) + _resampled(fake, fakes, rng)
    return bootstrap_interval(float(real.mean() + fake.mean()), draws, count)


def _resampled(gains: Array, groups: Rows, rng: np.random.Generator) -> Array:
    weights = multinomial_weights(int(groups.max()) + 1, BOOTSTRAPS, rng)
    mean: Array = weights @ np.bincount(groups, gains) / (weights @ np.bincount(groups))
    return mean
