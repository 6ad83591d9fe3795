"""Pairs of T1 and T2: of phantom patients, and of real ones where they are at hand."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from ganatomy.metrics.translation.paired import foreground
from ganatomy.phantoms.cohort import subject_images

MS_MRI = Path(os.environ.get("GANATOMY_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "ms-mri"


class Pairs(NamedTuple):
    """T1 and T2 [n, 1, s, s] in [-1, 1], the foreground and each row's subject."""

    source: np.ndarray
    target: np.ndarray
    mask: np.ndarray
    subjects: list[str]


def scaled(volume: np.ndarray) -> np.ndarray:
    """A volume [slices, h, w] in [-1, 1], its background -1."""
    high = np.percentile(volume[volume > 0], 99.8)
    return np.clip(2 * volume[:, None] / high - 1, -1, 1).astype(np.float32)


def noisy(images: np.ndarray, sd: float, seed: int = 0) -> np.ndarray:
    return (images + np.random.default_rng(seed).normal(0, sd, images.shape)).astype(np.float32)


def blurred(images: np.ndarray, sd: float) -> np.ndarray:
    return gaussian_filter(images, (0, 0, sd, sd))


@cache
def phantom() -> Pairs:
    images = [subject_images(i, 0, 64, slices=3, anatomy="first") for i in range(6)]
    source, target = (np.concatenate([scaled(v) for v in volumes])
                      for volumes in ([i.t1 for i in images], [i.t2 for i in images]))
    return Pairs(source, target, foreground(source, target), [f"s{i // 3}" for i in range(18)])


@cache
def ms_mri() -> Pairs:
    """Eight slices a patient, 1.7 mm a pixel."""
    import nibabel
    from scipy.ndimage import zoom

    volumes: dict[str, list[np.ndarray]] = {"T1": [], "T2": []}
    for domain, scans in volumes.items():
        for path in sorted(MS_MRI.glob(f"*/*_{domain}.nii.gz")):
            planes = np.asarray(nibabel.load(path).dataobj, np.float32)[:, :, 50:130:10].transpose(2, 1, 0)
            scans.append(scaled(np.maximum(zoom(planes, (1, 128 / 218, 128 / 218), order=1), 0)))
    source, target = (np.pad(np.concatenate(volumes[d]), ((0, 0), (0, 0), (0, 0), (0, 21)), constant_values=-1)
                      for d in ("T1", "T2"))
    return Pairs(source, target, foreground(source, target), [f"s{i // 8}" for i in range(len(source))])
