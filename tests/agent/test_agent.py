"""The agent on tiny environments: trials, counting, errors that say what to do, saving and loading."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from mbrl_agent import ParticlePILCO, SearchOptions, randomness
from mbrl_agent.agent import collector
from mbrl_agent.agent.callbacks import TrialCallback
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.errors import NonFiniteError, SearchFailedError, ShapeError
from mbrl_agent.files.archive import CheckpointError
from mbrl_agent.policies.linear import LinearPolicy
from mbrl_agent.randomness import derive_seed
from mbrl_agent.resampling import Gaussian, Interpolated, Mixture
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.policy_search import PolicySearch
from tests.support.point_mass import STEPS, PointMass, distance_cost, limited

TINY_MODEL = Ensemble(members=2, hidden=(8,), fit_steps=5)
TINY_SEARCH = SearchOptions(steps=2, num_particles=12, candidates=2)


def make(env=None, **options) -> ParticlePILCO:
    settings = {"dynamics": TINY_MODEL, "search": TINY_SEARCH, "seed": 3, "gradient_probe": 2} | options
    return ParticlePILCO(
        settings.pop("policy", "LinearPolicy"), limited() if env is None else env, **settings
    )


def everything(agent: ParticlePILCO) -> list[np.ndarray]:
    """All that an agent has learned and seen."""
    tensors = [*agent.policy.state_dict().values(), *agent.dynamics.state_dict().values()]
    tensors += [*(agent.candidates or {}).values()]  # their order too: sums over them round by it
    arrays = [a for e in agent.replay.episodes for a in (e.observations, e.actions, e.rewards)]
    return [tensor.numpy() for tensor in tensors] + arrays


def same(one: ParticlePILCO, other: ParticlePILCO) -> bool:
    a, b = everything(one), everything(other)
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


class Stop(BaseCallback):
    """Stop after some environment steps."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def _on_step(self) -> bool:
        return self.num_timesteps < self.after


# trials ----------------------------------------------------------------------------------------------------


def test_a_trial_is_an_episode_a_fit_and_a_search():
    agent = make().learn(3 * STEPS)
    assert (agent.trials, agent.num_timesteps, len(agent.replay)) == (3, 3 * STEPS, 3 * STEPS)
    assert (agent.fit_steps, agent.search_steps, agent._n_updates) == (15, 6, 6)
    for episode in agent.replay.episodes:
        assert episode.observations.shape == (STEPS + 1, 2)
        assert episode.actions.shape == (STEPS, 1)


def test_what_is_recorded_is_what_happened():
    agent = make(limited(bound=4.0)).learn(2 * STEPS)
    for episode in agent.replay.episodes:
        env = PointMass(bound=4.0)
        env.reset()
        env.state = episode.observations[0].copy()
        assert float(np.abs(episode.actions).max()) <= 1
        for action, after, reward in zip(
            episode.actions, episode.observations[1:], episode.rewards, strict=True
        ):
            observation, expected, *_ = env.step(np.float32(4.0 * action))
            np.testing.assert_allclose(after, observation, atol=1e-5)
            assert reward == pytest.approx(expected, abs=1e-5)


def test_the_first_trial_acts_at_random_and_the_next_by_the_policy():
    agent = make(random_trials=2)
    agent.learn(2 * STEPS)
    for episode in agent.replay.episodes:
        assert float(episode.actions.std()) > 0.2
        assert not np.allclose(episode.actions, act(agent, episode), atol=1e-5)
    policy = {key: value.clone() for key, value in agent.policy.state_dict().items()}
    agent.learn(STEPS, reset_num_timesteps=False)
    agent.policy.load_state_dict(policy)
    latest = agent.replay.episodes[-1]
    np.testing.assert_allclose(latest.actions, act(agent, latest), atol=1e-6)


def act(agent, episode):
    return agent.predict(episode.observations[:-1].astype(np.float32))[0]


def test_the_candidate_with_the_lowest_predicted_cost_acts():
    agent = make(search=SearchOptions(steps=1, num_particles=12, candidates=4)).learn(STEPS)
    best = int(agent.candidate_costs.argmin())
    for name, value in agent.policy.parameter_dict().items():
        assert torch.equal(value, agent.candidates[name][best])


