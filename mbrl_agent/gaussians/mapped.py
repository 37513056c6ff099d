"""Gaussians through functions: mean and covariance of the image, and its covariance with the argument.

The stages of PILCO's analytic moment matching. With x ~ N(m, S) and y = f(x), each returns the mean of y, its
covariance, and the gain G = S^-1 Cov(x, y), which is the expected Jacobian E[df/dx]^T (Stein's lemma): for
any z that is jointly Gaussian with x, Cov(z, y) = Cov(z, x) G. Everything is differentiable; float64 is
meant, since variances are differences of larger numbers.

Reference:
    Deisenroth (2010), Efficient Reinforcement Learning using Gaussian Processes, section 2.3 and appendix A.
"""

from __future__ import annotations

from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from mbrl_agent.vjp import Gradients, PullBack, on_tape, total


class Mapped(NamedTuple):
    """The image y of a Gaussian x under a function.

    Attributes:
        mean: Of y, (*R, m).
        covariance: Of y, (*R, m, m).
        gain: S^-1 Cov(x, y), (*R, n, m).
    """

    mean: Tensor
    covariance: Tensor
    gain: Tensor


def affine(mean: Tensor, covariance: Tensor, weights: Tensor, bias: Tensor | None = None) -> Mapped:
    """Map by y = x W + b.

    Args:
        mean: (*R, n).
        covariance: (*R, n, n).
        weights: W, (*R, n, m).
        bias: b, (*R, m); None for zero.
    """
    image = (mean.unsqueeze(-2) @ weights).squeeze(-2)
    gain = weights.expand(*mean.shape[:-1], *weights.shape[-2:])
    return Mapped(image if bias is None else image + bias, weights.mT @ covariance @ weights, gain)


def sines_and_cosines(mean: Tensor, covariance: Tensor) -> Mapped:
    """Map angles (*R, n) to (sin x_1, ..., sin x_n, cos x_1, ..., cos x_n).

    With p_ab = exp(S_ab - (S_aa + S_bb) / 2) - exp(-(S_aa + S_bb) / 2), and q_ab the same with -S_ab,

        E[sin x_a] = exp(-S_aa / 2) sin m_a,      E[cos x_a] = exp(-S_aa / 2) cos m_a,
        Cov(sin x_a, sin x_b) = (p_ab cos(m_a - m_b) - q_ab cos(m_a + m_b)) / 2,
        Cov(cos x_a, cos x_b) = (p_ab cos(m_a - m_b) + q_ab cos(m_a + m_b)) / 2,
        Cov(sin x_a, cos x_b) = (p_ab sin(m_a - m_b) + q_ab sin(m_a + m_b)) / 2.

    Args:
        mean: (*R, n) [rad].
        covariance: (*R, n, n).
    """
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    decay = (-variance / 2).exp()
    sines, cosines = decay * mean.sin(), decay * mean.cos()
    half = (variance.unsqueeze(-1) + variance.unsqueeze(-2)) / 2
    alone = (-half).exp()
    p, q = (covariance - half).exp() - alone, (-covariance - half).exp() - alone
    minus, plus = mean.unsqueeze(-1) - mean.unsqueeze(-2), mean.unsqueeze(-1) + mean.unsqueeze(-2)
    even, odd = p * minus.cos() / 2, q * plus.cos() / 2
    mixed = (p * minus.sin() + q * plus.sin()) / 2  # rows sine, columns cosine
    rows = torch.cat([even - odd, mixed], dim=-1), torch.cat([mixed.mT, even + odd], dim=-1)
    gain = torch.cat([torch.diag_embed(cosines), torch.diag_embed(-sines)], dim=-1)
    return Mapped(torch.cat([sines, cosines], dim=-1), torch.cat(rows, dim=-2), gain)


def squashed(raw: Mapped) -> Mapped:
    """Map further, by PILCO's squashing function u = (9 sin a + sin 3a) / 8, element by element.

    Args:
        raw: The Gaussian a, (*R, U), as the image of what the gain belongs to.
    """
    mean, covariance = raw.mean, raw.covariance
    count = mean.shape[-1]
    identity = torch.eye(count, dtype=mean.dtype, device=mean.device)
    both = affine(mean, covariance, torch.cat([identity, 3 * identity], dim=-1))
    waves = sines_and_cosines(both.mean, both.covariance)
    mixture = torch.cat([9 / 8 * identity, 1 / 8 * identity, identity.new_zeros(2 * count, count)])
    image = affine(waves.mean, waves.covariance, mixture)
    return Mapped(image.mean, image.covariance, raw.gain @ both.gain @ waves.gain @ mixture)


