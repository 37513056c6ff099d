"""PILCO's analytic moment matching: the belief stays a Gaussian, whose moments are propagated exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor

from mbrl_agent.dynamics import DynamicsOptions
from mbrl_agent.dynamics.base import MomentPredictor
from mbrl_agent.dynamics.gp import Gp
from mbrl_agent.features import AngleFeatures
from mbrl_agent.gaussians.cholesky import robust_cholesky
from mbrl_agent.gaussians.mapped import Mapped, sines_and_cosines
from mbrl_agent.options import refused
from mbrl_agent.options.validation import require_count
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.estimators.reparameterization import Reparameterization
from mbrl_agent.search.initial_states import StartDistribution
from mbrl_agent.search.rollout import Simulation
from mbrl_agent.search.rollouts.base import Rollout
from mbrl_agent.types import Cost, GradientEstimate, Parameters, Terminated


@dataclass(frozen=True)
class MomentMatching(Rollout):
    """Propagate mean and covariance through the model by moment matching, as PILCO does.

    At each step the state is a Gaussian. The moments of sines and cosines of its angles, of the squashed
    action, and of the Gaussian processes' predictions at such uncertain inputs are exact; the Gaussian with
    these moments is the next belief. There is no sampling: the expected cost and its gradient are
    deterministic. It is the limit that resampling from a fitted Gaussian imitates. Candidates are still
    compared by particles without resampling.

    Needs the model gp with the kernel se, and the policy rbf or linear. The cost may offer its expectation as
    `expected(mean (..., D), covariance (..., D, D)) -> (...)`; of any other the average over fixed
    quasi-random points of the Gaussian is taken.

    Reference:
        Deisenroth, Rasmussen (2011), PILCO; Deisenroth (2010), Efficient Reinforcement Learning using
        Gaussian Processes.

    Example:
        >>> str(MomentMatching())
        'moment-matching'
    """

    name: ClassVar[str] = "moment-matching"

    cost_points: int = 256
    """Quasi-random points over which a cost is averaged that does not offer its expectation."""

    def __post_init__(self) -> None:
        require_count("cost_points", self.cost_points)

    def gradient(self, estimator: Estimator, start: StartDistribution) -> Estimator:
        """Give what differentiates the expected cost by backpropagation through all moments."""
        return _MomentGradient(start, self.cost_points)

    def validate(
        self,
        dynamics: DynamicsOptions,
        policy: SearchPolicy,
        estimator: Estimator,
        terminated: Terminated | None,
    ) -> None:
        """Raise ValueError unless the moments are known, and the gradient needs no particles."""
        if not isinstance(dynamics, Gp) or dynamics.kernel != "se":
            raise refused(
                "rollout", f"'moment-matching' needs dynamics 'gp' with the kernel se, got {dynamics}"
            )
        if type(policy).moments is SearchPolicy.moments:
            raise refused(
                "rollout",
                "'moment-matching' needs a policy whose moments are known, 'rbf' or 'linear', got "
                f"{type(policy).__name__}",
            )
        if policy.noise_dims:
            raise refused(
                "rollout",
                "'moment-matching' knows the moments of policies without dropout alone: leave out the "
                "policy's option dropout, or use 'particles'",
            )
        if not isinstance(estimator, Reparameterization):
            raise refused(
                "rollout",
                f"'moment-matching' has no particles for the estimator {estimator.name!r}: leave it at "
                "'reparameterization'",
            )
        if terminated is not None:
            raise refused(
                "rollout",
                "'moment-matching' knows no episodes that end early: pass terminated='none', or use "
                "'particles'",
            )


@dataclass(frozen=True)
class Beliefs:
    """Gaussians of T steps.

    Attributes:
        mean: (T + 1, *R, D).
        covariance: (T + 1, *R, D, D).
        costs: (T, *R), expected.
    """

    mean: Tensor
    covariance: Tensor
    costs: Tensor


@dataclass(frozen=True)
class _MomentGradient(Estimator):
    """Gradient of the expected cost under moment matching; not a choice, it has no name."""

    start: StartDistribution
    cost_points: int
    _prepared: dict[int, Any] = field(default_factory=dict, compare=False, repr=False)

    def __call__(self, parameters: Parameters, simulation: Simulation) -> GradientEstimate:
        """Differentiate; the particles of the simulation, and its noise, are not looked at."""
        leaves = {name: value.detach().double().requires_grad_() for name, value in parameters.items()}
        with torch.enable_grad():
            replicates = next(iter(leaves.values())).shape[: simulation.initial_particles.ndim - 2]
            mean, covariance = self.start.mean.double(), self.start.covariance.double()
            model, expected_cost = self._prepare(simulation, mean)
            expected = propagate(
                simulation.policy,
                leaves,
                model,
                expected_cost,
                (mean.expand(*replicates, -1), covariance.expand(*replicates, -1, -1)),
                len(simulation.noise),
            ).costs.sum(0)
            found = torch.autograd.grad(expected.sum(), list(leaves.values()), materialize_grads=True)
        gradient = {name: value.to(parameters[name].dtype) for name, value in zip(leaves, found, strict=True)}
        return GradientEstimate(gradient, expected.detach().to(simulation.initial_particles.dtype))

    def _prepare(self, simulation: Simulation, like: Tensor) -> Any:
        """Return model and cost for Gaussians; made once, since this is made anew for each fitted model."""
        if not self._prepared:
            cost = expectation(simulation.cost, self.cost_points, like)
            self._prepared[0] = simulation.dynamics.moments(), cost
        return self._prepared[0]


def propagate(
    policy: SearchPolicy,
    parameters: Parameters,
    model: MomentPredictor,
    expected_cost: Callable[[Tensor, Tensor], Tensor],
    start: tuple[Tensor, Tensor],
    horizon: int,
) -> Beliefs:
    """Carry a Gaussian through policy and model for a number of steps; differentiable, float64.

    Args:
        policy: With known moments.
        parameters: Of the policy, with leading replicate axes *R.
        model: With known moments.
        expected_cost: Mean (*R, D + U) and covariance of next state and action -> (*R).
        start: Mean (*R, D) and covariance (*R, D, D).
        horizon: T.
    """
    act, features = policy.moments(parameters), policy.features
    means, covariances, costs = [start[0]], [start[1]], []
    for _ in range(horizon):
        mean, covariance, dims = means[-1], covariances[-1], means[-1].shape[-1]
        seen = with_features(mean, covariance, features)
        action = act(seen.mean, seen.covariance)
        inputs, gain = _joined(seen, action)
        change = model.change(*inputs)
        weights = model.integration.weights(dims, mean)
        # of (x, c), perhaps with the action, then of the next state, and of that with the action
        state_change = covariance @ gain @ change.gain
        joint = _blocks(covariance, state_change, change.covariance)
        by_action = torch.cat([covariance @ gain, (inputs[1] @ change.gain).mT], dim=-2)[
            ..., features.feature_dims :
        ]
        parts = [mean, change.mean]
        if model.integration.takes_action:
            parts.append(action.mean)
            joint = _blocks(joint, by_action, action.covariance)
            by_action = torch.cat([by_action, action.covariance], dim=-2)
        after = (torch.cat(parts, dim=-1).unsqueeze(-2) @ weights).squeeze(-2)
        spread = weights.mT @ joint @ weights
        spread = spread + torch.diag(model.integration.noise_std(model.noise).square())
        both = _blocks(spread, weights.mT @ by_action, action.covariance)
        costs.append(expected_cost(torch.cat([after, action.mean], dim=-1), both))
        means.append(after)
        covariances.append((spread + spread.mT) / 2)
    return Beliefs(torch.stack(means), torch.stack(covariances), torch.stack(costs))


def with_features(mean: Tensor, covariance: Tensor, features: AngleFeatures) -> Mapped:
    """Map a Gaussian state (*R, D) to its features (*R, F): plain dimensions, sines, cosines."""
    identity = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
    if not features.angle_dims:
        return Mapped(mean, covariance, identity.expand_as(covariance))
    plain, angles = (_indices(dims, mean.device) for dims in (features.plain_dims, features.angle_dims))
    waves = sines_and_cosines(mean[..., angles], covariance[..., angles, :][..., angles])
    chosen = identity[:, plain].expand(*mean.shape[:-1], -1, -1)
    gain = torch.cat([chosen, identity[:, angles] @ waves.gain], dim=-1)
    plain_rows = (covariance @ gain)[..., plain, :]  # of the plain dimensions with each feature
    below = torch.cat([plain_rows[..., len(plain) :].mT, waves.covariance], dim=-1)
    return Mapped(
        torch.cat([mean[..., plain], waves.mean], dim=-1), torch.cat([plain_rows, below], dim=-2), gain
    )


@cache  # no CUDA graph can hold a copy from the host
def _indices(dims: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(dims, dtype=torch.long, device=device)


def _joined(seen: Mapped, action: Mapped) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Join features and action into one Gaussian, and return its gain by the state."""
    mean = torch.cat([seen.mean, action.mean], dim=-1)
    covariance = _blocks(seen.covariance, seen.covariance @ action.gain, action.covariance)
    return (mean, covariance), torch.cat([seen.gain, seen.gain @ action.gain], dim=-1)


