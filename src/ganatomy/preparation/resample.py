"""Bringing a volume onto the grid of another in the same frame of reference."""

from __future__ import annotations

import numpy as np

from ganatomy.data.intensity import border_value
from ganatomy.formats import Header, Pixels


def resample(pixels: Pixels, own: Header, target: Header, labels: bool = False) -> Pixels:
    """Voxels [i, j, k] of `own` at the voxel centres of `target`.

    Linear interpolation; for labels the nearest voxel. Along axes where the target's voxels are larger, the values
    are first smoothed to the target's voxel size, or the result would alias. Outside of the volume: its background.

    Args:
        pixels: [i, j, k], with `own.affine`.
        own, target: headers with affines to the same space, mm.
        labels: values are labels, which must not be mixed.

    Returns:
        float32 [target.shape]; the pixels' own dtype for labels.
    """
    from scipy import ndimage

    assert own.affine is not None and target.affine is not None
    # "grid-constant": with "constant" whatever lies beyond the outermost voxels' centres is outside, be it by half a
    # thick slice or by rounding, and a whole face of the volume would turn into background
    to_own = np.linalg.inv(own.affine) @ target.affine
    if labels:
        nearest: Pixels = ndimage.affine_transform(pixels, to_own[:3, :3], to_own[:3, 3], target.shape, order=0,
                                                   mode="grid-constant", cval=0)
        return nearest
    values = pixels.astype(np.float32)
    background = border_value([values[:, :, k] for k in range(values.shape[2])])
    background = float(values.min()) if background is None else background
    for axis, width in enumerate(np.abs(to_own[:3, :3]).max(1)):  # the target's voxel, in voxels of its own
        if width > 1:
            # the spread of a box of this width, less that of the voxel itself
            values = ndimage.gaussian_filter1d(values, float(np.sqrt((width**2 - 1) / 12)), axis=axis, mode="nearest")
    out: Pixels = ndimage.affine_transform(values, to_own[:3, :3], to_own[:3, 3], target.shape, order=1,
                                           mode="grid-constant", cval=background)
    return out
