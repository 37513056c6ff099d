"""Radial basis function network, PILCO's policy: u = squash(sum_j w_j exp(-|(z(x) - c_j) / l|^2 / 2)).

The same function is the mean of a Gaussian process with a squared-exponential kernel; the centres
c_j are its pseudo-inputs and l its ARD length-scales. Both are in standardised coordinates, as z is.

Reference:
    Deisenroth, Rasmussen (2011), PILCO: A Model-Based and Data-Efficient Approach to Policy Search.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import threshold

from mbrl_agent.gaussians.mapped import Mapped, squared_exponentials
from mbrl_agent.gaussians.mapped import squashed as squash_moments
from mbrl_agent.options.validation import require_count, require_positive
from mbrl_agent.policies.acting import Box
from mbrl_agent.policies.base import (
    Controller,
    DifferentiableController,
    PolicyOptions,
    SearchPolicy,
    normal,
    squash,
    squash_slope,
)
from mbrl_agent.policies.dropout import PolicyDropout, require_rate
from mbrl_agent.policies.jacobian import Jacobian
from mbrl_agent.standardization import Scaling, StandardizedFeatures, unscaled
from mbrl_agent.types import Parameters
from mbrl_agent.vjp import Gradients, PullBack, product

STRIDE = 5.0
"""Spreads of a feature that are one unit of the parameter `centers`.

