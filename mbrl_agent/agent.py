"""ParticlePILCO: model-based policy search with particles, as a Stable-Baselines3 algorithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.utils import check_for_correct_spaces

from mbrl_agent import agent_archive
from mbrl_agent.dynamics import DYNAMICS, DynamicsOptions
from mbrl_agent.episode_limit import limit_episodes
from mbrl_agent.estimators import ESTIMATORS, Estimator
from mbrl_agent.failures import environment_acts
from mbrl_agent.features import AngleFeatures
from mbrl_agent.library_defaults import with_library_defaults
from mbrl_agent.policies import POLICIES
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.policy_search import SearchOptions
from mbrl_agent.randomness import derive_generator
from mbrl_agent.registry import unknown_name
from mbrl_agent.replay import Replay
from mbrl_agent.resampling import RESAMPLERS, Resampler
from mbrl_agent.tasks import Cost, check_env, make_env, read_task, require_bounded_actions
from mbrl_agent.trials import TrialAlgorithm
from mbrl_agent.validation import require_amount, require_count, require_seed


@with_library_defaults
class ParticlePILCO(TrialAlgorithm):
    """PILCO with particles: learn a model, improve the policy inside it, try it, and again.

    Each trial collects one real episode (an episode an environment), fits the dynamics model to all
    transitions so far, and improves several candidate policies by gradient steps through particle
    rollouts in the model; the one with the lowest predicted cost acts in the next trial. Between two
    predicted steps the particles pass a resampling strategy.

    Args:
        policy: "RbfPolicy", "MlpPolicy", "LinearPolicy", or a `SearchPolicy` class.
        env: Environment or Gymnasium id, with Box observations (one axis) and Box actions.
        resampling: Name or instance of a resampling strategy.
        estimator: Name or instance of a gradient estimator.
        dynamics: Name or instance of the options of a dynamics model.
        search: Options of the policy search.
        cost: Differentiable cost in torch, (states (..., D), actions (..., U) in [-1, 1]) -> (...);
            None takes `env.unwrapped.cost`.
        angle_dims: Indices of the angles [rad] of an observation; None takes the environment's.
        initial_mean: (D), mean of the initial states; None takes the environment's or an estimate.
        initial_std: (D), standard deviation of the initial states; None likewise.
        random_trials: Trials at the start whose actions are uniformly random; the last of them is the first
            that fits the model and improves the policy. Episodes of `add_episode` count as such.
        max_episode_steps: Truncates real episodes after this many steps, as Gymnasium's TimeLimit does;
            None leaves them as they are.
        gradient_probe: Repeated gradient estimates at the end of each trial, whose variance is
            logged; 0 turns the probe off.
        policy_kwargs: Options of the policy class.
        tensorboard_log: Directory of the TensorBoard log, None for none.
        verbose: 0 silent, 1 a table a trial.
        seed: Seed of everything random, from 0 to 2**32 - 1; None draws one.
        device: Torch device.

    Raises:
        ValueError: The environment, or a combination of options, cannot work; the message says what can.
        TypeError: A choice is neither a name nor an instance.

    Reference:
        Parmas, Rasmussen, Peters, Doya (2018), PIPPS: Flexible Model-Based Policy Search Robust to the
        Curse of Chaos; Deisenroth, Rasmussen (2011), PILCO.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        options.policy_class.__name__: options.policy_class for options in POLICIES.classes.values()
    }

    def __init__(  # noqa: PLR0913  (the signature of Stable-Baselines3's algorithms)
        self,
        policy: str | type[SearchPolicy],
        env: GymEnv | str | None,
        *,
        resampling: str | Resampler = "gaussian",
        estimator: str | Estimator = "reparameterization",
        dynamics: str | DynamicsOptions = "ensemble",
        search: SearchOptions | None = None,
        cost: Cost | None = None,
        angle_dims: Sequence[int] | None = None,
        initial_mean: ArrayLike | None = None,
        initial_std: ArrayLike | None = None,
        random_trials: int = 1,
        max_episode_steps: int | None = None,
        gradient_probe: int = 16,
        policy_kwargs: dict[str, Any] | None = None,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "cpu",
        _init_setup_model: bool = True,
    ) -> None:
        self.random_trials = require_count("random_trials", random_trials, minimum=1)
        self.gradient_probe = require_count("gradient_probe", gradient_probe, minimum=0)
        if gradient_probe == 1:
            raise ValueError(
                "gradient_probe must be 0 (off) or at least 2: one estimate has no variance, got 1"
            )
        self.max_episode_steps = (
            None if max_episode_steps is None else require_count("max_episode_steps", max_episode_steps)
        )
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        if not isinstance(search, SearchOptions | None):
            raise TypeError(f"search must be SearchOptions(...) or None, got {type(search).__name__}")
        self.search = search or SearchOptions()
        self.resampling = RESAMPLERS.resolve(resampling)
        self.estimator = ESTIMATORS.resolve(estimator)
        self.dynamics_options = DYNAMICS.resolve(dynamics)
        self._given_task = (cost, angle_dims, initial_mean, initial_std)
        super().__init__(
            policy,
            None if env is None else limit_episodes(make_env(env, verbose), self.max_episode_steps),
            learning_rate=self.search.learning_rate,
            policy_kwargs=policy_kwargs,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=require_seed("seed", seed),
        )
        self._logger = Logger(None, [])  # silent, until `learn` or `set_logger` gives another
        self.replay = Replay()
        self.candidates = None
        self.candidate_costs = None
        self.trials = 0
        self.collections = 0
        self.added_episodes = 0
        self.latest = []
        self.fit_steps = 0
        self.search_steps = 0
        self.unfinished_timesteps = 0
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        """Read the task from the environment, check that everything fits together, and build."""
        assert self.seed is not None
        if self.env is None:
            raise ValueError("the agent needs an environment: pass env=..., or load a saved agent")
        self.set_random_seed(self.seed)
        self.task = read_task(self.env, *self._given_task)
        self.task.check(self.state_dims, self.action_dims, self.device)
        self.build()

    def build(self) -> None:
        """Make the policy and the dynamics model for the task's angles."""
        assert self.seed is not None
        if not (isinstance(self.policy_class, type) and issubclass(self.policy_class, SearchPolicy)):
            raise ValueError(
                f"policy must be one of {', '.join(self.policy_aliases)} or a subclass of SearchPolicy, "
                f"got {self.policy_class}"
            )
        features = AngleFeatures(self.state_dims, self.task.angle_dims)
        self.dynamics = self.dynamics_options.build(
            features, self.action_dims, derive_generator(self.seed, "dynamics", device=self.device)
        ).to(self.device)
        self.resampling.validate(self.search.num_particles, self.state_dims)
        self.dynamics.validate(self.search.num_particles)
        self.estimator.validate(self.resampling)
        observation_space, action_space = self.observation_space, self.action_space
        assert isinstance(observation_space, spaces.Box)
        assert isinstance(action_space, spaces.Box)
        self.policy = self.policy_class(
            observation_space,
            action_space,
            angle_dims=self.task.angle_dims,
            **self.policy_kwargs,
        ).to(self.device)

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        """The policy class of an alias; Stable-Baselines3's error does not say which there are."""
        if policy_name not in self.policy_aliases:
            raise ValueError(unknown_name("policy", policy_name, list(self.policy_aliases)))
        return self.policy_aliases[policy_name]

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Continue on another environment with the same spaces; its task attributes are read anew.

        Args:
            env: Environment, or any number of them in a `VecEnv`.
            force_reset: As in Stable-Baselines3.

        Raises:
            ValueError: The environment does not fit the agent; the agent keeps the one that it has.
        """
        wrapped = self._wrap_env(check_env(env))
        check_for_correct_spaces(wrapped, self.observation_space, self.action_space)
        task = read_task(wrapped, *self._given_task)
        task.check(self.state_dims, self.action_dims, self.device)
        if task.angle_dims != self.task.angle_dims:
            raise ValueError(
                f"the agent was built for angle_dims {self.task.angle_dims}, not {task.angle_dims}"
            )
        self.n_envs = wrapped.num_envs
        super().set_env(limit_episodes(env, self.max_episode_steps), force_reset)
        self.task = task

    def learn(
        self,
        total_timesteps: float,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "ParticlePILCO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Run trials until `total_timesteps` environment steps have been taken.

        An episode that has begun is finished, so a little more may be taken. Without a time limit, of the
        environment or `max_episode_steps`, nobody knows when that would be: the last episode is then
        truncated. If the random trials end before there are enough transitions for a fit, more episodes are
        collected in the last of them, as far as `total_timesteps` goes.

        Callbacks, costs and environments run under `library_defaults`: torch with its own default dtype and
        device and with gradients, whatever the caller has set.

        After a callback has stopped it, or an error, another call goes on with new episodes; what was
        collected is kept.

        Args:
            total_timesteps: Environment steps (1e5 is fine), of this call if `reset_num_timesteps` is False.
            callback: Stable-Baselines3 callbacks; a `TrialCallback` also hears of each trial's end.
            log_interval: Trials between dumps of the logger.
            tb_log_name: Name of the TensorBoard run.
            reset_num_timesteps: Whether to count environment steps from zero.
            progress_bar: Whether to show Stable-Baselines3's progress bar.

        Raises:
            ValueError: No environment is set, its actions are as good as unbounded, or it returned a value
                that is not finite.
        """
        steps = require_amount("total_timesteps", total_timesteps)
        require_count("log_interval", log_interval)
        if self.env is None:
            raise ValueError("the agent has no environment: pass env=... to load, or call set_env")
        require_bounded_actions(self.action_space)
        if self._last_obs is None and not reset_num_timesteps:  # Stable-Baselines3 would do it unchecked
            with environment_acts("at the reset before the first episode"):
                self._last_obs = self.env.reset()  # type: ignore[assignment]
        total_timesteps, callback = self._setup_learn(
            steps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        while self.num_timesteps < total_timesteps and self._trial(callback, total_timesteps, log_interval):
            pass
        callback.on_training_end()
        return self

    def save(self, path: Any, exclude: Any = None, include: Any = None) -> None:
        """Write everything that the agent is into one zip of plain data, atomically.

        Args:
            path: File name (".zip" is added if it has no suffix) or binary file object.
            exclude: Not used; a checkpoint is always whole.
            include: Not used.
        """
        agent_archive.save(self, path)

    @classmethod
    def load(
        cls,
        path: Any,
        env: GymEnv | None = None,
        device: torch.device | str = "cpu",
        custom_objects: Mapping[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Read an agent that `save` wrote. No code from the file is run.

        Args:
            path: File name or binary file object.
            env: Environment to continue on; None gives an agent that can only predict.
            device: Where the tensors go.
            custom_objects: `{"policy_class": cls}` for a policy that is not one of the package's.
            print_system_info: Not used.
            force_reset: As in Stable-Baselines3.
            kwargs: `cost` (for an environment that has none), `tensorboard_log`, `verbose`.

        Raises:
            CheckpointError: The file is not a whole checkpoint of this version.
        """
        return agent_archive.load(cls, path, env, device, custom_objects or {}, kwargs)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "dynamics"], []
