"""Several runs side by side, a process each, which end with the one that started them."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from mbrl_agent.messages import one_line
from mbrl_agent.study.baseline.config import BaselineConfig
from mbrl_agent.study.baseline.training import run_baseline

FAILED = "failed.txt"
"""Traceback of a run that failed, in its directory."""


class RunFailedError(ValueError):
    """A run that could not be done; the message is one line."""


def do_runs(configs: Mapping[Path, BaselineConfig], jobs: int) -> Iterator[tuple[Path, str | RunFailedError]]:
    """Do runs, at most so many at once.

    Args:
        configs: By directory.
        jobs: At least 1; with 1 the runs are done in this process.

    Yields:
        The line of every run, or why it failed, in the order in which they end.
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


def _received(receiver: Connection, process: SpawnProcess) -> str | RunFailedError:
    try:
        result: str | RunFailedError = receiver.recv()
    except EOFError:
        process.join()
        return RunFailedError(f"its process ended with status {process.exitcode}")
    process.join()
    return result


def _child(sender: Connection, config: BaselineConfig, path: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its children
    sender.send(_attempt(config, path))


def _attempt(config: BaselineConfig, path: Path) -> str | RunFailedError:
    """Do a run; what goes wrong is a value, so that the other runs go on, and is told in full in a file."""
    failed = path / FAILED
    try:
        failed.unlink(missing_ok=True)
        return run_baseline(config, path)
    except Exception as error:  # environments and Stable-Baselines3 may raise anything
        with suppress(OSError):
            failed.write_text(traceback.format_exc())
        return RunFailedError(one_line(error) or type(error).__name__)
