"""What FID costs, features and distance together, as a share of pytorch-fid's way of computing it.

    python benchmarks/fid_time.py [--images 300] [--rounds 3] [--threads 2]

Needs the weights (`ganatomy weights install inception`). The other way is written out below: the network as it was
trained, with convolution, batch norm and ReLU as three steps and channels first, 50 images at a time; numpy's means and
covariances; scipy's root of the 2,048 x 2,048 product. Both get images resized in the same way, so that only the
computation differs.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ganatomy.cli.main import tune_process
from ganatomy.features import extractors
from ganatomy.features.inception_network import EPS, STAGES, Block, Conv, Step
from ganatomy.features.weights import load
from ganatomy.metrics.frechet import frechet_distance

Array = NDArray[np.float64]
Images = NDArray[np.float32]
_BATCH, _OFFSET = 50, 1e-6


class Plain(nn.Module):
    """The network unfused."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        blocks = [_beside(tensors, prefix, block) for stage in STAGES.values() for prefix, block in stage]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = nn.functional.adaptive_avg_pool2d(self.blocks(x), 1).flatten(1)
        return pooled


class Cat(nn.Module):
    def __init__(self, branches: list[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def _beside(tensors: dict[str, torch.Tensor], prefix: str, block: Block) -> nn.Module:
    branches: list[nn.Module] = [nn.Sequential(*(_step(tensors, prefix, step) for step in branch)) for branch in block]
    return branches[0] if len(branches) == 1 else Cat(branches)


def _step(tensors: dict[str, torch.Tensor], prefix: str, step: Step) -> nn.Module:
    if isinstance(step, tuple):
        return Cat([_step(tensors, prefix, conv) for conv in step])
    if isinstance(step, Conv):
        return _three_steps(tensors, prefix + step.name, step)
    padding = 1 if step.stride == 1 else 0
    if step.kind == "max":
        return nn.MaxPool2d(3, step.stride, padding)
    return nn.AvgPool2d(3, step.stride, padding, count_include_pad=False)


def _three_steps(tensors: dict[str, torch.Tensor], name: str, step: Conv) -> nn.Module:
    weight = tensors[f"{name}.weight"]
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], step.kernel, step.stride, step.padding, bias=False)
    norm = nn.BatchNorm2d(weight.shape[0], eps=EPS)
    conv.load_state_dict({"weight": weight})
    norm.load_state_dict({"weight": torch.ones_like(tensors[f"{name}.beta"]), "bias": tensors[f"{name}.beta"],
                          "running_mean": tensors[f"{name}.mean"], "running_var": tensors[f"{name}.variance"]}, False)
    return nn.Sequential(conv, norm, nn.ReLU(inplace=True))


def plain_features(net: Plain, images: Images) -> Array:
    out = []
    with torch.no_grad():
        for start in range(0, len(images), _BATCH):
            batch = extractors._levels(torch.from_numpy(images[start:start + _BATCH]))
            out.append(net(batch.contiguous()).numpy())
    return np.concatenate(out).astype(np.float64)


def plain_distance(x: Array, y: Array) -> float:
    from scipy.linalg import sqrtm

    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = sqrtm(a @ b)
    if not np.isfinite(root).all():
        offset = _OFFSET * np.eye(len(a))
        root = sqrtm((a + offset) @ (b + offset))
    apart = x.mean(0) - y.mean(0)
    return float(apart @ apart + np.trace(a) + np.trace(b) - 2 * np.trace(root.real))


def images(n: int, seed: int, coarse: int) -> Images:
    """Smooth random images [n, 1, 128, 128] in [-1, 1]: noise of `coarse` squares a side, blown up."""
    noise = torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (n, 1, coarse, coarse)).astype(np.float32))
    large: Images = nn.functional.interpolate(noise, size=128, mode="bicubic").clamp(-1, 1).numpy()
    return large


def timed(work: Callable[[], float]) -> tuple[float, float]:
    start = time.perf_counter()
    value = work()
    return value, time.perf_counter() - start


def main() -> None:
    tune_process()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300, help="On either side.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    real, made = images(options.images, 0, 16), images(options.images, 1, 12)
    ours, net = extractors.Inception2015(), Plain(load("inception")[0]).eval().requires_grad_(False)

    def our_way() -> float:
        return frechet_distance(ours.compute(real), ours.compute(made))

    def their_way() -> float:
        return plain_distance(plain_features(net, real), plain_features(net, made))

    ours.compute(real[:10]), plain_features(net, real[:10])
    times: list[tuple[float, float]] = []
    for _ in range(options.rounds):
        (value, fast), (expected, slow) = timed(our_way), timed(their_way)
        times.append((fast, slow))
        print(f"ours {fast:.2f} s, the other way {slow:.2f} s, ratio {fast / slow:.3f}, "
              f"difference {abs(value - expected) / expected:.1e} of {expected:.3f}", flush=True)
    print(f"median {median(f for f, _ in times):.2f} s against {median(s for _, s in times):.2f} s, "
          f"ratio {median(f / s for f, s in times):.3f}")


if __name__ == "__main__":
    main()
