"""What independent critics learn from and are judged on: real images of each split beside fakes that share no image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.base import Features, Images, Sample, Samples
from ganatomy.metrics.controls import blurred
from ganatomy.metrics.critic_networks import LEAST_SIDE
from ganatomy.metrics.critic_training import Sides, Values
from ganatomy.statistics.resampling import halvings

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
