"""A picture of a dataset at a glance: slices of some subjects, one row a domain, with the patient's right and left."""

from __future__ import annotations

import random
import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

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
GAP, LINE, LETTER = 4, 16, 7
"""Pixels: between pictures, the height of a line and the width of a letter."""
_CROSS = ndimage.generate_binary_structure(2, 1)[None]
GREY, MARK, BEHIND = (200, 200, 200), (255, 210, 90), (40, 40, 40)
NAME = "contact-sheet.png"


_Strip = tuple[str, Pixels, list[str]]
"""A row's name, its pictures [n, h, w, 3], and labels below them if there are any."""


def write_contact_sheet(dataset: Dataset, seed: int = 0, axis: Axis = "axial", oriented: bool = False) -> None:
    """Draw `contact-sheet.png` into a dataset folder: up to 10 random subjects, classes alternating.

    One row a domain, as a model sees it; where there are masks, the first domain again with the masks' outlines.
    Domains that are not paired show subjects of their own. Small pictures are enlarged by a whole factor. R and L are
    marked where the files are `oriented`.
    """
    domains, paired = dataset.info.domains, dataset.info.paired
    chosen = _choose(dataset, seed, domains[0])
    factor = -(-TILE // min(dataset.info.size))
    strips: list[_Strip] = []
    for domain in domains:
        by_id = {row.image_id: row for row in dataset.rows(domain)}
        rows = [by_id[row.image_id] for row in chosen] if paired else _choose(dataset, seed, domain)
        strips.append((domain, _rgb(dataset, rows, factor), [] if paired else _labels(dataset, rows)))
    if (dataset.path / "masks.npy").is_file():
        outlined = _rgb(dataset, chosen, factor)
        places = [i for i, row in enumerate(chosen) if row.has_mask]
        inside = np.zeros(outlined.shape[:3], bool)
        inside[places] = _enlarged(dataset.masks([chosen[i] for i in places]), factor) > 0
        outlined[inside & ~ndimage.binary_erosion(inside, _CROSS)] = (255, 60, 60)
        strips.append((f"{domains[0]} with masks", outlined, []))
    if paired:
        strips[-1] = (*strips[-1][:2], _labels(dataset, chosen))
    with atomic_path(dataset.path / NAME) as temporary:
        _draw(strips, axis, oriented).save(temporary, format="PNG")


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
    return [" ".join(filter(None, (row.subject, row.session, f"slice {row.slice}" * stacks, row.label)))
            for row in chosen]


def _rgb(dataset: Dataset, rows: list[Row], factor: int) -> Pixels:
    images = to_uint8(normalise(dataset.pixels(rows), dataset.info.value_range))
    return _enlarged(images if images.ndim == 4 else np.repeat(images[..., None], 3, -1), factor)


def _enlarged(pictures: Pixels, factor: int) -> Pixels:
    return pictures.repeat(factor, axis=1).repeat(factor, axis=2)


def _draw(strips: list[_Strip], axis: Axis, oriented: bool) -> Image.Image:
    """The sheet: each strip under its name and above its labels, then what is known of the sides."""
    height, width = strips[0][1].shape[1:3]
    wide = max(len(pictures) for _, pictures, _ in strips) * (width + GAP) - GAP
    lines: list[tuple[int, int, str]] = []

    def write(x: int, y: int, text: str, room: int) -> int:
        """Note the lines of a text, none wider than `room` pixels; returns where the next would begin."""
        for line in textwrap.wrap(text, room // LETTER):
            lines.append((x + 2, y + 1, line))
            y += LINE
        return y

    y, tops = 0, []
    for name, _, labels in strips:
        tops.append(write(0, y, name, wide))
        y = tops[-1] + height + GAP
        y = max([write(column * (width + GAP), y, text, width) for column, text in enumerate(labels)], default=y)
    marked = oriented and axis != "sagittal"
    y = write(0, y + GAP, f"{axis} slices, R and L: the patient's right and left" if marked else
              "sagittal slices: the patient's front is at the left" if oriented else
              "orientation unknown: the files do not say where the patient's right is", wide)
    sheet = Image.new("RGB", (wide, y + GAP), BEHIND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for top, (_, pictures, _) in zip(tops, strips, strict=True):
        sheet.paste(Image.fromarray(tiles(pictures, len(pictures), GAP, BEHIND[0])), (0, top))
        for x in range(0, len(pictures) * (width + GAP) if marked else 0, width + GAP):
            for mark, place in (("R", x + 3), ("L", x + width - 10)):
                pen.text((place, top + height // 2 - 6), mark, MARK, font, stroke_width=1, stroke_fill="black")
    for x, y, line in lines:
        pen.text((x, y), line, GREY, font)
    return sheet
