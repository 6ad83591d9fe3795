"""Layouts told by names alone: folders by subject or class, a flat one, trainA and trainB, A|B pictures, a pattern."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.data.vocabulary import MASK_ENDING, MASK_FOLDER, SPLITS_BY_NAME, is_contrast_name, is_mask_name
from ganatomy.formats import Unreadable
from ganatomy.sources.entry import Entry, Layout, Piece, safe_name, subject_in

_SESSION = re.compile(r"(ses|session|visit|timepoint|tp)[-_]?[a-z0-9]+", re.IGNORECASE)
_NUMBER = re.compile(r"(?:z|s|sl|slice|i|im|img|image)?[-_]?(\d+)", re.IGNORECASE)
_IMAGE_FOLDER = re.compile(r"images?[-_ ]?(tr|ts|va)", re.IGNORECASE)
_CHANNEL = re.compile(r"(.+)_(\d{4})")
_PLAIN_FOLDERS = {"image", "images", "img", "imgs", "data", "nifti", "niftis", "png", "pngs", "scans", "anat", "raw"}
_VOLUMES = (*formats.nifti.SUFFIXES, *formats.itk.SUFFIXES)
MAX_DOMAINS = 12


@dataclass(frozen=True, slots=True)
class _File:
    """A file's relative path, taken apart; `folders` shrinks as its levels are understood.

    `part` is tr of imagesTr and labelsTr; `masks` is the name of the folder of masks that the file lies in; `owner` is
    the subject where it is known from elsewhere; `contrast` is the folder called like one.
    """

    name: str
    folders: tuple[str, ...]
    stem: str
    split: str = ""
    label: str = ""
    part: str = ""
    masks: str = ""
    owner: str = ""
    contrast: str = ""


def read_folders(source: Path, names: Sequence[str], subject: re.Pattern[str] | None = None) -> Layout:
    """Guess the layout from relative paths of image files.

    A first level named train, val and test gives the splits. Folders whose names hold a number are subjects; other
    folders are classes, unless the same few file names return in each. CLASS/SUBJECT/file is understood too, and so is
    a level of folders that are all called like contrasts (T1, T2; but CT, MR with numbers in them are classes).
    What lies in folders called labels, masks and the like are masks of the images of the same name. `subject` tells a
    file's subject where that is known: what the names of one subject alone hold is never a contrast.
    """
    files = _take_splits([_taken_apart(name, subject) for name in names])
    images = [file for file in files if not file.masks]
    masks = [file for file in files if file.masks] if images else []
    images = images or files
    if any(file.part for file in images):
        layout, images = _labelled(source, images, masks)
    else:
        level = _contrast_level(images)
        images, masks = ([_take_contrast(file, level) for file in some] for some in (images, masks))
        layout = _read_images(source, images)
    classes = sorted({entry.label for entry in layout.entries} - {""})
    if classes:
        more = f" and {len(classes) - 5} more" if len(classes) > 5 else ""
        layout.notes.append(f"warning: the folders {', '.join(classes[:5])}{more} are taken for classes; class names "
                            "are stored in the dataset and shown in reports: they must not be patients' names")
    return _with_masks(source, layout, images, masks) if masks else layout


def _contrast_level(files: list[_File]) -> int | None:
    """The level of folders that are all called like contrasts: were T1 and T2 taken for patients, the patients would
    be taken for contrasts and paired with each other."""
    for level in range(min(len(file.folders) for file in files)):
        names = {file.folders[level] for file in files}
        no_class = level > 0 or any(c.isdigit() for name in names for c in name) or _same_names_return(files)
        if no_class and all(map(is_contrast_name, names)):
            return level
    return None


def _take_contrast(file: _File, level: int | None) -> _File:
    if level is None or len(file.folders) <= level or not is_contrast_name(file.folders[level]):
        return file
    contrast = file.folders[level]
    stem = re.sub(rf"(?<=.)[\s._-]+{re.escape(contrast)}(?![^\W_])", "", file.stem, flags=re.IGNORECASE)
    return replace(file, folders=file.folders[:level] + file.folders[level + 1:], contrast=contrast, stem=stem)


def _read_images(source: Path, files: list[_File]) -> Layout:
    if all(not file.folders for file in files):
        return _flat(source, files)
    loose = [(file.name, "lies outside of the subjects' or classes' folders") for file in files if not file.folders]
    files = [file for file in files if file.folders]
    if _class_above_subject(files):
        files = [replace(file, label=file.folders[0], folders=file.folders[1:]) for file in files]
        layout = _per_subject(source, files)
        return replace(layout, kind="a folder per class, in it a folder per subject", unmatched=loose)
    if _mostly_numbered({file.folders[0] for file in files}) or _same_names_return(files):
        return replace(_per_subject(source, files), unmatched=loose)
    return Layout("a folder per class", [_single(source, file, file.folders[0]) for file in files],
                  subjects_known=False, unmatched=loose)


def _taken_apart(name: str, subject: re.Pattern[str] | None) -> _File:
    """A file without the levels that say nothing, and those called labels, labelsTr, imagesTr and the like."""
    *folders, file = name.split("/")
    kept, part, masks = [], "", ""
    for folder in folders:
        if match := MASK_FOLDER.fullmatch(folder):
            masks, part = match[1].lower(), (match[2] or "").lower()
        elif match := _IMAGE_FOLDER.fullmatch(folder):
            part = match[1].lower()
        elif folder.lower() not in _PLAIN_FOLDERS:
            kept.append(folder)
    return _File(name, tuple(kept), formats.stem(file), part=part, masks=masks,
                 owner=subject_in(name, subject) if subject else "")


def _labelled(source: Path, images: list[_File], masks: list[_File]) -> tuple[Layout, list[_File]]:
    """imagesTr/CASE.nii.gz or, with a number for each contrast, imagesTr/CASE_0000.nii.gz; labelsTr/CASE.nii.gz.

    Returns the images with the names that their masks have.
    """
    matches = [_CHANNEL.fullmatch(file.stem) for file in images]
    cases, channels = ({match[group] for match in matches if match} for group in (1, 2))
    if all(matches) and (cases & {file.stem for file in masks} if masks else "0000" in channels):
        images = [replace(file, stem=match[1]) for file, match in zip(images, matches, strict=True) if match]
    else:
        channels = set()
    deep = len({file.folders for file in images}) > 1
    entries = [Entry(source / file.name, file.name, "/".join((*file.folders * deep, file.stem)),
                     domain=f"channel-{match[2]}" if match and len(channels) > 1 else "image", split=file.split)
               for file, match in zip(images, matches, strict=True)]
    volumes = all(file.name.lower().endswith(_VOLUMES) for file in images)
    return Layout("a folder of images and one of their labels", entries, subjects_known=volumes), images


def _with_masks(source: Path, layout: Layout, images: list[_File], masks: list[_File]) -> Layout:
    """Add the files of folders of masks, each to the image of its name."""
    entries = {entry.name: entry for entry in layout.entries}
    places = {(file.folders, file.split, file.part, file.stem): entries[file.name] for file in reversed(images)
              if file.name in entries}
    added, unmatched = [], []
    for file in masks:
        ending = MASK_ENDING.fullmatch(file.stem)
        place = file.folders, file.split, file.part
        image = places.get((*place, file.stem)) or (places.get((*place, ending.group(1))) if ending else None)
        if image is None:
            unmatched.append((file.name, "lies in a folder of masks, and no image has its name"))
            continue
        several = ending is not None and (*place, file.stem) not in places and ending.group(2)[-1].isdecimal()
        domain = safe_name(ending.group(2)) if ending and several else file.masks
        added.append(replace(image, path=source / file.name, name=file.name, domain=domain))
    notes = list(layout.notes)
    if unmatched:
        notes.append(f"warning: {len(unmatched)} of {len(masks)} files in folders of masks match no image by name and "
                     "are left out; --pattern says what belongs together")
    return replace(layout, entries=[*layout.entries, *added], unmatched=[*layout.unmatched, *unmatched], notes=notes)


def _take_splits(files: list[_File]) -> list[_File]:
    tops = {file.folders[0].lower() if file.folders else "" for file in files}
    if not tops <= SPLITS_BY_NAME.keys() or len(tops) < 2:
        return files
    return [replace(file, split=SPLITS_BY_NAME[file.folders[0].lower()], folders=file.folders[1:]) for file in files]


def _mostly_numbered(names: set[str]) -> bool:
    return 2 * sum(any(c.isdigit() for c in name) for name in names) >= len(names)


def _class_above_subject(files: list[_File]) -> bool:
    tops = {file.folders[0] for file in files}
    seconds = {file.folders[1] for file in files if len(file.folders) > 1 and not _SESSION.fullmatch(file.folders[1])}
    deep = all(len(file.folders) > 1 for file in files)
    return deep and bool(seconds) and not _mostly_numbered(tops) and _mostly_numbered(seconds)


def _same_names_return(files: list[_File]) -> bool:
    """Whether each folder holds one file of each kind, and the kinds return in other folders (Smith/T1, Jones/T1).

    Not so if a folder is known to hold several subjects.
    """
    if len({(file.folders[0], file.owner) for file in files if file.owner}) > len({file.folders[0] for file in files}):
        return False
    kinds = Counter((file.folders, _remainder(file)) for file in files)
    places = Counter(kind for _, kind in {(file.folders[0], _remainder(file)) for file in files} if kind)
    return bool(places) and max(kinds.values()) == 1 and max(places.values()) > 1 and len(places) <= MAX_DOMAINS


def _remainder(file: _File) -> str:
    """What is left of the file's name without its folders' names, sessions and numbers: the contrast, if any."""
    text = file.stem
    for folder in file.folders:
        if text.lower().startswith(folder.lower()):
            text = text[len(folder):].lstrip("_-. ")
    tokens = [t for t in re.split(r"[_\s]+", text) if t and not _SESSION.fullmatch(t) and not _NUMBER.fullmatch(t)
              and t.lower() not in {f.lower() for f in (*file.folders, file.owner)}]
    return "_".join([*filter(None, [file.contrast]), *tokens])


def _per_subject(source: Path, files: list[_File]) -> Layout:
    tokens: dict[str, set[str]] = defaultdict(set)  # token -> subjects
    subjects = {file.owner or file.folders[0] for file in files}
    for file in files:
        for token in _remainder(file).split("_"):
            tokens[token].add(file.owner or file.folders[0])
    # a token of one patient alone may be a name or a date; what returns in others is a contrast
    shared = {token for token, owners in tokens.items() if len(owners) > 1 or len(subjects) == 1}
    entries = []
    for file in files:
        domain = "-".join(t for t in _remainder(file).split("_") if t and t in shared)
        entries.append(Entry(source / file.name, file.name, file.folders[0], _session(file),
                             safe_name(domain), file.label, file.split, _slice(file)))
    return Layout("a folder per subject", entries)


def _session(file: _File) -> str:
    for part in (*file.folders[1:], *re.split(r"[_\s]+", file.stem)):
        if _SESSION.fullmatch(part):
            return part
    return file.folders[1] if len(file.folders) > 1 else ""


def _slice(file: _File) -> int | None:
    """The last numbered token of a picture's name; volumes have none."""
    if file.name.lower().endswith(_VOLUMES):
        return None
    text = file.stem.removeprefix(file.folders[0]) if file.folders else file.stem
    numbers = [match[1] for token in re.split(r"[_\s]+", text) if (match := _NUMBER.fullmatch(token))]
    return int(numbers[-1]) if numbers else None