def test_candidates_are_ranked_by_their_predicted_costs(monkeypatch):
    costs = torch.tensor([5.0, 5.0, 5.0, 5.0, 3.0, 4.0, 1.0, 2.0])  # starts, improved
    monkeypatch.setattr(PolicySearch, "predicted_cost", lambda self, parameters, simulation: costs)
    agent = make(search=SearchOptions(steps=1, num_particles=12, candidates=4)).learn(STEPS)
    for name, value in agent.policy.parameter_dict().items():
        assert torch.equal(value, agent.candidates[name][2])


def test_the_worst_candidate_is_replaced_and_the_others_go_on():
    agent = make(search=SearchOptions(steps=1, num_particles=12, candidates=3)).learn(STEPS)
    agent.candidate_costs = torch.tensor([1.0, 3.0, 2.0])
    points = agent.learner.starting_points(agent.replay, torch.Generator().manual_seed(0))
    for name, value in points.items():
        assert torch.equal(value[[0, 2]], agent.candidates[name][[0, 2]])
        assert not torch.equal(value[1], agent.candidates[name][1])


def starting_points(agent: ParticlePILCO, costs: list[float]) -> list[bool]:
    """Which candidates the next search replaces by fresh ones."""
    agent.candidate_costs = torch.tensor(costs)
    points = agent.learner.starting_points(agent.replay, torch.Generator().manual_seed(0))
    fresh = [points["weights"][i] for i in range(len(costs))]
    assert all(value.isfinite().all() for value in points.values())
    assert len({tuple(value.flatten().tolist()) for value in fresh}) == len(costs)
    return [not torch.equal(fresh[i], agent.candidates["weights"][i]) for i in range(len(costs))]


@pytest.mark.parametrize(
    ("costs", "replaced"),
    [
        ([1.0, 3.0, 2.0], [False, True, False]),
        ([1.0, np.inf, 2.0], [False, True, False]),
        ([np.inf, 1.0, np.inf], [True, False, True]),
        ([np.inf, np.inf, np.inf], [True, True, True]),
        ([2.0, 2.0, 2.0], [False, False, True]),  # the first of equal ones was deployed
        ([1.0], [False]),
        ([np.inf], [True]),
    ],
)
def test_candidates_that_failed_and_else_the_worst_are_replaced(costs, replaced):
    options = SearchOptions(steps=1, num_particles=12, candidates=len(costs))
    assert starting_points(make(search=options).learn(STEPS), costs) == replaced


def test_a_start_that_was_better_is_deployed_again():
    search = SearchOptions(steps=1, num_particles=12, candidates=2)
    agent = make(search=search, cost=lambda state, action: action.square().sum(-1) + 0 * state[..., 0]).learn(
        STEPS
    )
    before = {key: value.clone() for key, value in agent.policy.parameter_dict().items()}
    deployed = int(agent.candidate_costs.argmin())
    agent.search = replace(search, learning_rate=1e3)  # acts with all its might then
    agent.improve()
    for key, value in before.items():
        assert torch.equal(agent.candidates[key][deployed], value)
    assert agent.logger.name_to_value["policy/starts_kept"] >= 1


def test_where_no_candidate_is_finite_nothing_is_deployed(tmp_path):
    agent = make().learn(STEPS)
    before, candidates = agent.policy.parameter_dict(), agent.candidates
    before = {key: value.clone() for key, value in before.items()}
    agent.task = replace(agent.task, cost=lambda state, action: distance_cost(state, action) / 0.0)
    with pytest.raises(SearchFailedError, match=r"no policy was deployed: .*; the cost is not finite at"):
        agent.improve()
    assert all(torch.equal(agent.policy.parameter_dict()[key], value) for key, value in before.items())
    assert agent.candidates is not None
    assert all(torch.equal(agent.candidates[key], value) for key, value in candidates.items())
    agent.save(tmp_path / "agent")
    assert ParticlePILCO.load(tmp_path / "agent").trials == 1


def test_a_single_candidate_goes_on():
    agent = make(search=SearchOptions(steps=1, num_particles=12, candidates=1)).learn(STEPS)
    points = agent.learner.starting_points(agent.replay, torch.Generator().manual_seed(0))
    assert all(torch.equal(points[name], value) for name, value in agent.candidates.items())


