"""Where rollouts start: normal, from a set, from a sampler; wrapped angles; saving."""

import numpy as np
import pytest
import torch

from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.agent.task import Task
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.search.initial_states import InitialStates, SampledStates, StateSet, moments, on_one_turn
from tests.agent.test_agent import make, same
from tests.support.point_mass import STEPS, PointMass, distance_cost, limited

PI = np.pi
CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def column(*angles):
    """States (N, 2) whose second dimension is the angle."""
    return np.stack([np.linspace(5.0, 6.0, len(angles)), np.array(angles, dtype=np.float64)], axis=1)


# angles ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("low", [-PI, 0.0, -2 * PI, 1.0])
@pytest.mark.parametrize("centre", [-3.0, -0.1, 0.0, 0.2, 3.1, PI, 6.2])
def test_whatever_the_convention_of_wrapping_the_spread_is_that_of_the_starts(low, centre):
    rng = np.random.default_rng(0)
    true = centre + 0.1 * rng.standard_normal(41)
    wrapped = (true - low) % (2 * PI) + low
    states = column(*wrapped)
    placed = on_one_turn(states, (1,))
    np.testing.assert_array_equal(placed[:, 0], states[:, 0])
    np.testing.assert_allclose(np.cos(placed[:, 1]), np.cos(true), atol=1e-9)
    mean, covariance = moments(states, (1,))
    assert np.sqrt(covariance[1, 1]) == pytest.approx(true.std(ddof=1), rel=1e-9)
    assert np.cos(mean[1] - true.mean()) == pytest.approx(1.0, abs=1e-9)
    stays = placed[:, 1] == wrapped
    assert stays.mean() >= 0.5


@pytest.mark.parametrize(
    "angles",
    [
        (PI - 0.1, PI + 0.1, PI + 0.02),  # not wrapped: the cost may tell turns apart
        (7 * PI - 0.1, 7 * PI + 0.1),
        (0.0, 2.0, -2.0),  # all round the circle
        (0.0, PI),
        (0.1, -0.1, 2 * PI + 0.3),  # more than one turn
        (2.5,),
    ],
)
def test_angles_that_need_no_move_stay_as_they_are(angles):
    states = column(*angles)
    np.testing.assert_array_equal(on_one_turn(states, (1,)), states)


def test_two_starts_on_either_side_of_the_seam_are_neighbours():
    assert np.ptp(on_one_turn(column(PI - 0.05, -PI + 0.05), (1,))[:, 1]) == pytest.approx(0.1)
    states = column(PI - 0.05, -PI + 0.05)
    np.testing.assert_array_equal(on_one_turn(states, ()), states)  # not an angle


def test_one_moment_alone_is_completed_by_an_estimate():
    observed = column(3.1, -3.1, 3.0, -3.0)
    given_mean = Task(distance_cost, (1,), initial_mean=np.array([1.0, 9.0])).initial_states(observed, CPU)
    assert isinstance(given_mean, InitialStates)
    assert given_mean.mean.tolist() == [1.0, 9.0]
    assert 0.05 < float(given_mean.std[1]) < 0.3
    given_std = Task(distance_cost, (1,), initial_std=np.array([1.0, 0.5])).initial_states(observed, CPU)
    assert float(given_std.mean[1].abs()) == pytest.approx(PI, abs=0.1)
    assert given_std.std.tolist() == [1.0, 0.5]


# the distributions -----------------------------------------------------------------------------------------


def on_circle(count, generator):
    angle = 2 * PI * torch.rand(count, generator=generator)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


KINDS = {
    "normal": lambda: InitialStates(torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.1])),
    "set": lambda: StateSet.of(np.arange(10.0).reshape(5, 2), (), CPU),
    "sampler": lambda: SampledStates(on_circle, 2, (), CPU),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_distribution_draws_repeats_and_changes_its_type(kind):
    states = KINDS[kind]()
    drawn = states.sample(3, 4000, generator())
    assert drawn.shape == (3, 4000, 2)
    assert drawn.dtype == torch.float32
    assert torch.equal(drawn, states.sample(3, 4000, generator()))
    assert not torch.equal(drawn, states.sample(3, 4000, generator(1)))
    torch.testing.assert_close(drawn.mean((0, 1)), states.mean, atol=0.06 * 3, rtol=0)
    torch.testing.assert_close(drawn.std((0, 1)), states.std, atol=0.06, rtol=0.2)
    torch.testing.assert_close(drawn.flatten(0, 1).T.cov(), states.covariance, atol=0.06, rtol=0.2)
    double = states.double()
    assert double.sample(1, 3, generator()).dtype == double.mean.dtype == double.std.dtype == torch.float64