def squared_exponentials(
    mean: Tensor,
    covariance: Tensor,
    centers: Tensor,
    precisions: Tensor,
    weights: Tensor,
    products: Tensor | None = None,
) -> Mapped:
    """Map by K sums of squared exponentials, y_k = sum_i w_ki exp(-sum_d (x_d - c_id)^2 p_kd / 2).

    A radial basis function network, and the mean of a Gaussian process, are such sums. With
    A(q) = sqrt(q) (1 + sqrt(q) S sqrt(q))^-1 sqrt(q) and nu_i = c_i - m,

        E[exp_i] = |1 + S p|^-1/2 exp(-nu_i A(p) nu_i / 2),   gain = sum_i w_i E[exp_i] A(p) nu_i,
        E[exp_ai exp_bj] = |1 + S q|^-1/2 exp(-(nu_i p_a nu_i + nu_j p_b nu_j) / 2 + z_ij W z_ij / 2),
        q = p_a + p_b,   z_ij = p_a nu_i + p_b nu_j,   W = S - S A(q) S.

    Args:
        mean: (*R, n).
        covariance: (*R, n, n).
        centers: c, (*R, N, n).
        precisions: p, inverse squared length-scales, (*R, K, n).
        weights: w, (*R, K, N).
        products: What stands for w_i w_j in the second moments, from `pair_products`; constant. None takes
            the weights themselves, and differentiates by them.
    """
    first, second = pairs(precisions.shape[-2], mean.device)
    one, other = precisions[..., first, :], precisions[..., second, :]  # (*R, Q, n)
    roots = torch.cat([precisions, one + other], dim=-2).sqrt()  # of the K sums, and of the Q pairs
    identity = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
    outer = roots.unsqueeze(-1) * roots.unsqueeze(-2)
    inverse, log_det = on_tape(_inverse_and_log_det, identity + outer * covariance.unsqueeze(-3))
    wider, count = outer * inverse, precisions.shape[-2]
    nu = (centers - mean.unsqueeze(-2)).unsqueeze(-3)  # (*R, 1, N, n)
    lifted = nu @ wider[..., :count, :, :]
    exponents = ((lifted * nu).sum(-1) + log_det[..., :count].unsqueeze(-1)) / -2
    heights = weights * exponents.exp()
    image = heights.sum(-1)
    gain = (heights.unsqueeze(-2) @ lifted).squeeze(-2).mT

    spread = covariance.unsqueeze(-3)
    width = spread - spread @ wider[..., count:, :, :] @ spread
    left, right = one.unsqueeze(-2) * nu, other.unsqueeze(-2) * nu  # (*R, Q, N, n)
    moved = right @ width
    by_left = ((left @ width - nu) * left).sum(-1) / 2
    by_right = ((moved - nu) * right).sum(-1) / 2
    inputs = (by_left, by_right, left, moved)
    if products is None:
        (sums,) = on_tape(_weighted_sums, *inputs, weights[..., first, :], weights[..., second, :])
    else:
        (sums,) = on_tape(partial(_constant_sums, products), *inputs)
    upper = sums * (log_det[..., count:] / -2).exp() - image[..., first] * image[..., second]
    return Mapped(image, upper[..., _places(count, upper.device)], gain)


