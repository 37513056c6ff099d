"""Weighted EM against textbook EM, replicated samples and its own likelihood."""

import math
import warnings

import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from tests.support import plain_mixture as plain
from tests.support.package_em import weighted_em
from tests.support.plain_mixture import MixtureFit, log_joint, variance_floor

N, K, D = 90, 3, 2


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def samples(*replicates):
    """Three overlapping clusters; sample i belongs to i % 3."""
    centres = torch.tensor([[0.0, 0.0], [1.5, 1.0], [0.0, 3.0]], dtype=torch.float64)
    return normal(*replicates, N, D) * torch.tensor([1.0, 0.5]) + centres.repeat(N // 3, 1)


def start(*replicates, weights=(0.5, 0.3, 0.2)):
    scatter = torch.tensor([[1.0, 0.2], [0.2, 0.7]], dtype=torch.float64).expand(*replicates, K, D, D)
    return MixtureFit(
        torch.tensor(weights, dtype=torch.float64).log().expand(*replicates, K),
        normal(*replicates, K, D, seed=1) + 1.0,
        scatter,
        torch.zeros(*replicates, K, D, dtype=torch.float64),
    )


def log_likelihood(fit, m, weights):
    floor = variance_floor(m, torch.zeros_like(m))
    return (weights * (log_joint(fit, m, floor).logsumexp(-2) - D / 2 * math.log(2 * math.pi))).sum(-1)


def exact(m):
    return torch.zeros_like(m)


def equal(m):
    return torch.zeros(m.shape[:-1], dtype=m.dtype)


def assert_same(a, b, rtol=1e-9):
    for left, right in zip(a, b, strict=True):
        torch.testing.assert_close(left, right, rtol=rtol, atol=1e-10)


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_equals_scikit_learn(iterations):
    m, init = samples(), start()
    reference = GaussianMixture(
        n_components=K,
        weights_init=init.log_weights.exp().numpy(),
        means_init=init.mean.numpy(),
        precisions_init=torch.linalg.inv(init.covariance).numpy(),
        reg_covar=1e-15,
        max_iter=iterations,
        tol=0.0,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        reference.fit(m.numpy())
    assert reference.n_iter_ == iterations
    fit = weighted_em(m, exact(m), equal(m), init, iterations)
    torch.testing.assert_close(fit.log_weights.exp(), torch.from_numpy(reference.weights_), rtol=1e-8, atol=0)
    torch.testing.assert_close(fit.mean, torch.from_numpy(reference.means_), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(fit.covariance, torch.from_numpy(reference.covariances_), rtol=1e-8, atol=1e-8)
    ours = log_likelihood(fit, m, torch.full((N,), 1 / N, dtype=torch.float64))
    assert ours.item() == pytest.approx(reference.score(m.numpy()), rel=1e-9)


@pytest.mark.parametrize("iterations", [1, 4])
def test_integer_weights_equal_replicated_samples(iterations):
    m, variances = samples(), normal(N, D, seed=2).square()
    counts = torch.arange(N) % 4 + 1
    weighted = weighted_em(m, variances, counts.double().log(), start(), iterations)
    repeated, repeated_variances = m.repeat_interleave(counts, 0), variances.repeat_interleave(counts, 0)
    replicated = weighted_em(repeated, repeated_variances, equal(repeated), start(), iterations)
    assert_same(weighted, replicated)
    unweighted = weighted_em(m, variances, equal(m), start(), iterations)
    assert not torch.allclose(weighted.mean, unweighted.mean, atol=1e-3)


def test_a_common_factor_of_the_weights_does_not_matter():
    m = samples()
    weights = normal(N, seed=3)
    assert_same(
        weighted_em(m, exact(m), weights, start(), 3),
        weighted_em(m, exact(m), weights + 100.0, start(), 3),
    )


def test_likelihood_never_falls():
    m = samples(6)
    weights = (0.5 * normal(6, N, seed=4)).softmax(-1)
    fit, history = start(6), []
    for _ in range(25):
        history.append(log_likelihood(fit, m, weights))
        fit = weighted_em(m, exact(m), weights.log(), fit, 1)
    assert (
        torch.linalg.eigvalsh(fit.covariance) > 1e-3
    ).all()  # no spike, where jitter bounds the likelihood
    steps = torch.stack(history).diff(dim=0)
    assert (steps > -1e-12).all()
    assert (steps[0] > 1e-2).all()


def test_variances_enter_the_covariance_but_not_the_responsibilities():
    m, variances = samples(), normal(N, D, seed=2).square()
    without = weighted_em(m, exact(m), equal(m), start(), 1)
    within = weighted_em(m, variances, equal(m), start(), 1)
    assert_same(without[:3], within[:3])
    responsibilities = log_joint(start(), m, variance_floor(m, exact(m))).softmax(-2)
    share = responsibilities / responsibilities.sum(-1, keepdim=True)
    torch.testing.assert_close(within.variance, share @ variances)
    torch.testing.assert_close(within.covariance, without.covariance + torch.diag_embed(share @ variances))


def test_one_component_has_the_weighted_moments():
    m, weights = samples(), normal(N, seed=4).softmax(-1)
    init = MixtureFit(*(part[:1] for part in start()))
    fit = weighted_em(m, exact(m), weights.log(), init, 2)
    mean = weights @ m
    torch.testing.assert_close(fit.mean[0], mean)
    torch.testing.assert_close(fit.scatter[0], (weights.unsqueeze(-1) * (m - mean)).mT @ (m - mean))
    torch.testing.assert_close(fit.log_weights, torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_component_that_dies_stays_finite(dtype):
    m = samples().to(dtype)
    init = start(weights=(0.6, 0.4, 1.0))
    mean = init.mean.clone()
    mean[2] = 1e4
    fit = weighted_em(m, exact(m), equal(m), MixtureFit(*(p.to(dtype) for p in init._replace(mean=mean))), 5)
    assert all(part.isfinite().all() for part in fit)
    assert fit.log_weights[2] < -20


def test_detached_responsibilities_change_the_gradient_and_nothing_else():
    m = samples().requires_grad_()
    flowing = plain.weighted_em(m, exact(m), equal(m), start(), 3)
    held = plain.weighted_em(m, exact(m), equal(m), start(), 3, detach_responsibilities=True)
    assert_same(flowing, held, rtol=0)
    (gradient,) = torch.autograd.grad(held.mean.sum(), m)
    responsibilities = log_joint(
        plain.weighted_em(m, exact(m), equal(m), start(), 2), m, variance_floor(m, exact(m))
    )
    share = responsibilities.softmax(-2)
    share = (share / share.sum(-1, keepdim=True)).sum(0)  # d sum_k mu_k / d m_i with r constant
    torch.testing.assert_close(gradient, share.unsqueeze(-1).expand(N, D).detach())
    (through,) = torch.autograd.grad(flowing.mean.sum(), m)
    assert not torch.allclose(through, gradient, atol=1e-3)
