"""What a person sees of a sweep: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mbrl_agent.study.sweep.cells import elapsed
from mbrl_agent.study.sweep.scheduler import ACTIVE, ENDED, State, Track

COLUMNS = ("strategy", "seed", "state", "trial", "success rate", "solved after", "wall clock")
STYLES = {
    State.WAITING: "dim",
    State.RUNNING: "cyan",
    State.RESUMED: "blue",
    State.ELSEWHERE: "magenta",
    State.INTERRUPTED: "yellow",
    State.DONE: "green",
    State.FAILED: "bold red",
}
FIRST = (
    State.RUNNING,
    State.RESUMED,
    State.INTERRUPTED,
    State.FAILED,
    State.DONE,
    State.ELSEWHERE,
    State.WAITING,
)
"""Which cells are shown first where there is not room for all."""
FRAME = (
    7  # lines of the screen that are not cells: the table's head and frame, the lines below it, the cursor
)


class View(AbstractContextManager["View"]):
    """Shows the cells of a sweep while they run.

    Args:
        time_step: Duration of an environment step [s]; None shows steps instead of seconds.
        stream: Where to; None takes stdout.
    """

    def __init__(self, time_step: float | None, stream: TextIO | None = None) -> None:
        self.time_step = time_step
        self.tracks: Sequence[Track] = ()
        self._console = Console(file=stream or sys.stdout, highlight=False)
        terminal = self._console.file.isatty() and not self._console.is_dumb_terminal
        self._live = Live(console=self._console, auto_refresh=False) if terminal else None

    def __enter__(self) -> View:
        """Begin to show."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the table of all cells behind."""
        if self._live is not None:
            self._live.update(render(self.tracks, self.time_step))
            self._live.stop()

    def tick(self) -> None:
        """Show the table as it is now."""
        if self._live is not None:
            room = max(1, self._console.height - FRAME)
            self._live.update(render(self.tracks, self.time_step, room), refresh=True)

    def report(self, track: Track, text: str) -> None:
        """Say what happened to a cell, where there is no table that shows it.

        Why an attempt ended without a result is in no column, so that is said above the table.
        """
        failed = bool(track.error) and track.state in (State.WAITING, State.FAILED)
        if self._live is not None and not failed:
            return
        cells = row(track, self.time_step)
        if track.state is State.DONE:
            text += f": success rate {cells[4]}, solved after {cells[5]}, wall clock {cells[6]}"
        counts = Counter(track.state for track in self.tracks)
        line = f"[{counts[State.DONE]}/{len(self.tracks)}] {track.cell.title}: {text}"
        if self._live is not None:
            self._live.console.print(Text(line, style=STYLES[track.state]), soft_wrap=True)
            return
        self._console.file.write(f"{line}\n")
        self._console.file.flush()


def render(tracks: Sequence[Track], time_step: float | None, room: int | None = None) -> Group:
    """Return the table and the line below it.

    Args:
        tracks: All cells.
        time_step: Duration of an environment step [s], if it is known.
        room: How many cells may be shown; None shows all.
    """
    table = Table()
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("strategy", "state") else "right")
    shown = choose(tracks, len(tracks) if room is None else room)
    for track in shown:
        table.add_row(*row(track, time_step), style=STYLES[track.state])
    lines = [Text(summary(tracks))]
    if hidden := [track for track in tracks if track not in shown]:
        lines.insert(0, Text(f"and {len(hidden)} more: {count(hidden)}", style="dim"))
    return Group(table, *lines)


def choose(tracks: Sequence[Track], room: int) -> list[Track]:
    """Choose the cells for which there is room; those that run come first, then the latest ends."""
    ranked = sorted(tracks, key=lambda track: (FIRST.index(track.state), -_ended(track)))
    chosen = set(ranked[:room])
    return [track for track in tracks if track in chosen]


def _ended(track: Track) -> float:
    return track.progress.written if track.state in ENDED else 0.0


def row(track: Track, time_step: float | None) -> list[str]:
    """Return the text of each column."""
    config, progress = track.cell.config, track.progress
    rate, steps = progress.success_rate, progress.solved_after
    solved = "-" if steps is None else f"{steps} steps" if time_step is None else f"{steps * time_step:.1f} s"
    return [
        track.cell.label,
        str(config.seed),
        track.state.value,
        f"{progress.trials}/{config.trials}",
        "-" if rate is None else f"{rate:.2f}",
        solved,
        clock(seconds) if (seconds := elapsed(progress, track.since)) else "-",
    ]


def summary(tracks: Sequence[Track]) -> str:
    """Return counts, and how long it will take."""
    stopped = any(track.state is State.INTERRUPTED for track in tracks)
    left = None if stopped else remaining(tracks)
    return count(tracks) + ("" if left is None else f"; about {clock(left)} left")


def count(tracks: Sequence[Track]) -> str:
    """Write `3 done, 2 running, 1 waiting`."""
    states = Counter(track.state for track in tracks)
    return ", ".join(f"{states[state]} {state.value}" for state in reversed(State) if states[state])


def clock(seconds: float) -> str:
    """Write `1:05` or `2:01:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def remaining(tracks: Sequence[Track]) -> float | None:
    """Return seconds until all is done, by the wall clock of the trials so far; None while there is none.

    A strategy of which no trial is done yet is taken to be as fast as the others on average.
    """
    pace = {label: _pace([track for track in tracks if track.cell.label == label])
            for label in {track.cell.label for track in tracks}}  # fmt: skip
    overall = _pace(tracks)
    todo = [track for track in tracks if track.state not in ENDED]
    if overall is None or not todo:
        return None
    each = [_left(track, pace[track.cell.label] or overall) for track in todo]
    side_by_side = max(1, sum(track.state in (*ACTIVE, State.ELSEWHERE) for track in todo))
    return max(sum(each) / side_by_side, *each)


def _pace(tracks: Sequence[Track]) -> float | None:
    """Return seconds a trial, None if none is done."""
    trials = sum(track.progress.trials for track in tracks)
    return sum(track.progress.seconds for track in tracks) / trials if trials else None


def _left(track: Track, pace: float) -> float:
    """Return seconds of one cell."""
    under_way = elapsed(track.progress, track.since) - track.progress.seconds
    trials: int = track.cell.config.trials
    return (trials - track.progress.trials) * pace - min(under_way, pace)
