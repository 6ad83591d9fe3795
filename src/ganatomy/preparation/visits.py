"""From single files to visits: what one patient's one session holds, checked before any pixel is read."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from ganatomy import formats
from ganatomy.core.errors import UserError
from ganatomy.core.text import counted
from ganatomy.data.vocabulary import is_mask_name
from ganatomy.preparation.grids import Numbered, Scanned, onto_grid, refuse_other_grids
from ganatomy.sources.entry import Entry, natural

Skipped = list[tuple[str, str]]
"""Names of files that are not used, with the reason: private."""
COMMON_DOMAIN = 0.5
"""A domain that fewer subjects have is taken only when named."""


@dataclass(frozen=True)
class Visit:
    """One session of one subject.

    Attributes:
        subject, session: original names.
        files: domain -> slice number -> file; a volume stands under every one of its slices.
        masks: the same for masks; slices without one are empty.
        volumetric: the slices are those of volumes, not single pictures.
    """

    subject: str
    session: str
    files: dict[str, dict[int, Scanned]]
    masks: dict[str, dict[int, Scanned]] = field(default_factory=dict)
    volumetric: bool = False

    @property
    def slices(self) -> list[int]:
        """Slice numbers that every domain has."""
        return sorted(set.intersection(*(set(own) for own in self.files.values())))


def choose_domains(entries: Sequence[Entry], wanted: Sequence[str] | None, masks: Sequence[str] | None,
                   unpaired: bool, say: Callable[[str], None]) -> tuple[list[str], list[str]]:
    """The domains to prepare, in order, and those that are masks.

    Unless named, domains called like a mask are masks, and domains that few subjects have are passed over, aloud, if
    the domains are to be paired.

    Raises:
        UserError: a domain that does not exist, or nothing but masks.
    """
    owners: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        owners[entry.domain].add(entry.subject)
    refuse_unknown("domain", wanted or (), owners, "--domains")
    refuse_unknown("domain", masks or (), owners, "--masks")
    if masks is None:
        masks = [name for name in sorted(owners) if is_mask_name(name)]
        masks = masks if len(masks) < len(owners) else []
        if masks:
            say(f"taken for {'a mask' if len(masks) == 1 else 'masks'} by name: {', '.join(masks)}")
    if wanted:
        domains = [name for name in wanted if name not in masks]
    else:
        subjects = len(set().union(*owners.values()))
        images = sorted(owners.keys() - set(masks), key=natural)
        domains = [name for name in images if unpaired or len(owners[name]) >= COMMON_DOMAIN * subjects] or images
        rare = [name for name in images if name not in domains]
        if rare:
            counts = ", ".join(f"{name} ({len(owners[name])} of {counted(subjects, 'subject')})" for name in rare[:8])
            say(f"passed over, since few subjects have it: {counts}; name it with --domains to use it")
    if not domains:
        raise UserError("nothing but masks is left", fix="name the images with --domains, or the masks with --masks")
    return list(dict.fromkeys(domains)), list(masks)


def refuse_unknown(what: str, names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise `UserError` for the first name that the source does not have, with those it has and that are like it."""
    ordered = sorted(known)
    for name in names:
        if name not in ordered:
            like = get_close_matches(name, ordered, n=3, cutoff=0.5) or ordered[:8]
            raise UserError(f"there is no {what} {name!r}", where=where,
                            fix=f"did you mean {', '.join(like)}?" if like else "leave it out")


def group_visits(scanned: Sequence[Scanned], domains: Sequence[str], masks: Sequence[str],
                 resample_to: str | None = None) -> tuple[list[Visit], Skipped]:
    """Bring files of one subject and session together.

    Args:
        scanned: the files.
        domains, masks: to be had.
        resample_to: the domain whose grid the other volumes of a visit are brought to; None refuses different grids.

    Returns:
        The visits that have every domain, and (name, reason) of the files left out because a domain is lacking.

    Raises:
        UserError: two volumes for the same place, pictures that cannot be matched, domains on different grids, or in
            different frames of reference.
    """
    visits, left_out = [], Skipped()
    owners = {(item.entry.subject, item.entry.domain) for item in scanned}
    for (subject, session), by_domain in _sessions(scanned):
        lacking = [name for name in domains if name not in by_domain]
        if lacking:
            elsewhere = all((subject, name) in owners for name in lacking)
            left_out += [(item.entry.name, f"left out: its {'session' if elsewhere else 'subject'} has no "
                          f"{', '.join(lacking)}")
                         for name in domains if name in by_domain for item in by_domain[name]]
            continue
        volumetric = any(i.header.volumetric for name in domains for i in by_domain[name])
        numbered = _numbered({name: by_domain[name] for name in (*domains, *masks) if name in by_domain}, subject)
        if resample_to is not None:
            numbered = onto_grid(numbered, resample_to, subject)
        visit = Visit(subject, session, {name: numbered[name] for name in domains},
                      {name: numbered[name] for name in masks if name in numbered}, volumetric)
        left_out += _unmatched(visit)
        if visit.slices:
            refuse_other_grids(visit.subject, visit.files, visit.masks)
            visits.append(visit)
    return visits, left_out


