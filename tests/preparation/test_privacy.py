"""Identifiers planted where they must not be are found; what prepare, train and report write holds none."""

from __future__ import annotations

import base64
import gzip
import io
import os
import shutil
import socket
import stat
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ganatomy.core.errors import UserError
from ganatomy.core.files import private_path, write_text
from ganatomy.core.recipe import Recipe
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.preparation.prepare import prepare
from ganatomy.preparation.privacy import Audit, audit_phi
from ganatomy.preparation.private import collect_identifiers, is_private, read_identifiers
from ganatomy.preparation.search import Forms
from ganatomy.sources.detect import find_layout
from tests.builders import NAMES, cohort, write_dataset

TAGS = [("PatientName", "Quendel^Jörg"), ("PatientID", "MX884213"), ("PatientBirthDate", "19531107"),
        ("AccessionNumber", "7730041955"), ("StudyInstanceUID", "1.2.826.0.1.3680043.8.498.5551237"),
        ("path", "/mnt/pacs/ward-seven/quendel"), ("host", "cyclotron-pc"), ("PatientName", "Poe^Ed"),
        ("OtherPatientIDs", "QX-7")]


def identify(dataset: Path, identifiers: Iterable[tuple[str, str]] = TAGS) -> Path:
    """Write a dataset's private folder, as `prepare` does."""
    lines = "".join(f'{kind},"{value}"\n' for kind, value in identifiers)
    write_text(private_path(dataset) / "identifiers.csv", f"kind,value\n{lines}", mode=0o600)
    return dataset


@pytest.fixture
def known(own_dataset: Dataset) -> Path:
    return identify(own_dataset.path)


def kinds(audit: Audit) -> set[str]:
    return {finding.kind for finding in audit.findings}


def test_a_dataset_made_from_named_files_is_clean(tmp_path: Path) -> None:
    dataset = prepare(cohort(tmp_path / "Charite-Neuro"), tmp_path / "dataset", size=32).path
    identifiers = read_identifiers(dataset)
    assert {("subject", name) for name in NAMES} <= identifiers
    assert {("file", f"{NAMES[0]}_T1.nii.gz"), ("folder", "Charite-Neuro")} <= identifiers
    assert stat.S_IMODE((private_path(dataset) / "identifiers.csv").stat().st_mode) == 0o600
    assert is_private(private_path(dataset))
    audit = audit_phi([dataset])
    assert audit.clean
    assert audit.forms.searched > len(NAMES)
    (dataset / "note.txt").write_text("the first is Smith")
    assert kinds(audit_phi([dataset])) == {"subject"}


def test_collected_identifiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "mri-console.clinic.example")
    monkeypatch.setenv("HOME", "/home/ada.quendel")
    monkeypatch.setenv("LOGNAME", "aquendel")
    layout = find_layout(cohort(tmp_path / "ward"))
    found = collect_identifiers(layout, tmp_path / "ward")
    assert {("host", "mri-console.clinic.example"), ("host", "mri-console"), ("home", "/home/ada.quendel"),
            ("user", "aquendel"), ("user", "ada.quendel"), ("subject", "Carl-Miller9"), ("folder", "ward"),
            ("path", str(tmp_path / "ward")), ("file", "Carl-Miller9_T2.nii.gz"), ("file", "Carl-Miller9_T2")} <= found


def png(text: str, packed: bool = False) -> bytes:
    notes, buffer = PngInfo(), io.BytesIO()
    notes.add_text("Comment", text, zip=packed)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(buffer, "png", pnginfo=notes)
    return buffer.getvalue()


