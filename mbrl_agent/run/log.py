"""What a run writes for people: progress.csv and TensorBoard events, through Stable-Baselines3's Logger."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from stable_baselines3.common.logger import (
    HParam,
    KVWriter,
    Logger,
    TensorBoardOutputFormat,
    filter_excluded_keys,
)
from tensorboard.compat.proto.summary_pb2 import Summary

from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.files.plain_data import read_file
from mbrl_agent.run.event_file import EventOutput

METRICS = ("eval/success_rate", "eval/mean_reward", "eval/steps_to_solve", "rollout/ep_rew")
"""Scalars that the HParams page shows beside the hyperparameters, at their latest values."""
MAX_CSV_BYTES = 2**24
NOT_HYPERPARAMETERS = ("device", "episodes", "logdir", "quiet", "threads")


class ProgressCsv(KVWriter):
    """One row a trial in a CSV file that is whole at any moment and can be continued.

    Unlike Stable-Baselines3's `CSVOutputFormat` it appends to the rows that are there, and its columns
    are in the order in which their names were first recorded, the same in every process.

    Args:
        path: The file; it is made with the first row.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        table = read_table(path) if path.exists() else []
        self.columns: list[str] = table[0] if table else []
        self.rows: list[list[str]] = table[1:]

    def write(
        self, key_values: dict[str, Any], key_excluded: dict[str, tuple[str, ...]], step: int = 0
    ) -> None:
        """Append a row, and columns for names that are new."""
        values = filter_excluded_keys(key_values, key_excluded, "csv")
        if not values:
            return
        self.columns += [key for key in values if key not in self.columns]
        self.rows.append([_cell(values.get(key, "")) for key in self.columns])
        self._write()

    def rewind(self, rows: int, columns: int) -> None:
        """Forget all but the first rows and columns; without rows there is no file."""
        self.rows, self.columns = [row[:columns] for row in self.rows[:rows]], self.columns[:columns]
        if self.rows:
            self._write()
        else:
            self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([*row, *[""] * (len(self.columns) - len(row))] for row in self.rows)
        write_atomically(self.path, buffer.getvalue().encode())

    def close(self) -> None:
        """Do nothing: between two rows nothing is open."""


def _cell(value: Any) -> str:
    """Write a value as text; NumPy would write its own numbers as its print options say."""
    return str(value.item() if isinstance(value, np.generic) else value)


def read_table(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file, the header first.

    Raises:
        ValueError: It is not one.
        OSError: It cannot be read.
    """
    text = read_file(path, MAX_CSV_BYTES).decode()
    try:
        return list(csv.reader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise ValueError(f"{path.name} is damaged: {error}") from error


def make_logger(progress: Path, events: Path) -> Logger:
    """Make a logger that writes progress.csv and a new event file.

    Args:
        progress: The CSV file, which is continued if it exists.
        events: The event file, which does not exist.
    """
    return Logger(str(progress.parent), [ProgressCsv(progress), EventOutput(events)])


def log_config(logger: Logger, options: Mapping[str, int | float | bool | str]) -> None:
    """Write the configuration as text and as hyperparameters."""
    rows = "\n".join(f"| `{key}` | {_unicode(value)} |" for key, value in options.items())
    logger.record("config", f"| option | value |\n|---|---|\n{rows}", exclude="csv")
    hyperparameters = {
        key: _unicode(value) for key, value in options.items() if key not in NOT_HYPERPARAMETERS
    }
    logger.record("hparams", HParam(hyperparameters, dict.fromkeys(METRICS, 0.0)), exclude="csv")
    logger.dump(0)


def _unicode(value: int | float | bool | str) -> int | float | bool | str:
    """Return the value, with escapes for what is no Unicode: the name of a directory can be any bytes."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def log_image(logger: Logger, tag: str, encoded: bytes, step: int) -> None:
    """Give TensorBoard an image file as it is: a GIF stays animated.

    Args:
        logger: Where to.
        tag: Name of the image.
        encoded: A PNG or GIF file.
        step: Environment steps.
    """
    with Image.open(io.BytesIO(encoded)) as opened:
        width, height = opened.size
    image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=encoded)
    for output in logger.output_formats:
        if isinstance(output, TensorBoardOutputFormat):
            output.writer._get_file_writer().add_summary(  # type: ignore[no-untyped-call]
                Summary(value=[Summary.Value(tag=tag, image=image)]), step
            )
