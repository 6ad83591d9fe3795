"""The table of public data sets in docs/prepare.md: each row's command reads that set's folders as the row says."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from ganatomy.core.errors import Question
from ganatomy.data.vocabulary import is_mask_name
from ganatomy.sources.detect import Wishes, find_layout
from ganatomy.sources.doubts import example
from ganatomy.sources.entry import Entry, Layout
from tests.builders import touch
from tests.dicom_files import write_dicom

GUIDE = Path(__file__).parents[2] / "docs" / "prepare.md"


class Is(NamedTuple):
    """What a file is. Subjects and sessions may be called otherwise, if the same files share them; "mask" stands for
    any mask, and pictures that are no slices may be numbered."""

    subject: str
    domain: str = "image"
    label: str = ""
    split: str = ""
    session: str = ""
    slice: int | None = None


@dataclass
class Tree:
    """Files, what they are, and what lies beside them.

    Attributes:
        files: path -> what it is, None where it is to be left out.
        beside: further files, which are no images.
        tables: path -> text.
            asked: words of the question that the bare command asks, "" where it asks none.
    """

    files: dict[str, Is | None]
    beside: tuple[str, ...] = ()
    tables: dict[str, str] = field(default_factory=dict)
    asked: str = ""


SETS: dict[str, Callable[[], Tree]] = {}
OTHERS = ("pix2pix's A/B pictures", "MedMNIST", "CBIS-DDSM")
"""Rows whose files must have content, each with a test of its own."""
BEYOND = ("BraTS 2020, both archives",)
"""Trees without a row."""
WRONG: tuple[str, ...] = ("BraTS 2020, both archives",)
"""What is not yet read as the row says."""


def row(name: str) -> Callable[[Callable[[], Tree]], Callable[[], Tree]]:
    """The tree of the row that begins with this name."""
    def add(tree: Callable[[], Tree]) -> Callable[[], Tree]:
        SETS[name] = tree
        return tree
    return add


def lines(header: str, rows: Iterable[str]) -> str:
    return "\n".join([header, *rows, ""])


@row("BUSI")
def busi() -> Tree:
    files: dict[str, Is | None] = {}
    for label, count in (("benign", 5), ("malignant", 4), ("normal", 3)):
        for i in range(1, count + 1):
            files |= {f"Dataset_BUSI_with_GT/{label}/{label} ({i}){end}.png": Is(f"{label}{i}", domain, label)
                      for end, domain in (("", "image"), ("_mask", "mask"))}
    files["Dataset_BUSI_with_GT/benign/benign (4)_mask_1.png"] = Is("benign4", "mask", "benign")
    return Tree(files)


@row("ChestX-ray14")
def chest_xray14() -> Tree:
    files: dict[str, Is | None] = {}
    rows = []
    for i in range(1, 9):
        for k in range(1 + i % 3):
            label = ("No Finding", "Effusion", "Mass|Nodule")[(i + k) % 3]
            files[f"images_{1 + i // 5:03d}/images/{i:08d}_{k:03d}.png"] = Is(str(i), label=label, session=str(k))
            rows.append(f"{i:08d}_{k:03d}.png,{label},{k},{i},58,M,PA,2682,2749,0.143,0.143,")
    header = ("Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
              "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],")
    return Tree(files, ("README_CHESTXRAY.pdf", "train_val_list.txt", "test_list.txt", "BBox_List_2017.csv"),
                {"Data_Entry_2017.csv": lines(header, rows)})


@row("Kermany chest X-rays")
def kermany() -> Tree:
    files: dict[str, Is | None] = {}
    for split, first, count in (("train", 100, 6), ("test", 1, 3), ("val", 1400, 2)):
        for i in range(first, first + count):
            before = "NORMAL2-" * (i % 2)
            files[f"chest_xray/{split}/NORMAL/{before}IM-{i:04d}-0001.jpeg"] = Is(f"n{i}", "image", "NORMAL", split)
    for split, kind, first in (("train", "bacteria", 1), ("test", "bacteria", 78), ("train", "virus", 1000),
                               ("test", "virus", 1), ("val", "bacteria", 1946)):
        for i in range(first, first + 4):
            files |= {f"chest_xray/{split}/PNEUMONIA/person{i}_{kind}_{n}.jpeg":
                      Is(f"{kind}{i}", "image", "PNEUMONIA", split, slice=n) for n in range(3 * i, 3 * i + 1 + i % 2)}
    return Tree(files, ("chest_xray/__MACOSX/train/._IM-0100-0001.jpeg", "chest_xray/train/.DS_Store"))


@row("OCT2017")
def oct2017() -> Tree:
    files: dict[str, Is | None] = {}
    for split, first in (("train", 1000), ("test", 2000), ("val", 3000)):
        for c, label in enumerate(("CNV", "DME", "DRUSEN", "NORMAL")):
            for i in range(3):
                number = first + 2 * c + i  # the last of a class has images of the next, too
                files |= {f"OCT2017/{split}/{label}/{label}-{number}-{k}.jpeg":
                          Is(str(number), "image", label, split, label, k) for k in range(1, 3 + i)}
    return Tree(files)


@row("COVID-19 Radiography")
def covid() -> Tree:
    names = {"COVID": "COVID", "Normal": "Normal", "Lung_Opacity": "Lung_Opacity",
             "Viral Pneumonia": "Viral Pneumonia"}
    files: dict[str, Is | None] = {
        f"COVID-19_Radiography_Dataset/{label}/{folder}/{name}-{i}.png": Is(f"{name}{i}", domain, label)
        for label, name in names.items() for i in range(1, 5)
        for folder, domain in (("images", "image"), ("masks", "mask"))}
    return Tree(files, (*(f"COVID-19_Radiography_Dataset/{label}.metadata.xlsx" for label in names),
                        "COVID-19_Radiography_Dataset/README.md.txt"))


@row("ACDC")
def acdc() -> Tree:
    files: dict[str, Is | None] = {}
    for split, first, folder in (("train", 1, "training"), ("test", 101, "testing")):
        for i in range(first, first + 5):
            for frame in (1, 7 + i % 3):
                name = f"database/{folder}/patient{i:03d}/patient{i:03d}_frame{frame:02d}"
                for end, domain in (("", "image"), ("_gt", "mask")):
                    files[f"{name}{end}.nii.gz"] = Is(f"patient{i:03d}", domain, "", split, str(frame))
            files[f"database/{folder}/patient{i:03d}/patient{i:03d}_4d.nii.gz"] = Is(  # left out by its dimensions
                f"patient{i:03d}", "image", "", split, "4d")
    return Tree(files, ("database/training/patient001/Info.cfg", "database/MANDATORY_CITATION.md"))


def brats20(part: str, numbers: Sequence[int], split: str = "") -> dict[str, Is | None]:
    files: dict[str, Is | None] = {}
    for i in numbers:
        subject = f"BraTS20_{part}_{i:03d}"
        top = f"MICCAI_BraTS2020_{part}Data/{subject}"
        files |= {f"{top}/{subject}_{c}.nii": Is(subject, c, "", split) for c in ("flair", "t1", "t1ce", "t2")}
        if part == "Training":
            mask = f"{subject}_seg" if i < 355 else "W39_1998.09.19_Segm"
            files[f"{top}/{mask}.nii"] = Is(subject, "mask", "", split)
    return files


@row("BraTS 2020")
def brats2020() -> Tree:
    return Tree(brats20("Training", (1, 2, 3, 4, 5, 355)), tuple(
        f"MICCAI_BraTS2020_TrainingData/{name}.csv" for name in ("name_mapping", "survival_info")))


@row("BraTS 2020, both archives")
def brats2020_whole() -> Tree:
    parts = (("Training", brats20("Training", (1, 2, 3, 4, 5, 355), "train")),
             ("Validation", brats20("Validation", (1, 2, 3), "val")))
    return Tree({f"BraTS2020_{part}Data/{name}": truth for part, files in parts for name, truth in files.items()})


@row("BraTS 2023")
def brats2023() -> Tree:
    files: dict[str, Is | None] = {}
    for i in (0, 2, 3, 5, 6, 8):
        for visit in ("000", "001")[:1 + (i > 4)]:
            name = f"BraTS-GLI-{i:05d}-{visit}"
            files |= {f"ASNR-MICCAI-BraTS2023-GLI-Challenge-TrainingData/{name}/{name}-{c}.nii.gz":
                      Is(f"BraTS-GLI-{i:05d}", "mask" if c == "seg" else c, session=visit)
                      for c in ("t1c", "t1n", "t2f", "t2w", "seg")}
    return Tree(files)


@row("OASIS-1 slices")
def oasis1() -> Tree:
    files: dict[str, Is | None] = {}
    for c, label in enumerate(("Mild Dementia", "Moderate Dementia", "Non Demented", "Very mild Dementia")):
        for i in range(20 * c + 1, 20 * c + 4):
            for scan in ("MR1_mpr-1", "MR1_mpr-2", "MR1_mpr-3", "MR2_mpr-1")[:2 + i % 3]:
                files |= {f"Data/{label}/OAS1_{i:04d}_{scan}_{z}.jpg":
                          Is(f"OAS1_{i:04d}", "image", label, "", scan, z) for z in (100, 101, 102)}
    return Tree(files)


@row("OASIS-3")
def oasis3() -> Tree:
    files: dict[str, Is | None] = {}
    for i in range(1, 8):
        for day in (129, 757, 2340)[:1 + i % 3]:
            for k, contrast in enumerate(("T1w", "T2w")):
                name = f"OAS3{i:04d}_MR_d{day:04d}/anat{k + 2}/NIFTI/sub-OAS3{i:04d}_ses-d{day:04d}_{contrast}.nii.gz"
                files[name] = Is(f"OAS3{i:04d}", contrast, session=f"d{day:04d}")
    return Tree(files, ("OAS30001_MR_d0757/anat2/BIDS/sub-OAS30001_ses-d0757_T1w.json",))


@row("ADNI")
def adni() -> Tree:
    files: dict[str, Is | None] = {}
    rows, number = [], 40657
    for i in range(6):
        subject = f"{2 + i:03d}_S_{413 + 7 * i:04d}"
        for k in range(1 + i % 3):
            day, number = f"{2006 + k}-05-{10 + i}", number + 13
            series, label = "MPR__GradWarp__B1_Correction__N3__Scaled", ("CN", "MCI", "AD")[i % 3]
            files[f"ADNI/{subject}/{series}/{day}_16_17_47.0/I{number}/ADNI_{subject}_MR_{series}_Br_2007021623285468_"
                  f"S{number - 26000}_I{number}.nii"] = Is(subject, "MR", label, session=str(k))
            rows.append(f'"I{number}","{subject}","{label}","F","76","m{12 * k:02d}","MRI",'
                        f'"MPR; GradWarp; B1 Correction; N3; Scaled","Processed","{day}","NiFTI","1/01/2020"')
    header = ('"Image Data ID","Subject","Group","Sex","Age","Visit","Modality","Description","Type","Acq Date",'
              '"Format","Downloaded"')
    return Tree(files, tables={"ADNI1_Complete_1Yr_1.5T.csv": lines(header, rows)})


@row("IXI")
def ixi() -> Tree:
    people = ("IXI002-Guys-0828", "IXI012-HH-1211", "IXI013-HH-1212", "IXI014-HH-1236", "IXI015-HH-1258",
              "IXI016-Guys-0697", "IXI017-Guys-0698", "IXI400-IOP-0980")
    return Tree({f"IXI-{c}/{person}-{c}.nii.gz": Is(person, c) for c in ("T1", "T2", "PD")
                 for person in people[c == "T1":]}, ("IXI.xls", "bvecs.txt", "bvals.txt"))


@row("Low-dose CT as RED-CNN's arrays")
def red_cnn() -> Tree:
    return Tree({f"npy_img/{p}_{z}_{kind}.npy": Is(p, kind, slice=z)
                 for p in ("L067", "L096", "L109", "L143", "L192", "L286", "L291") for z in range(12)
                 for kind in ("input", "target")})


@row("MM-WHS")
def mm_whs() -> Tree:
    files: dict[str, Is | None] = {}
    for machine in ("ct", "mr"):
        for i in range(1001, 1009):
            for end, domain in (("image", machine), ("label", "mask")):
                files[f"{machine}_train/{machine}_train_{i}_{end}.nii.gz"] = Is(f"{machine}_{i}", domain, "", "train")
        for i in range(2001, 2005):
            files[f"{machine}_test/{machine}_test_{i}_image.nii.gz"] = Is(f"{machine}_{i}", machine, "", "test")
    return Tree(files, ("README.txt",), asked="ct and mr of one name")


@row("LGG-MRI")
def lgg() -> Tree:
    files: dict[str, Is | None] = {}
    for site, patient, day in (("CS", "4941", "19960909"), ("CS", "4942", "19970222"), ("DU", "5849", "19950405"),
                               ("DU", "A5TW", "19980228"), ("FG", "6688", "20020215"), ("HT", "A61B", "19991127")):
        name = f"TCGA_{site}_{patient}_{day}"
        for z in range(1, 8):
            for end, domain in (("", "image"), ("_mask", "mask")):
                files[f"kaggle_3m/{name}/{name}_{z}{end}.tif"] = Is(f"TCGA_{site}_{patient}", domain, "", "", day, z)
    files |= {f"lgg-mri-segmentation/{name}": None for name in files}
    return Tree(files, ("kaggle_3m/data.csv", "kaggle_3m/README.md"))


@row("Brain Tumor MRI")
def brain_tumor_mri() -> Tree:
    return Tree({f"{folder}/{label}/{short}-{label[:2]}_{i:04d}.jpg": Is(f"{short}{label}{i}", "image", label, split)
                 for folder, short, split, count in (("Training", "Tr", "train", 7), ("Testing", "Te", "test", 3))
                 for label in ("glioma", "meningioma", "notumor", "pituitary") for i in range(10, 10 + count)})


@row("Brain MRI yes/no")
def yes_no() -> Tree:
    files: dict[str, Is | None] = {f"yes/Y{i}.jpg": Is(f"yes{i}", "image", "yes") for i in range(1, 9)}
    files |= {f"no/{name}": Is(name, "image", "no") for name in
              ("1 no.jpeg", "2 no.jpeg", "3 no.jpg", "N2.jpg", "N3.jpg", "no 4.jpg", "no 923.jpg", "No11.jpg")}
    files |= {f"brain_tumor_dataset/{name}": None for name in files}
    return Tree(files)


@row("SynthRAD2023")
def synthrad() -> Tree:
    files: dict[str, Is | None] = {}
    for region in ("brain", "pelvis"):
        for i in range(1, 6):
            subject = f"1{region[0].upper()}A{3 * i:03d}"
            files |= {f"Task1/{region}/{subject}/{c}.nii.gz": Is(subject, c, region) for c in ("mr", "ct", "mask")}
            files[f"Task1/{region}/overview/{subject}_train.png"] = None
    return Tree(files, tuple(f"Task1/{region}/overview/1_{region}_train.xlsx" for region in ("brain", "pelvis")))


@row("BTCV")
def btcv() -> Tree:
    files: dict[str, Is | None] = {}
    for i in range(1, 9):
        files[f"RawData/Training/img/img{i:04d}.nii.gz"] = Is(f"{i:04d}", "image", "", "train")
        files[f"RawData/Training/label/label{i:04d}.nii.gz"] = Is(f"{i:04d}", "mask", "", "train")
    files |= {f"RawData/Testing/img/img{i:04d}.nii.gz": Is(f"{i:04d}", "image", "", "test") for i in range(61, 65)}
    return Tree(files)


@row("TotalSegmentator")
def total_segmentator() -> Tree:
    files: dict[str, Is | None] = {}
    rows = []
    for i in (0, 1, 2, 3, 11, 1429):
        subject, label = f"s{i:04d}", ("normal", "tumor")[i % 2]
        split = {2: "val", 11: "test"}.get(i, "train")
        top = f"Totalsegmentator_dataset_v201/{subject}"
        files[f"{top}/ct.nii.gz"] = Is(subject, "ct", label, split)
        files |= {f"{top}/segmentations/{organ}.nii.gz": Is(subject, "mask", label, split)
                  for organ in ("aorta", "liver", "rib_left_1", "vertebrae_L1")}
        rows.append(f"{subject};70;m;C;ct thorax;{split};siemens;Sensation;120.0;{label};-")
    header = "image_id;age;gender;institute;study_type;split;manufacturer;scanner_model;kvp;pathology;location"
    return Tree(files, tables={"Totalsegmentator_dataset_v201/meta.csv": lines(header, rows)})


@row("Medical Segmentation Decathlon")
def decathlon() -> Tree:
    files: dict[str, Is | None] = {}
    for i in (3, 4, 5, 7, 9, 10, 11):
        files |= {f"Task02_Heart/{folder}/la_{i:03d}.nii.gz": Is(f"la_{i:03d}", domain)
                  for folder, domain in (("imagesTr", "image"), ("labelsTr", "mask"))}
    files |= {f"Task02_Heart/imagesTs/la_{i:03d}.nii.gz": Is(f"la_{i:03d}") for i in (1, 2, 6)}
    return Tree(files, ("Task02_Heart/dataset.json", "Task02_Heart/imagesTr/._la_003.nii.gz"))


@row("nnU-Net")
def nnunet() -> Tree:
    files: dict[str, Is | None] = {}
    for i in (1, 2, 3, 4, 6, 7, 8):
        files |= {f"Dataset001_BrainTumour/imagesTr/BRATS_{i:03d}_{c:04d}.nii.gz":
                  Is(f"BRATS_{i:03d}", f"channel-{c:04d}") for c in range(4)}
        files[f"Dataset001_BrainTumour/labelsTr/BRATS_{i:03d}.nii.gz"] = Is(f"BRATS_{i:03d}", "mask")
    return Tree(files, ("Dataset001_BrainTumour/dataset.json",))


@row("HAM10000")
def ham10000() -> Tree:
    files: dict[str, Is | None] = {}
    rows = []
    for i in range(12):
        image, lesion, label = f"ISIC_{24306 + 5 * i:07d}", f"HAM_{118 + i // 2:07d}", ("bkl", "nv", "mel")[i // 2 % 3]
        files[f"HAM10000_images_part_{1 + i // 7}/{image}.jpg"] = Is(lesion, label=label)
        rows.append(f"{lesion},{image},{label},histo,80.0,male,scalp")
    return Tree(files, ("hmnist_28_28_L.csv", "hmnist_8_8_RGB.csv"), {
        "HAM10000_metadata.csv": lines("lesion_id,image_id,dx,dx_type,age,sex,localization", rows)})


def hexadecimal(count: int) -> list[str]:
    return [hashlib.md5(bytes([i])).hexdigest()[:12] for i in range(count)]


@row("APTOS 2019")
def aptos() -> Tree:
    names = hexadecimal(14)
    return Tree({f"{name}.png": Is(name, label=str(k % 5)) for k, name in enumerate(names)}, tables={
        "../train.csv": lines("id_code,diagnosis", [f"{name},{k % 5}" for k, name in enumerate(names)])})


@row("Grades as folders 0 to 4")
def grades() -> Tree:
    return Tree({f"colored_images/{k % 5}/{name}.png": Is(name, label=str(k % 5))
                 for k, name in enumerate(hexadecimal(24))}, asked="numbered folders")


@row("Any BIDS set")
def bids() -> Tree:
    return Tree({f"ds000001/sub-{i:02d}/ses-{k:02d}/anat/sub-{i:02d}_ses-{k:02d}_{name}.nii.gz":
                 Is(f"sub-{i:02d}", domain, session=str(k)) for i in range(1, 7) for k in range(1, 2 + i % 2)
                 for name, domain in (("acq-hi_T1w", "T1w-acq-hi"), ("acq-lo_T1w", "T1w-acq-lo"), ("T2w", "T2w"))},
                ("ds000001/dataset_description.json", "ds000001/participants.tsv", "ds000001/README"))


@row("CycleGAN's folders")
def cyclegan() -> Tree:
    return Tree({f"datasets/mr2ct/{split}{side}/{side}{first + 3 * i}.png":
                 Is(f"{split}{side}{i}", side, "", split) for side in "AB"
                 for split, first, count in (("train", 0, 7), ("test", 50, 3)) for i in range(count)})


FOLDERS = [
    [f"patient{i:02d}/patient{i:02d}_{c}.nii.gz" for i in range(1, 8) for c in ("T1", "T2")],
    [f"{c}/patient{i:02d}.nii.gz" for i in range(1, 8) for c in ("T1", "T2")],
    [f"IXI{i:03d}_{c}.nii.gz" for i in range(2, 9) for c in ("T1", "T2")],
    [f"{'test' if i > 6 else 'train'}/p{i:02d}/{c}/{z:04d}.png" for i in range(1, 9) for c in ("T1", "T2")
     for z in range(10, 14)],
    [f"p{i:02d}_{day}/{c}_z{z:03d}.png" for i in range(5, 11) for day in ("20190412", "20200103")[:1 + i % 2]
     for c in ("flair", "t1") for z in range(11, 14)],
    [f"BraTS-GLI-{i:05d}-{k:03d}-{c}.nii.gz" for i in range(3, 10) for k in range(1 + i % 2) for c in ("t1n", "t2w")],
    [f"{visit}/p{i:02d}_T1.nii.gz" for i in range(1, 7) for visit in ("baseline", "month6")],
    [f"{'benign' if i < 8 else 'malignant'}/{i:04d}.png" for i in range(1, 14)],
    [f"{'benign' if i < 5 else 'malignant'}/p{i:02d}/{z:04d}.png" for i in range(1, 9) for z in range(1, 4)],
    [f"{folder}/p{i:02d}_{z}.png" for folder in ("images", "masks") for i in range(1, 7) for z in range(1, 5)]]
"""Trees of which the guide gives a path each as an example."""


def rows() -> dict[str, str]:
    """Set, without what stands in brackets -> command, as the table in the guide has them."""
    cells = re.findall(r"^\| ([^|`]+?) \| `.*\| `(ganatomy prepare [^`]+)` \|", GUIDE.read_text(), re.MULTILINE)
    return {name.partition(" (")[0]: command.replace("\\|", "|") for name, command in cells}


def made(tree: Tree, folder: Path) -> Path:
    touch(folder, *tree.files, *tree.beside)
    for name, text in tree.tables.items():
        (folder / name).write_text(text)
    return folder


def options_of(command: str, source: Path) -> dict[str, Any]:
    """The options of a row's command, as `find_layout` takes them."""
    words = shlex.split(command)[4:]
    options: dict[str, Any] = {}
    while words:
        option = words.pop(0).removeprefix("--").replace("-", "_")
        if option in ("yes", "unpaired"):
            options[option] = True
        elif option == "domain":
            name, _, regex = words.pop(0).partition("=")
            options.setdefault("rules", {})[name] = regex
        elif option == "metadata":
            options[option] = str(next(source.parent.rglob(words.pop(0))))
        elif option == "domains":
            options[option] = words.pop(0).split(",")
        else:
            options[option] = words.pop(0)
    known = {field.name for field in fields(Wishes)}
    return {name: value for name, value in options.items() if name in known}  # others say what is made of the layout