def test_every_trial_starts_from_another_state():
    starts = make().learn(3 * STEPS).replay.initial_states()
    assert len(np.unique(starts[:, 0])) == 6  # of each episode, and of the one that begins after it


def test_starts_of_the_episodes_in_between_are_saved(tmp_path):
    whole = make().learn(3 * STEPS)
    first = make().learn(STEPS)
    first.save(tmp_path / "agent")
    loaded = ParticlePILCO.load(tmp_path / "agent", env=limited())
    np.testing.assert_array_equal(loaded.replay.further_starts, first.replay.further_starts)
    loaded.learn(2 * STEPS, reset_num_timesteps=False)
    np.testing.assert_array_equal(loaded.replay.initial_states(), whole.replay.initial_states())
    np.testing.assert_array_equal(
        loaded.policy_search().initial_states.mean, whole.policy_search().initial_states.mean
    )


def test_the_horizon_is_that_of_the_longest_episode_unless_given():
    agent = make().learn(STEPS)
    assert agent.policy_search().horizon == STEPS
    agent = make(search=SearchOptions(steps=1, num_particles=12, candidates=1, horizon=3)).learn(STEPS)
    assert agent.policy_search().horizon == 3


def test_phases_may_be_run_by_hand():
    agent = make().learn(STEPS)
    agent.fit()
    assert len(agent.improve().expected_cost) == 2


# counting of steps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "taken"), [(1, STEPS), (STEPS, STEPS), (STEPS + 1, 2 * STEPS)])
def test_an_episode_that_has_begun_is_finished(total, taken):
    assert make().learn(total).num_timesteps == taken


def test_without_a_time_limit_the_last_episode_is_cut():
    agent = make(PointMass()).learn(11)
    assert agent.num_timesteps == 11
    assert [len(episode) for episode in agent.replay.episodes] == [11]


def test_gymnasiums_time_limit_is_known():
    env = limited(6)
    assert [len(e) for e in make(env).learn(8).replay.episodes] == [6, 6]


def test_time_limits_may_differ():
    agent = make(DummyVecEnv([lambda: limited(5), lambda: limited(STEPS)])).learn(STEPS)
    assert [len(episode) for episode in agent.replay.episodes] == [5, STEPS]


def test_max_episode_steps_cuts_episodes():
    agent = make(PointMass(), max_episode_steps=5).learn(11)
    assert [len(episode) for episode in agent.replay.episodes] == [5, 5, 5]


def test_learning_goes_on_where_it_stopped():
    agent = make().learn(STEPS)
    agent.learn(STEPS, reset_num_timesteps=False)
    assert (agent.num_timesteps, agent.trials) == (2 * STEPS, 2)
    agent.learn(STEPS)
    assert (agent.num_timesteps, agent.trials) == (STEPS, 3)
    assert same(agent, make().learn(3 * STEPS))


def test_a_callback_that_stops_in_mid_episode_keeps_what_was_collected():
    agent = make().learn(5 * STEPS, Stop(STEPS + 3))
    assert [len(episode) for episode in agent.replay.episodes] == [STEPS, 3]
    assert (agent.num_timesteps, agent.trials) == (STEPS + 3, 1)


def test_trial_callbacks_hear_of_trials_and_progress():
    class Listener(TrialCallback):
        def on_trial_end(self):
            heard.append(("end", self.model.trials))

        def on_progress(self, phase, done, total, expected_cost):
            heard.append((phase, done, total))

    heard: list = []
    agent = make(search=SearchOptions(steps=20, num_particles=12, candidates=1))
    agent.learn(STEPS, [Listener(), Stop(1000)])
    improved = [entry for entry in heard if entry[0] == "improve"]
    assert improved[-1] == ("improve", 20, 20)
    assert heard[-1] == ("end", 1)


def test_several_environments_give_several_episodes_a_trial():
    agent = make(DummyVecEnv([limited] * 3)).learn(6 * STEPS)
    assert (agent.trials, agent.num_timesteps, len(agent.replay.episodes)) == (2, 6 * STEPS, 6)
    assert len(np.unique(agent.replay.initial_states()[:, 0])) == 12


