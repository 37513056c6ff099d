"""How noisy a gradient is, and what resampling does to the distribution that it is taken under."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mbrl_agent.resampling.none import NoResampling
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.rollout import Simulation
from mbrl_agent.search.stretch import log_stretch
from mbrl_agent.types import Parameters, Trajectory

Energy = Callable[[Tensor], Tensor]
"""States (..., D) -> mechanical energy (...) [J]."""
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Quartiles:
    """The middle of a heavy-tailed sample, which one outlier does not move.

    Attributes:
        low: Lower quartile.
        median: Of the sample.
        high: Upper quartile.
    """

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Tensor) -> Quartiles:
        """Take those of all values, (...)."""
        return cls(*quartiles(values.flatten()).tolist())


def quartiles(values: Tensor) -> Tensor:
    """Lower quartile, median and upper quartile over the last axis: (..., n) -> (3, ...), float64.

    They are values of the sample: between a number and infinity there is no mean. `nan` counts as infinite.
    """
    ranked = values.detach().double().nan_to_num(torch.inf, torch.inf, -torch.inf).sort(-1).values
    places = [round(level * (ranked.shape[-1] - 1)) for level in QUARTILES]
    return torch.stack([ranked[..., place] for place in places])


def pair_variances(estimates: Tensor) -> Tensor:
    """Halve the squared distance of every two estimates of a gradient: a pair's estimate of the variance.

    Their mean IS the sample variance, the trace of the covariance of one estimate. Their median and quartiles
    are what a heavy tail does not move.

    Args:
        estimates: (..., R, N), R independent estimates of N numbers.

    Returns:
        (..., R (R - 1) / 2), float64.
    """
    flat = estimates.double()
    one, other = torch.triu_indices(flat.shape[-2], flat.shape[-2], offset=1)
    squares = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").square()
    return 0.5 * squares[..., one, other]


@dataclass(frozen=True)
class GradientProbe:
    """How noisy the gradient is, from repeated estimates with independent noise; what resampling changes.

    Attributes:
        variance: Trace of the covariance of one gradient estimate.
        snr: Signal-to-noise ratio, |mean gradient| / sqrt(variance).
        pairs: Of the variance as each pair of estimates tells it, see `pair_variances`.
        cost_change: Of the repeats: expected cost over the horizon, less that without resampling, under the
            same noise.
        exponent: Of the particles: finite-time Lyapunov exponent [1/step], see `log_stretch`.
        energy_change: Mean energy of the particles at the horizon, less that without resampling [J]; None
            where the plant does not know its energy.
    """

    variance: Tensor
    snr: Tensor
    pairs: Quartiles
    cost_change: Quartiles
    exponent: Quartiles
    energy_change: float | None = None


def probe_gradient(
    estimator: Estimator,
    parameters: Parameters,
    simulation: Simulation,
    single: Simulation,
    energy: Energy | None = None,
) -> GradientProbe:
    """Repeat the gradient estimate of one policy, all repeats side by side, and look at the rollouts.

    Args:
        estimator: The gradient estimator.
        parameters: Without replicate axes.
        simulation: Of R >= 2 replicates.
        single: Of one replicate, of which the exponents are taken.
        energy: The plant's; None where it does not know.
    """
    repeats = len(simulation.initial_particles)
    copies = {name: value.expand(repeats, *value.shape) for name, value in parameters.items()}
    gradient = estimator(copies, simulation).gradient
    flat = torch.cat([value.reshape(repeats, -1) for value in gradient.values()], dim=1)  # (repeats, N)
    variance = flat.var(0).sum()
    with torch.no_grad():
        own, plain = simulation(copies), replace(simulation, resampler=NoResampling())(copies)
    heat = None if energy is None else float(_final_energy(own, energy) - _final_energy(plain, energy))
    one = {name: value.unsqueeze(0) for name, value in parameters.items()}
    return GradientProbe(
        variance,
        flat.mean(0).norm() / variance.sqrt(),
        Quartiles.of(pair_variances(flat)),
        Quartiles.of(own.expected_cost() - plain.expected_cost()),
        Quartiles.of(log_stretch(one, single)[0] / len(single.noise)),
        heat,
    )


def _final_energy(trajectory: Trajectory, energy: Energy) -> Tensor:
    """Return the mean energy at the end over the particles and the replicates."""
    return (trajectory.weights[-1] * energy(trajectory.states[-1])).sum(-1).mean()
