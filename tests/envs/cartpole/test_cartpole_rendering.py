"""Images and the window."""

import subprocess
import sys
import time

import gymnasium
import numpy as np
import pytest

import envs  # noqa: F401
from envs.cartpole.drawing import CartPoleRenderer

UPRIGHT = (0.0, 0.0, 0.0, 0.0)


@pytest.fixture
def renderer():
    return CartPoleRenderer("rgb_array", 10)


def test_images_show_state_force_and_time(renderer):
    images = [
        renderer.render(UPRIGHT, (0.0,), 0.0),
        renderer.render((0.1, 0.0, 0.0, 0.0), (0.0,), 0.0),
        renderer.render((0.0, 0.0, 0.3, 0.0), (0.0,), 0.0),
        renderer.render((0.0, 0.0, -0.3, 0.0), (0.0,), 0.0),
        renderer.render(UPRIGHT, (5.0,), 0.0),
        renderer.render(UPRIGHT, (-5.0,), 0.0),
        renderer.render(UPRIGHT, (0.0,), 1.0),
    ]
    for image in images:
        assert image.shape == (400, 600, 3)
        assert image.dtype == np.uint8
    assert len({image.tobytes() for image in images}) == len(images)


def test_positive_angle_leans_to_the_right_and_positive_force_points_there(renderer):
    def centre(image, dominant):
        colour = image[60:].astype(int)
        others = [channel for channel in range(3) if channel != dominant]
        mask = (colour[..., dominant] - colour[..., others].max(-1)) > 60
        return np.nonzero(mask)[1].mean() - 300

    still = renderer.render(UPRIGHT, (0.0,), 0.0)
    assert abs(centre(still, 0)) < 2
    assert centre(renderer.render((0.0, 0.0, 0.5, 0.0), (0.0,), 0.0), 0) > 5
    assert centre(renderer.render(UPRIGHT, (8.0,), 0.0), 0) > 20
    assert centre(renderer.render(UPRIGHT, (-8.0,), 0.0), 0) < -20


def test_the_camera_follows_a_far_cart(renderer):
    assert renderer.render((50.0, 0.0, 3.0, 0.0), (0.0,), 0.0).std() > 10
    np.testing.assert_array_equal(
        renderer.render(UPRIGHT, (0.0,), 0.0), CartPoleRenderer("rgb_array", 10).render(UPRIGHT, (0.0,), 0.0)
    )


def test_environment_renders_the_true_state():
    env = gymnasium.make("CartPoleSwingUp-v0", render_mode="rgb_array", noise_std=0.5)
    env.reset(seed=0, options={"state": UPRIGHT})
    np.testing.assert_array_equal(
        env.render(), CartPoleRenderer("rgb_array", 10).render(UPRIGHT, (0.0,), 0.0)
    )
    env.step(np.ones(1))
    before = env.render()
    env.close()
    env.close()
    assert before.shape == (400, 600, 3)


def test_rendering_without_a_mode_warns():
    env = gymnasium.make("CartPoleSwingUp-v0").unwrapped
    env.reset()
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None


def test_images_need_no_display(monkeypatch, renderer):
    import pygame

    def no_display(*_args, **_kwargs):
        raise AssertionError("opened a display")

    monkeypatch.setattr(pygame.display, "init", no_display)
    monkeypatch.setattr(pygame.display, "set_mode", no_display)
    assert renderer.render(UPRIGHT, (0.0,), 0.0) is not None


def test_window(monkeypatch):
    import pygame

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    env = gymnasium.make("CartPoleSwingUp-v0", render_mode="human")
    started = time.perf_counter()
    env.reset(seed=0)
    for _ in range(4):
        env.step(np.zeros(1))
    assert time.perf_counter() - started > 0.3
    assert env.render() is None
    assert pygame.display.get_init()
    env.close()
    assert not pygame.display.get_init()
    env.reset(seed=0)
    env.close()


def test_missing_pygame(monkeypatch, renderer):
    monkeypatch.setitem(sys.modules, "pygame", None)
    with pytest.raises(gymnasium.error.DependencyNotInstalled, match="pip install pygame-ce"):
        renderer.render(UPRIGHT, (0.0,), 0.0)


def test_importing_and_stepping_needs_no_pygame():
    script = (
        "import sys; sys.modules['pygame'] = None; import envs, gymnasium, numpy;"
        "env = gymnasium.make('CartPoleSwingUp-v0'); env.reset(seed=0); env.step(numpy.zeros(1))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