def unpaired_visits(scanned: Sequence[Scanned], domains: Sequence[str], masks: Sequence[str] = ()) -> list[Visit]:
    """A visit for each domain by itself: sessions need not have every domain, nor one grid.

    Masks are kept where a session has one domain alone, so that they can only be of its images.
    """
    visits = []
    for (subject, session), by_domain in _sessions(scanned):
        own = [name for name in domains if name in by_domain]
        for name in own:
            kept = [mask for mask in masks if mask in by_domain and len(own) == 1]
            numbered = _numbered({key: by_domain[key] for key in (name, *kept)}, subject)
            visit = Visit(subject, session, {name: numbered.pop(name)}, numbered,
                          any(item.header.volumetric for item in by_domain[name]))
            refuse_other_grids(subject, visit.files, visit.masks)
            visits.append(visit)
    return visits


def without_lost_masks(visits: Sequence[Visit], lost: Sequence[Entry]) -> tuple[list[Visit], Skipped]:
    """The visits without the slices whose mask could not be read: it must not turn into "no lesion".

    Args:
        visits: paired ones.
        lost: the masks that could not be read.

    Returns:
        The visits that are left, and (name, reason) of the images left out.
    """
    kept, left_out = [], Skipped()
    for visit in visits:
        gone = set[int]()
        for entry in lost:
            sessions = (entry.session, "/".join(filter(None, (entry.label, entry.session))))
            if entry.subject == visit.subject and visit.session in sessions:
                gone |= _slices_of(entry, visit)
        names = {item.entry.name for own in visit.files.values() for n, item in own.items() if n in gone}
        left_out += [(name, "left out: its mask cannot be read") for name in sorted(names)]
        visit = replace(visit, files=_without(visit.files, gone), masks=_without(visit.masks, gone))
        if visit.slices:
            kept.append(visit)
    return kept, left_out


def _without(files: Numbered, gone: set[int]) -> dict[str, dict[int, Scanned]]:
    return {name: {n: item for n, item in own.items() if n not in gone} for name, own in files.items()}


def _slices_of(mask: Entry, visit: Visit) -> set[int]:
    """The slices to which a mask belongs, by its number or name; all where neither says it."""
    items = [(n, item.entry) for own in visit.files.values() for n, item in own.items()]
    if visit.volumetric:
        return set(visit.slices)
    if mask.slice is not None and all(entry.slice is not None for _, entry in items):
        return {n for n, entry in items if entry.slice == mask.slice}
    return {n for n, entry in items if _key(entry) == _key(mask)} or set(visit.slices)


def _sessions(scanned: Sequence[Scanned]) -> list[tuple[tuple[str, str], dict[str, list[Scanned]]]]:
    """(subject, session) -> domain -> files. What is in two places of a session because it is of two classes is parted.

    That happens where benign/p0 and malignant/p0 both hold a slice 1 of T1.
    """
    own: dict[tuple[str, str], list[Scanned]] = defaultdict(list)
    for item in scanned:
        own[item.entry.subject, item.entry.session].append(item)
    parted: dict[tuple[str, str], dict[str, list[Scanned]]] = {}
    for (subject, session), items in own.items():
        places = Counter((i.entry.domain, i.entry.slice) for i in items
                         if i.header.volumetric or i.entry.slice is not None)
        labels = {i.entry.label for i in items}
        part = max(places.values(), default=0) > 1 and len(labels) > 1 and "" not in labels
        for item in items:
            name = "/".join(filter(None, (item.entry.label, session))) if part else session
            parted.setdefault((subject, name), defaultdict(list))[item.entry.domain].append(item)
    return sorted(parted.items(), key=lambda f: (natural(f[0][0]), natural(f[0][1])))


