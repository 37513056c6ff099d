"""Gaussians through functions: moments against a million samples, derivatives against differences."""

import math

import pytest
import torch

from mbrl_agent.gaussians.mapped import (
    Mapped,
    affine,
    pair_products,
    sines_and_cosines,
    squared_exponentials,
    squashed,
)
from mbrl_agent.policies.base import squash

DTYPE = torch.float64
SAMPLES = 1_000_000


def random_covariance(dims, scale=1.0):
    root = torch.randn(dims, dims, dtype=DTYPE)
    return scale * root @ root.T / dims


def as_given(mean, covariance):
    return Mapped(mean, covariance, torch.eye(len(mean), dtype=DTYPE))


def sampled(function, mean, covariance, samples=SAMPLES):
    """The moments of the image, and S^-1 Cov(x, y), each with its standard error."""
    state = mean + torch.randn(samples, len(mean), dtype=DTYPE) @ torch.linalg.cholesky(covariance).T
    image = function(state)
    x, y = state - mean, image - image.mean(0)
    products = y.unsqueeze(-1) * y.unsqueeze(-2)
    gains = torch.linalg.solve(covariance, x.mT).mT.unsqueeze(-1) * y.unsqueeze(-2)
    return [(values.mean(0), values.std(0) / math.sqrt(samples)) for values in (image, products, gains)]


def assert_agree(found, expected):
    for value, (mean, error) in zip(found, expected, strict=True):
        assert ((value - mean).abs() <= 5 * error + 1e-12).all(), (value, mean, error)


@pytest.mark.parametrize("scale", [0.01, 1.0, 9.0])
def test_sines_and_cosines_against_samples(scale):
    torch.manual_seed(0)
    mean, covariance = torch.randn(3, dtype=DTYPE), random_covariance(3, scale)
    expected = sampled(lambda x: torch.cat([x.sin(), x.cos()], -1), mean, covariance)
    assert_agree(sines_and_cosines(mean, covariance), expected)


def test_sines_of_angles_all_round_the_circle_do_not_overflow():
    found = sines_and_cosines(torch.zeros(2, dtype=DTYPE), 1e4 * torch.eye(2, dtype=DTYPE))
    assert all(value.isfinite().all() for value in found)
    torch.testing.assert_close(found.covariance, 0.5 * torch.eye(4, dtype=DTYPE))


def test_a_certain_angle_is_exact():
    found = sines_and_cosines(torch.tensor([0.3], dtype=DTYPE), torch.zeros(1, 1, dtype=DTYPE))
    assert found.mean.tolist() == [math.sin(0.3), math.cos(0.3)]
    assert not found.covariance.any()


@pytest.mark.parametrize("scale", [0.05, 2.0])
def test_squashing_against_samples(scale):
    torch.manual_seed(1)
    mean, covariance = torch.randn(2, dtype=DTYPE), random_covariance(2, scale)
    assert_agree(squashed(as_given(mean, covariance)), sampled(squash, mean, covariance))


def test_an_affine_map_is_exact():
    torch.manual_seed(2)
    mean, covariance = torch.randn(3, dtype=DTYPE), random_covariance(3)
    weights, bias = torch.randn(3, 2, dtype=DTYPE), torch.randn(2, dtype=DTYPE)
    found = affine(mean, covariance, weights, bias)
    torch.testing.assert_close(found.mean, mean @ weights + bias)
    torch.testing.assert_close(found.covariance, weights.T @ covariance @ weights)
    torch.testing.assert_close(found.gain, weights)


def sums(dims=3, count=12, functions=2):
    centers, weights = torch.randn(count, dims, dtype=DTYPE), torch.randn(functions, count, dtype=DTYPE)
    return centers, torch.rand(functions, dims, dtype=DTYPE) + 0.2, weights


