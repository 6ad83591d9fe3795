"""BIDS, the Brain Imaging Data Structure: sub-01/ses-1/anat/sub-01_ses-1_acq-mprage_run-1_T1w.nii.gz.

Source: the BIDS specification 1.10, https://bids-specification.readthedocs.io.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.core.text import counted
from ganatomy.data.vocabulary import is_mask_name
from ganatomy.sources.entry import Entry, Layout, natural, safe_name

_PLACE = re.compile(r"(sub-[^/]+)/(?:(ses-[^/]+)/)?(?:([^/]+)/)?(sub-[^/_]+)((?:_[^/_-]+-[^/_]+)*)_([^/_-]+)")
_SURE = re.compile(r"(sub-[^/]+)/(?:ses-[^/]+/)?anat/\1_[^/]*[A-Za-z0-9]+\.nii(?:\.gz)?")
_ASIDE = ("derivatives", "sourcedata", "code", "stimuli", "phenotype")
_NO_ANATOMY = ("func", "dwi", "perf", "fmap", "eeg", "meg", "ieeg", "beh", "nirs", "motion", "mrs")
_SERIES = {"bold": "a series over time", "cbv": "a series over time", "asl": "a series over time",
           "dwi": "a series over diffusion directions"}
_MASK_SUFFIXES = {"roi": "roi-mask"}
_SKIP = ("run",)


@dataclass(frozen=True, slots=True)
class _File:
    """A file's name taken apart; `entities` without sub and ses, `words` as --domain searches them."""

    name: str
    subject: str
    session: str
    kind: str
    entities: dict[str, str]
    suffix: str
    words: str


def is_bids(source: Path, names: Sequence[str]) -> bool:
    """Whether the folder says that it is BIDS, or most of its files are named so."""
    inside = [name for name in names if name.partition("/")[0] not in _ASIDE]
    if (source / "dataset_description.json").is_file() and any(_PLACE.fullmatch(formats.stem(name)) for name in inside):
        return True
    return 2 * sum(bool(_SURE.fullmatch(name)) for name in inside) > max(len(inside), 1)


def read_bids(source: Path, names: Sequence[str], rules: Mapping[str, re.Pattern[str]]) -> Layout:
    """Read subjects, sessions and contrasts.

    The suffix (T1w, FLAIR) is the domain. Where a session holds several files of one suffix, the entities by which
    they differ are added (T1w-acq-mprage); of several runs the first is kept. Series over time or directions and field
    maps are left out.

    Args:
        source: the folder.
        names: relative paths of its image files.
        rules: domain -> what to search in entities and suffix ("acq-mprage_run-1_T1w"); the first that fits counts.
            Files that fit none are left out, masks aside.

    Raises:
        UserError: nothing in it is named as BIDS has it, or nothing of it is left.
    """
    aside = Counter(name.partition("/")[0] for name in names if name.partition("/")[0] in _ASIDE)
    inside = [name for name in names if name.partition("/")[0] not in _ASIDE]
    files, unmatched = _taken_apart(inside)
    if not files:
        raise UserError("is no BIDS folder with images: nothing is called like sub-01/anat/sub-01_T1w.nii.gz",
                        where=source, fix="leave --layout out")
    named, without = _named(files, rules)
    entries, further = _entries(source, named, set(rules))
    if not entries:
        raise UserError("no image of this BIDS folder is left", where="--domain" if rules else source,
                        fix=f"it holds {_overview(files)}")
    notes = [f"passed over {counted(count, 'file')} in {folder}" for folder, count in aside.items()]
    if further:
        notes.append(f"{len(further)} further files of a contrast and session are left out, for example "
                     f"{further[0][0]}: {further[0][1]}")
    if (source / "participants.tsv").is_file():
        notes.append("participants.tsv, which may hold classes, is read with --metadata participants.tsv alone")
    return Layout("a BIDS folder", entries, unmatched=[*unmatched, *without, *further], notes=notes)


def _taken_apart(names: Sequence[str]) -> tuple[list[_File], list[tuple[str, str]]]:
    files, unmatched = [], []
    for name in names:
        match = _PLACE.fullmatch(formats.stem(name))
        if match is None:
            unmatched.append((name, "is not named as BIDS has it"))
            continue
        folder, session, kind, subject, text, suffix = match.groups()
        pairs = [part.split("-", 1) for part in text.split("_") if part]
        entities = dict(pairs)
        ses = f"ses-{entities['ses']}" if "ses" in entities else (session or "")
        if subject != folder or (session and ses != session):
            unmatched.append((name, "its name and its folder say different subjects or sessions"))
            continue
        words = "_".join([*("-".join(pair) for pair in pairs if pair[0] != "ses"), suffix])
        files.append(_File(name, subject, ses, kind or "", {k: v for k, v in entities.items() if k != "ses"}, suffix,
                           words))
    return files, unmatched


def _named(files: Sequence[_File], rules: Mapping[str, re.Pattern[str]]
           ) -> tuple[dict[str, list[_File]], list[tuple[str, str]]]:
    """Domain -> files, before files of one session are told apart, and those that are none."""
    named: dict[str, list[_File]] = defaultdict(list)
    without = []
    for file in files:
        plain = _MASK_SUFFIXES.get(file.suffix, file.suffix)
        mask = is_mask_name(plain)
        rule = next((domain for domain, regex in rules.items()
                     if is_mask_name(domain) == mask and regex.search(file.words)), None)
        if file.suffix in _SERIES:
            without.append((file.name, f"is {_SERIES[file.suffix]}, not a single volume; split it first"))
        elif file.kind in _NO_ANATOMY and rule is None:
            without.append((file.name, f"lies in {file.kind}; name it with --domain if it is a single volume"))
        elif rule is not None or mask or not rules:
            named[rule or plain].append(file)
        else:
            without.append((file.name, "fits no --domain"))
    return named, without


def _entries(source: Path, named: Mapping[str, Sequence[_File]],
             ruled: Set[str]) -> tuple[list[Entry], list[tuple[str, str]]]:
    """One file of each domain in each session, in the order of their names, and the further ones."""
    chosen: dict[tuple[str, str, str], _File] = {}
    further = []
    for name, files in named.items():
        telling = () if name in ruled else _telling(files)
        for file in sorted(files, key=lambda f: (natural(f.entities.get("run", "")), natural(f.name))):
            added = [f"{key}-{file.entities[key]}" for key in telling if key in file.entities]
            place = file.subject, file.session, safe_name("-".join([name, *added]))
            first = chosen.setdefault(place, file)
            if first is not file:
                further.append((file.name, f"is a further {place[2]}; {first.name} is kept"))
    entries = [Entry(source / file.name, file.name, subject, session, domain)
               for (subject, session, domain), file in chosen.items()]
    return sorted(entries, key=lambda entry: natural(entry.name)), further


def _telling(files: Sequence[_File]) -> list[str]:
    """The entities by which files of one session differ, runs aside, in the order of the names."""
    sessions: dict[tuple[str, str], list[_File]] = defaultdict(list)
    for file in files:
        sessions[file.subject, file.session].append(file)
    keys = dict.fromkeys(key for file in files for key in file.entities if key not in _SKIP)
    return [key for key in keys
            if any(len({file.entities.get(key) for file in several}) > 1 for several in sessions.values())]


def _overview(files: Sequence[_File]) -> str:
    return ", ".join(f"{suffix} {count}" for suffix, count in Counter(file.suffix for file in files).most_common(8))
