"""What a policy remembers, carried by its particle as a part of the state.

A policy with a memory of H numbers acts on itself: its action is (u, h'), and the next state (x', h')
contains exactly what it has chosen to remember. The rollout and its derivatives are then those of any other
policy, in D + H state and U + H action dimensions. Model, resampling strategy, cost and the test of an end
see the first D and U of them.

Reference:
    Meuleau, Peshkin, Kim, Kaelbling (1999), Learning Finite-State Controllers for Partially Observable
    Environments: a memory as external actions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from mbrl_agent.dynamics.base import Predictor
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.types import Cost, Prediction, Resampled, Terminated, Trajectory
from mbrl_agent.vjp import Gradients, PullBack, filled


@dataclass(frozen=True)
class Memory:
    """Parts of a rollout of states and actions with a memory behind them, from parts that know of none.

    Attributes:
        state_dims: D.
        action_dims: U.
        memory_dims: H.
    """

    state_dims: int
    action_dims: int
    memory_dims: int

    def start(self, particles: Tensor) -> Tensor:
        """Compute the initial particles (*R, P, D + H), which remember nothing."""
        return pad(particles, (0, self.memory_dims))

    def noise(self, noise: Tensor) -> Tensor:
        """Compute the model's noise, with zeros for the memory: (T, *R, P, D + H and any more)."""
        if noise.shape[-1] == self.state_dims:
            return pad(noise, (0, self.memory_dims))
        return torch.cat([self.start(noise[..., : self.state_dims]), noise[..., self.state_dims :]], dim=-1)

    def cost(self, cost: Cost) -> Cost:
        """Make a cost of what is outside of the policy."""
        return lambda state, action: cost(state[..., : self.state_dims], action[..., : self.action_dims])

    def terminated(self, terminated: Terminated) -> Terminated:
        """Make an end, likewise."""
        return lambda state: terminated(state[..., : self.state_dims])

    def predictor(self, predictor: Predictor) -> Predictor:
        """Make a model that also predicts, without error, what is remembered."""
        return _Predictor(self, predictor)

    def forget(self, trajectory: Trajectory) -> Trajectory:
        """Return the trajectory of what is outside of the policy."""
        dims, prediction = self.state_dims, trajectory.prediction
        return replace(
            trajectory,
            states=trajectory.states[..., :dims],
            actions=trajectory.actions[..., : self.action_dims],
            prediction=Prediction(prediction.mean[..., :dims], prediction.std[..., :dims]),
        )

    def filled(self, gradient: Tensor | None) -> Tensor | None:
        """Compute a derivative by (*R, P, D) as one by (*R, P, D + H) that does not depend on the memory."""
        return None if gradient is None else pad(gradient, (0, self.memory_dims))


class _Predictor(Predictor):
    def __init__(self, memory: Memory, inner: Predictor) -> None:
        super().__init__(inner)
        self._memory = memory
        self._inner = inner

    def __call__(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        """Predict; see `Predictor.__call__`."""
        seen, control, remembered = self._parts(state, action)
        return self._with(self._inner(seen, control, extra_noise), remembered)

    def vjp(
        self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None
    ) -> tuple[Prediction, PullBack]:
        """Do the same, and return the pull-back; see `Predictor.vjp`."""
        seen, control, remembered = self._parts(state, action)
        prediction, inner_pull_back = self._inner.vjp(seen, control, extra_noise)
        dims = self._memory.state_dims

        def pull_back(by_mean: Tensor, by_std: Tensor | None) -> Gradients:
            by_spread = None if by_std is None else by_std[..., :dims]
            by_state, by_control = inner_pull_back(by_mean[..., :dims], by_spread)
            by_action = torch.cat([filled(by_control, control), by_mean[..., dims:]], dim=-1)
            return self._memory.filled(by_state), by_action

        return self._with(prediction, remembered), pull_back

    def _parts(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the state and the action outside of the policy, and what it remembers."""
        actions = self._memory.action_dims
        return state[..., : self._memory.state_dims], action[..., :actions], action[..., actions:]

    def _with(self, prediction: Prediction, remembered: Tensor) -> Prediction:
        mean = torch.cat([prediction.mean, remembered], dim=-1)
        return Prediction(mean, self._memory.start(prediction.std))


@dataclass(frozen=True)
class RememberingResampler(Resampler):
    """Resample what is outside of the policy; each particle keeps its own memory.

    Attributes:
        inner: A strategy that keeps particles.
        memory: What is what.
    """

    inner: Resampler
    memory: Memory

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the strategy inside."""
        return self.inner.name

    @property
    def mixes_particles(self) -> bool:  # type: ignore[override]
        """As the strategy inside."""
        return self.inner.mixes_particles

    def carry(self, state: Tensor, index: Tensor) -> Tensor:
        """Do as the strategy inside. See `Resampler.carry`."""
        return self.inner.carry(state, index)

    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """See `Resampler.__call__`."""
        dims = self.memory.state_dims
        found = self.inner(self._outside(prediction), particles[..., :dims], noise, state)
        return self._with(found, particles)

    def vjp(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[Resampled, PullBack]:
        """See `Resampler.vjp`."""
        dims, fill = self.memory.state_dims, self.memory.filled
        found, inner_pull_back = self.inner.vjp(
            self._outside(prediction), particles[..., :dims], noise, state
        )

        def pull_back(by_particles: Tensor, by_weights: Tensor, by_state: Tensor | None) -> Gradients:
            by_mean, by_std, by_sample, by_carried = inner_pull_back(
                by_particles[..., :dims], by_weights, by_state
            )
            by_sample = filled(by_sample, particles[..., :dims])
            by_sample = torch.cat([by_sample, by_particles[..., dims:]], dim=-1)
            return fill(by_mean), fill(by_std), by_sample, by_carried

        return self._with(found, particles), pull_back

    def _outside(self, prediction: Prediction) -> Prediction:
        dims = self.memory.state_dims
        return Prediction(prediction.mean[..., :dims], prediction.std[..., :dims])

    def _with(self, found: Resampled, particles: Tensor) -> Resampled:
        remembered = particles[..., self.memory.state_dims :]
        return replace(found, particles=torch.cat([found.particles, remembered], dim=-1))
