"""What every command line needs around it, and gives back when it returns: it may be called as a function."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mbrl_agent.agent.library_defaults import library_defaults
from mbrl_agent.run.interrupts import interruptible
from mbrl_agent.run.streams import tolerant_streams

SILENT = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
"""Warnings that Python itself does not show."""


@contextmanager
def program(name: str, program_ends: bool) -> Iterator[None]:
    """Run a block as a program, which signals interrupt.

    Args:
        name: See `independent`.
        program_ends: See `interruptible`.
    """
    threads = torch.get_num_threads()
    try:
        with interruptible(program_ends), independent(name):
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def independent(name: str) -> Iterator[None]:
    """Run a block for which the user's settings of Python, torch, NumPy and the terminal do not matter.

    Args:
        name: Begins each warning, which is one line on stderr.
    """
    with tolerant_streams(), library_defaults(), _one_line_warnings(name):
        yield


@contextmanager
def _one_line_warnings(name: str) -> Iterator[None]:
    """Show warnings as errors are shown; none is an error, even where the user asked Python for that."""

    def show(message: Warning | str, *args: object, **kwargs: object) -> None:
        sys.stderr.write(f"{name}: warning: {' '.join(str(message).split())}\n")

    with warnings.catch_warnings():
        warnings.showwarning = show
        if any(rule[0] == "error" for rule in warnings.filters):
            warnings.simplefilter("default")
            for category in SILENT:
                warnings.simplefilter("ignore", category)
        yield