def test_observed_starts_are_drawn_as_they_are():
    """Sine and cosine of an angle stay on the circle, which independent normals would leave."""
    angle = np.linspace(0, 5, 12)
    observed = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    states = Task(distance_cost, ()).initial_states(observed, CPU)
    drawn = states.sample(2, 500, generator()).reshape(-1, 2)
    torch.testing.assert_close(drawn.square().sum(1), torch.ones(1000))
    assert len(drawn.unique(dim=0)) == 12


@pytest.mark.parametrize("count", [1, 4])
def test_what_the_first_episode_visited_counts_as_one_start(count):
    starts = np.arange(2.0 * count).reshape(count, 2)
    visited = np.concatenate([starts[:1], np.full((3, 2), -1.0)])
    states = Task(distance_cost, ()).initial_states(starts, CPU, visited)
    drawn = states.sample(2, 5000, generator()).reshape(-1, 2)
    share = 1 / (count + 1)
    assert float((drawn < 0).all(1).double().mean()) == pytest.approx(share * 3 / 4, abs=0.02)
    assert {tuple(state) for state in drawn.tolist()} == {tuple(s) for s in (*starts, (-1.0, -1.0))}
    assert torch.equal(states.double().sample(2, 50, generator()), states.sample(2, 50, generator()).double())


def test_what_was_visited_stays_on_the_turn_of_its_start():
    """An angle on the seam is observed on either side of it; its particles must not be a turn apart."""
    starts = column(-PI + 0.1, PI - 0.1, PI - 0.2)
    visited = column(-PI + 0.1, PI - 0.3, -PI + 0.2, -PI + 0.3)
    drawn = Task(distance_cost, (1,)).initial_states(starts, CPU, visited).sample(1, 500, generator())
    assert float(drawn[..., 1].max() - drawn[..., 1].min()) == pytest.approx(0.6, abs=1e-5)


