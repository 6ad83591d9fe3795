"""One visit from files to stored images, masks and notes; it runs in a process of its own."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.data.geometry import Axis, Frame, canonical, canonical_spacing, choose_slices, planes
from ganatomy.data.images import is_coloured, luma
from ganatomy.data.intensity import Decision, Levels, Mapping, mapping, measure
from ganatomy.data.manifest import Row
from ganatomy.formats import Pixels, Unreadable
from ganatomy.preparation.fingerprint import Tally
from ganatomy.preparation.masks import MaskCodes, mask_labels
from ganatomy.preparation.placement import placement
from ganatomy.preparation.privacy.faces import shows_face
from ganatomy.preparation.privacy.pixels import likely_text
from ganatomy.preparation.resample import resample
from ganatomy.preparation.scanned import Scanned, Skipped
from ganatomy.preparation.visits import Visit
from ganatomy.sources.entry import read_entry


@dataclass(frozen=True)
class Plan:
    """What the first pass decided for the whole cohort."""

    domains: tuple[str, ...]
    masks: tuple[str, ...]
    axis: Axis
    slices: str
    frame: Frame
    intensities: dict[str, Decision]
    dtype: np.dtype[Any]
    channels: int
    background: float | None
    key: bytes
    unpaired: bool
    """Domains do not belong together image by image."""
    oriented: bool
    """Every file says how the patient lies in it."""


@dataclass(frozen=True, slots=True)
class Names:
    """A visit's pseudonyms; the session's is "" where the subject has but one.

    `look` says whether its pictures are looked at for text and faces: in a large cohort not all of them are.
    """

    subject: str
    session: str
    look: bool = True


@dataclass
class Converted:
    """What a visit gives: images and masks to store, in order, and what was noted of them.

    `origins`, `skipped` and `left_out` name patients and files: private. The masks' codes are the visit's own.
    """

    images: list[tuple[Pixels, Row]] = field(default_factory=list)
    masks: list[NDArray[np.uint8]] = field(default_factory=list)
    codes: MaskCodes = field(default_factory=MaskCodes)
    tally: Tally = field(default_factory=Tally)
    origins: list[tuple[str, str, str, str, str, str, int]] = field(default_factory=list)
    skipped: Skipped = field(default_factory=list)
    left_out: Skipped = field(default_factory=list)


@dataclass
class _Series:
    """One domain of a visit, read."""

    pictures: dict[int, Pixels]
    levels: Levels
    mapping: Mapping


def convert_visit(visit: Visit, names: Names, plan: Plan) -> Converted:
    """Read, map and resample one visit; what cannot be read is noted as skipped, the visit's rest stays."""
    out = Converted()
    out.tally.looked_at = int(names.look)
    pictures = {domain: _read(found, visit.slices, plan, out) for domain, found in visit.files.items()}
    masks = {name: _read(found, visit.slices, plan, out, mask=True) for name, found in visit.masks.items()}
    available = sorted(set.intersection(*(set(found) for found in pictures.values())))
    # a mask that cannot be read must not turn into "no lesion"
    available = [n for n in available if all(n in masks[name] or n not in visit.masks[name] for name in masks)]
    if not available:
        _leave_out(visit, "nothing readable is left of its visit", out)
        return out
    series = {domain: _measured(found, plan.intensities[domain], plan) for domain, found in pictures.items()}
    content = _content(series, available) if visit.volumetric else None
    chosen = choose_slices(available, plan.slices, content)
    if not chosen:
        _leave_out(visit, f"none of its {len(available)} slices is among those chosen", out)
        return out
    for domain, one in series.items():
        out.tally.volume(domain, [one.pictures[n] for n in chosen], one.levels, one.mapping)
    out.tally.without_mask += bool(plan.masks) and not visit.masks
    for number in chosen:
        for domain, one in series.items():
            _store(one, visit.files[domain][number], number, names, plan, out)
        if plan.masks:
            reference = visit.files[plan.domains[0]][number]
            out.masks.append(_mask({k: m[number] for k, m in masks.items() if number in m}, reference, plan,
                                   out.codes))
    return out


def _store(series: _Series, item: Scanned, number: int, names: Names, plan: Plan, out: Converted) -> None:
    picture, spacing, tally = series.pictures[number], item.view.spacing, out.tally
    levels, entry = series.levels, item.entry
    background = levels.background if plan.background is None else plan.background
    fitted = plan.frame.apply(levels.without_padding(picture), spacing, background)
    stored = series.mapping.encode(fitted)
    seen = levels.foreground(fitted)
    tally.image(entry.domain, stored, float(seen.mean()))
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
        source=hmac.new(plan.key, entry.name.encode(), hashlib.sha256).hexdigest()[:16], sha256="",
        position=position, orientation=directions)))
    out.origins.append((image_id, names.subject, entry.domain, entry.subject, entry.session, entry.name, number))


def _read(files: dict[int, Scanned], slices: Sequence[int], plan: Plan, out: Converted,
          mask: bool = False) -> dict[int, Pixels]:
    """Pictures of a domain by slice number; files that fail are noted, their slices absent."""
    found: dict[int, Pixels] = {}
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
            out.skipped.append((item.entry.name, str(error)))
            continue
        if not mask:
            if out.tally.looked_at:
                _look(pictures, pixels, item, out.tally)
            pictures = _to_channels(pictures, plan, out.tally)
        for number in numbers:
            found[number] = pictures[number if item.header.volumetric else 0]
    return found


def _look(pictures: Pixels, pixels: Pixels, item: Scanned, tally: Tally) -> None:
    """Note whether a file seems to have text burned into its pictures, or to show a whole head."""
    few = sorted({0, len(pictures) // 2, len(pictures) - 1})
    tally.with_text = int(tally.with_text or likely_text([pictures[n] for n in few]))
    if item.header.volumetric and item.header.affine is not None and not tally.with_faces:
        tally.with_faces = int(shows_face(canonical(pixels, item.header), canonical_spacing(item.header)))


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
    seen: Pixels = foreground.max(-1) if foreground.ndim == 3 else foreground
    total = float(seen.sum())
    step_y, step_x = frame.steps(seen.shape[0], seen.shape[1], spacing)
    kept = float(frame.apply(seen, spacing, 0.0).sum()) * step_y * step_x
    return 1.0 - kept / total if total else 0.0


def _leave_out(visit: Visit, reason: str, out: Converted) -> None:
    names = {item.entry.name for found in visit.files.values() for item in found.values()}
    names -= {name for name, _ in out.skipped}
    out.left_out += [(name, f"left out: {reason}") for name in sorted(names)]
