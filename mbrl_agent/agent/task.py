"""What the agent needs beyond the Gymnasium API: a differentiable cost, angles, initial states, ends.

An environment offers them as attributes (`cost`, `angle_dims`, `velocity_dims`, `copied_dims`, `initial_mean`
and `initial_std` or `initial_states`, `terminated`; CartPoleSwingUp-v0 does); for any other environment the
user passes them to the agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.features import AngleFeatures
from mbrl_agent.search.initial_states import (
    InitialStates,
    NotSaved,
    SampledStates,
    Sampler,
    StartDistribution,
    StateSet,
    moments,
    on_one_turn,
)
from mbrl_agent.targets import Integration, Targets
from mbrl_agent.types import Cost, Step, Terminated


@dataclass(frozen=True)
class Task:
    """The agent's view of what is to be achieved.

    Attributes:
        cost: Differentiable cost of a state and the action that led to it; None where there is none
            (the agent can then predict but not learn).
        angle_dims: Indices of the angles [rad] of an observation.
        initial_mean: (D), mean of the initial states, or None to estimate it from the episodes.
        initial_std: (D), standard deviation of the initial states, or None likewise.
        start: Draws initial states, or holds them, (N, D); None takes the two above or, where they are both
            None, the observed ones.
        terminated: Where episodes end; None where they do not, or the model is to go on.
        velocity_dims: (position index, velocity index) of each position that models integrate from its
            velocity; see `Targets`.
        copied_dims: (index, index of its source) of each dimension that models copy; see `Targets`.
        step: The environment's true dynamics, read for a model that needs them alone.
    """

    cost: Cost | None
    angle_dims: tuple[int, ...]
    initial_mean: NDArray[np.float64] | None = None
    initial_std: NDArray[np.float64] | None = None
    start: Sampler | NDArray[np.float64] | None = None
    terminated: Terminated | None = None
    velocity_dims: tuple[tuple[int, int], ...] = ()
    copied_dims: tuple[tuple[int, int], ...] = ()
    step: Step | None = None

    def __repr__(self) -> str:
        """Show what is known, the cost by its name."""
        known = {key: value for key, value in vars(self).items() if value is not None}
        words = [f"{key}={_describe(value)}" for key, value in known.items()]
        return f"Task({', '.join(words)})"

    @property
    def offers_start(self) -> bool:
        """Whether initial states are known without any episode."""
        return self.start is not None or (self.initial_mean is not None and self.initial_std is not None)

    def initial_states(
        self, observed: NDArray[np.float64], device: torch.device, visited: NDArray[np.float64] | None = None
    ) -> StartDistribution:
        """Return the distribution from which rollouts start.

        Args:
            observed: (N, D), first observations of the episodes so far, used where the task gives no
                distribution; angles that the environment wraps are put on one turn.
            device: Where the tensors go.
            visited: (M, D), the first episode, which stands for one more start where the task tells nothing
                of starts; see `StateSet.observed`.
        """
        if callable(self.start):
            return SampledStates(self.start, observed.shape[1], self.angle_dims, device)
        if self.start is not None:
            return StateSet.of(self.start, self.angle_dims, device)
        mean, std = self.initial_mean, self.initial_std
        if mean is None and std is None:
            if visited is not None:
                return StateSet.observed(observed, visited, self.angle_dims, device)
            return StateSet.of(on_one_turn(observed, self.angle_dims), self.angle_dims, device)
        if mean is None or std is None:
            estimate, covariance = moments(observed, self.angle_dims)
            mean = estimate if mean is None else mean
            std = np.sqrt(covariance.diagonal()) if std is None else std
        return InitialStates(
            torch.as_tensor(mean, dtype=torch.float32, device=device),
            torch.as_tensor(std, dtype=torch.float32, device=device),
        )

    def require_same_indices(self, other: Task) -> None:
        """Raise ValueError if another task has other indices than this one, for which a model was built."""
        for name in ("angle_dims", "velocity_dims", "copied_dims"):
            own, others = getattr(self, name), getattr(other, name)
            if own != others:
                raise ValueError(f"the agent was built for {name} {own}, not {others}")

    def check(self, state_dims: int, action_dims: int, device: torch.device | str = "cpu") -> None:
        """Try the task on a batch of zeros.

        Raises:
            ValueError: There is no cost, it fails, returns the wrong shape or is not differentiable; so does
                `terminated`, or is not of bool; initial states cannot be drawn; or an index in `angle_dims`
                or `velocity_dims` is out of range, or they contradict each other.
            TypeError: The cost or `terminated` is not callable.
        """
        targets = Targets(AngleFeatures(state_dims, self.angle_dims), self.velocity_dims, self.copied_dims)
        Integration(targets, action_dims)
        self._check_cost(state_dims, action_dims, device)
        self._check_terminated(state_dims, device)
        if callable(self.start):
            generator = torch.Generator(device).manual_seed(0)
            SampledStates(self.start, state_dims, self.angle_dims, torch.device(device)).sample(
                2, 3, generator
            )

    def _check_cost(self, state_dims: int, action_dims: int, device: torch.device | str) -> None:
        if self.cost is None:
            raise ValueError(
                "the environment offers no differentiable cost: pass cost=..., a function in torch of states "
                "(..., D) and actions (..., U) -> (...), or give the environment an attribute `cost`"
            )
        if not callable(self.cost):
            raise TypeError(
                f"cost must be a function of states and actions in torch, got {type(self.cost).__name__}"
            )
        state = torch.zeros(2, 3, state_dims, requires_grad=True, device=device)
        action = torch.zeros(2, 3, action_dims, device=device)
        try:
            result = self.cost(state, action)
        except Exception as error:  # it is the user's code, which may raise anything
            raise ValueError(
                f"cost failed on states (2, 3, {state_dims}) and actions (2, 3, {action_dims}): {error}; "
                "write it with torch operations on the last axis, for any number of axes before it"
            ) from error
        if not isinstance(result, Tensor) or result.shape != (2, 3):
            shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ValueError(f"cost must map states (2, 3, {state_dims}) to costs (2, 3), got {shape}")
        if not result.requires_grad:
            raise ValueError(
                "cost is not differentiable in the state: write it with torch operations, without detach"
            )
        _require_untouched("cost", state, action)

    def _check_terminated(self, state_dims: int, device: torch.device | str) -> None:
        if self.terminated is None:
            return
        if not callable(self.terminated):
            raise TypeError(
                f"terminated must be a function of states in torch, got {type(self.terminated).__name__}"
            )
        state = torch.zeros(2, 3, state_dims, device=device)
        try:
            result = self.terminated(state)
        except Exception as error:  # it is the user's code, which may raise anything
            if isinstance(self.terminated, NotSaved):
                raise
            raise ValueError(
                f"terminated failed on states (2, 3, {state_dims}): {error}; write it with torch operations "
                "on the last axis, for any number of axes before it, or pass 'none' to do without it"
            ) from error
        if not isinstance(result, Tensor) or result.shape != (2, 3) or result.dtype != torch.bool:
            found = (
                f"{tuple(result.shape)} of {result.dtype}"
                if isinstance(result, Tensor)
                else type(result).__name__
            )
            raise ValueError(
                f"terminated must map states (2, 3, {state_dims}) to (2, 3) of torch.bool, got {found}"
            )
        _require_untouched("terminated", state)


def _require_untouched(name: str, *arguments: Tensor) -> None:
    """Raise ValueError if a function has written into its arguments, with which a rollout goes on."""
    if any(argument._version for argument in arguments):  # counts the in-place operations, on views as well
        raise ValueError(
            f"{name} changes the tensors that it is given, by an in-place operation (such as x += 1, "
            "x[..., 0] = 0 or x.clamp_()): let it work on a copy, x.clone()"
        )


def _describe(value: Any) -> str:
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__name__))
    return str(value.tolist() if isinstance(value, np.ndarray) else value)
