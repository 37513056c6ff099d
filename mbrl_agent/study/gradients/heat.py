"""What resampling does to a predicted distribution: its cost, its energy, and its stretch of derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl_agent.search.stretch import log_stretch
from mbrl_agent.study.gradients.directions import along
from mbrl_agent.study.gradients.sampling import Sampling, Tick, batches, silent
from mbrl_agent.study.gradients.scene import Scene
from mbrl_agent.study.gradients.trajectories import weighted_percentiles
from mbrl_agent.study.strategies import Strategy, parse_strategy
from mbrl_agent.types import Parameters

Array = NDArray[np.float64]
LEVELS = (25.0, 50.0, 75.0)
"""Quartiles: what follows has heavy tails."""


@dataclass(frozen=True)
class Heat:
    """One rollout, against one without resampling from the same particles under the same noise.

    Attributes:
        strategy: Label of the strategy.
        delta: Place on the line.
        cost: (T,), expected cost of each step.
        cost_change: (T,), less that without resampling.
        energy: (3, T + 1), quartiles of the particles' mechanical energy [J]; None where it is not known.
        energy_mean: (T + 1,), its mean; None likewise.
        stretch: (3, T), quartiles of log10 of the stretch from each step to the end, see `log_stretch`.
    """

    strategy: str
    delta: float
    cost: Array
    cost_change: Array
    energy: Array | None
    energy_mean: Array | None
    stretch: Array

    @property
    def exponent(self) -> Array:
        """(3,), quartiles of the finite-time Lyapunov exponent over the whole horizon [1/step]."""
        found: Array = self.stretch[:, 0] * np.log(10) / self.stretch.shape[1]
        return found


def heats(
    scene: Scene,
    strategies: Sequence[Strategy],
    direction: Parameters,
    delta: tuple[float, ...],
    sampling: Sampling,
    tick: Tick = silent,
) -> list[Heat]:
    """Roll the particles of `predictions` out at every place, and look at what each strategy does to them.

    Args:
        scene: Model, policy, initial states.
        strategies: Their estimators are not used.
        direction: From `random_directions`.
        delta: Places on the line.
        sampling: Number of particles, and the seed.
        tick: Progress, in places.
    """
    plain = _costs(scene, parse_strategy("none"), direction, delta, sampling)
    return [
        heat
        for strategy in strategies
        for heat in _of_strategy(scene, strategy, direction, delta, sampling, plain, tick)
    ]


def _points(scene: Scene, direction: Parameters, delta: tuple[float, ...]) -> Parameters:
    return along(scene.parameters, direction, torch.tensor(delta, dtype=torch.float64))


def _costs(
    scene: Scene, strategy: Strategy, direction: Parameters, delta: tuple[float, ...], sampling: Sampling
) -> list[Array]:
    """Compute the expected cost of every step, (T,) a place."""
    points, found = _points(scene, direction, delta), []
    for batch in batches(scene, strategy.resampler, points, sampling, "trajectories", single=True):
        with torch.no_grad():
            found.append(batch.simulation(batch.parameters).expected_costs()[:, 0].double().numpy())
    return found


def _of_strategy(
    scene: Scene,
    strategy: Strategy,
    direction: Parameters,
    delta: tuple[float, ...],
    sampling: Sampling,
    plain: list[Array],
    tick: Tick,
) -> list[Heat]:
    points, found = _points(scene, direction, delta), []
    for batch in batches(scene, strategy.resampler, points, sampling, "trajectories", single=True):
        place = int(batch.points[0])
        with torch.no_grad():
            trajectory = batch.simulation(batch.parameters)
            known = None if scene.energy is None else scene.energy(trajectory.states[:, 0]).double().numpy()
        cost = trajectory.expected_costs()[:, 0].double().numpy()
        first = torch.full_like(trajectory.weights[:1, 0], 1.0 / sampling.particles)
        weights = torch.cat([first, trajectory.weights[:, 0]]).double().numpy()
        stretch = (log_stretch(batch.parameters, batch.simulation)[:, 0] / np.log(10)).numpy()
        found.append(
            Heat(
                strategy.label,
                delta[place],
                cost,
                cost - plain[place],
                None if known is None else weighted_percentiles(known, weights, LEVELS),
                None if known is None else (known * weights).sum(1),
                weighted_percentiles(stretch, np.full(stretch.shape, 1.0 / sampling.particles), LEVELS),
            )
        )
        tick(1)
    return found
