"""From an agent's parts to its state, and back."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor

from mbrl_agent.agent.allocation_limit import AllocationLimit
from mbrl_agent.agent.arguments import NUMBERS, AgentArguments
from mbrl_agent.agent.collector import Collector
from mbrl_agent.agent.learner import Learner
from mbrl_agent.agent.replay import Replay
from mbrl_agent.agent.state import COUNTERS, AgentState
from mbrl_agent.agent.task_arguments import TaskArguments


def snapshot(
    algorithm: BaseAlgorithm, learner: Learner, collector: Collector, given: TaskArguments
) -> AgentState:
    """Copy everything that an agent is, between two episodes.

    In the middle of an episode it is as it was at the episode's start.

    Args:
        algorithm: The agent, which has counters, spaces and the records of Monitor.
        learner: Of the agent.
        collector: Of the agent.
        given: What the user passed of the task.
    """
    space, actions, policy_class = algorithm.observation_space, algorithm.action_space, type(learner.policy)
    assert isinstance(space, spaces.Box)
    assert isinstance(actions, spaces.Box)
    assert algorithm.seed is not None
    episodes, successes = collector.windows()
    counters: dict[str, int] = {name: getattr(algorithm, name) for name in COUNTERS}
    counters["num_timesteps"] -= collector.unfinished_timesteps
    numbers: dict[str, Any] = {name: getattr(algorithm, name) for name in NUMBERS}
    return AgentState(
        policy_class=policy_class,
        arguments=AgentArguments(
            resampling=learner.resampling,
            estimator=learner.estimator,
            dynamics=learner.dynamics_options,
            rollout=learner.rollout,
            search=learner.search,
            policy_kwargs=algorithm.policy_kwargs,
            seed=algorithm.seed,
            **numbers,
        ),
        observation_space=space,
        action_space=actions,
        n_envs=algorithm.n_envs,
        given=given,
        task=learner.task,
        policy=_copied(learner.policy.state_dict()),
        dynamics=_copied(learner.dynamics.state_dict()),
        candidates=None if learner.candidates is None else _copied(learner.candidates),
        candidate_costs=None if learner.candidate_costs is None else learner.candidate_costs.clone(),
        episodes=tuple(collector.replay.episodes),
        further_starts=np.reshape(collector.replay.further_starts, (-1, *space.shape)).astype(np.float64),
        counters=counters,
        # without Monitor's time of day: equal runs, equal states
        recent_episodes=[{key: float(info[key]) for key in ("r", "l")} for info in episodes],
        recent_successes=[bool(success) for success in successes],
    )


def restore(algorithm: BaseAlgorithm, learner: Learner, collector: Collector, state: AgentState) -> None:
    """Build the parts of an agent that has no environment, and give them all that a state holds.

    Raises:
        ValueError: Something does not fit (RuntimeError or LookupError for weights).
    """
    space, actions = state.observation_space, state.action_space
    algorithm.observation_space, algorithm.action_space, algorithm.n_envs = space, actions, state.n_envs
    learner.task = state.task
    with AllocationLimit(state.count_numbers()):
        learner.build(state.policy_class, state.arguments.policy_kwargs, space, actions, state.arguments.seed)
    learner.policy.load_state_dict(dict(state.policy))
    learner.dynamics.load_state_dict(dict(state.dynamics))
    if state.candidates is not None and state.candidate_costs is not None:
        state.check_candidates(learner.policy)
        # in the policy's order, not the state's: sums over all parameters must round as they did before
        names = [name for name, _ in learner.policy.named_parameters()]
        learner.candidates = _copied({name: state.candidates[name] for name in names}, algorithm.device)
        learner.candidate_costs = state.candidate_costs.to(algorithm.device, copy=True)
    state.check_episodes()
    collector.replay = Replay(state.episodes, state.further_starts)
    for name in COUNTERS:
        setattr(algorithm, name, state.counters[name])
    window = algorithm._stats_window_size
    algorithm.ep_info_buffer = deque(map(dict, state.recent_episodes), maxlen=window)
    algorithm.ep_success_buffer = deque(state.recent_successes, maxlen=window)


def _copied(tensors: Mapping[str, Tensor], device: torch.device | None = None) -> dict[str, Tensor]:
    """Copy tensors by name, to another device if one is given."""
    return {name: value.detach().to(device or value.device, copy=True) for name, value in tensors.items()}
