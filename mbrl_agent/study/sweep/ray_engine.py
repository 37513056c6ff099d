"""Cells as tasks of a Ray cluster, whose machines share the sweep's directory."""

from __future__ import annotations

import importlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.messages import one_line
from mbrl_agent.study.sweep.cell_process import CellProcess
from mbrl_agent.study.sweep.cells import Cell
from mbrl_agent.study.sweep.engine import AttemptEnding, Outcome

CONNECT = 10.0  # seconds that a cluster has to answer
CANCEL_SECONDS = 10.0  # seconds that the tasks have to end their processes before Ray kills them


def attempt_on_ray(cell: Cell) -> Outcome:
    """Return the task: one attempt at a cell, in a process of its own.

    Whatever ends the task, ends the process: being cancelled does so here, and when the worker or its
    machine is gone, the process's stdin is closed.
    """
    process = CellProcess(cell)
    try:
        return process.wait()
    finally:
        process.stop()


def import_ray() -> Any:
    """Import Ray, with its usage statistics switched off.

    Raises:
        ValueError: It is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a warning about what we do not use
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ValueError(f"the ray engine needs Ray, pip install -e '.[cluster]': {error}") from error


def require_reachable(address: str) -> None:
    """Raise OSError if nothing answers at HOST:PORT; Ray itself would try for many minutes.

    Raises:
        OSError: Likewise.
        ValueError: It is not an address.
    """
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"address must be auto or HOST:PORT, got {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT).close()
    except OSError as error:
        raise OSError(f"no Ray cluster at {address}: {error.strerror or error}") from error


def gpus(config: TrainConfig) -> int:
    """Tell how many GPUs a cell takes."""
    return 1 if config.device.startswith("cuda") else 0


def require_room(nodes: Sequence[Mapping[str, Any]], config: TrainConfig) -> None:
    """Refuse cells that no machine can ever run; Ray would wait for one for ever.

    Args:
        nodes: The machines, as `ray.nodes()` describes them.
        config: Of the cells.

    Raises:
        ValueError: None has enough CPUs and, where one is needed, a GPU.
    """
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    if any(
        machine.get("CPU", 0) >= config.threads and machine.get("GPU", 0) >= gpus(config)
        for machine in machines
    ):
        return
    cpus = "a CPU" if config.threads == 1 else f"{config.threads} CPUs"
    wanted = f"{cpus} and a GPU" if gpus(config) else cpus
    raise ValueError(
        f"Ray has no machine with {wanted}, which a cell takes with --threads {config.threads} "
        f"--device {config.device}"
    )


class RayEngine:
    """Hands every cell to Ray at once, which starts it where there is room.

    Args:
        config: What every cell takes of a machine: its threads and its device.
        address: Of a running cluster (`auto` or `HOST:PORT`); None takes that of the
            environment variable RAY_ADDRESS or, without one, starts Ray on this machine.
        jobs: Cells for which the Ray that is started on this machine has CPUs; None takes all cores.

    Raises:
        ValueError: Ray is not installed, does not fit to the cluster, or has no machine that is large enough
            for a cell.
        OSError: The cluster cannot be reached.
    """

    def __init__(self, config: TrainConfig, address: str | None = None, jobs: int | None = None) -> None:
        self._ray = import_ray()
        address = address or os.environ.get("RAY_ADDRESS")
        if address:
            require_reachable(address)
        cpus = None if jobs is None else jobs * config.threads
        here = {"address": "local", "num_cpus": cpus, "include_dashboard": False}
        try:
            where = {"address": address} if address else here
            self._ray.init(**where, log_to_driver=False, logging_level="error")
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"Ray cannot be used: {error}") from error
        try:
            require_room(self._ray.nodes(), config)
        except ValueError:
            self._ray.shutdown()
            raise
        self._task = self._ray.remote(attempt_on_ray)
        self._cells: dict[Any, Cell] = {}
        self._refused: list[tuple[Cell, Outcome]] = []

    def submit(self, cell: Cell) -> None:
        """Queue a task; Ray's own retries are off, because a lost one is resumed by the scheduler."""
        task = self._task.options(
            name=cell.directory.name,
            num_cpus=cell.config.threads,
            num_gpus=gpus(cell.config),
            max_retries=0,
            scheduling_strategy="SPREAD",
        )
        try:
            self._cells[task.remote(cell)] = cell
        except (self._ray.exceptions.RayError, RuntimeError, ConnectionError) as error:
            self._refused.append((cell, Outcome(AttemptEnding.LOST, _short(error))))  # the cluster's fault

    def collect(self, timeout: float) -> list[tuple[Cell, Outcome]]:
        """Return the tasks that have ended, and the cells that Ray did not take."""
        if self._refused:
            refused, self._refused = self._refused, []
            time.sleep(timeout)  # so that the cluster has a moment to recover before the next try
            return refused
        if not self._cells:
            time.sleep(timeout)
            return []
        pending = list(self._cells)
        ended, _ = self._ray.wait(pending, num_returns=1, timeout=timeout)
        if ended:  # whatever else has ended by now
            ended, _ = self._ray.wait(pending, num_returns=len(pending), timeout=0)
        return [(self._cells.pop(task), self._outcome(task)) for task in ended]

    def _outcome(self, task: Any) -> Outcome:
        errors = self._ray.exceptions
        try:
            outcome: Outcome = self._ray.get(task)
        except errors.RayTaskError as error:  # ours: no module, no log, ...
            last = str(error).strip().splitlines()[-1]
            return Outcome(AttemptEnding.CRASHED, last)
        except errors.RayError as error:  # the worker or its machine is gone
            return Outcome(AttemptEnding.LOST, _short(error))
        return outcome

    def stop(self) -> None:
        """Cancel every task, and leave the cluster."""
        try:
            for force in (False, True):
                for task in self._cells:
                    self._ray.cancel(task, force=force)
                if self._cells:
                    tasks = list(self._cells)
                    ended, _ = self._ray.wait(tasks, num_returns=len(tasks), timeout=CANCEL_SECONDS)
                    for task in ended:
                        del self._cells[task]
        finally:
            self._ray.shutdown()


def _short(error: Exception) -> str:
    """Write the beginning of a message of Ray, which may be pages long, on one line."""
    return one_line(error)[:200] or type(error).__name__
