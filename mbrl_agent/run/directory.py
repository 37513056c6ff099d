"""The directory of a run: its name, its files, and how it is brought back to the last checkpoint.

Beside each checkpoint `trial_003.zip` lies `trial_003.json`, written just before it: what the logs
held at that moment. A checkpoint counts only with this record, so a run that is killed at any moment
leaves a state of agent and logs that belong together.
"""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from mbrl_agent.files.archive import CheckpointError, read_archive
from mbrl_agent.files.atomic import remnants, write_atomically
from mbrl_agent.files.plain_data import decode_json, read_file
from mbrl_agent.options.validation import require_count
from mbrl_agent.run.event_file import new_event_path
from mbrl_agent.run.log import ProgressCsv
from mbrl_agent.run.messages import one_line

MAX_RECORD_BYTES = 2**20
EVENT_FILE = re.compile(r"events\.out\.tfevents\.[^/\\]+")
CHECKPOINT = re.compile(r"trial_(\d{3,})\.(?:zip|json)")
FIGURE = re.compile(r"(?:prediction_trial_(\d{3,})\.png|episode_trial_(\d{3,})\.gif)")
OWN_FILES = re.compile(r"(?:config\.yaml|progress\.csv|(?:agent|best|failed)\.zip)")
"""Files of a run by their whole names: whatever else lies in its directory belongs to somebody else."""


@dataclass(frozen=True)
class RunState:
    """What the logs hold when a checkpoint is written.

    Attributes:
        trial: Number of trials done.
        rows: Rows of progress.csv.
        columns: Columns of progress.csv.
        events: Size of each event file [bytes].
        solved_after: Environment steps after which the task was first solved, None if it is not yet.
        best_trial: The trial with the best evaluation, 0 if there was none.
        best_success: Its success rate, None where the environment does not tell.
        best_return: Its mean return, None if there was none.
    """

    trial: int
    rows: int
    columns: int
    events: dict[str, int] = field(default_factory=dict)
    solved_after: int | None = None
    best_trial: int = 0
    best_success: float | None = None
    best_return: float | None = None

    def __post_init__(self) -> None:
        for name in ("trial", "rows", "columns", "best_trial"):
            require_count(name, getattr(self, name), minimum=0)
        if self.best_trial > self.trial:
            raise ValueError(f"best_trial must be at most {self.trial}, got {self.best_trial}")
        for name, value in (("best_success", self.best_success), ("best_return", self.best_return)):
            if value is not None and not isinstance(value, float):
                raise TypeError(f"{name} must be a number, got {value!r}")
        if self.solved_after is not None:
            require_count("solved_after", self.solved_after)
        for name, size in self.events.items():
            if not EVENT_FILE.fullmatch(name):  # it is cut to this size
                raise ValueError(f"{name!r} is not the name of an event file")
            require_count(name, size, minimum=0)


START = RunState(trial=0, rows=0, columns=0)
"""What the logs of a run hold before its first trial."""


class InUseError(OSError):
    """Another process runs in the directory."""


