"""The trials of an agent: collect real episodes, fit the model, improve the policy in it, tell of it."""

from __future__ import annotations

import sys
import time
import warnings

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor

from mbrl_agent.agent import trial_log
from mbrl_agent.agent.callbacks import trial_callbacks
from mbrl_agent.agent.collector import Collector
from mbrl_agent.agent.cost_check import CostCheck
from mbrl_agent.agent.dimension_names import offered_names
from mbrl_agent.agent.energy import offered_energy
from mbrl_agent.agent.learner import Learner
from mbrl_agent.agent.replay import Replay
from mbrl_agent.dynamics.base import FitReport
from mbrl_agent.randomness import derive_generator
from mbrl_agent.search.legs import SearchReport

PROGRESS_EVERY = 10  # gradient steps between reports of progress


class TrialLoop:
    """Run trials with an agent's parts, and tell its logger, callbacks and terminal of them.

    Args:
        algorithm: Any of Stable-Baselines3, with a seed: has the environment, the logger and the counters.
        learner: Of the agent.
        collector: Of the agent.
        random_trials: Trials at the start that act at random; the last of them is the first that learns.
        gradient_probe: Repeated gradient estimates at the end of each trial; 0 for none.

    Attributes:
        trials: Finished trials.
    """

    def __init__(
        self,
        algorithm: BaseAlgorithm,
        learner: Learner,
        collector: Collector,
        random_trials: int,
        gradient_probe: int,
    ) -> None:
        self.random_trials = random_trials
        self.gradient_probe = gradient_probe
        self.trials = 0
        self._algorithm = algorithm
        self._learner = learner
        self._collector = collector
        self._cost_check = CostCheck()

    def trial(self, callback: BaseCallback, total_timesteps: int, log_interval: int) -> bool:
        """Collect, fit, improve; False once a callback asks to stop, or the steps are used up too early.

        Random trials before the last one only collect.
        """
        algorithm, began = self._algorithm, time.perf_counter()
        learns = self._random_trials_left <= 1
        needed = self._learner.dynamics.min_transitions if learns else 0
        with trial_log.timed(algorithm.logger, "collect"):
            if not self._collect_enough(callback, total_timesteps, needed):
                return False
        self._check_cost()
        if learns:
            with trial_log.timed(algorithm.logger, "fit"):
                self.fit()
            with trial_log.timed(algorithm.logger, "improve"):
                self.improve(callback)
            if self.gradient_probe:
                with trial_log.timed(algorithm.logger, "probe"):
                    self._probe_gradient()
        self.trials += 1
        return self._report(callback, time.perf_counter() - began, log_interval)

    @property
    def _random_trials_left(self) -> int:
        """Trials that act at random before the first fit; each episode that the user added is one less."""
        if self._learner.improved:
            return 0
        return self.random_trials - self._collector.added_episodes - self.trials

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
        learner, collector = self._learner, self._collector
        collector.latest = []
        enough_added = not learner.improved and self._random_trials_left <= 0
        while not (enough_added and len(collector.replay) >= transitions):
            remaining = total_timesteps - self._algorithm.num_timesteps
            if remaining <= 0:
                warnings.warn(
                    f"a fit needs at least {transitions} transitions, and total_timesteps={total_timesteps} "
                    f"gave {len(collector.replay)}, so nothing was learned yet: call learn again with "
                    "reset_num_timesteps=False, which goes on from there",
                    stacklevel=4,
                )
                return False
            if not collector.collect(callback, learner.policy, not learner.improved, remaining):
                return False
            enough_added = True
        return True

    def fit(self) -> FitReport:
        """Fit the dynamics model to all transitions so far; see `ParticlePILCO.fit`."""
        algorithm, learner, collector = self._algorithm, self._learner, self._collector
        if learner.improved and collector.latest:  # its model has not seen this trial's episodes
            names = offered_names(algorithm.env, learner.policy.state_dims)
            trial_log.record_score(algorithm.logger, learner.score(Replay(collector.latest)), names)
        first_step = learner.fit_steps
        report = learner.fit(collector.replay, self._generator("fit"))
        trial_log.record_fit(algorithm.logger, report, first_step)
        return report

    def improve(self, callback: BaseCallback | None = None) -> SearchReport:
        """Improve the candidate policies and deploy the best one; see `ParticlePILCO.improve`."""
        algorithm, learner = self._algorithm, self._learner
        hooks = list(trial_callbacks(callback)) if callback is not None else []

        def on_step(step: int, expected_cost: Tensor) -> None:
            if (step + 1) % PROGRESS_EVERY == 0:
                for hook in hooks:
                    hook.on_progress("improve", step + 1, learner.search.steps, float(expected_cost.min()))

        first_step = learner.search_steps
        report, ranking = learner.improve(
            self._collector.replay, self._generator("improve"), self._generator("ranking"), on_step
        )
        algorithm._n_updates += len(report.expected_cost)
        trial_log.record_search(algorithm.logger, report, ranking, first_step)
        return report

    def _probe_gradient(self) -> None:
        """Log how noisy the gradient is at the deployed policy, and what resampling does to predictions."""
        env, learner = self._algorithm.env, self._learner
        energy = None if env is None else offered_energy(env, learner.policy.state_dims)
        generator = self._generator("probe")
        probe = learner.probe(self._collector.replay, self.gradient_probe, generator, energy)
        trial_log.record_probe(self._algorithm.logger, probe)

    def _generator(self, purpose: str) -> torch.Generator:
        """Return the randomness of a purpose in this trial."""
        assert self._algorithm.seed is not None
        return derive_generator(self._algorithm.seed, purpose, self.trials, self._algorithm.device)

    def _check_cost(self) -> None:
        """Log and warn where cost and reward disagree on the real episodes."""
        cost, episodes = self._learner.task.cost, self._collector.replay.episodes
        assert cost is not None
        self._cost_check(cost, episodes, self._algorithm.logger, self._algorithm.device)

    def _report(self, callback: BaseCallback, seconds: float, log_interval: int) -> bool:
        """Tell the logger, the callbacks and the terminal of a finished trial; False if one asks to stop."""
        algorithm = self._algorithm
        algorithm.logger.record("time/trial", seconds)
        algorithm.logger.record("time/total_timesteps", algorithm.num_timesteps, exclude="tensorboard")
        hooks, began = list(trial_callbacks(callback)), time.perf_counter() - seconds
        for hook in hooks:
            hook.on_trial_end()
        if algorithm.verbose >= 1:
            steps, seconds = f"{algorithm.num_timesteps} steps", time.perf_counter() - began
            line = trial_log.trial_line(str(self.trials), steps, algorithm.logger.name_to_value, seconds)
            sys.stdout.write(f"{line}\n")
        if self.trials % log_interval == 0:
            algorithm.logger.dump(algorithm.num_timesteps)
        go_on = [hook.on_trial_logged() for hook in hooks]  # a list: each of them is asked
        return all(go_on)
