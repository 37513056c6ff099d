"""One attempt at a cell: a process of its own, its log, and how it ended. The same for every engine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

from mbrl_agent.study.sweep import cell as cell_module
from mbrl_agent.study.sweep.cells import Cell
from mbrl_agent.study.sweep.engine import AttemptEnding, Outcome

POLL = 0.1  # seconds between two looks at a process
STOP_SECONDS = 5.0  # seconds that a process has to end before it is killed
TAIL = 16_384  # bytes at the end of a log that are searched for the last line
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class CellProcess:
    """A process that runs a cell.

    It is in a session of its own, so that a Ctrl-C in the terminal reaches the sweep alone, which then
    ends its cells; and it ends by itself when the process that started it is gone, however that ended,
    because its stdin is closed then.

    Args:
        cell: What is run.

    Raises:
        OSError: The log cannot be written, or no process can be started.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        cell.log.parent.mkdir(parents=True, exist_ok=True)
        with cell.log.open("ab") as log:
            now = time.strftime("%Y-%m-%d %H:%M:%S")
            log.write(f"--- {cell.title} on {socket.gethostname()}, {now}\n".encode())
            log.flush()
            self._output_begins = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", cell.module, str(cell.directory)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(cell.config.threads),
                start_new_session=True,
            )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead already, which poll() tells
            self._process.stdin.write(json.dumps(cell.config.to_dict()).encode() + b"\n")
            self._process.stdin.flush()

    def poll(self) -> Outcome | None:
        """Tell how it ended, None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        self._close()
        if status == cell_module.BUSY:
            return Outcome(AttemptEnding.BUSY)
        if status != 0:
            return Outcome(AttemptEnding.CRASHED, self._error(status))
        if not self.cell.finished():
            return Outcome(AttemptEnding.CRASHED, "it ended before its last trial, without an error")
        return Outcome(AttemptEnding.DONE)

    def wait(self) -> Outcome:
        """Wait until it has ended."""
        while (outcome := self.poll()) is None:
            time.sleep(POLL)
        return outcome

    def terminate(self) -> None:
        """Ask it to end; a run can be killed at any moment and resumed."""
        if self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        self.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]

    def _error(self, status: int) -> str:
        """Write the last line that it wrote; where it wrote none, what ended it."""
        last = self._last_line()
        if status < 0:
            return f"killed by {_signal_name(-status)}" + (f"; it wrote last: {last}" if last else "")
        return last or f"exit status {status}"

    def _last_line(self) -> str:
        """Return the last of this attempt's output; empty where there is none, or the log is gone."""
        try:
            with self.cell.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._output_begins, size - TAIL))
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def environment(threads: int) -> dict[str, str]:
    """Make the environment variables of a cell: threads in every library, and our modules on the path."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**os.environ, **dict.fromkeys(THREADS, str(threads)), "PYTHONPATH": path}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
