"""The environment of a run: every environment of every command is made here.

An environment is an id of Gymnasium's with options, which its constructor takes, and perhaps another limit of
its episodes, a part that is observed, and a history. The same goes to training, evaluation, films and scenes
of the studies; baselines observe all, and remember nothing.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from mbrl_agent.options import Option, OptionError, did_you_mean
from mbrl_agent.options.modules import OURS, find_module, is_ours, load_file, place_of, reason_of
from mbrl_agent.run.env_values import hint_of, read_value, to_argument, type_hints
from mbrl_agent.wrappers.history import History

Env = gymnasium.Env[Any, Any]
OUR_ENV = "CartPoleSwingUp-v0"
ELSEWHERE = {
    "name": "--env stands for the environment itself",
    "render_mode": "a run renders by itself, where it films an episode",
    "max_episode_steps": "give --max-episode-steps N, which limits the episodes of any environment",
} | dict.fromkeys(
    ("id", "disable_env_checker", "num_envs", "vectorization_mode", "vector_kwargs", "wrappers"),
    "gymnasium.make takes an argument of that name for itself",
)
"""Names that no option of an environment can have here, and why."""


@dataclass(frozen=True)
class Environment:
    """An environment as a run asks for it.

    Attributes:
        name: Gymnasium id, or `module:id`.
        options: Arguments of its constructor, over those that it was registered with.
        max_episode_steps: Steps after which an episode is truncated; None takes the registered limit.
        observed: Indices of the dimensions that are observed; None for all.
        history: How many observations, and the actions between them, a state holds; see `History`.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None
    observed: tuple[int, ...] | None = None
    history: int = 1

    def __hash__(self) -> int:
        return hash(repr(self))

    def with_options(self, options: Mapping[str, Any]) -> Environment:
        """Return the same with some other options."""
        return replace(self, options={**self.options, **options})

    @property
    def wrappers(self) -> list[Callable[[Env], gymnasium.Wrapper[Any, Any, Any, Any]]]:
        """What stands around the environment."""
        if self.observed is None and self.history == 1:
            return []
        return [functools.partial(History, length=self.history, observed=self.observed)]


def find_spec(name: str) -> EnvSpec:
    """Find an environment's registration; `module:id` imports the module, which may lie where one works.

    Raises:
        ValueError: There is none of that name, or its module fails.
    """
    try:
        if ":" in name:
            find_module(name.partition(":")[0])
        elif name not in gymnasium.registry:
            register_ours()
        return gymnasium.envs.registration._find_spec(name)
    except (Exception, SystemExit) as error:  # a module of the user's own may raise anything
        raise _cannot_be_made(name, error) from error


def register_ours() -> None:
    """Import our `envs`, which registers our environments, and no other package of that name.

    Raises:
        ValueError: Another one is in its place, or this process has imported another one before.
    """
    loaded = sys.modules.get("envs")
    if loaded is None:
        loaded = load_file("envs", OURS["envs"])
    if not is_ours("envs", getattr(loaded, "__file__", None)):
        raise ValueError(
            f"'envs' is {place_of(loaded)}, not ours ({OURS['envs'].parent}): one process cannot use both; "
            "rename yours, or do without it"
        )
    if OUR_ENV not in gymnasium.registry:
        raise ValueError(f"{OURS['envs'].parent} belongs to another package now: reinstall mbrl_agent")


def env_options(name: str) -> dict[str, Option]:
    """List what an environment's constructor takes, by name, with the values that it is registered with.

    The types come from the signature: an annotation, or that of the default value; where neither says
    anything, a value is read as YAML. A constructor with `**kwargs` takes more than is listed.

    Raises:
        ValueError: There is no such environment.
    """
    spec = find_spec(name)
    parameters, _ = _parameters(spec)
    hints = type_hints(_creator(spec))
    found = {}
    for key, parameter in parameters.items():
        default = spec.kwargs.get(key, parameter.default)
        hint = hint_of(hints.get(key, inspect.Parameter.empty), parameter.default)
        found[key] = Option(key, hint, None if default is inspect.Parameter.empty else default, "")
    for key, value in spec.kwargs.items():
        if key not in ELSEWHERE:
            found.setdefault(key, Option(key, hint_of(inspect.Parameter.empty, value), value, ""))
    return found


