"""Network blocks shared by several GANs."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UpConv2d(nn.Module):
    """Nearest-neighbour upsampling x2, then a convolution of stride 1 with zero padding, in one step.

    The two linear maps are computed as the one they make together, a transposed convolution of stride 2 whose
    kernel is the given one summed over the copied pixels: the same function to rounding, at (k + 1)^2 instead of
    4 k^2 multiplications an input pixel (2.56 times fewer at k = 4), and free of the checkerboard that a free
    transposed kernel can have.

    `weight` is [in, out, k, k], the convolution's kernel mirrored: w[i, o, y, x] = conv[o, i, k - 1 - y, k - 1 - x].
    Padding is (k - 1) // 2 zeros before and the rest after.
    """

    spread: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, bias: bool = True) -> None:
        super().__init__()
        k = kernel_size
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels, k, k))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.before = (k - 1) // 2
        self.after = k - 1 - self.before
        copies = torch.eye(k + 1, k) + torch.eye(k + 1, k).roll(1, 0)  # each tap falls on two neighbouring pixels
        self.register_buffer("spread", torch.kron(copies, copies).T.contiguous(), persistent=False)
        nn.init.normal_(self.weight, 0.0, math.sqrt(2 / (1 + 0.2**2) / (in_channels * k * k)))

    def forward(self, x: Tensor) -> Tensor:
        """[n, in, h, w] to [n, out, 2h, 2w]."""
        a, b, k, _ = self.weight.shape
        with torch.autocast(x.device.type, enabled=False):
            kernel = (self.weight.view(a, b, k * k) @ self.spread).view(a, b, k + 1, k + 1)
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=self.after,
                                  output_padding=self.after - self.before)


class Bend(nn.Module):
    """Moves the places of a map along a smooth field that a latent gives, so that shape varies by itself.

    Without it a generator makes a head longer by fading one outline out and another in. The field is given at 6 x 6
    knots, cubic between them, and moves no place by more than `reach` of the side along either axis; it starts well
    below folding. After Jaderberg et al., Spatial Transformer Networks (NeurIPS 2015), with a smooth field in place of
    an affine one. On a GPU torch sums its gradient in no fixed order: two runs of one seed part there.
    """

    _KNOTS = 6
    cubic: Tensor
    unmoved: Tensor

    def __init__(self, z_dim: int, reach: float, side: int) -> None:
        super().__init__()
        self.reach = reach
        self.field = nn.Linear(z_dim, 2 * self._KNOTS**2)
        nn.init.normal_(self.field.weight, 0.0, 0.1 / math.sqrt(z_dim))
        nn.init.zeros_(self.field.bias)
        each = torch.eye(self._KNOTS).expand(1, 1, -1, -1)
        cubic = F.interpolate(each, size=(side, self._KNOTS), mode="bicubic", align_corners=True)
        self.register_buffer("cubic", cubic[0, 0], persistent=False)
        at = (torch.arange(side) * 2 + 1) / side - 1
        self.register_buffer("unmoved", torch.stack(torch.meshgrid(at, at, indexing="xy"), -1), persistent=False)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        """[n, c, s, s] with latents [n, z_dim] to [n, c, s, s]; the border's values go on outside."""
        with torch.autocast(x.device.type, enabled=False):
            knots = self.field(z.float()).view(-1, 2, self._KNOTS, self._KNOTS)
            # bounded between the knots too, where a cubic goes beyond their values
            field = 2 * self.reach * torch.tanh(self.cubic @ knots @ self.cubic.T)
            places = self.unmoved + field.permute(0, 2, 3, 1)
            moved = F.grid_sample(x.float(), places, padding_mode="border", align_corners=False)
        return moved.to(x.dtype).contiguous(memory_format=torch.channels_last)


