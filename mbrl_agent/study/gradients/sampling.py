"""Many independent rollouts at once: points of a study times repeats, on the leading replicate axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agent.options.validation import require_count, require_seed
from mbrl_agent.randomness import derive_generator
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.resampling.none import NoResampling
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.study.gradients.scene import Scene
from mbrl_agent.study.strategies import Strategy
from mbrl_agent.types import Parameters

MAX_ROWS = 4800
"""Particles of all replicates in one pass: bounds the memory, and is enough to keep the kernels busy."""
BLOCK = 16
"""Repeats of a point that share a generator; what is drawn does not depend on how the work is cut up."""

Tick = Callable[[int], object]
"""Told how many rollouts were done since it was last called."""


def silent(done: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Sampling:
    """How much is sampled.

    Attributes:
        particles: P of one gradient estimate.
        repeats: Independent estimates at each point.
        seed: Of everything random.
    """

    particles: int = 300
    repeats: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        require_count("particles", self.particles)
        require_count("repeats", self.repeats, minimum=2)
        require_seed("seed", self.seed)


@dataclass(frozen=True)
class Batch:
    """One pass.

    Attributes:
        points: (R), which point each replicate belongs to.
        parameters: With the leading axis R.
        simulation: Of R independent replicates.
    """

    points: Tensor
    parameters: dict[str, Tensor]
    simulation: Simulation


def batches(
    scene: Scene,
    resampler: Resampler,
    points: Parameters,
    sampling: Sampling,
    purpose: str,
    single: bool = False,
    improving: bool = False,
) -> Iterator[Batch]:
    """Yield all points times all repeats, in passes of bounded size.

    The random numbers of a point depend on the seed, the purpose and the point alone: strategies are
    compared on the same initial particles and the same model noise.

    Args:
        scene: Model, cost, initial states.
        resampler: The strategy.
        points: Policy parameters with a leading axis N.
        sampling: Particles and repeats of each point.
        purpose: Name of the random numbers.
        single: Every point once, whatever the sampling says, and each in a pass of its own.
        improving: With the noise that the policy acts with while it is improved, if it has any.
    """
    resampler = resampler.for_task(scene.policy.features.angle_dims, scene.dynamics.functions)
    repeats = 1 if single else sampling.repeats
    count = len(next(iter(points.values())))
    work = [
        (point, first, min(BLOCK, repeats - first))
        for point in range(count)
        for first in range(0, repeats, BLOCK)
    ]
    waiting: list[tuple[int, Tensor, Noise]] = []
    rows = 0
    for index, (point, first, size) in enumerate(work):
        generator = derive_generator(sampling.seed, purpose, point * 2**20 + first)
        start = scene.start.sample(size, sampling.particles, generator)
        noise = Noise.draw(scene.dynamics, resampler, start, scene.horizon, generator)
        noise = noise.for_policy(scene.policy.noise_dims * improving, generator)
        waiting.append((point, start, noise))
        rows += size * sampling.particles
        following = work[index + 1][2] * sampling.particles if index + 1 < len(work) else MAX_ROWS
        if single or rows + following > MAX_ROWS:
            yield _batch(scene, resampler, points, waiting)
            waiting, rows = [], 0


def _batch(
    scene: Scene, resampler: Resampler, points: Parameters, parts: list[tuple[int, Tensor, Noise]]
) -> Batch:
    owners = torch.cat([torch.full((len(start),), point) for point, start, _ in parts])
    noise = Noise.side_by_side([noise for _, _, noise in parts])
    simulation = Simulation(
        scene.policy,
        scene.dynamics,
        scene.cost,
        resampler,
        torch.cat([start for _, start, _ in parts]),
        noise,
        scene.terminated,
    )
    return Batch(owners, {name: value[owners] for name, value in points.items()}, simulation)


def gradients(
    scene: Scene,
    strategy: Strategy,
    points: Parameters,
    sampling: Sampling,
    purpose: str,
    tick: Tick = silent,
) -> tuple[Tensor, Tensor]:
    """Estimate gradients independently, of the policy as a search improves it: with its noise, if any.

    Args:
        scene: Model, cost, initial states.
        strategy: Resampler and estimator.
        points: Policy parameters with a leading axis N.
        sampling: Particles and repeats of each point.
        purpose: Name of the random numbers.
        tick: Progress.

    Returns:
        Gradients (N, repeats, number of parameters), all parameters in one row, and expected costs
        (N, repeats); both in float64, so that the square of a gradient of 1e30 is still a number.
    """
    rows: list[Tensor] = []
    costs: list[Tensor] = []
    for batch in batches(scene, strategy.resampler, points, sampling, purpose, improving=True):
        estimate = strategy.estimator(batch.parameters, batch.simulation)
        rows.append(torch.cat([g.flatten(1).double() for g in estimate.gradient.values()], dim=1))
        costs.append(estimate.expected_cost.double())
        tick(len(batch.points))
    shape = (-1, sampling.repeats)
    flat = torch.cat(rows)
    return flat.view(*shape, flat.shape[-1]), torch.cat(costs).view(shape)


def common_noise_costs(
    scene: Scene,
    points: Parameters,
    particles: int,
    generator: torch.Generator,
    tick: Tick = silent,
    improving: bool = False,
) -> Tensor:
    """Compute each single particle's cost at every point, without resampling, under the same random numbers.

    Args:
        scene: Model, cost, initial states.
        points: Policy parameters with a leading axis N.
        particles: P.
        generator: Source of the random numbers that all points share.
        tick: Progress.
        improving: With the noise that the policy acts with while it is improved, if it has any.

    Returns:
        Costs summed over the horizon, (N, P).
    """
    none = NoResampling()
    start = scene.start.sample(1, particles, generator)
    noise = Noise.draw(scene.dynamics, none, start, scene.horizon, generator)
    noise = noise.for_policy(scene.policy.noise_dims * improving, generator)
    count = len(next(iter(points.values())))
    size = max(1, 2 * MAX_ROWS // particles)
    costs = []
    for first in range(0, count, size):
        some = {name: value[first : first + size] for name, value in points.items()}
        here = len(next(iter(some.values())))
        simulation = Simulation(
            scene.policy,
            scene.dynamics,
            scene.cost,
            none,
            start.expand(here, -1, -1),
            noise.shared(here),
            scene.terminated,
        )
        with torch.no_grad():
            costs.append(simulation(some).costs.sum(0))
        tick(here)
    return torch.cat(costs)
