"""What contrast a DICOM volume shows: a domain from a fixed vocabulary, or by the user's own rules; their table.

A description is free text and may name a patient, so it never becomes a domain's name.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from ganatomy.core.errors import UserError
from ganatomy.core.table import Table
from ganatomy.core.text import printable
from ganatomy.data.vocabulary import DESCRIPTIONS, ENHANCED, FAT_SATURATED, MODALITIES, NATIVE, spaced
from ganatomy.sources.dicom.series import Volume
from ganatomy.sources.dicom.slices import Skipped, join
from ganatomy.sources.entry import compiled, safe_name

_COUNTED = re.compile(r"(s|se|ser|series|scan|im|img|image|dir|seq|acq|run|rep|repeat|no)?[-_ ]?\d+", re.IGNORECASE)
"""Names of folders that only count."""
Named = list[tuple[Volume, str]]
"""Volumes and their domains."""

LATE_ECHO = 60.0
"""ms of echo time between proton density and T2 where the repetition time is long."""
SAME = 0.15
"""Echo, repetition and inversion times of one contrast differ by no larger share."""


def propose(volume: Volume) -> str:
    """A domain from the vocabulary, by keywords in description and protocol, else by echo and repetition time."""
    facts = volume.facts
    if facts.modality != "MR":
        return MODALITIES.get(facts.modality, "image")
    if "ADC" in volume.image_type:
        return "ADC"
    for text in (spaced(facts.series_description), spaced(facts.protocol)):
        domain = next((domain for domain, words in DESCRIPTIONS if words.search(text)), "")
        if domain in ("PD", "T2") and re.search(r"\bpd|proton", text) and re.search(r"\bt2", text):
            domain = "PD" if (volume.echo or LATE_ECHO) < LATE_ECHO else "T2"
        if domain == "T1" and (facts.contrast_agent or (ENHANCED.search(text) and not NATIVE.search(text))):
            return "T1ce"
        if domain:
            return domain
    by_times = _by_times(volume)
    return ("T1ce" if by_times == "T1" and facts.contrast_agent else by_times) or f"MR-{volume.plane or 'picture'}"


def _by_times(volume: Volume) -> str:
    """The weighting that echo, repetition and inversion time make, "" where they do not say."""
    echo, repetition, inversion = volume.echo, volume.facts.repetition_time, volume.facts.inversion_time
    if volume.facts.mosaic:
        return "BOLD"
    if echo is None or not repetition:
        return ""
    if inversion and inversion > 1500 and echo > LATE_ECHO:
        return "FLAIR"
    if inversion and inversion < 300 and repetition > 1500:
        return "STIR"
    if repetition < 1000 or (inversion and echo < 25):
        return "T1" if echo <= 25 else ""
    if repetition < 1500:
        return ""
    return "T2" if echo >= LATE_ECHO else "PD" if echo <= 40 else ""


def assign(volumes: Sequence[Volume], rules: Mapping[str, str],
           told: Mapping[Volume, str] | None = None) -> tuple[Named, Skipped]:
    """The domain of each volume, and what is left out.

    Without rules, domains of which one session holds several planes get the plane's name behind theirs in all
    sessions, and fat-saturated series beside plain ones "fs"; several contrasts of one domain in one session are
    numbered, the one that most sessions have first.

    Args:
        volumes: of all patients.
        rules: domain -> pattern, searched without regard to case in description and protocol; the first one counts.
            Those that fit no series are searched in the path too, and so are all for series without either.
        told: the domains of volumes of which the user says it.

    Raises:
        UserError: a rule that is no pattern, or that fits nothing.
    """
    if rules:
        named, skipped = _by_rules(volumes, rules)
    elif told:
        named, skipped = [(v, told.get(v) or propose(v)) for v in volumes], []
    else:
        named, skipped = _with_folders(_numbered(_with_planes(_with_fat([(v, propose(v)) for v in volumes])))), []
    kept, repeats = _without_repeats(named)
    return kept, [*skipped, *repeats]


def _by_rules(volumes: Sequence[Volume], rules: Mapping[str, str]) -> tuple[Named, Skipped]:
    patterns = {domain: compiled(pattern, "--domain") for domain, pattern in rules.items()}
    named: Named = []
    skipped: Skipped = []
    fitting = {name for name, p in patterns.items() if any(map(p.search, (t for v in volumes for t in _texts(v))))}
    for volume in volumes:
        texts = _texts(volume)
        by_path = [name for name in patterns if name not in fitting or not any(texts)]
        domain = next((name for name, p in patterns.items() if any(map(p.search, texts))), None) or next(
            (name for name in by_path if patterns[name].search(_path(volume))), None)
        if domain is None:
            skipped.append((volume.name, f"matches no --domain: {title(volume)}"))
        else:
            named.append((volume, domain))
    taken = {domain for _, domain in named}
    for domain in (domain for domain in rules if domain not in taken):
        there = sorted({printable(title(volume)) for volume in volumes})
        more = f" and {len(there) - 12} more" if len(there) > 12 else ""
        raise UserError(f"{domain}={rules[domain]!r} matches no series", where="--domain",
                        fix=f"the descriptions there are: {', '.join(map(repr, there[:12]))}{more}")
    return named, skipped


def _texts(volume: Volume) -> tuple[str, str]:
    return volume.facts.series_description, volume.facts.protocol


def _path(volume: Volume) -> str:
    """Where a volume lies, without the patient's name: patient19 is no t1."""
    return re.sub(rf"(?<![^\W_]){re.escape(volume.facts.patient_id)}(?![^\W_])", "", volume.name)


