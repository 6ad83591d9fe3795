"""Job scripts for SLURM: an array with a task for each cell, and a job after it that gathers."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors, write_text
from ganatomy.data.dataset import Dataset
from ganatomy.studies.cost import cell_cost, measure, memory
from ganatomy.studies.folder import Cell, StudyFolder
from ganatomy.studies.processes import GRACE, ONE_THREAD, study_command
from ganatomy.studies.running import Say
from ganatomy.studies.study import begin, cells_left

MOST_TASKS = 1000  # in an array: clusters take 1,001 unless they are told otherwise
SAFETY = 3.0  # times what this machine needs: the other may be slower, and shared
LEAST_MINUTES, ROUNDED_TO = 30, 15
GIGABYTE = 2**30

_HEAD = """#!/bin/bash
# {what}
#SBATCH --job-name=ganatomy
#SBATCH --cpus-per-task=1
#SBATCH --mem={memory}G
#SBATCH --time={time}
#SBATCH --output="{logs}/{log}.txt"
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@{grace:.0f}
#SBATCH --requeue
{more}
# What your cluster may ask for; take one # away from a line to use it:
##SBATCH --partition=NAME
##SBATCH --account=NAME
##SBATCH --gres=gpu:1

export {environment}
"""

_CELLS = """cells=(
{cells}
)
# exec: so that the signal before the time limit reaches it, and it saves what it has
exec {command} --cell "${{cells[$SLURM_ARRAY_TASK_ID]}}"
"""


def jobs(data: str | Path, out: str | Path, *, external: str | Path | None = None, device: str = "auto",
         say: Say = lambda text: None, **given: Any) -> list[str]:
    """Begin a study, or go on with one, as `study` does, and write job scripts instead of running its cells.

    Args:
        data, out, external, device, say, given: as of `study`.

    Returns:
        The two lines that submit the scripts; none if every cell is done.

    Raises:
        UserError: as `study`, or a path that a job script cannot hold.
    """
    folder = begin(data, out, **{"recipe": None, "set": None, "budget": None, **given}, external=external,
                   device=device, say=say)
    left = cells_left(folder)
    if not left:
        say("every cell is done; `ganatomy study DATASET STUDY` writes the results")
        return []
    if len(left) > MOST_TASKS:
        say(f"the array has the first {MOST_TASKS} of {len(left)} cells; run this again when they are done")
    settings, dataset, places = folder.settings(), Dataset.open(data), folder.places()
    say("a short trial, for the time that the jobs ask for")
    rates = measure(settings, dataset, places, device)
    longest = max(cell_cost(settings, dataset, places, rates, k).seconds for k in {c.k for c in left})
    outside = Path(external) if external is not None else folder.external_path()
    return write_jobs(folder, left[:MOST_TASKS], Path(data), outside, device, longest, memory(settings, dataset))


def write_jobs(study: StudyFolder, cells: Sequence[Cell], data: Path, external: Path | None, device: str,
               seconds: float, size: float) -> list[str]:
    """Write slurm.sh, an array over cells, and slurm-gather.sh, which finishes what is missing and writes the results.

    A task that is lost is begun again by SLURM; what is missing in the end is done by the gathering job. The same
    scripts can be submitted again, and a cell that is done ends at once.

    Args:
        study: the folder.
        cells: those that are not done, at least one.
        data: the dataset folder, under a path that the cluster's nodes know too.
        external: the external one, if there is one.
        device: auto, cpu or cuda.
        seconds: what a cell takes here.
        size: bytes of memory that it needs.

    Returns:
        The two lines that submit them.

    Raises:
        UserError: a path that a job script cannot hold.
    """
    logs = study.path.absolute() / "logs"
    if any(c in '"\\' or not c.isprintable() for c in str(logs)):
        raise UserError("its path cannot be written into a job script", where=study.path,
                        fix="choose a folder without quotation marks, backslashes and line breaks")
    with disk_errors(logs):
        logs.mkdir(exist_ok=True)
    minutes = max(LEAST_MINUTES, ROUNDED_TO * math.ceil(SAFETY * seconds / 60 / ROUNDED_TO))
    same = {"memory": max(2, math.ceil(2 * size / GIGABYTE)), "time": f"{minutes // 60:02d}:{minutes % 60:02d}:00",
            "grace": GRACE, "logs": str(logs).replace("%", "%%"),
            "environment": " ".join(f"{name}={value}" for name, value in ONE_THREAD.items())}
    command = shlex.join(study_command(data, study.path, device, external))
    array = _HEAD.format(what="The cells of a study: sbatch this file.", log="%A_%a",
                         more=f"#SBATCH --array=0-{len(cells) - 1}", **same)
    array += _CELLS.format(cells="\n".join(f"  {cell.name}" for cell in cells), command=command)
    gather = _HEAD.format(what="After the cells: finishes what is missing, and writes the results.", log="%j", more="",
                          **same)
    gather += f'exec {command} --workers "${{SLURM_CPUS_PER_TASK:-1}}"\n'
    gather_file = study.path / "slurm-gather.sh"
    write_text(study.slurm_file, array)
    write_text(gather_file, gather)
    return [f"job=$(sbatch --parsable {shlex.quote(str(study.slurm_file.absolute()))})",
            f'sbatch --dependency=afterany:"${{job%%;*}}" {shlex.quote(str(gather_file.absolute()))}']
