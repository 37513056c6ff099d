"""The particle rollout: policy + dynamics + resampler + cost + noise -> Trajectory. Nothing else.

A pure function of tensors: the same arguments give the same trajectory, bitwise, and all of it is
differentiable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mbrl_agent.dynamics.base import DynamicsModel, Predictor
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.resampling.base import Resampler, equal_weights
from mbrl_agent.search.memory import Memory, RememberingResampler
from mbrl_agent.search.termination import Ending, Fill, share
from mbrl_agent.types import Cost, Parameters, Prediction, Resampled, Terminated, Trajectory


@dataclass(frozen=True)
class Noise:
    """All the randomness of a rollout, standard normal.

    Attributes:
        model: (T, *R, P, dynamics.noise_dims), which outcome of each prediction a particle gets.
        resampling: (T, *R, P, resampler.noise_dims(D)).
        policy: (T, *R, P, policy.noise_dims), with which a policy acts while it is improved; None for one
            that acts as it does when it is deployed.
    """

    model: Tensor
    resampling: Tensor
    policy: Tensor | None = None

    @classmethod
    def draw(
        cls,
        dynamics: DynamicsModel,
        resampler: Resampler,
        initial_particles: Tensor,
        horizon: int,
        generator: torch.Generator,
    ) -> Noise:
        """Draw fresh noise for a rollout of `horizon` steps from `initial_particles` (*R, P, D)."""
        *shape, dims = initial_particles.shape

        def normal(columns: int) -> Tensor:
            size = (horizon, *shape, columns)
            return torch.randn(
                size, generator=generator, dtype=initial_particles.dtype, device=initial_particles.device
            )

        return cls(normal(dynamics.noise_dims), normal(resampler.noise_dims(dims)))

    def for_policy(self, columns: int, generator: torch.Generator) -> Noise:
        """Return the same with fresh noise for a policy that takes so many columns, if any."""
        if not columns:
            return self
        like = self.model
        size = (*like.shape[:-1], columns)
        drawn = torch.randn(size, generator=generator, dtype=like.dtype, device=like.device)
        return replace(self, policy=drawn)

    def shared(self, replicates: int) -> Noise:
        """Give the noise of one replicate, (T, 1, P, .), to all of so many: common random numbers."""
        policy = None if self.policy is None else self.policy.expand(-1, replicates, -1, -1)
        model = self.model.expand(-1, replicates, -1, -1)
        return Noise(model, self.resampling.expand(-1, replicates, -1, -1), policy)

    @classmethod
    def side_by_side(cls, parts: Sequence[Noise]) -> Noise:
        """Join noise of different replicates, (T, R, P, .) each."""
        policy = [part.policy for part in parts if part.policy is not None]
        return cls(
            torch.cat([part.model for part in parts], dim=1),
            torch.cat([part.resampling for part in parts], dim=1),
            torch.cat(policy, dim=1) if policy else None,
        )

    def __len__(self) -> int:
        """Return T."""
        return len(self.model)

    def split(self, steps: int) -> list[Noise]:
        """Return the noise of successive segments of at most this many steps."""
        parts = [torch.split(value, steps) for value in vars(self).values() if value is not None]
        return [Noise(*values) for values in zip(*parts, strict=True)]

    def of_policy(self, step: int | slice) -> tuple[Tensor, ...]:
        """Take a noisy policy's noise of a step, or of several; nothing where a policy is not noisy."""
        return () if self.policy is None else (self.policy[step],)

    def copy_(self, other: Noise) -> None:
        """Take over the numbers of another noise of the same shape, in the same storage."""
        for name, value in vars(self).items():
            if value is not None:
                value.copy_(getattr(other, name))


def rollout(
    policy: Callable[..., Tensor],
    predict: Callable[[Tensor, Tensor, Tensor | None], Prediction],
    cost: Cost,
    resample: Callable[[Prediction, Tensor, Tensor, Tensor | None], Resampled],
    start: Tensor | Trajectory,
    noise: Noise,
    ending: Ending | None = None,
) -> Trajectory:
    """Propagate particles through the model for as many steps as there is noise for.

    Args:
        policy: States, and noise if there is any for it, -> actions, at fixed parameters.
        predict: The model, as `DynamicsModel.predict`.
        cost: Differentiable cost of a predicted state and the action that led to it.
        resample: What happens to the particles between two steps, as `Resampler.__call__`.
        start: Initial particles (*R, P, D), or a trajectory to go on from.
        noise: T steps of standard-normal numbers.
        ending: When particles end; None where they never do.
    """
    steps: list[_Step] = []
    first = latest = _Step.before(start, ending)
    for number, (model_noise, resampling_noise) in enumerate(zip(noise.model, noise.resampling, strict=True)):
        state, carried = latest.particles, latest.carried
        if ending is not None:
            state, carried = ending.fill(state, carried, *latest.standing())
        dims = state.shape[-1]
        action = policy(state, *noise.of_policy(number))
        extra_noise = model_noise[..., dims:] if model_noise.shape[-1] > dims else None
        prediction = predict(state, action, extra_noise)
        sample = torch.addcmul(prediction.mean, prediction.std, model_noise[..., :dims])
        resampled = resample(prediction, sample, resampling_noise, carried)
        step = _Step.of(action, prediction, resampled)
        latest = step if ending is None else latest.followed_by(step, ending)
        steps.append(latest)
    return _trajectory(first, steps, cost)


