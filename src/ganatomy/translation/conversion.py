"""From which contrast to which a model translates, how files become its images, and how these become files again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.data.contrast import Contrast
from ganatomy.data.dataset import Grid, Intensity
from ganatomy.data.geometry import Frame, View
from ganatomy.data.intensity import HOUNSFIELD, Decision
from ganatomy.generators.sampler import Sampler

NOT_FOR_DIAGNOSIS = "not for diagnosis"


@dataclass(frozen=True)
class About:
    """Where a synthetic volume comes from.

    Attributes:
        model: the recipe that it was trained by, such as pix2pix.
        source, target: contrast of the input and of the output, as the training data's domains were called.
        units: of the values, such as HU or arbitrary units.
        weights: the first 16 hexadecimal digits of their sha256.
    """

    model: str
    source: str
    target: str
    units: str
    weights: str

    @property
    def text(self) -> str:
        """One line of at most 79 characters, as much as a NIfTI header holds."""
        return f"synthetic {self.target[:36]} by ganatomy, {NOT_FOR_DIAGNOSIS}"


@dataclass(frozen=True)
class Conversion:
    """Of files of one domain into another's, by way of the images that the model was trained on.

    Attributes:
        about: the domains, the target's units, the model.
        backward: against the direction of training.
        two_way: the model knows the other direction too.
        how: the rule by which volumes of the source domain are mapped to stored values.
        scale, offset: physical = stored x scale + offset in the target domain.
        kept: the target's stored values are the files' own.
        dtype, ends: of stored values; those that the model sees as -1 and 1.
        grid: how pictures come to the stored ones.
        size, factor: side of the model's images, pixels, each of which is so many stored pixels wide.
        spacing: mm per stored pixel of the training data, the median; None where unknown.
        contrasts: what the domains look like, by name.
    """

    about: About
    backward: bool
    two_way: bool
    how: Decision
    scale: float
    offset: float
    kept: bool
    dtype: np.dtype[Any]
    ends: tuple[float, float]
    grid: Grid
    size: int
    factor: int
    spacing: tuple[float, float] | None
    contrasts: Mapping[str, Contrast]

    @property
    def values_dtype(self) -> np.dtype[Any]:
        """Of translated volumes: int16 for Hounsfield units, the files' own where values were kept, else float32."""
        if self.about.units == HOUNSFIELD:
            return np.dtype(np.int16)
        return self.dtype if self.kept else np.dtype(np.float32)

    @property
    def lowest(self) -> float:
        """The least value that a translated volume can hold: the target's background."""
        return self.ends[0] * self.scale + self.offset

    @property
    def highest(self) -> float:
        """The largest value that a translated volume can hold."""
        return self.ends[1] * self.scale + self.offset

    @property
    def scale_in_words(self) -> str:
        """Units, and for Hounsfield units the range to which they are cut."""
        return f"HU, cut to {self.lowest:g} to {self.highest:g}" if self.about.units == HOUNSFIELD else self.about.units

    def physical(self, images: NDArray[np.float32]) -> NDArray[Any]:
        """Images in [-1, 1] in the target's units, of `values_dtype`."""
        stored = (images + 1.0) * np.float32((self.ends[1] - self.ends[0]) / 2.0) + np.float32(self.ends[0])
        values = stored * np.float32(self.scale) + np.float32(self.offset)
        if self.values_dtype.kind in "ui":
            ends = np.iinfo(self.values_dtype)
            values = np.clip(np.rint(values), ends.min, ends.max)
        return values.astype(self.values_dtype)

    def frame(self, seen: View) -> Frame:
        """What brings the pictures of a file to the stored size."""
        size = self.size * self.factor
        if self.grid.fit == "resize" and self.grid.mm is None and seen.spacing is not None:
            # the training pictures did not say how large a pixel is, and each was scaled until it fitted
            return Frame(size, max(seen.height * seen.spacing[0], seen.width * seen.spacing[1]) / size, "resize")
        return Frame(size, self.grid.mm, self.grid.fit)


def conversion_of(translator: Sampler, direction: str | None, where: str | Path) -> Conversion:
    """What `direction` ("T2:T1", source first) names; the trained direction if None.

    Raises:
        UserError: the model does not translate, not so, or not in this direction; it is of an older version.
    """
    notes = translator.notes or {}
    if not translator.model.translates:
        raise UserError("this model makes images out of noise and translates none", where=where,
                        fix="use `ganatomy generate`, or give the run of a model that translates, such as pix2pix")
    source, target = notes.get("source_domain"), notes.get("domain")
    domains = [Intensity.model_validate(notes[key]) for key in ("source_intensity", "intensity") if notes.get(key)]
    if not (source and target and notes.get("grid") and len(domains) == 2 and all(values.rule for values in domains)):
        raise UserError("does not say how its training images come from volumes; an older version trained it",
                        where=where, fix="prepare the dataset and train again")
    two_way = translator.model.two_way
    backward = _is_backward(direction, source, target, two_way)
    if backward:
        source, target = target, source
        domains.reverse()
    given, wanted = domains
    assert given.rule is not None
    factor, spacing = int(notes.get("factor") or 1), notes.get("spacing")
    return Conversion(
        about=About(model=str((notes.get("recipe") or {}).get("name", "")), source=source, target=target,
                    units=wanted.units, weights=str(notes.get("weights_sha256", ""))[:16]),
        backward=backward, two_way=two_way,
        how=Decision(given.rule, given.low, given.high, given.units, projection=given.projection),
        scale=wanted.scale, offset=wanted.offset, kept=wanted.rule == "identity", dtype=np.dtype(notes["dtype"]),
        ends=(float(notes["value_range"][0]), float(notes["value_range"][1])),
        grid=Grid.model_validate(notes["grid"]), size=translator.size, factor=factor,
        spacing=(spacing[0] / factor, spacing[1] / factor) if spacing else None,
        contrasts={name: Contrast.model_validate(known) for name, known in (notes.get("contrasts") or {}).items()})


def _is_backward(direction: str | None, source: str, target: str, two_way: bool) -> bool:
    if direction in (None, f"{source}:{target}"):
        return False
    known = f"{source}:{target}" + (f" or {target}:{source}" if two_way else "")
    if direction != f"{target}:{source}":
        raise UserError(f"{direction!r} is no direction of this model", where="--direction", fix=f"use {known}")
    if not two_way:
        raise UserError(f"this model translates {source} to {target} only", where="--direction",
                        fix=f"leave it out, or train a model from {target} to {source}, or a two-way one (cyclegan)")
    return True
