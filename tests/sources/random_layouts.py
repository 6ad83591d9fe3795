"""Random folders of medical images as researchers have them, by names alone, with what is known to be true of each.

Only what a careful human could tell from the names is drawn: visits of at least half of the subjects, slices that begin
again in every subject, ids that do not begin again in every class, surnames only where contrasts return in them.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, TypeVar

from hypothesis import strategies as st

from ganatomy.data.vocabulary import is_mask_name
from ganatomy.sources.entry import Entry

T = TypeVar("T")


class Truth(NamedTuple):
    """What a file is; "" and None where there is none."""

    subject: str
    session: str = ""
    contrast: str = ""
    label: str = ""
    split: str = ""
    slice: int | None = None
    mask: bool = False


@dataclass
class Drawn:
    """Names of files, and the truth of each; None for strays, which are nobody's images."""

    names: list[str]
    truth: dict[str, Truth | None]
    traits: list[str] = field(default_factory=list)
    """What was drawn, in words, for whoever looks for what fails."""


# ------------------------------------------------------------------ words

MR = [["t1", "T1", "T1w", "t1n", "T1_w", "MPRAGE"], ["t1ce", "T1c", "t1gd", "T1post"], ["t2", "T2", "T2w", "T2_w"],
      ["flair", "FLAIR", "t2f", "T2_FLAIR"], ["adc", "ADC"], ["dwi", "DWI"], ["pd", "PD"]]
MODALITIES = [["ct", "CT"], ["mr", "MR", "mri"], ["pet", "PET"], ["cbct", "CBCT"]]
PAIRS = [["input", "target"], ["low", "full"], ["A", "B"], ["InPhase", "OutPhase"], ["quarter", "full"]]
CLASSES = [["benign", "malignant"], ["NORMAL", "PNEUMONIA"], ["yes", "no"], ["HGG", "LGG"], ["AD", "CN", "MCI"],
           ["Non Demented", "Very mild Dementia", "Mild Dementia", "Moderate Dementia"],
           ["glioma", "meningioma", "notumor", "pituitary"], ["COVID", "non-COVID"], ["brain", "pelvis"],
           ["normal", "benign", "malignant"]]
SPLITS = [["train", "val", "test"], ["train", "test"], ["training", "testing"], ["Train", "Valid", "Test"],
          ["Training", "Testing"], ["Train", "Test"], ["TRAIN", "TEST"], ["train", "validation", "test"]]
WRAPPERS = ["kaggle_3m", "brain_tumor_dataset", "dataset", "data", "Data", "chest_xray", "BraTS2020_TrainingData",
            "RawData/Training", "Task1", "archive/dataset", "export", "MICCAI_2021/release_v2", "ADNI",
            "datasets/mr2ct"]
KINDS = [("images", "masks"), ("images", "labels"), ("imagesTr", "labelsTr"), ("img", "label"), ("imgs", "masks"),
         ("Images", "GT"), ("image", "mask"), ("scans", "segmentations"), ("images", "annotations"), ("", "masks"),
         ("", "Ground_truth")]
ENDINGS = ["_seg", "_mask", "_gt", "-label", "_Segm", "_segmentation", "-seg", "_label", " mask"]
ORGANS = ["liver", "spleen", "kidney_left", "kidney_right", "aorta"]
PARCELS = ["images_{:03}", "part{}", "batch_{:02}", "disc{}", "parcel-{}"]
SURNAMES = ["Smith", "Jones", "Miller", "Garcia", "Novak", "Rossi", "Weber", "Kim", "Silva", "Martin", "Tanaka",
            "Cohen"]
IDS: dict[str, Callable[[random.Random, int], str]] = {
    "patient01": lambda rng, n: f"patient{n:02}", "p1": lambda rng, n: f"p{n}", "sub-01": lambda rng, n: f"sub-{n:02}",
    "L067": lambda rng, n: f"L{n:03}", "s0000": lambda rng, n: f"s{n:04}", "person1": lambda rng, n: f"person{n}",
    "BraTS": lambda rng, n: f"BraTS-GLI-{n:05}", "BraTS20": lambda rng, n: f"BraTS20_Training_{n:03}",
    "OAS1": lambda rng, n: f"OAS1_{n:04}", "case": lambda rng, n: f"Case_{n:03}",
    "subject": lambda rng, n: f"Subject {n}",
    "ADNI": lambda rng, n: f"{n % 5 + 2:03}_S_{n * 7 % 9973:04}",
    "SynthRAD": lambda rng, n: f"1{rng.choice('BP')}{rng.choice('ABC')}{n:03}",
    "TCGA": lambda rng, n: f"TCGA_{rng.choice(('CS', 'DU'))}_{4900 + n}_{rng.randint(1994, 2002)}{month_day(rng)}",
    "IXI": lambda rng, n: f"IXI{n:03}-{rng.choice(('Guys', 'HH', 'IOP'))}-{700 + n * 3:04}",
    "00000001": lambda rng, n: f"{n:08}", "001": lambda rng, n: f"{n:03}", "Smith": lambda rng, n: SURNAMES[n - 1]}
