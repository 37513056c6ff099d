"""Total propagation gradient (TP): at every step the better mixture of pathwise and likelihood ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mbrl_agent.options.validation import require_choice
from mbrl_agent.search.estimators.credit import (
    OwnCreditEstimator,
    Taken,
    advantage,
    cost_to_go,
    log_density_slopes,
)
from mbrl_agent.search.rollout import Simulation, rollout
from mbrl_agent.types import GradientEstimate, Parameters, Trajectory
from mbrl_agent.vjp import PullBack, filled, recorded


@dataclass(frozen=True)
class TotalPropagation(OwnCreditEstimator):
    """Mix the reparameterisation and the likelihood-ratio gradient by inverse variance, step by step.

    One sweep goes backwards through the rollout. At every step the derivative that comes in from the
    future gives a pathwise gradient of the policy's parameters, particle by particle, and the cost-to-go
    gives a likelihood-ratio one. With V_RP and V_LR their sample variances,

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

    weights: Literal["step", "node", "coordinate"] = "step"
    """Variances that weigh: summed over all parameters for both; the state's own for what is passed on; or
    of each coordinate alone."""

    def __post_init__(self) -> None:
        require_choice("weights", self.weights, ("step", "node", "coordinate"))

    @torch.no_grad()
    def __call__(self, parameters: Parameters, simulation: Simulation) -> GradientEstimate:
        """Estimate the gradient; see `Estimator.__call__`."""
        sweep = _Sweep(parameters, simulation)
        trajectory, axes = sweep.trajectory, sweep.trajectory.states.ndim - 3
        taken = Taken.of(trajectory)
        # (T, *R, P, U, N)
        jacobian = _flat(simulation.policy.jacobian(parameters, taken.before, axes), axes + 3)
        squares = self._squares(jacobian)
        cost_by_state, cost_by_action = _cost_slopes(simulation, taken)
        score_by_state, score_by_action = _score_slopes(simulation, taken, trajectory)
        future = cost_by_state[-1]  # derivative by the state after the last step, (*R, P, D)
        total, shares = torch.zeros_like(jacobian[0, ..., 0, 0, :]), []
        for t in range(len(trajectory.costs) - 1, -1, -1):
            pathwise_state, pathwise_action = sweep.model(t, future)
            pathwise_action = pathwise_action + cost_by_action[t]
            ratio_action = score_by_action[t] + cost_by_action[t]
            known = jacobian[t], None if squares is None else squares[t]
            pathwise, variance = self._moments(pathwise_action, *known)
            ratio, other_variance = self._moments(ratio_action, *known)
            share = _share(variance, other_variance)  # (*R, 1, 1 or N)
            total = total + torch.lerp(pathwise, ratio, share).squeeze(-2)
            shares.append(share.mean((-2, -1)))
            if t > 0:
                by_action = self._mixed(pathwise_action, ratio_action, share)
                future = self._mixed(pathwise_state, score_by_state[t], share)
                future = future + sweep.policy(t, by_action) + cost_by_state[t - 1]
        return GradientEstimate(
            _unflat(total, parameters, axes),
            trajectory.expected_cost(),
            {"jitter": trajectory.jittered(), "likelihood_ratio_share": torch.stack(shares).mean(0)},
        )

    def _squares(self, jacobian: Tensor) -> Tensor | None:
        """Squared derivatives of the only action, (T, *R, P, N), or summed (T, *R, P, 1); None of several."""
        if jacobian.shape[-2] > 1:
            return None
        squares = jacobian.squeeze(-2).square()
        return squares if self.weights == "coordinate" else squares.sum(-1, keepdim=True)

    def _moments(self, by_action: Tensor, jacobian: Tensor, squares: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and variance over the particles of the parameters' gradient: (*R, 1, N), (*R, 1, 1 or N).

        Of one action g_i = b_i J_i, both are products with the derivatives J of all particles, and no
        particle's own gradient is written down.
        """
        alone, count = self.weights == "coordinate", by_action.shape[-2]
        if squares is None:
            each = (by_action.unsqueeze(-2) @ jacobian).squeeze(-2)
            variance = each.var(-2, keepdim=True)
            return each.mean(-2, keepdim=True), variance if alone else variance.sum(-1, keepdim=True)
        mean = by_action.mT @ jacobian.squeeze(-2) / count
        explained = mean.square() if alone else mean.square().sum(-1, keepdim=True)
        second = by_action.square().mT @ squares / count
        return mean, (second - explained).clamp_min(0) * (count / (count - 1))

    def _mixed(self, pathwise: Tensor, ratio: Tensor, share: Tensor) -> Tensor:
        """What is passed on of two derivatives by states or actions, (*R, P, .)."""
        if self.weights != "step":
            variances = [value.var(-2, keepdim=True) for value in (pathwise, ratio)]
            if self.weights == "node":
                variances = [value.sum(-1, keepdim=True) for value in variances]
            share = _share(*variances)
        return torch.lerp(pathwise, ratio, share)


class _Sweep:
    """A rollout with the way back through model and policy on record, one step at a time.

    Attributes:
        trajectory: The rollout.
    """

    def __init__(self, parameters: Parameters, simulation: Simulation) -> None:
        controller = simulation.policy.differentiable_controller(parameters)
        self._policy: list[PullBack] = []
        self._model: list[PullBack] = []
        self.trajectory = rollout(
            recorded(controller.vjp, self._policy),
            recorded(simulation.dynamics.predictor().vjp, self._model),
            simulation.cost,
            simulation.resampler,
            simulation.initial_particles,
            simulation.noise,
            simulation.ending,
        )
        self._noise = simulation.noise.model

    def model(self, t: int, future: Tensor) -> tuple[Tensor, Tensor]:
        """From the derivative by the next states to that by states and by actions, (*R, P, D) and U."""
        noise = self._noise[t, ..., : future.shape[-1]]
        by_state, by_action = self._model[t](future, future * noise)
        return filled(by_state, future), filled(by_action, self.trajectory.actions[t])

    def policy(self, t: int, by_action: Tensor) -> Tensor:
        """From the derivative by the actions to that by the states."""
        return filled(self._policy[t](by_action)[0], self.trajectory.states[t])


def _cost_slopes(simulation: Simulation, taken: Taken) -> tuple[Tensor, Tensor]:
    """Derivatives of each particle's cost by the state after a step, (T, *R, P, D), and by the action."""
    after, action = taken.after.clone().requires_grad_(), taken.actions.clone().requires_grad_()
    with torch.enable_grad():
        cost = taken.pay(simulation.cost(after, action)).sum()
        if not cost.requires_grad:
            return torch.zeros_like(after), torch.zeros_like(action)
        by_after, by_action = torch.autograd.grad(cost, (after, action), materialize_grads=True)
    return by_after, by_action


def _score_slopes(simulation: Simulation, taken: Taken, trajectory: Trajectory) -> tuple[Tensor, Tensor]:
    """Derivatives of log-density times advantage by state and action, (T, *R, P, D) and U."""
    noise, dims = simulation.noise.model, taken.before.shape[-1]
    extra = noise[..., dims:] if noise.shape[-1] > dims else None
    prediction, pull_back = simulation.dynamics.predictor().vjp(taken.before, taken.actions, extra)
    credit = taken.count(advantage(cost_to_go(trajectory.costs))).unsqueeze(-1)
    by_mean, by_std = log_density_slopes(prediction, taken.after)
    by_state, by_action = pull_back(credit * by_mean, credit * by_std)
    return filled(by_state, taken.before), filled(by_action, taken.actions)


def _share(pathwise: Tensor, ratio: Tensor) -> Tensor:
    """k_LR from two variances; one half where it is not finite."""
    share = pathwise / (pathwise + ratio)
    return torch.where(share.isfinite(), share, 0.5)


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
