"""What a run does after each trial: evaluate, draw, save. One callback each."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.logger import TensorBoardOutputFormat

from mbrl_agent.agent import ParticlePILCO
from mbrl_agent.animation import encode_gif, replay_frames
from mbrl_agent.atomic import write_atomically
from mbrl_agent.callbacks import TrialCallback
from mbrl_agent.evaluation import Evaluation, evaluate
from mbrl_agent.failures import environment_acts
from mbrl_agent.figures import encode_png, prediction_figure
from mbrl_agent.randomness import derive_generator, derive_seed
from mbrl_agent.resampling.none import NoResampling
from mbrl_agent.run_directory import START, RunDirectory, RunState
from mbrl_agent.run_log import ProgressCsv, log_image

FIGURE_PARTICLES = 1000  # about as many particles make the bands of a figure


class RunCallback(TrialCallback):
    """A callback of a run, whose model is a ParticlePILCO."""

    @property
    def agent(self) -> ParticlePILCO:
        """The agent that learns."""
        assert isinstance(self.model, ParticlePILCO)
        return self.model

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Add the wall time of the block to `time/<phase>`."""
        began = time.perf_counter()
        yield
        before = self.logger.name_to_value.get(f"time/{phase}", 0.0)
        self.logger.record(f"time/{phase}", before + time.perf_counter() - began)


class EvaluationCallback(RunCallback):
    """Judge the deployed policy by fresh episodes, which do not count as interaction.

    Args:
        env_id: Gymnasium id.
        episodes: Number of evaluation episodes; 0 judges nothing.
        state: What is known of the run's earlier evaluations.

    Attributes:
        state: The same with those of this process.
        solved: Whether the task was solved at the last evaluation; None if there was none, or where the
            environment does not tell.
    """

    def __init__(self, env_id: str, episodes: int, state: RunState = START) -> None:
        super().__init__()
        self.env_id = env_id
        self.episodes = episodes
        self.state = state
        self.solved: bool | None = None

    def on_trial_end(self) -> None:
        """Record `eval/*`, once the policy has been improved."""
        agent = self.agent
        if self.episodes == 0 or not agent.improved:
            return
        assert agent.seed is not None
        seed = derive_seed(agent.seed, "evaluation", agent.trials)
        with self.timed("evaluate"):
            result = evaluate(lambda states: agent.predict(states)[0], self.env_id, self.episodes, seed)
        self.logger.record("eval/mean_reward", result.mean_return)
        self.logger.record("eval/mean_ep_length", float(result.lengths.mean()))
        self.solved = result.solved
        if result.success_rate is not None:
            self.logger.record("eval/success_rate", result.success_rate)
        self._keep(result)
        if self.state.solved_after is not None:
            self.logger.record("eval/steps_to_solve", self.state.solved_after)

    def _keep(self, result: Evaluation) -> None:
        """Remember when the task was first solved, and the best evaluation: of equal ones the later."""
        state = replace(self.state, trial=self.agent.trials)
        if result.solved and state.solved_after is None:
            state = replace(state, solved_after=self.agent.num_timesteps)
        if _rank(result.success_rate, result.mean_return) >= _rank(state.best_success, state.best_return):
            state = replace(
                state,
                best_trial=state.trial,
                best_success=result.success_rate,
                best_return=result.mean_return,
            )
        self.state = state


def _rank(success_rate: float | None, mean_return: float | None) -> tuple[float, float]:
    """By what evaluations are compared: the success rate, where the environment tells, then the return."""
    unknown = -math.inf
    return unknown if success_rate is None else success_rate, unknown if mean_return is None else mean_return


