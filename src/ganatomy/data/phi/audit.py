"""What of the patients' identifiers can still be found in datasets, runs and reports. It must be nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ganatomy.data.dataset import is_dataset
from ganatomy.data.phi.scan import Hit, Scanner
from ganatomy.data.phi.terms import Terms
from ganatomy.data.prepare.private import read_identifiers
from ganatomy.errors import UserError
from ganatomy.files import PRIVATE_SUFFIX, read_json
from ganatomy.run import Run
from ganatomy.wording import counted

Say = Callable[[str], None]
NAME, LINK = "its name", "the place it links to"


@dataclass(frozen=True, slots=True)
class Finding:
    """An identifier that was found; nothing here spells it out.

    Attributes:
        file: where; names in which identifiers were found are masked.
        kind: a DICOM keyword, or subject, session, group, file, folder, path, host, user, home.
        masked: the first letter of what was found.
        encoding: how it was written.
        where: in what part of the file, and at which byte of it first.
        times: how often.
    """

    file: str
    kind: str
    masked: str
    encoding: str
    where: str
    times: int

    def __str__(self) -> str:
        often = f", {self.times} times" if self.times > 1 else ""
        return f"{self.file}: {self.kind} {self.masked} ({self.encoding}; {self.where}{often})"


@dataclass
class Audit:
    """What an audit found.

    Attributes:
        findings: in the order of the files.
        searched: how many identifiers were looked for.
        passed_over: kind -> how many are too short or too common to be looked for.
        files: how many were searched.
        by_chance: hits that pixels, hashes or numbers give by chance, passed over.
        unsearched: (file, reason) of what could not be looked into.
    """

    searched: int
    passed_over: dict[str, int]
    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    by_chance: int = 0
    unsearched: list[tuple[str, str]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything could be searched and nothing was found."""
        return not self.findings and not self.unsearched

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(self.passed_over.items()))
        without = f" ({sum(self.passed_over.values())} too short or too common to look for: {kinds})" if kinds else ""
        found = len({finding.file for finding in self.findings})
        what = f"{found} of {counted(self.files, 'file')} hold some" if found else "none"
        where = "" if found else f" found in {counted(self.files, 'file')}"
        text = f"{what} of {counted(self.searched, 'identifier')}{without}{where}"
        return text + (f"; {counted(len(self.unsearched), 'part')} could not be searched" if self.unsearched else "")


def audit_phi(places: Sequence[str | Path], say: Say = lambda text: None) -> Audit:
    """Search datasets, runs, reports and other files for the identifiers of the patients they come from.

    The identifiers are those that `prepare` wrote into the private folders of the datasets: of a run, the dataset it
    learnt from; of other files and folders, of the run or dataset they lie in, or of the other places.

    Args:
        places: folders and files; private folders below them are left out.
        say: takes each finding, and what could not be searched.

    Raises:
        UserError: a place is missing, or it cannot be known which identifiers to look for.
    """
    paths = [Path(place) for place in places]
    datasets = _datasets(paths)
    identifiers = {pair for dataset in datasets for pair in read_identifiers(dataset)}
    notes = [read_json(dataset / "dataset.json") for dataset in datasets]  # not opened: it may have been tampered with
    own = {str(word) for note in notes for key in ("domains", "classes", "mask_values") for word in note.get(key, ())}
    rows = max((_lines(dataset / "manifest.csv") for dataset in datasets), default=0)
    terms = Terms(identifiers, own, rows)
    audit = Audit(terms.searched, dict(terms.passed_over))
    scanner = Scanner(terms)
    for place in paths:
        _search(place, scanner, audit, say)
    audit.by_chance = scanner.by_chance
    return audit


def _datasets(places: Sequence[Path]) -> list[Path]:
    """The datasets whose identifiers are looked for."""
    found: dict[Path, None] = {}
    homeless, runs = [], []
    for place in places:
        if not place.exists():
            raise UserError("there is no such file or folder", where=place, fix="check the path")
        owner = next((p for p in (place.absolute(), *place.absolute().parents) if is_dataset(p) or Run.is_run(p)), None)
        if owner is not None and is_dataset(owner, "real"):
            found[owner] = None
        elif owner is not None and Run.is_run(owner):
            runs.append(Run(owner))
        else:
            homeless.append(place)
    for run in runs:
        content = run.dataset_content()
        if not any(read_json(dataset / "dataset.json").get("content") == content for dataset in found):
            try:
                found[run.dataset_path()] = None
            except UserError as error:
                raise UserError(f"{error.what}, so nobody knows which identifiers to look for", where=error.where,
                                fix="name its dataset too") from error
    if homeless and not found:
        raise UserError("says of no patients that it comes from them", where=homeless[0],
                        fix="name the dataset or run it belongs to as well")
    return list(found)


def _lines(path: Path) -> int:
    with path.open("rb") as handle:
        return sum(1 for _ in handle)


def _search(place: Path, scanner: Scanner, audit: Audit, say: Say) -> None:
    """Search all files below a place, and their names."""
    names = [(path, "" if path == place else path.relative_to(place).as_posix()) for path in _below(place)]
    base = place.name if place.is_file() else ""
    suspicious = any(True for _ in scanner.text(os.fsencode("\n".join(name or base for _, name in names))))
    for path, name in names:
        shown = str(path)
        if suspicious:
            hits = list(scanner.text(os.fsencode(name or base)))
            shown = _masked(shown, hits)
            _note([hit._replace(part=NAME) for hit in hits], shown, audit, say)
        if path.is_symlink():
            _note([hit._replace(part=LINK) for hit in scanner.text(os.fsencode(path.readlink()))],
                  shown, audit, say)
        if path.is_file():
            audit.files += 1
            try:
                _note(scanner.file(_opener(path), path.stat().st_size), shown, audit, say)
            except OSError as error:
                scanner.unsearched.append(f"cannot be read ({error.strerror})")
            for reason in scanner.unsearched:
                audit.unsearched.append((shown, reason))
                say(f"{shown}: could not be searched: {reason}")
            scanner.unsearched.clear()


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _below(place: Path) -> Iterator[Path]:
    """Files and folders below a place, or the file itself; private folders are passed over, links not followed."""
    if place.is_file():
        yield place
    for folder, folders, files in os.walk(place):
        folders[:] = sorted(f for f in folders if not f.endswith(PRIVATE_SUFFIX))
        for name in (*folders, *sorted(files)):
            yield Path(folder) / name


def _masked(text: str, hits: Iterable[Hit]) -> str:
    """`text` without the terms found, so that a name of a file can be shown."""
    for hit in hits:
        text = re.sub(re.escape(hit.term.text), hit.term.masked, text, flags=re.IGNORECASE)
    return text


def _note(hits: Iterable[Hit], shown: str, audit: Audit, say: Say) -> None:
    """Add up hits of the same kind into findings."""
    found: dict[tuple[str, str, str, str], list[Hit]] = {}
    for hit in hits:
        places = found.setdefault((hit.part, hit.term.kind, hit.term.text, hit.encoding), [])
        if all(hit.offset != other.offset for other in places[-64:]):
            places.append(hit)
    for (part, kind, _, encoding), places in sorted(found.items()):
        first = min(hit.offset for hit in places)
        within = _masked(part, [hit for some in found.values() for hit in some[:1]])
        where = part if part in (NAME, LINK) else f"{within + ', ' if part else ''}byte {first}"
        finding = Finding(shown, kind, places[0].term.masked, encoding, where, len(places))
        audit.findings.append(finding)
        say(str(finding))
