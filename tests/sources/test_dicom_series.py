"""Slices find their volume, their order and their place; what is odd is named."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ganatomy.formats import read_frames, scan
from ganatomy.formats.dicom.tags import Facts, Frame, facts
from ganatomy.sources.dicom.series import Volume, build
from tests.dicom_files import AXIAL, SECONDARY, write_dicom, write_enhanced
from tests.pacs import ras_affine, rotation

CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
Skipped = list[tuple[str, str]]


def built(items: Sequence[Facts], **options: bool) -> tuple[list[Volume], Skipped]:
    return build([(f"f{i}", Path(f"/nowhere/f{i}"), item) for i, item in enumerate(items)], **options)


def built_files(folder: Path, **options: bool) -> tuple[list[Volume], Skipped]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return build([(path.name, path, facts(path)) for path in files], **options)


def stack(heights: Sequence[float], orientation: Sequence[float] = AXIAL, shift: Sequence[float] = (0, 0, 0),
          **tags: Any) -> list[Facts]:
    """Facts of a slice at each height along the normal, each shifted by its height x `shift`."""
    normal = np.cross(orientation[:3], orientation[3:])
    places = [tuple(map(float, normal * z + np.asarray(shift) * z)) for z in heights]
    base: dict[str, Any] = {"patient_id": "P", "study_uid": "1.2", "series_uid": "1.2.3", "series_description": "T1",
                            "modality": "MR", "rows": 8, "columns": 6, "image_type": ("ORIGINAL", "PRIMARY", "M")}
    return [Facts(instance_number=k + 1, frames=(Frame(place, tuple(orientation), (1.0, 1.0), 2.0),), **base | tags)
            for k, place in enumerate(places)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), angle=st.floats(0, 180), slices=st.integers(2, 7),
       spacing=st.tuples(st.floats(0.2, 3), st.floats(0.2, 3)), step=st.floats(0.3, 12), reverse=st.booleans())
def test_order_and_affine_agree_with_simpleitk(seed: int, angle: float, slices: int, spacing: tuple[float, float],
                                               step: float, reverse: bool) -> None:
    sitk = pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(seed)
    affine = ras_affine(rotation(rng, angle), spacing, step, rng.uniform(-300, 300, 3))
    directions = (affine[:3, :2] * [[-1], [-1], [1]]) / [spacing[1], spacing[0]]
    names = [f"{n}" for n in rng.permutation(slices)]
    with tempfile.TemporaryDirectory() as place:
        for k in range(slices):
            write_dicom(Path(place, names[k]), np.full((5, 4), 10 + k, np.uint16), spacing=spacing, thickness=step,
                        number=slices - k if reverse else k + 1, orientation=directions.T.ravel(),
                        position=(affine @ [0, 0, k, 1])[:3] * [-1, -1, 1])
        (volume,), skipped = built_files(Path(place))
        values = read_frames(volume.frames)
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(place))
        theirs = reader.Execute()
    assert skipped == [] and volume.notes == ()
    assert values[0, 0].tolist() == list(range(10, 10 + slices))
    assert values.shape == volume.header.shape == (4, 5, slices)
    assert volume.header.affine is not None
    for corner in ((0, 0, 0), (3, 0, 0), (0, 4, 0), (3, 4, slices - 1)):
        ours = (volume.header.affine @ [*corner, 1])[:3]
        assert np.allclose(ours, (affine @ [*corner, 1])[:3], atol=0.01)
        assert np.allclose(ours * [-1, -1, 1], theirs.TransformIndexToPhysicalPoint(corner), atol=0.01)


@settings(deadline=None)
@given(heights=st.permutations(list(range(9))), numbers=st.permutations(list(range(9))))
def test_neither_instance_numbers_nor_names_order_the_slices(heights: list[int], numbers: list[int]) -> None:
    items = [replace(item, instance_number=n) for item, n in zip(stack(heights), numbers, strict=True)]
    (volume,), _ = built(items)
    assert [heights[int(path.rpartition("f")[2])] for path, _ in volume.frames] == list(range(9))


def test_missing_slices_are_counted_and_placed() -> None:
    heights = [0, 3, 6, 15, 18, 21, 27, 30]
    volumes, skipped = built(stack(heights))
    assert volumes == []
    assert len(skipped) == 1 and skipped[0][0] == "f0"
    assert "lacks 3 slices (2 between slices 3 and 4, at 6.0 and 15.0 mm; 1 between slices 6 and 7" in skipped[0][1]
    assert "series 'T1' (8 slices)" in skipped[0][1] and "--allow-gaps" in skipped[0][1]


def test_allowed_gaps_keep_every_slice_where_it_is() -> None:
    heights = [0, 3, 6, 15, 18]
    (volume,), skipped = built(stack(heights), allow_gaps=True)
    assert skipped == [] and "lacks 2 slices" in volume.notes[0]
    assert volume.step == pytest.approx(3)
    assert [start[2] for start in volume.header.starts] == heights


def test_uneven_gaps_are_named() -> None:
    volumes, skipped = built(stack([0, 3, 6.8, 9, 12]))
    assert volumes == [] and "gaps are uneven: 2.20 to 3.80 mm" in skipped[0][1]
    (volume,), _ = built(stack([0, 3, 6.8, 9, 12]), allow_gaps=True)
    assert [start[2] for start in volume.header.starts] == [0, 3, 6.8, 9, 12]
    assert np.linalg.norm(volume.header.affine[:3, 2]) == pytest.approx(3)  # type: ignore[index]


def test_positions_rounded_to_a_tenth_are_even() -> None:
    (volume,), skipped = built(stack([round(k * 1.25, 1) for k in range(40)]))
    assert skipped == [] and volume.notes == () and volume.header.starts == ()
    assert volume.step == pytest.approx(1.25, abs=1e-3)


@pytest.mark.parametrize("degrees", [1, 12, 25])
def test_gantry_tilt_is_named_with_its_angle(degrees: int) -> None:
    slant = (0, np.tan(np.radians(degrees)), 0)
    volumes, skipped = built(stack([0, 5, 10, 15], shift=slant))
    assert volumes == [] and f"stacked {degrees}.0 degrees off their normal (gantry tilt)" in skipped[0][1]
    (volume,), _ = built(stack([0, 5, 10, 15], shift=slant), allow_gaps=True)
    assert np.allclose(volume.header.affine[:3, 2], [0, -5 * slant[1], 5])  # type: ignore[index]


def test_slices_shifted_sideways_are_no_even_volume() -> None:
    items = stack([0, 3, 6, 9, 12])
    moved = replace(items[2].frames[0], position=(4.0, 0.0, 6.0))
    volumes, skipped = built([*items[:2], replace(items[2], frames=(moved,)), *items[3:]])
    assert volumes == [] and "shifted sideways" in skipped[0][1]


def test_a_single_slice_is_a_volume_of_one() -> None:
    (volume,), skipped = built(stack([7.0]))
    assert skipped == [] and volume.header.shape == (6, 8, 1) and "single slice" in volume.notes[0]
    assert np.allclose(volume.header.affine, [[-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 2, 7], [0, 0, 0, 1]])


@pytest.mark.parametrize("other", [
    {"orientation": CORONAL}, {"echo_time": 90.0}, {"image_type": ("ORIGINAL", "PRIMARY", "P")}, {"rows": 9},
    {"temporal_position": 2}, {"acquisition_number": 2}, {"content_time": "101112"}])
def test_one_series_can_hold_two_volumes(other: dict[str, Any]) -> None:
    first: dict[str, Any] = {"echo_time": 10.0, "temporal_position": 1, "acquisition_number": 1, "content_time": "10"}
    items = [*stack(range(5), **first), *stack(range(5), **first | other)]
    volumes, skipped = built([items[i] for i in np.random.default_rng(0).permutation(10)])
    assert [volume.header.shape[2] for volume in volumes] == [5, 5] and skipped == []


@pytest.mark.parametrize("varying", [{"echo_time": (100.0, 100.3, 100.6)}, {"acquisition_number": (1, 2, 3)}])
def test_what_varies_slightly_or_with_each_slice_splits_nothing(varying: dict[str, tuple[Any, ...]]) -> None:
    items = [replace(item, **{name: values[k] for name, values in varying.items()})
             for k, item in enumerate(stack(range(3)))]
    assert [v.header.shape[2] for v in built(items)[0]] == [3]


def test_repeated_places_in_one_numbering_are_volumes_one_after_the_other() -> None:
    items = [*stack(range(4)), *(replace(item, instance_number=5 + k) for k, item in enumerate(stack(range(4))))]
    volumes, _ = built(items)
    assert sorted([int(path.rpartition("f")[2]) for path, _ in v.frames] for v in volumes) == [[0, 1, 2, 3],
                                                                                              [4, 5, 6, 7]]


def test_places_that_repeat_only_here_and_there_are_refused() -> None:
    items = [*stack(range(4)), *(replace(item, instance_number=9) for item in stack([2.0]))]
    volumes, skipped = built(items)
    assert volumes == [] and "several images at one place: series 'T1'" in skipped[0][1]


def test_multiframe_times_and_echoes_are_volumes(tmp_path: Path) -> None:
    frames = np.arange(8, dtype=np.uint16)[:, None, None] * np.ones((1, 5, 4), np.uint16)
    places = [(0, 0, 2.0 * (k % 4)) for k in range(8)]
    write_enhanced(tmp_path / "times", frames, positions=places, temporal=[1 + k // 4 for k in range(8)], thickness=2)
    write_enhanced(tmp_path / "echoes", frames, positions=places, echoes=[10 + 80 * (k // 4) for k in range(8)],
                   series="other", thickness=2)
    volumes, skipped = built_files(tmp_path)
    assert skipped == []
    assert sorted(read_frames(v.frames)[0, 0].tolist() for v in volumes) == [[0, 1, 2, 3]] * 2 + [[4, 5, 6, 7]] * 2
    assert sorted(v.echo for v in volumes if v.echo is not None) == [10, 90]


def test_copies_are_left_out_under_old_and_new_uids() -> None:
    items = [replace(item, sop_uid=f"1.{k}") for k, item in enumerate(stack(range(4)))]
    renamed = [replace(item, sop_uid=f"2.{k}") for k, item in enumerate(stack(range(4)))]
    for copies in (items, renamed):
        (volume,), skipped = built([*items, *copies])
        assert volume.header.shape[2] == 4
        assert [name for name, _ in skipped] == ["f4", "f5", "f6", "f7"]
        assert all(reason.startswith("duplicate: ") for _, reason in skipped)


def test_the_copy_without_loss_is_kept() -> None:
    lossy = [replace(item, sop_uid=f"1.{k}", lossy=True) for k, item in enumerate(stack(range(3)))]
    whole = [replace(item, sop_uid=f"2.{k}") for k, item in enumerate(stack(range(3)))]
    (volume,), _ = built([*lossy, *whole])
    assert [path.rpartition("/")[2] for path, _ in volume.frames] == ["f3", "f4", "f5"] and not volume.header.lossy


@pytest.mark.parametrize("same", [True, False])
def test_without_instance_numbers_the_pixels_tell_copies(tmp_path: Path, same: bool) -> None:
    for k in range(6):
        write_dicom(tmp_path / f"{k}", np.full((4, 4), k % 3 if same else k, np.uint16), position=(0, 0, k % 3),
                    InstanceNumber=None)
    volumes, skipped = built_files(tmp_path)
    if same:
        assert [v.header.shape[2] for v in volumes] == [3] and len(skipped) == 3
    else:
        assert volumes == [] and "several images at one place" in skipped[-1][1]


def test_same_sop_uid_at_another_place_is_no_copy() -> None:
    (volume,), skipped = built([replace(item, sop_uid="1") for item in stack(range(4))])
    assert volume.header.shape[2] == 4 and skipped == []


def test_localisers_are_left_out_by_type_name_and_planes() -> None:
    kinds = (stack(range(3), series_uid="1", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")),
             stack(range(3), series_uid="2", series_description="3-plane_Loc"),
             [*stack(range(3), series_uid="3"), *stack(range(3), CORONAL, series_uid="3"),
              *stack(range(3), SAGITTAL, series_uid="3")])
    volumes, skipped = built([item for kind in kinds for item in kind])
    assert volumes == []
    assert [reason.partition(":")[0] for _, reason in skipped] == ["localiser"] * 3
    volumes, skipped = built([f for o in (AXIAL, CORONAL, SAGITTAL) for f in stack(range(30), o, series_uid="4")])
    assert len(volumes) == 3 and skipped == []


def test_derived_images_stay_only_where_nothing_else_is() -> None:
    original = stack(range(4))
    derived = stack(range(4), series_uid="9", image_type=("DERIVED", "SECONDARY", "MPR"))
    (volume,), skipped = built([*original, *derived])
    assert volume.facts.series_uid == "1.2.3"
    assert skipped[0][1].startswith("derived image (add --keep-derived to take it): series 'T1' (4 slices)")
    (volume,), skipped = built(derived)
    assert skipped == [] and "derived images kept" in volume.notes[0]
    assert len(built([*original, *derived], keep_derived=True)[0]) == 2
    mip = stack(range(4), series_uid="9", series_description="TOF_MIP")
    assert built([*original, *mip])[1][0][1].startswith("projection")
    other_modality = [replace(item, modality="CT", series_uid="8") for item in original]
    assert len(built([*derived, *other_modality])[0]) == 2


def test_secondary_captures_are_left_out_but_for_whole_studies_of_them(tmp_path: Path) -> None:
    picture = np.zeros((6, 8), np.uint8)
    plain: dict[str, Any] = {"position": None, "orientation": None, "SOPClassUID": SECONDARY}
    write_dicom(tmp_path / "a", picture, modality="CR", **plain)
    (volume,), skipped = built_files(tmp_path)
    assert volume.frames == () and skipped == [] and "secondary captures kept" in volume.notes[0]
    write_dicom(tmp_path / "b", picture, modality="CR", series="x-ray", position=None, orientation=None)
    volumes, skipped = built_files(tmp_path)
    assert [v.name for v in volumes] == ["b"]
    assert [(name, reason.partition(" (")[0]) for name, reason in skipped] == [("a", "secondary capture")]


def test_photographs_and_whole_slides_are_no_secondary_captures(tmp_path: Path) -> None:
    for name, kind in (("photograph", "77.1.4"), ("slide", "77.1.6"), ("capture", "7.2")):
        write_dicom(tmp_path / name, np.zeros((6, 8), np.uint8), modality="XC", series=name, position=None,
                    orientation=None, SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{kind}")
    assert {volume.name for volume in built_files(tmp_path)[0]} == {"photograph", "slide"}


def test_loggers_are_mute_only_while_a_file_is_read(tmp_path: Path) -> None:
    loggers = [logging.getLogger(name) for name in ("pydicom", "nibabel.global")]
    levels = [logger.level for logger in loggers]
    facts(write_dicom(tmp_path / "a", np.zeros((6, 8), np.uint8)))
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2)), np.eye(4)), tmp_path / "a.nii")
    scan(tmp_path / "a.nii")
    assert [logger.level for logger in loggers] == levels


def test_files_without_positions_are_pictures(tmp_path: Path) -> None:
    plain: dict[str, Any] = {"position": None, "orientation": None}
    write_dicom(tmp_path / "cine", np.zeros((5, 6, 8), np.uint8), modality="US", **plain)
    write_dicom(tmp_path / "colour", np.zeros((6, 8, 3), np.uint8), modality="US", number=2, **plain)
    cine, colour = built_files(tmp_path)[0]
    assert (cine.header.shape, cine.header.affine, cine.frames) == ((5, 6, 8), None, ())
    assert cine.header.volumetric and cine.header.modality == "US" and cine.header.spacing == (1.0, 1.0)
    assert (colour.header.shape, colour.header.channels, colour.number) == ((1, 6, 8), 3, 2)


def test_the_dtype_holds_all_slices(tmp_path: Path) -> None:
    for k, dtype in enumerate((np.uint8, np.uint16, np.uint8)):
        write_dicom(tmp_path / f"{k}", np.full((4, 4), 200, dtype), number=k, position=(0, 0, k))
    (volume,), _ = built_files(tmp_path)
    assert volume.header.dtype == read_frames(volume.frames).dtype == np.uint16


number = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, -1.0, 0.7071, 3.0]))


@settings(deadline=None)
@given(st.lists(st.tuples(st.lists(number, max_size=4), st.one_of(st.just(list(AXIAL)), st.lists(number, max_size=7)),
                          st.lists(number, max_size=3), st.one_of(st.none(), number), st.integers(0, 3)), max_size=8))
def test_broken_geometry_never_breaks_anything(broken: list[tuple[Any, ...]]) -> None:
    items = [replace(stack([0.0])[0], instance_number=n, frames=(Frame(
        tuple(position), tuple(orientation), tuple(spacing), thickness, temporal=n or None),))
        for position, orientation, spacing, thickness, n in broken]
    volumes, skipped = built(items, allow_gaps=True)
    assert bool(volumes or skipped) == bool(items)
    assert all(np.isfinite(v.header.affine).all() for v in volumes if v.header.affine is not None)
