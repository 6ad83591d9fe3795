"""What the images of a domain look like, so that a volume of another contrast is noticed before it is translated.

A volume becomes a few figures (`_features`): how its values are distributed, and which of them, dark or bright, lie
among their like, as white matter does, or at edges, as fluid and cortex do. Volumes are compared by the Mahalanobis
distance from the domain's training volumes, in which those figures count little that differ between training volumes,
or that change when these are darkened, shaded, blurred or noisy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ganatomy.core.recipe import Frozen
from ganatomy.core.text import listed
from ganatomy.data.manifest import evenly
from ganatomy.data.vocabulary import CONTRASTS, contrasts_in

Volume = NDArray[np.float32]
Figures = NDArray[np.float64]

MAX_SLICES = 24  # of a volume that are looked at, evenly spaced
ALTERED = 8  # of the training volumes, which are altered to learn what must not matter
# a distance beyond this, and beyond those between training volumes, is plain; the second, divided by the number of
# training volumes, is added: from few it is not known how much volumes differ
FAR, FAR_FROM_ONE = 1.6, 0.5
NOTABLE, SMALLER = 1.2, 1.25  # so is one beyond the first, if that from another domain is smaller by this factor
BEYOND = 1.25  # a volume may be farther from the training volumes by this factor than they are from each other
# standard deviation that each value has at least: three patients say little of a fourth on another scanner
FLOOR = np.array([.05, .03, .05, .05, .04, .06, .05, .03, *[.03] * 5, *[.06] * 5, .04, .04])


class Contrast(Frozen):
    """What the training volumes of one domain look like: statistics of the figures of `_features`."""

    count: int = Field(0, ge=0, description="volumes that it was learnt from; 0: nothing is known and all is accepted")
    mean: tuple[float, ...] = Field((), description="of the figures")
    covariance: tuple[tuple[float, ...], ...] = Field((), description="of volumes about the mean, floor included")
    usual: float = Field(0.0, description="largest distance of a training volume from the others")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.count and not (len(FLOOR) == len(self.mean) == len(np.linalg.cholesky(np.array(self.covariance)))):
            raise ValueError("mean and covariance are not of the figures that a volume is described by")
        return self


def learn_contrast(volumes: Iterable[Volume]) -> Contrast:
    """Describe a domain by its training volumes, each [slices, c, s, s] in [-1, 1] as a model sees them.

    One volume is held at a time; of each some twenty figures are kept until the end. Constant volumes do not count.
    """
    described: list[Figures] = []
    changes: list[Figures] = []
    for volume in volumes:
        figures = _features(volume)
        if figures is None:
            continue
        if len(described) < ALTERED:
            # a few slices spread over it: enough to see what an alteration does
            part = np.ascontiguousarray(volume[evenly(range(len(volume)), 12)])
            base, *altered = (_features(v) for v in (part, *_alterations(part)))
            changes += [a - base for a in altered if a is not None and base is not None]
        described.append(figures)
    if not described:
        return Contrast()
    points = np.stack(described)
    known = _scatter(np.stack(changes)) if changes else np.zeros((len(FLOOR), len(FLOOR)))
    usual = max(_distance(point, *_summary(np.delete(points, i, axis=0), known))
                for i, point in enumerate(points)) if len(points) > 1 else 0.0
    mean, covariance = _summary(points, known)
    return Contrast(count=len(points), mean=tuple(mean.tolist()), usual=usual,
                    covariance=tuple(tuple(row) for row in covariance.tolist()))


def objection(volume: Volume, domain: str, known: Mapping[str, Contrast]) -> str:
    """Why a volume [slices, c, s, s] in [-1, 1] is plainly not of `domain`, in words; "" if it may well be.

    It is not if it is far from the training volumes, or not quite so far but much nearer to those of another domain.

    The volume is as a model would see it; `known` are the domains of the training data, `domain` among them.
    """
    figures = _features(volume)
    if figures is None:
        return "this volume shows nothing: nearly all of it has the same value"
    distances = {name: _distance(figures, np.array(c.mean), np.array(c.covariance))
                 for name, c in known.items() if c.count}
    if domain not in distances:
        return ""
    own, usual = distances[domain], known[domain].usual
    nearest = min(distances, key=lambda name: distances[name])
    if own > max(NOTABLE, usual) and own > SMALLER * distances[nearest]:
        return (f"this volume looks more like {nearest} than like {domain} "
                f"(distance {own:.2f} from {domain}, {distances[nearest]:.2f} from {nearest})")
    limit = max(FAR + FAR_FROM_ONE / known[domain].count, BEYOND * usual)
    if own > limit:
        return (f"this volume does not look like the {domain} volumes of the training data "
                f"(distance {own:.2f}, at most {limit:.2f} would pass)")
    return ""


def _scatter(points: Figures) -> Figures:
    return np.asarray(points.T @ points / len(points))


def _summary(points: Figures, known: Figures) -> tuple[Figures, Figures]:
    """Mean and covariance of a further volume's figures, which also bears the uncertainty of the mean."""
    mean, n = points.mean(axis=0), len(points)
    own = _scatter(points - mean) * n / max(n - 1, 1)
    return mean, known + (own + np.diag(FLOOR**2)) * (1 + 1 / n)


