"""A tiny environment that is solved in seconds: a mass on a rail is to be brought to the origin."""

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

DT = 0.4
STEPS = 8


def distance_cost(state, action):
    """1 - exp(-(x^2 + v^2 / 4) / 2), differentiable."""
    return 1 - (-0.5 * (state[..., 0] ** 2 + 0.25 * state[..., 1] ** 2)).exp()


def limited(steps=STEPS, **options):
    """The environment with a time limit, as `gymnasium.make` would give it."""
    return gymnasium.wrappers.TimeLimit(PointMass(**options), steps)


class PointMass(gymnasium.Env):
    """x'' = u; observation (x, v), starts at rest near x = 1, never ends of itself.

    Offers a cost unless `offers_cost` is False. With `broken_at`, observations are NaN from that step on.
    With `ends_at`, the episode terminates at that step.
    """

    def __init__(self, offers_cost=True, broken_at=None, ends_at=None, bound=1.0):
        self.observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.action_space = spaces.Box(-bound, bound, (1,), np.float32)
        self.broken_at, self.ends_at, self.bound = broken_at, ends_at, bound
        if offers_cost:
            self.cost = distance_cost

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = np.array([1.0, 0.0]) + 0.1 * self.np_random.standard_normal(2)
        self.steps, self.on_target = 0, 0
        return self.state.astype(np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        u = float(action[0]) / self.bound
        x, v = self.state
        self.state = np.array([x + DT * v + 0.5 * DT**2 * u, v + DT * u])
        self.steps += 1
        self.on_target = self.on_target + 1 if abs(self.state[0]) < 0.25 else 0
        observation = self.state.astype(np.float32)
        if self.broken_at is not None and self.steps >= self.broken_at:
            observation[1] = np.nan
        reward = 1.0 - float(distance_cost(torch.as_tensor(self.state), None))
        ended = self.ends_at is not None and self.steps >= self.ends_at
        return observation, reward, ended, False, {"is_success": self.on_target >= 2}
