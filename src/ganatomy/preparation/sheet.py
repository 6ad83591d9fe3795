"""A picture of a dataset at a glance: slices of some subjects, one row a domain, with the patient's right and left."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ganatomy.core.files import atomic_path
from ganatomy.data.dataset import Dataset
from ganatomy.data.geometry import Axis
from ganatomy.data.images import Pixels, normalise
from ganatomy.data.manifest import Row
from ganatomy.data.pictures import tiles, to_uint8

COLUMNS = 10
FEW_SUBJECTS = 4
"""Up to so many subjects are shown with three slices each."""
TILE = 128
"""Pixels that a picture has at least along its shorter side."""
GAP, LINE, LETTERS = 4, 16, 12
GREY, MARK, BEHIND = (200, 200, 200), (255, 210, 90), (40, 40, 40)
NAME = "contact-sheet.png"


@dataclass(frozen=True)
class _Strip:
    """A row of pictures [n, h, w, 3] under its name, with labels below them if there are any."""

    name: str
    pictures: Pixels
    labels: list[str]


def write_contact_sheet(dataset: Dataset, seed: int = 0, axis: Axis = "axial", oriented: bool = False) -> Path:
    """Draw `contact-sheet.png` into a dataset folder: up to 10 random subjects, classes alternating.

    One row a domain, as a model sees it; where there are masks, the first domain again with the masks' outlines.
    Domains that are not paired show subjects of their own.
    Small pictures are enlarged by a whole factor. Labels are domains, classes and pseudonyms.

    Args:
        dataset: prepared, of one axis.
        seed: of the choice.
        axis: of its slices.
        oriented: the files say how the patient lies in them, so that R and L can be marked.
    """
    domains, paired = dataset.info.domains, dataset.info.paired
    chosen = _choose(dataset, seed, domains[0])
    factor = -(-TILE // min(dataset.info.size))
    strips = []
    for domain in domains:
        by_id = {row.image_id: row for row in dataset.rows(domain)}
        rows = [by_id[row.image_id] for row in chosen] if paired else _choose(dataset, seed, domain)
        labels = [] if paired and domain != domains[-1] else _labels(dataset, rows)
        strips.append(_Strip(domain, _rgb(dataset, rows, factor), labels))
    if (dataset.path / "masks.npy").is_file():
        pictures = _rgb(dataset, chosen, factor)
        masks = _enlarged(dataset.masks(chosen), factor)
        outlined = np.stack([_outlined(picture, mask) for picture, mask in zip(pictures, masks, strict=True)])
        strips[-1] = _Strip(strips[-1].name, strips[-1].pictures, [])
        strips.append(_Strip(f"{domains[0]} with masks", outlined, _labels(dataset, chosen)))
    marks = ("R", "L") if oriented and axis != "sagittal" else ()
    path = dataset.path / NAME
    with atomic_path(path) as temporary:
        _draw(strips, marks, _footer(axis, oriented)).save(temporary, format="PNG")
    return path


def _choose(dataset: Dataset, seed: int, domain: str) -> list[Row]:
    """Rows of up to 10 subjects: the middle slice of each, or a low, a middle and a high one of a few."""
    by_class: dict[str, list[str]] = {}
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in dataset.rows(domain):
        rows.setdefault((row.label, row.subject), []).append(row)
    for label, subject in sorted(rows):
        by_class.setdefault(label, []).append(subject)
    for label, subjects in by_class.items():
        random.Random(f"{seed}/{label}").shuffle(subjects)
    share = -(-COLUMNS // len(by_class))
    picked = [(label, subject) for label, own in by_class.items() for subject in sorted(own[:share])][:COLUMNS]
    several = len({subject for _, subject in rows}) <= FEW_SUBJECTS
    return [row for key in picked for row in _spread(rows[key], several)]


def _spread(rows: list[Row], several: bool) -> list[Row]:
    """The middle row by slice, or one from the middle of each third."""
    ordered = sorted(rows, key=lambda r: (r.slice, r.session))
    n = len(ordered)
    return [ordered[i] for i in sorted({n // 6, n // 2, n - 1 - n // 6})] if several else [ordered[n // 2]]


def _labels(dataset: Dataset, chosen: list[Row]) -> list[str]:
    rows = dataset.rows(chosen[0].domain)
    stacks = len(rows) > len({(row.subject, row.session) for row in rows})
    return [" ".join(filter(None, (row.subject, row.session, f"slice {row.slice}" * stacks))) + f"\n{row.label}"
            for row in chosen]


def _footer(axis: Axis, oriented: bool) -> str:
    if not oriented:
        return "orientation unknown: the files do not say where the patient's right is"
    return "sagittal slices: the patient's front is at the left" if axis == "sagittal" else (
        f"{axis} slices, R and L: the patient's right and left")


def _rgb(dataset: Dataset, rows: list[Row], factor: int) -> Pixels:
    images = to_uint8(normalise(dataset.pixels(rows), dataset.info.value_range))
    return _enlarged(images if images.ndim == 4 else np.repeat(images[..., None], 3, -1), factor)


def _enlarged(pictures: Pixels, factor: int) -> Pixels:
    return pictures.repeat(factor, axis=1).repeat(factor, axis=2)


def _outlined(picture: Pixels, mask: Pixels) -> Pixels:
    inside = np.pad(mask > 0, 1)
    core = inside[1:-1, 1:-1] & inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    marked = picture.copy()
    marked[inside[1:-1, 1:-1] & ~core] = (255, 60, 60)
    return marked


def _draw(strips: list[_Strip], marks: tuple[str, ...], footer: str) -> Image.Image:
    """The sheet: each strip under its name and above its labels, then the footer. Texts wrap, none is cut."""
    font = ImageFont.load_default(LETTERS)
    height, width = strips[0].pictures[0].shape[:2]
    wide = max(len(strip.pictures) for strip in strips) * (width + GAP) - GAP
    below = [[_wrapped(label, width, font) for label in strip.labels] for strip in strips]
    heads = [_wrapped(strip.name, wide, font) for strip in strips]
    last = _wrapped(footer, wide, font)
    lines = sum(map(len, heads)) + sum(max(map(len, words), default=0) for words in below) + len(last)
    sheet = Image.new("RGB", (wide, lines * LINE + len(strips) * (height + GAP) + 2 * GAP), BEHIND)
    pen = ImageDraw.Draw(sheet)
    y = 0
    for strip, head, words in zip(strips, heads, below, strict=True):
        y = _write(pen, 0, y, head, font)
        sheet.paste(Image.fromarray(tiles(strip.pictures, len(strip.pictures), GAP, BEHIND[0])), (0, y))
        for x in range(0, len(strip.pictures) * (width + GAP), width + GAP):
            for mark, place in zip(marks, (x + 3, x + width - 10), strict=False):
                pen.text((place, y + height // 2 - 6), mark, fill=MARK, font=font, stroke_width=1, stroke_fill="black")
        y += height + GAP
        y = max([_write(pen, column * (width + GAP), y, text, font) for column, text in enumerate(words)], default=y)
    _write(pen, 0, y + GAP, last, font)
    return sheet


def _write(pen: ImageDraw.ImageDraw, x: int, y: int, lines: list[str],
           font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> int:
    """Write lines one below the other; returns where the next would begin."""
    for line in lines:
        pen.text((x + 2, y + 1), line, fill=GREY, font=font)
        y += LINE
    return y


def _wrapped(text: str, width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> list[str]:
    """Lines of at most `width` pixels, broken at line ends, then between words, and within one only if need be."""
    if "\n" in text:
        return [line for part in text.splitlines() if part for line in _wrapped(part, width, font)]
    lines = [""]
    for word in text.split():
        if lines[-1] and font.getlength(f"{lines[-1]} {word}") <= width - 4:
            lines[-1] += f" {word}"
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width - 4:
                lines.append("")
            lines[-1] += letter
    return lines