def test_an_environment_that_ends_early_waits_for_the_others():
    agent = make(DummyVecEnv([lambda: Monitor(limited(ends_at=2)), lambda: Monitor(limited())])).learn(STEPS)
    assert [len(episode) for episode in agent.replay.episodes] == [2, STEPS]
    assert [info["l"] for info in agent.ep_info_buffer] == [2, STEPS]  # not those while it waits
    assert len(agent.ep_success_buffer) == 2


# seeds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["RbfPolicy", "MlpPolicy", "LinearPolicy"])
def test_the_same_seed_gives_the_same_run(policy):
    one = make(policy=policy).learn(2 * STEPS)
    np.random.seed(99)
    torch.manual_seed(99)
    assert same(one, make(policy=policy).learn(2 * STEPS))
    assert not same(one, make(policy=policy, seed=4).learn(2 * STEPS))


def test_the_seed_decides_on_the_policy_before_any_learning():
    one = make().policy.parameter_dict()
    torch.manual_seed(99)
    other = make().policy.parameter_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["weights"], make(seed=4).policy.parameter_dict()["weights"])


def test_no_two_uses_of_randomness_share_a_generator(monkeypatch):
    seeds = []

    def record(*arguments):
        seeds.append(derive_seed(*arguments))
        return seeds[-1]

    monkeypatch.setattr(randomness, "derive_seed", record)
    monkeypatch.setattr(collector, "derive_seed", record)
    make().learn(3 * STEPS)
    assert (
        len(seeds) == 2 + 5 * 3
    )  # model, random actions; in each trial episode, fit, improve, ranking, probe
    assert len(set(seeds)) == len(seeds)
    assert not set(seeds) & {derive_seed(4, "fit", 0), derive_seed(4, "improve", 0)}


def test_without_a_seed_runs_differ():
    one, other = make(seed=None), make(seed=None)
    assert one.seed != other.seed


def test_numpy_integers_are_seeds(tmp_path):
    agent = make(seed=np.int64(3))
    agent.save(tmp_path / "agent")
    assert ParticlePILCO.load(tmp_path / "agent").seed == 3


# choices ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "resampling",
    ["none", "gaussian", "interpolated", "mixture", Interpolated(ratio=0.2), Mixture(components=2)],
)
def test_resampling_by_name_or_instance(resampling):
    agent = make(resampling=resampling).learn(STEPS)
    assert agent.trials == 1
    assert agent.resampling in (resampling, type(agent.resampling)())


def test_instances_of_everything():
    resampling, estimator = Gaussian(moments="predictions"), Reparameterization()
    agent = make(policy=LinearPolicy, resampling=resampling, estimator=estimator).learn(STEPS)
    search = agent.policy_search()
    assert (search.resampler, search.estimator) == (resampling, estimator)
    assert isinstance(search.policy, LinearPolicy)


def pendulum_cost(state, action):
    """Gymnasium's pendulum observes cos, sin and speed."""
    return 1 - (-(1 - state[..., 0]) - 0.05 * state[..., 2] ** 2 - 0.0 * action[..., 0]).exp()


def test_gymnasiums_pendulum_with_a_cost_of_the_users():
    agent = make("Pendulum-v1", cost=pendulum_cost, max_episode_steps=6).learn(12)
    assert agent.trials == 2
    assert agent.replay.episodes[0].observations.shape == (7, 3)
    action, _ = agent.predict(np.array([1, 0, 0], np.float32))
    assert agent.action_space.contains(action)
    env = gymnasium.make("Pendulum-v1")
    env.reset()
    episode = agent.replay.episodes[0]
    cos, sin, speed = episode.observations[0]
    env.unwrapped.state = np.array([np.arctan2(sin, cos), speed])
    observation, *_ = env.step((2 * episode.actions[0]).astype(np.float32))
    np.testing.assert_allclose(observation, episode.observations[1], atol=1e-4)


def test_what_the_user_passes_goes_before_what_the_environment_offers():
    env = PointMass()
    env.angle_dims, env.initial_mean, env.initial_std = (0,), [1.0, 0.0], [0.1, 0.1]
    offered = make(env)
    assert (offered.task.angle_dims, offered.task.initial_mean.tolist()) == ((0,), [1.0, 0.0])
    given = make(env, angle_dims=(1,), initial_mean=[2.0, 3.0], initial_std=0.5, cost=pendulum_cost_2d)
    assert given.task.angle_dims == (1,)
    assert given.task.initial_mean.tolist() == [2.0, 3.0]
    assert given.task.initial_std.tolist() == [0.5, 0.5]
    assert given.task.cost is pendulum_cost_2d
    assert make(env, angle_dims=()).task.angle_dims == ()


