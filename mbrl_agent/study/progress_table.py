"""What the studies read of a run's progress.csv."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

from mbrl_agent.run.log import read_table

STEPS, SUCCESS, REWARD = "time/total_timesteps", "eval/success_rate", "eval/mean_reward"
SOLVED = "eval/steps_to_solve"
CLOCK = ("time/trial", "time/evaluate", "time/log")
"""Wall clock of a row: learning, evaluation, figures; only the start of the program is in none of them."""
COLUMNS = (STEPS, SUCCESS, REWARD, SOLVED, *CLOCK)


def read_progress(path: Path) -> list[dict[str, float]]:
    """Return the numbers of a progress.csv that are in `COLUMNS`, a row a trial; none where there is no file.

    Raises:
        ValueError: It is not such a table; the message says where.
    """
    if not path.exists():
        return []
    try:
        table = read_table(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a table of comma-separated values: {error}") from error
    if not any(table):
        return []
    header = table[0]
    if STEPS not in header:
        raise ValueError(f"{path} has no column {STEPS}: it is not the progress of a run")
    rows = [_progress_row(path, number, header, cells) for number, cells in enumerate(table[1:], start=2)]
    for number, (before, after) in enumerate(pairwise(rows), start=3):
        if not before[STEPS] < after[STEPS]:
            raise ValueError(f"{path}, line {number}: {STEPS} must grow, got {after[STEPS]:g}")
    return rows


def _progress_row(path: Path, number: int, header: list[str], cells: list[str]) -> dict[str, float]:
    if len(cells) != len(header):
        raise ValueError(f"{path}, line {number}: {len(cells)} cells for {len(header)} columns")
    row = {}
    for name, cell in zip(header, cells, strict=True):
        if name not in COLUMNS or not cell:
            continue
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        fits = 0 <= value <= 1 if name == SUCCESS else value >= 0 or name == REWARD
        if not math.isfinite(value) or not fits:
            raise ValueError(f"{path}, line {number}: {name} cannot be {cell[:40]!r}")
        row[name] = value
    if STEPS not in row:
        raise ValueError(f"{path}, line {number}: {STEPS} is empty")
    return row
