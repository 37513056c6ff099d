"""The figure of a comparison: learning curves above, single runs until SOLVED below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from mbrl_agent.run.evaluation import SOLVED_SUCCESS_RATE
from mbrl_agent.run.figures import default_style
from mbrl_agent.study.compare.curves import Curve, Measure, time_unit
from mbrl_agent.study.compare.grouping import Group
from mbrl_agent.study.compare.statistics import Reached
from mbrl_agent.study.compare.summaries import Summary
from mbrl_agent.study.gradients.colours import HUES, MARKERS, Look, shade
from mbrl_agent.study.gradients.drawing import DPI, GREY

ALGORITHM_HUES = {"sac": "#000000", "td3": "#8c564b", "ppo": "#7f7f7f"}
OTHER_HUES = ("#b8a800", "#5f4b8b", "#9c755f", "#17806d")
LOGARITHMIC = 8.0
"""Ratio of the longest time to the shortest group's, from which on the axis of time is logarithmic."""
LEGEND_WIDTH = 150
"""Characters that fit beside each other."""
CURVE_NOTE = "line: interquartile mean, band: 95 % interval; dotted: some runs have ended"
RUN_NOTE = "dot: a run, triangle: ended unsolved; bar: median, box: quartiles"


def group_looks(groups: Sequence[Group]) -> dict[str, Look]:
    """Choose the look of every group: a strategy has its hue of the other figures, its variants shades of it.

    Where all groups are variants of one kind, they have a hue each.
    """
    families: dict[str, list[str]] = {}
    for group in groups:
        families.setdefault(group.kind, []).append(group.label)
    known = HUES | ALGORITHM_HUES
    unknown = [kind for kind in families if kind not in known]
    single = len(families) == 1
    found = {}
    for index, group in enumerate(groups):
        variants = families[group.kind]
        hue = known.get(group.kind) or OTHER_HUES[unknown.index(group.kind) % len(OTHER_HUES)]
        position = variants.index(group.label)
        colour = shade(hue, position, len(variants))
        if single and len(variants) > 1:
            palette = [*HUES.values(), *OTHER_HUES]
            colour = palette[index % len(palette)]
        found[group.label] = Look(colour, "-", MARKERS[index % len(MARKERS)])
    return found