def pendulum_cost_2d(state, action):
    return 1 - (-(1 - state[..., 0].cos())).exp()


def test_initial_states_are_estimated_where_nobody_knows_them():
    agent = make().learn(3 * STEPS)
    states, first = agent.policy_search().initial_states, agent.replay.initial_states()
    np.testing.assert_allclose(states.mean, first.mean(0), rtol=1e-5)
    np.testing.assert_allclose(states.std, first.std(0, ddof=1), rtol=1e-5)


def test_the_spread_of_one_start_is_not_known():
    agent = make(PointMass())  # which has no time limit: no other episode begins
    agent.learn(STEPS)
    assert len(agent.replay.initial_states()) == 1
    assert agent.policy_search().initial_states.std.tolist() == [0.0, 0.0]


# errors ----------------------------------------------------------------------------------------------------


class Spaces(gymnasium.Env):
    """An environment that has spaces and nothing else."""

    cost = staticmethod(distance_cost)

    def __init__(self, observations=None, actions=None):
        self.observation_space = observations or spaces.Box(-1, 1, (2,), np.float32)
        self.action_space = actions or spaces.Box(-1, 1, (1,), np.float32)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (Spaces(actions=spaces.Discrete(2)), r"actions must be a Box .*continuous.*Discrete\(2\)"),
        (Spaces(actions=spaces.Box(-1, 1, (2, 2))), r"actions must be a Box with one axis"),
        (Spaces(actions=spaces.Box(0, 9, (1,), np.int64)), r"actions must be a Box .*continuous"),
        (Spaces(actions=spaces.Box(-np.inf, np.inf, (1,))), r"actions must be bounded.*RescaleAction"),
        (Spaces(spaces.Dict(x=spaces.Box(-1, 1, (2,)))), r"observations must be a Box.*FlattenObservation"),
        (Spaces(spaces.Box(0, 255, (8, 8, 3), np.uint8)), r"observations must be a Box with one axis"),
        (Spaces(spaces.Discrete(3)), r"observations must be a Box"),
        ("PointMas-v0", r"'PointMas-v0' cannot be made: .*doesn't exist"),
        ("Pendulumm-v1", r"'Pendulumm-v1' cannot be made: .*Did you mean: `Pendulum`"),
        ("not an id", r"'not an id' cannot be made"),
        (PointMass(offers_cost=False), r"no differentiable cost: pass cost="),
    ],
)
def test_environments_that_cannot_work(env, message):
    with pytest.raises(ValueError, match=message):
        make(env)


def test_vec_normalize_is_refused():
    with pytest.raises(ValueError, match=r"VecNormalize changes observations.*pass the environment without"):
        make(VecNormalize(DummyVecEnv([PointMass])))


@pytest.mark.parametrize("env", [3, gymnasium.make_vec("Pendulum-v1", num_envs=2), PointMass])
def test_things_that_are_no_environment(env):
    with pytest.raises(TypeError, match=r"env must be a gymnasium\.Env, a VecEnv of Stable-Baselines3"):
        make(env)


