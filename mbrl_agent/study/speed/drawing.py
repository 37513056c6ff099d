"""The figure of the speed study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from mbrl_agent.run.figures import BLUE, ORANGE, default_style
from mbrl_agent.study.speed.measure import Timing

GREY = "#8a8a8a"


@default_style()
def speed_figure(series: Mapping[str, Sequence[Timing]], title: str) -> Figure:
    """How a gradient step scales, and what the strategies cost.

    Args:
        series: By name: "particles" and "horizon", along which only that varies, and "resampling".
        title: Of the figure.
    """
    figure = Figure(figsize=(13, 4.2), dpi=100, layout="constrained")
    axes = figure.subplots(1, 3)
    for axis, name in zip(axes[:2], ("particles", "horizon"), strict=True):
        _draw_scaling(axis, name, series[name])
    _draw_strategies(axes[2], series["resampling"])
    figure.suptitle(title, parse_math=False, fontsize=11)
    return figure


def _draw_scaling(axis: Axes, name: str, timings: Sequence[Timing]) -> None:
    sizes = [getattr(timing.setting, name) for timing in timings]
    steps = [1e3 * timing.step for timing in timings]
    floors = [1e3 * timing.floor for timing in timings]
    axis.loglog(sizes, steps, "o-", color=BLUE, label="gradient step")
    axis.loglog(sizes, floors, "s--", color=ORANGE, label="matrix products alone")
    reference = [steps[-1] * size / sizes[-1] for size in sizes]
    axis.loglog(sizes, reference, ":", color=GREY, label=f"proportional to {name}")
    for size, step, timing in zip(sizes, steps, timings, strict=True):
        axis.annotate(
            f"{timing.ratio:.1f}", (size, step), (0, 7), textcoords="offset points", ha="center", fontsize=8
        )
    axis.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30 if len(sizes) > 5 else 0)
    axis.minorticks_off()
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axis.yaxis.set_major_formatter("{x:,g}")
    axis.set(xlabel=f"{name}" if name == "particles" else "horizon [steps]", ylabel="time [ms]")
    axis.margins(y=0.12)
    axis.grid(alpha=0.25)
    axis.legend(frameon=False, fontsize=9)


def _draw_strategies(axis: Axes, timings: Sequence[Timing]) -> None:
    names = [timing.setting.resampler.name for timing in timings]
    axis.barh(names, [1e3 * timing.step for timing in timings], color=BLUE, height=0.6)
    floor = 1e3 * timings[0].floor
    axis.axvline(floor, color=ORANGE, ls="--", label="matrix products alone")
    for row, timing in enumerate(timings):
        axis.annotate(
            f"{timing.ratio:.1f}",
            (1e3 * timing.step, row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set_xlabel("time [ms]")
    axis.grid(alpha=0.25, axis="x")
    axis.legend(frameon=False, fontsize=9)
