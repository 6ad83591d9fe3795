"""Every verb as a command in a folder of its own, and what it leaves there when it is stopped or killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import ganatomy
from ganatomy.evaluation.evaluate import evaluate
from ganatomy.phantoms.cohort import phantom
from ganatomy.preparation.prepare import prepare
from ganatomy.training.train import train
from tests.builders import SMALL, TINY, discs, write_dataset

SMALL_STUDY = ("--k", "4", "--imbalance", "1", "--folds", "2", "--seeds", "1", "--updates", "10",
               *(f"--set={key}={value}" for key, value in TINY.items()))
VERBS: dict[str, tuple[str, ...]] = {
    "phantom": ("phantom", "OUT", "--subjects", "60", "--size", "32"),
    "prepare": ("prepare", "scans", "OUT", "--size", "32", "--workers", "2"),
    "prepare-archive": ("prepare", "stack.npz", "OUT", "--size", "16"),
    "prepare-dry": ("prepare", "stack.npz", "--dry-run"),
    "train": ("train", "discs", "OUT", *(f"--set={key}={value}" for key, value in TINY.items())),
    "generate": ("generate", "run", "OUT", "-n", "40"),
    "translate": ("translate", "t2run", "scans", "OUT", "--force"),
    "translate-file": ("translate", "t2run", "scans/sub-0001/sub-0001_T1.nii.gz", "OUT.nii.gz", "--force"),
    "evaluate": ("evaluate", "run", "-n", "20"),
    "compare": ("compare", "run", "run-1", "--out", "OUT.csv"),
    "report": ("report", "run", "--out", "OUT.html"),
    "study": ("study", "classes", "OUT", *SMALL_STUDY),
    "study-dry": ("study", "classes", "OUT", "--dry-run", "--budget", "2s",
                  *(word for word in SMALL_STUDY if "steps" not in word))}


@dataclass
class Place:
    """A folder in which the commands of `VERBS` can be run; `build` fills it once."""

    path: Path

    @property
    def scratch(self) -> Path:
        """The folder for temporary files."""
        return self.path / "tmp"

    def command(self, verb: str, out: str = "OUT") -> list[str]:
        return [sys.executable, "-m", "ganatomy", *(word.replace("OUT", out) for word in VERBS[verb])]

    def start(self, verb: str, out: str = "OUT", before: Sequence[str] = (), **more: str) -> subprocess.Popen[str]:
        paths = [more.pop("first", ""), str(Path(ganatomy.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "TMPDIR": str(self.scratch), "OMP_NUM_THREADS": "1",
                       "PYTHONPATH": os.pathsep.join(filter(None, paths)), **more}
        return subprocess.Popen([*before, *self.command(verb, out)], cwd=self.path, env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)

    def run(self, verb: str, out: str = "OUT", before: Sequence[str] = (), **more: str) -> tuple[int, str]:
        """Exit code, and what it said."""
        process = self.start(verb, out, before, **more)
        return ended(process)

    def left(self) -> list[str]:
        """What nobody asked for: halves, scratch, locks."""
        hidden = [path for path in self.path.rglob(".*") if ".partial-" in path.name or path.name.endswith(".lock")]
        scratch = [path for path in self.scratch.iterdir() if not path.name.startswith("torchinductor")]  # torch's own
        return [str(path.relative_to(self.path)) for path in (*hidden, *scratch)]

    def content(self, name: str) -> dict[str, bytes]:
        """The files of a folder, or a file, by path."""
        whole = self.path / name
        files = [whole] if whole.is_file() else sorted(path for path in whole.rglob("*") if path.is_file())
        return {str(path.relative_to(self.path)): path.read_bytes() for path in files}


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said = "".join(process.communicate(timeout=120))
    return process.returncode, said


def build(path: Path) -> Place:
    """Scans, an archive, datasets and runs for every verb."""
    place = Place(path)
    place.scratch.mkdir(parents=True)
    phantom(path / "scans", subjects=8, size=32)
    np.savez_compressed(path / "stack.npz", images=discs(600), subjects=np.arange(600) // 10)
    write_dataset(path / "discs")
    write_dataset(path / "classes", subjects=24, classes=("a", "b"))
    for seed, name in enumerate(("run", "run-1")):
        train(path / "discs", path / name, set=TINY | {"seed": seed})
    data = prepare(path / "scans", path / "contrasts", size=32).path
    train(data, path / "t2run", "pix2pix", set=SMALL["pix2pix"] | {"source": "T1", "domain": "T2"})
    for name in ("run", "run-1"):
        evaluate(path / name, n=20)
    return place
