"""A fitted ensemble as a function, with its derivatives by the chain rule written out.

Shapes: E members, B = P / E particles of each, N = prod(R) B rows a member, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu

from mbrl_agent.dynamics.base import Predictor
from mbrl_agent.dynamics.ensemble_fit import LOG_STD_MAX, LOG_STD_MIN, Layers
from mbrl_agent.features import AngleFeatures
from mbrl_agent.targets import IntegrationRule
from mbrl_agent.types import Prediction
from mbrl_agent.vjp import Gradients, PullBack, total


class EnsemblePredictor(Predictor):
    """Predict each particle's next state by the member that it belongs to: particle i by member i // B.

    With the outputs (c, r) of a network of a state x, the change c has the standard deviation s with

        log s = log noise_std + LOG_STD_MIN + (LOG_STD_MAX - LOG_STD_MIN) sigmoid(r),

    and the next state is x + c, or integrated from it.

    A dimension that never varied has noise_std = 0: log s is minus infinity, and s zero.

    Args:
        features: What the networks see of a state.
        input_mean: (F + U), subtracted before the first layer: 101325 Pa +- 1 would cancel in it.
        layers: Weights (E, in, out) and biases (E, 1, out), constant in the backward pass.
        noise_std: (K), the unit of the predicted standard deviations.
        integration: From predicted changes to next states.
    """

    def __init__(
        self,
        features: AngleFeatures,
        input_mean: Tensor,
        layers: Layers,
        noise_std: Tensor,
        integration: IntegrationRule,
    ) -> None:
        self.features = features
        self.input_mean = input_mean
        self.layers = layers
        self.members = len(layers[0][0])
        self.integration = integration
        self.least_log_std = noise_std.log() + LOG_STD_MIN

    def __call__(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        """Predict the next states; see `DynamicsModel.predict`."""
        return self.vjp(state, action, extra_noise)[0]

    def vjp(
        self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None
    ) -> tuple[Prediction, PullBack]:
        """Predict, and return the pull-back (by_mean, by_std) -> (by_state, by_action)."""
        if extra_noise is not None:
            return self._shuffled_vjp(state, action, extra_noise)
        inputs = torch.cat([*self.features.parts(state), action], dim=-1)  # (*R, P, F + U)
        hidden = self._to_blocks(inputs - self.input_mean)
        before = []
        for weight, bias in self.layers[:-1]:
            before.append(torch.baddbmm(bias, hidden, weight))
            hidden = silu(before[-1])
        weight, bias = self.layers[-1]
        outputs = self._from_blocks(torch.baddbmm(bias, hidden, weight), state)
        change, raw = outputs.chunk(2, dim=-1)
        gate = raw.sigmoid()
        std = torch.add(self.least_log_std, gate, alpha=LOG_STD_MAX - LOG_STD_MIN).exp()
        prediction, pull_back_next = self.integration.vjp(state, action, change, std)

        def pull_back(by_mean: Tensor, by_std: Tensor | None) -> Gradients:
            by_state, by_action, by_change, by_own_std = pull_back_next(by_mean, by_std)
            by_log_std = torch.zeros_like(change) if by_own_std is None else by_own_std * std
            by_raw = torch.ops.aten.sigmoid_backward(by_log_std, gate) * (LOG_STD_MAX - LOG_STD_MIN)
            gradient = self._to_blocks(torch.cat([by_change, by_raw], dim=-1))
            for (weight, _), linear in zip(self.layers[:0:-1], before[::-1], strict=True):
                gradient = torch.ops.aten.silu_backward(torch.bmm(gradient, weight.mT), linear)
            by_inputs = self._from_blocks(torch.bmm(gradient, self.layers[0][0].mT), state)
            count = self.features.feature_dims
            by_features = self.features.pull_back(inputs[..., :count], by_inputs[..., :count])
            return by_state + by_features, total(by_action, by_inputs[..., count:])

        return prediction, pull_back

    def _shuffled_vjp(
        self, state: Tensor, action: Tensor, extra_noise: Tensor
    ) -> tuple[Prediction, PullBack]:
        """Deal the particles out to the blocks by a random permutation, evenly: per-step propagation."""
        order = extra_noise[..., :1].argsort(dim=-2)  # (*R, P, 1)
        inverse = order.argsort(dim=-2)
        prediction, pull_back_dealt = self.vjp(
            state.take_along_dim(order, dim=-2), action.take_along_dim(order, dim=-2)
        )

        def pull_back(*by_outputs: Tensor | None) -> Gradients:
            dealt = (None if by is None else by.take_along_dim(order, dim=-2) for by in by_outputs)
            found = pull_back_dealt(*dealt)
            return tuple(None if by is None else by.take_along_dim(inverse, dim=-2) for by in found)

        gathered = (value.take_along_dim(inverse, dim=-2) for value in (prediction.mean, prediction.std))
        return Prediction(*gathered), pull_back

    def _to_blocks(self, values: Tensor) -> Tensor:
        """Reshape (*R, P, .) to (E, N, .), a view where there are no replicates."""
        *_, particles, columns = values.shape
        blocks = values.reshape(-1, self.members, particles // self.members, columns).transpose(0, 1)
        return blocks.reshape(self.members, -1, columns)

    def _from_blocks(self, values: Tensor, state: Tensor) -> Tensor:
        """Reshape (E, N, .) to (*R, P, .) with the leading axes of the states."""
        *shape, particles, _ = state.shape
        blocks = values.view(self.members, -1, particles // self.members, values.shape[-1]).transpose(0, 1)
        return blocks.reshape(*shape, particles, values.shape[-1])
