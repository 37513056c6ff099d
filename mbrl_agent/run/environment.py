"""The environment of a run, with options of its constructor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import yaml
from gymnasium.envs.registration import load_env_creator

from mbrl_agent.options import OptionError, convert, did_you_mean
from mbrl_agent.options.plugins import find_module
from mbrl_agent.run import experiment

Env = gymnasium.Env[Any, Any]
NOT_OPTIONS = ("self", "render_mode", "max_episode_steps")


@dataclass(frozen=True)
class Environment:
    """An environment as a command asks for it.

    Attributes:
        name: Gymnasium id, or `module:id`.
        options: Arguments of its constructor, over those that it was registered with.
        max_episode_steps: Steps after which an episode is truncated; None takes the registered limit.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for `gymnasium.make` and `make_vec`."""
        limit = {} if self.max_episode_steps is None else {"max_episode_steps": self.max_episode_steps}
        return {**self.options, **limit}


def make_env(environment: Environment, render_mode: str | None = None) -> Env:
    """Make an environment.

    Args:
        environment: What is asked for.
        render_mode: Of Gymnasium; None takes that of the registration.

    Raises:
        ValueError: There is no such environment, it cannot be made, or its episodes may never end.
    """
    mode = {} if render_mode is None else {"render_mode": render_mode}
    return experiment.make_env(environment.name, **environment.arguments, **mode)


def read_env_options(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert text to what the constructor of an environment takes.

    Args:
        name: Gymnasium id, or `module:id`.
        values: By option.

    Raises:
        OptionError: The constructor has no such option, or it cannot have this value.
        ValueError: There is no such environment.
    """
    if not values:
        return {}
    if ":" in name:
        find_module(name.partition(":")[0])
    try:
        entry = gymnasium.spec(name).entry_point
        creator = load_env_creator(entry) if isinstance(entry, str) else entry
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(f"env {name!r} cannot be made: {error}") from error
    if creator is None:
        raise ValueError(f"env {name!r} has no constructor whose options could be set")
    parameters = inspect.signature(creator, eval_str=True).parameters
    return {key: _read(name, parameters, key, value) for key, value in values.items()}


def _read(name: str, parameters: Mapping[str, inspect.Parameter], key: str, value: Any) -> Any:
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    known = [one for one, p in parameters.items() if one not in NOT_OPTIONS and p.kind not in variadic]
    takes_more = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    if key not in known and not takes_more:
        dashed = [one.replace("_", "-") for one in known]
        offer = f"it has {', '.join(dashed)}" if known else "it has none"
        hint = did_you_mean(key.replace("_", "-"), dashed)
        raise OptionError(("env", key), f"{name} has no such option{hint}; {offer}")
    try:
        return convert(value, parameters[key].annotation if key in known else None)
    except TypeError:  # no type, or one that options do not have
        return yaml.safe_load(value)
    except ValueError as error:
        raise OptionError(("env", key), str(error)) from error
