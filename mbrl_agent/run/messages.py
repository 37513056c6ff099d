"""How a command line ends: its exit statuses, and an error on one line."""

from __future__ import annotations

FAILED, USAGE_ERROR, INTERRUPTED = 1, 2, 130


def one_line(error: Exception) -> str:
    """Write the message of an error without line breaks."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
