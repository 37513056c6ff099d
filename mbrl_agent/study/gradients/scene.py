"""What a study looks at: a model, a policy in it, and where rollouts start."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.agent.energy import checked_energy
from mbrl_agent.agent.observation_changes import valid_attribute
from mbrl_agent.dynamics.base import DynamicsModel
from mbrl_agent.dynamics.simulator import SimulatorModel
from mbrl_agent.policies.base import PolicyOptions, SearchPolicy
from mbrl_agent.policies.rbf import Rbf
from mbrl_agent.randomness import derive_generator
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.run.environment import Environment, make_env
from mbrl_agent.run.experiment import load_agent, state_labels, step_duration
from mbrl_agent.run.task_flags import load_arguments
from mbrl_agent.search.initial_states import StartDistribution
from mbrl_agent.search.probe import Energy
from mbrl_agent.types import Cost, Terminated

MODEL_NOISE = 0.02
"""Standard deviation of the untrained scene's model noise, in the units of the state."""
WEIGHT_STD = 1.0
"""Standard deviation of the random policy's weights; a search that begins at 0.5 ends at 0.7 to 1.8."""
VISITED_EPISODES = 8
"""Episodes of random actions in the true model, around whose states a random policy is drawn."""


@dataclass(frozen=True)
class Scene:
    """Everything that a rollout needs but the strategy and the random numbers.

    Attributes:
        title: What it is, for figures.
        policy: Gives the controller at any parameters.
        parameters: Where the study starts, without replicate axes.
        dynamics: The model.
        cost: Differentiable cost.
        start: Distribution of the initial particles.
        horizon: T.
        labels: (D), names of the state dimensions, with units.
        time_step: Duration of a step [s], if it is known.
        truth: The environment's own dynamics without noise, if it offers them.
        steps: Environment steps so far, TensorBoard's step.
        terminated: Where episodes end; None where they do not.
        energy: The plant's mechanical energy [J], if the environment offers it.
        visited: (N, D), states of real episodes, or of random actions, around which policies are drawn.
        candidates: The run's candidate policies, with a leading axis; None without a run.
    """

    title: str
    policy: SearchPolicy
    parameters: dict[str, Tensor]
    dynamics: DynamicsModel
    cost: Cost
    start: StartDistribution
    horizon: int
    labels: list[str]
    time_step: float | None = None
    truth: DynamicsModel | None = None
    steps: int = 0
    terminated: Terminated | None = None
    energy: Energy | None = None
    visited: Tensor | None = None
    candidates: dict[str, Tensor] | None = None

    def at(self, parameters: dict[str, Tensor]) -> Scene:
        """Return the same with another policy."""
        return replace(self, parameters=parameters)

    def double(self) -> Scene:
        """Return the same in float64."""
        return replace(
            self,
            policy=copy.deepcopy(self.policy).double(),
            parameters={name: value.double() for name, value in self.parameters.items()},
            dynamics=copy.deepcopy(self.dynamics).double(),
            start=self.start.double(),
            visited=None if self.visited is None else self.visited.double(),
            candidates=_double(self.candidates),
        )


def _double(values: dict[str, Tensor] | None) -> dict[str, Tensor] | None:
    return None if values is None else {name: value.double() for name, value in values.items()}


def true_step(env: gymnasium.Env[Any, Any]) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Compute the environment's dynamics, None where it does not offer them."""
    step: Callable[[Tensor, Tensor], Tensor] | None = valid_attribute(env, "dynamics")
    return step


def true_energy(env: gymnasium.Env[Any, Any]) -> Energy | None:
    """Return the plant's mechanical energy, None where the environment does not offer it."""
    return checked_energy(valid_attribute(env, "energy"), env.observation_space.shape[0])  # type: ignore[index]


def untrained_scene(
    environment: Environment | str = "CartPoleSwingUp-v0",
    seed: int = 0,
    horizon: int = 0,
    noise_std: float = MODEL_NOISE,
    policy: PolicyOptions | None = None,
) -> Scene:
    """Return the true dynamics as the model, and a random policy.

    Args:
        environment: With its options, or its Gymnasium id; it offers `dynamics` and the task's attributes.
        seed: Draws the policy.
        horizon: T; 0 takes the environment's episodes.
        noise_std: Standard deviation of the model noise, in the units of the state.
        policy: Kind of policy; None takes an RBF policy with weights of the size that training gives them.

    Raises:
        ValueError: The environment does not offer its dynamics, or does not limit its episodes.
    """
    env = make_env(environment)
    step, steps = _true_model(env, environment if isinstance(environment, str) else environment.name, horizon)
    options = policy or Rbf(weight_std=WEIGHT_STD)
    agent = ParticlePILCO(
        options.policy_class, env, policy_kwargs=options.policy_kwargs(), resampling="none", seed=seed
    )
    assert agent.task.cost is not None  # the agent has checked it
    if not agent.task.offers_start:
        raise ValueError("the environment does not offer initial_states, nor initial_mean and initial_std")
    start = agent.task.initial_states(np.zeros((0, agent.state_dims)), torch.device("cpu"))
    generator = derive_generator(seed, "study policy")
    visited = _random_states(step, start, agent.action_dims, steps, generator)
    agent.policy.restandardize(visited)
    drawn = agent.policy.initial_parameters(visited, 1, generator)
    features = agent.policy.features
    return Scene(
        title=f"random policy {seed}, true dynamics",
        policy=agent.policy,
        parameters={name: value[0] for name, value in drawn.items()},
        dynamics=SimulatorModel(features, step, noise_std),
        cost=agent.task.cost,
        start=start,
        horizon=steps,
        labels=state_labels(env),
        time_step=step_duration(env),
        truth=SimulatorModel(features, step),
        terminated=agent.task.terminated,
        energy=true_energy(env),
        visited=visited,
    )


