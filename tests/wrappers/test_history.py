"""States that remember: the last observations and actions, of some dimensions alone."""

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

import envs  # noqa: F401
from mbrl_agent import History, ParticlePILCO, SearchOptions
from mbrl_agent.contract import check_cost
from mbrl_agent.dynamics.dropout import Dropout
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.dynamics.gp import Gp
from tests.support.point_mass import STEPS, PointMass, limited

SEARCH = SearchOptions(steps=2, candidates=2, num_particles=20, horizon=4)
TINY = Ensemble(members=2, hidden=(8,), fit_steps=5)


def place_cost(state, action):
    """Of the position alone."""
    return 1 - (-0.5 * state[..., 0] ** 2).exp()


class Rail(PointMass):
    """The point mass with a cost of its position, and all that a task can be told."""

    cost = staticmethod(place_cost)
    velocity_dims = {0: 1}  # noqa: RUF012
    angle_dims = ()
    initial_mean, initial_std = (1.0, 0.0), 0.1
    observation_labels = ("x [m]", "v [m/s]")

    def __init__(self, **options):
        super().__init__(offers_cost=False, **options)


def rail(**options):
    return gymnasium.wrappers.TimeLimit(Rail(**options), STEPS)


def cartpole():
    return gymnasium.make("CartPoleSwingUp-v0")


def make(env, **options):
    settings = {"search": SEARCH, "dynamics": TINY, "policy_kwargs": {"centers": 4}, "gradient_probe": 0}
    return ParticlePILCO("rbf", env, **{**settings, "seed": 0, **options})


def test_a_state_holds_the_newest_first():
    env = History(limited(bound=2.0), 3)
    first, _ = env.reset(seed=0)
    start = env.unwrapped.state.astype(np.float32)
    assert first.tolist() == [*start, *start, *start, 0, 0]
    seen = [start]
    for action in (2.0, -1.0, 0.5):
        state, *_ = env.step(np.array([action], np.float32))
        seen.insert(0, env.unwrapped.state.astype(np.float32))
    assert state.tolist() == [*seen[0], *seen[1], *seen[2], 0.25, -0.5]
    again, _ = env.reset(seed=1)
    assert again[6:].tolist() == [0, 0]
    assert again[:2].tolist() == again[2:4].tolist() == again[4:6].tolist()


@pytest.mark.parametrize(("length", "observed", "dims"), [(1, (1,), 1), (2, (1, 0), 5), (4, None, 11)])
def test_states_are_in_their_space(length, observed, dims):
    env = History(limited(), length, observed)
    assert env.observation_space.shape == (dims,)
    state, _ = env.reset(seed=0)
    for _ in range(3):
        assert env.observation_space.contains(state)
        state = env.step(np.ones(1, np.float32))[0]
    if observed is not None:
        assert state[: len(observed)].tolist() == [np.float32(env.unwrapped.state[i]) for i in observed]


def test_the_bounds_are_those_of_what_is_observed():
    env = History(gymnasium.make("Pendulum-v1"), 2, (2, 0))
    assert env.observation_space.high.tolist() == [8, 1, 8, 1, 1]
    assert env.observation_space.dtype == np.float32


@pytest.mark.parametrize(("length", "actions"), [(1, None), (2, None), (4, None), (1, 3), (3, 0), (2, 4)])
@pytest.mark.parametrize("observed", [None, (0, 2)])
def test_copied_dims_are_what_happens(length, actions, observed):
    env = History(cartpole(), length, observed, actions)
    state, _ = env.reset(seed=0)
    for number in range(6):
        action = np.array([np.sin(number)], np.float32)
        after = env.step(action * env.action_space.high)[0]
        before = np.concatenate([state, action])
        for index, source in env.copied_dims.items():
            assert after[index] == pytest.approx(before[source], abs=1e-6)
        state = after
    newest = 4 if observed is None else 2
    assert sorted(env.copied_dims) == list(range(newest, len(state)))