def compared(entries: Iterable[Entry], tree: Tree) -> list[str]:
    """What is read otherwise than it is, a line a file."""
    out = []
    people: dict[str, str] = {}
    visits: dict[tuple[str, str], str] = {}
    read = {entry.name: entry for entry in entries}
    for name, truth in tree.files.items():
        e = read.get(name)
        if truth is None or e is None:
            out += [f"{name}: {e and 'read'}, not {truth and 'left out'}"] if truth or e else []
            continue
        own = Is(e.subject, "mask" if is_mask_name(e.domain) else e.domain, e.label, e.split, e.session, e.slice)
        subject = people.setdefault(truth.subject, e.subject)
        session = visits.setdefault((truth.subject, truth.session), e.session)
        right = truth._replace(subject=subject, session=session)
        if own != right and (truth.slice is not None or own._replace(slice=None) != right):
            out.append(f"{name}: {own}, not {right}")
    masks = [e for e in read.values() if is_mask_name(e.domain)]
    places = Counter((e.subject, e.session, e.domain, e.slice) for e in masks)
    out += [f"several masks are one: {place}" for place, count in places.items() if count > 1]
    kinds = defaultdict[str, set[str]](set)
    for e in masks:
        kinds[e.subject].add(re.sub(r"_\d+$", "", e.domain))
    if len({*map(frozenset, kinds.values())}) > 1:
        out.append(f"one kind of mask is several: {kinds}")
    if len(set(people.values())) < len(people):
        out.append(f"several subjects are one: {people}")
    if len({(subject, session) for (subject, _), session in visits.items()}) < len(visits):
        out.append(f"several sessions are one: {visits}")
    return out


