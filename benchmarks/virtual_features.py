"""Teach the network of `--features virtual`: what Inception sees in made-up images.

    python benchmarks/virtual_features.py [--images 4000] [--minutes 8]

Needs `ganatomy weights install inception`; writes src/ganatomy/features/virtual.safetensors. On one core of an EPYC
with bf16 the teacher takes about 60 ms an image and the learning eight minutes. The images are of nobody: phantom
subjects, rings and blobs like heads, and dead leaves (Lee, Mumford and Huang, IJCV 2001), grey, of 64 and 128 px, most
of them with one to three faults. No figure is trained on real images, so that any of them may be judged by it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter, map_coordinates
from torch import nn

from ganatomy.features.extractors import Inception2015
from ganatomy.features.virtual import DIMENSIONS, SIDE, STAGES, WEIGHTS
from ganatomy.networks.fused import fold
from ganatomy.phantoms.cohort import subject_images

Image = NDArray[np.float64]
PHANTOMS, SEED, BATCH = 700, 77, 32


class Painter:
    """Images [side, side] in 0 to 1, and faults in them."""

    def __init__(self, seed: int = 2026) -> None:
        self.rng, self.known = np.random.default_rng(seed), list[Image]()

    def __call__(self, side: int) -> Image:
        image = self.subject(side)
        for _ in range(self.rng.choice(4, p=[0.25, 0.35, 0.25, 0.15])):
            image = self.spoilt(image)
        return np.clip(image, 0, 1)

    def subject(self, side: int) -> Image:
        paint: Callable[[int], Image] = [self.phantom, self.head, self.leaves][self.rng.choice(3, p=[0.45, 0.35, 0.2])]
        return paint(side)

    def field(self, side: int, smooth: float) -> Image:
        values = gaussian_filter(self.rng.standard_normal((side, side)), smooth)
        return np.asarray(values / values.std())

    def pink(self, side: int) -> Image:
        """Noise whose spectrum falls with the frequency."""
        frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
        frequency[0, 0] = 1
        spectrum = np.fft.fft2(self.rng.standard_normal((side, side))) / frequency ** self.rng.uniform(0.5, 2)
        values = np.fft.ifft2(spectrum).real
        return np.asarray(values / values.std())

    def leaves(self, side: int) -> Image:
        rng, (y, x) = self.rng, np.mgrid[:side, :side] / side
        image, least = np.full((side, side), rng.uniform()), rng.choice([0.02, 0.05, 0.1])
        for _ in range(rng.choice([10, 30, 100])):
            radius = least / math.sqrt(rng.uniform((least / 0.5) ** 2, 1))
            (cy, cx), narrow, turn = rng.uniform(size=2), rng.uniform(0.5, 1), rng.uniform(0, math.pi)
            u = (x - cx) * math.cos(turn) + (y - cy) * math.sin(turn)
            v = ((y - cy) * math.cos(turn) - (x - cx) * math.sin(turn)) / narrow
            reach = np.hypot(u, v) if rng.random() < 0.7 else np.maximum(abs(u), abs(v))
            image[reach < radius] = rng.uniform()
        return np.asarray(image + 0.05 * rng.random() * self.pink(side))

    def head(self, side: int) -> Image:
        """Rings like skin, skull and tissue about blobs, some of them in pairs: anatomy of nobody."""
        rng, (y, x) = self.rng, np.mgrid[:side, :side] / side * 2 - 1
        (a, b), turn, (cy, cx) = rng.uniform(0.55, 0.95, 2), rng.normal(0, 0.15), rng.normal(0, 0.06, 2)
        u = (x - cx) * math.cos(turn) + (y - cy) * math.sin(turn)
        v = (y - cy) * math.cos(turn) - (x - cx) * math.sin(turn)
        radius, image = np.hypot(u / a, v / b) + 0.04 * self.field(side, side / 8), np.zeros((side, side))
        edges = 1.07 - np.cumsum(rng.uniform(0.02, 0.1, 4))
        for edge in edges:
            image[radius < edge] = rng.uniform()
        folds = rng.choice([0.1, 0.25]) * np.sign(self.field(side, rng.uniform(1, side / 10))) * (rng.random() < 0.6)
        image += np.where(radius < edges[-1], 0.25 * rng.random() * self.pink(side) + folds, 0)
        for _ in range(rng.integers(8)):
            (p, q), size = rng.uniform(-0.6, 0.6, 2), rng.uniform(0.03, 0.2)
            grey, narrow = rng.uniform(), rng.uniform(0.4, 1)
            for sign in (1, -1) if rng.random() < 0.5 else (1,):
                image[np.hypot((sign * u - p) / size, (v - q) / (size * narrow)) < 1] = grey
        return np.asarray(gaussian_filter(image, rng.uniform(0.3, 0.8)))

    def phantom(self, side: int) -> Image:
        rng = self.rng
        if len(self.known) < PHANTOMS:
            subject = subject_images(len(self.known), SEED, 128)
            grey = np.asarray(subject.t1 if rng.random() < 0.6 else subject.t2, np.float64).reshape(128, 128)
            self.known.append(np.clip(grey / np.percentile(grey[grey > 0], 99.8), 0, 1))
        grey = self.known[rng.integers(len(self.known))]
        zoom, turn = rng.uniform(0.8, 1.3), rng.normal(0, 0.1) if rng.random() < 0.7 else rng.uniform(0, 2 * math.pi)
        y, x = np.mgrid[:side, :side] / side - 0.5
        c, s = math.cos(turn) / zoom, math.sin(turn) / zoom
        dy, dx = 0.5 + rng.normal(0, 0.03, 2)
        grey = gaussian_filter(grey, 128 / side / 2.5 / zoom if side < 128 else 0)
        image = map_coordinates(grey, ((c * y - s * x + dy) * 128, (s * y + c * x + dx) * 128), order=1)
        return np.asarray(image[:, ::-1] if rng.random() < 0.5 else image)

    def spoilt(self, image: Image) -> Image:
        """A fault: blur, noise, warping, stripes, a patch, other greys, halves or mixtures of two, coarse pixels."""
        rng, side = self.rng, len(image)
        y, x = np.mgrid[:side, :side]
        kind, px = rng.integers(12), side / 64
        if kind == 0:
            return np.asarray(gaussian_filter(image, rng.uniform(0.3, 2.5) * px))
        if kind == 1:
            return np.asarray(image + rng.uniform(0, 0.12) * rng.standard_normal(image.shape))
        if kind == 2:
            far, smooth = rng.uniform(0.5, 4) * px, rng.uniform(3, 9) * px
            where = y + far * self.field(side, smooth), x + far * self.field(side, smooth)
            return np.asarray(map_coordinates(image, where, order=1, mode="nearest"))
        if kind == 3:
            phase = (x * rng.choice([0, 1, 1]) + y * rng.choice([0, 1, 1])) / rng.choice([2, 4, 8])
            return np.asarray(image + rng.uniform(0.01, 0.08) * np.cos(2 * math.pi * phase + rng.uniform(0, 6)))
        if kind == 4:
            image, size = image.copy(), int(rng.uniform(0.1, 0.4) * side)
            top, left = rng.integers(0, side - size, 2)
            hole = image[top:top + size, left:left + size]
            hole[:] = hole.mean() if rng.random() < 0.5 else self.subject(size + 8)[:size, :size]
            return image
        if kind == 5:
            return np.asarray(np.clip(image, 0, 1) ** rng.uniform(0.5, 2))
        if kind == 6:
            return np.asarray((image - 0.5) * rng.uniform(0.3, 1) + rng.uniform(0.3, 0.6))
        if kind == 7:
            halves = np.where(x < side // 2, image, self.subject(side))
            return halves if rng.random() < 0.5 else halves.T
        if kind == 8:
            share = rng.uniform(0.1, 0.6)
            return np.asarray((1 - share) * image + share * self.subject(side))
        if kind == 9:
            every = rng.choice([2, 4])
            return np.asarray(np.kron(image[::every, ::every], np.ones((every, every))))
        if kind == 10:
            return np.asarray(image + rng.uniform(0.05, 0.3) * self.pink(side))
        return 1 - image if rng.random() < 0.2 else image


class Student(nn.Module):
    """The network of `features.virtual`, with batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.stages, inputs = nn.ModuleList(), 1
        for stage in STAGES:
            layers = list[nn.Module]()
            for outputs, stride in stage:
                layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs),
                           nn.ReLU(inplace=True)]
                inputs = outputs
            self.stages.append(nn.Sequential(*layers))
        self.out = nn.Linear(sum(stage[-1][0] for stage in STAGES) + inputs, DIMENSIONS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = []
        for stage in self.stages:
            x = stage(x)
            pooled.append(x.mean((2, 3)))
        return self.out(torch.cat([*pooled, x.amax((2, 3))], 1))  # type: ignore[no-any-return]

    def tensors(self, scale: float) -> dict[str, torch.Tensor]:
        """The weights as the package has them: batch norms folded, features of unit size, half precision."""
        out = {"out.weight": self.out.weight / scale, "out.bias": self.out.bias / scale}
        for i, stage in enumerate(self.stages):
            for j, (conv, norm) in enumerate(zip(stage[::3], stage[1::3], strict=True)):  # type: ignore[index]
                out[f"{i}.{j}.weight"], out[f"{i}.{j}.bias"] = fold(
                    conv.weight, norm.running_mean, norm.running_var, norm.bias, norm.eps, norm.weight)
        return {key: value.detach().half().contiguous() for key, value in out.items()}


def taught(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images [n, 1, 96, 96] in -1 to 1, and the principal components of Inception's features [n, 256]."""
    teacher, paint, images, seen = Inception2015(), Painter(), list[torch.Tensor](), list[NDArray[np.float64]]()
    for number in range(count // 10):
        side = 64 if number % 2 else 128
        batch = np.stack([paint(side) for _ in range(10)])[:, None].astype(np.float32) * 2 - 1
        seen.append(teacher.compute(batch))
        images.append(nn.functional.interpolate(torch.from_numpy(batch), size=SIDE, mode="bilinear", antialias=True))
    features = torch.from_numpy(np.concatenate(seen)).float()
    features -= features.mean(0)
    return torch.cat(images), features @ torch.linalg.svd(features, full_matrices=False)[2][:DIMENSIONS].T


def learn(images: torch.Tensor, wanted: torch.Tensor, minutes: float) -> Student:
    """A student after these minutes; the step size falls to nothing by half a cosine."""
    student = Student().to(memory_format=torch.channels_last)
    optimiser, scale = torch.optim.AdamW(student.parameters(), 2e-3, weight_decay=0.02), float(wanted.std())
    begun, step = time.perf_counter(), 0
    while (progress := (time.perf_counter() - begun) / (60 * minutes)) < 1:
        rate = 2e-3 * min(1, (step + 1) / 50) * (1 + math.cos(math.pi * progress)) / 2
        for group in optimiser.param_groups:
            group["lr"] = rate
        rows, (dy, dx) = torch.randint(len(images), (BATCH,)), torch.randint(-3, 4, (2,)).tolist()
        batch = images[rows].roll((dy, dx), (2, 3)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            seen = student(batch.flip(3) if step % 2 else batch)
        loss = (seen.float() - wanted[rows]).square().mean() / scale**2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
    return student.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--minutes", type=float, default=8)
    options = parser.parse_args()
    torch.manual_seed(0)
    images, wanted = taught(options.images)
    held_out = len(images) // 12
    student = learn(images[held_out:], wanted[held_out:], options.minutes)
    with torch.inference_mode():
        missed = (student(images[:held_out]) - wanted[:held_out]).square().sum() / wanted[:held_out].square().sum()
    print(f"of the held-out features' variance {1 - float(missed):.0%} is learnt")
    save_file(student.tensors(float(wanted[held_out:].std())), WEIGHTS)


if __name__ == "__main__":
    main()
