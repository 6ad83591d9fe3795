"""Noise-to-image runs of several arms and seeds against the same test patients: differences paired by seed.

    python benchmarks/arms.py DATASET FOLDER --arms dcgan,hybrid,scratch --seeds 0,1,2,3,4 [-n 500]

FOLDER holds a run FOLDER/a-ARM-SEED for every arm and seed. Prints KD-Lite0 x 1000 and recall (k = 5) of every run
against the test split, their means, and the difference of the second arm from each other one with a 95% Student
interval over the seeds, beside the margins of equivalence: 20% of the first arm's mean KD, 0.10 in recall.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ganatomy.comparison.groups import over_seeds
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.generators.folder import load_generator
from ganatomy.metrics import prdc
from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.kernel import kernel_distance

SHARE, RECALL_MARGIN = 0.20, 0.10
Table = dict[str, dict[str, np.ndarray]]


def figures(run: Path, real: Sample, n: int) -> dict[str, float]:
    made = Sample(load_generator(run).sample(n, seed=0))
    results = {r.name: r.value for r in prdc.compute(Samples(real, made, control=True))}
    recall = next(value for name, value in results.items() if name.lower().startswith("recall"))
    return {"KD-Lite0 x 1000": 1e3 * kernel_distance(real, made), "recall": float("nan") if recall is None else recall}


def measure(folder: Path, arms: list[str], seeds: list[int], real: Sample, n: int) -> Table:
    table: Table = {}
    for arm in arms:
        found = [figures(folder / f"a-{arm}-{seed}", real, n) for seed in seeds]
        seconds = [Run.open(folder / f"a-{arm}-{seed}").status().get("seconds", 0.0) for seed in seeds]
        table[arm] = {name: np.array([one[name] for one in found]) for name in found[0]}
        for name, values in table[arm].items():
            print(f"{arm:10} {name:16} {values.mean():8.3f}  seeds: {', '.join(f'{v:.3f}' for v in values)}")
        print(f"{arm:10} {'minutes':16} {np.mean(seconds) / 60:8.1f}")
    return table


def compare(table: Table, one: str, other: str, margins: dict[str, float]) -> None:
    for name, margin in margins.items():
        apart = table[one][name] - table[other][name]
        interval = over_seeds(apart.tolist())
        if interval is None:
            print(f"{one} - {other}: {name} {apart.mean():+.3f}, no interval of {len(apart)} seeds")
            continue
        low, high = interval
        print(f"{one} - {other}: {name} {apart.mean():+.3f} ({low:+.3f} to {high:+.3f}): "
              f"{'differ' if low > 0 or high < 0 else 'no difference shown'}, "
              f"{'within' if -margin < low and high < margin else 'not shown to be within'} the margin of {margin:.3f}")
        if not table[one][name].any() and not table[other][name].any():
            print(f"  {name} is 0 in every run: at the end of its scale it tells nothing about a difference")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--arms", default="dcgan,hybrid,scratch")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--domain", default="T1")
    parser.add_argument("-n", type=int, default=500)
    options = parser.parse_args()
    arms, seeds = options.arms.split(","), [int(seed) for seed in options.seeds.split(",")]
    dataset = Dataset.open(options.dataset)
    rows = dataset.require("test", options.domain)
    real = Sample(dataset.images(rows), [row.subject for row in rows])
    train = dataset.rows(options.domain, "train")
    known = Sample(dataset.images(train), [row.subject for row in train])
    print(f"real train against real test: KD-Lite0 x 1000 {1e3 * kernel_distance(real, known):.3f}")
    table = measure(options.folder, arms, seeds, real, options.n)
    margins = {"KD-Lite0 x 1000": SHARE * float(table[arms[0]]["KD-Lite0 x 1000"].mean()), "recall": RECALL_MARGIN}
    for other in [arms[0], *arms[2:]]:
        compare(table, arms[1], other, margins)


if __name__ == "__main__":
    main()
