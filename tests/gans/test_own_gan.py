"""A GAN in a package outside ganatomy: one file that trains, resumes bit for bit and passes `check_gan`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganatomy import gans
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import load
from ganatomy.data.dataset import Dataset
from ganatomy.generators.config import read_config
from ganatomy.testing import check_gan
from ganatomy.training.train import Interrupted, train
from tests.builders import TINY, interrupt_at, weights, write_contrasts

OWN_GAN = '''
import torch
from torch import nn
from ganatomy.gans.base import BCEGAN, Batch, Fakes, GANConfig

class Config(GANConfig):
    z_dim: int = 4
    classes: int = 2

class Model(BCEGAN):
    needs = frozenset({"noise", "target", "label"})

    def __init__(self, config, shape):
        super().__init__(config, shape)
        self.shape_of_image = (shape.channels, shape.size, shape.size)
        pixels = shape.channels * shape.size**2
        self.generator = nn.Sequential(nn.Linear(config.z_dim + config.classes, pixels), nn.Tanh())
        frozen = nn.Linear(pixels, 8).requires_grad_(False)
        self.discriminator = nn.Sequential(nn.Flatten(), frozen, nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0))

    @property
    def looks_through(self):
        return (f"VGG-{self.config.classes}",)

    def draw_label(self, n, rng):
        return torch.from_numpy(rng.integers(self.config.classes, size=n))

    def forward(self, batch, ctx):
        known = nn.functional.one_hot(batch.label, self.config.classes)
        return Fakes(self.generator(torch.cat([batch.noise, known], 1)).view(-1, *self.shape_of_image).float())

    def generate(self, batch):
        return Batch(target=self.forward(batch, None).target)
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "my_gan.py").write_text(OWN_GAN)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path / "my_package"
    for name in [name for name in sys.modules if name.split(".")[0] == "my_package"]:
        del sys.modules[name]


@pytest.mark.usefixtures("package")
def test_it_passes_check_gan_trains_and_resumes(tmp_path: Path) -> None:
    check_gan("my_package.my_gan", tmp_path / "check")
    data = write_contrasts(tmp_path / "data", domains=("T1",), labels=("a", "b", "c"), size=16)
    recipe = load("rpgan-64", TINY | {"gan": "my_package.my_gan", "model": {"classes": 3}})
    whole = train(data.path, tmp_path / "whole", recipe)
    with pytest.raises(Interrupted):
        train(data.path, tmp_path / "parts", recipe, on_log=interrupt_at(4))
    assert weights(train(data.path, tmp_path / "parts", recipe)) == weights(whole)
    assert read_config(whole.generator).looks_through == ("VGG-3",)


@pytest.mark.usefixtures("package")
def test_images_without_a_class_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="class"):
        train(dataset.path, tmp_path / "run", "rpgan-64", set=TINY | {"gan": "my_package.my_gan", "model": {}})


FAULTS = {
    "must not reach the generator": '''
    def discriminator_loss(self, batch, fakes, ctx):
        from ganatomy.gans.base import judged
        return judged(self.discriminator(batch.target), self.discriminator(fakes.target))
''',
    "is there state outside buffers": '''
    calls = 0
    def generator_loss(self, batch, fakes, ctx):
        losses = super().generator_loss(batch, fakes, ctx)
        self.calls += 1
        losses.terms["drift"] = (float(self.calls), fakes.target.square().mean())
        return losses
''',
    "does not reach its weights": '''
    def generator_loss(self, batch, fakes, ctx):
        losses = super().generator_loss(batch, fakes, ctx)
        return losses if ctx.progress < 0.5 else type(losses)({"l": (1.0, self.generator[0].bias.sum())})
''',
    "not float32": '''
    def generate(self, batch):
        return Batch(target=self.forward(batch, None).target.double())
'''}


@pytest.mark.parametrize("fault", FAULTS)
def test_check_gan_names_what_does_not_hold(package: Path, tmp_path: Path, fault: str) -> None:
    (package / "my_gan.py").write_text(OWN_GAN + FAULTS[fault])
    with pytest.raises(AssertionError, match=fault):
        check_gan("my_package.my_gan", tmp_path / "check", sizes=(16,))


@pytest.mark.parametrize(("name", "words"), [
    ("vae", r"dcgan, .*rpgan"), ("nowhere.vae", "no module 'nowhere'"), ("my_package.vae", "no module"),
    ("my_package.empty", "no class Config")])
def test_a_gan_that_is_not_there_is_refused(package: Path, name: str, words: str) -> None:
    (package / "empty.py").write_text("")
    with pytest.raises(UserError, match=words):
        gans.resolve(load("rpgan-64", {"gan": name}), 1)
