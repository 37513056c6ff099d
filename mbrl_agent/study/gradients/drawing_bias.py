"""Figures of the gradient's bias and of the forward error, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mbrl_agent.run.figures import default_style
from mbrl_agent.study.gradients.bias import Bias, Estimate
from mbrl_agent.study.gradients.bimodal import ForwardError
from mbrl_agent.study.gradients.colours import Look
from mbrl_agent.study.gradients.drawing import DPI

BLACK = "#000000"


@default_style()
def bias_figure(rows: Sequence[Bias], looks: Mapping[str, Look], title: str) -> Figure:
    """Draw cosine with the true gradient and relative bias, one bar a strategy, one row a place."""
    places = list(dict.fromkeys(row.delta for row in rows))
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    size = (9.5, 0.9 + len(places) * (0.7 + 0.34 * len(strategies)))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(len(places), 2, sharey="row", sharex="col", squeeze=False)
    for pair, delta in zip(axes, places, strict=True):
        own = [row for row in rows if row.delta == delta]
        colours = [looks[row.strategy].colour for row in own]
        _bars(pair[0], [row.strategy for row in own], [row.cosine for row in own], colours)
        _bars(pair[1], [row.strategy for row in own], [row.relative_bias for row in own], colours)
        pair[0].set_ylabel(rf"$\Delta\theta$ = {delta:.3g}")
        pair[0].axvline(1.0, color="black", lw=0.8, ls=":")
        pair[0].set_xlim(-1.1, 1.35)
        pair[1].set_xlim(0, 2.5)
    axes[-1, 0].set_xlabel("cosine with the true gradient")
    axes[-1, 1].set_xlabel("|mean gradient - true gradient| / |true gradient|")
    figure.suptitle(title, parse_math=False, fontsize=10)
    return figure


@default_style()
def forward_figure(
    rows: Sequence[ForwardError], looks: Mapping[str, Look], labels: list[str], title: str
) -> Figure:
    """Draw error of the predicted cost against the same model without resampling, one panel a start."""
    starts = list(dict.fromkeys(row.modes for row in rows))
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    size = (1.0 + 4.8 * len(starts), 1.2 + 0.34 * len(strategies))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(1, len(starts), sharey=True, squeeze=False)[0]
    for axis, modes in zip(axes, starts, strict=True):
        own = [row for row in rows if row.modes == modes]
        colours = [looks[row.strategy].colour if row.strategy in looks else BLACK for row in own]
        _bars(axis, [row.strategy for row in own], [row.error for row in own], colours)
        axis.axvline(0.0, color="black", lw=0.8)
        axis.set_title(modes.label(labels), parse_math=False, fontsize=10)
        axis.set_xlabel("predicted cost - cost without resampling")
        axis.margins(x=0.15)
    figure.suptitle(title, parse_math=False, fontsize=10)
    return figure


def _bars(axis: Axes, names: list[str], values: list[Estimate], colours: list[str]) -> None:
    """Draw bars from the top down, with two standard errors; "lost in noise" where there is none."""
    places = np.arange(len(names))
    lengths = np.array([value.value for value in values])
    errors = np.nan_to_num(np.array([2 * value.error for value in values]))
    axis.barh(places, np.nan_to_num(lengths), color=colours, height=0.7, alpha=0.85)
    real = np.isfinite(lengths)
    axis.errorbar(
        lengths[real], places[real], xerr=errors[real], fmt="none", ecolor="black", elinewidth=1, capsize=2
    )
    for place in places[~real]:
        axis.text(0.02, place, "lost in noise", va="center", fontsize=8, transform=axis.get_yaxis_transform())
    axis.set_yticks(places, names, fontsize=8)
    if not axis.yaxis_inverted():
        axis.invert_yaxis()
    axis.grid(alpha=0.25, axis="x")
    axis.tick_params(labelsize=8)
