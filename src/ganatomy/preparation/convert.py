"""The second pass: visits to stored images, masks and notes, in several processes, written in order.

A visit is read, mapped and brought to size in a process of its own; few visits are held in memory.
"""

from __future__ import annotations

import hmac
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.dataset import DatasetWriter
from ganatomy.data.geometry import Frame, Spacing, canonical, canonical_spacing, choose_slices, planes
from ganatomy.data.images import Pixels, Unreadable, is_coloured, luma
from ganatomy.data.intensity import Levels, Mapping, mapping, measure
from ganatomy.data.manifest import Row
from ganatomy.data.parallel import FEW, in_order
from ganatomy.preparation.exposure import is_other_body_part, likely_text, shows_whole_head
from ganatomy.preparation.grids import Scanned, placement, resample
from ganatomy.preparation.headers import Survey, refuse_skipped
from ganatomy.preparation.masks import MaskCodes, has_masks, mask_labels
from ganatomy.preparation.options import Options
from ganatomy.preparation.plan import Plan
from ganatomy.preparation.visits import Skipped, Visit
from ganatomy.sources.entry import read_entry

SMALL = 16
"""Visits of single pictures travel between processes this many at a time."""
LOOKED_AT = 1000
"""In at most so many visits, evenly chosen, text and whole heads are looked for."""
PERCENTILES = (1, 25, 50, 75, 99)


class Origin(NamedTuple):
    """A row of sources.csv: an image's pseudonyms, and what it comes from."""

    image_id: str
    subject: str
    domain: str
    original_subject: str
    original_session: str
    path: str
    slice: int


class Names(NamedTuple):
    """A visit's pseudonyms; the session's is "" where the subject has but one.

    `look` says whether its pictures are looked at for text and whole heads: in a large cohort not all of them are.
    """

    subject: str
    session: str
    look: bool = True


def _lists() -> defaultdict[str, list[Any]]:
    return defaultdict(list)


@dataclass
class Notes:
    """What is noted while visits are converted, for fingerprint and private folder.

    Attributes:
        origins, skipped, left_out: the rows of sources.csv, files that cannot be read, and readable ones that were not
            used; these name patients and files, all the rest does not.
        codes: of the masks' labels.
        percentiles, mappings, foreground: by domain, of its volumes and images.
        extremes: of stored images.
        flat: hashes of images of one value.
    """

    origins: list[Origin] = field(default_factory=list)
    skipped: Skipped = field(default_factory=list)
    left_out: Skipped = field(default_factory=list)
    codes: MaskCodes = field(default_factory=MaskCodes)
    sizes: Counter[str] = field(default_factory=Counter)
    spacings: set[Spacing] = field(default_factory=set)
    percentiles: dict[str, list[list[float]]] = field(default_factory=_lists)
    mappings: dict[str, list[Mapping]] = field(default_factory=_lists)
    foreground: dict[str, list[float]] = field(default_factory=_lists)
    extremes: set[float] = field(default_factory=set)
    flat: set[str] = field(default_factory=set)
    constant: int = 0
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

    def merge(self, other: Notes) -> None:
        """Add another's to these; the masks' codes stay."""
        for name, value in vars(other).items():
            own = getattr(self, name)
            if isinstance(own, defaultdict):
                for domain, noted in value.items():
                    own[domain] += noted
            elif isinstance(own, set):
                own |= value
            elif name != "codes":
                setattr(self, name, own + value)


class Converted(NamedTuple):
    """What a visit gives: images and masks to store, in order, and notes; the masks' codes are the visit's own."""

    images: list[tuple[Pixels, Row]]
    masks: list[NDArray[np.uint8]]
    notes: Notes


class _Series(NamedTuple):
    """One domain of a visit, read."""

    pictures: dict[int, Pixels]
    levels: Levels
    mapping: Mapping


def convert_visits(cohort: Survey, writer: DatasetWriter, options: Options, progress: Callable[[int], None]) -> Notes:
    """Convert every visit, in order; subjects become sub-0001, sub-0002, ...

    The result does not depend on the number of processes. Raises `UserError` if `strict` was asked for and a file
    cannot be read.
    """
    notes, visits = Notes(skipped=cohort.skipped, left_out=cohort.left_out), cohort.visits
    volumes = any(visit.volumetric for visit in visits)
    size = 1 if volumes else SMALL
    workers = 1 if len(visits) <= (1 if volumes else FEW) else options.processes
    named, done = list(_named(visits)), 0
    chunks = (named[i:i + size] for i in range(0, len(named), size))
    for results in in_order(partial(_convert, cohort.plan), chunks, workers):
        for images, masks, own in results:
            for pixels, row in images:
                writer.add(pixels, row)
            table = notes.codes.table(own.codes.codes)
            for mask in masks:  # several masks have their numbers already
                writer.add_mask(table[mask] if own.codes.codes else mask)
            notes.merge(own)
            refuse_skipped(notes.skipped, options.strict)
            done += 1
            progress(done)
    return notes


