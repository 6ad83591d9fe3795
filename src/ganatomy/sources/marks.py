"""The marks of a mistake: what a reading of a folder says of its patients that is hardly ever so."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from ganatomy.core.text import counted, listed
from ganatomy.data.vocabulary import (
    CLASSES,
    CONTRASTS,
    COUNTERPARTS,
    MACHINES,
    MANNERS,
    PARCELS,
    PEOPLE,
    SIDES,
    TIMES,
    VISITS,
    is_mask_name,
)
from ganatomy.sources.entry import Entry
from ganatomy.sources.words import VOLUMES

MOST_DOMAINS = 12
_LIKE_CONTRASTS = re.compile(r"(?:echo|te|ti|inv|tr|b|bval|phase)\d+|\d+kv|\d+kev|\d(?:\.\d)?t|3d(?:t1|t2|flair)|"
                             r"uni|(?:t1|t2|pd|flair|dwi|adc)(?:map|rho|pre|post)?", re.IGNORECASE)
_PLANES = {"axial", "coronal", "sagittal"}


def mark_of(entries: Sequence[Entry], known: bool) -> str:
    """What of a reading looks like a mistake, in words; "" if nothing does.

    Args:
        entries: of all files, masks too.
        known: whether the reading tells whose each image is.
    """
    images = [entry for entry in entries if not is_mask_name(entry.domain)]
    subjects: dict[str, list[Entry]] = defaultdict(list)
    for entry in images:
        subjects[entry.subject].append(entry)
    domains = {entry.domain for entry in images}
    marks = [_twice(images, known), _longer_ids(subjects), _one_patients_folder(images, subjects)]
    if known:
        marks += [_one_subject(subjects, domains), _torn(subjects), _numbered_stems(subjects),
                  _visits(images, subjects), _named_otherwise(subjects)]
    marks += [_classes(images, known), _contrasts(images, domains)]
    marks += [] if known else [_folders_of_pictures(images), _shared_stems(images)]
    return next(filter(None, marks), "")


def _is_volume(entry: Entry) -> bool:
    return entry.name.lower().endswith(VOLUMES)


def _twice(images: Sequence[Entry], known: bool) -> str:
    """Two files for one place."""
    places = Counter((e.subject, e.session, e.domain, e.slice, e.label) for e in images
                     if e.slice is not None or _is_volume(e) or not known)
    twice = [place for place, count in places.items() if count > 1]
    problem = f"{counted(len(twice), 'image')} would have two files or more"
    return f"{problem}, such as those of {twice[0][0]}" if twice else ""


def _longer_ids(subjects: dict[str, list[Entry]]) -> str:
    """P01 and P01_msk, P02 and P02_msk: the word that returns is none of the id."""
    tails: dict[str, set[str]] = defaultdict(set)
    for subject in subjects:
        for match in re.finditer(r"[-_ .]", subject):
            if subject[:match.start()] in subjects:
                tails[subject[match.end():].lower()].add(subject[:match.start()])
    for tail, own in tails.items():
        if len(own) > 1 or len(tails) == 1:
            first = min(own)
            return f"{first} and what begins with {first} and goes on with {tail} would be two subjects"
    return ""


def _one_patients_folder(images: Sequence[Entry], subjects: dict[str, list[Entry]]) -> str:
    """All files in one folder that is called like a patient, and several subjects below it."""
    folders = [set(entry.name.split("/")[:-1]) for entry in images]
    shared = set.intersection(*folders) if folders else set()
    like = [name for name in shared if re.fullmatch(rf"(?:{'|'.join(PEOPLE)})[-_ ]?\d+", name.lower())]
    return f"{like[0]} holds all files, which would be {len(subjects)} subjects'" if like and len(subjects) > 1 else ""


def _one_subject(subjects: dict[str, list[Entry]], domains: set[str]) -> str:
    files = sum(map(len, subjects.values()))
    alone = len(subjects) == 1 and files > len(domains)
    return f"all {counted(files, 'image')} would be one subject's" if alone else ""


def _torn(subjects: dict[str, list[Entry]]) -> str:
    torn = sum(len({entry.split for entry in own}) > 1 for own in subjects.values())
    return (f"{counted(torn, 'subject')} would lie in more than one of train, val and test, as the folders say them"
            if torn else "")


def _numbered_stems(subjects: dict[str, list[Entry]]) -> str:
    """1234567/A1 and 1234567/A2, while most numbers have one: the number is the patient's."""
    stems: dict[str, set[str]] = defaultdict(set)
    for subject in subjects:
        for match in re.finditer(r"[/_-]", subject):
            stems[subject[:match.start()]].add(subject)
    shared = [stem for stem, own in stems.items() if re.search(r"\d{4,}$", stem) and 1 < len(own) < len(subjects)]
    return f"what shares {shared[0]} would be several subjects" if shared else ""


