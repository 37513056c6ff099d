"""Directions in the space of a policy's parameters, along which landscapes are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl_agent.options.validation import require_count
from mbrl_agent.types import Parameters

Direction = dict[str, Tensor]
"""A change of each of the policy's parameters."""

WEIGHTS, ALL = "weights", "all"


def chosen_names(parameters: Parameters, which: str) -> list[str]:
    """Return the parameters that a direction moves.

    Args:
        parameters: All of the policy's.
        which: "weights" (those called so or whose name begins with "weight_"; of a policy that has none,
            all), "all", or one parameter's name.

    Raises:
        ValueError: The policy has no such parameter.
    """
    if which == ALL:
        return list(parameters)
    if which in parameters:
        return [which]
    if which != WEIGHTS:
        raise ValueError(f"direction {which!r} is unknown: this policy has {ALL}, {', '.join(parameters)}")
    return [name for name in parameters if name.startswith("weight_")] or list(parameters)


def random_directions(
    parameters: Parameters, which: str, count: int, generator: torch.Generator
) -> list[Direction]:
    """Draw orthogonal random directions, in units of the parameters' own size.

    A tensor's part of a direction is scaled by the root mean square of the tensor's values: a step of
    delta = 1 along a direction in one tensor moves it by as much as it is large. The first directions do
    not depend on how many are drawn.

    Args:
        parameters: Where the directions start, without replicate axes.
        which: As in `chosen_names`.
        count: Number of directions, at most that of the values which they move.
        generator: Source of randomness.

    Returns:
        Directions by name of the parameters that they move.

    Raises:
        ValueError: Unknown parameter, more directions than dimensions, or all values are zero.
    """
    require_count("directions", count)
    moved = {name: parameters[name] for name in chosen_names(parameters, which)}
    sizes = [value.numel() for value in moved.values()]
    total = sum(sizes)
    if count > total:
        raise ValueError(
            f"there are only {total} directions in {which!r}, got {count}: use --directions {total} or fewer"
        )
    scales = torch.cat([rms(value).expand(value.numel()) for value in moved.values()]).double()
    if not bool(scales.any()):
        raise ValueError(f"the policy's {which!r} are all zero: a direction has no scale")
    normals = [torch.randn(total, generator=generator, dtype=torch.float64) for _ in range(count)]
    basis, upper = torch.linalg.qr(torch.stack(normals, dim=1))
    rows = (basis * upper.diagonal().sign()).T * total**0.5 * scales  # each of rms 1 before the scales
    result = []
    for row in rows:
        parts = zip(moved.items(), row.split(sizes), strict=True)
        result.append({name: part.view(value.shape).to(value.dtype) for (name, value), part in parts})
    return result


def rms(values: Tensor) -> Tensor:
    """Return the root mean square."""
    return values.square().mean().sqrt()


def along(parameters: Parameters, direction: Parameters, delta: Tensor) -> dict[str, Tensor]:
    """Compute the parameters at several places of a line: parameters + delta * direction.

    Args:
        parameters: Without replicate axes.
        direction: By name; parameters that it does not name stay.
        delta: (N).

    Returns:
        Parameters with a leading axis N.
    """
    result = {}
    for name, value in parameters.items():
        steps = delta.to(value.dtype).view(-1, *[1] * value.ndim)
        moved = value + steps * direction[name] if name in direction else value
        result[name] = moved.expand(len(delta), *value.shape)
    return result
