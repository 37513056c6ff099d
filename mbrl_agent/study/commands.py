"""What each command of the study computes, draws and writes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from mbrl_agent.randomness import derive_generator
from mbrl_agent.study.gradients.bias import Bias, compare, finite_differences, moved, projected_gradients
from mbrl_agent.study.gradients.bimodal import ForwardError, forward_errors
from mbrl_agent.study.gradients.colours import looks
from mbrl_agent.study.gradients.directions import random_directions
from mbrl_agent.study.gradients.drawing import landscape_figure, trajectories_figure, values_figure
from mbrl_agent.study.gradients.drawing_bias import bias_figure, forward_figure
from mbrl_agent.study.gradients.drawing_heat import heat_figure
from mbrl_agent.study.gradients.drawing_moments import moments_figure
from mbrl_agent.study.gradients.heat import Heat, heats
from mbrl_agent.study.gradients.landscape import Array, Landscape, landscape, log10, value_landscape
from mbrl_agent.study.gradients.moments import compare_moments
from mbrl_agent.study.gradients.over_seeds import Line, lines_table, rows_of, seeds_table, seeds_text
from mbrl_agent.study.gradients.paper import FINE_POINTS, SHOWN, draw_figures, work
from mbrl_agent.study.gradients.sampling import Sampling
from mbrl_agent.study.gradients.scene import Scene
from mbrl_agent.study.gradients.trajectories import predictions
from mbrl_agent.study.output import (
    Output,
    bias_table,
    forward_table,
    heat_table,
    landscape_table,
    moments_gradient_table,
    moments_table,
    trajectories_table,
    values_table,
)
from mbrl_agent.study.seeds import parse_seeds
from mbrl_agent.study.strategies import Strategy


@dataclass(frozen=True)
class Job:
    """A command that is checked and ready.

    Attributes:
        scene: Model, policy, initial states.
        strategies: What is compared.
        sampling: Particles, repeats, seed.
        arguments: The command's own arguments.
        output: Where the results go.
        make_scene: Seed and horizon (0: the default) -> the scene, for a command of several of them.
    """

    scene: Scene
    strategies: list[Strategy]
    sampling: Sampling
    arguments: argparse.Namespace
    output: Output
    make_scene: Callable[[int, int], Scene]

    def directions(self, count: int) -> list[dict[str, Tensor]]:
        """Random directions; the first ones are the same whatever the count."""
        return self.directions_of(self.scene, self.sampling.seed, count)

    def directions_of(self, scene: Scene, seed: int, count: int) -> list[dict[str, Tensor]]:
        """Random directions of another scene and seed."""
        generator = derive_generator(seed, "study direction")
        return random_directions(scene.parameters, self.arguments.direction, count, generator)

    def grid(self) -> Array:
        """The places of a landscape."""
        low, high = self.arguments.delta
        return np.linspace(low, high, self.arguments.points)

    def bar(self, total: int) -> tqdm[Any]:
        """A progress bar, where there is a terminal."""
        return tqdm(total=total, disable=None, dynamic_ncols=True, leave=False)


def run_landscape(job: Job) -> str:
    """Variance and cost along directions, and the value landscape of single particles along the first."""
    if "seeds" in job.arguments or "horizons" in job.arguments:
        return run_many_landscapes(job)
    directions, grid, scene = job.directions(job.arguments.directions), job.grid(), job.scene
    found = []
    total = len(directions) * len(job.strategies) * len(grid) * job.sampling.repeats
    with job.bar(total + FINE_POINTS) as bar:
        for strategy, (number, direction) in product(job.strategies, enumerate(directions)):
            bar.set_description_str(strategy.label)
            found.append(landscape(scene, strategy, direction, grid, job.sampling, number, bar.update))
        fine = np.linspace(grid[0], grid[-1], FINE_POINTS)
        generator = derive_generator(job.sampling.seed, "value landscape")
        values = value_landscape(
            scene, directions[0], fine, job.sampling.particles, SHOWN, generator, bar.update
        )
    styles = looks(job.strategies)
    figure = landscape_figure(found, styles, f"gradient landscape: {scene.title}")
    job.output.write("landscape", figure, landscape_table(found))
    first = [entry for entry in found if entry.direction == 0]
    figure = values_figure(values, first, styles, f"value landscape: {scene.title}")
    job.output.write("values", figure, values_table(values))
    return summary(found)


def run_many_landscapes(job: Job) -> str:
    """The variance along directions at several seeds and horizons, in one table."""
    arguments, grid = job.arguments, job.grid()
    seeds = parse_seeds(arguments.seeds) if "seeds" in arguments else [arguments.seed]
    horizons = arguments.horizons if "horizons" in arguments else [arguments.horizon]
    cells = list(product(horizons, seeds))
    lines: list[Line] = []
    total = len(cells) * arguments.directions * len(job.strategies) * len(grid) * job.sampling.repeats
    with job.bar(total) as bar:
        for horizon, seed in cells:
            scene, sampling = job.make_scene(seed, horizon), replace(job.sampling, seed=seed)
            directions = job.directions_of(scene, seed, arguments.directions)
            for strategy, (number, direction) in product(job.strategies, enumerate(directions)):
                bar.set_description_str(f"{scene.horizon} steps, seed {seed}, {strategy.label}")
                found = landscape(scene, strategy, direction, grid, sampling, number, bar.update)
                lines.append(Line(seed, scene.horizon, found))
    rows = rows_of(lines)
    job.output.write("landscape_lines", None, lines_table(lines))
    job.output.write("landscape_seeds", None, seeds_table(rows))
    return seeds_text(rows)


def run_figures(job: Job) -> str:
    """The paper's figures in one go."""
    grid = job.grid()
    with job.bar(work(grid, job.sampling)) as bar:
        found = draw_figures(
            job.scene,
            grid,
            job.sampling,
            job.output,
            bar.update,
            bar.set_description_str,
            job.arguments.direction,
        )
    return summary(found)


