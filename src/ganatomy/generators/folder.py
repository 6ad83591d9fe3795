"""A generator as it is shared: generator/config.json and weights.safetensors, written and loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator
from safetensors.torch import load, save

from ganatomy import __version__, gans
from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json, staged_folder, write_json
from ganatomy.core.hardware import place
from ganatomy.core.recipe import Frozen, Recipe
from ganatomy.core.run import Run, read_checkpoint
from ganatomy.data.contrast import Contrast
from ganatomy.data.dataset import Grid, Intensity
from ganatomy.generators.sampler import CHUNK, Sampler, trained_sampler

Judge = Callable[[NDArray[np.float32]], NDArray[np.float64]]


class GeneratorConfig(Frozen):
    """generator/config.json: all that is needed to build the generator and to write its images as a dataset."""

    schema_version: Literal[1]
    ganatomy: str
    weights_sha256: str
    channels: Literal[1, 3]
    recipe: Recipe
    step: int = Field(description="of the checkpoint that was chosen")
    domain: str = Field(pattern=r"^[^./\\][^/\\]*$")
    label: str | None
    value_range: tuple[float, float]
    dtype: Literal["uint8", "uint16", "int16", "float32"]
    dataset: str = Field(description="content hash of the dataset it learnt from")
    intensity: Intensity | None
    spacing: tuple[float, float] | None
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


def export(sampler: Sampler, folder: Path, notes: dict[str, Any]) -> None:
    """Write generator/config.json and weights.safetensors, the thing to share."""
    with staged_folder(folder, overwrite=True) as stage:
        weights = {k: v.detach().cpu().contiguous() for k, v in sampler.model.generator.state_dict().items()}
        data = save(weights)
        (stage / "weights.safetensors").write_bytes(data)
        config = {"schema_version": 1, "ganatomy": __version__, "weights_sha256": hashlib.sha256(data).hexdigest(),
                  "channels": sampler.channels, "recipe": sampler.recipe.model_dump(mode="json"), **notes}
        write_json(stage / "config.json", config)


def load_generator(folder: str | Path, weights: Literal["selected", "raw", "averaged"] = "selected",
                   device: torch.device | None = None) -> Sampler:
    """The generator of a run folder, or of a generator folder that was shared.

    Args:
        folder: a run folder, or its `generator` folder.
        weights: `selected` is the exported generator; `raw` and `averaged` are those of the newest checkpoint, for
            comparison.
        device: where to compute; the CPU by default.

    Raises:
        UserError: no generator there (naming how to get one), or broken files.
    """
    device = device or torch.device("cpu")
    folder = Path(folder)
    if weights != "selected":
        return _from_checkpoint(Run.open(folder), weights, device)
    if Run.is_run(folder):
        folder = Run(folder).generator
        if not folder.is_dir():
            raise UserError("this run has no generator yet", where=folder.parent,
                            fix="finish it: run the same `ganatomy train` command again")
    if not (folder / "config.json").is_file():
        raise UserError("is neither a run folder nor a generator folder", where=folder,
                        fix="give the RUN folder of `ganatomy train`")
    try:
        config = GeneratorConfig.model_validate(read_json(folder / "config.json"))
        data = (folder / "weights.safetensors").read_bytes()
        if hashlib.sha256(data).hexdigest() != config.weights_sha256:
            raise ValueError("its weights are not those that were exported")
        model = gans.resolve(config.recipe, config.channels)
        model.generator.load_state_dict(load(data))
    except (ValidationError, ValueError, RuntimeError, OSError) as error:
        raise UserError(f"this generator cannot be loaded ({' '.join(str(error).split())[:200]})", where=folder,
                        fix="copy the folder again, or train the run to its end again") from error
    model = place(model, device).eval().requires_grad_(False)
    return Sampler(model, config.recipe, device, config.model_dump(mode="json"))


def load_discriminator(run: Run, step: int | None = None) -> Judge | None:
    """The scores [n] that a run's discriminator gives images [n, c, s, s]; higher for what it takes for real.

    None for a run that translates, has no discriminator, or whose checkpoint (that of `step`, or else the newest) is
    gone.
    """
    paths = [path for path in (run.checkpoint(step or 0), *reversed(run.checkpoints())) if path.is_file()]
    kind = gans.kind(run.recipe())
    if not paths or kind.translates or not kind.adversarial:
        return None
    state = read_checkpoint(paths[0], torch.device("cpu"))
    model = gans.resolve(run.recipe(), state["channels"])
    model.load_state_dict(state["model"])
    network = model.discriminator.eval().requires_grad_(False)

    @torch.inference_mode()
    def judge(images: NDArray[np.float32]) -> NDArray[np.float64]:
        batches = [torch.from_numpy(images[i:i + CHUNK]) for i in range(0, len(images), CHUNK)]
        return np.concatenate([np.empty(0), *(network(batch).double().numpy() for batch in batches)])

    return judge


def _from_checkpoint(run: Run, weights: str, device: torch.device) -> Sampler:
    paths = run.checkpoints()
    if not paths:
        raise UserError("has no checkpoint", where=run.path, fix="train it first")
    state = read_checkpoint(paths[-1], device)
    recipe = run.recipe()
    model = place(gans.resolve(recipe, state["channels"]), device)
    model.load_state_dict(state["model"])
    if weights == "averaged":
        if not state["ema"]:
            raise UserError("has no averaged weights: its recipe has no ema", where=run.path, fix="use --weights raw")
        model.generator.load_state_dict(state["ema"]["weights"])
    chosen = model.generator.state_dict()
    sampler = trained_sampler(model, chosen, recipe, device, refresh=recipe.ema is not None)
    sampler.notes = state["notes"]
    return sampler
