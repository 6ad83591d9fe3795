"""Images from a trained generator: the same seed gives the same images, however many are asked for."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError, field_validator
from safetensors.torch import load, save

from ganatomy import __version__, gans
from ganatomy.core.checkpoints import read_checkpoint
from ganatomy.core.errors import UserError
from ganatomy.core.files import read_json, staged_folder, write_json
from ganatomy.core.hardware import place
from ganatomy.core.recipe import Frozen, Recipe
from ganatomy.core.recipe import load as load_recipe
from ganatomy.core.run import Run
from ganatomy.data.contrast import Contrast
from ganatomy.data.dataset import Grid, Intensity
from ganatomy.gans.base import GAN, Batch
from ganatomy.networks.blocks import refresh_batch_norm

TRANSLATED = 8  # slices translated at a time
CHUNK = 32  # images computed at a time; part of the result, since kernels differ between batch sizes
STATISTICS_PASSES = 16
Judge = Callable[[NDArray[np.float32]], NDArray[np.float64]]
IMAGES, STATISTICS, TRANSLATION = 1, 2, 5  # what latents are drawn for; no two purposes share any


@dataclass
class Sampler:
    """A generator ready to sample, in evaluation mode, with the recipe that it was trained by."""

    model: GAN
    recipe: Recipe
    device: torch.device
    notes: dict[str, Any] | None = None

    @property
    def size(self) -> int:
        """Side of the images, pixels."""
        return self.model.shape.size

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return self.model.shape.channels

    def sample(self, n: int, seed: int) -> NDArray[np.float32]:
        """`n` images [n, c, size, size] in [-1, 1]; image i depends on the seed and i alone."""
        empty = np.empty((0, self.channels, self.size, self.size), np.float32)
        return np.concatenate([empty, *self.stream(n, seed)])

    def stream(self, n: int, seed: int) -> Iterator[NDArray[np.float32]]:
        """The images of `sample` in portions, for numbers that memory cannot hold."""
        self.model.eval()
        for number in range(-(-n // CHUNK)):
            yield self._chunk(seed, number)[: n - number * CHUNK]

    @torch.inference_mode()
    def _chunk(self, seed: int, number: int) -> NDArray[np.float32]:
        rng = np.random.default_rng((IMAGES, seed, number))
        images = self.model.generate(_drawn(self.model, CHUNK, rng, self.device)).target
        assert images is not None
        array: NDArray[np.float32] = images.clamp(-1, 1).float().contiguous().cpu().numpy()
        return array

    def translate(self, images: NDArray[np.float32], seed: int = 0, backward: bool = False) -> NDArray[np.float32]:
        """Images [n, c, size, size] in [-1, 1] in the other contrast, likewise.

        Where the generator takes noise beside the image, all images get the same: neighbouring slices must not differ
        by chance.

        Args:
            images: of the source domain; of the target domain with `backward`, which needs a two-way model.
            seed: of the noise.
            backward: from the target's contrast to the source's.
        """
        self.model.eval()
        parts = [self._translate(images[i:i + TRANSLATED], seed, backward) for i in range(0, len(images), TRANSLATED)]
        return np.concatenate([np.empty((0, self.channels, self.size, self.size), np.float32), *parts])

    @torch.inference_mode()
    def _translate(self, images: NDArray[np.float32], seed: int, backward: bool) -> NDArray[np.float32]:
        given = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        noise = None
        if "noise" in self.model.needs:
            noise = self.model.draw_noise(1, np.random.default_rng((TRANSLATION, seed))).to(self.device)
            noise = noise.expand(len(images), *noise.shape[1:])
        batch = Batch(noise=noise, target=given) if backward else Batch(noise=noise, source=given)
        answer = self.model.generate(batch)
        made = answer.source if backward else answer.target
        assert made is not None
        array: NDArray[np.float32] = made.clamp(-1, 1).float().contiguous().cpu().numpy()
        return array


def _drawn(model: GAN, n: int, rng: np.random.Generator, device: torch.device) -> Batch:
    """Noise, and classes where the model needs them, for `n` images."""
    noise = model.draw_noise(n, rng).to(device)
    return Batch(noise=noise, label=model.draw_label(n, rng).to(device) if "label" in model.needs else None)


@torch.no_grad()
def recompute_statistics(model: GAN, device: torch.device) -> None:
    """Give the generator's batch norms the statistics of its own (averaged) weights, from fixed latents.

    A generator that starts from images has none here to do it with; it keeps the statistics of training.
    """
    if model.translates:
        model.generator.eval()
        return
    if not refresh_batch_norm(model.generator.eval()):
        return
    rng = np.random.default_rng(STATISTICS)
    for _ in range(STATISTICS_PASSES):
        model.generate(_drawn(model, 2 * CHUNK, rng, device))
    model.generator.eval()


def trained_sampler(model: GAN, weights: dict[str, torch.Tensor], recipe: Recipe, device: torch.device,
                    refresh: bool) -> Sampler:
    """A sampler over a copy of `model` whose generator has `weights`; `refresh` recomputes batch-norm statistics."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    model.generator.load_state_dict(weights)
    if refresh:
        recompute_statistics(model, device)
    return Sampler(model, recipe, device)


def untrained_generator(sampler: Sampler | None, size: int, channels: int, seed: int = 0) -> Sampler:
    """A generator of the same kind before any training (the default recipe's kind if None): a control for metrics."""
    recipe = sampler.recipe if sampler else load_recipe("rpgan-64", {"size": size})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = gans.resolve(recipe, channels)
    model = model.eval().requires_grad_(False)
    recompute_statistics(model, torch.device("cpu"))
    return Sampler(model, recipe, torch.device("cpu"))


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


def check_seed(seed: int) -> None:
    """Raise `UserError` unless `seed` is a whole number from 0 to 2^31 - 1."""
    if not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise UserError(f"{seed!r} is out of range", where="--seed", fix="use a number from 0 to 2147483647")


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
