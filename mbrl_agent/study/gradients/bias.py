"""Does a strategy's gradient point where the unresampled expected cost really falls?

The reference is the slope of the expected cost WITHOUT resampling along several directions, by central
finite differences with common random numbers on many particles: it does not depend on any gradient
estimator. Each strategy's mean gradient is projected on the same directions and compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.randomness import derive_generator
from mbrl_agent.study.gradients.sampling import Sampling, Tick, common_noise_costs, gradients, silent
from mbrl_agent.study.gradients.scene import Scene
from mbrl_agent.study.strategies import Strategy
from mbrl_agent.types import Parameters

Array = NDArray[np.float64]
BOOTSTRAPS = 300


@dataclass(frozen=True)
class Estimate:
    """A figure and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Bias:
    """How a strategy's mean gradient compares with the true one, on M directions.

    Attributes:
        strategy: Label of the strategy.
        delta: Place on the line at which the gradients were taken.
        cosine: Of the angle between the two gradients within the span of the directions, corrected for
            the noise of both; nan where one of them is lost in its noise.
        correlation: Pearson's, of the two slopes over the directions; noise lowers it.
        slope: Of the regression through zero of the strategy's slopes on the true ones; one if unbiased.
        relative_bias: Norm of the difference over the norm of the true gradient, corrected for noise.
        norm: Of the strategy's mean gradient on the directions, corrected for noise.
        reference_norm: Of the true gradient, likewise.
        single_cosine: Quartiles over the repeats of the cosine of ONE estimate with the true gradient, as a
            search meets it; heavy tails move the mean, and not these.
    """

    strategy: str
    delta: float
    cosine: Estimate
    correlation: Estimate
    slope: Estimate
    relative_bias: Estimate
    norm: Estimate
    reference_norm: Estimate
    single_cosine: tuple[float, float, float]


STATISTICS = ("cosine", "correlation", "slope", "relative_bias", "norm", "reference_norm")


def finite_differences(
    scene: Scene,
    directions: list[dict[str, Tensor]],
    step: float,
    blocks: int,
    sampling: Sampling,
    tick: Tick = silent,
) -> Array:
    """Return slopes of the expected cost without resampling: (J(theta + h d) - J(theta - h d)) / (2 h).

    Args:
        scene: Model, policy, initial states.
        directions: M of them.
        step: h, in units of the directions.
        blocks: Independent sets of particles.
        sampling: Particles of a block, and the seed.
        tick: Progress, in blocks.

    Returns:
        (blocks, M).
    """
    rows = [moved(scene.parameters, d, sign * step) for d in directions for sign in (1.0, -1.0)]
    points = {name: torch.stack([row[name] for row in rows]) for name in scene.parameters}
    slopes = []
    for block in range(blocks):
        generator = derive_generator(sampling.seed, "finite differences", block)
        costs = common_noise_costs(scene, points, sampling.particles, generator, improving=True)
        costs = costs.double().mean(-1)
        slopes.append((costs[0::2] - costs[1::2]) / (2 * step))
        tick(1)
    return torch.stack(slopes).numpy()


def moved(parameters: Parameters, direction: Parameters, delta: float) -> dict[str, Tensor]:
    """Return parameters at one place of a line, without replicate axes."""
    return {
        name: value + delta * direction[name] if name in direction else value
        for name, value in parameters.items()
    }


def projected_gradients(
    scene: Scene,
    strategy: Strategy,
    directions: list[dict[str, Tensor]],
    sampling: Sampling,
    tick: Tick = silent,
) -> Array:
    """Return slopes that the strategy's gradient estimates give along the directions: (repeats, M)."""
    points = {name: value[None] for name, value in scene.parameters.items()}
    flat, _ = gradients(scene, strategy, points, sampling, "bias", tick)
    zeros = {name: torch.zeros_like(value) for name, value in scene.parameters.items()}
    rows = [
        torch.cat([(zeros | direction)[name].flatten().double() for name in zeros])
        for direction in directions
    ]
    return (flat[0] @ torch.stack(rows).T).numpy()


def compare_slopes(strategy: str, delta: float, estimates: Array, reference: Array, seed: int = 0) -> Bias:
    """Compare slopes; standard errors by bootstrap over the repeats and the blocks.

    Args:
        strategy: Label.
        delta: Place on the line.
        estimates: (repeats, M), from `projected_gradients`.
        reference: (blocks, M), from `finite_differences`.
        seed: Of the bootstrap.
    """
    with np.errstate(all="ignore"):  # a gradient that exploded gives nan, which is the honest answer
        found = _statistics(estimates, reference)
        rng = np.random.default_rng(seed)
        resampled = [
            _statistics(
                estimates[rng.integers(len(estimates), size=len(estimates))],
                reference[rng.integers(len(reference), size=len(reference))],
            )
            for _ in range(BOOTSTRAPS)
        ]
        errors = [_spread(np.array([row[name] for row in resampled])) for name in STATISTICS]
    values = {name: Estimate(found[name], error) for name, error in zip(STATISTICS, errors, strict=True)}
    return Bias(strategy, delta, **values, single_cosine=_single_cosine(estimates, reference.mean(0)))


def _single_cosine(estimates: Array, truth: Array) -> tuple[float, float, float]:
    """Return the quartiles of the estimates' cosines with the true slopes; `nan` where none is finite."""
    with np.errstate(all="ignore"):
        largest = np.abs(estimates).max(1, keepdims=True)  # the square of 1e200 is no number
        scaled = estimates / np.where(largest > 0, largest, 1.0)
        cosines = scaled @ truth / (np.linalg.norm(scaled, axis=1) * np.linalg.norm(truth))
    known = cosines[np.isfinite(cosines)]
    if not len(known):
        return (float("nan"),) * 3
    low, middle, high = np.percentile(known, (25, 50, 75))
    return float(low), float(middle), float(high)


def _spread(values: Array) -> float:
    """Compute the standard deviation of the bootstrap's values that exist."""
    finite = values[np.isfinite(values)]
    return float(finite.std()) if len(finite) > len(values) / 2 else float("nan")


def _statistics(estimates: Array, reference: Array) -> dict[str, float]:
    mean, truth = estimates.mean(0), reference.mean(0)
    noise, blur = (rows.var(0, ddof=1).sum() / len(rows) for rows in (estimates, reference))
    # the square of a noisy mean is too large by its variance
    square, true_square = mean @ mean - noise, truth @ truth - blur
    difference = (mean - truth) @ (mean - truth) - noise - blur
    return {
        "cosine": float(mean @ truth / (_root(square) * _root(true_square))),
        "correlation": float(np.corrcoef(mean, truth)[0, 1]) if len(mean) > 1 else float("nan"),
        "slope": float(mean @ truth / true_square) if true_square > 0 else float("nan"),
        "relative_bias": float(np.sqrt(max(difference, 0.0)) / _root(true_square)),
        "norm": _root(square),
        "reference_norm": _root(true_square),
    }


def _root(square: float) -> float:
    """Return the square root; nan where noise leaves nothing."""
    return float(np.sqrt(square)) if square > 0 else float("nan")
