"""Figures of a run, drawn without a display."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

BANDS = ((5, 95), (25, 75))
"""Percentiles that bound the bands of particles, the wide one first."""
NOT_STYLE = ("backend", "backend_fallback", "interactive", "toolbar")
"""Settings that say how windows are shown, which we do not do; setting them has side effects."""
BLUE, ORANGE = "#2a78b5", "#d9480f"


@contextmanager
def default_style() -> Iterator[None]:
    """Draw as matplotlib does by default, whatever the user's matplotlibrc or style says.

    It decorates whatever makes or saves a figure. No backend takes part: a figure has a canvas of its own.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a missing glyph costs that glyph
        defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if key not in NOT_STYLE}
        with matplotlib.rc_context(defaults):
            yield


@default_style()
def prediction_figure(
    particles: NDArray[np.floating],
    observations: NDArray[np.floating],
    labels: Sequence[str],
    title: str,
    time_step: float | None = None,
) -> Figure:
    """Draw prediction against reality: bands of particles, and the real trajectory on top.

    Args:
        particles: (T + 1, P, D), predicted before the episode.
        observations: (N + 1, D), the real episode; N may differ from T.
        labels: (D), name and unit of each state dimension.
        title: Title of the figure.
        time_step: Duration of a step [s]; None counts steps instead.
    """
    dims = observations.shape[1]
    columns = min(4, math.ceil(math.sqrt(dims)))
    rows = -(-dims // columns)
    figure = Figure(figsize=(4.6 * columns, 0.7 + 2.3 * rows), dpi=100, layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    unit = 1.0 if time_step is None else time_step
    predicted_times, real_times = unit * np.arange(len(particles)), unit * np.arange(len(observations))
    for dimension, axis in enumerate(axes[:dims]):
        values = particles[:, :, dimension]
        for (low, high), alpha in zip(BANDS, (0.2, 0.35), strict=True):
            bounds = np.percentile(values, (low, high), axis=1)
            label = f"predicted, {low}-{high} %"
            axis.fill_between(predicted_times, *bounds, color=BLUE, alpha=alpha, lw=0, label=label)
        axis.plot(predicted_times, np.median(values, axis=1), color=BLUE, lw=1.2, label="predicted, median")
        axis.plot(real_times, observations[:, dimension], color=ORANGE, lw=1.8, label="real")
        axis.set_ylabel(labels[dimension], parse_math=False)
        axis.grid(alpha=0.25)
        axis.margins(x=0)
    for axis in axes[dims:]:
        axis.set_visible(False)
    for axis in axes[max(0, dims - columns) : dims]:
        axis.tick_params(labelbottom=True)
        axis.set_xlabel("step" if time_step is None else "time [s]")
    handles, names = axes[0].get_legend_handles_labels()
    figure.suptitle(title, fontsize=11, parse_math=False)
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=9)
    return figure


@default_style()
def encode_png(figure: Figure) -> bytes:
    """Return the figure as a PNG file; equal figures give equal bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
