"""A map of the images: real and generated ones as points on a plane, near each other where they look alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.files import disk_errors, write_json
from ganatomy.core.run import Run
from ganatomy.core.text import Say
from ganatomy.data.images import averaged
from ganatomy.data.pictures import grid, write_png
from ganatomy.features.base import Features, Images
from ganatomy.metrics.base import Array, Sample, Samples
from ganatomy.metrics.schema import Metrics

SCHEMA_VERSION = 1
MOST_POINTS = 300  # of a kind: more hide each other, and t-SNE takes minutes
DIMENSIONS = 50  # principal components that t-SNE starts from, as its authors do
PERPLEXITY = 30.0
FEWEST = 4  # points of the smallest map
THUMB = 64  # the longest side of a thumbnail, pixels
COLUMNS = 20  # of the sheet of thumbnails
DECIMALS = 4
_DRAW = 600  # the first of three random streams, one a kind
KINDS = ("train", "test", "synthetic")


def image_map(samples: Samples) -> dict[str, Any]:
    """Coordinates of at most 300 images of each kind, by t-SNE and by principal components of their features.

    Both are scaled to -1 to 1 about their middle, keeping their proportions, and the same every time on one machine:
    t-SNE starts from the principal components and runs in one thread.

    Returns:
        `kinds` (how many of each), and, point by point, `kind`, `id`, `row` in its sample, `tsne` and `pca` ([x, y];
        none for fewer than four images); `perplexity`, `explained` (shares of the variance that the two components
        show), `seed`.

    Source: van der Maaten and Hinton, Visualizing data using t-SNE, JMLR 2008.
    """
    given = {"train": samples.train, "test": samples.test, "synthetic": samples.synthetic}
    chosen = {kind: _chosen(given[kind], samples.seed, _DRAW + i) for i, kind in enumerate(KINDS)}
    parts = [(kind, sample, chosen[kind]) for kind, sample in given.items() if sample is not None]
    kinds = {kind: len(rows) for kind, _, rows in parts}
    head = {"schema_version": SCHEMA_VERSION, "extractor": samples.extractor.name, "seed": samples.seed, "kinds": kinds}
    if sum(kinds.values()) < FEWEST:
        return head | {"kind": [], "id": [], "row": [], "tsne": [], "pca": [], "perplexity": None, "explained": None}
    features = np.concatenate([sample.features if len(rows) == sample.n_images else sample.take(rows).features
                               for _, sample, rows in parts])
    plane = _plane(features, samples.seed)
    return head | plane | {"kind": [kind for kind, _, rows in parts for _ in rows],
                           "id": [sample.ids[row] for _, sample, rows in parts for row in rows],
                           "row": [int(row) for _, _, rows in parts for row in rows]}


def write_map(run: Run, samples: Samples, metrics: Metrics, say: Say) -> None:
    """Write RUN/map.json and the thumbnails of its generated images, RUN/map.png. No real image is kept there."""
    say("map ...")
    points = image_map(samples)
    rows = np.array([row for row, kind in zip(points.pop("row"), points["kind"], strict=True) if kind == "synthetic"],
                    np.intp)
    about = {"dataset": metrics.dataset, "synthetic": metrics.synthetic, "step": metrics.step}
    if len(rows):
        thumbs = thumbnails(samples.synthetic.images[rows])
        with disk_errors(run.map_file):
            run.map_file.unlink(missing_ok=True)  # the thumbnails of another evaluation are none of its points'
        points["thumbnail"], points["columns"] = list(thumbs.shape[2:]), COLUMNS
        write_png(run.map_file.with_suffix(".png"), grid(thumbs, COLUMNS))
    write_json(run.map_file, points | about)


def thumbnails(images: Images) -> Images:
    """Images [n, c, h, w] reduced by a whole number, by averaging, until no side is longer than 64 pixels."""
    return averaged(images, -(-max(images.shape[2:]) // THUMB))


def _chosen(sample: Sample | None, seed: int, stream: int) -> NDArray[np.intp]:
    """Rows of a sample, all or 300 drawn at random, in their order."""
    n = sample.n_images if sample is not None else 0
    if n <= MOST_POINTS:
        return np.arange(n, dtype=np.intp)
    return np.sort(np.random.default_rng((seed, stream)).choice(n, MOST_POINTS, replace=False)).astype(np.intp)


def _plane(features: Features, seed: int) -> dict[str, Any]:
    """The two planes; points that are all alike lie all in the middle."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    n = len(features)
    perplexity = min(PERPLEXITY, (n - 1) / 3)
    with threadpool_limits(1):  # sums of several threads differ from run to run, and t-SNE makes much of it
        model = PCA(min(DIMENSIONS, *features.shape), svd_solver="full")
        with np.errstate(invalid="ignore", divide="ignore"):
            components: Array = model.fit_transform(features)
        spread = float(np.ptp(components[:, 0]))
        if not math.isfinite(spread) or spread < 1e-9 * (1 + float(np.abs(features).max())):
            still = np.zeros((n, 2)).tolist()
            return {"tsne": still, "pca": still, "perplexity": None, "explained": None}
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(components)
    explained = np.append(model.explained_variance_ratio_, 0.0)[:2]
    return {"tsne": _scaled(tsne), "pca": _scaled(np.pad(components, ((0, 0), (0, 1)))[:, :2]),
            "perplexity": round(perplexity, 1), "explained": [round(float(share), DECIMALS) for share in explained]}


def _scaled(points: Array) -> list[list[float]]:
    """Points [n, 2] about their middle, the farther side from -1 to 1."""
    low, high = points.min(0), points.max(0)
    half = float((high - low).max()) / 2 or 1.0
    middle = (high + low) / 2
    scaled: list[list[float]] = np.round((points - middle).astype(np.float64) / half, DECIMALS).tolist()
    return scaled
