"""What a dataset holds, in figures, and what one should know before trusting it, in plain words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from statistics import median
from typing import Any

import numpy as np

from ganatomy.core.text import counted
from ganatomy.data.geometry import Spacing
from ganatomy.data.intensity import Levels, Mapping
from ganatomy.data.manifest import SPLITS, Row
from ganatomy.formats import Pixels
from ganatomy.preparation.privacy.faces import WARNING as FACES

PERCENTILES = (1, 25, 50, 75, 99)
EMPTY = {"train": "there is nothing to learn from", "val": "no checkpoint can be chosen by its score",
         "test": "evaluate will have nothing to compare with"}
FEW_TEST_SUBJECTS = 5
FEW_SUBJECTS = 20


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
    with_faces: int = 0

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
        self.sizes += other.sizes
        self.spacings |= other.spacings
        self.flat |= other.flat
        for name in ("percentiles", "mappings", "foreground"):
            for domain, found in getattr(other, name).items():
                getattr(self, name)[domain] += found
        ranges = [r for r in (self.stored_range, other.stored_range) if r is not None]
        self.stored_range = (min(r[0] for r in ranges), max(r[1] for r in ranges)) if ranges else None
        for name in ("constant", "enlarged", "cut", "grey_in_colour", "colour_in_grey", "without_mask",
                     "looked_at", "with_text", "with_faces"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def fingerprint(rows: Sequence[Row], tally: Tally, layout: str, skipped: int, left_out: int,
                warnings: Sequence[str], unpaired: bool = False) -> dict[str, Any]:
    """Counts, sizes, spacing, intensities and warnings, fit for JSON and free of identifiers.

    Args:
        rows: the manifest's, splits drawn.
        tally: what was noted while converting.
        layout: what the source was, in words.
        skipped: files that could not be read.
        left_out: readable files that were not used.
        warnings: found on the way; those that follow from the counts are added.
        unpaired: the domains have images of their own, so that all of them are counted and not those of the first.
    """
    first = [r for r in rows if unpaired or r.domain == rows[0].domain]
    return {
        "layout": layout,
        "subjects": len({r.subject for r in rows}),
        "visits": len({(r.subject, r.session) for r in rows}),
        "images": dict(Counter(r.domain for r in rows)),
        "images_per_subject": _summary(list(Counter(r.subject for r in first).values())),
        "classes": {label: _count([r for r in first if r.label == label])
                    for label in sorted({r.label for r in first} - {""})},
        "splits": {split: _split([r for r in first if r.split == split]) for split in SPLITS},
        "original_sizes": dict(tally.sizes.most_common(20)),
        "original_spacing": [list(s) for s in sorted(tally.spacings)[:20]],
        "intensity": {domain: _intensity(found) for domain, found in tally.percentiles.items()},
        "foreground_share": {domain: _summary(found) for domain, found in tally.foreground.items()},
        "skipped_files": skipped, "left_out_files": left_out,
        "warnings": [*warnings, *_warnings(rows, first, tally)],
    }


def _count(rows: Sequence[Row]) -> dict[str, int]:
    return {"subjects": len({r.subject for r in rows}), "images": len(rows)}


def _split(rows: Sequence[Row]) -> dict[str, Any]:
    labels = sorted({r.label for r in rows} - {""})
    domains = sorted({r.domain for r in rows})
    return {**_count(rows), "classes": {label: _count([r for r in rows if r.label == label]) for label in labels},
            "domains": {name: _count([r for r in rows if r.domain == name]) for name in domains}}


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"min": round(min(values), 4), "median": round(median(values), 4), "max": round(max(values), 4)}


def _intensity(percentiles: list[list[float]]) -> dict[str, float]:
    """Percentiles of the foreground in the files' values: the median over the volumes of each one's own."""
    return {str(p): round(float(v), 4) for p, v in zip(PERCENTILES, np.median(percentiles, axis=0), strict=True)}


def _warnings(rows: Sequence[Row], first: Sequence[Row], tally: Tally) -> list[str]:
    return [*_split_warnings(first), *_image_warnings(rows, tally)]


def _split_warnings(first: Sequence[Row]) -> list[str]:
    found = []
    subjects = {split: {r.subject for r in first if r.split == split} for split in SPLITS}
    total = sum(map(len, subjects.values()))
    if total < FEW_SUBJECTS:
        found.append(f"only {counted(total, 'subject')}: a GAN will find little variety to learn from")
    for split in SPLITS:
        if not subjects[split]:
            found.append(f"the {split} split is empty: {EMPTY[split]}")
    if 0 < len(subjects["test"]) < FEW_TEST_SUBJECTS:
        found.append(f"only {counted(len(subjects['test']), 'subject')} to test on: there will be values for each, "
                     "and no intervals")
    domains = sorted({r.domain for r in first})
    for domain in domains if len(domains) > 1 else ():
        lacking = [s for s in SPLITS if subjects[s] and not any(r.domain == domain and r.split == s for r in first)]
        if lacking:
            found.append(f"{domain} has no image in {' and '.join(lacking)}")
    labels = Counter(r.label for r in first if r.label)
    for label in sorted(labels):
        lacking = [s for s in SPLITS if subjects[s] and not any(r.label == label and r.split == s for r in first)]
        if lacking:
            found.append(f"class {label} has no image in {' and '.join(lacking)}")
    if labels and len(labels) > 1 and max(labels.values()) > 10 * min(labels.values()):
        found.append(f"the classes are very unequal: {max(labels.values())} against {min(labels.values())} images")
    return found


def _image_warnings(rows: Sequence[Row], tally: Tally) -> list[str]:
    owners: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for row in rows:
        if row.sha256 not in tally.flat:  # empty slices are alike in every patient
            owners[row.domain, row.sha256].add((row.subject, row.split))
    twins = [found for found in owners.values() if len({subject for subject, _ in found}) > 1]
    leaks = sum(len({split for _, split in found}) > 1 for found in twins)
    total = sum(map(len, tally.foreground.values()))
    dark = [d for d, found in tally.foreground.items() if median(found) < 0.02]
    checks = [
        (len(twins), f"the same image under several subjects, {counted(len(twins), 'time')}" +
         (f", {leaks} of them in different splits: patients leak" if leaks else "")),
        (tally.constant, f"{counted(tally.constant, 'volume')} with the same value everywhere"),
        (len(tally.spacings) > 1 and _differ(tally.spacings), "the original pixel sizes differ between files"),
        (len(tally.sizes) > 1, f"the original images have {len(tally.sizes)} different sizes"),
        (tally.enlarged, f"{tally.enlarged} of {total} images are enlarged, which adds blur and no detail; "
                         "a smaller --size would not"),
        (tally.cut, f"cropping cuts more than 1% of the foreground away in {tally.cut} of {total} images"),
        (tally.grey_in_colour, f"{counted(tally.grey_in_colour, 'grey image')} stored as three equal channels"),
        (tally.colour_in_grey, f"{counted(tally.colour_in_grey, 'image')} lost colour; add --channels 3 to keep it"),
        (tally.without_mask, f"{counted(tally.without_mask, 'visit')} without a mask; an empty one is stored"),
        (tally.with_text, f"{tally.with_text} of {counted(tally.looked_at, 'visit')} looked at may have text burned "
                          "into the pictures, which may name the patient: look at them before you share anything"),
        (tally.with_faces, f"{tally.with_faces} of {counted(tally.looked_at, 'visit')} looked at: {FACES}"),
        (dark, f"hardly any foreground in {', '.join(dark)}"),
    ]
    return [text for raised, text in checks if raised]


def _differ(spacings: set[Spacing]) -> bool:
    values = np.array(sorted(spacings))
    return bool((values.max(0) > 1.05 * values.min(0)).any())



def describe(found: dict[str, Any], say: Callable[[str], None]) -> None:
    """Say a fingerprint as a small table and its warnings."""
    classes = list(found["classes"])
    domains = sorted({name for part in found["splits"].values() for name in part["domains"]})
    columns = [*classes, *(domains if len(domains) > 1 else ())]
    say(f"{'split':<8}{'subjects':>9}{'images':>9}" + "".join(f"{name[:16]:>18}" for name in columns))
    for split in SPLITS:
        part = found["splits"][split]
        counts = ({**part["domains"], **part["classes"]}.get(name, {"subjects": 0, "images": 0}) for name in columns)
        cells = "".join(f"{c['subjects']} / {c['images']}".rjust(18) for c in counts)
        say(f"{split:<8}{part['subjects']:>9}{part['images']:>9}{cells}")
    if columns:
        say(f"{'':<26}" + "".join(f"{'subjects / images':>18}" for _ in columns))
    sizes = ", ".join(f"{size} ({n})" for size, n in list(found["original_sizes"].items())[:4])
    mm = ", ".join(f"{y:g} x {x:g} mm" for y, x in found["original_spacing"][:3]) or "unknown"
    say(f"original sizes (height x width) {sizes}; pixels {mm}")
    for domain, values in found["intensity"].items():
        share = found["foreground_share"][domain]["median"]
        say(f"{domain}: foreground 1% {values['1']:g}, median {values['50']:g}, 99% {values['99']:g}; "
            f"fills {share:.0%} of the picture")
    for text in found["warnings"]:
        say(f"warning: {text}")
