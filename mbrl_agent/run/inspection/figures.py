"""Pictures of the model's errors, of its spread, and of the policy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mbrl_agent.run.figures import BLUE, ORANGE
from mbrl_agent.run.inspection.policy_map import PolicyMap
from mbrl_agent.run.inspection.prediction import PredictionErrors, PredictionSpread

GREY, GREEN = "#8a8f98", "#2b8a3e"


def error_figure(errors: PredictionErrors, labels: Sequence[str], time_step: float | None = None) -> Figure:
    """Errors over the number of steps ahead, one panel a dimension.

    Args:
        errors: Of predictions K steps ahead.
        labels: (D), name and unit of each state dimension.
        time_step: Duration of a step [s]; None counts steps instead.
    """
    title = f"Prediction of unseen episodes, from {int(errors.starts[0])} states on"
    lines = (
        ("error of the mean", errors.error, ORANGE, "-"),
        ("predicted standard deviation", errors.spread, BLUE, "-"),
        ("error if nothing changed", errors.unchanged, GREY, "--"),
    )
    return _panels(title, labels, lines, time_step, "ahead")


def spread_figure(spread: PredictionSpread, labels: Sequence[str], time_step: float | None = None) -> Figure:
    """Noise and disagreement of one-step predictions along the episode, one panel a dimension.

    Args:
        spread: Along the episodes.
        labels: (D), name and unit of each state dimension.
        time_step: Duration of a step [s]; None counts steps instead.
    """
    lines = (
        ("noise", spread.noise, BLUE, "-"),
        ("disagreement", spread.disagreement, GREEN, "-"),
        ("error of the mean", spread.error, ORANGE, ":"),
    )
    return _panels("Spread of predictions one step ahead", labels, lines, time_step, "of the episode")


def policy_figure(
    found: PolicyMap, labels: Sequence[str], visited: NDArray[np.floating] | None = None
) -> Figure:
    """The actions as colours, one panel an action, and the visited states as dots.

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
        axis.set_xlabel(labels[first])
        axis.set_ylabel(labels[second])
    _hide(axes[count:])
    fixed = [
        f"{label} = {value:.3g}"
        for index, (label, value) in enumerate(zip(labels, found.others, strict=True))
        if index not in found.dims
    ]
    figure.suptitle("Policy" + (f" at {', '.join(fixed)}" if fixed else ""), fontsize=10, wrap=True)
    return figure


def _panels(
    title: str,
    labels: Sequence[str],
    lines: Sequence[tuple[str, NDArray[np.float64], str, str]],
    time_step: float | None,
    when: str,
) -> Figure:
    """One panel a dimension with a line for each (name, values (N, D), colour, style), from step 1 on."""
    dims = len(labels)
    columns = min(4, math.ceil(math.sqrt(dims)))
    rows = -(-dims // columns)
    figure = Figure(figsize=(4.6 * columns, 0.7 + 2.3 * rows), dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    times = (time_step or 1.0) * (1 + np.arange(len(lines[0][1])))
    for dimension, axis in enumerate(axes[:dims]):
        for name, values, color, style in lines:
            marker = "o" if len(times) == 1 else None
            axis.plot(times, values[:, dimension], style, color=color, lw=1.5, label=name, marker=marker)
        axis.set_ylabel(labels[dimension])
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
    _hide(axes[dims:])
    for axis in axes[max(0, dims - columns) : dims]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel(f"steps {when}" if time_step is None else f"time {when} [s]")
    handles, names = axes[0].get_legend_handles_labels()
    figure.suptitle(title, fontsize=11)
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9)
    return figure


def _hide(axes: Iterable[Axes]) -> None:
    for axis in axes:
        axis.set_visible(False)
