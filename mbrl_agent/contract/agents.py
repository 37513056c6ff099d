"""A tiny agent: what is checked must learn in it, be saved with it, and go on where it was saved."""

from __future__ import annotations

import io
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from mbrl_agent.agent.agent import ParticlePILCO
from mbrl_agent.contract.rules import require
from mbrl_agent.dynamics import DYNAMICS, DynamicsOptions
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.features import AngleFeatures
from mbrl_agent.options.registry import Registry
from mbrl_agent.policies import POLICIES, PolicyOptions
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.resampling import RESAMPLERS, Resampler
from mbrl_agent.search.estimators import ESTIMATORS, Estimator
from mbrl_agent.search.policy_search import SearchOptions

TIME_STEP, STEPS = 0.4, 8
PARTICLES = 24
"""Of the tiny agent, unless what is checked needs more or splits them otherwise."""


def distance_cost(state: Tensor, action: Tensor) -> Tensor:
    """1 - exp(-(x^2 + v^2 / 4) / 2)."""
    return 1 - (-0.5 * (state[..., 0] ** 2 + 0.25 * state[..., 1] ** 2)).exp()


class PointMass(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """A mass on a rail, x'' = u; observation (x [m], v [m/s]), starts at rest near x = 1."""

    cost = staticmethod(distance_cost)

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self._state = np.zeros(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self._state = np.array([1.0, 0.0]) + 0.1 * self.np_random.standard_normal(2)
        return self._state.astype(np.float32), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], SupportsFloat, bool, bool, dict[str, Any]]:
        """Push the mass for one step."""
        u, (x, v) = float(action[0]), self._state
        self._state = np.array([x + TIME_STEP * v + 0.5 * TIME_STEP**2 * u, v + TIME_STEP * u])
        reward = 1.0 - float(distance_cost(torch.as_tensor(self._state), torch.as_tensor(action)))
        return self._state.astype(np.float32), reward, False, False, {}


def tiny_env() -> gymnasium.Env[Any, Any]:
    """Return the point mass with a time limit."""
    return gymnasium.wrappers.TimeLimit(PointMass(), STEPS)


def particles_for(fits: Any, at_least: int) -> int:
    """Return the smallest number of particles from `at_least` on that `fits(count)` does not refuse."""
    for count in range(max(at_least, 1), at_least + 257):
        try:
            fits(count)
        except ValueError:
            continue
        return count
    require(False, f"validate refuses every number of particles from {at_least} to {at_least + 256}")
    return at_least


def learns_and_is_saved(
    resampling: Resampler | None = None,
    estimator: Estimator | None = None,
    dynamics: DynamicsOptions | None = None,
    policy: PolicyOptions | type[SearchPolicy] | None = None,
) -> None:
    """Learn two trials on a point mass, save, load, and learn on from both: bitwise the same.

    Args:
        resampling: What is checked, or None for the package's; the same for the others.
        estimator: Likewise.
        dynamics: Likewise.
        policy: Likewise.

    Raises:
        ContractError: Something is not finite, or what was loaded goes on otherwise.
    """
    resampler = resampling or RESAMPLERS.resolve("none")
    estimate = estimator or ESTIMATORS.resolve("reparameterization")
    model = dynamics or Ensemble(members=2, hidden=(8,), fit_steps=2)
    built = tiny_model(model)

    def fits(count: int) -> None:
        resampler.validate(count, 2)
        estimate.validate_particles(count, 2, 1)
        built.validate(count)

    agent = ParticlePILCO(
        policy or "LinearPolicy",
        tiny_env(),
        resampling=resampler,
        estimator=estimate,
        dynamics=model,
        search=SearchOptions(steps=2, candidates=2, num_particles=particles_for(fits, PARTICLES), horizon=4),
        gradient_probe=2,
        seed=3,
    )
    agent.learn(2 * STEPS)
    finite = all(bool(value.isfinite().all()) for value in agent.policy.state_dict().values())
    require(finite, "the parameters of the policy must stay finite while an agent learns")
    file = _saved(agent)
    loaded = ParticlePILCO.load(io.BytesIO(file), env=tiny_env(), custom_objects=_custom(agent))
    require(_saved(loaded) == file, "an agent that is saved, loaded and saved again must give the same file")
    for each in (agent, loaded):
        each.learn(STEPS, reset_num_timesteps=False)
    require(
        _saved(loaded) == _saved(agent), "an agent that was loaded must learn on as the one that was saved"
    )


def tiny_model(options: DynamicsOptions) -> Any:
    """Return the model for the point mass, not fitted."""
    return options.build(AngleFeatures(2), 1, torch.Generator().manual_seed(0))


def _saved(agent: ParticlePILCO) -> bytes:
    file = io.BytesIO()
    agent.save(file)
    return file.getvalue()


def _custom(agent: ParticlePILCO) -> dict[str, type]:
    """Return the classes of the agent that are not the package's."""
    chosen: dict[str, tuple[Registry[Any], Any]] = {
        "resampling": (RESAMPLERS, agent.resampling),
        "estimator": (ESTIMATORS, agent.estimator),
        "dynamics": (DYNAMICS, agent.dynamics_options),
    }
    found = {
        key: type(value) for key, (registry, value) in chosen.items() if not registry.is_own(type(value))
    }
    policies = [options.policy_class for options in POLICIES.own.values()]
    return found if agent.policy_class in policies else found | {"policy_class": agent.policy_class}
