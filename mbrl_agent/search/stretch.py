"""How much derivatives grow on their way back through a rollout: its finite-time Lyapunov exponents."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl_agent.search.rollout import Simulation, rollout
from mbrl_agent.types import Parameters


def log_stretch(parameters: Parameters, simulation: Simulation) -> Tensor:
    """Tell how much the rest of a rollout stretches a small change of each particle.

        M_ti = d(sum_j z_Tj) / dz_ti,   a D x D matrix of particle i at step t (with a policy's memory in z),

    is the Jacobian of that particle from step t to the end, J_(T-1) ... J_t, where no particle depends on
    another; where a strategy mixes them it is P times the derivative of their mean. Its largest singular
    value is the stretch: the most that a small change of the particle can have grown by the end. It is the
    derivative that a strategy hands on, also where this is not the one of its values.
    log(stretch at step 0) / T is the finite-time Lyapunov exponent of the rollout [1/step].

    Particles go on where episodes end.

    Args:
        parameters: Of the policy, with the leading axes *R.
        simulation: The rollout, T steps.

    Returns:
        (T, *R, P), natural logarithm of the stretch from step t to the end, float64; infinite where a
        derivative is not finite.

    Reference:
        Parmas, Rasmussen, Peters, Doya (2018), PIPPS: Flexible Model-Based Policy Search Robust to the
        Curse of Chaos: why such products explode.
    """
    whole = simulation.with_memory()
    act = whole.policy.controller(parameters)
    visited: list[Tensor] = []

    def watched(state: Tensor, *noise: Tensor) -> Tensor:
        visited.append(state)
        return act(state, *noise)

    with torch.enable_grad():
        start = whole.initial_particles.detach().clone().requires_grad_()
        trajectory = rollout(watched, whole.predictor(), whole.cost, whole.resampler, start, whole.noise)
        end = trajectory.states[-1].flatten(0, -2).sum(0)  # (D); replicates do not meet
        rows = [
            torch.stack(torch.autograd.grad(one, visited, retain_graph=True, materialize_grads=True))
            for one in end
        ]
    return _largest_singular_value(torch.stack(rows, dim=-2).double()).log()


def _largest_singular_value(matrices: Tensor) -> Tensor:
    """Return that of each of (..., D, D): (...), infinite where an entry is not finite."""
    finite = matrices.isfinite().all(-1).all(-1)
    values = torch.linalg.svdvals(torch.where(finite[..., None, None], matrices, 0.0))[..., 0]
    return torch.where(finite, values, torch.inf)
