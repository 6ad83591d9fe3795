"""The study's classifiers: the networks, trained alike in every arm and judged as they go.

Checkpoint and threshold are chosen on one half of the held-out images and applied to the other.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ganatomy.core.hardware import make_deterministic, place
from ganatomy.features.base import CHUNK, Extractor, Features, Images, Stack, choose
from ganatomy.gans.base import Shape, initialise
from ganatomy.gans.dcgan_mammo import channels_downwards, strided
from ganatomy.studies.protocol import Augment, ClassifierSettings

Probabilities = NDArray[np.float32]
Scores = NDArray[np.float64]
Bools = NDArray[np.bool_]

VERSIONS = 4  # changed copies of an image that features are taken of, as many as there are ways to mirror it
PIECE = 32  # images whose features are taken, and kept, together
INVERSE_PENALTY = 10.0  # scikit-learn's C; of tumours a tenth of it ranked worse, ten times as much was only surer


@dataclass(frozen=True)
class TrainingSet:
    """What a classifier learns from: images float32 [n, c, s, s] in [-1, 1], the number of the class of each [n]."""

    images: NDArray[np.float32]
    labels: NDArray[np.intp]


def train_classifier(train: TrainingSet, classes: int, judged: Sequence[Stack], settings: ClassifierSettings,
                     augment: Augment, seed: int, device: torch.device) -> list[Probabilities]:
    """Train a classifier and have it judge sets of images [n, c, s, s] in [-1, 1] as it goes.

    The first weights depend on `seed` alone, what an update sees on (seed, number of the update) and the training set:
    arms begin alike and last alike. On the CPU the same arguments give the same bits at a fixed number of threads.
    torch's global generators are left as they were.

    Returns:
        For each set the class probabilities [checkpoints, n, classes]; the last checkpoint is the end of training.
    """
    if settings.name == "features":
        return _from_features(train, classes, judged, augment, seed)
    make_deterministic(device)
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        shape = Shape(size=train.images.shape[2], channels=train.images.shape[1])
        network = place(NETWORKS[settings.name](shape, classes), device)
    rounds = [[probabilities(network, images, classes) for images in judged]
              for _ in _checkpoints(network, train, settings, augment, seed)]
    return [np.stack(own) for own in zip(*rounds, strict=True)]


def _checkpoints(network: nn.Module, train: TrainingSet, settings: ClassifierSettings, augment: Augment,
                 seed: int) -> Iterator[None]:
    """Train; comes back after each of the equal parts."""
    device = next(network.parameters()).device
    optimiser = torch.optim.Adam(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay,
                                 fused=True)
    images, labels = torch.from_numpy(train.images), torch.from_numpy(train.labels)
    stops = {settings.updates * (i + 1) // settings.checkpoints for i in range(settings.checkpoints)}
    order = _order(len(labels), seed)
    for step in range(settings.updates):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * settings.final_rate ** (step / settings.updates)
        rows = torch.from_numpy(np.fromiter(order, np.int64, settings.batch_size))
        batch = images[rows].to(device)
        if augment != "none":
            batch = (flip if augment == "flips" else strong)(batch, generator(seed, step))
        logits = network.train()(batch.contiguous(memory_format=torch.channels_last))
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(logits, labels[rows].to(device)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if step + 1 in stops:
            yield


def _order(n: int, seed: int) -> Iterator[int]:
    """The numbers 0 to n - 1 in random order, every pass a new one that depends on (seed, pass); without end."""
    number = 0
    while True:
        yield from np.random.default_rng((seed, number)).permutation(n).tolist()
        number += 1


@torch.no_grad()
def probabilities(network: nn.Module, images: Stack, classes: int) -> Probabilities:
    """Class probabilities [n, classes] of images that are read a chunk at a time; batch norms keep their averages."""
    device = next(network.parameters()).device
    network.eval()
    out = np.empty((len(images), classes), np.float32)
    for start in range(0, len(images), CHUNK):
        chunk = torch.from_numpy(np.ascontiguousarray(images[start:start + CHUNK], np.float32)).to(device)
        logits = network(chunk.contiguous(memory_format=torch.channels_last))
        out[start:start + CHUNK] = logits.float().softmax(1).cpu().numpy()
    return out


def _from_features(train: TrainingSet, classes: int, judged: Sequence[Stack], augment: Augment,
                   seed: int) -> list[Probabilities]:
    """Logistic regression on standardised features of the default extractor, one checkpoint.

    Features are divided by the root of their number too, so that the penalty means the same for every extractor. An
    image weighs 1 however many versions of it there are, and one that is there twice weighs 2.
    """
    from sklearn.linear_model import LogisticRegression

    extractor = choose()
    rows, labels, weights = _featured(train, extractor, augment, seed)
    mean, deviation = rows.mean(0), rows.std(0)
    scale = np.where(deviation > 0, deviation, 1) * np.sqrt(rows.shape[1])
    model = LogisticRegression(C=INVERSE_PENALTY, max_iter=2000).fit((rows - mean) / scale, labels, weights)
    out = []
    for images in judged:
        judgement = np.zeros((1, len(images), classes), np.float32)
        if len(images):
            judgement[0][:, model.classes_] = model.predict_proba((extractor(images) - mean) / scale)
        out.append(judgement)
    return out


def _featured(train: TrainingSet, extractor: Extractor, augment: Augment,
              seed: int) -> tuple[Features, NDArray[np.intp], Features]:
    """Features [m, d] of all versions of the distinct images of each class, with their labels [m] and weights [m].

    They are taken in small pieces, class by class, so that arms that begin with the same images find them in the cache.
    """
    rows, labels, weights = [], [], []
    for label in np.unique(train.labels):
        counts = Counter(image.tobytes() for image in train.images[train.labels == label])
        distinct = np.stack([np.frombuffer(image, np.float32) for image in counts])
        times = np.array(list(counts.values()), np.float64)
        for start in range(0, len(distinct), PIECE):
            piece = distinct[start:start + PIECE].reshape(-1, *train.images.shape[1:])
            versions = [extractor(version) for version in _versions(piece, augment, (seed, int(label), start))]
            rows += versions
            labels += [np.full(len(piece) * len(versions), label, np.intp)]
            weights += [times[start:start + PIECE] / len(versions)] * len(versions)
    return np.concatenate(rows), np.concatenate(labels), np.concatenate(weights)


def _versions(images: Images, augment: Augment, seeds: tuple[int, ...]) -> list[Images]:
    """Images [n, c, s, s] as they are, in their four mirrored forms, or changed at random four times."""
    if augment == "none":
        return [images]
    if augment == "flips":
        return [np.ascontiguousarray(images[:, :, ::down, ::across]) for down in (1, -1) for across in (1, -1)]
    return [strong(torch.from_numpy(images), generator(*seeds, number)).numpy() for number in range(VERSIONS)]


@dataclass(frozen=True)
class Chosen:
    """Numbers of checkpoints and, by positive class, the least probabilities at which an image is called positive.

    Index h is to be applied to the images of half h, and comes from those of the other half.
    """

    checkpoints: tuple[int, int]
    thresholds: dict[int, tuple[float, float]]


def select(probabilities: Probabilities, labels: NDArray[np.intp], halves: NDArray[np.intp],
           positives: Sequence[int]) -> Chosen:
    """Choose checkpoint and thresholds of each half on the other half, from probabilities [checkpoints, n, classes].

    The checkpoint is the one of the best F1, the mean over the positive classes of each one's best F1 against the rest;
    the first of equals, which was trained less. The thresholds are the best of that checkpoint, see `best_threshold`.
    `halves` [n] are 0 or 1; each has images of every positive class and of others.
    """
    checkpoints, cuts = [], []
    for other in (halves == 1, halves == 0):
        choices = [{p: best_threshold(round_[other, p].astype(np.float64), labels[other] == p) for p in positives}
                   for round_ in probabilities]
        checkpoints.append(int(np.argmax([sum(f1 for _, f1 in own.values()) for own in choices])))
        cuts.append(choices[checkpoints[-1]])
    return Chosen((checkpoints[0], checkpoints[1]), {p: (cuts[0][p][0], cuts[1][p][0]) for p in positives})


def decide(probabilities: Probabilities, chosen: Chosen, halves: NDArray[np.intp],
           positives: Sequence[int]) -> tuple[dict[int, Scores], dict[int, Bools]]:
    """Scores [n] in 0 to 1 and decisions [n] of each positive class, every image by what was chosen for its half."""
    rows = np.arange(len(halves))
    own = probabilities[np.asarray(chosen.checkpoints)[halves], rows].astype(np.float64)
    scores = {p: own[:, p] for p in positives}
    return scores, {p: scores[p] >= np.asarray(chosen.thresholds[p])[halves] for p in positives}


def best_threshold(scores: Scores, positive: Bools) -> tuple[float, float]:
    """The threshold with the best F1 of `scores >= threshold`, and that F1; [n], in 0 to 1, the truth of both kinds.

    The candidates are the midpoints between neighbouring distinct scores, and 0, at which everything is positive. Of
    those of the same F1 it is the one nearest to 0.5, of these the smaller.
    """
    values, place = np.unique(scores, return_inverse=True)
    hits = np.bincount(place, weights=positive, minlength=len(values))[::-1].cumsum()[::-1]
    called = np.bincount(place, minlength=len(values))[::-1].cumsum()[::-1]
    f1 = 2 * hits / (called + positive.sum())
    candidates = np.concatenate([[0.0], (values[:-1] + values[1:]) / 2])
    best = np.flatnonzero(f1 == f1.max())
    at = best[np.argmin(np.abs(candidates[best] - 0.5))]
    return float(candidates[at]), float(f1[at])


SMALLEST = 16  # px a side of the networks' images: two halvings at least; plans refuse smaller ones


class FullyConvolutional(nn.Module):
    """The discriminator of `dcgan_mammo` with nine feature maps and one logit a class (Alyafi et al. 2020).

    Two classes get two logits too: their softmax is the sigmoid of their difference, the same model as one logit with
    binary cross-entropy. The last convolution is as large as what the halvings leave, 4x4 to 7x7.
    """

    def __init__(self, shape: Shape, classes: int, width: int = 9) -> None:
        super().__init__()
        channels = [shape.channels, *channels_downwards(shape.size, width)]
        left = shape.size >> (len(channels) - 1)
        self.net = nn.Sequential(*strided(channels), nn.Conv2d(channels[-1], classes, left))
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, size, size] to logits [n, classes]."""
        logits: Tensor = self.net(x)
        return logits.flatten(1)


