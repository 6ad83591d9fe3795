"""The phantom's contrast, noise and tissue shares beside those of real scans: the table of docs/phantom.md.

    python benchmarks/phantom_contrast.py head
    python benchmarks/phantom_contrast.py first
    python benchmarks/phantom_contrast.py MS-MRI        # a folder of patientNN/patientNN_T1.nii.gz, _T2, _lesion-mask

A mixture of three Gaussians is fitted to the T1-weighted values of the brain; pixels that belong to one class with a
probability over 0.9 are kept, and its figures are taken from them in T1 and, at the same pixels, in T2.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from sklearn.mixture import GaussianMixture

from ganatomy.phantoms.cohort import subject_images

SUBJECTS, SIZE, SLICES = 20, 256, 3
LEVELS = slice(82, 103)  # of MNI space at 1 mm: z from 10 to 30 mm
ROWS = ("T1 grey:white", "T1 fluid:white", "T2 grey:white", "T2 fluid:white", "share fluid", "share grey",
        "share white", "T1 contrast to noise", "T1 variation of white", "T1 lesion:white", "T2 lesion:white")


def of_slices(t1: np.ndarray, t2: np.ndarray, lesions: np.ndarray, white: np.ndarray | None = None) -> list[float]:
    """The figures of one subject, from the values in its brain; `white` marks what is surely white matter."""
    sound = ~lesions
    mixture = GaussianMixture(3, random_state=0, n_init=2).fit(t1[sound][::7, None])
    fluid, grey, pale = np.argsort(mixture.means_[:, 0])
    chance = mixture.predict_proba(t1[:, None])
    (f1, f2), (g1, g2), (w1, w2) = ((t1[sure], t2[sure]) for sure in (
        (chance[:, k] > 0.9) & sound for k in (fluid, grey, pale)))
    m = np.median
    if white is None:
        white = sound & (t1 >= np.quantile(t1[sound], 0.75))
    return [m(g1) / m(w1), m(f1) / m(w1), m(g2) / m(w2), m(f2) / m(w2), *mixture.weights_[[fluid, grey, pale]],
            (m(w1) - m(g1)) / np.sqrt((w1.var() + g1.var()) / 2), w1.std() / w1.mean(),
            m(t1[lesions]) / m(t1[white]), m(t2[lesions]) / m(t2[white])]


def real(folder: Path) -> Iterator[list[float]]:
    for patient in sorted(path for path in folder.iterdir() if path.is_dir()):
        t1, t2, lesions = (np.asarray(nibabel.load(patient / f"{patient.name}_{kind}.nii.gz").dataobj)[:, :, LEVELS]
                           for kind in ("T1", "T2", "lesion-mask"))
        brain = (t1 > 0) & (t2 > 0)
        yield of_slices(t1[brain], t2[brain], lesions[brain] > 0)


def virtual(anatomy: str) -> Iterator[list[float]]:
    for index in range(SUBJECTS):
        images = subject_images(index, 0, SIZE, SLICES, lesion=True, anatomy=anatomy)  # type: ignore[arg-type]
        brain = images.brain > 0
        white = images.tissues[:, 2][brain] > 0.95
        yield of_slices(images.t1[brain], images.t2[brain], images.lesions[brain] > 0, white)


def main() -> None:
    cohort = sys.argv[1]
    figures = np.array([*(real(Path(cohort)) if Path(cohort).is_dir() else virtual(cohort))])
    for name, values in zip(ROWS, figures.T, strict=True):
        each = "  ".join(f"{v:.3f}" for v in values) if len(values) < 5 else ""
        print(f"{name:22} {values.mean():.3f} ({values.min():.3f} to {values.max():.3f})  {each}")


if __name__ == "__main__":
    main()
