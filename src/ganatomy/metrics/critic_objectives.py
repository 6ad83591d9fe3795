"""What a critic learns, and what its scores on held-out data say of two distributions: lower bounds of divergences.

A critic gives each sample x a score s(x). p is the distribution of real samples (label 1), q that of fakes (label 0),
and D = 1 / (1 + exp(-s)). For every fixed s, and in expectation over held-out samples,

- JS(p, q) >= ln 2 - BCE, BCE the mean of E_p[-ln D] and E_q[-ln(1 - D)] (Goodfellow et al. 2014, eq. 4-6);
- chi2(p || (p + q) / 2) >= 1 - 4 MSE, MSE the mean of E_p[(1 - D)^2] and E_q[D^2]: its minimum, at D = p / (p + q), is
  1/2 of the integral of p q / (p + q), and chi2 = 1 - 2 of that integral (cf. Mao et al. 2017, sec. 3.2);
- KL(p || q) >= E_p[T] - E_q[exp(T - 1)] (Nguyen, Wainwright, Jordan 2010), here with T = 1 + s.

All three are tight at s = ln(p / q). The Wasserstein score E_p[s] - E_q[s] is no bound: its slope is held near 1 by a
penalty alone (Gulrajani et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
LN2 = math.log(2)
CLIP = 10.0  # of |s|: a ratio of e^10 cannot be learnt of fewer than 20,000 samples; a clipped critic is a critic still
PUBLISHED_CLIP = -math.log(1e-7)  # Keras' own: probabilities stay 1e-7 away from 0 and 1
LINEAR_FROM = 3.0  # exp goes on as its tangent from here, in training alone, or one fake would decide a step


@dataclass(frozen=True)
class Objective:
    """What is minimised in training, and each held-out sample's part of the figure.

    Attributes:
        name: behind "Critic-".
        loss: from scores [n] of real samples and [m] of fakes to what the critic minimises.
        real, fake: from scores [n] to gains [n]; the figure is the mean gain of real samples plus that of fakes.
        none: the figure of a critic that knows nothing.
        most: the largest figure there can be; infinite where there is none.
        clip: the largest |score|; the clipped score is what is judged.
        slope: whether the size of the gradient with respect to the samples is held near 1.
    """

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    real: Callable[[Array], Array]
    fake: Callable[[Array], Array]
    none: float = 0.0
    most: float = math.inf
    clip: float = CLIP
    slope: bool = False

    def gains(self, real: Array, fake: Array) -> tuple[Array, Array]:
        """Each sample's part, from its score: [n] and [m]."""
        return self.real(np.clip(real, -self.clip, self.clip)), self.fake(np.clip(fake, -self.clip, self.clip))

    def figure(self, real: Array, fake: Array) -> float:
        """The bound (or score) from scores [n] of real samples and [m] of fakes; both sides weigh the same."""
        gains = self.gains(real, fake)
        return float(gains[0].mean() + gains[1].mean())


def binary_cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """Mean of the two sides' cross-entropies: real samples are to be 1, fakes 0."""
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def _squared_error(real: Tensor, fake: Tensor) -> Tensor:
    return ((1 - real.sigmoid()).square().mean() + fake.sigmoid().square().mean()) / 2


def _kullback_leibler(real: Tensor, fake: Tensor) -> Tensor:
    above = (fake - LINEAR_FROM).clamp(min=0)
    return (fake.clamp(max=LINEAR_FROM).exp() * (1 + above)).mean() - real.mean() - 1


def _difference(real: Tensor, fake: Tensor) -> Tensor:
    return fake.mean() - real.mean()


def _softplus(scores: Array) -> Array:
    raised: Array = np.logaddexp(0.0, scores)
    return raised


def _sigmoid(scores: Array) -> Array:
    return np.exp(-_softplus(-scores))


JS = Objective("JS", binary_cross_entropy, lambda s: (LN2 - _softplus(-s)) / 2, lambda s: (LN2 - _softplus(s)) / 2,
               most=LN2)
CHI2 = Objective("chi2", _squared_error, lambda s: 0.5 - 2 * _sigmoid(-s) ** 2, lambda s: 0.5 - 2 * _sigmoid(s) ** 2,
                 most=1.0)
KL = Objective("KL", _kullback_leibler, lambda s: 1 + s, lambda s: -np.exp(s))
WASSERSTEIN = Objective("Wasserstein", _difference, lambda s: s, lambda s: -s, clip=math.inf, slope=True)
# the cross-entropy of held-out samples with labels swapped, as Schilling 2020 draws it: large means far apart
SWAPPED = Objective("A", binary_cross_entropy, lambda s: _softplus(s) / 2, lambda s: _softplus(-s) / 2, none=LN2,
                    clip=PUBLISHED_CLIP)


def slope_penalty(network: torch.nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Mean of (|gradient| - 1)^2 at random points between real samples and fakes (Gulrajani et al. 2017, eq. 3)."""
    n = min(len(real), len(fake))
    share = torch.rand(n, *[1] * (real.ndim - 1), device=real.device)
    between = (share * real[:n] + (1 - share) * fake[:n]).requires_grad_()
    slopes, = torch.autograd.grad(network(between).sum(), between, create_graph=True)
    penalty: Tensor = (slopes.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty
