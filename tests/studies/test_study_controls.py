"""The study's own controls on the phantom cohort: what must help helps, what must not does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ganatomy.data.dataset import DatasetInfo, new_dataset
from ganatomy.data.manifest import Row
from ganatomy.phantoms.cohort import subject_images
from ganatomy.studies.cell import run_cell
from ganatomy.studies.results import write_results
from ganatomy.studies.study import begin

pytestmark = pytest.mark.slow
SUBJECTS, SIZE, WHITE = 400, 64, 1200.0


def write_lesions(path: Path) -> None:
    """T2-weighted slices, one a subject; two subjects of five have white-matter lesions."""
    with new_dataset(path, (SIZE, SIZE), 1, np.uint8) as writer:
        for i in range(SUBJECTS):
            sick = i % 5 < 2
            t2 = subject_images(i, 3, SIZE, lesion=sick, anatomy="first").t2[0]
            image = np.clip(t2 / WHITE * 255, 0, 255).astype(np.uint8)
            writer.add(image, Row(f"image-{i:03d}", f"sub-{i:03d}", "", 0, "T2", "lesion" if sick else "healthy",
                                  "train", 0, 0.0, 1.0, "", "", ""))
        writer.finish(DatasetInfo(size=(SIZE, SIZE), channels=1, value_range=(0, 255), domains=("T2",), paired=True,
                                  content="", classes=("healthy", "lesion")))


def test_further_patients_help_while_copies_and_noise_do_not(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "study"
    write_lesions(data)
    folder = begin(data, out, set=None, device="cpu", say=lambda text: None,
                   k=(3, 5), folds=4, seeds=4, imbalance=10.0, synthetic=(10.0,), margin=0.03, positives=("lesion",),
                   arms=("OVERSAMPLE", "FRESH", "COPIES", "NOISE"), classifier={"name": "features"})
    for cell in folder.all_cells():
        run_cell(data, out, cell, device="cpu")
    found = write_results(folder, lambda text: None)
    answers = {row["source"]: row["answer"] for row in found["controls"]}
    assert answers == {"FRESH": "helps", "COPIES": "does not help", "NOISE": "does not help"}
    assert found["answer"]["verdict"] == "helps"  # FRESH stands in for the GAN that this study has not got
    assert all(row["as_expected"] for row in found["controls"])
