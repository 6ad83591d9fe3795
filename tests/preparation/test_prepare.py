"""From files to a dataset folder: counts, pairing, masks, splits, privacy, and what is refused."""

from __future__ import annotations

import shutil
import stat
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from ganatomy.core.errors import UserError
from ganatomy.preparation.prepare import prepare
from tests.builders import NAMES, cohort, head, pictures, save, table


def test_paired_volumes_with_a_mask(tmp_path: Path) -> None:
    lines: list[str] = []
    dataset = prepare(cohort(tmp_path / "in"), tmp_path / "out", size=16, say=lines.append)
    info = dataset.info
    assert info.domains == ("T1", "T2") and info.paired and info.mask_values == {"lesion": 1}
    assert any("a folder per subject: 4 subjects, 12 files" in line for line in lines)
    assert any("lesion-mask" in line and "mask by name" in line for line in lines)
    one, two = dataset.rows("T1"), dataset.rows("T2")
    assert [(r.image_id, r.row) for r in one] == [(r.image_id, r.row) for r in two]
    assert {r.subject for r in one} == {f"sub-000{i}" for i in range(1, 5)}
    assert one[0].image_id == f"sub-0001_s{one[0].slice:03d}"
    # T2 is twice T1, and each volume is mapped by itself
    np.testing.assert_allclose(dataset.pixels(one), dataset.pixels(two), atol=2)
    np.testing.assert_allclose([r.scale * 2 for r in one], [r.scale for r in two], rtol=1e-4)
    bright = dataset.pixels(one)[dataset.masks(one) == 1].mean()
    inside = dataset.pixels(one)[(dataset.masks(one) == 0) & (dataset.pixels(one) > 1000)].mean()
    assert bright > inside * 1.1


def test_stored_values_lead_back_to_the_scanner_s(tmp_path: Path) -> None:
    dataset = prepare(cohort(tmp_path / "in", mask=False), tmp_path / "out", size=24, fit="pad", domains=["T2"],
                      slices="all")
    rows = [r for r in dataset.rows() if r.subject == "sub-0003"]
    physical = dataset.pixels(rows) * rows[0].scale + rows[0].offset
    original = np.transpose(head(2) * 2, (2, 1, 0))[:, ::-1, ::-1]
    high = rows[0].scale * 65535
    np.testing.assert_allclose(physical[:, :, 2:22], np.clip(original, 0, high), atol=high / 65535)
    assert np.percentile(original[original > 0], 99.7) < high < original.max()
    assert dataset.info.value_range == (0, 65535) and dataset.info.spacing == (1, 1)


