"""Searching files for what names patients: the forms in which it may turn up, and where they stand: as bytes, in texts
also behind escapes, and in what is packed in files."""

from __future__ import annotations

import base64
import codecs
import gzip
import html
import io
import json
import math
import re
import unicodedata
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple
from urllib.parse import unquote_to_bytes

from ahocorasick_rs import BytesAhoCorasick, Implementation
from PIL import Image

LONG = 6
"""Bytes from which a form is searched for anywhere; shorter ones, which chance makes, as whole words of texts."""
SMALL = 10_000
"""Whole numbers below this are counts and indices of something."""
PLACES = frozenset({"file", "folder", "path", "home"})
_FIELD_WORDS = """
abdomen adc admin administrator anat anatomy anonym anonymised anonymized anonymous archive axial backup benign bids
body brain breast cancer case cases chest class cohort coil common control controls coronal cta data dataset datasets
default demo derivatives desktop diagnosis dicom disease dixon documents dog dose downloads dwi ear echo export
exports extremity female file files flair foot fast folder full func hand head healthy heart hip hires home hospital
image images img imgs input job kidney knee label labels left lesion linux liver local localdomain localhost localizer
lung magnetic main male malignant mammo mammography mask masks medical meta mnt mra mri mprage neck negative new nifti
nii none normal old opt other output pacs part path patient patients pelvis phantom picture pictures png positive post
pre private processed project projects prostate proton public radiology raw report research resonance results right
root routine run runs sample samples scan scans scratch screening seg series server session sessions set shared share
shoulder siemens site skull slice slices source spine spin srv standard stack student study studies subject subjects
tags temp test testing thorax tiff time tirm tmp tof tra train training trial true tse tumor tumour ubuntu ultrasound
undefined unknown unnamed user users usr valid validation var version visit volume volumes vol web weighted work
workspace wrist xray yes
"""
FIELD_WORDS = frozenset(_FIELD_WORDS.split())
"""Any data set, run or report may hold these and what is put together of them."""
_OWN_WORDS = """
able adam altman archer arms art back ball band banks base batch bell best bird bland blank block board bond
bonferroni book bootstrap bottom bowl box brown camp carry cell chance chart chase clark close cook cope count court
cross day dice dry exact fair field fine fisher fold frank frost gates gold good grace gray green grey guy hill holm
hope input jet key king lang lead link long lower main major mann mark max may mean miles min mode name noble noise
norm page parent park pearson pixel points pool power price range rank ray read real red reed remote rice rich right
root rose sage sam seed sharp short silver singer small space speed stack step still stone street sum summer table tan
taylor term top tree upper val value wall ward way week welch west white whitney wide width wilcoxon will wilson wood
year young zoom
"""
OWN_WORDS = frozenset(_OWN_WORDS.split())
"""Words of figures, methods and reports that are names of people, too: left out alone, searched for with others."""
NUMBERED = frozenset({"sub", "ses", "syn", "image", "images", "img", "step", "slice", "sample", "seed", "fold", "epoch",
                      "run", "png", "npy", "nii", "gz", "pt", *"setvxzi"})
"""Words that Ganatomy itself puts around numbers."""
_TOKEN = re.compile(r"[^\W\d_]+|\d+")
_LETTERS = re.compile(r"[^\W\d_]{3,}")
_DATE = re.compile(r"((?:18[89]|19\d|20\d)\d)(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?:\d{6}.*)?")
_PERSON = re.compile(r"(Patient|Mother|Physician|Operator|Person|Performer|Observer|Reviewer).*Name|^person$")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "AE", "Ö": "OE", "Ü": "UE", "ß": "ss"})
PIECE = 1 << 24
"""Bytes of a file that are searched at once."""
MOST_PACKED = 1 << 28
"""What is packed within something packed may be this large."""
DEPTH = 4
CHANCE = 0.01
"""Hits of which more than this many are expected by chance are none."""
AROUND = 256
ANCHOR = 12
"""Bytes of a form's end by which it is recognised: what is kept of a million of them must fit into memory."""
_PAYLOAD = re.compile(rb"data:[\w.+/;=\s-]{0,200}base64,((?:[A-Za-z0-9+/=\s]|%2[bBfF]|%3[dD])+)")
_UNICODE = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+")
_HEX = re.compile(rb"[0-9a-f]{32,}")
_LETTER = re.compile(rb"[0-9a-z\x80-\xff]")
_PNG = b"\x89PNG\r\n\x1a\n"
_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Form(NamedTuple):
    """One form of an identifier: a DICOM keyword, or a kind of `private.collect_identifiers`, and the text."""

    kind: str
    text: str

    @property
    def masked(self) -> str:
        """The first letter and dots: terminals get copied into mails."""
        return f"{self.text[:1]}..."