def _single(source: Path, file: _File, label: str = "") -> Entry:
    """An image that is a subject of its own; NAME_mask is the mask of NAME."""
    match = MASK_ENDING.fullmatch(file.stem)
    base, domain = (match[1], match[2]) if match else (file.stem, file.contrast or "image")
    subject = "/".join((*((file.split,) if file.split else ()), *file.folders, base))
    return Entry(source / file.name, file.name, subject, "", safe_name(domain), label, file.split)


def _flat(source: Path, files: list[_File]) -> Layout:
    """SUBJECT_DOMAIN files in one folder, or images that each stand alone; there may be a folder for each contrast."""
    if any(file.contrast for file in files):
        return Layout("a folder per contrast", [_single(source, file) for file in files],
                      subjects_known=all(file.name.lower().endswith(_VOLUMES) for file in files),
                      notes=["images of one name are taken for one patient's; add --unpaired if they are not"])
    named = [_subject_and_domain(file) for file in files]
    subjects: dict[str, set[str]] = defaultdict(set)
    for entry in named:
        subjects[entry[1] if entry else ""].add(entry[0] if entry else "")
    returning = all(domain and (len(owners) > 1 or is_mask_name(domain)) for domain, owners in subjects.items())
    if not returning or len(subjects) > MAX_DOMAINS:
        return Layout("a flat folder of images", [_single(source, file) for file in files], subjects_known=False)
    entries = [Entry(source / file.name, file.name, entry[0], "", safe_name(entry[1]), "", file.split, _slice(file))
               for file, entry in zip(files, named, strict=True) if entry]
    return Layout("a flat folder of files SUBJECT_DOMAIN", entries)


