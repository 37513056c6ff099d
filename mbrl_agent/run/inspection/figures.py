"""Pictures of the model's errors, of its spread, and of the policy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mbrl_agent.run.figures import BLUE, ORANGE, default_style
from mbrl_agent.run.inspection.history import ErrorHistory
from mbrl_agent.run.inspection.policy_map import PolicyCurve, PolicyMap
from mbrl_agent.run.inspection.prediction import PredictionErrors, PredictionSpread

GREY, GREEN = "#8a8f98", "#2b8a3e"


@default_style()
def error_figure(
    errors: PredictionErrors, labels: Sequence[str], time_step: float | None = None, title: str | None = None
) -> Figure:
    """Draw errors over the number of steps ahead, one panel a dimension.

    Args:
        errors: Of predictions K steps ahead.
        labels: (D), name and unit of each state dimension.
        time_step: Duration of a step [s]; None counts steps instead.
        title: Of the figure; None says from how many states predictions began.
    """
    title = title or f"Prediction of unseen episodes, from {int(errors.starts[0])} states on"
    lines = (
        ("error of the mean", errors.error, ORANGE, "-"),
        ("predicted standard deviation", errors.spread, BLUE, "-"),
        ("error if nothing changed", errors.unchanged, GREY, "--"),
    )
    return _panels(title, labels, lines, time_step, "ahead")


@default_style()
def spread_figure(
    spread: PredictionSpread, labels: Sequence[str], time_step: float | None = None, title: str | None = None
) -> Figure:
    """Draw noise and disagreement of one-step predictions along the episode, one panel a dimension.

    Args:
        spread: Along the episodes.
        labels: (D), name and unit of each state dimension.
        time_step: Duration of a step [s]; None counts steps instead.
        title: Of the figure; None says no more than what it shows.
    """
    lines = (
        ("noise", spread.noise, BLUE, "-"),
        ("disagreement", spread.disagreement, GREEN, "-"),
        ("error of the mean", spread.error, ORANGE, ":"),
    )
    return _panels(
        title or "Spread of predictions one step ahead", labels, lines, time_step, "of the episode"
    )


@default_style()
def policy_figure(
    found: PolicyMap, labels: Sequence[str], visited: NDArray[np.floating] | None = None
) -> Figure:
    """Return the actions as colours, one panel an action, and the visited states as dots.

    Args:
        found: The map.
        labels: (D), name and unit of each state dimension.
        visited: (N, D), states to be shown; None shows none.
    """
    count = found.actions.shape[-1]
    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(5.2 * columns, 0.8 + 3.8 * rows), dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    first, second = found.dims
    for index, axis in enumerate(axes[:count]):
        values = found.actions[..., index]
        mesh = axis.pcolormesh(found.horizontal, found.vertical, values, cmap="RdBu_r", shading="nearest")
        figure.colorbar(mesh, ax=axis, label="action" if count == 1 else f"action {index}")
        if visited is not None:
            axis.plot(visited[:, first], visited[:, second], ".", color="black", ms=2, alpha=0.5)
        axis.set_xlabel(labels[first], parse_math=False)
        axis.set_ylabel(labels[second], parse_math=False)
    _hide(axes[count:])
    figure.suptitle(_where(labels, found.others, found.dims), fontsize=10, wrap=True, parse_math=False)
    return figure


@default_style()
def curve_figure(
    found: PolicyCurve, labels: Sequence[str], visited: NDArray[np.floating] | None = None
) -> Figure:
    """Return the actions over one dimension, one line an action, and where it was visited as ticks.

    Args:
        found: The curve.
        labels: (D), name and unit of each state dimension.
        visited: (N, D), states to be shown; None shows none.
    """
    figure = Figure(figsize=(6.4, 4.2), dpi=100, layout="constrained")
    axis = figure.subplots()
    count = found.actions.shape[-1]
    for index in range(count):
        axis.plot(found.values, found.actions[:, index], lw=1.5, label=f"action {index}")
    if visited is not None:
        transform = axis.get_xaxis_transform()
        at = visited[:, found.dim]
        axis.plot(at, np.full(len(at), 0.02), "|", color="black", ms=6, alpha=0.3, transform=transform)
    axis.set_xlabel(labels[found.dim], parse_math=False)
    axis.set_ylabel("action")
    axis.grid(alpha=0.25)
    if count > 1:
        axis.legend(frameon=False)
    figure.suptitle(_where(labels, found.others, (found.dim,)), fontsize=10, wrap=True, parse_math=False)
    return figure


@default_style()
def history_figure(history: ErrorHistory, labels: Sequence[str], time_step: float | None = None) -> Figure:
    """Draw errors on episodes collected later, over the trials, one panel a dimension; logarithmic axes.

    Args:
        history: Of the models of a run.
        labels: (D), name and unit of each state dimension.
        time_step: Duration of a step [s]; None counts steps instead.
    """
    figure, axes = _grid(len(labels))
    for dimension, axis in enumerate(axes[: len(labels)]):
        for column, (ahead, color) in enumerate(zip(history.steps, (BLUE, ORANGE), strict=False)):
            name = f"{ahead} steps ahead" if time_step is None else f"{ahead * time_step:.3g} s ahead"
            error, spread = history.error[:, column, dimension], history.spread[:, column, dimension]
            axis.plot(history.trials, error, "o-", color=color, ms=3, label=f"error, {name}")
            axis.plot(history.trials, spread, "--", color=color, lw=1, label=f"predicted, {name}")
        axis.set_ylabel(labels[dimension], parse_math=False)
        if (history.error[:, :, dimension] > 0).any():
            axis.set_yscale("log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.25)
    _finish(figure, axes, len(labels), "model of trial")
    figure.suptitle("Prediction of the episodes that came after the trial", fontsize=11)
    return figure


def _where(labels: Sequence[str], others: NDArray[np.float64], dims: Sequence[int]) -> str:
    """Return a title that says at which state the other dimensions are."""
    fixed = [
        f"{label} = {value:.3g}"
        for index, (label, value) in enumerate(zip(labels, others, strict=True))
        if index not in dims
    ]
    return "Policy" + (f" at {', '.join(fixed)}" if fixed else "")


def _panels(
    title: str,
    labels: Sequence[str],
    lines: Sequence[tuple[str, NDArray[np.float64], str, str]],
    time_step: float | None,
    when: str,
) -> Figure:
    """Draw one panel a dimension, a line for each (name, values (N, D), colour, style), from step 1 on."""
    dims = len(labels)
    figure, axes = _grid(dims)
    times = (time_step or 1.0) * (1 + np.arange(len(lines[0][1])))
    for dimension, axis in enumerate(axes[:dims]):
        for name, values, color, style in lines:
            marker = "o" if len(times) == 1 else None
            axis.plot(times, values[:, dimension], style, color=color, lw=1.5, label=name, marker=marker)
        axis.set_ylabel(labels[dimension], parse_math=False)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
    figure.suptitle(title, fontsize=11, wrap=True, parse_math=False)
    _finish(figure, axes, dims, f"steps {when}" if time_step is None else f"time {when} [s]")
    return figure


def _grid(dims: int) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with one panel a dimension, and perhaps some more."""
    columns = _columns(dims)
    rows = -(-dims // columns)
    figure = Figure(figsize=(4.6 * columns, 0.7 + 2.3 * rows), dpi=100, layout="constrained")
    return figure, list(figure.subplots(rows, columns, sharex=True, squeeze=False).ravel())


def _columns(dims: int) -> int:
    return min(4, math.ceil(math.sqrt(dims)))


def _finish(figure: Figure, axes: Sequence[Axes], dims: int, xlabel: str) -> None:
    """Hide the panels that are too much, name the horizontal axis, and explain the lines once."""
    _hide(axes[dims:])
    for axis in axes[max(0, dims - _columns(dims)) : dims]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel(xlabel)
    handles, names = axes[0].get_legend_handles_labels()
    # in a figure of one panel they do not fit beside each other
    columns = len(names) if dims > 1 else 1
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def _hide(axes: Iterable[Axes]) -> None:
    for axis in axes:
        axis.set_visible(False)
