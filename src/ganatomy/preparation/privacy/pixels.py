"""Text burned into pictures. A guess that raises a warning: it does not take the place of looking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[Any]
Bytes = NDArray[np.uint8]

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


def likely_text(pictures: Sequence[Pixels]) -> bool:
    """Whether text seems to be burned into one of these pictures.

    Looked for are strokes that stand out from what is around them, bright or dark, in pieces of the size of letters,
    at least `GLYPHS` of them side by side, alike in height, on one line and of one brightness.

    Args:
        pictures: [h, w] or [h, w, 3], any type, at the resolution of the source (letters at least 8 pixels high); a few
            of a series, such as the first, the middle and the last.
    """
    return any(longest_line(picture) >= GLYPHS for picture in pictures)


def longest_line(picture: Pixels) -> int:
    """How many things like letters stand in the longest line of a picture [h, w] or [h, w, 3]."""
    grey = np.asarray(picture, np.float32)
    grey = grey.max(-1) if grey.ndim == 3 else grey
    low, high = float(grey.min()), float(grey.max())
    if min(grey.shape) < 2 * _STROKE or not high > low:
        return 0
    levels = np.rint((grey - low) * (255 / (high - low))).astype(np.uint8)
    longest = 0
    for one in (levels, 255 - levels):
        raised = one - _opened(one)
        masks = [raised > level for level in _LEVELS]
        commonest = np.bincount(one[raised > _FAINT], minlength=1).argmax()  # of strokes drawn in one grey
        masks.append((raised > _FAINT) & (one <= commonest + 8) & (one + 8.0 >= commonest) if commonest else masks[0])
        longest = max(longest, *(_line(_glyphs(mask, one)) for mask in masks))
    return longest


def _opened(grey: Bytes) -> Bytes:
    """A picture without what is brighter than its surroundings and narrower than `_STROKE` pixels."""
    padded = np.pad(grey, _STROKE - 1, mode="edge")
    return _extreme(_extreme(padded, np.minimum), np.maximum)


def _extreme(grey: Bytes, choose: np.ufunc) -> Bytes:
    """The lowest or highest value of each square of `_STROKE` = 7 pixels, in three steps along each axis."""
    for _ in range(2):
        for step in (1, 2, 3):
            grey = choose(grey[:-step], grey[step:])
        grey = grey.T
    return grey


def _glyphs(mask: NDArray[np.bool_], grey: Bytes) -> NDArray[np.float64]:
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
    found = np.column_stack([boxes, peaks[1:]])[letter]
    return np.asarray(found if len(found) <= _MOST else found[:0], np.float64)


def _line(glyphs: NDArray[np.float64]) -> int:
    """The most letters on one line: same top or bottom, like heights, small gaps, one brightness."""
    if len(glyphs) < 2:
        return len(glyphs)
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