def test_the_private_folder_leads_back(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    (source / NAMES[3] / f"{NAMES[3]}_T1.nii.gz").write_bytes(b"broken")
    lines: list[str] = []
    dataset = prepare(source, tmp_path / "out", size=16, say=lines.append)
    assert any(line.startswith(f"subjects left out: {NAMES[3]}; --unpaired") for line in lines)
    private = tmp_path / "out.private"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert {p.name: stat.S_IMODE(p.stat().st_mode) for p in private.iterdir()} == dict.fromkeys(
        (".gitignore", "key", "sources.csv", "skipped.csv", "identifiers.csv", "state.json"), 0o600)
    assert (private / ".gitignore").read_text() == "*\n"
    origins = table(private / "sources.csv")
    assert len(origins) == len(dataset.rows("T1")) + len(dataset.rows("T2"))
    assert {o["subject"]: o["original_subject"] for o in origins} == {
        f"sub-000{i}": name for i, name in enumerate(NAMES[:3], start=1)}
    reasons = {line["path"].split("_")[-1]: line["reason"] for line in table(private / "skipped.csv")}
    assert "not an image" in reasons["T1.nii.gz"] and "has no T1" in reasons["T2.nii.gz"]
    assert dataset.info.fingerprint["skipped_files"] == 1


def test_again_gives_the_same_dataset_also_inside_the_source(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    first = prepare(source, source / "out", size=16)
    rows = first.rows("T1")
    second = prepare(source, source / "out", size=16, overwrite=True)
    assert second.rows("T1") == rows and second.info == first.info
    other = prepare(source, tmp_path / "elsewhere", size=16)
    assert other.info.content == first.info.content
    assert other.rows("T1")[0].source != rows[0].source  # another key


def test_the_same_grid_in_another_voxel_order_is_no_difference(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in", domains=("T1",), mask=False)
    expected = prepare(source, tmp_path / "expected", size=16)
    for name in NAMES:
        image = nibabel.load(source / name / f"{name}_T1.nii.gz")
        turned = image.as_reoriented(nibabel.orientations.axcodes2ornt("PIL"))
        nibabel.save(turned, source / name / f"{name}_T2.nii.gz")
    dataset = prepare(source, tmp_path / "out", size=16)
    np.testing.assert_array_equal(dataset.pixels(dataset.rows("T2")), expected.pixels(expected.rows()))


def test_classes_without_subjects_warn_of_leaks(tmp_path: Path) -> None:
    lines: list[str] = []
    dataset = prepare(pictures(pictures(tmp_path / "in", 20, "ill"), 10, "healthy"), tmp_path / "out", size=16,
                      say=lines.append)
    assert lines[0].endswith("subjects per class: ill 20, healthy 10")
    assert dataset.info.classes == ("healthy", "ill") and dataset.info.fingerprint["subjects"] == 30
    assert any("one patient may be in train and in test" in w for w in dataset.info.fingerprint["warnings"])
    for split, expected in (("train", (7, 14)), ("val", (1, 3)), ("test", (2, 3))):
        counts = dataset.info.fingerprint["splits"][split]["classes"]
        assert [counts[name]["images"] for name in ("healthy", "ill")] == pytest.approx(expected, abs=1)


def test_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    dataset = prepare(pictures(tmp_path / "in"), tmp_path / "out", size=16)
    row = dataset.rows()[3]
    assert dataset.info.value_range == (0, 255) and (row.offset, row.scale) == (0, 1)
    assert {(r.position, r.orientation) for r in dataset.rows()} == {("", "")}  # pictures have no place
    np.testing.assert_array_equal(dataset.pixels([row])[0], np.asarray(Image.open(tmp_path / "in" / "p3.png")))


def test_sixteen_bits_survive(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16
    for i in range(3):
        Image.fromarray(values + np.uint16(i)).save(tmp_path / "in" / f"p{i}.png")
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=16, intensity="minmax")
    row = dataset.rows()[1]
    np.testing.assert_allclose(dataset.pixels([row])[0] * row.scale + row.offset, values + 1, atol=0.1)
    kept = prepare(tmp_path / "in", tmp_path / "kept", size=16, intensity="identity")
    np.testing.assert_array_equal(kept.pixels([kept.rows()[0]])[0], values)


def test_a_table_with_splits_sessions_and_classes(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 8)
    lines = [f"p{i}.png,{'ABCD'[i // 2]},{'xy'[i % 2]},{'ill' if i < 4 else 'healthy'},{'train' if i < 4 else 'test'}"
             for i in range(8)]
    (tmp_path / "in" / "files.csv").write_text("path,subject,session,label,split\n" + "\n".join(lines))
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=16)
    rows = dataset.rows()
    assert [(r.subject, r.session, r.label, r.split) for r in rows[3:5]] == [
        ("sub-0002", "ses-02", "ill", "train"), ("sub-0003", "ses-01", "healthy", "test")]
    assert any("the val split is empty" in w for w in dataset.info.fingerprint["warnings"])
    (tmp_path / "in" / "files.csv").write_text(
        "path,subject,session,split\np0.png,A,1,train\np1.png,A,2,test\np2.png,B,1,test\n")
    with pytest.raises(UserError, match=r"more than one split.*: A"):
        prepare(tmp_path / "in", tmp_path / "torn", size=16)
    assert not (tmp_path / "torn").exists()


def test_groups_are_never_parted(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 24)
    (tmp_path / "in" / "files.csv").write_text(
        "path,subject,site\n" + "\n".join(f"p{i}.png,S{i:02d},site{i % 6}" for i in range(24)))
    dataset = prepare(tmp_path / "in" / "files.csv", tmp_path / "out", size=16, split_by="site")
    origin = {o["subject"]: o["original_subject"] for o in table(tmp_path / "out.private" / "sources.csv")}
    splits: dict[int, set[str]] = {}
    for row in dataset.rows():
        splits.setdefault(int(origin[row.subject][1:]) % 6, set()).add(row.split)
    assert all(len(found) == 1 for found in splits.values())
    assert set.union(*splits.values()) == {"train", "val", "test"}


@pytest.mark.parametrize("names", [("ct", "mr"), ("a", "b")])
def test_mr_never_goes_through_the_window_of_ct_in_its_domain(tmp_path: Path, names: tuple[str, str]) -> None:
    lines: list[str] = []
    for i in range(8):
        inside = head(i) > 0
        values = np.where(inside, head(i) - 100, -1000) if i < 4 else head(i) * 5
        save(tmp_path / "in" / f"{names[i // 4]}_s{i}" / "scan.nii.gz", values)
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=16, pattern="{subject}/scan.nii.gz", say=lines.append)
    owners = {o["subject"]: o["original_subject"] for o in table(tmp_path / "out.private" / "sources.csv")}
    ct, mr = ([row for row in dataset.rows() if owners[row.subject].startswith(f"{name}_")] for name in names)
    assert (dataset.pixels(mr)[:, 0, 0] == 0).all() and any("Hounsfield units and others" in line for line in lines)
    assert ({row.offset for row in ct} == {-1000.0}) and dataset.info.intensity["image"].units != "HU"
    assert ({row.scale for row in ct} == {2000 / 65535}) == (names == ("ct", "mr"))
    assert (dataset.info.intensity["image"].rule is None) == (names == ("ct", "mr"))


def test_colour_is_kept_only_where_all_images_have_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("colour", "grey", "mixed"):
        (tmp_path / kind).mkdir()
        for i in range(6):
            values = rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)
            if kind == "grey" or (kind == "mixed" and i == 0):
                values[...] = values[..., :1]
            Image.fromarray(values).save(tmp_path / kind / f"{i}.png")
    datasets = {k: prepare(tmp_path / k, tmp_path / f"{k}-out", size=16) for k in ("colour", "grey", "mixed")}
    assert {k: d.info.channels for k, d in datasets.items()} == {"colour": 3, "grey": 1, "mixed": 1}
    assert any("in colour and some are not" in w for w in datasets["mixed"].info.fingerprint["warnings"])
    np.testing.assert_array_equal(datasets["grey"].pixels(datasets["grey"].rows()[2:3])[0],
                                  np.asarray(Image.open(tmp_path / "grey" / "2.png"))[..., 0])


