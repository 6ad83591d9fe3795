"""The network of the Frechet Inception distance: InceptionV3 as trained in 2015, without its classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ganatomy.networks.fused import Activation, FusedConv, Pair, fold

EPS = 0.001  # of its batch norms, which have no scale
PARTS = ("weight", "mean", "variance", "beta")  # of every convolution and its batch norm
Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Conv:
    """A convolution without bias, then batch norm, then ReLU."""

    name: str
    outputs: int
    kernel: Pair = (1, 1)
    stride: int = 1
    padded: bool = True  # so that the size stays

    @property
    def padding(self) -> Pair:
        """Pixels of zeros on each side."""
        return (self.kernel[0] // 2, self.kernel[1] // 2) if self.padded else (0, 0)


@dataclass(frozen=True)
class Pool:
    """The largest or the mean of 3 x 3 pixels. The mean does not count padding: that is what FID's network does."""

    kind: Literal["max", "mean"]
    stride: int = 1


Step = Conv | Pool | tuple[Conv, ...]  # a tuple of convolutions: side by side, all of the same input
Branch = tuple[Step, ...]
Block = tuple[Branch, ...]
HALF, MAX, MEAN = Pool("max", 2), Pool("max"), Pool("mean")


def _conv(name: str, outputs: int, height: int = 1, width: int = 1) -> Conv:
    return Conv(name, outputs, (height, width))


def _half(name: str, outputs: int) -> Conv:
    return Conv(name, outputs, (3, 3), 2, padded=False)


def _a(pooled: int) -> Block:
    return ((_conv("branch1x1", 64),),
            (_conv("branch5x5_1", 48), _conv("branch5x5_2", 64, 5, 5)),
            (_conv("branch3x3dbl_1", 64), _conv("branch3x3dbl_2", 96, 3, 3), _conv("branch3x3dbl_3", 96, 3, 3)),
            (MEAN, _conv("branch_pool", pooled)))


def _b() -> Block:
    return ((_half("branch3x3", 384),),
            (_conv("branch3x3dbl_1", 64), _conv("branch3x3dbl_2", 96, 3, 3), _half("branch3x3dbl_3", 96)),
            (HALF,))


def _c(inner: int) -> Block:
    return ((_conv("branch1x1", 192),),
            (_conv("branch7x7_1", inner), _conv("branch7x7_2", inner, 1, 7), _conv("branch7x7_3", 192, 7, 1)),
            (_conv("branch7x7dbl_1", inner), _conv("branch7x7dbl_2", inner, 7, 1),
             _conv("branch7x7dbl_3", inner, 1, 7), _conv("branch7x7dbl_4", inner, 7, 1),
             _conv("branch7x7dbl_5", 192, 1, 7)),
            (MEAN, _conv("branch_pool", 192)))


def _d() -> Block:
    return ((_conv("branch3x3_1", 192), _half("branch3x3_2", 320)),
            (_conv("branch7x7x3_1", 192), _conv("branch7x7x3_2", 192, 1, 7), _conv("branch7x7x3_3", 192, 7, 1),
             _half("branch7x7x3_4", 192)),
            (HALF,))


def _e(pool: Pool) -> Block:
    return ((_conv("branch1x1", 320),),
            (_conv("branch3x3_1", 384), (_conv("branch3x3_2a", 384, 1, 3), _conv("branch3x3_2b", 384, 3, 1))),
            (_conv("branch3x3dbl_1", 448), _conv("branch3x3dbl_2", 384, 3, 3),
             (_conv("branch3x3dbl_3a", 384, 1, 3), _conv("branch3x3dbl_3b", 384, 3, 1))),
            (pool, _conv("branch_pool", 192)))


_TO_64: Branch = (_half("Conv2d_1a_3x3", 32), Conv("Conv2d_2a_3x3", 32, (3, 3), padded=False),
                  _conv("Conv2d_2b_3x3", 64, 3, 3), HALF)
