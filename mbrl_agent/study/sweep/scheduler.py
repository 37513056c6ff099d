"""Which cell is started next, and what becomes of one that ends: done, tried again, or failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from mbrl_agent.run.messages import one_line
from mbrl_agent.study.sweep.cells import Cell, Progress
from mbrl_agent.study.sweep.engine import AttemptEnding, Engine, Outcome

TICK = 0.5  # seconds between two looks at the files of the runs
RECHECK = 5.0  # seconds until a cell that another process runs is looked at again
MAX_LOST = 10  # times that a cell's machine may disappear before the cell counts as failed


class State(Enum):
    """Where a cell stands."""

    WAITING = "waiting"
    """Not started, or started where there is no room yet."""
    RUNNING = "running"
    """From its first trial."""
    RESUMED = "resumed"
    """Running from a checkpoint of an earlier attempt."""
    ELSEWHERE = "elsewhere"
    """Another process runs it, say another sweep into the same directory; it is waited for."""
    INTERRUPTED = "interrupted"
    """It was running when the sweep was stopped; it can be resumed."""
    DONE = "done"
    """All trials are done."""
    FAILED = "failed"
    """It crashed as often as it may."""


ENDED = (State.DONE, State.FAILED)
ACTIVE = (State.RUNNING, State.RESUMED)


@dataclass(eq=False)
class Track:
    """What is known of one cell.

    Attributes:
        cell: The cell.
        state: Where it stands.
        progress: As its files told last.
        since: When the present attempt was first seen to run [s since the epoch].
        error: Of the last attempt that crashed.
        crashes: Attempts that crashed.
        losses: Attempts whose machine disappeared.
        submitted: Whether the engine has it.
        log_size: Size of its log when it was submitted [bytes]; the first thing that an attempt does is to
            write into it, so that it is seen to run whichever machine it runs on.
        not_before: When it may be started [s, monotonic].
    """

    cell: Cell
    state: State = State.WAITING
    progress: Progress = field(default_factory=Progress)
    since: float | None = None
    error: str = ""
    crashes: int = 0
    losses: int = 0
    submitted: bool = False
    log_size: int = 0
    not_before: float = 0.0


class Scheduler:
    """Brings all cells to their end.

    Args:
        cells: What is to be done; those that are done already are left alone.
        engine: Runs them.
        jobs: How many the engine gets at once; None leaves it to the engine.
        retries: How often a crashed cell is tried again.
        report: Is told of every change: the cell, and what happened in words.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        engine: Engine,
        jobs: int | None,
        retries: int,
        report: Callable[[Track, str], None],
    ) -> None:
        self.engine = engine
        self.jobs = jobs
        self.retries = retries
        self.report = report
        self.tracks = [Track(cell) for cell in cells]
        for track in self.tracks:
            track.progress = track.cell.progress()
            if track.cell.finished():
                track.state = State.DONE
        self._by_cell = {track.cell.directory: track for track in self.tracks}

    def run(self, tick: Callable[[], None]) -> None:
        """Go on until every cell is done or has failed.

        Args:
            tick: Called once a round, to show what has changed.
        """
        while any(track.state not in ENDED for track in self.tracks):
            self._submit()
            tick()
            for cell, outcome in self.engine.collect(TICK):
                self._end(self._by_cell[cell.directory], outcome)
            self._look()
        tick()

    def interrupt(self) -> None:
        """Say of the cells that run that they do no more."""
        for track in self.tracks:
            if track.state in ACTIVE:
                track.state, track.since = State.INTERRUPTED, None

    def _submit(self) -> None:
        room = len(self.tracks) if self.jobs is None else self.jobs
        room -= sum(track.submitted for track in self.tracks)
        for track in self.tracks:
            if room <= 0:
                return
            if track.submitted or track.state in ENDED or time.monotonic() < track.not_before:
                continue
            room -= self._start(track)

    def _start(self, track: Track) -> bool:
        """Tell whether the cell takes room now."""
        cell = track.cell
        track.log_size = cell.log_size()
        try:
            if cell.finished():  # another sweep has done it meanwhile
                self._done(track)
                return False
            if cell.in_use():
                self._elsewhere(track)
                return False
            track.submitted = True
            track.state = State.WAITING
            self.engine.submit(cell)
        except OSError as error:  # no permission, no locks, a full disk, too many processes, ...
            self._end(track, Outcome(AttemptEnding.CRASHED, one_line(error)))
            return False
        self._look_at(track)
        return True

    def _end(self, track: Track, outcome: Outcome) -> None:
        self._look_at(track)
        track.submitted, track.since = False, None
        if outcome.ending is AttemptEnding.DONE:
            self._done(track)
        elif outcome.ending is AttemptEnding.BUSY:
            self._elsewhere(track)
        elif outcome.ending is AttemptEnding.LOST:
            track.losses += 1
            self._again_or_failed(track, track.losses <= MAX_LOST, "lost its machine", outcome.error)
        else:
            track.crashes += 1
            self._again_or_failed(track, track.crashes <= self.retries, "crashed", outcome.error)

    def _done(self, track: Track) -> None:
        track.progress = track.cell.progress()
        track.state = State.DONE
        self.report(track, "done")

    def _elsewhere(self, track: Track) -> None:
        track.not_before = time.monotonic() + RECHECK
        track.progress = track.cell.progress()
        if track.state is not State.ELSEWHERE:
            track.state = State.ELSEWHERE
            self.report(track, "another process is running it: waiting for that")

    def _again_or_failed(self, track: Track, again: bool, what: str, error: str) -> None:
        track.error = error
        track.state = State.WAITING if again else State.FAILED
        self.report(track, f"{what}, {'it will be tried again' if again else 'failed'}: {error}")

    def _look(self) -> None:
        """Read how far the cells are that the engine has."""
        for track in self.tracks:
            if track.submitted:
                self._look_at(track)

    def _look_at(self, track: Track) -> None:
        if track.since is None and track.cell.log_size() > track.log_size:
            track.since = time.time()
            resumed = track.cell.resumable()
            track.state = State.RESUMED if resumed else State.RUNNING
            self.report(track, f"resumed after trial {track.progress.trials}" if resumed else "running")
        if track.since is not None:
            track.progress = track.cell.progress()
