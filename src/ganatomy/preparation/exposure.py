"""What pictures give away by themselves: text burned into them, and whole heads, of which a face can be rebuilt.

Both are guesses: `prepare` warns of them and removes neither.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ganatomy.data.images import Pixels

GLYPHS = 6
"""As many letters in a row make a text."""
_LOWEST, _HIGHEST = 5, 40
"""Heights of letters, pixels."""
_STROKE = 7
"""Strokes are narrower than this, pixels."""
_LEVELS, _FAINT = (60, 140), 25
"""By how much of 255 a stroke stands out, and by how much where it is of one grey."""
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
_BODY = re.compile(r"\b(ankle|wrist|elbow|shoulder|hip|knee|hand|foot|leg|arm|thigh|calf|femur|tibia|extremity|breast|"
                   r"chest|thorax|lungs?|heart|cardiac|abd(omen)?|liver|kidneys?|pancreas|spleen|colon|prostate|pelvis|"
                   r"bladder|uterus|lumbar|[lt]spine|knie|schulter|becken|leber)\b")
_HEAD = re.compile(r"\b(head|brain|skull|face|facial|cranial|cerebral|neuro|neck|orbit|sinus|jaw|ear|body|kopf|hirn)\b")


def likely_text(pictures: Sequence[Pixels]) -> bool:
    """Whether text seems to be burned into one of these pictures.

    Looked for are strokes that stand out from what is around them, bright or dark, in pieces of the size of letters,
    at least `GLYPHS` of them side by side, alike in height, on one line and of one brightness. Pictures are [h, w] or
    [h, w, 3] at the resolution of the source, letters at least 8 pixels high.
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
        # less the picture without what is brighter than its surroundings and narrower than a stroke
        padded = np.pad(one, _STROKE - 1, mode="edge")
        raised = one - _extreme(_extreme(padded, np.minimum), np.maximum)
        masks = [raised > level for level in _LEVELS]
        commonest = np.bincount(one[raised > _FAINT], minlength=1).argmax()  # of strokes drawn in one grey
        if commonest:
            masks.append((raised > _FAINT) & (one <= commonest + 8) & (one + 8.0 >= commonest))
        if any(_longest_line(_glyphs(mask, one)) >= GLYPHS for mask in masks):
            return True
    return False


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


def is_other_body_part(text: str) -> bool:
    """Whether words such as those of tags and paths name a part of the body, and none of the head."""
    words = " ".join(re.findall("[a-z]+", text.lower()))
    return bool(_BODY.search(words)) and not _HEAD.search(words)


def shows_whole_head(volume: Pixels, spacing: tuple[float, float, float]) -> bool:
    """Whether a volume seems to be of a head that still has its skin and skull, from which a face can be rebuilt.

    In axial slices of a head's size, below the skin is looked for a shell: in MR fat that is bright, then dark bone,
    then bright brain; in CT bone that is brighter than what lies on both sides of it. Skull-stripped brains have none.
    Heads whose face alone was removed have it too, and so may limbs (see `is_other_body_part`). The volume
    [i, j, k] has canonical RAS axes, CT in Hounsfield units; `spacing` is mm along them.
    """
    extent = [n * mm for n, mm in zip(volume.shape, spacing, strict=True)]
    if min(extent) < COVERAGE:
        return False
    steps = [max(1, round(_STEP / mm)) for mm in spacing[:2]]
    chosen = np.linspace(0, volume.shape[2] - 1, min(_SLICES, volume.shape[2])).round().astype(int)
    slices = np.asarray(volume[::steps[0], ::steps[1], chosen], np.float32)
    low, top = (float(value) for value in np.percentile(slices, (1, 99)))
    mm = (spacing[0] * steps[0], spacing[1] * steps[1])
    profiles = [_profiles(slices[..., k] - low, mm, 0.1 * (top - low)) for k in range(len(chosen)) if top > low]
    shell = _bright_shell if low < _HOUNSFIELD_AIR else _dark_shell
    heads = sum(sum(map(shell, one)) >= _SECTORS // 2 for one in profiles)
    return bool(heads / len(chosen) * extent[2] >= COVERAGE / 2)


def _profiles(plane: NDArray[np.float32], mm: tuple[float, float], air: float) -> NDArray[np.float64]:
    """Values each 2 mm from the skin inwards, [sectors, depths], of an axial slice [i, j] that has the size of a head;
    none of others."""
    labels, count = ndimage.label(ndimage.uniform_filter(plane, 3) > air)
    bins = _SHELL // 2
    if not count:
        return np.zeros((0, bins))
    body = ndimage.binary_fill_holes(labels == np.bincount(labels.ravel())[1:].argmax() + 1)
    i, j = np.nonzero(body)
    wide, long = float(np.ptp(i)) * mm[0], float(np.ptp(j)) * mm[1]
    if not (_WIDE[0] <= wide <= _WIDE[1] and _LONG[0] <= long <= _LONG[1]):
        return np.zeros((0, bins))
    depth = ndimage.distance_transform_edt(body, mm)[i, j]
    angle = np.arctan2((j - j.mean()) * mm[1], (i - i.mean()) * mm[0])
    sector = np.minimum(((angle + np.pi) / (2 * np.pi) * _SECTORS).astype(int), _SECTORS - 1)
    inside = depth < _SHELL
    place = sector[inside] * bins + (depth[inside] / 2).astype(int)
    counts, sums = (np.bincount(place, weights, minlength=_SECTORS * bins).reshape(_SECTORS, bins)
                    for weights in (None, plane[i, j][inside]))
    profiles: NDArray[np.float64] = sums / np.maximum(counts, 1)
    return profiles


def _dark_shell(profile: NDArray[np.float64]) -> bool:
    """MR: bright, dark, bright, from the skin inwards; `profile` has a value each 2 mm."""
    valley = int(profile[2:11].argmin()) + 2
    outer, inner = profile[:valley].max(), float(np.median(profile[valley + 2:]))
    return bool(profile[valley] < 0.6 * min(outer, inner))


def _bright_shell(profile: NDArray[np.float64]) -> bool:
    """CT: bone between skin and brain."""
    ridge = int(profile[1:9].argmax()) + 1
    return bool(profile[ridge] > 1.3 * max(profile[:ridge].min(), np.median(profile[ridge + 2:])))
