"""Learning curves side by side: a panel for each value of a setting, such as the length of an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from mbrl_agent.options import to_text
from mbrl_agent.run.evaluation import SOLVED_SUCCESS_RATE
from mbrl_agent.run.figures import default_style
from mbrl_agent.study.compare.curves import learning_curve
from mbrl_agent.study.compare.drawing import CURVE_NOTE, LEGEND_WIDTH, draw_curves, legend_handle
from mbrl_agent.study.compare.grouping import Group, label_of
from mbrl_agent.study.gradients.colours import Look
from mbrl_agent.study.gradients.drawing import DPI, GREY


@dataclass(frozen=True)
class Panel:
    """The runs that have one value of the setting.

    Attributes:
        title: The setting and its value.
        groups: What is compared in it.
    """

    title: str
    groups: list[Group]


def make_panels(groups: Sequence[Group], key: str) -> list[Panel]:
    """Part groups by a setting.

    Args:
        groups: Of runs, by this setting and others.
        key: The setting, a key of config.yaml.
    """
    key = key.replace("-", "_")
    values = {group.runs[0].settings[key] for group in groups if key in group.runs[0].settings}
    panels = []
    for value in sorted(values, key=_order):
        own = [group for group in groups if group.runs[0].settings.get(key) == value]
        name = f"{label_of([(key, value)])}, "
        own = [replace(group, label=group.label.removeprefix(name)) for group in own]
        panels.append(Panel(f"{key.replace('_', ' ')}: {to_text(value)}", own))
    return panels


def _order(value: object) -> tuple[bool, float, str]:
    """Return a key: text first, as `none` is the default of a number; then numbers by their size."""
    number = isinstance(value, int | float)
    return number, float(value) if number else 0.0, "" if number else str(value)  # type: ignore[arg-type]


@default_style()
def panels_figure(panels: Sequence[Panel], looks: Mapping[str, Look], title: str) -> Figure:
    """Draw the success rate over interaction, a panel for each value.

    Args:
        panels: From `make_panels`.
        looks: By label of the group, the same in all panels.
        title: What all of it is about.
    """
    figure = Figure(figsize=(1.0 + 4.6 * len(panels), 3.9), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, panel in zip(axes, panels, strict=True):
        draw_curves(axis, panel.groups, [learning_curve(g.runs, "success") for g in panel.groups], looks)
        in_seconds = panel.groups[0].runs[0].time_step is not None
        axis.set_xlabel("interaction [s]" if in_seconds else "environment steps", fontsize=9)
        axis.set_xlim(left=0)
        axis.set_title(panel.title, fontsize=10, parse_math=False)
        axis.axhline(SOLVED_SUCCESS_RATE, color=GREY, lw=0.8, ls=":", zorder=1)
    axes[0].set_ylabel("success rate", fontsize=9)
    axes[0].set_ylim(-0.03, 1.03)
    names = list(dict.fromkeys(group.label for panel in panels for group in panel.groups))
    counts = sorted({len(group.runs) for panel in panels for group in panel.groups})
    columns = min(len(names), max(1, LEGEND_WIDTH // (8 + max(map(len, names)))))
    handles = [legend_handle(looks[name]) for name in names]
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    runs = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"
    figure.suptitle(f"{title}, {runs} runs each\n{CURVE_NOTE}", parse_math=False, fontsize=8.5)
    return figure
