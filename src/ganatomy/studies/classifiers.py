"""The study's classifiers: how they are trained, alike in every arm, and what they say of the images to be judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from ganatomy.core.errors import UserError
from ganatomy.core.hardware import make_deterministic, place
from ganatomy.core.recipe import Frozen
from ganatomy.features.base import CHUNK, Extractor, Features, Images, Stack
from ganatomy.features.choose import choose
from ganatomy.gans.base import Shape
from ganatomy.studies import classifier_images
from ganatomy.studies.arms import Augment
from ganatomy.studies.classifier_networks import build

Probabilities = NDArray[np.float32]

VERSIONS = 4  # changed copies of an image that features are taken of, as many as there are ways to mirror it
PIECE = 32  # images whose features are taken, and kept, together
INVERSE_PENALTY = 10.0  # scikit-learn's C; of tumours a tenth of it ranked worse, ten times as much was only surer


@dataclass(frozen=True)
class TrainingSet:
    """What a classifier learns from.

    Attributes:
        images: float32 [n, c, s, s] in [-1, 1].
        labels: [n], the number of the class of each.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.intp]


class ClassifierSettings(Frozen):
    """How a classifier is trained: a number of updates, not of epochs, so that arms of different size get the same.

    The rule published with the study is a step size times 0.95 an epoch. An epoch is shorter where there are fewer
    images, so an arm with synthetic images would be trained at other step sizes than one without. Here it falls by the
    same factor at every update, from `learning_rate` to `final_rate` times that: 0.95 an epoch over 30 epochs is 0.21.
    """

    name: Literal["fcn", "resnet", "features"] = Field("fcn", description="which classifier")
    updates: int = Field(500, ge=1, le=10**6, description="gradient updates, the same in every arm")
    batch_size: int = Field(32, ge=2, le=4096, description="images an update")
    learning_rate: float = Field(3e-4, gt=0, le=1, description="Adam's step size at the start")
    final_rate: float = Field(0.2, gt=0, le=1, description="step size at the end, as a share of that at the start")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="Adam's, added to the gradients")
    checkpoints: int = Field(10, ge=1, le=1000, description="how often the images are judged, at equal distances")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.checkpoints > self.updates:
            raise ValueError("there cannot be more checkpoints than updates")
        return self


def train_classifier(train: TrainingSet, classes: int, judged: Sequence[Stack], settings: ClassifierSettings,
                     augment: Augment, seed: int, device: torch.device) -> list[Probabilities]:
    """Train a classifier and have it judge images as it goes.

    The first weights depend on `seed` alone, what an update sees on (seed, number of the update) and the training set:
    arms begin alike and last alike. On the CPU the same arguments give the same bits at a fixed number of threads.
    torch's global generators are left as they were.

    Args:
        train: at least one image.
        classes: how many there are; labels are below it.
        judged: any number of sets of images [n, c, s, s] in [-1, 1], of the training images' shape.
        settings: how.
        augment: "flips" mirrors training images at random, "strong" also turns, bends and re-grades them.
        seed: 0 to 2^31 - 1.
        device: where the networks are.

    Returns:
        For each set the class probabilities [checkpoints, n, classes]; the last checkpoint is the end of training.

    Raises:
        UserError: judged images of another shape, or images too small for the network.
    """
    _check(train, classes, judged)
    if settings.name == "features":
        return _from_features(train, classes, judged, augment, seed)
    make_deterministic(device)
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        shape = Shape(size=train.images.shape[2], channels=train.images.shape[1])
        network = place(build(settings.name, shape, classes), device)
    said: list[list[Probabilities]] = [[] for _ in judged]
    for _ in _checkpoints(network, train, settings, augment, seed):
        for rounds, images in zip(said, judged, strict=True):
            rounds.append(probabilities(network, images, classes))
    return [np.stack(rounds) for rounds in said]


def _check(train: TrainingSet, classes: int, judged: Sequence[Stack]) -> None:
    if not 0 < len(train.images) == len(train.labels):
        raise ValueError("a training set has images, and a label for each")
    if train.labels.min() < 0 or train.labels.max() >= classes:
        raise ValueError(f"labels are 0 to {classes - 1}")
    shape = train.images.shape[1:]
    for images in judged:
        if tuple(images.shape[1:]) != shape:
            found, wanted = ("x".join(map(str, s)) for s in (images.shape[1:], shape))
            raise UserError(f"the images to be judged are {found} (channels, height, width), those trained on {wanted}",
                            fix="prepare both datasets with the same --size, both grey or both in colour")


def _checkpoints(network: nn.Module, train: TrainingSet, settings: ClassifierSettings, augment: Augment,
                 seed: int) -> Iterator[int]:
    """Train; comes back after each of the equal parts, with the number of updates done."""
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
        batch = changed(images[rows].to(device), augment, seed, step)
        _update(network.train(), batch, labels[rows].to(device), optimiser)
        if step + 1 in stops:
            yield step + 1


def _update(network: nn.Module, images: Tensor, labels: Tensor, optimiser: torch.optim.Optimizer) -> None:
    loss = F.cross_entropy(network(images.contiguous(memory_format=torch.channels_last)), labels)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _order(n: int, seed: int) -> Iterator[int]:
    """The numbers 0 to n - 1 in random order, every pass a new one that depends on (seed, pass); without end."""
    number = 0
    while True:
        yield from np.random.default_rng((seed, number)).permutation(n).tolist()
        number += 1


def changed(images: Tensor, augment: Augment, seed: int, step: int) -> Tensor:
    """Images [n, c, s, s] as the update of this number sees them."""
    if augment == "none":
        return images
    change = classifier_images.flip if augment == "flips" else classifier_images.strong
    return change(images, classifier_images.generator(seed, step))


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
        said = np.zeros((1, len(images), classes), np.float32)
        if len(images):
            said[0][:, model.classes_] = model.predict_proba((extractor(images) - mean) / scale)
        out.append(said)
    return out


def _featured(train: TrainingSet, extractor: Extractor, augment: Augment,
              seed: int) -> tuple[Features, NDArray[np.intp], Features]:
    """Features [m, d] of all versions of the distinct images of each class, with their labels [m] and weights [m].

    They are taken in small pieces, class by class: arms that begin with the same real images then find most of them in
    the extractor's cache, which keeps them piece by piece.
    """
    rows, labels, weights = [], [], []
    for label in np.unique(train.labels):
        counts = Counter(image.tobytes() for image in train.images[train.labels == label])
        distinct = np.stack([np.frombuffer(image, np.float32) for image in counts])
        times = np.array(list(counts.values()), np.float64)
        for start in range(0, len(distinct), PIECE):
            piece = distinct[start:start + PIECE].reshape(-1, *train.images.shape[1:])
            made = [extractor(version) for version in _versions(piece, augment, (seed, int(label), start))]
            rows += made
            labels += [np.full(len(piece) * len(made), label, np.intp)]
            weights += [times[start:start + PIECE] / len(made)] * len(made)
    return np.concatenate(rows), np.concatenate(labels), np.concatenate(weights)


def _versions(images: Images, augment: Augment, seeds: tuple[int, ...]) -> list[Images]:
    """Images [n, c, s, s] as they are, in their four mirrored forms, or changed at random four times."""
    if augment == "none":
        return [images]
    if augment == "flips":
        return [np.ascontiguousarray(images[:, :, ::down, ::across]) for down in (1, -1) for across in (1, -1)]
    return [classifier_images.strong(torch.from_numpy(images), classifier_images.generator(*seeds, number)).numpy()
            for number in range(VERSIONS)]
