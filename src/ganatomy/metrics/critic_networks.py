"""The critics' networks: system A's for images, a small one for features; and how images are changed in training."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ganatomy.metrics.critic_objectives import JS
from ganatomy.metrics.critic_training import Critic, Plan, Sides, train_critic
from ganatomy.networks.augment import translate
from ganatomy.networks.dense_dcgan import WIDTHS, dense_feature_length, dense_features

LEAST_SIDE = 2 ** len(WIDTHS)  # pixels
DROPOUT = 0.25
SHIFT = 1 / 32  # of the side, at most
PUBLISHED = Plan(steps=100, batch=30, decay=0.0)  # Adam 2e-4, beta1 0.5; nothing stops it early


class ImageCritic(nn.Module):
    """Images [n, c, s, s] to scores [n]: 3x3 convolutions of stride 2 with 32, 64, 128 and 256 channels.

    Batch norm (not on the first), dropout 0.25, LeakyReLU 0.2, then one score (Schilling 2020).

    Args:
        size: s, at least 16.
        channels: c.
        norms: without batch norms if False, for a penalty on the gradient at single images.
        from_nothing: the last layer starts at 0, so that the untrained critic's bound is exactly 0.
    """

    def __init__(self, size: int, channels: int, norms: bool = True, from_nothing: bool = True) -> None:
        super().__init__()
        features = dense_features(size, channels, DROPOUT)
        self.features = features if norms else nn.Sequential(*(m for m in features
                                                               if not isinstance(m, nn.BatchNorm2d)))
        self.last = nn.Linear(dense_feature_length(size), 1)
        if from_nothing:
            _zero(self.last)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.last(self.features(images))
        return scores.flatten()


class FeatureCritic(nn.Module):
    """Features [n, d], each brought to mean 0 and spread 1, to scores [n] by one linear layer that starts at 0."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(dimensions, affine=False)
        self.last = nn.Linear(dimensions, 1)
        _zero(self.last)

    def forward(self, features: Tensor) -> Tensor:
        scores: Tensor = self.last(self.norm(features[:, :, None, None]).flatten(1))
        return scores.flatten()


def _zero(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def mirrored_and_shifted(images: Tensor) -> Tensor:
    """Each image [n, c, s, s] mirrored left-right with probability 1/2, and shifted by up to 1/32 of its side."""
    mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
    return translate(torch.where(mirrored.to(images.device), images.flip(3), images), SHIFT)


def published_critic(train: Sides, batch: int, seed: int, device: torch.device) -> Critic:
    """Schilling's critic of images: 100 batches of `batch` a side, always from the first weights of `seed`.

    Batch norms take their statistics anew when it is judged; see critic_training.py.
    """
    size, channels = train.real.shape[-1], train.real.shape[1]
    plan = replace(PUBLISHED, batch=batch)
    return train_critic(lambda: ImageCritic(size, channels, from_nothing=False), train, None, JS, plan, seed, device)
