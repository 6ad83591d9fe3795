"""How fast and in how much memory `prepare` works: many slices as PNG, NIfTI or DICOM, with one and with all processes.

    python benchmarks/prepare_scale.py --slices 100000 --kind png --workers 2

Prints seconds, slices a second and the peak of memory (proportional set size: what processes share counts once), and
the seconds of a second run over unchanged files.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

SIZE, PER_VOLUME = 64, 100


def write_png(folder: Path, slices: int) -> None:
    """A folder per subject with 100 pictures each; 1,000 different pictures in all, hard-linked."""
    from PIL import Image

    rng = np.random.default_rng(0)
    originals = []
    (folder / "originals").mkdir(parents=True)
    for i in range(1000):
        path = folder / "originals" / f"{i}.png"
        Image.fromarray(_picture(rng).astype(np.uint8)).save(path)
        originals.append(path)
    for i in range(slices):
        place = folder / "source" / f"p{i // PER_VOLUME:05d}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"slice{i % PER_VOLUME:03d}.png").hardlink_to(originals[(i * 7 + i // 1000) % 1000])


def write_nifti(folder: Path, slices: int) -> None:
    """Volumes of 100 slices."""
    import nibabel

    rng = np.random.default_rng(0)
    volume = np.stack([_picture(rng) for _ in range(PER_VOLUME)], -1).astype(np.int16)
    for i in range(-(-slices // PER_VOLUME)):
        place = folder / "source" / f"p{i:05d}"
        place.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(volume + np.int16(i), np.eye(4)), place / f"p{i:05d}_T1.nii.gz")


def write_dicom(folder: Path, slices: int) -> None:
    """Series of 100 slices, a file each."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.dicom_files import write_dicom as write

    rng = np.random.default_rng(0)
    pictures = [(_picture(rng) * 4).astype(np.int16) for _ in range(20)]
    for i in range(slices):
        n, k = divmod(i, PER_VOLUME)
        place = folder / "source" / f"study{n:05d}"
        place.mkdir(parents=True, exist_ok=True)
        write(place / f"IM{k:06d}", pictures[i % 20], patient=f"P{n:05d}", name=f"Name^{n}", number=k + 1,
              position=(0.0, 0.0, float(k)))


def _picture(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    inside = (x / rng.uniform(0.3, 0.45)) ** 2 + (y / rng.uniform(0.3, 0.45)) ** 2 < 1
    return np.asarray(inside * rng.normal(120, 20, (SIZE, SIZE)).clip(1, 255))


def pss(pid: int) -> int:
    """Bytes of a process and its children."""
    total = 0
    for number in (pid, *_children(pid)):
        try:
            text = Path(f"/proc/{number}/smaps_rollup").read_text()
            total += 1024 * int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1])
        except (OSError, StopIteration):
            continue
    return total


def _children(pid: int) -> list[int]:
    try:
        found = [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return found + [n for child in found for n in _children(child)]


def timed(command: list[str]) -> tuple[float, int]:
    """Seconds and the peak of memory."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            peak = max(peak, pss(process.pid))

    thread = threading.Thread(target=watch)
    start = time.perf_counter()
    thread.start()
    code = process.wait()
    seconds = time.perf_counter() - start
    done.set()
    thread.join()
    if code:
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    return seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=10_000)
    parser.add_argument("--kind", choices=["png", "nifti", "dicom"], default="png")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="prepare-scale-"))
    try:
        {"png": write_png, "nifti": write_nifti, "dicom": write_dicom}[options.kind](folder, options.slices)
        for workers in options.workers:
            command = [sys.executable, "-m", "ganatomy", "prepare", str(folder / "source"), str(folder / f"d{workers}"),
                       "--size", "64", "--slices", "all", "--workers", str(workers)]
            seconds, peak = timed(command)
            again, _ = timed(command)
            print(f"{options.kind}, {options.slices:,} slices of {SIZE} px, workers {workers}: {seconds:.1f} s "
                  f"({options.slices / seconds:,.0f} a second), peak {peak / 2**20:,.0f} MiB; second run {again:.1f} s",
                  flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
