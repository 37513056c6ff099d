"""ParticlePILCO: model-based policy search with particles, as a Stable-Baselines3 algorithm."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback
from stable_baselines3.common.utils import check_for_correct_spaces
from torch import Tensor

from mbrl_agent import agent_archive, trial_log
from mbrl_agent.callbacks import trial_callbacks
from mbrl_agent.collect import Step, collect_episodes
from mbrl_agent.dynamics import DYNAMICS, DynamicsOptions
from mbrl_agent.dynamics.base import FitReport
from mbrl_agent.estimators import ESTIMATORS, Estimator
from mbrl_agent.features import AngleFeatures
from mbrl_agent.policies import POLICIES
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.policy_search import PolicySearch, SearchOptions, SearchReport
from mbrl_agent.randomness import derive_generator, derive_seed
from mbrl_agent.registry import unknown_name
from mbrl_agent.replay import Replay
from mbrl_agent.resampling import RESAMPLERS, Resampler
from mbrl_agent.tasks import Cost, check_env, make_env, offered, read_task
from mbrl_agent.validation import require_count

PROGRESS_EVERY = 10  # gradient steps between reports of progress


class ParticlePILCO(BaseAlgorithm):
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
        random_trials: Trials at the start whose actions are uniformly random.
        max_episode_steps: Cuts real episodes to this many steps; None leaves them as they are.
        gradient_probe: Repeated gradient estimates at the end of each trial, whose variance is
            logged; 0 turns the probe off.
        policy_kwargs: Options of the policy class.
        tensorboard_log: Directory of the TensorBoard log, None for none.
        verbose: 0 silent, 1 a table a trial.
        seed: Seed of everything random; None draws one.
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
    policy: SearchPolicy

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
        require_count("random_trials", random_trials, minimum=1)
        require_count("gradient_probe", gradient_probe, minimum=0)
        if gradient_probe == 1:
            raise ValueError(
                "gradient_probe must be 0 (off) or at least 2: one estimate has no variance, got 1"
            )
        if max_episode_steps is not None:
            require_count("max_episode_steps", max_episode_steps)
        if not isinstance(search, SearchOptions | None):
            raise TypeError(f"search must be SearchOptions(...) or None, got {type(search).__name__}")
        self.search = search or SearchOptions()
        self.resampling = RESAMPLERS.resolve(resampling)
        self.estimator = ESTIMATORS.resolve(estimator)
        self.dynamics_options = DYNAMICS.resolve(dynamics)
        self.random_trials = random_trials
        self.max_episode_steps = max_episode_steps
        self.gradient_probe = gradient_probe
        self._given_task = (cost, angle_dims, initial_mean, initial_std)
        super().__init__(
            policy,
            None if env is None else make_env(env, verbose),
            learning_rate=self.search.learning_rate,
            policy_kwargs=policy_kwargs,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed),
        )
        self._logger = Logger(None, [])  # silent, until `learn` or `set_logger` gives another
        self.replay = Replay()
        self.candidates: dict[str, Tensor] | None = None
        self.candidate_costs: Tensor | None = None
        self.trials = 0
        self.fit_steps = 0
        self.search_steps = 0
        self.unfinished_timesteps = 0  # of `num_timesteps`, those whose episodes are not in the replay yet
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

    @property
    def state_dims(self) -> int:
        """D."""
        return int(self.observation_space.shape[0])  # type: ignore[index]

    @property
    def action_dims(self) -> int:
        """U."""
        return int(self.action_space.shape[0])  # type: ignore[index]

    def set_env(self, env: GymEnv, force_reset: bool = True) -> None:
        """Continue on another environment with the same spaces; its task attributes are read anew.

        Args:
            env: Environment, or any number of them in a `VecEnv`.
            force_reset: As in Stable-Baselines3.

        Raises:
            ValueError: The environment does not fit the agent; the agent keeps the one that it has.
        """
        wrapped = self._wrap_env(check_env(env), self.verbose)
        check_for_correct_spaces(wrapped, self.observation_space, self.action_space)
        task = read_task(wrapped, *self._given_task)
        task.check(self.state_dims, self.action_dims, self.device)
        if task.angle_dims != self.task.angle_dims:
            raise ValueError(
                f"the agent was built for angle_dims {self.task.angle_dims}, not {task.angle_dims}"
            )
        self.n_envs = wrapped.num_envs
        super().set_env(wrapped, force_reset)
        self.task = task

    def learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "ParticlePILCO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Run trials until `total_timesteps` environment steps have been taken.

        An episode that has begun is finished, so a little more may be taken. Without a time limit, of the
        environment or `max_episode_steps`, nobody knows when that would be: the last episode is then cut.

        Args:
            total_timesteps: Environment steps, of this call if `reset_num_timesteps` is False.
            callback: Stable-Baselines3 callbacks; a `TrialCallback` also hears of each trial's end.
            log_interval: Trials between dumps of the logger.
            tb_log_name: Name of the TensorBoard run.
            reset_num_timesteps: Whether to count environment steps from zero.
            progress_bar: Whether to show Stable-Baselines3's progress bar.

        Raises:
            ValueError: No environment is set, or it returned a value that is not finite.
        """
        require_count("total_timesteps", total_timesteps)
        require_count("log_interval", log_interval)
        if self.env is None:
            raise ValueError("the agent has no environment: pass env=... to load, or call set_env")
        total_timesteps, callback = self._setup_learn(
            total_timesteps, callback, reset_num_timesteps, tb_log_name, progress_bar
        )
        callback.on_training_start(locals(), globals())
        while self.num_timesteps < total_timesteps and self._trial(callback, total_timesteps, log_interval):
            pass
        callback.on_training_end()
        return self

    def _trial(self, callback: BaseCallback, total_timesteps: int, log_interval: int) -> bool:
        """Collect, fit, improve; False once a callback asks to stop."""
        began = time.perf_counter()
        with self._timed("collect"):
            if not self.collect(callback, total_timesteps - self.num_timesteps):
                return False
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
        if self.trials % log_interval == 0:
            self.logger.dump(self.num_timesteps)
        go_on = [hook.on_trial_logged() for hook in hooks]  # a list: each of them is asked
        return all(go_on)

    def collect(self, callback: BaseCallback, remaining_steps: int) -> bool:
        """Run one real episode in each environment; False if the callback asked to stop.

        The first `random_trials` trials act at random. Every episode's seed is derived from the agent's.

        Raises:
            ValueError: The environment returned a value that is not finite; what was collected before
                is kept.
        """
        assert self.env is not None
        assert self.seed is not None
        at_random = self.trials < self.random_trials
        rng = np.random.default_rng(derive_seed(self.seed, "actions", self.trials))

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
        self.env.seed(self.episode_seed(self.trials))
        limit = self.max_episode_steps or offered(self.env, "_max_episode_steps")  # Gymnasium's TimeLimit
        longest = limit or -(-remaining_steps // self.n_envs)
        try:
            go_on = collect_episodes(self.env, act, self.scale_action, on_step, longest, self.replay.add)
        finally:
            self.unfinished_timesteps = 0
            self._last_obs = None  # the next trial starts from a reset
        latest = self.replay.episodes[-self.n_envs :]
        trial_log.record_episodes(
            self.logger, latest, self.ep_info_buffer or (), self.ep_success_buffer or ()
        )
        callback.on_rollout_end()
        return go_on

    def episode_seed(self, trial: int) -> int:
        """The seed of the real episode of a trial (counted from 0) in the first environment."""
        assert self.seed is not None
        return derive_seed(self.seed, "episode", trial) % 2**31

    def scale_action(self, action: NDArray[np.float64]) -> NDArray[Any]:
        """From [-1, 1] to the bounds of the action space."""
        space = self.action_space
        assert isinstance(space, spaces.Box)
        scaled = space.low + 0.5 * (action + 1.0) * (space.high - space.low)
        within: NDArray[Any] = np.clip(scaled, space.low, space.high).astype(space.dtype)
        return within

    def fit(self) -> FitReport:
        """Fit the dynamics model to all transitions so far.

        Raises:
            ValueError: There are too few transitions.
        """
        assert self.seed is not None
        if self.trials:  # the last trial's model has not seen this trial's episodes
            latest = Replay(self.replay.episodes[-self.n_envs :])
            trial_log.record_score(self.logger, self.dynamics.score(latest.transitions(device=self.device)))
        generator = derive_generator(self.seed, "fit", self.trials, self.device)
        report = self.dynamics.fit(self.replay.transitions(device=self.device), generator)
        trial_log.record_fit(self.logger, report, self.fit_steps)
        self.fit_steps += len(report.curve)
        return report

    def improve(self, callback: BaseCallback | None = None) -> SearchReport:
        """Improve the candidate policies in the model and deploy the best one."""
        assert self.seed is not None
        generator = derive_generator(self.seed, "improve", self.trials, self.device)
        search = self.policy_search()
        hooks = list(trial_callbacks(callback)) if callback is not None else []

        def on_step(step: int, expected_cost: Tensor) -> None:
            if (step + 1) % PROGRESS_EVERY == 0:
                for hook in hooks:
                    hook.on_progress("improve", step + 1, self.search.steps, float(expected_cost.min()))

        report = search.improve(self._starting_points(generator), generator, on_step)
        self.candidates = report.parameters
        self.candidate_costs = search.predicted_cost(report.parameters, generator)
        best = int(self.candidate_costs.argmin())
        self.policy.set_parameters({name: value[best] for name, value in self.candidates.items()})
        self._n_updates += len(report.expected_cost)
        trial_log.record_search(self.logger, report, self.candidate_costs, best, self.search_steps)
        self.search_steps += len(report.expected_cost)
        return report

    def policy_search(self) -> PolicySearch:
        """The search in the present model, from the present distribution of initial states."""
        if not len(self.replay):
            raise ValueError("there is no model yet: call learn first")
        assert self.task.cost is not None
        horizon = self.search.horizon or max(len(episode) for episode in self.replay.episodes)
        return PolicySearch(
            self.search,
            self.policy,
            self.dynamics,
            self.task.cost,
            self.resampling,
            self.estimator,
            self.task.initial_states(self.replay.initial_states(), self.device),
            horizon,
        )

    def _starting_points(self, generator: torch.Generator) -> dict[str, Tensor]:
        """The candidates of the last trial, the worst replaced by a fresh one; all fresh at first."""
        states = self.replay.transitions(device=self.device).states
        if self.candidates is None or self.candidate_costs is None:
            return self.policy.initial_parameters(states, self.search.candidates, generator)
        if self.search.candidates == 1:
            return self.candidates
        fresh = self.policy.initial_parameters(states, 1, generator)
        worst = int(self.candidate_costs.argmax())
        points = {name: value.clone() for name, value in self.candidates.items()}
        for name, value in points.items():
            value[worst] = fresh[name][0]
        return points

    def _probe_gradient(self) -> None:
        """Log how noisy the gradient is at the deployed policy, from repeated estimates."""
        assert self.seed is not None
        generator = derive_generator(self.seed, "probe", self.trials, self.device)
        probe = self.policy_search().probe(self.policy.parameter_dict(), self.gradient_probe, generator)
        trial_log.record_probe(self.logger, probe)

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.logger.record(f"time/{phase}", time.perf_counter() - began)

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
