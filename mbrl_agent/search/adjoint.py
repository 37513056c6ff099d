"""The gradient of a rollout by the adjoint method: one sweep forward, one backward.

A tape of a rollout holds some sixty small operations a time step, each of which costs more to note down
than to do. Here policy, model and resampler each take down one thing a step: how to pull derivatives
back through them. They know that best themselves (`vjp`); what does not is differentiated by
autograd, one step at a time. The rollout itself is the plain one, without a tape.

With lambda_t = dJ/dz_t, the derivative by the particles from which step t starts:

    (dJ/dm_t, dJ/ds_t) = lambda_{t+1} + dJ/dc_t dc_t/dz_{t+1}  pulled back through the resampler,
    (a_t, b_t) = (dJ/dm_t, dJ/ds_t)  pulled back through the model, to the state and to the action,
    dJ/du_t = b_t + dJ/dc_t dc_t/du_t,   lambda_t = a_t + dJ/du_t  pulled back through the policy.

A particle that has ended pays for all that is left at the step at which it ended, so lambda is zero where
it stands still.

Reference:
    Griewank, Walther (2008), Evaluating Derivatives, sections 3.2 (reverse mode) and 12 (segments).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mbrl_agent.search.rollout import Noise, Simulation, rollout
from mbrl_agent.search.termination import Fill, share_vjp, times_paid
from mbrl_agent.types import Cost, Parameters, Trajectory
from mbrl_agent.vjp import PullBack, filled, recorded, total

RECORDED_ROWS = 2**20
"""Particles times steps (times replicates) whose way back is on record at a time, a kilobyte each.