_TO_192: Branch = (_conv("Conv2d_3b_1x1", 80), Conv("Conv2d_4a_3x3", 192, (3, 3), padded=False), HALF)
# the last block takes the largest where the one before takes the mean: a slip of 2015 that FID has kept
STAGES: dict[int, tuple[tuple[str, Block], ...]] = {
    64: (("", (_TO_64,)),),
    192: (("", (_TO_192,)),),
    768: (("Mixed_5b.", _a(32)), ("Mixed_5c.", _a(64)), ("Mixed_5d.", _a(64)), ("Mixed_6a.", _b()),
          ("Mixed_6b.", _c(128)), ("Mixed_6c.", _c(160)), ("Mixed_6d.", _c(160)), ("Mixed_6e.", _c(192))),
    2048: (("Mixed_7a.", _d()), ("Mixed_7b.", _e(MEAN)), ("Mixed_7c.", _e(MAX))),
}


def shapes() -> dict[str, tuple[int, int, int, int]]:
    """Every convolution by its name, in order, with the shape of its kernels: outputs, inputs, height, width."""
    kernels: dict[str, tuple[int, int, int, int]] = {}
    channels = 3
    for stage in STAGES.values():
        for prefix, block in stage:
            channels = sum(_branch_shapes(prefix, branch, channels, kernels) for branch in block)
    return kernels


def _branch_shapes(prefix: str, branch: Branch, channels: int, kernels: dict[str, tuple[int, int, int, int]]) -> int:
    for step in branch:
        if isinstance(step, Pool):
            continue
        side_by_side = step if isinstance(step, tuple) else (step,)
        for conv in side_by_side:
            kernels[prefix + conv.name] = (conv.outputs, channels, *conv.kernel)
        channels = sum(conv.outputs for conv in side_by_side)
    return channels


class Inception(nn.Module):
    """The network up to one of its taps, with batch norm folded into the convolutions.

    Source: Szegedy et al., Rethinking the Inception architecture, CVPR 2016; Heusel et al., NeurIPS 2017, for its use.
    """

    def __init__(self, tensors: Tensors, tap: int = 2048) -> None:
        """Take tensors NAME.weight, NAME.mean, NAME.variance and NAME.beta for every NAME of `shapes`."""
        super().__init__()
        stages = [block for end, blocks in STAGES.items() if end <= tap for block in blocks]
        self.blocks = nn.Sequential(*(self.beside(tensors, prefix, block) for prefix, block in stages))

    @staticmethod
    def beside(tensors: Tensors, prefix: str, block: Block) -> nn.Module:
        """One block, whose branches stand side by side."""
        return _Beside([_branch(tensors, prefix, branch) for branch in block])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features [n, tap] of images [n, 3, 299, 299], (grey level - 128) / 128, channels-last."""
        pooled: torch.Tensor = self.blocks(x).mean((2, 3))
        return pooled


class _Beside(nn.Module):
    """Modules of the same input; their outputs are stacked along the channels."""

    def __init__(self, branches: list[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = [branch(x) for branch in self.branches]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)


def _branch(tensors: Tensors, prefix: str, branch: Branch) -> nn.Module:
    first, *rest = branch
    if first == MEAN:
        # taking the mean of pixels and mixing channels may change places, and afterwards there are fewer channels
        (conv,) = rest
        assert isinstance(conv, Conv)
        return nn.Sequential(_folded(tensors, prefix, conv, "none"), _module(tensors, prefix, MEAN), nn.ReLU())
    return nn.Sequential(*(_module(tensors, prefix, step) for step in branch))


def _module(tensors: Tensors, prefix: str, step: Step) -> nn.Module:
    if isinstance(step, Conv):
        return _folded(tensors, prefix, step)
    if isinstance(step, tuple):
        return _Beside([_folded(tensors, prefix, conv) for conv in step])
    if step.kind == "mean":
        return nn.AvgPool2d(3, step.stride, 1, count_include_pad=False)
    return nn.MaxPool2d(3, step.stride, 1 if step.stride == 1 else 0)


def _folded(tensors: Tensors, prefix: str, conv: Conv, activation: Activation = "relu") -> FusedConv:
    name = prefix + conv.name
    weight, mean, variance, beta = (tensors[f"{name}.{part}"] for part in PARTS)
    return FusedConv(*fold(weight, mean, variance, beta, EPS), activation, (conv.stride, conv.stride), conv.padding)
