"""Masks: from what files hold, whole numbers, colours or JPEG's approximations of two values, to labels of a byte."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.formats import Pixels, Unreadable
from ganatomy.sources.entry import safe_name

COLOUR = 2**24
"""Labels from here on are colours: COLOUR + red x 65536 + green x 256 + blue. float32 is exact up to here."""
MAX_LABELS = 255
MANY_LABELS = 64
_MASK_WORDS = ("mask", "masks", "seg", "segmentation", "label", "labels")


def mask_labels(pictures: Pixels, lossy: bool) -> NDArray[np.int32]:
    """The labels [slices, h, w] of a mask file, 0 where there is none.

    Args:
        pictures: [slices, h, w] or, in colour, [slices, h, w, 3], where every colour but the greys is a label.
        lossy: read from a JPEG, where only two values can be told apart.

    Raises:
        Unreadable: values that are no labels.
    """
    if lossy:
        return _two_values(pictures)
    if pictures.ndim == 4:
        if pictures.dtype != np.uint8:
            raise Unreadable("is no mask: its colours have more than 8 bits a channel")
        red, green, blue = np.moveaxis(pictures.astype(np.int32), -1, 0)
        grey = (red == green) & (green == blue)
        return np.asarray(np.where(grey, red, COLOUR + red * 65536 + green * 256 + blue), np.int32)
    low, high = float(pictures.min()), float(pictures.max())
    if pictures.dtype.kind == "f" and not (pictures == np.rint(pictures)).all():
        if low >= 0 and high <= 1:
            return (pictures > 0.5).astype(np.int32)
        raise Unreadable("is no mask: it holds fractions; resample masks by nearest neighbour, not by interpolation")
    if low < 0 or high >= COLOUR:
        raise Unreadable(f"is no mask: it holds values below 0, or of {COLOUR:,} and more")
    return pictures.astype(np.int32)


def _two_values(pictures: Pixels) -> NDArray[np.int32]:
    grey = pictures if pictures.ndim == 3 else pictures.max(-1)
    colour = pictures.ndim == 4 and bool((grey - pictures.min(-1) > 64).mean() > 0.001)
    high = int(grey.max())
    between = int(((grey > 0.25 * high) & (grey < 0.75 * high)).sum())
    if colour or 0 < high < 128 or between > 0.1 * int((grey >= 0.75 * high).sum()):
        raise Unreadable("is a mask in JPEG, which changes values: its classes cannot be told apart; save it as PNG")
    return (grey > max(high / 2, 0.5)).astype(np.int32)


@dataclass
class MaskCodes:
    """The bytes that stand for a mask's labels until all are known: label -> code, in the order of appearance."""

    codes: dict[int, int] = field(default_factory=dict)

    def table(self, labels: Mapping[int, int]) -> NDArray[np.uint8]:
        """Table [256] from other codes, given as label -> code, to these; see `encode`."""
        table = np.zeros(256, dtype=np.uint8)
        for label, code in labels.items():
            table[code] = self._code(label)
        return table

    def _code(self, label: int) -> int:
        code = self.codes.setdefault(label, len(self.codes) + 1)
        if code > MAX_LABELS:
            raise UserError(f"the masks hold more than {MAX_LABELS} different values", where="--masks",
                            fix="save them as label images, one whole number or plain colour a class")
        return code

    def encode(self, labels: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Codes [h, w] of labels [h, w]. Raises `UserError` for the 256th label."""
        values, inverse = np.unique(labels, return_inverse=True)
        codes = [self._code(int(v)) if v else 0 for v in values]
        return np.array(codes, dtype=np.uint8)[inverse].reshape(labels.shape)


def has_masks(own: Iterable[str], domains: Iterable[str]) -> bool:
    """Whether a slice has a mask of every kind that the dataset has; mask, mask_1 and mask_2 are of one kind."""
    kinds, all_kinds = ({re.sub(r"[\W_]*\d+$", "", name) for name in names} for names in (own, domains))
    return kinds == all_kinds


def settle_masks(path: Path, domains: tuple[str, ...], codes: MaskCodes) -> dict[str, int]:
    """Give masks.npy its final values and return their meanings, {} where there are no masks.

    Several masks are numbered already. Of one mask a lone value, such as 255, becomes 1; several values are kept if
    they fit into a byte, and otherwise numbered in their order, over the whole cohort.
    """
    if not path.is_file():
        return {}
    if len(domains) > 1:
        names = [_meaning(name) for name in domains]
        return {name: i for i, name in enumerate(names if len(set(names)) == len(names) else domains, start=1)}
    masks, name = np.load(path, mmap_mode="r+"), _meaning(domains[0])
    present = set().union(*(np.unique(mask).tolist() for mask in masks)) - {0}
    labels = sorted(label for label, code in codes.codes.items() if code in present)
    kept = len(labels) > 1 and labels[-1] <= MAX_LABELS
    final = {label: label if kept else i for i, label in enumerate(labels, start=1)}
    table = np.zeros(256, dtype=np.uint8)
    for label, value in final.items():
        table[codes.codes[label]] = value
    for mask in masks:
        mask[:] = table[mask]
    masks.flush()
    if len(labels) <= 1:
        return {name: 1}
    return {f"{name}-{label if label < COLOUR else f'#{label - COLOUR:06x}'}": value for label, value in final.items()}


def _meaning(domain: str) -> str:
    """lesion-mask -> lesion."""
    words = [word for word in domain.replace("_", "-").split("-") if word.lower() not in _MASK_WORDS]
    return safe_name("-".join(words)) if any(not word.isdecimal() for word in words) else domain
