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

from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.agent.callbacks import TrialCallback
from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.randomness import derive_generator, derive_seed
from mbrl_agent.resampling.none import NoResampling
from mbrl_agent.run.animation import DEFAULT_TIME_STEP, encode_gif, replay
from mbrl_agent.run.directory import START, RunDirectory, RunState
from mbrl_agent.run.environment import Environment, make_env
from mbrl_agent.run.evaluation import Evaluation, acting, evaluate
from mbrl_agent.run.figures import encode_png, prediction_figure
from mbrl_agent.run.log import ProgressCsv, log_image

FIGURE_PARTICLES = 1000  # about as many particles make the bands of a figure


class RunCallback(TrialCallback):
    """A callback of a run, whose model is a ParticlePILCO."""

    @property
    def agent(self) -> ParticlePILCO:
        """The agent that learns."""
        assert isinstance(self.model, ParticlePILCO)
        return self.model

    def close(self) -> None:
        """Act when learning has ended, however it did."""

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
        env: The environment with its options.
        episodes: Number of evaluation episodes; 0 judges nothing.
        state: What is known of the run's earlier evaluations.

    Attributes:
        state: The same with those of this process.
        solved: Whether the task was solved at the last evaluation; None if there was none, or where the
            environment does not tell.
    """

    def __init__(self, env: Environment, episodes: int, state: RunState = START) -> None:
        super().__init__()
        self.env = env
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
            result = evaluate(acting(agent), self.env, self.episodes, seed)
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
    """Return what evaluations are compared by: the success rate, where there is one, then the return."""
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
        self._excuse = Excuse("no figure of prediction and reality")

    def _on_training_start(self) -> None:
        self._predict()

    def on_trial_end(self) -> None:
        """Draw the episode of this trial, and predict that of the next."""
        with self.timed("log"):
            if self.particles is not None and self.agent.latest:
                png = self._draw(self.particles)
                if png is not None:
                    name = f"prediction_trial_{self.agent.trials:03d}.png"
                    write_atomically(self.directory.figures / name, png)
                    log_image(self.logger, "prediction_against_reality", png, self.agent.num_timesteps)
            self._predict()

    def _predict(self) -> None:
        """Predict particles (T + 1, P, D), unless the next trial acts at random."""
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

    def _draw(self, particles: NDArray[np.float32]) -> bytes | None:
        """Return the figure as PNG, None where matplotlib cannot draw it."""
        agent = self.agent
        with self._excuse.instead_of_errors():
            figure = prediction_figure(
                particles,
                agent.latest[-1].observations,
                self.labels,
                f"Trial {agent.trials}: prediction against reality",
                self.time_step,
            )
            return encode_png(figure)
        return None


class AnimationCallback(RunCallback):
    """Film the real episode of each trial by running it again, with images, in a copy of the environment.

    Whatever goes wrong in the copy costs the animations, and one warning, but not the run: no real episode
    takes part in it. A copy that has failed is not tried again: some renderers end the process then.

    Args:
        directory: Where the animations go.
        env: The environment with its options.
        mode: Render mode that gives images.
        time_step: Duration of a step [s], if it is known.
    """

    def __init__(self, directory: RunDirectory, env: Environment, mode: str, time_step: float | None) -> None:
        super().__init__()
        self.directory = directory
        self.env = env
        self.mode = mode
        self.time_step = time_step
        self._env: gymnasium.Env[Any, Any] | None = None
        self._failed = False
        self._excuse = Excuse("no animation")

    def on_trial_end(self) -> None:
        """Write the animation, unless the environment cannot be filmed or does not repeat itself."""
        if not self.agent.latest:  # the trial learned from added episodes alone
            return
        with self.timed("log"):
            gif = self._film()
            if gif is not None:
                name = f"episode_trial_{self.agent.trials:03d}.gif"
                write_atomically(self.directory.figures / name, gif)
                log_image(self.logger, "episode", gif, self.agent.num_timesteps)

    def _film(self) -> bytes | None:
        """Return the animation as GIF, or nothing."""
        agent, failed, film, gif = self.agent, True, None, None
        actions = agent.scale_action(agent.latest[0].actions)
        if self._failed:
            return None
        with self._excuse.instead_of_errors():
            if self._env is None:
                self._env = make_env(self.env, self.mode)
            film = replay(self._env, agent.latest[0], actions, agent.episode_seed(agent.collections - 1))
            if film is not None:
                gif = encode_gif(film.images(), film.every * (self.time_step or DEFAULT_TIME_STEP))
            failed = False
        if failed:
            self._failed = True
            self.close()
        elif film is None:
            self._excuse.give("with the same seed and the same actions the environment gave another episode")
        return gif

    def close(self) -> None:
        """Close the copy of the environment."""
        env, self._env = self._env, None
        if env is not None:
            with self._excuse.instead_of_errors():
                env.close()


class Excuse:
    """Why something that a run can do without was not made: one warning a run, the first time.

    Args:
        subject: What is missing.
    """

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._given = False

    def give(self, reason: str) -> None:
        """Warn, unless that was done before."""
        if not self._given:
            self._given = True
            warnings.warn(f"{self._subject}: {reason}", stacklevel=2)

    @contextmanager
    def instead_of_errors(self) -> Iterator[None]:
        """Take an error out of the block as the reason; the block's own warnings are not shown."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except Exception as error:  # renderers and styles are the user's, and may raise anything
            self.give(" ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":"))


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
