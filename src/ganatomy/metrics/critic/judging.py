"""Critics on one comparison: what they learn from and are judged on, their value, real against real, a planted blur.

Each split holds real images beside fakes, and no two splits share an image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import MIN_SUBJECTS, Images, Sample, Samples
from ganatomy.metrics.critic.critics import (
    CHI2,
    JS,
    KL,
    LEAST_SIDE,
    PUBLISHED,
    SWAPPED,
    Array,
    Build,
    Critic,
    FeatureCritic,
    ImageCritic,
    Objective,
    Plan,
    Sides,
    Values,
    mirrored_and_shifted,
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

LEAST = {"train": 8, "val": 2, "test": 2}  # images a side
MOST = {"train": 2000, "val": 500, "test": 2000}
MOST_BLURRED = 500  # of which features are computed
BYTES = 2**28  # of one side's images, at most
FEWEST_FAKE = 200  # drawn from a generator for each split, even where there are fewer real images
FEWEST_HALF = 4  # training images in half of the subjects, below which real against real is left out
DRAWS = {"train": 200, "val": 201, "test": 202}  # numbers of the generator's draws, one a split
OURS = Plan(rate=5e-4, patience=4, augment=mirrored_and_shifted)
LINEAR = Plan(rate=1e-3)
BOUND = "a lower bound in expectation: small may also mean that the critic is weak; blind to copies of patients"
Rows = NDArray[np.intp]
Span = tuple[float, float]


@dataclass(frozen=True)
class Part:
    """One split: `real` [n, ...] of `subjects` [n], `fake` [m, ...]; `blurred` are the real ones of `rows` blurred."""

    real: Values
    subjects: Rows
    fake: Values
    blurred: Values
    rows: Rows

    @property
    def n_subjects(self) -> int:
        return int(self.subjects.max()) + 1

    def sides(self) -> Sides:
        return Sides(self.real, self.fake)

    def planted(self) -> Sides:
        """Real samples against themselves blurred: no critic can learn their content, only the blur."""
        return Sides(self.real, self.blurred)

    def halves(self, rng: np.random.Generator) -> Sides:
        """Half of the subjects against the other half."""
        first = halvings(self.n_subjects, 1, rng)[0][self.subjects] == 1
        return Sides(self.real[first], self.real[~first])


Parts = dict[str, Part]


def too_little(samples: Samples) -> str:
    """Why no critic can be trained, in words; "" if one can."""
    for name, sample in _splits(samples).items():
        if sample is None:
            return f"a critic learns from train, stops by val and is judged on test, and there is no {name} split"
        if sample.n_images < LEAST[name]:
            return f"{name} has {sample.n_images} images, a critic needs {LEAST[name]}"
    if samples.test.images.shape[-1] < LEAST_SIDE:
        return f"a critic needs images of {LEAST_SIDE} pixels or more"
    fakes, needed = samples.synthetic.n_images, sum(LEAST.values())
    return f"{fakes} synthetic images do not make three parts; at least {needed} do" if fakes < needed else ""


def image_parts(samples: Samples) -> Parts:
    """The parts as images; `too_little` must have been asked. Fakes are fresh ones where there is a generator."""
    cap = max(LEAST["train"], BYTES // (4 * int(np.prod(samples.test.images.shape[1:]))))
    parts, dealt = {}, _dealt(samples)
    for name, sample in _splits(samples).items():
        assert sample is not None
        most = min(cap, MOST[name])
        real = sample.take(_some(sample.n_images, most, samples.seed))
        if samples.fresh is not None:
            fake: Images = samples.fresh(min(most, max(real.n_images, FEWEST_FAKE)), DRAWS[name])
        else:
            fake = samples.synthetic.images[dealt[name][:most]]
        parts[name] = Part(np.asarray(real.images), real.subjects, np.asarray(fake, np.float32),
                           np.asarray(blurred(real, real.n_images).images), np.arange(real.n_images))
    return parts


def feature_parts(samples: Samples, images: Parts) -> Parts:
    """The same real images as in `images` as features; fakes are the synthetic sample's, whose features are known."""
    parts, dealt = {}, _dealt(samples)
    for name, sample in _splits(samples).items():
        assert sample is not None
        part = images[name]
        chosen = _some(sample.n_images, len(part.real), samples.seed)
        rows = _some(len(part.real), MOST_BLURRED, samples.seed)
        fakes = samples.synthetic.features[dealt[name][:MOST[name]]]
        real, fake, planted = (each.astype(np.float32) for each in (
            sample.features[chosen], fakes, samples.extractor(part.blurred[rows])))
        parts[name] = Part(real, part.subjects, fake, planted, rows)
    return parts


def _splits(samples: Samples) -> dict[str, Sample | None]:
    return {"train": samples.train, "val": samples.val, "test": samples.test}


def _some(n: int, most: int, seed: int) -> Rows:
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng((seed, 201)).choice(n, most, replace=False))


def _dealt(samples: Samples) -> dict[str, Rows]:
    """Synthetic images in three parts, as large to each other as the real splits are."""
    order = np.random.default_rng((samples.seed, 202)).permutation(samples.synthetic.n_images)
    sizes = np.cumsum([sample.n_images for sample in _splits(samples).values() if sample is not None])
    least = np.cumsum(list(LEAST.values()))
    ends = least + np.round((len(order) - least[-1]) * sizes / sizes[-1]).astype(np.intp)
    return dict(zip(LEAST, np.split(order, ends[:-1]), strict=True))


