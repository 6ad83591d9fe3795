"""The second pass: visits to stored images, masks and notes, in several processes, written in order.

A visit is read, mapped and brought to size in a process of its own; few visits are held in memory.
"""

from __future__ import annotations

import hmac
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.dataset import DatasetWriter
from ganatomy.data.geometry import Frame, Spacing, canonical, canonical_spacing, choose_slices, planes
from ganatomy.data.images import Pixels, Unreadable, is_coloured, luma
from ganatomy.data.intensity import Decision, Levels, Mapping, mapping, measure
from ganatomy.data.manifest import Row
from ganatomy.data.parallel import FEW, in_order
from ganatomy.preparation.grids import Scanned, placement, resample
from ganatomy.preparation.masks import MaskCodes, mask_labels
from ganatomy.preparation.plan import Plan
from ganatomy.preparation.privacy import likely_text, shows_whole_head
from ganatomy.preparation.private import Origin
from ganatomy.preparation.visits import Skipped, Visit
from ganatomy.sources.entry import read_entry

SMALL = 16
"""Visits of single pictures travel between processes this many at a time."""
LOOKED_AT = 1000
"""In at most so many visits, evenly chosen, text and whole heads are looked for."""
PERCENTILES = (1, 25, 50, 75, 99)


@dataclass(frozen=True, slots=True)
class Names:
    """A visit's pseudonyms; the session's is "" where the subject has but one.

    `look` says whether its pictures are looked at for text and whole heads: in a large cohort not all of them are.
    """

    subject: str
    session: str
    look: bool = True


def _lists() -> defaultdict[str, list[Any]]:
    return defaultdict(list)


