"""What a sweep, and every other command that runs cells, is asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mbrl_agent.options import refused
from mbrl_agent.options.validation import require_count
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.study.seeds import parse_seeds
from mbrl_agent.study.sweep.engine import Engine
from mbrl_agent.study.sweep.local import LocalEngine


@dataclass(frozen=True, kw_only=True)
class CellOptions:
    """Runs side by side."""

    seeds: str
    """Seeds of the runs, for example 0-19 or 0,3,7-9."""
    out: Path
    """Directory that holds the directories of the runs."""
    jobs: int | None = None
    """Runs at once; none takes the cores (ray: what fits)."""
    retries: int = 1
    """How often a run that crashed is tried again."""

    def __post_init__(self) -> None:
        parse_seeds(self.seeds)
        if self.jobs is not None:
            require_count("jobs", self.jobs)
        require_count("retries", self.retries, minimum=0)

    def make_engine(self, config: TrainConfig) -> Engine:
        """Make what runs the cells.

        Args:
            config: Of any cell: threads and device are those of all.

        Raises:
            ValueError: It cannot be used.
            OSError: Its cluster cannot be reached.
        """
        return LocalEngine()

    def cells_at_once(self, threads: int) -> int | None:
        """Count the cells that run at once; None leaves that to the engine.

        Args:
            threads: Of each cell.
        """
        return self.jobs or max(1, cores() // threads)


@dataclass(frozen=True, kw_only=True)
class SweepOptions(CellOptions):
    """What is trained."""

    resampling: tuple[str, ...] = ()
    """Resampling strategies, written NAME, NAME:VALUE,... or NAME:OPTION=VALUE,...; without it the run's."""
    engine: Literal["local", "ray"] = "local"
    """local runs processes on this machine, ray uses a cluster that shares --out."""
    address: str | None = None
    """Address of a running Ray cluster, auto or HOST:PORT; none starts Ray on this machine."""
    train_options: tuple[str, ...] = ()
    """Options of train.py, each with one value or several."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.address is not None and self.engine != "ray":
            raise refused("address", "belongs to the ray engine: give --engine ray")

    def make_engine(self, config: TrainConfig) -> Engine:
        """Make what runs the cells; see `CellOptions`."""
        if self.engine == "local":
            return super().make_engine(config)
        from mbrl_agent.study.sweep.ray_engine import RayEngine

        return RayEngine(config, self.address, self.jobs)

    def cells_at_once(self, threads: int) -> int | None:
        """Count the cells that run at once; a Ray cluster knows best."""
        return self.jobs if self.engine == "ray" else super().cells_at_once(threads)


def cores() -> int:
    """Count the CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
