"""The end of `prepare`: splits, manifest, dataset.json, contact sheet, fingerprint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.text import counted
from ganatomy.data.dataset import Dataset, DatasetInfo, DatasetWriter, Grid, Intensity, content_hash
from ganatomy.data.intensity import Decision, Mapping
from ganatomy.preparation.contact_sheet import write_contact_sheet
from ganatomy.preparation.convert import Outcome
from ganatomy.preparation.convert_visit import Plan
from ganatomy.preparation.duplicates import MOST_LISTED, near_duplicates
from ganatomy.preparation.fingerprint import describe, fingerprint
from ganatomy.preparation.masks import MANY_LABELS, settle_masks
from ganatomy.preparation.options import Options, changed
from ganatomy.preparation.splits import draw_splits
from ganatomy.sources.entry import Entry, Layout

Say = Callable[[str], None]


def finish_dataset(writer: DatasetWriter, outcome: Outcome, plan: Plan, layout: Layout, options: Options,
           defaults: dict[str, Any], warnings: Sequence[str], say: Say) -> str:
    """Draw the splits, write manifest, dataset.json and contact sheet, say the fingerprint.

    Returns the dataset's content hash.
    """
    if not writer.rows:
        name, reason = (outcome.skipped or outcome.left_out)[0]
        raise UserError(f"no image is left to store, for example {name}: {reason}",
                        fix="check the files, or choose others with --slices")
    splits = _splits(outcome, writer, layout.entries, options, plan.unpaired)
    writer.rows = [replace(row, split=splits[row.subject]) for row in writer.rows]
    writer.close()
    mask_values = settle_masks(writer.stage / "masks.npy", plan.masks, outcome.codes)
    if len(mask_values) > MANY_LABELS:
        warnings = [*warnings, f"the masks hold {len(mask_values)} different values: are these labels, or soft edges?"]
    if outcome.skipped:
        name, reason = outcome.skipped[0]
        say(f"skipped {counted(len(outcome.skipped), 'unreadable file')}, for example {name}: {reason}; "
            "all are in skipped.csv of the private folder")
        warnings = [*warnings, f"{counted(len(outcome.skipped), 'file')} could not be read"]
    stored = {row.domain for row in writer.rows}
    plan = replace(plan, domains=tuple(name for name in plan.domains if name in stored))
    warnings = [*warnings, *(f"no image of {name} could be used" for name in plan.intensities if name not in stored)]
    info = _info(writer, outcome, plan, options, defaults, mask_values)
    alike = near_duplicates(Dataset(writer.stage, info, writer.rows), say)
    if alike.warning:
        warnings = [*warnings, alike.warning]
    found = fingerprint(writer.rows, outcome.tally, layout.kind, len(outcome.skipped), len(outcome.left_out), warnings,
                        plan.unpaired)
    found["near_duplicates"] = [list(pair) for pair in alike.pairs[:MOST_LISTED]]
    writer.finish(info.model_copy(update={"fingerprint": found}))
    write_contact_sheet(Dataset.open(writer.stage), options.seed, plan.axis, plan.oriented)
    describe(found, say)
    return content_hash(writer.rows)


def _info(writer: DatasetWriter, outcome: Outcome, plan: Plan, options: Options, defaults: dict[str, Any],
          mask_values: dict[str, int]) -> DatasetInfo:
    """dataset.json without its content hash and fingerprint."""
    spacings = [tuple(map(float, row.spacing.split("x"))) for row in writer.rows if row.spacing]
    if plan.dtype.kind == "u":
        value_range = (0.0, float(np.iinfo(plan.dtype).max))
    else:
        low, high = outcome.tally.stored_range or (0.0, 1.0)
        value_range = (low, high if high > low else low + 1.0)
    provenance = {"ganatomy": __version__, **changed(options, defaults)}
    intensity = {name: _intensity(plan.intensities[name], found) for name, found in outcome.tally.mappings.items()}
    grid = Grid(axis=plan.axis, fit=plan.frame.fit, mm=plan.frame.mm, background=plan.background)
    return DatasetInfo(source="real", run_id=None, size=(options.size, options.size),
                       channels=3 if plan.channels == 3 else 1, value_range=value_range, domains=plan.domains,
                       paired=len(plan.domains) > 1 and not plan.unpaired,
                       classes=tuple(sorted({row.label for row in writer.rows} - {""})),
                       spacing=(median(s[0] for s in spacings), median(s[1] for s in spacings)) if spacings else None,
                       grid=grid, intensity=intensity, mask_values=mask_values, provenance=provenance, content="")


def _intensity(how: Decision, found: Sequence[Mapping]) -> Intensity:
    """What dataset.json says of a domain whose volumes were mapped like this."""
    return Intensity(method=how.label, rule=how.method, low=how.low, high=how.high, projection=how.projection,
                     units=how.units, offset=median(m.offset for m in found), scale=median(m.scale for m in found))


def _splits(outcome: Outcome, writer: DatasetWriter, entries: Sequence[Entry], options: Options,
            unpaired: bool) -> dict[str, str]:
    """Pseudonym -> split. The source's own splits come first, then named subjects, then the draw."""
    original = {origin[1]: origin[3] for origin in outcome.origins}
    said: dict[str, set[str]] = defaultdict(set)
    groups: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        said[entry.subject].add(options.fixed.get(entry.subject, entry.split))
        groups[entry.subject].add(entry.group or entry.subject)
    torn = sorted(name for name in original.values() if len(said[name]) > 1 or len(groups[name]) > 1)
    if torn:
        raise UserError(f"subjects in more than one split or group: {', '.join(torn[:5])} ({len(torn)} in all)",
                        fix="put every image of a subject into one split")
    group = {pseudonym: next(iter(groups[name])) for pseudonym, name in original.items()}
    labels: dict[str, set[str]] = defaultdict(set)
    for row in writer.rows:
        # where domains have images of their own, each must be spread over the splits
        labels[group[row.subject]].add(f"{row.label} {row.domain}" if unpaired else row.label)
    fixed = {group[pseudonym]: split for pseudonym, name in original.items() if (split := next(iter(said[name])))}
    drawn = draw_splits({name: "+".join(sorted(found)) for name, found in labels.items()}, options.shares,
                        options.seed, fixed)
    return {pseudonym: drawn[name] for pseudonym, name in group.items()}