class MinibatchStd(nn.Module):
    """Appends one channel: the standard deviation over a group of samples, averaged over features (Karras et al. 2018).

    With `places` it is averaged over channels alone, and each place keeps its own. A batch that `group` does not divide
    is one group.
    """

    def __init__(self, group: int = 8, places: bool = False) -> None:
        super().__init__()
        self.group = group
        self.over = (1,) if places else (1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] to [n, c + 1, h, w]."""
        n, _, h, w = x.shape
        group = self.group if n % self.group == 0 else n
        grouped = x.float().reshape(group, n // group, *x.shape[1:])
        variance = (grouped - grouped.mean(0)).square().mean(0)  # five times faster than torch's var on a CPU
        deviation = (variance + 1e-8).sqrt().mean(self.over, keepdim=True)
        channel = deviation.repeat(group, 1, 1, 1).expand(n, 1, h, w)
        return torch.cat([x, channel.to(x.dtype)], 1)


class MinibatchDiscrimination(nn.Module):
    """Appends to each sample's features how near the other samples of the batch are, one number a kernel.

    M_i = f(x_i) T, of `kernels` rows of `dims`; o(x_i)_b = sum over j other than i of exp(-|M_i,b - M_j,b|_1), in fp32.
    A batch of real and one of generated images are to be given apart, so that neither tells anything of the other.

    Source: Salimans et al., Improved Techniques for Training GANs, NeurIPS 2016, section 3.2. There j includes i, which
    adds 1 to every number.
    """

    def __init__(self, features: int, kernels: int = 100, dims: int = 5) -> None:
        super().__init__()
        self.kernels, self.dims = kernels, dims
        self.weight = nn.Parameter(torch.empty(features, kernels * dims))
        nn.init.normal_(self.weight, 0.0, 1 / math.sqrt(features))

    def forward(self, x: Tensor) -> Tensor:
        """[n, features] to [n, features + kernels]."""
        projected = x @ self.weight
        with torch.autocast(x.device.type, enabled=False):
            m = projected.float().view(-1, self.kernels, self.dims)
            apart = (m[:, None] - m[None]).abs().sum(3)
            near = torch.exp(-apart).sum(1) - 1  # a sample's distance to itself is 0
        return torch.cat([x, near.to(x.dtype)], 1)


Norm = Literal["batch", "instance"]


def norm_layer(kind: Norm, channels: int) -> nn.Module:
    """Batch norm, or instance norm with a learnt scale and offset."""
    return nn.BatchNorm2d(channels) if kind == "batch" else nn.InstanceNorm2d(channels, affine=True)


def channels_by_size(size: int, smallest: int, width: int, most: int) -> list[int]:
    """Feature channels at `smallest`, 2 x `smallest`, ..., `size` pixels: `width` at `size`, doubling downwards."""
    channels = [width]
    while size > smallest:
        size //= 2
        channels.append(min(most, channels[-1] * 2))
    return channels[::-1]


def refresh_batch_norm(module: nn.Module) -> list[nn.BatchNorm2d]:
    """Make every batch norm forget its running statistics and average those of the next passes evenly.

    Only the batch norms are put in training mode; dropout and the like stay as they are.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    return norms


def translate(images: Tensor, ratio: float) -> Tensor:
    """Images [n, c, h, w] in [-1, 1], each shifted by its own random whole number of pixels; gradients pass.

    Background fills the gap; the largest shift is `ratio` of the side. An augmentation that is applied alike to real
    and generated images (Zhao et al. 2020).
    """
    n, _, h, w = images.shape
    reach = int(h * ratio + 0.5)
    if reach == 0:
        return images
    padded = F.pad(images, (reach, reach, reach, reach), value=-1.0)
    # drawn on the CPU, so that every device sees the same shifts
    shifts = torch.randint(0, 2 * reach + 1, (n, 2)).tolist()
    moved = [padded[i, :, y : y + h, x : x + w] for i, (y, x) in enumerate(shifts)]
    return torch.stack(moved).contiguous(memory_format=torch.channels_last)
