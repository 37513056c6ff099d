"""Real episodes: how they come about for a Stable-Baselines3 algorithm, and what is kept of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from mbrl_agent.agent import trial_log
from mbrl_agent.agent.collect import EnvStep, collect_episodes, policy_actions, random_actions
from mbrl_agent.agent.environment import time_limit
from mbrl_agent.agent.replay import Episode, Replay
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.randomness import derive_seed

Windows = tuple[list[dict[str, Any]], list[bool]]
"""Monitor's records of the latest episodes, and whether those succeeded whose environment tells."""


class Collector:
    """Collect real episodes for an algorithm, which counts their steps and has their environment.

    Args:
        algorithm: Any of Stable-Baselines3, with a seed.
        max_episode_steps: Where episodes are truncated; None leaves that to the environment.

    Attributes:
        max_episode_steps: As given.
        replay: All real episodes.
        latest: Real episodes of the latest collection of this trial; empty if it has had none.
        collections: Collections so far of one real episode in each environment, whether they were finished
            or not; each has seeds of its own.
        added_episodes: Episodes in the replay that the user added.
        unfinished_timesteps: Of the algorithm's timesteps, those whose episodes are not in the replay yet.
    """

    def __init__(self, algorithm: BaseAlgorithm, max_episode_steps: int | None) -> None:
        self.max_episode_steps = max_episode_steps
        self.replay = Replay()
        self.latest: list[Episode] = []
        self.collections = 0
        self.added_episodes = 0
        self.unfinished_timesteps = 0
        self._windows_before: Windows | None = None
        self._algorithm = algorithm

    def add(self, episode: Episode) -> None:
        """Keep an episode that the user has; see `Replay.add`."""
        self.replay.add(episode)
        self.added_episodes += 1

    def collect(
        self, callback: BaseCallback, policy: SearchPolicy, at_random: bool, remaining_steps: int
    ) -> bool:
        """Run one real episode in each environment; see `collect_episodes` for errors.

        The seeds of each collection are derived from the algorithm's seed and the number of the collection,
        one that was stopped included.

        Args:
            callback: Hears of every step.
            policy: Acts, and knows the bounds of actions.
            at_random: Whether uniformly random actions are taken instead.
            remaining_steps: Where episodes without any time limit are truncated, over all environments.

        Returns:
            False if the callback asked to stop.
        """
        algorithm = self._algorithm
        assert algorithm.env is not None
        assert algorithm.seed is not None
        act = policy_actions(policy, algorithm.device)
        if at_random:
            act = random_actions(derive_seed(algorithm.seed, "actions", self.collections), policy.action_dims)
        limit = self.max_episode_steps or time_limit(algorithm.env) or -(-remaining_steps // algorithm.n_envs)
        callback.on_rollout_start()
        algorithm.env.seed(self.episode_seed(self.collections))
        before, self._windows_before = len(self.replay.episodes), self.windows()
        try:
            go_on = collect_episodes(
                algorithm.env,
                act,
                policy.unscale_action,
                lambda step: self._count(step, callback),
                limit,
                self.replay.add,
                self.replay.further_starts.append,
            )
        finally:
            self.collections += 1
            self.latest = self.replay.episodes[before:]
            self.unfinished_timesteps = 0
            self._windows_before = None
            algorithm._last_obs = None  # the next trial starts from a reset
        trial_log.record_episodes(
            algorithm.logger, self.latest, algorithm.ep_info_buffer or (), algorithm.ep_success_buffer or ()
        )
        callback.on_rollout_end()
        return go_on

    def _count(self, step: EnvStep, callback: BaseCallback) -> bool:
        """Count a step of all environments; False if the callback asks to stop."""
        algorithm = self._algorithm
        algorithm.num_timesteps += len(step.dones)
        self.unfinished_timesteps += len(step.dones)
        recorded = np.flatnonzero(step.recorded)
        algorithm._update_info_buffer([step.infos[i] for i in recorded], step.dones[recorded])
        callback.update_locals(
            {"rewards": step.rewards, "dones": step.dones, "infos": step.infos, "self": algorithm}
        )
        return callback.on_step()

    def windows(self) -> Windows:
        """Return the algorithm's recent episodes and successes, as before the running collection."""
        if self._windows_before is not None:
            return self._windows_before
        return list(self._algorithm.ep_info_buffer or ()), list(self._algorithm.ep_success_buffer or ())

    def episode_seed(self, collection: int) -> int:
        """Return the seed of the real episode of a collection (counted from 0) in the first environment."""
        assert self._algorithm.seed is not None
        return derive_seed(self._algorithm.seed, "episode", collection) % 2**31
