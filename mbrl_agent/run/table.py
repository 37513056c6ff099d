"""Tables as text: for people, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

TableCell = str | int | float


@dataclass(frozen=True)
class Table:
    """Numbers of a figure."""

    columns: list[str]
    rows: list[list[TableCell]]

    def text(self) -> str:
        """Format as CSV; numbers with eight digits, and `inf` and `nan` as such."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([_cell(value) for value in row] for row in self.rows)
        return buffer.getvalue()


def _cell(value: TableCell) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Put cells under each other, the first column to the left and the others to the right.

    By hand, since rich folds or cuts what is wider than the terminal, and than 80 columns in a pipe.

    Args:
        rows: The head among them; all of the same length.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "   ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows
    ]