def zipped(name: str, content: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("archive/version", b"3\n")
        archive.writestr(name, content)
    return buffer.getvalue()


def array(text: bytes) -> bytes:
    values = np.random.default_rng(0).integers(0, 255, (32, 64, 64), np.uint8)
    values[7, 7, :len(text)] = np.frombuffer(text, np.uint8)
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def page(picture: bytes) -> bytes:
    return b'<html><img src="data:image/png;base64,' + base64.b64encode(picture) + b'"></html>'


PLANTS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "png text": ("a.png", lambda: png("Quendel, Jorg"), "PatientName"),
    "packed png text": ("a.png", lambda: png("scan of 07.11.1953 " * 9, packed=True), "PatientBirthDate"),
    "short name in png text": ("a.png", lambda: png("of Mr Poe"), "PatientName"),
    "member of a checkpoint": ("step.pt", lambda: zipped("archive/data.pkl", b"\x80\x02X\x0b\0\0\0MX884213q"),
                               "PatientID"),
    "packed member": ("a.npz", lambda: zipped("n.npy", b"\x93NUMPY" + b"7730041955;" * 9, zipfile.ZIP_DEFLATED),
                      "AccessionNumber"),
    "name of a member": ("a.npz", lambda: zipped("MX884213.npy", b"1"), "PatientID"),
    "numpy text": ("a.npy", lambda: np.array(["cyclotron-pc"]).tobytes(), "host"),
    "picture in a page": ("report.html", lambda: page(png("mx884213")), "PatientID"),
    "page's escapes": ("report.html", lambda: b"<p>J&ouml;rg_Quendel, 1953&#45;11&#45;07</p>", "PatientBirthDate"),
    "address's escapes": ("report.html", lambda: b"<a href='file:///mnt%2Fpacs%2Fward%2Dseven%2fQuendel'>", "path"),
    "json's escapes": ("a.json", lambda: b'{"n": "QUEND\\u0045L"}', "PatientName"),
    "utf-16": ("a.txt", lambda: "Mr. QUENDEL".encode("utf-16"), "PatientName"),
    "short name in utf-16": ("a.txt", lambda: "Mr. POE.".encode("utf-16"), "PatientName"),
    "utf-16 big-endian": ("a.bin", lambda: b"\0\1\2" + "Jörg Quendel".encode("utf-16-be"), "PatientName"),
    "latin-1": ("a.txt", lambda: "Herr JÖRG war hier".encode("latin-1"), "PatientName"),
    "without umlaut": ("a.txt", lambda: b"joerg", "PatientName"),
    "pixels": ("images.npy", lambda: array(b"/mnt/pacs/ward-seven/quendel"), "path"),
    "uid": ("log.jsonl", lambda: b'{"series": "1.2.826.0.1.3680043.8.498.5551237"}', "StudyInstanceUID"),
    "american date": ("log.jsonl", lambda: b"11/07/1953", "PatientBirthDate"),
    "date and time": ("log.jsonl", lambda: b"19531107120000", "PatientBirthDate"),
    "short id": ("a.csv", lambda: b"a,b\nQX-7,1\n", "OtherPatientIDs"),
    "gzip": ("a.json.gz", lambda: gzip.compress(b'{"host": "CYCLOTRON-PC"}' * 50), "host"),
    "host": ("environment.json", lambda: b'{"host": "cyclotron-pc"}', "host"),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_planted_identifiers_are_found(known: Path, plant: str) -> None:
    name, content, kind = PLANTS[plant]
    (known / name).write_bytes(content())
    audit = audit_phi([known])
    assert kind in kinds(audit)
    assert {Path(finding.file).name for finding in audit.findings} == {name}
    shown = " ".join(map(str, audit.findings)).casefold()
    assert "quendel" not in shown
    assert "884213" not in shown


def test_names_of_files_are_searched_and_not_repeated(known: Path) -> None:
    (known / "MX884213").mkdir()
    (known / "MX884213" / "Quendel_Joerg.png").write_bytes(b"")
    (known / "latest").symlink_to("/mnt/pacs/ward-seven/quendel")
    said: list[str] = []
    audit = audit_phi([known], said.append)
    assert kinds(audit) == {"PatientID", "PatientName", "path"}
    assert not any("884213" in line or "quendel" in line.casefold() for line in said)


def test_what_any_dataset_holds_is_no_finding(known: Path) -> None:
    common = [("subject", "sub-003"), ("file", "image-003.png"), ("folder", "disc"), ("PatientID", "0012"),
              ("folder", "data"), ("PatientName", "Anonymous"), ("StudyDescription", "Brain"), ("user", "root"),
              ("session", "1"), ("PatientName", "X")]
    audit = audit_phi([identify(known, [*common, ("PatientID", "MX884213")])])
    assert audit.clean
    assert audit.forms.searched == 1
    assert {(form.kind, form.text) for form in audit.forms.left_out} == {*common, ("subject", "sub")}
    assert "11 forms of them cannot be searched for" in str(audit)
    assert "PatientName A... a common word" in str(audit) and "Anonymous" not in str(audit)


def test_chance_is_no_finding(known: Path) -> None:
    identify(known, [("PatientID", f"{n}") for n in range(834_000, 836_000)])
    hashes = "".join(f"{n:015x}c835123d{n:041x}\n" for n in range(50))
    (known / "log.jsonl").write_text(hashes + '{"loss": 0.835123}\n{"n": 98351234}\n')
    dark = np.random.default_rng(0).integers(44, 60, (64, 256, 256)).astype(np.uint8)  # noise around the digits' codes
    np.save(known / "more.npy", dark)
    audit = audit_phi([known])
    assert audit.findings == []
    assert audit.by_chance > 50
    (known / "note.txt").write_text("patient 835123: done")
    assert kinds(audit_phi([known])) == {"PatientID"}


def test_identifiers_across_pieces_are_found(known: Path) -> None:
    with (known / "large.bin").open("wb") as handle:
        handle.truncate(3 << 24)
        for at in ((1 << 24) - 4, (2 << 24) - 1):
            handle.seek(at)
            handle.write(b"MX884213")
    findings = audit_phi([known]).findings
    assert [(f.times, f.where) for f in findings] == [(2, f"byte {(1 << 24) - 4}")]


def test_runs_and_reports(known: Path, tmp_path: Path, tiny: Recipe) -> None:
    run = Run(tmp_path / "run")
    run.start(tiny, known, Dataset.open(known).info.content)
    run.report_file.write_text("for nobody")
    assert audit_phi([run.path]).clean and audit_phi([run.report_file]).clean
    run.report_file.write_text("for MX884213")
    (tmp_path / "copy.html").write_text("for MX884213")
    assert kinds(audit_phi([tmp_path])) == {"PatientID"}
    assert kinds(audit_phi([run.path])) == kinds(audit_phi([run.report_file])) == {"PatientID"}
    assert kinds(audit_phi([tmp_path / "copy.html", known])) == {"PatientID"}
    with pytest.raises(UserError, match="name the dataset or run"):
        audit_phi([tmp_path / "copy.html"])
    private_path(run.path).rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="name its dataset too"):
        audit_phi([run.path])
    assert kinds(audit_phi([run.path, known])) == {"PatientID"}