@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_sums_of_squared_exponentials_against_samples(scale):
    torch.manual_seed(3)
    mean, covariance = torch.randn(3, dtype=DTYPE), random_covariance(3, scale)
    centers, precisions, weights = sums()

    def function(x):
        squares = (x.unsqueeze(1) - centers).square()
        return torch.stack(
            [(squares @ p / -2).exp() @ w for p, w in zip(precisions, weights, strict=True)], -1
        )

    expected = sampled(function, mean, covariance)
    assert_agree(squared_exponentials(mean, covariance, centers, precisions, weights), expected)


def test_a_dimension_without_precision_is_ignored():
    torch.manual_seed(4)
    mean, covariance = torch.randn(3, dtype=DTYPE), random_covariance(3)
    centers, precisions, weights = sums()
    precisions[:, 2] = 0
    found = squared_exponentials(mean, covariance, centers, precisions, weights)
    alone = squared_exponentials(mean[:2], covariance[:2, :2], centers[:, :2], precisions[:, :2], weights)
    torch.testing.assert_close(found.mean, alone.mean)
    torch.testing.assert_close(found.covariance, alone.covariance)


def test_what_data_explain_is_subtracted_from_the_variance():
    torch.manual_seed(5)
    mean, covariance = torch.randn(3, dtype=DTYPE), random_covariance(3)
    centers, precisions, weights = sums()
    arguments = mean, covariance, centers, precisions, weights
    plain = squared_exponentials(*arguments)
    none = squared_exponentials(*arguments, pair_products(weights, torch.zeros(2, 12, 12, dtype=DTYPE)))
    torch.testing.assert_close(none.covariance, plain.covariance)
    inner = torch.eye(12, dtype=DTYPE).expand(2, -1, -1)
    less = squared_exponentials(*arguments, pair_products(weights, inner)).covariance
    # sum_i E[exp_i^2], of a Gaussian of twice the precision
    doubled = squared_exponentials(mean, covariance, centers, 2 * precisions, torch.ones_like(weights))
    torch.testing.assert_close((plain.covariance - less).diagonal(), doubled.mean)
    torch.testing.assert_close(less[0, 1], plain.covariance[0, 1])


@pytest.mark.parametrize("constant", [False, True])
def test_derivatives_against_differences(constant):
    torch.manual_seed(6)
    centers, precisions, weights = sums(dims=2, count=4)
    products = pair_products(weights, torch.zeros(2, 4, 4, dtype=DTYPE)) if constant else None

    def function(mean, root, centers, precisions, *learned):
        image = squared_exponentials(
            mean, root @ root.T, centers, precisions, *(learned or (weights,)), products
        )
        return tuple(image)

    inputs = [torch.randn(2, dtype=DTYPE), torch.randn(2, 2, dtype=DTYPE), centers, precisions]
    inputs += [] if constant else [weights]
    assert torch.autograd.gradcheck(function, [value.requires_grad_() for value in inputs])


@pytest.mark.parametrize("function", [sines_and_cosines, lambda m, s: squashed(as_given(m, s))])
def test_derivatives_of_waves_against_differences(function):
    torch.manual_seed(7)
    inputs = [torch.randn(2, dtype=DTYPE), torch.randn(2, 2, dtype=DTYPE)]
    assert torch.autograd.gradcheck(
        lambda mean, root: tuple(function(mean, root @ root.T)), [value.requires_grad_() for value in inputs]
    )


def test_replicates_are_independent():
    torch.manual_seed(8)
    mean = torch.randn(4, 3, dtype=DTYPE)
    covariance = torch.stack([random_covariance(3) for _ in range(4)])
    centers, weights = torch.randn(4, 6, 3, dtype=DTYPE), torch.randn(4, 2, 6, dtype=DTYPE)
    precisions = torch.rand(4, 2, 3, dtype=DTYPE)
    together = squared_exponentials(mean, covariance, centers, precisions, weights)
    for index in range(4):
        own = (value[index] for value in (mean, covariance, centers, precisions, weights))
        for value, alone in zip(together, squared_exponentials(*own), strict=True):
            torch.testing.assert_close(value[index], alone)
