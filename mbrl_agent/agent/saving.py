"""What of an agent goes into a checkpoint, and how it comes out again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

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
from mbrl_agent.agent.habits import instead_of
from mbrl_agent.agent.replay import Episode, Replay
from mbrl_agent.agent.spaces_json import space_from_json, space_to_json
from mbrl_agent.agent.task import Task
from mbrl_agent.agent.task_arguments import NONE, TaskArguments, read_start
from mbrl_agent.dynamics import DYNAMICS
from mbrl_agent.files.archive import Archive, CheckpointError, read_archive, write_archive
from mbrl_agent.options import build, shown
from mbrl_agent.options.registry import Registry
from mbrl_agent.policies import POLICIES
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.search.estimators import ESTIMATORS
from mbrl_agent.search.initial_states import NotSaved
from mbrl_agent.search.policy_search import SearchOptions

if TYPE_CHECKING:
    from mbrl_agent.agent.agent import ParticlePILCO

AgentT = TypeVar("AgentT", bound="ParticlePILCO")
LOAD_OPTIONS = ("cost", "initial_states", "terminated", "search", "tensorboard_log", "verbose")
# what the user may give instead of the environment
GIVEN = ("angle_dims", "initial_mean", "initial_std", "initial_states", "terminated")
COUNTERS = (
    "trials", "collections", "added_episodes", "fit_steps", "search_steps", "num_timesteps", "_n_updates",
    "_episode_num",
)  # fmt: skip
CHOICES: dict[str, Registry[Any]] = {
    "resampling": RESAMPLERS,
    "estimator": ESTIMATORS,
    "dynamics": DYNAMICS,
}


def save(agent: ParticlePILCO, path: Any) -> None:
    """Write the agent to one zip file, atomically; see `ParticlePILCO.save`.

    In the middle of an episode it is saved as it was at the episode's start.
    """
    counters = {name: getattr(agent, name) for name in COUNTERS}
    counters["num_timesteps"] -= agent.unfinished_timesteps
    config = {
        "policy": encode_policy(agent.policy_class),
        "policy_kwargs": {
            key: encode_value(value, f"policy_kwargs[{key!r}]") for key, value in agent.policy_kwargs.items()
        },
        "resampling": encode_choice(RESAMPLERS, agent.resampling),
        "estimator": encode_choice(ESTIMATORS, agent.estimator),
        "dynamics": encode_choice(DYNAMICS, agent.dynamics_options),
        "search": {name: encode_value(value, name) for name, value in asdict(agent.search).items()},
        "random_trials": encode_value(agent.random_trials, "random_trials"),
        "max_episode_steps": encode_value(agent.max_episode_steps, "max_episode_steps"),
        "gradient_probe": encode_value(agent.gradient_probe, "gradient_probe"),
        "seed": agent.seed,
        "n_envs": agent.n_envs,
        "observation_space": space_to_json(agent.observation_space),
        "action_space": space_to_json(agent.action_space),
        "angle_dims": list(agent.task.angle_dims),
        "given": [name for name in GIVEN if agent._given_task.is_set(name)],
        "declined": [name for name in GIVEN if agent._given_task.is_declined(name)],
        "counters": counters,
        "recent_episodes": [_plain(info) for info in agent.ep_info_buffer or ()],
        "recent_successes": [bool(success) for success in agent.ep_success_buffer or ()],
        "has_candidates": agent.candidates is not None,
    }
    tensors = {f"policy/{name}": value for name, value in agent.policy.state_dict().items()}
    tensors |= {f"dynamics/{name}": value for name, value in agent.dynamics.state_dict().items()}
    if agent.candidates is not None and agent.candidate_costs is not None:
        tensors |= {f"candidates/{name}": value for name, value in agent.candidates.items()}
        tensors["candidate_costs"] = agent.candidate_costs
    write_archive(path, config, tensors, _arrays(agent))


def _plain(info: Mapping[str, Any]) -> dict[str, float]:
    """Monitor's figures of one episode as plain numbers, without the time of day: equal runs, equal files."""
    return {key: float(info[key]) for key in ("r", "l")}


def _arrays(agent: ParticlePILCO) -> dict[str, NDArray[Any]]:
    """The transitions, and the initial distribution where the task has one."""
    arrays: dict[str, NDArray[Any]] = {}
    for index, episode in enumerate(agent.replay.episodes):
        arrays[f"episodes/{index}/observations"] = episode.observations
        arrays[f"episodes/{index}/actions"] = episode.actions
        arrays[f"episodes/{index}/rewards"] = episode.rewards
    for name in ("initial_mean", "initial_std"):
        value = getattr(agent.task, name)
        if value is not None:
            arrays[name] = value
    if isinstance(agent.task.start, np.ndarray):
        arrays["initial_states"] = agent.task.start
    return arrays


