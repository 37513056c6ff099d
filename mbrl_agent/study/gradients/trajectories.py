"""Predicted trajectory distributions at chosen places of a line (Fig. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl_agent.study.gradients.directions import along
from mbrl_agent.study.gradients.sampling import Sampling, Tick, batches, silent
from mbrl_agent.study.gradients.scene import Scene
from mbrl_agent.study.strategies import Strategy
from mbrl_agent.types import Parameters


@dataclass(frozen=True)
class PredictedTrajectories:
    """The particles of one rollout.

    Attributes:
        strategy: Label of the strategy.
        delta: Place on the line.
        states: (T + 1, P, D).
        weights: (T + 1, P), each particle's share; the initial ones are equal.
        expected_cost: Summed over the horizon.
    """

    strategy: str
    delta: float
    states: NDArray[np.float64]
    weights: NDArray[np.float64]
    expected_cost: float


def predictions(
    scene: Scene,
    strategy: Strategy,
    direction: Parameters,
    delta: tuple[float, ...],
    sampling: Sampling,
    tick: Tick = silent,
) -> list[PredictedTrajectories]:
    """Roll the particles out at every place; the repeats of `sampling` are not used.

    All strategies start from the same particles, under the same model noise.

    Args:
        scene: Model, policy, initial states.
        strategy: What happens to the particles between two steps.
        direction: From `random_directions`.
        delta: Places on the line.
        sampling: Number of particles, and the seed.
        tick: Progress, in places.
    """
    points = along(scene.parameters, direction, torch.tensor(delta, dtype=torch.float64))
    found = []
    for batch in batches(scene, strategy.resampler, points, sampling, "trajectories", single=True):
        with torch.no_grad():
            trajectory = batch.simulation(batch.parameters)
        first = torch.full_like(trajectory.weights[:1], 1.0 / sampling.particles)
        weights = torch.cat([first, trajectory.weights])
        for index, point in enumerate(batch.points.tolist()):
            found.append(
                PredictedTrajectories(
                    strategy.label,
                    delta[point],
                    trajectory.states[:, index].double().numpy(),
                    weights[:, index].double().numpy(),
                    float(trajectory.expected_cost()[index]),
                )
            )
        tick(len(batch.points))
    return found


def weighted_percentiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], percentiles: tuple[float, ...]
) -> NDArray[np.float64]:
    """Return percentiles of weighted particles at every step: (T, P), (T, P) -> (len(percentiles), T)."""
    order = values.argsort(axis=1)
    ranked = np.take_along_axis(values, order, axis=1)
    mass = np.take_along_axis(weights, order, axis=1).cumsum(axis=1)
    mass = mass / mass[:, -1:]
    last = values.shape[1] - 1
    found = [
        [
            row[min(int(np.searchsorted(share, level / 100)), last)]
            for row, share in zip(ranked, mass, strict=True)
        ]
        for level in percentiles
    ]
    return np.array(found)
