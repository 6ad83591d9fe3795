"""Checks for those who write a GAN: `check_gan("name")` on a new file in models/."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ganatomy import gans
from ganatomy.core.recipe import Recipe
from ganatomy.data.dataset import Dataset, DatasetInfo, new_dataset
from ganatomy.data.manifest import Row
from ganatomy.gans.base import GAN, Batch, Context
from ganatomy.generators.sampling import load_generator
from ganatomy.training.train import train

SIZE, BATCH = 32, 4


def check_gan(name: str, folder: str | Path) -> None:
    """Check that a GAN keeps its contract: shapes, losses, gradients, generation, training and bit-exact resuming.

    Args:
        name: of its file in models/, without .py.
        folder: an empty folder to write a small dataset and runs into.

    Raises:
        AssertionError: naming what does not hold.
    """
    recipe = Recipe.model_validate({
        "name": f"check-{name}", "gan": name, "size": SIZE, "batch_size": BATCH, "steps": 4, "checkpoint_every": 2,
        "learning_rate": {"generator": 1e-4, "discriminator": 1e-4}, "precision": "fp32"})
    for channels in (1, 3):
        torch.manual_seed(0)
        model = gans.resolve(recipe, channels)
        batch = _batch(model, channels)
        _check_losses(model, batch)
        _check_images(model, batch, channels)
    half = max(2, -(-model.least_steps() // 2))
    _check_resume(recipe.model_copy(update={"steps": 2 * half, "checkpoint_every": half}), Path(folder))


def _batch(model: GAN, channels: int) -> Batch:
    unknown = model.needs - {"noise", "target", "source", "label"}
    assert not unknown, f"needs names what no batch has: {sorted(unknown)}"
    images = torch.rand(BATCH, channels, SIZE, SIZE) * 2 - 1
    noise = model.draw_noise(BATCH, np.random.default_rng(0)) if "noise" in model.needs else None
    return Batch(noise=noise, target=images, source=images.flip(3), label=torch.zeros(BATCH, dtype=torch.long))


def _check_losses(model: GAN, batch: Batch) -> None:
    ctx = Context(0, 0, 0.0)
    if model.adversarial:
        loss = model.discriminator_loss(batch, model(batch, ctx), ctx).total
        _check_gradients(loss, model.discriminator, model.generator, "discriminator")
    model.discriminator.requires_grad_(False)
    loss = model.generator_loss(batch, model(batch, ctx), ctx).total
    _check_gradients(loss, model.generator, model.discriminator, "generator")
    model.discriminator.requires_grad_(True)


def _check_gradients(loss: Tensor, own: nn.Module, other: nn.Module, name: str) -> None:
    assert loss.ndim == 0, f"the {name}'s loss must be one number"
    assert torch.isfinite(loss), f"the {name}'s loss is not finite"
    own.zero_grad(set_to_none=True)
    other.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    missing = [n for n, p in own.named_parameters() if p.grad is None]
    assert not missing, f"the {name}'s loss does not reach its weights {missing}"
    reached = [n for n, p in other.named_parameters() if p.grad is not None]
    rival = "generator" if name == "discriminator" else "discriminator"
    assert not reached, f"the {name}'s loss must not reach the {rival}, but reaches {reached}"


@torch.no_grad()
def _check_images(model: GAN, batch: Batch, channels: int) -> None:
    model.eval()
    given = Batch(noise=batch.noise, source=batch.source if model.translates else None, label=batch.label)
    _check_answers([model.generate(given).target for _ in range(2)], channels)
    if model.two_way:
        back = Batch(noise=batch.noise, target=batch.target, label=batch.label)
        _check_answers([model.generate(back).source for _ in range(2)], channels)


def _check_answers(answers: list[Tensor | None], channels: int) -> None:
    one, two = answers
    assert one is not None, "generate must return a batch with a target (two-way GANs: with a source, given targets)"
    assert two is not None
    assert one.shape == (BATCH, channels, SIZE, SIZE), f"generate returned the shape {tuple(one.shape)}"
    assert one.dtype == torch.float32, f"generate returned {one.dtype}, not float32"
    assert one.abs().max() <= 1, "generated values must lie in [-1, 1]"
    assert torch.equal(one, two), "generate must be a function of its batch in evaluation mode"


def _check_resume(recipe: Recipe, folder: Path) -> None:
    domains = ("one", "other") if "source" in gans.kind(recipe).needs else ("one",)
    data = _little_dataset(folder / "dataset", domains).path
    whole = train(data, folder / "whole", recipe)
    parts = train(data, folder / "parts", recipe)
    for path in (parts.checkpoint(int(recipe.steps or 0)), parts.generator / "weights.safetensors"):
        path.unlink()  # as if killed after the first checkpoint
    parts.write_status("running", recipe.checkpoint_every)
    train(data, folder / "parts", recipe)
    one, two = ((run.generator / "weights.safetensors").read_bytes() for run in (whole, parts))
    assert one == two, "a resumed training must end with the same bits: is there state outside buffers and parameters?"
    sampler = load_generator(whole.path)
    images = sampler.translate(np.zeros((3, 1, SIZE, SIZE), np.float32)) if sampler.model.translates \
        else sampler.sample(3, seed=0)
    assert np.isfinite(images).all()


def _little_dataset(path: Path, domains: tuple[str, ...]) -> Dataset:
    rng = np.random.default_rng(0)
    with new_dataset(path, (SIZE, SIZE), 1, np.uint8) as writer:
        for i in range(8):
            for domain in domains:
                image = rng.integers(0, 255, (SIZE, SIZE), dtype=np.uint8)
                writer.add(image, Row(f"i{i}", f"s{i}", "", 0, domain, "", "train", 0, 0.0, 1.0, "", "", ""))
        writer.finish(DatasetInfo(size=(SIZE, SIZE), value_range=(0, 255), domains=domains, paired=True, content=""))
    return Dataset.open(path)
