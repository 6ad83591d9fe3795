"""Copies of training patients, planted among fresh ones: how many the audit finds, and what it says of none.

    python benchmarks/planted_copies.py phantom [--size 64] [--seed 951] [--repeats 20] [--smooth]
    python benchmarks/planted_copies.py blobs [--seed 951] [--repeats 20] [--smooth]
    python benchmarks/planted_copies.py DATASET [--seed 951] [--repeats 20] [--without sub-0001,sub-0002]

Phantom: 200 training and 60 test subjects, 300 fresh ones in the place of a perfect generator, an image each. Blobs:
made-up images of 32 px, three soft blobs in noise of 10% of the grey range; 40 training and 20 test subjects, 200 fresh
ones. Dataset: its subjects, but for some, are dealt anew into 32 for training, 8 for test and the rest fresh, whatever
its splits; up to 300 fresh images. Of the fresh ones 1, 5 or 20% give way to copies of training images. With --repeats
the table is left out, and verdicts on fresh subjects alone are counted, a cohort (or a deal) a repeat. With --smooth
real images are noisy and fresh ones free of noise: on the phantom noise is Rician, of 5% of the grey range.

A copy is exact; has noise of 5% of the grey range (standard deviation); is blurred by a Gaussian of 1 px at 64, 2 px at
128; has a gamma of 0.7 or 1.4; is shifted by 4 px along either axis or both; flipped left-right, top-bottom or both;
enlarged by 1.08; or has all of these at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ganatomy.data.dataset import Dataset
from ganatomy.metrics.base import Result, Sample, Samples
from ganatomy.metrics.copies import compute
from ganatomy.phantoms.cohort import subject_images

TRAIN, TEST, FRESH = 200, 60, 300
SHARES = (0.01, 0.05, 0.2)
BLACK = -1.0
RICIAN, GRAIN = 0.05, 0.1  # standard deviations of noise, of the grey range
Image = NDArray[np.float32]
Change = Callable[[Image, np.random.Generator], Image]


def noise(image: Image, rng: np.random.Generator) -> Image:
    return image + np.float32(0.1) * rng.standard_normal(image.shape).astype(np.float32)


def blur(image: Image, rng: np.random.Generator) -> Image:
    return ndimage.gaussian_filter(image, image.shape[-1] / 64)


def gamma(image: Image, rng: np.random.Generator) -> Image:
    return ((np.clip(image, -1, 1) + 1) / 2) ** np.float32(rng.choice([0.7, 1.4])) * 2 - 1


def shift(image: Image, rng: np.random.Generator) -> Image:
    steps = [(y, x) for y in (-4, 0, 4) for x in (-4, 0, 4) if y or x]
    return ndimage.shift(image, steps[rng.integers(len(steps))], order=1, cval=BLACK)


def flip(image: Image, rng: np.random.Generator) -> Image:
    return (image[:, ::-1], image[::-1], image[::-1, ::-1])[rng.integers(3)]


def zoom(image: Image, rng: np.random.Generator) -> Image:
    middle = (np.array(image.shape) - 1) / 2
    return ndimage.affine_transform(image, np.eye(2) / 1.08, middle - middle / 1.08, order=1, cval=BLACK)


def bend(image: Image, rng: np.random.Generator, most: float) -> Image:
    """Moved along a smooth field of 6 x 6 knots, by `most` of the side at its largest."""
    field = np.stack([ndimage.zoom(rng.normal(size=(6, 6)), len(image) / 6, order=3) for _ in range(2)])
    places = np.indices(image.shape) + field * (most * len(image) / np.abs(field).max())
    return ndimage.map_coordinates(image, places, order=1, mode="nearest")


def everything(image: Image, rng: np.random.Generator) -> Image:
    for change in (flip, zoom, shift, blur, gamma, noise):
        image = change(image, rng)
    return image


CHANGES: dict[str, Change] = {"exact": lambda image, rng: image, "noise": noise, "blur": blur, "gamma": gamma,
                              "shift": shift, "flip": flip, "zoom": zoom, "all at once": everything,
                              **{f"bent by {most:.0%}": partial(bend, most=most) for most in (0.02, 0.05, 0.1, 0.15)}}


def one_subject(index: int, seed: int, size: int) -> Image:
    image = subject_images(index, seed, size, anatomy="first").t1[0]
    return np.clip(image / np.percentile(image, 99.9), 0, 1) * 2 - 1


def phantom(seed: int, size: int) -> tuple[Sample, Sample, Sample]:
    """Train, test and fresh subjects."""
    make = partial(one_subject, seed=seed, size=size)
    with ProcessPoolExecutor() as pool:
        images = list(pool.map(make, range(TRAIN + TEST + FRESH), chunksize=8))
    parts = np.split(np.stack(images)[:, None].astype(np.float32), [TRAIN, TRAIN + TEST])
    return Sample(parts[0]), Sample(parts[1]), Sample(parts[2])


def rician(sample: Sample, seed: int) -> Sample:
    """With the noise of magnitude images."""
    real, imaginary = np.random.default_rng(seed).normal(0, RICIAN, (2, *sample.images.shape))
    return Sample((np.clip(np.hypot((sample.images[:] + 1) / 2 + real, imaginary), 0, 1) * 2 - 1).astype(np.float32))


def smooth_phantom(seed: int, size: int) -> tuple[Sample, Sample, Sample]:
    """Noisy train and test, and fresh subjects without noise."""
    train, test, fresh = phantom(seed, size)
    return rician(train, seed), rician(test, seed + 1), fresh


def blobs(seed: int, fresh_grain: float = GRAIN) -> tuple[Sample, Sample, Sample]:
    """Train, test and fresh subjects: three soft blobs in noise, 32 px."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]

    def some(n: int, grain: float) -> Sample:
        images = np.zeros((n, 32, 32))
        for image in images:
            for _ in range(3):
                (top, left), width = rng.uniform(4, 28, 2), rng.uniform(2, 5)
                image += rng.uniform(0.5, 1) * np.exp(-((y - top) ** 2 + (x - left) ** 2) / 2 / width**2)
        images += grain * rng.standard_normal(images.shape)
        return Sample((np.clip(images, 0, 1) * 2 - 1)[:, None].astype(np.float32))

    return some(40, GRAIN), some(20, GRAIN), some(200, fresh_grain)


