"""Volumes through a model whose answer is known: geometry, units, and what is refused."""

from __future__ import annotations

import tracemalloc
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ganatomy
from ganatomy.core.errors import UserError
from ganatomy.data.geometry import NORMAL, Axis, orientation
from ganatomy.formats import Header
from ganatomy.translation.conversion import conversion_of
from ganatomy.translation.volume import translate_volume
from tests.builders import head
from tests.preparation.test_grids import AFFINES, affines
from tests.translation.known_models import BYTES, WINDOW, Fake, floats, grid

AXES = ("axial", "coronal", "sagittal")


def blob(shape: tuple[int, ...], centre: np.ndarray, sigmas: np.ndarray) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    values = np.exp(-(((index - centre) / sigmas) ** 2).sum(-1) / 2)
    return np.where(values < 1e-6, 0, values).astype(np.float32)


def nifti(volume: np.ndarray, affine: np.ndarray | None = None) -> nibabel.Nifti1Image:
    return nibabel.Nifti1Image(volume, np.eye(4) if affine is None else affine)


def values(model: Fake, volume: np.ndarray, **options: Any) -> np.ndarray:
    """A volume of 1 mm translated, as an array."""
    return np.asarray(ganatomy.translate(model, nifti(volume), **options).dataobj)


def centroid(values: np.ndarray, affine: np.ndarray) -> np.ndarray:
    index = np.argwhere(values != 0)
    weights = values[tuple(index.T)].astype(np.float64)
    return (nibabel.affines.apply_affine(affine, index) * weights[:, None]).sum(0) / weights.sum()


@settings(max_examples=40, deadline=None)
@given(affine=affines(), axis=st.sampled_from(AXES), fit=st.sampled_from(["resize", "crop", "pad"]),
       sizes=st.tuples(*[st.floats(0.8, 3)] * 3), mm=st.floats(0.7, 4), offset=st.tuples(*[st.floats(-1, 1)] * 3))
def test_a_landmark_stays_where_it_is(affine: np.ndarray, axis: Axis, fit: str, sizes: tuple[float, ...], mm: float,
                                      offset: tuple[float, ...]) -> None:
    """Any rotation, anisotropy and handedness, both ways through the grid of the training data: 0.1 mm."""
    affine[:3, :3] *= np.array(sizes) / np.linalg.norm(affine[:3, :3], axis=0)
    sigmas = np.maximum(1.2 * mm / np.array(sizes), 1.2)
    across = orientation(affine)[:, 0] == NORMAL[axis]
    sigmas[across] = 1.0
    offset = tuple(np.where(across, 0, offset))  # faint slices at both ends count as empty, alike at both
    shape = tuple(int(n) for n in np.ceil(11 * sigmas) + 3)
    volume = blob(shape, (np.array(shape) - 1) / 2 + offset, sigmas)
    model = floats(64, 0.0, 1.0, grid=grid(axis, fit, mm))
    image = nifti(volume, affine)
    back = ganatomy.translate(model, image)
    assert back.shape == shape and np.array_equal(back.affine, image.affine)
    assert np.abs(centroid(np.asarray(back.dataobj), affine) - centroid(volume, affine)).max() < 0.1
    assert np.asarray(back.dataobj).max() > 0.5


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", AFFINES)
def test_pixels_of_the_training_size_come_back_bit_for_bit(name: str, axis: str) -> None:
    volume = np.random.default_rng(0).integers(1, 99, (14, 18, 16)).astype(np.uint8)
    sizes = np.sqrt((AFFINES[name][:3, :3] ** 2).sum(0))
    affine = AFFINES[name] @ np.diag([*(1 / sizes), 1.0])  # 1 mm
    back = ganatomy.translate(Fake(20, **BYTES, grid=grid(axis)), nifti(volume, affine))
    assert back.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(back.dataobj), volume)