def layout_of(source: Path, name: str) -> Layout:
    """What the row's command takes a folder for."""
    options = options_of(rows().get(name, "ganatomy prepare X DATASET"), source)
    return find_layout(source, scratch=source.parent / "scratch", **options)


@pytest.mark.parametrize(("name", "above"), [
    pytest.param(name, above, marks=pytest.mark.xfail(strict=True) if {name, f"{above}/{name}"} & {*WRONG} else ())
    for name in SETS for above in ("", "archive (1)")])
def test_a_row_reads_its_set(name: str, above: str, tmp_path: Path) -> None:
    tree = SETS[name]()
    made(tree, tmp_path / "in" / above)
    entries = [replace(e, name=e.name.removeprefix(f"{above}/")) for e in layout_of(tmp_path / "in", name).entries]
    assert compared(entries, tree) == []


@pytest.mark.parametrize("name", [name for name in SETS if SETS[name]().asked])
def test_what_a_rows_options_settle_is_asked(name: str, tmp_path: Path) -> None:
    tree = SETS[name]()
    with pytest.raises(Question, match=tree.asked):
        find_layout(made(tree, tmp_path / "in"))


def test_every_row_is_tested() -> None:
    assert len(rows()) >= 20
    assert {*rows()} == {*SETS, *OTHERS} - {*BEYOND}


