"""The audit: data sets, runs and reports are searched for the identifiers of their patients, and must hold none."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ganatomy.core.errors import UserError
from ganatomy.core.files import PRIVATE_SUFFIX, several
from ganatomy.core.reading import reading
from ganatomy.core.run import Run
from ganatomy.core.text import counted
from ganatomy.data.dataset import is_dataset, read_info
from ganatomy.preparation.private import read_identifiers
from ganatomy.preparation.search import Form, Forms, Hit, Search

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """An identifier of `kind` (a DICOM keyword, subject, file, host, ...) in a file, `times` times, masked in all of
    this; `where` is the part of the file and the first byte."""

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
    """The result of an audit.

    Attributes:
        forms: what was searched for, and what was not.
        say: told each finding, and what could not be searched.
        findings: in the order of the files.
        files: how many were searched.
        by_chance: hits passed over, since pixels, hashes or numbers give them by chance.
        unsearched: (file, reason) of what could not be looked into.
    """

    forms: Forms
    say: Say
    findings: list[Finding] = field(default_factory=list)
    files: int = 0
    by_chance: int = 0
    unsearched: list[tuple[str, str]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything could be searched and holds none of them."""
        return not self.findings and not self.unsearched

    def __str__(self) -> str:
        files, searched = counted(self.files, "file"), counted(self.forms.searched, "identifier")
        holding = len({finding.file for finding in self.findings})
        parts = [f"{holding} of {files} hold some of {searched} looked for" if holding else
                 f"none of {searched} looked for was found in {files}"]
        left_out = self.forms.left_out
        if left_out:
            shown = Counter(f"{form.kind} {form.masked} {why}" for form, why in left_out.items())
            each = ", ".join(f"{text}{f' ({n} times)' if n > 1 else ''}" for text, n in sorted(shown.items()))
            parts.append(f"{counted(len(left_out), 'form')} of them cannot be searched for: {each}")
        if self.by_chance:
            parts.append(f"{counted(self.by_chance, 'hit')} that chance explains passed over")
        if self.unsearched:
            parts.append(f"{counted(len(self.unsearched), 'part')} could not be searched")
        return "; ".join([*parts, "text within pictures is not read"])

    def cannot_search(self, file: str, reason: str) -> None:
        self.unsearched.append((file, reason))
        self.say(f"{file}: could not be searched: {reason}")

    def note(self, hits: Iterable[Hit], file: str, part: str = "") -> None:
        """Add up hits of the same kind into findings; `part` is given where they are in no bytes of the file."""
        places: dict[tuple[str, Form, str], list[int]] = {}
        for hit in hits:
            places.setdefault((hit.part, hit.form, hit.encoding), []).append(hit.offset)
        forms = {form for _, form, _ in places}
        for (within, form, encoding), offsets in sorted(places.items()):
            inside = f"{_masked(within, forms)}, " if within else ""
            finding = Finding(file, form.kind, form.masked, encoding, part or f"{inside}byte {min(offsets)}",
                              len(set(offsets)))
            self.findings.append(finding)
            self.say(str(finding))


def audit_phi(places: str | Path | Sequence[str | Path], say: Say = lambda text: None) -> Audit:
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
    paths = several(places)
    owners = {path: _owners(path) for path in paths}
    owned = list(dict.fromkeys(path for own in owners.values() for path in own))
    runs = [Run(path) for path in owned if Run.is_run(path)]
    # datasets are not opened: their images and rows may have been tampered with
    notes = {path: read_info(path) for path in owned if not Run.is_run(path)}

    def unknown(run: Run) -> bool:
        return run.dataset_content() not in {note.content for note in notes.values()}

    for run in filter(unknown, runs):
        try:
            dataset = run.dataset_path()
        except UserError as error:
            raise UserError(f"{error.what}, so nobody knows which identifiers to look for", where=error.where,
                            fix="name its dataset too") from error
        notes[dataset] = read_info(dataset)
    homeless = [path for path, own in owners.items() if not own]
    if homeless and not notes:
        raise UserError("says of no patients that it comes from them", where=homeless[0],
                        fix="name the dataset or run it belongs to as well")
    words = {word for note in notes.values() for word in (*note.domains, *note.classes, *note.mask_values)}
    rows = max((_lines(dataset / "manifest.csv") for dataset in notes), default=0)
    audit = Audit(Forms({pair for dataset in notes for pair in read_identifiers(dataset)}, words, rows), say)
    search = Search(audit.forms)
    for run in filter(unknown, runs):
        audit.cannot_search(str(run.path), "its dataset has been made anew since, perhaps of other patients, whose "
                            "identifiers are not known")
    for place in paths:
        _search(place, search, audit)
    audit.by_chance = search.by_chance
    return audit


def _lines(path: Path) -> int:
    with reading(path):
        return path.read_bytes().count(b"\n")


def _owners(place: Path) -> list[Path]:
    """The real dataset or run that a place lies in; else all that lie below it."""
    def is_ours(path: Path) -> bool:
        return is_dataset(path, "real") or Run.is_run(path)

    if not place.exists():
        raise UserError("there is no such file or folder", where=place, fix="check the path")
    above = next((path for path in (place.absolute(), *place.absolute().parents) if is_ours(path)), None)
    return [above] if above is not None else [path for path in _below(place) if path.is_dir() and is_ours(path)]


def _search(place: Path, search: Search, audit: Audit) -> None:
    """Search all files below a place, and their names."""
    def masked(text: str) -> str:
        return _masked(text, {hit.form for hit in search.text(os.fsencode(text))})

    def closed(fault: OSError) -> None:
        folder = place / masked(os.path.relpath(fault.filename, place))
        audit.cannot_search(str(folder), f"the folder cannot be opened ({fault.strerror})")

    for path in _below(place, closed):
        name = place.name if path == place else path.relative_to(place).as_posix()
        hits = list(search.text(os.fsencode(name)))
        shown = _masked(str(path), {hit.form for hit in hits})
        audit.note(hits, shown, "its name")
        if path.is_symlink():
            audit.note(search.text(os.fsencode(path.readlink())), shown, "the place it links to")
        if path.is_file():
            audit.files += 1
            try:
                with path.open("rb") as stream:
                    audit.note(search.file(stream, path.stat().st_size), shown)
            except OSError as error:
                audit.cannot_search(shown, f"cannot be read ({error.strerror})")
            for reason in search.unsearched:
                audit.cannot_search(shown, masked(reason))
            search.unsearched.clear()


def _below(place: Path, closed: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    """Files and folders below a place, or the file itself; private folders are passed over, links not followed.

    `closed` is told of folders that cannot be opened.
    """
    if place.is_file():
        yield place
    for folder, folders, files in os.walk(place, onerror=closed) if place.is_dir() else ():
        folders[:] = sorted(f for f in folders if not f.endswith(PRIVATE_SUFFIX))
        yield from (Path(folder) / name for name in (*folders, *sorted(files)))


def _masked(text: str, forms: Iterable[Form]) -> str:
    """`text` without identifiers, so that a name of a file can be shown."""
    for form in forms:
        text = re.sub(re.escape(form.text), form.masked, text, flags=re.IGNORECASE)
    return text
