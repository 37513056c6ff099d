"""Write the state of an agent into one file of plain data, and read it again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.agent.arguments import CHOICES, NUMBERS, AgentArguments
from mbrl_agent.agent.choice_data import (
    CLASS,
    check_custom,
    decode_choice,
    decode_policy,
    decode_value,
    encode_choice,
    encode_policy,
    encode_value,
    full_name,
    plugin_class,
)
from mbrl_agent.agent.replay import Episode
from mbrl_agent.agent.state import COUNTERS, AgentState
from mbrl_agent.agent.task import Task
from mbrl_agent.agent.task_arguments import NONE, TaskArguments
from mbrl_agent.files.archive import Archive, CheckpointError, read_archive, write_archive
from mbrl_agent.options import build, shown
from mbrl_agent.policies import POLICIES
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.search.initial_states import NotSaved
from mbrl_agent.search.policy_search import SearchOptions

# what the user may give instead of the environment
PAIRS = ("velocity_dims", "copied_dims")
GIVEN = ("angle_dims", *PAIRS, "initial_mean", "initial_std", "initial_states", "terminated")
SPACES = ("observation_space", "action_space")


def write_state(path: Any, state: AgentState) -> None:
    """Write the state of an agent to one zip file, atomically.

    Args:
        path: File name or binary file object.
        state: Of an agent.

    Raises:
        TypeError: An option has a value that a file cannot hold.
    """
    arguments = state.arguments
    config = {
        "policy": encode_policy(state.policy_class),
        "policy_kwargs": {
            key: encode_value(value, f"policy_kwargs[{key!r}]")
            for key, value in arguments.policy_kwargs.items()
        },
        **{key: encode_choice(kind, getattr(arguments, key)) for key, kind in CHOICES.items()},
        "search": {name: encode_value(value, name) for name, value in asdict(arguments.search).items()},
        **{name: encode_value(getattr(arguments, name), name) for name in NUMBERS},
        "seed": arguments.seed,
        "n_envs": state.n_envs,
        "angle_dims": list(state.task.angle_dims),
        **{name: [list(pair) for pair in getattr(state.task, name)] for name in PAIRS},
        "given": [name for name in GIVEN if state.given.is_set(name)],
        "declined": [name for name in GIVEN if state.given.is_declined(name)],
        "counters": dict(state.counters),
        "recent_episodes": [dict(info) for info in state.recent_episodes],
        "recent_successes": list(state.recent_successes),
        "has_candidates": state.candidates is not None,
    }
    write_archive(path, config, _tensors(state), _arrays(state))


def _tensors(state: AgentState) -> dict[str, Tensor]:
    """Return all weights."""
    groups = {"policy": state.policy, "dynamics": state.dynamics, "candidates": state.candidates or {}}
    tensors = {f"{group}/{name}": value for group, of in groups.items() for name, value in of.items()}
    if state.candidate_costs is not None:
        tensors["candidate_costs"] = state.candidate_costs
    return tensors


def _arrays(state: AgentState) -> dict[str, NDArray[Any]]:
    """Collect the bounds of the spaces, the transitions, and the task's initial distribution, if any."""
    arrays: dict[str, NDArray[Any]] = {}
    for name in SPACES:
        space = getattr(state, name)
        arrays[f"{name}/low"], arrays[f"{name}/high"] = space.low, space.high
    for index, episode in enumerate(state.episodes):
        arrays[f"episodes/{index}/observations"] = episode.observations
        arrays[f"episodes/{index}/actions"] = episode.actions
        arrays[f"episodes/{index}/rewards"] = episode.rewards
    arrays["further_starts"] = state.further_starts
    for name in ("initial_mean", "initial_std"):
        value = getattr(state.task, name)
        if value is not None:
            arrays[name] = value
    if isinstance(state.task.start, np.ndarray):
        arrays["initial_states"] = state.task.start
    return arrays


def read_state(path: Any, custom_objects: Mapping[str, Any], policies: Iterable[type]) -> AgentState:
    """Read what `write_state` wrote; no code from the file is run.

    A function that the user had given is `NotSaved` in it; see `AgentState.with_functions`.

    Args:
        path: File name or binary file object.
        custom_objects: The user's classes, as in `ParticlePILCO.load`.
        policies: Further policy classes, which the agent knows by a name.

    Raises:
        CheckpointError: The file is not a whole checkpoint of this version.
        ValueError: `custom_objects` lacks a class that the file needs, or has one that it does not.
        TypeError: Something in `custom_objects` is not a class of its kind.
    """
    custom = _custom_classes(custom_objects)
    archive = read_archive(path)
    _check_classes(archive.config, custom, policies)
    with fitting_contents(path):
        return _decode(archive, custom)


@contextmanager
def fitting_contents(path: Any) -> Iterator[None]:
    """Turn what goes wrong with the contents of a file that is whole into a CheckpointError."""
    try:
        yield
    except (
        LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError, AssertionError
    ) as error:  # fmt: skip
        reason = str(error).partition("\n")[0]  # below it torch may write its own C++ stack
        raise CheckpointError(f"{path}: the checkpoint's contents do not fit together: {reason}") from error


def read_parameters(path: Any) -> dict[str, dict[str, Tensor]]:
    """Read the weights of the policy and of the model alone from a saved agent.

    Raises:
        CheckpointError: The file is not a whole checkpoint of this version.
    """
    tensors = read_archive(path).tensors
    return {name: _below(tensors, f"{name}/") for name in ("policy", "dynamics")}


