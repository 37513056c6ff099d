"""The task from what the user passes and what the environment offers."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.vec_env import VecEnv

from mbrl_agent.agent.observation_changes import Attributes
from mbrl_agent.agent.task import Task
from mbrl_agent.search.initial_states import Sampler
from mbrl_agent.types import Cost, Terminated

NONE = "none"
"""What the user passes where the environment's attribute shall not count."""


@dataclass(frozen=True)
class TaskArguments:
    """What the user passes; None takes the environment's, "none" leaves it out.

    Attributes:
        cost: As `Cost`.
        angle_dims: Indices of the angles [rad].
        initial_mean: (D), or one number.
        initial_std: (D), or one number.
        initial_states: As `Sampler`, or states (N, D).
        terminated: As `Terminated`.
        velocity_dims: {position index: velocity index}.
        copied_dims: {index: index of its source}.
    """

    cost: Cost | None = None
    angle_dims: Sequence[int] | str | None = None
    initial_mean: ArrayLike | None = None
    initial_std: ArrayLike | None = None
    initial_states: Sampler | ArrayLike | None = None
    terminated: Terminated | str | None = None
    velocity_dims: Mapping[int, int] | str | None = None
    copied_dims: Mapping[int, int] | str | None = None

    def is_set(self, name: str) -> bool:
        """Tell whether a value was passed, not None and not "none"."""
        return getattr(self, name) is not None and not self.is_declined(name)

    def is_declined(self, name: str) -> bool:
        """Tell whether "none" was passed."""
        return _is_none(getattr(self, name))


def read_task(env: VecEnv, given: TaskArguments, needs_step: bool = False) -> Task:
    """Take what the user passed, and the rest from the environment's attributes.

    Initial states go before their moments, and what the user passed before what the environment offers.

    Args:
        env: The environments.
        given: What the user passed.
        needs_step: Whether the environment's attribute `dynamics` is read as well.

    Raises:
        ValueError: The initial moments do not have one finite value a dimension, or a negative std; the
            initial states are not finite states; both were passed; or a wrapper has changed the
            observations, and something that the environment offers does not hold any more.
        TypeError: `angle_dims`, `velocity_dims` or `copied_dims` are not indices.
    """
    moments = [name for name in ("initial_mean", "initial_std") if given.is_set(name)]
    if given.is_set("initial_states") and moments:
        raise ValueError(f"pass either initial_states or {' and '.join(moments)}, not both")
    dims = env.observation_space.shape[0]  # type: ignore[index]
    offers = Attributes(env)

    def value(name: str) -> Any:
        passed = getattr(given, name)
        found = offers.get(name) if passed is None else passed
        return None if _is_none(found) and name != "cost" else found

    terminated = value("terminated")
    if given.terminated is None and not _takes_states(terminated):
        terminated = None  # environments have flags of that name
    start = None if moments else read_start(value("initial_states"), dims)
    task = Task(
        cost=value("cost"),
        angle_dims=_indices(value("angle_dims")),
        initial_mean=None if start is not None else _moment("initial_mean", value("initial_mean"), dims),
        initial_std=None if start is not None else _moment("initial_std", value("initial_std"), dims),
        start=start,
        terminated=terminated,
        velocity_dims=_pairs("velocity_dims", value("velocity_dims")),
        copied_dims=_pairs("copied_dims", value("copied_dims")),
        step=offers.get("dynamics") if needs_step else None,
    )
    offers.check()
    return task


def _takes_states(value: Any) -> bool:
    """Tell whether it is a function of one argument."""
    try:
        inspect.signature(value).bind(None)
    except (TypeError, ValueError):
        return False
    return True


def _is_none(value: Any) -> bool:
    return isinstance(value, str) and value == NONE


def _moment(name: str, value: Any, dims: int) -> NDArray[np.float64] | None:
    """Return D numbers of one value or D; ValueError where they are not that, or a std is negative."""
    if value is None:
        return None
    array = _array(value)
    wrong = array is None or array.shape not in ((), (dims,)) or not np.isfinite(array).all()
    if array is None or wrong or (name == "initial_std" and (array < 0).any()):
        raise ValueError(f"{name} must hold {dims} finite values (a std not negative), got {value}")
    return np.broadcast_to(array, (dims,)).copy()


def read_start(value: Any, dims: int) -> Sampler | NDArray[np.float64] | None:
    """Take a sampler as it is, states as an array (N, D); ValueError where they are neither."""
    if value is None or callable(value):
        return value  # type: ignore[no-any-return]
    array = _array(value)
    if array is None or array.ndim != 2 or array.shape[1] != dims or not len(array):
        shape = "" if array is None else f" of shape {array.shape}"
        raise ValueError(
            f"initial_states must be a function (count, torch.Generator) -> states (count, {dims}), or an "
            f"array of states (N, {dims}), got {type(value).__name__}{shape}; 'none' leaves those offered out"
        )
    if not np.isfinite(array).all():
        raise ValueError("initial_states holds a state that is not finite")
    return array


def _array(value: Any) -> NDArray[np.float64] | None:
    """Return a copy as float64, None where the value is no array of numbers."""
    try:
        return np.array(value, dtype=np.float64)
    except (ValueError, TypeError):
        return None


def _indices(angle_dims: Any) -> tuple[int, ...]:
    """Return the angle dimensions as a tuple; TypeError where they are not whole numbers."""
    try:
        return tuple(operator.index(i) for i in angle_dims) if angle_dims is not None else ()
    except TypeError as error:
        raise TypeError(
            f"angle_dims must be a sequence of indices, for example (2,), got {angle_dims!r}"
        ) from error


def _pairs(name: str, value: Any) -> tuple[tuple[int, int], ...]:
    """Pair indices with those that belong to them, sorted; TypeError where one is not a whole number."""
    if value is None:
        return ()
    try:
        pairs = value.items() if isinstance(value, Mapping) else value
        found = [(operator.index(index), operator.index(other)) for index, other in pairs]
    except (TypeError, ValueError) as error:
        what = "velocity belongs to which position" if name == "velocity_dims" else "dimension copies which"
        raise TypeError(f"{name} must say which {what}, for example {{0: 1, 2: 3}}, got {value!r}") from error
    return tuple(sorted(found))  # in whatever order they are named, the model is the same