def _true_model(
    env: gymnasium.Env[Any, Any], env_id: str, horizon: int
) -> tuple[Callable[[Tensor, Tensor], Tensor], int]:
    """Find the environment's dynamics and the number of predicted steps.

    Raises:
        ValueError: It does not offer its dynamics, or nothing says how many steps.
    """
    step = true_step(env)
    if step is None:
        raise ValueError(
            f"{env_id} does not offer its dynamics: a study of an untrained agent needs "
            "env.unwrapped.dynamics(state (..., D), action (..., U)) -> next state, in torch"
        )
    limit = env.spec.max_episode_steps if env.spec is not None else None
    if not (horizon or limit):
        raise ValueError(f"{env_id} does not limit its episodes: give --horizon")
    return step, horizon or limit or 0


def _random_states(
    step: Callable[[Tensor, Tensor], Tensor],
    start: StartDistribution,
    action_dims: int,
    horizon: int,
    generator: torch.Generator,
) -> Tensor:
    """Collect states (N, D) of a few episodes of random actions."""
    states = [start.sample(1, VISITED_EPISODES, generator)[0]]
    for _ in range(horizon):
        action = 2 * torch.rand(VISITED_EPISODES, action_dims, generator=generator) - 1
        states.append(step(states[-1], action))
    return torch.cat(states)


def run_scene(
    run: Path,
    horizon: int = 0,
    env_id: str | None = None,
    trial: int | None = None,
    env_options: Mapping[str, Any] | None = None,
) -> Scene:
    """Make a run's learned model, its policy and its distribution of initial states.

    Args:
        run: The run's directory.
        horizon: T; 0 takes that of the run's policy search.
        env_id: Gymnasium id, None for the run's own.
        trial: Take the checkpoint after this trial instead of the final agent.
        env_options: Options of the environment that differ from the run's.

    Raises:
        ValueError: It is not the directory of a run, or it holds no agent yet.
    """
    config = _run_config(run, {f"env.{key}": value for key, value in (env_options or {}).items()}, env_id)
    load_arguments(config.task)  # modules of the user's go first, see there
    env = make_env(config.environment)
    agent = _run_agent(run, trial, config, env)
    search = agent.policy_search()
    step = true_step(env)
    return Scene(
        title=f"{run.resolve().name}, after trial {agent.trials}",
        policy=agent.policy,
        parameters=agent.policy.parameter_dict(),
        dynamics=agent.dynamics,
        cost=search.cost,
        start=search.initial_states,
        horizon=horizon or search.horizon,
        labels=state_labels(env),
        time_step=step_duration(env),
        truth=None if step is None else SimulatorModel(agent.policy.features, step),
        steps=agent.num_timesteps,
        terminated=search.terminated,
        energy=true_energy(env),
        visited=agent.replay.transitions(torch.float32, agent.device).states,
        candidates=agent.candidates,
    )


def _run_config(run: Path, changes: Mapping[str, Any], env_id: str | None) -> TrainConfig:
    """Read the configuration of a run, with other options of the environment or another one."""
    files = RunDirectory(run)
    if not files.config.is_file():
        raise ValueError(f"{run} is not the directory of a run, it has no config.yaml")
    return TrainConfig.load(files.config).updated({**changes, **({"env": env_id} if env_id else {})})


def _run_agent(
    run: Path, trial: int | None, config: TrainConfig, env: gymnasium.Env[Any, Any]
) -> ParticlePILCO:
    """Load the agent of a run that has a model, that of a trial or the last."""
    files = RunDirectory(run)
    path = files.agent
    if trial is not None or not path.is_file():
        path = files.checkpoint(files.latest_state().trial if trial is None else trial)
    if not path.is_file():
        raise ValueError(f"{run} has no checkpoint {path.name}")
    agent = load_agent(path, config, env)
    if not agent.improved:
        raise ValueError(f"{path} holds no model: the random trials of {run} were not over then")
    return agent
