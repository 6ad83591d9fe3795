"""What independent critics learn from and are judged on: real images of each split beside fakes that share no image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import MIN_SUBJECTS, Features, Images, Sample, Samples
from ganatomy.metrics.critic.critics import (
    LEAST_SIDE,
    Array,
    Build,
    Critic,
    Objective,
    Plan,
    Sides,
    Values,
    train_critic,
)
from ganatomy.metrics.floors import blurred
from ganatomy.statistics.resampling import (
    BOOTSTRAPS,
    HALVINGS,
    bootstrap_interval,
    central,
    halvings,
    multinomial_weights,
)

SPLITS = ("train", "val", "test")
LEAST = {"train": 8, "val": 2, "test": 2}  # images a side
MOST = {"train": 2000, "val": 500, "test": 2000}
MOST_BLURRED = 500  # of which features are computed
BYTES = 2**28  # of one side's images, at most
FEWEST_FAKE = 200  # drawn from a generator for each split, even where there are fewer real images
DRAWS = {"train": 200, "val": 201, "test": 202}  # numbers of the generator's draws, one a split
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Part:
    """One split: `real` [n, ...] of `subjects` [n], `fake` [m, ...]; `blurred` are the real ones of `rows` blurred."""

    real: Values
    subjects: Rows
    fake: Values
    blurred: Values
    rows: Rows

    def sides(self) -> Sides:
        """Real samples against fakes."""
        return Sides(self.real, self.fake)

    def planted(self) -> Sides:
        """Real samples against themselves blurred: no critic can learn their content, only the blur."""
        return Sides(self.real, self.blurred)

    def halves(self, rng: np.random.Generator) -> Sides:
        """Half of the subjects against the other half."""
        first = halvings(int(self.subjects.max()) + 1, 1, rng)[0][self.subjects] == 1
        return Sides(self.real[first], self.real[~first])


Parts = dict[str, Part]


def too_little(samples: Samples) -> str:
    """Why no critic can be trained, in words; "" if one can."""
    for name, sample in _splits(samples):
        if sample is None:
            return f"a critic learns from train, stops by val and is judged on test, and there is no {name} split"
        if sample.n_images < LEAST[name]:
            return f"{name} has {sample.n_images} images, a critic needs {LEAST[name]}"
    if samples.test.images.shape[-1] < LEAST_SIDE:
        return f"a critic needs images of {LEAST_SIDE} pixels or more"
    made, needed = samples.synthetic.n_images, sum(LEAST.values())
    if made < needed:
        return f"{made} synthetic images do not make three parts; at least {needed} do"
    return ""


def image_parts(samples: Samples) -> Parts:
    """The parts as images; `too_little` must have been asked. Fakes are fresh ones where there is a generator."""
    shape = samples.test.images.shape[1:]
    cap = max(LEAST["train"], BYTES // (4 * int(np.prod(shape))))
    parts, dealt = {}, _dealt(samples)
    for name, sample in _splits(samples):
        assert sample is not None
        rows = _some(sample.n_images, min(cap, MOST[name]), samples.seed)
        real = Sample(sample.images[rows], [sample.names[s] for s in sample.subjects[rows]],
                      extractor=sample.extractor)
        if samples.fresh is not None:
            count = min(cap, MOST[name], max(real.n_images, FEWEST_FAKE))
            fake: Images = samples.fresh(count, DRAWS[name])
        else:
            fake = samples.synthetic.images[dealt[name][:min(cap, MOST[name])]]
        parts[name] = Part(np.asarray(real.images), real.subjects, np.asarray(fake, np.float32),
                           np.asarray(blurred(real, real.n_images).images), np.arange(real.n_images))
    return parts


def feature_parts(samples: Samples, images: Parts) -> Parts:
    """The parts as features; fakes are always the synthetic sample's, whose features are needed anyway.

    `images` are those of `image_parts`.
    """
    parts, dealt = {}, _dealt(samples)
    for name, sample in _splits(samples):
        assert sample is not None
        part = images[name]
        chosen = _some(sample.n_images, len(part.real), samples.seed)
        rows = _some(len(part.real), MOST_BLURRED, samples.seed)
        real, fake = sample.features[chosen], samples.synthetic.features[dealt[name][:MOST[name]]]
        blurry = samples.extractor(part.blurred[rows])
        parts[name] = Part(_single(real), part.subjects, _single(fake), _single(blurry), rows)
    return parts


def _single(features: Features) -> Values:
    return features.astype(np.float32)


def _splits(samples: Samples) -> Iterator[tuple[str, Sample | None]]:
    yield from zip(SPLITS, (samples.train, samples.val, samples.test), strict=True)


def _some(n: int, most: int, seed: int) -> Rows:
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng((seed, 201)).choice(n, most, replace=False))


def _dealt(samples: Samples) -> dict[str, Rows]:
    """Synthetic images in three parts, as large to each other as the real splits are."""
    order = np.random.default_rng((samples.seed, 202)).permutation(samples.synthetic.n_images)
    sizes = np.cumsum([sample.n_images for _, sample in _splits(samples) if sample is not None])
    least = np.cumsum([LEAST[name] for name in SPLITS])
    ends = least + np.round((len(order) - least[-1]) * sizes / sizes[-1]).astype(np.intp)
    return dict(zip(SPLITS, np.split(order, ends[:-1]), strict=True))


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