def _convert(plan: Plan, visits: Sequence[tuple[Visit, Names]]) -> list[Converted]:
    return [convert_visit(visit, names, plan) for visit, names in visits]


def _named(visits: Sequence[Visit]) -> Iterator[tuple[Visit, Names]]:
    """Visits with their pseudonyms."""
    subjects = {name: i for i, name in enumerate(dict.fromkeys(v.subject for v in visits), start=1)}
    digits = max(4, len(str(len(subjects))))
    sessions: dict[str, list[str]] = defaultdict(list)
    for subject, session in dict.fromkeys((visit.subject, visit.session) for visit in visits):
        sessions[subject].append(session)
    every = -(-len(visits) // LOOKED_AT)
    for number, visit in enumerate(visits):
        several = sessions[visit.subject]
        session = f"ses-{several.index(visit.session) + 1:02d}" if len(several) > 1 else ""
        yield visit, Names(f"sub-{subjects[visit.subject]:0{digits}d}", session, number % every == 0)


def convert_visit(visit: Visit, names: Names, plan: Plan) -> Converted:
    """Read, map and resample one visit; what cannot be read is noted as skipped, the visit's rest stays."""
    images, masks, notes = out = Converted([], [], Notes(looked_at=int(names.look)))
    pictures = {domain: _read(files, visit.slices, plan, notes) for domain, files in visit.files.items()}
    labels = {name: _read(files, visit.slices, plan, notes, mask=True) for name, files in visit.masks.items()}
    # a mask that cannot be read must not turn into "no lesion"
    available = [n for n in visit.slices if all(n in slices for slices in pictures.values())
                 and all(n in labels[name] or n not in visit.masks[name] for name in labels)]
    if not available:
        _leave_out(visit, "nothing readable is left of its visit", notes)
        return out
    series = {}
    for domain, slices in pictures.items():
        how = plan.rule(domain, visit.files[domain][available[0]].entry.name)
        levels = measure(list(slices.values()), plan.background, how)
        series[domain] = _Series(slices, levels, mapping(how, levels, plan.dtype))
    chosen = choose_slices(available, plan.slices, _content(series, available) if visit.volumetric else None)
    if not chosen:
        _leave_out(visit, f"none of its {len(available)} slices is among those chosen", notes)
        return out
    for domain, one in series.items():
        notes.volume(domain, [one.pictures[n] for n in chosen], one.levels, one.mapping)
    for number in chosen:
        has_mask = has_masks([name for name, slices in labels.items() if number in slices], plan.masks)
        notes.without_mask += not has_mask
        for domain, one in series.items():
            pixels, row = _stored(one, visit.files[domain][number], number, names, plan, notes)
            images.append((pixels, replace(row, has_mask=has_mask)))
        if plan.masks:
            spacing = next(iter(visit.files.values()))[number].view.spacing
            masks.append(_mask({k: m[number] for k, m in labels.items() if number in m}, spacing, plan, notes.codes))
    return out


def _stored(series: _Series, item: Scanned, number: int, names: Names, plan: Plan, notes: Notes) -> tuple[Pixels, Row]:
    """A slice as it is stored, and its row of the manifest."""
    picture, spacing, entry, levels = series.pictures[number], item.view.spacing, item.entry, series.levels
    background = levels.background if plan.background is None else plan.background
    fitted = plan.frame.apply(levels.without_padding(picture), spacing, background)
    stored = series.mapping.encode(fitted)
    if (stored == stored[0, 0]).all():
        notes.flat.add(sha256(np.ascontiguousarray(stored).tobytes()).hexdigest())
    notes.extremes |= {float(stored.min()), float(stored.max())}
    notes.foreground[entry.domain].append(float(levels.foreground(fitted).mean()))
    notes.sizes[f"{picture.shape[0]}x{picture.shape[1]}"] += 1
    if spacing is not None:
        notes.spacings.add((round(spacing[0], 4), round(spacing[1], 4)))
    notes.enlarged += min(plan.frame.steps(picture.shape[0], picture.shape[1], spacing)) < 1 - 1e-6
    if plan.frame.fit == "crop":
        notes.cut += _cut_share(levels.foreground(picture), spacing, plan.frame) > 0.01
    mm = plan.frame.spacing(spacing)
    position, directions = placement(item.header, plan.axis, number, plan.frame)
    image_id = "_".join(part for part in (names.subject, names.session, f"s{number:03d}") if part)
    notes.origins.append(Origin(image_id, names.subject, entry.domain, entry.subject, entry.session, entry.name,
                                number))
    return stored, Row(
        image_id=image_id, subject=names.subject, session=names.session, slice=number, domain=entry.domain,
        label=entry.label, split="", row=0, offset=series.mapping.offset, scale=series.mapping.scale,
        spacing="" if mm is None else f"{mm[0]:.6g}x{mm[1]:.6g}",
        source=hmac.new(plan.key, entry.name.encode(), sha256).hexdigest()[:16], sha256="",
        position=position, orientation=directions)


def _read(files: dict[int, Scanned], slices: Sequence[int], plan: Plan, notes: Notes,
          mask: bool = False) -> dict[int, Pixels]:
    """Pictures of a domain by slice number; files that fail are noted, their slices absent."""
    by_number: dict[int, Pixels] = {}
    numbers_of: dict[str, list[int]] = defaultdict(list)
    for number in slices:
        if number in files:
            numbers_of[files[number].entry.name].append(number)
    for numbers in numbers_of.values():
        item = files[numbers[0]]
        try:
            pixels = read_entry(item.entry)
            if item.native is not None:
                pixels = resample(pixels, item.native, item.header, labels=mask)
            pictures = planes(pixels, item.header, plan.axis)
            if mask:
                pictures = mask_labels(pictures, item.header.lossy)
        except Unreadable as error:
            notes.skipped.append((item.entry.name, str(error)))
            continue
        if not mask:
            if notes.looked_at:
                _look(pictures, pixels, item, notes)
            pictures = _to_channels(pictures, plan, notes)
        for number in numbers:
            by_number[number] = pictures[number if item.header.volumetric else 0]
    return by_number


def _look(pictures: Pixels, pixels: Pixels, item: Scanned, notes: Notes) -> None:
    """Note whether a file seems to have text burned into its pictures, or to show a whole head."""
    few = sorted({0, len(pictures) // 2, len(pictures) - 1})
    notes.with_text = int(notes.with_text or likely_text([pictures[n] for n in few]))
    other = is_other_body_part(f"{item.header.body} {item.entry.domain} {item.entry.name}")
    if item.header.volumetric and item.header.affine is not None and not notes.whole_heads and not other:
        notes.whole_heads = int(shows_whole_head(canonical(pixels, item.header), canonical_spacing(item.header)))


def _to_channels(pictures: Pixels, plan: Plan, notes: Notes) -> Pixels:
    """Pictures [slices, h, w] or [slices, h, w, 3] to the dataset's channels; grey is ITU-R BT.601 luma."""
    if plan.channels == 3:
        notes.grey_in_colour += pictures.ndim == 3 or not is_coloured(pictures)
        return pictures if pictures.ndim == 4 else np.repeat(pictures[..., None], 3, -1)
    if pictures.ndim == 3:
        return pictures
    notes.colour_in_grey += is_coloured(pictures)
    return luma(pictures)


def _content(series: dict[str, _Series], available: Sequence[int]) -> list[float]:
    """Foreground of each slice relative to the volume's fullest, the smallest over the domains."""
    shares = np.array([[one.levels.foreground(one.pictures[n]).mean() for n in available] for one in series.values()])
    top = shares.max(axis=1, keepdims=True)
    return [float(share) for share in (shares / np.where(top > 0, top, 1.0)).min(axis=0)]


def _mask(masks: dict[str, Pixels], spacing: Spacing | None, plan: Plan, codes: MaskCodes) -> NDArray[np.uint8]:
    """The stored mask of a slice: the codes of one mask's labels, or of several masks their number in the plan."""
    out = np.zeros((plan.frame.size, plan.frame.size), dtype=np.uint8)
    for name, labels in masks.items():
        several = len(plan.masks) > 1
        fitted = plan.frame.apply_mask((labels > 0).astype(np.uint8) if several else codes.encode(labels), spacing)
        out = np.where(fitted > 0, plan.masks.index(name) + 1 if several else fitted, out).astype(np.uint8)
    return out


def _cut_share(foreground: Pixels, spacing: Spacing | None, frame: Frame) -> float:
    """The share of the foreground that lies outside of the frame."""
    inside: Pixels = foreground.max(-1) if foreground.ndim == 3 else foreground
    total = float(inside.sum())
    step_y, step_x = frame.steps(inside.shape[0], inside.shape[1], spacing)
    kept = float(frame.apply(inside, spacing, 0.0).sum()) * step_y * step_x
    return 1.0 - kept / total if total else 0.0


def _leave_out(visit: Visit, reason: str, notes: Notes) -> None:
    names = {item.entry.name for files in visit.files.values() for item in files.values()}
    names -= {name for name, _ in notes.skipped}
    notes.left_out += [(name, f"left out: {reason}") for name in sorted(names)]
