"""Costs and ends of the gallery's tasks: `--cost mbrl_agent.study.gallery.costs:NAME`.

Costs are functions of states (..., D) and actions (..., U) in [-1, 1] -> (...), ends of states -> (...) of
torch.bool.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mbrl_agent.costs import ActionPenalty, Saturating

INVERTED_PENDULUM_LIMIT = 0.2
"""Angle at which an episode ends [rad]."""
LINK = 0.6
"""Length of each link of the double pendulum [m]."""
DOUBLE_PENDULUM_LIMIT = 1.0
"""Height of the tip at which an episode ends [m]."""
ARM = (0.1, 0.11)
"""Lengths of the reacher's links [m]."""
GOAL_POSITION = 0.45
"""Where the mountain car has arrived."""

inverted_pendulum = Saturating((0, 0, 0, 0), width=0.2, weights=(0.04, 1, 0, 0.01)) + 0.01 * ActionPenalty()
"""Of (x, angle, their velocities): the pole upright and slow, over the middle of the track."""

inverted_double_pendulum = Saturating(
    (0, 0, 0, 1, 1, 0, 0, 0, 0), width=0.3, weights=(0.5, 1, 1, 0, 0, 0, 0.01, 0.01, 0)
)
"""Of (x, two sines, two cosines, three velocities, a force): both links upright and slow, over the middle.

Not of the tip's distance to its highest point: the height hardly changes near it, and is 0.2 m lower where an
episode ends.
"""


def inverted_pendulum_terminated(state: Tensor) -> Tensor:
    """Tell where the pole leans too far: the angle is observed as it is [rad]."""
    return state[..., 1].abs() > INVERTED_PENDULUM_LIMIT


def double_pendulum_tip(state: Tensor) -> Tensor:
    """Compute the tip (x, height) [m], (..., 2), of (x, two sines, two cosines, ...).

    The second angle is measured from the first link.
    """
    sine, cosine = state[..., 1:3], state[..., 3:5]
    both_sine = sine[..., 0] * cosine[..., 1] + cosine[..., 0] * sine[..., 1]
    both_cosine = cosine[..., 0] * cosine[..., 1] - sine[..., 0] * sine[..., 1]
    across = state[..., 0] + LINK * (sine[..., 0] + both_sine)
    return torch.stack([across, LINK * (cosine[..., 0] + both_cosine)], dim=-1)


def inverted_double_pendulum_terminated(state: Tensor) -> Tensor:
    """Tell where the tip is too low."""
    return double_pendulum_tip(state)[..., 1] <= DOUBLE_PENDULUM_LIMIT


reacher = Saturating((0,) * 10, width=0.15, weights=(*[0] * 8, 1, 1)) + ActionPenalty()
"""Of the vector from target to fingertip, which is observed last, and of the torques."""


def reacher_starts(count: int, generator: torch.Generator) -> Tensor:
    """Draw (count, 10) starts as the environment does: the arm almost straight, the target anywhere in reach.

    A run has seen few targets; a policy that has to reach all of them cannot be improved on these alone.
    """
    draws = torch.rand(count, 6, generator=generator)
    angles, speeds = 0.2 * draws[:, :2] - 0.1, 0.01 * draws[:, 2:4] - 0.005
    radius, turn = 0.2 * draws[:, 4].sqrt(), 2 * math.pi * draws[:, 5]
    target = torch.stack([radius * turn.cos(), radius * turn.sin()], dim=-1)
    tip = sum(
        length * torch.stack([angle.cos(), angle.sin()], dim=-1)
        for length, angle in zip(ARM, (angles[:, 0], angles.sum(-1)), strict=True)
    )
    return torch.cat([angles.cos(), angles.sin(), target, speeds, tip - target], dim=-1)


mountain_car = Saturating((GOAL_POSITION, 0), width=0.5, weights=(1, 0)) + 0.01 * ActionPenalty()
"""Of the distance to the goal."""


def mountain_car_terminated(state: Tensor) -> Tensor:
    """Tell where the car has arrived: at the goal, not rolling back."""
    return (state[..., 0] >= GOAL_POSITION) & (state[..., 1] >= 0)


def pendulum(state: Tensor, action: Tensor) -> Tensor:
    """Compute a saturating cost of (cosine, sine, speed): upright, where the cosine is 1, and at rest."""
    cosine, speed = state[..., 0], state[..., 2]
    return 1 - torch.exp(-(1 - cosine) - 0.02 * speed**2)
