"""What a classifier of the study's default cell costs on one core, and as a share of the 20 seconds it may take.

    python benchmarks/classifier_time.py [--size 64] [--images 500] [--judged 370] [--rounds 3] [--augment none]

Training with the default settings and judging at every checkpoint. Features are computed anew: a study finds those of
the judged images, and of most real ones, in the cache after its first arm.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import median
from typing import get_args

os.environ.update(OMP_NUM_THREADS="1", GANATOMY_CACHE="off")

import numpy as np
import torch
from numpy.typing import NDArray

from ganatomy.cli.main import tune_process
from ganatomy.studies.classifiers import TrainingSet, train_classifier
from ganatomy.studies.protocol import Augment, ClassifierSettings

MOST = 20.0  # seconds


def images(n: int, size: int, seed: int) -> NDArray[np.float32]:
    """Smooth random images [n, 1, size, size] in [-1, 1]."""
    noise = torch.rand((n, 1, 8, 8), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    smooth: NDArray[np.float32] = torch.nn.functional.interpolate(noise, size=size, mode="bicubic").clamp(-1, 1).numpy()
    return smooth


def seconds(name: str, train: TrainingSet, judged: NDArray[np.float32], augment: Augment) -> tuple[float, float]:
    """Time passed, and time of the processor, which is less where other programs want it too."""
    start, start_cpu = time.perf_counter(), time.process_time()
    train_classifier(train, 2, [judged], ClassifierSettings.model_validate({"name": name}), augment, 0,
                     torch.device("cpu"))
    return time.perf_counter() - start, time.process_time() - start_cpu


def main() -> None:
    tune_process()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--judged", type=int, default=370)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--augment", choices=get_args(Augment), default="none")
    options = parser.parse_args()
    torch.set_num_threads(1)
    train = TrainingSet(images(options.images, options.size, 0), (np.arange(options.images) % 5 == 0).astype(np.intp))
    judged = images(options.judged, options.size, 1)
    for name in ("fcn", "resnet", "features"):
        seconds(name, TrainingSet(train.images[:10], train.labels[:10]), judged[:10], options.augment)  # imports
        times = [seconds(name, train, judged, options.augment) for _ in range(options.rounds)]
        passed, processor = (median(column) for column in zip(*times, strict=True))
        print(f"{name}: {', '.join(f'{t:.1f}' for t, _ in times)} s, median {passed:.1f} s, "
              f"of which the processor {processor:.1f} s, {passed / MOST:.2f} of {MOST:.0f} s", flush=True)


if __name__ == "__main__":
    main()
