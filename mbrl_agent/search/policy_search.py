"""Policy search inside the model: rollout -> gradient -> Adam, over several candidate policies at once.

The candidates live on a replicate axis: each has its own parameters, its own particles and its own
noise, and all of them share every kernel call. The gradient's norm is clipped candidate by candidate, and
each has an Adam of its own. The worse half is left behind now and then, see `legs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mbrl_agent.dynamics.base import DynamicsModel
from mbrl_agent.errors import SearchFailedError
from mbrl_agent.options.validation import require_count, require_flag, require_positive
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.resampling.none import NoResampling
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.gradient_step import MAX_SKIPPED, GradientStep
from mbrl_agent.search.initial_states import StartDistribution
from mbrl_agent.search.legs import Leg, SearchReport, better_half, is_flat, leg_lengths, report
from mbrl_agent.search.probe import Energy, GradientProbe, probe_gradient
from mbrl_agent.search.rollout import Noise, Simulation
from mbrl_agent.types import Cost, Parameters, Terminated, Trajectory

LONGEST_HORIZON = 100
"""Most steps that `horizon = 0` predicts, however long the episodes: the time of a search grows with it."""
RANKING_PARTICLES = 1000  # about as many particles compare the candidates
RANKING_NUMBERS = 2**24  # of predicted states that a comparison keeps at a time, some hundreds of megabytes


@dataclass(frozen=True)
class SearchOptions:
    """Options of the policy search inside the model.

    Example:
        >>> SearchOptions(steps=50, num_particles=100).candidates
        4
    """

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
    halving: bool = True
    """Leave the worse half of the candidates where it is, again and again until one is left; not on a GPU."""
    flat_steps: int = 0
    """End a search in which so many steps have not lowered the predicted cost measurably (0: never)."""

    def __post_init__(self) -> None:
        for name in ("steps", "num_particles", "candidates", "noise_renewal"):
            require_count(name, getattr(self, name))
        for name in ("horizon", "flat_steps"):
            require_count(name, getattr(self, name), minimum=0)
        require_flag("halving", self.halving)
        require_positive("learning_rate", self.learning_rate)
        require_positive("max_grad_norm", self.max_grad_norm)


@dataclass(frozen=True)
class Ranking:
    """The candidates of a search, each where it began or where it ended, whichever is better.

    Attributes:
        parameters: With the leading axis R of the candidates.
        costs: (R), their predicted costs; infinite where it is not finite.
        starts_kept: How many of them are where they began.
    """

    parameters: dict[str, Tensor]
    costs: Tensor
    starts_kept: int

    @property
    def best(self) -> int:
        """The candidate with the lowest predicted cost."""
        return int(self.costs.argmin())


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
        terminated: Where episodes end; None where they do not.
    """

    options: SearchOptions
    policy: SearchPolicy
    dynamics: DynamicsModel
    cost: Cost
    resampler: Resampler
    estimator: Estimator
    initial_states: StartDistribution
    horizon: int
    terminated: Terminated | None = None

    def simulation(
        self,
        replicates: int,
        generator: torch.Generator,
        particles: int = 0,
        resampler: Resampler | None = None,
    ) -> Simulation:
        """Draw initial particles and noise for a rollout of policies as they are deployed.

        Args:
            replicates: R.
            generator: Source of all randomness.
            particles: P; 0 takes the options'.
            resampler: Another strategy than the search's own.
        """
        chosen = resampler or self.resampler
        start = self.initial_states.sample(replicates, particles or self.options.num_particles, generator)
        noise = Noise.draw(self.dynamics, chosen, start, self.horizon, generator)
        return Simulation(self.policy, self.dynamics, self.cost, chosen, start, noise, self.terminated)

    def improving_simulation(self, replicates: int, generator: torch.Generator) -> Simulation:
        """Return the rollout in which policies are improved: with the noise that a policy then acts with."""
        simulation = self.simulation(replicates, generator)
        noise = simulation.noise.for_policy(self.policy.noise_dims, generator)
        return replace(simulation, noise=noise)

    def ranking_simulation(self, generator: torch.Generator) -> Simulation:
        """Draw the rollout in which candidates are compared: one replicate, many particles, no resampling."""
        particles = self.options.num_particles * max(1, RANKING_PARTICLES // self.options.num_particles)
        return self.simulation(1, generator, particles, NoResampling())

    def predicted_cost(self, parameters: Parameters, simulation: Simulation) -> Tensor:
        """Predict the cost of each candidate: (R), infinite where it is not finite.

        All meet the same initial particles and the same noise (common random numbers), so that their
        differences are those of the policies.

        Args:
            parameters: With the leading axis R of the candidates.
            simulation: Of `ranking_simulation`.
        """
        replicates = len(next(iter(parameters.values())))
        at_a_time = max(1, RANKING_NUMBERS // (simulation.initial_particles.numel() * len(simulation.noise)))
        costs = []
        for first in range(0, replicates, at_a_time):
            some = {name: value[first : first + at_a_time] for name, value in parameters.items()}
            costs.append(_simulate_alike(simulation, some).expected_cost())
        expected_cost = torch.cat(costs)
        return expected_cost.where(expected_cost.isfinite(), torch.inf)

    def rank(self, starts: Parameters, improved: Parameters, generator: torch.Generator) -> Ranking:
        """Keep the better of each candidate's start and end, as the model predicts them.

        Args:
            starts: Where the search began, with the leading axis R of the candidates.
            improved: Where it ended.
            generator: Source of all randomness.

        Raises:
            SearchFailedError: No predicted cost is finite; the message says what is not, and what to do.
        """
        both = {name: torch.cat([value, improved[name]]) for name, value in starts.items()}
        self.dynamics.renew(generator)
        simulation = self.ranking_simulation(generator)
        before, after = self.predicted_cost(both, simulation).chunk(2)
        costs = torch.minimum(before, after)
        if not bool(costs.isfinite().any()):
            first = {name: value[:1] for name, value in improved.items()}
            cause = _first_fault(first, _simulate_alike(simulation, first))
            raise SearchFailedError(
                f"no policy was deployed: of all {len(costs)} candidates the predicted cost is not finite; "
                f"{cause}"
            )
        kept = before < after
        parameters = {
            name: torch.where(kept.view(-1, *[1] * (value.ndim - 1)), value, improved[name])
            for name, value in starts.items()
        }
        return Ranking(parameters, costs, int(kept.sum()))

    def probe(
        self,
        parameters: Parameters,
        repeats: int,
        generator: torch.Generator,
        energy: Energy | None = None,
    ) -> GradientProbe:
        """Tell how noisy the gradient of one policy is, and what resampling does to its rollouts.

        Args:
            parameters: Without replicate axes.
            repeats: Number of independent estimates, at least 2.
            generator: Source of all randomness.
            energy: The plant's mechanical energy, if it is known.
        """
        simulation, single = self.improving_simulation(repeats, generator), self.simulation(1, generator)
        return probe_gradient(self.estimator, parameters, simulation, single, energy)

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
            on_step: Called after each step with its number and the expected costs of the candidates that
                are still improved.
        """
        replicates = len(next(iter(parameters.values())))
        options = self.options
        step = GradientStep(
            self.estimator,
            parameters,
            self.improving_simulation(replicates, generator),
            options.learning_rate,
            options.max_grad_norm,
        )
        improved = {name: value.clone() for name, value in step.parameters.items()}
        legs: list[Leg] = []
        # (a captured step of all candidates takes a GPU as long as one of a half, and another capture longer)
        halving = options.halving and not _on_gpu(step.parameters)
        for length in leg_lengths(options.steps, replicates, halving):
            if not legs:
                leg = Leg(list(range(replicates)))
            else:
                kept = self._better_half(step.parameters, generator)
                step = step.keep(kept, self.improving_simulation(len(kept), generator))
                leg = legs[-1].followed_by(kept)
            legs.append(leg)
            self._run_leg(step, leg, length, generator, on_step)
            for name, value in step.parameters.items():
                improved[name][leg.candidates] = value
            if step.ended():
                break
        return report(improved, legs, options.steps)

    def _better_half(self, parameters: Parameters, generator: torch.Generator) -> list[int]:
        """Tell which candidates are in the better half, in a comparison like that at the end of a search."""
        return better_half(self.predicted_cost(parameters, self.ranking_simulation(generator)))

    def _run_leg(
        self,
        step: GradientStep,
        leg: Leg,
        steps: int,
        generator: torch.Generator,
        on_step: Callable[[int, Tensor], None] | None,
    ) -> None:
        """Take steps until their number is reached, all candidates fail, or the cost stops falling."""
        look_every = _steps_between_looks(step.parameters)
        for number in range(steps):
            if number and number % self.options.noise_renewal == 0:
                self.dynamics.renew(generator)
                step.renew(self.improving_simulation(len(leg.candidates), generator))
            leg.results.append(step())
            if on_step is not None:
                on_step(leg.first + number, leg.results[-1].expected_cost)
            if (number + 1) % look_every == 0 and step.ended():
                break
            if is_flat(leg.results, self.options.flat_steps):
                break


def _steps_between_looks(parameters: Parameters) -> int:
    """Tell after how many steps a search asks whether it has ended, which waits for a GPU."""
    return MAX_SKIPPED if _on_gpu(parameters) else 1


def _on_gpu(parameters: Parameters) -> bool:
    return any(value.is_cuda for value in parameters.values())


def _simulate_alike(simulation: Simulation, parameters: Parameters) -> Trajectory:
    """Run every candidate from the initial particles and with the noise of one replicate."""
    replicates = len(next(iter(parameters.values())))
    start, alike = (
        simulation.initial_particles.expand(replicates, -1, -1),
        simulation.noise.shared(replicates),
    )
    with torch.no_grad():
        return replace(simulation, initial_particles=start, noise=alike)(parameters)


def _first_fault(parameters: Parameters, trajectory: Trajectory) -> str:
    """Say what was not finite first in a rollout, and what to do about it."""
    if not all(bool(value.isfinite().all()) for value in parameters.values()):
        return "the parameters of the policy are not finite; lower search.learning_rate"
    if not bool(trajectory.states[0].isfinite().all()):
        return "the initial states are not finite; check initial_states, or initial_mean and initial_std"
    faults = (
        ("the action of the policy", trajectory.actions, "check the policy's function of the state"),
        (
            "the state that the model predicts",
            trajectory.states[1:],
            "shorten search.horizon, or collect more",
        ),
        ("the cost", trajectory.costs, "the cost must be finite for every finite state and action"),
    )
    for step in range(len(trajectory.costs)):
        for what, values, remedy in faults:
            if not bool(values[step].isfinite().all()):
                return f"{what} is not finite at predicted step {step + 1}; {remedy}"
    return "the sum of the costs is too large to be a number; scale the cost down, or shorten search.horizon"
