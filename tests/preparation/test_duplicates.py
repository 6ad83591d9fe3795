"""Copies under another patient's name are found; patients who merely look alike are not called copies."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ganatomy.data.dataset import Dataset, DatasetInfo, new_dataset
from ganatomy.data.likeness import to_grey
from ganatomy.data.manifest import Row
from ganatomy.phantoms.cohort import subject_images
from ganatomy.preparation import duplicates as module
from ganatomy.preparation.duplicates import compare, near_duplicates, without_copies
from ganatomy.sources.entry import Entry, Layout

SUBJECTS, SLICES, SIZE = 40, 3, 64
Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def phantom() -> np.ndarray:
    """T1 slices [subjects x slices, 64, 64], 0 to 1."""
    images = np.concatenate([subject_images(i, 3, SIZE, SLICES, anatomy="first").t1 for i in range(SUBJECTS)])
    return (images / np.percentile(images, 99.9)).clip(0, 1)


def registered(subjects: int = 40, seed: int = 0) -> np.ndarray:
    """One template; every subject adds 5% of folds of its own: more alike than any brains are."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    inside = ndimage.gaussian_filter((x**2 + y**2 < 0.7).astype(float), 1)
    template = inside * (0.5 + ndimage.gaussian_filter(rng.normal(size=(96, 96)), 3) * 2)
    folds = ndimage.gaussian_filter(rng.normal(size=(subjects, 96, 96)), (0, 1.5, 1.5))
    return (template + inside * 0.05 * folds / folds.std()).clip(0, 1).astype(np.float32)


def owners(n: int, each: int = 1) -> list[str]:
    return [f"sub-{i // each:03d}" for i in range(n)]


def jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer)) / 255


def resized(image: np.ndarray, there: float, cut: int = 0) -> np.ndarray:
    size = len(image)
    picture = Image.fromarray(image.astype(np.float32)).crop((cut, cut, size - cut, size - cut))
    picture = picture.resize((round(size * there),) * 2, Image.Resampling.BILINEAR)
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR))


def noisy(image: np.ndarray) -> np.ndarray:
    return (image + np.random.default_rng(0).normal(0, 0.02, image.shape)).clip(0, 1)


CHANGES: dict[str, Change] = {
    "exact": lambda x: x, "jpeg": jpeg, "gamma 0.8": lambda x: x**0.8, "gamma 1.2": lambda x: x**1.2,
    "brightness": lambda x: x * 0.7 + 0.1, "resized": lambda x: resized(x, 0.9), "noise": noisy,
    "moved by 1": lambda x: np.roll(x, 1, 0), "moved by 2": lambda x: np.roll(x, (2, -2), (0, 1)),
    "cropped": lambda x: resized(x, 1.0, cut=1), "mirrored": lambda x: x[:, ::-1],
    "all at once": lambda x: np.roll(jpeg(x**0.9)[:, ::-1], 1, 1),
}


def search(images: np.ndarray, subjects: list[str]) -> list[tuple[int, int]]:
    return sorted(pair[:2] for pair in compare(to_grey(images), subjects))


def test_no_alarm_on_different_patients(phantom: np.ndarray) -> None:
    assert search(phantom, owners(len(phantom), SLICES)) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_planted_copy_is_found_and_nothing_else(phantom: np.ndarray, change: str) -> None:
    picked, n = [7, 50, 93], len(phantom)
    copies = np.stack([CHANGES[change](phantom[i]) for i in picked])
    pairs = search(np.concatenate([phantom, copies]), [*owners(n, SLICES), "x", "y", "z"])
    assert pairs == [(7, n), (50, n + 1), (93, n + 2)]


def test_registered_patients_look_alike_and_are_no_copies() -> None:
    images = registered()
    assert search(images, owners(40)) == []
    copied = np.concatenate([images, [jpeg(images[5]), images[9][:, ::-1]]])
    assert search(copied, [*owners(40), "x", "y"]) == [(5, 40), (9, 41)]


def test_a_cohort_that_is_there_twice_is_found_out(phantom: np.ndarray) -> None:
    n = len(phantom)
    assert search(np.concatenate([phantom, np.stack([jpeg(x) for x in phantom])]),
                  [*owners(n, SLICES), *(f"again-{name}" for name in owners(n, SLICES))]) == [
        (i, i + n) for i in range(n)]


def test_of_two_subjects_only_identical_images_are_told(phantom: np.ndarray) -> None:
    two, names = phantom[:6].copy(), ["a"] * 3 + ["b"] * 3
    assert search(two, names) == []
    two[4] = np.roll(two[1] * 0.5, 2, 1)
    assert search(two, names) == [(1, 4)]
    assert search(two, ["a"] * 6) == []