@dataclass(frozen=True)
class Kind:
    """One kind of critic: what it minimises and is judged by, its network and training, and with how many seeds.

    Attributes:
        name, caveat: of the result.
        stops: whether it is stopped by the validation split; otherwise it is trained to the plan's end.
        planted: seeds of the critics of real against real and of the blur, which only check the setting.
    """

    name: str
    caveat: str
    objective: Objective
    build: Build
    plan: Plan
    stops: bool = True
    seeds: int = 3
    planted: int = 1
    over_features: bool = False

    def critics(self, train: Sides, val: Sides, seed: int, count: int) -> list[Critic]:
        """Critics of `count` seeds from `seed` on."""
        return [train_critic(self.build, train, val if self.stops else None, self.objective, self.plan,
                             (seed + i) % 2**31) for i in range(count)]


def kinds(samples: Samples, held_out: int) -> list[Kind]:
    """The critics that are trained, of images and of features.

    Args:
        samples: what is compared.
        held_out: the number of fakes by which critics are stopped. A ratio of densities above it was never checked on
            one, and a single fake that is wrongly scored that high would decide the whole mean of exp(s).
    """
    _, channels, size, _ = samples.test.images.shape
    clip = min(KL.clip, math.log(held_out))

    def network() -> ImageCritic:
        return ImageCritic(size, channels)

    return [
        Kind("Critic-JS", f"nats, at most ln 2 = 0.693; {BOUND}", JS, network, OURS),
        Kind(samples.extractor.metric("Critic-JS"),
             f"nats, at most ln 2 = 0.693; of a linear critic over features; {BOUND}", JS,
             lambda: FeatureCritic(samples.extractor.dimensions), LINEAR, planted=3, over_features=True),
        Kind("Critic-chi2", f"at most 1; {BOUND}", CHI2, network, OURS),
        Kind("Critic-KL", f"nats, of real against synthetic; {BOUND}", replace(KL, clip=clip, most=1 + clip), network,
             OURS),
        Kind("Critic-A", "cross-entropy with labels swapped (Schilling 2020), large means far apart; of a critic "
             "trained for 100 batches, about ln 2 = 0.693 or a little more where it can tell nothing", SWAPPED,
             lambda: ImageCritic(size, channels, from_nothing=False), PUBLISHED, stops=False, seeds=1)]


@dataclass(frozen=True)
class Judged:
    """A value by critics: the mean over seeds, its 95% interval over test subjects and fakes, and how it came about."""

    value: float
    interval: Span | None
    seeds: list[float]
    steps: list[int]
    per_subject: Array


def against_fakes(kind: Kind, parts: Parts, seed: int) -> Judged:
    """Real images against the model's fakes."""
    critics = kind.critics(parts["train"].sides(), parts["val"].sides(), seed, kind.seeds)
    test = parts["test"]
    return _judged(kind, critics, test.sides(), test.subjects, np.arange(len(test.fake)), seed)


def against_blur(kind: Kind, parts: Parts, seed: int) -> Judged:
    """Real images against themselves blurred, at the sample size at hand.

    The interval resamples the two sides each by itself, as if the blurred images were of other subjects, as fakes are.
    """
    critics = kind.critics(parts["train"].planted(), parts["val"].planted(), seed, kind.planted)
    test = parts["test"]
    return _judged(kind, critics, test.planted(), test.subjects, test.subjects[test.rows], seed)


def against_real(kind: Kind, parts: Parts, seed: int) -> tuple[float | None, Span | None]:
    """Half of the subjects against the other half: mean over halvings of the test subjects and their central 95%.

    Each seed halves train and val anew. None where half of the training subjects have fewer than four images, or a
    split has one subject.
    """
    rng = np.random.default_rng((seed, 203))
    gains, test = [], parts["test"]
    if min(part.n_subjects for part in parts.values()) < 2:
        return None, None
    for i in range(kind.planted):
        train, val = parts["train"].halves(rng), parts["val"].halves(rng)
        if min(len(train.real), len(train.fake)) < FEWEST_HALF:
            return None, None
        critic, = kind.critics(train, val, seed + i, 1)
        scores = critic.scores(test.real)
        gains.append(kind.objective.gains(scores, scores))
    real, fake = (np.mean(side, 0) for side in zip(*gains, strict=True))
    first = halvings(test.n_subjects, HALVINGS, rng)[:, test.subjects]
    draws = first @ real / first.sum(1) + (1 - first) @ fake / (1 - first).sum(1)
    return float(draws.mean()), central(draws)


def _judged(kind: Kind, critics: list[Critic], test: Sides, subjects: Rows, fakes: Rows, seed: int) -> Judged:
    """The critics on test images of `subjects` [n] and fakes of `fakes` [m], each number a subject."""
    gains = [kind.objective.gains(critic.scores(test.real), critic.scores(test.fake)) for critic in critics]
    seeds = [float(real.mean() + fake.mean()) for real, fake in gains]
    real, fake = (np.mean(side, 0) for side in zip(*gains, strict=True))
    value = float(real.mean() + fake.mean())
    per_subject = np.bincount(subjects, real) / np.bincount(subjects) + fake.mean()
    return Judged(value, interval(real, fake, subjects, fakes, seed), seeds, [c.steps for c in critics], per_subject)


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
