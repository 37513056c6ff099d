"""Total propagation gradient (TP): at every step the better mixture of pathwise and likelihood ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbrl_agent.search.estimators.credit import (
    OwnCreditEstimator,
    Taken,
    advantage,
    cost_to_go,
    log_density,
    predict_all,
)
from mbrl_agent.search.rollout import Simulation
from mbrl_agent.types import GradientEstimate, Parameters, Trajectory


@dataclass(frozen=True)
class TotalPropagation(OwnCreditEstimator):
    """Mix the reparameterisation and the likelihood-ratio gradient by inverse variance, step by step.

    One sweep goes backwards through the rollout. At every step the derivative that comes in from the
    future gives a pathwise gradient of the policy's parameters, particle by particle, and the cost-to-go
    gives a likelihood-ratio one. With V_RP and V_LR their sample variances, summed over all parameters,

        k_LR = V_RP / (V_RP + V_LR),  k_RP = 1 - k_LR

    weigh the two, both in the gradient of the parameters and in the derivative that is passed on to the
    step before. Chaos makes V_RP explode, and the sweep turns to the likelihood ratio just there. The
    weights are estimated from the same particles, which biases the mixture when these are few; the bias
    falls with 1/P. Works with resampling "none".

    Reference:
        Parmas, Rasmussen, Peters, Doya (2018), PIPPS: Flexible Model-Based Policy Search Robust to the
        Curse of Chaos, section 3.3, Algorithm 2.

    Example:
        >>> TotalPropagation().validate(Gaussian())
        Traceback (most recent call last):
            ...
        ValueError: estimator 'total-propagation' credits each particle with its own future cost...
    """

    name: ClassVar[str] = "total-propagation"

    @torch.enable_grad()  # also where the caller has switched gradients off
    def __call__(self, parameters: Parameters, simulation: Simulation) -> GradientEstimate:
        """Estimate the gradient; see `Estimator.__call__`."""
        with torch.no_grad():
            trajectory = simulation(parameters)
        steps = _Derivatives.of(parameters, simulation, trajectory)
        total = torch.zeros_like(_flat(parameters, trajectory.states.ndim - 3))
        future = steps.cost_by_state[-1]  # derivative by the state after the last step, (*R, P, D)
        shares = []
        for t in range(len(trajectory.costs) - 1, -1, -1):
            jacobian = _policy_jacobian(parameters, simulation, trajectory.states[t])  # (*R, P, U, N)
            pathwise = steps.pathwise(t, future)
            ratio = steps.likelihood_ratio(t)
            by_pathwise = _times(pathwise.by_action, jacobian)  # (*R, P, N)
            by_ratio = _times(ratio.by_action, jacobian)
            share = _likelihood_ratio_share(by_pathwise, by_ratio)  # (*R, 1, 1)
            total = total + torch.lerp(by_pathwise, by_ratio, share).mean(-2)
            shares.append(share.flatten(-2).squeeze(-1))
            if t > 0:
                future = torch.lerp(pathwise.by_state, ratio.by_state, share) + steps.cost_by_state[t - 1]
        return GradientEstimate(
            _unflat(total, parameters, trajectory.states.ndim - 3),
            trajectory.expected_cost(),
            {"jitter": trajectory.jittered(), "likelihood_ratio_share": torch.stack(shares).mean(0)},
        )


@dataclass(frozen=True)
class _StepGradient:
    """Derivative of the cost from one step on: by its action (*R, P, U), and by the state before, in all."""

    by_action: Tensor
    by_state: Tensor


@dataclass(frozen=True)
class _Derivatives:
    """The derivatives of every step at once; leading axis T."""

    next_by_state: Tensor  # (T, *R, P, D, D), row d: next state d by each dimension of the state
    next_by_action: Tensor  # (T, *R, P, D, U)
    score_by_state: Tensor  # (T, *R, P, D), of the log-density times the advantage
    score_by_action: Tensor  # (T, *R, P, U)
    cost_by_state: Tensor  # (T, *R, P, D), by the state after the step
    cost_by_action: Tensor  # (T, *R, P, U)
    action_by_state: Tensor  # (T, *R, P, U, D)

    @classmethod
    def of(cls, parameters: Parameters, simulation: Simulation, trajectory: Trajectory) -> _Derivatives:
        taken = Taken.of(trajectory)
        state, action, after = (
            value.detach().requires_grad_() for value in (taken.before, taken.actions, taken.after)
        )
        noise = simulation.noise.model[..., : state.shape[-1]]
        with torch.enable_grad():
            prediction = predict_all(simulation, state, action)
            sample = torch.addcmul(prediction.mean, prediction.std, noise)
            score = taken.count(
                log_density(prediction, after.detach()) * advantage(cost_to_go(trajectory.costs))
            )
            chosen = simulation.policy.controller(parameters)(state)
            cost = taken.pay(simulation.cost(after, action))
        rows = [_gradients(sample[..., d], (state, action)) for d in range(sample.shape[-1])]
        score_by_state, score_by_action = _gradients(score, (state, action))
        cost_by_state, cost_by_action = _gradients(cost, (after, action))
        actions = [_gradients(chosen[..., u], (state,))[0] for u in range(chosen.shape[-1])]
        return cls(
            torch.stack([row[0] for row in rows], dim=-2),
            torch.stack([row[1] for row in rows], dim=-2),
            score_by_state,
            score_by_action,
            cost_by_state,
            cost_by_action,
            torch.stack(actions, dim=-2),
        )

    def pathwise(self, t: int, future: Tensor) -> _StepGradient:
        """From the derivative by the next state, (*R, P, D)."""
        by_action = _times(future, self.next_by_action[t]) + self.cost_by_action[t]
        by_state = _times(future, self.next_by_state[t]) + _times(by_action, self.action_by_state[t])
        return _StepGradient(by_action, by_state)

    def likelihood_ratio(self, t: int) -> _StepGradient:
        """From the cost-to-go of each particle."""
        by_action = self.score_by_action[t] + self.cost_by_action[t]
        return _StepGradient(by_action, self.score_by_state[t] + _times(by_action, self.action_by_state[t]))


def _gradients(outputs: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Derivative of each output by the inputs it depends on; zeros where it does not."""
    ones = torch.ones_like(outputs)
    return torch.autograd.grad(outputs, inputs, ones, retain_graph=True, materialize_grads=True)


