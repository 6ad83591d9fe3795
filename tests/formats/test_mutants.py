"""Damaged files of every format, as hospital disks, broken downloads and attackers hold them: no traceback, no hang, no
memory without end, nothing half-written.

Every file goes through the readers and, in folders of a hundred, through the whole of `prepare`, in a process of its
own whose memory and time are taken.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from ganatomy.data.dataset import Dataset
from tests.dicom_files import bundled, write_dicom, write_enhanced

COMPRESSED = ("JPEG2000.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_dcmtk.dcm",
              "SC_rgb_rle.dcm")


def seeds(folder: Path) -> list[Path]:
    """One small sound file of each kind."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    volume = rng.normal(100, 20, (9, 10, 8))
    for dtype in (np.uint8, np.int16, np.float32, np.float64):
        image = nibabel.Nifti1Image(volume.astype(dtype), np.diag([2, 2, 3, 1.0]))
        nibabel.save(image, folder / f"{dtype.__name__}.nii")
    nibabel.save(nibabel.Nifti1Image(volume.astype(np.int16), np.eye(4)), folder / "packed.nii.gz")
    nibabel.save(nibabel.Nifti2Image(volume.astype(np.int16), np.eye(4)), folder / "wide.nii")
    grey = rng.integers(0, 255, (16, 20)).astype(np.uint8)
    for suffix in ("png", "jpg", "tif"):
        Image.fromarray(grey).save(folder / f"grey.{suffix}")
        Image.fromarray(np.stack([grey, grey // 2, 255 - grey], -1)).save(folder / f"colour.{suffix}")
    Image.fromarray(grey.astype(np.uint16) * 200).save(folder / "deep.png")
    Image.fromarray(grey).save(folder / "packed.tif", compression="tiff_lzw")
    np.save(folder / "stack.npy", rng.normal(size=(3, 16, 16)).astype(np.float32))
    for i, photometric in enumerate(("MONOCHROME2", "MONOCHROME1")):
        write_dicom(folder / f"slice{i}.dcm", (grey * 4).astype(np.int16), PhotometricInterpretation=photometric)
    for name in COMPRESSED:
        shutil.copy(next(path for path in bundled() if path.name == name), folder)
    write_enhanced(folder / "frames.dcm", (volume[..., :4].T * 4).astype(np.uint16))
    _itk(folder, volume.astype(np.int16))
    return sorted(folder.iterdir())


def _itk(folder: Path, volume: np.ndarray) -> None:
    try:
        import SimpleITK as sitk
    except ImportError:
        return
    for name in ("volume.nrrd", "volume.mha"):
        sitk.WriteImage(sitk.GetImageFromArray(volume), str(folder / name))


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[:rng.randrange(len(data))]


def flip(data: bytes, rng: random.Random) -> bytes:
    """Bits anywhere, or in the head."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 4, 40))):
        out[rng.randrange(min(rng.choice((400, len(out))), len(out)))] ^= 1 << rng.randrange(8)
    return bytes(out)


def absurd_numbers(data: bytes, rng: random.Random) -> bytes:
    """Extreme 16- and 32-bit numbers and floats where headers keep theirs."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 6))):
        value = rng.choice((b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\xff\xff", b"\0\0", b"\xff\x7f",
                            struct.pack("<f", float("nan")), struct.pack("<f", float("inf")), struct.pack("<f", 1e38)))
        place = rng.randrange(0, max(1, min(len(out), 1000) - len(value)), 2)
        out[place:place + len(value)] = value
    return bytes(out)


def double(data: bytes, rng: random.Random) -> bytes:
    return data + data[rng.randrange(len(data)):]


def shuffle(data: bytes, rng: random.Random) -> bytes:
    at = sorted(rng.randrange(len(data)) for _ in range(2))
    return data[:at[0]] + data[at[1]:] + data[at[0]:at[1]]


def rubbish(data: bytes, rng: random.Random) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 100, 5000)))


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    cut, flip, flip, absurd_numbers, double, shuffle, rubbish)


