"""The user's own network: TorchScript and ONNX files, and one clear line for every way in which they can be wrong."""

from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganatomy.core.errors import UserError
from ganatomy.features.base import choose
from ganatomy.features.custom import Custom

warnings.filterwarnings("ignore", message=".*torch.jit.*")


class Moments(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([x.mean((1, 2, 3)), x.square().mean((1, 2, 3)), x.amax((1, 2, 3))], 1)


class Roots(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sqrt().flatten(1)


class OneRow(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((0, 1, 2))[None]


class Two(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


def images(n: int = 70, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (n, channels, 6, 6)).astype(np.float32)


def script(path: Path, module: torch.nn.Module) -> Path:
    torch.jit.script(module).save(str(path))
    return path


def test_a_torchscript_file_gives_its_own_features(tmp_path: Path) -> None:
    extractor = choose(str(script(tmp_path / "chest net_v2.pt", Moments())))
    assert extractor.name == "chest-net-v2" and extractor.metric("KD") == "KD-chest-net-v2"
    x = images()
    expected = np.stack([x.mean((1, 2, 3)), np.square(x).mean((1, 2, 3)), x.max((1, 2, 3))], 1)
    np.testing.assert_allclose(extractor.compute(x), expected, atol=1e-6)
    np.testing.assert_allclose(extractor(x), expected, atol=1e-6)
    assert extractor.dimensions == 3 and extractor(x).dtype == np.float64


def test_maps_are_averaged(tmp_path: Path) -> None:
    extractor = Custom(script(tmp_path / "maps.pts", torch.nn.ZeroPad2d((0, 0, 6, 0))))
    assert extractor(images(channels=3)).shape == (70, 3)
    np.testing.assert_allclose(extractor(images(channels=3)), images(channels=3).mean((2, 3)) / 2, atol=1e-6)


def test_another_file_has_another_identity(tmp_path: Path) -> None:
    first, again = (Custom(script(tmp_path / "net.pt", module)) for module in (Moments(), torch.nn.Flatten()))
    assert again.identity != first.identity


@pytest.mark.parametrize(("module", "says"), [
    (torch.nn.AdaptiveAvgPool2d(1), r"gives \[32, 1\] for 32 images"),
    (OneRow(), r"gives \[1, 6\] for 32 images"), (Roots(), "not finite"),
    (torch.nn.Conv2d(3, 4, 3), r"fails on images of shape \[32, 1, 6, 6\]"), (Two(), "gives a tuple, not one array")])
def test_a_network_that_breaks_the_rules_is_refused(tmp_path: Path, module: torch.nn.Module, says: str) -> None:
    extractor = Custom(script(tmp_path / "net.pt", module))
    with pytest.raises(UserError, match=says) as refused:
        extractor(images())
    assert "\n" not in str(refused.value) and "float32 [n, c, s, s]" in str(refused.value)


def test_other_sizes_must_not_give_other_features(tmp_path: Path) -> None:
    extractor = Custom(script(tmp_path / "net.pt", torch.nn.Flatten()))
    extractor.compute(images())
    with pytest.raises(UserError, match="36 features of some images and 16 of others"):
        extractor.compute(images()[:, :, :4, :4])


def test_a_file_of_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(UserError, match="is not a TorchScript file"):
        choose(str(tmp_path / "net.pt"))
    for name in ("none.pt", "none.onnx"):
        with pytest.raises(UserError, match="cannot be read"):
            choose(str(tmp_path / name))


def test_onnx_networks_are_run_as_many_images_at_a_time_as_they_take(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a runtime that the test makes: onnxruntime is an extra."""
    batches: list[int] = []

    class Session:
        def __init__(self, path: str, options: Any, providers: list[str]) -> None:
            if Path(path).read_bytes() != b"network":
                raise RuntimeError("no protobuf")

        def get_inputs(self) -> list[Any]:
            return [types.SimpleNamespace(name="x", shape=[1, "c", 6, 6])]

        def get_outputs(self) -> list[Any]:
            return [types.SimpleNamespace(name="y")]

        def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
            batches.append(len(inputs["x"]))
            return [inputs["x"].reshape(len(inputs["x"]), -1)]

    runtime = types.SimpleNamespace(SessionOptions=types.SimpleNamespace, InferenceSession=Session)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    (tmp_path / "net.onnx").write_bytes(b"network")
    np.testing.assert_array_equal(choose(str(tmp_path / "net.onnx")).compute(images(3)), images(3).reshape(3, -1))
    assert batches == [1, 1, 1]
    (tmp_path / "net.onnx").write_bytes(b"other")
    with pytest.raises(UserError, match="is not an ONNX file"):
        choose(str(tmp_path / "net.onnx"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"pip install 'ganatomy\[onnx\]'"):
        choose(str(tmp_path / "net.onnx"))