def _blocks(first: Tensor, mixed: Tensor, second: Tensor) -> Tensor:
    """Compute a symmetric matrix of four blocks."""
    above, below = torch.cat([first, mixed], dim=-1), torch.cat([mixed.mT, second], dim=-1)
    return torch.cat([above, below], dim=-2)


def expectation(cost: Cost, points: int, like: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Make a cost a function of a Gaussian over next state and action: mean (*R, D + U), covariance -> (*R).

    Args:
        cost: With a method `expected`, or any differentiable function.
        points: Quasi-random points of which the average is taken where it has none.
        like: (D), of the dtype and the device of the result.
    """
    dims, known = len(like), getattr(cost, "expected", None)
    if known is not None:
        return lambda mean, covariance: known(mean[..., :dims], covariance[..., :dims, :dims])
    drawn: dict[int, Tensor] = {}

    def average(mean: Tensor, covariance: Tensor) -> Tensor:
        columns = mean.shape[-1]
        if columns not in drawn:
            drawn[columns] = quasi_normal(points, columns).to(like)
        factor = robust_cholesky(covariance)[0]
        samples = mean.unsqueeze(-2) + drawn[columns] @ factor.mT
        return cost(samples[..., :dims], samples[..., dims:]).mean(-1)

    return average


def quasi_normal(points: int, columns: int) -> Tensor:
    """Draw a scrambled Sobol sequence as standard normals: (points, columns), float64."""
    engine = torch.quasirandom.SobolEngine(columns, scramble=True, seed=0)  # type: ignore[no-untyped-call]
    uniform = engine.draw(points, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
    return math.sqrt(2) * torch.erfinv(2 * uniform - 1)
