"""A PACS export through the whole of prepare, and on to a report: right places, right pixels, no names."""

from __future__ import annotations

import platform
import socket
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import load
from ganatomy.evaluation.evaluate import evaluate
from ganatomy.formats import read_frames
from ganatomy.formats.dicom.tags import facts
from ganatomy.generators.generation import generate
from ganatomy.preparation.prepare import prepare, survey
from ganatomy.preparation.privacy import audit_phi
from ganatomy.preparation.private import read_identifiers
from ganatomy.reports.report import report
from ganatomy.sources.dicom.series import build
from ganatomy.training.train import train
from tests.builders import TINY
from tests.dicom_files import write_dicom
from tests.pacs import PATIENTS, Export, pacs_export
from tests.preparation.test_grids import TOLERANCE, world


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    return pacs_export(tmp_path_factory.mktemp("pacs") / "Export-Hintertupfing")


def test_stored_pixels_are_the_scanner_s_at_their_places(export: Export, tmp_path: Path) -> None:
    dataset = prepare(export.folder, tmp_path / "out", size=32, fit="pad", intensity="identity", slices="all",
                      domains=["T2"], test_subjects=[PATIENTS[2][0]], val_subjects=[PATIENTS[1][0]])
    pseudonyms = {name: f"sub-{i + 1:04d}" for i, name in enumerate(sorted(key for key, _, _ in PATIENTS))}
    checked = 0
    for (key, description), planted in export.series.items():
        if description != "T2_tse_tra":
            continue
        rows = [r for r in dataset.rows("T2") if r.subject == pseudonyms[key]]
        assert len(rows) == planted.voxels.shape[2]
        for row in rows:
            pixels = dataset.pixels([row])[0]
            for r, c in ((6, 8), (16, 16), (20, 25)):
                index = np.linalg.inv(planted.affine) @ [*world(row, r, c), 1.0]
                nearest = np.rint(index[:3]).astype(int)
                sides = np.linalg.norm(planted.affine[:3, :3], axis=0)
                assert (np.abs(index[:3] - nearest) * sides).max() < TOLERANCE
                if (nearest >= 0).all() and (nearest < planted.voxels.shape).all():
                    assert pixels[r, c] == planted.voxels[tuple(nearest)]
                    checked += 1
    assert checked > 40
    assert {r.subject: r.split for r in dataset.rows()} == dict(zip(
        [pseudonyms[key] for key, _, _ in PATIENTS], ("train", "val", "test"), strict=True))


def test_two_grids_in_one_frame_of_reference(export: Export, tmp_path: Path) -> None:
    rules = {"T1": "^t1", "T2": "t2_tse"}
    with pytest.raises(UserError, match=r"different grids.*add --resample-to T1"):
        prepare(export.folder, tmp_path / "out", domain=rules)
    dataset = prepare(export.folder, tmp_path / "out", size=32, domain=rules, resample_to="T1", slices="all")
    assert dataset.info.paired
    assert len(dataset.rows("T1")) == len(dataset.rows("T2")) == 27
    assert all(dataset.pixels([row]).any() for row in dataset.rows("T2"))
    assert [r.position for r in dataset.rows("T1")] == [r.position for r in dataset.rows("T2")]


def test_other_frames_of_reference_are_never_resampled(export: Export, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="different frames of reference"):
        prepare(export.folder, tmp_path / "out", domains=["T1", "CT"], resample_to="T1")


def test_missing_slices_are_named_and_taken_only_when_asked(export: Export, tmp_path: Path) -> None:
    lines: list[str] = []
    survey(export.folder, tmp_path / "out", lines.append, domains=["FLAIR"])
    assert any("faulty volume" in line and "lacks 1 slice" in line and "--allow-gaps" in line for line in lines)
    assert "2 visits" in lines[-1]
    lines.clear()
    survey(export.folder, tmp_path / "out", lines.append, domains=["FLAIR"], allow_gaps=True, axis="coronal")
    assert "3 visits" in lines[-1]
    lines.clear()
    survey(export.folder, tmp_path / "out", lines.append, domains=["FLAIR"], allow_gaps=True, axis="axial")
    assert "2 visits" in lines[-1]  # unevenly spaced slices cannot be cut across
    assert any("FLAIR" in line and "--axis coronal" in line for line in lines)
    dataset = prepare(export.folder, tmp_path / "out", size=32, fit="pad", domains=["FLAIR"], allow_gaps=True,
                      axis="coronal", slices="all", intensity="identity")
    planted = export.series[PATIENTS[2][0], "FLAIR cor"]
    rows = [r for r in dataset.rows() if r.subject == "sub-0002"]
    assert len(rows) == 7
    for row in rows:
        index = np.linalg.inv(planted.affine) @ [*world(row, 16, 16), 1.0]
        assert abs(index[2] - round(index[2])) * 3.3 < TOLERANCE
        inside = np.rint(index[:3]).astype(int)
        assert dataset.pixels([row])[0, 16, 16] == planted.voxels[tuple(inside)]


