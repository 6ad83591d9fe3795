"""BIDS folders: subjects, sessions, contrasts, runs, and what is left aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganatomy.core.errors import UserError
from ganatomy.data.vocabulary import is_mask_name
from ganatomy.sources.detect import find_layout
from ganatomy.sources.entry import Layout
from tests.builders import touch


def bids(folder: Path, *names: str) -> Path:
    return touch(folder, "dataset_description.json", *names)


def found(layout: Layout) -> list[tuple[str, str, str]]:
    return [(e.subject, e.session, e.domain) for e in layout.entries]


def test_subjects_sessions_and_suffixes(tmp_path: Path) -> None:
    bids(tmp_path, *(f"sub-0{i}/ses-b/anat/sub-0{i}_ses-b_{d}.nii.gz" for i in (1, 2) for d in ("T1w", "FLAIR")),
         "sub-x/anat/sub-x_T2w.nii", "participants.tsv")
    layout = find_layout(tmp_path)
    assert layout.kind == "a BIDS folder" and layout.subjects_known
    assert found(layout) == [("sub-01", "ses-b", "FLAIR"), ("sub-01", "ses-b", "T1w"), ("sub-02", "ses-b", "FLAIR"),
                             ("sub-02", "ses-b", "T1w"), ("sub-x", "", "T2w")]
    assert any("read with --metadata participants.tsv alone" in note for note in layout.notes)


def test_a_folder_named_so_needs_no_description(tmp_path: Path) -> None:
    touch(tmp_path / "a", *(f"sub-{i}/anat/sub-{i}_T1w.nii.gz" for i in (1, 2)))
    assert find_layout(tmp_path / "a").kind == "a BIDS folder"
    touch(tmp_path / "b", "sub-1/sub-1_T1.nii.gz", "sub-2/sub-2_T1.nii.gz")
    assert find_layout(tmp_path / "b").kind == "a folder per subject"
    bids(tmp_path / "c", "p1/t1.nii.gz", "p2/t1.nii.gz")  # described, but nothing in it is named so
    assert find_layout(tmp_path / "c").kind == "a folder per subject"


def test_the_first_run_is_kept_and_the_others_are_listed(tmp_path: Path) -> None:
    bids(tmp_path, *(f"sub-1/anat/sub-1_run-{r}_T1w.nii.gz" for r in (1, 2, 10)), "sub-2/anat/sub-2_run-2_T1w.nii.gz")
    layout = find_layout(tmp_path)
    assert [e.name for e in layout.entries] == ["sub-1/anat/sub-1_run-1_T1w.nii.gz",
                                                "sub-2/anat/sub-2_run-2_T1w.nii.gz"]
    assert [name for name, why in layout.unmatched if "sub-1/anat/sub-1_run-1_T1w.nii.gz is kept" in why] == [
        "sub-1/anat/sub-1_run-2_T1w.nii.gz", "sub-1/anat/sub-1_run-10_T1w.nii.gz"]
    assert any("2 further files" in note for note in layout.notes)


def test_acquisitions_and_echoes_of_one_session_are_domains(tmp_path: Path) -> None:
    bids(tmp_path, "sub-1/anat/sub-1_acq-hi_T1w.nii.gz", "sub-1/anat/sub-1_acq-lo_T1w.nii.gz",
         "sub-2/anat/sub-2_acq-hi_T1w.nii.gz", "sub-3/anat/sub-3_T1w.nii.gz",
         "sub-1/anat/sub-1_acq-x_T2w.nii.gz", "sub-2/anat/sub-2_acq-y_T2w.nii.gz",
         *(f"sub-1/anat/sub-1_echo-{e}_part-{p}_MEGRE.nii.gz" for e in (1, 2) for p in ("mag", "phase")))
    assert set(found(find_layout(tmp_path))) == {
        ("sub-1", "", "T1w-acq-hi"), ("sub-1", "", "T1w-acq-lo"), ("sub-2", "", "T1w-acq-hi"), ("sub-3", "", "T1w"),
        ("sub-1", "", "T2w"), ("sub-2", "", "T2w"),
        *(("sub-1", "", f"MEGRE-echo-{e}-part-{p}") for e in (1, 2) for p in ("mag", "phase"))}


def test_masks_are_called_like_masks(tmp_path: Path) -> None:
    bids(tmp_path, *(f"sub-1/anat/sub-1_{name}.nii.gz" for name in ("T1w", "desc-brain_mask", "dseg", "label-L_roi")))
    assert {e.domain: is_mask_name(e.domain) for e in find_layout(tmp_path).entries} == {
        "T1w": False, "mask": True, "dseg": True, "roi-mask": True}


def test_series_and_other_folders_are_left_out(tmp_path: Path) -> None:
    bids(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz", "sub-1/func/sub-1_task-rest_bold.nii.gz",
         "sub-1/func/sub-1_task-rest_sbref.nii.gz", "sub-1/dwi/sub-1_dwi.nii.gz",
         "derivatives/fsl/sub-1/anat/sub-1_T1w.nii.gz", "sourcedata/sub-1/x.nii", "sub-1/anat/holiday.png",
         "sub-1/anat/sub-2_T1w.nii.gz")
    layout = find_layout(tmp_path)
    assert found(layout) == [("sub-1", "", "T1w")]
    reasons = {name.rpartition("/")[2]: why for name, why in layout.unmatched}
    assert "a series over time" in reasons["sub-1_task-rest_bold.nii.gz"]
    assert "diffusion" in reasons["sub-1_dwi.nii.gz"]
    assert "lies in func" in reasons["sub-1_task-rest_sbref.nii.gz"]
    assert "different subjects" in reasons["sub-2_T1w.nii.gz"]
    assert "not named" in reasons["holiday.png"]
    assert {"passed over 1 file in derivatives", "passed over 1 file in sourcedata"} <= set(layout.notes)


def test_rules_are_searched_in_entities_and_suffix_only(tmp_path: Path) -> None:
    bids(tmp_path, *(f"sub-T1x{i}/anat/sub-T1x{i}_acq-{a}_{d}.nii.gz" for i in (1, 2)
                     for a, d in (("mprage", "T1w"), ("space", "T2w"), ("x", "mask"), ("y", "PDw"))),
         "sub-T1x1/anat/sub-T1x1_acq-mprage_run-2_T1w.nii.gz", "sub-T1x1/func/sub-T1x1_task-rest_sbref.nii.gz")
    layout = find_layout(tmp_path, rules={"T1": "MPRAGE|t1", "T2": "T2w$", "epi": "sbref"})
    assert set(found(layout)) == {("sub-T1x1", "", "T1"), ("sub-T1x1", "", "T2"), ("sub-T1x1", "", "mask"),
                                  ("sub-T1x2", "", "T1"), ("sub-T1x2", "", "T2"), ("sub-T1x2", "", "mask"),
                                  ("sub-T1x1", "", "epi")}
    assert {name for name, why in layout.unmatched if why == "fits no --domain"} == {
        f"sub-T1x{i}/anat/sub-T1x{i}_acq-y_PDw.nii.gz" for i in (1, 2)}
    assert any("is a further T1" in why for _, why in layout.unmatched)
    with pytest.raises(UserError, match="--domain: CT=ct fits no file"):
        find_layout(tmp_path, rules={"T1": "mprage", "CT": "ct"})


def test_what_does_not_go_with_bids(tmp_path: Path) -> None:
    bids(tmp_path, "sub-1/anat/sub-1_T1w.nii.gz")
    with pytest.raises(UserError, match="--subject-regex does not go with a BIDS folder"):
        find_layout(tmp_path, subject_regex="sub-.")
    assert find_layout(tmp_path, subject_regex="sub-.", kind="folders").entries
    bids(tmp_path / "b", "sub-1/func/sub-1_task-x_bold.nii.gz")
    with pytest.raises(UserError, match=r"no image of this BIDS folder is left.*bold 1"):
        find_layout(tmp_path / "b")
