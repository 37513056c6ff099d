"""What an agent learns in: the model, the candidate policies, and the search that improves them there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from mbrl_agent.agent.arguments import AgentArguments, require_search
from mbrl_agent.agent.replay import Replay
from mbrl_agent.agent.task import Task
from mbrl_agent.dynamics.base import DynamicsModel, FitReport, Score
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.policies.memory import MemoryPolicy
from mbrl_agent.randomness import derive_generator
from mbrl_agent.resampling import Resampler
from mbrl_agent.search.legs import SearchReport
from mbrl_agent.search.memory_check import check_memory
from mbrl_agent.search.policy_search import LONGEST_HORIZON, PolicySearch, Ranking, SearchOptions
from mbrl_agent.search.probe import Energy, GradientProbe
from mbrl_agent.targets import Targets
from mbrl_agent.types import Transitions


class Learner:
    """Fit a model to real episodes, and improve policies in it.

    It has no environment and no logger: it is given episodes and generators, and returns reports.

    Args:
        arguments: Of the agent.
        device: Of all tensors.

    Attributes:
        search: Options of the policy search.
        resampling: Strategy between two predicted steps.
        estimator: Of the gradient.
        dynamics_options: What model to make.
        rollout: How a belief is carried through it.
        task: Cost, angles and initial states.
        dynamics: The model.
        policy: Acts; its parameters are those of the best candidate.
        candidates: Parameters of all candidate policies, with a leading axis; None before the first search.
        candidate_costs: Their predicted costs.
        fit_steps: Optimiser steps of all fits.
        search_steps: Gradient steps of all searches.
    """

    task: Task
    dynamics: DynamicsModel
    policy: SearchPolicy

    def __init__(self, arguments: AgentArguments, device: torch.device) -> None:
        self.search = arguments.search
        self.resampling = arguments.resampling
        self.estimator = arguments.estimator
        self.dynamics_options = arguments.dynamics
        self.rollout = arguments.rollout
        self.candidates: dict[str, Tensor] | None = None
        self.candidate_costs: Tensor | None = None
        self.fit_steps = 0
        self.search_steps = 0
        self._device = device
        self._horizon_capped = False

    @property
    def improved(self) -> bool:
        """Whether a policy has been improved in a model."""
        return self.candidates is not None

    def build(
        self,
        policy_class: type[SearchPolicy],
        policy_kwargs: Mapping[str, Any],
        observation_space: spaces.Box,
        action_space: spaces.Box,
        seed: int,
    ) -> None:
        """Make the policy and the dynamics model for the angles and velocities of `task`.

        Args:
            policy_class: Of the policy.
            policy_kwargs: Its options.
            observation_space: Of the environment.
            action_space: Likewise.
            seed: From which the model's weights follow; the policy's are drawn by torch's global generator.

        Raises:
            ValueError: The choices do not fit together, or not to the dimensions.
        """
        known: dict[str, Any] = {"angle_dims": self.task.angle_dims}
        if issubclass(policy_class, MemoryPolicy):
            known["copied_dims"] = tuple(index for index, _ in self.task.copied_dims)
        self.policy = policy_class(observation_space, action_space, **known, **policy_kwargs)
        self.policy = self.policy.to(self._device)
        check_memory(self.policy, self.resampling, self.estimator)
        self.rollout.validate(self.dynamics_options, self.policy, self.estimator, self.task.terminated)
        self._build_model(derive_generator(seed, "dynamics", device=self._device))

    def _build_model(self, generator: torch.Generator) -> None:
        state_dims, action_dims = self.policy.state_dims, self.policy.action_dims
        features = AngleFeatures(state_dims, self.task.angle_dims)
        targets = Targets(features, self.task.velocity_dims, self.task.copied_dims)
        self.dynamics = self.dynamics_options.build(features, action_dims, generator, targets)
        self.dynamics = self.dynamics.to(self._device)
        self._resampler.validate(self.search.num_particles, state_dims)
        self.dynamics.validate(self.search.num_particles)
        self.estimator.validate(self.resampling)
        self.estimator.validate_particles(self.search.num_particles, state_dims, action_dims)

    @property
    def _resampler(self) -> Resampler:
        """The strategy as it works in this task and with this model."""
        return self.resampling.for_task(self.task.angle_dims, self.dynamics.functions)

    def replace_search(self, search: SearchOptions) -> None:
        """Take other options of the policy search.

        Raises:
            ValueError: They do not fit what was learned.
            TypeError: They are something else.
        """
        require_search(search)
        if self.candidates is not None and search.candidates != self.search.candidates:
            raise ValueError(
                f"search: the agent has {self.search.candidates} candidate policies already, and candidates "
                f"must stay so, got {search.candidates}"
            )
        self._resampler.validate(search.num_particles, self.policy.state_dims)
        self.dynamics.validate(search.num_particles)
        self.search = search

    def score(self, replay: Replay) -> Score:
        """Tell how well the present model predicts episodes."""
        return self.dynamics.score(self._transitions(replay))

    def fit(self, replay: Replay, generator: torch.Generator) -> FitReport:
        """Fit the dynamics model to all transitions.

        Raises:
            ValueError: There are too few transitions.
        """
        report = self.dynamics.fit(self._transitions(replay), generator)
        self.fit_steps += len(report.curve)
        return report

    def _transitions(self, replay: Replay) -> Transitions:
        return replay.transitions(self.dynamics.data_dtype, self._device)

    def improve(
        self,
        replay: Replay,
        generator: torch.Generator,
        ranking_generator: torch.Generator,
        on_step: Callable[[int, Tensor], None],
    ) -> tuple[SearchReport, Ranking]:
        """Improve the candidate policies in the model and deploy the best one.

        Args:
            replay: Real episodes, which tell where rollouts start and where policies have to act.
            generator: Source of the search's randomness.
            ranking_generator: Source of the comparison's.
            on_step: Hears of each gradient step and of the candidates' costs (R) before it.

        Raises:
            SearchFailedError: No candidate's predicted cost is finite; the policy stays as it is.
        """
        search = self.policy_search(replay)
        visited = replay.transitions(torch.float64, self._device).states
        self.candidates = self.policy.restandardize(visited, self.candidates)
        starts = self.starting_points(replay, generator)
        report = search.improve(starts, generator, on_step)
        ranking = search.rank(starts, report.parameters, ranking_generator)
        self.candidates, self.candidate_costs = ranking.parameters, ranking.costs
        self.policy.set_parameters({name: value[ranking.best] for name, value in self.candidates.items()})
        self.search_steps += len(report.expected_cost)
        return report, ranking

    def policy_search(self, replay: Replay) -> PolicySearch:
        """Make the search in the present model, from the present distribution of initial states."""
        if not len(replay):
            raise ValueError("there is no model yet: call learn first")
        assert self.task.cost is not None
        start = self.task.initial_states(
            replay.initial_states(), self._device, visited=replay.episodes[0].observations
        )
        return PolicySearch(
            self.search,
            self.policy,
            self.dynamics,
            self.task.cost,
            self._resampler,
            self.rollout.gradient(self.estimator, start),
            start,
            self.search.horizon or self._longest_episode(replay),
            self.task.terminated,
        )

    def _longest_episode(self, replay: Replay) -> int:
        """Count the longest real episode's steps, at most LONGEST_HORIZON; say once where it has more."""
        longest = max(len(episode) for episode in replay.episodes)
        if longest > LONGEST_HORIZON and not self._horizon_capped:
            self._horizon_capped = True
            warnings.warn(
                f"the longest episode has {longest} steps, of which the search predicts the first "
                f"{LONGEST_HORIZON}: give its option `horizon` to predict more (its time grows with it)",
                stacklevel=2,
            )
        return min(longest, LONGEST_HORIZON)

    def starting_points(self, replay: Replay, generator: torch.Generator) -> dict[str, Tensor]:
        """Take the candidates of the last trial, but fresh ones for those that failed, or else for the worst.

        At first all are fresh. The one that was deployed is never replaced.
        """
        states = replay.transitions(device=self._device).states
        if self.candidates is None or self.candidate_costs is None:
            return self.policy.initial_parameters(states, self.search.candidates, generator)
        costs = self.candidate_costs
        replaced = ~costs.isfinite()
        if len(costs) > 1 and not bool(replaced.any()):
            replaced[costs.argsort(stable=True)[-1]] = True  # of equal ones the last: the first is deployed
        points = {name: value.clone() for name, value in self.candidates.items()}
        if bool(replaced.any()):
            fresh = self.policy.initial_parameters(states, int(replaced.sum()), generator)
            for name, value in points.items():
                value[replaced] = fresh[name]
        return points

    def probe(
        self, replay: Replay, estimates: int, generator: torch.Generator, energy: Energy | None = None
    ) -> GradientProbe:
        """Tell how noisy the gradient is at the deployed policy, from repeated estimates.

        Args:
            replay: Real episodes, which tell where rollouts start.
            estimates: At least 2.
            generator: Source of all randomness.
            energy: The plant's mechanical energy, if it is known.
        """
        search = self.policy_search(replay)
        return search.probe(self.policy.parameter_dict(), estimates, generator, energy)
