"""The tables of the arms and of the effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mbrl_agent.run.table import Table, TableCell, align
from mbrl_agent.study.separate.effects import ArmOutcome, Effect


def arms_table(outcomes: Sequence[ArmOutcome]) -> Table:
    """Lay out as CSV: one row an arm and starting policy."""
    columns = ["width", "horizon", "optimizer", "arm", "start", "predicted_before", "predicted_after"]
    columns += ["reward_before", "reward_after", "median_norm", "largest_norm", "skipped_steps", "diverged"]
    rows: list[list[TableCell]] = []
    for o in outcomes:
        series = (o.predicted_start, o.predicted, o.reward_start, o.reward, o.norm, o.largest_norm)
        for index, numbers in enumerate(zip(*series, strict=True)):
            row: list[TableCell] = [o.width, o.horizon, o.optimizer, o.arm, index]
            rows.append([*row, *map(float, numbers), int(o.skipped[index]), int(o.diverged[index])])
    return Table(columns, rows)


def effects_table(effects: Sequence[Effect]) -> Table:
    """Lay out as CSV: one row an effect; gains a step, with 95 % intervals over the starting policies."""
    columns = ["width", "horizon", "optimizer", "effect"]
    columns += [f"{what}_{part}" for what in ("reward", "predicted") for part in ("gain", "low", "high")]
    rows: list[list[TableCell]] = [
        [
            e.width,
            e.horizon,
            e.optimizer,
            e.name,
            *vars(e.reward).values(),
            *vars(e.predicted).values(),
        ]
        for e in effects
    ]
    return Table(columns, rows)


def arms_text(outcomes: Sequence[ArmOutcome]) -> str:
    """Spell for the terminal: true rewards, one line an arm and optimiser, a column a width and horizon."""
    cells = {(o.arm, o.optimizer, o.width, o.horizon): f"{np.median(o.reward):.3f}" for o in outcomes}
    for o in outcomes:
        cells["before", "", o.width, o.horizon] = f"{np.median(o.reward_start):.3f}"
    lines = list(dict.fromkeys([("before", ""), *((o.arm, o.optimizer) for o in outcomes)]))
    lines.sort(key=lambda line: line[1])  # stable: the arms of each optimiser together
    return _pivot("true reward a step, medians over the starting policies", lines, cells)


def effects_text(effects: Sequence[Effect]) -> str:
    """Spell for the terminal: the true reward an effect gains, starred where its interval is without zero."""
    cells = {}
    for e in effects:
        star = "*" if e.reward.low > 0 or e.reward.high < 0 else " "
        cells[e.name, e.optimizer, e.width, e.horizon] = f"{e.reward.value:+.3f}{star}"
    lines = sorted(dict.fromkeys((e.name, e.optimizer) for e in effects), key=lambda line: line[1])
    title = "true reward gained a step, means over the starting policies (*: 95 % interval without zero)"
    return _pivot(title, lines, cells)


def _pivot(
    title: str, lines: Sequence[tuple[str, str]], cells: Mapping[tuple[str, str, float, int], str]
) -> str:
    """Return a table with a column a width and horizon."""
    places = list(dict.fromkeys((width, horizon) for _, _, width, horizon in cells))
    rows = [["cost width", "", *(f"{width:g}" if width else "own" for width, _ in places)]]
    rows.append(["horizon", "", *(str(horizon) for _, horizon in places)])
    for name, optimizer in lines:
        own = [cells.get((name, optimizer, *place), "") for place in places]
        rows.append([name, optimizer, *own])
    return "\n".join([title, *align(rows)])