SINGLES: dict[str, Callable[[str, int], str]] = {
    "0001": lambda label, n: f"{n:04}", "IM-0001": lambda label, n: f"IM-{n:04}", "12": lambda label, n: f"{n}",
    "benign (12)": lambda label, n: f"{label or 'image'} ({n})", "img12": lambda label, n: f"img{n}",
    "benign_012": lambda label, n: f"{label or 'scan'}_{n:03}",
    "Te-no_0010": lambda label, n: f"Te-{label[:2]}_{n:04}"}
VISITS: dict[str, Callable[[random.Random, int], str]] = {
    "ses-01": lambda rng, n: f"ses-{n + 1:02}", "M06": lambda rng, n: f"M{6 * n:02}",
    "visit2": lambda rng, n: f"visit{n + 1}",
    "2006-04-18": lambda rng, n: f"{2004 + n}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
    "20060418": lambda rng, n: f"{2004 + n}{month_day(rng)}",
    "d0129": lambda rng, n: f"d{n * 700 + rng.randint(0, 600):04}",
    "-000": lambda rng, n: f"{n:03}", "baseline": lambda rng, n: ("baseline", "followup", "followup2")[n]}
OF_ALL = {"ses-01", "M06", "visit2", "baseline"}
"""Visits of the same names in all subjects."""
STRAYS = ["overview.png", "README.md", "preview.png", "notes.txt", "metadata.csv", "figure1.jpg", "overview/{}.png",
          ".DS_Store", "montage.png", "LICENSE"]


def month_day(rng: random.Random) -> str:
    return f"{rng.randint(1, 12):02}{rng.randint(1, 28):02}"


# ------------------------------------------------------------------ one layout

@dataclass
class _Plan:
    """How a folder's names are written: the folders' levels and the parts of a file's name, each named by its field."""

    folders: list[str]
    parts: list[str]
    separator: str
    suffix: str
    wrapper: str
    kinds: tuple[str, str] = ("", "")
    ending: str = ""
    bare_mask: bool = False
    fuse: str = ""
    noun: str = "image"

    def path(self, values: Mapping[str, str], mask: bool) -> str:
        values = {**values, "kind": self.kinds[mask]}
        fused = [values["split"], values["contrast"]]
        values["split+contrast"], values["contrast+split"] = self.fuse.join(fused), "_".join(reversed(fused))
        values["subject+session"] = joined([values["subject"], values["session"]], self.separator or "_")
        bare = mask and self.bare_mask
        parts = [values[part] for part in self.parts if not (bare and part == "contrast")]
        stem = joined(parts, self.separator)
        if mask and self.ending:
            stem = stem + self.ending if stem else self.ending.lstrip("_- ")
        sides = mask and self.kinds[1] and "contrast" in self.folders and "kind" in self.folders
        levels = [values[level] for level in self.folders if not (sides and level == "contrast")]
        suffix = ".png" if mask and self.suffix == ".jpg" else self.suffix
        return "/".join([*filter(None, [self.wrapper, *levels]), (stem or self.noun) + suffix])


def joined(parts: Iterable[str], separator: str) -> str:
    """Parts of a file name; without a separator only where a digit is followed by a letter: p1T1."""
    text = ""
    for part in filter(None, parts):
        clear = text[-1:].isdigit() and part[0].isalpha() and len(part) > 1
        text += (separator or ("" if clear or not text else "_")) * bool(text) + part
    return text


def layouts() -> st.SearchStrategy[Drawn]:
    """Folder trees of images of 3 to 40 subjects, or of pictures that are a subject each.

    One number gives all of a layout: were its choices drawn one by one, many layouts would be near copies of others.
    """
    return st.integers(0, 2 ** 32 - 1).map(layout_of)


