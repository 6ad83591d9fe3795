"""Every file that a verb reads back is damaged, swapped and edited at random: each verb ends well or with one error.

`GANATOMY_DRAW=N pytest -m slow tests/test_read_back.py` repeats draw N of the many; a failure says its N.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import random
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load, save

from ganatomy.cli.main import cli
from ganatomy.core.errors import UserError
from ganatomy.data.dataset import content_hash
from ganatomy.data.manifest import read_manifest
from ganatomy.studies.cell import run_cell
from ganatomy.studies.results import write_results
from tests.builders import SMALL, TINY, discs, write_contrasts
from tests.studies.study_dataset import begun

QUICK, MANY = 50, 1000
ODD: list[Any] = [None, True, False, -1, 0, 1, 0.5, 1e308, -1e308, 10**30, float("nan"), float("inf"), "", "x",
                  "../../x", "3", "T1", [], {}, [1, 2], ["x"], {"x": 1}, [[0]], "a" * 5000, "\ud800\0"]
HANDED = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR)  # `main` makes one line of these
LEFT_OUT = (".html", ".lock", ".gitignore", ".txt", ".sh", ".features")  # what nobody reads back


def settings(values: dict[str, Any]) -> list[str]:
    return [word for key, value in values.items() for word in ("--set", f"{key}={json.dumps(value)}")]


TRAIN = {"run": ["train", "data", "run", *settings(TINY)],
         "turned": ["train", "pairs", "turned", "--recipe", "pix2pix", "--source", "T1", "--domain", "T2",
                    *settings(SMALL["pix2pix"] | {"steps": 2, "checkpoint_every": 2, "select": "last"})]}
RUN = [["report", "run"], ["compare", "run", "other"], ["generate", "run", "new", "-n", "2", "--format", "none"],
       ["generate", "run", "new", "-n", "2", "--weights", "raw"], ["generate", "run", "new", "-n", "1", "--weights",
       "averaged"], TRAIN["run"], ["evaluate", "run", "-n", "24"], ["report", "run", "--shareable"],
       ["train", "data", "new", *settings(TINY), "--init-from", "run"], ["audit-phi", "run"]]
VERBS = {
    "data": [TRAIN["run"], [*TRAIN["run"], "--dry-run"], ["report", "run"], ["evaluate", "data", "drawn"],
             ["prepare", "source", "data", "--size", "16"], ["audit-phi", "data"], ["audit-phi", "run"]],
    "run": RUN, "other": [["compare", "run", "other"], ["report", "other"]],
    "drawn": [["evaluate", "data", "drawn"], ["audit-phi", "drawn", "data"],
              ["generate", "run", "drawn", "-n", "4", "--overwrite"]],
    "pairs": [["report", "turned"], TRAIN["turned"], ["evaluate", "turned"]],
    "turned": [["report", "turned"], ["translate", "turned", "input", "new"], ["evaluate", "turned"],
               ["compare", "turned"], TRAIN["turned"]],
    "output": [["translate", "turned", "input", "output", "--overwrite"]],
    "study": [["report", "study/study"], ["study", "study/data", "study/study", "--external", "study/outside"],
              ["report", "study/study", "--shareable"]]}
VERBS |= {f"{name}.private": VERBS[name] for name in ("data", "run", "turned")}


def invoke(arguments: list[str]) -> Any:
    return CliRunner().invoke(cli, arguments)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the verbs write; what is drawn works on copies of it in the same place."""
    home = tmp_path_factory.mktemp("read back") / "world"
    home.mkdir()
    for i, image in enumerate(discs(32)):
        (home / "source" / f"p{i // 2:02d}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(home / "source" / f"p{i // 2:02d}" / f"T1_{i % 2}.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert invoke(["prepare", "source", "data", "--size", "16"]).exit_code == 0
        about = write_contrasts(home / "pairs").path / "dataset.json"
        kept = {"method": "identity", "rule": "identity"}
        about.write_text(json.dumps(json.loads(about.read_text()) | {
            "grid": {"axis": "axial", "fit": "resize", "mm": 1.0}, "intensity": {"T1": kept, "T2": kept}}))
        (home / "input").mkdir()
        np.save(home / "input" / "one.npy", discs(3, 32))
        for command in (TRAIN["run"], [word.replace("run", "other") for word in TRAIN["run"]] + ["--seed", "1"],
                        TRAIN["turned"], ["evaluate", "run", "-n", "24"], ["evaluate", "other", "-n", "24"],
                        ["evaluate", "turned"], ["report", "run"], ["report", "turned"],
                        ["generate", "run", "drawn", "-n", "12"],
                        ["translate", "turned", "input", "output", "--force"]):
            result = invoke(command)
            assert result.exit_code == 0, (command, result.output, result.exception)
    home.rename(home.with_name("kept"))
    return home


@pytest.fixture(scope="session")
def whole_world(world: Path) -> Path:
    """With a finished study, too."""
    world.with_name("kept").rename(world)
    study = begun(world / "study", seeds=1, arms=("ORG", "GAN"), imbalance=2.0, classifier={"updates": 10})
    for cell in study.all_cells():
        run_cell(world / "study" / "data", study.path, cell, device="cpu")
    write_results(study, lambda text: None)
    world.rename(world.with_name("kept"))
    return world


# ------------------------------------------------------------------ what is done to a file

def nodes(tree: Any) -> list[tuple[Any, Any]]:
    """(container, key) of every value in a tree of dictionaries and lists."""
    pairs = [(tree, key) for key in (tree if isinstance(tree, dict) else range(len(tree)))] \
        if isinstance(tree, dict | list) else []
    return [*pairs, *(pair for place, key in pairs for pair in nodes(place[key]))]


def spoil_tree(tree: Any, rng: random.Random) -> Any:
    """A value dropped, doubled, or replaced by something odd; or all of it."""
    if rng.random() < 0.05:
        return rng.choice(ODD)
    for place, key in rng.choices(nodes(tree) or [([0], 0)], k=rng.choice((1, 1, 1, 3))):
        what = rng.random()
        if isinstance(place, list) and len(place) <= (key if isinstance(key, int) else 0):
            continue
        if what < 0.25:
            place.pop(key, None) if isinstance(place, dict) else place.pop(key)
        elif what < 0.35 and isinstance(place, dict):
            place[rng.choice(["x", "schema_version", key])] = rng.choice(ODD)
        elif what < 0.45 and isinstance(place, list):
            place.insert(key, place[key])
        else:
            place[key] = rng.choice(ODD)
    return tree


def spoil_tensors(tree: Any, rng: random.Random) -> Any:
    """Like `spoil_tree`, of tensors too: another shape, type or value."""
    of_tensors = [(place, key) for place, key in nodes(tree) if isinstance(place[key], torch.Tensor)]
    if not of_tensors or rng.random() < 0.4:
        return spoil_tree(tree, rng)
    place, key = rng.choice(of_tensors)
    tensor = place[key]
    changes: list[Callable[[], Any]] = [
        tensor.double, lambda: tensor.to(torch.int8), lambda: tensor[..., None], lambda: tensor.flatten()[:-1],
        lambda: tensor.new_zeros(0), lambda: torch.full_like(tensor, float("nan") if tensor.is_floating_point() else 9),
        lambda: tensor.new_zeros((2, *tensor.shape)), lambda: torch.full_like(tensor, 1e38).to(tensor.dtype)
        if tensor.is_floating_point() else -tensor]
    place[key] = rng.choice(changes)()
    return tree


def spoil_content(path: Path, rng: random.Random) -> str:
    """Read the file, change something in it, write it: what loads but does not fit."""
    kind = path.suffix
    if kind == ".json":
        tree = spoil_tree(json.loads(path.read_text()), rng)
        path.write_text(json.dumps(tree).encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
    elif kind == ".jsonl":
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        changed = spoil_tree(lines, rng)
        lines = changed if isinstance(changed, list) else [changed]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    elif kind == ".yaml":
        path.write_text(yaml.safe_dump(spoil_tree(yaml.safe_load(path.read_text()), rng)), errors="replace")
    elif kind == ".csv":
        lines = list(csv.reader(path.read_text().splitlines())) or [[""]]
        rows = spoil_tree(lines, rng)
        buffer = io.StringIO()
        csv.writer(buffer).writerows(row if isinstance(row, list) else [row] for row in rows) \
            if isinstance(rows, list) else buffer.write(str(rows))
        path.write_text(buffer.getvalue(), errors="replace")
    elif kind == ".npy":
        array = np.load(path)
        changes: list[Callable[[], Any]] = [
            lambda: array[:-1], lambda: array.astype(np.float64), lambda: array[..., None], lambda: array.T,
            lambda: array.astype("U3"), lambda: np.float32(1), lambda: array.astype(np.complex64), lambda: array[:0],
            lambda: array.astype(np.float32) * np.nan, lambda: np.asfortranarray(array), lambda: 255 - array]
        np.save(path, rng.choice(changes)())
    elif kind == ".safetensors":
        tensors = spoil_tensors(load(path.read_bytes()), rng)
        tensors = tensors if isinstance(tensors, dict) else {}
        path.write_bytes(save({str(k)[:99]: v.contiguous() for k, v in tensors.items() if isinstance(v, torch.Tensor)}))
    elif kind == ".pt":
        torch.save(spoil_tensors(torch.load(path, weights_only=True), rng), path)
    else:
        return damage(path, rng)
    return "content"


def damage(path: Path, rng: random.Random) -> str:
    """Change the file's bytes without looking at what they mean."""
    data = path.read_bytes()
    what = rng.choice(("cut", "flip", "empty", "noise", "bom", "latin", "deep", "folder", "link", "gone", "twice",
                       "zip", "header", "long"))
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "link":
        path.symlink_to("nowhere")
    elif what == "flip":
        changed = bytearray(data or b" ")
        for _ in range(rng.choice((1, 1, 3, 8))):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
    elif what != "gone":
        path.write_bytes({"cut": data[:rng.randrange(len(data) + 1)], "empty": b"", "noise": rng.randbytes(500),
                          "bom": b"\xef\xbb\xbf" + data, "latin": data.replace(b"e", b"\xe9"),
                          "deep": b"[" * 100_000, "twice": data + data, "zip": b"PK\x03\x04" + data,
                          "header": (10**12).to_bytes(8, "little") + b"{}", "long": b'{"x":' * 400 + data}[what])
    return what


def refresh(home: Path, path: Path) -> None:
    """Change the hash that guards a file too, as who changes the file on purpose would."""
    if path.name == "weights.safetensors":
        about = path.with_name("config.json")
        config = json.loads(about.read_text())
        about.write_text(json.dumps(config | {"weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}))
    elif path.name == "manifest.csv" and path.with_name("dataset.json").is_file():
        about = path.with_name("dataset.json")
        about.write_text(json.dumps(json.loads(about.read_text()) | {"content": content_hash(read_manifest(path))}))
    for done in home.glob("study/study/cells/*/done.json"):
        if done.parent in path.parents and path != done:
            note = json.loads(done.read_text())
            note["files"][path.relative_to(done.parent).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
            done.write_text(json.dumps(note))


def spoil(home: Path, rng: random.Random) -> tuple[str, str]:
    """Change one file of the world; returns its name and what was done."""
    files = sorted(p.relative_to(home) for p in home.rglob("*") if p.is_file() and p.parts[len(home.parts)] in VERBS
                   and p.suffix not in LEFT_OUT and p.name[0] != ".")
    groups = sorted({(f.parts[0], f.suffix, f.parent.name if f.suffix == ".csv" else f.name if f.suffix == ".json"
                      else "") for f in files})
    group = rng.choice(groups)
    name = rng.choice([f for f in files if (f.parts[0], f.suffix) == group[:2]
                       and group[2] in ("", f.parent.name, f.name)])
    path, what = home / name, rng.random()
    if what < 0.6:
        did = spoil_content(path, rng)
    elif what < 0.85:
        did = damage(path, rng)
    else:
        other = rng.choice([f for f in files if f.suffix == name.suffix and f != name] or [name])
        path.write_bytes((home / other).read_bytes())
        did = f"swapped with {other}"
    if rng.random() < 0.6 and path.is_file():
        with contextlib.suppress(UserError, ValueError, OSError):
            refresh(home, path)
    return str(name), did


# ------------------------------------------------------------------ a draw

def draw(world: Path, number: int, dear: bool = True) -> str:
    """Spoil one file of a fresh copy of the world and run a verb that reads it; what is wrong, "" if nothing.

    `dear` allows verbs that take long.
    """
    rng = random.Random(number)
    shutil.rmtree(world, ignore_errors=True)
    shutil.copytree(world.with_name("kept"), world)
    name, did = spoil(world, rng)
    command = rng.choice([verb for verb in VERBS[name.split("/", maxsplit=1)[0]] if dear or verb[0] != "evaluate"])
    with contextlib.chdir(world):
        wrong = complaint(command)
    return f"draw {number}: {name} ({did}), {' '.join(command)[:60]}\n{wrong}" if wrong else ""


def complaint(command: list[str]) -> str:
    """What is wrong with how a command ends; "" if it ends well or with one line and leaves nothing behind."""
    error = invoke(command).exception
    known = error is None or isinstance(error, SystemExit | UserError | click.ClickException) or \
        (isinstance(error, OSError) and error.errno in HANDED)
    if not known:
        return "".join(traceback.format_exception(error)[-6:])
    if error is not None and "\n" in str(error):
        return f"more than one line: {error}"
    left = [*Path().rglob("*.partial*"), *([Path("new")] if error is not None and command[0] != "train" else [])]
    left = [path for path in left if path.exists()]
    return f"{error}: left {left}" if left else ""


def test_a_few_draws(world: Path) -> None:
    assert list(filter(None, (draw(world, number, dear=False) for number in range(QUICK)))) == []


def edited(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(("name", "change", "command", "says"), [
    ("run/status.json", lambda path: edited(path, steps=["x"]), ["report", "run"], "steps: should be a valid integer"),
    ("run/status.json", lambda path: edited(path, step=True), ["compare", "run"], "step: should be a valid integer"),
    ("run/generator/weights.safetensors", lambda path: path.write_bytes((10**12).to_bytes(8, "little") + b"{}"),
     ["generate", "run", "new"], "weights.safetensors: cannot be read"),
    ("run/generator/config.json", lambda path: edited(path, domain="../elsewhere"), ["generate", "run", "new"],
     "domain: String should match pattern"),
    ("run/checkpoints/step-000012.pt", lambda path: torch.save({"schema_version": 1}, path),
     ["generate", "run", "new", "--weights", "raw"], "this checkpoint is damaged"),
    ("run/metrics.json", lambda path: edited(path, results=[{"name": "KD", "n_images": -1}]), ["compare", "run"],
     "results.0.n_images: should be greater than or equal to 0"),
    ("data/dataset.json", lambda path: edited(path, domains=["../images"]), [*TRAIN["run"], "--dry-run"],
     "domains.0: String should match pattern"),
    ("data/images-T1.npy", lambda path: np.save(path, np.load(path).astype(np.float64)), [*TRAIN["run"], "--dry-run"],
     "holds an array of shape")])
def test_what_loads_and_does_not_fit_is_told_with_its_place(world: Path, name: str, change: Callable[[Path], None],
                                                            command: list[str], says: str) -> None:
    shutil.rmtree(world, ignore_errors=True)
    shutil.copytree(world.with_name("kept"), world)
    change(world / name)
    with contextlib.suppress(UserError, KeyError):
        refresh(world, world / name)
    with contextlib.chdir(world):
        error = invoke(command).exception
    assert isinstance(error, UserError) and says in str(error) and "\n" not in str(error)


@pytest.mark.slow
def test_many_draws(whole_world: Path) -> None:
    only = os.environ.get("GANATOMY_DRAW")
    first, many = (int(only), 1) if only else (random.SystemRandom().randrange(10**6), MANY)
    print(f"draws {first} to {first + many - 1}")
    wrong = list(filter(None, (draw(whole_world, number) for number in range(first, first + many))))
    assert not wrong, f"{len(wrong)} of {many}:\n" + "\n".join(wrong)
