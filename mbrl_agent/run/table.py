"""Numbers of a figure as CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

Cell = str | int | float


@dataclass(frozen=True)
class Table:
    """Numbers of a figure."""

    columns: list[str]
    rows: list[list[Cell]]

    def text(self) -> str:
        """As CSV; numbers with eight digits, and `inf` and `nan` as such."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_cell(value) for value in row] for row in self.rows)
        return buffer.getvalue()


def _cell(value: Cell) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)