Adam moves every parameter by about its step size. In units of one spread, 150 steps of 0.02 could not
carry a centre to the states that a better policy will visit, far outside those of the random episodes; the
policy would then do nothing there."""


class RbfPolicy(SearchPolicy):
    """RBF network over the standardised features of a state, squashed to [-1, 1].

    Parameters (F features, C centres): centers (C, F), the centres c_j divided by STRIDE; log_lengthscales
    (F); weights (C, U).

    Args:
        observation_space: Box of D dimensions.
        action_space: Box of U dimensions.
        lr_schedule: Not used.
        angle_dims: Indices of the angles [rad] in an observation.
        centers: C.
        weight_std: Standard deviation of the initial weights.
        dropout: Share of the basis functions that are left out of an action while the policy is improved.

    Example:
        >>> policy = RbfPolicy(Box(-1, 1, (4,)), Box(-2, 2, (1,)), angle_dims=(2,))
        >>> policy(torch.zeros(5, 4)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        observation_space: Box,
        action_space: Box,
        lr_schedule: Any = None,
        angle_dims: tuple[int, ...] = (),
        centers: int = 50,
        weight_std: float = 0.5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(observation_space, action_space, lr_schedule, angle_dims)
        require_count("centers", centers)
        require_positive("weight_std", weight_std)
        require_rate("dropout", dropout)
        self.weight_std = weight_std
        self.dropout = PolicyDropout(dropout)
        self.noise_dims = centers if dropout else 0
        features = self.features.feature_dims
        self.centers = nn.Parameter(normal(centers, features) / STRIDE)
        self.log_lengthscales = nn.Parameter(torch.zeros_like(self.centers[0]))
        self.weights = nn.Parameter(weight_std * normal(centers, self.action_dims))

    def controller(self, parameters: Parameters) -> Controller:
        """Return the policy at the given parameters; see `SearchPolicy.controller`."""
        local, weights, standardized = _local_scaling(parameters), parameters["weights"], self.standardized
        distances, dropout = _distances(parameters, local), self.dropout

        def act(state: Tensor, noise: Tensor | None = None) -> Tensor:
            basis = dropout(_basis(local(standardized(state)), distances)[1], noise)
            return squash(product(basis, weights))

        return act

    def differentiable_controller(self, parameters: Parameters) -> DifferentiableController:
        """Return the same with its derivatives; see `SearchPolicy.differentiable_controller`."""
        return _RbfController(self.standardized, parameters, self.dropout)

    def moments(self, parameters: Parameters) -> Callable[[Tensor, Tensor], Mapped]:
        """Return the moments of the actions; see `SearchPolicy.moments`."""
        weights, known = parameters["weights"].mT, self.standardized.scaling
        scaling = Scaling(known.mean.to(weights), known.scale.to(weights))
        centers = unscaled(scaling, STRIDE * parameters["centers"])
        precisions = (-2 * parameters["log_lengthscales"]).exp() * scaling.scale.square()
        shared = precisions.unsqueeze(-2).expand(*weights.shape[:-1], -1)  # by all actions
        return lambda mean, covariance: squash_moments(
            squared_exponentials(mean, covariance, centers, shared, weights)
        )

    def jacobian(self, parameters: Parameters) -> Callable[..., Jacobian]:
        """Return the derivatives by the parameters; see `SearchPolicy.jacobian`."""
        known, standardized, dropout = _Prepared(parameters), self.standardized, self.dropout

        def at(state: Tensor, noise: Tensor | None = None) -> Jacobian:
            y = known.local(standardized(state))
            return _RbfJacobian(known, y, dropout(_basis(y, known.distances)[1], noise))

        return at

    def change_inputs(self, parameters: Parameters, factor: Tensor, shift: Tensor) -> dict[str, Tensor]:
        """See `SearchPolicy.change_inputs`."""
        centers, lengthscales = parameters["centers"], parameters["log_lengthscales"]
        moved = {
            "centers": (centers - shift / STRIDE) / factor,
            "log_lengthscales": lengthscales - factor.log(),
        }
        return {**parameters, **moved}

    def initial_parameters(
        self, states: Tensor, replicates: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draw centres around visited states, length-scales of their spread, small random weights."""
        z = self.standardized(states.to(self.feature_mean))
        count, features = self.centers.shape
        chosen = torch.randint(len(z), (replicates, count), generator=generator, device=generator.device)
        centers = z[chosen.to(z.device)] + 0.5 * self.draw_normal((replicates, count, features), generator)
        weights = self.draw_normal((replicates, count, self.action_dims), generator)
        return {
            "centers": centers / STRIDE,
            "log_lengthscales": torch.zeros_like(centers[:, 0]),
            "weights": self.weight_std * weights,
        }


def _local_scaling(parameters: Parameters) -> Scaling:
    """Map to y = (z - m) / l, with the mean m of the centres: constants that change no value.

    An exponent is a small difference of large numbers where centres are many length-scales from the origin
    of z, as after data far from all that was learned from. Single precision would lose it, but not in y.
    """
    mean = STRIDE * parameters["centers"].detach().mean(-2, keepdim=True)  # (*R, 1, F)
    return Scaling(mean, (-parameters["log_lengthscales"].detach()).exp().unsqueeze(-2))


def _distances(parameters: Parameters, local: Scaling) -> Tensor:
    """Return E of `_basis`, (*R, 2 F + 1, C), with the derivatives by centres and length-scales.

    With c and r = 1 the centres and length-scales as y sees them, one matrix product:
    |(y - c) / r|^2 / 2 = -y . (c / r^2) + y^2 . (1 / (2 r^2)) + |c / r|^2 / 2.
    For a power of two, since exp is ten times slower where the result underflows, far from a centre.
    """
    centers = local(STRIDE * parameters["centers"])  # (*R, C, F)
    lengthscales = parameters["log_lengthscales"]
    precision = (-2 * (lengthscales - lengthscales.detach())).exp().unsqueeze(-2)  # (*R, 1, F)
    scaled = centers * precision
    offset = 0.5 * (centers * scaled).sum(-1, keepdim=True)  # (*R, C, 1)
    distances = torch.cat([-scaled, (0.5 * precision).expand_as(scaled), offset], dim=-1)
    return (distances / math.log(2)).mT


def _basis(y: Tensor, distances: Tensor) -> tuple[Tensor, Tensor]:
    """Compute inputs (y, y^2, 1), (*R, P, 2 F + 1), and basis functions 2^-(inputs E), (*R, P, C).

    A distance is never negative. One that comes out below -1 is nothing but rounding, a thousand
    length-scales from the centres or more, where a basis function is zero.
    """
    inputs = torch.cat([y, y * y, torch.ones_like(y[..., :1])], dim=-1)
    distance = product(inputs, distances)
    return inputs, (-threshold(distance, -1, torch.inf)).exp2()  # (a mask would take longer than the powers)


class _RbfController(DifferentiableController):
    """The network u = squash(a), a = b w, b = 2^-d, d = inputs E, and its chain rule written out.

    With inputs = (y, y^2, 1), and (g_1, g_2, .) = dJ/dd E^T:

        dJ/da = squash'(a) dJ/du,  dJ/dw = b^T dJ/da,  dJ/dd = -log(2) b (dJ/da w^T),
        dJ/dE = inputs^T dJ/dd,  dJ/dy = g_1 + 2 y g_2

    Under dropout b_j is m_j 2^-d_j with a constant m_j, and all of this holds as it stands.
    """

    def __init__(
        self, standardized: StandardizedFeatures, parameters: Parameters, dropout: PolicyDropout
    ) -> None:
        self._standardized = standardized
        self._dropout = dropout
        self._leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        with torch.enable_grad():
            self._local = _local_scaling(self._leaves)
            self._taped_distances = _distances(self._leaves, self._local)
        self._distances = self._taped_distances.detach()
        self._weights = parameters["weights"].detach()
        # (squash'(a) = 3/2 cos^3 a and -log(2), taken out of the loop)
        self._scaled_weights = self._weights.mT * (-1.5 * math.log(2))
        self._by_distances = torch.zeros_like(self._distances)
        self._by_weights = torch.zeros_like(self._weights)

    def vjp(self, state: Tensor, *noise: Tensor) -> tuple[Tensor, PullBack]:
        """Return the actions, and the pull-back by_action -> by_state, which adds to `gradient` as well."""
        z, pull_back_z = self._standardized.vjp(state)
        y = self._local(z)
        inputs, basis = _basis(y, self._distances)
        basis = self._dropout(basis, *noise)
        action = product(basis, self._weights)

        def pull_back(by_action: Tensor) -> Gradients:
            cosine = action.cos()
            by_sum = by_action * (cosine * cosine * cosine)  # dJ/da / 1.5
            by_distance = product(by_sum, self._scaled_weights) * basis
            self._by_weights.add_(product(by_sum.mT, basis).mT, alpha=1.5)  # (thrice as fast as b^T dJ/da)
            self._by_distances += product(inputs.mT, by_distance)
            by_inputs = product(by_distance, self._distances.mT)
            count = y.shape[-1]
            by_y = torch.addcmul(by_inputs[..., :count], y, by_inputs[..., count : 2 * count], value=2)
            return pull_back_z(by_y * self._local.scale)

        return squash(action), pull_back

    def gradient(self) -> dict[str, Tensor]:
        """Compute the derivative by the parameters, over all that was pulled back so far."""
        names = ("centers", "log_lengthscales")
        found = torch.autograd.grad(
            self._taped_distances,
            [self._leaves[name] for name in names],
            self._by_distances,
            retain_graph=True,  # more may be pulled back, and the gradient asked for again
        )
        return dict(zip(names, found, strict=True)) | {"weights": self._by_weights}


class _RbfJacobian(Jacobian):
    """Derivatives of u = squash(a), a = sum_j w_j b_j, by the parameters.

    With d_jf = (z_f - c_jf) / l_f:

        da/dc_jf = w_j b_j d_jf / l_f,  da/d log l_f = sum_j w_j b_j d_jf^2,  da/dw_j = b_j.

    Sums over particles, and over centres, take d = y - c and d^2 = y^2 - 2 c y + c^2 apart, with y and c in
    length-scales from the mean of the centres. They are then products of b with few rows: particles by
    centres is the most that is written down. Particles come last here: of thin matrices, these products are
    the fast ones.

    Args:
        known: The parameters, prepared.
        y: (*R, P, F).
        basis: b, (*R, P, C), times whatever dropout multiplies it by.
    """

    def __init__(self, known: _Prepared, y: Tensor, basis: Tensor) -> None:
        self._known = known
        self._basis = basis
        self._linear = torch.cat([y, torch.ones_like(y[..., :1])], dim=-1).mT.contiguous()  # (*R, F + 1, P)
        action, self._by_lengthscales = self._spread(self._basis, known.rows)  # (*R, U, P), (*R, U, F, P)
        self._slope = squash_slope(action)  # (*R, U, P)

    def sum(self, by_action: Tensor) -> dict[str, Tensor]:
        """See `Jacobian.sum`."""
        known, by_sum = self._known, (by_action.mT * self._slope).unsqueeze(-2)  # (*K, *R, U, 1, P)
        rows = by_sum * self._linear.unsqueeze(-3)  # (*K, *R, U, F + 1, P)
        sums = (rows.flatten(-3, -2) @ self._basis).view(*rows.shape[:-1], -1)  # (*K, *R, U, F + 1, C)
        weighted = (known.weights.mT.unsqueeze(-2) * sums).sum(-3).mT  # (*K, *R, C, F + 1)
        by_distance = weighted[..., :-1] - known.centers * weighted[..., -1:]
        return {
            "centers": by_distance * known.scale,
            "log_lengthscales": (by_sum * self._by_lengthscales).sum((-3, -1)),
            "weights": sums[..., -1, :].mT,
        }

    def square_sum(self, by_action: Tensor) -> dict[str, Tensor]:
        """See `Jacobian.square_sum`."""
        known, by_sum = self._known, by_action.mT * self._slope  # (*K, *R, U, P)
        squares = ((by_sum.mT @ known.weights.mT) * self._basis).square()  # (*K, *R, P, C)
        first, second = self._linear @ squares, self._linear[..., :-1, :].square() @ squares
        first, zeroth, second = first[..., :-1, :].mT, first[..., -1:, :].mT, second.mT
        distances = second + known.centers * (known.centers * zeroth - 2 * first)  # (*K, *R, C, F)
        by_lengthscales = (by_sum.unsqueeze(-2) * self._by_lengthscales).sum(-3)  # (*K, *R, F, P)
        return {
            "centers": distances.clamp_min(0) * known.scale.square(),
            "log_lengthscales": by_lengthscales.square().sum(-1),
            "weights": (by_sum.square() @ self._basis.square()).mT,
        }

    def gram(self) -> Tensor:
        """See `Jacobian.gram`."""
        known, slope, lengthscales = self._known, self._slope, self._by_lengthscales
        squares = self._basis.square()
        spread = self._spread(squares, known.pair_rows)[1]  # (*R, U U, F, P)
        by_centers = (spread * known.scale.square().mT.unsqueeze(-3)).sum(-2)
        by_lengthscales = (lengthscales.unsqueeze(-3) * lengthscales.unsqueeze(-4)).sum(-2)  # (*R, U, U, P)
        by_weights = squares.sum(-1)[..., None, None, :] * known.identity
        found = by_centers.view_as(by_lengthscales) + by_lengthscales + by_weights
        return (found * (slope.unsqueeze(-2) * slope.unsqueeze(-3))).movedim(-1, -3)

    def _spread(self, basis: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over the centres w_j b_j, (*R, K, P), and w_j b_j (y_f - c_jf)^2, (*R, K, F, P).

        Args:
            basis: b, (*R, P, C).
            rows: w (1, -2 c, c^2) for K times w, (*R, K, 2 F + 1, C).
        """
        sums = (rows.flatten(-3, -2) @ basis.mT).view(*rows.shape[:-1], -1)
        y = self._linear[..., :-1, :].unsqueeze(-3)
        zeroth, first, second = torch.split(sums, [1, y.shape[-2], y.shape[-2]], dim=-2)
        return zeroth.squeeze(-2), torch.addcmul(second, y, torch.addcmul(first, y, zeroth))


class _Prepared:
    """What the derivatives at all states have in common.

    Attributes:
        local: z -> y.
        distances: E of `_basis`.
        weights: w, (*R, C, U).
        centers: c as y sees them, (*R, C, F).
        scale: Derivative of these by the parameter `centers`, (*R, 1, F).
        rows: w (1, -2 c, c^2), (*R, U, 2 F + 1, C).
        pair_rows: The same of the products of any two columns of w, (*R, U U, 2 F + 1, C).
        identity: (*R, U, U, 1).
    """

    def __init__(self, parameters: Parameters) -> None:
        self.local = _local_scaling(parameters)
        self.distances = _distances(parameters, self.local)
        self.weights, self.centers = parameters["weights"], self.local(STRIDE * parameters["centers"])
        self.scale = STRIDE * self.local.scale
        ones = torch.ones_like(self.centers[..., :1])
        powers = torch.cat([ones, -2 * self.centers, self.centers.square()], dim=-1).mT.unsqueeze(-3)
        weights = self.weights.mT
        pairs = weights.unsqueeze(-2) * weights.unsqueeze(-3)  # (*R, U, U, C)
        self.rows = weights.unsqueeze(-2) * powers
        self.pair_rows = pairs.flatten(-3, -2).unsqueeze(-2) * powers
        self.identity = torch.ones_like(weights[..., 0]).diag_embed().unsqueeze(-1)


@dataclass(frozen=True)
class Rbf(PolicyOptions):
    """Options of the RBF policy.

    Example:
        >>> str(Rbf(centers=30))
        'rbf:centers=30'
    """

    name: ClassVar[str] = "rbf"
    policy_class: ClassVar[type[SearchPolicy]] = RbfPolicy

    centers: int = 50
    """Basis functions."""
    weight_std: float = 0.5
    """Standard deviation of the initial weights [unsquashed action]."""
    dropout: float = 0.0
    """Share of the basis functions left out of each action, at random, while the policy is improved."""

    def __post_init__(self) -> None:
        require_count("centers", self.centers)
        require_positive("weight_std", self.weight_std)
        require_rate("dropout", self.dropout)
