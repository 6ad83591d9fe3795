"""What to look for: identifiers in the forms in which they may turn up, less what would turn up anyway."""

from __future__ import annotations

import ast
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ganatomy.formats import stem
from ganatomy.preparation.privacy.search import SHORTEST, Needles

WORD = re.compile(r"[^\W_]+")
_TOKEN = re.compile(r"[^\W\d_]+|\d+")
_DATE = re.compile(r"((?:18[89]|19\d|20\d)\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?:\d{6}.*)?")
_PERSON = re.compile(r"(Patient|Mother|Physician|Operator|Person|Performer|Observer|Reviewer).*Name|^person$")
_NAME = re.compile(r"[^\W\d_]{3,}")
SMALL = 10_000
"""Whole numbers below this are counts and indices of something."""
_WORDS = """
abdomen adc admin administrator anat anatomy anonym anonymised anonymized anonymous archive axial backup benign bids
body brain breast cancer case cases chest class cohort coil common control controls coronal cta data dataset datasets
default demo derivatives desktop diagnosis dicom disease dixon documents dog dose downloads dwi ear echo export
exports extremity female file files flair foot fast folder full func hand head healthy heart hip hires home hospital
image images img imgs input job kidney knee label labels left lesion linux liver local localdomain localhost
localizer lung magnetic main male malignant mammo mammography mask masks medical meta mnt mra mri mprage neck negative
new nifti nii none normal old opt other output pacs part path patient patients pelvis phantom picture pictures png
positive post pre private processed project projects prostate proton public radiology raw report research resonance
results right root routine run runs sample samples scan scans scratch screening seg series server session sessions set
shared share shoulder siemens site skull slice slices source spine spin srv standard stack student study studies
subject subjects tags temp test testing thorax tiff time tirm tmp tof tra train training trial true tse tumor tumour
ubuntu ultrasound undefined unknown unnamed user users usr valid validation var version visit volume volumes vol web
weighted work workspace wrist xray yes
"""
COMMON = frozenset(_WORDS.split())
NUMBERED = frozenset({"sub", "ses", "syn", "image", "images", "img", "step", "slice", "sample", "seed", "fold", "epoch",
                      "run", "png", "npy", "nii", "gz", "pt", *"setvxzi"})
"""Words that Ganatomy itself puts around numbers."""
PLACES = frozenset({"file", "folder", "path", "home"})


@dataclass(frozen=True, slots=True)
class Term:
    """One form of an identifier."""

    kind: str
    text: str

    @property
    def masked(self) -> str:
        """The first letter and dots: terminals get copied into mails."""
        return f"{self.text[:1]}..."


class Needle(NamedTuple):
    """A term as bytes: how encoded, and how many bytes a letter takes."""

    term: Term
    encoding: str
    width: int


class Terms:
    """What is looked for.

    Attributes:
        needles: pattern (ASCII in lower case) -> what it stands for; looked for anywhere.
        words: short ones; only as whole words of texts.
        searched: how many identifiers are looked for in some form.
        passed_over: kind -> how many are not, being too short or too common.
    """

    def __init__(self, identifiers: Iterable[tuple[str, str]], own_words: Iterable[str] = (), most: int = 0) -> None:
        """`own_words`: names of domains and classes; `most`: how many images there are to be numbered."""
        own = [_TOKEN.findall(word.casefold()) for word in own_words]
        self._own = {"".join(tokens) for tokens in own}
        self._written = COMMON | vocabulary()
        self._known = self._written | {token for tokens in own for token in tokens}
        self._most = max(most, SMALL)
        self.needles: dict[bytes, Needle] = {}
        self.words: dict[str, Term] = {}
        self._whole: set[str] = set()
        self.searched, self.passed_over = 0, Counter[str]()
        # tags name a finding first; names of files come before paths that hold them
        identifiers = sorted(set(identifiers), key=lambda pair: (pair[0] in PLACES, len(pair[1]), pair))
        rare = _rare_parts(value for kind, value in identifiers if kind in ("subject", "session"))
        for kind, value in identifiers:
            texts = [text for text in forms(kind, value, rare) if not self._is_common(text, kind)]
            for text in self._needed(texts, kind):
                self._add(Term(kind, text))
            self.searched += bool(texts)
            self.passed_over[kind] += not texts
        self.passed_over = +self.passed_over
        self.search = Needles(self.needles)

    def _is_common(self, text: str, kind: str) -> bool:
        """Whether a text is found in any dataset, whoever its patients are."""
        text = text.casefold()
        tokens = _TOKEN.findall(text)
        letters = [token for token in tokens if not token.isdigit()]
        numbers = [token for token in tokens if token.isdigit()]
        if not tokens or (len(text) < 3 and text.isascii()):
            return True
        if not letters:
            if len(numbers) > 1:
                return sum(map(len, numbers)) < SHORTEST
            return int(numbers[0]) < self._most or (len(text) < 7 and int(numbers[0]) % 100 == 0)
        mine = _may_be_own(kind)
        if text in vocabulary() or (mine and any("".join(tokens) in word for word in self._own)):
            return True
        if numbers:
            return NUMBERED.issuperset(letters) and all(int(number) < self._most for number in numbers)
        if COMMON.issuperset(letters):
            return True
        return self._known.issuperset(letters) if mine else len(letters) == 1 and letters[0] in self._written

    def _needed(self, texts: list[str], kind: str) -> list[str]:
        """Texts that are not found anyway, because a part of them is looked for."""
        if kind == "file":
            names = [(text, stem(text).casefold()) for text in texts]
            return [text for text, name in names if name == text.casefold() or name not in self._whole]
        if kind in ("subject", "session", *PLACES):
            return texts
        folded = [(text, text.casefold()) for text in texts]
        parts = [name for _, name in folded if len(name) >= SHORTEST and name.isalpha()]
        return [text for text, name in folded if not any(part in name and part != name for part in parts)]

    def _add(self, term: Term) -> None:
        """Whatever can be looked for as bytes is; the rest as words, if it is one."""
        if len(term.text) < SHORTEST and len(term.text.encode(errors="replace")) < SHORTEST:
            self.words.setdefault(term.text.casefold(), term)
            return
        self._whole.add(term.text.casefold())
        for pattern, encoding, width in _encoded(term.text):
            if len(pattern) >= SHORTEST:
                self.needles.setdefault(pattern, Needle(term, encoding, width))