def dealt(whole: Sample, seed: int) -> tuple[Sample, Sample, Sample]:
    """32 subjects for training, 8 for test, up to 300 images of the rest."""
    rng = np.random.default_rng(seed)
    place = rng.permutation(whole.n_subjects)[whole.subjects]
    train, test, fresh = (np.flatnonzero(part) for part in (place < 32, (place >= 32) & (place < 40), place >= 40))
    fresh = np.sort(rng.permutation(fresh)[:FRESH])
    kept = whole.take(fresh)
    return whole.take(train), whole.take(test), Sample(kept.images, None, kept.features)


def audited(train: Sample, test: Sample, made: Sample) -> Result:
    return next(r for r in compute(Samples(test, made, train)) if r.name == "Copies")


def table(train: Sample, test: Sample, fresh: Sample, seed: int) -> None:
    rng = np.random.default_rng(seed)
    print("| copies | share planted | found | false alarms | share estimated (95%) | evident | verdict |")
    print("|---|---|---|---|---|---|---|")
    row("none", 0.0, 0, audited(train, test, fresh), fresh.n_images)
    for name, change in CHANGES.items():
        most = round(max(SHARES) * fresh.n_images)
        sources = rng.choice(train.n_images, most, replace=train.n_images < most)
        images = np.stack([np.clip(change(image, rng), -1, 1) for image in train.images[sources][:, 0]])
        copies = Sample(images[:, None].astype(np.float32))
        for share in SHARES:
            n = round(share * fresh.n_images)
            made = Sample(np.concatenate([copies.images[:n], fresh.images[n:]]), None,
                          np.concatenate([copies.features[:n], fresh.features[n:]]))
            row(name, share, n, audited(train, test, made), fresh.n_images)


def row(name: str, share: float, copies: int, found: Result, images: int) -> None:
    details = found.details or {}
    flagged = np.array(details["flagged_images"], int)
    hits = f"{np.mean(np.isin(np.arange(copies), flagged)):.0%} of {copies}" if copies else ""
    low, high = found.interval or (np.nan, np.nan)
    print(f"| {name} | {share:.0%} | {hits} | {np.sum(flagged >= copies) / (images - copies):.2%} | "
          f"{found.value:.1%} ({low:.1%} to {high:.1%}) | {details['evident']} | {details['verdict']} |", flush=True)


def repeated(deal: Callable[[int], tuple[Sample, Sample, Sample]], seed: int, repeats: int) -> None:
    """Verdicts on fresh subjects alone, and on test subjects."""
    counts: dict[str, dict[str, int]] = {}
    alarms: dict[str, list[float]] = {}
    for repeat in range(repeats):
        train, test, fresh = deal(seed + repeat)
        for result in compute(Samples(test, fresh, train)):
            details = result.details or {"verdict": "none", "flagged": 0, "judged": 1}
            found = counts.setdefault(result.name, {})
            found[details["verdict"]] = found.get(details["verdict"], 0) + 1
            alarms.setdefault(result.name, []).append(details["flagged"] / details["judged"])
    for name, found in counts.items():
        print(f"{name}: {found}; flagged on average {np.mean(alarms[name]):.2%}, at most {np.max(alarms[name]):.2%}, "
              f"above 1% in {np.sum(np.array(alarms[name]) > 0.01)} of {repeats}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="phantom, or a dataset folder")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=951)
    parser.add_argument("--repeats", type=int, default=0)
    parser.add_argument("--smooth", action="store_true")
    parser.add_argument("--without", default="", help="subjects of the dataset that are left out, with commas between")
    options = parser.parse_args()
    if options.source == "phantom":
        deal = partial(smooth_phantom if options.smooth else phantom, size=options.size)
    elif options.source == "blobs":
        deal = partial(blobs, fresh_grain=0.0 if options.smooth else GRAIN)
    else:
        dataset = Dataset.open(options.source)
        rows = [row for domain in dataset.info.domains[:1] for row in dataset.rows(domain)
                if row.subject not in options.without.split(",")]
        whole = Sample(dataset.images(rows), [row.subject for row in rows])
        _ = whole.features  # once for all deals
        deal = partial(dealt, whole)
    if options.repeats:
        repeated(deal, options.seed, options.repeats)
    else:
        table(*deal(options.seed), options.seed)


if __name__ == "__main__":
    main()
