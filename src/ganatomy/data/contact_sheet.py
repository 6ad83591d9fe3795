"""A picture of a dataset at a glance: some subjects' middle slices, one row a domain."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ganatomy.data.dataset import Dataset, Pixels, normalise
from ganatomy.data.manifest import Row
from ganatomy.files import atomic_path

COLUMNS = 10
LABEL_HEIGHT = 14
NAME = "contact-sheet.png"


def write_contact_sheet(dataset: Dataset, seed: int = 0) -> Path:
    """Draw `contact-sheet.png` into a dataset folder: up to 10 random subjects, classes alternating.

    One row a domain, as a model sees it; where there are masks, the first domain again with the masks' outlines.
    Labels are domains, classes and pseudonyms.
    """
    chosen = _middle_slices(dataset, seed)
    domains = dataset.info.domains
    strips: list[tuple[str, list[Pixels]]] = []
    for domain in domains:
        by_id = {r.image_id: r for r in dataset.rows(domain)}
        rows = [by_id[r.image_id] for r in chosen if r.image_id in by_id]
        strips.append((domain, [_rgb(dataset, row) for row in rows]))
    if (dataset.path / "masks.npy").is_file():
        masks = dataset.masks(chosen)
        strips.append((f"{domains[0]} + mask", [_outlined(_rgb(dataset, row), mask)
                                                for row, mask in zip(chosen, masks, strict=True)]))
    path = dataset.path / NAME
    with atomic_path(path) as temporary:
        _draw(strips, chosen, dataset.info.size).save(temporary, format="PNG")
    return path


def _middle_slices(dataset: Dataset, seed: int) -> list[Row]:
    """One row of each of up to 10 subjects, the middle one by slice."""
    by_class: dict[str, list[str]] = {}
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in dataset.rows(dataset.info.domains[0]):
        rows.setdefault((row.label, row.subject), []).append(row)
    for label, subject in sorted(rows):
        by_class.setdefault(label, []).append(subject)
    for label, subjects in by_class.items():
        random.Random(f"{seed}/{label}").shuffle(subjects)
    share = -(-COLUMNS // len(by_class))
    picked = [(label, subject) for label, found in by_class.items() for subject in sorted(found[:share])][:COLUMNS]
    return [sorted(rows[key], key=lambda r: (r.session, r.slice))[len(rows[key]) // 2] for key in picked]


def _rgb(dataset: Dataset, row: Row) -> Pixels:
    image = normalise(dataset.pixels([row]), dataset.info.value_range)[0]
    grey = np.clip(np.rint((image + 1.0) * 127.5), 0, 255).astype(np.uint8)
    return np.moveaxis(np.broadcast_to(grey, (3, *grey.shape[1:])), 0, -1)


def _outlined(picture: Pixels, mask: Pixels) -> Pixels:
    inside = np.pad(mask > 0, 1)
    core = inside[1:-1, 1:-1] & inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    marked = picture.copy()
    marked[inside[1:-1, 1:-1] & ~core] = (255, 60, 60)
    return marked


def _draw(strips: list[tuple[str, list[Pixels]]], chosen: list[Row], size: tuple[int, int]) -> Image.Image:
    height, width = size
    row_height = height + LABEL_HEIGHT
    sheet = Image.new("RGB", (max(1, len(chosen)) * width, len(strips) * row_height + LABEL_HEIGHT), "black")
    pen = ImageDraw.Draw(sheet)
    for i, (name, pictures) in enumerate(strips):
        pen.text((3, i * row_height + 1), name, fill=(170, 170, 170))
        for j, picture in enumerate(pictures):
            sheet.paste(Image.fromarray(picture), (j * width, i * row_height + LABEL_HEIGHT))
    for j, row in enumerate(chosen):
        words = f"{row.subject} {row.label}".strip()
        pen.text((j * width + 3, len(strips) * row_height + 1), words[: max(8, width // 6)], fill=(170, 170, 170))
    return sheet
