"""The net: bytes and figures that a change of structure must not change.

`tests/net.json` holds them as recorded. To record anew, after a change that is meant to change a result:
`GANATOMY_RECORD_NET=1 pytest -m "slow or not slow" tests/test_net.py`, and say in the commit why.

Weights and figures are the same to the bit only where processor and torch are; elsewhere they must be close.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

import ganatomy
from tests.dicom_files import write_dicom

RECORD = os.environ.get("GANATOMY_RECORD_NET") == "1"
FILE = Path(__file__).with_name("net.json")
HERE = f"{torch.__version__} {next(iter(re.findall('model name.*: (.*)', Path('/proc/cpuinfo').read_text())), '')}" \
    if Path("/proc/cpuinfo").exists() else "elsewhere"
SMALL = {"batch_size": 4, "steps": 30, "checkpoint_every": 30, "select": "last", "precision": "fp32"}
NARROW = {"model.width": 8, "model.d_width": 8}
NOISE: dict[str, tuple[str, dict[str, Any]]] = {
    "rpgan": ("rpgan-64", {**NARROW, "model.z_dim": 8}),
    "rpgan-seed-1": ("rpgan-64", {**NARROW, "model.z_dim": 8, "seed": 1}),
    "dcgan": ("dcgan-brain-128", {"model.z_dim": 16, "model.width": 4}),
    "dcgan-seed-1": ("dcgan-brain-128", {"model.z_dim": 16, "model.width": 4, "seed": 1}),
    "dcgan-dense": ("dcgan-brain-128", {"model.architecture": "dense", "model.dense.z_dim": 8}),
    "dcgan-dense-minibatch": ("dcgan-brain-128", {"model.architecture": "dense", "model.dense.z_dim": 8,
                                                  "model.minibatch_discrimination": {"kernels": 4}}),
    "dcgan-mammo": ("dcgan-mammo-128", {"model.ngf": 3, "model.ndf": 3, "model.z_dim": 8}),
    "dcgan-knee": ("dcgan-knee-128", {"model.start_channels": 4})}
PAIRED: dict[str, tuple[str, dict[str, Any]]] = {
    "pix2pix": ("pix2pix", NARROW), "pix2pix-brain": ("pix2pix-brain-128", NARROW),
    "unet": ("unet", {"model.width": 8}), "cyclegan": ("cyclegan", NARROW), "cyclegan-mri": ("cyclegan-mri", NARROW),
    "cyclegan-resnet": ("cyclegan-resnet", {**NARROW, "model.blocks": 2, "epochs": None}),
    "hybrid": ("hybrid-brain-64", {"model.width": 4, "model.d_width": 4, "source": "T1", "domain": "T2"})}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def of_dataset(folder: Path) -> dict[str, str]:
    """Hashes of a dataset folder; `source` is keyed by chance and left out."""
    with (folder / "manifest.csv").open(newline="") as handle:
        rows = [{k: v for k, v in row.items() if k != "source"} for row in csv.DictReader(handle)]
    arrays = {path.name: sha256(path.read_bytes()) for path in sorted(folder.glob("*.npy"))}
    return {"manifest.csv": sha256(json.dumps(rows).encode()), **arrays}


def of_weights(run: Path) -> dict[str, Any]:
    """The hash of a run's generator and the mean size of each tensor."""
    path = run / "generator" / "weights.safetensors"
    return {"sha256": sha256(path.read_bytes()),
            "means": [float(np.abs(v.astype(np.float64)).mean()) for _, v in sorted(load_file(path).items())]}


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a JSON value by its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{name}/{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from flat(inner, f"{name}/{i}")
    elif not isinstance(value, str):
        yield name, value


def of_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    """The figures of metrics.json by metric, comparison and field; sentences and times are left out."""
    kept = ("value", "interval", "floor", "p_no_difference", "ratio", "n_images", "n_subjects", "n_synthetic")
    values = {}
    for result in metrics.get("results", []):
        values |= {f"{result['name']} against {result['against']}{key}": v
                   for key, v in flat({k: result.get(k) for k in kept})}
    for control in metrics.get("controls", []):
        values[f"{control['name']} of {control['control']}"] = control["value"]
    values |= {f"light of {v['question']}": v["light"] for v in metrics.get("verdicts", [])}
    for i, direction in enumerate(metrics.get("directions", [])):
        for name, sample in direction["kernel"]["translators"].items():
            values[f"way {i} {name} KD"] = sample["value"]
        for name, results in direction.get("translators", {}).items():
            for result in results:
                values |= {f"way {i} {name} {result['name']}{key}": v
                           for key, v in flat({k: result.get(k) for k in ("value", "interval")})}
    return values


def check(kind: str, name: str, now: Any) -> None:
    """Compare with what was recorded, and name every entry that differs."""
    book = json.loads(FILE.read_text()) if FILE.exists() else {"where": HERE}
    if RECORD:
        book.setdefault(kind, {})[name] = now
        FILE.write_text(json.dumps(book | {"where": HERE}, indent=0, sort_keys=True) + "\n")
        return
    before = book[kind][name]
    if book["where"] != HERE and kind != "datasets":
        before.pop("sha256", None)
        changed = [k for k, v in before.items() if not close(v, now.get(k))]
    else:
        changed = [k for k, v in before.items() if now.get(k) != v]
    assert not changed, f"{kind}, {name}: {[(k, before[k], now.get(k)) for k in changed[:8]]}"


def close(before: Any, now: Any) -> bool:
    """Whether two figures agree as far as they can on different processors."""
    if before is None or now is None or isinstance(before, str):
        return before is now or isinstance(before, str)
    return bool(np.allclose(before, now, rtol=0.2, atol=0.05 * float(np.max(np.abs(before)))))


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("net")


@pytest.fixture(scope="module")
def pairs(folder: Path) -> Path:
    """The phantom's T1 and T2, 32 px, 20 virtual patients of two slices, some with lesions."""
    ganatomy.phantom(folder / "cohort", subjects=20, size=32, seed=3, slices=2, lesions=0.5, anatomy="first")
    ganatomy.prepare(folder / "cohort", folder / "pairs", size=32, domains=("T1", "T2"), workers=1,
                     split=(60, 15, 25))
    return folder / "pairs"


def train(data: Path, out: Path, recipe: str, changes: dict[str, Any], **roles: str) -> Path:
    if not out.exists():
        size = 32 if "source" in roles else 16
        ganatomy.train(data, out, recipe, set={**SMALL, "size": size, **changes, **roles}, device="cpu")
    return out


@pytest.fixture(scope="module")
def noise_runs(folder: Path, pairs: Path) -> dict[str, Path]:
    return {name: train(pairs, folder / name, recipe, changes, domain="T1")
            for name, (recipe, changes) in NOISE.items()}


@pytest.fixture(scope="module")
def paired_runs(folder: Path, pairs: Path) -> dict[str, Path]:
    return {name: train(pairs, folder / name, recipe, changes, source="T1", domain="T2")
            for name, (recipe, changes) in PAIRED.items()}


@pytest.fixture(scope="module")
def head(folder: Path) -> Path:
    """A turned volume of 24 x 20 x 12 voxels."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (24, 20, 12)), indexing="ij"))
    values = ((grid**2).sum(0) < 0.8) * np.random.default_rng(5).normal(500, 50, grid.shape[1:])
    turn = np.array([[0.98, -0.2, 0, 3], [0.2, 0.98, 0, -4], [0, 0, 1, 5], [0, 0, 0, 1]])
    affine = np.diag([1.2, 1.0, 2.0, 1.0]) @ turn
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), affine), folder / "head.nii.gz")
    return folder / "head.nii.gz"


def test_phantom_dataset(pairs: Path) -> None:
    check("datasets", "phantom", of_dataset(pairs))


def test_dicom_dataset(folder: Path) -> None:
    rng = np.random.default_rng(7)
    for patient in range(6):
        for number in range(5):
            pixels = (rng.gamma(2, 90, (20, 24)) * (1 + patient)).astype(np.uint16)
            write_dicom(folder / "dicom" / f"{patient}-{number}.dcm", pixels, patient=f"P{patient}", number=number + 1,
                        position=(0.0, 0.0, 2.0 * number), thickness=2.0)
    ganatomy.prepare(folder / "dicom", folder / "from-dicom", size=16, slices="all", workers=1)
    check("datasets", "dicom", of_dataset(folder / "from-dicom"))


def test_nifti_dataset(folder: Path, head: Path) -> None:
    image = nibabel.load(head)
    values = np.asarray(image.dataobj)
    for patient in range(6):
        own = folder / "nifti" / f"sub{patient}"
        own.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(values * (1 + patient / 3), image.affine), own / f"sub{patient}_T1.nii.gz")
        mask = (values > 520 + 5 * patient).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), own / f"sub{patient}_lesion-mask.nii.gz")
    ganatomy.prepare(folder / "nifti", folder / "from-nifti", size=16, axis="coronal", fit="crop", workers=1)
    check("datasets", "nifti", of_dataset(folder / "from-nifti"))


@pytest.mark.parametrize("name", NOISE)
def test_weights_of_noise_models(noise_runs: dict[str, Path], name: str) -> None:
    check("weights", name, of_weights(noise_runs[name]))


@pytest.mark.parametrize("name", PAIRED)
def test_weights_of_translators(paired_runs: dict[str, Path], name: str) -> None:
    check("weights", name, of_weights(paired_runs[name]))


def test_generated_images(folder: Path, noise_runs: dict[str, Path]) -> None:
    ganatomy.generate(noise_runs["rpgan"], folder / "synthetic", n=12, seed=4)
    images = np.load(next((folder / "synthetic").glob("images-*.npy")))
    check("images", "generated", {"sha256": sha256(images.tobytes()), "mean": float(images.mean())})


def test_translated_volume(folder: Path, paired_runs: dict[str, Path]) -> None:
    volume = sorted((folder / "cohort").rglob("*T1*.nii.gz"))[0]
    ganatomy.translate(paired_runs["pix2pix"], volume, folder / "translated.nii.gz")
    image = nibabel.load(folder / "translated.nii.gz")
    values = np.asarray(image.dataobj)
    check("images", "translated", {"sha256": sha256(values.tobytes() + np.round(image.affine, 6).tobytes()),
                                   "mean": float(values.mean())})


@pytest.mark.slow
def test_figures_and_board(noise_runs: dict[str, Path]) -> None:
    runs = [noise_runs[name] for name in ("rpgan", "rpgan-seed-1", "dcgan", "dcgan-seed-1")]
    for run in runs:
        metrics = ganatomy.evaluate(run, n=40, critic=run == runs[0])
        check("metrics", run.name, of_metrics(metrics))
    board = flat(json.loads(json.dumps(ganatomy.compare(runs), default=str)))
    check("compare", "board", {name: value for name, value in board if "seconds" not in name})


@pytest.mark.slow
def test_figures_of_a_translation(paired_runs: dict[str, Path]) -> None:
    metrics = ganatomy.evaluate(paired_runs["pix2pix"], beside=[paired_runs["unet"]])
    check("metrics", "pix2pix", of_metrics(metrics))


@pytest.mark.slow
def test_small_study(folder: Path) -> None:
    rng = np.random.default_rng(11)
    with (folder / "classes.csv").open("w", newline="") as handle:
        table = csv.writer(handle)
        table.writerow(["path", "subject", "label"])
        for subject in range(24):
            label = "rare" if subject % 3 == 0 else "common"
            for i in range(4):
                pixels = rng.normal(90 + 40 * (label == "rare"), 35, (16, 16)).clip(0, 255).astype(np.uint8)
                path = folder / "pictures" / f"{subject}-{i}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(pixels).save(path)
                table.writerow([path, f"s{subject:02d}", label])
    ganatomy.prepare(folder / "classes.csv", folder / "labelled", size=16, workers=1)
    results = ganatomy.study(folder / "labelled", folder / "study", k=(4,), folds=2, seeds=1, imbalance=3.0,
                             arms=("ORG", "OVERSAMPLE", "GAN", "AUG_OVERSAMPLE", "AUG_GAN"), classifier={"updates": 20},
                             recipe="rpgan-64", set={**SMALL, "size": 16, **NARROW, "model.z_dim": 8}, device="cpu")
    values = {name: v for name, v in flat(results) if "seconds" not in name}
    check("study", "results", values)
