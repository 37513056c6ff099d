"""What of an agent goes into a checkpoint, and how it comes out again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from numpy.typing import NDArray
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mbrl_agent.checkpoint import Archive, CheckpointError, read_archive, write_archive
from mbrl_agent.dynamics import DYNAMICS
from mbrl_agent.estimators import ESTIMATORS
from mbrl_agent.options import build, shown, to_plain
from mbrl_agent.policy_search import SearchOptions
from mbrl_agent.registry import Registry
from mbrl_agent.replay import Episode, Replay
from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.spaces_json import space_from_json, space_to_json
from mbrl_agent.tasks import Task

if TYPE_CHECKING:
    from mbrl_agent.agent import ParticlePILCO

AgentT = TypeVar("AgentT", bound="ParticlePILCO")
LOAD_OPTIONS = ("cost", "tensorboard_log", "verbose")
GIVEN = ("angle_dims", "initial_mean", "initial_std")  # what the user may give instead of the environment
COUNTERS = (
    "trials", "collections", "added_episodes", "fit_steps", "search_steps", "num_timesteps", "_n_updates",
    "_episode_num",
)  # fmt: skip


def save(agent: ParticlePILCO, path: Any) -> None:
    """Write the agent to one zip file, atomically; see `ParticlePILCO.save`.

    In the middle of an episode it is saved as it was at the episode's start.
    """
    counters = {name: getattr(agent, name) for name in COUNTERS}
    counters["num_timesteps"] -= agent.unfinished_timesteps
    config = {
        "policy": agent.policy_class.__name__,
        "policy_kwargs": to_plain(agent.policy_kwargs),
        "resampling": RESAMPLERS.to_dict(agent.resampling),
        "estimator": ESTIMATORS.to_dict(agent.estimator),
        "dynamics": DYNAMICS.to_dict(agent.dynamics_options),
        "search": to_plain(asdict(agent.search)),
        "random_trials": agent.random_trials,
        "max_episode_steps": agent.max_episode_steps,
        "gradient_probe": agent.gradient_probe,
        "seed": agent.seed,
        "n_envs": agent.n_envs,
        "observation_space": space_to_json(agent.observation_space),
        "action_space": space_to_json(agent.action_space),
        "angle_dims": list(agent.task.angle_dims),
        "given": [
            name for name, value in zip(GIVEN, agent._given_task[1:], strict=True) if value is not None
        ],
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
    return arrays


def load(
    cls: type[AgentT],
    path: Any,
    env: GymEnv | None,
    device: torch.device | str,
    custom_objects: Mapping[str, Any],
    options: Mapping[str, Any],
) -> AgentT:
    """Read an agent; see `ParticlePILCO.load`."""
    unknown = sorted(set(options) - set(LOAD_OPTIONS))
    if unknown:
        raise ValueError(f"load takes no option {', '.join(unknown)}: only {', '.join(LOAD_OPTIONS)}")
    archive = read_archive(path)
    _check_policy(cls, archive.config.get("policy"), custom_objects)
    try:
        agent = _restore(cls, archive, device, custom_objects, options)
    except (
        LookupError, ValueError, TypeError, AttributeError, RuntimeError, ArithmeticError, AssertionError
    ) as error:  # fmt: skip
        raise CheckpointError(f"{path}: the checkpoint's contents do not fit together: {error}") from error
    if env is not None:
        agent.set_env(env)
    return agent


def _check_policy(cls: type[AgentT], name: Any, custom_objects: Mapping[str, Any]) -> None:
    """Raise ValueError where the policy is one that only the user has."""
    known = isinstance(name, str) and name in cls.policy_aliases
    if "policy_class" not in custom_objects and not known:
        raise ValueError(
            f"the agent's policy {shown(name)} is not one of {', '.join(cls.policy_aliases)}: "
            "pass its class, custom_objects={'policy_class': ...}"
        )


def _restore(
    cls: type[AgentT],
    archive: Archive,
    device: torch.device | str,
    custom_objects: Mapping[str, Any],
    options: Mapping[str, Any],
) -> AgentT:
    config = archive.config
    agent = cls(
        custom_objects.get("policy_class", config["policy"]),
        None,
        resampling=_chosen(RESAMPLERS, config["resampling"]),
        estimator=_chosen(ESTIMATORS, config["estimator"]),
        dynamics=_chosen(DYNAMICS, config["dynamics"]),
        search=build(SearchOptions, "search", "policy search", config["search"]),
        cost=options.get("cost"),
        random_trials=config["random_trials"],
        max_episode_steps=config["max_episode_steps"],
        gradient_probe=config["gradient_probe"],
        policy_kwargs=config["policy_kwargs"],
        tensorboard_log=options.get("tensorboard_log"),
        verbose=options.get("verbose", 0),
        seed=config["seed"],
        device=device,
        _init_setup_model=False,
    )
    agent.observation_space = space_from_json(config["observation_space"])
    agent.action_space = space_from_json(config["action_space"])
    agent.n_envs = config["n_envs"]
    agent.task = Task(
        cost=options.get("cost"),
        angle_dims=tuple(config["angle_dims"]),
        initial_mean=archive.arrays.get("initial_mean"),
        initial_std=archive.arrays.get("initial_std"),
    )
    with _AllocationLimit(sum(value.numel() for value in archive.tensors.values())):
        agent.build()
    given = {name: getattr(agent.task, name) if name in config["given"] else None for name in GIVEN}
    agent._given_task = (agent.task.cost, given["angle_dims"], given["initial_mean"], given["initial_std"])
    _restore_state(agent, archive)
    return agent


def _chosen(registry: Registry[Any], data: Mapping[str, Any]) -> Any:
    """An instance from what `Registry.to_dict` returned."""
    options = {key: value for key, value in data.items() if key != "name"}
    return build(registry.get(data["name"]), registry.kind, registry.kind, options)


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