@dataclass
class Tally:
    """Counts that grow while images are converted; nothing in it names a file or a patient."""

    sizes: Counter[str] = field(default_factory=Counter)
    spacings: set[Spacing] = field(default_factory=set)
    percentiles: dict[str, list[list[float]]] = field(default_factory=_lists)
    mappings: dict[str, list[Mapping]] = field(default_factory=_lists)
    foreground: dict[str, list[float]] = field(default_factory=_lists)
    stored_range: tuple[float, float] | None = None
    constant: int = 0
    flat: set[str] = field(default_factory=set)
    enlarged: int = 0
    cut: int = 0
    grey_in_colour: int = 0
    colour_in_grey: int = 0
    without_mask: int = 0
    looked_at: int = 0
    with_text: int = 0
    whole_heads: int = 0

    def volume(self, domain: str, pictures: Sequence[Pixels], levels: Levels, mapping: Mapping) -> None:
        """Note a volume's intensities: percentiles of its foreground, in the files' values."""
        self.mappings[domain].append(mapping)
        self.constant += levels.constant
        step = max(1, sum(p.size for p in pictures) // 500_000)
        content = np.concatenate([v[levels.foreground(v)] for v in (p.ravel()[::step] for p in pictures)])
        if content.size:
            self.percentiles[domain].append([float(v) for v in np.percentile(content, PERCENTILES)])

    def image(self, domain: str, stored: Pixels, foreground: float) -> None:
        """Note a stored image and the share of it that is foreground."""
        if (stored == stored[0, 0]).all():
            self.flat.add(sha256(np.ascontiguousarray(stored).tobytes()).hexdigest())
        self.foreground[domain].append(foreground)
        low, high = float(stored.min()), float(stored.max())
        if self.stored_range is not None:
            low, high = min(low, self.stored_range[0]), max(high, self.stored_range[1])
        self.stored_range = (low, high)

    def merge(self, other: Tally) -> None:
        """Add another tally's counts to this one's."""
        for name, value in vars(other).items():
            own = getattr(self, name)
            if isinstance(own, defaultdict):
                for domain, noted in value.items():
                    own[domain] += noted
            elif isinstance(own, set):
                own |= value
            elif name != "stored_range":
                setattr(self, name, own + value)
        ranges = [r for r in (self.stored_range, other.stored_range) if r is not None]
        self.stored_range = (min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else None


@dataclass
class Notes:
    """What is noted while visits are converted. `origins`, `skipped` and `left_out` name patients and files: private.

    Attributes:
        tally: counts for the fingerprint.
        origins: the rows of sources.csv.
        skipped: files that cannot be read.
        left_out: readable files that were not used.
        codes: of the masks' labels.
    """

    tally: Tally = field(default_factory=Tally)
    origins: list[Origin] = field(default_factory=list)
    skipped: Skipped = field(default_factory=list)
    left_out: Skipped = field(default_factory=list)
    codes: MaskCodes = field(default_factory=MaskCodes)


@dataclass
class Converted:
    """What a visit gives: images and masks to store, in order, and notes; the masks' codes are the visit's own."""

    images: list[tuple[Pixels, Row]] = field(default_factory=list)
    masks: list[NDArray[np.uint8]] = field(default_factory=list)
    notes: Notes = field(default_factory=Notes)

    def store(self, writer: DatasetWriter, notes: Notes) -> None:
        """Write the images and masks, and add the notes to those of the visits before."""
        for pixels, row in self.images:
            writer.add(pixels, row)
        own = self.notes.codes.codes
        table = notes.codes.table(own) if own else None
        for mask in self.masks:
            writer.add_mask(mask if table is None else table[mask])
        notes.tally.merge(self.notes.tally)
        notes.origins += self.notes.origins
        notes.skipped += self.notes.skipped
        notes.left_out += self.notes.left_out


@dataclass
class _Series:
    """One domain of a visit, read."""

    pictures: dict[int, Pixels]
    levels: Levels
    mapping: Mapping


def convert_visits(visits: Sequence[Visit], plan: Plan, writer: DatasetWriter, notes: Notes, workers: int,
                   progress: Callable[[int], None], check: Callable[[], None]) -> None:
    """Convert every visit, in order; subjects become sub-0001, sub-0002, ...

    Args:
        visits: sorted by subject, then session.
        plan: what holds for all of them.
        writer: of the dataset.
        notes: added to.
        workers: processes; the result does not depend on their number.
        progress: called with the number of visits done.
        check: called after each visit; may raise, for example because a file could not be read.
    """
    volumes = any(visit.volumetric for visit in visits)
    size = 1 if volumes else SMALL
    workers = 1 if len(visits) <= (1 if volumes else FEW) else workers
    named, done = list(_named(visits)), 0
    chunks = (named[i:i + size] for i in range(0, len(named), size))
    for results in in_order(partial(_convert, plan), chunks, workers):
        for converted in results:
            converted.store(writer, notes)
            check()
            done += 1
            progress(done)


def _convert(plan: Plan, visits: Sequence[tuple[Visit, Names]]) -> list[Converted]:
    return [convert_visit(visit, names, plan) for visit, names in visits]


def _named(visits: Sequence[Visit]) -> Iterator[tuple[Visit, Names]]:
    """Visits with their pseudonyms."""
    subjects = {name: i for i, name in enumerate(dict.fromkeys(v.subject for v in visits), start=1)}
    digits = max(4, len(str(len(subjects))))
    sessions: dict[str, list[str]] = {}
    for visit in visits:
        known = sessions.setdefault(visit.subject, [])
        if visit.session not in known:
            known.append(visit.session)
    every = -(-len(visits) // LOOKED_AT)
    for number, visit in enumerate(visits):
        several = sessions[visit.subject]
        session = f"ses-{several.index(visit.session) + 1:02d}" if len(several) > 1 else ""
        yield visit, Names(f"sub-{subjects[visit.subject]:0{digits}d}", session, number % every == 0)


def convert_visit(visit: Visit, names: Names, plan: Plan) -> Converted:
    """Read, map and resample one visit; what cannot be read is noted as skipped, the visit's rest stays."""
    out = Converted()
    out.notes.tally.looked_at = int(names.look)
    pictures = {domain: _read(files, visit.slices, plan, out) for domain, files in visit.files.items()}
    masks = {name: _read(files, visit.slices, plan, out, mask=True) for name, files in visit.masks.items()}
    available = sorted(set.intersection(*(set(slices) for slices in pictures.values())))
    # a mask that cannot be read must not turn into "no lesion"
    available = [n for n in available if all(n in masks[name] or n not in visit.masks[name] for name in masks)]
    if not available:
        _leave_out(visit, "nothing readable is left of its visit", out)
        return out
    series = {domain: _measured(slices, plan.intensities[domain], plan) for domain, slices in pictures.items()}
    content = _content(series, available) if visit.volumetric else None
    chosen = choose_slices(available, plan.slices, content)
    if not chosen:
        _leave_out(visit, f"none of its {len(available)} slices is among those chosen", out)
        return out
    for domain, one in series.items():
        out.notes.tally.volume(domain, [one.pictures[n] for n in chosen], one.levels, one.mapping)
    out.notes.tally.without_mask += bool(plan.masks) and not visit.masks
    for number in chosen:
        for domain, one in series.items():
            _store(one, visit.files[domain][number], number, names, plan, out)
        if plan.masks:
            reference = visit.files[plan.domains[0]][number]
            out.masks.append(_mask({k: m[number] for k, m in masks.items() if number in m}, reference, plan,
                                   out.notes.codes))
    return out


def _store(series: _Series, item: Scanned, number: int, names: Names, plan: Plan, out: Converted) -> None:
    picture, spacing, tally = series.pictures[number], item.view.spacing, out.notes.tally
    levels, entry = series.levels, item.entry
    background = levels.background if plan.background is None else plan.background
    fitted = plan.frame.apply(levels.without_padding(picture), spacing, background)
    stored = series.mapping.encode(fitted)
    foreground = levels.foreground(fitted)
    tally.image(entry.domain, stored, float(foreground.mean()))
    tally.sizes[f"{picture.shape[0]}x{picture.shape[1]}"] += 1
    if spacing is not None:
        tally.spacings.add((round(spacing[0], 4), round(spacing[1], 4)))
    tally.enlarged += min(plan.frame.steps(picture.shape[0], picture.shape[1], spacing)) < 1 - 1e-6
    if plan.frame.fit == "crop":
        tally.cut += _cut_share(levels.foreground(picture), spacing, plan.frame) > 0.01
    mm = plan.frame.spacing(spacing)
    place = placement(item.header, plan.axis, number, plan.frame)
    position, directions = place.texts() if place else ("", "")
    image_id = "_".join(part for part in (names.subject, names.session, f"s{number:03d}") if part)
    out.images.append((stored, Row(
        image_id=image_id, subject=names.subject, session=names.session, slice=number, domain=entry.domain,
        label=entry.label, split="", row=0, offset=series.mapping.offset, scale=series.mapping.scale,
        spacing="" if mm is None else f"{mm[0]:.6g}x{mm[1]:.6g}",
        source=hmac.new(plan.key, entry.name.encode(), sha256).hexdigest()[:16], sha256="",
        position=position, orientation=directions)))
    out.notes.origins.append((image_id, names.subject, entry.domain, entry.subject, entry.session, entry.name, number))


def _read(files: dict[int, Scanned], slices: Sequence[int], plan: Plan, out: Converted,
          mask: bool = False) -> dict[int, Pixels]:
    """Pictures of a domain by slice number; files that fail are noted, their slices absent."""
    by_number: dict[int, Pixels] = {}
    wanted: dict[str, tuple[Scanned, list[int]]] = {}
    for number in slices:
        if number in files:
            wanted.setdefault(files[number].entry.name, (files[number], []))[1].append(number)
    for item, numbers in wanted.values():
        try:
            pixels = read_entry(item.entry)
            if item.native is not None:
                pixels = resample(pixels, item.native, item.header, labels=mask)
            pictures = planes(pixels, item.header, plan.axis)
            if mask:
                pictures = mask_labels(pictures, item.header.lossy)
        except Unreadable as error:
            out.notes.skipped.append((item.entry.name, str(error)))
            continue
        if not mask:
            if out.notes.tally.looked_at:
                _look(pictures, pixels, item, out.notes.tally)
            pictures = _to_channels(pictures, plan, out.notes.tally)
        for number in numbers:
            by_number[number] = pictures[number if item.header.volumetric else 0]
    return by_number


def _look(pictures: Pixels, pixels: Pixels, item: Scanned, tally: Tally) -> None:
    """Note whether a file seems to have text burned into its pictures, or to show a whole head."""
    few = sorted({0, len(pictures) // 2, len(pictures) - 1})
    tally.with_text = int(tally.with_text or likely_text([pictures[n] for n in few]))
    if item.header.volumetric and item.header.affine is not None and not tally.whole_heads:
        tally.whole_heads = int(shows_whole_head(canonical(pixels, item.header), canonical_spacing(item.header)))


def _to_channels(pictures: Pixels, plan: Plan, tally: Tally) -> Pixels:
    """Pictures [slices, h, w] or [slices, h, w, 3] to the dataset's channels; grey is ITU-R BT.601 luma."""
    if plan.channels == 3:
        tally.grey_in_colour += pictures.ndim == 3 or not is_coloured(pictures)
        return pictures if pictures.ndim == 4 else np.repeat(pictures[..., None], 3, -1)
    if pictures.ndim == 3:
        return pictures
    tally.colour_in_grey += is_coloured(pictures)
    return luma(pictures)


def _measured(pictures: dict[int, Pixels], how: Decision, plan: Plan) -> _Series:
    levels = measure(list(pictures.values()), plan.background, how)
    return _Series(pictures, levels, mapping(how, levels, plan.dtype))


def _content(series: dict[str, _Series], available: Sequence[int]) -> list[float]:
    """Foreground of each slice relative to the volume's fullest, the smallest over the domains."""
    shares = np.array([[one.levels.foreground(one.pictures[n]).mean() for n in available] for one in series.values()])
    top = shares.max(axis=1, keepdims=True)
    relative: list[float] = (shares / np.where(top > 0, top, 1.0)).min(axis=0).tolist()
    return relative


def _mask(masks: dict[str, Pixels], reference: Scanned, plan: Plan, codes: MaskCodes) -> NDArray[np.uint8]:
    """The stored mask of a slice: the codes of one mask's labels, or of several masks their number in the plan."""
    out = np.zeros((plan.frame.size, plan.frame.size), dtype=np.uint8)
    for name, labels in masks.items():
        several = len(plan.masks) > 1
        fitted = plan.frame.apply_mask((labels > 0).astype(np.uint8) if several else codes.encode(labels),
                                       reference.view.spacing)
        out = np.where(fitted > 0, plan.masks.index(name) + 1 if several else fitted, out)
    return out.astype(np.uint8)


def _cut_share(foreground: Pixels, spacing: tuple[float, float] | None, frame: Frame) -> float:
    """The share of the foreground that lies outside of the frame."""
    inside: Pixels = foreground.max(-1) if foreground.ndim == 3 else foreground
    total = float(inside.sum())
    step_y, step_x = frame.steps(inside.shape[0], inside.shape[1], spacing)
    kept = float(frame.apply(inside, spacing, 0.0).sum()) * step_y * step_x
    return 1.0 - kept / total if total else 0.0


def _leave_out(visit: Visit, reason: str, out: Converted) -> None:
    names = {item.entry.name for files in visit.files.values() for item in files.values()}
    names -= {name for name, _ in out.notes.skipped}
    out.notes.left_out += [(name, f"left out: {reason}") for name in sorted(names)]
