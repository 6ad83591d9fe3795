"""A verb that is asked to end leaves nothing behind, and the same command again does its work."""

from __future__ import annotations

import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.builders import random_kills
from tests.cli.commands import VERBS, Place, build, ended

TRIES = 4
PHANTOM = ("phantom", "OUT", "--subjects", "5000", "--size", "16")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return build(tmp_path_factory.mktemp("verbs"))


def wait_for_stage(folder: Path, process: subprocess.Popen[str]) -> Path:
    while process.poll() is None:
        if stages := [path for path in folder.glob(".*.partial-*") if any(path.iterdir())]:
            return stages[0]
        time.sleep(0.01)
    raise AssertionError(ended(process))


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("asked", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_stopped_verb_says_one_line_and_leaves_nothing(tmp_path: Path, asked: signal.Signals) -> None:
    place = Place(tmp_path / "place")
    place.scratch.mkdir(parents=True)
    words = [sys.executable, "-c", "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
             "signal.signal(signal.SIGHUP, signal.SIG_DFL); "  # nohup, under which tests may run, is respected
             "sys.argv[0] = 'ganatomy'; from ganatomy.cli.main import main; main()", *PHANTOM]
    process = subprocess.Popen(words, cwd=place.path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stage = wait_for_stage(place.path, process)
    assert stat.S_IMODE(stage.stat().st_mode) == 0o700
    process.send_signal(asked)
    code, said = ended(process)
    assert code == 128 + asked
    assert said.strip().splitlines()[-1] == "stopped; run the same command again to go on"
    assert "Traceback" not in said
    assert [path.name for path in place.path.iterdir()] == ["tmp"]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("verb", VERBS)
def test_at_any_moment_a_stopped_verb_leaves_nothing_and_can_be_run_again(place: Place, verb: str) -> None:
    rng = random_kills()
    out = verb.replace("-", "_")
    started = time.monotonic()
    code, said = place.run(verb, f"{out}_whole")
    assert code == 0, said
    takes = time.monotonic() - started
    for number in range(TRIES):
        stop(place, verb, f"{out}_{number}", rng.uniform(0.15, 1.0) * takes, rng)


def stop(place: Place, verb: str, out: str, after: float, rng: random.Random) -> None:
    process = place.start(verb, out)
    time.sleep(after)
    if rng.random() < 0.3:  # schedulers may ask all processes of a job, and twice
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGTERM)
    if rng.random() < 0.3:
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
    code, said = ended(process)
    where = f"{verb} after {after:.2f} s: {code} {said}"
    assert code in (0, 143, -signal.SIGTERM), where
    assert "Traceback" not in said, where
    assert place.left() == [], where
    code, said = place.run(verb, out)
    assert code == 0, where + said
    assert place.left() == [], where + said
    for path in place.path.glob(f"{out}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