@pytest.mark.parametrize(
    ("cost", "error", "message"),
    [
        (
            lambda state, action: state,
            ValueError,
            r"cost must map states \(2, 3, 2\) to costs \(2, 3\), got \(2, 3, 2\)",
        ),
        (lambda state, action: state.sum(), ValueError, r"to costs \(2, 3\), got \(\)"),
        (lambda state, action: 1.0, ValueError, r"got float"),
        (lambda state, action: state[..., 0].detach(), ValueError, r"not differentiable"),
        (
            lambda state, action: state[..., 0] + action.mul_(2)[..., 0],
            ValueError,
            r"cost changes the tensors",
        ),
        (lambda state, action: torch.from_numpy(np.cos(state.numpy())), ValueError, r"cost failed on states"),
        (lambda state: state[..., 0], ValueError, r"cost failed on states"),
        (lambda state, action: state[..., 5], ValueError, r"cost failed on states"),
        ("angle", TypeError, r"cost must be a function .* got str"),
    ],
)
def test_costs_that_cannot_work(cost, error, message):
    with pytest.raises(error, match=message):
        make(cost=cost)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"angle_dims": (2,)}, ValueError, r"angle_dims \[2\]: a state has dimensions 0 to 1"),
        ({"angle_dims": (-1,)}, ValueError, r"a state has dimensions 0 to 1"),
        ({"angle_dims": (1, 1)}, ValueError, r"twice"),
        ({"angle_dims": 1}, TypeError, r"angle_dims must be a sequence of indices"),
        ({"angle_dims": (0.5,)}, TypeError, r"angle_dims must be a sequence of indices"),
        ({"initial_mean": [1.0, 2.0, 3.0]}, ValueError, r"initial_mean must hold 2 finite values"),
        ({"initial_mean": [[1.0, 2.0]]}, ValueError, r"initial_mean must hold 2 finite values"),
        ({"initial_std": [1.0, -2.0]}, ValueError, r"initial_std must hold 2 finite values"),
        ({"initial_std": np.nan}, ValueError, r"initial_std must hold 2 finite values"),
        ({"search": SearchOptions(num_particles=13)}, ValueError, r"13 particles do not split evenly over 2"),
        ({"search": SearchOptions(num_particles=2)}, ValueError, r"needs at least 4 particles"),
        ({"search": SearchOptions(num_particles=14), "resampling": "mixture"}, ValueError, r"3 components"),
        ({"search": {"steps": 3}}, TypeError, r"search must be SearchOptions"),
        ({"resampling": "gausian"}, ValueError, r"unknown resampling 'gausian'.*did you mean 'gaussian'"),
        (
            {"estimator": "reparametrization"},
            ValueError,
            r"unknown estimator.*did you mean 'reparameterization'",
        ),
        ({"dynamics": "tree"}, ValueError, r"unknown dynamics 'tree': choose from .*ensemble"),
        ({"resampling": 3}, TypeError, r"resampling must be a name"),
        ({"policy": "RbfPolice"}, ValueError, r"unknown policy 'RbfPolice'.*did you mean 'RbfPolicy'"),
        ({"policy": PPO.policy_aliases["MlpPolicy"]}, ValueError, r"policy must be one of .*RbfPolicy"),
        ({"policy": 3}, ValueError, r"policy must be one of .*RbfPolicy"),
        ({"policy_kwargs": {"centres": 3}}, TypeError, r"centres"),
        ({"random_trials": 0}, ValueError, r"random_trials must be at least 1"),
        ({"gradient_probe": 1}, ValueError, r"gradient_probe must be 0 .* or at least 2"),
        ({"max_episode_steps": 0}, ValueError, r"max_episode_steps must be at least 1"),
    ],
)
def test_options_that_cannot_work(options, error, message):
    with pytest.raises(error, match=message):
        make(**options)


def test_an_agent_needs_an_environment():
    with pytest.raises(ValueError, match=r"needs an environment: pass env="):
        ParticlePILCO("RbfPolicy", None)


@pytest.mark.parametrize(
    ("arguments", "error"), [({"total_timesteps": 0}, ValueError), ({"total_timesteps": 1000.5}, ValueError),
                             ({"total_timesteps": np.inf}, ValueError), ({"total_timesteps": "9"}, TypeError),
                             ({"total_timesteps": 8, "log_interval": 0}, ValueError)]
)  # fmt: skip
def test_learn_checks_its_arguments(arguments, error):
    with pytest.raises(error, match=list(arguments)[-1]):
        make().learn(**arguments)


def test_the_search_needs_episodes():
    with pytest.raises(ValueError, match=r"call learn first"):
        make().policy_search()
    with pytest.raises(ValueError, match=r"no episodes yet"):
        make().fit()


def test_too_short_an_episode():
    agent = make(limited(3))
    with pytest.warns(UserWarning, match=r"a fit needs at least 5 transitions.*=3 gave 3.*call learn again"):
        agent.learn(3)
    assert (agent.trials, agent.improved, len(agent.replay)) == (0, False, 3)
    with pytest.raises(ValueError, match=r"at least 5 transitions, got 3: collect a longer episode"):
        agent.fit()
    agent.learn(3, reset_num_timesteps=False)
    assert (agent.trials, agent.improved, len(agent.replay)) == (1, True, 6)


