"""Recurrent policy: a gated recurrent unit, whose memory stands for what cannot be observed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mbrl_agent.options.validation import require_count
from mbrl_agent.policies.acting import Box
from mbrl_agent.policies.base import (
    Controller,
    DifferentiableController,
    PolicyOptions,
    SearchPolicy,
    affine_layer,
    normal,
)
from mbrl_agent.policies.memory import MemoryPolicy
from mbrl_agent.types import Parameters
from mbrl_agent.vjp import Gradients, PullBack


class RecurrentPolicy(MemoryPolicy):
    """A gated recurrent unit (GRU) over the standardised features z of what is observed, and a layer on top.

        r = sigmoid(W_r z + U_r h + b_r),      v = sigmoid(W_v z + U_v h + b_v)
        n = tanh(W_n z + b_n + r (U_n h + c)), h' = (1 - v) n + v h,      u = tanh(V h' + d)

    The memory h is zero at the start of an episode, and h' is what it is at the next step.

    Parameters (F features seen, H numbers remembered): inputs (F, 3 H), the W; recurrent (H, 3 H), the U;
    bias (3 H), the b; recurrent_bias (H), c; outputs (H, U), V; output_bias (U), d.

    Args:
        observation_space: Box of D dimensions.
        action_space: Box of U dimensions.
        lr_schedule: Not used.
        angle_dims: Indices of the angles [rad] in an observation.
        copied_dims: Indices of the dimensions that only remember, which it does not see.
        hidden: H.

    Reference:
        Cho et al. (2014), Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine
        Translation; the reset gate r acts after U_n, as in PyTorch's GRU.

    Example:
        >>> policy = RecurrentPolicy(Box(-1, 1, (4,)), Box(-2, 2, (1,)), angle_dims=(2,))
        >>> action, state = policy.predict(np.zeros((5, 4)), episode_start=np.ones(5, dtype=bool))
        >>> action, state = policy.predict(np.ones((5, 4)), state)
        >>> action.shape, state[0].shape
        ((5, 1), (5, 32))
    """

    def __init__(
        self,
        observation_space: Box,
        action_space: Box,
        lr_schedule: Any = None,
        angle_dims: tuple[int, ...] = (),
        copied_dims: tuple[int, ...] = (),
        hidden: int = 32,
    ) -> None:
        super().__init__(observation_space, action_space, lr_schedule, angle_dims, copied_dims)
        self.memory_dims = require_count("hidden", hidden)
        seen, actions = len(self.seen), self.action_dims
        self.inputs = nn.Parameter(normal(seen, 3 * hidden) / math.sqrt(seen))
        self.recurrent = nn.Parameter(normal(hidden, 3 * hidden) / math.sqrt(hidden))
        self.bias = nn.Parameter(torch.zeros_like(self.inputs[0]))
        self.recurrent_bias = nn.Parameter(torch.zeros_like(self.inputs[0, :hidden]))
        self.outputs = nn.Parameter(normal(hidden, actions) / math.sqrt(hidden))
        self.output_bias = nn.Parameter(torch.zeros_like(self.outputs[0]))

    def controller(self, parameters: Parameters) -> Controller:
        """Return the policy at the given parameters; see `MemoryPolicy`."""
        unit = _Unit(parameters)
        return lambda state: unit(self.see(state), state[..., self.state_dims :]).result

    def differentiable_controller(self, parameters: Parameters) -> DifferentiableController:
        """Return the same with its derivatives; see `SearchPolicy.differentiable_controller`."""
        return _RecurrentController(self, parameters)

    def change_inputs(self, parameters: Parameters, factor: Tensor, shift: Tensor) -> dict[str, Tensor]:
        """See `SearchPolicy.change_inputs`."""
        weights, bias = affine_layer(
            parameters["inputs"], parameters["bias"], factor[self.seen], shift[self.seen]
        )
        return {**parameters, "inputs": weights, "bias": bias}

    def initial_parameters(
        self, states: Tensor, replicates: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draw LeCun-normal weights, and no biases."""
        found: dict[str, Tensor] = {}
        for name, value in self.named_parameters():
            found[name] = value.detach().new_zeros(replicates, *value.shape)
            if value.ndim == 2:
                drawn = self.draw_normal((replicates, *value.shape), generator)
                found[name] = drawn / math.sqrt(len(value))
        return found


@dataclass(frozen=True)
class _Step:
    """What the unit computes of one step.

    Attributes:
        stacked: (z, h, 1), (*R, P, F + H + 1).
        memory: h.
        gates: r and v side by side, (*R, P, 2 H).
        proposal: n.
        recalled: U_n h + c.
        following: h'.
        action: u.
    """

    stacked: Tensor
    memory: Tensor
    gates: Tensor
    proposal: Tensor
    recalled: Tensor
    following: Tensor
    action: Tensor

    @property
    def result(self) -> Tensor:
        """Actions and, behind them, what is remembered: (*R, P, U + H)."""
        return torch.cat([self.action, self.following], dim=-1)


