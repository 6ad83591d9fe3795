"""The words by which names tell contrasts, masks and splits: one vocabulary for folders, files and DICOM series."""

from __future__ import annotations

import re
from functools import lru_cache

CONTRASTS = {
    **dict.fromkeys(("t1", "t1w", "t1wi", "t1c", "t1ce", "t1gd", "t1n", "t1post", "mprage"), "T1"),
    **dict.fromkeys(("t2", "t2w", "t2wi", "t2s", "t2star"), "T2"),
    **dict.fromkeys(("flair", "t2flair", "t2f"), "FLAIR"), **dict.fromkeys(("pd", "pdw"), "PD"),
    "dwi": "DWI", "adc": "ADC", "swi": "SWI", "ct": "CT", "pet": "PET",
    **dict.fromkeys(("stir", "tof", "mra", "cta", "cbct", "mr", "mri"), "")}
"""Words, in small letters, that name a contrast or modality -> its family, "" where that is not sure."""
MACHINES = {"ct", "mr", "mri", "pet", "cbct", "us", "xr"}
"""Words that name the machine: images of two of them are less often of one patient than two contrasts of one."""
MANNERS = {"axial", "ax", "tra", "coronal", "cor", "sagittal", "sag", "pre", "post", "ce", "gd", "km", "weighted", "w",
           "wi"}
"""Words that may stand beside one."""
MODALITIES = {"CR": "XR", "DX": "XR", "RG": "XR", "PX": "XR", "IO": "XR", "PT": "PET", "ES": "ES", "IVUS": "US",
              **{m: m for m in ("CT", "MG", "US", "NM", "XA", "RF", "XC", "GM", "SM", "OP", "OPT", "OCT", "BMD")}}
"""DICOM's modalities but for MR -> domain."""
DESCRIPTIONS = [(domain, re.compile(rf"(?:{words})")) for domain, words in (
    ("ADC", r"\badc\b|apparent diff"),
    ("DWI", r"\b(dwi|dw|dti|diff|diffusion|trace\w?|tracew|b\d{3,4})\b"),
    ("SWI", r"\b(swi|swan|venobold)\b|suscept"),
    ("TOF", r"\b(tof|mra)\b|angio"),
    ("ASL", r"\b(p?c?asl)\b|spin label"),
    ("PERF", r"\b(dsc|dce|pwi)\b|perfusion"),
    ("BOLD", r"\b(bold|fmri|rsf|rest(ing)?\d*|task)\b"),
    ("STIR", r"\bstir\b"),
    ("T1", r"\bt1 ?w? flair\b"),
    ("FLAIR", r"flair|dark fluid"),
    ("T2star", r"\bt2 ?w?(\*| ?star\b)|\b(hemo|gre|ffe)\b"),
    ("T1", r"\bt1|mp2?rage|\b(spgr|fspgr|bravo|tfl|vibe|flash|lava|thrive)\b"),
    ("T2", r"\bt2|\b(haste|ssfse)\b"),
    ("PD", r"\b(pd|pdw|dp)\b|proton"))]
"""(Domain, what the description of an MR series holds, as `spaced` writes it); the first that fits counts."""
ENHANCED = re.compile(r"\+ ?c\b|\bc ?\+|\b(gd|gad\w*|km|ce|ce?t1\w?|t1 ?w?ce|t1c|post|contrast|kontrast|enhanced)\b")
NATIVE = re.compile(r"\b(pre|nativ\w?)\b|\b(no|non|without|ohne|w o) (gd|gad\w*|km|ce|contrast|kontrast|enhanced)\b")
"""Whether a contrast agent was given, in such a description."""
FAT_SATURATED = re.compile(r"(?<!no )(?<!non )(?<!without )(?<!ohne )(?<!w o )"
                           r"\b(fs|sfs|fat ?(sat\w*|sup\w*)|spair|spir|stir|tirm|chess)\b")
"""Whether the signal of fat was suppressed, in such a description."""

_MASK = re.compile(r"mask|msk|seg|label|lesion|annot|contour|(?<![a-z])(?:gt|rois?|voi|truth)(?![a-z])|ground.?truth|"
                   r"delineat|masque|mascara", re.IGNORECASE)
_MASK_WORD = re.compile(r"\w*(?:mask|msk|masque|mascara|labelmap|groundtruth|delineat)\w*|segs?\d*|segm\w*|"
                        r"labels?\d*|gt|rois?\d*|contours?|annot\w*|truth|[gc]tv\w*|voi|manual\d*|consensus|aseg|aparc|wmh",
                        re.IGNORECASE)
IMAGE_WORDS = {"image", "images", "img", "imgs", "data", "nifti", "niftis", "nii", "png", "pngs", "jpg", "jpgs", "scan",
               "scans", "anat", "raw", "pic", "pics", "picture", "pictures", "slices", "volumes", "dicom"}
"""Words that say no more than that there are images."""
COUNTERPARTS = {"input", "inputs", "target", "targets", "source", "src", "tgt", "low", "lowdose", "ld", "ldct", "full",
                "fulldose", "fd", "nd", "ndct", "normaldose", "quarter", "qd", "high", "noisy", "clean", "hr", "lr",
                "a", "b", "inphase", "outphase", "in", "out", "opposed", "phase", "mag", "magnitude", "fat", "water",
                "real", "fake", "3t", "7t",
                "he", "ihc", "ed", "es", "fixed", "moving"}