def test_an_observation_that_is_not_finite_names_step_and_dimension_and_loses_nothing():
    agent = make(PointMass(broken_at=6))
    with pytest.raises(NonFiniteError, match=r"observation dimension 1 = nan at step 6"):
        agent.learn(STEPS)
    assert [len(episode) for episode in agent.replay.episodes] == [5]
    assert np.isfinite(agent.replay.episodes[0].observations).all()
    assert isinstance(NonFiniteError(), ValueError)


def test_an_observation_of_the_wrong_shape_loses_nothing():
    class Cut(PointMass):
        def step(self, action):
            observation, *rest = super().step(action)
            return observation[: 1 if self.steps == STEPS else 2], *rest

    agent = make(gymnasium.wrappers.TimeLimit(Cut(), STEPS))
    with pytest.raises(ShapeError, match=rf"shape \(1,\) instead of \(2,\) at step {STEPS}"):
        agent.learn(STEPS)
    assert [len(episode) for episode in agent.replay.episodes] == [STEPS - 1]


def test_a_reward_that_is_not_finite():
    class Unrewarding(PointMass):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, np.inf, *rest

    with pytest.raises(NonFiniteError, match=r"reward = inf at step 1"):
        make(Unrewarding()).learn(STEPS)


# saving and loading ----------------------------------------------------------------------------------------


def test_a_loaded_agent_predicts_the_same_without_an_environment(tmp_path):
    agent = make().learn(2 * STEPS)
    agent.save(tmp_path / "agent")
    loaded = ParticlePILCO.load(tmp_path / "agent.zip")
    observations = agent.replay.episodes[0].observations.astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(observations)[0], agent.predict(observations)[0])
    assert loaded.get_env() is None
    with pytest.raises(ValueError, match=r"no environment: pass env="):
        loaded.learn(STEPS)


@pytest.mark.parametrize(
    "options",
    [
        {"policy": "RbfPolicy"},
        {"policy": "MlpPolicy"},
        {"policy": "LinearPolicy", "resampling": Mixture(components=2, em_iterations=1)},
    ],
)
def test_a_loaded_agent_goes_on_as_if_nothing_had_happened(tmp_path, options):
    whole = make(**options).learn(3 * STEPS)
    part = make(**options).learn(2 * STEPS)
    part.save(tmp_path / "agent")
    np.random.seed(1)
    torch.manual_seed(1)
    loaded = ParticlePILCO.load(tmp_path / "agent", env=limited())
    loaded.learn(STEPS, reset_num_timesteps=False)
    assert same(loaded, whole)
    assert (loaded.trials, loaded.num_timesteps, loaded.fit_steps) == (3, 3 * STEPS, whole.fit_steps)
    assert list(loaded.ep_success_buffer) == list(whole.ep_success_buffer)
    assert [i["r"] for i in loaded.ep_info_buffer] == [i["r"] for i in whole.ep_info_buffer]


def test_an_agent_saved_in_mid_episode_is_that_of_the_episodes_start(tmp_path):
    class Save(BaseCallback):
        def _on_step(self):
            if self.num_timesteps == 2 * STEPS - 1:
                self.model.save(tmp_path / "agent")
            return True

    whole = make().learn(3 * STEPS, Save())
    loaded = ParticlePILCO.load(tmp_path / "agent", env=limited())
    assert (loaded.num_timesteps, loaded.trials) == (STEPS, 1)
    assert same(loaded.learn(2 * STEPS, reset_num_timesteps=False), whole)


def test_what_the_user_gave_is_kept(tmp_path):
    env = PointMass(offers_cost=False)
    agent = make(env, cost=distance_cost, angle_dims=(1,), initial_mean=[1.0, 0.0], initial_std=0.3)
    agent.save(tmp_path / "agent")
    with pytest.raises(ValueError, match=r"no differentiable cost"):
        ParticlePILCO.load(tmp_path / "agent", env=env)
    loaded = ParticlePILCO.load(tmp_path / "agent", env=env, cost=distance_cost)
    assert loaded.task.angle_dims == (1,)
    assert loaded.task.initial_mean.tolist() == [1.0, 0.0]
    assert loaded.task.initial_std.tolist() == [0.3, 0.3]
    loaded.save(tmp_path / "again")
    again = ParticlePILCO.load(tmp_path / "again", env=env, cost=distance_cost)
    assert again.task.initial_std.tolist() == [0.3, 0.3]


