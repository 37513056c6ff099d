"""Angles on one turn: a Gaussian in an unwrapped angle makes sense only of particles that share a turn."""

from __future__ import annotations

import math

import torch
from torch import Tensor


@torch.no_grad()
def whole_turns(particles: Tensor, angle_dims: tuple[int, ...]) -> Tensor:
    """Return whole turns [rad] by which each particle's angles are off the turn around their circular mean.

        t_i = 2 pi round((theta_i - theta_c) / 2 pi),  theta_c = atan2(mean sin theta, mean cos theta)

    Without gradient: x - t differs from x by a constant.

    Args:
        particles: (*R, P, D).
        angle_dims: Indices of the angles [rad].

    Returns:
        (*R, P, D), zero for dimensions that are no angles.

    Example:
        >>> whole_turns(torch.tensor([[3.0], [3.2 + 2 * math.pi], [2.9]]), (0,)).squeeze(-1)
        tensor([0.0000, 6.2832, 0.0000])
    """
    turns = torch.zeros_like(particles)
    for index in angle_dims:  # (a list as the index would be copied to a GPU, which no CUDA graph can do)
        angle = particles[..., index]
        centre = torch.atan2(angle.sin().mean(-1, keepdim=True), angle.cos().mean(-1, keepdim=True))
        turns[..., index] = 2 * math.pi * ((angle - centre) / (2 * math.pi)).round()
    return turns
