"""A generator as it is shared: generator/config.json and weights.safetensors, written and loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save

from ganatomy import __version__, gans
from ganatomy.core.errors import UserError
from ganatomy.core.files import staged_folder, write_json
from ganatomy.core.hardware import all_finite, place
from ganatomy.core.reading import reading
from ganatomy.core.run import Checkpoint, Run
from ganatomy.gans.base import GAN, load_weights
from ganatomy.generators.config import AGAIN, GeneratorNotes, read_config
from ganatomy.generators.sampler import CHUNK, Sampler, trained_sampler

Judge = Callable[[NDArray[np.float32]], NDArray[np.float64]]


def export(sampler: Sampler, folder: Path, notes: dict[str, Any]) -> None:
    """Write generator/config.json and weights.safetensors, the thing to share.

    Raises `UserError` if the weights are not finite.
    """
    with staged_folder(folder, overwrite=True) as stage:
        weights = {k: v.detach().cpu().contiguous() for k, v in sampler.model.generator.state_dict().items()}
        if not all_finite(weights.values()):
            raise UserError("the weights of this generator hold NaN or infinity", where=folder, fix=AGAIN)
        data = save(weights)
        (stage / "weights.safetensors").write_bytes(data)
        config = {"schema_version": 1, "ganatomy": __version__, "weights_sha256": hashlib.sha256(data).hexdigest(),
                  "channels": sampler.channels, "recipe": sampler.recipe.model_dump(mode="json"),
                  "looks_through": sampler.model.looks_through, **notes}
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
    run = Run(folder) if Run.is_run(folder) else None
    if run is not None:
        folder = run.generator
        if not folder.is_dir():
            raise UserError("this run has no generator yet", where=folder.parent,
                            fix="finish it: run the same `ganatomy train` command again")
    if not (folder / "config.json").is_file():
        raise UserError("is neither a run folder nor a generator folder", where=folder,
                        fix="give the RUN folder of `ganatomy train`")
    config, path = read_config(folder), folder / "weights.safetensors"
    with reading(path, AGAIN):
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != config.weights_sha256:
            raise ValueError("these are not the weights that were exported")
        model = gans.resolve(config.recipe, config.channels)
        load_weights(model.generator, load(data))
    if run is not None:
        run.refuse_foreign("generator", folder, config.recipe, config.dataset)
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
    model, _ = _checkpointed(run, paths[0], torch.device("cpu"))
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
    recipe = run.recipe()
    model, state = _checkpointed(run, paths[-1], device)
    if weights == "averaged":
        if state.ema is None:
            raise UserError("has no averaged weights: its recipe has no ema", where=run.path, fix="use --weights raw")
        with reading(paths[-1], AGAIN):
            load_weights(model.generator, state.ema.weights)
    chosen = model.generator.state_dict()
    sampler = trained_sampler(model, chosen, recipe, device, refresh=recipe.ema is not None)
    with reading(paths[-1], AGAIN):
        sampler.notes = GeneratorNotes.model_validate(state.notes).model_dump(mode="json")
    return sampler


def _checkpointed(run: Run, path: Path, device: torch.device) -> tuple[GAN, Checkpoint]:
    """A checkpoint and the model with its weights. Raises `UserError` if these are not of the run's recipe."""
    state = run.read_checkpoint(path, device)
    model = place(gans.resolve(run.recipe(), state.channels), device)
    with reading(path, "train the run again, or use --weights selected"):
        load_weights(model, state.model)
    return model, state
