"""Our training step against a plain loop of the same networks, side by side in one run.

    python benchmarks/step_time.py [--size 128] [--batch 32] [--rounds 15] [--threads 2] [--recipe dcgan-brain-128]
    python benchmarks/step_time.py --recipe pix2pix-brain-256 --size 256 --batch 8
    python benchmarks/step_time.py --recipe cyclegan-mri --batch 8

The plain loop is what one writes first: eager fp32, contiguous tensors, unfused Adam, upsampling and convolution one
after the other, each of a generator's inputs by itself, losses read with .item() each step, the discriminator's
gradients also computed in the generator's step. Prints the ratios of the median step times and how far the first
step's losses differ.
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
from torch import nn

from ganatomy import gans
from ganatomy.cli.main import tune_process
from ganatomy.core.hardware import choose_device, native_bf16
from ganatomy.core.recipe import Recipe, load
from ganatomy.data.batches import Feed
from ganatomy.data.dataset import Dataset, DatasetInfo, new_dataset
from ganatomy.data.manifest import Row
from ganatomy.gans import cyclegan, kind
from ganatomy.gans.base import GAN, Batch, Context
from ganatomy.networks.blocks import UpConv2d
from ganatomy.training.draws import make_feed, real_images
from ganatomy.training.state import TrainingState, seed_step
from ganatomy.training.step import NOISE, update


def noise_dataset(folder: Path, size: int, n: int = 256, domains: tuple[str, ...] = ("T1", "T2")) -> Dataset:
    rng = np.random.default_rng(0)
    with new_dataset(folder, (size, size), 1, np.uint8) as writer:
        for i in range(n):
            for domain in domains:
                image = rng.integers(0, 255, (size, size), dtype=np.uint8)
                writer.add(image, Row(f"i{i}", f"s{i}", "", 0, domain, "", "train", 0, 0.0, 1.0, "", "", ""))
        writer.finish(DatasetInfo(size=(size, size), value_range=(0, 255), domains=domains, paired=True, content=""))
    return Dataset.open(folder)


def two_steps(layer: UpConv2d) -> nn.Sequential:
    """The same function as upsampling, padding and an ordinary convolution; weights are copied."""
    a, b, k, _ = layer.weight.shape
    convolution = nn.Conv2d(a, b, k, bias=layer.bias is not None).to(layer.weight)
    convolution.weight.data.copy_(layer.weight.detach().flip(2, 3).transpose(0, 1))
    if layer.bias is not None and convolution.bias is not None:
        convolution.bias.data.copy_(layer.bias.detach())
    pad = nn.ZeroPad2d((layer.before, layer.after, layer.before, layer.after))
    return nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), pad, convolution)


def unfuse(module: torch.nn.Module) -> None:
    """Put upsampling and an ordinary convolution in the place of every `UpConv2d`."""
    for name, child in module.named_children():
        if isinstance(child, UpConv2d):
            setattr(module, name, two_steps(child))
        else:
            unfuse(child)


def plain_adam(network: torch.nn.Module, rate: float, recipe: Recipe) -> torch.optim.Adam:
    return torch.optim.Adam(network.parameters(), rate, recipe.betas)


def one_by_one(model: GAN) -> None:
    """Have a CycleGAN's generators take their inputs one after the other."""
    if isinstance(model, cyclegan.Model):
        model._make = lambda side, inputs: tuple(model.generator[side](x) for x in inputs)


class PlainLoop:
    """The same networks, the same first weights, no care taken."""

    def __init__(self, recipe: Recipe, feed: Feed) -> None:
        seed_step(recipe.seed, -1)
        self.recipe, self.feed, self.step = recipe, feed, 0
        self.model = gans.resolve(recipe, 1).to(feed.device)
        unfuse(self.model)
        one_by_one(self.model)
        rate = recipe.learning_rate
        self.g = plain_adam(self.model.generator, rate.generator, recipe)
        self.d = plain_adam(self.model.discriminator, rate.discriminator, recipe)

    def __call__(self) -> tuple[float, float]:
        seed_step(self.recipe.seed, self.step)
        ctx = Context(self.step, 0, 0.0)
        batch = self._batch()
        fakes = self.model(batch, ctx)
        networks = {"d": (self.d, self.model.discriminator_loss), "g": (self.g, self.model.generator_loss)}
        losses = {}
        for network in ("d", "g") if self.recipe.order == "d_first" else ("g", "d"):
            optimiser, loss_of = networks[network]
            optimiser.zero_grad()
            loss = loss_of(batch, fakes, ctx).total
            loss.backward()
            optimiser.step()
            losses[network] = loss.item()
        self.step += 1
        return losses["d"], losses["g"]

    def _batch(self) -> Batch:
        target, source = (None if images is None else images.clone(memory_format=torch.contiguous_format)
                          for images in real_images(self.recipe, self.feed, self.step))
        first = ord("d" if self.recipe.order == "d_first" else "g")
        rng = np.random.default_rng((NOISE, self.recipe.seed, self.step, first))
        noise = self.model.draw_noise(len(target), rng).to(target.device) if "noise" in self.model.needs else None
        return Batch(noise=noise, target=target, source=source)


def our_loop(recipe: Recipe, feed: Feed, precision: str) -> Callable[[], tuple[float, float]]:
    state = TrainingState(recipe, 1, feed.device)

    def step() -> tuple[torch.Tensor, torch.Tensor]:
        losses = update(state, feed, precision, steps=10_000)
        return losses["discriminator"].total.detach(), losses["generator"].total.detach()

    return step


def main() -> None:
    tune_process()  # as the command line does
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
    # the same domains whatever the recipe: the images are noise
    recipe = recipe.model_copy(update={"domain": "T1"} | ({"source": "T2"} if "source" in kind(recipe).needs else {}))
    with tempfile.TemporaryDirectory() as folder:
        dataset = noise_dataset(Path(folder) / "dataset", options.size)
        feed = make_feed(dataset, recipe, device)
        loops = {"plain fp32": PlainLoop(recipe, feed), "ours fp32": our_loop(recipe, feed, "fp32")}
        if native_bf16(device):
            loops["ours bf16"] = our_loop(recipe, feed, "bf16")
        report(loops, options.rounds, device)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def report(loops: dict[str, Callable[[], tuple[float, float]]], rounds: int, device: torch.device) -> None:
    first = {name: [float(loss) for loss in loop()] for name, loop in loops.items()}
    for loop in loops.values():
        loop()
    times: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):  # in turn, so that a busy moment hits all alike
        for name, loop in loops.items():
            times[name].append(seconds(loop, device))
    plain = median(times["plain fp32"])
    for name, loop_times in times.items():
        apart = [abs(a / b - 1) for a, b in zip(first[name], first["plain fp32"], strict=True)]
        print(f"{name:12} {1e3 * median(loop_times):8.1f} ms  ratio {median(loop_times) / plain:.3f}  "
              f"first losses differ by {apart[0]:.1e} (D), {apart[1]:.1e} (G) relative")


if __name__ == "__main__":
    main()
