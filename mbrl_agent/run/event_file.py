"""TensorBoard's event file, written by the thread that logs.

TensorBoard's own writer hands events to a thread of its own. What goes wrong there (the disk is full)
is printed as that thread's traceback, and reaches the run later, without the name of the file.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from io import FileIO
from pathlib import Path
from typing import Any

from stable_baselines3.common.logger import TensorBoardOutputFormat
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.writer import FileWriter, SummaryWriter

from mbrl_agent.files.atomic import naming


def new_event_path(directory: Path) -> Path:
    """Find a place for an event file: the name is one that TensorBoard knows, and that no file has."""
    unique = f"{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(8)}"
    return directory / f"events.out.tfevents.{int(time.time()):010d}.{unique}"


class EventFile:
    """A new event file, in the place of TensorBoard's `EventFileWriter`; each flush writes whole records.

    Args:
        path: The file, which does not exist.

    Raises:
        OSError: The file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _new_file(path)
        self._pending = bytearray()
        self._records = RecordWriter(self)
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self.flush()

    def get_logdir(self) -> str:
        """Return the directory."""
        return str(self.path.parent)

    def add_event(self, event: Event) -> None:
        """Append an event."""
        self._records.write(event.SerializeToString())

    def write(self, record: bytes) -> None:
        """Keep the bytes of a record for the next flush."""
        self._pending += record

    def flush(self) -> None:
        """Hand all events to the operating system.

        Raises:
            OSError: The disk is full, ...; what could not be written is lost.
        """
        data, self._pending = memoryview(bytes(self._pending)), bytearray()
        with naming(self.path):
            while data:
                data = data[self._file.write(data) :]

    def close(self) -> None:
        """Flush, and close the file."""
        if not self._file.closed:
            try:
                self.flush()
            finally:
                self._file.close()


class EventOutput(TensorBoardOutputFormat):
    """Stable-Baselines3's output to TensorBoard, into an `EventFile`.

    Args:
        path: The file, which does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.writer = _SummaryWriter(path)
        self._is_closed = False


class _FileWriter(FileWriter):
    def __init__(self, path: Path) -> None:
        self.event_writer = EventFile(path)


class _SummaryWriter(SummaryWriter):
    file_writer: Any
    all_writers: Any

    def __init__(self, path: Path) -> None:
        self._path = path
        super().__init__(str(path.parent))

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is None:
            self.file_writer = _FileWriter(self._path)
            self.all_writers = {str(self._path.parent): self.file_writer}
        writer: FileWriter = self.file_writer
        return writer


def _new_file(path: Path) -> FileIO:
    """Make the file; one that is there is somebody's."""
    return path.open("xb", buffering=0)
