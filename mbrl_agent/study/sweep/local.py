"""Cells as processes on this machine."""

from __future__ import annotations

import time

from mbrl_agent.study.sweep.cell_process import POLL, CellProcess
from mbrl_agent.study.sweep.cells import Cell
from mbrl_agent.study.sweep.engine import Outcome


class LocalEngine:
    """Starts each cell at once; how many run side by side, the scheduler decides."""

    def __init__(self) -> None:
        self._running: list[CellProcess] = []

    def submit(self, cell: Cell) -> None:
        """Start a process."""
        self._running.append(CellProcess(cell))

    def collect(self, timeout: float) -> list[tuple[Cell, Outcome]]:
        """Return the processes that have ended."""
        until = time.monotonic() + timeout
        while True:
            ended = [(process, outcome) for process in self._running if (outcome := process.poll())]
            if ended or time.monotonic() >= until:
                break
            time.sleep(POLL)
        gone = [process for process, _ in ended]
        self._running = [process for process in self._running if process not in gone]
        return [(process.cell, outcome) for process, outcome in ended]

    def stop(self) -> None:
        """Ask all processes to end, then wait for each."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.stop()
        self._running = []
