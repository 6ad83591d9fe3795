"""Workers on clusters: job scripts for SLURM, and tasks of Ray. What a worker is: workers.py."""

from __future__ import annotations

import logging
import math
import os
import secrets
import shlex
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors, write_text
from ganatomy.studies.workers import GRACE, ONE_THREAD, POLL, start, stop

if TYPE_CHECKING:  # it loads torch, which nodes of Ray need not
    from ganatomy.studies.folder import StudyFolder

MOST_TASKS = 1000  # in an array: clusters take 1,001 unless they are told otherwise
SAFETY = 3.0  # times what this machine needs: the other may be slower, and shared
LEAST_MINUTES, ROUNDED_TO = 30, 15

_HEAD = """#!/bin/bash
# {what}
#SBATCH --job-name=ganatomy
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
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
# exec: so that the signal before the time limit reaches it, and it saves what it has
exec {command}
"""


def write_jobs(study: StudyFolder, command: Sequence[str], tasks: int, seconds: float) -> list[str]:
    """Write slurm.sh, an array of workers, and slurm-gather.sh, which finishes what is missing and writes the results.

    The same scripts can be submitted again. A task that is lost is begun again by SLURM.

    Args:
        study, command: the folder; what goes on with the study, with paths that the cluster's nodes know too.
        tasks, seconds: how many workers, 1 to `MOST_TASKS`; what the cells of each take here.

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
    same = {"time": f"{minutes // 60:02d}:{minutes % 60:02d}:00", "grace": GRACE,
            "logs": str(logs).replace("%", "%%"),
            "environment": " ".join(f"{name}={value}" for name, value in ONE_THREAD.items())}
    array = _HEAD.format(what="Workers for the cells of a study: sbatch this file.", log="%A_%a",
                         more=f"#SBATCH --array=0-{tasks - 1}",
                         command=shlex.join([*command, "--worker"]), **same)
    gather = _HEAD.format(what="After the workers: finishes what is missing, and writes the results.", log="%j",
                          more="", command=f'{shlex.join(command)} --workers "${{SLURM_CPUS_PER_TASK:-1}}"', **same)
    gather_file = study.path / "slurm-gather.sh"
    write_text(study.slurm_file, array)
    write_text(gather_file, gather)
    return [f"job=$(sbatch --parsable {shlex.quote(str(study.slurm_file.absolute()))})",
            f'sbatch --dependency=afterany:"${{job%%;*}}" {shlex.quote(str(gather_file.absolute()))}']


ON_A_GPU = 4  # workers share one, unless --gpu-share says otherwise
CONNECT = 5.0  # seconds: Ray itself goes on trying a dead address for minutes
OBJECTS = 100 * 2**20  # bytes of shared memory for a cluster of this machine: its tasks send nothing but numbers

_ADDRESSES = "give the address that `ray start --head` printed, auto on a machine of the cluster, or local"


class OnRay:
    """A `Crew` on a Ray cluster: a CPU for each worker, and a share of a GPU where there are any."""

    def __init__(self, study: StudyFolder, command: Sequence[str], address: str, workers: int,
                 gpu_share: float | None, device: str) -> None:
        """Join the cluster, or begin one of as many CPUs as workers; to be used in a `with`, which leaves it.

        Raises:
            UserError: no Ray, no cluster, no GPU.
        """
        if gpu_share is not None and not 0 <= gpu_share <= 1:
            raise UserError(f"{gpu_share} is no share of a GPU", where="--gpu-share", fix="give 0 to 1")
        self._ray, self._command = check_address(address), list(command)
        self._running: dict[Any, Path] = {}
        self._mark = study.path.absolute() / f".ray-{secrets.token_hex(8)}"  # another folder has not got this
        own = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": OBJECTS}
        try:
            self._ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR,
                           **(own if address == "local" else {}))
        except (ConnectionError, ValueError, RuntimeError, OSError, ImportError) as error:
            raise _not_joined(address, str(error).strip().splitlines()[0]) from error
        try:
            self._share = self._gpus(gpu_share, device)
            with disk_errors(self._mark):
                self._mark.touch()
        except BaseException:
            self._ray.shutdown()
            raise
        self._task = self._ray.remote(num_cpus=1, num_gpus=self._share, max_retries=0)(run_on_node)

    def slots(self) -> int:
        """As many as the cluster has CPUs, and shares of GPUs, for as of now; at least one."""
        there = self._ray.cluster_resources()
        cpus = there.get("CPU", 0)
        return max(1, int(min(cpus, there.get("GPU", 0) // self._share) if self._share else cpus))

    def start(self, log: Path) -> None:
        task = self._task.remote(self._command, str(self._mark), __version__, str(log), self._share > 0)
        self._running[task] = log

    def running(self) -> int:
        return len(self._running)

    def ended(self) -> list[tuple[int, Path]]:
        """Also the tasks whose node or Ray worker is gone, as if killed.

        Raises:
            UserError: a node has not the same folder or the same ganatomy.
        """
        if not self._running:
            time.sleep(POLL)
            return []
        ended = []
        for reference in self._ray.wait(list(self._running), timeout=POLL)[0]:
            log = self._running.pop(reference)
            try:
                ended.append((int(self._ray.get(reference)), log))
            except self._ray.exceptions.RayTaskError as error:
                raise error.cause from error  # raised on the node by what ran there
            except self._ray.exceptions.RayError:
                ended.append((-signal.SIGKILL, log))
        return ended

    def stop(self) -> None:
        if self._running:
            for reference in self._running:
                self._ray.cancel(reference)
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=GRACE)
        self._running.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._mark.unlink(missing_ok=True)
        self._ray.shutdown()  # leaves the cluster; one of this machine's own ends

    def _gpus(self, share: float | None, device: str) -> float:
        there = self._ray.cluster_resources().get("GPU", 0)
        if share and not there:
            raise UserError("the cluster has no GPU", where="--gpu-share", fix="leave it out")
        return share if share is not None else 1 / ON_A_GPU if there and device != "cpu" else 0.0


def refuse_node(mark: str, python: str, version: str) -> None:
    """Raise `UserError` if this node does not share the study's folder or the Python, or has another version.

    The mark lies in the study's folder: cells of a copy of the folder would be done and never be seen.
    """
    unseen = " and ".join(path for path in (mark, python) if not Path(path).exists())
    if unseen or version != __version__:
        raise UserError(f"the node does not see {unseen}" if unseen else f"the node has ganatomy {__version__}",
                        where=f"Ray node {socket.gethostname()}",
                        fix="put dataset and study on a file system that all nodes share, under the same path, and the "
                            f"same Python environment (ganatomy {version})")


def run_on_node(command: Sequence[str], mark: str, version: str, log: str, gpu: bool) -> int:
    """Run a worker to its end; its exit code. A task that is cancelled stops it first.

    Without a share of a GPU the process sees none, so that cells do the same on every node.
    """
    refuse_node(mark, command[0], version)
    with suppress(ValueError):  # ignored where Ray was begun in the background of a script, and Ray cancels by it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start(command, Path(log), **({} if gpu else {"CUDA_VISIBLE_DEVICES": ""}))
    try:
        while (code := process.poll()) is None:
            time.sleep(POLL)  # not wait(): Ray's way to cancel is noticed between two steps of Python only
        return code
    except BaseException:
        stop([process])
        raise


def check_address(address: str) -> Any:
    """Ray's module. Raises `UserError` without it, or if nobody listens at an address of the form host:port."""
    if not address.strip():
        raise UserError("the address of the Ray cluster is empty", where="--ray", fix=_ADDRESSES)
    # before it is imported, since it reads these then: nothing is reported to anyone
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"})
    try:
        import ray
    except ImportError as error:
        raise UserError("Ray is not installed", where="--ray", fix='pip install "ganatomy[ray]"') from error
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()
        except (OSError, OverflowError, UnicodeError) as error:
            raise _not_joined(address, str(error)) from error
    return ray


def _not_joined(address: str, why: str) -> UserError:
    return UserError(f"no Ray cluster could be joined ({why})", where=f"--ray {address}", fix=_ADDRESSES)