"""Words beyond the vocabulary of contrasts by which two images of one place are told apart."""
CLASSES = {"benign", "malignant", "malign", "normal", "abnormal", "healthy", "control", "controls", "cn", "mci", "ad",
           "dementia", "demented", "nondemented", "pneumonia", "covid", "covid19", "tumor", "tumour", "notumor",
           "glioma", "meningioma", "pituitary", "yes", "no", "positive", "negative", "pos", "neg", "hgg", "lgg",
           "lesion", "effusion", "mild", "moderate", "severe", "cancer", "melanoma", "nevus", "cnv", "dme", "drusen",
           "ill", "sick", "patient", "hc", "kontrollen", "patienten", "patients", "gesund", "krank", "sain", "malade",
           "temoins", "controles", "pacientes", "bacteria", "virus"}
"""Words that name classes."""
GRADES = {"grade", "stage", "class", "klasse", "classe", "clase", "birads", "rads", "score", "type", "kl", "gleason",
          "level", "category"}
"""Words, before a number, that name a class."""
SITES = {"site", "center", "centre", "hospital", "scanner", "cohort", "clinic"}
"""Words, before a number, that name a place where subjects were numbered by themselves."""
PREVIEWS = {"overview", "overviews", "preview", "previews", "thumbnail", "thumbnails", "thumb", "thumbs", "figure",
            "figures", "montage", "screenshot", "screenshots", "qc", "logo"}
"""Words that name pictures for people to look at."""
PARCELS = {"images", "image", "part", "parts", "batch", "disc", "disk", "chunk", "archive", "subset", "shard", "fold",
           "dir", "folder", "group", "split", "package"}
"""Words, before a number, that name a parcel of a large download."""
VISITS = {"m", "v", "d", "w", "y", "wk", "mr", "day", "month", "week", "year", "wave", "scan", "exam", "study", "time",
          "t", "tp", "untersuchung", "zeitpunkt", "examen", "fu"}
"""Words, before a number, that name a visit."""
TIMES = {"baseline", "bl", "followup", "fu", "preop", "postop", "intraop", "prert", "midrt", "postrt", "before",
         "after", "acute", "subacute", "chronic", "screening", "endpoint", "admission", "discharge", "vorher",
         "nachher", "avant", "apres"}
"""Words that name a visit by themselves."""
SIDES = {"l", "r", "left", "right", "od", "os", "lt", "rt", "cc", "mlo", "links", "rechts"}
"""Words that name a side or a view, whose images are no counterparts of each other."""
ECHOES = {"echo", "te", "ti", "inv", "b", "kv", "kev"}
"""Letters that stand with a number in a contrast's name."""
PEOPLE = {"patient", "patients", "pat", "p", "person", "subject", "subj", "sub", "case", "id", "pid", "participant"}
"""Words, before a number, that name a patient."""
MASK_ENDING = re.compile(r"(.+?)[\s._-]+((?:[a-z]+-)?(?:mask|seg|segmentation|label)(?:[-_]?\d+)?)", re.IGNORECASE)
"""The name of a mask of another image: (its name, the mask's)."""
MASK_FOLDER = re.compile(r"(labels?|masks?|seg(?:s|mentations?)?|annotations?|gt|ground[-_ ]?truths?)"
                         r"(?:[-_ ]?(tr|ts|va|train|test|val))?", re.IGNORECASE)
"""The name of a folder of masks: (its name, the part of the images that they belong to)."""

SPLITS_BY_NAME = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
                  "dev": "val", "test": "test", "testing": "test", "trn": "train", "tst": "test",
                  "entrenamiento": "train", "prueba": "test"}
"""What folders, files and tables call a split -> the split."""


def is_mask_name(domain: str) -> bool:
    """Whether a domain of this name is taken for a mask."""
    return bool(_MASK.search(domain)) or any(map(is_mask_word, re.split(r"[\W_]+", domain)))


@lru_cache(65536)
def is_mask_word(word: str) -> bool:
    """Whether a word says of a file or folder that it holds masks; lesion says it of a file alone."""
    return bool(_MASK_WORD.fullmatch(word))


def is_ct_name(name: str) -> bool:
    """Whether a file's path says that it is CT."""
    return bool(re.search(r"(?<![a-z])(?:ct|cta|ncct|cect|ldct)(?![a-z])", name.lower()))


def is_contrast_name(name: str) -> bool:
    """Whether a folder of this name holds one contrast: T1, T2-weighted, CT post."""
    words = set(re.split(r"[\W_]+", name.lower()))
    return bool(words & CONTRASTS.keys()) and words <= CONTRASTS.keys() | MANNERS


def contrasts_in(name: str) -> set[str]:
    """The families of contrasts that a file's or series' name names, by words of their own."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    return {CONTRASTS[word] for word in words if CONTRASTS.get(word)}


def spaced(text: str) -> str:
    """Text in small letters, its words apart: "AxT2_FLAIR+C" gives "ax t2 flair +c"."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z][A-Za-z0-9])|(?<=[0-9])(?=[A-Z][A-Za-z])", " ", text)
    return " ".join(re.sub(r"[^a-z0-9*+]+", " ", text.lower()).split())