def _visits(images: Sequence[Entry], subjects: dict[str, list[Entry]]) -> str:
    """Visits that look like contrasts, like subjects, or like the date of a birth."""
    visits = {entry.session for entry in images} - {""}
    if not visits:
        return ""
    some = listed(sorted(visits)[:4])
    parts = {visit: [part for part in re.split(r"[/_ ]", visit) if part] for visit in visits}
    if all(any(map(_LIKE_CONTRASTS.fullmatch, own)) for own in parts.values()):
        return f"{some} would be visits, and look like contrasts"
    if not all(_says_time(next((part for part in own if not part.isdigit()), "")) for own in parts.values()):
        return f"{some} would be visits, and do not look like it"
    dated = [e for e in images if re.search(r"\d{6}", e.session) and not any(map(str.isdigit, e.subject))
             and re.search(rf"{re.escape(e.subject)}[-_ .]*{re.escape(e.session)}", e.name)]
    if dated:
        return f"{dated[0].session} would be a visit of {dated[0].subject}, and may be the date of a birth"
    counted_on = [e for e in images if re.search(r"\d{6}", e.session) and e.subject.isdigit()
                  and re.search(rf"{re.escape(e.session)}[-_ .]*{e.subject}(?!\d)", e.name)]
    if counted_on and len(counted_on) == len(images):
        first = counted_on[0]
        return f"{first.session} would be a visit of {first.subject}, and both may be the name of a subject"
    above = [e for e in images if e.subject.isdigit() and 0 <= e.name.find(e.session) < e.name.rfind(e.subject)]
    lone = len(above) == len(images) and all(e.slice is None and not _is_volume(e) for e in images)
    if lone and all("/" in e.name[e.name.find(e.session):] for e in above):
        return f"{some} would be visits, and may be subjects: below them are numbers alone"
    numbers = all(visit.isdigit() and len(visit) < 6 for visit in visits)
    if numbers and (all(map(str.isdigit, subjects)) or not any(any(map(str.isdigit, name)) for name in subjects)):
        return f"{some} would be visits of {listed(sorted(subjects)[:3])}, and may be numbers of subjects"
    if numbers and len(subjects) <= 4 and len(visits) > len(subjects):
        return f"{counted(len(subjects), 'subject')} would have {len(visits)} visits"
    return ""


def _says_time(part: str) -> bool:
    """Whether a part of a visit's name is a number, or says that it is a time."""
    letters = re.match(r"[^\W\d_]*", part)
    word = letters[0].lower() if letters else ""
    further = {"ses", "session", "visit", "timepoint", "pre", "post", "mid", "frame", "run"}
    return not word or word in VISITS | TIMES | further


def _named_otherwise(subjects: dict[str, list[Entry]]) -> str:
    words = [subject for subject in subjects if subject.lower() in CONTRASTS or subject.lower() in CLASSES
             or re.fullmatch(r"\d+(?:d|w|wk|m|mo|mon|y|yr|months?|weeks?)|(?:v|m|wk|tp|fu|visit|ses)-?\d{1,2}|d\d+|"
                             rf"(?:{'|'.join(PARCELS)})[-_ ]?\d+", subject.lower())]
    if len(subjects) <= 3 and not any(any(map(str.isdigit, subject)) for subject in subjects):
        above = [own[0].name.rpartition("/")[0].rpartition("/")[2] for own in subjects.values()]
        words = words or ([*subjects] if all(re.search(r"\d", folder) for folder in above) else [])
    return f"{words[0]} would be a subject, and does not look like one" if words else ""


