"""A PACS export comes out as the volumes that were put in, and everything else is named with its reason."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganatomy.core.errors import Question, UserError
from ganatomy.preparation.prepare import prepare
from ganatomy.sources.detect import find_layout
from ganatomy.sources.dicom import read_dicom
from ganatomy.sources.entry import Entry, Layout, read_entry, scan_entry
from tests.builders import pictures
from tests.dicom_files import uid, write_dicom
from tests.pacs import MISSING, PATIENTS, Export, pacs_export

KEYS = [key for key, _, _ in PATIENTS]
DESCRIPTIONS = {"T1": "T1 tse tra", "T2": "T2_tse_tra", "FLAIR": "FLAIR cor", "CT": "CCT nativ"}
DATA = Path(os.environ.get("GANATOMY_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "dicom"


def layout_of(folder: Path, names: list[str] | None = None, **options: Any) -> Layout:
    names = names or sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    given: dict[str, Any] = {"rules": {}, "subject": None, "allow_gaps": False, "keep_derived": False, "workers": 1,
                             "say": lambda text: None}
    return read_dicom(folder, names, **given | options)


def by_domain(layout: Layout) -> dict[tuple[str, str], Entry]:
    found = {(entry.subject, entry.domain): entry for entry in layout.entries}
    assert len(found) == len(layout.entries)
    return found


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Export:
    return pacs_export(tmp_path_factory.mktemp("pacs"), seed=3)


@pytest.fixture(scope="module")
def layout(export: Export) -> Layout:
    return layout_of(export.folder, export.names)


def test_each_volume_is_found_once_in_order_and_in_place(export: Export, layout: Layout) -> None:
    entries = by_domain(layout)
    expected = {(key, domain) for key in KEYS for domain in DESCRIPTIONS}
    assert set(entries) == expected - {(KEYS[1], "CT"), (KEYS[2], "FLAIR")}
    for (key, domain), entry in entries.items():
        again = " again" if (key, domain) == (KEYS[1], "T1") else ""  # of the repeats the last counts
        planted = export.series[key, DESCRIPTIONS[domain] + again]
        if (key, domain) != (KEYS[0], "T2"):  # of which there are copies
            assert [path for path, _ in entry.piece.frames] == [str(path) for path in planted.files]
        assert np.array_equal(read_entry(entry), planted.voxels)
        header = scan_entry(entry)
        assert header.affine is not None and header.shape == planted.voxels.shape
        assert header.volumetric and header.oriented
        assert np.abs(header.affine - planted.affine).max() < 0.01 / max(header.shape)


def test_what_is_left_out_is_named_with_its_reason(export: Export, layout: Layout) -> None:
    reasons = {export.folder / name: reason for name, reason in layout.unmatched}
    copies = {*export.others["duplicate"], *export.series[KEYS[0], "T2_tse_tra"].files}
    assert sum(reasons.get(path, "").startswith("duplicate: ") for path in copies) == len(copies) / 2
    localisers = [reasons[path] for path in export.others["localiser"] if path in reasons]
    assert localisers == ["localiser: series 1 'Survey' (9 slices)"]
    assert reasons[export.others["secondary capture"][0]].startswith("secondary capture")
    assert all("holds no" in reasons[path] for path in export.others["no image"])
    flair = export.series[KEYS[2], "FLAIR cor"]
    assert f"lacks 1 slice (1 between slices {MISSING} and {MISSING + 1}" in reasons[flair.files[0]]
    first = export.series[KEYS[1], "T1 tse tra"]
    assert reasons[first.files[0]].startswith("repeat of another T1")
    assert len(reasons) == 7 + 1 + 1 + 3 + 1 + 1
    assert any(note.startswith("left out: 7 x duplicate;") for note in layout.notes)


def test_sessions_frames_and_identifiers(export: Export, layout: Layout) -> None:
    assert layout.kind == "DICOM: 3 studies, 10 series"
    entries = by_domain(layout)
    for key in KEYS:
        assert {e.session for e in layout.entries if e.subject == key} == {f"20240229-{uid(key, 'study')}"}
        assert entries[key, "T1"].frame == entries[key, "T2"].frame != ""
    assert entries[KEYS[0], "CT"].frame != entries[KEYS[0], "T1"].frame
    assert entries[KEYS[0], "T1"].header.shape != entries[KEYS[0], "T2"].header.shape  # type: ignore[union-attr]
    assert export.identifiers <= {value for _, value in layout.identifiers}
    assert "patients are told apart by PatientID" in layout.notes


def test_order_of_files_and_processes_change_nothing(export: Export, layout: Layout) -> None:
    again = layout_of(export.folder, sorted(export.names), workers=2)
    assert [(e.subject, e.domain, e.session) for e in again.entries] == [
        (e.subject, e.domain, e.session) for e in layout.entries]
    assert Counter(len(e.piece.frames) for e in again.entries) == Counter(len(e.piece.frames) for e in layout.entries)


def test_allowed_gaps_and_kept_captures(export: Export) -> None:
    layout = layout_of(export.folder, export.names, allow_gaps=True, keep_derived=True)
    entries = by_domain(layout)
    planted = export.series[KEYS[2], "FLAIR cor"]
    header = scan_entry(entries[KEYS[2], "FLAIR"])
    kept = [k for k in range(8) if k != MISSING]
    assert np.array_equal(read_entry(entries[KEYS[2], "FLAIR"]), planted.voxels[:, :, kept])
    places = [(planted.affine @ [0, 0, k, 1])[:3] for k in kept]
    assert np.allclose(header.starts, places, atol=0.01)
    assert any(note.startswith("warning: faulty volume") for note in layout.notes)
    assert (KEYS[1], "image") in entries


def simple(folder: Path, place: str, patient: str | None, **tags: Any) -> None:
    """A series of 3 slices in a folder of its own."""
    for k in range(3):
        write_dicom(folder / place / f"{k}", np.full((4, 4), k, np.uint16), number=k, position=(0, 0, k), series=place,
                    study=place, **{"PatientID": patient} | tags)


NOBODY = ("", "")
ANON = ("ANON", "anonymous^0000")


@pytest.mark.parametrize(("files", "subjects", "told_by"), [
    ({"one": ("a", "Doe"), "two": ("b", "Doe")}, {"a", "b"}, "PatientID"),
    ({"one": ("", "Doe"), "two": ("removed", "Roe")}, {"Doe", "Roe"}, "PatientName"),
    ({"one": NOBODY, "two": ANON}, {"one", "two"}, "their folder"),
    ({"a": ("17", "Doe"), "b/pat1": ANON, "b/pat2": NOBODY}, {"17", "pat1", "pat2"}, "their folder, else by PatientID"),
    ({"MR/1/T1/in": NOBODY, "MR/2/T1/in": NOBODY, "MR/10/T1/in": ANON}, {"1", "2", "10"}, "their folder"),
    ({"export/pat01/t1": ("X17", "Doe"), "export/pat02/t1": ("X17", "Doe")}, {"pat01", "pat02"}, "their folder"),
    ({"pat1/visit1": ANON, "pat1/visit2": ANON, "pat2/visit1": ANON}, {"pat1", "pat2"}, "their folder"),
    ({f"site{n // 3}/pat{n}": (f"site{n // 3}", "") for n in range(6)}, {f"pat{n}" for n in range(6)}, "their folder"),
    ({f"{c}/pat{n}": ANON for c in ("T1", "T2") for n in range(3)}, {"pat0", "pat1", "pat2"}, "their folder"),
    ({"a": ("P1_V1", ""), "b": ("P1_V2", ""), "c": ("X_V1", ""), "d": ("X_V2", ""), "e": ("P-3_V1", "")},
     {"P1", "X_V1", "X_V2", "P-3_V1"}, "PatientID"),
    ({"benign/p1": ANON, "benign/p2": ANON, "malignant/p7": ANON}, {"p1", "p2", "p7"}, "their folder"),
    ({"x/20110304": ("P001", ""), "x/20120304": ("P001", "")}, {"P001"}, "PatientID"),
    ({"P001/one": ("P001", ""), "P001/two": ("P001", "")}, {"P001"}, "PatientID")])
def test_how_patients_are_known(tmp_path: Path, files: dict[str, tuple[str, str]], subjects: set[str],
                                told_by: str) -> None:
    for place, (key, name) in files.items():
        simple(tmp_path, place, key, PatientName=name)
    layout = layout_of(tmp_path)
    assert {entry.subject for entry in layout.entries} == subjects and len(layout.entries) == len(files)
    assert f"patients are told apart by {told_by}" in layout.notes
    option = re.search(r"--subject-regex '(.+?)'", " ".join(layout.notes))
    if option and len({*files.values()} - {ANON, NOBODY}) < 2:  # the option that is offered says the same
        assert {entry.subject for entry in layout_of(tmp_path, subject=re.compile(option[1])).entries} >= (
            subjects - {key for key, _ in files.values()})


@pytest.mark.parametrize(("files", "readings"), [
    ({"a1": ("P001", ""), "b7": ("P001", "")}, [{"a1", "b7"}, {"P001"}]),
    ({"CT/1": ANON, "MR/1": ANON, "CT/2": ANON, "MR/2": ANON}, [{"CT/1", "CT/2", "MR/1", "MR/2"}, {"1", "2"}]),
    ({"20110304": ANON, "20120304": ANON}, [{"20110304", "20120304"}])])
def test_where_patients_cannot_be_told_every_reading_is_offered(tmp_path: Path, files: dict[str, tuple[str, str]],
                                                                readings: list[set[str]]) -> None:
    for place, (key, name) in files.items():
        simple(tmp_path, place, key, PatientName=name)
    with pytest.raises(Question, match="several ways") as caught:
        layout_of(tmp_path)
    offers = [str(offer.options["subject_regex"]) for offer in caught.value.offers]
    read = [{e.subject for e in layout_of(tmp_path, subject=re.compile(offer)).entries} for offer in offers]
    assert {e.subject for e in layout_of(tmp_path, sure=True).entries} == readings[0]
    assert read[:-1] == readings and len(read[-1]) == len(files), "the last makes each study a patient"


def test_folders_that_may_be_classes_are_told(tmp_path: Path) -> None:
    truth = {("benign", "a"), ("benign", "b"), ("malignant", "c"), ("malignant", "d")}
    for label, patient in truth:
        simple(tmp_path / "known", f"x/{label}/{patient}", patient)
        simple(tmp_path / "other", f"x/{label[:3]}/{patient}", patient)
    assert {(e.label, e.subject) for e in layout_of(tmp_path / "known").entries} == truth
    note = next(note for note in layout_of(tmp_path / "other").notes if "ben, mal part the patients" in note)
    layout = find_layout(tmp_path / "other", pattern=re.findall("'(.+)'", note)[0])
    assert {(e.label, e.subject) for e in layout.entries} == {(label[:3], patient) for label, patient in truth}


def test_folders_of_splits_are_obeyed(tmp_path: Path) -> None:
    for split, patient in (("Train", "a"), ("Train", "b"), ("Test", "c")):
        simple(tmp_path, f"scans/{split}/{patient}", patient)
    splits = {e.subject: e.split for e in layout_of(tmp_path).entries}
    assert splits == {"a": "train", "b": "train", "c": "test"}


def test_uids_that_an_anonymiser_gave_to_all_make_no_copies(tmp_path: Path) -> None:
    for n in range(3):
        for k in range(3):
            write_dicom(tmp_path / f"pat{n}/{k}", np.full((4, 4), 10 * n + k, np.uint16), number=k, position=(0, 0, k),
                        patient="ANON", name="", SOPInstanceUID=uid(n, k))
    layout = layout_of(tmp_path)
    assert {e.subject: int(read_entry(e).max()) for e in layout.entries} == {"pat0": 2, "pat1": 12, "pat2": 22}


def test_without_anything_a_study_is_a_patient(tmp_path: Path) -> None:
    simple(tmp_path, "one", None, PatientName=None)
    layout = layout_of(tmp_path)
    assert "patients are told apart by StudyInstanceUID" in layout.notes and len(layout.entries) == 1


@pytest.mark.parametrize("regex", [r"^([^/]+)/", r"(?P<junk>^)(?P<subject>[^/]+)/"])
def test_subject_regex_goes_before_the_tags(tmp_path: Path, regex: str) -> None:
    for name in ("one", "two"):
        simple(tmp_path, name, "A", PatientName=f"{name}^name")
    layout = layout_of(tmp_path, subject=re.compile(regex))
    assert {entry.subject for entry in layout.entries} == {"one", "two"}
    assert not any(note.startswith("warning") for note in layout.notes)


def test_cohorts_that_share_blank_uids_are_not_thrown_together(tmp_path: Path) -> None:
    for name in ("one", "two"):
        simple(tmp_path, name, name, StudyInstanceUID=None, SeriesInstanceUID=None, SOPInstanceUID=None)
    assert [len(entry.piece.frames) for entry in layout_of(tmp_path).entries] == [3, 3]


def test_warnings_of_burned_in_text_faces_and_mixed_patients(tmp_path: Path) -> None:
    simple(tmp_path, "one", "A", BurnedInAnnotation="YES", PatientName="Meier^Hans")
    simple(tmp_path, "two", "A", RecognizableVisualFeatures="YES", PatientName="Schulz^Hans")
    simple(tmp_path, "three", "B")
    notes = [note for note in layout_of(tmp_path).notes if note.startswith("warning: ")]
    assert [note.split()[1] for note in notes] == ["3", "3", "1"]
    assert "BurnedInAnnotation" in notes[0] and "face" in notes[1] and "several family names" in notes[2]
    assert not any("Meier" in note or "Schulz" in note for note in notes)


def test_pictures_are_slices_by_their_instance_number(tmp_path: Path) -> None:
    for k in (4, 2, 9):
        write_dicom(tmp_path / f"{k}", np.full((4, 4), k, np.uint8), number=k, modality="US", position=None,
                    orientation=None, description="")
    entries = layout_of(tmp_path).entries
    assert {(e.slice, int(read_entry(e)[0, 0, 0]), e.domain) for e in entries} == {(k, k, "US") for k in (2, 4, 9)}
    write_dicom(tmp_path / "again", np.full((4, 4), 1, np.uint8), number=4, modality="US", position=None,
                orientation=None, description="")
    assert [e.slice for e in layout_of(tmp_path).entries] == [None] * 4


@pytest.mark.parametrize(("located", "position"), [(True, None), (True, (0, 0, 0)), (False, None)])
def test_pictures_without_positions_are_paired_by_their_location_alone(tmp_path: Path, located: bool,
                                                                       position: tuple[int, ...] | None) -> None:
    for domain, number in (("T1", lambda k: k), ("T2", lambda k: 9 - k)):
        for k in range(4):
            write_dicom(tmp_path / domain / f"{k}", np.full((4, 4), k, np.uint8), number=number(k), position=position,
                        description=domain, series=domain,
                        SliceLocation=-8.0 * k if located else None)
    entries = layout_of(tmp_path).entries
    places = {(e.domain, e.slice): int(read_entry(e)[0, 0, 0]) for e in entries}
    assert all(e.counted != located for e in entries) and len(places) == 8
    if located:
        assert places == {(domain, n): 3 - n for domain in ("T1", "T2") for n in range(4)}
    else:
        with pytest.raises(UserError, match=r"do not say where they lie.*--unpaired"):
            prepare(tmp_path, tmp_path.with_name(f"{tmp_path.name}-out"), size=8, slices="all")
        prepare(tmp_path, tmp_path.with_name(f"{tmp_path.name}-out"), size=8, unpaired=True)


def test_a_pattern_goes_before_the_tags_but_for_slices(tmp_path: Path) -> None:
    parts = {*product(("train", "test"), ("sick", "well"), ("1", "2"), "ab", ("full", "low"))}
    for split, label, person, visit, domain in parts:
        simple(tmp_path, f"{split}/{label}/{visit}-{person}{split}/{domain}", "ANON", StudyInstanceUID="1.2")
    pictures(tmp_path, 2, "train/sick/a-1train/full")
    layout = find_layout(tmp_path, pattern="{split}/sick/{session}-{subject}/{*}/*.dcm | "
                                           "{split}/{label}/{session}-{subject}/{domain}/*")
    assert layout.notes[-1].startswith("left out 2 files, for example train/sick/a-1train/full/p0.png")
    assert {(e.split, e.label, e.subject, e.session, e.domain) for e in layout.entries} == {
        (split, label, person + split, visit, domain) for split, label, person, visit, domain in parts}
    assert len(layout.entries) == 32 and all(len(e.piece.frames) == 3 for e in layout.entries)


def test_doses_that_are_studies_of_their_own_are_told_and_paired_by_a_pattern(tmp_path: Path) -> None:
    for patient, dose in product("abc", ("low", "normal")):
        simple(tmp_path, f"{patient}/{dose}", f"P-{patient}", Modality="CT", SeriesDescription="CT")
    layout = layout_of(tmp_path)
    assert {e.domain for e in layout.entries} == {"CT"} and len({e.session for e in layout.entries}) == 6
    assert any("low, normal return in every patient" in note for note in layout.notes)
    with pytest.raises(UserError, match=r"no session has all of low, normal; 3 subjects .* different sessions"):
        prepare(tmp_path, tmp_path.with_name(f"{tmp_path.name}-out"), size=8, domain=["low=low", "normal=normal"])
    layout = find_layout(tmp_path, pattern="{subject}/{domain}/**")
    assert {(e.subject, e.session, e.domain) for e in layout.entries} == {*product("abc", ("",), ("low", "normal"))}


def test_nothing_usable_is_one_plain_error(export: Export, tmp_path: Path) -> None:
    shutil.copy(export.others["secondary capture"][0], tmp_path / "shot")
    with pytest.raises(UserError, match="1 DICOM file, and none can be used") as caught:
        layout_of(tmp_path)
    assert caught.value.fix == "add --keep-derived"
    assert len(layout_of(tmp_path, keep_derived=True).entries) == 1


@pytest.mark.skipif(not DATA.is_dir(), reason="no real data here")
@pytest.mark.parametrize(("folder", "domain", "shape", "left_out"), [
    ("brain-pd", "PD", (256, 256, 20), 0), ("head-t1-7t", "T1", (274, 384, 80), 0),
    ("enhanced-multiframe", "BOLD", (64, 64, 6), 3), ("transfer-syntaxes", "BOLD", (64, 64, 35), 8)])
def test_real_folders(folder: str, domain: str, shape: tuple[int, int, int], left_out: int) -> None:
    layout = layout_of(DATA / folder)
    (entry,) = layout.entries
    assert (entry.domain, scan_entry(entry).shape, len(layout.unmatched)) == (domain, shape, left_out)
    assert read_entry(entry).shape == shape
