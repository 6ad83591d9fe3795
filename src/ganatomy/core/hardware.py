"""Where to compute, in which precision, and a record of both."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any, TypeVar

import torch
from torch import nn

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe

M = TypeVar("M", bound=nn.Module)


def choose_device(wanted: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises `UserError` for a device that is not there."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        if device.type not in ("cpu", "cuda"):  # mps has no float64, which the losses and metrics need
            raise RuntimeError("no kind of device that ganatomy computes on")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UserError(f"the device {wanted!r} cannot be used ({str(error).splitlines()[0][:80]})", where="--device",
                        fix="use auto, cpu or cuda") from error
    return device


def native_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16 itself, so that it is faster and not emulated."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        supported: bool = torch.cpu._is_avx512_bf16_supported()
        return supported
    return False


def choose_precision(recipe: Recipe, device: torch.device) -> str:
    """`auto` is bf16 where the hardware has it natively and the recipe was checked in it, else fp32."""
    if recipe.precision != "auto":
        return recipe.precision
    return "bf16" if "bf16" in recipe.precisions_checked and native_bf16(device) else "fp32"


def prefers_channels_last(module: nn.Module, device: torch.device, batch_size: int) -> bool:
    """Whether convolutions run faster with channels last: on a CPU not beside instance norms, nor on single images."""
    instance = any(isinstance(part, nn.InstanceNorm2d) for part in module.modules())
    return device.type != "cpu" or (batch_size > 1 and not instance)


def place(module: M, device: torch.device, channels_last: bool = True) -> M:
    """Move a module to `device`, its kernels channels-last, which most convolutions run faster in."""
    module.to(device)
    if not channels_last:
        return module
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            part.weight.data = part.weight.data.contiguous(memory_format=torch.channels_last)
    return module


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Mixed precision for one pass."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def make_deterministic(device: torch.device) -> None:
    """Same inputs, same bits. On the CPU that holds for a fixed number of threads without further ado."""
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """What a result depends on besides data and recipe. Holds no host, user or path name."""
    packages = ("ganatomy", "torch", "numpy", "scipy", "nibabel", "pillow")
    return {
        "python": sys.version.split()[0],
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "device_type": device.type,
        "threads": torch.get_num_threads(),
        "processes": 1,
        "precision": precision,
        "packages": {name: metadata.version(name) for name in packages},
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as handle:  # noqa: PTH123
            return next((line.split(":", 1)[1].strip() for line in handle if line.startswith("model name")), "CPU")
    except OSError:
        return platform.processor() or "CPU"


def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether none of them holds NaN or infinity."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
