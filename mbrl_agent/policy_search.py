"""Policy search inside the model: rollout -> gradient -> Adam, over several candidate policies at once.

The candidates live on a replicate axis: each has its own parameters, its own particles and its own
noise, and all of them share every kernel call. Adam works element by element, so one optimiser
serves them all; the gradient's norm is clipped candidate by candidate.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agent.dynamics.base import DynamicsModel
from mbrl_agent.estimators.base import Estimator
from mbrl_agent.gradient_step import GradientStep, StepResult
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.resampling.none import NoResampling
from mbrl_agent.rollout import Noise, Simulation
from mbrl_agent.tasks import Cost, InitialStates
from mbrl_agent.types import Parameters
from mbrl_agent.validation import require_count, require_positive

PATIENCE = 20  # steps after which a search that gets nowhere is looked for
LONGEST_HORIZON = 100
"""Most steps that `horizon = 0` predicts, however long the episodes: the time of a search grows with it."""
RANKING_PARTICLES = 1000  # about as many particles compare the candidates


@dataclass(frozen=True)
class SearchOptions:
    """Options of the policy search inside the model."""

    steps: int = 150
    """Gradient steps a trial."""
    learning_rate: float = 2e-2
    """Adam's step size."""
    max_grad_norm: float = 1.0
    """The gradient of each candidate is scaled down to this Euclidean norm."""
    num_particles: int = 150
    """Particles of each candidate's rollout; a multiple of the ensemble's members."""
    candidates: int = 4
    """Policies improved side by side; the one with the lowest predicted cost is deployed."""
    noise_renewal: int = 1
    """Gradient steps between fresh random numbers (1: none are reused; more: common random numbers)."""
    horizon: int = 0
    """Predicted steps; 0 takes the length of the longest real episode so far, at most 100."""

    def __post_init__(self) -> None:
        for name in ("steps", "num_particles", "candidates", "noise_renewal"):
            require_count(name, getattr(self, name))
        require_count("horizon", self.horizon, minimum=0)
        require_positive("learning_rate", self.learning_rate)
        require_positive("max_grad_norm", self.max_grad_norm)


@dataclass(frozen=True)
class SearchReport:
    """What one search did.

    Attributes:
        parameters: The improved parameters, with the leading axis R of the candidates.
        expected_cost: (steps, R), before each step, over the horizon.
        grad_norm: (steps, R), before clipping.
        skipped: Steps of single candidates that were skipped because something was not finite.
        jitter: Cholesky factorisations that needed more than the base jitter.
    """

    parameters: dict[str, Tensor]
    expected_cost: Tensor
    grad_norm: Tensor
    skipped: int
    jitter: int


@dataclass(frozen=True)
class GradientProbe:
    """How noisy the gradient is, from repeated estimates with independent noise.

    Attributes:
        variance: Trace of the covariance of one gradient estimate.
        snr: Signal-to-noise ratio, |mean gradient| / sqrt(variance).
    """

    variance: Tensor
    snr: Tensor


@dataclass(frozen=True)
class PolicySearch:
    """Everything that a search needs but the policy's parameters and the random numbers.

    Attributes:
        options: Steps, step size, particles, candidates.
        policy: Gives the controller at any parameters.
        dynamics: The fitted model.
        cost: Differentiable cost.
        resampler: The strategy under which policies are improved.
        estimator: The gradient estimator.
        initial_states: Where rollouts start.
        horizon: T.
    """

    options: SearchOptions
    policy: SearchPolicy
    dynamics: DynamicsModel
    cost: Cost
    resampler: Resampler
    estimator: Estimator
    initial_states: InitialStates
    horizon: int

    def simulation(
        self,
        replicates: int,
        generator: torch.Generator,
        particles: int = 0,
        resampler: Resampler | None = None,
    ) -> Simulation:
        """Draw initial particles and noise for a rollout.

        Args:
            replicates: R.
            generator: Source of all randomness.
            particles: P; 0 takes the options'.
            resampler: Another strategy than the search's own.
        """
        chosen = resampler or self.resampler
        start = self.initial_states.sample(replicates, particles or self.options.num_particles, generator)
        noise = Noise.draw(self.dynamics, chosen, start, self.horizon, generator)
        return Simulation(self.policy, self.dynamics, self.cost, chosen, start, noise)

    def predicted_cost(self, parameters: Parameters, generator: torch.Generator) -> Tensor:
        """Expected cost of each candidate under the model without resampling, from many particles: (R).

        Infinite where it is not finite, so that such a candidate is never the best.
        """
        replicates = len(next(iter(parameters.values())))
        particles = self.options.num_particles * max(1, RANKING_PARTICLES // self.options.num_particles)
        with torch.no_grad():
            trajectory = self.simulation(replicates, generator, particles, NoResampling())(parameters)
            expected_cost = trajectory.expected_cost()
            return expected_cost.where(expected_cost.isfinite(), torch.inf)

    def probe(self, parameters: Parameters, repeats: int, generator: torch.Generator) -> GradientProbe:
        """Repeat the gradient estimate of one policy, all repeats side by side.

        Args:
            parameters: Without replicate axes.
            repeats: Number of independent estimates, at least 2.
            generator: Source of all randomness.
        """
        copies = {name: value.expand(repeats, *value.shape) for name, value in parameters.items()}
        gradient = self.estimator(copies, self.simulation(repeats, generator)).gradient
        flat = torch.cat([value.reshape(repeats, -1) for value in gradient.values()], dim=1)  # (repeats, N)
        variance = flat.var(0).sum()
        return GradientProbe(variance, flat.mean(0).norm() / variance.sqrt())

    def improve(
        self,
        parameters: Parameters,
        generator: torch.Generator,
        on_step: Callable[[int, Tensor], None] | None = None,
    ) -> SearchReport:
        """Run the gradient steps of one trial.

        Args:
            parameters: Where to start, with a leading axis R of candidates.
            generator: Source of all randomness.
            on_step: Called after each step with its number and the expected costs (R).
        """
        replicates = len(next(iter(parameters.values())))
        step = GradientStep(
            self.estimator,
            parameters,
            self.simulation(replicates, generator),
            self.options.learning_rate,
            self.options.max_grad_norm,
        )
        results: list[StepResult] = []
        for number in range(self.options.steps):
            if number and number % self.options.noise_renewal == 0:
                step.renew(self.simulation(replicates, generator))
            results.append(step())
            if on_step is not None:
                on_step(number, results[-1].expected_cost)
            if (number + 1) % PATIENCE == 0 and _all_failed(results[-PATIENCE:]):
                warnings.warn(
                    f"policy search ended at step {number + 1} of {self.options.steps}: the gradients of all "
                    f"candidates were not finite {PATIENCE} times in a row; the last good policies are kept",
                    stacklevel=2,
                )
                break
        return SearchReport(
            step.parameters,
            torch.stack([result.expected_cost for result in results]),
            torch.stack([result.grad_norm for result in results]),
            sum(int((~result.finite).sum()) for result in results),
            sum(int(result.jitter.sum()) for result in results),
        )


def _all_failed(results: list[StepResult]) -> bool:
    """Whether no candidate had a finite gradient in any of these steps."""
    return not bool(torch.stack([result.finite for result in results]).any())
