"""`--metadata`: tables of public data sets, joined to their files."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from ganatomy.core.errors import UserError
from ganatomy.preparation.options import Options
from ganatomy.preparation.prepare import prepare
from ganatomy.sources.detect import find_layout
from tests.builders import NAMES, cohort, pictures, touch
from tests.sources.random_layouts import layout_of

CHEST = """Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,\
OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],
00000001_000.png,Cardiomegaly,0,1,58,M,PA,2682,2749,0.143,0.143,
00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143,
00000002_000.png,No Finding,0,2,81,M,PA,2500,2048,0.171,0.171,
00000003_000.png,No Finding,0,3,81,F,PA,2500,2048,0.171,0.171,
"""
HAM = """lesion_id,image_id,dx,dx_type,age,sex,localization
HAM_0000118,ISIC_0027419,bkl,histo,80.0,male,scalp
HAM_0000118,ISIC_0025030,bkl,histo,80.0,male,scalp
HAM_0002730,ISIC_0026769,nv,histo,80.0,male,scalp
"""
ISIC = """image_name,patient_id,sex,age_approx,anatom_site_general_challenge,diagnosis,benign_malignant,target
ISIC_2637011,IP_7279968,male,45.0,head/neck,unknown,benign,0
ISIC_0015719,IP_3075186,female,45.0,upper extremity,melanoma,malignant,1
"""
CBIS = """patient_id,left or right breast,image view,abnormality id,pathology,image file path,\
cropped image file path,ROI mask file path
P_00001,LEFT,CC,1,MALIGNANT,Mass-Training_P_00001_LEFT_CC/1.3.6.1/1.3.6.11/000000.dcm,\
Mass-Training_P_00001_LEFT_CC_1/1.3.6.2/1.3.6.12/000000.dcm,\
"Mass-Training_P_00001_LEFT_CC_1/1.3.6.2/1.3.6.12/000001.dcm
"
P_00004,RIGHT,MLO,1,BENIGN,Mass-Training_P_00004_RIGHT_MLO/1.3.6.3/1.3.6.13/000000.dcm,\
Mass-Training_P_00004_RIGHT_MLO_1/1.3.6.4/1.3.6.14/000000.dcm,\
"Mass-Training_P_00004_RIGHT_MLO_1/1.3.6.4/1.3.6.14/000001.dcm
"
"""
RSNA = """patientId,x,y,width,height,Target
0004cfab,,,,,0
00436515,264.0,152.0,213.0,379.0,1
00436515,562.0,152.0,256.0,453.0,1
"""
MURA = """path,label
MURA/train/XR_WRIST/patient00006/study1_positive/image1.png,1
MURA/train/XR_WRIST/patient00006/study1_positive/image2.png,1
MURA/train/XR_WRIST/patient00007/study1_negative/image1.png,0
"""


def join(folder: Path, table: str, files: Sequence[str], column: str = "") -> dict[str, tuple[str, ...]]:
    """File -> subject, session, label and split."""
    source = touch(folder / "in", *files)
    (folder / "table.csv").write_text(table)
    layout = find_layout(source, metadata=f"{folder / 'table.csv'}{column}")
    return {e.name: (e.subject, e.session, e.label, e.split) for e in layout.entries}


def test_chest_xray_14(tmp_path: Path) -> None:
    names = [line.partition(",")[0] for line in CHEST.splitlines()[1:]]
    got = join(tmp_path, CHEST, [f"images_00{i}/images/{name}" for i, name in enumerate(names, 1)])
    assert list(got.values()) == [("1", "0", "Cardiomegaly", ""), ("1", "1", "Cardiomegaly|Emphysema", ""),
                                  ("2", "0", "No Finding", ""), ("3", "0", "No Finding", "")]


def test_ham10000_with_masks_and_isic_with_several_labels(tmp_path: Path) -> None:
    files = [f"{name}{end}" for name in ("ISIC_0027419", "ISIC_0025030", "ISIC_0026769")
             for end in (".jpg", "_segmentation.png")]
    got = join(tmp_path, HAM, files)
    assert {subject for subject, *_ in got.values()} == {"HAM_0000118", "HAM_0002730"} and len(got) == 6
    assert got["ISIC_0026769_segmentation.png"] == got["ISIC_0026769.jpg"] == ("HAM_0002730", "", "nv", "")
    files = ["train/ISIC_2637011.dcm.png", "train/ISIC_0015719.png", "train/ISIC_2637011.png"]
    with pytest.raises(UserError, match=r"diagnosis, target, benign_malignant -> .*table\.csv:diagnosis"):
        join(tmp_path / "several", ISIC, files)


def test_a_column_named_for_the_labels(tmp_path: Path) -> None:
    files = ["ISIC_2637011.jpg", "ISIC_0015719.jpg"]
    assert join(tmp_path, ISIC, files, ":Benign_Malignant") == {
        files[1]: ("IP_3075186", "", "malignant", ""), files[0]: ("IP_7279968", "", "benign", "")}
    with pytest.raises(UserError, match="has no column 'dx' with values -> it has image_name, patient_id"):
        join(tmp_path, ISIC, files, ":dx")


@pytest.mark.parametrize("files", [
    ["Mass-Training_P_0000{}/2016-DDSM/1.0-full/1-1.png", "Mass-Training_P_0000{}_1/2016-DDSM/1.0-cropped/1-1.png"],
    ["jpeg/1.3.6.1{}/1-263.jpg", "jpeg/1.3.6.1{}/2-241.jpg"]], ids=["as TCIA has it", "as Kaggle has it"])
def test_cbis_ddsm(tmp_path: Path, files: list[str]) -> None:
    kaggle = files[0].startswith("jpeg")
    ends = (("1", "2"), ("3", "4")) if kaggle else (("1_LEFT_CC",) * 2, ("4_RIGHT_MLO",) * 2)
    names = [name.format(end) for pair in ends for name, end in zip(files, pair, strict=True)]
    got = join(tmp_path, CBIS, names)
    assert [got[name][::2] for name in names] == [("P_00001", "MALIGNANT")] * 2 + [("P_00004", "BENIGN")] * 2


def test_rsna_has_a_row_for_each_box(tmp_path: Path) -> None:
    got = join(tmp_path, RSNA, ["stage_2_train_images/0004cfab.png", "stage_2_train_images/00436515.png"])
    assert [(s, label) for s, _, label, _ in got.values()] == [("0004cfab", "0"), ("00436515", "1")]


def test_paths_that_begin_elsewhere(tmp_path: Path) -> None:
    some = ((6, "positive", 1), (6, "positive", 2), (7, "negative", 1), (8, "positive", 1))
    files = [f"XR_WRIST/patient0000{p}/study1_{s}/image{i}.png" for p, s, i in some]
    got = join(tmp_path / "images", MURA, files)
    assert {name: row[2] for name, row in got.items()} == dict(zip(files[:3], ("1", "1", "0"), strict=True))
    studies = ("path,label\nMURA/train/XR_WRIST/patient00006/study1_positive/,1\n"
               "MURA/train/XR_WRIST/patient00007/study1_negative/,0\n")
    got = join(tmp_path / "studies", studies, [f"train/{name}" for name in files[:3]])
    assert [row[2] for row in got.values()] == ["1", "1", "0"]


def test_subjects_splits_and_visits_by_a_part_of_the_name(tmp_path: Path) -> None:
    files = [f"OAS1_000{i}_MR1_{k}.png" for i in (1, 2, 3) for k in (100, 101)]
    table = ("ID,Group,Subset\nOAS1_0001_MR1,Demented,train\nOAS1_0002_MR1,Nondemented,validation\n"
             "OAS1_0003_MR1,Demented,test\n")
    got = join(tmp_path / "oasis", table, files)
    assert {row[2:] for row in got.values()} == {("Demented", "train"), ("Nondemented", "val"), ("Demented", "test")}
    assert len({row[0] for row in got.values()}) == 3
    # as a spreadsheet writes 007; the numbers of the slices are patients' of the table too
    table = "patient;diagnosis\n" + "".join(f"{i};{'AD' if i % 2 else 'CN'}\n" for i in range(1, 30))
    files = [f"p_{i:03d}/slice_{k:02d}.png" for i in (7, 18) for k in range(1, 9)]
    got = join(tmp_path / "folders", table, files)
    assert {name[:5]: row[::2] for name, row in got.items()} == {"p_007": ("7", "AD"), "p_018": ("18", "CN")}


def test_patients_folders_are_no_classes(tmp_path: Path) -> None:
    files = [f"{name}/{i}.png" for name in ("Anna Smith", "Bert Jones", "Carl Miller") for i in "abc"]
    table = "patient,split\nAnna Smith,train\nBert Jones,train\nCarl Miller,test\n"
    got = join(tmp_path, table, files)
    assert {row[2] for row in got.values()} == {""} and {row[0] for row in got.values()} == {
        "Anna Smith", "Bert Jones", "Carl Miller"}


def test_what_does_not_belong_together_is_counted_or_refused(tmp_path: Path) -> None:
    table = "image,label\n" + "".join(f"a{i}.png,{'x' if i % 2 else 'y'}\n" for i in range(6))
    (tmp_path / "t.csv").write_text(table)
    layout = find_layout(touch(tmp_path / "in", *(f"a{i}.png" for i in range(2, 8))), metadata=str(tmp_path / "t.csv"))
    assert layout.notes[-1].endswith("4 of 6 files have one, 2 rows no file") and len(layout.unmatched) == 2
    with pytest.raises(UserError, match=r"2 of 6 files; the first file is 'a4\.png', the first row 'a0\.png, y'"):
        find_layout(touch(tmp_path / "other", *(f"a{i}.png" for i in range(4, 10))), metadata=str(tmp_path / "t.csv"))
    with pytest.raises(UserError, match="tells of 0 of 9 files"):  # ages are nobody's names
        join(tmp_path / "ages", "code,age,dx\n" + "".join(f"P{i},{i % 3},x\n" for i in range(9)),
             [f"{i}/{name}.png" for i in range(3) for name in "abc"])
    with pytest.raises(UserError, match="no column is called like a label"):
        join(tmp_path / "bare", "file,age\na0.png,5\n", ["a0.png"])
    with pytest.raises(UserError, match="does not go with a CSV"):
        find_layout(tmp_path / "t.csv", metadata=str(tmp_path / "t.csv"))
    rows = "".join(f"a{i}.png,c{i}\n" for i in range(25))
    (tmp_path / "many.csv").write_text("image,class\n" + rows)
    source = touch(tmp_path / "many", *(f"a{i}.png" for i in range(25)))
    layout = find_layout(source, metadata=str(tmp_path / "many.csv"))
    assert layout.notes[-1] == "warning: class has 25 classes, such as c0, c1 and c10"


def test_a_prepared_dataset_obeys_it_and_names_nobody(tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    rows = [f"p{i}.png,Smith{i // 2},{'xy'[i // 2 % 2]}\n" for i in range(12)]
    table.write_text("".join(["file,patient id,finding\n", *rows]))
    lines: list[str] = []
    options = {"size": 16, "metadata": table, "say": lines.append}
    dataset = prepare(pictures(tmp_path / "in"), tmp_path / "out", **options)
    assert len({row.subject for row in dataset.rows()}) == 6 and dataset.info.classes == ("x", "y")
    assert "Smith" not in (dataset.path / "dataset.json").read_text() + (dataset.path / "manifest.csv").read_text()
    assert dataset.info.provenance["metadata"] is True and "--metadata FILE" in dataset.info.provenance["command"]
    prepare(tmp_path / "in", tmp_path / "out", **options)
    assert any("nothing to do" in line for line in lines)
    table.write_text(table.read_text().replace("Smith5,y", "Smith5,x"))
    with pytest.raises(UserError, match="the files differ"):
        prepare(tmp_path / "in", tmp_path / "out", **options)
    assert Options.of(metadata="x.csv").chosen() == {"metadata": True}


def test_masks_go_with_the_images_of_their_patient(tmp_path: Path) -> None:
    rows = [f"{name},{group}\n" for name, group in zip(NAMES, "xyxy", strict=True)]
    (tmp_path / "t.csv").write_text("".join(["subject,group\n", *rows]))
    dataset = prepare(cohort(tmp_path / "in"), tmp_path / "out", size=16, metadata=str(tmp_path / "t.csv"))
    assert dataset.masks(dataset.rows("T1")).any() and dataset.info.classes == ("x", "y")


@pytest.mark.parametrize("by", ["id", "path"])
def test_no_file_gets_the_row_of_another_patient(tmp_path: Path, by: str) -> None:
    """A table of three in four patients, or of their files, with ages beside, joined to random layouts."""
    rng, told = random.Random(1), 0
    for seed in range(60):
        drawn, folder = layout_of(seed), tmp_path / str(seed)
        owners = {name: truth.subject for name, truth in drawn.truth.items() if truth}
        if any("/" in owner for owner in owners.values()):
            continue  # pictures without a patient's id
        labels = {owner: rng.choice("xyz") for owner in sorted({*owners.values()}) if rng.random() < 0.75}
        ids = {owner: owner for owner in labels} if by == "id" else {n: o for n, o in owners.items() if o in labels}
        try:
            got = join(folder, f"{by},dx,age\n" + "".join(f"{one},{labels[owner]},{rng.randint(1, 90)}\n"
                                                         for one, owner in ids.items()), drawn.names)
        except UserError:
            continue
        assert {name: row[2] for name, row in got.items() if name in owners} == {
            name: labels.get(owners[name]) for name in got if name in owners}, drawn.traits
        told += 1
    assert told > 20
