"""The numbers of the pictures."""

from __future__ import annotations

from collections.abc import Sequence

from mbrl_agent.run.inspection.history import ErrorHistory
from mbrl_agent.run.inspection.policy_map import PolicyCurve, PolicyMap
from mbrl_agent.run.inspection.prediction import PredictionErrors, PredictionSpread
from mbrl_agent.run.table import Table, TableCell


def error_table(errors: PredictionErrors, labels: Sequence[str]) -> Table:
    """Lay out one row a number of steps ahead and dimension."""
    rows: list[list[TableCell]] = []
    for k, starts in enumerate(errors.starts):
        for index, label in enumerate(labels):
            numbers = (errors.error, errors.spread, errors.unchanged)
            rows.append([k + 1, label, int(starts), *(float(values[k, index]) for values in numbers)])
    columns = ["steps_ahead", "dimension", "predictions", "rms_error", "rms_spread", "rms_error_unchanged"]
    return Table(columns, rows)


def spread_table(spread: PredictionSpread, labels: Sequence[str]) -> Table:
    """Lay out one row a step and dimension."""
    rows: list[list[TableCell]] = []
    for step in range(len(spread.noise)):
        for index, label in enumerate(labels):
            numbers = (spread.noise, spread.disagreement, spread.error)
            rows.append([step + 1, label, *(float(values[step, index]) for values in numbers)])
    return Table(["step", "dimension", "noise", "disagreement", "rms_error"], rows)


def policy_table(found: PolicyMap, labels: Sequence[str]) -> Table:
    """Lay out one row a place."""
    count = found.actions.shape[-1]
    rows: list[list[TableCell]] = [
        [float(x), float(y), *map(float, found.actions[j, i])]
        for j, y in enumerate(found.vertical)
        for i, x in enumerate(found.horizontal)
    ]
    columns = [labels[index] for index in found.dims]
    return Table([*columns, *(f"action_{index}" for index in range(count))], rows)


def curve_table(found: PolicyCurve, labels: Sequence[str]) -> Table:
    """Lay out one row a place."""
    columns = [labels[found.dim], *(f"action_{index}" for index in range(found.actions.shape[-1]))]
    rows: list[list[TableCell]] = [
        [float(value), *map(float, actions)]
        for value, actions in zip(found.values, found.actions, strict=True)
    ]
    return Table(columns, rows)


def history_table(history: ErrorHistory, labels: Sequence[str]) -> Table:
    """Lay out one row a trial, number of steps ahead and dimension."""
    rows: list[list[TableCell]] = []
    for row, (trial, episodes) in enumerate(zip(history.trials, history.episodes, strict=True)):
        for column, ahead in enumerate(history.steps):
            for index, label in enumerate(labels):
                numbers = (history.error[row, column, index], history.spread[row, column, index])
                rows.append([int(trial), int(episodes), int(ahead), label, *map(float, numbers)])
    return Table(["trial", "unseen_episodes", "steps_ahead", "dimension", "rms_error", "rms_spread"], rows)