def load(
    cls: type[AgentT],
    path: Any,
    env: GymEnv | str | None,
    device: torch.device | str,
    custom_objects: Mapping[str, Any],
    options: Mapping[str, Any],
) -> AgentT:
    """Read an agent; see `ParticlePILCO.load`."""
    unknown = sorted(set(options) - set(LOAD_OPTIONS))
    if unknown:
        hint = "".join(f"; {word}" for name in unknown if (word := instead_of(name)))
        raise ValueError(f"load takes no option {', '.join(unknown)}: only {', '.join(LOAD_OPTIONS)}{hint}")
    custom = _custom_classes(custom_objects)
    archive = read_archive(path)
    _check_classes(cls, archive.config, custom)
    try:
        agent = _restore(cls, archive, device, custom, options)
    except (
        LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError, AssertionError
    ) as error:  # fmt: skip
        raise CheckpointError(f"{path}: the checkpoint's contents do not fit together: {error}") from error
    if options.get("search") is not None:
        _replace_search(agent, options["search"])
    if env is not None:
        agent.set_env(env)
    return agent


def _replace_search(agent: ParticlePILCO, search: SearchOptions) -> None:
    """Give an agent other options of the policy search.

    Raises:
        ValueError: They do not fit the agent.
        TypeError: They are something else.
    """
    if not isinstance(search, SearchOptions):
        raise TypeError(f"search must be SearchOptions(...) or None, got {type(search).__name__}")
    if agent.candidates is not None and search.candidates != agent.search.candidates:
        raise ValueError(
            f"search: the agent has {agent.search.candidates} candidate policies already, and candidates "
            f"must stay so, got {search.candidates}"
        )
    agent.resampling.validate(search.num_particles, agent.state_dims)
    agent.dynamics.validate(search.num_particles)
    agent.search = search
    agent.learning_rate = search.learning_rate


def read_parameters(path: Any) -> dict[str, dict[str, Tensor]]:
    """Read the weights of the policy and of the model alone from a saved agent.

    Raises:
        CheckpointError: The file is not a whole checkpoint of this version.
    """
    tensors = read_archive(path).tensors
    return {name: _below(tensors, f"{name}/") for name in ("policy", "dynamics")}


def _custom_classes(custom_objects: Mapping[str, Any]) -> dict[str, Any]:
    """What the user passed for `resampling`, `estimator`, `dynamics` and `policy_class`.

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


def _check_classes(cls: type[AgentT], config: Mapping[str, Any], custom: dict[str, Any]) -> None:
    """Raise ValueError or TypeError unless the classes at hand are those of the file."""
    policy = config.get("policy")
    if isinstance(policy, Mapping):  # a subclass of the agent may know the user's policies by aliases
        for known in cls.policy_aliases.values():
            if full_name(known) == policy.get(CLASS):
                custom.setdefault("policy_class", known)
    for key, registry in {**CHOICES, "policy_class": POLICIES}.items():
        if found := plugin_class(registry, config.get(key.removesuffix("_class"))):
            custom.setdefault(key, found)
    for key, registry in CHOICES.items():
        check_custom(key, config.get(key), custom.get(key), registry.base)
    check_custom("policy_class", policy, custom.get("policy_class"), SearchPolicy)


def _restore(
    cls: type[AgentT],
    archive: Archive,
    device: torch.device | str,
    custom: Mapping[str, Any],
    options: Mapping[str, Any],
) -> AgentT:
    config = archive.config
    agent = cls(
        decode_policy(config["policy"], custom.get("policy_class")),
        None,
        **{key: decode_choice(kind, config[key], custom.get(key)) for key, kind in CHOICES.items()},
        search=build(SearchOptions, "search", "policy search", config["search"]),
        cost=options.get("cost"),
        random_trials=config["random_trials"],
        max_episode_steps=config["max_episode_steps"],
        gradient_probe=config["gradient_probe"],
        policy_kwargs={key: decode_value(value) for key, value in config["policy_kwargs"].items()},
        tensorboard_log=options.get("tensorboard_log"),
        verbose=options.get("verbose", 0),
        seed=config["seed"],
        device=device,
        _init_setup_model=False,
    )
    agent.observation_space = space_from_json(config["observation_space"])
    agent.action_space = space_from_json(config["action_space"])
    agent.n_envs = config["n_envs"]
    given = TaskArguments(cost=options.get("cost"), **_given(archive, options))
    start = given.initial_states if given.is_set("initial_states") else archive.arrays.get("initial_states")
    agent.task = Task(
        cost=options.get("cost"),
        angle_dims=tuple(config["angle_dims"]),
        initial_mean=archive.arrays.get("initial_mean"),
        initial_std=archive.arrays.get("initial_std"),
        start=read_start(start, agent.state_dims),
        terminated=given.terminated if callable(given.terminated) else None,
    )
    with _AllocationLimit(sum(value.numel() for value in archive.tensors.values())):
        agent.build()
    agent._given_task = given
    _restore_state(agent, archive)
    return agent


def _given(archive: Archive, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the user gave instead of the environment: as it was, or as it is given to `load`."""
    stored = {"angle_dims": tuple(archive.config["angle_dims"]), **archive.arrays}
    given: dict[str, Any] = {}
    for name in GIVEN:
        given[name] = NONE if name in archive.config["declined"] else None
        if name in archive.config["given"]:
            given[name] = stored.get(name, NotSaved(name))
        if options.get(name) is not None:
            given[name] = options[name]
    return given


