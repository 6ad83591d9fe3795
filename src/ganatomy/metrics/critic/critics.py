"""Critics: what they learn, their networks, and how they are trained on samples of two kinds.

A critic gives each sample x a score s(x). p is the distribution of real samples (label 1), q that of fakes (label 0),
and D = 1 / (1 + exp(-s)). For every fixed s, and in expectation over held-out samples,

- JS(p, q) >= ln 2 - BCE, BCE the mean of E_p[-ln D] and E_q[-ln(1 - D)] (Goodfellow et al. 2014, eq. 4-6);
- chi2(p || (p + q) / 2) >= 1 - 4 MSE, MSE the mean of E_p[(1 - D)^2] and E_q[D^2]: its minimum, at D = p / (p + q), is
  1/2 of the integral of p q / (p + q), and chi2 = 1 - 2 of that integral (cf. Mao et al. 2017, sec. 3.2);
- KL(p || q) >= E_p[T] - E_q[exp(T - 1)] (Nguyen, Wainwright, Jordan 2010), here with T = 1 + s.

All three are tight at s = ln(p / q).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ganatomy.core.hardware import place
from ganatomy.gans.dcgan import DENSE_WIDTHS, dense_features
from ganatomy.metrics.base import Samples
from ganatomy.metrics.critic import Sides, Values
from ganatomy.networks.blocks import refresh_batch_norm, translate

Array = NDArray[np.float64]
Build = Callable[[], nn.Module]
LN2 = math.log(2)
CLIP = 10.0  # of |s|: a ratio of e^10 cannot be learnt of fewer than 20,000 samples; a clipped critic is a critic still
PUBLISHED_CLIP = -math.log(1e-7)  # Keras' own: probabilities stay 1e-7 away from 0 and 1
LINEAR_FROM = 3.0  # exp goes on as its tangent from here, in training alone, or one fake would decide a step
LEAST_SIDE = 2 ** len(DENSE_WIDTHS)  # pixels
DROPOUT = 0.25
SHIFT = 1 / 32  # of the side, at most
CHUNK = 256  # samples judged at a time
SETTLED = 128  # samples a side whose statistics the batch norms take
CLOSE = 0.01  # to the largest value there can be, as a share: nothing is left to learn
BOUND = "a lower bound in expectation: small may also mean that the critic is weak; blind to copies of patients"


@dataclass(frozen=True)
class Objective:
    """What is minimised in training, and each held-out sample's part of the value.

    Attributes:
        name: behind "Critic-".
        loss: what the critic minimises, from scores [n] of real samples and [m] of fakes.
        real, fake: from scores [n] to gains [n]; the value is the mean gain of real samples plus that of fakes.
        none: the value of a critic that knows nothing.
        most: the largest value there can be; infinite where there is none.
        clip: the largest |score|; the clipped score is what is judged.
    """

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    real: Callable[[Array], Array]
    fake: Callable[[Array], Array]
    none: float = 0.0
    most: float = math.inf
    clip: float = CLIP

    def gains(self, real: Array, fake: Array) -> tuple[Array, Array]:
        """Each sample's part, from its score: [n] and [m]."""
        return self.real(np.clip(real, -self.clip, self.clip)), self.fake(np.clip(fake, -self.clip, self.clip))

    def value(self, real: Array, fake: Array) -> float:
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


def _softplus(scores: Array) -> Array:
    return np.asarray(np.logaddexp(0.0, scores))


def _sigmoid(scores: Array) -> Array:
    return np.exp(-_softplus(-scores))


JS = Objective("JS", binary_cross_entropy, lambda s: (LN2 - _softplus(-s)) / 2, lambda s: (LN2 - _softplus(s)) / 2,
               most=LN2)
CHI2 = Objective("chi2", _squared_error, lambda s: 0.5 - 2 * _sigmoid(-s) ** 2, lambda s: 0.5 - 2 * _sigmoid(s) ** 2,
                 most=1.0)
KL = Objective("KL", _kullback_leibler, lambda s: 1 + s, lambda s: -np.exp(s))
# the cross-entropy of held-out samples with labels swapped, as Schilling 2020 draws it: large means far apart
SWAPPED = Objective("A", binary_cross_entropy, lambda s: _softplus(s) / 2, lambda s: _softplus(-s) / 2, none=LN2,
                    clip=PUBLISHED_CLIP)


