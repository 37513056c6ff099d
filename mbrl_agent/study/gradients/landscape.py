"""Gradient variance and expected cost along a direction in policy-parameter space (Figs. 1b, 3, 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.search.probe import pair_variances, quartiles
from mbrl_agent.study.gradients.directions import along
from mbrl_agent.study.gradients.sampling import Sampling, Tick, common_noise_costs, gradients, silent
from mbrl_agent.study.gradients.scene import Scene
from mbrl_agent.study.strategies import Strategy
from mbrl_agent.types import Parameters

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Landscape:
    """What one strategy does along one direction; arrays are (N), one value a point.

    Attributes:
        strategy: Label of the strategy.
        direction: Number of the direction.
        delta: Places on the line, delta-theta in units of the direction.
        variance: Trace of the covariance of ONE gradient estimate over all parameters; infinite where an
            estimate is not finite.
        variance_quartiles: (3, N), of what the pairs of estimates tell of it, see `pair_variances`: heavy
            tails move the variance, and not these.
        gradient_norm: Norm of the mean gradient; infinite likewise.
        expected_cost: Mean over the repeats, summed over the horizon.
        expected_cost_se: Its standard error.
        nonfinite: How many of the estimates are not finite.
    """

    strategy: str
    direction: int
    delta: Array
    variance: Array
    variance_quartiles: Array
    gradient_norm: Array
    expected_cost: Array
    expected_cost_se: Array
    nonfinite: NDArray[np.int64]


def landscape(
    scene: Scene,
    strategy: Strategy,
    direction: Parameters,
    delta: Array,
    sampling: Sampling,
    number: int = 0,
    tick: Tick = silent,
) -> Landscape:
    """Repeat the gradient estimate at every point of a line.

    Args:
        scene: Model, policy, initial states.
        strategy: Resampler and estimator.
        direction: From `random_directions`.
        delta: (N), places on the line.
        sampling: Particles and repeats of each point.
        number: Number of the direction.
        tick: Progress, in gradient estimates.
    """
    points = along(scene.parameters, direction, torch.as_tensor(delta))
    flat, costs = gradients(scene, strategy, points, sampling, f"landscape {number}", tick)
    finite = flat.isfinite().all(-1)  # (N, repeats)
    whole = finite.all(-1)
    return Landscape(
        strategy.label,
        number,
        np.asarray(delta, dtype=np.float64),
        torch.where(whole, flat.var(1).sum(-1), torch.inf).numpy(),
        quartiles(pair_variances(flat)).numpy(),
        torch.where(whole, flat.mean(1).norm(dim=-1), torch.inf).numpy(),
        costs.mean(1).numpy(),
        (costs.std(1) / sampling.repeats**0.5).numpy(),
        (~finite).sum(-1).numpy(),
    )


def log10(value: float) -> float:
    """Compute the logarithm of a variance; -inf where the policy is silent."""
    return math.log10(value) if value > 0 else -math.inf


@dataclass(frozen=True)
class Values:
    """The value landscape of single particles (Fig. 1a).

    Attributes:
        delta: (N), places on the line.
        particles: (N, shown), cost of single particles under fixed random numbers.
        mean: (N), of all particles, the same random numbers everywhere.
    """

    delta: Array
    particles: Array
    mean: Array


def value_landscape(
    scene: Scene,
    direction: Parameters,
    delta: Array,
    particles: int,
    shown: int,
    generator: torch.Generator,
    tick: Tick = silent,
) -> Values:
    """Return the cost of every particle as a function of delta-theta, its random numbers held fixed.

    Args:
        scene: Model, policy, initial states.
        direction: From `random_directions`.
        delta: (N), a fine grid.
        particles: P.
        shown: How many of them to keep, spread evenly (so over an ensemble's members).
        generator: Source of the random numbers.
        tick: Progress, in points.
    """
    points = along(scene.parameters, direction, torch.as_tensor(delta))
    costs: Tensor = common_noise_costs(scene, points, particles, generator, tick).double()
    kept = torch.linspace(0, particles - 1, min(shown, particles)).long()
    return Values(np.asarray(delta, dtype=np.float64), costs[:, kept].numpy(), costs.mean(-1).numpy())
