"""The plants of two rods: physics against an independent derivation, and the environments around it."""

import pickle
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_sb3

import envs  # noqa: F401
from envs.cart_double_pendulum.physics import CartWithLinks
from envs.cart_double_pendulum.task import CartDoublePendulumTask
from envs.double_pendulum.task import DoublePendulumTask
from envs.shared.arrays import join, split
from envs.shared.links import TwoLinks
from mbrl_agent.run.experiment import step_duration

IDS = ("CartDoublePendulumSwingUp-v0", "PendubotSwingUp-v0", "AcrobotSwingUp-v0")
FRICTION = (0.02, 0.03)  # of the reference
TASKS = {
    "pendubot": lambda **options: DoublePendulumTask.create(0, **options),
    "acrobot": lambda **options: DoublePendulumTask.create(1, **options),
    "cart_double_pendulum": CartDoublePendulumTask.create,
}
every_task = pytest.mark.parametrize("name", TASKS)
every_id = pytest.mark.parametrize("env_id", IDS)


def finer(task, substeps=400, **changes):
    """The same plant, integrated more finely."""
    field = "plant" if hasattr(task, "plant") else "links"
    return replace(task, **{field: replace(getattr(task, field), substeps=substeps, **changes)})


def reference(name):
    """States (N, D), forces (N), next states; see make_reference.py."""
    rows = np.loadtxt(Path(__file__).parent / f"{name}.csv", delimiter=",")
    dims = rows.shape[1] // 2
    return rows[:, :dims], rows[:, dims], rows[:, dims + 1 :]


def states(task, count=50):
    return np.random.default_rng(0).normal(0, 1.5, (count, task.state_dims))


# physics ---------------------------------------------------------------------------------------------------


@every_task
def test_steps_agree_with_an_independent_lagrangian(name):
    task = TASKS[name](friction=FRICTION)
    before, force, after = reference(name)
    exact = join(finer(task).advance(split(before), (force,)))
    np.testing.assert_allclose(exact, after, rtol=0, atol=1e-10)
    np.testing.assert_allclose(join(task.advance(split(before), (force,))), after, rtol=0, atol=1e-4)


@every_task
def test_without_friction_and_force_energy_is_kept(name):
    free = {"cart_friction": 0.0} if name == "cart_double_pendulum" else {}
    task = finer(TASKS[name](), 100, **free)
    state = states(task)
    energy = task.energy(state)
    for _ in range(20):
        state = join(task.advance(split(state), (np.zeros(len(state)),)))
    np.testing.assert_allclose(task.energy(state), energy, rtol=1e-6, atol=1e-6)
    assert np.ptp(energy) > 1


@every_task
def test_friction_takes_energy_away(name):
    task = TASKS[name](friction=FRICTION)
    state = states(task)
    after = join(task.advance(split(state), (np.zeros(len(state)),)))
    assert (task.energy(after) < task.energy(state)).all()


@every_task
def test_torch_is_numpy_and_differentiable(name):
    task = TASKS[name](friction=FRICTION)
    state, action = states(task, 5), np.random.default_rng(1).uniform(-1.5, 1.5, (5, 1))
    expected = join(task.advance(split(state), (np.clip(action[:, 0], -1, 1) * task.full_force[0],)))
    inputs = [torch.tensor(value, requires_grad=True) for value in (state, 0.5 * action)]
    found = task.dynamics(torch.tensor(state), torch.tensor(action))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(task.dynamics, inputs)
    assert torch.autograd.gradcheck(task.cost, inputs)
    tensor = torch.tensor(state)
    np.testing.assert_allclose(task.cost(tensor), task.cost(state), rtol=1e-12)
    np.testing.assert_allclose(task.energy(tensor), task.energy(state), rtol=1e-12)


@every_task
def test_the_cost_is_that_of_the_tip(name):
    task = TASKS[name](cost_width=0.3)
    upright, hanging = np.zeros(task.state_dims), task.initial_mean
    assert task.cost(upright) == task.tip_distance(upright) == 0
    assert task.tip_distance(hanging) == pytest.approx(2 * task.cost.links.reach)
    assert task.cost(hanging) == pytest.approx(1, abs=1e-6)
    turned = hanging.copy()
    turned[list(task.angle_dims)] += 2 * np.pi
    assert task.tip_distance(turned) == pytest.approx(task.tip_distance(hanging))


def test_a_motor_between_the_rods_pushes_both_ways():
    """Without weight, from rest: the sum of the angular momenta stays where nothing acts from outside."""
    task = finer(DoublePendulumTask.create(1), 10, gravity=0.0)
    _, w1, _, w2 = task.advance((0.0, 0.0, 0.0, 0.0), (1.0,))
    assert w1 < 0 < w2
    _, w1, _, w2 = finer(DoublePendulumTask.create(0), 10, gravity=0.0).advance((0.0,) * 4, (1.0,))
    assert w2 < 0 < w1


