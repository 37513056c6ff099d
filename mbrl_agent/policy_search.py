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
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.resampling.none import NoResampling
from mbrl_agent.rollout import Noise, Simulation
from mbrl_agent.tasks import Cost, InitialStates
from mbrl_agent.types import Parameters
from mbrl_agent.validation import require_count, require_positive

MAX_SKIPPED_IN_A_ROW = 20
RANKING_PARTICLES = 1000  # about as many particles compare the candidates


@dataclass(frozen=True)
class SearchOptions:
    """Options of the policy search inside the model."""

    steps: int = 300
    """Gradient steps a trial."""
    learning_rate: float = 1e-2
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
    """Predicted steps; 0 takes the length of the longest real episode so far."""

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
        flat = torch.cat([value.flatten(1) for value in gradient.values()], dim=1)  # (repeats, parameters)
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
        values = {name: value.detach().clone() for name, value in parameters.items()}
        replicates = len(next(iter(values.values())))
        optimizer = torch.optim.Adam(list(values.values()), lr=self.options.learning_rate)
        costs, norms = [], []
        skipped_in_a_row = torch.zeros(replicates, dtype=torch.long, device=generator.device)
        skipped, jitter = 0, 0
        for step in range(self.options.steps):
            if step % self.options.noise_renewal == 0:
                simulation = self.simulation(replicates, generator)
            estimate = self.estimator(values, simulation)
            norm = _norms(estimate.gradient)
            finite = norm.isfinite() & estimate.expected_cost.isfinite()
            _clipped_step(optimizer, values, estimate.gradient, norm, finite, self.options.max_grad_norm)
            costs.append(estimate.expected_cost)
            norms.append(norm)
            skipped_in_a_row = torch.where(finite, 0, skipped_in_a_row + 1)
            skipped += int((~finite).sum())
            jitter += int(estimate.diagnostics["jitter"].sum()) if "jitter" in estimate.diagnostics else 0
            if on_step is not None:
                on_step(step, estimate.expected_cost)
            if int(skipped_in_a_row.min()) >= MAX_SKIPPED_IN_A_ROW:
                warnings.warn(
                    f"policy search ended at step {step + 1} of {self.options.steps}: the gradients of all "
                    f"candidates were not finite {MAX_SKIPPED_IN_A_ROW} times in a row; the last good "
                    "policies are kept",
                    stacklevel=2,
                )
                break
        return SearchReport(values, torch.stack(costs), torch.stack(norms), skipped, jitter)


def _norms(gradient: dict[str, Tensor]) -> Tensor:
    """Euclidean norm over all parameters of each candidate: (R)."""
    squares = [value.flatten(1).square().sum(1) for value in gradient.values()]
    return torch.stack(squares).sum(0).sqrt()


def _clipped_step(
    optimizer: torch.optim.Optimizer,
    values: dict[str, Tensor],
    gradient: dict[str, Tensor],
    norm: Tensor,
    finite: Tensor,
    max_norm: float,
) -> None:
    """One optimiser step; a candidate whose gradient is not finite stays where it is."""
    scale = (max_norm / norm.clamp_min(max_norm)).nan_to_num(0.0)
    everywhere = bool(finite.all())
    before = None if everywhere else {name: value.clone() for name, value in values.items()}
    for name, value in values.items():
        shape = (-1, *[1] * (value.ndim - 1))
        value.grad = gradient[name] * scale.view(shape)
        if not everywhere:
            value.grad = torch.where(finite.view(shape), value.grad, 0.0)
    optimizer.step()
    if before is not None:
        for name, value in values.items():
            shape = (-1, *[1] * (value.ndim - 1))
            value.copy_(torch.where(finite.view(shape), value, before[name]))
