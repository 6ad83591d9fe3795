"""How much memory and time the metrics of `evaluate` take of many synthetic images.

    python benchmarks/evaluation_memory.py --synthetic 100000 --train 20000

The images are 128 px bytes in a memory map, read in parts as a dataset's are. Their features come from a cheap stand-in
(1,280 fixed random projections of the image shrunk to 16 px), since EfficientNet's take 13 ms an image: 100,000 of them
22 minutes more and no more memory. Each metric is measured in a process of its own, and all in one. Prints seconds of
processor time, the peak of resident memory, and that without the pages of mapped files (2 GB of images, which the
system takes back when it needs the memory).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from ganatomy.features.base import Extractor
from ganatomy.metrics import metric_modules
from ganatomy.metrics.base import Sample, Samples

SIZE, SLICES = 128, 3
BLOCK = 2000


class StandIn(Extractor):
    """Random projections of the shrunk image: different images have different features."""

    name, dimensions, identity = "StandIn", 1280, "stand-in"

    def __init__(self) -> None:
        self._weights = np.random.default_rng(0).normal(size=(256, self.dimensions)) / 4

    def compute(self, images: np.ndarray, device: str = "cpu") -> np.ndarray:
        small = images.reshape(len(images), 16, SIZE // 16, 16, SIZE // 16).mean((2, 4)).reshape(len(images), -1)
        return np.maximum(small @ self._weights, 0) + 0.01


class Bytes:
    """Rows of a memory map as images in [-1, 1]."""

    def __init__(self, path: Path, count: int) -> None:
        self._map = np.memmap(path, np.uint8, "r", shape=(count, 1, SIZE, SIZE))
        self.shape = self._map.shape

    def __len__(self) -> int:
        return len(self._map)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self._map[rows].astype(np.float32) / np.float32(127.5) - np.float32(1)


def write(path: Path, count: int, seed: int) -> None:
    """Discs of random place, radius and brightness with noise."""
    images = np.memmap(path, np.uint8, "w+", shape=(count, 1, SIZE, SIZE))
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) / SIZE
    rng = np.random.default_rng(seed)
    for start in range(0, count, BLOCK):
        n = min(BLOCK, count - start)
        a, b, radius, grey = (v[:, None, None].astype(np.float32) for v in rng.uniform(0.3, 0.7, (4, n)))
        inside = np.clip((radius / 2 - np.hypot(y - a, x - b)) * SIZE / 2 + 0.5, 0, 1)
        noise = rng.standard_normal((n, SIZE, SIZE), np.float32)
        images[start:start + n, 0] = np.clip(255 * inside * grey + 40 * inside + 4 * noise, 0, 255)
    images.flush()


class Peak(threading.Thread):
    """Looks 20 times a second at how much memory is this process's own, not mapped from files (Linux)."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.megabytes = float("nan")

    def run(self) -> None:
        status = Path("/proc/self/status")
        while status.is_file():
            lines = [line.split() for line in status.read_text().splitlines()]
            own = next(int(words[1]) for words in lines if words[0] == "RssAnon:") / 1024
            self.megabytes = np.fmax(self.megabytes, own)
            time.sleep(0.05)


def measure(folder: Path, names: list[str], counts: dict[str, int]) -> dict[str, Any]:
    """Run these metrics in this process; processor seconds of each (features apart), peaks in MB."""
    extractor, peak = StandIn(), Peak()
    peak.start()
    real = {name: Sample(Bytes(folder / name, counts[name]), [f"{name}{i // SLICES}" for i in range(counts[name])],
                         extractor=extractor) for name in ("test", "train", "val")}
    synthetic = Sample(Bytes(folder / "synthetic", counts["synthetic"]), extractor=extractor)
    samples, seconds = Samples(real["test"], synthetic, real["train"], real["val"]), {}
    started = time.process_time()
    for sample in (*real.values(), synthetic):
        assert len(sample.features)
    seconds["features"] = time.process_time() - started
    for module in metric_modules():
        name = module.__name__.rpartition(".")[2]
        if name in names:
            started = time.process_time()
            module.compute(samples)
            seconds[name] = time.process_time() - started
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "own": float(peak.megabytes)}


def in_a_process(folder: Path, names: list[str], counts: dict[str, int]) -> dict[str, Any]:
    """The same in a process of its own; what it said where it failed."""
    asked = json.dumps({"folder": str(folder), "names": names, "counts": counts})
    done = subprocess.run([sys.executable, __file__, "--measure", asked], capture_output=True, text=True)
    if done.returncode:
        fault = (done.stderr.strip().splitlines() or ["killed"])[-1]
        return {"seconds": {}, "peak": float("nan"), "own": float("nan"), "fault": fault}
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, count in (("synthetic", 100_000), ("train", 20_000), ("test", 2000), ("val", 2000)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--metrics", nargs="+", help="by module; all by default")
    parser.add_argument("--together", action="store_true", help="only in one process")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        given = json.loads(asked.measure)
        print(json.dumps(measure(Path(given["folder"]), given["names"], given["counts"])))
        return
    counts = {name: getattr(asked, name) for name in ("synthetic", "train", "test", "val")}
    names = asked.metrics or [m.__name__.rpartition(".")[2] for m in metric_modules()]
    with tempfile.TemporaryDirectory() as folder:
        for seed, (name, count) in enumerate(counts.items()):
            write(Path(folder) / name, count, seed)
        print("| metric | processor seconds | peak, MB | without mapped files, MB |\n|---|---|---|---|", flush=True)
        for name in () if asked.together else names:
            print(row(name, in_a_process(Path(folder), [name], counts), name), flush=True)
        print(row("all, with features", in_a_process(Path(folder), names, counts)))


def row(head: str, found: dict[str, Any], name: str | None = None) -> str:
    seconds = found["seconds"].get(name, float("nan")) if name else sum(found["seconds"].values())
    return f"| {head} | {seconds:.0f} | {found['peak']:.0f} | {found['own']:.0f} | {found.get('fault', '')}"


if __name__ == "__main__":
    main()
