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

from mbrl_agent.agent import saving as agent_archive
from mbrl_agent.agent.cost_check import CostCheck
from mbrl_agent.agent.environment import describe_env, make_env, require_bounded_actions
from mbrl_agent.agent.episode_limit import limit_episodes
from mbrl_agent.agent.habits import choose_policy, refuse_keywords
from mbrl_agent.agent.library_defaults import with_library_defaults
from mbrl_agent.agent.replay import Replay
from mbrl_agent.agent.scalar_layout import log_layout
from mbrl_agent.agent.task_arguments import TaskArguments, read_task
from mbrl_agent.agent.trials import TrialAlgorithm
from mbrl_agent.dynamics import DYNAMICS, DynamicsOptions
from mbrl_agent.errors import environment_acts
from mbrl_agent.features import AngleFeatures
from mbrl_agent.options.validation import require_amount, require_count, require_seed
from mbrl_agent.policies import POLICIES, PolicyOptions
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.randomness import derive_generator
from mbrl_agent.resampling import RESAMPLERS, Resampler
from mbrl_agent.search.estimators import ESTIMATORS, Estimator
from mbrl_agent.search.initial_states import Sampler
from mbrl_agent.search.policy_search import SearchOptions
from mbrl_agent.types import Cost, Terminated


@with_library_defaults
class ParticlePILCO(TrialAlgorithm):
    """PILCO with particles: learn a model, improve the policy inside it, try it, and again.

    Each trial collects one real episode (an episode an environment), fits the dynamics model to all
    transitions so far, and improves several candidate policies by gradient steps through particle
    rollouts in the model; the one with the lowest predicted cost acts in the next trial. Between two
    predicted steps the particles pass a resampling strategy.

    What the task is (`cost` to `terminated` below), the environment or a wrapper around it may offer as
    attributes of these names. An argument goes before the attribute; "none" leaves the attribute out.
    Behind a wrapper that changes the observations the attributes of what is inside do not hold and are
    refused.

    Args:
        policy: Spelled ("rbf", "RbfPolicy", "rbf:centers=30", "linear", "mlp:hidden=64x64"), an instance of a
            policy's options, or a `SearchPolicy` class.
        env: Environment or Gymnasium id, with Box observations (one axis) and Box actions.
        resampling: Resampling strategy, spelled ("gaussian", "interpolated:0.25") or an instance.
        estimator: Gradient estimator, likewise.
        dynamics: Dynamics model, spelled ("ensemble:members=7,hidden=64x64") or an instance of its options.
        search: Options of the policy search.
        cost: Differentiable cost in torch, (states (..., D), actions (..., U) that led to them) -> (...);
            the actions' range [-1, 1] stands for the bounds of the agent's action space.
        angle_dims: Indices of the angles [rad] of an observation.
        initial_mean: (D), mean of initial states that are normal and independent in every dimension; an
            estimate from the observed ones where only `initial_std` is known.
        initial_std: (D), their standard deviation; likewise.
        initial_states: Where rollouts start, instead of the two above: a function (count,
            torch.Generator on the agent's device) -> states (count, D), or states (N, D) to draw from.
            Where nothing is known, rollouts start from the first observations of the real episodes; of
            these, angles that are wrapped are put on one turn.
        terminated: States (..., D) -> (...) of torch.bool, whether an episode ends there. A particle that
            gets there stays, and pays its last cost until the horizon. Without it the model goes on past
            the end of an episode, say a fall, where it has seen nothing, and may find there what costs
            less. Pathwise gradients do not see that another policy lets other particles end; those by
            likelihood ratio do.
        random_trials: Trials at the start whose actions are uniformly random; the last of them is the first
            that fits the model and improves the policy. Episodes of `add_episode` count as such.
        max_episode_steps: Truncates real episodes after this many steps, as Gymnasium's TimeLimit does;
            None leaves them as they are.
        gradient_probe: Repeated gradient estimates at the end of each trial, whose variance is
            logged; 0 turns the probe off.
        policy_kwargs: Options of the policy class.
        tensorboard_log: Directory of the TensorBoard log, None for none.
        verbose: 0 silent; 1 a line a trial, and Stable-Baselines3's table.
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
        options.policy_class.__name__: options.policy_class for options in POLICIES.own.values()
    }

    def __init__(  # noqa: PLR0913  (the signature of Stable-Baselines3's algorithms)
        self,
        policy: str | PolicyOptions | type[SearchPolicy],
        env: GymEnv | str | None,
        *,
        resampling: str | Resampler = "gaussian",
        estimator: str | Estimator = "reparameterization",
        dynamics: str | DynamicsOptions = "ensemble",
        search: SearchOptions | None = None,
        cost: Cost | None = None,
        angle_dims: Sequence[int] | str | None = None,
        initial_mean: ArrayLike | None = None,
        initial_std: ArrayLike | None = None,
        initial_states: Sampler | ArrayLike | None = None,
        terminated: Terminated | str | None = None,
        random_trials: int = 1,
        max_episode_steps: int | None = None,
        gradient_probe: int = 16,
        policy_kwargs: dict[str, Any] | None = None,
        tensorboard_log: str | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "cpu",
        _init_setup_model: bool = True,
        **others: Any,
    ) -> None:
        refuse_keywords(others, ParticlePILCO.__init__)
        policy_class, policy_kwargs = choose_policy(policy, policy_kwargs, self.policy_aliases)
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
        self._given_task = TaskArguments(
            cost, angle_dims, initial_mean, initial_std, initial_states, terminated
        )
        super().__init__(
            policy_class,
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
        self._cost_check = CostCheck()
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        """Read the task from the environment, check that everything fits together, and build."""
        assert self.seed is not None
        if self.env is None:
            raise ValueError("the agent needs an environment: pass env=..., or load a saved agent")
        self.set_random_seed(self.seed)
        self.task = read_task(self.env, self._given_task)
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
        self.estimator.validate_particles(self.search.num_particles, self.state_dims, self.action_dims)
        observation_space, action_space = self.observation_space, self.action_space
        assert isinstance(observation_space, spaces.Box)
        assert isinstance(action_space, spaces.Box)
        self.policy = self.policy_class(
            observation_space,
            action_space,
            angle_dims=self.task.angle_dims,
            **self.policy_kwargs,
        ).to(self.device)

    def __repr__(self) -> str:
        """Say what learns where, and how far it is."""
        words = [f"{self.policy_class.__name__} on {describe_env(self.env)}"]
        words += [f"resampling={self.resampling}", f"estimator={self.estimator}"]
        words += [f"dynamics={self.dynamics_options}", f"trials={self.trials}"]
        return f"{type(self).__name__}({', '.join(words)})"

    def set_env(self, env: GymEnv | str, force_reset: bool = True) -> None:
        """Continue on another environment with the same spaces; its task attributes are read anew.

        Args:
            env: Environment or Gymnasium id, or any number of environments in a `VecEnv`.
            force_reset: As in Stable-Baselines3.

        Raises:
            ValueError: The environment does not fit the agent; the agent keeps the one that it has.
        """
        made = make_env(env, self.verbose)
        wrapped = self._wrap_env(made)
        check_for_correct_spaces(wrapped, self.observation_space, self.action_space)
        task = read_task(wrapped, self._given_task)
        task.check(self.state_dims, self.action_dims, self.device)
        if task.angle_dims != self.task.angle_dims:
            raise ValueError(
                f"the agent was built for angle_dims {self.task.angle_dims}, not {task.angle_dims}"
            )
        self.n_envs = wrapped.num_envs
        super().set_env(limit_episodes(made, self.max_episode_steps), force_reset)
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
        log_layout(self.logger, self.dimension_names())
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
        env: GymEnv | str | None = None,
        device: torch.device | str = "cpu",
        custom_objects: Mapping[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Read an agent that `save` wrote. No code from the file is run.

        Args:
            path: File name or binary file object.
            env: Environment or Gymnasium id to continue on; None gives an agent that can only predict.
            device: Where the tensors go.
            custom_objects: Classes that the file needs and the package does not have, by what they are:
                "resampling", "estimator", "dynamics", "policy_class" (or "policy"). A class of the user's is
                never taken for the package's of the same name, nor the package's for the user's.
            print_system_info: Not used.
            force_reset: As in Stable-Baselines3.
            kwargs: `cost`, `initial_states` and `terminated`, where they were passed as functions, which are
                not saved; `search` (instead of the saved options of the policy search); `tensorboard_log`,
                `verbose`.

        Raises:
            CheckpointError: The file is not a whole checkpoint of this version.
            ValueError: `custom_objects` lacks a class that the file needs, or has one that it does not.
            TypeError: Something in `custom_objects` is not a class of its kind.
        """
        return agent_archive.load(cls, path, env, device, custom_objects or {}, kwargs)

    def set_parameters(
        self, load_path_or_dict: Any, exact_match: bool = True, device: torch.device | str = "auto"
    ) -> None:
        """Take over the weights of the deployed policy and of the model; see `get_parameters`.

        The candidates, from which the next search starts, stay as they are: to go on learning where another
        agent stopped, load that agent.

        Args:
            load_path_or_dict: File name or binary file object of a saved agent, or `{"policy": ...,
                "dynamics": ...}` with a state dictionary each.
            exact_match: Refuse a file or a dictionary in which something is missing or too much.
            device: Not used; the weights go where the agent's are.

        Raises:
            ValueError: The weights do not fit the agent, or the file is not a whole checkpoint.
        """
        parameters = load_path_or_dict
        if not isinstance(parameters, Mapping):
            parameters = agent_archive.read_parameters(parameters)
        try:
            super().set_parameters(dict(parameters), exact_match, device)
        except RuntimeError as error:  # torch's, for names and shapes
            raise ValueError(f"the parameters do not fit this agent: {error}") from error

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "dynamics"], []
