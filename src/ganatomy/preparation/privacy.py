"""What of the patients is left in data sets, runs and reports: a search for their identifiers, which must find none,
and warnings of what pictures show, burned-in text and whole heads."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ganatomy.core.errors import UserError
from ganatomy.core.files import PRIVATE_SUFFIX, read_json
from ganatomy.core.run import Run
from ganatomy.core.text import counted
from ganatomy.data.dataset import is_dataset
from ganatomy.data.images import Pixels
from ganatomy.preparation.private import read_identifiers
from ganatomy.preparation.search import Form, Forms, Hit, Search

Say = Callable[[str], None]
Shell = Callable[[NDArray[np.float64]], bool]
GLYPHS = 6
"""As many letters in a row make a text."""
_LOWEST, _HIGHEST = 5, 40
"""Heights of letters, pixels."""
_STROKE = 7
"""Strokes are narrower than this, pixels."""
_LEVELS = (60, 140)
"""By how much of 255 a stroke stands out ..."""
_FAINT = 25
"""... and by how much where it is of one grey."""
_EVEN = 30
"""Letters of a text are alike in brightness, of 255."""
_MOST = 300
"""Pieces of the size of letters; a picture with more is noise."""
COVERAGE = 40.0
"""mm along every axis; a slab thinner than this shows no head."""
_HOUNSFIELD_AIR = -200.0
_STEP = 2.0  # mm
_SLICES = 12
_SECTORS = 24
_LONG, _WIDE = (130.0, 260.0), (100.0, 220.0)  # mm, front to back and side to side
_SHELL = 30  # mm below the skin


@dataclass(frozen=True, slots=True)
class Finding:
    """An identifier in a place where it must not be; nothing here spells it out.

    Attributes:
        file: where; identifiers in names of files are masked.
        kind: a DICOM keyword, or subject, session, group, file, folder, path, host, user, home.
        masked: its first letter.
        encoding: how it is written.
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
    """The result of an audit.

    Attributes:
        forms: what was searched for, and what was not.
        say: told each finding, and what could not be searched.
        findings: in the order of the files.
        files: how many were searched.
        by_chance: hits that pixels, hashes or numbers give by chance, passed over.
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
        """Note what could not be looked into."""
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
    owners = {path: _owners(path) for path in paths}
    runs = [Run(path) for owned in owners.values() for path in owned if Run.is_run(path)]
    # not opened: it may have been tampered with
    notes = {path: read_json(path / "dataset.json") for owned in owners.values() for path in owned
             if not Run.is_run(path)}
    for run in runs:
        if run.dataset_content() not in {note.get("content") for note in notes.values()}:
            try:
                dataset = run.dataset_path()
            except UserError as error:
                raise UserError(f"{error.what}, so nobody knows which identifiers to look for", where=error.where,
                                fix="name its dataset too") from error
            notes[dataset] = read_json(dataset / "dataset.json")
    homeless = [path for path, owned in owners.items() if not owned]
    if homeless and not notes:
        raise UserError("says of no patients that it comes from them", where=homeless[0],
                        fix="name the dataset or run it belongs to as well")
    own = {str(word) for note in notes.values() for key in ("domains", "classes", "mask_values")
           for word in note.get(key, ())}
    rows = max(((dataset / "manifest.csv").read_bytes().count(b"\n") for dataset in notes), default=0)
    audit = Audit(Forms({pair for dataset in notes for pair in read_identifiers(dataset)}, own, rows), say)
    search = Search(audit.forms)
    for run in runs:
        if run.dataset_content() not in {note.get("content") for note in notes.values()}:
            audit.cannot_search(str(run.path), "its dataset has been made anew since, perhaps of other patients, whose "
                                "identifiers are not known")
    for place in paths:
        _search(place, search, audit)
    audit.by_chance = search.by_chance
    return audit


def _owners(place: Path) -> list[Path]:
    """The real dataset or run that a place lies in; else all that lie below it."""
    def is_ours(path: Path) -> bool:
        return is_dataset(path, "real") or Run.is_run(path)

    if not place.exists():
        raise UserError("there is no such file or folder", where=place, fix="check the path")
    above = next((path for path in (place.absolute(), *place.absolute().parents) if is_ours(path)), None)
    return [above] if above is not None else [path for path in _below(place, []) if path.is_dir() and is_ours(path)]


def _search(place: Path, search: Search, audit: Audit) -> None:
    """Search all files below a place, and their names."""
    closed: list[OSError] = []
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
                audit.cannot_search(shown, reason)
            search.unsearched.clear()
    for fault in closed:
        folder = str(fault.filename)
        forms = {hit.form for hit in search.text(os.fsencode(os.path.relpath(folder, place)))}
        audit.cannot_search(_masked(folder, forms), f"the folder cannot be opened ({fault.strerror})")


def _below(place: Path, closed: list[OSError]) -> Iterator[Path]:
    """Files and folders below a place, or the file itself; private folders are passed over, links not followed.

    The errors of folders that cannot be opened are added to `closed`.
    """
    if place.is_file():
        yield place
    for folder, folders, files in os.walk(place, onerror=closed.append) if place.is_dir() else ():
        folders[:] = sorted(f for f in folders if not f.endswith(PRIVATE_SUFFIX))
        yield from (Path(folder) / name for name in (*folders, *sorted(files)))


def _masked(text: str, forms: Iterable[Form]) -> str:
    """`text` without identifiers, so that a name of a file can be shown."""
    for form in forms:
        text = re.sub(re.escape(form.text), form.masked, text, flags=re.IGNORECASE)
    return text


def likely_text(pictures: Sequence[Pixels]) -> bool:
    """Whether text seems to be burned into one of these pictures.

    Looked for are strokes that stand out from what is around them, bright or dark, in pieces of the size of letters,
    at least `GLYPHS` of them side by side, alike in height, on one line and of one brightness.

    Args:
        pictures: [h, w] or [h, w, 3], any type, at the resolution of the source (letters at least 8 pixels high); a few
            of a series, such as the first, the middle and the last.
    """
    return any(_has_text(picture) for picture in pictures)


def _has_text(picture: Pixels) -> bool:
    grey = np.asarray(picture, np.float32)
    grey = grey.max(-1) if grey.ndim == 3 else grey
    low, high = float(grey.min()), float(grey.max())
    if min(grey.shape) < 2 * _STROKE or not high > low:
        return False
    levels = np.rint((grey - low) * (255 / (high - low))).astype(np.uint8)
    for one in (levels, 255 - levels):
        raised = one - _opened(one)
        masks = [raised > level for level in _LEVELS]
        commonest = np.bincount(one[raised > _FAINT], minlength=1).argmax()  # of strokes drawn in one grey
        if commonest:
            masks.append((raised > _FAINT) & (one <= commonest + 8) & (one + 8.0 >= commonest))
        if any(_longest_line(_glyphs(mask, one)) >= GLYPHS for mask in masks):
            return True
    return False


def _opened(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture without what is brighter than its surroundings and narrower than `_STROKE` pixels."""
    padded = np.pad(grey, _STROKE - 1, mode="edge")
    return _extreme(_extreme(padded, np.minimum), np.maximum)


