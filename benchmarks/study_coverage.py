"""How often a study's intervals hold the true difference, and how often it says helps or hurts where nothing does.

    python benchmarks/study_coverage.py --studies 1000
    python benchmarks/study_coverage.py --studies 1000 --others --seed 1

Studies are simulated with two arms: subjects with several images each, some subjects harder than others for both arms
and some for one of them; what a classifier learns depends on which subjects its cell was given (a share of the pool,
so that refits share subjects) and on its seed, partly alike for the arms of a cell; thresholds are chosen on the other
half. The truth is the mean difference over the studies of a row. "Stable" training varies little between refits, and
what is uncertain is who was tested; "unstable" varies so much that refits are what is uncertain. `--others` has kinds
of studies that no constant of the interval was chosen by. Prints markdown.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np

from ganatomy.studies.answers import DOES_NOT, HELPS, HURTS, Answer, answer_of
from ganatomy.studies.classifiers import best_threshold
from ganatomy.studies.inference import Estimate, Pool, estimate, measure, replicate_weights
from ganatomy.studies.predictions import f1

MARGIN, REPLICATES = 0.02, 400


@dataclass(frozen=True)
class World:
    """What is simulated; effects are on the scale of the logit.

    Attributes:
        positives, others: subjects.
        gain: by how much the treatment separates the classes better.
        training: standard deviation, over sets of training subjects, of how well an arm separates.
        refit: the same over seeds with the same subjects.
        share: of the pool's subjects that a cell learns from, at the largest k; half of it at the next, and so on.
        images: fewest and most of a subject.
    """

    name: str
    positives: int
    others: int
    folds: int
    seeds: int
    gain: float = 0.0
    training: float = 0.02
    refit: float = 0.05
    share: float = 0.5
    ks: int = 1
    images: tuple[int, int] = (3, 9)


def study(world: World, rng: np.random.Generator) -> Pool:
    """What the classifiers of one study decided; arm 1 is the treatment."""
    subjects = world.positives + world.others
    positive = np.arange(subjects) < world.positives
    within = np.concatenate([rng.permutation(world.positives), rng.permutation(world.others)])
    fold, half = within % world.folds, within // world.folds % 2
    whose = np.repeat(np.arange(subjects), rng.integers(world.images[0], world.images[1] + 1, subjects))
    hard = rng.normal(0, 0.9, subjects)[whose] + rng.normal(0, 0.6, len(whose))
    own = rng.normal(0, 0.4, (2, subjects))[:, whose] + rng.normal(0, 0.3, (2, len(whose)))
    worth = rng.normal(0, 1, (2, subjects))  # what a subject in the training set does to each arm
    truth, scores = positive[whose], np.zeros((2, world.ks, world.seeds, len(whose)))
    decided = np.zeros(scores.shape, bool)
    for f, s in np.ndindex(world.folds, world.seeds):
        rows, pool = np.flatnonzero(fold[whose] == f), rng.permutation(np.flatnonzero(fold != f))
        for k in range(world.ks):
            given = pool[:max(2, int(len(pool) * world.share / 2 ** (world.ks - 1 - k)))]
            both = rng.normal(0, world.refit)
            for a in range(2):
                skill = 1 + world.gain * a + world.training * worth[a, given].mean() * len(given) ** 0.5
                skill += both + rng.normal(0, world.refit)
                noise = rng.normal(0, 0.4, subjects)[whose[rows]] + rng.normal(0, 0.3, len(rows))
                logit = np.where(truth[rows], skill, -skill) + hard[rows] + own[a, rows] + noise
                scores[a, k, s, rows] = 1 / (1 + np.exp(-logit))
                for chosen, judged in ((rows[half[whose[rows]] != h], rows[half[whose[rows]] == h]) for h in (0, 1)):
                    cut, _ = best_threshold(scores[a, k, s, chosen], truth[chosen])
                    decided[a, k, s, judged] = scores[a, k, s, judged] >= cut
    return Pool(tuple(map(str, range(subjects))), whose, fold[whose], tuple(map(str, truth)), {"lesion": truth},
                scores[None], decided[None], external=False)


def judged(world: World, rng: np.random.Generator) -> Estimate:
    """The estimate of one study."""
    pool = study(world, rng)
    measured = measure(pool, f1, replicate_weights(pool, REPLICATES, int(rng.integers(2**31))))
    return estimate(measured, range(world.ks), 1, 0, pool.freedom())


def line(world: World, studies: int, seed: int) -> str:
    """One row of the table."""
    rng = np.random.default_rng(seed)
    estimates = [judged(world, rng) for _ in range(studies)]
    values, (low, high) = np.array([e.value for e in estimates]), np.array([e.interval for e in estimates]).T
    truth, answers = values.mean(), [answer_of(e, MARGIN, None) for e in estimates]

    def share(answer: Answer) -> str:
        return f"{100 * answers.count(answer) / studies:.1f}%"

    cells = [world.name, f"{truth:+.3f}", f"{values.std():.3f}",
             f"{100 * np.mean((low <= truth) & (truth <= high)):.1f}% ± {np.mean(high - low) / 2:.3f}",
             share(HELPS), share(HURTS), share(DOES_NOT)]
    return "| " + " | ".join(cells) + " |"


UNSTABLE = {"training": 0.15, "refit": 0.3}


def worlds() -> list[World]:
    """Three sizes, stable and unstable, without a difference and with one."""
    sizes = [World("24 + 31, 3, 2", 24, 31, 3, 2), World("50 + 50, 3, 2", 50, 50, 3, 2),
             World("100 + 100, 5, 3", 100, 100, 5, 3)]
    return [replace(size, name=f"{size.name} | {kind}, {effect}", gain=gain, **more)
            for size in sizes for kind, more in (("stable", {}), ("unstable", UNSTABLE))
            for effect, gain in (("none", 0.0), ("better", 0.5))]


def others() -> list[World]:
    """Imbalance, other numbers of images, folds, seeds and k, and what training varies by."""
    small, large = World("24 + 31, 3, 2", 24, 31, 3, 2), World("100 + 100, 5, 3", 100, 100, 5, 3)
    subsets = {"training": 0.25, "refit": 0.05}
    kinds: list[tuple[World, str, dict]] = [
        (World("30 + 120, 3, 2", 30, 120, 3, 2), "unstable", UNSTABLE),
        (World("30 + 120, 5, 3", 30, 120, 5, 3), "stable", {}),
        (small, "stable, one image a subject", {"images": (1, 1)}),
        (small, "unstable, 10 to 20 images", {"images": (10, 20), **UNSTABLE}),
        (small, "stable, mean over 3 k", {"ks": 3}),
        (small, "unstable, mean over 3 k", {"ks": 3, **UNSTABLE}),
        (large, "unstable, mean over 3 k", {"ks": 3, **UNSTABLE}),
        (replace(small, name="24 + 31, 2, 2", folds=2), "unstable", UNSTABLE),
        (replace(small, name="24 + 31, 3, 5", seeds=5), "unstable", UNSTABLE),
        (replace(large, name="100 + 100, 10, 2", folds=10, seeds=2), "unstable", UNSTABLE),
        (replace(small, name="24 + 31, 3, 1", seeds=1), "stable", {}),
        (replace(small, name="24 + 31, 3, 1", seeds=1), "unstable", UNSTABLE),
        (replace(large, name="100 + 100, 5, 1", seeds=1), "unstable", UNSTABLE),
        (small, "seeds alone", {"training": 0.0, "refit": 0.4}),
        (large, "seeds alone", {"training": 0.0, "refit": 0.3}),
        (small, "subsets alone, an eighth of the pool", {"share": 0.125, **subsets}),
        (large, "subsets alone, an eighth of the pool", {"share": 0.125, **subsets}),
        (small, "subsets alone, half of the pool", subsets), (large, "subsets alone, half of the pool", subsets)]
    return [replace(world, name=f"{world.name} | {kind}, none", **more) for world, kind, more in kinds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000, help="in each row")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--others", action="store_true", help="the other kinds of studies")
    args = parser.parse_args()
    print("| subjects, folds, seeds | training, effect | true difference | its standard deviation "
          "| the interval holds it, ± | helps | hurts | does not help |\n|---|---|--:|--:|--:|--:|--:|--:|")
    for world in others() if args.others else worlds():
        print(line(world, args.studies, args.seed), flush=True)


if __name__ == "__main__":
    main()