def _times(row: Tensor, matrix: Tensor) -> Tensor:
    """Vector times matrix, particle by particle: (..., A), (..., A, B) -> (..., B)."""
    return (row.unsqueeze(-2) @ matrix).squeeze(-2)


def _likelihood_ratio_share(by_pathwise: Tensor, by_ratio: Tensor) -> Tensor:
    """k_LR of per-particle gradients (*R, P, N): (*R, 1, 1), one half where it is not finite."""
    variance_pathwise, variance_ratio = (g.var(-2).sum(-1) for g in (by_pathwise, by_ratio))
    share = variance_pathwise / (variance_pathwise + variance_ratio)
    return torch.where(share.isfinite(), share, 0.5)[..., None, None]


def _policy_jacobian(parameters: Parameters, simulation: Simulation, state: Tensor) -> Tensor:
    """Derivative of each particle's action by all N parameters: (*R, P, D) -> (*R, P, U, N).

    Each particle gets parameters of its own, on one more replicate axis.
    """
    axes = state.ndim - 2
    copies = {
        name: value.detach().unsqueeze(axes).expand(*state.shape[:-1], *value.shape[axes:]).requires_grad_()
        for name, value in parameters.items()
    }
    with torch.enable_grad():
        action = simulation.policy.controller(copies)(state.unsqueeze(-2)).squeeze(-2)  # (*R, P, U)
    rows = []
    for u in range(action.shape[-1]):
        gradients = dict(zip(copies, _gradients(action[..., u], tuple(copies.values())), strict=True))
        rows.append(_flat(gradients, axes + 1))
    return torch.stack(rows, dim=-2)


def _flat(values: Parameters, axes: int) -> Tensor:
    """All parameters in one row behind their `axes` leading axes: (..., N)."""
    return torch.cat([value.flatten(axes) for value in values.values()], dim=-1)


def _unflat(row: Tensor, like: Parameters, axes: int) -> dict[str, Tensor]:
    """The inverse of `_flat`."""
    sizes = [value.shape[axes:].numel() for value in like.values()]
    return {
        name: part.view(value.shape)
        for (name, value), part in zip(like.items(), torch.split(row, sizes, dim=-1), strict=True)
    }
