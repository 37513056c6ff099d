"""Figures and animations: what is in them, and that the files are what they say."""

import io

import gymnasium
import numpy as np
import pytest
from PIL import Image

import envs  # noqa: F401
from mbrl_agent.agent.replay import Episode
from mbrl_agent.run.animation import Film, encode_gif, render_mode, replay
from mbrl_agent.run.environment import make_env
from mbrl_agent.run.experiment import state_labels, step_duration
from mbrl_agent.run.figures import encode_png, prediction_figure

SWINGUP = "CartPoleSwingUp-v0"


def particles(steps: int, dims: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(steps + 1, 200, dims)).cumsum(0)


@pytest.mark.parametrize(("dims", "panels"), [(1, 1), (2, 2), (4, 4), (5, 6), (17, 20)])
def test_one_panel_a_state_dimension(dims, panels):
    labels = [f"s{i} [m]" for i in range(dims)]
    figure = prediction_figure(particles(10, dims), np.zeros((8, dims)), labels, "title", 0.1)
    visible = [axis for axis in figure.axes if axis.get_visible()]
    assert (len(visible), len(figure.axes)) == (dims, panels)
    assert [axis.get_ylabel() for axis in visible] == labels
    assert "time [s]" in [axis.get_xlabel() for axis in visible]
    assert figure.get_suptitle() == "title"


def test_bands_and_lines_show_the_numbers():
    values, real = particles(10, 1), np.arange(8.0)[:, None]  # the episode ended before the horizon
    axis = prediction_figure(values, real, ["x [m]"], "title", 0.5).axes[0]
    median, reality = axis.lines
    np.testing.assert_allclose(median.get_xdata(), 0.5 * np.arange(11))
    np.testing.assert_allclose(median.get_ydata(), np.median(values[:, :, 0], axis=1))
    np.testing.assert_allclose(reality.get_xdata(), 0.5 * np.arange(8))
    np.testing.assert_allclose(reality.get_ydata(), real[:, 0])
    wide, narrow = (collection.get_paths()[0].vertices[:, 1] for collection in axis.collections)
    assert wide.min() == pytest.approx(np.percentile(values, 5, axis=1).min())
    assert narrow.max() == pytest.approx(np.percentile(values, 75, axis=1).max())


def test_without_a_duration_steps_are_counted():
    figure = prediction_figure(particles(3, 1), np.zeros((4, 1)), ["dimension 0"], "title")
    assert figure.axes[0].get_xlabel() == "step"
    np.testing.assert_array_equal(figure.axes[0].lines[1].get_xdata(), np.arange(4))


def test_equal_figures_are_equal_files():
    first, second = (
        encode_png(prediction_figure(particles(3, 2), np.zeros((4, 2)), ["a", "b"], "title"))
        for _ in range(2)
    )
    assert first == second
    assert Image.open(io.BytesIO(first)).format == "PNG"


def film(renderings) -> Film:
    result = Film()
    for rendering in renderings:
        result.add(rendering)
    return result


def test_a_gif_has_every_frame():
    shades = [np.full((400, 600, 3), 8 * i, np.uint8) for i in range(31)]
    data = encode_gif(film(shades).images(), 0.1)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.n_frames, image.size) == ("GIF", 31, (300, 200))
        assert (image.info["duration"], image.info["loop"]) == (100, 0)
        for index in (0, 15, 30):
            image.seek(index)
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - 8 * index).max() <= 16


def test_small_frames_are_not_enlarged():
    data = encode_gif(film([np.zeros((20, 30, 3), np.uint8)] * 2).images())
    assert Image.open(io.BytesIO(data)).size == (30, 20)


def record(seed: int) -> tuple[Episode, np.ndarray]:
    env = gymnasium.make(SWINGUP)
    env.action_space.seed(0)
    observations, actions, done = [env.reset(seed=seed)[0]], [], False
    while not done:
        actions.append(env.action_space.sample())
        observation, _, _, done, _ = env.step(actions[-1])
        observations.append(observation)
    episode = Episode(np.array(observations, np.float64), np.array(actions, np.float64), np.zeros(30))
    return episode, np.array(actions)


def test_an_episode_is_shown_again():
    episode, actions = record(seed=4)
    env = gymnasium.make(SWINGUP, render_mode="rgb_array")
    frames = replay(env, episode, actions, seed=4).images()
    assert len(frames) == 31
    assert frames[0].shape == (200, 300, 3)
    assert (frames[0] != frames[-1]).any()


def test_another_episode_is_not_shown_for_it():
    episode, actions = record(seed=4)
    env = gymnasium.make(SWINGUP, render_mode="rgb_array")
    assert replay(env, episode, actions, seed=5) is None


def test_what_an_environment_tells_about_itself():
    env = make_env(SWINGUP)
    assert render_mode(env) == "rgb_array"
    assert step_duration(env) == pytest.approx(0.1)
    assert state_labels(env) == ["x [m]", "x_dot [m/s]", "theta [rad]", "theta_dot [rad/s]"]
    pendulum = make_env("Pendulum-v1")
    assert step_duration(pendulum) == pytest.approx(0.05)  # its dt, not the 30 images a second
    assert state_labels(pendulum) == ["dimension 0", "dimension 1", "dimension 2"]