def title(volume: Volume) -> str:
    """What a series is called."""
    return volume.facts.series_description or volume.facts.protocol or "(no description)"


def _sessions(named: Named) -> dict[tuple[tuple[str, str], str], list[Volume]]:
    """(session, domain) -> volumes; pictures are not among them."""
    sessions: dict[tuple[tuple[str, str], str], list[Volume]] = defaultdict(list)
    for volume, domain in named:
        if volume.frames:
            sessions[volume.session, domain].append(volume)
    return sessions


def _with_planes(named: Named) -> Named:
    several = {domain for (_, domain), volumes in _sessions(named).items()
               if len({v.plane for v in volumes}) > 1 and not domain.startswith("MR-")}
    return [(v, f"{domain}-{v.plane}" if domain in several and v.frames else domain) for v, domain in named]


def _with_fat(named: Named) -> Named:
    both = {domain for (_, domain), volumes in _sessions(named).items() if len(set(map(_fat_saturated, volumes))) > 1}
    return [(v, f"{domain}-fs" if domain in both and _fat_saturated(v) else domain) for v, domain in named]


def _numbered(named: Named) -> Named:
    """Number the contrasts of a domain within each session, so that the same one has the same name in most."""
    often = Counter((domain, spaced(title(v))) for v, domain in named)
    numbers: dict[Volume, int] = {}
    for (_, domain), volumes in _sessions(named).items():
        contrasts: list[list[Volume]] = []
        ranks = {v: (_part(v) not in ("", "M"), -often[domain, spaced(title(v))], v.echo or 0,
                     v.facts.series_number or 0) for v in volumes}
        for volume in sorted(volumes, key=ranks.__getitem__):
            join(contrasts, volume, _same_contrast)
        numbers |= {volume: i for i, alike in enumerate(contrasts, 1) for volume in alike}
    return [(v, f"{domain}-{numbers[v]}" if numbers.get(v, 1) > 1 else domain) for v, domain in named]


def _with_folders(named: Named) -> Named:
    """Series that differ in nothing but their folder get its name where the same folders return in other patients."""
    folders: dict[str, dict[tuple[str, str], dict[Volume, str]]] = defaultdict(dict)
    for (session, domain), volumes in _sessions(named).items():
        paths = [v.name.split("/")[:-1] for v in volumes]
        level = next((i for i, parts in enumerate(zip(*paths, strict=False)) if len(set(parts)) > 1), None)
        own = [path[level] for path in paths] if level is not None else []
        if len({_unnumbered(name) for name in own}) == len(own) and not any(map(_COUNTED.fullmatch, own)):
            folders[domain][session] = dict(zip(volumes, own, strict=False))
    renamed = dict[Volume, str]()
    for domain, sessions in folders.items():
        patients: dict[str, set[str]] = defaultdict(set)
        for (patient, _), names in sessions.items():
            for name in names.values():
                patients[name].add(patient)
        crossed = [names for names in sessions.values() if names and all(len(patients[n]) > 1 for n in names.values())]
        known = {name for names in crossed for name in names.values()}
        renamed |= {v: f"{domain}-{safe_name(name)}" for v, own in named if own == domain and v.frames
                    for name in v.name.split("/")[:-1] if name in known}
    return [(v, renamed.get(v, domain)) for v, domain in named]


def _same_contrast(one: Volume, other: Volume) -> bool:
    a, b = one.facts, other.facts
    times = ((one.echo, other.echo), (a.repetition_time, b.repetition_time), (a.inversion_time, b.inversion_time))
    if _part(one) != _part(other) or any(x and y and abs(x - y) > SAME * max(x, y) for x, y in times):
        return False
    known = any(x is not None and y is not None for x, y in times)
    return known or _unnumbered(title(one)) == _unnumbered(title(other))


