"""Folders called like contrasts are contrasts: never patients, whose scans would then be paired with each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ganatomy.core.errors import UserError
from ganatomy.preparation.prepare import prepare
from ganatomy.sources.detect import find_layout
from tests.builders import head, save
from tests.dicom_files import write_dicom
from tests.sources.test_layouts import found, make


def places(folder: Path) -> set[tuple[str, str, int | None]]:
    return {(subject, domain, number) for subject, session, domain, _, number in found(folder) if not session}


@pytest.mark.parametrize("name", ["{c}/p{s}.nii.gz", "{c}/p{s}_{c}.nii.gz", "{c}/p{s}/scan.nii.gz",
                                  "p{s}/{c}/scan.nii.gz", "p{s}/{c}/p{s}_{c}.nii.gz"])
@pytest.mark.parametrize("contrasts", [("T1", "T2"), ("t1w", "FLAIR"), ("T1-post", "T2_FLAIR"), ("CT", "MR")])
def test_a_folder_per_contrast_above_or_below_the_patients(tmp_path: Path, name: str,
                                                           contrasts: tuple[str, str]) -> None:
    make(tmp_path, *(name.format(c=c, s=s) for c in contrasts for s in (1, 2, 3)))
    layout = find_layout(tmp_path)
    owners = {(e.subject, e.session) for e in layout.entries}
    assert owners == {("p1", ""), ("p2", ""), ("p3", "")}
    assert len({e.domain for e in layout.entries}) == 2
    assert layout.subjects_known


def test_slices_in_folders_of_contrasts(tmp_path: Path) -> None:
    expected = {(f"p{s}", c, z) for s in (1, 2) for c in ("T1", "T2") for z in (0, 1)}
    for i, name in enumerate(("p{s}/{c}/{z:03d}.png", "{c}/p{s}/{z:03d}.png")):
        make(tmp_path / str(i), *(name.format(c=c, s=s, z=z) for s in (1, 2) for c in ("T1", "T2") for z in (0, 1)))
        assert places(tmp_path / str(i)) == expected


def test_one_folder_of_one_contrast_is_no_patient(tmp_path: Path) -> None:
    make(tmp_path, *(f"T1/p{s}.nii.gz" for s in (1, 2, 3)))
    assert places(tmp_path) == {(f"p{s}", "T1", None) for s in (1, 2, 3)}


def test_masks_beside_and_within_folders_of_contrasts(tmp_path: Path) -> None:
    for i, place in enumerate(("labels/p{s}.nii.gz", "T1/labels/p{s}.nii.gz")):
        make(tmp_path / str(i), *(f"{c}/p{s}.nii.gz" for c in ("T1", "T2") for s in (1, 2)),
             *(place.format(s=s) for s in (1, 2)))
        assert {(s, d) for s, d, _ in places(tmp_path / str(i))} == {
            (f"p{s}", d) for s in (1, 2) for d in ("T1", "T2", "labels")}


def test_modalities_without_returning_names_stay_classes(tmp_path: Path) -> None:
    make(tmp_path, *(f"{c}/{i:04d}.png" for c in ("CT", "MR") for i in range(3)))
    assert {entry.label for entry in find_layout(tmp_path).entries} == {"CT", "MR"}


def test_each_patient_is_paired_with_himself(tmp_path: Path) -> None:
    for i in range(3):
        for j, contrast in enumerate(("T1", "T2")):
            save(tmp_path / "in" / contrast / f"p{i}.nii.gz", np.where(head(i) > 0, 100.0 * (1 + i) + j, 0))
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=24, fit="pad", intensity="fixed:0:65535")
    one, two = (dataset.pixels(dataset.rows(domain)).max(axis=(1, 2)).astype(int) for domain in ("T1", "T2"))
    assert (two - one == 1).all()


def test_views_in_dicom_are_not_paired_by_the_names_of_their_files(tmp_path: Path) -> None:
    """Left and right breast: neither names that a PACS gives nor numbers within series say what belongs together."""
    for name, view in (("a", "L CC"), ("b", "R CC"), ("c", "R MLO"), ("d", "L MLO")):
        write_dicom(tmp_path / "in" / name, np.full((16, 16), 9, np.uint16), modality="MG", series=view,
                    description=view, position=None, orientation=None)
    with pytest.raises(UserError, match="nothing says which belong together"):
        prepare(tmp_path / "in", tmp_path / "out", size=16, domain={"CC": "CC", "MLO": "MLO"})
