"""How often the 95% intervals of `evaluate` hold what they are for, on phantoms with several slices a subject.

    python benchmarks/interval_coverage.py --repeats 400 --workers 2

Test cohorts of 10 to 60 subjects are drawn from one large population of phantom slices, 64 px, and 200 synthetic images
from another: slices of other subjects, one of each, blurred and of another contrast. An interval of a figure covers
if it holds the figure's mean over all repeats: for the kernel distance, which is unbiased, that is the distance of the
populations; for all others the expectation at this n. Then cohorts of 10 subjects are drawn from the real population,
two at a time without a subject in common: their kernel distance must average 0, and that over all pairs of images
(i != j) does not where a subject has several. Prints markdown.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

SIZE, SLICES, MADE = 64, 3, 200
WHITE = 800  # stored value shown as white
BLUR, GAMMA = 0.5, 0.9  # pixels; of the synthetic population
NAMES = ("KD-Lite0", "SSIM", "MS-SSIM-3", "Diversity-Lite0", "Precision-Lite0",
         "Recall-Lite0", "Density-Lite0", "Coverage-Lite0")
ALONE = ("kernel", "prdc")  # whose floors are not looked at
MODULES = (*ALONE, "ssim", "diversity")
Arrays = dict[str, np.ndarray]
Figures = dict[str, tuple[float, float, float]]  # value, low, high

population: Arrays = {}  # of this process


def slices(index: int, seed: int) -> np.ndarray:
    """The slices of a phantom subject, [3, 1, 64, 64] in [-1, 1]."""
    from ganatomy.phantoms.cohort import subject_images

    t1 = subject_images(index, seed, SIZE, SLICES, anatomy="first").t1
    return (np.clip(t1 / WHITE, 0, 1) * 2 - 1)[:, None].astype(np.float32)


def synthetic(index: int, seed: int) -> np.ndarray:
    """One slice of another subject, worse: [1, 1, 64, 64]."""
    chosen = slices(index, seed)[np.random.default_rng((seed, index)).integers(SLICES)][None]
    worse = gaussian_filter((chosen + 1) / 2, (0, 0, BLUR, BLUR)) ** GAMMA
    return (worse * 2 - 1).astype(np.float32)


def with_features(rows: tuple[str, range]) -> tuple[np.ndarray, np.ndarray]:
    import torch

    from ganatomy.features.extractors import Lite0

    torch.set_num_threads(1)
    kind, indices = rows
    images = np.concatenate([slices(i, 1) if kind == "real" else synthetic(i, 2) for i in indices])
    return images, Lite0().compute(images).astype(np.float32)


def make_population(subjects: int, made: int, workers: int) -> Arrays:
    """Images and features of both populations; 3 real images of each subject, one after the other."""
    found: Arrays = {}
    with ProcessPoolExecutor(workers, get_context("fork")) as pool:
        for kind, count in (("real", subjects), ("made", made)):
            parts = list(pool.map(with_features, [(kind, range(i, min(i + 25, count))) for i in range(0, count, 25)]))
            found[kind], found[f"{kind}_features"] = (np.concatenate(x) for x in zip(*parts, strict=True))
    return found


def figures(metrics: list[str], drawn: tuple[int, int, int]) -> Figures:
    """All figures of one cohort: (subjects, images a subject, number of the repeat)."""
    from ganatomy.metrics.base import Sample, Samples

    subjects, each, repeat = drawn
    rng = np.random.default_rng((subjects, each, repeat))
    people = rng.choice(len(population["real"]) // SLICES, subjects, replace=False)
    inside = np.argsort(rng.random((subjects, SLICES)), axis=1)[:, :each]
    rows = (people[:, None] * SLICES + inside).ravel()
    others = rng.choice(len(population["made"]), MADE, replace=False)
    test = Sample(population["real"][rows], [f"s{i // each}" for i in range(len(rows))],
                  population["real_features"][rows].astype(np.float64))
    made = Sample(population["made"][others], None, population["made_features"][others].astype(np.float64))
    samples = Samples(test, made, seed=repeat)
    alone = samples.with_control(made)
    modules = [(name, import_module(f"ganatomy.metrics.{name}")) for name in metrics]
    return dict(read([r for name, module in modules for r in module.compute(alone if name in ALONE else samples)]))


def read(results: list) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Each figure, its real-real reference and their ratio, where they have intervals."""
    for r in results:
        yield r.name, (r.value, *(r.interval or (np.nan, np.nan)))
        if r.reference:
            yield f"{r.name}, real vs real", (r.reference.value, *(r.reference.interval or (np.nan, np.nan)))
        if r.ratio_interval:
            yield f"{r.name}, ratio", (r.ratio, *r.ratio_interval)