def layout_of(seed: int) -> Drawn:
    """The layout of one number."""
    rng = random.Random(seed)
    kind = rng.choice(["volumes"] * 4 + ["slices"] * 4 + ["singles"] * 2)
    layout = _draw_singles(rng) if kind == "singles" else _draw_subjects(rng, volumes=kind == "volumes")
    layout.traits.insert(0, str(seed))
    return layout


def _chance(rng: random.Random, percent: int) -> bool:
    return 100 * rng.random() < percent


def _contrasts(rng: random.Random, words_only: bool = False) -> list[str]:
    """1 to 4 words, of a vocabulary or, as a pair, of none."""
    number = rng.choice([1, 1, 1, 2, 2, 2, 3, 4])
    if number == 2 and not words_only and _chance(rng, 20):
        return list(rng.choice(PAIRS))
    families = MR if number > 3 or _chance(rng, 60) else MODALITIES
    return [rng.choice(family) for family in rng.sample(families, number)]


def _shares(rng: random.Random, number: int, names: Sequence[str]) -> list[str]:
    """A name for each of `number`, all names at least twice where there are enough, the first most often."""
    if not names:
        return [""] * number
    some = [*names, *names, *rng.choices(names, [3] + [1] * (len(names) - 1), k=number)]
    return rng.sample(some[:number], number)


def _split_of(word: str) -> str:
    return {"tr": "train", "va": "val", "te": "test"}[word[:2].lower()] if word else ""