def _classes(images: Sequence[Entry], known: bool) -> str:
    """Classes that are planes, or in which the subjects' names begin again; words of classes that say nothing."""
    owners: dict[str, set[str]] = defaultdict(set)
    for entry in images:
        owners[entry.label].add(entry.subject)
    labels = sorted(owners.keys() - {""})
    if labels and {label.lower() for label in labels} <= _PLANES:
        return f"{listed(labels)} would be classes, and are planes"
    parcels = [label for label in labels if "/" in label and re.search(r"\d", label.rpartition("/")[2])]
    if parcels:
        return f"{parcels[0]} would be a class, and may be a class and something else"
    if labels and all(entry.label == entry.subject.rpartition("/")[2] for entry in images):
        return f"{listed(labels[:3])} would be classes, and are called like their subjects"
    if len(labels) > 1 and known:
        again = set.intersection(*owners.values())
        if 2 * len(again) > max(map(len, owners.values())):
            return f"{min(again)} would be one subject in {listed(labels[:3])}, and the names may begin again in each"
    if labels:
        return ""
    told: list[set[str]] = [CLASSES & set(re.split(r"[\W_\d]+", entry.name.lower())) for entry in images]
    everywhere = told[0].intersection(*told) if told else set[str]()
    words = set[str]().union(*told) - everywhere
    return (f"{listed(sorted(words)[:4])} in the names would say nothing, and may be classes"
            if len(words) > 1 and sum(map(bool, told)) > 0.8 * len(told) else "")


def _contrasts(images: Sequence[Entry], domains: set[str]) -> str:
    """Contrasts that are too many, unknown beside known ones, or words that may say something else."""
    if len(domains) > MOST_DOMAINS:
        return f"there would be {len(domains)} contrasts"
    words = {domain: set(re.split(r"[\W_]+", domain.lower())) for domain in domains}
    if len(domains) > 1 and all(own & SIDES for own in words.values()):
        return f"{listed(sorted(domains))} would be contrasts, and may be sides or views"
    shared = set.intersection(*words.values()) & CONTRASTS.keys() - MACHINES if len(domains) > 1 else set()
    points = {"t1", "t2"}
    if shared and all((own & CONTRASTS.keys()) - shared <= points and own & points for own in words.values()):
        return f"all of {listed(sorted(domains)[:4])} are {min(shared)}: what stands beside it may be a visit"
    known = {domain for domain, own in words.items() if own & CONTRASTS.keys() or domain.startswith("channel-")}
    if known and "image" in domains:
        return f"some images would have no contrast, while others are {listed(sorted(known)[:4])}"
    if len(domains) < 2:
        return ""
    above = [e for e in images if 0 <= e.name.find(e.domain) < e.name.find(e.subject.rpartition("/")[2])]
    told = known | {domain for domain, own in words.items() if own & COUNTERPARTS}
    if not told and len(above) > len(images) / 2:
        return f"{listed(sorted(domains)[:4])} would be contrasts, and may be classes or groups of patients"
    tails: dict[frozenset[str], set[frozenset[str]]] = defaultdict(set)
    for own in words.values():
        plain = frozenset(own & (CONTRASTS.keys() | MANNERS))
        tails[plain].add(frozenset(own) - plain)
    if known == domains and len(tails) > 1 and all(len(own) > 1 for own in tails.values()):
        return f"{listed(sorted(domains)[:4])} would be contrasts: each with the same words beside it"
    return ""


def _folders_of_pictures(images: Sequence[Entry]) -> str:
    """Pictures that would be subjects of their own, though they lie in folders that are numbered like patients."""
    folders: dict[str, set[str]] = defaultdict(set)
    for entry in images:
        folders[entry.name.rpartition("/")[0]].add(entry.subject)
    last = [folder.rpartition("/")[2] for folder in folders]
    several = sum(len(own) > 1 for own in folders.values())
    if len(folders) >= 3 and 2 * several >= len(folders) and all(re.search(r"\d", name) for name in last):
        return f"each picture would be a subject, though they lie in {len(folders)} numbered folders"
    return ""


def _shared_stems(images: Sequence[Entry]) -> str:
    """Pictures that would be subjects of their own, though most share the first number of their names with others."""
    stems: dict[str, set[str]] = defaultdict(set)
    for entry in images:
        folder, _, name = entry.name.rpartition("/")
        match = re.match(r"(\D*\d+)\D.*\d", name.rpartition(".")[0])
        stems[f"{folder}/{match[1]}" if match else entry.name].add(entry.subject)
    shared = [stem for stem, own in stems.items() if len(own) > 1]
    if len(shared) > 1 and 2 * sum(len(stems[stem]) for stem in shared) >= len(images):
        return f"what begins with {shared[0].rpartition('/')[2]} would be several subjects"
    return ""
