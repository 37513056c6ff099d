"""The error of the predicted cost where the particles start in two places at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mbrl_agent.resampling.base import Resampler
from mbrl_agent.resampling.none import NoResampling
from mbrl_agent.search.initial_states import StartDistribution
from mbrl_agent.study.gradients.bias import Estimate
from mbrl_agent.study.gradients.sampling import Sampling, Tick, batches, silent
from mbrl_agent.study.gradients.scene import Scene
from mbrl_agent.study.strategies import Strategy


@dataclass(frozen=True)
class Modes:
    """Where a bimodal start puts one dimension of the state.

    Attributes:
        dimension: Index of the dimension.
        low: One mode's mean.
        high: The other's.
    """

    dimension: int
    low: float
    high: float

    def label(self, labels: list[str]) -> str:
        """Tell what it is called in figures."""
        return f"{labels[self.dimension]} in {self.low:.3g}, {self.high:.3g}"


@dataclass(frozen=True)
class BimodalStates:
    """Initial states of which half are in each of two modes, in random order.

    Attributes:
        usual: Distribution of the other dimensions, and the spread of each mode.
        modes: Where the two modes are.
    """

    usual: StartDistribution
    modes: Modes

    def sample(self, replicates: int, particles: int, generator: torch.Generator) -> Tensor:
        """Draw (R, P, D)."""
        mean = self.usual.mean
        states = self.usual.sample(replicates, particles, generator)
        # a random half, so that a mode is tied neither to a member of an ensemble nor to a component
        order = torch.rand(replicates, particles, generator=generator, device=mean.device).argsort(-1)
        centre = torch.where(order < particles // 2, self.modes.low, self.modes.high)
        index = self.modes.dimension
        states[..., index] += centre.to(mean.dtype) - mean[index]
        return states

    @property
    def mean(self) -> Tensor:
        """(D)."""
        mean = self.usual.mean.clone()
        mean[self.modes.dimension] = 0.5 * (self.modes.low + self.modes.high)
        return mean

    @property
    def covariance(self) -> Tensor:
        """(D, D), of both modes together."""
        covariance, index = self.usual.covariance.clone(), self.modes.dimension
        covariance[index, index] += (0.5 * (self.modes.high - self.modes.low)) ** 2
        return covariance

    @property
    def std(self) -> Tensor:
        """(D), of both modes together."""
        return self.covariance.diagonal().sqrt()

    def double(self) -> BimodalStates:
        """Return the same in float64."""
        return replace(self, usual=self.usual.double())


@dataclass(frozen=True)
class ForwardError:
    """The predicted cost of one strategy from one bimodal start.

    Attributes:
        strategy: Label of the strategy; "true physics" for the environment itself.
        modes: The start.
        cost: Expected cost, summed over the horizon.
        error: Its difference from the same model's cost without resampling.
        true_error: Its difference from the cost under the true physics; None where they are not known.
    """

    strategy: str
    modes: Modes
    cost: Estimate
    error: Estimate
    true_error: Estimate | None


TRUE_PHYSICS = "true physics"


def forward_errors(
    scene: Scene, strategies: list[Strategy], modes: Modes, sampling: Sampling, tick: Tick = silent
) -> list[ForwardError]:
    """Predict the cost from a bimodal start under every strategy.

    Differences are taken repeat by repeat: all have the same initial particles and model noise.

    Args:
        scene: Model, policy, initial states.
        strategies: Their estimators are not used.
        modes: The start.
        sampling: Particles and repeats.
        tick: Progress, in rollouts.

    Raises:
        ValueError: The scene's state does not have that dimension.
    """
    if not 0 <= modes.dimension < len(scene.labels):
        raise ValueError(f"a state has dimensions 0 to {len(scene.labels) - 1}, got {modes.dimension}")
    scene = replace(scene, start=BimodalStates(scene.start, modes))
    reference = _costs(scene, NoResampling(), sampling, tick)
    truth = None
    if scene.truth is not None:
        truth = _costs(replace(scene, dynamics=scene.truth), NoResampling(), sampling, tick)
    found = []
    for strategy in strategies:
        costs = _costs(scene, strategy.resampler, sampling, tick)
        true_error = None if truth is None else _estimate(costs - truth)
        found.append(
            ForwardError(strategy.label, modes, _estimate(costs), _estimate(costs - reference), true_error)
        )
    if truth is not None:
        zero = Estimate(0.0, 0.0)
        found.append(ForwardError(TRUE_PHYSICS, modes, _estimate(truth), _estimate(truth - reference), zero))
    return found


def _costs(scene: Scene, resampler: Resampler, sampling: Sampling, tick: Tick) -> Tensor:
    """Compute the expected cost of every repeat: (repeats)."""
    points = {name: value[None] for name, value in scene.parameters.items()}
    costs = []
    for batch in batches(scene, resampler, points, sampling, "bimodal"):
        with torch.no_grad():
            costs.append(batch.simulation(batch.parameters).expected_cost().double())
        tick(len(batch.points))
    return torch.cat(costs)


def _estimate(values: Tensor) -> Estimate:
    return Estimate(float(values.mean()), float(values.std() / len(values) ** 0.5))
