"""How the phantom looks: its contrast, noise and tissue shares beside those of real scans, and a picture; both are in
docs/phantom.md.

    python benchmarks/phantom_look.py head
    python benchmarks/phantom_look.py first
    python benchmarks/phantom_look.py MS-MRI                        # patientNN/patientNN_T1.nii.gz, _T2, _lesion-mask
    python benchmarks/phantom_look.py docs/figures/phantom.png

A mixture of three Gaussians is fitted to the T1-weighted values of the brain; pixels that belong to one class with a
probability over 0.9 are kept, and its values are taken from them in T1 and, at the same pixels, in T2.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from sklearn.mixture import GaussianMixture

from ganatomy.phantoms.cohort import Anatomy, subject_images

SUBJECTS, SIZE, SLICES = 20, 256, 3
LEVELS = slice(82, 103)  # of MNI space at 1 mm: z from 10 to 30 mm
ROWS = ("T1 grey:white", "T1 fluid:white", "T2 grey:white", "T2 fluid:white", "share fluid", "share grey",
        "share white", "T1 contrast to noise", "T1 variation of white", "T1 lesion:white", "T2 lesion:white")


# air, then as `LABELS`: cortex, nuclei, white matter, fluid, lesion, bone, marrow, muscle, fat, skin
COLOURS = np.array([[0, 0, 0], [150, 140, 150], [190, 150, 90], [235, 230, 225], [70, 130, 190], [220, 60, 50],
                    [120, 95, 70], [175, 95, 75], [150, 60, 70], [235, 200, 110], [215, 165, 140]])


def of_slices(t1: np.ndarray, t2: np.ndarray, lesions: np.ndarray, white: np.ndarray | None = None) -> list[float]:
    """The values of `ROWS` of one subject, from the values in its brain; `white` marks what is surely white matter."""
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


def virtual(anatomy: Anatomy) -> Iterator[list[float]]:
    for index in range(SUBJECTS):
        images = subject_images(index, 0, SIZE, SLICES, lesion=True, anatomy=anatomy)
        brain = images.brain > 0
        white = images.tissues[:, 2][brain] > 0.95
        yield of_slices(images.t1[brain], images.t2[brain], images.lesions[brain] > 0, white)


def picture(path: Path, columns: int = 7, size: int = 144) -> None:
    """T1, T2, the tissues in colours, and T1 of the brain alone, a subject a column, every second with lesions."""
    heads = [subject_images(i, 4, size, lesion=i % 2 == 1) for i in range(columns)]
    brains = [subject_images(i, 4, size, lesion=i % 2 == 1, anatomy="brain") for i in range(columns)]
    greys = [[np.clip(image / white * 255, 0, 255)[0] for image in images] for images, white in (
        ([head.t1 for head in heads], 850), ([head.t2 for head in heads], 1100), ([b.t1 for b in brains], 750))]
    t1, t2, brain = (np.repeat(np.hstack(row)[..., None], 3, 2) for row in greys)
    tissues = COLOURS[np.hstack([head.labels[0] for head in heads])]
    rows = np.vstack([t1, t2, tissues, brain]).astype(np.uint8)
    Image.fromarray(rows).quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def table(cohort: str) -> None:
    subjects = real(Path(cohort)) if Path(cohort).is_dir() else virtual("first" if cohort == "first" else "head")
    for name, values in zip(ROWS, np.array([*subjects]).T, strict=True):
        each = "  ".join(f"{v:.3f}" for v in values) if len(values) < 5 else ""
        print(f"{name:22} {values.mean():.3f} ({values.min():.3f} to {values.max():.3f})  {each}")


def main(wanted: str) -> None:
    if wanted.endswith(".png"):
        picture(Path(wanted))
    else:
        table(wanted)


if __name__ == "__main__":
    main(sys.argv[1])
