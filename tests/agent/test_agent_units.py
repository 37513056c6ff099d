"""An agent whose environment speaks of other units, has constant observations, or shows new regions later."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.policies import POLICIES
from mbrl_agent.search.policy_search import PolicySearch
from tests.support.memories import REMEMBERING, with_memory
from tests.support.point_mass import STEPS, distance_cost, limited

SMALL = {"rbf": {"centers": 6}, "mlp": {"hidden": (6,)}, "recurrent": {"hidden": 4}}
every_policy = pytest.mark.parametrize("name", POLICIES.names())


class Gauge(gymnasium.ObservationWrapper):
    """The point mass seen by other instruments, together with a temperature that does not change."""

    def __init__(self, factor=(1.0, 1.0), offset=(0.0, 0.0), temperature=0.0):
        super().__init__(limited(offers_cost=False))
        self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
        self.factor, self.offset, self.temperature = np.array(factor), np.array(offset), temperature

    def observation(self, observation):
        measured = self.factor * (observation.astype(np.float64) + self.offset)
        return np.append(measured, self.temperature)

    def cost(self, state, action):
        columns = [state[..., i] / self.factor[i] - self.offset[i] for i in range(2)]
        return distance_cost(torch.stack(columns, -1), action)


def learned(name: str, trials: int = 3, seed: int = 0, **instruments) -> ParticlePILCO:
    env = Gauge(**instruments)
    agent = ParticlePILCO(
        POLICIES.get(name).policy_class,
        env,
        policy_kwargs=SMALL.get(name, {}),
        cost=env.cost,
        resampling="none" if name in REMEMBERING else "gaussian",
        dynamics=Ensemble(members=2, hidden=(8,), fit_steps=30),
        search=SearchOptions(steps=3, num_particles=20, candidates=2),
        gradient_probe=0,
        seed=seed,
    )
    return agent.learn(trials * STEPS)


@every_policy
@pytest.mark.parametrize(
    "instruments",
    [
        {"factor": (1e-4, 1e4), "temperature": 293.15},
        {"offset": (2000.0, -2000.0), "temperature": 101325.3},
        {"factor": (1e4, 1e-4), "offset": (-300.0, 1000.0)},
    ],
)
def test_episodes_are_those_of_the_plain_units(name, instruments):
    plain, other = learned(name), learned(name, **instruments)
    for one, two in zip(plain.replay.episodes, other.replay.episodes, strict=True):
        np.testing.assert_allclose(two.actions, one.actions, atol=0.02)
        np.testing.assert_allclose(two.rewards, one.rewards, atol=0.02)
    assert (other.policy.feature_scale > 0).tolist() == [True, True, False]
    assert not other.dynamics.target_std[2]


@every_policy
def test_a_trial_starts_from_the_policies_of_the_last(name, monkeypatch):
    """Though it has seen other states, by which it standardises now."""
    agent, starts = learned(name, trials=2), []
    improve = PolicySearch.improve
    monkeypatch.setattr(
        PolicySearch,
        "improve",
        lambda search, p, *rest: (starts.append(dict(p)), improve(search, p, *rest))[1],
    )
    state = torch.as_tensor(agent.replay.episodes[0].observations, dtype=torch.float32)
    state = with_memory(agent.policy, state)
    best, scale = int(agent.candidate_costs.argmin()), agent.policy.feature_scale.clone()
    deployed = agent.policy(state)
    kept = agent.policy.controller(agent.candidates)(state.expand(2, *state.shape))[best]
    torch.testing.assert_close(kept, deployed)
    agent.learn(STEPS, reset_num_timesteps=False)
    assert not torch.equal(agent.policy.feature_scale, scale)
    again = agent.policy.controller(starts[0])(state.expand(2, *state.shape))[best]
    torch.testing.assert_close(again, deployed, rtol=1e-3, atol=1e-4)


def test_the_standardisation_is_saved_with_the_agent(tmp_path):
    agent = learned("rbf", offset=(500.0, 0.0))
    agent.save(tmp_path / "agent.zip")
    loaded = ParticlePILCO.load(tmp_path / "agent.zip")
    state = agent.replay.episodes[-1].observations
    np.testing.assert_array_equal(loaded.predict(state)[0], agent.predict(state)[0])
    assert torch.equal(loaded.policy.feature_mean, agent.policy.feature_mean)


def test_a_goal_stays_where_it_is_in_a_rollout():
    agent = learned("linear", temperature=293.15)
    search = agent.policy_search()
    parameters = {key: value[None] for key, value in agent.policy.parameter_dict().items()}
    states = search.simulation(1, torch.Generator().manual_seed(0))(parameters).states
    assert bool((states[..., 2] == torch.tensor(293.15)).all())
