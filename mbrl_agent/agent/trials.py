"""The phases of a trial: collect real episodes, fit the model, improve the policy in it."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from mbrl_agent.agent import trial_log
from mbrl_agent.agent.callbacks import trial_callbacks
from mbrl_agent.agent.collect import Step, collect_episodes
from mbrl_agent.agent.cost_check import CostCheck
from mbrl_agent.agent.dimension_names import dimension_names
from mbrl_agent.agent.environment import time_limit
from mbrl_agent.agent.logged import logged_episode
from mbrl_agent.agent.observation_changes import Attributes
from mbrl_agent.agent.replay import Episode, Replay
from mbrl_agent.agent.success import as_success
from mbrl_agent.agent.task import Task
from mbrl_agent.dynamics.base import DynamicsModel, FitReport
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.randomness import derive_generator, derive_seed
from mbrl_agent.resampling import Resampler
from mbrl_agent.search.estimators import Estimator
from mbrl_agent.search.policy_search import LONGEST_HORIZON, PolicySearch, SearchOptions, SearchReport
from mbrl_agent.types import Transitions

PROGRESS_EVERY = 10  # gradient steps between reports of progress


class TrialAlgorithm(BaseAlgorithm):
    """A Stable-Baselines3 algorithm that learns in trials; `ParticlePILCO` builds it and makes it public.

    Attributes:
        task: Cost, angles and initial states.
        dynamics: The model.
        policy: Acts; its parameters are those of the best candidate.
        candidates: Parameters of all candidate policies, with a leading axis; None before the first search.
        candidate_costs: Their predicted costs.
        replay: All real episodes.
        trials: Finished trials.
        collections: Collections so far of one real episode in each environment, whether they were finished
            or not; each has seeds of its own.
        added_episodes: Episodes in the replay that the user added.
        latest: Real episodes of the latest collection of this trial; empty if it has had none.
        fit_steps: Optimiser steps of all fits.
        search_steps: Gradient steps of all searches.
        unfinished_timesteps: Of `num_timesteps`, those whose episodes are not in the replay yet.
    """

    task: Task
    dynamics: DynamicsModel
    policy: SearchPolicy
    resampling: Resampler
    estimator: Estimator
    search: SearchOptions
    random_trials: int
    max_episode_steps: int | None
    gradient_probe: int
    candidates: dict[str, Tensor] | None
    candidate_costs: Tensor | None
    replay: Replay
    trials: int
    collections: int
    added_episodes: int
    latest: list[Episode]
    fit_steps: int
    search_steps: int
    unfinished_timesteps: int
    _windows_before: tuple[list[dict[str, Any]], list[bool]] | None = None
    _horizon_capped = False
    _cost_check: CostCheck

    @property
    def state_dims(self) -> int:
        """D."""
        return int(self.observation_space.shape[0])  # type: ignore[index]

    @property
    def action_dims(self) -> int:
        """U."""
        return int(self.action_space.shape[0])  # type: ignore[index]

    @property
    def improved(self) -> bool:
        """Whether the policy has been improved in a model; until then real episodes act at random."""
        return self.candidates is not None

    @property
    def _random_trials_left(self) -> int:
        """Trials that act at random before the first fit; each episode that the user added is one less."""
        return 0 if self.improved else self.random_trials - self.added_episodes - self.trials

    def dimension_names(self) -> list[str]:
        """(D), the names in the environment's `observation_labels`, or the indices where it has none."""
        labels = None if self.env is None else Attributes(self.env).get("observation_labels")
        return dimension_names(labels, self.state_dims)

    def _trial(self, callback: BaseCallback, total_timesteps: int, log_interval: int) -> bool:
        """Collect, fit, improve; False once a callback asks to stop, or the steps are used up too early.

        Random trials before the last one only collect.
        """
        began = time.perf_counter()
        learns = self._random_trials_left <= 1
        needed = self.dynamics.min_transitions if learns else 0
        with self._timed("collect"):
            if not self._collect_enough(callback, total_timesteps, needed):
                return False
        self._check_cost()
        if learns:
            with self._timed("fit"):
                self.fit()
            with self._timed("improve"):
                self.improve(callback)
            if self.gradient_probe:
                with self._timed("probe"):
                    self._probe_gradient()
        self.trials += 1
        self.logger.record("time/trial", time.perf_counter() - began)
        self.logger.record("time/total_timesteps", self.num_timesteps, exclude="tensorboard")
        hooks = list(trial_callbacks(callback))
        for hook in hooks:
            hook.on_trial_end()
        if self.verbose >= 1:
            steps, seconds = f"{self.num_timesteps} steps", time.perf_counter() - began
            line = trial_log.trial_line(str(self.trials), steps, self.logger.name_to_value, seconds)
            sys.stdout.write(f"{line}\n")
        if self.trials % log_interval == 0:
            self.logger.dump(self.num_timesteps)
        go_on = [hook.on_trial_logged() for hook in hooks]  # a list: each of them is asked
        return all(go_on)

    def _collect_enough(self, callback: BaseCallback, total_timesteps: int, transitions: int) -> bool:
        """Collect what a trial needs: one episode an environment, and more while a fit needs more.

        Nothing is collected where the user has added enough. Every collection takes environment steps and
        adds transitions, so that this ends.

        Args:
            callback: Hears of every step.
            total_timesteps: At which no further collection begins.
            transitions: That there have to be at the end.

        Returns:
            False if the callback asked to stop, or the steps are used up before there is enough.
        """
        self.latest = []
        enough_added = not self.improved and self._random_trials_left <= 0
        while not (enough_added and len(self.replay) >= transitions):
            if self.num_timesteps >= total_timesteps:
                warnings.warn(
                    f"a fit needs at least {transitions} transitions, and total_timesteps={total_timesteps} "
                    f"gave {len(self.replay)}, so nothing was learned yet: call learn again with "
                    "reset_num_timesteps=False, which goes on from there",
                    stacklevel=4,
                )
                return False
            if not self.collect(callback, total_timesteps - self.num_timesteps):
                return False
            enough_added = True
        return True

    def add_episode(
        self, observations: ArrayLike, actions: ArrayLike, rewards: ArrayLike | None = None
    ) -> None:
        """Add an episode that was logged before, of this environment or of a real machine.

        It is learned from like the episodes that the agent collects, and its first observation counts as a
        start. Before the first search each added episode stands for one of the `random_trials`: with as
        many of them, and enough transitions for a fit, the first trial collects nothing and learns from
        them at once. Added episodes are saved with the agent, and do not count as `num_timesteps`.

        Args:
            observations: (N + 1, D), from the start to the end.
            actions: (N, U), in the units of the environment, as they were applied.
            rewards: (N,), which nothing learns from; None takes zeros.

        Raises:
            ValueError: Shapes that do not fit, a value that is not finite, an action out of bounds.
            TypeError: Not numbers.
        """
        self.replay.add(logged_episode(self.policy, observations, actions, rewards))
        self.added_episodes += 1

    def collect(self, callback: BaseCallback, remaining_steps: int) -> bool:
        """Run one real episode in each environment; False if the callback asked to stop.

        Until the policy has been improved the actions are random. The seeds of each collection are derived
        from the agent's seed and the number of the collection, one that was stopped included.

        Raises:
            ValueError: The environment or the policy returned a value that is not finite; what was
                collected before is kept.
        """
        assert self.env is not None
        assert self.seed is not None
        at_random = not self.improved
        rng = np.random.default_rng(derive_seed(self.seed, "actions", self.collections))

        def act(observations: NDArray[Any]) -> NDArray[np.float64]:
            if at_random:
                return rng.uniform(-1, 1, (len(observations), self.action_dims))
            with torch.no_grad():
                state = torch.as_tensor(observations, dtype=torch.float32, device=self.device)
                actions: NDArray[np.float64] = self.policy(state).cpu().numpy().astype(np.float64)
                return actions

        def on_step(step: Step) -> bool:
            self.num_timesteps += len(step.dones)
            self.unfinished_timesteps += len(step.dones)
            recorded = np.flatnonzero(step.recorded)
            self._update_info_buffer([step.infos[i] for i in recorded], step.dones[recorded])
            callback.update_locals(
                {"rewards": step.rewards, "dones": step.dones, "infos": step.infos, "self": self}
            )
            return callback.on_step()

        callback.on_rollout_start()
        self.env.seed(self.episode_seed(self.collections))
        longest = self.max_episode_steps or time_limit(self.env) or -(-remaining_steps // self.n_envs)
        before, self._windows_before = len(self.replay.episodes), self.windows()
        try:
            go_on = collect_episodes(self.env, act, self.scale_action, on_step, longest, self.replay.add)
        finally:
            self.collections += 1
            self.latest = self.replay.episodes[before:]
            self.unfinished_timesteps = 0
            self._windows_before = None
            self._last_obs = None  # the next trial starts from a reset
        trial_log.record_episodes(
            self.logger, self.latest, self.ep_info_buffer or (), self.ep_success_buffer or ()
        )
        callback.on_rollout_end()
        return go_on

    def _update_info_buffer(self, infos: list[dict[str, Any]], dones: NDArray[Any] | None = None) -> None:
        """Keep what Monitor and the environment say of finished episodes, a success as a truth value."""
        plain = [
            {**info, "is_success": as_success(info["is_success"])} if "is_success" in info else info
            for info in infos
        ]
        super()._update_info_buffer(plain, dones)

    def windows(self) -> tuple[list[dict[str, Any]], list[bool]]:
        """Recent episodes and successes, as Stable-Baselines3 records them, before the running collection."""
        if self._windows_before is not None:
            return self._windows_before
        return list(self.ep_info_buffer or ()), list(self.ep_success_buffer or ())

    def dump_logs(self) -> None:
        """Write what was recorded so far, in the middle of a trial; `LogEveryNTimesteps` asks for it."""
        trial_log.record_windows(self.logger, self.ep_info_buffer or (), self.ep_success_buffer or ())
        self.logger.dump(self.num_timesteps)

    def episode_seed(self, collection: int) -> int:
        """The seed of the real episode of a collection (counted from 0) in the first environment."""
        assert self.seed is not None
        return derive_seed(self.seed, "episode", collection) % 2**31

    def scale_action(self, action: NDArray[np.float64]) -> NDArray[Any]:
        """Scale actions from [-1, 1] to the bounds of the action space, as `predict` does."""
        return self.policy.unscale_action(action)

    def fit(self) -> FitReport:
        """Fit the dynamics model to all transitions so far.

        Raises:
            ValueError: There are too few transitions.
        """
        assert self.seed is not None
        if self.improved and self.latest:  # the last trial's model has not seen this trial's episodes
            score = self.dynamics.score(self._for_model(Replay(self.latest)))
            trial_log.record_score(self.logger, score, self.dimension_names())
        generator = derive_generator(self.seed, "fit", self.trials, self.device)
        report = self.dynamics.fit(self._for_model(self.replay), generator)
        trial_log.record_fit(self.logger, report, self.fit_steps)
        self.fit_steps += len(report.curve)
        return report

    def _for_model(self, replay: Replay) -> Transitions:
        return replay.transitions(self.dynamics.data_dtype, self.device)

    def improve(self, callback: BaseCallback | None = None) -> SearchReport:
        """Improve the candidate policies in the model and deploy the best one.

        A candidate that the search has made worse, as the model itself predicts it, stays where it began.

        Raises:
            SearchFailedError: No candidate's predicted cost is finite; the policy stays as it is.
        """
        assert self.seed is not None
        generator = derive_generator(self.seed, "improve", self.trials, self.device)
        search = self.policy_search()
        visited = self.replay.transitions(torch.float64, self.device).states
        self.candidates = self.policy.restandardize(visited, self.candidates)
        hooks = list(trial_callbacks(callback)) if callback is not None else []

        def on_step(step: int, expected_cost: Tensor) -> None:
            if (step + 1) % PROGRESS_EVERY == 0:
                for hook in hooks:
                    hook.on_progress("improve", step + 1, self.search.steps, float(expected_cost.min()))

        starts = self._starting_points(generator)
        report = search.improve(starts, generator, on_step)
        ranking = search.rank(
            starts, report.parameters, derive_generator(self.seed, "ranking", self.trials, self.device)
        )
        self.candidates, self.candidate_costs = ranking.parameters, ranking.costs
        self.policy.set_parameters({name: value[ranking.best] for name, value in self.candidates.items()})
        self._n_updates += len(report.expected_cost)
        trial_log.record_search(self.logger, report, ranking, self.search_steps)
        self.search_steps += len(report.expected_cost)
        return report

    def policy_search(self) -> PolicySearch:
        """The search in the present model, from the present distribution of initial states."""
        if not len(self.replay):
            raise ValueError("there is no model yet: call learn first")
        assert self.task.cost is not None
        horizon = self.search.horizon or self._longest_episode()
        return PolicySearch(
            self.search,
            self.policy,
            self.dynamics,
            self.task.cost,
            self.resampling,
            self.estimator,
            self.task.initial_states(self.replay.initial_states(), self.device),
            horizon,
            self.task.terminated,
        )

    def _longest_episode(self) -> int:
        """Steps of the longest real episode, at most LONGEST_HORIZON; says once where it is more."""
        longest = max(len(episode) for episode in self.replay.episodes)
        if longest > LONGEST_HORIZON and not self._horizon_capped:
            self._horizon_capped = True
            warnings.warn(
                f"the longest episode has {longest} steps, of which the search predicts the first "
                f"{LONGEST_HORIZON}: give its option `horizon` to predict more (its time grows with it)",
                stacklevel=2,
            )
        return min(longest, LONGEST_HORIZON)

    def _starting_points(self, generator: torch.Generator) -> dict[str, Tensor]:
        """The candidates of the last trial, but fresh ones for those that failed, or else for the worst.

        At first all are fresh. The one that was deployed is never replaced.
        """
        states = self.replay.transitions(device=self.device).states
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

    def _probe_gradient(self) -> None:
        """Log how noisy the gradient is at the deployed policy, from repeated estimates."""
        assert self.seed is not None
        generator = derive_generator(self.seed, "probe", self.trials, self.device)
        probe = self.policy_search().probe(self.policy.parameter_dict(), self.gradient_probe, generator)
        trial_log.record_probe(self.logger, probe)

    def _check_cost(self) -> None:
        """Log and warn where cost and reward disagree on the real episodes."""
        assert self.task.cost is not None
        self._cost_check(self.task.cost, self.replay.episodes, self.logger, self.device)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.logger.record(f"time/{phase}", time.perf_counter() - began)
