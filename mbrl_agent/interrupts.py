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
    """Another handler of a signal for a while; only the main thread may set one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` where a signal arrives inside the block.

    Signals that follow within `GRACE` are ignored: whoever presses Ctrl-C twice shall not disturb the
    cleaning up. Later ones raise again, should something have swallowed the first. After a signal
    further ones stay ignored when the block is left, as the program is about to end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: float | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal first
        now = time.monotonic()
        if first is None or now - first > GRACE:
            first = now
            raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number in SIGNALS:
            signal.signal(number, before[number] if first is None else signal.SIG_IGN)