@pytest.mark.parametrize(
    "make",
    [
        lambda: TwoLinks(masses=(0.5, 0.0)),
        lambda: TwoLinks(friction=(-0.1, 0.0)),
        lambda: TwoLinks(time_step=float("nan")),
        lambda: CartWithLinks(cart_mass=0.0),
        lambda: DoublePendulumTask.create(0, friction=(0.1,)),
        lambda: DoublePendulumTask.create(0, max_torque=0.0),
        lambda: DoublePendulumTask.create(0, cost_width=-1.0),
        lambda: CartDoublePendulumTask.create(noise_std=(0.1, 0.1)),
        lambda: CartDoublePendulumTask.create(initial_std=-1.0),
    ],
)
def test_constants_that_cannot_be(make):
    with pytest.raises(ValueError, match="must"):
        make()


# environments ----------------------------------------------------------------------------------------------


@every_id
@pytest.mark.filterwarnings("ignore:.*(observation space|infinite|Box observation).*")
def test_the_checkers_of_gymnasium_and_stable_baselines3(env_id):
    check_env(gymnasium.make(env_id).unwrapped, skip_render_check=True)
    check_sb3(gymnasium.make(env_id).unwrapped)


@every_id
def test_many_move_as_one_alone_to_the_last_bit(env_id):
    many = gymnasium.make_vec(
        env_id, num_envs=3, vectorization_mode="vector_entry_point", max_episode_steps=7
    )
    ones = [gymnasium.make(env_id, max_episode_steps=7) for _ in range(3)]
    found, _ = many.reset(seed=5)
    for index, one in enumerate(ones):
        np.testing.assert_array_equal(one.reset(seed=5 + index)[0], found[index])
    rng = np.random.default_rng(0)
    for step in range(1, 8):
        actions = rng.uniform(-1.2, 1.2, (3, 1)).astype(np.float32)
        found, rewards, _, truncated, infos = many.step(actions)
        for index, one in enumerate(ones):
            observation, reward, terminated, over, info = one.step(actions[index])
            assert (reward, over, terminated) == (rewards[index], truncated[index], False)
            last = infos["final_info"] if step == 7 else infos
            np.testing.assert_array_equal(info["state"], last["state"][index])
            assert info["tip_distance"] == last["tip_distance"][index]
            here = infos["final_obs"][index] if step == 7 else found[index]
            np.testing.assert_array_equal(observation, here)
    assert truncated.all()


@every_id
def test_standing_for_a_second_is_a_success(env_id):
    env = gymnasium.make(env_id, noise_std=0.0)
    dims = env.observation_space.shape[0]
    env.reset(seed=0, options={"state": [0.0] * dims})
    infos = [env.step(np.zeros(1, dtype=np.float32))[-1] for _ in range(20)]
    assert [info["is_success"] for info in infos] == [False] * 19 + [True]
    assert infos[-1]["tip_distance"] < 1e-6  # (balanced exactly)


@every_id
def test_what_a_model_based_agent_asks_for(env_id):
    env = gymnasium.make(env_id).unwrapped
    state = np.random.default_rng(0).normal(size=(4, env.observation_space.shape[0]))
    assert len(env.observation_labels) == len(env.initial_mean) == len(env.initial_std) == state.shape[1]
    for position, velocity in env.velocity_dims.items():
        name = env.observation_labels[position].split()[0]
        assert env.observation_labels[velocity].split()[0] == f"{name}_dot"
    assert all("[rad]" in env.observation_labels[index] for index in env.angle_dims)
    action = torch.zeros(4, 1, dtype=torch.float64)
    assert env.dynamics(torch.tensor(state), action).shape == state.shape
    assert pickle.loads(pickle.dumps(env.cost)) == env.cost
    observation, info = env.reset(seed=3)
    assert np.abs(observation - info["state"]).max() < 0.1
    assert np.abs(info["state"] - env.initial_mean).max() < 0.6


@pytest.mark.parametrize(
    ("env_id", "seconds"), [*((name, 0.05) for name in IDS), ("CartPoleSwingUp-v0", 0.1)]
)
def test_a_step_lasts_as_long_as_the_plant_says(env_id, seconds):
    env = gymnasium.make(env_id)
    many = gymnasium.make_vec(env_id, num_envs=2, vectorization_mode="vector_entry_point")
    assert step_duration(env) == seconds
    for one in (env, many):
        assert one.unwrapped.dt == one.unwrapped.task.time_step == seconds
        assert one.metadata["render_fps"] == round(1 / seconds)


@every_id
def test_pictures_show_state_force_and_time(env_id):
    env = gymnasium.make(env_id, render_mode="rgb_array")
    dims = env.observation_space.shape[0]
    frames = []
    for first in (0.0, 1.0):
        state = np.zeros(dims)
        state[env.unwrapped.angle_dims[0]] = first
        env.reset(seed=0, options={"state": state})
        frames.append(env.render())
    for action in (1.0, -1.0):
        env.reset(seed=0)
        env.step(np.full(1, action, dtype=np.float32))
        frames.append(env.render())
    assert all(frame.shape == (400, 600, 3) and frame.dtype == np.uint8 for frame in frames)
    assert len({frame.tobytes() for frame in frames}) == 4
