"""The end of `prepare`: splits, manifest, dataset.json, fingerprint, contact sheet.

Splits are drawn once, by subject, spread over the classes, the same for a seed. The fingerprint says what a dataset
holds, in numbers, and what one should know before trusting it, in plain words.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.table import Table
from ganatomy.core.text import counted, listed
from ganatomy.data.dataset import Dataset, DatasetInfo, DatasetWriter, Grid, Intensity, content_hash
from ganatomy.data.manifest import SPLITS, Row
from ganatomy.preparation.convert import PERCENTILES, Notes
from ganatomy.preparation.duplicates import MOST_LISTED, near_duplicates
from ganatomy.preparation.headers import Survey
from ganatomy.preparation.masks import MANY_LABELS, settle_masks
from ganatomy.preparation.options import Options
from ganatomy.preparation.plan import Plan
from ganatomy.preparation.sheet import write_contact_sheet
from ganatomy.sources.entry import Entry

Say = Callable[[str], None]
EMPTY = {"train": "there is nothing to learn from", "val": "no checkpoint can be chosen by its score",
         "test": "evaluate will have nothing to compare with"}
FEW_TEST_SUBJECTS = 5
FEW_SUBJECTS = 20


def finish_dataset(writer: DatasetWriter, notes: Notes, cohort: Survey, options: Options, say: Say) -> str:
    """Draw the splits, write manifest, dataset.json and contact sheet, say the fingerprint; return the content hash."""
    plan, warnings = cohort.plan, list(cohort.warnings)
    if not writer.rows:
        name, reason = (notes.skipped or notes.left_out)[0]
        raise UserError(f"no image is left to store, for example {name}: {reason}",
                        fix="check the files, or choose others with --slices")
    splits = _splits(notes, writer, cohort.layout.entries, options, plan.unpaired)
    writer.rows = [replace(row, split=splits[row.subject]) for row in writer.rows]
    writer.close()
    mask_values = settle_masks(writer.stage / "masks.npy", plan.masks, notes.codes)
    if len(mask_values) > MANY_LABELS:
        warnings.append(f"the masks hold {len(mask_values)} different values: are these labels, or soft edges?")
    if notes.skipped:
        name, reason = notes.skipped[0]
        say(f"skipped {counted(len(notes.skipped), 'unreadable file')}, for example {name}: {reason}; "
            "all are in skipped.csv of the private folder")
        warnings.append(f"{counted(len(notes.skipped), 'file')} could not be read")
    stored = {row.domain for row in writer.rows}
    warnings += [f"no image of {name} could be used" for name in plan.domains if name not in stored]
    info = _info(writer, notes, plan, tuple(name for name in plan.domains if name in stored), options, mask_values)
    alike = near_duplicates(Dataset(writer.stage, info, writer.rows), say)
    if alike:
        leaks = sum(pair[4] for pair in alike)
        leaking = f"; {leaks} of them in different splits: patients leak" if leaks else ""
        warnings.append(f"{counted(len(alike), 'pair')} of nearly the same image under two subjects, far more alike "
                        f"than different subjects are in these data{leaking}")
    content = fingerprint(writer.rows, notes, cohort.layout.kind, warnings, plan.unpaired)
    if not cohort.layout.subjects_known:
        content["patients_unknown"] = True
    content["near_duplicates"] = [list(pair) for pair in alike[:MOST_LISTED]]
    writer.finish(info.model_copy(update={"fingerprint": content}))
    write_contact_sheet(Dataset.open(writer.stage), options.seed, plan.axis, plan.oriented)
    describe(content, say)
    return content_hash(writer.rows)


def _info(writer: DatasetWriter, notes: Notes, plan: Plan, domains: tuple[str, ...], options: Options,
          mask_values: dict[str, int]) -> DatasetInfo:
    """dataset.json without its content hash and fingerprint."""
    spacings = [tuple(map(float, row.spacing.split("x"))) for row in writer.rows if row.spacing]
    low, high = min(notes.extremes), max(notes.extremes)
    value_range = (low, high if high > low else low + 1.0)
    if plan.dtype.kind == "u":
        value_range = (0.0, float(np.iinfo(plan.dtype).max))
    intensity = {}
    for name, mappings in notes.mappings.items():
        how = plan.intensities[name]
        ct = plan.windows.get(name)  # with two rules there is none by which further volumes are mapped
        intensity[name] = Intensity(method=f"{ct.label} HU of CT, {how.label} of others" if ct else how.label,
                                    rule=None if ct else how.method, low=how.low, high=how.high,
                                    projection=how.projection, units=how.units,
                                    offset=median(m.offset for m in mappings), scale=median(m.scale for m in mappings))
    return DatasetInfo(source="real", run_id=None, size=(options.size, options.size),
                       channels=3 if plan.channels == 3 else 1, value_range=value_range, domains=domains,
                       paired=len(domains) > 1 and not plan.unpaired,
                       classes=tuple(sorted({row.label for row in writer.rows} - {""})),
                       spacing=(median(s[0] for s in spacings), median(s[1] for s in spacings)) if spacings else None,
                       grid=Grid(axis=plan.axis, fit=plan.frame.fit, mm=plan.frame.mm, background=plan.background),
                       intensity=intensity, mask_values=mask_values, content="",
                       provenance={"ganatomy": __version__, "command": options.command(), **options.chosen()})


def _splits(notes: Notes, writer: DatasetWriter, entries: Sequence[Entry], options: Options,
            unpaired: bool) -> dict[str, str]:
    """Pseudonym -> split. The source's own splits come first, then named subjects, then the draw."""
    original = {origin.subject: origin.original_subject for origin in notes.origins}
    asked: dict[str, set[str]] = defaultdict(set)
    groups: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        asked[entry.subject].add(options.fixed.get(entry.subject, entry.split))
        groups[entry.subject].add(entry.group or entry.subject)
    torn = sorted(name for name in original.values() if len(asked[name]) > 1 or len(groups[name]) > 1)
    if torn:
        raise UserError(f"subjects in more than one split or group: {', '.join(torn[:5])} ({len(torn)} in all)",
                        fix="put every image of a subject into one split")
    group = {pseudonym: next(iter(groups[name])) for pseudonym, name in original.items()}
    named: dict[str, dict[str, str]] = defaultdict(dict)
    for pseudonym, name in original.items():
        if split := next(iter(asked[name])):
            named[group[pseudonym]][split] = name
    if apart := next((own for own in named.values() if len(own) > 1), None):
        raise UserError(f"subjects of one group, which is never parted, are to go to {listed(apart)}: "
                        f"{listed(apart.values())}", where="--val-subjects / --test-subjects",
                        fix="name subjects of one group for one split")
    labels: dict[str, set[str]] = defaultdict(set)
    for row in writer.rows:
        # where domains have images of their own, each must be spread over the splits
        labels[group[row.subject]].add(f"{row.label} {row.domain}" if unpaired else row.label)
    fixed = {name: next(iter(own)) for name, own in named.items()}
    drawn = draw_splits({name: "+".join(sorted(own)) for name, own in labels.items()}, options.shares,
                        options.seed, fixed)
    return {pseudonym: drawn[name] for pseudonym, name in group.items()}