def test_empty_slices_are_no_twins(tmp_path: Path) -> None:
    for i, name in enumerate(NAMES):
        values = head(i)
        values[:, :, :3] = 0
        save(tmp_path / "in" / name / f"{name}_T1.nii.gz", values)
    save(tmp_path / "in" / "Eve5" / "Eve5_T1.nii.gz", values)
    warnings = prepare(tmp_path / "in", tmp_path / "out", size=16, slices="all").info.fingerprint["warnings"]
    twins = int(values.any((0, 1)).sum())  # the copy's slices that show something, not the empty ones of all five
    assert any(w.startswith(f"the same image under several subjects, {twins} times") for w in warnings)


def test_provenance_holds_what_was_chosen_and_no_default(tmp_path: Path) -> None:
    source = cohort(tmp_path / "in")
    plain = prepare(source, tmp_path / "plain", size=16, split="70,15,15", domains=None, masks=None, labels=())
    assert plain.info.provenance.keys() == {"ganatomy", "command"}
    chosen = prepare(source, tmp_path / "out", size=16, fit="crop", test_subjects=[NAMES[0]], domains="T1", seed=3,
                     pattern="{subject}/{subject}_{domain}.nii.gz")
    assert {k: v for k, v in chosen.info.provenance.items() if k not in ("ganatomy", "command")} == {
        "fit": "crop", "domains": ["T1"], "pattern": True, "test-subjects": 1, "seed": 3}
    assert chosen.info.provenance["command"] == ("ganatomy prepare SOURCE DATASET --size 16 --fit crop --domains T1 "
                                                 "--pattern PATTERN --test-subjects IDS --seed 3")


def test_what_cropping_cuts_and_how_to_go_on_is_told(tmp_path: Path) -> None:
    lines: list[str] = []
    source = cohort(tmp_path / "my scans", mask=False)
    prepare(source, source / "out", size=16, fit="crop", domains=["T1"], say=lines.append)
    assert lines[-1] == f"next: ganatomy train '{source / 'out'}' RUN --set size=16"
    assert any("cropping cuts up to 8 rows and 4 columns" in line for line in lines)
    assert sum("lie within SOURCE" in line for line in lines) == 1


def test_warnings_in_plain_words(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", 10)
    shutil.copy(source / "p1.png", source / "copy.png")
    Image.fromarray(np.full((16, 24), 9, dtype=np.uint8)).save(source / "flat.png")
    (source / "text.png").write_text("no image")
    warnings = prepare(source, tmp_path / "out", size=32, channels="3").info.fingerprint["warnings"]
    for words in ("the same image under several subjects, 1 time", "1 volume with the same value everywhere",
                  "1 file could not be read", "images are enlarged", "only 12 subjects", "2 different sizes",
                  "12 grey images stored as three equal channels"):
        assert any(words in text for text in warnings), words


def test_runs_of_slices_of_unequal_length_are_warned_of(tmp_path: Path) -> None:
    for name, (domain, count) in product(("s1", "s2", "s3"), (("T1", 4), ("CT", 6))):
        for z in range(count):
            path = tmp_path / "in" / name / f"{name}_{domain}_z{z:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.random.default_rng(z).integers(0, 255, (16, 16)).astype(np.uint8)).save(path)
    warnings = prepare(tmp_path / "in", tmp_path / "out", size=16).info.fingerprint["warnings"]
    assert any("3 of 3 visits have unequal numbers of slices, such as 6 of CT and 4 of T1" in text for text in warnings)


def test_a_png_series_of_two_contrasts(tmp_path: Path) -> None:
    for name in ("s1", "s2", "s3"):
        for z in (3, 10, 11):
            for domain in ("T1", "T2"):
                path = tmp_path / "in" / name / f"{name}_{domain}_z{z:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.random.default_rng(z).integers(0, 4000, (16, 16)).astype(np.uint16)).save(path)
    (tmp_path / "in" / "s2" / "s2_T2_z010.png").unlink()
    dataset = prepare(tmp_path / "in", tmp_path / "out", size=16)
    assert [r.image_id for r in dataset.rows("T2")] == [r.image_id for r in dataset.rows("T1")] == [
        "sub-0001_s003", "sub-0001_s010", "sub-0001_s011", "sub-0002_s003", "sub-0002_s011",
        "sub-0003_s003", "sub-0003_s010", "sub-0003_s011"]
    assert len({(r.offset, r.scale) for r in dataset.rows("T1") if r.subject == "sub-0001"}) == 1
