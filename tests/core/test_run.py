"""The run folder: its lock, and the commands that made it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ganatomy.core.errors import UserError
from ganatomy.core.run import Run
from ganatomy.data.dataset import Dataset
from ganatomy.evaluation.evaluate import evaluate
from ganatomy.training.train import train
from tests.builders import TINY

HOLD = """
import sys, time
from ganatomy.core.run import Run
with Run(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_refused_while_a_process_holds_it_and_free_when_that_is_killed(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(UserError, match="another training is writing") as error, run.lock():
        pass
    assert error.value.fix
    holder.kill()
    holder.communicate()
    with run.lock():
        assert run.path.with_name(".run.lock").stat().st_mode & 0o077 == 0


def test_the_commands_of_a_run_are_kept_without_names_and_paths(dataset: Dataset, tmp_path: Path) -> None:
    first = train(dataset.path, tmp_path / "first", "rpgan-64", set=TINY | {"steps": 4})
    named = tmp_path / "Doe_John.yaml"
    named.write_text(first.recipe().to_yaml())
    run = train(dataset.path, tmp_path / "run", named, debug=True,
                set={"seed": 3, "model.gamma": 0.5, "init_from": str(first.path)})
    assert run.commands() == ["ganatomy train DATASET RUN --recipe RECIPE.yaml --seed 3 --init-from PRETRAINED "
                              "--set model.gamma=0.5 --debug"]
    run.record_command("ganatomy evaluate RUN -n 20 --seed 2")
    evaluate(run.path, n=24)
    assert run.commands()[1:] == ["ganatomy evaluate RUN -n 24"]  # metrics.json holds the last one's values
    assert "Doe_John" not in run.commands_file.read_text()
    assert first.commands() == ["ganatomy train DATASET RUN --recipe rpgan-64 --steps 4 --batch-size 4 "
                                "--checkpoint-every 4 --select last --set size=16 --set model.width=8 --set "
                                "model.d_width=8 --set model.z_dim=8 --set model.features=0.0 --set preview_every=4"]


@pytest.mark.parametrize("kept", [None, "{}", json.dumps([3, "rm -rf /"])])
def test_a_run_of_an_older_version_has_no_commands(tmp_path: Path, kept: str | None) -> None:
    (tmp_path / "run").mkdir()
    run = Run(tmp_path / "run")
    if kept is not None:
        run.commands_file.write_text(kept)
    assert run.commands() == []
    run.record_command("ganatomy evaluate RUN")
    assert run.commands() == ["ganatomy evaluate RUN"]


def test_looking_for_the_dataset_of_a_shared_run_leaves_no_trace(own_run: Run, tmp_path: Path) -> None:
    own_run.path.rename(tmp_path / "shared")
    with pytest.raises(UserError, match=r"RUN\.private was left behind"):
        Run(tmp_path / "shared").dataset_path()
    assert not (tmp_path / "shared.private").exists()