def draw_splits(units: Mapping[str, str], shares: Mapping[str, float], seed: int,
                fixed: Mapping[str, str] | None = None) -> dict[str, str]:
    """Assign each unit (a subject, or a group of them) to a split.

    The number in each split is the share by largest remainder, but none that was asked for stays empty while there
    are enough units: train comes first, then test, then val. Within those numbers every class gets its whole share,
    and the remainders go to the classes with the largest. A split for which units are fixed gets no others.
    `units` is name -> class, "" where there are none; the same seed and units give the same splits.
    """
    fixed = dict(fixed or {})
    shares = {name: 0.0 if name != "train" and name in fixed.values() else shares[name] for name in SPLITS}
    free: dict[str, list[str]] = defaultdict(list)
    for name in sorted(units):
        if name not in fixed:
            free[units[name]].append(name)
    for label, names in free.items():
        random.Random(f"{seed}/{label}").shuffle(names)
    sizes = {label: len(names) for label, names in free.items()}
    totals = _totals(sum(map(len, free.values())), {n: s / sum(shares.values()) for n, s in shares.items()})
    drawn = {name: fixed[name] for name in units if name in fixed}
    for split in ("test", "val"):
        left = {label: len(names) for label, names in free.items()}
        for label, count in _spread(totals[split], left, sizes).items():
            for _ in range(count):
                drawn[free[label].pop()] = split
    return {name: drawn.get(name, "train") for name in units}


