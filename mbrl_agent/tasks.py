"""What the agent needs beyond the Gymnasium API: a differentiable cost, angles, initial states.

An environment offers them as attributes of `env.unwrapped` (`cost`, `angle_dims`, `initial_mean`,
`initial_std`; CartPoleSwingUp-v0 does); for any other environment the user passes them to the agent.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import Env, spaces
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.base_class import maybe_make_env
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize
from torch import Tensor

from mbrl_agent.features import AngleFeatures

Cost = Callable[[Tensor, Tensor], Tensor]
"""States (..., D) and actions (..., U) in [-1, 1] that led to them -> costs (...)."""


@dataclass(frozen=True)
class InitialStates:
    """A normal distribution over initial states, independent in every dimension.

    Attributes:
        mean: (D).
        std: (D).
    """

    mean: Tensor
    std: Tensor

    def sample(self, replicates: int, particles: int, generator: torch.Generator) -> Tensor:
        """Draw (R, P, D)."""
        shape = (replicates, particles, len(self.mean))
        normal = torch.randn(shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + self.std * normal


@dataclass(frozen=True)
class Task:
    """The agent's view of what is to be achieved.

    Attributes:
        cost: Differentiable cost of a state and the action that led to it; None where there is none
            (the agent can then predict but not learn).
        angle_dims: Indices of the angles [rad] of an observation.
        initial_mean: (D), mean of the initial states, or None to estimate it from the episodes.
        initial_std: (D), standard deviation of the initial states, or None likewise.
    """

    cost: Cost | None
    angle_dims: tuple[int, ...]
    initial_mean: NDArray[np.float64] | None = None
    initial_std: NDArray[np.float64] | None = None

    def initial_states(self, observed: NDArray[np.float64], device: torch.device) -> InitialStates:
        """The distribution from which rollouts start.

        Args:
            observed: (N, D), first observations of the episodes so far, used where the task gives no
                distribution. With a single episode the spread is not known: it is taken as zero.
            device: Where the tensors go.
        """
        mean = observed.mean(0) if self.initial_mean is None else self.initial_mean
        spread = observed.std(0, ddof=1) if len(observed) > 1 else np.zeros(observed.shape[1])
        std = spread if self.initial_std is None else self.initial_std
        return InitialStates(
            torch.as_tensor(mean, dtype=torch.float32, device=device),
            torch.as_tensor(std, dtype=torch.float32, device=device),
        )

    def check(self, state_dims: int, action_dims: int, device: torch.device | str = "cpu") -> None:
        """Try the task on a batch of zeros.

        Raises:
            ValueError: There is no cost, it fails, returns the wrong shape or is not differentiable, or
                an index in `angle_dims` is out of range.
            TypeError: The cost is not callable.
        """
        AngleFeatures(state_dims, self.angle_dims)
        if self.cost is None:
            raise ValueError(
                "the environment offers no differentiable cost: pass cost=..., a function in torch of states "
                "(..., D) and actions (..., U) -> (...), or give env.unwrapped an attribute `cost`"
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


def read_task(
    env: VecEnv,
    cost: Cost | None,
    angle_dims: Sequence[int] | None,
    initial_mean: ArrayLike | None,
    initial_std: ArrayLike | None,
) -> Task:
    """Take what the user passed, and the rest from the environment's attributes.

    Raises:
        ValueError: The initial moments do not have one finite value a dimension, or a negative std.
        TypeError: `angle_dims` are not indices.
    """
    dims = env.observation_space.shape[0]  # type: ignore[index]

    def moment(name: str, given: ArrayLike | None) -> NDArray[np.float64] | None:
        value = offered(env, name) if given is None else given
        if value is None:
            return None
        array = np.array(value, dtype=np.float64)
        wrong = array.shape not in ((), (dims,)) or not np.isfinite(array).all()
        if wrong or (name == "initial_std" and (array < 0).any()):
            raise ValueError(f"{name} must hold {dims} finite values (a std not negative), got {value}")
        return np.broadcast_to(array, (dims,)).copy()

    return Task(
        cost=offered(env, "cost") if cost is None else cost,
        angle_dims=_indices(offered(env, "angle_dims") if angle_dims is None else angle_dims),
        initial_mean=moment("initial_mean", initial_mean),
        initial_std=moment("initial_std", initial_std),
    )


def _indices(angle_dims: Any) -> tuple[int, ...]:
    """Angle dimensions as a tuple; TypeError where they are not whole numbers."""
    try:
        return tuple(operator.index(i) for i in angle_dims) if angle_dims is not None else ()
    except TypeError as error:
        raise TypeError(
            f"angle_dims must be a sequence of indices, for example (2,), got {angle_dims!r}"
        ) from error


def offered(env: VecEnv, name: str) -> Any:
    """An attribute of the (first) environment, or of a wrapper around it; None if there is none.

    Raises:
        ValueError: The environment runs in another process and the attribute cannot be sent from there.
    """
    try:
        return env.get_attr(name, 0)[0] if env.has_attr(name) else None
    except (EOFError, OSError) as error:
        raise ValueError(
            f"the environment's attribute {name!r} cannot be sent from its process (it must be possible to "
            "pickle it, which a lambda or a local function is not): pass it to the agent instead"
        ) from error


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
