"""Multilayer perceptron: u = tanh(W_n tanh(... tanh(W_1 z(x) + b_1)) + b_n)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mbrl_agent.options.validation import require_counts
from mbrl_agent.policies.acting import Box
from mbrl_agent.policies.base import Controller, PolicyOptions, SearchPolicy, affine_layer, normal
from mbrl_agent.policies.jacobian import Jacobian, Layer, LayeredJacobian
from mbrl_agent.types import Parameters


class MlpPolicy(SearchPolicy):
    """A perceptron over the standardised features of a state, with hyperbolic tangents throughout.

    Parameters: weight_i (in, out) and bias_i (out) of each layer i.

    Args:
        observation_space: Box of D dimensions.
        action_space: Box of U dimensions.
        lr_schedule: Not used.
        angle_dims: Indices of the angles [rad] in an observation.
        hidden: Units of each hidden layer.

    Example:
        >>> policy = MlpPolicy(Box(-1, 1, (4,)), Box(-2, 2, (1,)), angle_dims=(2,))
        >>> policy(torch.zeros(5, 4)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        observation_space: Box,
        action_space: Box,
        lr_schedule: Any = None,
        angle_dims: tuple[int, ...] = (),
        hidden: tuple[int, ...] = (32, 32),
    ) -> None:
        super().__init__(observation_space, action_space, lr_schedule, angle_dims)
        require_counts("hidden", hidden)
        self._sizes = (self.features.feature_dims, *hidden, self.action_dims)
        for index, (fan_in, fan_out) in enumerate(itertools.pairwise(self._sizes)):
            weight = normal(fan_in, fan_out) / math.sqrt(fan_in)
            self.register_parameter(f"weight_{index}", nn.Parameter(weight))
            self.register_parameter(f"bias_{index}", nn.Parameter(torch.zeros_like(weight[0])))

    def controller(self, parameters: Parameters) -> Controller:
        """Return the policy at the given parameters; see `SearchPolicy.controller`."""
        layers, standardized = self._layers(parameters), self.standardized
        return lambda state: _values(standardized(state), layers)[-1]

    def jacobian(self, parameters: Parameters) -> Callable[[Tensor], Jacobian]:
        """Compute the derivatives by the parameters; see `SearchPolicy.jacobian`."""
        layers, standardized = self._layers(parameters), self.standardized

        def at(state: Tensor) -> Jacobian:
            values = _values(standardized(state), layers)
            slopes, found = torch.diag_embed(1 - values[-1].square()), []  # (*R, P, U, out)
            for index in reversed(range(len(layers))):
                found.append(Layer(f"weight_{index}", f"bias_{index}", values[index], slopes))
                if index:
                    slopes = slopes @ layers[index][0].mT.unsqueeze(-3)
                    slopes = slopes * (1 - values[index].square()).unsqueeze(-2)
            return LayeredJacobian(found)

        return at

    def _layers(self, parameters: Parameters) -> list[tuple[Tensor, Tensor]]:
        """Weight (*R, in, out) and bias (*R, 1, out) of each layer."""
        return [
            (parameters[f"weight_{index}"], parameters[f"bias_{index}"].unsqueeze(-2))
            for index in range(len(self._sizes) - 1)
        ]

    def change_inputs(self, parameters: Parameters, factor: Tensor, shift: Tensor) -> dict[str, Tensor]:
        """See `SearchPolicy.change_inputs`."""
        weight, bias = affine_layer(parameters["weight_0"], parameters["bias_0"], factor, shift)
        return {**parameters, "weight_0": weight, "bias_0": bias}

    def initial_parameters(
        self, states: Tensor, replicates: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draw LeCun-normal weights, and no biases."""
        parameters: dict[str, Tensor] = {}
        for index, (fan_in, fan_out) in enumerate(itertools.pairwise(self._sizes)):
            weight = self.draw_normal((replicates, fan_in, fan_out), generator) / math.sqrt(fan_in)
            parameters[f"weight_{index}"] = weight
            parameters[f"bias_{index}"] = torch.zeros_like(weight[:, 0])
        return parameters


def _values(inputs: Tensor, layers: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Compute the inputs, and what each layer makes of them."""
    values = [inputs]
    for weight, bias in layers:
        values.append((values[-1] @ weight + bias).tanh())
    return values


@dataclass(frozen=True)
class Mlp(PolicyOptions):
    """Options of the multilayer perceptron.

    Example:
        >>> str(Mlp(hidden=(64, 64)))
        'mlp:hidden=64x64'
    """

    name: ClassVar[str] = "mlp"
    policy_class: ClassVar[type[SearchPolicy]] = MlpPolicy

    hidden: tuple[int, ...] = (32, 32)
    """Units of each hidden layer."""

    def __post_init__(self) -> None:
        require_counts("hidden", self.hidden)