def _extreme(grey: NDArray[np.uint8], choose: np.ufunc) -> NDArray[np.uint8]:
    """The lowest or highest value of each square of `_STROKE` = 7 pixels, in three steps along each axis."""
    for _ in range(2):
        for step in (1, 2, 3):
            grey = choose(grey[:-step], grey[step:])
        grey = grey.T
    return grey


def _glyphs(mask: NDArray[np.bool_], grey: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(top, bottom, left, right, brightness) of each piece of the size of a letter, one a row."""
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if count < GLYPHS:
        return np.zeros((0, 5))
    slices = ndimage.find_objects(labels)
    boxes = np.array([(y.start, y.stop, x.start, x.stop) for y, x in slices])
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    fill = areas / (height * width)
    letter = ((height >= _LOWEST) & (height <= _HIGHEST) & (width <= 1.5 * height) & (fill > 0.15)
              & ((fill < 0.9) | (width * 2 <= height)))
    peaks = np.zeros(count + 1)
    np.maximum.at(peaks, labels[mask], grey[mask])
    letters = np.column_stack([boxes, peaks[1:]])[letter]
    return np.asarray(letters if len(letters) <= _MOST else letters[:0], np.float64)


def _longest_line(glyphs: NDArray[np.float64]) -> int:
    """The most letters on one line: same top or bottom, like heights, small gaps, one brightness."""
    top, bottom, left, right, peak = glyphs[np.argsort(glyphs[:, 2])].T
    height = bottom - top
    alike = (np.abs(bottom - bottom[:, None]) <= 1) & (np.abs(peak - peak[:, None]) <= _EVEN)
    alike &= np.abs(top - top[:, None]) <= np.maximum(1, 0.35 * height)[:, None]
    counts, longest = alike.sum(1), 1
    for i in np.argsort(-counts):
        if counts[i] <= longest:
            break
        gaps = left[alike[i]][1:] - right[alike[i]][:-1]
        breaks = np.flatnonzero((gaps > 2.5 * height[i]) | (gaps < -1))
        longest = max(longest, int(np.diff([-1, *breaks, counts[i] - 1]).max()))
    return longest


def shows_whole_head(volume: Pixels, spacing: tuple[float, float, float]) -> bool:
    """Whether a volume seems to be of a head that still has its skin and skull, from which a face can be rebuilt.

    In axial slices of a head's size, below the skin is looked for a shell: in MR fat that is bright, then dark bone,
    then bright brain; in CT bone that is brighter than what lies on both sides of it. Skull-stripped brains have none.
    Heads whose face alone was removed have it too, and so may limbs whose files do not say what they are.

    Args:
        volume: [i, j, k] to the right, front and top of the patient (canonical RAS axes); CT in Hounsfield units.
        spacing: mm along i, j and k.
    """
    extent = [n * mm for n, mm in zip(volume.shape, spacing, strict=True)]
    if volume.ndim != 3 or min(extent) < COVERAGE:
        return False
    steps = [max(1, round(_STEP / mm)) for mm in spacing[:2]]
    chosen = np.linspace(0, volume.shape[2] - 1, min(_SLICES, volume.shape[2])).round().astype(int)
    slices = np.asarray(volume[::steps[0], ::steps[1], chosen], np.float32)
    low = float(np.percentile(slices, 1))
    shell = _bright_shell if low < _HOUNSFIELD_AIR else _dark_shell
    slices = slices - low
    top = float(np.percentile(slices, 99))
    if top <= 0:
        return False
    mm = (spacing[0] * steps[0], spacing[1] * steps[1])
    heads = sum(_is_head(slices[..., k], mm, 0.1 * top, shell) for k in range(len(chosen)))
    return bool(heads / len(chosen) * extent[2] >= COVERAGE / 2)


def _is_head(plane: NDArray[np.float32], mm: tuple[float, float], air: float, shell: Shell) -> bool:
    """Whether an axial slice [i, j] has the size of a head, and skin and skull around at least half of it."""
    labels, count = ndimage.label(ndimage.uniform_filter(plane, 3) > air)
    if not count:
        return False
    body = ndimage.binary_fill_holes(labels == np.bincount(labels.ravel())[1:].argmax() + 1)
    i, j = np.nonzero(body)
    wide, long = float(np.ptp(i)) * mm[0], float(np.ptp(j)) * mm[1]
    if not (_WIDE[0] <= wide <= _WIDE[1] and _LONG[0] <= long <= _LONG[1]):
        return False
    depth = ndimage.distance_transform_edt(body, mm)[i, j]
    angle = np.arctan2((j - j.mean()) * mm[1], (i - i.mean()) * mm[0])
    sector = np.minimum(((angle + np.pi) / (2 * np.pi) * _SECTORS).astype(int), _SECTORS - 1)
    bins = _SHELL // 2
    inside = depth < _SHELL
    place = sector[inside] * bins + (depth[inside] / 2).astype(int)
    counts = np.bincount(place, minlength=_SECTORS * bins).reshape(_SECTORS, bins)
    sums = np.bincount(place, plane[i, j][inside], minlength=_SECTORS * bins).reshape(_SECTORS, bins)
    profiles = sums / np.maximum(counts, 1)
    return sum(map(shell, profiles)) >= _SECTORS // 2


def _dark_shell(profile: NDArray[np.float64]) -> bool:
    """MR: bright, dark, bright, from the skin inwards; `profile` has a value each 2 mm."""
    valley = int(profile[2:11].argmin()) + 2
    outer, inner = profile[:valley].max(), float(np.median(profile[valley + 2:]))
    return bool(profile[valley] < 0.6 * min(outer, inner))


def _bright_shell(profile: NDArray[np.float64]) -> bool:
    """CT: bone between skin and brain."""
    ridge = int(profile[1:9].argmax()) + 1
    return bool(profile[ridge] > 1.3 * max(profile[:ridge].min(), np.median(profile[ridge + 2:])))