def test_empty_slices_are_no_copies_of_each_other(phantom: np.ndarray) -> None:
    images = phantom.copy()
    images[::SLICES] = 0
    images[1::SLICES, 5:, :] = 0  # a rim, if anything
    assert search(images, owners(len(images), SLICES)) == []
    assert search(np.full((6, 16, 16), 0.7), owners(6)) == []


@pytest.mark.parametrize("size", [16, 40, 96])
def test_other_sizes_and_colour(size: int) -> None:
    images = np.stack([ndimage.gaussian_filter(np.random.default_rng(i).normal(size=(size, size, 3)), (1, 1, 0))
                       for i in range(12)])
    images[11] = images[2] * 2 + 1
    assert search(images, owners(12)) == [(2, 11)]


def dataset(folder: Path, domains: dict[str, np.ndarray], subjects: list[str], splits: list[str],
            paired: bool = False) -> Dataset:
    with new_dataset(folder, (SIZE, SIZE), 1, np.uint8) as writer:
        for domain, images in domains.items():
            for i, image in enumerate(images):
                writer.add(np.rint(image * 255).astype(np.uint8), Row(
                    f"{subjects[i]}_s{i:03d}", subjects[i], "", i, domain, "", splits[i], 0, 0.0, 1.0, "", "", ""))
        writer.finish(DatasetInfo(size=(SIZE, SIZE), value_range=(0, 255), domains=tuple(domains), paired=paired,
                                  content=""))
    return Dataset.open(folder)


def test_a_dataset_is_told_of_its_leaks(tmp_path: Path, phantom: np.ndarray) -> None:
    images = np.concatenate([phantom, [jpeg(phantom[4]), phantom[70][:, ::-1]]])
    n = len(phantom)
    subjects, splits = [*owners(n, SLICES), "sub-x", "sub-y"], ["train"] * n + ["train", "test"]
    pairs = near_duplicates(dataset(tmp_path / "one", {"T1": images}, subjects, splits))
    assert [pair[:3] + pair[4:] for pair in pairs] == [
        ("T1", "sub-023_s070", f"sub-y_s{n + 1}", True), ("T1", "sub-001_s004", f"sub-x_s{n}", False)]
    assert not near_duplicates(dataset(tmp_path / "two", {"T1": phantom, "T2": phantom}, subjects[:n], splits[:n],
                                       True))


def test_large_datasets_are_searched_evenly(tmp_path: Path, phantom: np.ndarray,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IMAGES", 50)
    told: list[str] = []
    n = len(phantom)
    images = np.concatenate([phantom, phantom[:SLICES]])  # the first patient again
    assert near_duplicates(dataset(tmp_path / "d", {"T1": images}, [*owners(n, SLICES), *["sub-x"] * SLICES],
                                   ["train"] * n + ["test"] * SLICES), told.append)[0][4]
    assert "50 of 123 images" in told[0]


def test_files_of_the_same_bytes_are_left_out_where_they_are_no_other_patients(tmp_path: Path) -> None:
    def layout(*places: tuple[str, str, str, int], known: bool = False) -> Layout:
        entries = []
        for folder, subject, split, value in places:
            path = tmp_path / folder
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((8, 8), value, np.uint8)
            pixels[0, 0] = min(value, 1)
            Image.fromarray(pixels).save(path, format="PNG")
            entries.append(Entry(path, folder, subject, label="yes", split=split))
        return Layout("", entries, known)

    def left(layout: Layout) -> list[str]:
        return [entry.name for entry in without_copies(layout).entries]

    assert left(layout(("yes/1.png", "1", "", 7), ("more/yes/2.png", "2", "", 7), ("yes/3.png", "3", "", 8))) == [
        "yes/1.png", "yes/3.png"]
    for kept in (layout(("a/1.png", "1", "", 7), ("b/1.png", "2", "", 7), known=True),  # two patients
                 layout(("a/1.png", "1", "train", 7), ("b/1.png", "2", "test", 7)),
                 layout(("a/1.png", "1", "", 0), ("b/1.png", "1", "", 0))):  # empty slices
        assert len(left(kept)) == 2
    lines: list[str] = []
    without_copies(layout(("p/1.png", "p", "", 7), ("p/copy.png", "p", "", 7), known=True), lines.append)
    assert lines == ["left out 1 file of the same bytes as another, for example p/copy.png: as p/1.png"]