def coverage(found: list[Figures]) -> Iterator[tuple[str, float, float]]:
    """Of each figure: name, the share of intervals that hold its mean, and their mean width over that mean."""
    for name in sorted(set().union(*found), key=lambda name: (NAMES.index(name.partition(",")[0]), name)):
        value, low, high = np.array([f[name] for f in found if name in f]).T
        mean, known = np.nanmean(value), np.isfinite(low)
        if known.any():
            hits = (low[known] <= mean) & (mean <= high[known])
            yield name, float(hits.mean()), float((high - low)[known].mean() / abs(mean))


def unbiased(each: int, pairs: int, subjects: int = 10) -> str:
    """The kernel distance of disjoint real cohorts over pairs of different subjects, and over pairs of images."""
    from ganatomy.metrics.kernel import kernel_distance
    from ganatomy.statistics.subjects import Points

    rng, found = np.random.default_rng(each), []
    features = population["real_features"].reshape(-1, SLICES, population["real_features"].shape[1])
    numbers = np.repeat(np.arange(subjects), each)
    for _ in range(pairs):
        people = rng.choice(len(features), 2 * subjects, replace=False)
        halves = np.split(features[people, :each].astype(np.float64).reshape(2 * len(numbers), -1), 2)
        found.append((kernel_distance(*(Points(half, numbers) for half in halves)),
                      kernel_distance(*(Points.alone(half) for half in halves))))
    means, errors = 1000 * np.mean(found, axis=0), 1000 * np.std(found, axis=0) / np.sqrt(pairs)
    ours, usual = (f"{mean:.2f} ± {error:.2f}" for mean, error in zip(means, errors, strict=True))
    return f"| {subjects} x {each} | {ours} | {usual} |"


def table(cells: dict[tuple[int, int], dict[str, tuple[float, float]]]) -> str:
    """A markdown table: a row a figure, a column a cohort, "coverage (width)"."""
    heads = [f"{s} x {each}" for s, each in cells]
    lines = ["| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    for name in dict.fromkeys(name for found in cells.values() for name in found):
        known = [found.get(name) for found in cells.values()]
        lines.append(f"| {name} | " + " | ".join(f"{100 * k[0]:.0f}% ({k[1]:.2f})" if k else "" for k in known) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--subjects", type=int, nargs="+", default=[10, 20, 30, 60])
    parser.add_argument("--images", type=int, nargs="+", default=[3, 1], help="a subject")
    parser.add_argument("--metrics", nargs="+", choices=MODULES, default=MODULES)
    parser.add_argument("--population", type=int, nargs=2, default=[1200, 1500], help="real subjects, synthetic images")
    parser.add_argument("--keep", type=Path, help="npz file with the population, made if it is not there")
    asked = parser.parse_args()
    if asked.keep and asked.keep.is_file():
        population.update(np.load(asked.keep))
    else:
        population.update(make_population(*asked.population, asked.workers))
        if asked.keep:
            np.savez(asked.keep, **population)
    cells = {}
    with ProcessPoolExecutor(asked.workers, get_context("fork")) as pool:
        for each in asked.images:
            for subjects in asked.subjects:
                drawn = [(subjects, each, repeat) for repeat in range(asked.repeats)]
                found = list(pool.map(partial(figures, asked.metrics), drawn, chunksize=5))
                cells[subjects, each] = {name: (share, width) for name, share, width in coverage(found)}
    print(f"{asked.repeats} repeats; subjects x images of each; share of the intervals that hold it (mean width over "
          "the figure):\n")
    print(table(cells))
    if "kernel" in asked.metrics:
        pairs = 5 * asked.repeats
        print(f"\n| KD x 1000 of {pairs} pairs of real cohorts, mean ± standard error | different subjects | all pairs "
              "of images |\n|---|---|---|")
        print("\n".join(unbiased(each, pairs) for each in asked.images))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
