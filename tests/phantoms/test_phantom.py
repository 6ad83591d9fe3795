"""The phantom cohort: ground truth, physics, and the promise that subject i of a seed never changes."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ganatomy.core.errors import UserError
from ganatomy.data.dataset import Dataset
from ganatomy.phantoms.cohort import (
    FIELDS_OF_VIEW,
    LABELS,
    MASK_DOMAIN,
    TISSUE_DOMAIN,
    has_lesions,
    phantom,
    subject_images,
)
from ganatomy.phantoms.head import TISSUES
from ganatomy.phantoms.subject import TYPICAL, TissueValues, inversion_gradient_echo, rician, spin_echo
from ganatomy.preparation.prepare import prepare
from tests.builders import table

CORTEX, WHITE, FLUID, LESION, BONE, MARROW, FAT = (TISSUES.index(name) for name in (
    "cortex", "white matter", "fluid", "lesion", "bone", "marrow", "fat"))
ANATOMIES = ("head", "brain", "first")


def _contents(folder: Path) -> dict[str, bytes]:
    """Pixel values by path; gzip puts the time into its header, so files are not compared."""
    return {p.relative_to(folder).as_posix(): np.asarray(nibabel.load(p).dataobj).tobytes()
            for p in sorted(folder.rglob("*.nii.gz"))}


def _mean(image: np.ndarray, images: object, tissue: int) -> float:
    return float(image[(images.tissues[:, tissue] > 0.9) & (images.brain > 0)].mean())


def _purest(image: np.ndarray, images: object, tissue: int) -> float:
    """The mean of the 50 pixels that hold most of a tissue."""
    return float(image.ravel()[np.argsort(images.tissues[:, tissue].ravel())[-50:]].mean())


def test_a_larger_cohort_begins_with_the_smaller_one(tmp_path: Path) -> None:
    small = _contents(phantom(tmp_path / "a", subjects=3, size=32, seed=4, lesions=0.5))
    large = _contents(phantom(tmp_path / "b", subjects=5, size=32, seed=4, lesions=0.5))
    assert len(small) == 9 and len(large) == 15
    assert small == {name: large[name] for name in small}
    assert table(tmp_path / "b" / "files.csv")[:9] == table(tmp_path / "a" / "files.csv")


@pytest.mark.parametrize("anatomy", ANATOMIES)
def test_the_same_seed_gives_the_same_subjects_and_another_seed_others(anatomy: str) -> None:
    first, again, other = (subject_images(2, seed, 32, anatomy=anatomy) for seed in (7, 7, 8))
    assert np.array_equal(first.t1, again.t1) and np.array_equal(first.t2, again.t2)
    assert not np.array_equal(first.brain, other.brain)
    assert not np.array_equal(first.brain, subject_images(3, 7, 32, anatomy=anatomy).brain)
    assert first.tissues.min() >= -1e-6 and np.allclose(first.tissues.sum(1), 1, atol=1e-4)


@pytest.mark.parametrize("anatomy", ANATOMIES)
def test_a_subject_has_the_same_anatomy_at_every_size(anatomy: str) -> None:
    small, large = (subject_images(0, 0, size, anatomy=anatomy) for size in (64, 256))
    shrunk = large.tissues.reshape(1, -1, 64, 4, 64, 4).mean((3, 5))
    assert np.abs(shrunk - small.tissues).mean((0, 2, 3)).max() < 0.03


@pytest.mark.parametrize("anatomy", ANATOMIES)
def test_the_middle_of_a_stack_is_the_single_slice(anatomy: str) -> None:
    single, stack = (subject_images(1, 0, 48, slices, anatomy=anatomy) for slices in (1, 3))
    assert stack.t1.shape == (3, 48, 48)
    assert np.allclose(stack.tissues[1], single.tissues[0], atol=1e-5)
    assert not np.allclose(stack.tissues[0], single.tissues[0], atol=0.1)


@pytest.mark.parametrize("anatomy", ANATOMIES)
def test_sessions_show_the_same_anatomy_with_new_noise(anatomy: str) -> None:
    first, second, stranger = (subject_images(i, 0, 96, session=s, anatomy=anatomy)
                               for i, s in ((0, 0), (0, 1), (1, 0)))

    def overlap(other: object) -> float:
        a, b = first.tissues[0, WHITE] > 0.5, other.tissues[0, WHITE] > 0.5
        return 2 * float((a & b).sum()) / float(a.sum() + b.sum())

    assert not np.array_equal(first.t1, second.t1)
    assert overlap(second) > 0.85 > overlap(stranger)


@pytest.mark.parametrize("anatomy", ["head", "first"])
@pytest.mark.parametrize("index", range(6))
def test_grey_white_and_fluid_contrast_are_those_of_real_scans(index: int, anatomy: str) -> None:
    images = subject_images(index, 0, 192, anatomy=anatomy)
    t1, t2 = ([_mean(image, images, t) for t in (CORTEX, WHITE, FLUID)] for image in (images.t1, images.t2))
    assert 0.54 < t1[0] / t1[1] < 0.80 and 0.08 < t1[2] / t1[1] < 0.35
    assert 1.2 < t2[0] / t2[1] < 1.8 and 2.8 < t2[2] / t2[1] < 4.5


@pytest.mark.parametrize("anatomy", ["brain", "first"])
def test_the_background_is_exactly_zero_and_the_brain_is_whole_and_fills_the_frame(anatomy: str) -> None:
    heights = []
    for index in range(30):
        images = subject_images(index, 1, 64, anatomy=anatomy)
        brain = images.brain[0] > 0
        assert not images.t1[0][~brain].any() and not images.t2[0][~brain].any()
        assert images.t1[0][brain].min() > 0
        rows, columns = np.flatnonzero(brain.any(1)), np.flatnonzero(brain.any(0))
        assert rows[0] > 0 and rows[-1] < 63 and columns[0] > 0 and columns[-1] < 63
        heights.append(len(rows) / 64)
    assert 0.76 < np.mean(heights) < 0.88


def test_a_head_is_whole_fills_the_frame_and_has_a_dark_skull_in_bright_fat_around_its_brain() -> None:
    heights = []
    for index in range(15):
        images = subject_images(index, 1, 128)
        head = images.labels[0] > 0
        rows, columns = np.flatnonzero(head.any(1)), np.flatnonzero(head.any(0))
        assert rows[0] > 0 and rows[-1] < 127 and columns[0] > 0 and columns[-1] < 127
        heights.append(len(rows) / 128)
        bone, fat = _purest(images.t1, images, BONE), _purest(images.t1, images, FAT)
        white, air = _purest(images.t1, images, WHITE), float(images.t1[0][~head].mean())
        assert 0 < air < 0.2 * white and bone < 0.4 * white and fat > white
        skull = images.tissues[0, [BONE, MARROW]].sum(0) > 0.5
        assert ndimage.label(skull)[1] == 1 and ndimage.binary_fill_holes(skull)[images.brain[0] > 0].all(), "one ring"
    assert 0.82 < np.mean(heights) < 0.92


def test_a_brain_is_its_head_without_skull_and_scalp() -> None:
    head, brain = (subject_images(4, 0, 226 if a == "head" else 196, anatomy=a) for a in ("head", "brain"))
    assert FIELDS_OF_VIEW["head"] / 226 == FIELDS_OF_VIEW["brain"] / 196
    middle = slice(15, 211)
    assert np.array_equal(head.brain[:, middle, middle], brain.brain)
    assert np.allclose(head.tissues[:, :, middle, middle], brain.tissues, atol=1e-3)
    assert set(np.unique(brain.labels)) <= {0, *range(1, 2 + LESION)}


def test_heads_differ_in_shape_ventricles_and_atrophy() -> None:
    shapes, fluid, ventricles = [], [], []
    for index in range(40):
        images = subject_images(index, 2, 64)
        head, brain = images.labels[0] > 0, images.brain[0] > 0
        shapes.append(head.any(0).sum() / head.any(1).sum())
        fluid.append(images.tissues[0, FLUID][brain].mean())
        ventricles.append(images.tissues[0, FLUID, 22:42, 26:38].mean())
    assert 0.75 < np.mean(shapes) < 0.90 and np.std(shapes) > 0.03
    assert max(fluid) > 1.4 * min(fluid) and max(ventricles) > 3 * min(ventricles)


@pytest.mark.parametrize("anatomy", ["head", "first"])
def test_lesions_are_bright_in_t2_dark_in_t1_and_where_the_mask_says(anatomy: str) -> None:
    for index in range(5):
        sick, healthy = (subject_images(index, 0, 128, lesion=lesion, anatomy=anatomy) for lesion in (True, False))
        mask = sick.lesions > 0
        assert not healthy.lesions.any()
        assert 10 < mask.sum() < 0.1 * sick.brain.sum()
        assert np.array_equal(mask, (sick.tissues[:, LESION] >= 0.5) & (sick.brain > 0))
        assert sick.t2[mask].mean() > 1.4 * _mean(sick.t2, sick, WHITE)
        assert sick.t1[mask].mean() < 0.9 * _mean(sick.t1, sick, WHITE)
        far = sick.tissues[:, LESION] < 1e-4
        assert np.allclose(*(images.tissues.transpose(0, 2, 3, 1)[far] for images in (sick, healthy)), atol=1e-3)


@pytest.mark.parametrize("share", [0.1, 0.35, 0.5])
def test_the_share_with_lesions_is_kept_at_every_size_of_cohort(share: float) -> None:
    for seed in range(5):
        members = np.cumsum([has_lesions(i, seed, share) for i in range(300)])
        assert np.abs(members - share * np.arange(1, 301)).max() <= 2.5
        assert all(has_lesions(i, seed, 0.6) for i in range(50) if has_lesions(i, seed, share))
    assert not any(has_lesions(i, 0, 0.0) for i in range(50)) and all(has_lesions(i, 0, 1.0) for i in range(50))


def test_nifti_files_have_the_right_names_geometry_and_orientation(tmp_path: Path) -> None:
    folder = phantom(tmp_path / "cohort", subjects=2, size=40, slices=3, sessions=2, lesions=0.5, seed=5)
    rows = table(folder / "files.csv")
    assert list(rows[0]) == ["path", "subject", "domain", "label", "session"]
    assert rows[0] == {"path": "sub-0001/sub-0001_ses-01_T1.nii.gz", "subject": "sub-0001", "domain": "T1",
                       "label": rows[0]["label"], "session": "ses-01"}
    assert len(rows) == 2 * 2 * 3
    assert {r["path"] for r in rows} == {p.relative_to(folder).as_posix() for p in folder.rglob("*.nii.gz")}
    sick = {r["subject"]: r["label"] == "lesion" for r in rows}
    for row in rows:
        image = nibabel.load(folder / row["path"])
        assert image.shape == (40, 40, 3) and nibabel.aff2axcodes(image.affine) == ("R", "A", "S")
        assert np.allclose(image.header.get_zooms(), (FIELDS_OF_VIEW["head"] / 40,) * 2 + (3.0,))
        assert np.allclose(image.affine @ [19.5, 19.5, 1, 1], [0, 0, 0, 1], atol=1e-4)
        if row["domain"] == MASK_DOMAIN:
            values = np.unique(image.dataobj)
            assert set(values) <= {0, 1} and (sick[row["subject"]] or not values.any())
    expected = subject_images(0, 5, 40, 3, 1, sick["sub-0001"])
    stored = np.asarray(nibabel.load(folder / "sub-0001/sub-0001_ses-02_T2.nii.gz").dataobj)
    # image row 0 is the front, that is, the largest y
    assert np.abs(stored[12, 39 - 5, 2] - expected.t2[2, 5, 12]) <= 0.5
    assert np.abs(stored[:, ::-1].transpose(2, 1, 0) - expected.t2).max() <= 0.5


def test_png_files_show_the_same_slices(tmp_path: Path) -> None:
    folder = phantom(tmp_path / "cohort", subjects=1, size=48, format="png", slices=2, lesions=1.0)
    rows = table(folder / "files.csv")
    assert list(rows[0]) == ["path", "subject", "domain", "label", "slice"]
    assert {(r["domain"], r["slice"]) for r in rows} == {
        (d, s) for d in ("T1", "T2", MASK_DOMAIN) for s in ("0", "1")}
    expected = subject_images(0, 0, 48, 2, lesion=True)
    t1 = np.asarray(Image.open(folder / "sub-0001/sub-0001_T1_z001.png"))
    assert t1.dtype == np.uint8 and t1.shape == (48, 48)
    assert t1.max() > 150 and np.corrcoef(t1.ravel(), expected.t1[1].ravel())[0, 1] > 0.99
    mask = np.asarray(Image.open(folder / f"sub-0001/sub-0001_{MASK_DOMAIN}_z000.png"))
    assert np.array_equal(mask, 255 * expected.lesions[0])


@pytest.mark.parametrize("format", ["nifti", "png"])
def test_label_maps_of_the_tissues_are_written_and_prepared_as_masks(tmp_path: Path, format: str) -> None:
    folder = phantom(tmp_path / "cohort", subjects=4, size=48, tissues=True, format=format)
    expected = subject_images(0, 0, 48).labels[0]
    path = folder / table(folder / "files.csv")[2]["path"]
    stored = np.asarray(Image.open(path)) if format == "png" else \
        np.asarray(nibabel.load(path).dataobj)[:, ::-1, 0].T
    assert TISSUE_DOMAIN in path.name and np.array_equal(stored, expected)
    assert json.loads((folder / "phantom.json").read_text())["labels"] == LABELS
    assert set(np.unique(expected)) <= {0, *LABELS.values()} and len(np.unique(expected)) > 8
    dataset = Dataset.open(prepare(folder, tmp_path / "dataset", size=48, domains=("T1", "T2"), workers=1))
    rows = [row for row in dataset.rows("T1") if row.subject == "sub-0001"]
    # a volume is shown as radiologists look at it, with the patient's right on the left
    assert np.array_equal(dataset.masks(rows)[0], expected if format == "png" else expected[:, ::-1])


def test_a_taken_folder_is_kept_unless_overwrite(tmp_path: Path) -> None:
    folder = phantom(tmp_path / "cohort", subjects=2, size=16)
    with pytest.raises(UserError, match="overwrite"):
        phantom(folder, subjects=1, size=16)
    rows = table(folder / "files.csv")
    assert [(r["domain"], r["label"]) for r in rows] == [("T1", ""), ("T2", "")] * 2  # no masks, no labels
    phantom(folder, subjects=1, size=16, overwrite=True)
    assert len(table(folder / "files.csv")) == 2 and not (folder / "sub-0002").exists()


@pytest.mark.parametrize("change", [
    lambda folder: (folder / "notes.txt").write_text("mine"),
    lambda folder: (folder / "sub-0001" / "sub-0001_FLAIR.nii.gz").write_bytes(b"mine"),
    lambda folder: (folder / "files.csv").write_text("name\nx\n"),
    lambda folder: (folder / "phantom.json").unlink()])
def test_overwriting_spares_what_the_phantom_did_not_make(tmp_path: Path, change) -> None:
    folder = phantom(tmp_path / "cohort", subjects=1, size=16)
    change(folder)
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError, match="not what this command makes"):
        phantom(folder, subjects=1, size=16, overwrite=True)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("bad", [
    {"subjects": 0}, {"subjects": 2.5}, {"size": 8}, {"size": 4096}, {"seed": -1}, {"slices": 0}, {"slices": 21},
    {"sessions": 0}, {"lesions": -0.1}, {"lesions": 1.5}, {"lesions": float("nan")}, {"format": "dicom"},
    {"anatomy": "foot"}])
def test_nonsense_is_refused_before_anything_is_written(tmp_path: Path, bad: dict[str, object]) -> None:
    with pytest.raises(UserError, match=next(iter(bad))):
        phantom(tmp_path / "cohort", **{"subjects": 1, "size": 16, **bad})
    assert not list(tmp_path.iterdir())


def test_inversion_gradient_echo_agrees_with_stepping_through_the_sequence() -> None:
    tr, ti, spacing, echoes, angle = 2300.0, 900.0, 7.0, 176, np.deg2rad(9.0)
    magnetisation = np.ones(5)

    def recover(m: np.ndarray, time: float) -> np.ndarray:
        return 1 + (m - 1) * np.exp(-time / TYPICAL.t1)

    for _ in range(30):
        magnetisation = recover(-magnetisation, ti - spacing * echoes / 2)
        for echo in range(echoes):
            if echo == echoes // 2:
                middle = magnetisation * np.sin(angle) * TYPICAL.density
            magnetisation = recover(magnetisation * np.cos(angle), spacing)
        magnetisation = recover(magnetisation, tr - ti - spacing * echoes / 2)
    assert np.allclose(inversion_gradient_echo(TYPICAL, tr, ti, spacing, echoes, 9.0), middle, rtol=1e-6)


def test_spin_echo_by_hand() -> None:
    values = TissueValues(np.array([0.8]), np.array([1000.0]), np.array([100.0]))
    # 0.8 (1 - e^-2) e^-1
    assert spin_echo(values, tr=2000.0, te=100.0)[0] == pytest.approx(0.25447, abs=1e-5)


def test_noise_in_the_background_of_a_magnitude_image_has_the_rayleigh_mean() -> None:
    noise = rician(np.random.default_rng(0), np.zeros(200_000, np.float32), 2.0)
    assert noise.mean() == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.01)