def _draw_subjects(rng: random.Random, volumes: bool) -> Drawn:
    contrasts = _contrasts(rng)
    known = contrasts not in PAIRS
    visits = rng.choice([0, 0, 0, 0, 0, 0, 1, 2, 3, 3])
    classes = rng.choice(CLASSES) if _chance(rng, 30) else []
    splits = rng.choice(SPLITS) if _chance(rng, 40) else []
    where = rng.choice(["folder", "file", "both", "both"])
    channels = volumes and _chance(rng, 5)
    if channels:  # nnU-Net's
        contrasts, visits, classes, splits, where = [f"{n:04}" for n in range(rng.randint(1, 4))], 0, [], [], "file"
    slice_word = "" if volumes else rng.choice(["", "", "", "z", "slice", "slice_", "img", "s", "slice-"])

    styles = dict(IDS)
    if len(contrasts) == 1 and not volumes:
        del styles["Smith"]
    if where != "folder":
        del styles["001"]
    if visits:
        del styles["TCGA"], styles["IXI"]  # dates and numbers of their own
    if splits:
        del styles["BraTS20"]
    style = rng.choice(sorted(styles))
    bare = style in ("001", "00000001")

    fewest = max(3, 2 * len(classes), 2 * len(splits))
    number = max(fewest, rng.choice([3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 40]))
    number = min(number, len(SURNAMES)) if style == "Smith" else number
    highest = number if style == "Smith" or _chance(rng, 60) else 4 * number
    subjects = [IDS[style](rng, n) for n in sorted(rng.sample(range(1, highest + 1), number))]

    # ------------------------------------------------ which folder and which part of the name tells what
    visit_style = rng.choice([v for v in VISITS if v != "-000" or not (bare or (not volumes and not slice_word))])
    top: list[str] = (["split"] if splits else []) + (["label"] if classes else [])
    below: list[str] = []
    parts = ["subject"] if where != "folder" else []
    own_folder = where != "file"
    subject_level = "subject"
    if visits:
        places = ["file", "folder", "both", "fused"] if own_folder else ["file"]
        place = rng.choice([*places, "top"] if visit_style in OF_ALL and visits > 1 else places)
        if place == "fused" and visits > 1:
            subject_level = "subject+session"
        if place == "top":
            top.append("session")
        if place in ("folder", "both"):
            below.append("session")
        if place in ("file", "both") or (place == "fused" and (visits == 1 or parts)):
            parts.append("session")
    constant = rng.choice([""] * 6 + ["mpr-1", "axial", "brain", "reg"])
    if constant and parts:
        parts.append("constant")
    if len(contrasts) > 1 or _chance(rng, 60):
        places = ["file"] * 3 + ["top"] * 2 + (["bottom"] * 2 if own_folder else []) + ["top and file"]
        places += ["fused"] * (8 if set(contrasts) == {"A", "B"} else 2) if splits else []
        place = rng.choice(places)
        if place == "fused":
            words = all(len(contrast) > 1 for contrast in contrasts)
            fused = rng.choice(["split+contrast", "contrast+split"][:1 + words])
            top = [*(level for level in top if level != "split"), fused]
            if "subject" in parts and words and _chance(rng, 30):
                parts.insert(0, fused)  # ct_train/ct_train_1001
        elif place != "file":
            top, below = ([*top, "contrast"], below) if "top" in place else (top, [*below, "contrast"])
        if "file" in place:
            parts.append("contrast")
    rng.shuffle(below)
    if "subject" in parts and classes and " " not in "".join(classes) and _chance(rng, 15):
        parts.insert(parts.index("subject") + 1, "label")
    if "subject" in parts and "split" in top and _chance(rng, 10):
        parts.insert(0, "split")
    if style == "ADNI" and volumes and parts and _chance(rng, 50):
        parts.append("number")
    if not volumes:
        first = "contrast" in parts and len(contrasts) > 1 and _chance(rng, 20)
        parts.insert(parts.index("contrast") if first else len(parts), "slice")
    if channels:
        top, parts = [], ["subject", "contrast"]
    top = rng.sample(top, len(top))
    parcels = rng.choice(PARCELS) if number >= 6 and _chance(rng, 15) else ""
    top += ["parcel"] if parcels else []
    below += ["plain"] if own_folder and _chance(rng, 10) else []

    # ------------------------------------------------ masks
    masks = channels or _chance(rng, 45)
    plan = _Plan([*top, *([subject_level] if own_folder else []), *below], parts, rng.choice("__-- ."),
                 rng.choice([".nii.gz"] * 4 + [".nii", ".mha", ".nrrd"] if volumes else
                            [".png"] * 3 + [".tif", ".npy", ".jpg"]), _wrapper(rng, splits),
                 noun=rng.choice(["image", "scan", "volume"]))
    if _chance(rng, 10):
        plan.separator = ""
    one_each = own_folder and (visits < 2 or any("session" in level for level in plan.folders))
    organs = rng.sample(ORGANS, 3) if masks and volumes and one_each and _chance(rng, 15) else [""]
    if channels:
        plan.separator, plan.kinds, plan.bare_mask = "_", ("imagesTr", "labelsTr"), True
        plan.folders.insert(0, "kind")
    elif masks:
        if organs != [""]:
            plan.kinds = ("", "segmentations")
            plan.noun = plan.noun if "contrast" in plan.folders + parts else "ct"
        elif any("+contrast" in level or "contrast+" in level for level in top) or _chance(rng, 60):
            plan.ending = rng.choice(ENDINGS)
            plan.bare_mask = "contrast" in parts and _chance(rng, 60)
        else:
            plan.kinds = rng.choice([k for k in KINDS if k[0] != "imagesTr" or not splits])
            plan.bare_mask = "contrast" in parts and _chance(rng, 60)
            plan.ending = rng.choice(["", "", "", *ENDINGS[:2]])
            if "contrast" in plan.folders:
                plan.kinds = ("", plan.kinds[1])
            level = plan.folders.index("contrast") if "contrast" in plan.folders else rng.randint(0, len(top))
            plan.folders.insert(level, "kind")
    plan.fuse = rng.choice(["", "", "_"]) if all(len(c) == 1 for c in contrasts) else "_"

    # ------------------------------------------------ the files
    unpaired = known and not channels and len(contrasts) == 2 and number >= 6 and not visits and _chance(rng, 10)
    pad, start = rng.choice([1, 2, 3, 4]), rng.choice([0, 1, 1, 1, 100])
    most = rng.choice([3, 4, 5, 6, 8, 10, 12])
    labels, parts_of = _shares(rng, number, classes), _shares(rng, number, splits)
    several = set(rng.sample(range(number), rng.randint((number + 1) // 2, number))) if visits > 1 else set()
    holdings = [rng.randint(2, visits) if i in several else 1 for i in range(number)]
    most = max(3, min(most, 1500 // (sum(holdings) * len(contrasts))))
    drawn = Drawn([], {}, [style, plan.suffix, "/".join(plan.folders), "+".join(parts)])
    for i, subject in enumerate(subjects):
        values = {"subject": subject, "label": labels[i], "split": parts_of[i], "constant": constant, "plain": "anat",
                  "parcel": parcels.format(1 + 3 * i // number)}
        mine = [contrasts[i % 2]] if unpaired else contrasts
        for v in range(holdings[i]):
            values["session"] = VISITS[visit_style](rng, v) if visits else ""
            session = values["session"] if visits > 1 else ""
            span = range(start, start + max(3, most + rng.randint(-1, 1)))
            for z in [None] if volumes else span:
                values["slice"] = "" if z is None else f"{slice_word}{z:0{pad}}"
                for contrast in mine:
                    values["number"] = f"I{rng.randint(10000, 99999)}"
                    _add(drawn, plan.path({**values, "contrast": contrast}, mask=False),
                         Truth(subject, session, contrast, labels[i], _split_of(parts_of[i]), z))
                for organ in organs if masks else ():
                    path = plan.path({**values, "contrast": mine[0]}, mask=True)
                    if organ:
                        path = f"{path.rpartition('/')[0]}/segmentations/{organ}{plan.suffix}"
                    _add(drawn, path, Truth(subject, session, organ, labels[i], _split_of(parts_of[i]), z, mask=True))
    _lose(rng, drawn)
    _stray(rng, drawn, plan.wrapper, subjects)
    return drawn


def _draw_singles(rng: random.Random) -> Drawn:
    """Pictures whose names hold no patient, in folders of classes, splits, contrasts, or images and masks."""
    classes = rng.choice(CLASSES) if _chance(rng, 80) else [""]
    splits = rng.choice(SPLITS) if _chance(rng, 40) else [""]
    contrasts = _contrasts(rng, words_only=True) if _chance(rng, 20) else [""]
    masks = (classes == [""] and contrasts == [""]) or _chance(rng, 20)
    top = ["split"] * (splits != [""]) + ["label"] * (classes != [""]) + ["contrast"] * (contrasts != [""])
    if splits != [""] and classes == [""] and _chance(rng, 70):
        contrasts, top = ["A", "B"], ["split+contrast"]
        masks = False
    plan = _Plan(rng.sample(top, len(top)), ["subject"], "_",
                 rng.choice([".png", ".png", ".jpg", ".jpeg", ".tif"]), _wrapper(rng, splits))
    if masks and (not top or _chance(rng, 50)):
        plan.kinds = rng.choice([k for k in KINDS if k[0] not in ("", "imagesTr")])
        if "contrast" in top:
            plan.kinds = ("", plan.kinds[1])
        level = plan.folders.index("contrast") if "contrast" in top else rng.randint(0, len(top))
        plan.folders.insert(level, "kind")
    elif masks:
        plan.ending = rng.choice(ENDINGS[:5])
    style = rng.choice(sorted(SINGLES if classes != [""] else SINGLES.keys() - {"Te-no_0010"}))
    again = _chance(rng, 60)
    drawn, n = Drawn([], {}, [style, plan.suffix, "/".join(plan.folders), "singles"]), 0
    for split in splits:
        for label in classes:
            n = 0 if again else n
            for _ in range(rng.randint(4, 30)):
                n += 1
                name = SINGLES[style](label, n)
                for contrast in contrasts:
                    values = {"subject": name, "session": "", "split": split, "label": label, "contrast": contrast}
                    truth = Truth(f"{split}/{label}/{name}", "", contrast, label, _split_of(split))
                    _add(drawn, plan.path(values, mask=False), truth)
                    if masks and contrast == contrasts[0]:
                        _add(drawn, plan.path(values, mask=True), truth._replace(mask=True, contrast=""))
    if contrasts != ["A", "B"]:  # were names missing on one side, these could as well be no pairs
        _lose(rng, drawn)
    _stray(rng, drawn, plan.wrapper, ["a1"])
    return drawn


def _wrapper(rng: random.Random, splits: Sequence[str]) -> str:
    """One or two folders above all, or none; none that is called like a split where there are splits."""
    fitting = [name for name in WRAPPERS if not any(splits) or "Training" not in name]
    return rng.choice(fitting) if _chance(rng, 40) else ""


def _add(drawn: Drawn, name: str, truth: Truth) -> None:
    assert name not in drawn.truth, f"{name} is drawn twice"
    drawn.names.append(name)
    drawn.truth[name] = truth


def _lose(rng: random.Random, drawn: Drawn) -> None:
    """Take up to 5% of the images away, some masks more often; every visit keeps an image, and no mask is without."""
    rate, of_masks = rng.choice([0, 0, 0.02, 0.05]), rng.choice([0, 0, 0.1, 0.3])
    left: dict[Hashable, int] = defaultdict(int)
    for truth in drawn.truth.values():
        if truth and not truth.mask:
            left[truth.subject, truth.session, truth.slice] += 1
            left[truth.subject, truth.session] += 1
    some = [name for name, truth in drawn.truth.items() if truth and truth.mask]
    lost = set(rng.sample(some, int(of_masks * len(some))))
    for name, truth in drawn.truth.items():
        if truth and not truth.mask and rng.random() < rate and left[truth.subject, truth.session] > 1:
            left[truth.subject, truth.session] -= 1
            left[truth.subject, truth.session, truth.slice] -= 1
            lost.add(name)
    lost |= {name for name, truth in drawn.truth.items()
             if truth and truth.mask and not left[truth.subject, truth.session, truth.slice]}
    drawn.names = [name for name in drawn.names if name not in lost]
    drawn.truth = {name: drawn.truth[name] for name in drawn.names}


def _stray(rng: random.Random, drawn: Drawn, wrapper: str, subjects: Sequence[str]) -> None:
    """Lay files beside the images that are none."""
    for stray in rng.sample(STRAYS, rng.choice([0, 0, 0, 1, 2, 3])):
        for subject in subjects if "{}" in stray else subjects[:1]:
            name = "/".join(filter(None, [wrapper, stray.format(subject)]))
            drawn.names.append(name)
            drawn.truth[name] = None


# ------------------------------------------------------------------ whether a reading is right

def verdict(entries: Iterable[Entry], drawn: Drawn) -> str:
    """What is wrong with a reading, "" if it is right; names of subjects, domains and classes do not matter."""
    read: dict[str, Entry] = {}
    for entry in entries:
        if entry.name in read:
            return f"{entry.name} is taken twice"
        read[entry.name] = entry
    true = {name: truth for name, truth in drawn.truth.items() if truth}
    images = {name: truth for name, truth in true.items() if not truth.mask}
    for name, truth in true.items():
        if name not in read:
            return f"{name} is left out"
        if is_mask_name(read[name].domain) != truth.mask:
            return f"{name} is {'a mask' if truth.mask else 'no mask'}, and is domain {read[name].domain}"
    wrong = (_parted("subjects", true, read, lambda t: t.subject, lambda e: e.subject)
             or _parted("sessions", true, read, lambda t: (t.subject, t.session), lambda e: (e.subject, e.session))
             or _parted("domains", images, read, lambda t: t.contrast, lambda e: e.domain)
             or _parted("labels", images, read, lambda t: t.label, lambda e: e.label))
    if wrong:
        return wrong
    if any(truth.split for truth in images.values()):
        for name, truth in images.items():
            if read[name].split != truth.split:
                return f"split of {name} is {truth.split}, and is read as {read[name].split!r}"
    elif len({read[name].split for name in images}) > 1:
        return "splits where there are none"
    owners = {read[name].subject for name in true}
    taken = next((name for name, truth in drawn.truth.items()
                  if not truth and name in read and read[name].subject in owners), "")
    return f"{taken} is nobody's image, and is given to {read[taken].subject}" if taken else _misplaced(true, read)


def _parted(what: str, true: Mapping[str, Truth], read: Mapping[str, Entry], of_truth: Callable[[Truth], Hashable],
            of_entry: Callable[[Entry], Hashable]) -> str:
    """Whether the files are parted otherwise than they should be."""
    there: dict[Hashable, tuple[Hashable, str]] = {}
    back: dict[Hashable, tuple[Hashable, str]] = {}
    for name, truth in true.items():
        right, mine = of_truth(truth), of_entry(read[name])
        if there.setdefault(right, (mine, name))[0] != mine:
            return f"{what}: {name} and {there[right][1]} belong together ({right}), and are {mine}, {there[right][0]}"
        if back.setdefault(mine, (right, name))[0] != right:
            return f"{what}: {name} and {back[mine][1]} do not belong together, and both are {mine}"
    return ""


def _misplaced(true: Mapping[str, Truth], read: Mapping[str, Entry]) -> str:
    """Whether slices stand in another order, or a mask at another slice than its image."""
    stacks: dict[Hashable, list[tuple[int, str]]] = defaultdict(list)
    images: dict[Hashable, int | None] = {}
    for name, truth in true.items():
        if truth.slice is None:
            continue
        place = truth.subject, truth.session, truth.slice
        if truth.mask:
            if images.get(place) != read[name].slice:
                return f"{name} lies at slice {read[name].slice}, its image at {images.get(place)}"
        else:
            images.setdefault(place, read[name].slice)
            stacks[truth.subject, truth.session, truth.contrast].append((truth.slice, name))
    for stack in stacks.values():
        numbers = [read[name].slice for _, name in sorted(stack)]
        if None in numbers or any(a >= b for a, b in pairwise(numbers)):  # type: ignore[operator]
            return f"slices of {stack[0][1]} and its neighbours are {numbers[:6]}"
    return ""
