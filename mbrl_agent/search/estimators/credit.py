"""What the estimators that credit a particle with its own future cost share.

They work on a finished rollout whose states are held constant, so all T steps are evaluated side by
side, with time as one more replicate axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbrl_agent.resampling.base import Resampler
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.rollout import Simulation
from mbrl_agent.search.termination import times_paid
from mbrl_agent.types import GradientEstimate, Parameters, Prediction, Trajectory


class OwnCreditEstimator(Estimator):
    """An estimator that credits each particle with its own future cost alone."""

    follows_memory: ClassVar[bool] = False

    def validate(self, resampler: Resampler) -> None:
        """Refuse strategies under which a particle's future depends on the other particles."""
        if resampler.mixes_particles:
            raise ValueError(
                f"estimator {self.name!r} credits each particle with its own future cost, which is biased "
                f"under resampling {resampler.name!r}, where a particle's future depends on all of them: use "
                "resampling 'none', or estimator 'reparameterization', which works with every strategy"
            )

    def min_particles(self, state_dims: int, action_dims: int) -> int:
        """Require two: a particle's baseline is the mean of the others."""
        return 2


@dataclass(frozen=True)
class Taken:
    """The steps that particles took, all at once; states and actions are constants.

    A particle that has ended takes no steps: its first one, which did happen, stands in for them, so that
    everything can be evaluated there, and does not count.

    Attributes:
        before: (T, *R, P, D), states before each step.
        actions: (T, *R, P, U).
        after: (T, *R, P, D).
        paid: (T, *R, P), how often the cost of each step counts; None for once each.
    """

    before: Tensor
    actions: Tensor
    after: Tensor
    paid: Tensor | None

    @classmethod
    def of(cls, trajectory: Trajectory) -> Taken:
        """Take the steps from a rollout."""
        states, actions = trajectory.states.detach(), trajectory.actions.detach()
        if trajectory.ended is None:
            return cls(states[:-1], actions, states[1:], None)
        still = trajectory.ended[:-1].unsqueeze(-1)
        return cls(
            torch.where(still, states[0], states[:-1]),
            torch.where(still, actions[0], actions),
            torch.where(still, states[1], states[1:]),
            times_paid(trajectory.ended),
        )

    def count(self, values: Tensor) -> Tensor:
        """Return values (T, *R, P) with zero for steps that were not taken."""
        return values if self.paid is None else torch.where(self.paid > 0, values, 0.0)

    def pay(self, costs: Tensor) -> Tensor:
        """Return costs (T, *R, P), as often as each is paid."""
        return costs if self.paid is None else self.count(costs * self.paid)


def predict_all(simulation: Simulation, state: Tensor, action: Tensor) -> Prediction:
    """Compute the model's prediction of every step at once.

    Args:
        simulation: Gives the model and the noise that assigns particles to its members.
        state: (T, *R, P, D), before each step.
        action: (T, *R, P, U).
    """
    noise, dims = simulation.noise.model, state.shape[-1]
    return simulation.dynamics.predict(state, action, noise[..., dims:] if noise.shape[-1] > dims else None)


def log_density(prediction: Prediction, next_state: Tensor) -> Tensor:
    """Return log N(next_state | mean, diag(std^2)), summed over the dimensions: (..., D) -> (...).

    A dimension that is predicted exactly, with a standard deviation of zero, has no density and is left out.
    """
    exact = prediction.std == 0
    std = prediction.std.masked_fill(exact, 1.0)
    scaled = (next_state - prediction.mean) / std
    constant = 0.5 * math.log(2 * math.pi)
    return -(0.5 * scaled.square() + std.log() + constant).masked_fill(exact, 0.0).sum(-1)


def log_density_slopes(prediction: Prediction, next_state: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the derivatives of `log_density` by the mean and by the standard deviation, (..., D) each."""
    exact = prediction.std == 0
    std = prediction.std.masked_fill(exact, 1.0)
    scaled = (next_state - prediction.mean) / std
    by_mean, by_std = scaled / std, (scaled.square() - 1) / std
    return by_mean.masked_fill(exact, 0.0), by_std.masked_fill(exact, 0.0)


def advantage(returns: Tensor) -> Tensor:
    """Compute returns less the leave-one-out baseline, the mean of the OTHER particles' returns: (..., P)."""
    particles = returns.shape[-1]
    return (returns - returns.mean(-1, keepdim=True)) * (particles / (particles - 1))


def cost_to_go(costs: Tensor) -> Tensor:
    """Compute G_t = sum of the costs from step t on: (T, ...) -> (T, ...)."""
    return costs.flip(0).cumsum(0).flip(0)


def likelihood_ratio_gradient(
    parameters: Parameters, simulation: Simulation, trajectory: Trajectory, credit: Tensor
) -> GradientEstimate:
    """Compute (1/P) sum_i sum_t grad log p(x_{i,t+1} | x_{i,t}, u_{i,t}) A_{i,t}, and the actions' own cost.

    Args:
        parameters: Where the gradient is taken, leading axes *R.
        simulation: The rollout's parts.
        trajectory: The finished rollout.
        credit: A, (T, *R, P), what each particle is credited with at each step, less a baseline.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    taken = Taken.of(trajectory)
    with torch.enable_grad():
        act = simulation.policy.controller(leaves)
        action = act(taken.before, *simulation.noise.of_policy(slice(None)))
        score = log_density(predict_all(simulation, taken.before, action), taken.after)
        surrogate = taken.count(score * credit) + taken.pay(simulation.cost(taken.after, action))
        total = surrogate.mean(-1).sum()
        gradient = torch.autograd.grad(total, list(leaves.values()))
    return GradientEstimate(
        dict(zip(leaves, gradient, strict=True)),
        trajectory.expected_cost().detach(),
        {"jitter": trajectory.jittered()},
    )