class ResNet(nn.Module):
    """A small residual network of ten layers: three stages of one block, 16, 32, 64 channels (He et al. 2016).

    The first convolution halves the side already, which makes it four times cheaper; the last feature map is averaged,
    so that any size will do.
    """

    def __init__(self, shape: Shape, classes: int, widths: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        first = widths[0]
        blocks = [_Block(a, b, 1 if i == 0 else 2) for i, (a, b) in enumerate(itertools.pairwise((first, *widths)))]
        self.net = nn.Sequential(nn.Conv2d(shape.channels, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first),
                                 nn.ReLU(inplace=True), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                 nn.Linear(widths[-1], classes))
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, size, size] to logits [n, classes]."""
        logits: Tensor = self.net(x)
        return logits


class _Block(nn.Module):
    """[n, a, h, w] to [n, b, h / stride, w / stride]: two 3x3 convolutions beside a shortcut."""

    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True),
                                   nn.Conv2d(b, b, 3, 1, 1, bias=False), nn.BatchNorm2d(b))
        self.shortcut: nn.Module = nn.Identity()
        if (a, stride) != (b, 1):
            self.shortcut = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.inner(x) + self.shortcut(x))


NETWORKS: dict[str, Callable[[Shape, int], nn.Module]] = {"fcn": FullyConvolutional, "resnet": ResNet}


TURN = math.radians(15)  # at most, either way
POWER = 0.35  # grey values in [0, 1] are raised to exp(-POWER) to exp(POWER)
KNOTS = 5  # a side, that are shifted at random; shifts between them are interpolated, so that bending is smooth
SHIFT = 0.02  # of a knot at most, as a share of the side; the next knot is 12 times as far, so that nothing folds


def generator(seed: int, *step: int) -> torch.Generator:
    """Random numbers of one step, on the CPU so that every device sees the same; a function of (seed, step) alone."""
    return torch.Generator().manual_seed(zlib.crc32("/".join(map(str, ("study", seed, *step))).encode()))


def flip(images: Tensor, random: torch.Generator) -> Tensor:
    """Each image [n, c, h, w] mirrored left-right or not and up-down or not, each with probability 1/2."""
    across, down = torch.rand((2, len(images)), generator=random).to(images.device) < 0.5
    images = torch.where(across[:, None, None, None], images.flip(3), images)
    return torch.where(down[:, None, None, None], images.flip(2), images)


def strong(images: Tensor, random: torch.Generator) -> Tensor:
    """Images [n, c, s, s] in [-1, 1], mirrored, turned by up to 15 degrees, bent, re-graded at random; outside is -1.

    Bending is elastic (Simard et al. 2003); a random power of the grey values changes contrast and leaves background
    alone.
    """
    images = flip(images, random)
    n, _, side, _ = images.shape
    angles, powers = torch.rand((2, n), generator=random) * 2 - 1
    knots = (torch.rand((n, 2, KNOTS, KNOTS), generator=random) * 2 - 1) * (2 * SHIFT)  # of a grid that is 2 wide
    spread = F.interpolate(torch.eye(KNOTS)[None, None], size=(side, KNOTS), mode="bicubic", align_corners=True)[0, 0]
    shifts = (spread @ knots @ spread.T).to(images.device)  # bicubic along both sides, [n, 2, side, side]
    # turned and bent in one step, which blurs once
    cos, sin, zero = (angles * TURN).cos(), (angles * TURN).sin(), torch.zeros(n)
    turns = torch.stack([cos, -sin, zero, sin, cos, zero], 1).reshape(n, 2, 3)
    grid = F.affine_grid(turns.to(images.device), list(images.shape), align_corners=False)
    images = F.grid_sample(images + 1, grid + shifts.permute(0, 2, 3, 1), padding_mode="zeros", align_corners=False)
    power = (powers * POWER).exp().to(images.device)[:, None, None, None]
    graded: Tensor = (images / 2).clamp(0, 1) ** power * 2 - 1
    return graded
