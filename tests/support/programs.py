"""Run the program as a function, and environments to run it on."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from mbrl_agent.__main__ import main

NAME = "mbrl-agent"


def run(capsys, *argv: Any) -> str:
    """What a command line that ends well shows."""
    status = main([*map(str, argv)], name=NAME)
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return captured.out


def error_line(capsys, *argv: Any) -> str:
    """The one line on stderr of a command line with a mistake."""
    assert main([*map(str, argv)], name=NAME) == 2
    captured = capsys.readouterr()
    program = f"{NAME} {argv[0]}"
    assert captured.err.startswith(f"{program}: error: ")
    assert captured.err.endswith(f" (see {program} --help)\n")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix(f"{program}: error: ").removesuffix(f" (see {program} --help)\n")


class Slope(gymnasium.Env):
    """A point on a line; its renderer gives images of few pixels, brighter at each step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012
    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = spaces.Box(-2, 1, (1,), np.float32)
    end = 6

    def __init__(self, gain: float = 0.1, render_mode: str | None = None) -> None:
        self.gain = gain
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.x = 0, float(self.np_random.normal())
        return np.array([self.x], np.float32), {}

    def step(self, action):
        self.steps += 1
        self.x += self.gain * float(action[0])
        info = {"place": self.x, "near": abs(self.x) < 1, "words": "none", "history": np.zeros(3)}
        done = self.steps == self.end
        if done and self.x > 0:
            info["only_right"] = np.array([self.x])
        return np.array([self.x], np.float32), -(self.x**2), done, False, info

    def render(self):
        return np.full((8, 12, 3), 20 * self.steps, np.uint8)

    @staticmethod
    def cost(state, action):
        return state[..., 0] ** 2


class Blind(Slope):
    """The same, without images."""

    metadata = {"render_modes": []}  # noqa: RUF012


class Broken(Slope):
    """The same, whose renderer returns nothing."""

    def render(self):
        return None


class Endless(Slope):
    """The same, which nobody ends but a time limit."""

    end = -1
