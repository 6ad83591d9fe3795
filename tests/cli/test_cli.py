"""The command line as a user meets it: verbs, exit codes, one line for every mistake."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import patch

import pytest
from PIL import Image

from tests.builders import discs, write_dataset
from tests.cli.typed import SETS, mistake, run


def test_the_straight_line_ends_in_a_report(folder: Path, tmp_path: Path) -> None:
    synthetic = tmp_path / "synthetic"
    assert run("generate", folder / "run", synthetic, "-n", 12, "--seed", 3).returncode == 0
    assert len(list((synthetic / "images").glob("*.png"))) == 12
    done = run("evaluate", folder / "run", "-n", 12, "--json")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)
    assert "KD-Lite0" in {r["name"] for r in metrics["results"]}
    assert json.loads((folder / "run" / "metrics.json").read_text()) == metrics
    two = run("evaluate", folder / "dataset", synthetic)
    assert two.returncode == 0, two.stderr
    assert "KD-Lite0 × 1000" in two.stdout
    assert run("report", folder / "run").returncode == 0
    assert "<html" in (folder / "run" / "report.html").read_text()


def test_dry_run_shows_recipe_parameters_and_memory_and_trains_nothing(folder: Path, tmp_path: Path) -> None:
    done = run("train", folder / "dataset", tmp_path / "run", "--dry-run", *SETS, "--seed", 7)
    assert done.returncode == 0, done.stderr
    assert "seed: 7" in done.stdout
    for words in ("parameters", "expected memory", "training images"):
        assert words in done.stdout
    assert not (tmp_path / "run").exists()


def test_recipes_are_listed_and_shown() -> None:
    listed = run("recipes", "list").stdout
    assert "rpgan-64" in listed
    assert "dcgan-brain-128" in listed
    assert run("recipes", "show", "rpgan-64").stdout.startswith("# rpgan-64: ")
    assert "no recipe is called 'x'" in mistake("recipes", "show", "x")


def test_mistakes_are_answered_in_one_line_with_the_mend(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.png").write_text("not an image")
    dataset, out = folder / "dataset", tmp_path / "out"
    cases = [
        (("prepare", tmp_path / "absent", out), "absent"),
        (("prepare", tmp_path / "empty", out), "empty"),
        (("prepare", tmp_path / "text", out), "text"),
        (("train", tmp_path / "absent", out), "no such folder"),
        (("train", tmp_path / "empty", out), "not a dataset folder"),
        (("train", dataset, out, "--recipe", "nonesuch"), "rpgan-64"),
        (("train", dataset, out, "--set", "widht=3"), "widht: unknown key"),
        (("train", dataset, out, "--set", "width"), "key=value"),
        (("train", dataset, out, "--batch-size", 0), "batch_size"),
        (("train", dataset, out, *SETS, "--batch-size", 3), "given twice"),
        (("train", dataset, out, "--steps", 3, "--epochs", 2), "both given"),
        (("train", dataset, out, "--budget", "soon"), "not a time"),
        (("train", dataset, out, *SETS, "--budget", "5m"), "both given"),
        (("train", dataset, out, *SETS, "--domain", "T9"), "no domain 'T9'"),
        (("train", dataset, out), "cannot be averaged down"),
        (("generate", tmp_path / "empty", out), "neither a run folder"),
        (("generate", folder / "run", out, "-n", -1), "from 1 to"),
        (("evaluate", tmp_path / "empty"), "not a run folder"),
        (("report", tmp_path / "empty"), "not a run folder"),
    ]
    for words, expected in cases:
        stderr = mistake(*words)
        assert expected in stderr, (words, stderr)
        assert len(stderr.strip().splitlines()) <= 3, stderr
        assert not out.exists(), words
    barely = tmp_path / ("x" * 249)  # but not with .private behind it
    for words in (("report", "x" * 300), ("generate", "x" * 300, tmp_path / "out"),
                  ("train", folder / "dataset", barely, *SETS)):
        assert "too long" in mistake(*words)
    assert not barely.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a current folder cannot be removed there")
def test_a_current_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = "import os, sys; os.rmdir(os.getcwd()); sys.argv[1:] = ['report', 'run']; " \
           "from ganatomy.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", gone], cwd=tmp_path, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: the current folder is no longer there -> change to another "
                                                 "one\n")


@pytest.mark.parametrize("words", [("trian",), ("train",), ("train", "a", "b", "--no-such-flag"), ("train", "a", "")])
def test_wrong_usage_exits_2_with_a_hint(words: tuple[str, ...]) -> None:
    assert "Error" in mistake(*words)


@pytest.mark.parametrize(("answer", "code", "classes"), [("1", 0, ["0", "1", "2"]), ("none", 2, None)])
def test_on_a_terminal_prepare_asks(tmp_path: Path, answer: str, code: int, classes: list[str] | None) -> None:
    for i in range(18):
        (tmp_path / "in" / str(i // 6)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(discs(1, seed=i)[0]).save(tmp_path / "in" / str(i // 6) / f"{i:04d}.png")
    with patch("ganatomy.cli.prepare.on_terminal", return_value=True), patch("click.prompt", return_value=answer):
        result = run("prepare", tmp_path / "in", tmp_path / "out", "--size", "16")
    assert result.returncode == code and "--pattern '{label}/{subject}.png'" in result.stderr
    if classes is None:
        assert not (tmp_path / "out").exists()
    else:
        assert json.loads((tmp_path / "out" / "dataset.json").read_text())["classes"] == classes


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "dataset").path
    sets = [s for s in SETS if not s.startswith("--set=steps")]
    words = [sys.executable, "-m", "ganatomy", "train", str(data), str(tmp_path / "run"), *sets, "--steps", "100000"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "run").glob("checkpoints/*.pt")) and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "run the same command again to go on" in stderr
    assert "Traceback" not in stderr
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "interrupted"
    assert (tmp_path / "run" / "checkpoints" / f"step-{status['step']:06d}.pt").is_file()