def test_volumes_that_lack_different_slices_are_never_paired(tmp_path: Path) -> None:
    """As many slices, the same first and last one: only the places in between tell them apart."""
    for patient in ("P1", "P2"):
        for description, lacking in (("T1 axial", 3), ("T2 axial", 5)):
            for k in set(range(9)) - {lacking}:
                pixels = np.full((16, 16), 10 * k + 1, np.uint16)
                write_dicom(tmp_path / "in" / patient / description / f"{k}", pixels, patient=patient, number=k,
                            series=description, description=description, position=(0.0, 0.0, 3.0 * k))
    with pytest.raises(UserError, match="lie on different grids"):
        prepare(tmp_path / "in", tmp_path / "out", size=16, allow_gaps=True)
    assert prepare(tmp_path / "in", tmp_path / "out", size=16, allow_gaps=True, domains=["T1"], slices="all").rows()


@pytest.mark.parametrize(("orientation", "plane"), [((0, 1, 0, 0, 0, -1), "sagittal"),
                                                    ((1, 0, 0, 0, 0, -1), "coronal")])
@pytest.mark.parametrize("nifti", [False, True])
def test_a_single_plane_is_a_picture_in_whatever_direction_it_lies(tmp_path: Path, orientation: tuple[float, ...],
                                                                   plane: str, nifti: bool) -> None:
    values = np.random.default_rng(0).integers(100, 900, (4, 32, 32)).astype(np.uint16)
    for n, picture in enumerate(values):
        path = tmp_path / f"in/p{n}/1.dcm"
        write_dicom(path, picture, patient=f"p{n}", orientation=orientation, position=(9, -9, 9))
        if nifti:
            (volume,), _ = build([("1", path, facts(path))])
            nibabel.save(nibabel.Nifti1Image(read_frames(volume.frames), volume.header.affine), path.with_name("1.nii"))
            path.unlink()
    lines: list[str] = []
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=32, intensity="identity", say=lines.append)
    stored = sorted(picture.tolist() for picture in dataset.pixels(dataset.rows()))
    assert stored == sorted(values.tolist())
    assert dataset.info.grid is not None and dataset.info.grid.axis == plane
    assert f"single slices are shown in their own plane: 4 {plane}" in lines


def test_hounsfield_units_come_back(tmp_path: Path) -> None:
    """Rescale slope and intercept of CT, through the window and back."""
    rng = np.random.default_rng(0)
    for p in range(3):
        for k in range(6):
            stored = rng.integers(900, 1100, (24, 24)).astype(np.int16)
            stored[:6] = 24
            write_dicom(tmp_path / "in" / f"p{p}" / f"{k}", stored, patient=f"P{p}", position=(0.0, 0.0, 2.0 * k),
                        modality="CT", description="Thorax", number=k, RescaleSlope=1, RescaleIntercept=-1024)
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=24, fit="pad", slices="all")
    assert dataset.domain() == "CT"
    assert dataset.info.intensity["CT"].units == "HU"
    row = dataset.rows()[0]
    values = dataset.pixels([row])[0] * row.scale + row.offset
    assert values.min() == pytest.approx(-1000, abs=row.scale)
    assert 60 < values.max() < 80
    inside = dataset.pixels(dataset.rows())[:, 8:] * row.scale + row.offset
    assert abs(np.median(inside) - (1000 - 1024)) < 5


def test_no_planted_identifier_is_anywhere(export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, ids, birth dates, accession numbers, UIDs, paths, the host: in dataset, run, synthetic set and report."""
    monkeypatch.setattr(socket, "gethostname", lambda: "befundplatz-17")
    monkeypatch.setattr(platform, "node", lambda: "befundplatz-17")
    data, run = tmp_path / "data", tmp_path / "run"
    prepare(export.folder, data, size=16, domains=["T1"], slices="all")
    train(data, run, load("rpgan-64", TINY | {"domain": "T1"}))
    generate(run, tmp_path / "made", 8)
    evaluate(run)
    report(run)
    known = {value for _, value in read_identifiers(data)}
    assert {*export.identifiers, str(export.folder), "Export-Hintertupfing", "befundplatz-17"} <= known
    assert (run / "report.html").is_file()
    audit = audit_phi([data, run, tmp_path / "made"])
    assert audit.clean, audit.findings
