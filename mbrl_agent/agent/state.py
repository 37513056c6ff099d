"""Everything that an agent is, as plain values: what it gives to be written, and is made from again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.agent.arguments import AgentArguments
from mbrl_agent.agent.replay import Episode
from mbrl_agent.agent.task import Task
from mbrl_agent.agent.task_arguments import TaskArguments, read_start
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.search.initial_states import Sampler
from mbrl_agent.types import Cost, Parameters, Terminated

COUNTERS = (
    "trials", "collections", "added_episodes", "fit_steps", "search_steps", "num_timesteps", "_n_updates",
    "_episode_num",
)  # fmt: skip
"""Attributes of an agent that count."""


@dataclass(frozen=True)
class AgentState:
    """An agent between two episodes, without its environment.

    Attributes:
        policy_class: Of the policy.
        arguments: Of the constructor.
        observation_space: Box of D dimensions.
        action_space: Box of U dimensions.
        n_envs: Number of environments.
        given: What the user passed of the task.
        task: What the agent took from that and from the environment.
        policy: Weights of the policy that acts, and its standardisation, by name.
        dynamics: Weights of the model, likewise.
        candidates: Parameters of all candidate policies, with a leading axis R; None before the first search.
        candidate_costs: (R,), their predicted costs; None likewise.
        episodes: All real episodes.
        further_starts: (N, D), first observations of episodes that were not recorded.
        counters: By the names in `COUNTERS`.
        recent_episodes: Return "r" and length "l" of the episodes over which means are logged.
        recent_successes: Whether those succeeded whose environment tells.
    """

    policy_class: type[SearchPolicy]
    arguments: AgentArguments
    observation_space: spaces.Box
    action_space: spaces.Box
    n_envs: int
    given: TaskArguments
    task: Task
    policy: Parameters
    dynamics: Parameters
    candidates: Parameters | None
    candidate_costs: Tensor | None
    episodes: Sequence[Episode]
    further_starts: NDArray[np.float64]
    counters: Mapping[str, int]
    recent_episodes: Sequence[Mapping[str, float]]
    recent_successes: Sequence[bool]

    def with_functions(
        self, cost: Cost | None, initial_states: Sampler | None, terminated: Terminated | str | None
    ) -> AgentState:
        """Add what a file does not hold; None leaves `initial_states` and `terminated` as they are.

        Raises:
            ValueError: The initial states do not fit the observations.
        """
        passed = {"initial_states": initial_states, "terminated": terminated}
        given = replace(self.given, cost=cost, **{k: v for k, v in passed.items() if v is not None})  # type: ignore[arg-type]
        start: Any = given.initial_states if given.is_set("initial_states") else self.task.start
        task = replace(
            self.task,
            cost=cost,
            start=read_start(start, self.observation_space.shape[0]),
            terminated=given.terminated if callable(given.terminated) else None,
        )
        return replace(self, given=given, task=task)

    def count_numbers(self) -> int:
        """Count the numbers in all weights."""
        groups = [self.policy, self.dynamics, self.candidates or {}]
        costs = [] if self.candidate_costs is None else [self.candidate_costs]
        return sum(value.numel() for group in groups for value in group.values()) + sum(
            value.numel() for value in costs
        )

    def check_episodes(self) -> None:
        """Raise ValueError unless the episodes have the dimensions of the spaces."""
        dims = (self.observation_space.shape[0], self.action_space.shape[0])
        for episode in self.episodes:
            _check_shape("the episodes", episode.observations.shape[1:] + episode.actions.shape[1:], dims)
        _check_shape("the further starts", self.further_starts.shape, (len(self.further_starts), dims[0]))
        if not np.isfinite(self.further_starts).all():
            raise ValueError("a further start is not finite")

    def check_candidates(self, policy: SearchPolicy) -> None:
        """Raise ValueError unless there is a cost for each candidate, and each is one of the policy's."""
        assert self.candidates is not None
        assert self.candidate_costs is not None
        for name, value in policy.named_parameters():
            found = self.candidates[name]
            _check_shape(f"candidates/{name}", found.shape, (*self.candidate_costs.shape, *value.shape))
            if found.dtype != value.dtype:
                raise ValueError(f"candidates/{name} is of {found.dtype}, not {value.dtype}")


def _check_shape(what: str, found: Sequence[int], expected: Sequence[int]) -> None:
    if tuple(found) != tuple(expected):
        raise ValueError(f"{what} have the shape {tuple(found)} where {tuple(expected)} is expected")
