"""The dataset folder: what is written is read, leaks are refused, nothing half-written looks whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ganatomy.core.errors import UserError
from ganatomy.data.batches import Feed, to_images
from ganatomy.data.dataset import Dataset, DatasetInfo, new_dataset
from ganatomy.data.images import denormalise, normalise, shrink
from ganatomy.data.manifest import COLUMNS, Row
from tests.builders import discs, write_dataset

ROW = Row("image", "sub", "", 0, "T1", "", "train", 0, 0.0, 1.0, "", "", "")


def test_pixels_come_back_in_the_order_asked(dataset: Dataset) -> None:
    rows = dataset.rows()
    picked = [rows[i] for i in (5, 0, 23)]
    assert np.array_equal(dataset.pixels(picked), discs(24)[[5, 0, 23]])
    assert dataset.images(picked).shape == (3, 1, 16, 16)


def test_rows_by_split_and_what_is_missing(dataset: Dataset) -> None:
    assert {split: len(dataset.rows(split=split)) for split in ("train", "val", "test")} == {
        "train": 12, "val": 6, "test": 6}
    with pytest.raises(UserError, match=r"no domain 'T1'.*disc"):
        dataset.rows("T1")
    with pytest.raises(UserError, match="no class"):
        dataset.rows(label="ill")


def test_a_subject_in_two_splits_is_refused_on_reading_and_writing(own_dataset: Dataset, tmp_path: Path) -> None:
    path = own_dataset.path / "manifest.csv"
    path.write_text(path.read_text().replace("image-001,sub-000,,1,disc,,train", "image-001,sub-000,,1,disc,,test"))
    with pytest.raises(UserError, match="more than one split: sub-000"):
        Dataset.open(own_dataset.path)
    with (pytest.raises(UserError, match="more than one split"),
          new_dataset(tmp_path / "new", (4, 4), 1, np.uint8) as writer):
        for split in ("train", "test"):
            writer.add(np.zeros((4, 4), np.uint8), Row("i", "same", "", 0, "T1", "", split, 0, 0, 1, "", "", ""))
        writer.finish(DatasetInfo(size=(4, 4), value_range=(0, 255), domains=("T1",), paired=True, content=""))
    assert not (tmp_path / "new").exists()


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(("damage", "words"), [
    (lambda p: (p / "dataset.json").unlink(), "not a dataset folder"),
    (lambda p: (p / "dataset.json").write_text("{"), "Invalid JSON"),
    (lambda p: (p / "dataset.json").write_text('{"schema_version": 2}'), "size: Field required"),
    (lambda p: (p / "dataset.json").write_text('{"schema_version": 99}'), "schema version 99"),
    (lambda p: (p / "manifest.csv").unlink(), "is missing"),
    (lambda p: (p / "manifest.csv").write_text("a,b\n"), "columns"),
    (lambda p: (p / "manifest.csv").write_text(",".join(COLUMNS) + "\nx,y\n"), "line 2"),
    (lambda p: (p / "images-disc.npy").unlink(), "is missing"),
    (lambda p: edit(p, domains=["disc", "disc"]), "a domain is named twice"),
    (lambda p: edit(p, value_range=[0, 1e308]), "value_range.1: should be less than or equal to"),
    (lambda p: edit(p, intensity={"disc": {"method": "x", "offset": 1e308}}), "offset: should be less"),
    (lambda p: (p / "manifest.csv").write_text(",".join(COLUMNS) + "\n" + "i,s,,0,disc,,train,0,1e308,1,,,x,,,1\n"),
     "column offset is broken"),
    (lambda p: edit(p, value_range=[255, 255]), "value_range must rise"),
    (lambda p: np.save(p / "images-disc.npy", np.zeros((3, 16, 16), np.uint8)), "not 24 images")])
def test_a_damaged_dataset_is_refused_in_words(own_dataset: Dataset, damage, words: str) -> None:
    damage(own_dataset.path)
    with pytest.raises(UserError, match=words):
        Dataset.open(own_dataset.path)


def test_a_failure_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_dataset(tmp_path / "data", (4, 4), 1, np.uint8) as writer:
        writer.add(np.zeros((4, 4), np.uint8), ROW)
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_masks_and_several_domains(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 65535, (2, 3, 4, 4), dtype=np.uint16)
    masks = rng.integers(0, 2, (3, 4, 4), dtype=np.uint8)
    with new_dataset(tmp_path / "data", (4, 4), 1, np.uint16) as writer:
        for i in range(3):
            for d, domain in enumerate(("T1", "T2")):
                writer.add(images[d, i], Row(f"i{i}", f"s{i}", "", 0, domain, "", "train", 0, 0, 1, "", "", ""))
            writer.add_mask(masks[i])
        writer.finish(DatasetInfo(size=(4, 4), value_range=(0, 65535), domains=("T1", "T2"), paired=True, content="",
                                  mask_values={"lesion": 1}))
    data = Dataset.open(tmp_path / "data")
    assert np.array_equal(data.pixels(data.rows("T2")), images[1])
    assert np.array_equal(data.masks(data.rows("T1")), masks)
    with pytest.raises(UserError, match="several domains"):
        data.rows()


def test_pairs_of_different_patients_are_refused(tmp_path: Path) -> None:
    with new_dataset(tmp_path / "data", (4, 4), 1, np.uint8) as writer:
        for subject, domain in (("s0", "T1"), ("s1", "T2")):
            writer.add(np.zeros((4, 4), np.uint8), Row("i", subject, "", 0, domain, "", "train", 0, 0, 1, "", "", ""))
        writer.finish(DatasetInfo(size=(4, 4), value_range=(0, 255), domains=("T1", "T2"), paired=True, content=""))
    with pytest.raises(UserError, match="not of the same slices"):
        Dataset.open(tmp_path / "data")


def test_images_of_the_same_name_are_refused(tmp_path: Path) -> None:
    with new_dataset(tmp_path / "data", (4, 4), 1, np.uint8) as writer:
        for _ in range(2):
            writer.add(np.zeros((4, 4), np.uint8), Row("i", "s", "", 0, "T1", "", "train", 0, 0, 1, "", "", ""))
        writer.finish(DatasetInfo(size=(4, 4), value_range=(0, 255), domains=("T1",), paired=True, content=""))
    with pytest.raises(UserError, match="two images of T1 have the same image_id"):
        Dataset.open(tmp_path / "data")


def test_shrinking_averages_blocks() -> None:
    images = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    assert shrink(images, 2)[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    with pytest.raises(UserError, match="cannot be averaged"):
        shrink(images, 3)


def test_the_feed_shows_every_image_once_a_pass_and_depends_on_the_draw_alone(dataset: Dataset) -> None:
    feed = Feed(dataset, dataset.rows(), 16, 5, 7, torch.device("cpu"))
    seen = [i for draw in range(24) for i in feed.indices(draw)]
    for number in range(5):
        assert sorted(seen[number * 24 : (number + 1) * 24]) == list(range(24))
    assert seen[:24] != seen[24:48]
    fresh = Feed(dataset, dataset.rows(), 16, 5, 7, torch.device("cpu"))
    assert fresh.indices(11) == feed.indices(11)
    assert torch.equal(fresh.draw(11), feed.draw(11))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_feed_and_the_dataset_agree_on_what_a_model_sees(tmp_path: Path, channels: int) -> None:
    data = write_dataset(tmp_path / "data", size=32, channels=channels)
    rows = data.rows()[:6]
    images = to_images(torch.from_numpy(data.pixels(rows)), data.info.value_range, torch.device("cpu"), factor=2)
    np.testing.assert_allclose(images.numpy(), data.images(rows, 16), atol=1e-6)


def test_class_numbers_follow_the_images_of_a_draw(tmp_path: Path, dataset: Dataset) -> None:
    data = write_dataset(tmp_path / "data", classes=("ill", "well", "odd"))
    feed = Feed(data, data.rows(), 16, 5, 7, torch.device("cpu"))
    names = [data.info.classes[i] for i in feed.labels(3)]
    assert names == [data.rows()[i].label for i in feed.indices(3)]
    assert len(set(names)) > 1
    with pytest.raises(UserError, match="has no class"):
        dataset.labels(dataset.rows())


def test_overwrite_removes_only_what_the_same_command_made(own_dataset: Dataset, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    for folder, source in ((precious, "real"), (own_dataset.path, "synthetic")):
        with (pytest.raises(UserError, match="will not be overwritten"),
              new_dataset(folder, (4, 4), 1, np.uint8, overwrite=True, source=source)):
            pass
    assert (precious / "thesis.txt").read_text() == "years of work"
    assert len(Dataset.open(own_dataset.path).rows()) == 24


@pytest.mark.parametrize("damage", [
    lambda lines: lines[: len(lines) // 2],
    lambda lines: [*lines, lines[-1]],
    lambda lines: [line.replace(",train,", ",val,") for line in lines],
    lambda lines: [line.replace(",train,0,", ",train,-1,") for line in lines]])
def test_a_changed_manifest_is_refused(own_dataset: Dataset, damage) -> None:
    path = own_dataset.path / "manifest.csv"
    path.write_text("\n".join(damage(path.read_text().splitlines())) + "\n")
    with pytest.raises(UserError, match=r"changed since|-1 is below 0"):
        Dataset.open(own_dataset.path)


def test_changed_pixels_are_found(own_dataset: Dataset) -> None:
    path = own_dataset.path / "images-disc.npy"
    pixels = np.load(path)
    pixels[3, 0, 0] ^= 1
    np.save(path, pixels)
    opened = Dataset.open(own_dataset.path)
    opened.verify(opened.rows()[:3])
    with pytest.raises(UserError, match="image-003"):
        opened.verify(opened.rows())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(4, 6, 6), (4, 6, 6, 3)])
def test_normalising_and_back_changes_nothing(dtype: type, shape: tuple[int, ...]) -> None:
    most = np.iinfo(dtype).max
    pixels = np.random.default_rng(0).integers(0, most, shape, dtype=dtype, endpoint=True)
    images = normalise(pixels, (0, most))
    assert images.shape == (4, 3 if len(shape) == 4 else 1, 6, 6)
    assert images.min() >= -1
    assert images.max() <= 1
    assert np.array_equal(denormalise(images, (0, most), np.dtype(dtype)), pixels)
