"""The state of an agent: everything that it is, as plain values that do not change with it."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from mbrl_agent import ParticlePILCO
from mbrl_agent.agent.replay import Episode
from mbrl_agent.agent.state import AgentState
from tests.agent.test_agent import STEPS, make


def weights(state: AgentState) -> list[torch.Tensor]:
    assert state.candidates is not None
    assert state.candidate_costs is not None
    groups = (state.policy, state.dynamics, state.candidates)
    return [*(value for group in groups for value in group.values()), state.candidate_costs]


@pytest.fixture(scope="module")
def agent() -> ParticlePILCO:
    return make().learn(2 * STEPS)


def test_an_agent_made_from_a_state_is_the_same(agent):
    state = agent.get_state()
    again = ParticlePILCO.from_state(state).get_state()
    plain = {field.name for field in fields(AgentState)} - {
        "policy", "dynamics", "candidates", "candidate_costs", "episodes", "further_starts"
    }  # fmt: skip
    assert {name: getattr(again, name) for name in plain} == {name: getattr(state, name) for name in plain}
    assert all(torch.equal(one, two) for one, two in zip(weights(again), weights(state), strict=True))
    for one, two in zip(again.episodes, state.episodes, strict=True):
        np.testing.assert_array_equal(one.observations, two.observations)
    np.testing.assert_array_equal(again.further_starts, state.further_starts)
    assert again.counters["trials"] == 2


def test_an_agent_made_from_a_state_goes_on_as_the_first_would():
    first = make().learn(STEPS)
    second = make()
    other = ParticlePILCO.from_state(first.get_state())
    other.set_env(second.env)
    for learner in (first, other):
        learner.learn(STEPS, reset_num_timesteps=False)
    assert all(
        torch.equal(one, two)
        for one, two in zip(weights(first.get_state()), weights(other.get_state()), strict=True)
    )


def test_a_state_does_not_change_with_its_agent():
    agent = make().learn(STEPS)
    state = agent.get_state()
    before = [value.clone() for value in weights(state)]
    agent.learn(STEPS, reset_num_timesteps=False)
    assert (state.counters["trials"], len(state.episodes)) == (1, 1)
    assert all(torch.equal(one, two) for one, two in zip(weights(state), before, strict=True))
    assert not torch.equal(agent.candidates["weights"], state.candidates["weights"])


def test_an_agent_does_not_change_the_state_that_it_was_made_from(agent):
    state = agent.get_state()
    before = [value.clone() for value in weights(state)]
    made = ParticlePILCO.from_state(state)
    with torch.no_grad():
        for value in [*made.candidates.values(), made.candidate_costs, *made.policy.parameters()]:
            value.add_(1)
    assert all(torch.equal(one, two) for one, two in zip(weights(state), before, strict=True))


def test_a_state_whose_parts_do_not_fit_is_refused(agent):
    state = agent.get_state()
    wide = Episode(np.zeros((3, 9)), np.zeros((2, 1)), np.zeros(2))
    with pytest.raises(ValueError, match="the episodes have the shape"):
        ParticlePILCO.from_state(replace(state, episodes=(wide,)))
    with pytest.raises(ValueError, match="the further starts have the shape"):
        ParticlePILCO.from_state(replace(state, further_starts=np.zeros((1, 9))))
    with pytest.raises(ValueError, match="candidates/weights have the shape"):
        ParticlePILCO.from_state(replace(state, candidate_costs=torch.zeros(7)))
    double = {name: value.double() for name, value in state.candidates.items()}
    with pytest.raises(ValueError, match=r"is of torch\.float64, not torch\.float32"):
        ParticlePILCO.from_state(replace(state, candidates=double))


def test_what_the_parts_hold_is_read_and_written_through_the_agent(agent):
    assert agent.replay is agent.collector.replay
    assert agent.dynamics is agent.learner.dynamics
    costs = agent.candidate_costs
    agent.candidate_costs = costs + 1
    assert torch.equal(agent.learner.candidate_costs, costs + 1)
    agent.candidate_costs = costs