def _subject_and_domain(file: _File) -> tuple[str, str] | None:
    """sub-0001_T1_z007 -> (sub-0001, T1); None where the last part is no word."""
    parts = file.stem.split("_")
    while len(parts) > 1 and _NUMBER.fullmatch(parts[-1]):
        parts.pop()
    subject, _, domain = "_".join(parts).rpartition("_" if len(parts) > 1 else "-")
    return (subject, domain) if subject and any(c.isalpha() for c in domain) else None


SAMPLE = 64
"""Pictures whose sizes are looked at."""
_SIDE = re.compile(r"(train|val|valid|validation|test)[-_]?([AB])", re.IGNORECASE)
_HALVES = (("A", Piece(half="left")), ("B", Piece(half="right")))


def is_sided(names: Sequence[str]) -> bool:
    """Whether there are folders trainA and trainB, or others called so, on the first level."""
    sides = {side for name in names if (side := _side(name)) is not None}
    return {"A", "B"} <= {side for _, side in sides}


def read_sides(source: Path, names: Sequence[str]) -> Layout:
    """trainA, trainB, testA, testB (and valA, valB): domains A and B, the splits from the folders.

    Where every split has the same file names in A and B, images of one name are pairs and share a subject; else the
    layout is unpaired. Each image, or pair, is a subject of its own.

    Raises:
        UserError: there are no such folders.
    """
    if not is_sided(names):
        raise UserError("has no folders trainA and trainB", where=source,
                        fix="leave --layout out, or call the folders of the two domains so")
    known = {name: place for name in names if (place := _side(name)) is not None}
    paired = _agree(known)
    entries = [Entry(source / name, name, f"{split}{'' if paired else side}/{formats.stem(name.partition('/')[2])}",
                     domain=side, split=split) for name, (split, side) in known.items()]
    unmatched = [(name, "lies outside of the folders trainA, trainB and so on") for name in names if name not in known]
    note = ("the file names in A and B agree: images of one name are taken for pairs; add --unpaired if they are none"
            if paired else "the file names in A and B do not agree: A and B are taken for unpaired")
    return Layout("folders trainA and trainB", entries, subjects_known=False, unmatched=unmatched, notes=[note],
                  unpaired=not paired)


