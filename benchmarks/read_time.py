"""What reading a batch costs, as a share of a training step: 64 images of 256x256 uint8 against rpgan-64's step.

    python benchmarks/read_time.py [--threads 2]
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from ganatomy.cli.main import tune_process
from ganatomy.core.hardware import native_bf16
from ganatomy.core.recipe import load
from ganatomy.data.batches import Feed
from step_time import noise_dataset, our_loop


def median_ms(work: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def main() -> None:
    tune_process()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    device = torch.device("cpu")
    recipe = load("rpgan-64")
    with tempfile.TemporaryDirectory() as folder:
        large = noise_dataset(Path(folder) / "large", 256, n=2000)
        small = noise_dataset(Path(folder) / "small", 64)
        feed = Feed(small, small.rows("T1"), 64, recipe.batch_size, 0, device)
        rows = large.rows("T1")
        read = median_ms(lambda: large.pixels(random.sample(rows, 64)), 50)
        loop = our_loop(recipe, feed, "bf16" if native_bf16(device) else "fp32")
        median_ms(loop, 5)
        step = median_ms(loop, 40)
    print(f"read 64 of 256x256 uint8  {read:.2f} ms\nstep of rpgan-64          {step:.1f} ms\nratio {read / step:.4f}")


if __name__ == "__main__":
    main()
