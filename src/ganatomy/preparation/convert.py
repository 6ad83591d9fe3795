"""The second pass: visits to stored images, in several processes, written in order. Few visits are held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from ganatomy.data.dataset import DatasetWriter
from ganatomy.data.parallel import FEW, in_order
from ganatomy.preparation.convert_visit import Converted, Names, Plan, convert_visit
from ganatomy.preparation.fingerprint import Tally
from ganatomy.preparation.masks import MaskCodes
from ganatomy.preparation.scanned import Skipped
from ganatomy.preparation.visits import Visit

SMALL = 16
"""Visits of single pictures travel between processes this many at a time."""
LOOKED_AT = 1000
"""In at most so many visits, evenly chosen, text and faces are looked for."""
ORIGIN_COLUMNS = ("image_id", "subject", "domain", "original_subject", "original_session", "path", "slice")


@dataclass
class Outcome:
    """What came of the second pass. `origins` and `skipped` name patients and files: private."""

    tally: Tally = field(default_factory=Tally)
    origins: list[tuple[str, str, str, str, str, str, int]] = field(default_factory=list)
    skipped: Skipped = field(default_factory=list)
    left_out: Skipped = field(default_factory=list)
    codes: MaskCodes = field(default_factory=MaskCodes)

    def take(self, found: Converted, writer: DatasetWriter) -> None:
        """Store a visit's images and add up what was noted."""
        for pixels, row in found.images:
            writer.add(pixels, row)
        table = self.codes.table(found.codes.codes) if found.codes.codes else None
        for mask in found.masks:
            writer.add_mask(mask if table is None else table[mask])
        self.tally.merge(found.tally)
        self.origins += found.origins
        self.skipped += found.skipped
        self.left_out += found.left_out


def convert_visits(visits: Sequence[Visit], plan: Plan, writer: DatasetWriter, outcome: Outcome, workers: int,
                   progress: Callable[[int], None], check: Callable[[], None]) -> None:
    """Convert every visit, in order; subjects become sub-0001, sub-0002, ...

    Args:
        visits: sorted by subject, then session.
        plan: what holds for all of them.
        writer: of the dataset.
        outcome: added to.
        workers: processes; the result does not depend on their number.
        progress: called with the number of visits done.
        check: called after each visit; may raise, for example because a file could not be read.
    """
    volumes = any(visit.volumetric for visit in visits)
    size = 1 if volumes else SMALL
    workers = 1 if len(visits) <= (1 if volumes else FEW) else workers
    done = 0
    for results in in_order(partial(_convert, plan), _chunks(_named(visits), size), workers):
        for found in results:
            outcome.take(found, writer)
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


def _chunks(items: Iterator[tuple[Visit, Names]], size: int) -> Iterator[list[tuple[Visit, Names]]]:
    chunk = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