def _numbered(files: Mapping[str, list[Scanned]], subject: str) -> dict[str, dict[int, Scanned]]:
    """Domain -> slice number -> file, for the images and masks of one visit.

    The numbers are the source's own, or else all of them come from the names: never are the files of one domain
    counted by themselves while another's are not.
    """
    files = {name: sorted(own, key=lambda f: natural(f.entry.name)) for name, own in files.items()}
    if len(files) > 1 and max(map(len, files.values())) > 1 and any(f.entry.counted for o in files.values() for f in o):
        raise UserError(f"the DICOM files of {' and '.join(files)} of subject {subject} do not say where they lie "
                        "(ImagePositionPatient, SliceLocation), and their numbers need not mean the same places",
                        where=next(iter(files.values()))[0].entry.name,
                        fix="add --unpaired, or prepare one alone with --domains")
    if any(f.header.volumetric for own in files.values() for f in own):
        for name, own in files.items():
            if len(own) > 1:
                raise UserError(f"{len(own)} files for the same subject, session and domain {name}: "
                                f"{', '.join(f.entry.name for f in own[:3])}",
                                fix="tell them apart by a CSV with the columns path, subject, session and domain, by "
                                    "--pattern with {session}, or choose with --domains")
        return {name: dict.fromkeys(range(own[0].view.slices), own[0]) for name, own in files.items()}
    numbered = {name: {f.entry.slice: f for f in own if f.entry.slice is not None} for name, own in files.items()}
    if all(len(numbered[name]) == len(own) for name, own in files.items()):
        return numbered
    if max(map(len, files.values())) == 1 or len(files) == 1:
        return {name: dict(enumerate(own)) for name, own in files.items()}
    return _by_name(files, subject)


def _by_name(files: Mapping[str, list[Scanned]], subject: str) -> dict[str, dict[int, Scanned]]:
    """Number the pictures of a visit by the parts of their names that the domains share.

    Where the names have nothing in common and all domains have as many pictures, their order counts.

    Raises:
        UserError: some pictures match and others do not, or the numbers of pictures differ.
    """
    keys = {name: [_key(f.entry) for f in own] for name, own in files.items()}
    largest = max(keys.values(), key=len)
    unique = all(len(set(own)) == len(own) for own in keys.values())
    if unique and all(set(own) <= set(largest) for own in keys.values()):
        return {name: {largest.index(key): f for key, f in zip(keys[name], own, strict=True)}
                for name, own in files.items()}
    strangers = len(set().union(*keys.values())) == sum(len(set(own)) for own in keys.values())
    # names that a PACS gives say nothing: left and right views would be paired
    unnumbered = all(f.entry.slice is None and not f.header.modality for own in files.values() for f in own)
    if unique and strangers and unnumbered and len({len(own) for own in keys.values()}) == 1:
        return {name: dict(enumerate(own)) for name, own in files.items()}
    counts = ", ".join(f"{len(own)} of {name}" for name, own in files.items())
    raise UserError(f"subject {subject} has {counts}, and nothing says which belong together",
                    where=next(iter(files.values()))[0].entry.name,
                    fix="number them: a column slice in a CSV, or --pattern with {slice} and, if need be, {session}")


def _key(entry: Entry) -> tuple[str, ...]:
    """The words of a file's name without those of its domain or of masks."""
    without = {*_words(entry.domain), "mask", "masks", "label", "labels", "seg", "segmentation", "image", "img"}
    return tuple(word for word in _words(formats.stem(entry.name.rpartition("/")[2])) if word not in without)


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", name.lower()) if word]


def unequal_counts(visits: Sequence[Visit]) -> list[str]:
    """A warning where most visits have runs of pictures of unequal length that are paired by their numbers alone."""
    unequal = []
    for visit in visits:
        runs = {name: sorted(own) for name, own in visit.files.items()}
        steps = all(numbers == list(range(numbers[0], numbers[0] + len(numbers))) for numbers in runs.values())
        placed = visit.volumetric or any(i.header.modality for own in visit.files.values() for i in own.values())
        ends = [{run[0] for run in runs.values()}, {run[-1] for run in runs.values()}]
        if steps and not placed and len(ends[0]) == 1 < len(ends[1]):
            unequal.append(" and ".join(f"{len(run)} of {name}" for name, run in runs.items()))
    if 2 * len(unequal) <= len(visits):
        return []
    return [f"{len(unequal)} of {counted(len(visits), 'visit')} have unequal numbers of slices, such as {unequal[0]}, "
            "paired by number: the same number need not be the same place; give volumes, or add --unpaired"]


def _unmatched(visit: Visit) -> Skipped:
    """Pictures whose slice another domain lacks, and masks of slices without a picture."""
    slices = set(visit.slices)
    lost, masks = ([item.entry.name for own in files.values() for number, item in own.items() if number not in slices]
                   for files in (visit.files, visit.masks))
    if visit.volumetric:
        if lost:
            refuse_other_grids(visit.subject, visit.files, visit.masks)
        return []
    return [*((name, "left out: another domain lacks this slice") for name in lost),
            *((name, "left out: no picture has the slice of this mask") for name in masks)]
