"""A budget becomes a number of steps once, and from then on a training is one of so many steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import load
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.training import budget
from ganatomy.training import train as training
from ganatomy.training.budget import Pace
from ganatomy.training.step import checkpoint_interval, preview_interval
from ganatomy.training.train import Loop, plan, train
from tests.builders import SMALL, TINY, weights

FREE = {key: value for key, value in TINY.items() if key not in ("steps", "checkpoint_every", "preview_every")}
SLOW = Pace(step=100.0, checkpoint=0.0, preview=0.0, ends=0.0)
HALF_HOUR = "30m"  # 17 steps of 100.0 s and a reserve; what the trial itself takes makes no difference
STEPS = 17


class Killed(BaseException):
    """What nothing catches."""


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial is made, and its result is another, so that the number of steps is known."""
    measured = budget.measure
    monkeypatch.setattr(budget, "LEAST_CYCLES", 1)
    monkeypatch.setattr(budget, "TRIAL_SECONDS", 0.01)
    monkeypatch.setattr(budget, "measure", lambda *args: (measured(*args), SLOW)[1])


@pytest.fixture(scope="module")
def whole(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of as many steps."""
    run = train(dataset.path, tmp_path_factory.mktemp("whole") / "run", "rpgan-64", set=FREE | {"steps": STEPS})
    return weights(run)


@pytest.mark.usefixtures("slow", "quick_scores")
def test_it_ends_with_the_bits_of_as_many_steps(dataset: Dataset, tmp_path: Path) -> None:
    lines: list[str] = []
    settings = FREE | {"select": "kd", "learning_rate_fade": 0.5}
    run = train(dataset.path, tmp_path / "run", "rpgan-64", set=settings, budget=HALF_HOUR, say=lines.append)
    other = train(dataset.path, tmp_path / "other", "rpgan-64", set=settings | {"steps": STEPS})
    assert weights(run) == weights(other)
    assert run.losses_file.read_bytes() == other.losses_file.read_bytes()
    assert [p.name for p in run.checkpoints()] == [p.name for p in other.checkpoints()]
    assert (run.recipe().steps, run.recipe().budget, run.status()["steps"]) == (STEPS, 1800, STEPS)
    assert f"--steps {STEPS}" in run.commands()[0]
    assert "budget" not in run.commands()[0]
    assert run.commands() == other.commands()
    assert any(line.startswith("about 28 min, done at ") and line.endswith(": 17 steps of 100.0 s") for line in lines)
    for again in ({"budget": 1800}, {"set": settings | {"steps": STEPS}}):
        lines.clear()
        train(dataset.path, run.path, "rpgan-64", **{"set": settings, **again}, say=lines.append)
        assert "already finished at step 17" in lines[0]


MOMENTS = {"before": (training, "settle"), "during": (budget.TrainingState, "save"), "between": (Run, "start"),
           "recorded": (Loop, "run_to_end"), "training": (Loop, "_checkpoint")}


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("moment", ["during", "recorded"])
def test_ended_at_any_moment_it_goes_on_to_the_same_bits(dataset: Dataset, whole: bytes, tmp_path: Path, moment: str,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*args: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(*MOMENTS[moment], killed)
        train(dataset.path, tmp_path / "run", "rpgan-64", set=FREE, budget=HALF_HOUR)
    run, begun = Run(tmp_path / "run"), moment in ("recorded", "training")
    assert run.recipe_file.is_file() == begun
    if begun:  # it is not measured again
        monkeypatch.setattr(budget, "measure", killed)
    train(dataset.path, run.path, "rpgan-64", set=FREE, budget=HALF_HOUR)
    assert weights(run) == whole
    assert not list(run.path.rglob(".*"))


KILL = """
import os, signal, sys
from ganatomy.core.run import Run
from ganatomy.training import budget, train
from ganatomy.training.train import Loop
owner, name = {"before": (train, "settle"), "during": (budget, "update"), "between": (Run, "start"),
               "recorded": (Loop, "run_to_end"), "training": (Loop, "_log")}[sys.argv[3]]
setattr(owner, name, lambda *args, **more: os.kill(os.getpid(), signal.SIGKILL))
train.train(sys.argv[1], sys.argv[2], "rpgan-64", set={SETTINGS}, budget="20s")
""".replace("{SETTINGS}", repr(FREE))


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_it_goes_on_to_the_same_bits(dataset: Dataset, tmp_path: Path, moment: str) -> None:
    run = Run(tmp_path / "run")
    kill = subprocess.run([sys.executable, "-c", KILL, dataset.path, run.path, moment], check=False)
    assert kill.returncode == -9
    steps = run.recipe().steps if run.recipe_file.is_file() else None
    assert (steps is not None) == (moment in ("recorded", "training"))
    train(dataset.path, run.path, "rpgan-64", set=FREE, budget="20s")
    assert steps in (None, run.recipe().steps)
    other = train(dataset.path, tmp_path / "other", "rpgan-64", set=FREE | {"steps": run.recipe().steps})
    assert weights(run) == weights(other)


def test_steps_are_what_checkpoints_and_pictures_leave_of_the_time() -> None:
    pace = Pace(step=0.1, checkpoint=2.0, preview=1.0, ends=5.0)
    free = load("rpgan-64", {"budget": 100})
    assert pace.steps_in(1000, free, 64) == 9340  # 980 s less 5, 10 checkpoints and 21 pictures, to three digits
    assert pace.total(free.model_copy(update={"steps": 9340}), 64) == pytest.approx(980)
    assert pace.steps_in(100, free, 64) == 800  # 98 s less 5, 2 checkpoints and 9 pictures
    often = load("rpgan-64", {"budget": 100, "checkpoint_every": 20, "preview_every": 10})
    assert pace.steps_in(100, often, 64) == 300  # 0.3 s each
    epochs = load("rpgan-64", {"budget": 100, "checkpoint_epochs": 5, "preview_every": 10})  # of 4 steps
    assert pace.steps_in(100, epochs, 64) == 300
    assert pace.steps_in(8, free, 64) == 0


def test_intervals_are_shares_of_any_training() -> None:
    for steps, expected in ((9137, (914, 457)), (100_000, (10_000, 5000)), (60, (500, 100))):
        recipe = load("rpgan-64", {"steps": steps, "checkpoint_every": None, "preview_every": None})
        assert (checkpoint_interval(recipe, 64), preview_interval(recipe, 64)) == expected


@pytest.mark.usefixtures("slow")
def test_budgets_of_no_use(dataset: Dataset, pairs: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1m30s is too short to train in: a step takes 100 s"):
        train(dataset.path, tmp_path / "run", set=FREE, budget=90)
    with pytest.raises(UserError, match="steps and budget are both given"):
        train(dataset.path, tmp_path / "run", set=TINY, budget=90)
    hybrid = load("hybrid-brain-64", SMALL["hybrid-brain-64"] | {
        "source": "T1", "domain": "T2", "model.stages": [0, 0.3, 0.6, 1]})
    with pytest.raises(UserError, match="cannot go through them in 2 steps"):
        train(pairs.path, tmp_path / "run", hybrid, budget=240)
    assert not list(tmp_path.glob("[!.]*"))


@pytest.mark.usefixtures("slow")
def test_another_budget_and_that_of_a_run_of_old_are_told(dataset: Dataset, tmp_path: Path) -> None:
    run = train(dataset.path, tmp_path / "run", set=FREE, budget=HALF_HOUR)
    with pytest.raises(UserError, match="budget was 30m, now 1h"):
        train(dataset.path, run.path, set=FREE, budget="1h")
    old = train(dataset.path, tmp_path / "old", set=TINY)
    with pytest.raises(UserError, match=r"ended it by the clock: .* -> resume it by its length \(--steps 12\)"):
        train(dataset.path, old.path, set={key: value for key, value in TINY.items() if key != "steps"}, budget=60)


def test_a_dry_run_makes_no_trial(dataset: Dataset, tmp_path: Path) -> None:
    text = plan(load("rpgan-64", FREE | {"budget": "5m", "checkpoint_every": None}), dataset.path, tmp_path / "run")
    assert "steps             as many as 5m hold here, by a trial when it starts; 3 an epoch" in text
    assert "checkpoints       every tenth of them" in text