def _distance(figures: Figures, mean: Figures, covariance: Figures) -> float:
    """Mahalanobis, a figure: about 1 for another volume of the same kind."""
    off = figures - mean
    return float(np.sqrt(off @ np.linalg.solve(covariance, off) / len(off)))


def _alterations(volume: Volume) -> Iterator[Volume]:
    """What another scanner, coil or sharpness might turn a volume into without changing its contrast."""
    from scipy import ndimage

    light = np.clip((volume + 1) / 2, 0, 1)
    size = light.shape[-1]
    across = np.linspace(-1, 1, size, dtype=np.float32)
    shade = np.exp(0.4 * (across[:, None] + across - across[:, None]**2 - across**2))
    bright = light[light > 0.1]
    level = 0.12 * float(np.median(bright)) if bright.size else 0.0
    noise = np.random.default_rng(0).standard_normal((2, *light.shape), dtype=np.float32) * np.float32(level)
    blurred = ndimage.gaussian_filter(light, (0, 0, size / 128, size / 128))
    for changed in (light**0.8, light**1.25, light * shade, light * shade[::-1, ::-1], blurred,
                    np.hypot(light + noise[0], noise[1])):
        yield np.clip(2 * changed - 1, -1, 1).astype(np.float32)


def _features(volume: Volume) -> Figures | None:
    """The figures of a volume [slices, c, s, s]; None if nearly all foreground has the same value.

    Of the foreground, from background 0 to the 95th percentile 1: four quantiles, how lopsided the distribution is
    (5%, 50%, 95% and by quartiles), and the quartiles' distance. Then, for each fifth of the pixels from dark to
    bright, the mean rank of their surroundings and how much these vary, 1/64 of the image wide. Last two differences
    between colour channels; the background itself is the first.
    """
    from scipy import ndimage

    grey, size = volume.mean(axis=1), volume.shape[-1]
    edges = np.concatenate([part.ravel() for part in (grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1])])
    background = float(np.median(edges))
    scatter = 1.48 * float(np.median(np.abs(edges - background)))
    area = (np.abs(grey - background) > max(0.2, 3 * scatter)).mean(axis=(1, 2))
    chosen = evenly(np.flatnonzero(area >= 0.4 * area.max()).tolist(), MAX_SLICES)
    smooth = ndimage.gaussian_filter(grey[chosen], (0, size / 128, size / 128))
    inside = np.abs(smooth - background) > max(0.2, 3 * scatter)
    if scatter > 0.2 or inside.mean() < 0.01:  # no uniform background
        inside[:] = True
    inside = np.stack([ndimage.binary_fill_holes(plane) for plane in inside])
    values = smooth[inside].astype(np.float64)
    if np.ptp(np.quantile(values, (0.05, 0.95))) < 0.01:
        return None
    ordered = np.sort(values)
    rank = sum(np.searchsorted(ordered, values, side) for side in ("left", "right")) / (2 * len(values)) - 0.5
    fifth = np.minimum(((rank + 0.5) * 5).astype(int), 4)
    surroundings, _ = _around(rank, inside, size / 64)
    _, varying = _around(values, inside, size / 64)
    counts = np.maximum(np.bincount(fifth, minlength=5), 1)
    colours = volume[chosen].transpose(1, 0, 2, 3)[:, inside].mean(axis=1)
    return np.concatenate([[background / 2 + 0.5], _levels(values, background),
                           4 * np.bincount(fifth, surroundings, 5) / counts,
                           np.bincount(fifth, varying / (varying.mean() + 1e-6), 5) / counts - 1,
                           np.diff(colours) if len(colours) == 3 else np.zeros(2)])


def _levels(values: Figures, background: float) -> Figures:
    q05, q25, q50, q75, q95 = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
    far = q95 if q95 - background >= background - q05 else q05
    return np.array([*(np.array([q05, q25, q50, q75]) - background) / (far - background),
                     (q95 + q05 - 2 * q50) / (q95 - q05 + 0.04), (q75 + q25 - 2 * q50) / (q75 - q25 + 0.04),
                     (q75 - q25) / (q95 - q05 + 0.04)])


def _around(values: Figures, inside: NDArray[np.bool_], width: float) -> tuple[Figures, Figures]:
    """Mean and standard deviation about each pixel inside, of the pixels inside, weighted by a Gaussian."""
    from scipy import ndimage

    picture = np.zeros(inside.shape, dtype=np.float32)
    picture[inside] = values
    weight, first, second = (ndimage.gaussian_filter(p, (0, width, width))[inside] + 0.0
                             for p in (inside.astype(np.float32), picture, picture**2))
    mean = first / weight
    return mean, np.sqrt(np.maximum(second / weight - mean**2, 0.0))


def named_otherwise(name: str, domain: str) -> str:
    """Why a file or series of this name is not of `domain`, in words: its name says another contrast; else "".

    Only well-known contrasts count, as words of their own, such as FLAIR in patient07_FLAIR.nii.gz.
    """
    own, named = CONTRASTS.get(domain.lower()), contrasts_in(name.rpartition("/")[2])
    if not own or not named or own in named:
        return ""
    return f"by its name this is {listed(sorted(named))}, not {domain}"
