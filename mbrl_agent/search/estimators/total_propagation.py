"""Total propagation gradient (TP): at every step the better mixture of pathwise and likelihood ratio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mbrl_agent.options.validation import require_choice
from mbrl_agent.policies.jacobian import Jacobian
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
        trajectory, taken = sweep.trajectory, Taken.of(sweep.trajectory)
        axes = trajectory.states.ndim - 3
        jacobian = simulation.policy.jacobian(parameters)
        cost_by_state, cost_by_action = _cost_slopes(simulation, taken)
        by_mean, by_std = _score_slopes(taken, trajectory)
        future = cost_by_state[-1]  # derivative by the state after the last step, (*R, P, D)
        total, shares = torch.zeros_like(_flat(parameters, parameters, axes)), []
        for t in range(len(trajectory.costs) - 1, -1, -1):
            pathwise, pathwise_action = sweep.model(t, future, future * sweep.noise[t])
            ratio, ratio_action = sweep.model(t, by_mean[t], by_std[t])
            both = torch.stack([pathwise_action, ratio_action]) + cost_by_action[t]
            at_step = jacobian(taken.before[t], *simulation.noise.of_policy(t))
            (mean, other), variances = self._moments(both, at_step, parameters)
            share = _share(variances[0], variances[1])  # (*R, 1 or N)
            total = total + torch.lerp(mean, other, share)
            shares.append(share)
            if t > 0:
                by_action = self._mixed(both[0], both[1], share)
                future = self._mixed(pathwise, ratio, share)
                future = future + sweep.policy(t, by_action) + cost_by_state[t - 1]
        return GradientEstimate(
            _unflat(total, parameters),
            trajectory.expected_cost(),
            {"jitter": trajectory.jittered(), "likelihood_ratio_share": torch.stack(shares).mean((0, -1))},
        )

    def _moments(
        self, by_action: Tensor, jacobian: Jacobian, parameters: Parameters
    ) -> tuple[Tensor, Tensor]:
        """Return the particles' mean and variance of the gradient: (*K, *R, N), (*K, *R, 1 or N).

        Args:
            by_action: (*K, *R, P, U).
            jacobian: Derivatives of the actions by the parameters.
            parameters: With leading axes *R.
        """
        count, axes = by_action.shape[-2], by_action.ndim - 2
        mean = _flat(jacobian.sum(by_action), parameters, axes) / count
        if self.weights == "coordinate":
            squares, explained = _flat(jacobian.square_sum(by_action), parameters, axes), mean.square()
        else:
            norms = jacobian.gram() * (by_action.unsqueeze(-1) * by_action.unsqueeze(-2))
            squares, explained = norms.sum((-3, -2, -1)).unsqueeze(-1), mean.square().sum(-1, keepdim=True)
        return mean, (squares / count - explained).clamp_min(0) * (count / (count - 1))

    def _mixed(self, pathwise: Tensor, ratio: Tensor, share: Tensor) -> Tensor:
        """Return what is passed on of two derivatives by states or actions, (*R, P, .)."""
        if self.weights == "step":
            return torch.lerp(pathwise, ratio, share.unsqueeze(-2))
        variances = torch.stack([pathwise, ratio]).var(-2, keepdim=True)
        if self.weights == "node":
            variances = variances.sum(-1, keepdim=True)
        return torch.lerp(pathwise, ratio, _share(variances[0], variances[1]))


class _Sweep:
    """A rollout with the way back through model and policy on record, one step at a time.

    Attributes:
        trajectory: The rollout.
        noise: (T, *R, P, D), which outcome of each prediction a particle got.
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
        self.noise = simulation.noise.model[..., : simulation.initial_particles.shape[-1]]

    def model(self, t: int, by_mean: Tensor, by_std: Tensor) -> tuple[Tensor, Tensor]:
        """Go from derivatives by a prediction to those by states and by actions, (*R, P, D) and U."""
        by_state, by_action = self._model[t](by_mean, by_std)
        return filled(by_state, by_mean), filled(by_action, self.trajectory.actions[t])

    def policy(self, t: int, by_action: Tensor) -> Tensor:
        """Go from the derivative by the actions to that by the states."""
        return filled(self._policy[t](by_action)[0], self.trajectory.states[t])


def _cost_slopes(simulation: Simulation, taken: Taken) -> tuple[Tensor, Tensor]:
    """Differentiate each particle's cost by the state after a step, (T, *R, P, D), and by the action."""
    after, action = taken.after.clone().requires_grad_(), taken.actions.clone().requires_grad_()
    with torch.enable_grad():
        cost = taken.pay(simulation.cost(after, action)).sum()
        if not cost.requires_grad:
            return torch.zeros_like(after), torch.zeros_like(action)
        by_after, by_action = torch.autograd.grad(cost, (after, action), materialize_grads=True)
    return by_after, by_action


def _score_slopes(taken: Taken, trajectory: Trajectory) -> tuple[Tensor, Tensor]:
    """Differentiate log-density times advantage by mean and standard deviation, (T, *R, P, D) each."""
    credit = taken.count(advantage(cost_to_go(trajectory.costs))).unsqueeze(-1)
    by_mean, by_std = log_density_slopes(trajectory.prediction, taken.after)
    return credit * by_mean, credit * by_std


def _share(pathwise: Tensor, ratio: Tensor) -> Tensor:
    """Compute k_LR from two variances; one half where it is not finite."""
    return (pathwise / (pathwise + ratio)).nan_to_num(0.5, 0.5, 0.5)


def _flat(values: Parameters, like: Parameters, axes: int) -> Tensor:
    """Put all values in one row behind their `axes` leading axes, (..., N), in the order of others."""
    return torch.cat([values[name].reshape(*values[name].shape[:axes], -1) for name in like], dim=-1)


def _unflat(row: Tensor, like: Parameters) -> dict[str, Tensor]:
    """Compute the inverse of `_flat`: from (*R, N) to the shapes of the parameters."""
    sizes = [value.shape[row.ndim - 1 :].numel() for value in like.values()]
    return {
        name: part.reshape(value.shape)
        for (name, value), part in zip(like.items(), torch.split(row, sizes, dim=-1), strict=True)
    }