def _totals(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """How many of `count` units each split gets."""
    wanted = [name for name in ("train", "test", "val") if shares[name] > 0]
    if count <= len(wanted):
        return {name: int(name in wanted[:count]) for name in SPLITS}
    exact = {name: count * shares[name] for name in SPLITS}
    totals = {name: math.floor(exact[name] + 1e-9) for name in SPLITS}
    order = sorted(("train", "test", "val"), key=lambda name: totals[name] - exact[name])
    for name in order[: count - sum(totals.values())]:
        totals[name] += 1
    for name in wanted:
        if totals[name] == 0:
            totals[max(totals, key=lambda n: totals[n])] -= 1
            totals[name] += 1
    return totals


def _spread(total: int, left: Mapping[str, int], sizes: Mapping[str, int]) -> dict[str, int]:
    """Divide `total` units of a split over the classes by their sizes, as far as the classes have units left."""
    everything = sum(sizes.values())
    exact = {label: total * sizes[label] / everything for label in left} if everything else {}
    counts = {label: min(math.floor(exact[label]), left[label]) for label in exact}
    while sum(counts.values()) < total:
        # keep at least one unit of each class for training where possible
        room = [n for n in counts if left[n] - counts[n] > 1] or [n for n in counts if left[n] > counts[n]]
        best = max(sorted(room), key=lambda label: (exact[label] - counts[label], sizes[label]))
        counts[best] += 1
    return counts


def fingerprint(rows: Sequence[Row], notes: Notes, layout: str, warnings: Sequence[str],
                unpaired: bool) -> dict[str, Any]:
    """Counts, sizes, spacing, intensities and warnings, fit for JSON and free of identifiers."""
    # the images of paired domains are counted once
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
        "original_sizes": dict(notes.sizes.most_common(20)),
        "original_spacing": [list(s) for s in sorted(notes.spacings)[:20]],
        "intensity": {domain: {str(p): round(float(v), 4) for p, v in zip(PERCENTILES, np.median(own, 0), strict=True)}
                      for domain, own in notes.percentiles.items()},
        "foreground_share": {domain: _summary(shares) for domain, shares in notes.foreground.items()},
        "skipped_files": len(notes.skipped), "left_out_files": len(notes.left_out),
        "warnings": [*warnings, *_split_warnings(first), *_image_warnings(rows, notes)],
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


def _split_warnings(first: Sequence[Row]) -> list[str]:
    warnings = []
    subjects = {split: {r.subject for r in first if r.split == split} for split in SPLITS}
    total = sum(map(len, subjects.values()))
    if total < FEW_SUBJECTS:
        warnings.append(f"only {counted(total, 'subject')}: a GAN will find little variety to learn from")
    for split in SPLITS:
        if not subjects[split]:
            warnings.append(f"the {split} split is empty: {EMPTY[split]}")
    if 0 < len(subjects["test"]) < FEW_TEST_SUBJECTS:
        warnings.append(f"only {counted(len(subjects['test']), 'subject')} to test on: there will be values for each, "
                     "and no intervals")
    splits: dict[str, set[str]] = defaultdict(set)
    for row in first:
        splits[row.domain].add(row.split)
        if row.label:
            splits[f"class {row.label}"].add(row.split)
    for name, own in sorted(splits.items()):
        lacking = [split for split in SPLITS if subjects[split] and split not in own]
        if lacking:
            warnings.append(f"{name} has no image in {listed(lacking)}")
    labels = Counter(row.label for row in first if row.label)
    if labels and max(labels.values()) > 10 * min(labels.values()):
        warnings.append(f"the classes are very unequal: {max(labels.values())} against {min(labels.values())} images")
    return warnings


def _image_warnings(rows: Sequence[Row], notes: Notes) -> list[str]:
    owners: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for row in rows:
        if row.sha256 not in notes.flat:  # empty slices are alike in every patient
            owners[row.domain, row.sha256].add((row.subject, row.split))
    twins = [alike for alike in owners.values() if len({subject for subject, _ in alike}) > 1]
    leaks = sum(len({split for _, split in alike}) > 1 for alike in twins)
    total = sum(map(len, notes.foreground.values()))
    slices = len({row.image_id for row in rows})
    spacings = np.array(sorted(notes.spacings) or [(1.0, 1.0)])
    dark = [d for d, shares in notes.foreground.items() if median(shares) < 0.02]
    checks = [
        (len(twins), f"the same image under several subjects, {counted(len(twins), 'time')}" +
         (f", {leaks} of them in different splits: patients leak" if leaks else "")),
        (notes.constant, f"{counted(notes.constant, 'volume')} with the same value everywhere"),
        ((spacings.max(0) > 1.05 * spacings.min(0)).any(), "the original pixel sizes differ between files"),
        (len(notes.sizes) > 1, f"the original images have {len(notes.sizes)} different sizes"),
        (notes.enlarged, f"{notes.enlarged} of {total} images are enlarged, which adds blur and no detail; "
                         "a smaller --size would not"),
        (notes.cut, f"cropping cuts more than 1% of the foreground away in {notes.cut} of {total} images"),
        (notes.grey_in_colour, f"{counted(notes.grey_in_colour, 'grey image')} stored as three equal channels"),
        (notes.colour_in_grey, f"{counted(notes.colour_in_grey, 'image')} lost colour; add --channels 3 to keep it"),
        (notes.without_mask, f"{notes.without_mask} of {counted(slices, 'slice')} have no mask: whatever uses masks "
                             "leaves them out (has_mask in manifest.csv), and never counts them as without a lesion"),
        (notes.with_text, f"{notes.with_text} of {counted(notes.looked_at, 'visit')} looked at may have text burned "
                          "into the pictures, which may name the patient: look at them before you share anything"),
        (notes.whole_heads, f"{notes.whole_heads} of {counted(notes.looked_at, 'visit')} looked at seem to show whole "
                            "heads, of which a face can be rebuilt: deface or skull-strip before sharing"),
        (dark, f"hardly any foreground in {', '.join(dark)}"),
    ]
    return [text for raised, text in checks if raised]


def describe(content: dict[str, Any], say: Callable[[str], None]) -> None:
    """Say a fingerprint as a small table and its warnings."""
    domains = sorted({name for part in content["splits"].values() for name in part["domains"]})
    columns = [*content["classes"], *(domains if len(domains) > 1 else ())]
    rows = []
    for split, part in content["splits"].items():
        counts = [{**part["domains"], **part["classes"]}.get(name, {"subjects": 0, "images": 0}) for name in columns]
        rows.append([split, str(part["subjects"]), str(part["images"]),
                     *(f"{count['subjects']} / {count['images']}" for count in counts)])
    notes = ["(subjects / images of each)"] if columns else []
    for line in Table(["split", "subjects", "images", *columns], rows, notes=notes).text().splitlines():
        say(line)
    sizes = ", ".join(f"{size} ({n})" for size, n in list(content["original_sizes"].items())[:4])
    mm = ", ".join(f"{y:g} x {x:g} mm" for y, x in content["original_spacing"][:3]) or "unknown"
    say(f"original sizes (height x width) {sizes}; pixels {mm}")
    for domain, values in content["intensity"].items():
        share = content["foreground_share"][domain]["median"]
        say(f"{domain}: foreground 1% {values['1']:g}, median {values['50']:g}, 99% {values['99']:g}; "
            f"fills {share:.0%} of the picture")
    for text in content["warnings"]:
        say(f"warning: {text}")
