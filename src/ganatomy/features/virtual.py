"""Images to features by a small network that has learnt on made-up images what the Inception of 2015 sees."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from ganatomy.features.base import Extractor
from ganatomy.networks.fused import FusedConv

WEIGHTS = Path(__file__).with_name("virtual.safetensors")
SIDE = 96  # pixels of what it sees
STAGES = ((24, 2), (48, 2), (48, 1)), ((96, 2), (96, 1)), ((160, 2), (160, 1))  # channels and stride of 3 x 3 kernels
DIMENSIONS = 256


class Virtual(Extractor):
    """256 features that judge what was made to please Lite0; they come with the package.

    Seven convolutions, whose maps are averaged after each of three stages (of the last one also their maximum), and a
    linear layer. It was taught by the 256 largest principal components of Inception's features, of virtual patients,
    heads of nobody and dead leaves, with planted faults (benchmarks/virtual_features.py): no patient's image was among
    them. It is Inception's relative, and a stranger to Lite0. Colours are averaged to grey.

    Source: Hinton, Vinyals and Dean, 2015 (distillation); Baradad et al., NeurIPS 2021 (learning from made-up images).
    """

    name = "Virtual"
    network = "Inception-Virtual"
    searches = False
    dimensions = DIMENSIONS
    batch = 32

    def __init__(self) -> None:
        self.identity = hashlib.sha256(b"virtual 96 bilinear " + WEIGHTS.read_bytes()).hexdigest()

    def rows(self, images: torch.Tensor) -> torch.Tensor:
        x = nn.functional.interpolate(images.mean(1, keepdim=True), size=SIDE, mode="bilinear", antialias=True)
        x = x.contiguous(memory_format=torch.channels_last)
        stages, weight, bias = _network(str(images.device))
        pooled = []
        for stage in stages:
            x = stage(x)
            pooled.append(x.mean((2, 3)))
        return nn.functional.linear(torch.cat([*pooled, x.amax((2, 3))], 1), weight, bias)


@lru_cache(maxsize=2)
def _network(device: str) -> tuple[list[nn.Sequential], torch.Tensor, torch.Tensor]:
    """The stages, weight and bias of the last layer; kept in half precision, computed with in single."""
    tensors = {key: value.float().to(device) for key, value in load_file(WEIGHTS).items()}
    stages = [nn.Sequential(*[FusedConv(tensors[f"{i}.{j}.weight"], tensors[f"{i}.{j}.bias"], "relu",
                                        (stride, stride), (1, 1)) for j, (_, stride) in enumerate(stage)]).to(device)
              for i, stage in enumerate(STAGES)]
    return stages, tensors["out.weight"], tensors["out.bias"]
