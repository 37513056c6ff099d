"""The paper's four figures with its settings, and a fifth for what goes beyond it.

Reference:
    Parmas, Peters, Doya, "Which resampling methods can tame ill-behaved gradients in chaotic systems?"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mbrl_agent.randomness import derive_generator
from mbrl_agent.study.gradients.colours import looks
from mbrl_agent.study.gradients.directions import WEIGHTS, Direction, random_directions
from mbrl_agent.study.gradients.drawing import landscape_figure, trajectories_figure, values_figure
from mbrl_agent.study.gradients.landscape import Array, Landscape, landscape, value_landscape
from mbrl_agent.study.gradients.sampling import Sampling, Tick
from mbrl_agent.study.gradients.scene import Scene
from mbrl_agent.study.gradients.trajectories import predictions
from mbrl_agent.study.output import Output, landscape_table, trajectories_table, values_table
from mbrl_agent.study.strategies import Strategy, parse_strategy

TAME, WILD = "gaussian", "none"
FIGURE_2 = (WILD, TAME, "mixture:5,5")
FIGURE_3 = (WILD, TAME, *(f"interpolated:{ratio}" for ratio in (0.25, 0.5, 0.75, 0.9)))
FIGURE_4 = (WILD, TAME, *(f"mixture:{sizes}" for sizes in ("1,1", "2,1", "3,3", "5,5")))
BEYOND = (
    WILD,
    TAME,
    "mixture:5,5",
    "mixture:5,5,detach-responsibilities=true",
    "detached-mixture:3",
    "detached-mixture:5",
    "liu-west:0.5",
    "tangent:3",
)
TOTAL_PROPAGATION = "total-propagation"
FIGURES = {
    "3_interpolated": (FIGURE_3, "Fig. 3: from full resampling (r = 0) to none (r = 1)"),
    "4_mixture": (FIGURE_4, "Fig. 4: mixtures of K Gaussians by M iterations of EM"),
    "5_beyond": (BEYOND, "Beyond the paper: multimodal and tame"),
}
FINE_POINTS = 401
"""Points of the value landscape: chaos shows on a fine grid only."""
SHOWN = 5


def all_strategies() -> list[Strategy]:
    """Return every strategy of the figures, once."""
    texts = dict.fromkeys([*FIGURE_3, *FIGURE_4, *BEYOND, *FIGURE_2])
    return [*(parse_strategy(text) for text in texts), parse_strategy(WILD, TOTAL_PROPAGATION)]


def work(delta: Array, sampling: Sampling) -> int:
    """Count the rollouts that the figures take, for the progress bar."""
    return len(all_strategies()) * len(delta) * sampling.repeats + FINE_POINTS + 2 * len(FIGURE_2)


def draw_figures(
    scene: Scene,
    delta: Array,
    sampling: Sampling,
    output: Output,
    tick: Tick,
    say: Callable[[str], Any],
    which: str = WEIGHTS,
) -> list[Landscape]:
    """Compute and write all figures; every strategy's landscape is computed once.

    Args:
        scene: Model, policy, initial states.
        delta: (N), places on the line.
        sampling: Particles, repeats, seed.
        output: Where the figures go.
        tick: Progress.
        say: Told what is being computed.
        which: Parameters that the direction moves.
    """
    direction = random_directions(
        scene.parameters, which, 1, derive_generator(sampling.seed, "study direction")
    )[0]
    strategies = all_strategies()
    styles = looks(strategies)
    found: dict[str, Landscape] = {}
    for strategy in strategies:
        say(strategy.label)
        found[strategy.label] = landscape(scene, strategy, direction, delta, sampling, tick=tick)

    def write(name: str, labels: tuple[str, ...], title: str) -> None:
        chosen = [found[label] for label in labels]
        figure: Figure = landscape_figure(chosen, styles, f"{title}\n{scene.title}")
        output.write(name, figure, landscape_table(chosen))

    say("value landscape")
    _draw_values(scene, direction, delta, sampling, found, output, tick)
    say("trajectories")
    _draw_trajectories(scene, direction, calm_and_wild(found[WILD]), sampling, output, tick)
    for name, (labels, title) in FIGURES.items():
        extra = (found_label(found),) if name == "5_beyond" else ()
        write(name, (*labels, *extra), title)
    return list(found.values())


def _draw_values(
    scene: Scene,
    direction: Direction,
    delta: Array,
    sampling: Sampling,
    found: Mapping[str, Landscape],
    output: Output,
    tick: Tick,
) -> None:
    """Draw the first figure: the cost of single particles, and the variance of two strategies."""
    fine = np.linspace(delta[0], delta[-1], FINE_POINTS)
    generator = derive_generator(sampling.seed, "value landscape")
    values = value_landscape(scene, direction, fine, sampling.particles, SHOWN, generator, tick)
    title = f"Fig. 1: chaos, and what resampling does to it\n{scene.title}"
    both = [found[WILD], found[TAME]]
    figure = values_figure(values, both, looks(all_strategies()), title)
    output.write("1_values", figure, values_table(values))
    output.write("1_variance", None, landscape_table(both))


def _draw_trajectories(
    scene: Scene,
    direction: Direction,
    places: tuple[float, float],
    sampling: Sampling,
    output: Output,
    tick: Tick,
) -> None:
    """Draw the second figure: predicted trajectories at a calm and at a wild place."""
    predicted = [
        prediction
        for text in FIGURE_2
        for prediction in predictions(scene, parse_strategy(text), direction, places, sampling, tick)
    ]
    title = f"Fig. 2: predicted trajectories where the gradient is calm, and where it is wild\n{scene.title}"
    figure = trajectories_figure(predicted, scene.labels, looks(all_strategies()), title, scene.time_step)
    output.write("2_trajectories", figure, trajectories_table(predicted, scene.labels))


def found_label(found: dict[str, Landscape]) -> str:
    """Label of total propagation, which needs no resampling."""
    return next(label for label in found if TOTAL_PROPAGATION in label)


def calm_and_wild(unresampled: Landscape) -> tuple[float, float]:
    """Compute the places with the lowest and the highest variance without resampling."""
    variance = unresampled.variance
    return float(unresampled.delta[variance.argmin()]), float(unresampled.delta[variance.argmax()])
