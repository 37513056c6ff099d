"""Which transitions a Gaussian process keeps where there are too many."""

from __future__ import annotations

import torch
from torch import Tensor


def evenly(count: int, most: int) -> Tensor:
    """Choose at most so many of `count` transitions, evenly spaced in the order of collection: indices."""
    if count <= most:
        return torch.arange(count, device="cpu")
    return torch.linspace(0, count - 1, most, dtype=torch.float64, device="cpu").round().long()


def recent_and_far(inputs: Tensor, most: int) -> Tensor:
    """Choose at most so many transitions: the latest half, and of the others those farthest apart.

    The policy of today moves where the latest ones are; the others shall cover what else was seen. Farthest
    point sampling: again and again the one that is farthest from all that are kept.

    Args:
        inputs: (N, F), standardised, in the order of collection.
        most: How many are kept.

    Returns:
        In ascending order.
    """
    count = len(inputs)
    if count <= most:
        return torch.arange(count, device=inputs.device)
    recent = most - most // 2
    latest = torch.arange(count - recent, count, device=inputs.device)
    older = inputs[: count - recent]
    distance = torch.cdist(older, inputs[latest]).amin(1)
    far = []
    for _ in range(most - len(latest)):
        far.append(int(distance.argmax()))
        distance = torch.minimum(distance, torch.cdist(older, older[far[-1:]]).squeeze(1))
    return torch.cat([torch.tensor(sorted(far), device=inputs.device), latest])