def _may_be_own(kind: str) -> bool:
    """Whether such identifiers can be what domains and classes are called after; a patient's name cannot."""
    return not kind[:1].isupper() or "Description" in kind or "Protocol" in kind


def forms(kind: str, value: str, rare: frozenset[str] = frozenset()) -> Iterator[str]:
    """The texts to look for: parts of names in the usual orders, dates as they are written, paths and names of files.

    Args:
        kind: a DICOM keyword, or one of those of `collect_identifiers`.
        value: as it stands in the tag or the path.
        rare: parts of names of subjects that are looked for by themselves.
    """
    found: dict[str, None] = {}
    several = [value] if kind in PLACES else value.split("\\")
    for one in (text.strip() for text in several):
        found[one] = None
        if "^" in one or _PERSON.search(kind):
            found.update(dict.fromkeys(_name_forms(one)))
        elif kind in ("subject", "session"):
            found.update(dict.fromkeys(part for part in _NAME.findall(one) if part.casefold() in rare))
        elif date := _DATE.fullmatch(one):
            found.update(dict.fromkeys(_date_forms(*date.group(1, 2, 3))))
    for text in found:
        yield text
        for form in ("NFC", "NFD"):  # file systems take accents apart
            if unicodedata.normalize(form, text) != text:
                yield unicodedata.normalize(form, text)


def _name_forms(name: str) -> Iterator[str]:
    for group in name.split("="):
        parts = [part.strip(" .,") for part in group.split("^")]
        parts = [part for part in parts if part]
        parts = [part for part in re.split(r"[\s,]+", parts[0]) if part] if len(parts) == 1 else parts
        yield " ".join(parts)
        words = list(dict.fromkeys(word for part in parts for word in (part, *re.split(r"[\s,._-]+", part)) if word))
        yield from (*words, *(plain for word in words for plain in _plain(word)))
        if len(parts) > 1:
            family, given = parts[0], parts[1]
            for first, second in ((family, given), (given, family)):
                yield from (f"{first}{between}{second}" for between in ("^", " ", "_", "-", ".", "", ", ", ","))


def _plain(word: str) -> Iterator[str]:
    """Without accents, and as German writes umlauts where there are none."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
    spelt = word
    for accented, letters in zip("äöüÄÖÜß", ("ae", "oe", "ue", "AE", "OE", "UE", "ss"), strict=True):
        spelt = spelt.replace(accented, letters)
    yield from {bare, spelt} - {word}


def _date_forms(year: str, month: str, day: str) -> Iterator[str]:
    yield f"{year}{month}{day}"
    for mark in "-./_":
        yield from (f"{year}{mark}{month}{mark}{day}", f"{day}{mark}{month}{mark}{year}",
                    f"{month}{mark}{day}{mark}{year}")


def _rare_parts(names: Iterable[str]) -> frozenset[str]:
    """Words of at most half of the names: Anna of Anna-Miller-07, but not control of control-07 and control-08."""
    owners: dict[str, set[str]] = defaultdict(set)
    every = set(names)
    for name in every:
        for part in _NAME.findall(name.casefold()):
            owners[part].add(name)
    return frozenset(part for part, found in owners.items() if len(found) == 1 or 2 * len(found) <= len(every))


def _encoded(text: str) -> Iterator[tuple[bytes, str, int]]:
    """(bytes with ASCII in lower case, name of the encoding, bytes a letter takes).

    The zeros at the ends of UTF-16 and UTF-32 are cut off: what is left is the same in both byte orders where all
    letters are Latin.
    """
    plain = text.isascii()
    codecs = [("utf-8", 1), ("utf-16-le", 2), ("utf-32-le", 4)]
    codecs += [] if plain else [("latin-1", 1), ("utf-16-be", 2)]
    for cased in (text,) if plain else dict.fromkeys((text.lower(), text.upper(), text)):
        for codec, width in codecs:
            try:
                pattern = cased.encode(codec).lower()
            except UnicodeEncodeError:
                continue
            yield pattern.strip(b"\0"), codec.upper().removesuffix("-LE").removesuffix("-BE"), width


@cache
def vocabulary() -> frozenset[str]:
    """Words that Ganatomy itself may write, read from its own code, templates and recipes; docstrings left out."""
    words: set[str] = set()
    package = Path(__file__).parents[2]
    for path in package.rglob("*"):
        if path.suffix in (".html", ".yaml"):
            words.update(WORD.findall(path.read_text(encoding="utf-8").casefold()))
        elif path.suffix == ".py" and path != Path(__file__):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            comments = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in comments:
                    words.update(WORD.findall(node.value.casefold()))
                elif isinstance(node, ast.Name | ast.arg | ast.Attribute | ast.keyword):
                    name = {"Name": "id", "Attribute": "attr"}.get(type(node).__name__, "arg")
                    words.update(WORD.findall(str(getattr(node, name)).casefold()))
    return frozenset(words)