@cache  # no CUDA graph can hold a copy from the host
def pairs(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Give the indices of the pairs k <= l of K sums, (Q) each."""
    first, second = torch.triu_indices(count, count, device=device)
    return first, second


@cache
def _places(count: int, device: torch.device) -> Tensor:
    """Return where each entry of a symmetric matrix is among its pairs, (K, K)."""
    first, second = pairs(count, device)
    places = torch.zeros(count, count, dtype=torch.long, device=device)
    order = torch.arange(len(first), device=device)
    places[first, second], places[second, first] = order, order
    return places


def pair_products(weights: Tensor, inner: Tensor) -> Tensor:
    """Give w_i w_j of each pair of K sums, and of a sum with itself w_i w_j - B_ij: (Q, N, N).

    B is what the data of a Gaussian process explain of its own variance: sum_ij B_ij E[exp_i exp_j].

    Args:
        weights: w, (K, N).
        inner: B, (K, N, N).
    """
    first, second = pairs(len(weights), weights.device)
    products = weights[first].unsqueeze(-1) * weights[second].unsqueeze(-2)
    return products - torch.where((first == second)[:, None, None], inner[first], 0.0)


def _inverse_and_log_det(matrix: Tensor) -> tuple[tuple[Tensor, Tensor], PullBack]:
    """Invert a positive definite matrix, and take the logarithm of its determinant."""
    factor = torch.linalg.cholesky_ex(matrix).L
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    root = torch.linalg.solve_triangular(
        factor, identity, upper=False
    )  # (a CUDA graph holds no cholesky_inverse)
    inverse = root.mT @ root
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def pull_back(by_inverse: Tensor | None, by_log_det: Tensor | None) -> Gradients:
        found = None if by_inverse is None else -inverse @ by_inverse.mT @ inverse
        if by_log_det is not None:
            found = total(found, by_log_det[..., None, None] * inverse)
        return (found,)

    return (inverse, log_det), pull_back


def _exponentials(a: Tensor, b: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return exp(a_i + b_j + left_i . right_j), and what it is of: (left, a, 1) and (right, 1, b)."""
    ones = torch.ones_like(a).unsqueeze(-1)
    one = torch.cat([left, a.unsqueeze(-1), ones], dim=-1)
    other = torch.cat([right, ones, b.unsqueeze(-1)], dim=-1)
    return (one @ other.mT).exp_(), one, other


def _constant_sums(
    products: Tensor, a: Tensor, b: Tensor, left: Tensor, right: Tensor
) -> tuple[tuple[Tensor], PullBack]:
    """Return sum_ij V_ij exp(a_i + b_j + left_i . right_j), and its pull-back.

    The way back needs row and column sums of the same matrix. They are taken on the way there, and no matrix
    is kept: a rollout keeps N numbers a step instead of N^2.

    Args:
        products: V, (*B, N, N).
        a: (*B, N).
        b: (*B, N).
        left: (*B, N, n).
        right: (*B, N, n).
    """
    values, one, other = _exponentials(a, b, left, right)
    values *= products
    by_one, by_other = values @ other, values.mT @ one
    dims = left.shape[-1]
    rows, columns = by_one[..., dims], by_other[..., dims + 1]

    def pull_back(by_sum: Tensor | None) -> Gradients:
        if by_sum is None:
            return (None,) * 4
        factor = by_sum.unsqueeze(-1)
        wide = factor.unsqueeze(-1)
        return factor * rows, factor * columns, wide * by_one[..., :dims], wide * by_other[..., :dims]

    return (rows.sum(-1),), pull_back


def _weighted_sums(
    a: Tensor, b: Tensor, left: Tensor, right: Tensor, u: Tensor, v: Tensor
) -> tuple[tuple[Tensor], PullBack]:
    """Compute the same with V_ij = u_i v_j, differentiated by u and v, (*B, N), as well."""
    values, one, other = _exponentials(a, b, left, right)
    by_u, by_v = (values @ v.unsqueeze(-1)).squeeze(-1), (values.mT @ u.unsqueeze(-1)).squeeze(-1)
    by_one = u.unsqueeze(-1) * (values @ (v.unsqueeze(-1) * other))
    by_other = v.unsqueeze(-1) * (values.mT @ (u.unsqueeze(-1) * one))
    dims = left.shape[-1]
    rows, columns = by_one[..., dims], by_other[..., dims + 1]

    def pull_back(by_sum: Tensor | None) -> Gradients:
        if by_sum is None:
            return (None,) * 6
        factor = by_sum.unsqueeze(-1)
        wide = factor.unsqueeze(-1)
        by_sides = wide * by_one[..., :dims], wide * by_other[..., :dims]
        return factor * rows, factor * columns, *by_sides, factor * by_u, factor * by_v

    return (rows.sum(-1),), pull_back