def test_what_the_environment_offers_is_about_the_newest_observation():
    env = History(cartpole(), 3, (0, 2))
    assert env.angle_dims == (1, 3, 5)
    assert env.velocity_dims == {}
    assert History(cartpole(), 2).velocity_dims == {0: 1, 2: 3}
    assert History(cartpole(), 2, (3, 2)).velocity_dims == {1: 0}
    state, action = torch.randn(5, 8), torch.randn(5, 1)
    whole = torch.stack([state[:, 0], torch.ones(5), state[:, 1], -torch.ones(5)], dim=-1)
    torch.testing.assert_close(env.cost(state, action), env.unwrapped.cost(whole, action))
    twice = 2 * env.cost + env.cost
    torch.testing.assert_close(twice(state, action), 3 * env.cost(state, action))
    check_cost(env.cost, 8, 1)
    assert env.observation_labels[:2] == tuple(env.unwrapped.observation_labels[i] for i in (0, 2))
    assert len(env.observation_labels) == 8
    assert "2_ago_action_0" in env.observation_labels


def test_starts_have_no_past():
    env = History(cartpole(), 3, (0, 2))
    drawn = env.initial_states(2000, torch.Generator().manual_seed(0))
    assert drawn.shape == (2000, 8)
    assert torch.equal(drawn[:, :2], drawn[:, 2:4])
    assert torch.equal(drawn[:, :2], drawn[:, 4:6])
    assert not drawn[:, 6:].any()
    inner = env.unwrapped
    for place, index in enumerate((0, 2)):
        assert float(drawn[:, place].mean()) == pytest.approx(inner.initial_mean[index], abs=0.02)
        assert float(drawn[:, place].std()) == pytest.approx(inner.initial_std[index], rel=0.1)
    assert env.initial_mean is env.initial_std is None


def test_starts_of_every_kind_are_handed_on():
    class Holds(Rail):
        initial_states = np.array([[1.0, 2.0], [3.0, 4.0]])

    class Draws(Rail):
        def initial_states(self, count, generator):
            return torch.rand(count, 2, generator=generator)

    class HalfKnown(Rail):
        initial_std = None

    assert History(Holds(), 2, (1,)).initial_states.tolist() == [[2, 2, 0], [4, 4, 0]]
    drawn = History(Draws(), 2, (1,)).initial_states(5, torch.Generator().manual_seed(0))
    assert torch.equal(drawn[:, 0], torch.rand(5, 2, generator=torch.Generator().manual_seed(0))[:, 1])
    assert not History(HalfKnown(), 2).has_wrapper_attr("initial_states")
    assert not History(limited(), 2).has_wrapper_attr("initial_states")
    one = History(Rail(), 1, (0,), actions=1)
    assert (one.initial_mean.tolist(), one.initial_std.tolist()) == ([1, 0], [0.1, 0])
    assert not one.has_wrapper_attr("initial_states")


def test_ends_are_those_of_the_newest_observation():
    class Ends(Rail):
        def terminated(self, state):
            return state[..., 0] > 1

    env = History(Ends(), 2, (0,))
    states = torch.tensor([[0.0, 2.0, 0.0], [2.0, 0.0, 0.0]])
    assert env.terminated(states).tolist() == [False, True]
    flagged = Rail()
    flagged.terminated = True  # some environments have flags of that name
    assert History(flagged, 2).terminated is None
    assert make(History(gymnasium.wrappers.TimeLimit(flagged, STEPS), 2)).task.terminated is None


def test_what_depends_on_what_is_hidden_is_refused():
    env = History(limited(), 2, (0,))  # its cost is also of the velocity
    with pytest.raises(ValueError, match=r"cost depends on dimension 1 of its observations, which is not"):
        make(env)
    assert make(env, cost=place_cost).task.cost is place_cost

    class Ends(Rail):
        def terminated(self, state):
            return state[..., 1] > 1

    with pytest.raises(ValueError, match=r"terminated depends on dimension 1"):
        make(History(gymnasium.wrappers.TimeLimit(Ends(), STEPS), 2, (0,)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"actions": -1}, "actions must be at least 0, got -1"),
        ({"observed": ()}, "must name some dimensions, each once, got none"),
        ({"observed": (0, 0)}, "each once, got 0,0"),
        ({"observed": (0, 2)}, "observed 0,2: an observation has dimensions 0 to 1"),
        ({"observed": (-1,)}, "has dimensions 0 to 1"),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(ValueError, match=message):
        History(limited(), **settings)