class _Unit:
    """The gated recurrent unit at given parameters; one product of matrices gives all that its gates need.

    Attributes:
        weights: M, (*R, F + H + 1, 4 H): (z, h, 1) M = (W_r z + U_r h + b_r, the same of v, W_n z + b_n,
            U_n h + c).
        outputs: V, (*R, H, U).
        bias: d, (*R, 1, U).
    """

    def __init__(self, parameters: Parameters) -> None:
        inputs, recurrent, bias = (parameters[name] for name in ("inputs", "recurrent", "bias"))
        own_bias, hidden = parameters["recurrent_bias"], recurrent.shape[-2]
        rows = [
            torch.cat([inputs, torch.zeros_like(inputs[..., :hidden])], dim=-1),
            torch.cat(
                [
                    recurrent[..., : 2 * hidden],
                    torch.zeros_like(recurrent[..., :hidden]),
                    recurrent[..., 2 * hidden :],
                ],
                dim=-1,
            ),
            torch.cat([bias, own_bias], dim=-1).unsqueeze(-2),
        ]
        self.weights = torch.cat(rows, dim=-2)
        self.outputs = parameters["outputs"]
        self.bias = parameters["output_bias"].unsqueeze(-2)

    def __call__(self, z: Tensor, memory: Tensor) -> _Step:
        """Take a step from features (*R, P, F) and a memory (*R, P, H)."""
        hidden = memory.shape[-1]
        stacked = torch.cat([z, memory, torch.ones_like(memory[..., :1])], dim=-1)
        gates, own, recalled = torch.split(stacked @ self.weights, [2 * hidden, hidden, hidden], dim=-1)
        gates = gates.sigmoid()
        reset, update = gates.chunk(2, dim=-1)
        proposal = torch.addcmul(own, reset, recalled).tanh()
        following = torch.lerp(proposal, memory, update)
        action = (following @ self.outputs + self.bias).tanh()
        return _Step(stacked, memory, gates, proposal, recalled, following, action)


class _RecurrentController(DifferentiableController):
    """The unit, and its chain rule written out.

    With g = dJ/dh' of the next step + (1 - u^2) dJ/du V^T, and a = (z, h, 1) M:

        dJ/dn = (1 - v) g,  dJ/dv = (h - n) g,  dJ/da_n = (1 - n^2) dJ/dn,
        dJ/da = (r (1 - r) a_m dJ/da_n, v (1 - v) dJ/dv, dJ/da_n, r dJ/da_n),  a_m = U_n h + c,
        (dJ/dz, dJ/dh - v g, .) = dJ/da M^T,  dJ/dM = (z, h, 1)^T dJ/da
    """

    def __init__(self, policy: RecurrentPolicy, parameters: Parameters) -> None:
        self._policy, self._standardized = policy, policy.standardized
        self._leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        with torch.enable_grad():
            self._taped_weights = _Unit(self._leaves).weights
        self._unit = _Unit({name: value.detach() for name, value in parameters.items()})
        self._by_weights = torch.zeros_like(self._unit.weights)
        self._by_outputs = torch.zeros_like(self._unit.outputs)
        self._by_bias = torch.zeros_like(self._unit.bias)

    def vjp(self, state: Tensor, *noise: Tensor) -> tuple[Tensor, PullBack]:
        """Return the actions, with the memory, and the pull-back; see `DifferentiableController.vjp`."""
        dims, seen = self._policy.state_dims, self._policy.seen
        features, pull_back_features = self._standardized.vjp(state[..., :dims])
        step = self._unit(features.index_select(-1, seen), state[..., dims:])

        def pull_back(by_result: Tensor) -> Gradients:
            by_seen, by_memory = self._back(step, by_result)
            by_features = torch.zeros_like(features).index_copy_(-1, seen, by_seen)
            (by_state,) = pull_back_features(by_features)
            assert by_state is not None
            return (torch.cat([by_state, by_memory], dim=-1),)

        return step.result, pull_back

    def _back(self, step: _Step, by_result: Tensor) -> tuple[Tensor, Tensor]:
        """Go from the derivative by a step's result to those by its features and by its memory."""
        unit, actions, hidden = self._unit, step.action.shape[-1], step.memory.shape[-1]
        by_sum = by_result[..., :actions] * (1 - step.action.square())
        by_following = by_result[..., actions:] + by_sum @ unit.outputs.mT
        self._by_outputs += step.following.mT @ by_sum
        self._by_bias += by_sum.sum(-2, keepdim=True)
        reset, update = step.gates.chunk(2, dim=-1)
        by_kept = by_following * update
        by_own = (by_following - by_kept) * (1 - step.proposal.square())
        by_gates = torch.cat([by_own * step.recalled, by_following * (step.memory - step.proposal)], dim=-1)
        by_gates = by_gates * (step.gates * (1 - step.gates))
        by_sums = torch.cat([by_gates, by_own, by_own * reset], dim=-1)
        self._by_weights += step.stacked.mT @ by_sums
        by_stacked = by_sums @ unit.weights.mT
        seen = by_stacked.shape[-1] - hidden - 1
        return by_stacked[..., :seen], by_kept + by_stacked[..., seen:-1]

    def gradient(self) -> dict[str, Tensor]:
        """Compute the derivative by the parameters, over all that was pulled back so far."""
        names = ("inputs", "recurrent", "bias", "recurrent_bias")
        found = torch.autograd.grad(
            self._taped_weights,
            [self._leaves[name] for name in names],
            self._by_weights,
            retain_graph=True,  # more may be pulled back, and the gradient asked for again
        )
        by = dict(zip(names, found, strict=True))
        return by | {"outputs": self._by_outputs, "output_bias": self._by_bias.squeeze(-2)}


@dataclass(frozen=True)
class Recurrent(PolicyOptions):
    """Options of the recurrent policy.

    It remembers what it has seen of an episode, and sees the newest observation alone where a state holds
    several. Models remember nothing: where a part of the state is hidden, give them the last observations
    (`--history N`, `mbrl_agent.History`). Works with the strategies that keep each particle (resampling none,
    for one), and with the estimator reparameterization.

    Example:
        >>> str(Recurrent(hidden=16))
        'recurrent:hidden=16'
    """

    name: ClassVar[str] = "recurrent"
    policy_class: ClassVar[type[SearchPolicy]] = RecurrentPolicy

    hidden: int = 32
    """Numbers that it remembers."""

    def __post_init__(self) -> None:
        require_count("hidden", self.hidden)
