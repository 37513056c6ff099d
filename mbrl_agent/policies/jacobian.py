"""Derivatives of actions by a policy's parameters, particle by particle, without writing them all down.

Particle i has a matrix J_i of U actions by N numbers of parameters; b_i J_i is the gradient of whatever has
the derivative b_i by its action. Who compares gradients by their variance needs their sum over the particles,
that of their squares, and their squared norms b_i G_i b_i^T, with G_i = J_i J_i^T. A policy that knows its
own structure finds these by products of matrices that are far smaller than all J_i.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class Jacobian(ABC):
    """J_i of particles (*R, P)."""

    @abstractmethod
    def sum(self, by_action: Tensor) -> dict[str, Tensor]:
        """Sum of the gradients b_i J_i over the particles.

        Args:
            by_action: b, (*K, *R, P, U), with any further leading axes *K.

        Returns:
            By parameter, (*K, *R, *shape of the parameter without *R).
        """

    @abstractmethod
    def square_sum(self, by_action: Tensor) -> dict[str, Tensor]:
        """Compute the same of the squares of all numbers in b_i J_i."""

    @abstractmethod
    def gram(self) -> Tensor:
        """Return G_i = J_i J_i^T, (*R, P, U, U)."""


@dataclass(frozen=True)
class ExplicitJacobian(Jacobian):
    """Written down: of a policy of which nothing more is known.

    Attributes:
        rows: By parameter, (*R, P, U, its numbers).
        shapes: By parameter, without *R.
    """

    rows: Mapping[str, Tensor]
    shapes: Mapping[str, tuple[int, ...]]

    def sum(self, by_action: Tensor) -> dict[str, Tensor]:
        """See `Jacobian.sum`."""
        by = by_action.flatten(-2).unsqueeze(-2)  # (*K, *R, 1, P U)
        found = {name: (by @ rows.flatten(-3, -2)).squeeze(-2) for name, rows in self.rows.items()}
        return self._shaped(found)

    def square_sum(self, by_action: Tensor) -> dict[str, Tensor]:
        """See `Jacobian.square_sum`."""
        found = {name: pulled(by_action, rows).square().sum(-2) for name, rows in self.rows.items()}
        return self._shaped(found)

    def gram(self) -> Tensor:
        """See `Jacobian.gram`."""
        return torch.stack([rows @ rows.mT for rows in self.rows.values()]).sum(0)

    def _shaped(self, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.view(*value.shape[:-1], *self.shapes[name]) for name, value in found.items()}


@dataclass(frozen=True)
class Layer:
    """A layer y = x W + b of a network.

    Attributes:
        weight: Name of W, (in, out).
        bias: Name of b, (out).
        inputs: x, (*R, P, in).
        slopes: Derivatives of the actions by y, (*R, P, U, out).
    """

    weight: str
    bias: str
    inputs: Tensor
    slopes: Tensor


@dataclass(frozen=True)
class LayeredJacobian(Jacobian):
    """Of a network: the derivative by the weights of a layer is the product of its inputs and its slopes."""

    layers: Sequence[Layer]

    def sum(self, by_action: Tensor) -> dict[str, Tensor]:
        """See `Jacobian.sum`."""
        found: dict[str, Tensor] = {}
        for layer in self.layers:
            by_output = pulled(by_action, layer.slopes)
            found |= {layer.weight: layer.inputs.mT @ by_output, layer.bias: by_output.sum(-2)}
        return found

    def square_sum(self, by_action: Tensor) -> dict[str, Tensor]:
        """See `Jacobian.square_sum`."""
        found: dict[str, Tensor] = {}
        for layer in self.layers:
            squares = pulled(by_action, layer.slopes).square()
            found |= {layer.weight: layer.inputs.square().mT @ squares, layer.bias: squares.sum(-2)}
        return found

    def gram(self) -> Tensor:
        """See `Jacobian.gram`."""
        return torch.stack(
            [
                (1 + layer.inputs.square().sum(-1))[..., None, None] * (layer.slopes @ layer.slopes.mT)
                for layer in self.layers
            ]
        ).sum(0)


def pulled(by_action: Tensor, derivatives: Tensor) -> Tensor:
    """Chain derivatives by the actions, (..., U), with those of the actions, (..., U, N): (..., N)."""
    return (by_action.unsqueeze(-1) * derivatives).sum(-2)
