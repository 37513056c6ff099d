"""Figures of landscapes and of predicted trajectories, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from mbrl_agent.run.figures import default_style
from mbrl_agent.study.gradients.colours import Look
from mbrl_agent.study.gradients.landscape import Array, Landscape, Values
from mbrl_agent.study.gradients.trajectories import PredictedTrajectories, weighted_percentiles

DPI = 130
DELTA = r"$\Delta\theta$  [size of the weights]"
VARIANCE = "gradient variance"
COST = "expected cost"
GREY = "#555555"
EDGES = (2, 98)
LINES = 30
"""Single particles drawn over the band of a predicted distribution."""


@default_style()
def landscape_figure(landscapes: Sequence[Landscape], looks: Mapping[str, Look], title: str) -> Figure:
    """Draw variance of the gradient above, expected cost below, one column a direction."""
    numbers = sorted({entry.direction for entry in landscapes})
    labels = list(dict.fromkeys(entry.strategy for entry in landscapes))
    size = (5.6 * len(numbers) + 1.0 + 0.08 * max(map(len, labels)), 6.0)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(2, len(numbers), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 2))
    for column, number in enumerate(numbers):
        own = [entry for entry in landscapes if entry.direction == number]
        draw_variances(axes[0, column], own, looks)
        draw_costs(axes[1, column], own, looks)
        axes[1, column].set_xlabel(DELTA)
        if len(numbers) > 1:
            axes[0, column].set_title(f"direction {number + 1}", fontsize=10)
    axes[0, 0].set_ylabel(VARIANCE)
    axes[1, 0].set_ylabel(COST)
    handles = [axes[0, 0].get_lines()[labels.index(label)] for label in labels]
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    figure.suptitle(title, parse_math=False, fontsize=10)
    return figure


def draw_variances(axis: Axes, landscapes: Sequence[Landscape], looks: Mapping[str, Look]) -> None:
    """Draw curves of the variance; where it is infinite a cross at the upper edge."""
    for entry in landscapes:
        look = looks[entry.strategy]
        shown = np.where(np.isfinite(entry.variance) & (entry.variance > 0), entry.variance, np.nan)
        axis.plot(
            entry.delta,
            shown,
            look.line,
            color=look.colour,
            label=entry.strategy,
            lw=1.5,
            marker=look.marker,
            ms=3.5,
            markevery=max(1, len(shown) // 14),
        )
        exploded = entry.delta[np.isinf(entry.variance)]
        edge = np.full(len(exploded), 0.985)
        axis.scatter(
            exploded,
            edge,
            marker="x",
            s=22,
            color=look.colour,
            transform=axis.get_xaxis_transform(),
            zorder=3,
        )
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(numticks=9))
    axis.yaxis.set_minor_formatter(NullFormatter())
    _grid(axis)


def draw_costs(axis: Axes, landscapes: Sequence[Landscape], looks: Mapping[str, Look]) -> None:
    """Draw curves of the expected cost, with a band of two standard errors."""
    for entry in landscapes:
        look = looks[entry.strategy]
        low = entry.expected_cost - 2 * entry.expected_cost_se
        high = entry.expected_cost + 2 * entry.expected_cost_se
        axis.fill_between(entry.delta, low, high, color=look.colour, alpha=0.18, lw=0)
        axis.plot(
            entry.delta, entry.expected_cost, look.line, color=look.colour, lw=1.3, label=entry.strategy
        )
    _grid(axis)


@default_style()
def values_figure(
    values: Values, landscapes: Sequence[Landscape], looks: Mapping[str, Look], title: str
) -> Figure:
    """Draw Fig. 1: the cost of single particles (a), and the variance of the gradient (b)."""
    figure = Figure(figsize=(11.0, 4.2), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#0072b2", "#d55e00")
    for index, column in enumerate(values.particles.T):
        left.plot(values.delta, column, color=colours[index % len(colours)], lw=0.8, alpha=0.9)
    left.plot(values.delta, values.mean, color="black", lw=2.0, label="mean of all particles")
    left.plot([], [], color=GREY, lw=0.8, label="single particles, fixed noise")
    left.set_ylabel("cost")
    left.set_title("(a) value landscape, without resampling", fontsize=10)
    draw_variances(right, landscapes, looks)
    right.set_ylabel(VARIANCE)
    right.set_title("(b) variance of the gradient", fontsize=10)
    for axis in (left, right):
        axis.set_xlabel(DELTA)
        axis.legend(frameon=False, fontsize=9)
    _grid(left)
    figure.suptitle(title, parse_math=False, fontsize=10)
    return figure


@default_style()
def trajectories_figure(
    predictions: Sequence[PredictedTrajectories],
    labels: Sequence[str],
    looks: Mapping[str, Look],
    title: str,
    time_step: float | None = None,
) -> Figure:
    """Draw Fig. 2: bands and single particles of every state dimension, one column a strategy and place."""
    predictions = sorted(predictions, key=lambda entry: entry.delta)
    figure = Figure(
        figsize=(1.0 + 2.3 * len(predictions), 0.8 + 1.9 * len(labels)), dpi=DPI, layout="constrained"
    )
    axes = figure.subplots(len(labels), len(predictions), sharex=True, sharey="row", squeeze=False)
    for column, entry in enumerate(predictions):
        times = (time_step or 1.0) * np.arange(len(entry.states), dtype=np.float64)
        for dimension, axis in enumerate(axes[:, column]):
            _draw_particles(axis, times, entry, dimension, looks[entry.strategy].colour)
        heading = rf"{entry.strategy}, $\Delta\theta$ = {entry.delta:.3g}"
        axes[0, column].set_title(f"{heading}\ncost {entry.expected_cost:.1f}", fontsize=9)
        axes[-1, column].set_xlabel("step" if time_step is None else "time [s]")
    for dimension, (axis, label) in enumerate(zip(axes[:, 0], labels, strict=True)):
        axis.set_ylabel(label, parse_math=False)
        axis.set_ylim(*_limits(predictions, dimension))
    figure.suptitle(title, parse_math=False, fontsize=10)
    return figure


def _limits(predictions: Sequence[PredictedTrajectories], dimension: int) -> tuple[float, float]:
    """Find where nearly all of the mass is at any time: a stray component does not squash the rest."""
    bounds = [weighted_percentiles(p.states[..., dimension], p.weights, EDGES) for p in predictions]
    low = min(float(bound[0].min()) for bound in bounds)
    high = max(float(bound[1].max()) for bound in bounds)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _draw_particles(
    axis: Axes, times: Array, entry: PredictedTrajectories, dimension: int, colour: str
) -> None:
    values = entry.states[..., dimension]
    low, middle, high = weighted_percentiles(values, entry.weights, (5, 50, 95))
    axis.fill_between(times, low, high, color=colour, alpha=0.25, lw=0)
    some = np.linspace(0, values.shape[1] - 1, min(LINES, values.shape[1])).astype(int)
    # a particle of next to no weight says nothing about the distribution
    shown = np.where(entry.weights > 0.1 / values.shape[1], values, np.nan)
    axis.plot(times, shown[:, some], color=colour, lw=0.4, alpha=0.5)
    axis.plot(times, middle, color="black", lw=1.2)
    axis.margins(x=0)
    _grid(axis)


def _grid(axis: Axes) -> None:
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)
    axis.margins(x=0.01)