class ImageCritic(nn.Module):
    """Images [n, c, s, s] to scores [n] by the network of Schilling 2020; `size` is s, at least 16.

    `from_nothing` starts the last layer at 0, so that the untrained critic's bound is exactly 0.
    """

    def __init__(self, size: int, channels: int, from_nothing: bool = True) -> None:
        super().__init__()
        self.features, length = dense_features(size, channels, DROPOUT)
        self.last = nn.Linear(length, 1)
        if from_nothing:
            _zero(self.last)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.features(images)).flatten()  # type: ignore[no-any-return]


class FeatureCritic(nn.Module):
    """Features [n, d], each brought to mean 0 and spread 1, to scores [n] by one linear layer that starts at 0."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(dimensions, affine=False)
        self.last = nn.Linear(dimensions, 1)
        _zero(self.last)

    def forward(self, features: Tensor) -> Tensor:
        return self.last(self.norm(features[:, :, None, None]).flatten(1)).flatten()  # type: ignore[no-any-return]


def _zero(layer: nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def mirrored_and_shifted(images: Tensor) -> Tensor:
    """Each image [n, c, s, s] mirrored left-right with probability 1/2, and shifted by up to 1/32 of its side."""
    mirrored = torch.rand(len(images), 1, 1, 1) < 0.5
    return translate(torch.where(mirrored.to(images.device), images.flip(3), images), SHIFT)


@dataclass(frozen=True)
class Plan:
    """How a critic is trained.

    Attributes:
        steps: at most; all of them where nothing is held out.
        batch: samples of each side in a step.
        rate, betas, decay: Adam's step size and decay rates, and weight decay (AdamW).
        every, patience: how often the held-out value is taken, and how often it may fail to rise.
        augment: changes the samples [2 batch, ...] of a step at random, both sides alike.
    """

    steps: int = 300
    batch: int = 32
    rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    decay: float = 1e-3
    every: int = 20
    patience: int = 5
    augment: Callable[[Tensor], Tensor] | None = None


OURS = Plan(rate=5e-4, patience=4, augment=mirrored_and_shifted)
LINEAR = Plan(rate=1e-3)
PUBLISHED = Plan(steps=100, batch=30, decay=0.0)  # Adam 2e-4, beta1 0.5; nothing stops it early


@dataclass(frozen=True)
class Critic:
    """A critic on its device, trained for `steps` up to the state that was kept; judges `chunk` samples at a time."""

    network: nn.Module
    steps: int
    device: torch.device
    chunk: int = CHUNK

    @torch.no_grad()
    def scores(self, samples: Values) -> Array:
        """Scores [n] of samples [n, ...]; higher for what it takes for real."""
        self.network.eval()
        batches = (samples[i:i + self.chunk] for i in range(0, len(samples), self.chunk))
        parts = [self.network(torch.from_numpy(batch).to(self.device)).flatten().double().cpu().numpy()
                 for batch in batches]
        return np.concatenate([np.empty(0), *parts])

    def value(self, objective: Objective, sides: Sides) -> float:
        """The objective's value on these samples."""
        return objective.value(self.scores(sides.real), self.scores(sides.fake))


def train_critic(build: Build, train: Sides, held_out: Sides | None, objective: Objective, plan: Plan, seed: int,
                 device: torch.device | None = None) -> Critic:
    """A critic trained on `train`; of its states, the untrained one included, the one that is best on `held_out`.

    Without `held_out` it is trained for all the plan's steps. First weights, batches and all else at random are
    functions of `seed` (0 to 2^31 - 1); torch's global generators are left as they were. `build` gives the network,
    [n, ...] to scores [n] or [n, 1]; it is placed on `device`, the CPU by default.
    """
    device = device or torch.device("cpu")
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        return _train(place(build(), device), train, held_out, objective, plan, seed)


def published_critic(train: Sides, batch: int, seed: int, device: torch.device) -> Critic:
    """Schilling's critic of images: 100 batches of `batch` a side, always from the first weights of `seed`."""
    size, channels = train.real.shape[-1], train.real.shape[1]
    return train_critic(lambda: ImageCritic(size, channels, from_nothing=False), train, None, JS,
                        replace(PUBLISHED, batch=batch), seed, device)