class Forms:
    """What is searched for: the forms `wanted`, and those `left_out` with the reason, since any data set may hold them;
    `searched` counts the identifiers of which a form is wanted."""

    def __init__(self, identifiers: Iterable[tuple[str, str]], own_words: Iterable[str] = (), most: int = 0) -> None:
        """`own_words`: names of domains and classes; `most`: how many images there are to be numbered."""
        tokens = [_TOKEN.findall(word.casefold()) for word in own_words]
        self._own = {"".join(word) for word in tokens}
        self._own_tokens = FIELD_WORDS.union(*tokens)
        self._most = max(most, SMALL)
        self.wanted: list[Form] = []
        self.left_out: dict[Form, str] = {}
        self.searched = 0
        known = set[str]()
        # tags name a finding first; names of files come before paths that hold them
        identifiers = sorted(set(identifiers), key=lambda pair: (pair[0] in PLACES, len(pair[1]), pair))
        rare = _rare_parts(value for kind, value in identifiers if kind in ("subject", "session"))
        for kind, value in identifiers:
            forms = [Form(kind, text) for text in dict.fromkeys(_spelt(kind, value, rare))]
            whys = {form: self._why_not(form) for form in forms}
            self.left_out |= {form: why for form, why in whys.items() if why}
            self.wanted += [form for form in forms if not whys[form] and form.text.casefold() not in known]
            known |= {form.text.casefold() for form in forms}
            self.searched += not all(whys.values())

    def _why_not(self, form: Form) -> str:
        """Why a form cannot be searched for; "" if it can."""
        text = form.text.casefold()
        tokens = _TOKEN.findall(text)
        letters = [token for token in tokens if not token.isdigit()]
        numbers = [token for token in tokens if token.isdigit()]
        if not tokens or (len(text) < 3 and text.isascii()):
            return "too short"
        if not letters and len(numbers) > 1:
            return "too short" if sum(map(len, numbers)) < LONG else ""
        if not letters:
            number = int(numbers[0])
            return "a small number" if number < self._most or (len(text) < 7 and number % 100 == 0) else ""
        # what domains and classes are called after may be a folder or a description; a patient's name is not
        may_be_own = not form.kind[:1].isupper() or "Description" in form.kind or "Protocol" in form.kind
        if may_be_own and any("".join(tokens) in word for word in self._own):
            return "a domain or class"
        if numbers:
            small = NUMBERED.issuperset(letters) and all(int(number) < self._most for number in numbers)
            return "a numbered word" if small else ""
        alone = len(letters) == 1 and letters[0] in OWN_WORDS | NUMBERED
        known = self._own_tokens if may_be_own else FIELD_WORDS
        return "a common word" if alone or known.issuperset(letters) else ""


def _spelt(kind: str, value: str, rare: frozenset[str]) -> Iterator[str]:
    """The texts of a value: parts of names in the usual orders, dates as they are written, accents apart and not."""
    texts: list[str] = []
    for one in [value] if kind in PLACES else [part.strip() for part in value.split("\\")]:
        texts.append(one)
        if "^" in one or _PERSON.search(kind):
            texts += _name_forms(one)
        elif kind in ("subject", "session"):
            texts += [part for part in _LETTERS.findall(one) if part.casefold() in rare]
        elif date := _DATE.fullmatch(one):
            texts += _date_forms(*date.group(1, 2, 3))
    for text in texts:
        yield from (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))


def _name_forms(name: str) -> Iterator[str]:
    for group in name.split("="):
        parts = [part for part in (part.strip(" .,") for part in group.split("^")) if part]
        parts = [part for part in re.split(r"[\s,]+", parts[0]) if part] if len(parts) == 1 else parts
        yield " ".join(parts)
        for word in (word for part in parts for word in (part, *re.split(r"[\s,._-]+", part)) if word):
            bare = "".join(c for c in unicodedata.normalize("NFKD", word) if not unicodedata.combining(c))
            yield from (word, bare, word.translate(_UMLAUTS))
        if len(parts) > 1:
            for first, second in (parts[:2], parts[1::-1]):
                yield from (f"{first}{between}{second}" for between in ("^", " ", "_", "-", ".", "", ", ", ","))


def _date_forms(year: str, month: str, day: str) -> Iterator[str]:
    yield f"{year}{month}{day}"
    for mark in "-./_":
        yield from (mark.join(order) for order in ((year, month, day), (day, month, year), (month, day, year)))


