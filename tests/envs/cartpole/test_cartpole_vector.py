"""The vector environment against Gymnasium's SyncVectorEnv of the single one: the same bits."""

import copy
import inspect
import pickle

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import envs  # noqa: F401
from envs.cartpole.environment import CartPoleSwingUpEnv, CartPoleSwingUpVectorEnv
from envs.cartpole.task import CartPoleTask


def make(num_envs=5, **options):
    return gymnasium.make_vec("CartPoleSwingUp-v0", num_envs=num_envs, **options)


def make_sync(num_envs=5, **options):
    return SyncVectorEnv(
        [lambda: gymnasium.make("CartPoleSwingUp-v0", **options)] * num_envs,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )


def assert_same(one, other):
    """Same types, keys, dtypes and bits, through dictionaries and object arrays."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, np.ndarray) and one.dtype == object:
        assert_same(one.tolist(), other.tolist())
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, strict=True)
    else:
        assert one == other


def assert_same_steps(ours, theirs, count, rng):
    for _ in range(count):
        actions = rng.uniform(-1.2, 1.2, (ours.num_envs, 1)).astype(np.float32)
        assert_same(ours.step(actions), theirs.step(actions))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cost": "tip", "cost_width": 0.25},
        {"noise_scale": 2.0, "max_episode_steps": 40},
        {"initial_std": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [7, [3, 1, 4, 1, 5]], ids=["int", "list"])
def test_same_as_the_single_environment(options, seed):
    ours, theirs, rng = make(**options), make_sync(**options), np.random.default_rng(0)
    assert_same(ours.reset(seed=seed), theirs.reset(seed=seed))
    assert_same_steps(ours, theirs, 95, rng)
    assert_same(ours.reset(), theirs.reset())
    assert_same_steps(ours, theirs, 35, rng)
    assert ours.np_random_seed == theirs.np_random_seed


def test_same_for_many_carts():
    ours, theirs, rng = make(67), make_sync(67), np.random.default_rng(1)
    assert_same(ours.reset(seed=0), theirs.reset(seed=0))
    assert_same_steps(ours, theirs, 65, rng)


def test_same_through_partial_resets():
    ours, theirs, rng = make(), make_sync(), np.random.default_rng(2)
    assert_same(ours.reset(seed=0), theirs.reset(seed=0))
    assert_same_steps(ours, theirs, 11, rng)
    mask = np.array([True, False, False, True, False])
    options = {"reset_mask": mask, "state": (0.0, 0.1, 0.2, 0.3)}
    assert_same(ours.reset(options=options), theirs.reset(options=dict(options)))
    assert "reset_mask" in options
    assert_same_steps(ours, theirs, 45, rng)
    seeds = [None, 8, None, None, 9]
    assert_same(
        ours.reset(seed=seeds, options={"reset_mask": ~mask}),
        theirs.reset(seed=seeds, options={"reset_mask": ~mask}),
    )
    assert_same_steps(ours, theirs, 65, rng)


def test_same_success():
    ours, theirs = make(3, noise_std=0.0), make_sync(3, noise_std=0.0)
    options = {"state": (0.0, 0.0, 0.0, 0.0)}
    ours.reset(seed=0, options=options)
    theirs.reset(seed=0, options=options)
    push = np.zeros((3, 1), dtype=np.float32)
    push[1] = 1.0
    for _ in range(30):
        ours_step, theirs_step = ours.step(push), theirs.step(push)
        assert_same(ours_step, theirs_step)
        push[1] = 0.0
    assert ours_step[4]["final_info"]["is_success"].tolist() == [True, False, True]
    assert ours_step[4]["is_success"].tolist() == [False] * 3


def test_a_state_for_each():
    env = make(3)
    states = np.arange(12.0).reshape(3, 4)
    _, infos = env.reset(options={"state": states})
    np.testing.assert_array_equal(infos["state"], states)
    _, infos = env.reset(options={"state": states + 1, "reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(infos["state"], [[0] * 4, states[1] + 1, [0] * 4])
    np.testing.assert_array_equal(infos["_state"], [False, True, False])


def test_make_vec():
    env = make(4, max_episode_steps=3, cost="tip")
    assert isinstance(env.unwrapped, CartPoleSwingUpVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.observation_space.shape == (4, 4)
    assert env.action_space.shape == (4, 1)
    assert env.cost_name == "tip"
    assert env.spec.id == "CartPoleSwingUp-v0"
    env.reset(seed=0)
    flags = [env.step(np.zeros((4, 1)))[3].all() for _ in range(6)]
    assert flags == [False, False, True] * 2
    assert make().max_episode_steps == 30


def test_gymnasium_wrappers_understand_it():
    env = RecordEpisodeStatistics(make(3))
    env.reset(seed=0)
    total = 0.0
    for _ in range(30):
        _, rewards, _, _, infos = env.step(np.zeros((3, 1)))
        total += rewards
    np.testing.assert_allclose(infos["episode"]["r"], total)


def test_unseeded_environments_differ():
    env = make(3)
    observations, _ = env.reset()
    assert len(np.unique(observations[:, 0])) == 3
    assert len(set(env.np_random_seed)) == 3


def test_results_are_not_reused():
    env = make(2)
    results = [env.reset(seed=0)[0]] + [env.step(np.zeros((2, 1)))[0] for _ in range(3)]
    kept = [result.copy() for result in results]
    results[-1][:] = 7
    later = env.reset(options={"reset_mask": np.array([True, False])})[0]
    np.testing.assert_array_equal(later[1], kept[-1][1])
    for result, copied in zip(results[:-1], kept[:-1], strict=True):
        np.testing.assert_array_equal(result, copied)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_go_on_alike(duplicate):
    env = make(3, render_mode="rgb_array")
    env.reset(seed=0)
    env.step(np.ones((3, 1)))
    env.render()
    twin = duplicate(env)
    for _ in range(40):
        assert_same(env.step(np.ones((3, 1))), twin.step(np.ones((3, 1))))


def test_images_are_those_of_the_single_environment():
    ours, theirs = make(2, render_mode="rgb_array"), make_sync(2, render_mode="rgb_array")
    actions = np.array([[0.5], [-1.0]], dtype=np.float32)
    for env in (ours, theirs):
        env.reset(seed=0)
        env.step(actions)
    assert_same(ours.render(), theirs.render())
    ours.close()


def test_constructor_errors():
    for options, message in (
        ({"num_envs": 0}, "num_envs must be a whole number >= 1, got 0"),
        ({"max_episode_steps": -1}, "max_episode_steps must be a whole number >= 1, got -1"),
        ({"render_mode": "human"}, "render_mode must be None or one of"),
        ({"cost": "cosine"}, "cost must be one of"),
        ({"noise_std": 0.1, "noise_scale": 1.0}, "give one of them"),
    ):
        with pytest.raises(ValueError, match=message):
            CartPoleSwingUpVectorEnv(**options)


def test_use_errors():
    env = make(3)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(np.zeros((3, 1)))
    with pytest.raises(ValueError, match="an integer or 3 of them, got 2 seeds"):
        env.reset(seed=[1, 2])
    with pytest.raises(ValueError, match=r"shape \(4,\) or \(3, 4\)"):
        env.reset(options={"state": np.zeros((2, 4))})
    with pytest.raises(ValueError, match=r"knows the options \['state', 'reset_mask'\]"):
        env.reset(options={"mask": None})
    with pytest.raises(TypeError, match="dtype bool"):
        env.reset(options={"reset_mask": np.array([1, 0, 0])})
    with pytest.raises(ValueError, match=r"shape \(3,\) and a True value"):
        env.reset(options={"reset_mask": np.zeros(3, dtype=bool)})
    env.reset()
    with pytest.raises(ValueError, match=r"shape \(3, 1\), got shape \(3,\)"):
        env.step(np.zeros(3))
    with pytest.raises(ValueError, match=r"finite, got \[nan\] in sub-environments \[1\]"):
        env.step(np.array([[0.0], [np.nan], [0.0]]))


def test_defaults_are_those_of_the_single_environment():
    single = inspect.signature(CartPoleSwingUpEnv).parameters
    for name, parameter in inspect.signature(CartPoleTask.create).parameters.items():
        assert single[name].default == parameter.default
