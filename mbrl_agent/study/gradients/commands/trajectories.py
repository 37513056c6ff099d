"""The command `study trajectories`: predicted trajectories, and what resampling does to them."""

from __future__ import annotations

from dataclasses import dataclass

from mbrl_agent.study.gradients.colours import looks
from mbrl_agent.study.gradients.commands.scene import (
    SCENE_NOTES,
    StrategyOptions,
    Study,
    by_resampler,
    open_study,
    progress,
    require_numbers,
    show_results,
)
from mbrl_agent.study.gradients.drawing import trajectories_figure
from mbrl_agent.study.gradients.drawing_heat import heat_figure
from mbrl_agent.study.gradients.heat import Heat, heats
from mbrl_agent.study.gradients.trajectories import predictions
from mbrl_agent.study.output import heat_table, trajectories_table
from mbrl_agent.study.overview import SUMMARIES

HELP = SUMMARIES["trajectories"]
NOTES = f"""\
{SCENE_NOTES}
examples:
  python -m mbrl_agent.study trajectories --run runs/X --resampling none gaussian --delta 0 2
  python -m mbrl_agent.study trajectories --untrained --horizon 60 --resampling none gaussian:wrap=true
"""


@dataclass(frozen=True, kw_only=True)
class Options(StrategyOptions):
    """The policies whose trajectories are predicted."""

    delta: tuple[float, ...] = (0.0, 2.0)
    """Places on the line."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_numbers("delta", self.delta)


def run(options: Options) -> int:
    """Predict, draw, and describe the heat; return the exit status.

    Raises:
        ValueError: A mistake in the command line.
        OSError: A file cannot be read or written.
    """
    with open_study(options) as study:
        text = _trajectories(study, options)
    return show_results(text, study.output)


def _trajectories(study: Study, options: Options) -> str:
    direction, scene, delta = study.directions(1)[0], study.scene, options.delta
    forward = by_resampler(study.strategies)
    with progress(len(delta) * (len(study.strategies) + len(forward))) as bar:
        predicted = [
            prediction
            for strategy in study.strategies
            for prediction in predictions(scene, strategy, direction, delta, study.sampling, bar.update)
        ]
        heat = heats(scene, forward, direction, delta, study.sampling, bar.update)
    styles = looks(study.strategies)
    title = f"predicted trajectories: {scene.title}"
    figure = trajectories_figure(predicted, scene.labels, styles, title, scene.time_step)
    study.output.write("trajectories", figure, trajectories_table(predicted, scene.labels))
    title = f"what resampling does to the prediction: {scene.title}"
    study.output.write("heat", heat_figure(heat, styles, title, scene.time_step), heat_table(heat))
    return "\n".join(map(heat_line, heat))


def heat_line(heat: Heat) -> str:
    """Describe what one strategy does to the prediction."""
    low, middle, high = heat.exponent
    words = [f"{heat.strategy}, delta {heat.delta:g}: expected cost {heat.cost.sum():.2f}"]
    words.append(f"{heat.cost_change.sum():+.2f} by resampling")
    if heat.energy_mean is not None:
        words.append(f"energy {heat.energy_mean[0]:.2f} J at first, {heat.energy_mean[-1]:.2f} J at the end")
    words.append(f"Lyapunov exponent {middle:.2f} ({low:.2f} to {high:.2f}) a step")
    return ", ".join(words)
