"""Which velocity belongs to which position: who says so, where it does not hold, and what is kept of it."""

import gymnasium
import pytest
import torch

import envs  # noqa: F401
from mbrl_agent import ParticlePILCO
from mbrl_agent.wrappers import ActionHistory
from tests.agent.test_agent import STEPS, make, same
from tests.agent.test_observation_changes import Doubling
from tests.support.point_mass import PointMass, distance_cost, limited

PAIR = ((0, 1),)


class Rail(PointMass):
    """A point mass that says what its dimensions are."""

    angle_dims = ()

    @property
    def velocity_dims(self):
        return {0: 1}


def rail():
    return gymnasium.wrappers.TimeLimit(Rail(), STEPS)


def test_the_environment_offers_it_and_the_caller_overrides_it():
    assert make(rail()).task.velocity_dims == PAIR
    assert make(limited()).task.velocity_dims == ()
    assert make(limited(), velocity_dims={0: 1}).task.velocity_dims == PAIR
    for nothing in ("none", {}):
        agent = make(rail(), velocity_dims=nothing)
        assert agent.task.velocity_dims == ()
        assert agent.dynamics.targets.predicted == (0, 1)
    assert make(rail()).dynamics.targets.predicted == (1,)


def test_the_cart_pole_offers_it():
    env = gymnasium.make("CartPoleSwingUp-v0")
    assert env.unwrapped.velocity_dims == {0: 1, 2: 3}
    many = gymnasium.make_vec("CartPoleSwingUp-v0", 2, vectorization_mode="vector_entry_point")
    assert many.unwrapped.velocity_dims == {0: 1, 2: 3}
    assert make(env, policy="rbf").task.velocity_dims == ((0, 1), (2, 3))


def test_the_order_of_the_pairs_does_not_matter():
    env = gymnasium.make("CartPoleSwingUp-v0")
    agent = make(env, policy="rbf", velocity_dims={2: 3, 0: 1})
    assert agent.task.velocity_dims == ((0, 1), (2, 3))


@pytest.mark.parametrize(
    ("velocity_dims", "error", "message"),
    [
        ({0: 2}, ValueError, "velocity_dims 0:2: a state has dimensions 0 to 1"),
        ({0: -1}, ValueError, "a state has dimensions 0 to 1"),
        ({1: 1}, ValueError, "dimension 1 cannot be its own velocity"),
        ({0: 1, 1: 0}, ValueError, "a position and a velocity"),
        (((0, 1), (0, 1)), ValueError, "gives a position twice"),
        ((0, 1), TypeError, r"for example \{0: 1, 2: 3\}, got \(0, 1\)"),
        ({0: 0.5}, TypeError, "must say which velocity belongs to which position"),
        ("0:1", TypeError, "must say which velocity belongs to which position"),
    ],
)
def test_mistakes(velocity_dims, error, message):
    with pytest.raises(error, match=message):
        make(limited(), velocity_dims=velocity_dims)


def test_behind_a_wrapper_that_changes_observations_it_does_not_hold():
    given = {"cost": distance_cost, "angle_dims": "none"}
    with pytest.raises(ValueError, match=r"does not hold any more \(velocity_dims\).*velocity_dims=\.\.\."):
        make(Doubling(rail()), **given)
    for passed, expected in (("none", ()), ({0: 1}, PAIR)):
        assert make(Doubling(rail()), **given, velocity_dims=passed).task.velocity_dims == expected


def test_a_wrapper_that_appends_actions_hands_it_on():
    assert ActionHistory(rail()).velocity_dims == {0: 1}
    agent = make(ActionHistory(rail()))
    assert agent.task.velocity_dims == PAIR
    assert agent.dynamics.targets.predicted == (1,)  # actions are copied
    without = gymnasium.wrappers.TimeLimit(PointMass(), STEPS)
    assert make(ActionHistory(without), angle_dims="none").task.velocity_dims == ()


def test_another_environment_must_agree():
    agent = make(rail())
    with pytest.raises(ValueError, match=r"built for velocity_dims \(\(0, 1\),\), not \(\)"):
        agent.set_env(limited())
    assert agent.task.velocity_dims == PAIR
    make(limited(), velocity_dims={0: 1}).set_env(rail())


@pytest.mark.parametrize("given", [{}, {"velocity_dims": "none"}, {"velocity_dims": {0: 1}}])
def test_an_agent_that_was_loaded_learns_on_bitwise(given, tmp_path):
    whole, saved = (make(rail(), **given).learn(2 * STEPS) for _ in range(2))
    saved.save(tmp_path / "agent")
    loaded = ParticlePILCO.load(tmp_path / "agent", env=rail())
    assert loaded.task.velocity_dims == saved.task.velocity_dims
    for agent in (whole, loaded):
        agent.learn(STEPS, reset_num_timesteps=False)
    assert same(whole, loaded)
    integration = loaded.dynamics.integration
    expected = [] if given == {"velocity_dims": "none"} else [0.4]  # the environment's time step [s]
    assert integration.step.tolist() == pytest.approx(expected, rel=1e-4)
    assert all(value < 1e-5 for value in integration.noise.tolist())


def test_what_was_given_and_what_was_declined_outlives_the_file(tmp_path):
    make(limited(), velocity_dims={0: 1}).save(tmp_path / "given")
    assert ParticlePILCO.load(tmp_path / "given", env=limited()).task.velocity_dims == PAIR
    make(rail(), velocity_dims="none").save(tmp_path / "declined")
    assert ParticlePILCO.load(tmp_path / "declined", env=rail()).task.velocity_dims == ()
    assert ParticlePILCO.load(tmp_path / "given").task.velocity_dims == PAIR
    make(rail()).save(tmp_path / "offered")
    assert ParticlePILCO.load(tmp_path / "offered").task.velocity_dims == PAIR
    with pytest.raises(ValueError, match="built for velocity_dims"):
        ParticlePILCO.load(tmp_path / "offered", env=limited())


def test_positions_are_predicted_with_their_velocities():
    agent = make(rail()).learn(2 * STEPS)
    states = torch.tensor([[1.0, 0.5], [0.2, -0.3]])
    change = agent.dynamics.predict(states, torch.zeros(2, 1)).mean - states
    expected = 0.4 * (states[:, 1] + change[:, 1] / 2)
    torch.testing.assert_close(change[:, 0], expected, atol=1e-5, rtol=0)