def _fat_saturated(volume: Volume) -> bool:
    facts = volume.facts
    return facts.fat_saturated or bool(FAT_SATURATED.search(spaced(f"{facts.series_description} {facts.protocol}")))


def _part(volume: Volume) -> str:
    """Magnitude, phase, real, imaginary, or a Dixon image; "" where the image type does not say."""
    parts = {"M": "M", "MAGNITUDE": "M", "P": "P", "PHASE": "P", "R": "R", "REAL": "R", "I": "I", "IMAGINARY": "I",
             **{name: name for name in ("W", "WATER", "F", "FAT", "IN_PHASE", "OUT_PHASE", "IP", "OP")}}
    return next((parts[token] for token in volume.image_type[2:] if token in parts), "")


def _unnumbered(text: str) -> str:
    """A description without what marks a second try."""
    return re.sub(r"\b(repeat|rpt|rep|wdh|again|\d+)\b", "", spaced(text)).strip()


def _without_repeats(named: Named) -> tuple[Named, Skipped]:
    """Of several volumes of a domain in one session the one with most slices, and of these the last."""
    kept: set[Volume] = set()
    skipped: Skipped = []
    for (_, domain), volumes in _sessions(named).items():
        best = max(volumes, key=lambda v: (v.slices, v.facts.series_number or 0, v.time, v.number or 0, v.name))
        kept.add(best)
        skipped += [(v.name, f"repeat of another {domain}: {title(v)!r} ({v.slices} slices); kept is {best.name}")
                    for v in volumes if v is not best]
    full = {(v.session, domain) for v, domain in named if v.frames}
    for volume, domain in named:
        if not volume.frames and (volume.session, domain) in full:
            skipped.append((volume.name, f"single picture beside the volumes of {domain}"))
        elif not volume.frames:
            kept.add(volume)
    return [(v, domain) for v, domain in named if v in kept], skipped


WIDTH, MOST_ROWS, _DESCRIPTION = 116, 60, 44


def table(volumes: Sequence[Volume], named: Named) -> list[str]:
    """The series by what they are, over all patients, as lines of text at most `WIDTH` characters wide.

    Args:
        volumes: all there are.
        named: those that are taken; the domain of others is shown as "-".
    """
    domains = dict(named)
    kinds: dict[tuple[str, str, str, str], list[Volume]] = defaultdict(list)
    for volume in volumes:
        protocol = volume.facts.protocol
        text = title(volume) + (f" / {protocol}" if protocol not in ("", title(volume)) else "")
        kind = _cut(text), volume.facts.modality or "?", volume.plane or "picture", domains.get(volume, "-")
        kinds[kind].append(volume)
    order = sorted(kinds, key=lambda kind: (kind[3] == "-", kind[3], -len(kinds[kind]), kind))
    rows = []
    for kind in order[:MOST_ROWS]:
        several, (text, modality, plane, domain) = kinds[kind], kind
        tilts = [round(v.tilt) for v in several]
        rows.append([text, modality, plane + (f" {_span(tilts)}°" if max(tilts) else ""),
                     _span([v.slices for v in several]), _spacing(several),
                     str(len({v.facts.patient_id for v in several})), domain])
    lines = Table(["series", "modality", "plane", "slices", "mm", "patients", "domain"], rows).text().splitlines()
    more = len(order) - MOST_ROWS
    return [*(line[:WIDTH] for line in lines), *([f"and {more} more kinds of series"] if more > 0 else [])]


def _cut(text: str) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= _DESCRIPTION else text[:_DESCRIPTION - 3] + "..."


def _span(values: Sequence[float]) -> str:
    """The smallest and the largest, sizes with two digits: 24, or 0.5..0.9."""
    low, high = (str(value) if isinstance(value, int) else f"{value:.2g}" for value in (min(values), max(values)))
    return low if low == high else f"{low}..{high}"


def _spacing(volumes: Sequence[Volume]) -> str:
    """Pixel size from column to column and step: 0.9x5, or 0.5..0.9x3..5."""
    affines = [v.header.affine for v in volumes if v.header.affine is not None]
    sizes = [*(float(np.linalg.norm(affine[:3, 0])) for affine in affines),
             *(v.header.spacing[1] for v in volumes if v.header.spacing)]
    steps = [v.step for v in volumes if v.step]
    return _span(sizes) + (f"x{_span(steps)}" if steps else "") if sizes else "-"
