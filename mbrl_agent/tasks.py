"""What the agent needs beyond the Gymnasium API: a differentiable cost, angles, initial states, ends.

An environment offers them as attributes (`cost`, `angle_dims`, `initial_mean` and `initial_std` or
`initial_states`, `terminated`; CartPoleSwingUp-v0 does); for any other environment the user passes them
to the agent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import Env, spaces
from numpy.typing import NDArray
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize
from torch import Tensor

from mbrl_agent.features import AngleFeatures
from mbrl_agent.initial_states import (
    InitialStates,
    NotSaved,
    SampledStates,
    Sampler,
    StartDistribution,
    StateSet,
    moments,
    on_one_turn,
)

Cost = Callable[[Tensor, Tensor], Tensor]
"""States (..., D) and actions (..., U) in [-1, 1] that led to them -> costs (...)."""

Terminated = Callable[[Tensor], Tensor]
"""States (..., D) -> whether an episode ends there, (...) bool."""


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
    """

    cost: Cost | None
    angle_dims: tuple[int, ...]
    initial_mean: NDArray[np.float64] | None = None
    initial_std: NDArray[np.float64] | None = None
    start: Sampler | NDArray[np.float64] | None = None
    terminated: Terminated | None = None

    def __repr__(self) -> str:
        """Show what is known, the cost by its name."""
        known = {key: value for key, value in vars(self).items() if value is not None}
        words = [f"{key}={_describe(value)}" for key, value in known.items()]
        return f"Task({', '.join(words)})"

    @property
    def offers_start(self) -> bool:
        """Whether initial states are known without any episode."""
        return self.start is not None or (self.initial_mean is not None and self.initial_std is not None)

    def initial_states(self, observed: NDArray[np.float64], device: torch.device) -> StartDistribution:
        """The distribution from which rollouts start.

        Args:
            observed: (N, D), first observations of the episodes so far, used where the task gives no
                distribution; angles that the environment wraps are put on one turn.
            device: Where the tensors go.
        """
        if callable(self.start):
            return SampledStates(self.start, observed.shape[1], self.angle_dims, device)
        if self.start is not None:
            return StateSet.of(self.start, self.angle_dims, device)
        mean, std = self.initial_mean, self.initial_std
        if mean is None and std is None:
            return StateSet.of(on_one_turn(observed, self.angle_dims), self.angle_dims, device)
        if mean is None or std is None:
            estimate = moments(observed, self.angle_dims)
            mean, std = (estimate[0] if mean is None else mean), (estimate[1] if std is None else std)
        return InitialStates(
            torch.as_tensor(mean, dtype=torch.float32, device=device),
            torch.as_tensor(std, dtype=torch.float32, device=device),
        )

    def check(self, state_dims: int, action_dims: int, device: torch.device | str = "cpu") -> None:
        """Try the task on a batch of zeros.

        Raises:
            ValueError: There is no cost, it fails, returns the wrong shape or is not differentiable; so does
                `terminated`, or is not of bool; initial states cannot be drawn; or an index in `angle_dims`
                is out of range.
            TypeError: The cost or `terminated` is not callable.
        """
        AngleFeatures(state_dims, self.angle_dims)
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
        try:
            result = self.cost(state, torch.zeros(2, 3, action_dims, device=device))
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

    def _check_terminated(self, state_dims: int, device: torch.device | str) -> None:
        if self.terminated is None:
            return
        if not callable(self.terminated):
            raise TypeError(
                f"terminated must be a function of states in torch, got {type(self.terminated).__name__}"
            )
        try:
            result = self.terminated(torch.zeros(2, 3, state_dims, device=device))
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


def _describe(value: Any) -> str:
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__name__))
    return str(value.tolist() if isinstance(value, np.ndarray) else value)


def time_limit(env: VecEnv) -> int | None:
    """Steps after which Gymnasium's `TimeLimit` has ended the episodes of all environments.

    None where one of them has no such limit: an environment may have an attribute of that name of its own.
    """
    name = "_max_episode_steps"
    limits = env.get_attr(name) if env.has_attr(name) else [None]
    whole = [limit for limit in limits if isinstance(limit, int | np.integer) and not isinstance(limit, bool)]
    return int(max(whole)) if len(whole) == len(limits) and min(whole) > 0 else None


WIDEST_ACTIONS = float(np.sqrt(np.finfo(np.float32).max))
"""Wider bounds than this (1.8e19) stand for no bounds: the square of such an action overflows."""


def require_bounded_actions(space: spaces.Space[Any]) -> None:
    """Raise ValueError if actions have bounds that are only the largest numbers that there are.

    An agent with such a space can be made and predicts, but to explore it would act at random within them.
    """
    assert isinstance(space, spaces.Box)
    widest = float((0.5 * space.high.astype(np.float64) - 0.5 * space.low.astype(np.float64)).max())
    if widest > WIDEST_ACTIONS:
        raise ValueError(
            f"actions must be bounded, got {space}, whose bounds are no range to act in: declare the range "
            "that makes sense as the environment's action space, or use gymnasium.wrappers.RescaleAction"
        )


AnyEnv = Env[Any, Any] | VecEnv


def make_env(env: AnyEnv | str, verbose: int = 0) -> AnyEnv:
    """Make the environment if it is a Gymnasium id, and check it; see `check_env`."""
    try:
        return check_env(maybe_make_env(env, verbose))
    except gymnasium.error.Error as error:
        raise ValueError(
            f"environment {env!r} cannot be made: {error} (has the module that registers it been imported?)"
        ) from error


def describe_env(env: VecEnv | None) -> str:
    """The id of an environment, or the name of its class, with the number of them if there are several."""
    if env is None:
        return "no environment"
    here = getattr(env.unwrapped, "envs", None)  # those in other processes are not asked
    name = type(env.unwrapped).__name__
    if here:
        spec = here[0].spec
        name = type(here[0].unwrapped).__name__ if spec is None else spec.id
    return name if env.num_envs == 1 else f"{env.num_envs} x {name}"


def check_env(env: AnyEnv) -> AnyEnv:
    """Return the environment if the agent can work with its spaces.

    Raises:
        ValueError: Observations or actions are not a Box of one axis, actions are unbounded, or the
            observations are normalised by VecNormalize.
        TypeError: Not an environment.
    """
    if not isinstance(env, Env | VecEnv):
        raise TypeError(
            "env must be a gymnasium.Env, a VecEnv of Stable-Baselines3 (make_vec_env makes one) or a "
            f"Gymnasium id, got {type(env).__name__}"
        )
    observations, actions = env.observation_space, env.action_space
    if not isinstance(observations, spaces.Box) or len(observations.shape) != 1:
        raise ValueError(
            f"observations must be a Box with one axis, got {observations}: "
            "flatten them, for example with gymnasium.wrappers.FlattenObservation"
        )
    continuous = isinstance(actions, spaces.Box) and np.issubdtype(actions.dtype, np.floating)
    if not isinstance(actions, spaces.Box) or not continuous or len(actions.shape) != 1:
        raise ValueError(f"actions must be a Box with one axis (continuous), got {actions}")
    if not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all()):
        raise ValueError(
            f"actions must be bounded, got {actions}: use gymnasium.wrappers.RescaleAction or clip them"
        )
    if isinstance(env, VecEnv) and unwrap_vec_normalize(env) is not None:
        raise ValueError(
            "VecNormalize changes observations and rewards while it runs, which a learned model and a cost "
            "cannot follow; the agent standardises its data itself: pass the environment without VecNormalize"
        )
    return env
