"""`ganatomy translate`: nothing of the user's is replaced, and nothing that a model made is taken for a scan."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from ganatomy.core.errors import UserError
from ganatomy.formats import is_synthetic
from ganatomy.preparation.prepare import prepare
from ganatomy.translation.translate import translate
from tests.builders import head, save
from tests.dicom_files import write_dicom
from tests.translation.known_models import BYTES, Fake
from tests.translation.test_translate_cli import picture, refused, series


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_only_folders_of_ours_alone_are_replaced(tmp_path: Path) -> None:
    source, out, model = tmp_path / "in", tmp_path / "out", Fake()
    save(source / "a.nii.gz", head(0))
    series(source / "dicom", SeriesNumber=7)
    np.save(source / "b.npy", head(1, (3, 20, 24)) + 300)
    translate(model, source, out)
    mark = json.loads((out / "translation.json").read_text())
    assert set(mark["files"]) == set(contents(out)) - {"translation.json"} and len(mark["files"]) == 6
    (out / ".DS_Store").write_bytes(b"a file manager's")
    translate(model, source, out, overwrite=True)
    assert not (out / ".DS_Store").exists()

    for name in ("dicom/mine.txt", "link"):
        (out / name).symlink_to(source)
        assert f"holds {name}, which this command did not make" in refused(model, source, out, overwrite=True)
        (out / name).unlink()
    save(out / "a.nii.gz", head(5))  # the user's own now
    assert "holds a.nii.gz, which" in refused(model, source, out, overwrite=True)
    translate(model, source / "dicom", tmp_path / "series")
    (tmp_path / "series" / "mine.txt").write_text("mine")
    assert "holds mine.txt, which" in refused(model, source / "dicom", tmp_path / "series", overwrite=True)
    assert contents(source)


@pytest.mark.parametrize("mark", ['{"volumes": 3}', "[]", "no json", '{"notice": "synthetic, not for diagnosis"}'])
def test_a_foreign_translation_json_is_no_mark(tmp_path: Path, mark: str) -> None:
    save(tmp_path / "in" / "a.nii.gz", head(0))
    save(tmp_path / "out" / "a.nii.gz", head(1))
    (tmp_path / "out" / "translation.json").write_text(mark)
    truth = contents(tmp_path / "out")
    assert "not what this command makes" in refused(Fake(), tmp_path / "in", tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == truth


def test_a_file_put_into_out_meanwhile_stays(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    save(source / "a.nii.gz", head(0))
    translate(Fake(), source, out)

    def say(line: str) -> None:
        if line.startswith("translated"):
            (out / "mine.txt").write_text("mine")

    with pytest.raises(UserError, match=r"holds mine\.txt"):
        translate(Fake(), source, out, overwrite=True, say=say)
    assert (out / "mine.txt").read_text() == "mine" and len(contents(tmp_path)) == 4


def test_runs_and_datasets_are_not_written_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganatomy.translation.translate.load_generator", lambda run, device: Fake())
    source, home = tmp_path / "in" / "a.nii.gz", tmp_path / "models" / "run"
    save(source, head(0))
    home.mkdir(parents=True)
    (home / "recipe.yaml").write_text("")
    (home / "status.json").write_text("{}")

    def told(given: Path, out: Path, run: Path = home) -> str:
        before = contents(tmp_path)
        with pytest.raises(UserError) as error:
            translate(run, given, out, overwrite=True)
        assert contents(tmp_path) == before
        return str(error.value)

    for out in (home / "out.nii.gz", home):
        assert "is the run run or lies in it" in told(source.parent, out)
    assert "holds RUN" in told(source.parent, home.parent)
    other = tmp_path / "other"
    shutil.copytree(home, other)
    assert "is the run other or lies in it" in told(source, other / "out.nii.gz")
    prepare(_scans(tmp_path / "scans"), tmp_path / "data", size=16)
    assert "is the dataset data or lies in it" in told(source.parent, tmp_path / "data" / "out")
    (tmp_path / "recipe.yaml").write_text("")  # a recipe of the user's makes no run of the folder it lies in
    translate(home, source, tmp_path / "out.nii.gz")


def test_names_that_out_may_not_have(tmp_path: Path) -> None:
    series(tmp_path / "in")
    save(tmp_path / "scans" / "a.nii.gz", head(0))
    assert "a DICOM series becomes a folder -> call it x" in refused(Fake(), tmp_path / "in", tmp_path / "x.nii.gz")
    assert "becomes a folder" in refused(Fake(), tmp_path / "scans", tmp_path / "x.nii.gz")
    one = tmp_path / "scans" / "a.nii.gz"
    assert "name is too long" in refused(Fake(), one, tmp_path / f"{'a' * 300}.nii.gz")
    assert "call it translated.nii.gz" in refused(Fake(), one, tmp_path / ".nii.gz")
    assert "lies in the folder of INPUT's series" in refused(Fake(), tmp_path / "in" / "2.dcm", tmp_path / "in" / "out")


def test_a_line_for_each_warning_and_no_control_characters(tmp_path: Path) -> None:
    lines: list[str] = []
    save(tmp_path / "p_mask.nii.gz", head(0))
    translate(Fake(), tmp_path / "p_mask.nii.gz", tmp_path / "new\nline.nii.gz", say=lines.append)
    assert lines[0].startswith("warning: p_mask.nii.gz: is called like a mask")
    assert lines[-1] == f"{tmp_path}/new\\nline.nii.gz: synthetic T2 (arbitrary units), not for diagnosis"
    series(tmp_path / "in", name="Doe^\x1b[31mJane\x07")
    translate(Fake(), tmp_path / "in", tmp_path / "out", say=lines.append)
    assert pydicom.dcmread(tmp_path / "out" / "slice-0001.dcm").PatientName == "Doe^[31mJane"
    assert sum("keep the patient's name" in line for line in lines) == 1


def _scans(folder: Path) -> Path:
    for i, name in enumerate(("anna", "bert", "carl", "dora")):
        save(folder / name / f"{name}_T1.nii.gz", head(i))
    return folder


def test_synthetic_images_do_not_become_a_paired_dataset(tmp_path: Path) -> None:
    source = _scans(tmp_path / "in")
    for file in list(source.glob("*/*_T1.nii.gz")):
        translate(Fake(), file, file.with_name(file.name.replace("T1", "T2")))
    lines: list[str] = []
    dataset = prepare(source, tmp_path / "out", size=16, say=lines.append)
    assert dataset.info.domains == ("T1",) and not dataset.info.paired
    assert any("warning: left out 4 files of a model (synthetic), for example anna/anna_T2.nii.gz" in line
               for line in lines)
    assert prepare(source, tmp_path / "both", size=16, keep_derived=True).info.domains == ("T1", "T2")
    for file in source.glob("*/*_T1.nii.gz"):
        file.unlink()
    with pytest.raises(UserError, match="only images of a model"):
        prepare(source, tmp_path / "none", size=16)


def test_synthetic_series_do_not_become_a_paired_dataset(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for patient in ("p1", "p2", "p3"):
        series(source / patient / "t1", patient=patient)
        translate(Fake(), source / patient / "t1", source / patient / "t2")
    lines: list[str] = []
    dataset = prepare(source, tmp_path / "out", size=16, say=lines.append)
    assert dataset.info.domains == ("T1",)
    assert any("3 x synthetic, made by a model" in line for line in lines)
    shutil.rmtree(source / "p1" / "t1")
    with pytest.raises(UserError, match="add --keep-derived"):
        prepare(source / "p1", tmp_path / "none", size=16)


def test_synthetic_files_are_known_again_and_not_translated(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save(folder / "a.nii", head(0))
    picture(folder / "b.png")
    pages = [Image.fromarray(picture(folder / "c.png", seed)) for seed in (1, 2)]
    pages[0].save(folder / "c.tif", save_all=True, append_images=pages[1:])
    for name, model in (("a.nii", Fake()), ("b.png", Fake(**BYTES)), ("c.tif", Fake(**BYTES))):
        assert is_synthetic(translate(model, folder / name, folder / f"new-{name}"))
        assert not is_synthetic(folder / name)
    lines: list[str] = []
    translate(Fake(), folder, tmp_path / "out", say=lines.append)
    assert not [name for name in contents(tmp_path / "out") if "new" in name]
    assert any("left out 3 files: synthetic, of a model" in line for line in lines)
    translate(Fake(), folder / "new-a.nii", tmp_path / "again.nii", say=lines.append)
    assert "warning: new-a.nii: is synthetic, and no scan" in lines
    for name in ("a.nii", "b.png", "c.png", "c.tif"):
        (folder / name).unlink()
    assert "(3 synthetic, of a model" in refused(Fake(), folder, tmp_path / "none")


def test_what_is_left_of_a_faulty_series_is_not_translated(tmp_path: Path) -> None:
    series(tmp_path / "in", 12)
    write_dicom(tmp_path / "in" / "5.dcm", np.ones((30, 30), np.uint16), position=(0, 0, 15.0), number=6, thickness=3.0)
    for given in (tmp_path / "in", tmp_path / "in" / "5.dcm"):
        text = refused(Fake(), given, tmp_path / "out")
        assert "faulty volume: series 'T1 axial' (11 slices)" in text and "part of a faulty series" in text
    series(tmp_path / "in" / "whole", 4, series="whole")  # another one is not touched by it
    translate(Fake(), tmp_path / "in", tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 4


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    for name, other in (("a.mgz", "NIfTI"), ("a.hdr", "NIfTI"), ("a.gif", "PNG"), ("a.bmp", "PNG")):
        (tmp_path / name).write_bytes(b"something" * 100)
        assert f"{name[1:]} files are not read -> convert it to {other}" in refused(
            Fake(), tmp_path / name, tmp_path / "out.nii.gz")
    os.mkfifo(tmp_path / "pipe.nii")
    assert "neither a file nor a folder" in refused(Fake(), tmp_path / "pipe.nii", tmp_path / "out.nii.gz")
    series(tmp_path / "in", spacing=None)
    assert "no PixelSpacing" in refused(Fake(), tmp_path / "in", tmp_path / "out")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.nii").write_bytes(b"something" * 100)
    save(tmp_path / "bad" / "b.nii", head(0) * np.float32(np.nan))
    assert refused(Fake(), tmp_path / "bad", tmp_path / "out").count("->") == 1


def test_closed_folders_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "in" / "a.nii", head(0))
    (tmp_path / "in" / "closed").mkdir()
    scandir = os.scandir

    def closed(place: Path | int) -> object:  # the tests may run as root, who may open any folder
        if not isinstance(place, int) and Path(place).name == "closed":
            raise PermissionError(errno.EACCES, "closed")
        return scandir(place)

    monkeypatch.setattr(os, "scandir", closed)
    lines: list[str] = []
    translate(Fake(), tmp_path / "in", tmp_path / "out", say=lines.append)
    assert "warning: 1 folder could not be opened" in lines