def _rare_parts(names: Iterable[str]) -> frozenset[str]:
    """Words of at most half of the names: Anna of Anna-Miller-07, but not control of control-07 and control-08."""
    every = set(names)
    owners = Counter(part for name in every for part in set(_LETTERS.findall(name.casefold())))
    return frozenset(part for part, count in owners.items() if count == 1 or 2 * count <= len(every))


def encoded(text: str) -> Iterator[tuple[bytes, str, int]]:
    """A text's bytes with ASCII in lower case, the name of the encoding, and the bytes that a letter takes.

    The zeros at the ends of UTF-16 and UTF-32 are cut off: what is left is the same in both byte orders where all
    letters are Latin.
    """
    codecs = [("utf-8", 1), ("utf-16-le", 2), ("utf-32-le", 4)]
    codecs += [] if text.isascii() else [("latin-1", 1), ("utf-16-be", 2)]
    for cased in (text,) if text.isascii() else dict.fromkeys((text.lower(), text.upper(), text)):
        for codec, width in codecs:
            pattern = cased.encode(codec, "ignore").lower().strip(b"\0")
            if pattern and (codec != "latin-1" or cased.encode(codec, "ignore").decode(codec) == cased):
                yield pattern, codec.upper().removesuffix("-LE").removesuffix("-BE"), width


class Pattern(NamedTuple):
    """A form as bytes, how encoded, and how many bytes a letter takes."""

    data: bytes
    form: Form
    encoding: str
    width: int


class Hit(NamedTuple):
    """Where a form stands: how encoded, in what part of the file, at which byte of it."""

    form: Form
    encoding: str
    part: str
    offset: int


class Search:
    """Searches files and texts; counts the hits passed over, since as many are there `by_chance`, and notes what was
    left `unsearched`, with the reason."""

    def __init__(self, forms: Forms) -> None:
        patterns: dict[bytes, Pattern] = {}
        for form in forms.wanted:
            for data, encoding, width in encoded(form.text):
                patterns.setdefault(data, Pattern(data, form, encoding, width))
        self._by_anchor: dict[bytes, list[Pattern]] = defaultdict(list)
        for pattern in patterns.values():
            self._by_anchor[pattern.data[-ANCHOR:]].append(pattern)
        self._anchors = list(self._by_anchor)
        self._automaton = BytesAhoCorasick(self._anchors, implementation=Implementation.ContiguousNFA)
        self._lengths = Counter(map(len, patterns))
        self._overlap = max(map(len, patterns), default=0) + AROUND
        self.by_chance = 0
        self.unsearched: list[str] = []

    def file(self, stream: IO[bytes], size: int, part: str = "", depth: int = 0) -> Iterator[Hit]:
        """Hits in a seekable stream of about `size` bytes, and in what is packed in it. Raises `OSError`."""
        head = stream.read(PIECE)
        if head.startswith(_BOMS):
            stream.seek(0)
            decoded = _whole(stream).decode("utf-16", "replace").encode()
            yield from (hit._replace(encoding="UTF-16", part=part) for hit in self.text(decoded))
        is_text = _is_text(head)
        at, data = 0, head
        while data:
            for hit in self.text(data) if is_text else self._bytes(data, size):
                yield hit._replace(part=part, offset=at + hit.offset)
            following = stream.read(PIECE)
            if not following:
                break
            kept = data[-self._overlap:]
            at, data = at + len(data) - len(kept), kept + following
        packed = head.startswith((b"PK\x03\x04", b"\x1f\x8b", _PNG)) or (is_text and b";base64," in head)
        if packed and depth < DEPTH:
            stream.seek(0)
            try:
                yield from self._packed(stream, head, f"{part}: " if part else "", depth)
            except Exception as error:  # what is damaged raises almost anything
                self.unsearched.append(f"{part or 'what is packed in it'} ({error})")

    def text(self, data: bytes) -> Iterator[Hit]:
        """Hits in a text, also behind the escapes of JSON, HTML and addresses."""
        blank = _PAYLOAD.sub(lambda match: b" " * len(match.group()), data) if b";base64," in data else data
        yield from self._bytes(blank)
        plain = _unescaped(blank)
        if plain != blank:
            yield from (hit._replace(encoding=f"{hit.encoding}, escaped") for hit in self._bytes(plain))

    def _bytes(self, data: bytes, size: int = 0) -> Iterator[Hit]:
        """Hits in bytes; `size` is that of the whole they are a piece of where they are no text."""
        low = data.lower()
        for anchor, _, end in self._automaton.find_matches_as_indexes(low, overlapping=True):
            for pattern in self._by_anchor[self._anchors[anchor]]:
                start = end - len(pattern.data)
                if not low.endswith(pattern.data, max(0, start), end) or _within_number(low, start, end, pattern):
                    continue
                if len(pattern.data) < LONG and (size or not _is_word(low, start, end)):
                    continue
                if self._expected(low, start, end, size) > CHANCE if size else _within_hash(low, start, end):
                    self.by_chance += 1
                else:
                    yield Hit(pattern.form, pattern.encoding, "", start)

    def _expected(self, low: bytes, start: int, end: int, size: int) -> float:
        """How many hits of forms of this length there would be if all bytes were like those around, in any order."""
        around = low[max(0, start - AROUND):start] + low[end:end + AROUND]
        shares = ((around.count(byte) + 1) / (len(around) + 256) for byte in low[start:end])
        return math.prod(shares, start=float(size) * self._lengths[end - start])

    def _packed(self, stream: IO[bytes], head: bytes, inner: str, depth: int) -> Iterator[Hit]:
        if head.startswith(b"PK"):
            with zipfile.ZipFile(stream) as archive:
                for info in archive.infolist():
                    names = self.text(info.filename.encode() + b"\n" + info.comment)
                    yield from (hit._replace(part=f"{inner}name of a member") for hit in names)
                    if not info.is_dir():
                        with archive.open(info) as member:
                            yield from self.file(member, info.file_size, f"{inner}{info.filename}", depth + 1)
        elif head.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=stream) as unpacked:
                yield from self.file(unpacked, PIECE, f"{inner}unpacked", depth + 1)  # type: ignore[arg-type]
        elif head.startswith(_PNG):
            with Image.open(io.BytesIO(_whole(stream)), formats=["PNG"]) as image:
                image.load()  # texts may follow the pixels
                for key, note in image.info.items():
                    content = note if isinstance(note, bytes) else str(note).encode()
                    hits = self.text(f"{key}\n".encode() + content)
                    yield from (hit._replace(part=f"{inner}PNG text") for hit in hits)
        else:
            for number, match in enumerate(_PAYLOAD.finditer(_whole(stream)), start=1):
                letters = b"".join(unquote_to_bytes(match.group(1)).split()).rstrip(b"=")
                content = base64.b64decode(letters[:len(letters) - (len(letters) % 4 == 1)] + b"==")
                yield from self.file(io.BytesIO(content), len(content), f"{inner}embedded file {number}", depth + 1)


