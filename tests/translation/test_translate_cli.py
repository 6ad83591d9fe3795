"""`ganatomy translate` over files and folders: what is written, skipped and refused."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from PIL import Image

import ganatomy
from ganatomy.cli.main import cli
from ganatomy.core.errors import UserError
from ganatomy.formats import read
from ganatomy.translation.translate import translate
from tests.builders import head, save, touch, write_dataset
from tests.dicom_files import write_dicom
from tests.translation.known_models import BYTES, WINDOW, Fake, instead_of_a_run

OBLIQUE = np.array([[0.0, -1.1, 0.2, 5], [1.0, 0, 0, -7], [0.1, 0.1, 3, 11], [0, 0, 0, 1]])


def picture(path: Path, seed: int = 0, dtype: str = "uint8", shape: tuple[int, ...] = (24, 20)) -> np.ndarray:
    values = np.random.default_rng(seed).integers(1, np.iinfo(dtype).max, shape).astype(dtype)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return values


def series(folder: Path, slices: int = 4, **tags: Any) -> None:
    volume = head(3, (20, 24, slices + 2))[..., 1:-1].astype(np.uint16)
    for k in range(slices):
        write_dicom(folder / f"{k}.dcm", volume[..., k].T.copy(), position=(0, 0, 3.0 * k), number=k + 1, thickness=3.0,
                    **tags)


def refused(model: Fake, source: Path, out: Path, **options: Any) -> str:
    before = sorted(str(p) for p in out.parent.rglob("*"))
    with pytest.raises(UserError) as told:
        translate(model, source, out, **options)
    assert sorted(str(p) for p in out.parent.rglob("*")) == before, "something was left"
    return str(told.value)


def test_a_nifti_file_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_folder = instead_of_a_run(monkeypatch, Fake(32, two_way=True, source_intensity=WINDOW))
    save(tmp_path / "a.nii.gz", head(0), OBLIQUE)
    words = ["translate", run_folder, tmp_path / "a.nii.gz", tmp_path / "sub" / "b.nii", "--direction", "T2:T1"]
    done = CliRunner().invoke(cli, [*map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stderr.endswith("sub/b.nii: synthetic T1 (HU, cut to -1000 to 1000), not for diagnosis\n")
    one, other = nibabel.load(tmp_path / "a.nii.gz"), nibabel.load(tmp_path / "sub" / "b.nii")
    assert other.shape == one.shape and other.affine.tobytes() == one.affine.tobytes()
    assert other.get_data_dtype() == np.int16 and 900 < np.asarray(other.dataobj).max() <= 1000


def test_the_same_input_gives_the_same_file(tmp_path: Path) -> None:
    save(tmp_path / "Doe.nii.gz", head(0))
    for name in ("one.nii.gz", "two.nii.gz"):
        translate(Fake(), tmp_path / "Doe.nii.gz", tmp_path / name)
    data = (tmp_path / "one.nii.gz").read_bytes()
    assert data == (tmp_path / "two.nii.gz").read_bytes()
    assert b"Doe" not in data and b"one" not in data
    assert b"not for diagnosis" in gzip.decompress(data)


def test_pictures_keep_their_bytes(tmp_path: Path) -> None:
    values = picture(tmp_path / "a.png")
    assert translate(Fake(32, **BYTES), tmp_path / "a.png", tmp_path / "b.png") == tmp_path / "b.png"
    with Image.open(tmp_path / "b.png") as image:
        assert image.mode == "L" and np.array_equal(np.asarray(image), values)
        assert image.info["Description"] == "synthetic T2 by ganatomy, not for diagnosis"
    deep = picture(tmp_path / "deep.png", dtype="uint16")
    lines: list[str] = []
    translate(Fake(32), tmp_path / "deep.png", tmp_path / "deeper.png", say=lines.append)
    with Image.open(tmp_path / "deeper.png") as image:
        assert image.mode == "I;16" and np.asarray(image).max() == 65535
        assert np.corrcoef(np.asarray(image, float).ravel(), deep.ravel())[0, 1] > 0.99
    assert "grey from 0 to 65535 means 0 to 1310.7 arbitrary units" in lines


def test_pictures_in_colour(tmp_path: Path) -> None:
    colour = picture(tmp_path / "c.png", shape=(24, 20, 3))
    translate(Fake(32, 3, **BYTES), tmp_path / "c.png", tmp_path / "d.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "d.png")), colour)
    assert "is in colour" in refused(Fake(32, **BYTES), tmp_path / "c.png", tmp_path / "e.png")
    Image.fromarray(np.repeat(colour[..., :1], 3, -1)).save(tmp_path / "grey.png")
    translate(Fake(32, **BYTES), tmp_path / "grey.png", tmp_path / "f.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "f.png")), colour[..., 0])


def test_stacks_of_pictures(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(1, 255, (3, 24, 20)).astype(np.uint8)
    np.save(tmp_path / "a.npy", values)
    translate(Fake(32, **BYTES), tmp_path / "a.npy", tmp_path / "b.npy")
    assert np.array_equal(np.load(tmp_path / "b.npy"), values)
    pages = [Image.fromarray(v) for v in values]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    translate(Fake(32, **BYTES), tmp_path / "a.tif", tmp_path / "b.tif")
    assert np.array_equal(read(tmp_path / "b.tif"), values)
    sagittal = Fake(32, **BYTES, grid={"axis": "sagittal", "fit": "crop", "mm": 1.0})
    assert "no sagittal slices" in refused(sagittal, tmp_path / "a.npy", tmp_path / "c.npy")


def test_meta_images_become_nifti_at_the_same_place(tmp_path: Path) -> None:
    itk = pytest.importorskip("SimpleITK")
    save(tmp_path / "b.nii.gz", head(0), np.diag([-1.0, 1.2, 3, 1]))
    itk.WriteImage(itk.ReadImage(str(tmp_path / "b.nii.gz")), str(tmp_path / "b.mha"))
    translate(Fake(), tmp_path / "b.mha", tmp_path / "c.nii.gz")
    translate(Fake(), tmp_path / "b.nii.gz", tmp_path / "d.nii.gz")
    one, other = nibabel.load(tmp_path / "c.nii.gz"), nibabel.load(tmp_path / "d.nii.gz")
    assert np.allclose(one.affine, other.affine) and np.allclose(one.dataobj, other.dataobj, atol=1e-3)
    assert one.header["sform_code"] == 1 and one.header.get_xyzt_units()[0] == "mm"


def names(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_a_folder_of_everything(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    save(source / "p1" / "p1_T1.nii.gz", head(0))
    save(source / "p1" / "p1_T1_lesion-mask.nii.gz", (head(0) > 100).astype(np.uint8))
    save(source / "p2" / "p2_T1.nii", head(1))
    save(source / "p3" / "empty.nii.gz", np.zeros((5, 5, 5), np.float32))
    save(source / "p3" / "series.nii.gz", np.stack([head(0)] * 2, -1))
    picture(source / "a.png", dtype="uint16")
    picture(source / "a.tif", 1, dtype="uint16")
    (source / "broken.nii.gz").write_bytes(b"no image")
    (source / "notes.txt").write_text("hello")
    series(source / "dicom" / "7", SeriesNumber=7)
    lines: list[str] = []
    translate(Fake(), source, out, say=lines.append)
    assert names(out) == {"p1/p1_T1.nii.gz", "p2/p2_T1.nii", "a.png", "a.tif.png", "translation.json",
                          *(f"dicom/7/series-007/slice-000{k}.dcm" for k in (1, 2, 3, 4))}
    for line in ("skipped p3/empty.nii.gz: is empty", "skipped p3/series.nii.gz: has 4 dimensions",
                 "skipped broken.nii.gz: is not an image", "left out 1 file: called like a mask",
                 "translated 5 of 8 volumes"):
        assert line in "\n".join(lines)
    mark = json.loads((out / "translation.json").read_text())
    assert (mark["source"], mark["target"], mark["model"], mark["volumes"]) == ("T1", "T2", "pix2pix", 5)
    assert mark["command"] == "ganatomy translate RUN INPUT OUT"
    assert "already exists" in refused(Fake(), source, out, seed=1)
    translate(Fake(), source / "p1", out, overwrite=True)
    assert names(out) == {"p1_T1.nii.gz", "translation.json"}


def test_a_dicom_series_becomes_one(tmp_path: Path) -> None:
    series(tmp_path / "in")
    for given, name in ((tmp_path / "in", "one"), (tmp_path / "in" / "2.dcm", "two")):
        translate(Fake(), given, tmp_path / name)
        assert names(tmp_path / name) == {"translation.json", *(f"slice-000{k}.dcm" for k in (1, 2, 3, 4))}
        pixels = pydicom.dcmread(tmp_path / name / "slice-0001.dcm").pixel_array
        assert pixels.max() > 0 and pixels.shape == (24, 20)
    assert "already exists" in refused(Fake(), tmp_path / "in", tmp_path / "one", seed=1)
    translate(Fake(), tmp_path / "in", tmp_path / "one", overwrite=True)
    assert len(names(tmp_path / "one")) == 5
    assert "not what this command makes" in refused(
        Fake(), tmp_path / "one" / "slice-0001.dcm", tmp_path / "in", overwrite=True)


def test_the_series_of_a_study_that_are_the_source_contrast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {4: "", 7: "is plainly T2, not T1"}
    monkeypatch.setattr("ganatomy.translation.volume.objection",
                        lambda volume, domain, known: answers[4 if len(volume) <= 4 else 7])
    series(tmp_path / "in", 4, series="a", SeriesNumber=3, description="t1", RepetitionTime=500, EchoTime=10)
    for file in list((tmp_path / "in").iterdir()):
        file.rename(file.with_name("a" + file.name))
    series(tmp_path / "in", 7, series="b", SeriesNumber=4, description="tra", RepetitionTime=4000, EchoTime=100)
    lines: list[str] = []
    translate(Fake(contrasts={"T1": {}, "T2": {}}), tmp_path / "in", tmp_path / "out", say=lines.append)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"series-003", "translation.json"}
    assert any("skipped series 4 'tra' (7 slices): is plainly T2, not T1 -> add --force" in line for line in lines)
    answers[4] = "is no MR"
    assert "none of its 2 volumes can be translated" in refused(Fake(contrasts={"T1": {}, "T2": {}}), tmp_path / "in",
                                                                tmp_path / "other")
    translate(Fake(contrasts={"T1": {}, "T2": {}}), tmp_path / "in", tmp_path / "all", force=True)
    assert {p.name for p in (tmp_path / "all").iterdir()} == {"series-003", "series-004", "translation.json"}


def test_a_file_that_says_another_contrast_is_refused_without_force(tmp_path: Path) -> None:
    save(tmp_path / "patient07_FLAIR.nii.gz", head(0))
    assert "by its name this is FLAIR, not T1" in refused(Fake(), tmp_path / "patient07_FLAIR.nii.gz",
                                                          tmp_path / "b.nii.gz")
    translate(Fake(), tmp_path / "patient07_FLAIR.nii.gz", tmp_path / "b.nii.gz", force=True)
    assert (tmp_path / "b.nii.gz").is_file()
    told = refused(Fake(two_way=True), tmp_path / "patient07_FLAIR.nii.gz", tmp_path / "c.nii.gz")
    assert "--direction T2:T1" in told


def test_places_that_are_not_written_to(tmp_path: Path) -> None:
    source = tmp_path / "in" / "a.nii.gz"
    save(source, head(0))
    truth, model = source.read_bytes(), Fake()
    (tmp_path / "link.nii.gz").symlink_to(source)
    os.link(source, tmp_path / "hard.nii.gz")
    for out in (source, tmp_path / "link.nii.gz", tmp_path / "hard.nii.gz"):
        assert "is INPUT itself" in refused(model, source, out, overwrite=True)
    for out, words in ((tmp_path / "in", "is INPUT itself"), (tmp_path / "in" / "out", "lies in INPUT"),
                       (tmp_path, "holds INPUT")):
        assert words in refused(model, tmp_path / "in", out, overwrite=True)
    assert "is a folder, and one file becomes one file" in refused(model, source, tmp_path)
    assert "ends in .nii.gz or .nii -> call it b.nii.gz" in refused(model, source, tmp_path / "b.png")
    save(tmp_path / "b.nii.gz", head(1))
    assert "already exists" in refused(model, source, tmp_path / "b.nii.gz")
    assert "nothing in it says" in refused(model, source, tmp_path / "b.nii.gz", overwrite=True)
    translate(model, source, tmp_path / "c.nii.gz")
    translate(model, source, tmp_path / "c.nii.gz", overwrite=True)
    assert source.read_bytes() == truth


def test_inputs_that_are_none(tmp_path: Path) -> None:
    write_dataset(tmp_path / "dataset")
    touch(tmp_path, "run/recipe.yaml", "texts/a.txt", "a.nii")
    save(tmp_path / "empty" / "a.nii.gz", np.zeros((5, 5, 5), np.float32))
    for name, words in (("nothing", "no such file"), ("dataset", "give the scans that it was prepared from"),
                        ("run", "is a run"), ("texts", "holds no image"), ("a.nii", "is not an image"),
                        ("empty", "none of its 1 volume can be translated, for example a.nii.gz: is empty")):
        assert words in refused(Fake(), tmp_path / name, tmp_path / "out")
    with pytest.raises(UserError, match="name the file"):
        ganatomy.translate(Fake(), tmp_path / "a.nii")  # type: ignore[call-overload]
