"""Training a critic on samples of two kinds, whatever they are: images, features, numbers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ganatomy.core.hardware import place
from ganatomy.metrics.critic_objectives import Array, Objective, slope_penalty
from ganatomy.networks.blocks import refresh_batch_norm

CHUNK = 256  # samples judged at a time
SLOPE_WEIGHT = 10.0  # of the penalty, as Gulrajani et al. 2017
SETTLED = 128  # samples a side whose statistics the batch norms take
CLOSE = 0.01  # to the largest figure there can be, as a share: nothing is left to learn
Values = NDArray[np.float32]
Build = Callable[[], nn.Module]


@dataclass(frozen=True)
class Sides:
    """Samples of two kinds: `real` [n, ...] and `fake` [m, ...], float32."""

    real: Values
    fake: Values


@dataclass(frozen=True)
class Plan:
    """How a critic is trained.

    Attributes:
        steps: at most; all of them where nothing is held out.
        batch: samples of each side in a step.
        rate, betas, decay: Adam's step size and decay rates, and weight decay (AdamW).
        every, patience: how often the held-out figure is taken, and how often it may fail to rise.
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


class Critic:
    """A trained critic.

    Attributes:
        steps: how long it was trained, up to the state that was kept.
        chunk: how many samples it judges at a time.
    """

    def __init__(self, network: nn.Module, steps: int, device: torch.device, chunk: int = CHUNK) -> None:
        self.network, self.steps, self.device, self.chunk = network.eval(), steps, device, chunk

    @torch.no_grad()
    def scores(self, samples: Values) -> Array:
        """Scores [n] of samples [n, ...]; higher for what it takes for real."""
        self.network.eval()
        batches = (samples[i:i + self.chunk] for i in range(0, len(samples), self.chunk))
        parts = [self.network(torch.from_numpy(batch).to(self.device)).flatten().double().cpu().numpy()
                 for batch in batches]
        return np.concatenate([np.empty(0), *parts])

    def figure(self, objective: Objective, sides: Sides) -> float:
        """The objective's figure on these samples."""
        return objective.figure(self.scores(sides.real), self.scores(sides.fake))


def train_critic(build: Build, train: Sides, held_out: Sides | None, objective: Objective, plan: Plan, seed: int,
                 device: torch.device | None = None) -> Critic:
    """A critic trained on `train`; of its states the one with the best figure on `held_out`, where that is given.

    The untrained critic is one of those states. First weights, batches and all else at random are functions of `seed`;
    torch's global generators are left as they were.

    Args:
        build: makes the network, [n, ...] to scores [n] or [n, 1].
        train: what it learns from, at least one sample a side.
        held_out: None trains for all the plan's steps.
        objective: what it minimises.
        plan: how.
        seed: 0 to 2^31 - 1.
        device: the CPU by default.
    """
    device = device or torch.device("cpu")
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        return _train(place(build(), device), train, held_out, objective, plan, seed)


def _train(network: nn.Module, train: Sides, held_out: Sides | None, objective: Objective, plan: Plan,
           seed: int) -> Critic:
    device = next(network.parameters()).device
    optimiser = torch.optim.AdamW(network.parameters(), plan.rate, plan.betas, weight_decay=plan.decay, fused=True)
    critic, best = Critic(network, 0, device), -np.inf
    kept, kept_at, failed = network.state_dict(), 0, 0
    for step, (real, fake) in enumerate(_batches(train, plan.batch, seed)):
        if held_out is not None and step % plan.every == 0:
            _settle(network, train)
            figure = critic.figure(objective, held_out)
            if figure > best:
                best, kept, kept_at, failed = figure, copy.deepcopy(network.state_dict()), step, 0
            else:
                failed += 1
            if failed >= plan.patience or figure > (1 - CLOSE) * objective.most:
                break
        if step == plan.steps:
            break
        _step(network.train(), real.to(device), fake.to(device), objective, plan, optimiser)
    if held_out is None:
        _settle(network, train)
        return Critic(network, plan.steps, device)
    network.load_state_dict(kept)
    return Critic(network, kept_at, device)


@torch.no_grad()
def _settle(network: nn.Module, train: Sides) -> None:
    """Give batch norms the statistics of the network as it is judged, without dropout, on what it was trained on.

    Those gathered in training are of activations that dropout has spread (Li et al. 2019), and would move all scores
    to one side: critics that tell every training sample apart then seem to know nothing.
    """
    if refresh_batch_norm(network.eval()):
        device = next(network.parameters()).device
        parts = [side[np.linspace(0, len(side) - 1, min(SETTLED, len(side))).astype(np.intp)]
                 for side in (train.real, train.fake)]
        network(torch.from_numpy(np.concatenate(parts)).to(device))
    network.eval()


def _step(network: nn.Module, real: Tensor, fake: Tensor, objective: Objective, plan: Plan,
          optimiser: torch.optim.Optimizer) -> None:
    # both sides in one batch: batch norms that saw each by itself would tell them apart by their statistics
    both = torch.cat([real, fake])
    both = both if plan.augment is None else plan.augment(both)
    real, fake = both[:len(real)], both[len(real):]
    scores = network(both).flatten()
    loss = objective.loss(scores[:len(real)], scores[len(real):])
    if objective.slope:
        loss = loss + SLOPE_WEIGHT * slope_penalty(network, real, fake)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _batches(sides: Sides, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Equally many of both kinds, in random order, every pass a new one; without end."""
    streams = [_rows(len(values), size, np.random.default_rng((seed, 200, i)))
               for i, values in enumerate((sides.real, sides.fake))]
    for real, fake in zip(*streams, strict=True):
        yield torch.from_numpy(sides.real[real]), torch.from_numpy(sides.fake[fake])


def _rows(n: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    order = np.empty(0, np.intp)
    while True:
        while len(order) < size:
            order = np.concatenate([order, rng.permutation(n)])
        yield order[:size]
        order = order[size:]
