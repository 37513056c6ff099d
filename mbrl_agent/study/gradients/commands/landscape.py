"""The command `study landscape`: variance and cost along directions of the policy's parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from mbrl_agent.options import refused
from mbrl_agent.options.validation import require_count
from mbrl_agent.randomness import derive_generator
from mbrl_agent.study.gradients.colours import looks
from mbrl_agent.study.gradients.commands.scene import (
    SCENE_NOTES,
    StrategyOptions,
    Study,
    open_study,
    progress,
    require_numbers,
    require_some,
    show_results,
)
from mbrl_agent.study.gradients.drawing import landscape_figure, values_figure
from mbrl_agent.study.gradients.landscape import Array, Landscape, landscape, log10, value_landscape
from mbrl_agent.study.gradients.over_seeds import SeedLine, lines_table, rows_of, seeds_table, seeds_text
from mbrl_agent.study.gradients.paper import FINE_POINTS, SHOWN
from mbrl_agent.study.output import landscape_table, values_table
from mbrl_agent.study.overview import SUMMARIES
from mbrl_agent.study.seeds import parse_seeds

HELP = SUMMARIES["landscape"]
NOTES = f"""\
{SCENE_NOTES}
examples:
  python -m mbrl_agent.study landscape --untrained --resampling none gaussian interpolated:0.5
  python -m mbrl_agent.study landscape --run runs/X --resampling none mixture:components=3,em-iterations=3
  python -m mbrl_agent.study landscape --run runs/X --estimator reparameterization total-propagation
  python -m mbrl_agent.study landscape --untrained --seeds 0-11 --horizons 30 60 100
"""


@dataclass(frozen=True, kw_only=True)
class Options(StrategyOptions):
    """What is drawn along which lines."""

    delta: tuple[float, ...] = (0.0, 4.0)
    """Where the line begins and ends."""
    points: int = 41
    """Places on the line."""
    directions: int = 1
    """Random directions."""
    seeds: str | None = None
    """Several seeds instead of --seed, such as 0-11: one table."""
    horizons: tuple[int, ...] = ()
    """Several horizons instead of --horizon: one table."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_line(self.delta, self.points)
        require_count("directions", self.directions)
        if self.seeds is not None:
            parse_seeds(self.seeds)
            if self.seed:
                raise refused("seeds", "stands instead of --seed: give one of them")
        if self.horizons and self.horizon:
            raise refused("horizons", "stands instead of --horizon: give one of them")
        for horizon in self.horizons:
            require_count("horizons", horizon)
        if self.horizons:
            require_some("horizons", self.horizons)


def check_line(delta: tuple[float, ...], points: int) -> None:
    """Raise OptionError unless these are the ends of a line and the number of places on it."""
    require_numbers("delta", delta)
    if len(delta) != 2:
        raise refused("delta", f"takes where the line begins and where it ends, got {len(delta)} numbers")
    if not delta[0] < delta[1]:
        raise refused("delta", f"must begin below its end, got {delta[0]:g} {delta[1]:g}")
    require_count("points", points, minimum=2)


def run(options: Options) -> int:
    """Draw the landscape, or the table of several; return the exit status.

    Raises:
        ValueError: A mistake in the command line.
        OSError: A file cannot be read or written.
    """
    with open_study(options) as study:
        several = options.seeds is not None or options.horizons
        text = _many(study, options) if several else _one(study, options)
    return show_results(text, study.output)


def _one(study: Study, options: Options) -> str:
    """Draw the landscape, and the value landscape of single particles along the first direction."""
    directions, scene = study.directions(options.directions), study.scene
    grid = places(options.delta, options.points)
    landscapes = []
    total = len(directions) * len(study.strategies) * len(grid) * options.repeats
    with progress(total + FINE_POINTS) as bar:
        for strategy, (number, direction) in product(study.strategies, enumerate(directions)):
            bar.set_description_str(strategy.label)
            landscapes.append(landscape(scene, strategy, direction, grid, study.sampling, number, bar.update))
        fine = np.linspace(grid[0], grid[-1], FINE_POINTS)
        generator = derive_generator(options.seed, "value landscape")
        values = value_landscape(scene, directions[0], fine, options.particles, SHOWN, generator, bar.update)
    styles = looks(study.strategies)
    figure = landscape_figure(landscapes, styles, f"gradient landscape: {scene.title}")
    study.output.write("landscape", figure, landscape_table(landscapes))
    first = [entry for entry in landscapes if entry.direction == 0]
    figure = values_figure(values, first, styles, f"value landscape: {scene.title}")
    study.output.write("values", figure, values_table(values))
    return summary(landscapes)


def _many(study: Study, options: Options) -> str:
    """Measure the variance along directions at several seeds and horizons, for one table."""
    grid = places(options.delta, options.points)
    seeds = [options.seed] if options.seeds is None else parse_seeds(options.seeds)
    cells = list(product(options.horizons or (options.horizon,), seeds))
    lines: list[SeedLine] = []
    total = len(cells) * options.directions * len(study.strategies) * len(grid) * options.repeats
    with progress(total) as bar:
        for horizon, seed in cells:
            scene, sampling = options.scene(seed, horizon), replace(study.sampling, seed=seed)
            directions = study.directions(options.directions, scene, seed)
            for strategy, (number, direction) in product(study.strategies, enumerate(directions)):
                bar.set_description_str(f"{scene.horizon} steps, seed {seed}, {strategy.label}")
                result = landscape(scene, strategy, direction, grid, sampling, number, bar.update)
                lines.append(SeedLine(seed, scene.horizon, result))
    rows = rows_of(lines)
    study.output.write("landscape_lines", None, lines_table(lines))
    study.output.write("landscape_seeds", None, seeds_table(rows))
    return seeds_text(rows)


def places(delta: tuple[float, ...], points: int) -> Array:
    """Spread points evenly from the first place to the second."""
    return np.linspace(delta[0], delta[1], points)


def summary(landscapes: list[Landscape]) -> str:
    """Describe the variances: one line a strategy and direction."""
    width = max(len(entry.strategy) for entry in landscapes)
    names = ("first", "median", "25 %", "75 %", "largest", "at delta")
    lines = [f"{'log10 of the gradient variance':{width + 3}}{''.join(f'{name:>9}' for name in names)}"]
    for entry in landscapes:
        # of the variances, not of their logarithms, which need not exist
        low, middle, high = np.percentile(entry.variance, (25, 50, 75), method="nearest")
        numbers = (entry.variance[0], middle, low, high, entry.variance.max())
        text = "".join(f"{log10(float(number)):9.1f}" for number in numbers)
        where = entry.delta[entry.variance.argmax()]
        exploded = int(entry.nonfinite.sum())
        note = f"   {exploded} estimates not finite" if exploded else ""
        lines.append(f"{entry.direction + 1:2d} {entry.strategy:{width}}{text}{where:9.2f}{note}")
    return "\n".join(lines)