def _whole(stream: IO[bytes]) -> bytes:
    data = stream.read(MOST_PACKED + 1)
    if len(data) > MOST_PACKED:
        raise ValueError(f"more than {MOST_PACKED >> 20} MB within something packed")
    return data


def _is_text(head: bytes) -> bool:
    """Whether these bytes are a text: no zeros, and hardly any control characters."""
    head = head[:1 << 16]
    controls = sum(head.count(byte) for byte in (*range(9), *range(14, 27), *range(28, 32), 127))
    return b"\0" not in head and controls * 100 <= len(head) and bool(head)


def _is_word(low: bytes, start: int, end: int) -> bool:
    """Whether no letter or digit stands beside these bytes of a text."""
    return not _LETTER.search(low[max(0, start - 1):start] + low[end:end + 1])


def _within_number(low: bytes, start: int, end: int, pattern: Pattern) -> bool:
    """Whether a hit that begins or ends with a digit is part of a longer number, or of one with decimals."""
    before, after = low[max(0, start - pattern.width):start][:1], low[end - 1 + pattern.width:end + pattern.width]
    clock = re.match(rb"\d{4}(\d\d)?(?!\d)", low[end:end + 7]) if end - start == 8 else None  # a date, then the time
    if low[start:start + 1].isdigit() and before.isdigit():
        return True
    if low[end - 1:end].isdigit() and after.isdigit() and not clock:
        return True
    decimals = re.match(rb"\.\d", low[end:end + 2]) or re.fullmatch(rb"\d\.", low[max(0, start - 2):start])
    return pattern.form.text.isdigit() and decimals is not None


def _within_hash(low: bytes, start: int, end: int) -> bool:
    """Whether a short hit is part of a hash in hexadecimal."""
    left = max(0, start - 128)
    return end - start < 16 and any(match.start() + left <= start and end <= match.end() + left
                                    for match in _HEX.finditer(low[left:end + 128]))


def _unescaped(data: bytes) -> bytes:
    """A text without the escapes of JSON, HTML and addresses."""
    if b"\\" in data:
        data = _UNICODE.sub(lambda match: json.loads(b'"' + match.group() + b'"').encode("utf-8", "replace"), data)
        data = data.replace(b"\\/", b"/").replace(b"\\\\", b"\\")
    if b"&" in data:
        data = html.unescape(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    return unquote_to_bytes(data) if b"%" in data else data