def read_env_options(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert text or plain data to what the constructor of an environment takes.

    Args:
        name: Gymnasium id, or `module:id`.
        values: By option.

    Raises:
        OptionError: The constructor has no such option, or it cannot have this value.
        ValueError: There is no such environment.
    """
    if not values:
        return {}
    for key in values:
        if key in ELSEWHERE:
            raise OptionError(("env", key), f"is not an option of an environment here: {ELSEWHERE[key]}")
    known = env_options(name)
    _, takes_more = _parameters(find_spec(name))
    result = {}
    for key, value in values.items():
        if key not in known and not takes_more:
            raise OptionError(("env", key), _no_option(name, key, list(known)))
        hint = known[key].hint if key in known else hint_of(inspect.Parameter.empty, None)
        try:
            result[key] = read_value(value, hint)
        except ValueError as error:
            raise OptionError(("env", key), str(error)) from error
    return result


def _no_option(name: str, key: str, known: list[str]) -> str:
    dashed = [option.replace("_", "-") for option in known]
    offer = f"it has {', '.join(dashed)}" if known else "it has none"
    return f"{name} has no such option{did_you_mean(key.replace('_', '-'), dashed)}; {offer}"


def _creator(spec: EnvSpec) -> Any:
    """Return the class or function that makes an environment."""
    entry = spec.entry_point
    try:
        return load_env_creator(entry) if isinstance(entry, str) else entry
    except (Exception, SystemExit) as error:  # a module of the user's own may raise anything
        raise _cannot_be_made(spec.id, error) from error


def _parameters(spec: EnvSpec) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the parameters that can be options, and whether there may be others."""
    try:
        parameters = dict(inspect.signature(_creator(spec)).parameters)
    except (TypeError, ValueError):  # a function of C
        return {}, True
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = {key: p for key, p in parameters.items() if p.kind in named and key not in ELSEWHERE}
    return found, any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def _cannot_be_made(name: str, error: BaseException) -> ValueError:
    near = difflib.get_close_matches(name, gymnasium.registry, n=3, cutoff=0.5)
    hint = f"; similar names: {', '.join(near)}" if near and name not in gymnasium.registry else ""
    reason = reason_of(error)
    if name.partition(":")[0] == "envs" and not hint:
        hint = "; without 'envs:' an id stands for one of the environments that come with the package"
    return ValueError(f"env {name!r} cannot be made: {reason}{hint}")


def _arguments(environment: Environment) -> dict[str, Any]:
    """Return the keyword arguments for `gymnasium.make` and `make_vec`."""
    known = env_options(environment.name) if environment.options else {}
    arguments = {
        key: to_argument(value, known[key].hint) if key in known else value
        for key, value in read_env_options(environment.name, environment.options).items()
    }
    if environment.max_episode_steps is not None:
        arguments["max_episode_steps"] = environment.max_episode_steps
    return arguments


def make_env(environment: Environment | str, render_mode: str | None = None) -> Env:
    """Make an environment.

    Args:
        environment: What is asked for, or an id alone.
        render_mode: Of Gymnasium; None takes that of the registration.

    Raises:
        OptionError: An option is unknown, or has a value that it cannot have.
        ValueError: There is no such environment, it cannot be made, or its episodes may never end.
    """
    wanted = Environment(environment) if isinstance(environment, str) else environment
    spec = find_spec(wanted.name)
    if render_mode is not None and render_mode != "human":
        _render_without_display()
    arguments = _arguments(wanted) | ({} if render_mode is None else {"render_mode": render_mode})
    try:
        env = gymnasium.make(spec, **arguments)
    except (Exception, SystemExit) as error:  # a constructor of the user's own may raise anything
        raise _cannot_be_made(wanted.name, error) from error
    if env.spec is None or env.spec.max_episode_steps is None:
        env.close()
        raise ValueError(
            f"env {wanted.name!r} has no time limit: give --max-episode-steps N, or register it with "
            "max_episode_steps"
        )
    try:
        for wrap in wanted.wrappers:
            env = wrap(env)
    except ValueError as error:
        env.close()
        raise ValueError(f"env {wanted.name!r}: {error}") from error
    return env


def _render_without_display() -> None:
    """Let MuJoCo render by EGL where there is no display, unless the user has chosen something else.

    Its own default needs a display; without one it fails, and the second time ends the process.
    """
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("MUJOCO_GL", "egl")


def make_vector_env(environment: Environment | str, count: int) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    """Make many environments of a kind, which move together.

    An environment with a batch of its own (`vector_entry_point`) is used as such, unless that does not take
    the options, or the registration adds wrappers; then they are made one by one.

    Args:
        environment: What is asked for, or an id alone.
        count: Number of environments.

    Raises:
        ValueError: As for `make_env`. (The environment may raise anything.)
    """
    wanted = Environment(environment) if isinstance(environment, str) else environment
    spec = find_spec(wanted.name)
    arguments = _arguments(wanted)
    if wanted.wrappers:
        arguments["wrappers"] = wanted.wrappers
    mode = None if _has_batch(spec, arguments) else "sync"
    return gymnasium.make_vec(spec, num_envs=count, vectorization_mode=mode, **arguments)


def _has_batch(spec: EnvSpec, arguments: Mapping[str, Any]) -> bool:
    """Tell whether an environment has a batch of its own that takes the arguments."""
    entry = spec.vector_entry_point
    if entry is None or spec.additional_wrappers or "wrappers" in arguments:
        return False
    limit = {} if spec.max_episode_steps is None else {"max_episode_steps": spec.max_episode_steps}
    creator = load_env_creator(entry) if isinstance(entry, str) else entry
    try:
        inspect.signature(creator).bind(num_envs=1, **{**limit, **spec.kwargs, **arguments})
    except TypeError:
        return False
    return True
