"""A network with dropout as a function, with its derivatives by the chain rule written out.

Shapes: M masks, L hidden layers of H units each, F features, K predicted changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import silu

from mbrl_agent.dynamics.base import Predictor
from mbrl_agent.features import AngleFeatures
from mbrl_agent.standardization import Scaling
from mbrl_agent.targets import IntegrationRule
from mbrl_agent.types import Prediction
from mbrl_agent.vjp import Gradients, PullBack, total

Network = list[tuple[Tensor, Tensor]]
"""Weights (in, out) and biases (out) of each layer."""


@dataclass(frozen=True)
class Dropout:
    """Which hidden units are dropped.

    Attributes:
        masks: A layer each, (M, H): zero where a unit is dropped, 1 / (1 - p) where it is kept.
        thresholds: (L), of standard-normal numbers above which a unit is dropped where masks are drawn anew
            at each step; None where particles keep theirs.
        kept: (L), 1 / (1 - p).
    """

    masks: Sequence[Tensor]
    thresholds: Tensor | None
    kept: Tensor

    def of_particles(self, particles: int, extra_noise: Tensor | None) -> list[Tensor]:
        """Compute the masks of P particles, a layer each: (*R or none, P, H)."""
        if self.thresholds is None or extra_noise is None:
            count = len(self.masks[0])
            own = torch.arange(particles, device=self.masks[0].device) * count // particles
            return [mask[own] for mask in self.masks]
        parts = extra_noise.split([mask.shape[1] for mask in self.masks], dim=-1)  # type: ignore[no-untyped-call]
        return [
            (part < threshold) * kept
            for part, threshold, kept in zip(parts, self.thresholds, self.kept, strict=True)
        ]


class DropoutPredictor(Predictor):
    """Predict each particle's next state by the network with the particle's mask.

    Args:
        features: What the network sees of a state.
        scaling: Of the features and actions.
        network: Takes standardised inputs, and returns changes in the units of the state.
        dropout: The masks.
        std: (K), standard deviation of the noise of a change.
        integration: From changes to next states.
    """

    def __init__(
        self,
        features: AngleFeatures,
        scaling: Scaling,
        network: Network,
        dropout: Dropout,
        std: Tensor,
        integration: IntegrationRule,
    ) -> None:
        self.features = features
        self.scaling = scaling
        self.network = network
        self.dropout = dropout
        self.std = std
        self.integration = integration

    def __call__(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        """Predict the next states; see `DynamicsModel.predict`."""
        return self.vjp(state, action, extra_noise)[0]

    def vjp(
        self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None
    ) -> tuple[Prediction, PullBack]:
        """Predict, and return the pull-back (by_mean, by_std) -> (by_state, by_action)."""
        inputs = torch.cat([*self.features.parts(state), action], dim=-1)
        masks = self.dropout.of_particles(state.shape[-2], extra_noise)
        hidden, before = self.scaling(inputs), []
        for (weight, bias), mask in zip(self.network[:-1], masks, strict=True):
            before.append(hidden @ weight + bias)
            hidden = silu(before[-1]) * mask
        weight, bias = self.network[-1]
        change = hidden @ weight + bias
        prediction, pull_back_next = self.integration.vjp(state, action, change, self.std.expand_as(change))

        def pull_back(by_mean: Tensor, by_std: Tensor | None) -> Gradients:
            by_state, by_action, gradient, _ = pull_back_next(by_mean, by_std)
            for (weight, _), linear, mask in zip(self.network[:0:-1], before[::-1], masks[::-1], strict=True):
                gradient = torch.ops.aten.silu_backward((gradient @ weight.mT) * mask, linear)
            by_inputs = (gradient @ self.network[0][0].mT) * self.scaling.scale
            count = self.features.feature_dims
            by_features = self.features.pull_back(inputs[..., :count], by_inputs[..., :count])
            return by_state + by_features, total(by_action, by_inputs[..., count:])

        return prediction, pull_back
