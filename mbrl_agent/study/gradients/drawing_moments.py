"""The figure of moment matching and the particles that imitate it, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mbrl_agent.run.figures import default_style
from mbrl_agent.study.gradients.drawing import DPI
from mbrl_agent.study.gradients.moments import PredictedMoments


@default_style()
def moments_figure(
    found: Sequence[PredictedMoments], labels: Sequence[str], title: str, step: float | None
) -> Figure:
    """Draw a panel a state dimension, the belief as a band; and the gradient's error over the particles."""
    exact, *sampled = found
    columns = 2
    rows = -(-(len(labels) + 1) // columns)
    figure = Figure(figsize=(9.5, 2.6 * rows), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    time = np.arange(exact.mean.shape[1]) * (step or 1.0)
    shades = colormaps["viridis"](np.linspace(0.85, 0.15, len(sampled)))
    for index, (axis, label) in enumerate(zip(axes, labels, strict=False)):
        low, high = (exact.mean[0, :, index] + side * 2 * exact.std[0, :, index] for side in (-1, 1))
        axis.fill_between(time, low, high, color="0.85", label="moment matching, mean and 2 std")
        axis.plot(time, exact.mean[0, :, index], color="black", lw=1.4)
        for entry, shade in zip(sampled, shades, strict=True):
            mean, std = entry.mean[0, :, index], entry.std[0, :, index]
            axis.plot(time, mean, color=shade, lw=0.9, label=f"{entry.particles} particles")
            for side in (-2, 2):
                axis.plot(time, mean + side * std, color=shade, lw=0.7, ls="--")
        axis.set_ylabel(label, parse_math=False)
        axis.set_xlabel("time [s]" if step else "step")
    _errors(axes[len(labels)], exact, sampled)
    empty = axes[len(labels) + 1 :]
    for axis in empty:
        axis.set_axis_off()
    shown = empty[0] if len(empty) else axes[0]
    shown.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="center" if len(empty) else "best")
    figure.suptitle(title, parse_math=False, fontsize=10)
    return figure


def _errors(axis: Axes, exact: PredictedMoments, sampled: Sequence[PredictedMoments]) -> None:
    counts = [entry.particles for entry in sampled]
    errors = [entry.gradient_errors(exact) for entry in sampled]
    low, middle, high = np.array([np.percentile(values, (25, 50, 75)) for values in errors]).T
    axis.fill_between(counts, low, high, color="tab:blue", alpha=0.25, lw=0)
    axis.plot(counts, middle, color="tab:blue", marker="o", ms=3, label="of one estimate: median, quartiles")
    bias = [entry.bias(exact) for entry in sampled]
    axis.plot(counts, bias, color="tab:orange", marker="s", ms=3, ls="--", label="of the mean of all repeats")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("particles")
    axis.set_ylabel("distance from the gradient\nof moment matching / its size", parse_math=False)
    axis.legend(fontsize=7)