def _restore_state(agent: ParticlePILCO, archive: Archive) -> None:
    """Weights, candidates, transitions and counters."""
    config = archive.config
    _load_module(agent.policy, _below(archive.tensors, "policy/"))
    _load_module(agent.dynamics, _below(archive.tensors, "dynamics/"))
    if config["has_candidates"]:
        candidates = _below(archive.tensors, "candidates/")
        # in the policy's order, not the file's: sums over all parameters must round as they did before
        agent.candidates = {
            name: candidates[name].to(agent.device) for name, _ in agent.policy.named_parameters()
        }
        agent.candidate_costs = archive.tensors["candidate_costs"].to(agent.device)
        _check_candidates(agent)
    count = sum(name.endswith("/observations") for name in archive.arrays)
    agent.replay = Replay()
    for i in range(count):
        parts = [archive.arrays[f"episodes/{i}/{part}"] for part in ("observations", "actions", "rewards")]
        agent.replay.add(Episode(*parts))
    if count:
        _check_shape(
            "the episodes", parts[0].shape[1:] + parts[1].shape[1:], (agent.state_dims, agent.action_dims)
        )
    for name in COUNTERS:
        setattr(agent, name, int(config["counters"][name]))
    window = agent._stats_window_size
    agent.ep_info_buffer = deque(map(_plain, config["recent_episodes"]), maxlen=window)
    agent.ep_success_buffer = deque(map(bool, config["recent_successes"]), maxlen=window)


def _check_candidates(agent: ParticlePILCO) -> None:
    """Raise ValueError unless there is a cost for each candidate, and each is one of the policy's."""
    assert agent.candidates is not None
    assert agent.candidate_costs is not None
    for name, value in agent.policy.named_parameters():
        found = agent.candidates[name]
        _check_shape(f"candidates/{name}", found.shape, (*agent.candidate_costs.shape, *value.shape))
        if found.dtype != value.dtype:
            raise ValueError(f"candidates/{name} is of {found.dtype}, not {value.dtype}")


def _check_shape(what: str, found: Sequence[int], expected: Sequence[int]) -> None:
    if tuple(found) != tuple(expected):
        raise ValueError(f"{what} have the shape {tuple(found)} where {tuple(expected)} is expected")


class _AllocationLimit(TorchFunctionMode):
    """Refuse to make more numbers than a network takes whose weights are those of the file.

    The options in the file say how large the networks are, and may say anything.

    Args:
        stored: Numbers in the file's tensors.
    """

    factories: tuple[Callable[..., Tensor], ...] = (
        torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye, torch.arange
    )  # fmt: skip

    def __init__(self, stored: int) -> None:
        super().__init__()
        self._left = 4 * stored + 2**16

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in self.factories:
            planned = {name: value for name, value in given.items() if name != "generator"}
            self._left -= func(*args, **planned | {"device": "meta"}).numel()
            if self._left < 0:
                raise ValueError("its options describe larger networks than those whose weights it holds")
        return func(*args, **given)


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _load_module(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy tensors into a module; RuntimeError where names or shapes differ."""
    module.load_state_dict(dict(tensors), strict=True)
