"""What the first pass decides for a whole cohort: pixel size, intensities, channels."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from ganatomy.data import readers
from ganatomy.data.convert import Plan, is_coloured
from ganatomy.data.geometry import Frame, common_frame
from ganatomy.data.intensity import choose_method, stored_dtype
from ganatomy.data.prepare_options import Options
from ganatomy.data.readers import Unreadable
from ganatomy.data.visits import Scanned, Visit
from ganatomy.wording import counted

COLOUR_SAMPLE = 32


def make_plan(visits: Sequence[Visit], domains: Sequence[str], masks: Sequence[str], options: Options, key: bytes,
              say: Callable[[str], None]) -> tuple[Plan, list[str]]:
    """The plan for the second pass, and warnings fit to be stored.

    Raises:
        UserError: options that do not fit these images; see `geometry.common_frame`.
    """
    items = _distinct(item for visit in visits for found in visit.files.values() for item in found.values())
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
    dtypes = {item.header.dtype for item in items}
    if len({item.header.eight_bit for item in items}) > 1:
        warnings.append("some files hold 8 bits a pixel and others more; all are mapped by percentiles")
    method = choose_method(options.intensity, dtypes)
    channels = _channels(items, options, warnings)
    guessed = sum(item.header.affine is not None and not item.header.oriented for item in items)
    if guessed:
        warnings.append(f"{counted(guessed, 'NIfTI file')} whose header does not say how the patient lies (its form "
                        "codes are 0): which side is left is unknown")
    _say_frame(frame, items, say)
    return Plan(tuple(domains), tuple(masks), options.axis, options.slices, frame, method,
                stored_dtype(method, dtypes), channels, options.level, key,
                all(item.header.oriented for item in items)), warnings


def _distinct(items: Iterable[Scanned]) -> list[Scanned]:
    return list({id(item): item for item in items}.values())


def _channels(items: Sequence[Scanned], options: Options, warnings: list[str]) -> int:
    """3 only if every file has colour channels and a sample of them is truly coloured."""
    if options.channels != "auto":
        return int(options.channels)
    coloured = [item for item in items if item.header.channels == 3]
    if not coloured:
        return 1
    sample = random.Random(options.seed).sample(coloured, min(COLOUR_SAMPLE, len(coloured)))
    found = Counter(_truly_coloured(item) for item in sample)
    if found[True] and (found[False] or len(coloured) < len(items)):
        warnings.append("some images are in colour and some are not; all are stored in grey")
    return 3 if found[True] and not found[False] and len(coloured) == len(items) else 1


def _truly_coloured(item: Scanned) -> bool | None:
    try:
        return is_coloured(readers.read(item.entry.path))
    except Unreadable:
        return None  # the second pass will list it


def _say_frame(frame: Frame, items: Sequence[Scanned], say: Callable[[str], None]) -> None:
    shapes = {(i.view.height, i.view.width) for i in items}
    tall, wide = max(h for h, _ in shapes), max(w for _, w in shapes)
    sizes = f"{tall}x{wide}" if len(shapes) == 1 else f"{len(shapes)} sizes up to {tall}x{wide}"
    scale = f", {frame.mm:.4g} mm a pixel" if frame.mm is not None else ""
    say(f"images of {sizes} become {frame.size}x{frame.size} ({frame.fit}{scale})")
    if frame.fit == "crop":
        stored = [(i.view, frame.steps(i.view.height, i.view.width, i.view.spacing)) for i in items]
        rows = max(round(v.height / step[0]) for v, step in stored) - frame.size
        columns = max(round(v.width / step[1]) for v, step in stored) - frame.size
        cuts = [counted(n, noun) for n, noun in ((rows, "row"), (columns, "column")) if n > 0]
        if cuts:
            say(f"cropping cuts up to {' and '.join(cuts)} of pixels, half at each side")
