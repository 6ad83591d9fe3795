"""How much faster two workers finish a study's cells than one, each with one thread.

    python benchmarks/study_workers.py [--steps 300] [--repeats 3]

Four cells of 64 px of the same size: a GAN, its audit, three classifiers. One worker and two take turns, so that
whatever else the machine does falls on both; nothing else should run on it. Prints the seconds of every round and the
median of the ratios, which is at most 0.6 on a machine with two idle cores. What comes before the cells (folds) and
after them (statistics) is done by one process either way, and not timed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ganatomy.data.dataset import DatasetInfo, new_dataset
from ganatomy.data.manifest import Row
from ganatomy.studies.study import begin
from ganatomy.studies.workers import Here, run_cells, study_command

SIZE, SUBJECTS, PER_SUBJECT = 64, 48, 5
SETTINGS: dict[str, Any] = {"k": (25,), "folds": 2, "seeds": 2, "imbalance": 2.0,
                            "arms": ("ORG", "AUG_ORG", "AUG_GAN"), "classifier": {"updates": 300}}


def write_images(path: Path) -> None:
    """Blurred discs, every other subject's darker in the middle."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    with new_dataset(path, (SIZE, SIZE), 1, np.uint8) as writer:
        for i in range(SUBJECTS * PER_SUBJECT):
            subject = i // PER_SUBJECT
            rare = subject % 2 == 0
            cx, cy, radius = rng.uniform([0.3, 0.3, 0.15], [0.7, 0.7, 0.3])
            distance = np.hypot(x - cx, y - cy)
            image = 200 / (1 + np.exp(40 * (distance - radius))) - 100 * rare * np.exp(-(distance / radius * 2)**2)
            pixels = np.clip(image + rng.normal(20, 5, image.shape), 0, 255).astype(np.uint8)
            writer.add(pixels, Row(f"image-{i:03d}", f"sub-{subject:03d}", "", i % PER_SUBJECT, "disc",
                                   "rare" if rare else "common", "train", 0, 0.0, 1.0, "1x1", "", ""))
        writer.finish(DatasetInfo(size=(SIZE, SIZE), channels=1, value_range=(0, 255), domains=("disc",), paired=True,
                                  content="", classes=("common", "rare")))


def seconds(data: Path, out: Path, steps: int, workers: int) -> float:
    """What the cells of a new study take."""
    folder = begin(data, out, recipe=None, set={"steps": steps}, budget=None, external=None, device="cpu",
                   say=lambda text: None, positives=("rare",), **SETTINGS)
    started = time.perf_counter()
    run_cells(folder, Here(study_command(data, folder.path, "cpu"), workers), lambda text: None)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="of each GAN")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        write_images(Path(scratch) / "data")
        ratios = []
        for i in range(options.repeats):
            one, two = (seconds(Path(scratch) / "data", Path(scratch) / f"study-{i}-{workers}", options.steps, workers)
                        for workers in (1, 2))
            ratios.append(two / one)
            print(f"4 cells: 1 worker {one:.1f} s, 2 workers {two:.1f} s, ratio {two / one:.2f}", flush=True)
    print(f"median ratio {statistics.median(ratios):.2f} (0.6 or less is wanted)")


if __name__ == "__main__":
    main()