def looks_side_by_side(source: Path, names: Sequence[str]) -> bool:
    """Whether all pictures lie in train, val and test, and those of a sample are twice as wide as high."""
    splits = {SPLITS_BY_NAME.get(_top(name), "") for name in names}
    if "" in splits or "train" not in splits or any(name.count("/") > 1 for name in names):
        return False
    sizes = _sizes(source, names)
    return bool(sizes) and all(width == 2 * height for height, width in sizes)


def read_side_by_side(source: Path, names: Sequence[str]) -> Layout:
    """Pictures that hold A in their left half and B in the right one, a subject each.

    Raises:
        UserError: no picture of the sample can be read, or some cannot be halved.
    """
    sizes = _sizes(source, names)
    odd = [size for size in sizes if size[1] % 2 or size[1] < size[0]]
    if odd or not sizes:
        reason = f"there is one of {odd[0][0]} rows and {odd[0][1]} columns" if odd else "none can be read"
        raise UserError(f"its pictures are not two halves side by side: {reason}", where=source,
                        fix="leave --layout out")
    splits = {name: SPLITS_BY_NAME.get(_top(name), "") for name in names}
    known = all(splits.values())
    entries = [Entry(source / name, name, formats.stem(name), domain=domain, split=splits[name] if known else "",
                     piece=half) for name in names for domain, half in _HALVES]
    note = ("every picture is taken for two side by side: its left half is domain A, its right half B; "
            "if that is wrong, add --layout folders")
    return Layout("pictures A|B side by side", entries, subjects_known=False, notes=[note])