def test_the_row_of_pix2pix(tmp_path: Path) -> None:
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        for i in range(1, 1 + count):
            path = tmp_path / "facades" / split / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 32), 9 * i, np.uint8)).save(path)
    entries = layout_of(tmp_path, "pix2pix's A/B pictures").entries
    assert Counter((e.split, e.domain) for e in entries) == {
        (split, side): count for split, count in (("train", 6), ("val", 2), ("test", 2)) for side in "AB"}
    assert len({e.subject for e in entries}) == 10


def test_the_row_of_medmnist(tmp_path: Path) -> None:
    counts = {"train": 6, "val": 2, "test": 3}
    np.savez(tmp_path / "pneumoniamnist.npz",
             **{f"{split}_images": np.zeros((n, 28, 28), np.uint8) for split, n in counts.items()},
             **{f"{split}_labels": np.arange(n)[:, None] % 2 for split, n in counts.items()})
    entries = layout_of(tmp_path / "pneumoniamnist.npz", "MedMNIST").entries
    assert Counter(e.split for e in entries) == counts and {e.label for e in entries} == {"class-0", "class-1"}


def test_the_row_of_cbis_ddsm(tmp_path: Path) -> None:
    source, table = tmp_path / "in", []
    for i, label in enumerate(("MALIGNANT", "BENIGN", "BENIGN_WITHOUT_CALLBACK", "BENIGN", "MALIGNANT", "BENIGN"), 1):
        for side, view in (("LEFT", "CC"), ("LEFT", "MLO"), ("RIGHT", "CC")):
            label = "BENIGN" if side == "RIGHT" else label
            exam = f"Mass-Training_P_{i:05d}_{side}_{view}"
            for end, number, series in (("", "1.000000", "full mammogram images"), ("_1", "1.000000", "cropped images"),
                                        ("_1", "2.000000", "ROI mask images")):
                folder = source / f"CBIS-DDSM/{exam}{end}/08-07-2016-DDSM-NA-30288/{number}-{series}-38548"
                write_dicom(folder / "1-1.dcm", np.full((16, 16), 9 * i, np.uint16), patient=f"{exam}{end}",
                            name=f"{exam}{end}", series=series, description=series, modality="MG",
                            position=None, orientation=None)
            table.append(f"P_{i:05d},3,{side},{view},1,mass,OVAL,ILL_DEFINED,4,{label},4,{exam}/1.3.6/1.3.7/000000.dcm,"
                         f"{exam}_1/1.3.8/1.3.9/000001.dcm,{exam}_1/1.3.8/1.3.9/000000.dcm")
    (source / "mass_case_description_train_set.csv").write_text(lines(
        "patient_id,breast_density,left or right breast,image view,abnormality id,abnormality type,mass shape,"
        "mass margins,assessment,pathology,subtlety,image file path,cropped image file path,ROI mask file path", table))
    entries = layout_of(source, "CBIS-DDSM").entries
    assert Counter((e.subject, e.domain) for e in entries) == {(f"P_{i:05d}", "full"): 3 for i in range(1, 7)}
    assert Counter(e.subject for e in entries if e.label == "MALIGNANT") == {"P_00001": 2, "P_00005": 2}


def examples() -> list[tuple[str, str]]:
    """Path and reading, as the guide's table of examples has them."""
    table = GUIDE.read_text().partition("| one of the paths | read as |")[2].partition("\n\n")[0]
    return re.findall(r"^\| `([^`]+)`.* \| (.+) \|$", table, re.MULTILINE)


def test_the_examples_of_other_folders(tmp_path: Path) -> None:
    assert len(examples()) == len(FOLDERS)
    for (path, reading), (number, names) in zip(examples(), enumerate(FOLDERS), strict=True):
        entries = find_layout(touch(tmp_path / str(number), *names)).entries
        own = next(entry for entry in entries if entry.name == path)
        assert example(own).replace(", contrast image", "") == f"{path} -> {reading}"