def _custom_classes(custom_objects: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the user passed for `resampling`, `estimator`, `dynamics`, `rollout` and `policy_class`.

    Raises:
        ValueError: A key that is none of these.
        TypeError: It is not a mapping.
    """
    if not isinstance(custom_objects, Mapping):
        raise TypeError(f"custom_objects must be a dict, got {type(custom_objects).__name__}")
    custom = dict(custom_objects)
    if "policy" in custom:  # what the agent's argument is called; the attribute is policy_class
        if "policy_class" in custom:
            raise ValueError(
                "custom_objects has both 'policy' and 'policy_class', which mean the same: pass one"
            )
        custom["policy_class"] = custom.pop("policy")
    known = [*CHOICES, "policy_class"]
    for key in custom:
        if key not in known:
            raise ValueError(
                f"custom_objects has the key {shown(key)}, but an agent takes classes for {', '.join(known)} "
                "alone"
            )
    return custom


def _check_classes(config: Mapping[str, Any], custom: dict[str, Any], policies: Iterable[type]) -> None:
    """Raise ValueError or TypeError unless the classes at hand are those of the file."""
    policy = config.get("policy")
    if isinstance(policy, Mapping):  # a subclass of the agent may know the user's policies by aliases
        for known in policies:
            if full_name(known) == policy.get(CLASS):
                custom.setdefault("policy_class", known)
    for key, registry in {**CHOICES, "policy_class": POLICIES}.items():
        if found := plugin_class(registry, config.get(key.removesuffix("_class"))):
            custom.setdefault(key, found)
    for key, registry in CHOICES.items():
        check_custom(key, config.get(key), custom.get(key), registry.base)
    check_custom("policy_class", policy, custom.get("policy_class"), SearchPolicy)


def _decode(archive: Archive, custom: Mapping[str, Any]) -> AgentState:
    """Return the state that a file holds."""
    config, arrays, tensors = archive.config, archive.arrays, archive.tensors
    choices = {key: decode_choice(kind, config[key], custom.get(key)) for key, kind in CHOICES.items()}
    return AgentState(
        policy_class=decode_policy(config["policy"], custom.get("policy_class")),
        arguments=AgentArguments(
            **choices,
            **{name: config[name] for name in NUMBERS},
            search=build(SearchOptions, "search", "policy search", config["search"]),
            policy_kwargs={key: decode_value(value) for key, value in config["policy_kwargs"].items()},
            seed=config["seed"],
        ),
        **{name: read_box(arrays, name) for name in SPACES},
        n_envs=config["n_envs"],
        given=_given(archive),
        task=Task(
            cost=None,
            angle_dims=tuple(config["angle_dims"]),
            initial_mean=arrays.get("initial_mean"),
            initial_std=arrays.get("initial_std"),
            start=arrays.get("initial_states"),
            velocity_dims=_pairs(config, "velocity_dims"),
            copied_dims=_pairs(config, "copied_dims"),
        ),
        policy=_below(tensors, "policy/"),
        dynamics=_below(tensors, "dynamics/"),
        candidates=_below(tensors, "candidates/") if config["has_candidates"] else None,
        candidate_costs=tensors["candidate_costs"] if config["has_candidates"] else None,
        episodes=_episodes(arrays),
        further_starts=arrays["further_starts"],
        counters={name: int(config["counters"][name]) for name in COUNTERS},
        recent_episodes=[{key: float(info[key]) for key in ("r", "l")} for info in config["recent_episodes"]],
        recent_successes=[bool(success) for success in config["recent_successes"]],
    )


def read_box(arrays: Mapping[str, NDArray[Any]], name: str) -> Box:
    """Make a space from the bounds in a file; their type and shape are those of the space.

    An integer Box that was declared without a bound comes back with the bound of its type: the two are
    equal, and contain the same values.

    Args:
        arrays: Of the file.
        name: Of the space in it.

    Raises:
        ValueError: The bounds are not those of a Box.
    """
    low, high = arrays[f"{name}/low"], arrays[f"{name}/high"]
    if low.dtype != high.dtype or low.dtype.kind not in "biuf" or low.shape != high.shape:
        raise ValueError(f"the bounds of {name} are {low.dtype} {low.shape} and {high.dtype} {high.shape}")
    if not (low <= high).all():  # false for NaN, too
        raise ValueError(f"a lower bound of {name} is not below the upper one")
    return Box(low, high, dtype=low.dtype.type)


def _given(archive: Archive) -> TaskArguments:
    """Return what the user gave instead of the environment; `NotSaved` in the place of a function."""
    config = archive.config
    stored = {
        "angle_dims": tuple(config["angle_dims"]),
        **{name: dict(_pairs(config, name)) for name in PAIRS},
        **archive.arrays,
    }
    given: dict[str, Any] = {}
    for name in GIVEN:
        given[name] = NONE if name in config["declined"] else None
        if name in config["given"]:
            given[name] = stored.get(name, NotSaved(name))
    return TaskArguments(**given)


def _pairs(config: Mapping[str, Any], name: str) -> tuple[tuple[int, int], ...]:
    """Return each index with that which belongs to it."""
    return tuple((int(index), int(other)) for index, other in config[name])


def _episodes(arrays: Mapping[str, NDArray[Any]]) -> list[Episode]:
    """Return the transitions, in their order."""
    count = sum(name.endswith("/observations") for name in arrays)
    parts = ("observations", "actions", "rewards")
    return [Episode(*(arrays[f"episodes/{index}/{part}"] for part in parts)) for index in range(count)]


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose name starts with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