class PredictionCallback(RunCallback):
    """Draw each episode that the policy acted in over what the model had predicted for it.

    The prediction is made before the episode, by the policy that will act and by the model in which it
    was improved, from the distribution of initial states, without resampling.

    Args:
        directory: Where the figures go.
        labels: (D), names of the state dimensions, with units.
        time_step: Duration of a step [s], if it is known.
    """

    def __init__(self, directory: RunDirectory, labels: list[str], time_step: float | None) -> None:
        super().__init__()
        self.directory = directory
        self.labels = labels
        self.time_step = time_step
        self.particles: NDArray[np.float32] | None = None

    def _on_training_start(self) -> None:
        self._predict()

    def on_trial_end(self) -> None:
        """Draw the episode of this trial, and predict that of the next."""
        with self.timed("log"):
            if self.particles is not None and self.agent.latest:
                self._draw(self.particles)
            self._predict()

    def _predict(self) -> None:
        """(T + 1, P, D), or nothing if the next trial acts at random."""
        agent = self.agent
        assert agent.seed is not None
        self.particles = None
        if not agent.improved:
            return
        generator = derive_generator(agent.seed, "prediction", agent.trials, agent.device)
        parameters = {name: value[None] for name, value in agent.policy.parameter_dict().items()}
        particles = agent.search.num_particles * max(1, FIGURE_PARTICLES // agent.search.num_particles)
        simulation = agent.policy_search().simulation(1, generator, particles, NoResampling())
        with torch.no_grad():
            self.particles = simulation(parameters).states[:, 0].cpu().numpy()

    def _draw(self, particles: NDArray[np.float32]) -> None:
        agent = self.agent
        figure = prediction_figure(
            particles,
            agent.latest[-1].observations,
            self.labels,
            f"Trial {agent.trials}: prediction against reality",
            self.time_step,
        )
        png = encode_png(figure)
        write_atomically(self.directory.figures / f"prediction_trial_{agent.trials:03d}.png", png)
        log_image(self.logger, "prediction_against_reality", png, agent.num_timesteps)


class AnimationCallback(RunCallback):
    """Film the real episode of each trial by running it again, with images.

    Args:
        directory: Where the animations go.
        env: A copy of the environment, with `render_mode="rgb_array"`.
        time_step: Duration of a step [s], if it is known.
    """

    def __init__(
        self, directory: RunDirectory, env: gymnasium.Env[Any, Any], time_step: float | None
    ) -> None:
        super().__init__()
        self.directory = directory
        self.env = env
        self.time_step = time_step
        self._warned = False

    def on_trial_end(self) -> None:
        """Write the animation, unless the environment does not repeat itself."""
        if not self.agent.latest:  # the trial learned from added episodes alone
            return
        with self.timed("log"):
            agent = self.agent
            episode = agent.latest[0]
            actions = agent.scale_action(episode.actions)
            with environment_acts(f"when the episode of trial {agent.trials} was filmed"):
                frames = replay_frames(self.env, episode, actions, agent.episode_seed(agent.collections - 1))
            if frames is None:
                self._warn()
                return
            gif = encode_gif(frames, self.time_step)
            write_atomically(self.directory.figures / f"episode_trial_{agent.trials:03d}.gif", gif)
            log_image(self.logger, "episode", gif, agent.num_timesteps)

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                "no animation: with the same seed and the same actions the environment gave another episode",
                stacklevel=2,
            )


class CheckpointCallback(RunCallback):
    """Save the agent after each trial, with the record of what the logs hold, and end the run in time.

    Args:
        directory: Where to.
        trials: Trials of the whole run.
        evaluation: Knows when the task was solved, and which trial was the best.
    """

    def __init__(self, directory: RunDirectory, trials: int, evaluation: EvaluationCallback) -> None:
        super().__init__()
        self.directory = directory
        self.trials = trials
        self.evaluation = evaluation

    def on_trial_logged(self) -> bool:
        """Write the record first: a checkpoint without one does not count. The best agent comes last."""
        rows = columns = 0
        for output in self.logger.output_formats:
            if isinstance(output, TensorBoardOutputFormat):
                output.writer.flush()
            elif isinstance(output, ProgressCsv):
                rows, columns = len(output.rows), len(output.columns)
        trial = self.agent.trials
        state = replace(
            self.evaluation.state,
            trial=trial,
            rows=rows,
            columns=columns,
            events=self.directory.event_sizes(),
        )
        self.directory.save_state(state)
        self.agent.save(self.directory.checkpoint(trial))
        if state.best_trial == trial:
            self.directory.save_best(trial)
        return trial < self.trials
