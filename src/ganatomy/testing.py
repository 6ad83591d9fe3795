"""Checks for those who write a GAN: `check_gan("my_package.my_gan", folder)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganatomy import gans
from ganatomy.core.hardware import autocast
from ganatomy.core.recipe import Recipe
from ganatomy.data.dataset import Dataset, DatasetInfo, new_dataset
from ganatomy.data.manifest import Row
from ganatomy.gans.base import GAN, Batch, Context
from ganatomy.generators.folder import load_generator
from ganatomy.training.train import train

CPU = torch.device("cpu")
BATCH, CLASSES = 4, 2
START, LATER = Context(0, 0, 0.0), Context(7, 3, 0.9)


def check_gan(name: str, folder: str | Path, settings: Mapping[str, Any] | None = None,
              sizes: Sequence[int] = (32, 64)) -> None:
    """Check that a GAN keeps its contract: shapes, losses, gradients, generation, training and bit-exact resuming.

    Losses are taken at each size, of grey and colour images, at the start and late in training, from one generator
    pass for both losses and from one each, in fp32 and in bf16. Parameters that the GAN itself has frozen
    (`requires_grad_(False)`) need no gradient.

    Args:
        name: as a recipe's `gan` names it: my_package.my_gan, or a file in ganatomy/gans, without .py.
        folder: an empty folder to write a small dataset and runs into.
        settings: of the GAN, as a recipe's `model` section; its defaults where None.
        sizes: sides of images that it must be able to make, pixels; the first is trained.

    Raises:
        AssertionError: naming what does not hold.
    """
    recipe = Recipe.model_validate({
        "name": f"check-{name}"[:80], "gan": name, "model": dict(settings or {}), "size": sizes[0],
        "batch_size": BATCH, "steps": 4, "checkpoint_every": 2, "precision": "fp32",
        "learning_rate": {"generator": 1e-4, "discriminator": 1e-4}})
    for size in sizes:
        for channels in (1, 3):
            torch.manual_seed(0)
            model = gans.resolve(recipe.model_copy(update={"size": size}), channels)
            batch = _batch(model)
            for ctx, precision in ((START, "fp32"), (LATER, "fp32"), (START, "bf16")):
                _check_losses(model, batch, ctx, precision)
            _check_images(model, batch)
    half = max(2, -(-model.least_steps() // 2))
    recipe = recipe.model_copy(update={"steps": 2 * half, "checkpoint_every": half})
    data = _little_dataset(Path(folder) / "dataset", sizes[0], "source" in model.needs)
    for reuse in (False, True):
        _check_resume(recipe.model_copy(update={"reuse_fake": reuse}), data, Path(folder) / f"reuse-{reuse}")


def _batch(model: GAN) -> Batch:
    unknown = model.needs - {"noise", "target", "source", "label"}
    assert not unknown, f"needs names what no batch has: {sorted(unknown)}"
    images = torch.rand(BATCH, model.shape.channels, model.shape.size, model.shape.size) * 2 - 1
    noise = model.draw_noise(BATCH, np.random.default_rng(0)) if "noise" in model.needs else None
    return Batch(noise, images, images.flip(3) if "source" in model.needs else None,
                 torch.arange(BATCH) % CLASSES if "label" in model.needs else None)


def _check_losses(model: GAN, batch: Batch, ctx: Context, precision: str) -> None:
    """Both losses as the loop takes them: from a pass each, without gradients for the discriminator's, and from one."""
    model.train()
    for reuse in (False, True):
        with autocast(CPU, precision), torch.set_grad_enabled(reuse):
            fakes = model(batch, ctx)
        if model.adversarial:
            with autocast(CPU, precision):
                loss = model.discriminator_loss(batch, fakes, ctx).total
            _check_gradients(loss, model.discriminator, model.generator, "discriminator", "generator")
        learning = [p for p in model.discriminator.parameters() if p.requires_grad]
        for parameter in learning:
            parameter.requires_grad_(False)
        with autocast(CPU, precision):
            loss = model.generator_loss(batch, fakes if reuse else model(batch, ctx), ctx).total
        _check_gradients(loss, model.generator, model.discriminator, "generator", "discriminator")
        for parameter in learning:
            parameter.requires_grad_(True)


def _check_gradients(loss: Tensor, own: nn.Module, other: nn.Module, name: str, rival: str) -> None:
    assert loss.ndim == 0, f"the {name}'s loss must be one number"
    assert torch.isfinite(loss), f"the {name}'s loss is not finite"
    own.zero_grad(set_to_none=True)
    other.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    missing = [n for n, p in own.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing, f"the {name}'s loss does not reach its weights {missing}"
    reached = [n for n, p in other.named_parameters() if p.grad is not None]
    assert not reached, f"the {name}'s loss must not reach the {rival}, but reaches {reached}"


@torch.no_grad()
def _check_images(model: GAN, batch: Batch) -> None:
    model.eval()
    given = Batch(noise=batch.noise, source=batch.source if model.translates else None, label=batch.label)
    _check_answers(model, *(model.generate(given).target for _ in range(2)))
    if model.two_way:
        back = Batch(noise=batch.noise, target=batch.target, label=batch.label)
        _check_answers(model, *(model.generate(back).source for _ in range(2)))


def _check_answers(model: GAN, one: Tensor | None, two: Tensor | None) -> None:
    assert one is not None and two is not None, \
        "generate must return a batch with a target (two-way GANs: with a source, given targets)"
    shape = (BATCH, model.shape.channels, model.shape.size, model.shape.size)
    assert one.shape == shape, f"generate returned the shape {tuple(one.shape)}, not {shape}"
    assert one.dtype == torch.float32, f"generate returned {one.dtype}, not float32"
    assert one.abs().max() <= 1, "generated values must lie in [-1, 1]"
    assert torch.equal(one, two), "generate must be a function of its batch in evaluation mode"


def _check_resume(recipe: Recipe, data: Path, folder: Path) -> None:
    whole, parts = (train(data, folder / name, recipe) for name in ("whole", "parts"))
    for path in (parts.checkpoint(int(recipe.steps or 0)), parts.generator / "weights.safetensors"):
        path.unlink()  # as if killed after the first checkpoint
    parts.write_status("running", recipe.checkpoint_every or 0)
    train(data, parts.path, recipe)
    one, two = ((run.generator / "weights.safetensors").read_bytes() for run in (whole, parts))
    assert one == two, "a resumed training must end with the same bits: is there state outside buffers and parameters?"
    sampler = load_generator(whole.path)
    images = sampler.translate(np.zeros((3, 1, recipe.size, recipe.size), np.float32)) if sampler.model.translates \
        else sampler.sample(3, seed=0)
    assert np.isfinite(images).all(), "the trained generator makes images that are not finite"


def _little_dataset(path: Path, size: int, translates: bool) -> Path:
    """Noise of 8 subjects in two classes, and in two domains for GANs that translate."""
    domains = ("one", "other") if translates else ("one",)
    rng = np.random.default_rng(0)
    with new_dataset(path, (size, size), 1, np.uint8) as writer:
        for i in range(8):
            for domain in domains:
                image = rng.integers(0, 255, (size, size), dtype=np.uint8)
                writer.add(image, Row(f"i{i}", f"s{i}", "", 0, domain, f"class {i % CLASSES}", "train", 0, 0.0, 1.0, "",
                                      "", ""))
        writer.finish(DatasetInfo(size=(size, size), value_range=(0, 255), domains=domains, paired=True, content="",
                                  classes=tuple(f"class {i}" for i in range(CLASSES))))
    return Dataset.open(path).path
