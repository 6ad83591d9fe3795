"""How long the default evaluation takes: 500 generated against 500 test images (and 500 of training), 128 px.

    python benchmarks/evaluation_time.py FOLDER [--threads 2] [--rounds 3]

FOLDER keeps the phantom cohort and the run between calls. Features are computed anew each time (an empty cache); `warm`
is the same evaluation once more, with the features of the real images from the cache.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

CODE = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[2]))
from ganatomy.cli.main import tune_process
tune_process()
from ganatomy import evaluate
start = last = time.perf_counter()
def say(text):
    global last
    now = time.perf_counter()
    print(f"  {now - last:5.1f} s, then {text.splitlines()[0][:90]}", file=sys.stderr)
    last = now
evaluate(sys.argv[1], n=500, say=say)
print(time.perf_counter() - start)
"""


def ganatomy(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "ganatomy", *map(str, words)], check=True)


def prepared(folder: Path) -> Path:
    """A run on a phantom cohort of 500 training and 500 test subjects, one slice each; its quality is of no matter."""
    run = folder / "run"
    if not (folder / "scans").is_dir():
        ganatomy("phantom", folder / "scans", "--subjects", "1010", "--size", "128", "--seed", "3")
    if not (folder / "dataset").is_dir():
        ganatomy("prepare", folder / "scans", folder / "dataset", "--size", "128", "--domains", "T1",
                 "--split", "49.5,1,49.5")
    ganatomy("train", folder / "dataset", run, "--steps", "20", "--set", "size=128", "--select", "last")
    return run


def seconds(run: Path, threads: int, cache: str) -> float:
    environment = {**os.environ, "GANATOMY_CACHE": cache, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", CODE, str(run), str(threads)], env=environment, check=True,
                   stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    run = prepared(given.folder)
    cold, warm = [], []
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(seconds(run, given.threads, cache))
            warm.append(seconds(run, given.threads, cache))
    print(f"cold {median(cold):.1f} s (from {min(cold):.1f} to {max(cold):.1f}), warm {median(warm):.1f} s, "
          f"{given.threads} threads, imports included")


if __name__ == "__main__":
    main()
