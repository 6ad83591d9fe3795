"""Whose images DICOM volumes are: by their tags or, where these hold placeholders, by folders or studies."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ganatomy.core.errors import Offer, Question
from ganatomy.core.text import counted, printable
from ganatomy.data.vocabulary import PARCELS, PEOPLE, VISITS, is_contrast_name
from ganatomy.formats.dicom.tags import Facts
from ganatomy.sources.dicom.series import Volume, order

TAGS = {"PatientID": "patient_id", "PatientName": "patient_name", "StudyInstanceUID": "study_uid"}
"""Tags that --subject-regex may name instead of an expression over paths."""
_PLACEHOLDER = re.compile(
    r"(anon\w*|removed?|unknown|unbekannt|undefined|unnamed|unidentified|none|null|nil|nan?|no|not|name|noname|noid|id|"
    r"patient|subject|person|patientid|patientname|deleted|de|deid\w*|identified|redacted|empty|blank|hidden|withheld|"
    r"confidential|private|default|dummy|available|x+|0+)", re.IGNORECASE)
"""What the words of an id or name are that was put in the place of one."""
_PERSON = re.compile(rf"({'|'.join(PEOPLE)}|pa|pt|volunteer|vol)([-_ ]\w*)?\d\w*", re.IGNORECASE)
_VISIT = re.compile(
    rf"(baseline|bl|pre|post|before|after|follow[-_ ]?up|fu|({'|'.join(VISITS)}|ses|session|visit|timepoint|st|fu|"
    r"follow[-_ ]?up)[-_ ]?\d+|((19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d|[0-3]\d[-_.][0-3]\d[-_.](19|20)\d\d).*|"
    r"\d+(\.\d+){4,})", re.IGNORECASE)
_PARCEL = re.compile(rf"\D*|({'|'.join(PARCELS)}|site|cent(er|re)|cohort|scanner)[-_ ]?\w*", re.IGNORECASE)
"""What folders of a patient, of a visit, and of several patients are called."""


@dataclass(frozen=True)
class _Level:
    """A level of folders that parts studies.

    Attributes:
        start, end: which parts of a path are the subject.
        regex: for --subject-regex.
        names: of the folders of that level; subjects: how many there are.
    """

    start: int
    end: int
    regex: str
    names: frozenset[str]
    subjects: int

    @property
    def returns(self) -> bool:
        """Whether folders of one name lie in several others."""
        return len(self.names) < self.subjects

    def subject(self, volume: Volume) -> str:
        """Whose a volume is."""
        return "/".join(volume.name.split("/")[self.start:self.end])


def tell_patients(volumes: Sequence[Volume], sure: bool = False) -> tuple[list[Volume], list[str]]:
    """The volumes with their subjects as `patient_id`, and what is to be told of it.

    A subject is a PatientID, else a PatientName. Placeholders, and one id over all files that lie in folders called
    like patients, give way to these folders, else to the studies. `sure` takes the likeliest reading unasked.

    Raises:
        Question: there are several.
    """
    owners: dict[tuple[str, str], list[Volume]] = defaultdict(list)
    for volume in volumes:
        owners[known_by(volume.facts)].append(volume)
    by, notes, out = Counter[str](), list[str](), list[Volume]()
    stems = _stems([key for _, key in owners])
    if stems:
        notes.append(f"{len(stems)} ids that differ in the visit alone are {len(set(stems.values()))} patients; "
                     "if not, say --subject-regex PatientID")
    for (tag, key), own in owners.items():
        level = _level(own, tag, key, len(owners) == 1, sure)
        way = "their folder" if level else tag or "StudyInstanceUID"
        subjects = [level.subject(v) if level else stems.get(key, key) or v.facts.study_uid for v in own]
        by[way] += len(own)
        changed = {(id(v.facts), s): replace(v.facts, patient_id=s) for v, s in zip(own, subjects, strict=True)}
        out += [replace(v, facts=changed[id(v.facts), s]) for v, s in zip(own, subjects, strict=True)]
        studies = len({v.facts.study_uid for v in own})
        if way == tag and len(owners) == 1 and studies > 1:
            notes.append(f"warning: all files have one {tag}, so they are one patient with {studies} studies; "
                         "--subject-regex StudyInstanceUID makes each study a patient")
        elif way != tag:
            what = f"one {tag} stands for" if key else "no PatientID or PatientName tells apart"
            example = f", such as {printable(subjects[0])!r} (--subject-regex {level.regex!r})" if level else ""
            notes.append(f"warning: {what} {counted(len(own), 'volume')}, so each {'folder' if level else 'study'} is "
                         f"a patient, {len(set(subjects))} in all{example}; if not, say so with --subject-regex")
    told = ", else by ".join(way for way, _ in by.most_common())
    return sorted(out, key=order), [f"patients are told apart by {told}", *notes]


def known_by(facts: Facts) -> tuple[str, str]:
    """The tag that names the patient, and its value; both "" where there are only placeholders."""
    for tag in ("PatientID", "PatientName"):
        value: str = getattr(facts, TAGS[tag])
        words = re.findall(r"[^\W_]+", value)
        if words and not all(_PLACEHOLDER.fullmatch(word) for word in words):
            return tag, value
    return "", ""


def _stems(keys: Sequence[str]) -> dict[str, str]:
    """Ids such as P001_V1 and P001_V2 -> what they share."""
    parts = {key: re.split(r"[-_ .](?=[^-_ .]*$)", key) for key in keys}
    stems = {key: own[0] for key, own in parts.items() if len(own) == 2 and _VISIT.fullmatch(own[1])}
    shared = Counter(stems.values())
    return {key: stem for key, stem in stems.items() if shared[stem] > 1 and any(map(str.isdigit, stem))}


def _level(volumes: Sequence[Volume], tag: str, key: str, alone: bool, sure: bool) -> _Level | None:
    """The level of folders that are the patients, None where the tag or the study is.

    Args:
        volumes: those of one value of the tag.
        tag, key: see `known_by`.
        alone: there is no other value. sure: see `tell_patients`.
    """
    levels = _levels(volumes)
    named_so = re.compile(rf"(?<![^\W_]){re.escape(key)}(?![^\W_])", re.IGNORECASE)
    people = [level for level in levels if all(map(_PERSON.fullmatch, level.names))
              and not (key and any(map(named_so.search, level.names)))]
    if people and people[0].subjects > (1 if alone or not key else 2):
        levels = people[:1]
        if not levels[0].returns:
            return levels[0]
    elif not levels or (key and (not alone or all(named_so.search(v.name.rpartition("/")[0]) for v in volumes))):
        return None
    inner = [level for level in levels if not all(map(_VISIT.fullmatch, level.names))]
    if key and not inner:
        return None
    named = [level for level in inner if not all(map(_PARCEL.fullmatch, level.names))] or inner[-1:]
    studies = len({v.facts.study_uid for v in volumes})
    if not key and len(named) == 1 and not named[0].returns and (
            named[0].subjects == studies or not all(map(_PARCEL.fullmatch, named[0].names))):
        return named[0]
    if sure:
        return (named or levels)[0]
    raise _undecided(volumes, tag, key, named or levels, studies)


def _levels(volumes: Sequence[Volume]) -> list[_Level]:
    """The levels that part studies and no study, the top one first; none that parts the same again, none of contrasts.

    Where all lie in one study, this says nothing, unless the same series return in each folder.
    """
    paths = [v.name.split("/")[:-1] for v in volumes]
    one_study = len({v.facts.study_uid for v in volumes}) == 1
    common, levels = 0, list[_Level]()
    for end in range(1, min(map(len, paths)) + 1):
        folders = [tuple(path[:end]) for path in paths]
        parts, names = set(folders), frozenset(path[end - 1] for path in paths)
        if len(parts) == 1:
            common = end
            continue
        held: dict[tuple[str, ...], set[str]] = defaultdict(set)
        series: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for folder, volume in zip(folders, volumes, strict=True):
            held[folder].add(volume.facts.study_uid)
            series[folder].append(f"{volume.facts.series_description} {volume.plane}")
        parted = len({tuple(sorted(own)) for own in series.values()}) > 1 if one_study else (
            sum(map(len, held.values())) > len(set().union(*held.values())))
        if parted or all(map(is_contrast_name, names)) or (levels and levels[-1].subjects == len(parts)):
            continue
        crossed = len(parts) == len(names) * len({folder[:-1] for folder in folders})
        if crossed and end > common + 1 and not one_study and all(map(_PERSON.fullmatch, names)) and all(
                is_contrast_name(path[end - 2]) for path in paths):
            parts = {(name,) for name in names}  # T1/pat1 and T2/pat1 are one patient's
        start = end - 1 if len(names) == len(parts) else common
        above = [*map(re.escape, paths[0][:min(common, start)]), *["[^/]+"] * (start - common)]
        regex = "/".join([*above, f"({'/'.join(['[^/]+'] * (end - start))})"])
        levels.append(_Level(start, end, f"^{regex}/", names, len(parts)))
    return levels


def _undecided(volumes: Sequence[Volume], tag: str, key: str, levels: Sequence[_Level], studies: int) -> Question:
    what = f"all files have one {tag}" if key else "no PatientID or PatientName tells patients apart"
    first = volumes[0].name.split("/")
    ways = [(f"{level.subjects} patients, such as {printable(level.subject(volumes[0]))!r}", level.regex)
            for level in levels]
    ways += [(f"{len(level.names)} patients, such as {printable(first[level.end - 1])!r}",
              f"^{'[^/]+/' * (level.end - 1)}([^/]+)/") for level in levels if level.returns]
    ways += [("all are one patient", tag)] if key else []
    ways += [(f"each study is a patient, {studies} in all", "StudyInstanceUID")] if studies > 1 else []
    return Question(f"{what}, and the folders can be read in several ways; say which is right",
                    [Offer(f"{text} (the first is of {printable(volumes[0].name)})", {"subject_regex": regex})
                     for text, regex in ways], where=volumes[0].name)