class RunDirectory:
    """The files of one run.

    Args:
        path: The directory, which exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.figures = path / "figures"
        self.config = path / "config.yaml"
        self.agent = path / "agent.zip"
        self.best = path / "best.zip"
        self.progress = path / "progress.csv"
        self.events = self.checkpoints / "events.json"
        self._lock: IO[bytes] | None = None

    @classmethod
    def create(cls, logdir: Path, name: str) -> RunDirectory:
        """Make a directory that no other run has; the time and, if need be, a number make it unique.

        Raises:
            OSError: It cannot be made.
        """
        stem = f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}_{time.strftime('%Y%m%d-%H%M%S')}"
        try:
            logdir.mkdir(parents=True, exist_ok=True)
            path = next(path for path in _candidates(logdir, stem) if _make(path))
            files = cls(path)
            files.make()
        except OSError as error:
            raise OSError(f"logdir {logdir}: cannot make a run directory in it: {error.strerror}") from error
        return files

    def make(self) -> None:
        """Make what there is not of the directory.

        Raises:
            OSError: It cannot be made.
        """
        for child in (self.checkpoints, self.figures):
            child.mkdir(parents=True, exist_ok=True)

    def has_checkpoint(self) -> bool:
        """Tell whether there is a checkpoint, be it whole or not."""
        return bool(self._checkpoints())

    def trials(self) -> list[int]:
        """List the trials after which there is a checkpoint, be it whole or not, in ascending order."""
        return sorted(self._checkpoints())

    def checkpoint(self, trial: int) -> Path:
        """Tell where the agent is saved after a trial."""
        return self.checkpoints / f"trial_{trial:03d}.zip"

    def save_state(self, state: RunState) -> None:
        """Write the record that makes the checkpoint of the same trial count."""
        text = json.dumps(asdict(state), indent=1) + "\n"
        write_atomically(self.checkpoint(state.trial).with_suffix(".json"), text.encode())

    def save_best(self, trial: int) -> None:
        """Make `best.zip` the checkpoint of a trial.

        It is always a copy of a checkpoint that was written before, so that a run that is killed between
        the two can write it when it is resumed.

        Raises:
            CheckpointError: The checkpoint is damaged.
            OSError: A file cannot be read or written.
        """
        read_archive(self.checkpoint(trial))
        write_atomically(self.best, self.checkpoint(trial).read_bytes())

    def _restore_best(self, state: RunState) -> None:
        """Bring `best.zip` back to what it was when the record was written."""
        if not state.best_trial:
            return
        try:
            self.save_best(state.best_trial)
        except (FileNotFoundError, CheckpointError) as error:
            # somebody made room: what is there is the best agent, or one of a trial that is to come again
            if not self.best.exists():
                warnings.warn(
                    f"{self.best.name} cannot be written again, that of trial {state.best_trial} is gone: "
                    f"{one_line(error)}",
                    stacklevel=2,
                )

    def new_event_file(self) -> Path:
        """Tell where the run writes its next event file.

        The name is one that TensorBoard knows, and no file has it. It is recorded before there is a file,
        so that a run which is killed at any moment knows which event files are its own.

        Raises:
            OSError: The record cannot be written.
        """
        path = new_event_path(self.path)
        names = [*self._event_names(), path.name]
        write_atomically(self.events, (json.dumps({"events": names}, indent=1) + "\n").encode())
        return path

    def own_event_files(self) -> list[Path]:
        """Return the event files that the run has written; others in its directory are somebody else's."""
        return [path for name in self._event_names() if (path := self.path / name).is_file()]

    def _event_names(self) -> list[str]:
        """Read the record of `new_event_file`; where it is damaged, a warning says what follows from that."""
        try:
            names = decode_json(read_file(self.events, MAX_RECORD_BYTES))["events"]
            if not all(isinstance(name, str) and EVENT_FILE.fullmatch(name) for name in names):
                raise ValueError("it does not hold names of event files")
        except FileNotFoundError:  # no attempt has begun
            return []
        except (ValueError, LookupError, TypeError) as error:
            warnings.warn(
                f"{self.events} cannot be read ({one_line(error)}): event files are left as they are which "
                "the last checkpoint does not know, and TensorBoard may show some steps twice",
                stacklevel=2,
            )
            return []
        return list(names)

    def event_sizes(self) -> dict[str, int]:
        """Return the size of each event file of the run, once its bytes are on the disk."""
        sizes = {}
        for path in sorted(self.own_event_files()):
            with path.open("rb") as file:
                os.fsync(file.fileno())
                sizes[path.name] = os.fstat(file.fileno()).st_size
        return sizes

    def latest_state(self) -> RunState:
        """Read the record of the last whole checkpoint; of those after it a warning says what is wrong.

        Raises:
            ValueError: There is none; the message says why.
            OSError: A file cannot be read now, which does not mean that it is damaged.
        """
        reasons = []
        for trial, path in sorted(self._checkpoints().items(), reverse=True):
            try:
                record = read_file(path.with_suffix(".json"), MAX_RECORD_BYTES)
                state = RunState(**decode_json(record))
                if state.trial != trial:
                    raise ValueError(f"its record is that of trial {state.trial}")
                read_archive(path)
                self._check_logs(state)
            except (FileNotFoundError, ValueError, TypeError, AttributeError) as error:  # or CheckpointError
                reasons.append(f"{path.name}: {one_line(error)}")
            else:
                for reason in reasons:
                    warnings.warn(
                        f"a checkpoint cannot be used, {self.checkpoint(state.trial).name} is taken instead "
                        f"({reason})",
                        stacklevel=2,
                    )
                return state
        detail = f" that can be used ({reasons[0]})" if reasons else f": {self.checkpoints.name} holds none"
        raise CheckpointError(
            f"there is no checkpoint in {self.path}{detail}; begin again with --config {self.config}"
        )

    def _check_logs(self, state: RunState) -> None:
        """Raise ValueError if the logs hold less than the record says."""
        for name, size in state.events.items():
            path = self.path / name
            if not path.is_file() or path.stat().st_size < size:
                raise ValueError(f"{name} has been cut or removed")
        if len(ProgressCsv(self.progress).rows) < state.rows:
            raise ValueError(f"{self.progress.name} has been cut or removed")

    def rewind(self, state: RunState) -> None:
        """Bring the logs back to what they held when the record was written.

        Only what the run itself has written is cut or removed: studies, other writers of events and the
        user may have put files of their own beside it.
        """
        self.figures.mkdir(exist_ok=True)
        for path in self.own_event_files():
            if path.name not in state.events:
                path.unlink()
        for name, size in state.events.items():
            os.truncate(self.path / name, size)
        ProgressCsv(self.progress).rewind(state.rows, state.columns)
        for folder, pattern in ((self.checkpoints, CHECKPOINT), (self.figures, FIGURE)):
            for path, trial in _of_trials(folder, pattern):
                if trial > state.trial:
                    path.unlink()
        self._restore_best(state)
        self._remove_remnants()

    def _checkpoints(self) -> dict[int, Path]:
        """Return the checkpoints by trial, be they whole or not."""
        return {
            trial: path
            for path, trial in _of_trials(self.checkpoints, CHECKPOINT)
            if path == self.checkpoint(trial)
        }

    def _remove_remnants(self) -> None:
        """Remove what a killed attempt of this run was writing; other processes may be writing here, too."""
        own = (
            (self.path, OWN_FILES),
            (self.checkpoints, re.compile(rf"{CHECKPOINT.pattern}|{self.events.name}")),
            (self.figures, FIGURE),
        )
        for folder, pattern in own:
            for path, name in remnants(folder):
                if pattern.fullmatch(name):
                    path.unlink(missing_ok=True)

    def lock(self) -> None:
        """Keep other processes from this directory for as long as this one lives.

        Raises:
            InUseError: Another process has it.
        """
        try:
            import fcntl
        except ImportError:  # not a POSIX system
            return
        self._lock = (self.path / ".lock").open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.unlock()
            raise InUseError(f"{self.path} is in use: another process is running it") from error

    def in_use(self) -> bool:
        """Tell whether anybody, here or on another machine, has locked it.

        Raises:
            OSError: It cannot be locked.
        """
        if not self.path.is_dir():
            return False
        other = RunDirectory(self.path)  # a lock of our own stays as it is
        try:
            other.lock()
        except InUseError:
            return True
        other.unlock()
        return False

    def unlock(self) -> None:
        """Let others in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _candidates(logdir: Path, stem: str) -> Iterator[Path]:
    yield logdir / stem
    number = 2
    while True:
        yield logdir / f"{stem}-{number}"
        number += 1


def _make(path: Path) -> bool:
    """Tell whether the directory could be made, which it cannot if it exists."""
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


def _of_trials(folder: Path, pattern: re.Pattern[str]) -> list[tuple[Path, int]]:
    """Return the files of a folder whose whole names match, each with the number of its trial."""
    files = [path for path in folder.iterdir() if not path.is_dir()] if folder.is_dir() else []
    matches = [(path, pattern.fullmatch(path.name)) for path in files]
    return [(path, int(next(filter(None, match.groups())))) for path, match in matches if match]
