"""Which attributes of an environment still hold behind the wrappers around it.

A cost, angles and initial states are about the observations of whatever offers them. Behind a wrapper
that changes the observations they are about something else.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces, wrappers
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

WITHOUT_SPACE = (wrappers.FrameStackObservation, wrappers.MaxAndSkipObservation)
"""Wrappers that change observations and are no `ObservationWrapper`."""
BY_SPACE = (wrappers.FlattenObservation, wrappers.ReshapeObservation, wrappers.RescaleObservation)
"""Wrappers that change nothing where they leave the space as it is."""
RUNNING = (wrappers.NormalizeObservation, wrappers.NormalizeReward)
"""Wrappers whose statistics change while they run."""

Env = gymnasium.Env[Any, Any]


class Attributes:
    """What a vectorised environment offers, from the outside in.

    Args:
        env: The environments, of which the first one is asked.

    Raises:
        ValueError: Observations or rewards are normalised by running statistics.
    """

    def __init__(self, env: VecEnv) -> None:
        self.env = env
        self._stale: list[str] = []
        for cls in RUNNING:
            if _is_wrapped(env, cls):
                raise ValueError(
                    f"{cls.__name__} changes observations or rewards while it runs, which a learned model "
                    "and a cost cannot follow; the agent standardises its data itself: pass the environment "
                    "without it"
                )

    def get(self, name: str) -> Any:
        """Find the attribute of the outermost wrapper that has it, or of the environment; None if none has.

        One that does not hold any more is None, too, and remembered for `check`.

        Raises:
            ValueError: The environment runs in another process and the attribute cannot be sent from there.
        """
        env, changed = self.env, False
        while isinstance(env, VecEnvWrapper):
            if _has_own(env, name):
                return self._valid(name, getattr(env, name), changed)
            changed = changed or not _same_space(env.observation_space, env.venv.observation_space)
            env = env.venv
        try:
            value = env.get_attr(name, 0)[0] if env.has_attr(name) else None
        except (EOFError, OSError) as error:
            raise ValueError(
                f"the environment's attribute {name!r} cannot be sent from its process (it must be possible "
                "to pickle it, which a lambda or a local function is not): pass it to the agent instead"
            ) from error
        if value is None:
            return None
        return self._valid(name, value, changed or _is_wrapped(env, name))

    def _valid(self, name: str, value: Any, is_stale: bool) -> Any:
        if is_stale and value is not None:
            self._stale.append(name)
            return None
        return value

    def check(self) -> None:
        """Raise ValueError if something was asked for that does not hold any more."""
        if self._stale:
            raise ValueError(
                f"a wrapper changes the observations ({_chain(self.env)}), so that what the environment "
                f"inside offers does not hold any more ({', '.join(self._stale)}): pass the agent "
                f"{'=..., '.join(self._stale)}=... for the observations as they are ('none' where there is "
                "none; there must be a cost), or let the wrapper offer them as attributes"
            )


def valid_attribute(env: Env, name: str) -> Any:
    """Find an attribute of an environment or of a wrapper around it; None if there is none that holds."""
    return env.get_wrapper_attr(name) if env.has_wrapper_attr(name) and not is_stale(env, name) else None


def is_stale(env: Env, name: str) -> bool:
    """Tell whether observations are changed between the outside and the owner of an attribute."""
    changed = False
    while isinstance(env, gymnasium.Wrapper):
        if _has_own(env, name):
            return changed
        changed = changed or changes_observations(env)
        env = env.env
    return changed and hasattr(env, name)


def changes_observations(wrapper: gymnasium.Wrapper[Any, Any, Any, Any]) -> bool:
    """Tell whether observations mean something else outside of a wrapper than inside.

    A wrapper of the user's own that is no `ObservationWrapper` and leaves the space as it is counts as
    one that does not change them; so does a change of the floating-point type alone.
    """
    if isinstance(wrapper, wrappers.DtypeObservation):
        return not np.issubdtype(wrapper.observation_space.dtype or np.void, np.floating)
    if not _same_space(wrapper.observation_space, wrapper.env.observation_space):
        return True
    if isinstance(wrapper, BY_SPACE):
        return False
    return isinstance(wrapper, (gymnasium.ObservationWrapper, *WITHOUT_SPACE))


def _same_space(one: spaces.Space[Any], other: spaces.Space[Any]) -> bool:
    """Tell whether two spaces have the same shape and bounds, but for a floating-point type's rounding."""
    if not isinstance(one, spaces.Box) or not isinstance(other, spaces.Box):
        return one == other
    return one.shape == other.shape and all(
        np.allclose(a, b, rtol=1e-5) for a, b in ((one.low, other.low), (one.high, other.high))
    )


def _has_own(wrapper: Any, name: str) -> bool:
    """Tell whether the wrapper itself has an attribute, not one below it that it hands through."""
    try:
        object.__getattribute__(wrapper, name)
    except AttributeError:
        return False
    return True


class _StaleQuestion:
    """Asks `is_stale` of an environment that may be in another process.

    What Stable-Baselines3 asks of an environment there is `isinstance(wrapper, cls)`, for each wrapper from
    the outside in. It sends `cls`, which may be any object that knows what to answer.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._asked = False

    def __instancecheck__(self, wrapper: Any) -> bool:
        if self._asked:  # only the outermost wrapper knows all of them
            return False
        self._asked = True
        return is_stale(wrapper, self.name)


def _is_wrapped(env: VecEnv, question: str | type) -> bool:
    """Tell whether any of the environments is wrapped in a class, or has a stale attribute of that name."""
    try:
        for index in range(env.num_envs):
            asked: Any = _StaleQuestion(question) if isinstance(question, str) else question
            if any(env.env_is_wrapped(asked, [index])):
                return True
    except NotImplementedError:  # environments that are not made of single ones
        return False
    return False


def _chain(env: VecEnv) -> str:
    """Return the names of all wrappers, from the outside in."""
    names = ""
    while isinstance(env, VecEnvWrapper):
        names += f"<{type(env).__name__}"
        env = env.venv
    return f"{names}{env.env_method('__str__', indices=[0])[0]}"
