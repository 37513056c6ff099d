"""Landscapes of several seeds and horizons in one table: medians and quartiles beside the largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mbrl_agent.run.table import Table, TableCell, align
from mbrl_agent.study.gradients.landscape import Landscape, log10

QUARTILES = (25.0, 50.0, 75.0)


@dataclass(frozen=True)
class SeedLine:
    """A landscape, and what it was taken of.

    Attributes:
        seed: Of the policy, if it is a random one, of the direction and of the noise.
        horizon: T.
        landscape: Along one direction.
    """

    seed: int
    horizon: int
    landscape: Landscape


@dataclass(frozen=True)
class Row:
    """One strategy at one horizon; log10 of the variance over its lines, one a seed and direction.

    Attributes:
        strategy: Label.
        horizon: T.
        lines: How many.
        median: Median over the lines of each line's median over the places.
        largest: Quartiles over the lines of each line's largest.
        worst: The largest of all.
        nonfinite: Estimates that are not finite.
    """

    strategy: str
    horizon: int
    lines: int
    median: float
    largest: tuple[float, float, float]
    worst: float
    nonfinite: int


def rows_of(lines: Sequence[SeedLine]) -> list[Row]:
    """Return one row a strategy and horizon, in the order in which they come."""
    groups: dict[tuple[str, int], list[Landscape]] = {}
    for line in lines:
        groups.setdefault((line.landscape.strategy, line.horizon), []).append(line.landscape)
    found = []
    for (strategy, horizon), own in groups.items():
        # the logarithm keeps the order, so it may come last, where a median falls on a value of the sample
        medians = [_percentiles(entry.variance, (50.0,))[0] for entry in own]
        largest = [float(entry.variance.max()) for entry in own]
        low, middle, high = (log10(value) for value in _percentiles(largest, QUARTILES))
        found.append(
            Row(
                strategy,
                horizon,
                len(own),
                log10(_percentiles(medians, (50.0,))[0]),
                (low, middle, high),
                log10(max(largest)),
                sum(int(entry.nonfinite.sum()) for entry in own),
            )
        )
    return found


def _percentiles(
    values: Sequence[float] | np.typing.NDArray[np.float64], levels: Sequence[float]
) -> list[float]:
    """Return values of the sample nearest to its percentiles: between a number and infinity is no mean."""
    return [float(value) for value in np.percentile(values, levels, method="nearest")]


def lines_table(lines: Sequence[SeedLine]) -> Table:
    """Lay out as CSV: one row a seed, horizon, strategy, direction and place."""
    columns = ["seed", "horizon", "strategy", "direction", "delta", "variance", "nonfinite_estimates"]
    cells: list[list[TableCell]] = []
    for line in lines:
        own = line.landscape
        for delta, variance, nonfinite in zip(own.delta, own.variance, own.nonfinite, strict=True):
            row: list[TableCell] = [line.seed, line.horizon, own.strategy, own.direction + 1]
            cells.append([*row, float(delta), float(variance), int(nonfinite)])
    return Table(columns, cells)


def seeds_table(rows: Sequence[Row]) -> Table:
    """Lay out as CSV: one row a strategy and horizon."""
    columns = ["strategy", "horizon", "lines", "log10_median", "log10_largest_percentile_25"]
    columns += [
        "log10_largest_percentile_50",
        "log10_largest_percentile_75",
        "log10_worst",
        "nonfinite_estimates",
    ]
    cells: list[list[TableCell]] = [
        [row.strategy, row.horizon, row.lines, row.median, *row.largest, row.worst, row.nonfinite]
        for row in rows
    ]
    return Table(columns, cells)


def seeds_text(rows: Sequence[Row]) -> str:
    """Spell for the terminal: one line a strategy, a group of columns a horizon."""
    horizons = list(dict.fromkeys(row.horizon for row in rows))
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    by_key = {(row.strategy, row.horizon): row for row in rows}
    names = ("median", "largest", "25 %", "75 %", "worst")
    head = ["log10 of the variance", *(f"{name}" for _ in horizons for name in names)]
    over = ["horizon", *(cell for horizon in horizons for cell in (str(horizon), *[""] * (len(names) - 1)))]
    cells = [over, head]
    for strategy in strategies:
        line = [strategy]
        for horizon in horizons:
            row = by_key[strategy, horizon]
            low, middle, high = row.largest
            line += [f"{value:.1f}" for value in (row.median, middle, low, high, row.worst)]
        cells.append(line)
    count = rows[0].lines
    note = (
        f"of {count} lines (seeds x directions): median of their medians; median, quartiles of their largest"
    )
    return "\n".join([*align(cells), f"{note}; largest of all"])
