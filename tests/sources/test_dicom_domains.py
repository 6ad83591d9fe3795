"""Contrasts are told from descriptions and times, never named after free text, and alike in all sessions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganatomy.core.errors import UserError
from ganatomy.formats.dicom.tags import Facts, Frame
from ganatomy.sources.dicom.contrasts import assign, propose, table
from ganatomy.sources.dicom.series import Volume, build

PLANES = {"axial": (1.0, 0, 0, 0, 1, 0), "coronal": (1.0, 0, 0, 0, 0, -1), "sagittal": (0.0, 1, 0, 0, 0, -1)}


def series(description: str, patient: str = "P1", number: int = 1, plane: str = "axial", slices: int = 6,
           folder: str = "", **tags: Any) -> list[tuple[str, Path, Facts]]:
    """Facts of the files of one series."""
    orientation = PLANES[plane]
    normal = np.cross(orientation[:3], orientation[3:])
    base: dict[str, Any] = {"patient_id": patient, "study_uid": f"study {patient}", "modality": "MR", "rows": 8,
                            "columns": 8, "series_description": description, "series_number": number,
                            "series_uid": f"{patient} {number}", "image_type": ("ORIGINAL", "PRIMARY")}
    names = [f"{folder}{patient}-{number}-{k}" for k in range(slices)]
    return [(name, Path(name), Facts(instance_number=k, **base | tags, frames=(Frame(
        tuple(float(x) for x in normal * 3 * k), orientation, (0.5, 0.5), 3.0),))) for k, name in enumerate(names)]


def volumes(*found: list[tuple[str, Path, Facts]]) -> list[Volume]:
    built, skipped = build([item for one in found for item in one], keep_derived=True)
    assert skipped == []
    return built


def domains(*found: list[tuple[str, Path, Facts]], **rules: str) -> dict[tuple[str, int], str]:
    """(patient, series number) -> domain of those that are taken."""
    named, _ = assign(volumes(*found), rules)
    return {(v.facts.patient_id, v.facts.series_number or 0): domain for v, domain in named}


@pytest.mark.parametrize(("description", "domain"), [
    ("t1_mprage_sag_p2_iso", "T1"), ("T1 SE tra", "T1"), ("anat-T1w", "T1"), ("AX T1 FLAIR", "T1"), ("FSPGR 3D", "T1"),
    ("T1 tra +KM", "T1ce"), ("AX T1 +C", "T1ce"), ("t1_fl2d_tra_Gd", "T1ce"), ("T1 post contrast", "T1ce"),
    ("T1 pre contrast", "T1"), ("T1 non-enhanced", "T1"), ("T1 post no FS", "T1ce"),
     ("T1 ohne KM", "T1"), ("T1-CE", "T1ce"), ("T1w_ce", "T1ce"),
    ("t2_tse_tra", "T2"), ("AxT2FSE", "T2"), ("T2 TSE SAG", "T2"), ("T2* GRE", "T2star"), ("t2star_map", "T2star"),
    ("Ax T2 FLAIR", "FLAIR"), ("t2_tirm_tra_dark-fluid", "FLAIR"), ("FLAIR_longTR", "FLAIR"),
    ("FSE PD AXIAL OBL", "PD"), ("pd_tse_fs_sag", "PD"), ("ep2d_diff_3scan_trace", "DWI"), ("DWI b1000", "DWI"),
    ("ADC (10^-6 mm^2/s)", "ADC"), ("SWI_Images", "SWI"), ("TOF_3D_multi-slab", "TOF"), ("rsfMRI", "BOLD"),
    ("REST1 w SMS", "BOLD"), ("ep2d_bold_moco", "BOLD"), ("STIR cor", "STIR")])
def test_keywords(description: str, domain: str) -> None:
    (volume,) = volumes(series(description))
    assert propose(volume) == domain


@pytest.mark.parametrize(("tr", "te", "ti", "domain"), [
    (500, 12, None, "T1"), (2300, 3, 900, "T1"), (4000, 100, None, "T2"), (2300, 22, None, "PD"),
    (9000, 120, 2500, "FLAIR"), (4000, 50, 160, "STIR"), (None, None, None, "MR-coronal"),
    (1200, 50, None, "MR-coronal")])
def test_times_tell_where_no_word_does(tr: float | None, te: float | None, ti: float | None, domain: str) -> None:
    (volume,) = volumes(series("Schmidt Otto", plane="coronal", repetition_time=tr, echo_time=te, inversion_time=ti))
    assert propose(volume) == domain


@pytest.mark.parametrize(("modality", "domain"), [("CT", "CT"), ("PT", "PET"), ("DX", "XR"), ("CR", "XR"),
                                                  ("MG", "MG"), ("US", "US"), ("SMITH", "image")])
def test_other_modalities_are_domains(modality: str, domain: str) -> None:
    (volume,) = volumes(series("t1 of Smith", modality=modality))
    assert propose(volume) == domain


def test_the_protocol_tells_where_the_description_does_not() -> None:
    (volume,) = volumes(series("Series 4", protocol="T2_TSE"))
    assert propose(volume) == "T2"


def test_several_planes_in_one_session_name_all_sessions() -> None:
    found = domains(series("T1 tra"), series("T1 cor", number=2, plane="coronal"), series("T1", "P2"),
                    series("T2", "P2", 2))
    assert found == {("P1", 1): "T1-axial", ("P1", 2): "T1-coronal", ("P2", 1): "T1-axial", ("P2", 2): "T2"}


def test_several_contrasts_in_one_session_are_numbered_alike() -> None:
    short = {"echo_time": 10.0, "repetition_time": 500.0}
    long = {"echo_time": 3.0, "repetition_time": 2300.0}
    found = domains(series("T1 se", number=5, **short), series("T1 mprage", number=9, **long),
                    series("T1 mprage", "P2", 2, **long), series("T1 se", "P2", 3, **short),
                    series("T1 mprage", "P3", 4, **long))
    assert found == {("P1", 9): "T1", ("P1", 5): "T1-2", ("P2", 2): "T1", ("P2", 3): "T1-2", ("P3", 4): "T1"}


def test_phase_never_takes_the_magnitude_s_name() -> None:
    found = domains(series("SWI", number=1, image_type=("ORIGINAL", "PRIMARY", "P")),
                    series("SWI", number=2, image_type=("ORIGINAL", "PRIMARY", "M")))
    assert found == {("P1", 1): "SWI-2", ("P1", 2): "SWI"}


def test_of_repeats_the_fullest_then_the_last_is_kept() -> None:
    same = {"echo_time": 10.0, "repetition_time": 500.0}
    three = volumes(series("T1", number=2, **same), series("T1 repeat", number=3, **same),
                    series("T1", number=4, slices=5, **same))
    named, skipped = assign(three, {})
    assert [(v.facts.series_number, domain) for v, domain in named] == [(3, "T1")]
    assert [(name, reason.partition(":")[0]) for name, reason in skipped] == [
        ("P1-2-0", "repeat of another T1"), ("P1-4-0", "repeat of another T1")]


@pytest.mark.parametrize(("words", "tags"), [("T2 tse", {"fat_saturated": True}), ("T2 tse", {"protocol": "t2_tse_fs"}),
                                             ("T2 SPAIR", {})])
def test_fat_saturated_and_plain_series_are_no_repeats(words: str, tags: dict[str, Any]) -> None:
    same = {"echo_time": 90.0, "repetition_time": 4000.0}
    named, skipped = assign(volumes(series("T2 tse", number=2, **same), series("T2 tse no FS", number=3, **same),
                                    series(words, number=4, **same, **tags)), {})
    assert [(v.facts.series_number, domain) for v, domain in named] == [(3, "T2"), (4, "T2-fs")]
    assert len(skipped) == 1


def test_rules_take_only_what_fits_and_the_first_counts() -> None:
    three = volumes(series("ax MPRAGE Meier"), series("T2 Meier", number=2), series("foo", number=3, protocol="mprage"))
    named, skipped = assign(three, {"anat": "^AX mp", "T1": "mprage"})
    assert [(v.facts.series_number, domain) for v, domain in named] == [(1, "anat"), (3, "T1")]
    assert skipped == [("P1-2-0", "matches no --domain: T2 Meier")]


FOLDERS = [("full_3mm", "quarter_3mm"), ("SE1", "SE2"), ("first", "first again")]


@pytest.mark.parametrize(("folders", "kept"), [(FOLDERS[0], {"CT-full_3mm", "CT-quarter_3mm"}), (FOLDERS[1], {"CT"}),
                                               (FOLDERS[2], {"CT"})])
def test_series_told_apart_by_folders_that_return_in_other_patients(folders: tuple[str, str], kept: set[str]) -> None:
    cohort = [series("abdomen", patient, number, folder=f"{patient}/{folder}/", modality="CT")
              for patient in ("L1", "L2", "L3") for number, folder in enumerate(folders, 1)]
    assert {domain for _, domain in assign(volumes(*cohort), {})[0]} == kept
    one, other = volumes(*cohort[:2])  # what a single patient has may as well be a repeat
    assert [domain for _, domain in assign([one, other], {})[0]] == ["CT"]


def test_rules_that_no_description_fits_are_searched_in_the_path_without_the_patient() -> None:
    found = volumes(series("abdomen", "full1", folder="full1/full_3mm/"), series("", "full1", 2, folder="full1/T1/"),
                    series("abdomen", "full1", 3, folder="full1/quarter/"))
    named, _ = assign(found, {"FD": "full", "QD": "quarter", "T": "t1"})
    assert [(v.facts.series_number, domain) for v, domain in named] == [(1, "FD"), (2, "T"), (3, "QD")]


@pytest.mark.parametrize(("pattern", "words"), [("mprage(", "regular expression"), ("flair", "matches no series")])
def test_useless_rules_are_refused(pattern: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        assign(volumes(series("T1 tra"), series("T2 tra", number=2)), {"T1": "t1", "FLAIR": pattern})
    assert caught.value.where == "--domain" and caught.value.fix
    if words == "matches no series":
        assert "'T1 tra', 'T2 tra'" in caught.value.fix


def cells(line: str) -> Sequence[str]:
    return [part for part in line.split("  ") if part]


def test_the_table_groups_all_patients_and_names_none() -> None:
    found = volumes(series("T1 tra", "HN-77", number=3, slices=6), series("T1 tra", "HN-78", number=3, slices=9),
                    series("w" * 300, "HN-78", number=4, plane="sagittal", protocol="p" * 300))
    named, _ = assign(found, {"T1": "t1"})
    lines = table(found, named)
    assert [part.strip() for part in cells(lines[1])] == ["T1 tra", "MR", "axial", "6..9", "0.5x3", "2", "T1"]
    assert lines[2].endswith("-") and "sagittal" in lines[2]
    assert max(map(len, lines)) <= 120 and not any("HN-" in line for line in lines)