def mutants(folder: Path, sound: list[Path], count: int, seed: int) -> Iterator[Path]:
    """`count` damaged copies of the sound files; every eighth has the suffix of another format."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    for i in range(count):
        path = rng.choice(sound)
        suffix = "".join(rng.choice(sound).suffixes if i % 8 == 0 else path.suffixes)
        data = rng.choice(MUTATIONS)(path.read_bytes(), rng)
        if path.name.endswith(".nii.gz") and rng.random() < 0.5:
            data = gzip.compress(rng.choice(MUTATIONS)(gzip.decompress(path.read_bytes()), rng))
        target = folder / f"m{i:05d}{suffix}"
        target.write_bytes(data)
        yield target


def monsters(folder: Path) -> list[Path]:
    """Well-formed and poisonous: bombs, no size, infinite values, absurd headers."""
    folder.mkdir(parents=True)
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float32)

    def nifti(name: str, shape: tuple[int, ...], body: bytes, packed: bool) -> None:
        head = header.copy()
        raw = bytearray(head.binaryblock + b"\0" * 4)
        struct.pack_into("<8h", raw, 40, len(shape), *shape, *([1] * (7 - len(shape))))
        raw[344:348] = b"n+1\0"
        struct.pack_into("<f", raw, 108, 352.0)
        data = bytes(raw) + body
        (folder / name).write_bytes(gzip.compress(data, 9) if packed else data)

    nifti("bomb.nii.gz", (1200, 1200, 1200), b"\0" * 40_000_000, True)  # promises 7 GB
    nifti("bomb2.nii.gz", (500, 500, 400), b"\0" * 400_000_000, True)  # keeps its promise: 400 MB in 400 kB
    nifti("negative.nii", (-5, 5, 5), b"\0" * 500, False)
    nifti("nothing.nii", (0, 0, 0), b"", False)
    nibabel.save(nibabel.Nifti1Image(np.full((6, 6, 6), np.inf, np.float32), np.eye(4)), folder / "inf.nii")
    ihdr = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    (folder / "wide.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + ihdr + b"\0" * 4)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", b"\0" * 50_000_000)
    (folder / "bomb.npz").write_bytes(stream.getvalue())
    stack = io.BytesIO()
    np.lib.format.write_array_header_1_0(stack, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    (folder / "huge.npy").write_bytes(stack.getvalue() + b"\0" * 64)
    return sorted(folder.iterdir())


MOST_SECONDS, MOST_BYTES = 10.0, 2 * 2**30
HERE = Path(__file__).parents[2]

JUDGE = """
import json, re, sys, time
from pathlib import Path
from ganatomy import formats
from ganatomy.preparation.prepare import prepare
from ganatomy.formats import Unreadable
from ganatomy.core.errors import UserError
folder, out = Path(sys.argv[1]), Path(sys.argv[2])

def peak():
    # of this program alone: getrusage remembers what the process was before it, a large test runner
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

slowest, worst, outcomes = 0.0, "", {"read": 0, "refused": 0}
for path in sorted(folder.iterdir()):
    start = time.perf_counter()
    try:
        header = formats.scan(path)
        pixels = formats.read(path)
        assert pixels.dtype == header.dtype, path.name
        outcomes["read"] += 1
    except Unreadable as error:
        assert str(error) and "\\n" not in str(error), path.name
        outcomes["refused"] += 1
    took = time.perf_counter() - start
    if took > slowest:
        slowest, worst = took, path.name
start = time.perf_counter()
try:
    prepare(folder, out, size=16, slices="all", workers=1)
    outcomes["prepared"] = True
except UserError as error:
    outcomes["prepared"] = False
left = [p.name for p in out.parent.iterdir() if "partial" in p.name]
print(json.dumps({**outcomes, "slowest": slowest, "worst": worst, "prepare": time.perf_counter() - start,
                  "bytes": peak(), "left": left}))
"""


def hold(folder: Path, out: Path) -> tuple[int, int]:
    """How many files were read and refused, none for too long or with too much memory."""
    out.parent.mkdir()
    done = subprocess.run([sys.executable, "-c", JUDGE, str(folder), str(out)], cwd=HERE, capture_output=True,
                          text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, f"{folder}: exit code {done.returncode}\n{done.stderr[-3000:]}"
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["slowest"] < MOST_SECONDS and outcome["bytes"] < MOST_BYTES, outcome
    assert outcome["left"] == [] and out.exists() == outcome["prepared"]
    if outcome["prepared"]:
        Dataset.open(out)
    return outcome["read"], outcome["refused"]


def run(tmp_path: Path, count: int, seed: int) -> tuple[int, int]:
    sound, read, refused = seeds(tmp_path / "sound"), 0, 0
    for start in range(0, count, 100):
        folder = tmp_path / f"in{start}"
        list(mutants(folder, sound, min(100, count - start), seed * 100_000 + start))
        counts = hold(folder, tmp_path / f"out{start}" / "dataset")
        read, refused = read + counts[0], refused + counts[1]
    return read, refused


def test_damaged_files_are_refused_in_words(tmp_path: Path) -> None:
    read, refused = run(tmp_path, 300, seed=0)
    assert refused > 50
    assert read > 20  # mutants that a reader takes must reach the rest of prepare, too


def test_poisonous_files_are_refused_in_words(tmp_path: Path) -> None:
    files = monsters(tmp_path / "in")
    assert hold(tmp_path / "in", tmp_path / "out" / "dataset")[1] >= len(files) - 1


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_damaged_files(tmp_path: Path) -> None:
    assert sum(run(tmp_path, 10_000, seed=int(os.environ.get("GANATOMY_FUZZ_SEED", "1")))) == 10_000