def test_the_model_sees_what_prepare_would_store(tmp_path: Any) -> None:
    """The same volume prepared and translated: the model is given the stored images."""
    from ganatomy.preparation.prepare import prepare
    from tests.builders import cohort, save

    cohort(tmp_path / "in", mask=False)
    affine = AFFINES["oblique"]
    for folder in sorted((tmp_path / "in").iterdir()):
        for file in folder.iterdir():
            save(file, np.asarray(nibabel.load(file).dataobj), affine)
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=16)
    info, rows = dataset.info, dataset.rows("T1")
    assert info.grid is not None
    model = Fake(16, source_intensity=info.intensity["T1"].model_dump(), intensity=info.intensity["T2"].model_dump(),
                 value_range=info.value_range, grid=info.grid.model_dump(), spacing=info.spacing)
    images, stored = [], dataset.images(rows)
    for file in sorted((tmp_path / "in").glob("*/*_T1.nii.gz")):
        ganatomy.translate(model, nibabel.load(file))
        images += model.seen
        model.seen = []
    for image in stored:
        assert min(np.abs(image - other).max() for other in images) == 0


def test_half_the_size_of_the_dataset() -> None:
    """A model of 16 pixels on a dataset of 32 of 1 mm sees pixels of 2 mm."""
    volume = blob((40, 40, 3), np.array([17.3, 22.6, 1]), np.array([4.0, 4.0, 9.0]))
    model = floats(16, 0.0, 1.0, grid=grid(mm=1.0), spacing=(2.0, 2.0), factor=2)
    back = values(model, volume)
    assert np.abs(centroid(back, np.eye(4)) - centroid(volume, np.eye(4))).max() < 0.1
    assert np.abs(back - volume).max() < 0.05


def test_units_of_the_target() -> None:
    """CT comes back in whole Hounsfield units, MR on the cohort's scale; outside is the least value."""
    volume = head(0, (40, 40, 3))
    ct = values(Fake(32, intensity=WINDOW), volume)
    assert (ct.dtype, ct.min(), ct.max()) == (np.int16, -1000, 1000)
    assert (ct[0] == -1000).all() and (ct[:, -1] == -1000).all()  # 40 pixels of 1 mm, of which 32 are seen
    mr = values(Fake(32), volume)
    assert mr.dtype == np.float32 and mr.min() == 0 and mr.max() == pytest.approx(65535 * 0.02)
    assert np.corrcoef(volume[8:-8, 8:-8, 1].ravel(), mr[8:-8, 8:-8, 1].ravel())[0, 1] > 0.99


def test_a_two_way_model_backward() -> None:
    model = Fake(32, two_way=True, inverted=True, source_intensity=WINDOW)
    back = ganatomy.translate(model, nifti(head(0, (20, 20, 3))), direction="T2:T1")
    assert back.get_data_dtype() == np.int16 and b"synthetic T1" in back.header["descrip"].item()
    # the mapping is T2's, by percentiles: the head's own range becomes the whole of the window
    assert model.seen[0].max() == 1 and np.asarray(back.dataobj).min() == -1000
    forward = ganatomy.translate(model, nifti(head(0, (20, 20, 3)) - 500), direction="T1:T2")
    assert model.backward == [True, False] and forward.get_data_dtype() == np.float32


def test_empty_slices_are_not_shown_to_the_model() -> None:
    volume = np.zeros((20, 20, 10), np.float32)
    volume[..., 3:5] = head(0, (20, 20, 4))[..., 1:3]
    model = Fake(32, inverted=True)
    back = values(model, volume)
    assert len(model.seen) == 2
    assert (back[..., :3] == 0).all() and (back[..., 5:] == 0).all() and (back[..., 3:5] > 0).any()
    assert values(Fake(), head(0, (20, 20, 3))[..., 1:2]).max() > 0  # a single slice along the model's axis


