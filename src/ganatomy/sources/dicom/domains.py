"""What contrast a DICOM volume shows: a domain from a fixed vocabulary, or by the user's own rules.

A description is free text and may name a patient, so it never becomes a domain's name.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from ganatomy.core.errors import UserError
from ganatomy.core.text import printable
from ganatomy.sources.dicom.series import Volume
from ganatomy.sources.dicom.slices import Skipped
from ganatomy.sources.entry import compiled

Named = list[tuple[Volume, str]]
"""Volumes and their domains."""

_MODALITIES = {"CR": "XR", "DX": "XR", "RG": "XR", "PX": "XR", "IO": "XR", "PT": "PET", "ES": "ES", "IVUS": "US",
               **{m: m for m in ("CT", "MG", "US", "NM", "XA", "RF", "XC", "GM", "SM", "OP", "OPT", "OCT", "BMD")}}
_KEYWORDS = [(domain, re.compile(rf"(?:{words})")) for domain, words in (
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
_ENHANCED = re.compile(r"\+ ?c\b|\bc ?\+|\b(gd|gad\w*|km|ce|ce?t1\w?|t1 ?w?ce|t1c|post|contrast|kontrast|enhanced)\b")
_NATIVE = re.compile(r"\b(pre|nativ\w?)\b|\b(no|non|without|ohne|w o) (gd|gad\w*|km|ce|contrast|kontrast|enhanced)\b")
LATE_ECHO = 60.0
"""ms of echo time between proton density and T2 where the repetition time is long."""
SAME = 0.15
"""Echo, repetition and inversion times of one contrast differ by no larger share."""


def plain(text: str) -> str:
    """Text in small letters, its words apart: "AxT2_FLAIR+C" gives "ax t2 flair +c"."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z][A-Za-z0-9])|(?<=[0-9])(?=[A-Z][A-Za-z])", " ", text)
    return " ".join(re.sub(r"[^a-z0-9*+]+", " ", text.lower()).split())


def propose(volume: Volume) -> str:
    """A domain from the vocabulary, by keywords in description and protocol, else by echo and repetition time."""
    facts = volume.facts
    if facts.modality != "MR":
        return _MODALITIES.get(facts.modality, "image")
    if "ADC" in volume.image_type:
        return "ADC"
    for text in (plain(facts.series_description), plain(facts.protocol)):
        found = next((domain for domain, words in _KEYWORDS if words.search(text)), "")
        if found in ("PD", "T2") and re.search(r"\bpd|proton", text) and re.search(r"\bt2", text):
            found = "PD" if (volume.echo or LATE_ECHO) < LATE_ECHO else "T2"
        if found == "T1" and (facts.contrast_agent or (_ENHANCED.search(text) and not _NATIVE.search(text))):
            return "T1ce"
        if found:
            return found
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


def assign(volumes: Sequence[Volume], rules: Mapping[str, str]) -> tuple[Named, Skipped]:
    """The domain of each volume, and what is left out.

    Without rules, domains of which one session holds several planes get the plane's name behind theirs in all
    sessions; several contrasts of one domain in one session are numbered, the one that most sessions have first.

    Args:
        volumes: of all patients.
        rules: domain -> pattern, searched without regard to case in description and protocol; the first one counts.

    Raises:
        UserError: a rule that is no pattern, or that fits nothing.
    """
    if rules:
        named, skipped = _by_rules(volumes, rules)
    else:
        named, skipped = _numbered(_with_planes([(v, propose(v)) for v in volumes])), []
    kept, repeats = _without_repeats(named)
    return kept, [*skipped, *repeats]


def _by_rules(volumes: Sequence[Volume], rules: Mapping[str, str]) -> tuple[Named, Skipped]:
    patterns = {domain: compiled(pattern, "--domain") for domain, pattern in rules.items()}
    named: Named = []
    skipped: Skipped = []
    for volume in volumes:
        texts = (volume.facts.series_description, volume.facts.protocol)
        domain = next((name for name, p in patterns.items() if any(p.search(text) for text in texts)), None)
        if domain is None:
            skipped.append((volume.name, f"matches no --domain: {title(volume)}"))
        else:
            named.append((volume, domain))
    found = {domain for _, domain in named}
    for domain in rules:
        if domain not in found:
            there = sorted({printable(title(volume)) for volume in volumes})
            more = f" and {len(there) - 12} more" if len(there) > 12 else ""
            raise UserError(f"{domain}={rules[domain]!r} matches no series", where="--domain",
                            fix=f"the descriptions there are: {', '.join(map(repr, there[:12]))}{more}")
    return named, skipped


def title(volume: Volume) -> str:
    """What a series is called."""
    return volume.facts.series_description or volume.facts.protocol or "(no description)"


def _sessions(named: Named) -> dict[tuple[tuple[str, str], str], list[Volume]]:
    """(session, domain) -> volumes; pictures are not among them."""
    found: dict[tuple[tuple[str, str], str], list[Volume]] = defaultdict(list)
    for volume, domain in named:
        if volume.frames:
            found[volume.session, domain].append(volume)
    return found


def _with_planes(named: Named) -> Named:
    several = {domain for (_, domain), volumes in _sessions(named).items()
               if len({v.plane for v in volumes}) > 1 and not domain.startswith("MR-")}
    return [(v, f"{domain}-{v.plane}" if domain in several and v.frames else domain) for v, domain in named]


def _numbered(named: Named) -> Named:
    """Number the contrasts of a domain within each session, so that the same one has the same name in most."""
    often = Counter((domain, plain(title(v))) for v, domain in named)
    numbers: dict[Volume, int] = {}
    for (_, domain), volumes in _sessions(named).items():
        contrasts: list[list[Volume]] = []
        ranks = {v: (_part(v) not in ("", "M"), -often[domain, plain(title(v))], v.echo or 0,
                     v.facts.series_number or 0) for v in volumes}
        for volume in sorted(volumes, key=ranks.__getitem__):
            same = next((found for found in contrasts if _same_contrast(found[0], volume)), None)
            if same is None:
                contrasts.append([volume])
            else:
                same.append(volume)
        numbers |= {volume: i for i, found in enumerate(contrasts, 1) for volume in found}
    return [(v, f"{domain}-{numbers[v]}" if numbers.get(v, 1) > 1 else domain) for v, domain in named]


def _same_contrast(one: Volume, other: Volume) -> bool:
    a, b = one.facts, other.facts
    times = ((one.echo, other.echo), (a.repetition_time, b.repetition_time), (a.inversion_time, b.inversion_time))
    if _part(one) != _part(other) or any(x and y and abs(x - y) > SAME * max(x, y) for x, y in times):
        return False
    known = any(x is not None and y is not None for x, y in times)
    return known or _unnumbered(title(one)) == _unnumbered(title(other))


def _part(volume: Volume) -> str:
    """Magnitude, phase, real, imaginary, or a Dixon image; "" where the image type does not say."""
    parts = {"M": "M", "MAGNITUDE": "M", "P": "P", "PHASE": "P", "R": "R", "REAL": "R", "I": "I", "IMAGINARY": "I",
             **{name: name for name in ("W", "WATER", "F", "FAT", "IN_PHASE", "OUT_PHASE", "IP", "OP")}}
    return next((parts[token] for token in volume.image_type[2:] if token in parts), "")


def _unnumbered(text: str) -> str:
    """A description without what marks a second try."""
    return re.sub(r"\b(repeat|rpt|rep|wdh|again|\d+)\b", "", plain(text)).strip()


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