def _remembering():
    return History(rail(), 3, (0,))


@pytest.mark.parametrize("vec_env", [None, DummyVecEnv, SubprocVecEnv])
def test_an_agent_learns_from_a_state_that_remembers(vec_env):
    env = _remembering() if vec_env is None else make_vec_env(_remembering, 2, vec_env_cls=vec_env)
    agent = make(env).learn(2 * STEPS)
    agent.get_env().close()
    assert agent.task.copied_dims == ((1, 0), (2, 1), (3, 5), (4, 3))
    assert agent.dynamics.targets.predicted == (0,)
    episode = agent.replay.episodes[-1]
    before = np.concatenate([episode.observations[:-1], episode.actions], axis=1)
    for index, source in agent.task.copied_dims:
        np.testing.assert_allclose(episode.observations[1:, index], before[:, source], atol=1e-6)


@pytest.mark.parametrize("dynamics", [TINY, Gp(fit_steps=3), Dropout(hidden=(8,), fit_steps=5)])
def test_models_predict_the_newest_observation_alone(dynamics):
    agent = make(_remembering(), dynamics=dynamics).learn(2 * STEPS)
    state, action = torch.randn(20, 5), torch.rand(20, 1) * 2 - 1
    prediction = agent.dynamics.predict(state, action, None)
    before = torch.cat([state, action], dim=-1)
    for index, source in agent.task.copied_dims:
        assert torch.equal(prediction.mean[:, index], before[:, source])
        assert not prediction.std[:, index].any()
    assert prediction.std[:, 0].all()


def test_a_belief_remembers_as_particles_do():
    """Moment matching of a state with copies: a Gaussian that is moved by the rule stays one."""
    agent = make(
        _remembering(), dynamics=Gp(fit_steps=3), rollout="moment-matching", resampling="none"
    ).learn(2 * STEPS)
    assert agent.improved
    assert all(bool(value.isfinite().all()) for value in agent.candidates.values())
    start = agent.policy_search().initial_states.covariance
    torch.testing.assert_close(start[:3, :3], start[0, 0].expand(3, 3))  # the past is the present
    assert not start[3:].any()


def test_it_is_saved_and_goes_on_the_same(tmp_path):
    whole = make(_remembering()).learn(3 * STEPS)
    make(_remembering()).learn(2 * STEPS).save(tmp_path / "agent")
    loaded = ParticlePILCO.load(tmp_path / "agent", env=_remembering())
    assert loaded.task.copied_dims == whole.task.copied_dims
    loaded.learn(STEPS, reset_num_timesteps=False)
    for name, value in whole.candidates.items():
        assert torch.equal(loaded.candidates[name], value)
    with pytest.raises(ValueError, match=r"the agent was built for copied_dims"):
        make(_remembering()).set_env(_remembering_without_copies())
    evaluate_policy(loaded, _remembering(), 2, warn=False)


def _remembering_without_copies():
    class Silent(History):
        copied_dims = {}  # noqa: RUF012

    return Silent(rail(), 3, (0,))


def test_the_user_may_say_what_is_copied():
    agent = make(_remembering_without_copies(), copied_dims={2: 1, 1: 0})
    assert agent.task.copied_dims == ((1, 0), (2, 1))
    assert make(_remembering(), copied_dims="none").task.copied_dims == ()
    with pytest.raises(TypeError, match="copied_dims must say which dimension copies which"):
        make(_remembering(), copied_dims=3)
    with pytest.raises(ValueError, match="sources are the 5 dimensions of a state and the 1 of an action"):
        make(_remembering(), copied_dims={1: 6})
