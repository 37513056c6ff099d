"""The figure of what resampling does to a predicted distribution, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mbrl_agent.run.figures import default_style
from mbrl_agent.study.gradients.colours import Look
from mbrl_agent.study.gradients.drawing import DPI
from mbrl_agent.study.gradients.heat import Heat

Array = NDArray[np.float64]
LARGEST = 60.0
"""Decades of a stretch beyond which nothing is drawn: what has overflowed would squash the rest."""


@default_style()
def heat_figure(
    heats: Sequence[Heat], looks: Mapping[str, Look], title: str, time_step: float | None = None
) -> Figure:
    """Change of the cost, energy and stretch by step, one column a place, one curve a strategy.

    Bands are quartiles over the particles.
    """
    places = sorted({heat.delta for heat in heats})
    rows = 3 if heats[0].energy is not None else 2
    labels = list(dict.fromkeys(heat.strategy for heat in heats))
    size = (1.2 + 0.08 * max(map(len, labels)) + 4.2 * len(places), 0.8 + 2.3 * rows)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, len(places), sharex=True, sharey="row", squeeze=False)
    for column, delta in enumerate(places):
        for heat in (heat for heat in heats if heat.delta == delta):
            _draw(list(axes[:, column]), heat, looks[heat.strategy], time_step or 1.0)
        axes[0, column].set_title(rf"$\Delta\theta$ = {delta:.3g}", fontsize=10)
        axes[-1, column].set_xlabel("step" if time_step is None else "time [s]")
    names = ["expected cost - without resampling", "log10 of the stretch to the end"]
    names[1:1] = ["energy [J]"] if rows == 3 else []
    for axis, name in zip(axes[:, 0], names, strict=True):
        axis.set_ylabel(name, fontsize=9)
    handles = [axes[0, 0].get_lines()[labels.index(label)] for label in labels]
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    figure.suptitle(title, parse_math=False, fontsize=10)
    return figure


def _draw(axes: Sequence[Axes], heat: Heat, look: Look, time_step: float) -> None:
    times: Array = time_step * np.arange(len(heat.cost) + 1, dtype=np.float64)
    axes[0].plot(times[1:], heat.cost_change, look.line, color=look.colour, lw=1.4)
    if heat.energy is not None:
        _band(axes[1], times, heat.energy, look)
    _band(axes[-1], times[:-1], np.where(heat.stretch < LARGEST, heat.stretch, np.nan), look)
    for axis in axes:
        axis.grid(alpha=0.25)
        axis.tick_params(labelsize=8)
        axis.margins(x=0.01)


def _band(axis: Axes, times: Array, quartiles: Array, look: Look) -> None:
    low, middle, high = quartiles
    axis.fill_between(times, low, high, color=look.colour, alpha=0.15, lw=0)
    axis.plot(times, middle, look.line, color=look.colour, lw=1.4)
