"""Planted faults: which of the collapse and artefact checks finds which, and do they leave fresh patients alone?

    python benchmarks/planted_faults.py [--draws 5] [--innocent 20] [--brain FILES.csv] [--size 64]

Prints a markdown table for each real sample: in how many draws each check fires, and in the first of them its value,
its 95% interval and the figure real against real; of sharpness the ratio, and that between halves.
Patients: phantom subjects, 300 for training, 150 for testing, and 300 others in whose images the faults are planted; in
each draw from another seed (of the first seed, dealt out anew for the further innocent cases). With --brain the
subjects of that table instead, dealt out anew in each draw, such as 22, 16 and 17.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
from scipy.ndimage import gaussian_filter, shift

from ganatomy import prepare
from ganatomy.data.dataset import Dataset
from ganatomy.features.base import Images, choose
from ganatomy.metrics import appearance, duplicates, prdc, spectrum
from ganatomy.metrics.base import Result, Sample, Samples
from ganatomy.phantoms.cohort import subject_images

CHECKS = (duplicates, appearance, spectrum, prdc)
INNOCENT = "fresh real patients"
TRAIN, TEST, FRESH = 300, 150, 300
SHARES = (0.4, 0.3)  # of the brain cohort's subjects, for training and testing


@dataclass
class Cohort:
    """Real images with their subjects and features."""

    images: Images
    subjects: list[str]
    features: np.ndarray

    def sample(self, wanted: np.ndarray) -> Sample:
        """The images of the subjects with these numbers."""
        names = np.array(list(dict.fromkeys(self.subjects)))[wanted]
        rows = np.flatnonzero(np.isin(self.subjects, names))
        return Sample(self.images[rows], [self.subjects[row] for row in rows], self.features[rows])


def phantoms(seed: int, subjects: int, size: int) -> Cohort:
    """T1-weighted phantom images; grey values are spread over the range as `prepare` does, by a percentile."""
    images = []
    for index in range(subjects):
        t1 = subject_images(index, seed, size, anatomy="first").t1
        images.append(np.clip(t1 / np.percentile(t1[t1 > 0], 99.8), 0, 1) * 2 - 1)
    stack = np.stack(images).astype(np.float32)
    return Cohort(stack, [f"s{i}" for i in range(subjects)], choose()(stack))


def brains(table: Path, size: int) -> Cohort:
    """Every image of a table of files, prepared."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(table, Path(folder) / "dataset", size=size)
        dataset = Dataset.open(Path(folder) / "dataset")
        rows = dataset.rows()
        images = dataset.images(rows)
        return Cohort(images, [row.subject for row in rows], choose()(images))


def planted(fresh: Sample, rng: np.random.Generator) -> Iterator[tuple[str, Sample]]:
    """The fresh real images as they are, and with each fault; features are computed anew."""
    real = fresh.images[:]
    n, size = len(real), real.shape[-1]
    _, one_each = np.unique(fresh.subjects, return_index=True)
    prototypes = real[rng.choice(one_each, 10, replace=False)][rng.integers(10, size=n)]
    moved = np.stack([shift(x, (0, *rng.uniform(-1, 1, 2)), order=1, mode="nearest") for x in prototypes])
    y, x = np.mgrid[:size, :size]
    faults = {"collapse to 10 images": moved + 0.04 * rng.standard_normal(moved.shape),
              "blur, 1 px": gaussian_filter(real, (0, 0, 1, 1)),
              "checkerboard, 2%": real + 0.02 * (-1.0) ** (x + y),
              "stripes every 4 px, 4%": real + 0.04 * np.cos(np.pi / 2 * x + 1),
              "noise, 4%": real + 0.08 * rng.standard_normal(real.shape),
              "gamma 0.8": ((real + 1) / 2) ** 0.8 * 2 - 1,
              "half mixed with the mean": (real + real.mean(0)) / 2}
    yield INNOCENT, fresh
    for name, images in faults.items():
        made = np.clip(images, -1, 1).astype(np.float32)
        alone = None if name.startswith("collapse") else [fresh.names[s] for s in fresh.subjects]
        yield name, Sample(made, alone)


def checked(samples: Samples) -> dict[tuple[str, str], tuple[bool, str]]:
    """For each real sample and figure: whether it fires, and the figure in words."""
    out = {}
    for check in CHECKS:
        for result in check.compute(samples):
            out[result.against, result.name] = (bool(check.fault(result)), shown(result))
    return out


def shown(r: Result) -> str:
    """Value, interval and floor; of ratios the ratio; of peaks the first."""
    if r.value is None:
        return "-"
    named = (r.details or {}).get("peaks") or []
    peak = ", {direction} every {period_px:g} px, {excess_db:.0f} dB".format(**named[0]) if named else ""
    if r.ratio is not None and r.ratio_interval is not None:
        halves = (r.details or {}).get("halves")
        return f"{r.ratio:.2f} [{spanned(r.ratio_interval)}]; {spanned(halves)}"
    return f"{r.value:.3g} [{spanned(r.interval)}]; {0.0 if r.floor is None else r.floor:.3g}{peak}"


def spanned(ends: tuple[float, float] | list[float] | None) -> str:
    return "-" if ends is None else f"{ends[0]:.3g}, {ends[1]:.3g}"


def report(title: str, found: dict[str, list[dict[tuple[str, str], tuple[bool, str]]]]) -> None:
    """A table for each real sample: cases down, figures across."""
    for against in ("test", "train"):
        names = [name for where, name in next(iter(found.values()))[0] if where == against]
        print(f"\n{title}, against {against}\n\n| case | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
        for case, draws in found.items():
            cells = [f"{sum(d[against, name][0] for d in draws)} of {len(draws)}: {draws[0][against, name][1]}"
                     for name in names]
            print(f"| {case} | {' | '.join(cells)} |")


def measure(title: str, cohorts: Iterator[Cohort], sizes: tuple[int, int], draws: int, innocent: int) -> None:
    """Draw subjects, plant faults, and print what is found. The innocent case is drawn more often than the others."""
    found: dict[str, list[dict[tuple[str, str], tuple[bool, str]]]] = {}
    for draw, cohort in enumerate(cohorts):
        rng = np.random.default_rng(draw)
        for again in range(innocent if draw == 0 else 1):
            order = rng.permutation(len(set(cohort.subjects)))
            train, test, fresh = np.split(order, (sizes[0], sizes[0] + sizes[1]))
            for name, made in planted(cohort.sample(fresh), rng):
                found.setdefault(name, []).append(checked(Samples(cohort.sample(test), made, cohort.sample(train))))
                if again:
                    break
        if draw + 1 == draws:
            break
    report(title, found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--innocent", type=int, default=20)
    parser.add_argument("--brain", type=Path)
    parser.add_argument("--size", type=int, default=64)
    args = parser.parse_args()
    started = time.perf_counter()
    if args.brain:
        cohort = brains(args.brain, args.size)
        subjects = len(set(cohort.subjects))
        sizes = int(SHARES[0] * subjects), int(SHARES[1] * subjects)
        title = f"{args.brain.parent.name}, {args.size} px"
        measure(title, iter([cohort] * args.draws), sizes, args.draws, args.innocent)
    else:
        seeds = (phantoms(seed, TRAIN + TEST + FRESH, args.size) for seed in range(args.draws))
        measure(f"Phantom, {args.size} px", seeds, (TRAIN, TEST), args.draws, args.innocent)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
