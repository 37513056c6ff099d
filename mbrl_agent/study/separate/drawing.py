"""The figure that says which effect does what, drawn without a display."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mbrl_agent.run.figures import default_style
from mbrl_agent.study.gradients.drawing import DPI
from mbrl_agent.study.separate.effects import BEYOND, DERIVATIVES, SMOOTHED, VALUES, WIDENED, Effect
from mbrl_agent.study.separate.options import ADAM

SHOWN = {
    DERIVATIVES: ("#0072b2", "o"),
    VALUES: ("#d55e00", "s"),
    BEYOND: ("#8c6bb1", "D"),
    SMOOTHED: ("#009e73", "^"),
    WIDENED: ("#7f7f7f", "v"),
}
"""Colours (of Okabe and Ito) and markers, in the order in which they stand side by side."""
SPREAD = 0.13
"""Distance of two effects at one horizon, where horizons are one apart."""
NAMES: dict[str, str] = {ADAM: "Adam, clipped", "sgd": "plain gradient descent"}


@default_style()
def effects_figure(effects: Sequence[Effect], title: str) -> Figure:
    """Draw gains by effect and horizon: a row an optimiser, a column a width and what is gained.

    Up is better everywhere; a mark is a mean over the starting policies, a bar its 95 % interval.
    """
    optimizers = list(dict.fromkeys(effect.optimizer for effect in effects))
    widths = list(dict.fromkeys(effect.width for effect in effects))
    size = (1.0 + 6.4 * len(widths), 1.4 + 2.7 * len(optimizers))
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.subplots(len(optimizers), 2 * len(widths), squeeze=False, sharex=True, sharey="row")
    for row, optimizer in zip(axes, optimizers, strict=True):
        for index, width in enumerate(widths):
            own = [e for e in effects if (e.optimizer, e.width) == (optimizer, width)]
            for axis, kind in zip(row[2 * index : 2 * index + 2], ("reward", "predicted"), strict=True):
                _draw(axis, own, kind)
        row[0].set_ylabel(f"{NAMES[optimizer]}\ngain a step")
    for index, width in enumerate(widths):
        cost = f"cost width {width:g}" if width else "own cost"
        axes[0, 2 * index].set_title(f"{cost}\ntrue reward gained", fontsize=10)
        axes[0, 2 * index + 1].set_title(f"{cost}\npredicted cost saved", fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel("horizon [steps]")
    marks = [pair for axis in axes.flat for pair in zip(*axis.get_legend_handles_labels(), strict=True)]
    handle_of = {name: handle for handle, name in marks}
    labels = [name for name in SHOWN if name in handle_of]
    handles = [handle_of[name] for name in labels]
    columns = len(labels) if len(widths) > 1 else 3
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    figure.suptitle(title, parse_math=False, fontsize=10)
    return figure


def _draw(axis: Axes, effects: Sequence[Effect], kind: str) -> None:
    horizons = sorted({effect.horizon for effect in effects})
    axis.axhline(0.0, color="black", lw=0.8)
    for number, (name, (colour, marker)) in enumerate(SHOWN.items()):
        own = sorted((e for e in effects if e.name == name), key=lambda effect: effect.horizon)
        if not own:
            continue
        places = [horizons.index(e.horizon) + SPREAD * (number - (len(SHOWN) - 1) / 2) for e in own]
        gains = np.array([[i.value, i.low, i.high] for i in (getattr(e, kind) for e in own)])
        bars = np.nan_to_num(np.abs(gains[:, 1:] - gains[:, :1])).T
        axis.errorbar(
            places,
            gains[:, 0],
            yerr=bars,
            fmt=marker,
            color=colour,
            ms=5,
            elinewidth=1.2,
            capsize=2,
            label=name,
        )
    axis.set_xticks(range(len(horizons)), [str(horizon) for horizon in horizons])
    axis.set_xlim(-0.5, len(horizons) - 0.5)
    axis.grid(alpha=0.25, axis="y")
    axis.tick_params(labelsize=8)
