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

from mbrl_agent.config import TrainConfig
from mbrl_agent.options import options_of, to_text
from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.run_directory import RunDirectory
from mbrl_agent.study.progress_table import CLOCK, SOLVED, SUCCESS, read_progress
from mbrl_agent.study.strategies import instance_of

NOT_RESULT = ("logdir", "quiet")
"""Options that do not change what a run computes; all others make another cell."""


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
        label: Its strategy as the user wrote it.
        config: The run.
        directory: Its run directory; the name is that of the configuration.
    """

    label: str
    config: TrainConfig
    directory: Path

    @property
    def title(self) -> str:
        """Strategy and seed."""
        return f"{self.label} seed {self.config.seed}"

    @property
    def log(self) -> Path:
        """Where its stdout and stderr go, beside its directory."""
        return self.directory.with_name(f"{self.directory.name}.log")

    def progress(self) -> Progress:
        """How far the run is; nothing has been done where there is nothing that can be read."""
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
        """Whether all trials are done and the final agent is saved; not, where that cannot be seen."""
        try:
            saved = RunDirectory(self.directory).agent.is_file()
        except OSError:  # the attempt at the cell will say why
            return False
        return saved and self.progress().trials >= self.config.trials

    def resumable(self) -> bool:
        """Whether it has got as far as a checkpoint; not, where that cannot be seen."""
        try:
            return RunDirectory(self.directory).has_checkpoint()
        except OSError:
            return False

    def in_use(self) -> bool:
        """Whether a process, here or on another machine, is running it.

        Raises:
            OSError: The directory cannot be locked.
        """
        return RunDirectory(self.directory).in_use()

    def log_size(self) -> int:
        """Bytes in the log."""
        try:
            return self.log.stat().st_size
        except OSError:
            return 0


def cell_name(config: TrainConfig) -> str:
    """Strategy, seed and a hash of every option that changes the result: `gaussian_seed3_1a2b3c4d`.

    The same configuration has the same name in every process, on every machine and in whatever order
    its options were given.
    """
    data = {key: value for key, value in config.to_dict().items() if key not in NOT_RESULT}
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
    own = config.resampling
    words = [str(own.name)]
    for key, option in options_of(type(own)).items():
        if (value := getattr(own, key)) != option.default:
            words += [key, to_text(value)]
    strategy = re.sub(r"[^A-Za-z0-9_.-]+", "-", "-".join(words))
    return f"{strategy}_seed{config.seed}_{digest}"


def make_cells(base: TrainConfig, resampling: Sequence[str], seeds: Sequence[int], out: Path) -> list[Cell]:
    """Every strategy with every seed, seed by seed: a sweep that is stopped early has compared something.

    Args:
        base: All other options.
        resampling: Strategies, written as in every study: `interpolated:0.25`.
        seeds: Seeds.
        out: The sweep's directory.

    Raises:
        ValueError: A strategy is unknown or given twice, or an option has a value that it cannot take.
    """
    cells: dict[Path, Cell] = {}
    strategies = [(text, instance_of(RESAMPLERS, text)) for text in resampling]
    for seed in seeds:
        for label, resampler in strategies:
            config = dataclasses.replace(base, resampling=resampler, seed=seed, logdir=str(out), quiet=True)
            cell = Cell(label, config, out.absolute() / cell_name(config))
            twin = cells.get(cell.directory)
            if twin is not None and twin.label == label:
                raise ValueError(f"resampling {label!r} is given twice")
            if twin is not None:
                raise ValueError(f"resampling {twin.label!r} and {label!r} are the same")
            cells[cell.directory] = cell
    return list(cells.values())


def elapsed(progress: Progress, since: float | None) -> float:
    """Wall clock of a run so far [s].

    Args:
        progress: Of the run.
        since: When the attempt that runs now began [s since the epoch], None if none does.
    """
    running = 0.0 if since is None else max(0.0, time.time() - max(since, progress.written))
    return progress.seconds + running
