"""Ctrl-C and SIGTERM end a program alike: by an exception, so that it can clean up, and once."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

GRACE = 2.0
"""Seconds for cleaning up, in which further signals are ignored."""
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal asked the program to end.

    Args:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number
        """Exit status of a program that ends because of the signal."""


@contextmanager
def handling(number: int, handler: Any) -> Iterator[None]:
    """Set another handler of a signal for a while; only the main thread may do so.

    A handler that was not set from Python could not be restored, and is left in its place.
    """
    if not _is_ours_to_handle(number):
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def interruptible(program_ends: bool = False) -> Iterator[None]:
    """Raise `Interrupted` where a signal arrives inside the block.

    Signals that follow within `GRACE` are ignored: whoever presses Ctrl-C twice shall not disturb the
    cleaning up. Later ones raise again, should something have swallowed the first. When the block is left
    the signals have the handlers that they had before.

    Args:
        program_ends: The program ends with the block; after a signal further ones then stay ignored, so that
            they do not disturb the interpreter's own cleaning up.
    """
    first: float | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if first is None or now - first > GRACE:
            first = now
            raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in SIGNALS if _is_ours_to_handle(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if program_ends and first is not None else handler)


def _is_ours_to_handle(number: int) -> bool:
    """Tell whether this thread may set a handler, and could restore the present one, C code's perhaps."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    return in_main_thread and signal.getsignal(number) is not None
