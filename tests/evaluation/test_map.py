"""The map of the images: where points lie, what is kept in the run, and that it holds no patient."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganatomy.core.run import Run
from ganatomy.evaluation.map import image_map, thumbnails, write_map
from ganatomy.metrics.base import Sample, Samples
from ganatomy.metrics.schema import Metrics


def sample(n: int, centre: float, seed: int, size: int = 8) -> Sample:
    """Images of noise with features about a centre."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(-1, 1, (n, 1, size, size)).astype(np.float32)
    return Sample(images, [f"subject-{i // 2}" for i in range(n)], rng.normal(centre, 1, (n, 24)),
                  ids=[f"{seed}-{i}" for i in range(n)])


def samples(*sizes: int, apart: float = 12.0, size: int = 8) -> Samples:
    train, test, made = (sample(n, apart * (i == 2), i, size) for i, n in enumerate(sizes))
    return Samples(test, made, train)


def places(found: dict[str, list[list[float]]], plane: str) -> np.ndarray:
    return np.array(found[plane])


@pytest.mark.parametrize("plane", ["tsne", "pca"])
def test_images_far_apart_in_features_are_apart_on_both_planes(plane: str) -> None:
    found = image_map(samples(30, 12, 40))
    where, kinds = places(found, plane), np.array(found["kind"])
    real, made = where[kinds != "synthetic"], where[kinds == "synthetic"]
    nearest = np.linalg.norm(where[:, None] - where[None], axis=-1) + 9 * np.eye(len(where))
    same = (kinds == "synthetic")[nearest.argmin(1)] == (kinds == "synthetic")
    assert same.all() and len(real) == 42 and len(made) == 40


def test_the_same_images_give_the_same_map_and_another_seed_need_not() -> None:
    first, again = image_map(samples(20, 10, 30)), image_map(samples(20, 10, 30))
    assert first == again
    assert np.abs(places(first, "tsne")).max() == 1.0 and np.isfinite(places(first, "pca")).all()


def test_of_many_images_300_of_a_kind_are_drawn_and_keep_their_names() -> None:
    given = samples(400, 10, 310)
    rows = image_map(given)
    assert rows["kinds"] == {"train": 300, "test": 10, "synthetic": 300}
    train = [name for kind, name in zip(rows["kind"], rows["id"], strict=True) if kind == "train"]
    assert len(set(train)) == 300 and set(train) < {f"0-{i}" for i in range(400)}
    assert [int(name.split("-")[1]) for name in train] == rows["row"][:300]


def test_few_or_equal_images_make_no_broken_map() -> None:
    assert image_map(samples(1, 1, 1))["kind"] == []
    same = Sample(np.zeros((5, 1, 8, 8), np.float32), None, np.ones((5, 24)))
    assert image_map(Samples(same, same))["tsne"] == [[0.0, 0.0]] * 10
    assert np.isfinite(places(image_map(samples(1, 1, 2)), "tsne")).all()


def test_the_run_keeps_thumbnails_of_generated_images_alone(tmp_path: Path) -> None:
    given, run = samples(6, 4, 23, size=128), Run(tmp_path)
    write_map(run, given, Metrics(synthetic="abc", step=3, dataset="def"), lambda _: None)
    about = json.loads(run.map_file.read_text())
    sheet = np.asarray(Image.open(run.map_file.with_suffix(".png")))
    assert about["synthetic"] == "abc" and about["thumbnail"] == [64, 64] and about["columns"] == 20
    assert sheet.shape == (2 * 64, 20 * 64)  # 23 images in rows of 20
    expected = given.synthetic.images[21, 0].reshape(64, 2, 64, 2).mean((1, 3))
    assert np.abs(sheet[64:128, 64:128] - (expected + 1) * 127.5).max() <= 0.51
    assert (sheet[64:128, 3 * 64:] == 0).all()


def test_thumbnails_keep_small_images_and_average_large_ones() -> None:
    images = np.random.default_rng(0).uniform(-1, 1, (2, 3, 150, 150)).astype(np.float32)
    assert (thumbnails(images[..., :48, :48]) == images[..., :48, :48]).all()
    assert thumbnails(images).shape == (2, 3, 50, 50)
    assert np.allclose(thumbnails(images)[1, 2, 0, 0], images[1, 2, :3, :3].mean(), atol=1e-6)
