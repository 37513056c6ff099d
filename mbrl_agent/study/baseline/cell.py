"""A baseline run as a cell of a sweep, and its process: `python -m mbrl_agent.study.baseline.cell`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.study.baseline.config import BaselineConfig
from mbrl_agent.study.baseline.training import is_finished, run_baseline
from mbrl_agent.study.sweep.cell import run_process
from mbrl_agent.study.sweep.cells import Cell


@dataclass(frozen=True)
class BaselineCell(Cell):
    """One run of one of Stable-Baselines3's algorithms; a trial is what lies between two evaluations."""

    module: ClassVar[str] = "mbrl_agent.study.baseline.cell"

    def finished(self) -> bool:
        """Tell whether the model is saved; not, where that cannot be seen.

        Raises:
            ValueError: The directory holds a run with other settings.
        """
        try:
            return is_finished(RunDirectory(self.directory), self.config)
        except OSError:  # the attempt at the cell will say why
            return False

    def resumable(self) -> bool:
        """Say no: Stable-Baselines3's runs have no checkpoints, and start afresh."""
        return False


def make_baseline_cells(config: BaselineConfig, seeds: Sequence[int], out: Path) -> list[Cell]:
    """Return one cell a seed, in a directory such as `sac_seed3`."""
    name, where = config.algorithm, out.absolute()
    return [BaselineCell(name, replace(config, seed=seed), where / f"{name}_seed{seed}") for seed in seeds]


def attempt(data: Mapping[str, Any], directory: Path) -> None:
    """Do the run, in a directory that is ours alone.

    Raises:
        InUseError: Another process has the directory.
        ValueError: It holds another run, or the run cannot be made.
    """
    config, files = BaselineConfig.from_dict(data, directory), RunDirectory(directory)
    directory.mkdir(parents=True, exist_ok=True)
    files.lock()
    try:
        if not is_finished(files, config):
            sys.stdout.write(run_baseline(config, directory) + "\n")
    finally:
        files.unlock()


if __name__ == "__main__":
    sys.exit(run_process(attempt))