def test_a_known_start_does_not_ask_what_was_visited():
    given = Task(distance_cost, (), initial_mean=np.zeros(2), initial_std=np.ones(2))
    visited = column(100.0, 200.0)
    assert given.initial_states(visited, CPU, visited).mean.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (lambda count, generator: torch.zeros(count, 3), r"must draw 6 states of 2 dimensions.*got \(6, 3\)"),
        (lambda count, generator: torch.zeros(2), r"got \(2,\)"),
        (lambda count, generator: torch.full((count, 2), torch.nan), r"not finite"),
        (lambda count: torch.zeros(count, 2), r"initial_states failed to draw"),
        (lambda count, generator: "ten", r"initial_states failed to draw"),
    ],
)
def test_samplers_that_cannot_work(sampler, message):
    with pytest.raises(ValueError, match=message):
        make(initial_states=sampler)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial_states": [1.0, 0.0]}, r"states \(N, 2\), got list of shape \(2,\)"),
        ({"initial_states": [[1.0, 0.0, 3.0]]}, r"got list of shape \(1, 3\)"),
        ({"initial_states": np.zeros((0, 2))}, r"of shape \(0, 2\)"),
        ({"initial_states": [[1.0, np.nan]]}, r"not finite"),
        ({"initial_states": "observed"}, r"got str"),
        ({"initial_states": [[1.0, 0.0]], "initial_mean": [0.0, 0.0]}, r"or initial_mean, not both"),
        ({"initial_states": on_circle, "initial_std": 1.0}, r"initial_states or initial_std, not both"),
        ({"initial_mean": "nothing"}, r"initial_mean must hold 2 finite values"),
    ],
)  # fmt: skip
def test_starts_that_cannot_work(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


# the agent -------------------------------------------------------------------------------------------------


def start(agent):
    return agent.task.initial_states(agent.replay.initial_states(), agent.device)


def test_what_is_passed_goes_before_what_the_environment_offers():
    env = PointMass()
    env.initial_mean, env.initial_std, env.initial_states = [1.0, 0.0], 0.1, [[3.0, 0.0]]
    none = {"initial_mean": "none", "initial_std": "none"}

    def kind(**options):
        agent = make(env, max_episode_steps=STEPS, **options).learn(STEPS)
        return start(agent), agent.replay.initial_states()

    assert kind()[0].sample(1, 2, generator()).tolist() == [[[3.0, 0.0]] * 2]
    assert isinstance(kind(initial_states="none")[0], InitialStates)
    assert isinstance(kind(initial_std=0.2)[0], InitialStates)
    assert isinstance(kind(initial_states=on_circle)[0], SampledStates)
    given, observed = kind(initial_states="none", **none)
    drawn = given.sample(1, 20, generator())[0].numpy()
    assert len(observed) == 2  # of the episode, and of the one that began after it
    gaps = np.abs(drawn[:, None] - observed).max(-1)  # (draws, starts)
    assert gaps.min(1).max() < 1e-6
    assert gaps.min(0).max() < 1e-6
    assert kind(initial_states=np.array([[2.0, 1.0]]), **none)[0].mean.tolist() == [2.0, 1.0]


@pytest.mark.parametrize("given", [[[1.0, 0.0], [0.8, 0.1]], on_circle], ids=["states", "sampler"])
def test_an_agent_learns_saves_and_goes_on_from_its_own_starts(given, tmp_path):
    options = {"initial_states": given} if callable(given) else {}
    agent = make(initial_states=given).learn(2 * STEPS)
    particles = agent.policy_search().simulation(1, generator(), 50).initial_particles[0]
    if callable(given):
        torch.testing.assert_close(particles.square().sum(1), torch.ones(50))
    else:
        assert len(particles.unique(dim=0)) == 2
    agent.save(tmp_path / "agent")
    loaded = ParticlePILCO.load(tmp_path / "agent", env=limited(), **options)
    agent.set_env(limited())
    one = agent.learn(STEPS, reset_num_timesteps=False)
    assert same(loaded.learn(STEPS, reset_num_timesteps=False), one)


def test_a_function_is_asked_for_again(tmp_path):
    agent = make(initial_states=on_circle, terminated=lambda state: state[..., 0] > 3)
    agent.save(tmp_path / "agent")
    ParticlePILCO.load(tmp_path / "agent").predict(np.zeros(2, np.float32))
    with pytest.raises(ValueError, match=r"terminated=\.\.\. to load again"):
        ParticlePILCO.load(tmp_path / "agent", env=limited(), initial_states=on_circle)
    with pytest.raises(ValueError, match=r"initial_states=\.\.\. to load again"):
        ParticlePILCO.load(tmp_path / "agent", env=limited(), terminated="none")
    loaded = ParticlePILCO.load(tmp_path / "agent", env=limited(), initial_states=[[1, 0]], terminated="none")
    assert loaded.task.terminated is None
    assert loaded.task.start.tolist() == [[1.0, 0.0]]


def test_none_is_saved(tmp_path):
    env = limited()
    env.unwrapped.initial_mean, env.unwrapped.initial_std = [1.0, 0.0], 0.1
    env.unwrapped.terminated = lambda state: state[..., 0] > 3
    env.unwrapped.angle_dims = (1,)
    names = ("angle_dims", "initial_mean", "initial_std", "terminated")
    make(env, **dict.fromkeys(names, "none")).save(tmp_path / "agent")
    loaded = ParticlePILCO.load(tmp_path / "agent", env=env)
    assert [getattr(loaded.task, name) for name in names] == [(), None, None, None]


# ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terminated", "error", "message"),
    [
        (True, TypeError, r"terminated must be a function .* got bool"),
        (lambda state: state[..., 0], ValueError, r"torch.bool, got \(2, 3\) of torch.float32"),
        (lambda state: state > 0, ValueError, r"got \(2, 3, 2\)"),
        (lambda state: False, ValueError, r"got bool"),
        (lambda state: state[..., 7] > 0, ValueError, r"terminated failed on states"),
        (lambda: None, ValueError, r"terminated failed on states.*'none'"),
        ("never", TypeError, r"terminated must be a function .* got str"),
        (
            lambda state: state.abs_()[..., 0] > 1,
            ValueError,
            r"terminated changes the tensors .*x\.clone\(\)",
        ),
    ],
)
def test_ends_that_cannot_work(terminated, error, message):
    with pytest.raises(error, match=message):
        make(terminated=terminated)


def test_the_environment_may_offer_its_ends_or_have_a_flag_of_that_name():
    env = PointMass()
    for own in (False, lambda: False):
        env.terminated = own
        assert make(env).task.terminated is None
    env.terminated = lambda state: state[..., 0] > 1.2
    assert make(env, terminated="none").task.terminated is None
    agent = make(env, max_episode_steps=STEPS).learn(2 * STEPS)
    trajectory = agent.policy_search().simulation(1, generator())(
        {name: value[None] for name, value in agent.policy.parameter_dict().items()}
    )
    assert trajectory.ended is not None


@pytest.mark.parametrize(
    ("estimator", "fewest"), [("likelihood-ratio", 2), ("total-propagation", 2), ("gaussian-shaping", 10)]
)
def test_estimators_say_how_many_particles_they_need(estimator, fewest):
    def build(particles):
        search = SearchOptions(num_particles=particles, steps=1, candidates=1)
        options = {"resampling": "none", "estimator": estimator, "search": search}
        return make(dynamics=Ensemble(members=1, hidden=(4,), fit_steps=2), gradient_probe=2, **options)

    with pytest.raises(ValueError, match=rf"needs at least {fewest} of them .* got {fewest - 1}: raise"):
        build(fewest - 1)
    agent = build(fewest).learn(STEPS)
    assert all(bool(value.isfinite().all()) for value in agent.candidates.values())