def test_what_the_environment_offers_is_read_anew(tmp_path):
    env = PointMass()
    env.initial_std = [0.1, 0.1]
    agent = make(env)
    agent.save(tmp_path / "agent")
    env.initial_std = [0.2, 0.2]
    assert ParticlePILCO.load(tmp_path / "agent").task.initial_std.tolist() == [0.1, 0.1]
    assert ParticlePILCO.load(tmp_path / "agent", env=env).task.initial_std.tolist() == [0.2, 0.2]


def test_options_survive(tmp_path):
    agent = make(
        policy="MlpPolicy",
        policy_kwargs={"hidden": (3, 2)},
        resampling=Interpolated(ratio=0.25),
        max_episode_steps=4,
        random_trials=2,
    )
    agent.save(tmp_path / "agent")
    loaded = ParticlePILCO.load(tmp_path / "agent")
    for name in (
        "resampling",
        "estimator",
        "dynamics_options",
        "search",
        "max_episode_steps",
        "random_trials",
    ):
        assert getattr(loaded, name) == getattr(agent, name)
    assert (loaded.seed, loaded.gradient_probe, loaded.n_envs) == (3, 2, 1)


def test_a_policy_of_the_users_own(tmp_path):
    class OwnPolicy(LinearPolicy):
        pass

    agent = make(policy=OwnPolicy)
    agent.save(tmp_path / "agent")
    with pytest.raises(ValueError, match=r"'OwnPolicy' .* pass its class, custom_objects="):
        ParticlePILCO.load(tmp_path / "agent")
    loaded = ParticlePILCO.load(tmp_path / "agent", custom_objects={"policy_class": OwnPolicy})
    assert isinstance(loaded.policy, OwnPolicy)


def test_a_mistake_in_the_environment_is_not_blamed_on_the_file(tmp_path):
    make().save(tmp_path / "agent")
    with pytest.raises(TypeError, match=r"env must be"):
        ParticlePILCO.load(tmp_path / "agent", env=3)
    with pytest.raises(ValueError, match=r"spaces do not match") as error:
        ParticlePILCO.load(tmp_path / "agent", env=gymnasium.make("Pendulum-v1"), cost=pendulum_cost)
    assert not isinstance(error.value, CheckpointError)


def test_load_options_are_checked(tmp_path):
    make().save(tmp_path / "agent")
    with pytest.raises(ValueError, match=r"load takes no option learning_rate: only cost"):
        ParticlePILCO.load(tmp_path / "agent", learning_rate=0.1)


def test_stable_baselines3s_own_files_are_refused(tmp_path):
    PPO("MlpPolicy", PointMass(), n_steps=8, batch_size=8).save(tmp_path / "ppo")
    with pytest.raises(CheckpointError, match=r"stable_baselines3's own format.*pickled.*PPO\.load"):
        ParticlePILCO.load(tmp_path / "ppo")


@pytest.mark.parametrize("change", ["shape", "missing", "length", "not finite", "config"])
def test_contents_that_do_not_fit_together(tmp_path, change):
    from mbrl_agent.files.archive import read_archive, write_archive

    make().learn(STEPS).save(tmp_path / "agent")
    archive = read_archive(tmp_path / "agent")
    if change == "shape":
        archive.tensors["policy/weights"] = torch.zeros(7, 7)
    elif change == "missing":
        del archive.arrays["episodes/0/rewards"]
    elif change == "length":
        archive.arrays["episodes/0/rewards"] = np.zeros(3)
    elif change == "not finite":
        archive.arrays["episodes/0/observations"][2, 1] = np.nan
    else:
        archive.config["search"]["steps"] = -1
    write_archive(tmp_path / "bad", archive.config, archive.tensors, archive.arrays)
    with pytest.raises(CheckpointError, match=r"contents do not fit together"):
        ParticlePILCO.load(tmp_path / "bad")
