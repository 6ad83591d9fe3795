"""Independent critics: networks that learn to tell synthetic images from real ones, judged on images they never saw.

Each value but Critic-A's is a lower bound, in expectation, of a divergence between real and synthetic images: how far
apart they are for a network trained on this many images. See docs/critic.md, and critics.py for the formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.appearance import chosen_rows
from ganatomy.metrics.base import MIN_SUBJECTS, POSITIVE, SHARE, About, Array, Column, Images, Result, Sample, Samples
from ganatomy.metrics.floors import blurred
from ganatomy.statistics.resampling import (
    BOOTSTRAPS,
    HALVINGS,
    bootstrap_interval,
    central,
    halvings,
    multinomial_weights,
)

if TYPE_CHECKING:  # imported when a critic is trained: whoever reads values needs no torch
    from ganatomy.metrics.critic.critics import Kind

ORDER = 20
ON_DEMAND = True
CONTROLS = False
ABOUT = (
    About("Critic-JS", "Jensen-Shannon distance by an independent critic: a network trained to tell real from "
          "generated, and judged on subjects it has not seen. A lower bound, 0 to 0.69: a weak critic finds too "
          "little, never too much.", "realistic", "lower", column=Column("critic", "critic JS", order=1),
          span=(0.0, float(np.log(2)))),
    About("Critic-chi2", "Pearson's chi-squared distance by an independent critic. A lower bound, 0 to 1.",
          "realistic", "lower", span=SHARE),
    About("Critic-KL", "Kullback-Leibler divergence by an independent critic. A lower bound.", "realistic", "lower",
          span=POSITIVE),
    About("Critic-A", "Test loss of a critic with the labels swapped: large where real and generated are easily told "
          "apart.", "realistic", "lower", span=POSITIVE),
)
TOO_LITTLE = "too little data to tell: critics as these do not detect that real images have been blurred; "
LEAST = {"train": 8, "val": 2, "test": 2}  # images a side
MOST = {"train": 2000, "val": 500, "test": 2000}
MOST_BLURRED = 500  # of which features are computed
BYTES = 2**28  # of one side's images, at most
FEWEST_FAKE = 200  # drawn from a generator for each split, even where there are fewer real images
FEWEST_HALF = 4  # training images in half of the subjects, below which real against real is left out
DRAWS = {"train": 200, "val": 201, "test": 202}  # numbers of the generator's draws, one a split
Values = NDArray[np.float32]
Rows = NDArray[np.intp]
Span = tuple[float, float]


@dataclass(frozen=True)
class Sides:
    """Samples of two kinds: `real` [n, ...] and `fake` [m, ...], float32."""

    real: Values
    fake: Values


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


def compute(samples: Samples) -> list[Result]:
    """Critic-JS, the same over features, -chi2, -KL and -A against test; None and why where none can be.

    `details` holds the value of each seed and how many steps it was trained, the number of images of each part, the
    value of blurred real images (`blur`), and whether it is detected (`enough`).
    """
    from ganatomy.metrics.critic.critics import kinds

    reason = too_little(samples)
    if reason:
        return [samples.result(kind.name, "test", None, "lower", caveat=reason) for kind in kinds(samples, 1)]
    images = image_parts(samples)
    features = feature_parts(samples, images)
    return [_measured(samples, kind, features if kind.over_features else images)
            for kind in kinds(samples, len(images["val"].fake))]


def _measured(samples: Samples, kind: Kind, parts: Parts) -> Result:
    model = against_fakes(kind, parts, samples.seed)
    test, planted = parts["test"], {name: part.planted() for name, part in parts.items()}
    # its interval resamples each side by itself, as if the blurred images were of other subjects, as fakes are
    blur = judged(kind, planted, test.subjects, test.subjects[test.rows], samples.seed, kind.planted)
    floor, spread = against_real(kind, parts, samples.seed)
    none = kind.objective.none
    enough = blur.interval is not None and blur.interval[0] > max(none, floor or none)
    details: dict[str, Any] = {
        "seeds": model.seeds, "steps": model.steps, "enough": enough,
        "blur": {"value": blur.value, "interval": blur.interval, "seeds": blur.seeds, "steps": blur.steps},
        "images": {split: [len(part.real), len(part.fake)] for split, part in parts.items()}}
    few = len(model.per_subject) < MIN_SUBJECTS
    per_subject = dict(zip(samples.test.names, model.per_subject.tolist(), strict=False)) if few else None
    return samples.result(kind.name, "test", model.value, "lower", interval=model.interval, floor=floor,
                          floor_interval=spread, per_subject=per_subject, details=details,
                          caveat=("" if enough else TOO_LITTLE) + kind.caveat)


def too_little(samples: Samples) -> str:
    """Why no critic can be trained, in words; "" if one can."""
    from ganatomy.metrics.critic.critics import LEAST_SIDE

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
    """Splits that share no image, as images; not where there is `too_little`. A generator's fakes are fresh ones."""
    cap = max(LEAST["train"], BYTES // (4 * int(np.prod(samples.test.images.shape[1:]))))
    parts, dealt = {}, _dealt(samples)
    for name, sample in _splits(samples).items():
        assert sample is not None
        most = min(cap, MOST[name])
        real = sample.take(chosen_rows(sample.n_images, 201, samples.seed, most))
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
        chosen = chosen_rows(sample.n_images, 201, samples.seed, len(part.real))
        rows = chosen_rows(len(part.real), 201, samples.seed, MOST_BLURRED)
        fakes = samples.synthetic.features[dealt[name][:MOST[name]]]
        real, fake, planted = (each.astype(np.float32) for each in (
            sample.features[chosen], fakes, samples.extractor(part.blurred[rows])))
        parts[name] = Part(real, part.subjects, fake, planted, rows)
    return parts


def _splits(samples: Samples) -> dict[str, Sample | None]:
    return {"train": samples.train, "val": samples.val, "test": samples.test}


def _dealt(samples: Samples) -> dict[str, Rows]:
    """Synthetic images in three parts, as large to each other as the real splits are."""
    order = np.random.default_rng((samples.seed, 202)).permutation(samples.synthetic.n_images)
    sizes = np.cumsum([sample.n_images for sample in _splits(samples).values() if sample is not None])
    least = np.cumsum(list(LEAST.values()))
    ends = least + np.round((len(order) - least[-1]) * sizes / sizes[-1]).astype(np.intp)
    return dict(zip(LEAST, np.split(order, ends[:-1]), strict=True))


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
    sides, test = {name: part.sides() for name, part in parts.items()}, parts["test"]
    return judged(kind, sides, test.subjects, np.arange(len(test.fake)), seed, kind.seeds)


def judged(kind: Kind, splits: Mapping[str, Sides], subjects: Rows, fakes: Rows, seed: int, count: int) -> Judged:
    """Critics of `count` seeds on test images of `subjects` [n] and fakes of `fakes` [m], each number a subject."""
    critics, test = kind.critics(splits["train"], splits["val"], seed, count), splits["test"]
    gains = [kind.objective.gains(critic.scores(test.real), critic.scores(test.fake)) for critic in critics]
    seeds = [float(real.mean() + fake.mean()) for real, fake in gains]
    real, fake = (np.mean(side, 0) for side in zip(*gains, strict=True))
    value = float(real.mean() + fake.mean())
    per_subject = np.bincount(subjects, real) / np.bincount(subjects) + fake.mean()
    return Judged(value, interval(real, fake, subjects, fakes, seed), seeds, [c.steps for c in critics], per_subject)


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
    return weights @ np.bincount(groups, gains) / (weights @ np.bincount(groups))
