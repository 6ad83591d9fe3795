"""Small cohorts of files, made by the tests of `prepare`."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

NAMES = ("Anna-Smith7", "Bert-Jones8", "Carl-Miller9", "Dora-Brown10")


def head(seed: int, shape: tuple[int, int, int] = (20, 24, 16)) -> np.ndarray:
    """A noisy ellipsoid of about 100 on 0, float32."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    inside = (grid**2).sum(0) < 0.7
    return (inside * np.random.default_rng(seed).normal(100, 10, shape)).astype(np.float32)


def save(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)


def cohort(folder: Path, names: tuple[str, ...] = NAMES, domains: tuple[str, ...] = ("T1", "T2"),
           mask: bool = True) -> Path:
    """A folder per subject; the mask marks where T1 is above 110."""
    for i, name in enumerate(names):
        for j, domain in enumerate(domains):
            save(folder / name / f"{name}_{domain}.nii.gz", head(i) * (1 + j))
        if mask:
            save(folder / name / f"{name}_lesion-mask.nii.gz", (head(i) > 110).astype(np.uint8) * 255)
    return folder


def pictures(folder: Path, count: int = 12, label: str = "") -> Path:
    """8-bit pictures, each different."""
    (folder / label).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        values = np.random.default_rng(i + 100 * len(label)).integers(1, 255, (16, 16)).astype(np.uint8)
        Image.fromarray(values).save(folder / label / f"p{i}.png")
    return folder


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as handle:
        return list(csv.DictReader(handle))