def _side(name: str) -> tuple[str, str] | None:
    """(split, A or B) of a file, None where its folder says none."""
    match = _SIDE.fullmatch(name.partition("/")[0]) if "/" in name else None
    return (SPLITS_BY_NAME[match[1].lower()], match[2].upper()) if match else None


def _top(name: str) -> str:
    """The first folder of a path, "" where it has none."""
    return name.partition("/")[0].lower() if "/" in name else ""


def _agree(places: Mapping[str, tuple[str, str]]) -> bool:
    """Whether A and B hold files of the same names in every split."""
    stems: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, place in places.items():
        stems[place].append(formats.stem(name.partition("/")[2]))
    other = {"A": "B", "B": "A"}
    return all(len(set(names)) == len(names) and set(names) == set(stems.get((split, other[side]), ()))
               for (split, side), names in stems.items())


def _sizes(source: Path, names: Sequence[str]) -> list[tuple[int, int]]:
    """(height, width) of a sample of the pictures; volumes count as nothing that has halves."""
    sizes = []
    for name in names[::max(1, len(names) // SAMPLE)]:
        try:
            header = formats.scan(source / name)
        except Unreadable:
            continue
        sizes.append((header.shape[1], header.shape[2]) if not header.volumetric else (1, 1))
    return sizes


FIELDS = {"subject": "[^/]+", "session": "[^/]+", "domain": "[^/]+", "label": "[^/]+", "slice": r"\d+"}
_WILD = {"*": "[^/]*", "**": ".*", "**/": "(?:.*/)?"}


def match_pattern(source: Path, names: Sequence[str], pattern: str, domains: Sequence[str] = ()) -> Layout:
    """Read subject, session, domain, label and slice out of relative paths.

    `*` stands for anything within one folder's or file's name, `**` for anything; each part takes as much as it can. A
    field that occurs twice must have the same value in both places; `domains` are tried first for {domain}.

    Raises:
        UserError: an unknown field, no {subject}, or no file that fits.
    """
    regex = _as_regex(pattern, domains)
    entries, unmatched = [], []
    for name in names:
        match = regex.fullmatch(name)
        if match is None:
            unmatched.append((name, "does not fit the pattern"))
            continue
        values = match.groupdict()
        entries.append(Entry(source / name, name, values["subject"], values.get("session", ""),
                             safe_name(values.get("domain", "image")), values.get("label", ""),
                             slice=int(values["slice"]) if "slice" in values else None))
    if not entries:
        raise UserError(f"none of {len(names)} image files fits the pattern {pattern!r}", where=source,
                        fix=f"the first file is {names[0]!r}; write the pattern after it")
    return Layout("files that fit the pattern", entries, unmatched=unmatched)


def _as_regex(pattern: str, domains: Sequence[str]) -> re.Pattern[str]:
    """The pattern, with fields such as {subject} and the wildcards *, ** and **/, as a regular expression."""
    pattern = re.sub(r"\*{3,}", "**", pattern.removeprefix("./"))
    text, fields = "", set()
    for part in re.split(r"(\{[^{}]*\}|\*\*/?|\*)", pattern):
        field = part[1:-1] if part.startswith("{") else ""
        if field in fields:
            text += f"(?P={field})"
        elif field in FIELDS:
            first = map(re.escape, filter(None, domains)) if field == "domain" else ()
            text += f"(?P<{field}>{'|'.join([*first, FIELDS[field]])})"
            fields.add(field)
        elif part.startswith("{"):
            raise UserError(f"unknown field {part} in the pattern", where="--pattern",
                            fix=f"known fields: {', '.join('{' + f + '}' for f in FIELDS)}")
        else:
            text += _WILD.get(part) or re.escape(part)
    if "subject" not in fields:
        raise UserError("the pattern has no {subject}", where="--pattern",
                        fix="say which part names the patient; splits go by it")
    return re.compile(text, re.DOTALL)
