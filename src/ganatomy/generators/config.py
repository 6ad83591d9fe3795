"""generator/config.json: what a generator is and what it knows of the dataset it learnt from. No torch is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from ganatomy.core.reading import Whole, read_json
from ganatomy.core.recipe import Frozen, Recipe
from ganatomy.data.contrast import Contrast
from ganatomy.data.dataset import Grid, Intensity, Millimetres

AGAIN = "copy the folder again, or train the run to its end again"


class GeneratorNotes(Frozen):
    """What a generator knows of the dataset it learnt from, to write its images as one; checkpoints hold it too."""

    domain: str = Field(pattern=r"^[^./\\][^/\\]*$")
    label: str | None
    value_range: tuple[float, float]
    dtype: Literal["uint8", "uint16", "int16", "float32"]
    dataset: str = Field(description="content hash of the dataset it learnt from")
    intensity: Intensity | None
    spacing: tuple[Millimetres, Millimetres] | None
    source_domain: str | None = Field(None, description="what a translating model starts from")
    source_intensity: Intensity | None = None
    grid: Grid | None = None
    factor: int = Field(1, ge=1, le=16, description="stored pixels along a side that the model sees as one")
    contrasts: dict[str, Contrast] = Field(default_factory=dict, description="by domain, to know them again")

    @field_validator("value_range")
    @classmethod
    def _rises(cls, ends: tuple[float, float]) -> tuple[float, float]:
        if not ends[0] < ends[1]:
            raise ValueError("value_range must rise")
        return ends


class GeneratorConfig(GeneratorNotes):
    """generator/config.json: all that is needed to build the generator and to write its images as a dataset."""

    schema_version: Literal[1]
    ganatomy: str
    weights_sha256: str
    channels: Literal[1, 3]
    recipe: Recipe
    step: Whole = Field(description="of the checkpoint that was chosen")
    looks_through: tuple[str, ...] = Field((), description="trained networks that its losses looked through")


def read_config(folder: Path) -> GeneratorConfig:
    """A generator folder's config.json. Raises `UserError` if it is missing or broken."""
    return read_json(folder / "config.json", GeneratorConfig, AGAIN)
