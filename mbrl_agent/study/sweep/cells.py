"""The cells of a sweep: what each one runs, where it lies, and how far it is."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mbrl_agent.options import directory_name
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.run.task_flags import TASK
from mbrl_agent.study.progress_table import CLOCK, SOLVED, SUCCESS, read_progress
from mbrl_agent.study.sweep.grid import Point

NOT_RESULT = ("logdir", "quiet")
"""Options that do not change what a run computes; all others make another cell."""
UNNAMED = ("max_episode_steps", "observe", "history", *TASK)
"""Options that name a cell only where they are given: cells of a time before them keep their names."""
MAX_NAME = 150
"""Characters of a directory's name before seed and hash; file systems allow 255 in all."""


@dataclass(frozen=True)
class Progress:
    """What the files of a run tell.

    Attributes:
        trials: Trials done.
        success_rate: Of the last evaluation, None if there is none.
        solved_after: Environment steps after which the task was first solved, None if it is not yet.
        seconds: Wall clock of the trials done [s].
        written: When the last of them ended [s since the epoch], 0 if none did.
    """

    trials: int = 0
    success_rate: float | None = None
    solved_after: int | None = None
    seconds: float = 0.0
    written: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        module: What its process runs.
        label: Its strategy, and whatever else tells it from the others, as the user wrote it.
        config: The run: a TrainConfig, or what else has `seed`, `trials`, `threads`, `device`, `to_dict()`.
        directory: Its run directory; the name is that of the configuration.
    """

    module: ClassVar[str] = "mbrl_agent.study.sweep.cell"

    label: str
    config: Any
    directory: Path

    @property
    def title(self) -> str:
        """Label and seed."""
        return f"{self.label} seed {self.config.seed}"

    @property
    def log(self) -> Path:
        """Where its stdout and stderr go, beside its directory."""
        return self.directory.with_name(f"{self.directory.name}.log")

    def progress(self) -> Progress:
        """Tell how far the run is; nothing has been done where there is nothing that can be read."""
        path = RunDirectory(self.directory).progress
        try:
            written = path.stat().st_mtime
            rows = read_progress(path)
        except (OSError, ValueError):
            return Progress()
        if not rows:
            return Progress()
        solved_after = rows[-1].get(SOLVED)
        return Progress(
            trials=len(rows),
            success_rate=rows[-1].get(SUCCESS),
            solved_after=None if solved_after is None else int(solved_after),
            seconds=sum(row.get(phase, 0.0) for row in rows for phase in CLOCK),
            written=written,
        )

    def finished(self) -> bool:
        """Tell whether all trials are done and the final agent is saved; not, where that cannot be seen."""
        try:
            saved = RunDirectory(self.directory).agent.is_file()
        except OSError:  # the attempt at the cell will say why
            return False
        return saved and self.progress().trials >= self.config.trials

    def resumable(self) -> bool:
        """Tell whether it has got as far as a checkpoint; not, where that cannot be seen."""
        try:
            return RunDirectory(self.directory).has_checkpoint()
        except OSError:
            return False

    def in_use(self) -> bool:
        """Tell whether a process, here or on another machine, is running it.

        Raises:
            OSError: The directory cannot be locked.
        """
        return RunDirectory(self.directory).in_use()

    def log_size(self) -> int:
        """Return the number of bytes in the log."""
        try:
            return self.log.stat().st_size
        except OSError:
            return 0


def fingerprint(config: TrainConfig) -> str:
    """Return the end of a cell's name: its seed and a hash of every option that changes the result.

    The same configuration has the same one in every process, on every machine and in whatever order its
    options were given.
    """
    usual = TrainConfig().to_dict()
    data = {
        key: value
        for key, value in config.to_dict().items()
        if key not in NOT_RESULT and not (key in UNNAMED and value == usual[key])
    }
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return f"_seed{config.seed}_{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"


def cell_name(config: TrainConfig, axes: Sequence[tuple[str, str]] = ()) -> str:
    """Join strategy, what else differs, seed and hash: `gaussian_search.steps-50_seed3_1a2b3c4d`.

    Args:
        config: The run.
        axes: Key and text of the options that have several values in the sweep.
    """
    differing = [f"{key.replace('_', '-')}-{text}" for key, text in axes]
    parts = [re.sub(r"[^A-Za-z0-9_.-]+", "-", part) for part in differing]
    name = "_".join([directory_name(config.resampling), *parts])
    return name[:MAX_NAME] + fingerprint(config)


def make_cells(points: Sequence[Point], seeds: Sequence[int], out: Path) -> list[Cell]:
    """Return every point with every seed, seed by seed: a sweep that is stopped early has compared something.

    A cell that is in the directory already is recognised by its seed and hash, whatever it is called: the
    sweep that made it may have had other axes.

    Args:
        points: What is compared.
        seeds: Seeds.
        out: The sweep's directory.

    Raises:
        ValueError: Two points are the same.
    """
    cells: dict[str, Cell] = {}
    present = sorted(path.name for path in out.iterdir() if path.is_dir()) if out.is_dir() else []
    for seed in seeds:
        for point in points:
            config = dataclasses.replace(point.config, seed=seed, logdir=str(out), quiet=True)
            end = fingerprint(config)
            name = next((name for name in present if name.endswith(end)), cell_name(config, point.axes))
            twin = cells.get(end)
            if twin is not None and twin.label == point.label:
                raise ValueError(f"{point.label!r} is given twice")
            if twin is not None:
                raise ValueError(f"{twin.label!r} and {point.label!r} are the same")
            cells[end] = Cell(point.label, config, out.absolute() / name)
    return list(cells.values())


def elapsed(progress: Progress, since: float | None) -> float:
    """Return the wall clock of a run so far [s].

    Args:
        progress: Of the run.
        since: When the attempt that runs now began [s since the epoch], None if none does.
    """
    running = 0.0 if since is None else max(0.0, time.time() - max(since, progress.written))
    return progress.seconds + running