@dataclass(frozen=True)
class _Step:
    """Where the particles are after a step, and how they got there."""

    particles: Tensor
    carried: Tensor | None = None
    action: Tensor | None = None
    weights: Tensor | None = None
    prediction: Prediction | None = None
    jitter: Tensor | None = None
    ended: Tensor | None = None

    @classmethod
    def before(cls, start: Tensor | Trajectory, ending: Ending | None) -> _Step:
        """Return the step at which a rollout starts."""
        if isinstance(start, Trajectory):
            ended = None if start.ended is None else start.ended[-1]
            return cls(start.states[-1], start.carried, start.actions[-1], start.weights[-1], ended=ended)
        if ending is None:
            return cls(start)
        ended = torch.zeros(start.shape[:-1], dtype=torch.bool, device=start.device)
        return cls(start, weights=equal_weights(start), ended=ended)

    @classmethod
    def of(cls, action: Tensor, prediction: Prediction, resampled: Resampled) -> _Step:
        """Return a step that all particles took."""
        return cls(
            resampled.particles, resampled.state, action, resampled.weights, prediction, resampled.jitter
        )

    def standing(self) -> tuple[Tensor, Tensor]:
        """Return which particles have ended, and the weights."""
        assert self.ended is not None
        assert self.weights is not None
        return self.ended, self.weights

    def followed_by(self, step: _Step, ending: Ending) -> _Step:
        """Return the next step, in which those that have ended stay as they are."""
        ended, weights = self.standing()
        assert step.action is not None
        assert step.weights is not None
        assert step.prediction is not None
        still = ended.unsqueeze(-1)
        particles = torch.where(still, self.particles, step.particles)
        mean = torch.where(still, self.particles, step.prediction.mean)
        return _Step(
            particles,
            step.carried,
            step.action if self.action is None else torch.where(still, self.action, step.action),
            ending.share(step.weights, ended, weights),
            Prediction(mean, step.prediction.std.masked_fill(still, 0.0)),
            step.jitter,
            ended | ending.terminated(particles.detach()),
        )


def _trajectory(first: _Step, steps: list[_Step], cost: Cost) -> Trajectory:
    """Put the steps side by side."""

    def stack(values: Iterable[Tensor | None]) -> Tensor:
        return torch.stack([value for value in values if value is not None])

    after, chosen = stack(s.particles for s in steps), stack(s.action for s in steps)
    predictions = [s.prediction for s in steps if s.prediction is not None]
    return Trajectory(
        states=torch.cat([first.particles.unsqueeze(0), after]),
        actions=chosen,
        costs=cost(after, chosen),  # of all steps at once
        weights=stack(s.weights for s in steps),
        prediction=Prediction(stack(p.mean for p in predictions), stack(p.std for p in predictions)),
        jitter=None if steps[0].jitter is None else stack(s.jitter for s in steps),
        carried=steps[-1].carried,
        ended=None if first.ended is None else stack(s.ended for s in (first, *steps)),
    )


@dataclass(frozen=True)
class Simulation:
    """A rollout as a function of the policy's parameters: all else, the noise included, is held fixed.

    Attributes:
        policy: Gives the controller at any parameters.
        dynamics: The model.
        cost: Differentiable cost.
        resampler: What happens to the particles between two steps.
        initial_particles: (*R, P, D).
        noise: T steps of standard-normal numbers.
        terminated: Where episodes end; None where particles go on until the horizon.
        memory: Where states and actions have the policy's memory behind them; see `with_memory`.
    """

    policy: SearchPolicy
    dynamics: DynamicsModel
    cost: Cost
    resampler: Resampler
    initial_particles: Tensor
    noise: Noise
    terminated: Terminated | None = None
    memory: Memory | None = None

    @property
    def ending(self) -> Ending | None:
        """When particles end, as `rollout` wants to know it."""
        if self.terminated is None:
            return None
        return Ending(self.terminated, Fill(self.resampler.carry), share)

    def with_memory(self) -> Simulation:
        """Make what the policy remembers a part of states and actions, if it does remember."""
        if self.policy.memory_dims == 0 or self.memory is not None:
            return self
        dims = self.initial_particles.shape[-1]
        memory = Memory(dims, self.policy.action_dims, self.policy.memory_dims)
        return replace(
            self,
            cost=memory.cost(self.cost),
            resampler=RememberingResampler(self.resampler, memory),
            initial_particles=memory.start(self.initial_particles),
            noise=replace(self.noise, model=memory.noise(self.noise.model)),
            terminated=None if self.terminated is None else memory.terminated(self.terminated),
            memory=memory,
        )

    def predictor(self) -> Predictor:
        """Return the model as a function that knows its derivatives."""
        made = self.dynamics.predictor()
        return made if self.memory is None else self.memory.predictor(made)

    def forget(self, trajectory: Trajectory) -> Trajectory:
        """Make a trajectory of this rollout without what the policy remembered."""
        return trajectory if self.memory is None else self.memory.forget(trajectory)

    def __call__(self, parameters: Parameters) -> Trajectory:
        """Run it at the given parameters, whose leading replicate axes are those of the particles."""
        whole = self.with_memory()
        trajectory = rollout(
            whole.policy.controller(parameters),
            whole.predictor(),
            whole.cost,
            whole.resampler,
            whole.initial_particles,
            whole.noise,
            whole.ending,
        )
        return whole.forget(trajectory)
