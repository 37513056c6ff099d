"""ParticlePILCO: model-based policy search with particles, as a Stable-Baselines3 algorithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import check_for_correct_spaces
from torch import Tensor

from mbrl_agent.agent import saving, trial_log
from mbrl_agent.agent.arguments import AgentArguments
from mbrl_agent.agent.collector import Collector
from mbrl_agent.agent.dimension_names import offered_names
from mbrl_agent.agent.environment import AnyEnv, describe_env, prepare_env, require_bounded_actions
from mbrl_agent.agent.episode_limit import limit_episodes
from mbrl_agent.agent.habits import choose_policy, refuse_keywords, refuse_load_options
from mbrl_agent.agent.learner import Learner
from mbrl_agent.agent.library_defaults import with_library_defaults
from mbrl_agent.agent.logged import logged_episode
from mbrl_agent.agent.parts import held_by
from mbrl_agent.agent.replay import Episode, Replay
from mbrl_agent.agent.scalar_layout import log_layout
from mbrl_agent.agent.snapshot import restore, snapshot
from mbrl_agent.agent.state import AgentState
from mbrl_agent.agent.success import with_plain_success
from mbrl_agent.agent.task import Task
from mbrl_agent.agent.task_arguments import TaskArguments, read_task
from mbrl_agent.agent.trial_loop import TrialLoop
from mbrl_agent.dynamics import DynamicsOptions
from mbrl_agent.dynamics.base import DynamicsModel, FitReport
from mbrl_agent.errors import environment_acts
from mbrl_agent.options.validation import require_amount, require_count
from mbrl_agent.policies import POLICIES, PolicyOptions
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.resampling import Resampler
from mbrl_agent.search.estimators import Estimator
from mbrl_agent.search.initial_states import Sampler
from mbrl_agent.search.legs import SearchReport
from mbrl_agent.search.policy_search import PolicySearch, SearchOptions
from mbrl_agent.search.rollouts import Rollout
from mbrl_agent.types import Cost, Terminated


@with_library_defaults
class ParticlePILCO(BaseAlgorithm):
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
        rollout: How a belief is carried through the model: "particles", or "moment-matching".
        search: Options of the policy search.
        cost: Differentiable cost in torch, (states (..., D), actions (..., U) that led to them) -> (...);
            the actions' range [-1, 1] stands for the bounds of the agent's action space.
        angle_dims: Indices of the angles [rad] of an observation.
        velocity_dims: {position index: velocity index} of an observation, where the one is the integral of
            the other. Models then predict changes of velocities alone and integrate the positions.
        copied_dims: {index: index of its source} of an observation, where the one is what the other was a
            step before; D + u stands for dimension u of the action, in [-1, 1]. `History` offers it.
        initial_mean: (D), mean of initial states that are normal and independent in every dimension; an
            estimate from the observed ones where only `initial_std` is known.
        initial_std: (D), their standard deviation; likewise.
        initial_states: Where rollouts start, instead of the two above: a function (count,
            torch.Generator on the agent's device) -> states (count, D), or states (N, D) to draw from.
            Where nothing is known, rollouts start from the N starts that were seen, of real episodes and of
            those that the environment began after them, and with a share of 1 / (N + 1) from what the first
            episode visited; angles that are wrapped are put on one turn.
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

    Attributes:
        task: Cost, angles and initial states.
        dynamics: The model.
        policy: Acts; its parameters are those of the best candidate.
        improved: Whether it has been improved in the model; until then real episodes act at random.
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
        learner: The part that holds model and policies.
        collector: The part that collects real episodes.
        trial_loop: The part that runs trials.

    Raises:
        ValueError: The environment, or a combination of options, cannot work; the message says what can.
        TypeError: A choice is neither a name nor an instance.

    Reference:
        Parmas, Rasmussen, Peters, Doya (2018), PIPPS: Flexible Model-Based Policy Search Robust to the
        Curse of Chaos; Deisenroth, Rasmussen (2011), PILCO.

    Example:
        >>> import envs  # registers CartPoleSwingUp-v0
        >>> agent = ParticlePILCO("rbf", "CartPoleSwingUp-v0", resampling="mixture:2", seed=0)
        >>> agent = agent.learn(300)  # doctest: +SKIP
        >>> observation, _ = agent.env.envs[0].reset(seed=0)
        >>> action, _ = agent.predict(observation)
        >>> action.shape
        (1,)
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        options.policy_class.__name__: options.policy_class for options in POLICIES.own.values()
    }

    policy_class: type[SearchPolicy]
    task: Task = held_by("learner")
    policy: SearchPolicy = held_by("learner")
    dynamics: DynamicsModel = held_by("learner")
    dynamics_options: DynamicsOptions = held_by("learner")
    resampling: Resampler = held_by("learner")
    estimator: Estimator = held_by("learner")
    rollout: Rollout = held_by("learner")
    search: SearchOptions = held_by("learner")
    candidates: dict[str, Tensor] | None = held_by("learner")
    candidate_costs: Tensor | None = held_by("learner")
    fit_steps: int = held_by("learner")
    search_steps: int = held_by("learner")
    improved: bool = held_by("learner")
    replay: Replay = held_by("collector")
    latest: list[Episode] = held_by("collector")
    collections: int = held_by("collector")
    added_episodes: int = held_by("collector")
    unfinished_timesteps: int = held_by("collector")
    max_episode_steps: int | None = held_by("collector")
    trials: int = held_by("trial_loop")
    random_trials: int = held_by("trial_loop")
    gradient_probe: int = held_by("trial_loop")

    def __init__(  # noqa: PLR0913  (the signature of Stable-Baselines3's algorithms)
        self,
        policy: str | PolicyOptions | type[SearchPolicy],
        env: AnyEnv | str | None,
        *,
        resampling: str | Resampler = "gaussian",
        estimator: str | Estimator = "reparameterization",
        dynamics: str | DynamicsOptions = "ensemble",
        rollout: str | Rollout = "particles",
        search: SearchOptions | None = None,
        cost: Cost | None = None,
        angle_dims: Sequence[int] | str | None = None,
        velocity_dims: Mapping[int, int] | str | None = None,
        copied_dims: Mapping[int, int] | str | None = None,
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
        arguments = AgentArguments.of(
            resampling=resampling, estimator=estimator, dynamics=dynamics, rollout=rollout, search=search,
            random_trials=random_trials, max_episode_steps=max_episode_steps, gradient_probe=gradient_probe,
            policy_kwargs=policy_kwargs, seed=seed,
        )  # fmt: skip
        self._given_task = TaskArguments(
            cost=cost, angle_dims=angle_dims, velocity_dims=velocity_dims, copied_dims=copied_dims,
            initial_mean=initial_mean, initial_std=initial_std, initial_states=initial_states,
            terminated=terminated,
        )  # fmt: skip
        super().__init__(
            policy_class,
            None if env is None else limit_episodes(prepare_env(env, verbose), arguments.max_episode_steps),
            learning_rate=arguments.search.learning_rate,
            policy_kwargs=policy_kwargs,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=arguments.seed,
        )
        self._logger = Logger(None, [])  # silent, until `learn` or `set_logger` gives another
        self.learner = Learner(arguments, self.device)
        self.collector = Collector(self, arguments.max_episode_steps)
        self.trial_loop = TrialLoop(
            self, self.learner, self.collector, arguments.random_trials, arguments.gradient_probe
        )
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        """Read the task from the environment, check that everything fits together, and build."""
        if self.env is None:
            raise ValueError("the agent needs an environment: pass env=..., or load a saved agent")
        space, actions = self.observation_space, self.action_space
        assert isinstance(space, spaces.Box)
        assert isinstance(actions, spaces.Box)
        assert self.seed is not None
        self.set_random_seed(self.seed)
        self.task = read_task(self.env, self._given_task, self.dynamics_options.needs_step)
        self.task.check(self.state_dims, self.action_dims, self.device)
        self.learner.build(self.policy_class, self.policy_kwargs, space, actions, self.seed)
        self.dynamics.attach(self.task.step)

    @property
    def state_dims(self) -> int:
        """D."""
        return int(self.observation_space.shape[0])  # type: ignore[index]

    @property
    def action_dims(self) -> int:
        """U."""
        return int(self.action_space.shape[0])  # type: ignore[index]

    def __repr__(self) -> str:
        """Say what learns where, and how far it is."""
        words = [f"{self.policy_class.__name__} on {describe_env(self.env)}"]
        words += [f"resampling={self.resampling}", f"estimator={self.estimator}"]
        words += [f"dynamics={self.dynamics_options}", f"rollout={self.rollout}", f"trials={self.trials}"]
        return f"{type(self).__name__}({', '.join(words)})"

    def set_env(self, env: AnyEnv | str, force_reset: bool = True) -> None:
        """Continue on another environment with the same spaces; its task attributes are read anew.

        Args:
            env: Environment or Gymnasium id, or any number of environments in a `VecEnv`.
            force_reset: As in Stable-Baselines3.

        Raises:
            ValueError: The environment does not fit the agent; the agent keeps the one that it has.
        """
        made = prepare_env(env, self.verbose)
        wrapped = self._wrap_env(made)
        check_for_correct_spaces(wrapped, self.observation_space, self.action_space)
        task = read_task(wrapped, self._given_task, self.dynamics_options.needs_step)
        task.check(self.state_dims, self.action_dims, self.device)
        self.task.require_same_indices(task)
        self.dynamics.attach(task.step)
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
        log_layout(self.logger, offered_names(self.env, self.state_dims))
        callback.on_training_start(locals(), globals())
        go_on = True
        while go_on and self.num_timesteps < total_timesteps:
            go_on = self.trial_loop.trial(callback, total_timesteps, log_interval)
        callback.on_training_end()
        return self

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
        self.collector.add(logged_episode(self.policy, observations, actions, rewards))

    def _update_info_buffer(self, infos: list[dict[str, Any]], dones: NDArray[Any] | None = None) -> None:
        """Keep what Monitor and the environment say of finished episodes, a success as a truth value."""
        super()._update_info_buffer([with_plain_success(info) for info in infos], dones)

    def dump_logs(self) -> None:
        """Write what was recorded so far, in the middle of a trial; `LogEveryNTimesteps` asks for it."""
        trial_log.record_windows(self.logger, self.ep_info_buffer or (), self.ep_success_buffer or ())
        self.logger.dump(self.num_timesteps)

    def episode_seed(self, collection: int) -> int:
        """Return the seed of the real episode of a collection (counted from 0) in the first environment."""
        return self.collector.episode_seed(collection)

    def scale_action(self, action: NDArray[Any]) -> NDArray[Any]:
        """Scale actions from [-1, 1] to the bounds of the action space, as `predict` does."""
        return self.policy.unscale_action(action)

    def fit(self) -> FitReport:
        """Fit the dynamics model to all transitions so far.

        Raises:
            ValueError: There are too few transitions.
        """
        return self.trial_loop.fit()

    def improve(self, callback: BaseCallback | None = None) -> SearchReport:
        """Improve the candidate policies in the model and deploy the best one.

        A candidate that the search has made worse, as the model itself predicts it, stays where it began.

        Raises:
            SearchFailedError: No candidate's predicted cost is finite; the policy stays as it is.
        """
        return self.trial_loop.improve(callback)

    def policy_search(self) -> PolicySearch:
        """Return the search in the present model, from the present distribution of initial states."""
        return self.learner.policy_search(self.replay)

    def save(self, path: Any, exclude: Any = None, include: Any = None) -> None:
        """Write everything that the agent is into one zip of plain data, atomically.

        Args:
            path: File name (".zip" is added if it has no suffix) or binary file object.
            exclude: Not used; a checkpoint is always whole.
            include: Not used.
        """
        saving.write_state(path, self.get_state())

    @classmethod
    def load(
        cls,
        path: Any,
        env: AnyEnv | str | None = None,
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
                "resampling", "estimator", "dynamics", "rollout", "policy_class" (or "policy"). A class of the
                user's is never taken for the package's of the same name, nor the package's for the user's.
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
        refuse_load_options(kwargs)
        functions = {name: kwargs.pop(name, None) for name in ("cost", "initial_states", "terminated")}
        search = kwargs.pop("search", None)
        custom = {} if custom_objects is None else custom_objects
        state = saving.read_state(path, custom, cls.policy_aliases.values())
        with saving.fitting_contents(path):
            agent = cls.from_state(state.with_functions(**functions), device, **kwargs)
        if search is not None:
            agent.learner.replace_search(search)
            agent.learning_rate = search.learning_rate
        if env is not None:
            agent.set_env(env)
        return agent

    def get_state(self) -> AgentState:
        """Return everything that the agent is, as plain values that do not change with it.

        In the middle of an episode it is as it was at the episode's start.
        """
        return snapshot(self, self.learner, self.collector, self._given_task)

    @classmethod
    def from_state(
        cls,
        state: AgentState,
        device: torch.device | str = "cpu",
        tensorboard_log: str | None = None,
        verbose: int = 0,
    ) -> Self:
        """Make an agent that goes on from a state of another; it has no environment yet, see `set_env`.

        Raises:
            ValueError: Its parts do not fit together (RuntimeError or LookupError where weights do not).
        """
        agent = cls(
            state.policy_class,
            None,
            **vars(state.arguments),
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            _init_setup_model=False,
        )
        agent._given_task = state.given
        restore(agent, agent.learner, agent.collector, state)
        return agent

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
            parameters = saving.read_parameters(parameters)
        try:
            super().set_parameters(dict(parameters), exact_match, device)
        except RuntimeError as error:  # torch's, for names and shapes
            raise ValueError(f"the parameters do not fit this agent: {error}") from error

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "dynamics"], []