def test_a_run_whose_dataset_was_made_anew_is_never_clean(known: Path, tmp_path: Path, tiny: Recipe) -> None:
    run = Run(tmp_path / "run")
    run.start(tiny, known, Dataset.open(known).info.content)
    (tmp_path / "run" / "notes.txt").write_text("for MX884213")
    assert kinds(audit_phi([run.path])) == {"PatientID"}
    shutil.rmtree(known)
    identify(write_dataset(known, seed=1).path, [("PatientID", "somebody-else")])
    audit = audit_phi([run.path])
    assert not audit.clean
    assert "made anew" in audit.unsearched[0][1]


def test_without_identifiers_it_refuses(own_dataset: Dataset) -> None:
    with pytest.raises(UserError, match="private folder"):
        audit_phi([own_dataset.path])
    identify(own_dataset.path, [])
    with pytest.raises(UserError, match="holds no identifiers"):
        audit_phi([own_dataset.path])


def test_what_cannot_be_unpacked_or_opened_is_told(known: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (known / "a.npz").write_bytes(zipped("n.npy", bytes(5000), zipfile.ZIP_DEFLATED)[:-40])
    (known / "b.npz").write_bytes(zipped("Quendel.npy", b"1234567890").replace(b"1234567890", b"1234567891"))
    (known / "closed-MX884213").mkdir()
    scandir = os.scandir

    def refusing(path: str) -> object:  # the tests may run as root, who may open everything
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    audit = audit_phi([known])
    assert not audit.clean
    assert sorted(Path(file).name for file, _ in audit.unsearched) == ["a.npz", "b.npz", "closed-M..."]
    assert "quendel" not in str(audit.unsearched).casefold()  # the reason names the member


def test_forms_that_are_looked_for() -> None:
    subjects = ("Anna-Quendel-07", "Bert-Quendel-08", "control-09", "control-10", "control-11")
    forms = Forms([("PatientName", "Li^Bo"), ("PatientName", "Mark^Wilson"), ("file", "mammo-77"),
                   *(("subject", name) for name in subjects)])
    wanted = {form.text.casefold() for form in forms.wanted}
    assert {"li, bo", "mark wilson", "wilson, mark", "mammo-77", "anna-quendel-07", "quendel", "anna"} <= wanted
    left_out = {form.text: why for form, why in forms.left_out.items()}
    assert left_out == {"Li": "too short", "Bo": "too short", "Mark": "a common word", "Wilson": "a common word"}
