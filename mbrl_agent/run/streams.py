"""Standard output and error that never end a program: a result must not depend on who reads along."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

READER_IS_GONE = (errno.EPIPE, errno.EIO, errno.EBADF)
"""A pipe whose reader has ended (`| head -1`), a terminal that was closed, a descriptor that was."""


class _Nowhere(io.StringIO):
    """Takes any text, and keeps none."""

    def write(self, text: str) -> int:
        return len(text)


class TolerantStream:
    """A text stream that writes what it can.

    Characters that the stream's encoding does not have are written as escapes. When nobody can read the
    stream any more, whatever is written is dropped.

    Args:
        stream: The stream, or None where the process has none.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = _Nowhere() if stream is None else stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text; a stream that is gone takes it as well."""
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self.write(text.encode(encoding, errors="backslashreplace").decode(encoding))
        except (OSError, ValueError) as error:
            self._drop(error)
        return len(text)

    def flush(self) -> None:
        """Flush, unless the stream is gone."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._drop(error)

    def isatty(self) -> bool:
        """Tell whether it is a terminal."""
        try:
            return bool(self._stream.isatty())
        except ValueError:  # it is closed
            return False

    def _drop(self, error: OSError | ValueError) -> None:
        """Write nothing from now on if the reader is gone; raise any other error."""
        closed = isinstance(error, ValueError) and getattr(self._stream, "closed", False)
        if not closed and getattr(error, "errno", None) not in READER_IS_GONE:
            raise error
        gone, self._stream = self._stream, _Nowhere()
        if not closed and gone in (sys.__stdout__, sys.__stderr__):
            with suppress(OSError, ValueError):  # the interpreter flushes it when it ends, which would fail
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, gone.fileno())
                os.close(null)


@contextmanager
def tolerant_streams() -> Iterator[None]:
    """Make sys.stdout and sys.stderr tolerant inside the block."""
    before = sys.stdout, sys.stderr
    tolerant: tuple[Any, Any] = TolerantStream(sys.stdout), TolerantStream(sys.stderr)
    sys.stdout, sys.stderr = tolerant
    try:
        yield
    finally:
        for stream in tolerant:
            stream.flush()
        sys.stdout, sys.stderr = before
