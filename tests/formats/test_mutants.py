"""Damaged files: no traceback, no hang, no memory without end, nothing half-written.

Every file goes through the readers and, in folders of a hundred, through the whole of `prepare`, in a process of its
own whose memory and time are taken.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ganatomy.data.dataset import Dataset
from tests.formats.mutants import monsters, mutants, seeds

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