@default_style()
def comparison_figure(
    groups: Sequence[Group],
    curves: Mapping[Measure, Sequence[Curve]],
    summaries: Sequence[Summary],
    looks: Mapping[str, Look],
    title: str,
) -> Figure:
    """Draw success rate and return over interaction; interaction and wall clock to SOLVED.

    Args:
        groups: What is compared.
        curves: For each measure, one a group.
        summaries: One a group.
        looks: By label of the group.
        title: What all of it is about.
    """
    in_seconds = groups[0].runs[0].time_step is not None
    ours = all("resampling" in run.settings for group in groups for run in group.runs)
    time = "interaction [s]" if in_seconds else "environment steps"
    height = 0.55 + 0.33 * len(groups)
    figure = Figure(figsize=(11.0, 4.4 + height), dpi=DPI, layout="constrained")
    axes = figure.subplots(2, 2, height_ratios=(3.4, height))
    for axis, own in zip(axes[0], (curves["success"], curves["reward"]), strict=True):
        draw_curves(axis, groups, own, looks)
        axis.set_xlabel(time)
        _trial_axis(axis, own, "trial" if ours else "evaluation")
    axes[0, 0].set_ylabel("success rate")
    axes[0, 0].axhline(SOLVED_SUCCESS_RATE, color=GREY, lw=0.8, ls=":", zorder=1)
    axes[0, 0].set_ylim(-0.03, 1.03)
    axes[0, 1].set_ylabel("return of an evaluation episode")
    _draw_interaction(axes[1, 0], groups, summaries, looks)
    axes[1, 0].set_xlabel(f"{time} to solved")
    _draw_clock(axes[1, 1], groups, summaries, looks)
    axes[1, 1].set_xlabel("wall clock to solved [s]")
    for axis in axes.ravel():
        axis.xaxis.label.set_size(9)
        axis.yaxis.label.set_size(9)
    handles = [legend_handle(looks[group.label]) for group in groups]
    labels = [f"{group.label}  (n = {len(group.runs)})" for group in groups]
    columns = min(len(groups), max(1, LEGEND_WIDTH // (8 + max(map(len, labels)))))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    figure.suptitle(f"{title}\n{CURVE_NOTE}   |   {RUN_NOTE}", parse_math=False, fontsize=8.5)
    return figure


def legend_handle(look: Look) -> Line2D:
    """Make a group's line in a legend."""
    return Line2D([], [], color=look.colour, marker=look.marker, ms=4, lw=1.5)


def draw_curves(
    axis: Axes, groups: Sequence[Group], curves: Sequence[Curve], looks: Mapping[str, Look]
) -> None:
    """Draw the learning curve of each group with its interval."""
    for group, curve in zip(groups, curves, strict=True):
        look = looks[group.label]
        if not len(curve.time):
            continue
        axis.fill_between(curve.time, curve.low, curve.high, color=look.colour, alpha=0.15, lw=0)
        axis.plot(curve.time, curve.value, ":", color=look.colour, lw=1.2)
        solid = np.where(curve.complete, curve.value, np.nan)
        every = max(1, len(curve.time) // 14)
        axis.plot(curve.time, solid, color=look.colour, lw=1.6, marker=look.marker, ms=3.5, markevery=every)
    _time_scale(axis, [float(curve.time[-1]) for curve in curves if len(curve.time)])
    _grid(axis)


def _time_scale(axis: Axes, ends: Sequence[float]) -> None:
    """Make the axis logarithmic where one group takes many times as long as another."""
    if ends and min(ends) > 0 and max(ends) / min(ends) >= LOGARITHMIC:
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_formatter(NullFormatter())


def _run_scale(axis: Axes, ends: Sequence[float]) -> None:
    """Scale the axis for marks of single runs, with room for them at the edge."""
    ends = [end for end in ends if math.isfinite(end) and end > 0]
    _time_scale(axis, ends)
    if axis.get_xscale() == "log":
        axis.set_xlim(right=1.25 * max(ends))
    else:
        axis.set_xlim(0, 1.04 * max(ends, default=1.0))


def _trial_axis(axis: Axes, curves: Sequence[Curve], name: str) -> None:
    """Show trials on the upper edge, where a trial takes the same time in all groups."""
    ratios = {
        round(float(t / n), 9) for curve in curves for t, n in zip(curve.time, curve.trials, strict=True)
    }
    if len(ratios) != 1 or not math.isfinite(ratio := next(iter(ratios))) or axis.get_xscale() == "log":
        return

    def scale(value: Any) -> Any:
        return np.asarray(value) / ratio

    def inverse(value: Any) -> Any:
        return np.asarray(value) * ratio

    upper = axis.secondary_xaxis("top", functions=(scale, inverse))
    upper.set_xlabel(name, fontsize=9)
    upper.tick_params(labelsize=8)
    upper.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_interaction(
    axis: Axes, groups: Sequence[Group], summaries: Sequence[Summary], looks: Mapping[str, Look]
) -> None:
    for place, (group, summary) in enumerate(zip(groups, summaries, strict=True)):
        times = [(run.solved_steps, run.end_steps, time_unit(run)) for run in group.runs if run.told]
        solved = [steps * unit for steps, _, unit in times if steps is not None]
        unsolved = [end * unit for steps, end, unit in times if steps is None]
        _box(axis, place, summary.interaction, looks[group.label])
        _strip(axis, place, solved, unsolved, looks[group.label])
        note = f"{summary.solved} of {summary.runs}" if summary.told or summary.judged else "not told"
        axis.text(1.01, place, note, va="center", fontsize=8, transform=axis.get_yaxis_transform())
    _rows(axis, [group.label for group in groups])
    _run_scale(axis, [run.end_steps * time_unit(run) for group in groups for run in group.runs])


def _draw_clock(
    axis: Axes, groups: Sequence[Group], summaries: Sequence[Summary], looks: Mapping[str, Look]
) -> None:
    for place, (group, summary) in enumerate(zip(groups, summaries, strict=True)):
        known = [run for run in group.runs if math.isfinite(run.end_clock)]
        solved = [clock for run in known if (clock := run.solved_clock) is not None]
        unsolved = [run.end_clock for run in known if run.solved_clock is None and run.told]
        if summary.clock_to_solved is not None:
            _box(axis, place, summary.clock_to_solved, looks[group.label])
        else:
            where = axis.get_yaxis_transform()
            axis.text(0.02, place, "not known", va="center", fontsize=8, color=GREY, transform=where)
        _strip(axis, place, solved, unsolved, looks[group.label])
    _rows(axis, [group.label for group in groups])
    axis.tick_params(labelleft=False)
    _run_scale(axis, [run.end_clock for group in groups for run in group.runs])


def _strip(axis: Axes, place: int, solved: Sequence[float], unsolved: Sequence[float], look: Look) -> None:
    """Draw a mark a run, those at the same time one above the other."""
    marks = [(time, "o", look.colour) for time in solved] + [(time, ">", "none") for time in unsolved]
    for time in {mark[0] for mark in marks}:
        here = [mark for mark in marks if mark[0] == time]
        gap = min(0.11, 0.8 / len(here))
        for index, (_, marker, fill) in enumerate(here):
            offset = gap * (index - (len(here) - 1) / 2)
            axis.plot(time, place + offset, marker, color=look.colour, mfc=fill, ms=4, alpha=0.85, zorder=3)


def _box(axis: Axes, place: int, quartiles: Sequence[Reached], look: Look) -> None:
    """Draw quartiles as a pale bar, the median as a stroke; what lies beyond the observed is left out."""
    low, median, high = quartiles
    if not low.open:
        axis.barh(place, high.value - low.value, left=low.value, height=0.7, color=look.colour, alpha=0.15)
    if not median.open:
        axis.plot([median.value] * 2, [place - 0.38, place + 0.38], color=look.colour, lw=2, zorder=2)


def _rows(axis: Axes, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    _grid(axis)


def _grid(axis: Axes) -> None:
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)