def run_trajectories(job: Job) -> str:
    """Predicted trajectory distributions at chosen places, and what resampling does to them."""
    direction, scene = job.directions(1)[0], job.scene
    places, forward = tuple(job.arguments.delta), by_resampler(job.strategies)
    with job.bar(len(places) * (len(job.strategies) + len(forward))) as bar:
        found = [
            prediction
            for strategy in job.strategies
            for prediction in predictions(scene, strategy, direction, places, job.sampling, bar.update)
        ]
        warm = heats(scene, forward, direction, places, job.sampling, bar.update)
    title = f"predicted trajectories: {scene.title}"
    figure = trajectories_figure(found, scene.labels, looks(job.strategies), title, scene.time_step)
    job.output.write("trajectories", figure, trajectories_table(found, scene.labels))
    title = f"what resampling does to the prediction: {scene.title}"
    figure = heat_figure(warm, looks(job.strategies), title, scene.time_step)
    job.output.write("heat", figure, heat_table(warm))
    return "\n".join(map(heat_line, warm))


def run_bias(job: Job) -> str:
    """Mean gradients against finite differences, and forward errors from bimodal starts."""
    arguments, sampling, scene = job.arguments, job.sampling, job.scene
    directions = job.directions(arguments.directions)
    line = job.directions(1)[0]
    reference = Sampling(sampling.particles, max(2, arguments.reference // sampling.particles), sampling.seed)
    forward = by_resampler(job.strategies)
    total = len(arguments.delta) * (reference.repeats + len(job.strategies) * sampling.repeats)
    total += len(arguments.modes) * (len(forward) + 2) * sampling.repeats
    rows: list[Bias] = []
    errors: list[ForwardError] = []
    with job.bar(total) as bar:
        for delta in arguments.delta:
            place = scene.at(moved(scene.parameters, line, delta))
            bar.set_description_str("finite differences")
            truth = finite_differences(
                place, directions, arguments.step, reference.repeats, reference, bar.update
            )
            for strategy in job.strategies:
                bar.set_description_str(strategy.label)
                slopes = projected_gradients(place, strategy, directions, sampling, bar.update)
                rows.append(compare(strategy.label, delta, slopes, truth, sampling.seed))
        for modes in arguments.modes:
            bar.set_description_str("bimodal starts")
            errors += forward_errors(scene, forward, modes, sampling, bar.update)
    styles = looks(job.strategies)
    title = f"bias of the gradient: {scene.title}"
    job.output.write("bias", bias_figure(rows, styles, title), bias_table(rows))
    title = f"bimodal starts: {scene.title}"
    figure = forward_figure(errors, styles, scene.labels, title)
    job.output.write("bimodal", figure, forward_table(errors, scene.labels))
    return "\n".join([*map(bias_line, rows), *(forward_line(row, scene) for row in errors)])


def run_moments(job: Job) -> str:
    """Moment matching, and particles that are redrawn from the fitted Gaussian at every step."""
    counts, scene = job.arguments.counts, job.scene
    with job.bar(len(counts) * job.sampling.repeats) as bar:
        exact, *sampled = compare_moments(scene, counts, job.sampling.repeats, job.sampling.seed, bar.update)
    title = f"moment matching and its particles: {scene.title}"
    figure = moments_figure([exact, *sampled], scene.labels, title, scene.time_step)
    job.output.write("moments", figure, moments_table([exact, *sampled], scene.labels))
    job.output.write("moments_gradient", None, moments_gradient_table(exact, sampled))
    lines = [f"moment matching: expected cost {exact.cost[0]:.3f}"]
    for entry in sampled:
        low, middle, high = np.percentile(entry.gradient_errors(exact), (25, 50, 75))
        lines.append(
            f"{entry.particles} particles: expected cost {entry.cost.mean():.3f} +- {entry.cost.std():.3f}, "
            f"error of the gradient {middle:.3g} ({low:.3g} to {high:.3g}), "
            f"of its mean {entry.bias(exact):.3g}"
        )
    return "\n".join(lines)


def summary(landscapes: list[Landscape]) -> str:
    """One line a strategy and direction."""
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


def by_resampler(strategies: Sequence[Strategy]) -> list[Strategy]:
    """The first strategy of each resampler: estimators do not change what is predicted."""
    return list({strategy.resampler: strategy for strategy in reversed(strategies)}.values())[::-1]


def heat_line(heat: Heat) -> str:
    """What one strategy does to the prediction, in words."""
    low, middle, high = heat.exponent
    words = [f"{heat.strategy}, delta {heat.delta:g}: expected cost {heat.cost.sum():.2f}"]
    words.append(f"{heat.cost_change.sum():+.2f} by resampling")
    if heat.energy_mean is not None:
        words.append(f"energy {heat.energy_mean[0]:.2f} J at first, {heat.energy_mean[-1]:.2f} J at the end")
    words.append(f"Lyapunov exponent {middle:.2f} ({low:.2f} to {high:.2f}) a step")
    return ", ".join(words)


def bias_line(row: Bias) -> str:
    """One row of the bias table in words."""
    figures = [
        f"{name.replace('_', ' ')} {estimate.value:.3g} +- {estimate.error:.2g}"
        for name in ("cosine", "correlation", "slope", "relative_bias")
        for estimate in [getattr(row, name)]
    ]
    low, middle, high = row.single_cosine
    figures.append(f"cosine of one estimate {middle:.2g} ({low:.2g} to {high:.2g})")
    return f"{row.strategy}, delta {row.delta:g}: {', '.join(figures)}"


def forward_line(row: ForwardError, scene: Scene) -> str:
    """One row of the table of forward errors in words."""
    words = [f"{row.modes.label(scene.labels)}, {row.strategy}: cost {row.cost.value:.2f}"]
    words.append(f"error {row.error.value:+.2f} +- {row.error.error:.2f}")
    if row.true_error is not None:
        words.append(f"against the true physics {row.true_error.value:+.2f} +- {row.true_error.error:.2f}")
    return ", ".join(words)


COMMANDS = {
    "landscape": run_landscape,
    "trajectories": run_trajectories,
    "bias": run_bias,
    "moments": run_moments,
    "figures": run_figures,
}
