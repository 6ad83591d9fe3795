"""One volume in the other contrast: slice by slice through the model and back to the volume's own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.data.contrast import named_otherwise, objection
from ganatomy.data.geometry import planes, restore
from ganatomy.formats import Header, Pixels
from ganatomy.generators.sampling import TRANSLATED
from ganatomy.metrics.translation.paired import LOWEST, background, foreground
from ganatomy.translation.seen import Seen, see
from ganatomy.translation.way import Translator, Way

RIM = 3
"""Pixels of the model around the patient in which something may appear: tissue that is dark in one contrast only."""
BACKGROUND = -1.0
"""What the model makes of nothing."""
Say = Callable[[str], None]


def translate_volume(pixels: Pixels, header: Header, translator: Translator, way: Way, *, name: str = "the volume",
                     seed: int = 0, force: bool = False, say: Say = lambda text: None) -> NDArray[Any]:
    """A volume in the target's contrast and units, on its own grid.

    Needs memory for both volumes and for a few slices: what is measured or made beside them does not grow with the
    number of slices, but for a copy of the volume while its values are measured, before there is a translation.

    Args:
        pixels: as the readers give them: [i, j, k] where the header has an affine, else [slices, h, w(, 3)].
        header: of the same file.
        translator: what translates images.
        way: from which domain to which.
        name: of the file, for messages.
        seed: of the model's noise.
        force: translate it although it does not look like the source domain.
        say: called with lines for the user.

    Returns:
        Values of the shape of `pixels` (its colours are those of the model) in `way.units`: int16 for Hounsfield
        units, float32 otherwise, or the stored type where the target's values were kept as they are. What lies outside
        of the frame or in the air around the patient, and slices without anything in them, have the target's lowest
        value.

    Raises:
        UserError: the volume cannot be translated, and why.
    """
    seen = see(pixels, header, way, translator.channels, name, say)
    _check_contrast(seen, translator.channels, name, force, say)
    colours = (3,) if translator.channels == 3 else ()
    out = np.empty((*header.shape, *colours), way.values_dtype)
    out[...] = way.physical(np.full(1, BACKGROUND, np.float32))[0]
    pictures = planes(out, header, way.grid.axis)  # a view: what is written there lands in the voxels
    filled = seen.filled
    for first in range(0, len(filled), TRANSLATED):
        numbers = filled[first:first + TRANSLATED]
        for number, made in zip(numbers, _translated(seen, numbers, translator, seed), strict=True):
            values = way.physical(made)
            pictures[number] = np.moveaxis(values, 0, -1) if colours else values[0]
    return out


def _translated(seen: Seen, numbers: Sequence[int], translator: Translator, seed: int) -> NDArray[np.float32]:
    """Slices [n, c, h, w] in [-1, 1] in the other contrast, on the pictures' own grid."""
    images = seen.images(list(numbers), translator.channels)
    made = translator.translate(images, seed=seed, backward=seen.way.backward)
    if not np.isfinite(made).all():
        raise UserError("the model makes values that are not finite", where="weights", fix="train it again")
    dark = background(images) == LOWEST
    made = np.where(_around(images)[:, None] | ~dark[:, None, None, None], made, np.float32(BACKGROUND))
    shape = (seen.view.height, seen.view.width)
    return restore(made, shape, seen.frame, seen.view.spacing, BACKGROUND, (-1.0, 1.0))


def _around(images: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The patient and a few pixels around, [n, h, w]: what a model makes of the air beyond is no picture of anything.

    It matters in slices near the ends of the body, emptier than any of the training. Images without a background, or
    with a bright one, are left alone.
    """
    from scipy.ndimage import binary_dilation

    return np.stack([binary_dilation(mask, iterations=RIM) for mask in foreground(images, images)])


def _check_contrast(seen: Seen, channels: int, name: str, force: bool, say: Say) -> None:
    numbers, way = seen.sample, seen.way
    if not numbers:
        return
    reason = named_otherwise(name, way.source)
    if not reason and not way.contrasts:
        say(f"warning: {name}: this model does not say what its contrasts look like, so nothing tells whether this is "
            f"{way.source}")
        return
    reason = reason or objection(seen.images(numbers, channels), way.source, way.contrasts)
    if reason and not force:
        turned = f"choose --direction {way.target}:{way.source} if it is {way.target}, or " if way.two_way else ""
        raise UserError(reason, where=name, fix=f"{turned}add --force to translate it nevertheless")
    if reason:
        say(f"warning: {name}: {reason}")
