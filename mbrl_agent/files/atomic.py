"""Writing a file so that a crash at any moment leaves a whole one."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX, SUFFIX = ".mbrl_agent-", ".tmp"
"""Of a temporary file; between them a random number and the name of the file that is written."""
MAX_NAME_BYTES = 200
"""A longer name is left out of that of the temporary file, for which file systems allow 255 bytes."""


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file at `path`, or create it and its directories.

    Whatever goes wrong, `path` holds either the old bytes or the new ones, and an exception leaves no
    temporary file. (A process that is killed may leave one beside `path`; `remnants` finds it.)

    Args:
        path: The file; where it is a link, the file that it points to.
        data: The new contents.

    Raises:
        OSError: The disk is full, not writable, ...; it names `path`.
    """
    path = Path(os.path.realpath(path))
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, data)
        _sync_directory(path.parent)


def remnants(directory: Path) -> Iterator[tuple[Path, str]]:
    """Yield temporary files that killed processes left in a directory, each with the name of its file."""
    for path in directory.glob(f"{PREFIX}*{SUFFIX}"):
        _, _, name = path.name.removesuffix(SUFFIX).removeprefix(PREFIX).partition("-")
        yield path, name


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give every OSError of the block the name of the file that was to be read or written.

    Those of a write name no file, those of a rename the temporary one.
    """
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _write(path: Path, data: bytes) -> None:
    name = path.name if len(os.fsencode(path.name)) <= MAX_NAME_BYTES else ""
    temporary = path.parent / f"{PREFIX}{secrets.token_hex(8)}-{name}{SUFFIX}"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:  # after the replacement there is nothing left to remove
        with suppress(OSError):
            temporary.unlink()


def _sync_directory(path: Path) -> None:
    """Make a replacement in a directory survive a power failure."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:  # some network file systems cannot; the file itself is complete and synced
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
