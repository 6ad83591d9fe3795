"""What the first pass decides for a whole cohort: pixel size, intensities, channels."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.text import counted
from ganatomy.data.geometry import Axis, Frame, acquired, common_frame, shown_along
from ganatomy.data.images import is_coloured
from ganatomy.data.intensity import HOUNSFIELD, Decision
from ganatomy.data.vocabulary import is_ct_name
from ganatomy.formats import Pixels, Unreadable
from ganatomy.preparation.grids import Scanned
from ganatomy.preparation.options import Options
from ganatomy.preparation.rules import (
    choose,
    has_no_air,
    looks_like_hounsfield,
    needs_sample,
    no_window,
    parse_intensity,
    pool,
    settle,
)
from ganatomy.preparation.visits import Visit
from ganatomy.sources.entry import read_entry

COLOUR_SAMPLE = 32
INTENSITY_SAMPLE = 8
"""So many volumes are read to tell what their values mean, where the files do not say it."""


@dataclass(frozen=True)
class Plan:
    """What the first pass decided for the whole cohort."""

    domains: tuple[str, ...]
    masks: tuple[str, ...]
    axis: Axis
    slices: str
    frame: Frame
    intensities: dict[str, Decision]
    windows: dict[str, Decision]
    """How the files that are called CT are mapped in domains that hold others too."""
    dtype: np.dtype[Any]
    channels: int
    background: float | None
    key: bytes
    unpaired: bool
    """Domains do not belong together image by image."""
    oriented: bool
    """Every file says how the patient lies in it."""

    def rule(self, domain: str, name: str) -> Decision:
        """How a file of a domain is mapped."""
        return self.windows.get(domain, self.intensities[domain]) if is_ct_name(name) else self.intensities[domain]


def make_plan(visits: Sequence[Visit], domains: Sequence[str], masks: Sequence[str], unpaired: bool, options: Options,
              key: bytes, say: Callable[[str], None]) -> tuple[Plan, list[str]]:
    """The plan for the second pass, and warnings fit to be stored. Raises `UserError` for options that do not fit."""
    items = _distinct(item for visit in visits for files in visit.files.values() for item in files.values())
    warnings: list[str] = []
    views = [item.view for item in items]
    frame = common_frame(views, options.size, options.fit, options.spacing)
    known = sum(v.spacing is not None for v in views)
    if 0 < known < len(views):
        warnings.append(f"{len(views) - known} of {len(views)} files do not say how large a pixel is; "
                        "each of these is fitted by its own size")
    finest = sorted({round(min(v.spacing), 3) for v in views if v.spacing is not None})
    if frame.mm is None and finest and finest[-1] > 1.05 * finest[0]:
        warnings.append(f"pixels of {finest[0]:g} to {finest[-1]:g} mm are kept side by side; "
                        "--spacing would bring them to one size")
    if any(len({item.header.eight_bit for item in _of(visits, domain)}) > 1 for domain in domains):
        warnings.append("some files hold 8 bits a pixel and others more, so their values may not compare")
    if last := [item.header.shape for item in items if item.header.along_last]:
        warnings.append(f"{counted(len(last), 'array')}, such as {last[0][1]}x{last[0][2]}x{last[0][0]}, sliced along "
                        "the last axis, the odd one by its shape; NIfTI would say it")
    intensities, windows, dtype = _intensities(visits, domains, options, warnings, say)
    channels = _channels(items, options, warnings)
    guessed = sum(item.header.affine is not None and not item.header.oriented for item in items)
    if guessed:
        warnings.append(f"{counted(guessed, 'NIfTI file')} whose header does not say how the patient lies (its form "
                        "codes are 0): which side is left is unknown")
    _say_frame(frame, items, say)
    axes = Counter(shown_along(item.header, options.axis) for item in items if item.header.affine is not None)
    axis = next(iter(axes)) if len(axes) == 1 else options.axis
    if axes.keys() - {options.axis}:
        single = ", ".join(f"{n} {name}" for name, n in axes.items() if name != options.axis)
        say(f"single slices are shown in their own plane: {single}")
    if len(axes) > 1:
        warnings.append(f"pictures of several planes are kept side by side: {', '.join(axes)}")
    _say_across(visits, domains, axis, say)
    return Plan(tuple(domains), tuple(masks), axis, options.slices, frame,
                intensities, windows, dtype, channels, options.level, key, unpaired,
                len(axes) < 2 and all(item.header.oriented for item in items)), warnings


def _intensities(visits: Sequence[Visit], domains: Sequence[str], options: Options, warnings: list[str],
                 say: Callable[[str], None]) -> tuple[dict[str, Decision], dict[str, Decision], np.dtype[Any]]:
    """How each domain is mapped, told with the reason; likewise CT among others; and the type in which all is stored.

    An MR volume never goes through the window of CT that lies in its domain.
    """
    wanted = parse_intensity(options.intensity)
    decisions, dtypes, samples, windows = {}, {}, dict[str, NDArray[Any] | None](), dict[str, Decision]()
    for domain in domains:
        items = _of(visits, domain)
        dtypes[domain] = {item.header.dtype for item in items}
        modalities = {item.header.modality for item in items}
        sample, asked = None, wanted
        if needs_sample(modalities, dtypes[domain], wanted):
            chosen = _sampled(items, options.seed)
            values = [(item, pool([pixels], len(chosen))) for item in chosen if (pixels := _pixels(item)) is not None]
            sample = np.concatenate([own for _, own in values]) if values else pool([], 1)
            if not modalities - {""} and (wanted is None or wanted.method == "window"):
                like = {is_ct_name(item.entry.name) for item, own in values if looks_like_hounsfield(own)}
                unlike = {is_ct_name(item.entry.name) for item, own in values if has_no_air(own)}
                if like and unlike:
                    if (like, unlike) == ({True}, {False}):
                        ct = [own for item, own in values if is_ct_name(item.entry.name)]
                        windows[domain] = choose({""}, dtypes[domain], wanted, np.concatenate(ct))
                    warnings.append(f"{domain} holds volumes in Hounsfield units and others: " + (
                        "those called CT go through the window, the others run from their background"
                        if domain in windows else "no window applies") + "; --domain CT=... makes them a domain")
                    sample, asked = np.concatenate([own for _, own in values if has_no_air(own)]), None
        decisions[domain] = choose(modalities, dtypes[domain], asked, sample)
        samples[domain] = sample if not modalities - {""} else None
    has_ct = any(samples[domain] is None and decisions[domain].units == HOUNSFIELD for domain in domains)
    for domain in no_window(samples, wanted, has_ct):
        decisions[domain] = replace(
            choose({""}, dtypes[domain], None, samples[domain]),
            reason="does not look like Hounsfield units, to which a window applies, as another domain does")
    decisions, dtype = settle(decisions, dtypes)
    reasons: dict[str, list[str]] = {}
    for domain, decision in decisions.items():
        reasons.setdefault(decision.reason, []).append(domain)
    for why, alike in reasons.items():
        say(f"intensities of {', '.join(alike)}: {why}")
    return decisions, windows, dtype


def _sampled(items: Sequence[Scanned], seed: int) -> list[Scanned]:
    """A few volumes, of those called CT and of the others where there are both."""
    parts = [[item for item in items if is_ct_name(item.entry.name) == ct] for ct in (True, False)]
    most = INTENSITY_SAMPLE if not all(parts) else INTENSITY_SAMPLE // 2
    return [item for part in parts for item in random.Random(seed).sample(part, min(most, len(part)))]


def _of(visits: Sequence[Visit], domain: str) -> list[Scanned]:
    return _distinct(item for visit in visits for item in visit.files.get(domain, {}).values())


def _distinct(items: Iterable[Scanned]) -> list[Scanned]:
    return list({id(item): item for item in items}.values())


def _channels(items: Sequence[Scanned], options: Options, warnings: list[str]) -> int:
    """3 only if every file has colour channels and a sample of them is truly coloured."""
    coloured = [item for item in items if item.header.channels == 3]
    if options.channels != "auto" or not coloured:
        return 3 if options.channels == "3" else 1
    sample = random.Random(options.seed).sample(coloured, min(COLOUR_SAMPLE, len(coloured)))
    truly = {is_coloured(pixels) for item in sample if (pixels := _pixels(item)) is not None}
    if truly == {True} and len(coloured) == len(items):
        return 3
    if True in truly:
        warnings.append("some images are in colour and some are not; all are stored in grey")
    return 1


def _pixels(item: Scanned) -> Pixels | None:
    try:
        return read_entry(item.entry)
    except Unreadable:
        return None  # the second pass will list it


def _say_across(visits: Sequence[Visit], domains: Sequence[str], axis: Axis, say: Callable[[str], None]) -> None:
    """Say of which domains most pictures are cut across thick slices: their pixels are twice as long as wide."""
    for domain in domains:
        items = [item for item in _of(visits, domain) if item.header.volumetric and item.view.spacing is not None]
        across = [i for i in items if i.view.spacing and max(i.view.spacing) > 2 * min(i.view.spacing)]
        own = acquired(across[0].header) if 2 * len(across) > len(items) else None
        if own not in (None, axis):
            say(f"{domain}: {axis} pictures are cut across the scanned slices; --axis {own} would show these")


def _say_frame(frame: Frame, items: Sequence[Scanned], say: Callable[[str], None]) -> None:
    shapes = {(i.view.height, i.view.width) for i in items}
    tall, wide = max(h for h, _ in shapes), max(w for _, w in shapes)
    sizes = f"{tall}x{wide}" if len(shapes) == 1 else f"{len(shapes)} sizes up to {tall}x{wide}"
    scale = f", {frame.mm:.4g} mm a pixel" if frame.mm is not None else ""
    say(f"images of {sizes} become {frame.size}x{frame.size} ({frame.fit}{scale})")
    if frame.fit == "crop":
        steps = [(i.view, *frame.steps(i.view.height, i.view.width, i.view.spacing)) for i in items]
        rows = max(round(v.height / y) for v, y, _ in steps) - frame.size
        columns = max(round(v.width / x) for v, _, x in steps) - frame.size
        if max(rows, columns) > 0:
            say(f"cropping cuts up to {counted(max(rows, 0), 'row')} and {counted(max(columns, 0), 'column')} of "
                "pixels, half at each side")
