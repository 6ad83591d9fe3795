"""How often a study's intervals hold the true difference, and how often it says helps or hurts where nothing does.

    python benchmarks/study_coverage.py --seconds 270

Studies are simulated with two arms: subjects with several images each, some subjects harder than others for both arms
and some for one of them; what a classifier learns depends on which subjects its cell was given (half of the pool, so
that folds share subjects) and on its seed, both partly alike for the arms of a cell; thresholds are chosen on the other
half. The truth is the mean difference over many such studies. "Stable" training varies little between refits, and what
is uncertain is who was tested; "unstable" varies so much that refits are what is uncertain. Prints markdown.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace

import numpy as np

from ganatomy.studies.answers import HELPS, HURTS, answer_of
from ganatomy.studies.classifiers import best_threshold
from ganatomy.studies.inference import Grid, estimate, measure, pool_images, replicate_weights
from ganatomy.studies.predictions import Predictions, f1

ARMS = ("OVERSAMPLE", "GAN")
MARGIN, REPLICATES = 0.02, 500
MOST_IMAGES = 9  # a subject; at least 3


@dataclass(frozen=True)
class World:
    """What is simulated; effects are on the scale of the logit.

    Attributes:
        positives, others: subjects.
        gain: by how much the treatment separates the classes better.
        training: standard deviation, over sets of training subjects, of how well an arm separates.
        refit: the same over seeds with the same subjects.
    """

    name: str
    positives: int
    others: int
    folds: int
    seeds: int
    gain: float = 0.0
    training: float = 0.1
    refit: float = 0.1


def study(world: World, rng: np.random.Generator) -> dict:
    """The outcomes of one study, by (k, fold, seed, arm)."""
    subjects = world.positives + world.others
    positive = np.arange(subjects) < world.positives
    within = np.concatenate([rng.permutation(world.positives), rng.permutation(world.others)])
    fold, half = within % world.folds, within // world.folds % 2
    images = np.repeat(np.arange(subjects), rng.integers(3, MOST_IMAGES + 1, subjects))
    hard = rng.normal(0, 0.9, subjects)[images] + rng.normal(0, 0.6, len(images))
    own = rng.normal(0, 0.4, (2, subjects))[:, images] + rng.normal(0, 0.3, (2, len(images)))
    worth = rng.normal(0, 1, (2, subjects))  # what a subject in the training set does to each arm
    found = {}
    for f in range(world.folds):
        rows, pool = np.flatnonzero(fold[images] == f), np.flatnonzero(fold != f)
        for s in range(world.seeds):
            given = rng.choice(pool, len(pool) // 2, replace=False)
            both = rng.normal(0, world.refit)
            for a, arm in enumerate(ARMS):
                skill = 1 + world.gain * a + world.training * worth[a, given].mean() * len(given) ** 0.5
                skill += both + rng.normal(0, world.refit)
                noise = rng.normal(0, 0.4, subjects)[images[rows]] + rng.normal(0, 0.3, len(rows))
                logit = np.where(positive[images[rows]], skill, -skill) + hard[rows] + own[a, rows] + noise
                found[50, f, s, arm] = said(images[rows], positive, half, 1 / (1 + np.exp(-logit)))
    return found


def said(subjects: np.ndarray, positive: np.ndarray, half: np.ndarray, scores: np.ndarray) -> Predictions:
    """Decisions by the best threshold of the other half."""
    truth, halves, decided = positive[subjects], half[subjects], np.zeros(len(subjects), bool)
    for h in (0, 1):
        cut, _ = best_threshold(scores[halves != h], truth[halves != h])
        decided[halves == h] = scores[halves == h] >= cut
    names = tuple(f"s{s:04d}" for s in subjects)
    ids = tuple(f"{name}-{i:05d}" for i, name in enumerate(names))
    return Predictions(ids, names, tuple("lesion" if t else "none" for t in truth), halves.astype(np.intp),
                       {"lesion": scores}, {"lesion": decided})


def judged(world: World, rng: np.random.Generator, replicates: int = REPLICATES) -> tuple:
    """The estimate of one study, with few replicates for its value alone."""
    grid = Grid((50,), tuple(range(world.folds)), tuple(range(world.seeds)), ARMS)
    pool = pool_images(study(world, rng), grid, ["lesion"])
    measured = measure(pool, f1, replicate_weights(pool, replicates, int(rng.integers(2**31))))
    return estimate(measured, [0], 1, 0, pool.freedom()), float(measured.per_seed.mean())


def line(world: World, seconds: float) -> str:
    """One row of the table: three in ten of the time for the truth, the rest for intervals."""
    rng, start, values = np.random.default_rng(7), time.process_time(), []
    while time.process_time() - start < 0.3 * seconds:
        values.append(judged(world, rng, 2)[0].value)
    found = []
    while time.process_time() - start < seconds:
        found.append(judged(world, rng)[0])
    truth = float(np.mean([*values, *(e.value for e in found)]))
    told = [answer_of(e, MARGIN, None) for e in found]
    cells = [world.name, f"{len(found)}", f"{truth:+.3f}", f"{np.std([e.value for e in found]):.3f}"]
    for name in ("bootstrap_interval", "refit_interval", "interval"):
        low, high = np.array([getattr(e, name) for e in found]).T
        cells.append(f"{100 * np.mean((low <= truth) & (truth <= high)):.1f}% ±{np.mean(high - low) / 2:.3f}")
    cells += [f"{100 * told.count(answer) / len(told):.1f}%" for answer in (HELPS, HURTS, "does not help")]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=270, help="of one core, for all rows together")
    seconds = parser.parse_args().seconds
    small = World("24+31 subjects, 3 folds, 2 seeds", 24, 31, 3, 2)
    large = World("100+100 subjects, 5 folds, 3 seeds", 100, 100, 5, 3)
    worlds = []
    for base in (small, large):
        for kind, training, refit in (("stable", 0.02, 0.05), ("unstable", 0.15, 0.3)):
            for gain in (0.0, 0.5):
                name = f"{base.name}, {kind}, {'better' if gain else 'no difference'}"
                worlds.append(replace(base, name=name, training=training, refit=refit, gain=gain))
    print("| study | studies | true difference | its standard deviation | bootstrap holds it, ± | refits | the wider "
          "| helps | hurts | does not help |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for world in worlds:
        print(line(world, seconds / len(worlds)), flush=True)


if __name__ == "__main__":
    main()
