"""A study's cells on a Ray cluster, or on one of this machine: each is a task that runs the cell's process there."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from ganatomy import __version__
from ganatomy.core.errors import UserError
from ganatomy.core.files import disk_errors
from ganatomy.studies.folder import Cell, StudyFolder
from ganatomy.studies.processes import GRACE, Outcome, cell_of, outcome
from ganatomy.studies.ray_node import look, run

POLL = 0.5  # seconds
ON_A_GPU = 4  # cells share one, unless --gpu-share says otherwise
PATIENCE = 60.0  # seconds for every node to answer
CONNECT = 5.0  # seconds: Ray itself goes on trying a dead address for minutes
OBJECTS = 100 * 2**20  # bytes of shared memory for a cluster of this machine: its tasks send nothing but numbers

_ADDRESSES = "give the address that `ray start --head` printed, auto on a machine of the cluster, or local"


class OnRay:
    """A crew (see running.py) on a Ray cluster: a CPU for each cell, and a share of a GPU where there are any."""

    def __init__(self, study: StudyFolder, command: Sequence[str], needed: Sequence[Path], address: str,
                 workers: int, gpu_share: float | None, device: str) -> None:
        """Join the cluster, or begin one; to be used in a `with`, which leaves it.

        Args:
            study: the folder, which every node has to know under this path.
            command: what goes on with the study.
            needed: dataset folders, which every node has to know under these paths.
            address: of the cluster; `auto` for the one that this machine belongs to, `local` for one of its own.
            workers: CPUs of a local cluster.
            gpu_share: of one GPU, for each cell; if None a quarter where the cluster has GPUs and `device` is not cpu.
            device: auto, cpu or cuda.

        Raises:
            UserError: no Ray, no cluster, no GPU, or a node that has not the same folders or the same ganatomy.
        """
        if gpu_share is not None and not 0 <= gpu_share <= 1:
            raise UserError(f"{gpu_share} is no share of a GPU", where="--gpu-share", fix="give 0 to 1")
        self._ray = check_address(address)
        self._study, self._command = study, list(command)
        _join(self._ray, address, workers)
        self._running: dict[Any, Cell] = {}
        try:
            self._share = self._gpus(gpu_share, device)
            self._check(needed)
        except BaseException:
            self._ray.shutdown()
            raise
        self._task = self._ray.remote(num_cpus=1, num_gpus=self._share, max_retries=0)(run)

    def slots(self) -> int:
        """As many as the cluster has CPUs, and shares of GPUs, for as of now; at least one."""
        there = self._ray.cluster_resources()
        cpus = there.get("CPU", 0)
        return max(1, int(min(cpus, there.get("GPU", 0) // self._share) if self._share else cpus))

    def start(self, cell: Cell) -> None:
        """See `Crew`."""
        log = self._study.cell(cell).log_file.absolute()
        self._running[self._task.remote(cell_of(self._command, cell.name), str(log), self._share > 0)] = cell

    def ended(self) -> list[tuple[Cell, Outcome, str]]:
        """See `Crew`; a task whose node or Ray worker is gone is lost."""
        ready, _ = self._ray.wait(list(self._running), timeout=POLL) if self._running else ([], [])
        return [self._end(reference) for reference in ready]

    def _end(self, reference: Any) -> tuple[Cell, Outcome, str]:
        cell = self._running.pop(reference)
        try:
            code = int(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:  # raised on the node by what ran there
            if isinstance(error.cause, UserError):
                raise error.cause from error
            raise
        except self._ray.exceptions.RayError as error:
            return cell, "lost", type(error).__name__
        return cell, outcome(code), f"exit code {code}" if code > 0 else f"signal {-code}"

    def stop(self) -> None:
        """See `Crew`."""
        if self._running:
            for reference in self._running:
                self._ray.cancel(reference)
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=GRACE)
        self._running.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._ray.shutdown()  # leaves the cluster; one of this machine's own ends

    def _gpus(self, share: float | None, device: str) -> float:
        there = self._ray.cluster_resources().get("GPU", 0)
        if share is None:
            return 1 / ON_A_GPU if there and device != "cpu" else 0.0
        if share > 0 and not there:
            raise UserError("the cluster has no GPU", where="--gpu-share", fix="leave it out")
        return share

    def _check(self, needed: Sequence[Path]) -> None:
        """Have every node look whether it knows the folders under the same paths, before any is given work."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        mark = self._study.path.absolute() / f".seen-by-{secrets.token_hex(8)}"  # another folder has not got this
        hashes = {str(p.absolute() / "dataset.json"): hashlib.sha256((p / "dataset.json").read_bytes()).hexdigest()
                  for p in needed}
        task = self._ray.remote(num_cpus=0, max_retries=1)(look)
        try:
            with disk_errors(mark):
                mark.touch()
            for node in [n for n in self._ray.nodes() if n["Alive"] and n["Resources"].get("CPU")]:
                where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                asked = task.options(scheduling_strategy=where).remote(str(mark), hashes, sys.executable)
                self._hear(asked, node["NodeManagerHostname"])
        finally:
            mark.unlink(missing_ok=True)

    def _hear(self, asked: Any, name: str) -> None:
        try:
            version, lacking = self._ray.get(asked, timeout=PATIENCE)
        except self._ray.exceptions.RayError as error:
            raise UserError(f"the node does not answer, or has no ganatomy ({str(error).strip().splitlines()[-1]})",
                            where=f"Ray node {name}", fix="install the same environment there") from error
        if lacking:
            raise UserError(f"the node does not see {', '.join(lacking)}", where=f"Ray node {name}",
                            fix="put dataset and study on a file system that all nodes share, under the same path, and "
                                "the same Python environment")
        if version != __version__:
            raise UserError(f"the node has ganatomy {version}, here it is {__version__}", where=f"Ray node {name}",
                            fix="install the same environment there")


def _import() -> Any:
    # before it is imported, since it reads these then: nothing is reported to anyone
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"})
    try:
        import ray
    except ImportError as error:
        raise UserError("Ray is not installed", where="--ray", fix='pip install "ganatomy[ray]"') from error
    return ray


def check_address(address: str) -> Any:
    """Ray's module. Raises `UserError` without it, or if nobody listens at an address of the form host:port."""
    if not address.strip():
        raise UserError("the address of the Ray cluster is empty", where="--ray", fix=_ADDRESSES)
    ray = _import()
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT).close()
        except (OSError, OverflowError, UnicodeError) as error:
            raise UserError(f"no Ray cluster could be joined ({error})", where=f"--ray {address}",
                            fix=_ADDRESSES) from error
    return ray


def _join(ray: Any, address: str, workers: int) -> None:
    """Connect, quietly."""
    own = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": OBJECTS} \
        if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError, OSError, ImportError) as error:
        raise UserError(f"no Ray cluster could be joined ({str(error).strip().splitlines()[0]})",
                        where=f"--ray {address}", fix=_ADDRESSES) from error
