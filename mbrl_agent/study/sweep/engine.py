"""What runs cells: the interface that every engine keeps."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from mbrl_agent.study.sweep.cells import Cell


class AttemptEnding(Enum):
    """How an attempt at a cell ended."""

    DONE = "done"
    """All trials are done."""
    BUSY = "busy"
    """It did not begin: another process is running this cell."""
    CRASHED = "crashed"
    """The run failed, or its process was killed."""
    LOST = "lost"
    """The machine that ran it is gone; that is not the cell's fault."""


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt.

    Attributes:
        ending: How it ended.
        error: One line, where it failed.
    """

    ending: AttemptEnding
    error: str = ""


class Engine(Protocol):
    """Runs cells, each attempt as a `CellProcess` somewhere.

    An engine knows nothing of retries and of what the cells do: it starts what it is given as soon as it
    has room, and tells what has ended. How far a cell is, its files tell.
    """

    def submit(self, cell: Cell) -> None:
        """Start an attempt at a cell, now or when there is room.

        Raises:
            OSError: It cannot be started. Whatever else goes wrong is an outcome of the attempt.
        """

    def collect(self, timeout: float) -> list[tuple[Cell, Outcome]]:
        """Return the attempts that have ended since the last call; waits for one for up to `timeout` [s]."""

    def stop(self) -> None:
        """End every attempt and wait until its process is gone; the engine cannot be used afterwards."""
