"""Our training step against a plain loop of the same networks, side by side in one run.

    python benchmarks/step_time.py [--size 128] [--batch 32] [--rounds 15] [--threads 2] [--recipe dcgan-brain-128]

The plain loop is what one writes first: eager fp32, contiguous tensors, unfused Adam, upsampling and convolution one
after the other, losses read with .item() each step, the discriminator's gradients also computed in the generator's
step. Prints the ratios of the median step times and how far the first step's losses differ.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

from ganatomy import models
from ganatomy.data.dataset import Dataset, DatasetInfo
from ganatomy.data.feed import Feed
from ganatomy.data.manifest import Row
from ganatomy.data.writers import new_dataset
from ganatomy.models.base import Batch, Context
from ganatomy.nn.blocks import UpConv2d
from ganatomy.nn.hardware import choose_device, native_bf16
from ganatomy.recipe import Recipe, load
from ganatomy.training_state import TrainingState, seed_step
from ganatomy.training_step import NOISE, update


def noise_dataset(folder: Path, size: int, n: int = 256) -> Dataset:
    rng = np.random.default_rng(0)
    with new_dataset(folder, (size, size), 1, np.uint8) as writer:
        for i in range(n):
            image = rng.integers(0, 255, (size, size), dtype=np.uint8)
            writer.add(image, Row(f"i{i}", f"s{i}", "", 0, "noise", "", "train", 0, 0.0, 1.0, "", "", ""))
        writer.finish(DatasetInfo(size=(size, size), value_range=(0, 255), domains=("noise",), paired=True, content=""))
    return Dataset.open(folder)


def unfuse(module: torch.nn.Module) -> None:
    """Put upsampling and an ordinary convolution in the place of every `UpConv2d`."""
    for name, child in module.named_children():
        if isinstance(child, UpConv2d):
            setattr(module, name, child.as_two_steps())
        else:
            unfuse(child)


def plain_adam(network: torch.nn.Module, rate: float, recipe: Recipe) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), rate, recipe.betas)


class PlainLoop:
    """The same networks, the same first weights, no care taken."""

    def __init__(self, recipe: Recipe, feed: Feed) -> None:
        seed_step(recipe.seed, -1)
        self.recipe, self.feed, self.step = recipe, feed, 0
        self.model = models.resolve(recipe, 1).to(feed.device)
        unfuse(self.model)
        rate = recipe.learning_rate
        self.g = plain_adam(self.model.generator, rate.generator, recipe)
        self.d = plain_adam(self.model.discriminator, rate.discriminator, recipe)

    def __call__(self) -> tuple[float, float]:
        seed_step(self.recipe.seed, self.step)
        real = self.feed.draw(self.step).contiguous()
        ctx = Context(self.step, 0, 0.0)
        rng = np.random.default_rng((NOISE, self.recipe.seed, self.step, ord("d")))
        batch = Batch(noise=self.model.draw_noise(len(real), rng).to(real.device), target=real)
        fakes = self.model(batch, ctx)
        self.d.zero_grad()
        d_loss = self.model.discriminator_loss(batch, fakes, ctx).total
        d_loss.backward()
        self.d.step()
        self.g.zero_grad()
        g_loss = self.model.generator_loss(batch, fakes, ctx).total
        g_loss.backward()
        self.g.step()
        self.step += 1
        return d_loss.item(), g_loss.item()


def our_loop(recipe: Recipe, feed: Feed, precision: str) -> Callable[[], tuple[float, float]]:
    state = TrainingState(recipe, 1, feed.device)

    def step() -> tuple[torch.Tensor, torch.Tensor]:
        losses = update(state, feed, precision, steps=10_000)
        return losses["discriminator"].total.detach(), losses["generator"].total.detach()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="dcgan-brain-128")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    recipe = load(options.recipe, {"size": options.size, "batch_size": options.batch})
    with tempfile.TemporaryDirectory() as folder:
        dataset = noise_dataset(Path(folder) / "dataset", options.size)
        feed = Feed(dataset, dataset.rows(), options.size, options.batch, 0, device)
        loops = {"plain fp32": PlainLoop(recipe, feed), "ours fp32": our_loop(recipe, feed, "fp32")}
        if native_bf16(device):
            loops["ours bf16"] = our_loop(recipe, feed, "bf16")
        report(loops, options.rounds, device)


def report(loops: dict[str, Callable[[], tuple[float, float]]], rounds: int, device: torch.device) -> None:
    first = {name: [float(loss) for loss in loop()] for name, loop in loops.items()}
    for loop in loops.values():
        loop()
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):  # in turn, so that a busy moment hits all alike
        for name, loop in loops.items():
            start = time.perf_counter()
            loop()
            if device.type == "cuda":
                torch.cuda.synchronize()
            times[name].append(time.perf_counter() - start)
    plain = median(times["plain fp32"])
    for name, loop_times in times.items():
        apart = [abs(a / b - 1) for a, b in zip(first[name], first["plain fp32"], strict=True)]
        print(f"{name:12} {1e3 * median(loop_times):8.1f} ms  ratio {median(loop_times) / plain:.3f}  "
              f"first losses differ by {apart[0]:.1e} (D), {apart[1]:.1e} (G) relative")


if __name__ == "__main__":
    main()