Longer rollouts are gone through in segments: forward without a record, then, from the last segment to
the first, once more with one."""


def value_and_gradient(
    parameters: Parameters, simulation: Simulation, recorded_rows: int = RECORDED_ROWS
) -> tuple[list[Trajectory], dict[str, Tensor]]:
    """Simulate, and differentiate the expected cost summed over the horizon by the policy's parameters.

    Replicates are independent, so the gradient of their sum is each one's own gradient.

    Args:
        parameters: Where the gradient is taken; leading replicate axes *R.
        simulation: The rollout as a function of the parameters.
        recorded_rows: Limits the memory, see `RECORDED_ROWS`.

    Returns:
        The trajectory, in segments of time, and the gradient by parameter.
    """
    simulation = simulation.with_memory()
    segments = simulation.noise.split(max(1, recorded_rows // simulation.initial_particles[..., 0].numel()))
    starts: list[Tensor | Trajectory] = [simulation.initial_particles]
    trajectories: list[Trajectory] = []
    with torch.no_grad():
        sweep = _Sweep(parameters, simulation)
        for noise in segments:
            # the last segment is the first on the way back
            simulate = sweep.record if noise is segments[-1] else sweep.simulate
            trajectories.append(simulate(starts[-1], noise))
            starts.append(trajectories[-1])
        sweep.go_back(trajectories[-1], segments[-1])
        for start, noise, trajectory in zip(
            starts[-3::-1], segments[-2::-1], trajectories[-2::-1], strict=True
        ):
            sweep.record(start, noise)
            sweep.go_back(trajectory, noise)
    return [simulation.forget(part) for part in trajectories], sweep.controller.gradient()


class _Sweep:
    """Derivatives on their way back through a rollout.

    Attributes:
        controller: The policy, which collects the gradient of its parameters.
    """

    def __init__(self, parameters: Parameters, simulation: Simulation) -> None:
        self.controller = simulation.policy.differentiable_controller(parameters)
        self._act = simulation.policy.controller(parameters)
        self._predictor = simulation.predictor()
        self._simulation = simulation
        self._by_particles: Tensor | None = None  # lambda at the point that the sweep has reached
        self._by_carried: Tensor | None = None  # likewise by what the resampler carried there
        self._by_mass: Tensor | float = 0.0  # likewise by the weight of all that went on, of all later steps
        self._steps_after = 0
        self._policy: list[PullBack] = []  # the record
        self._model: list[PullBack] = []
        self._resampler: list[PullBack] = []
        self._fill: list[PullBack] = []
        self._share: list[PullBack] = []

    def simulate(self, start: Tensor | Trajectory, noise: Noise) -> Trajectory:
        """Make a rollout over a segment of time."""
        simulation = self._simulation
        return rollout(
            self._act,
            self._predictor,
            simulation.cost,
            simulation.resampler,
            start,
            noise,
            simulation.ending,
        )

    def record(self, start: Tensor | Trajectory, noise: Noise) -> Trajectory:
        """Return the same, with the way back on record."""
        policy = recorded(self.controller.vjp, self._policy)
        predict = recorded(self._predictor.vjp, self._model)
        resample = recorded(self._simulation.resampler.vjp, self._resampler)
        ending = self._simulation.ending
        if ending is not None:
            fill = Fill(self._simulation.resampler.carry)
            ending = replace(
                ending,
                fill=recorded(fill.vjp, self._fill),
                share=recorded(share_vjp, self._share),
            )
        return rollout(policy, predict, self._simulation.cost, resample, start, noise, ending)

    def go_back(self, trajectory: Trajectory, noise: Noise) -> None:
        """Carry the derivatives back through the segment on record."""
        paid = None if trajectory.ended is None else times_paid(trajectory.ended, self._steps_after)
        cost_by_state, cost_by_action = _cost_gradients(self._simulation.cost, trajectory, paid)
        by_particles, by_carried = self._by_particles, self._by_carried
        for step in range(len(noise) - 1, -1, -1):
            by_particles = total(by_particles, cost_by_state[step])
            by_mean, by_std, by_sample, by_carried = self._resampler.pop()(
                by_particles, self._by_weights(trajectory, step, paid), by_carried
            )
            if by_sample is not None:  # of x = m + s eps
                by_noise = by_sample * noise.model[step, ..., : by_sample.shape[-1]]
                by_mean, by_std = total(by_mean, by_sample), total(by_std, by_noise)
            by_state, by_action = self._model.pop()(filled(by_mean, trajectory.states[step]), by_std)
            if cost_by_action is not None:
                by_action = total(by_action, cost_by_action[step])
            by_particles = total(by_state, self._policy.pop()(filled(by_action, trajectory.actions[step]))[0])
            if paid is not None:
                by_particles, by_carried = self._fill.pop()(
                    filled(by_particles, trajectory.states[step]), by_carried
                )
        self._by_particles, self._by_carried = by_particles, by_carried
        self._steps_after += len(noise)

    def _by_weights(self, trajectory: Trajectory, step: int, paid: Tensor | None) -> Tensor | None:
        """Compute the derivatives by the weights that the resampler gave in a step.

        The weight of a particle that ends counts for its cost in all steps that are left, and is what those
        that go on lack.
        """
        if paid is None or trajectory.ended is None:
            return trajectory.costs[step]
        ends = trajectory.ended[step + 1] & ~trajectory.ended[step]
        by_shares = trajectory.costs[step] * paid[step] - ends * self._by_mass
        by_weights, by_mass = self._share.pop()(by_shares)
        self._by_mass = self._by_mass + filled(by_mass, by_shares)
        return by_weights


def _cost_gradients(cost: Cost, trajectory: Trajectory, paid: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Compute the derivatives of the expected cost by the states after, and the actions of, all steps.

    Args:
        cost: Differentiable cost.
        trajectory: A segment of time.
        paid: How often each cost counts, see `times_paid`; None for once.
    """
    after, action = trajectory.states[1:].detach(), trajectory.actions.detach()
    weights = trajectory.weights if paid is None else trajectory.weights * paid
    with torch.enable_grad():
        weighted = (cost(after.requires_grad_(), action.requires_grad_()) * weights).sum()
    if not weighted.requires_grad:  # then only the weights matter
        return torch.zeros_like(after), None
    by_state, by_action = torch.autograd.grad(weighted, (after, action), allow_unused=True)
    return filled(by_state, after), by_action
