"""What of the patients' identifiers can still be found in datasets, runs and reports. It must be nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ganatomy.core.errors import UserError
from ganatomy.core.files import PRIVATE_SUFFIX, read_json
from ganatomy.core.run import Run
from ganatomy.core.text import counted
from ganatomy.data.dataset import is_dataset
from ganatomy.preparation.privacy.scan import Hit, Scanner
from ganatomy.preparation.privacy.terms import Terms
from ganatomy.preparation.private import read_identifiers

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
        named: the classes and domains, which are stored as they are.
    """

    searched: int
    passed_over: dict[str, int]
    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    by_chance: int = 0
    unsearched: list[tuple[str, str]] = field(default_factory=list)
    named: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether everything could be searched and nothing was found."""
        return not self.findings and not self.unsearched

    def __str__(self) -> str:
        files, searched = counted(self.files, "file"), counted(self.searched, "identifier")
        found = len({finding.file for finding in self.findings})
        what = (f"{found} of {files} hold some of {searched} looked for" if found else
                f"none of {searched} looked for was found in {files}")
        kinds = ", ".join(f"{kind} {n}" for kind, n in sorted(self.passed_over.items()))
        too_common = sum(self.passed_over.values())
        parts = [f"{too_common} more are too short or too common to look for: {kinds}" * bool(kinds),
                 f"{counted(len(self.unsearched), 'part')} could not be searched" * bool(self.unsearched),
                 f"classes and domains are taken to name nobody: {', '.join(self.named)}" * bool(self.named),
                 "text within pictures is not read"]
        return "; ".join([what, *filter(None, parts)])


def audit_phi(places: Sequence[str | Path], say: Say = lambda text: None) -> Audit:
    """Search datasets, runs, reports and other files for the identifiers of the patients they come from.

    The identifiers are those that `prepare` wrote into the private folders of the datasets: of a run, the dataset it
    learnt from; of other files and folders, of the run or dataset they lie in, of those below them, or of the other
    places.

    Args:
        places: folders and files; private folders below them are left out.
        say: takes each finding, and what could not be searched.

    Raises:
        UserError: a place is missing, or it cannot be known which identifiers to look for.
    """
    paths = [Path(place) for place in places]
    for path in paths:
        if not path.exists():
            raise UserError("there is no such file or folder", where=path, fix="check the path")
    owners = {path: _owners(path) for path in paths}
    datasets = _datasets(owners)
    identifiers = {pair for dataset in datasets for pair in read_identifiers(dataset)}
    notes = [read_json(dataset / "dataset.json") for dataset in datasets]  # not opened: it may have been tampered with
    named = {str(word) for note in notes for key in ("domains", "classes") for word in note.get(key, ())}
    own = named | {str(word) for note in notes for word in note.get("mask_values", ())}
    rows = max((_lines(dataset / "manifest.csv") for dataset in datasets), default=0)
    terms = Terms(identifiers, own, rows)
    audit = Audit(terms.searched, dict(terms.passed_over), named=tuple(sorted(named)))
    scanner = Scanner(terms)
    contents = {note.get("content") for note in notes}
    for run in _changed(owners, contents):
        _unsearched(str(run), "its dataset has been made anew since, perhaps of other patients, whose identifiers are "
                              "not known", audit, say)
    for place in paths:
        _search(place, scanner, audit, say)
    audit.by_chance = scanner.by_chance
    return audit


def _datasets(places: Mapping[Path, list[Path]]) -> list[Path]:
    """The datasets whose identifiers are looked for, of places and what owns each."""
    found: dict[Path, None] = {}
    homeless, runs = [], []
    for place, owners in places.items():
        found |= dict.fromkeys(owner for owner in owners if is_dataset(owner, "real"))
        runs += [Run(owner) for owner in owners if Run.is_run(owner)]
        if not any(is_dataset(owner, "real") or Run.is_run(owner) for owner in owners):
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


def _owners(place: Path) -> list[Path]:
    """The dataset or run that a place lies in; else all that lie below it."""
    def is_ours(path: Path) -> bool:
        return is_dataset(path) or Run.is_run(path)

    above = next((path for path in (place.absolute(), *place.absolute().parents) if is_ours(path)), None)
    return [above] if above is not None else [path for path in _below(place, []) if path.is_dir() and is_ours(path)]


def _changed(places: Mapping[Path, list[Path]], contents: Set[object]) -> list[Path]:
    """The runs whose dataset is no longer the one that they learnt from: it may have been of other patients."""
    return [path for owners in places.values() for path in owners
            if Run.is_run(path) and Run(path).dataset_content() not in contents]


def _lines(path: Path) -> int:
    with path.open("rb") as handle:
        return sum(1 for _ in handle)


def _search(place: Path, scanner: Scanner, audit: Audit, say: Say) -> None:
    """Search all files below a place, and their names."""
    closed: list[OSError] = []
    names = [(path, "" if path == place else path.relative_to(place).as_posix()) for path in _below(place, closed)]
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
                _unsearched(shown, reason, audit, say)
            scanner.unsearched.clear()
    for fault in closed:
        name = os.path.relpath(str(fault.filename), str(place))
        shown = str(place / _masked(name, scanner.text(os.fsencode(name))))
        _unsearched(shown, f"the folder cannot be opened ({fault.strerror})", audit, say)


def _unsearched(shown: str, reason: str, audit: Audit, say: Say) -> None:
    audit.unsearched.append((shown, reason))
    say(f"{shown}: could not be searched: {reason}")


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: path.open("rb")


def _below(place: Path, closed: list[OSError]) -> Iterator[Path]:
    """Files and folders below a place, or the file itself; private folders are passed over, links not followed.

    The errors of folders that cannot be opened are added to `closed`.
    """
    if place.is_file():
        yield place
        return
    for folder, folders, files in os.walk(place, onerror=closed.append):
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
