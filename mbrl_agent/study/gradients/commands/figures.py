"""The command `study figures`: the paper's figures in one go, and one for what goes beyond it."""

from __future__ import annotations

from dataclasses import dataclass

from mbrl_agent.study.gradients.commands.landscape import check_line, places, summary
from mbrl_agent.study.gradients.commands.scene import (
    SCENE_NOTES,
    SceneOptions,
    open_study,
    progress,
    show_results,
)
from mbrl_agent.study.gradients.paper import all_strategies, draw_figures, work
from mbrl_agent.study.overview import SUMMARIES
from mbrl_agent.study.strategies import Strategy

HELP = SUMMARIES["figures"]
NOTES = f"""\
{SCENE_NOTES}
examples:
  python -m mbrl_agent.study figures --run runs/X
  python -m mbrl_agent.study figures --run runs/X --trial 2
"""


@dataclass(frozen=True, kw_only=True)
class Options(SceneOptions):
    """The line along which the figures are drawn."""

    delta: tuple[float, ...] = (0.0, 4.0)
    """Where the line begins and ends."""
    points: int = 41
    """Places on the line."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_line(self.delta, self.points)

    def strategies(self) -> list[Strategy]:
        """Give those of the figures."""
        return all_strategies()


def run(options: Options) -> int:
    """Draw all figures; return the exit status.

    Raises:
        ValueError: A mistake in the command line.
        OSError: A file cannot be read or written.
    """
    grid = places(options.delta, options.points)
    with open_study(options) as study, progress(work(grid, options.sampling)) as bar:
        landscapes = draw_figures(
            study.scene,
            grid,
            study.sampling,
            study.output,
            bar.update,
            bar.set_description_str,
            options.direction,
        )
    return show_results(summary(landscapes), study.output)