def test_memory_does_not_grow_with_the_slices() -> None:
    def peak(slices: int) -> float:
        pixels = np.tile(head(0, (192, 192, 8)).astype(np.int16), (1, 1, slices // 8))
        header = Header(pixels.shape, pixels.dtype, affine=np.eye(4), volumetric=True, oriented=True)
        model = Fake(32, grid=grid(mm=6.0))
        conversion = conversion_of(model, None, "run")
        tracemalloc.start()
        model.translate = lambda images, seed=0, backward=False: images  # type: ignore[method-assign]
        out = translate_volume(pixels, header, model, conversion)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return (most - out.nbytes) / 2**20

    # beyond two million voxels only a sample is measured
    assert peak(192) - peak(96) < 2  # MiB; the volume itself grows by 7


def test_arrays_come_back_as_arrays() -> None:
    pictures = head(0, (3, 24, 20)) + 1000
    one = ganatomy.translate(Fake(32, inverted=True), pictures)
    assert one.shape == pictures.shape and one.dtype == np.float32
    assert np.corrcoef(one[1, 8:-8, 8:-8].ravel(), pictures[1, 8:-8, 8:-8].ravel())[0, 1] < -0.9
    single = ganatomy.translate(Fake(32, inverted=True), pictures[1].astype(np.float64))
    assert single.shape == (24, 20)
    colour = Fake(32, 3, **BYTES)
    rgb = np.random.default_rng(0).integers(0, 255, (24, 20, 3)).astype(np.uint8)
    assert np.array_equal(ganatomy.translate(colour, rgb), rgb.astype(np.float32))


@pytest.mark.parametrize("change", ["narrow", "wide", "big-endian", "micrometres", "four dimensions"])
def test_the_header_stays_but_for_what_names_the_patient(change: str) -> None:
    volume = head(0, (12, 14, 10))[..., None] if change == "four dimensions" else head(0, (12, 14, 10))
    affine = AFFINES["oblique"] * (1000 if change == "micrometres" else 1)
    affine[3, 3] = 1
    kind = nibabel.Nifti2Image if change == "wide" else nibabel.Nifti1Image
    header = kind.header_class(endianness=">") if change == "big-endian" else None
    image = kind(volume, affine, header)
    image.set_qform(affine, 1)
    image.set_sform(affine, 4)
    image.header.set_xyzt_units("micron" if change == "micrometres" else "mm", "sec")
    image.header["descrip"], image.header["aux_file"] = b"Jane Doe 1970", b"Doe.txt"
    image.header["intent_name"], image.header["cal_max"] = b"Doe", 5
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Jane Doe"))
    back = ganatomy.translate(Fake(32, grid=grid(mm=1.0)), image)
    assert type(back) is kind and back.shape == image.shape
    assert back.affine.tobytes() == image.affine.tobytes()
    for key in ("qform_code", "sform_code", "xyzt_units", "quatern_b", "srow_x", "srow_y", "srow_z"):
        assert back.header[key].tobytes() == image.header[key].tobytes()
    assert np.array_equal(back.header["pixdim"][:4], image.header["pixdim"][:4])
    data = back.to_bytes()
    assert b"Doe" not in data and not back.header.extensions
    again = kind.from_bytes(data)
    assert again.header["descrip"].item() == b"synthetic T2 by ganatomy, not for diagnosis"
    assert again.affine.tobytes() == image.affine.tobytes()
    assert np.array_equal(np.asarray(again.dataobj), np.asarray(back.dataobj))
    assert float(again.header["cal_min"]) == 0 and float(again.header["cal_max"]) == pytest.approx(1310.7)
    assert np.asarray(again.dataobj).max() > 1000


HEAD = head(0, (12, 12, 4))
BROKEN = np.where(np.arange(4) == 1, np.nan, HEAD).astype(np.float32)
UNUSABLE: list[tuple[Fake, Any, dict[str, Any], str]] = [
    (Fake(), nifti(np.stack([HEAD] * 2, -1)), {}, "4 dimensions"),
    (Fake(), nifti(BROKEN), {}, "144 values that are NaN or infinite -> replace"),
    (Fake(), np.where(np.isnan(BROKEN), np.inf, HEAD), {}, "NaN or infinite"),
    (Fake(), nifti(np.full((5, 5, 5), 7, np.float32)), {}, "is empty: every value is 7"),
    (Fake(), np.zeros((0, 5, 5)), {}, "holds no pixels"),
    (Fake(), np.zeros((2, 2, 5, 5)), {}, "neither"),
    (Fake(), HEAD.astype(complex), {}, "plain numbers"),
    (Fake(), nibabel.MGHImage(HEAD, np.eye(4)), {}, "Image cannot be translated"),
    (Fake(), nifti(head(0, (9, 9, 1)), AFFINES["sagittal acquisition"]), {}, "single sagittal slice, so .* no axial"),
    (Fake(**BYTES), nifti(np.linspace(0, 3000, 400).reshape(10, 10, 4).astype(np.int16)), {},
     "from 0 to 3000, and the model was trained on values from 0 to 255"),
    (Fake(32, 3, **BYTES), nifti(HEAD), {}, "colour pictures"),
    (Fake(translates=False), nifti(HEAD), {}, "use `ganatomy generate`"),
    (Fake(grid=None), nifti(HEAD), {}, "prepare the dataset and train again"),
    (Fake(source_intensity={"method": "percentile"}), nifti(HEAD), {}, "prepare the dataset and train again"),
    (Fake(), nifti(HEAD), {"direction": "T1:FLAIR"}, "-> use T1:T2"),
    (Fake(two_way=True), nifti(HEAD), {"direction": "backward"}, "-> use T1:T2 or T2:T1"),
    (Fake(), nifti(HEAD), {"direction": "T2:T1"}, "this model translates T1 to T2 only"),
    (Fake(), nifti(HEAD), {"seed": -1}, "--seed"),
    (Fake(), nifti(HEAD), {"out": "x.nii"}, "only paths")]


@pytest.mark.parametrize(("model", "volume", "options", "words"), UNUSABLE, ids=[words for *_, words in UNUSABLE])
def test_what_cannot_be_translated(model: Fake, volume: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ganatomy.translate(model, volume, **options)


def test_a_model_that_has_gone_wrong_is_told() -> None:
    model = Fake()
    model.translate = lambda images, seed=0, backward=False: images * np.float32(np.nan)  # type: ignore[method-assign]
    with pytest.raises(UserError, match="makes values that are not finite"):
        ganatomy.translate(model, nifti(HEAD))


def test_another_contrast_is_refused_unless_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def objection(volume: np.ndarray, domain: str, known: Any) -> str:
        asked.append((volume.shape, domain, sorted(known)))
        return "looks like FLAIR, not like T1"

    monkeypatch.setattr("ganatomy.translation.volume.objection", objection)
    model, volume, lines = Fake(contrasts={"T1": {}, "T2": {}}), head(0, (12, 12, 50)), list[str]()
    with pytest.raises(UserError, match="looks like FLAIR, not like T1 -> add --force"):
        values(model, volume)
    values(model, volume, force=True, say=lines.append)
    assert lines == ["warning: the volume: looks like FLAIR, not like T1"]
    shape, *rest = asked[0]
    assert shape[1:] == (1, 32, 32) and 5 < shape[0] <= 32 and rest == ["T1", ["T1", "T2"]]


def test_a_model_of_pictures_and_volumes_and_the_reverse() -> None:
    """Without a common pixel size both are scaled until they fit, and that is told."""
    lines: list[str] = []
    model = floats(32, 0.0, 200.0, grid=grid(fit="resize", mm=None))
    volume, affine = head(0, (64, 48, 3)), np.diag([0.5, 1.0, 1, 1])
    back = ganatomy.translate(model, nifti(volume, affine), say=lines.append)
    assert "without a pixel size" in lines[0]
    height, width = (np.ptp(np.flatnonzero((model.seen[0][0] > -1).any(axis))) for axis in (1, 0))
    assert height > 20 > width  # 48 mm high, 32 mm wide: not distorted
    assert np.abs(centroid(np.asarray(back.dataobj), affine) - centroid(volume, affine)).max() < 0.3
    ganatomy.translate(floats(32, 0.0, 200.0, grid=grid(fit="resize", mm=3.0)), volume[..., 1], say=lines.append)
    assert any("does not say how large a pixel is" in line for line in lines)


def test_what_is_odd_about_a_volume_is_told() -> None:
    lines: list[str] = []
    thick = nifti(head(0, (20, 24, 16)), np.diag([1.0, 1, 4, 1]))
    ganatomy.translate(Fake(32, grid=grid("coronal")), thick, say=lines.append)
    assert "its slices are axial and thick; the model translates coronal ones" in lines[0]
    thick.set_sform(thick.affine, 0)
    thick.set_qform(None, 0)
    ganatomy.translate(Fake(32), thick, say=lines.append)
    assert any("does not say how the patient lies" in line for line in lines)


def test_unevenly_spaced_slices_have_no_other_planes() -> None:
    pixels = head(0, (20, 20, 4))
    starts = tuple((0.0, 0.0, z) for z in (0.0, 1.0, 2.0, 5.0))
    header = Header(pixels.shape, pixels.dtype, affine=np.eye(4), volumetric=True, oriented=True, starts=starts)
    model = Fake(32, grid=grid("sagittal"))
    with pytest.raises(UserError, match="unevenly spaced, so there are no sagittal slices"):
        translate_volume(pixels, header, model, conversion_of(model, None, "run"))
    assert translate_volume(pixels, header, Fake(32), conversion_of(Fake(32), None, "run")).max() > 0
