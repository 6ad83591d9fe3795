"""Made-up ultrasound and blood cells: two kinds of images unlike a head, to try the recipes on. One image a subject.

    python benchmarks/made_images.py ultrasound FOLDER --subjects 300
    python benchmarks/made_images.py cells FOLDER --subjects 400
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_filter1d, zoom

from ganatomy.core.files import write_csv

Array = NDArray[np.float64]
CELLS = {"lobed": 0.45, "round": 0.3, "bean": 0.15, "granular": 0.1}  # classes as uneven as in a smear
_US, _CELL = 128, 28


def smooth(rng: np.random.Generator, knots: int, size: int) -> Array:
    """A smooth random line [size] of about unit size."""
    return zoom(rng.normal(size=knots), size / knots, order=3)[:size]


def ragged(rng: np.random.Generator, angle: Array, by: float, terms: int) -> Array:
    """How far an uneven edge lies from the middle in each direction, about 1: Fourier terms from the second on."""
    waves = sum(rng.normal() / k * np.cos(k * angle + rng.uniform(0, 6.3)) for k in range(2, 2 + terms))
    return np.asarray(1 + by * waves)


def ultrasound(rng: np.random.Generator) -> Array:
    """A breast under a linear probe, [128, 128] in 0 to 1: skin, fat, gland, muscle and, in six of ten, a mass."""
    depth, side = np.mgrid[:_US, :_US] / _US
    skin, fat, gland = (base + reach * smooth(rng, knots, _US)[None] for base, reach, knots in (
        (rng.uniform(0.03, 0.06), 0.004, 4), (rng.uniform(0.18, 0.38), 0.035, 5), (rng.uniform(0.6, 0.8), 0.03, 4)))
    streaks = gaussian_filter(rng.normal(size=(_US, _US)), (1.2, 9)) * 9
    echo = np.where(depth < skin, 0.9, np.where(depth < fat, 0.22, np.where(depth < gland, 0.5, 0.35)))
    echo = echo * np.exp(np.where(depth < fat, 0.5, 0.35) * streaks)
    for border, width in ((fat, 0.006), (gland, 0.009)):
        echo += rng.uniform(0.2, 0.6) * np.exp(-((depth - border) / width) ** 2 / 2)
    shade = np.ones_like(echo)
    if rng.random() < 0.6:
        y, x = rng.uniform(0.3, 0.6), rng.uniform(0.25, 0.75)
        high, wide = rng.uniform(0.06, 0.16), rng.uniform(0.08, 0.2)
        edge = ragged(rng, np.arctan2(depth - y, side - x), 0.12, 5)
        radius = np.hypot((depth - y) / high, (side - x) / wide) / edge
        echo *= 1 - rng.uniform(0.7, 0.9) / (1 + np.exp((radius - 1) * 14))
        behind = np.clip((depth - y) / high, 0, 1) / (1 + np.exp((np.abs(side - x) / wide - 0.85) * 18))
        shade *= np.exp(rng.choice([-0.9, 0.5]) * behind)
    speckle = np.hypot(*(gaussian_filter(rng.normal(size=(_US, _US)), (0.7, 1.4)) for _ in range(2)))
    seen = echo * shade * (speckle / speckle.mean()) * np.exp(-rng.uniform(0.3, 1.1) * depth)
    grey = np.log1p(rng.uniform(18, 30) * gaussian_filter1d(seen, 0.5, axis=0)) / np.log(40)
    return np.clip(grey * rng.uniform(0.85, 1.1), 0, 1)


def cell(rng: np.random.Generator, kind: str) -> Array:
    """A white cell among red ones, [28, 28] in 0 to 1; `kind` is one of CELLS."""
    fine = 4 * _CELL
    y, x = np.mgrid[:fine, :fine] / fine - 0.5

    def disc(cy: float, cx: float, radius: float, uneven: float = 0.05) -> Array:
        edge = ragged(rng, np.arctan2(y - cy, x - cx), uneven, 4)
        return 1 / (1 + np.exp((np.hypot(y - cy, x - cx) / (radius * edge) - 1) * radius * 160))

    image = np.full((fine, fine), rng.uniform(0.85, 0.95))
    for angle in rng.uniform(0, 6.3, rng.integers(2, 6)):
        far = rng.uniform(0.42, 0.62)
        red = disc(far * np.sin(angle), far * np.cos(angle), rng.uniform(0.15, 0.19))
        image -= red * 0.2 * (1 - 0.4 * disc(far * np.sin(angle), far * np.cos(angle), 0.07))
    cy, cx = rng.normal(0, 0.02, 2)
    body = disc(cy, cx, rng.uniform(0.24, 0.33), 0.07)
    image = image * (1 - body) + body * rng.uniform(0.6, 0.75)
    turn = rng.uniform(0, 6.3)
    if kind == "lobed":
        places = [(0.13 * np.sin(turn + k * 2), 0.13 * np.cos(turn + k * 2)) for k in range(int(rng.integers(2, 5)))]
        nucleus = np.max([disc(cy + dy, cx + dx, rng.uniform(0.08, 0.11)) for dy, dx in places], axis=0)
    elif kind == "bean":
        bite = disc(cy + 0.16 * np.sin(turn), cx + 0.16 * np.cos(turn), 0.11)
        nucleus = disc(cy, cx, rng.uniform(0.18, 0.22)) * (1 - bite)
    else:
        nucleus = disc(cy, cx, rng.uniform(0.2, 0.25) if kind == "round" else rng.uniform(0.13, 0.17))
    image -= nucleus * rng.uniform(0.35, 0.5)
    if kind == "granular":
        image -= 0.16 * body * (gaussian_filter(rng.normal(size=image.shape), 1.6) * 5 > 0.5)
    small = image.reshape(_CELL, 4, _CELL, 4).mean((1, 3))
    return np.clip(small + rng.normal(0, 0.012, small.shape), 0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("ultrasound", "cells"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--subjects", type=int, default=300)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    rows = [("path", "subject", "domain", "label")]
    for number in range(args.subjects):
        rng = np.random.default_rng([7, number])
        label = str(rng.choice(list(CELLS), p=list(CELLS.values()))) if args.kind == "cells" else ""
        image = cell(rng, label) if label else ultrasound(rng)
        name = f"{args.kind}-{number:04}.png"
        Image.fromarray((image * 255).round().astype(np.uint8)).save(args.folder / name)
        rows.append((name, name[:-4], "US" if args.kind == "ultrasound" else "cells", label))
    write_csv(args.folder / "files.csv", rows)


if __name__ == "__main__":
    main()