def _train(network: nn.Module, train: Sides, held_out: Sides | None, objective: Objective, plan: Plan,
           seed: int) -> Critic:
    device = next(network.parameters()).device
    optimiser = torch.optim.AdamW(network.parameters(), plan.rate, plan.betas, weight_decay=plan.decay, fused=True)
    critic, best = Critic(network, 0, device), -np.inf
    kept, kept_at, failed = network.state_dict(), 0, 0
    for step, (real, fake) in enumerate(_batches(train, plan.batch, seed)):
        if held_out is not None and step % plan.every == 0:
            _settle(network, train)
            value = critic.value(objective, held_out)
            if value > best:
                best, kept, kept_at, failed = value, copy.deepcopy(network.state_dict()), step, 0
            else:
                failed += 1
            if failed >= plan.patience or value > (1 - CLOSE) * objective.most:
                break
        if step == plan.steps:
            break
        # both sides in one batch: batch norms that saw each by itself would tell them apart by their statistics
        both = torch.cat([real.to(device), fake.to(device)])
        scores = network.train()(both if plan.augment is None else plan.augment(both)).flatten()
        optimiser.zero_grad(set_to_none=True)
        objective.loss(scores[:len(real)], scores[len(real):]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    if held_out is None:
        _settle(network, train)
        return Critic(network, plan.steps, device)
    network.load_state_dict(kept)
    return Critic(network, kept_at, device)


@torch.no_grad()
def _settle(network: nn.Module, train: Sides) -> None:
    """Give batch norms the statistics of the network as it is judged, without dropout, on what it was trained on.

    Those gathered in training, under dropout (Li et al. 2019), would move all scores to one side; see docs/critic.md.
    """
    if refresh_batch_norm(network.eval()):
        device = next(network.parameters()).device
        parts = [side[np.linspace(0, len(side) - 1, min(SETTLED, len(side))).astype(np.intp)]
                 for side in (train.real, train.fake)]
        network(torch.from_numpy(np.concatenate(parts)).to(device))
    network.eval()


def _batches(sides: Sides, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Equally many of both kinds, in random order, every pass a new one; without end."""
    return zip(*(_drawn(side, size, np.random.default_rng((seed, 200, i)))
                 for i, side in enumerate((sides.real, sides.fake))), strict=True)


def _drawn(side: Values, size: int, rng: np.random.Generator) -> Iterator[Tensor]:
    order = np.empty(0, np.intp)
    while True:
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(len(side))])
        yield torch.from_numpy(side[order[:size]])
        order = order[size:]


@dataclass(frozen=True)
class Kind:
    """One kind of critic: what it minimises and is judged by, its network and training, and with how many seeds.

    Attributes:
        name, caveat: of the result.
        stops: whether it is stopped by the validation split; otherwise it is trained to the plan's end.
        planted: seeds of the critics of real against real and of the blur, which only check the setting.
    """

    name: str
    caveat: str
    objective: Objective
    build: Build
    plan: Plan
    stops: bool = True
    seeds: int = 3
    planted: int = 1
    over_features: bool = False

    def critics(self, train: Sides, val: Sides, seed: int, count: int) -> list[Critic]:
        return [train_critic(self.build, train, val if self.stops else None, self.objective, self.plan,
                             (seed + i) % 2**31) for i in range(count)]


def kinds(samples: Samples, held_out: int) -> list[Kind]:
    """The critics that are trained, of images and of features.

    `held_out` is the number of fakes by which they are stopped: a ratio of densities above it was never checked on one,
    and a single fake that is wrongly scored that high would decide the whole mean of exp(s).
    """
    _, channels, size, _ = samples.test.images.shape
    clip = min(KL.clip, math.log(held_out))

    def network() -> ImageCritic:
        return ImageCritic(size, channels)

    return [
        Kind("Critic-JS", f"nats, at most ln 2 = 0.693; {BOUND}", JS, network, OURS),
        Kind(samples.extractor.metric("Critic-JS"),
             f"nats, at most ln 2 = 0.693; of a linear critic over features; {BOUND}", JS,
             lambda: FeatureCritic(samples.extractor.dimensions), LINEAR, planted=3, over_features=True),
        Kind("Critic-chi2", f"at most 1; {BOUND}", CHI2, network, OURS),
        Kind("Critic-KL", f"nats, of real against synthetic; {BOUND}", replace(KL, clip=clip, most=1 + clip), network,
             OURS),
        Kind("Critic-A", "cross-entropy with labels swapped (Schilling 2020), large means far apart; of a critic "
             "trained for 100 batches, about ln 2 = 0.693 or a little more where it can tell nothing", SWAPPED,
             lambda: ImageCritic(size, channels, from_nothing=False), PUBLISHED, stops=False, seeds=1)]
