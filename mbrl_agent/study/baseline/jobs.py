"""Several runs side by side, a process each, which end with the one that started them."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Generator, Mapping
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.run.messages import one_line
from mbrl_agent.run.program import independent
from mbrl_agent.study.baseline.config import BaselineConfig
from mbrl_agent.study.baseline.training import is_finished, run_baseline

FAILED_FILE = "failed.txt"
"""Traceback of a run that failed, in its directory."""


class RunFailedError(ValueError):
    """A run that could not be done; the message is one line."""


Result = str | RunFailedError
"""The line of a run that is done, or why it is not."""


def do_runs(configs: Mapping[Path, BaselineConfig], jobs: int) -> Generator[tuple[Path, Result], None, None]:
    """Do runs, at most so many at once; when the generator is closed, those that run are ended.

    Args:
        configs: By directory.
        jobs: At least 1; with 1 the runs are done in this process.

    Yields:
        The directory and the result of every run, in the order in which they end.
    """
    if jobs == 1:
        for path, config in configs.items():
            yield path, _attempt(config, path)
        return
    context = get_context("spawn")  # a forked process would share torch's threads
    waiting = list(configs.items())
    running: dict[Connection, tuple[Path, SpawnProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                path, config = waiting.pop(0)
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_child, args=(sender, config, path), daemon=True)
                process.start()
                sender.close()  # the child has the other copy: its death then ends the pipe
                running[receiver] = (path, process)
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                path, process = running.pop(ready)
                yield path, _received(ready, process)
    finally:  # interrupted, or nothing is left
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()


def _received(receiver: Connection, process: SpawnProcess) -> Result:
    try:
        result: Result = receiver.recv()
    except EOFError:
        process.join()
        return RunFailedError(f"its process ended with status {process.exitcode}")
    process.join()
    return result


def _child(sender: Connection, config: BaselineConfig, path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its children
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with independent("study"):
        sender.send(_attempt(config, path))


def _end_with_parent() -> None:
    """A parent that was killed cannot end its children, which would keep the locks of their directories."""
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _attempt(config: BaselineConfig, path: Path) -> Result:
    """Do a run unless it is done; what goes wrong is a value, so that the other runs go on.

    Nothing is written into a directory that is another process', or holds another run.
    """
    files = RunDirectory(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        files.lock()
        if is_finished(files, config):  # another process has done it meanwhile
            return f"{path} is finished, left alone"
        return _locked_attempt(config, path)
    except (OSError, ValueError) as error:
        return RunFailedError(one_line(error))
    finally:
        files.unlock()


def _locked_attempt(config: BaselineConfig, path: Path) -> Result:
    """Do a run whose directory is ours; what goes wrong is told in full in a file."""
    failed = path / FAILED_FILE
    failed.unlink(missing_ok=True)
    try:
        return run_baseline(config, path)
    except Exception as error:  # environments and Stable-Baselines3 may raise anything
        with suppress(OSError):
            failed.write_bytes(traceback.format_exc().encode(errors="backslashreplace"))
        return RunFailedError(one_line(error) or type(error).__name__)
