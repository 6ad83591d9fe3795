"""What a step of a recipe with frozen features costs beside one without, and its share of what convolutions can reach.

    OMP_WAIT_POLICY=passive python benchmarks/judges_time.py [--recipes projected-64 rpgan-64] [--threads 2]

Steps are taken in turn, medians compared. Operations are those of convolutions and matrix products that torch counts;
the machine's peak is what one large convolution (64 channels, 3 x 3, 16 images of 64 x 64) reaches in that precision.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import conv_flop_count, flop_registry

from ganatomy.cli.main import tune_process
from ganatomy.core.hardware import autocast, choose_device, native_bf16
from ganatomy.core.recipe import load
from ganatomy.training.budget import CYCLE
from ganatomy.training.draws import make_feed
from step_time import noise_dataset, our_loop, seconds


class Operations(TorchDispatchMode):
    """Counts those of convolutions and matrix products; torch's own counter does not know `torch.autograd.grad`."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        elif "_convolution_pointwise" in str(func):  # a frozen convolution with its activation
            self.total += conv_flop_count(args[0].shape, args[1].shape, out.shape)
        return out


def operations(call: Callable[[], object], repeats: int) -> float:
    with Operations() as counter:
        for _ in range(repeats):
            call()
    return counter.total / repeats


def main() -> None:
    tune_process()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", default=["projected-64", "rpgan-64"])
    parser.add_argument("--cycles", type=int, default=5, help="of 8 steps")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    precision = "bf16" if native_bf16(device) else "fp32"
    image = torch.randn(16, 64, 64, 64, device=device).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(64, 64, 3, 3, device=device).contiguous(memory_format=torch.channels_last)

    def convolve() -> None:
        with torch.no_grad(), autocast(device, precision):
            F.conv2d(image, kernel, padding=1)

    peak = operations(convolve, 1) / min(seconds(convolve, device) for _ in range(50))
    with tempfile.TemporaryDirectory() as folder:
        loops = {}
        for name in options.recipes:
            recipe = load(name).model_copy(update={"domain": "T1"})
            dataset = noise_dataset(Path(folder) / name, recipe.size)
            loops[name] = our_loop(recipe, make_feed(dataset, recipe, device), precision)
        counted = {name: operations(loop, CYCLE) for name, loop in loops.items()}
        times: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(CYCLE * options.cycles):
            for name, loop in loops.items():
                times[name].append(seconds(loop, device))
    last = median(times[options.recipes[-1]])
    print(f"{precision}, {options.threads} threads; a large convolution: {peak / 1e9:.0f} GFLOP/s")
    for name, taken in times.items():
        usual, mean = median(taken), sum(taken) / len(taken)
        print(f"{name:14} {1e3 * usual:7.1f} ms (mean {1e3 * mean:.1f})  {usual / last:.2f} of {options.recipes[-1]}  "
              f"{counted[name] / 1e9:.1f} GFLOP, {counted[name] / mean / peak:.0%} of the peak")


if __name__ == "__main__":
    main()
