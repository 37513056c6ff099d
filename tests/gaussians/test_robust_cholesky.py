"""The Cholesky factor that always exists."""

import pytest
import torch

from mbrl_agent.gaussians import cholesky
from mbrl_agent.gaussians.cholesky import BASE_JITTER, factorise, pull_back, robust_cholesky

both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def base_jitter(dtype):
    return BASE_JITTER * torch.finfo(dtype).eps


def correlated(dims=5, batch=(), seed=0, dtype=torch.float64):
    a = torch.randn(*batch, 3 * dims, dims, dtype=dtype, generator=torch.Generator().manual_seed(seed))
    a = a + 2 * a[..., :1]
    return a.mT @ a


def relative_error(factor, covariance):
    """Error of L L^T in units of the standard deviations."""
    d = covariance.diagonal(dim1=-2, dim2=-1).double().sqrt()
    return (
        ((factor.double() @ factor.double().mT - covariance) / (d.unsqueeze(-1) * d.unsqueeze(-2)))
        .abs()
        .max()
    )


@both_dtypes
@pytest.mark.parametrize("scale", [1.0, 1e6, 1e-6, "mixed"])
def test_accurate_at_every_scale(dtype, scale):
    d = torch.tensor([1e6, 1e-6, 1.0, 1e3, 1e-3] if scale == "mixed" else [scale] * 5, dtype=dtype)
    covariance = d.unsqueeze(-1) * correlated(batch=(4,), dtype=dtype) * d
    factor, jitter = robust_cholesky(covariance)
    assert torch.equal(jitter, torch.zeros(4, dtype=dtype))
    assert torch.equal(factor, factor.tril())
    assert relative_error(factor, covariance) < 2 * base_jitter(dtype)


def test_plain_cholesky_of_a_well_behaved_matrix():
    covariance = correlated()
    torch.testing.assert_close(robust_cholesky(covariance)[0], torch.linalg.cholesky(covariance))


def test_base_jitter_is_relative_to_each_variance():
    covariance = torch.diag(torch.tensor([1e8, 1e-8, 1.0]))
    factor, _ = robust_cholesky(covariance)
    grown = (factor @ factor.T).diagonal() / covariance.diagonal()
    torch.testing.assert_close(grown, torch.full((3,), 1 + base_jitter(torch.float32)), rtol=1e-6, atol=0)


@both_dtypes
def test_singular_matrices_need_no_more_than_the_base(dtype):
    direction = torch.tensor([1.0, -2.0, 1e3, 1e-4], dtype=dtype)
    covariance = direction.outer(direction)
    factor, jitter = robust_cholesky(covariance)
    assert jitter == 0
    assert relative_error(factor, covariance) < 2 * base_jitter(dtype)


@both_dtypes
def test_zero_variance_gives_zero_rows_and_finite_gradients(dtype):
    covariance = torch.zeros(2, 3, 3, dtype=dtype)
    covariance[1, 0, 0] = covariance[1, 2, 2] = 2.0
    covariance[1, 0, 2] = covariance[1, 2, 0] = 1.0
    covariance.requires_grad_()
    factor, jitter = robust_cholesky(covariance)
    assert torch.equal(factor[0], torch.zeros(3, 3, dtype=dtype))
    assert torch.equal(factor[1, 1], torch.zeros(3, dtype=dtype))
    torch.testing.assert_close(factor[1, 2, 2], torch.tensor(1.5, dtype=dtype).sqrt(), rtol=1e-4, atol=0)
    assert (jitter == 0).all()
    (gradient,) = torch.autograd.grad(factor.sum(), covariance)
    assert gradient.isfinite().all()


def test_gradient_is_exact_although_the_scale_is_held_constant():
    raw = torch.randn(
        2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    units = torch.tensor([1e2, 1.0, 1e-2, 1.0], dtype=torch.float64)

    def factorise(a, cholesky):
        return cholesky(units.unsqueeze(-1) * (a @ a.mT + torch.eye(4, dtype=torch.float64)) * units)

    assert torch.autograd.gradcheck(lambda a: factorise(a, lambda s: robust_cholesky(s)[0]), raw)
    assert torch.autograd.gradgradcheck(lambda a: factorise(a, lambda s: robust_cholesky(s)[0]), raw)
    ours, plain = (
        torch.autograd.grad(factorise(raw, f).sin().sum(), raw)[0]
        for f in (lambda s: robust_cholesky(s)[0], torch.linalg.cholesky)
    )
    torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


@both_dtypes
def test_jitter_escalates_for_the_failing_matrix_only(dtype):
    indefinite = torch.tensor([[1.0, 1.001], [1.001, 1.0]], dtype=dtype)
    healthy = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=dtype)
    factor, jitter = robust_cholesky(torch.stack([healthy, 1e6 * indefinite, healthy]))
    assert jitter[0] == jitter[2] == 0
    assert 1e-3 < jitter[1] < 2e-2
    assert torch.equal(factor[0], robust_cholesky(healthy)[0])
    assert relative_error(factor[1], 1e6 * indefinite) < 1.01 * jitter[1] + base_jitter(dtype)


@both_dtypes
def test_escalated_and_hopeless_matrices_have_finite_gradients(dtype):
    covariance = torch.tensor([[[1.0, 1.001], [1.001, 1.0]], [[4.0, 50.0], [50.0, 9.0]]], dtype=dtype)
    covariance.requires_grad_()
    factor, jitter = robust_cholesky(covariance)
    assert jitter[1] == 1
    assert factor[1, 1, 0] == 0  # only the diagonal is left
    torch.testing.assert_close(
        factor[1].diagonal() ** 2, torch.tensor([8.0, 18.0], dtype=dtype), rtol=1e-4, atol=0
    )
    (gradient,) = torch.autograd.grad(factor.sum(), covariance)
    assert gradient.isfinite().all()
    assert (gradient[1].diagonal() > 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so_and_stays_alone(bad):
    covariance = torch.eye(3).repeat(2, 1, 1)
    covariance[0, 1, 1] = bad
    factor, _ = robust_cholesky(covariance)
    assert not factor[0].isfinite().all()
    assert torch.equal(factor[1], robust_cholesky(torch.eye(3))[0])


# the pull-back ---------------------------------------------------------------------------------------------


def covariances(kind, dtype):
    """Batches of (2, 3) covariances in 4 dimensions."""
    healthy = correlated(4, (2, 3), dtype=dtype)
    if kind == "healthy":
        return healthy
    if kind == "badly scaled":
        d = torch.tensor([1e4, 1e-4, 1.0, 1e2], dtype=dtype)
        return d.unsqueeze(-1) * healthy * d
    if kind == "zero":
        return torch.zeros_like(healthy)
    if kind == "one dimension is zero":
        there = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=dtype)
        return healthy * there.outer(there)
    strength = {"singular": 1.0, "escalated": 1.0005, "hopeless": 3.0}[kind]
    direction = torch.tensor([1.0, -2.0, 30.0, 0.1], dtype=dtype)
    line = direction.outer(direction)
    bad = strength * line - (strength - 1) * line.diagonal().diag()
    return torch.stack([healthy[0], torch.stack([healthy[1, 0], bad, healthy[1, 2]])])


KINDS = ["healthy", "badly scaled", "zero", "one dimension is zero", "singular", "escalated", "hopeless"]


@both_dtypes
@pytest.mark.parametrize("kind", KINDS)
def test_the_pull_back_is_autograds(dtype, kind):
    leaf = covariances(kind, dtype).requires_grad_()
    fit = factorise(leaf)
    # what lies above the diagonal of the factor's derivative must not count
    by_factor = torch.randn(fit.factor.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    (expected,) = torch.autograd.grad(fit.factor, leaf, by_factor)
    fit = factorise(leaf.detach())
    found = pull_back(fit, by_factor)
    assert torch.equal(found, found.mT)
    assert bool(found.isfinite().all())
    d = leaf.detach().diagonal(dim1=-2, dim2=-1).sqrt()  # in units of the standard deviations
    units = d.unsqueeze(-1) * d.unsqueeze(-2)
    error, size = (((x * units).flatten(-2)).norm(dim=-1) for x in (found - expected, expected))
    assert bool((error <= (2e-4 if dtype == torch.float32 else 1e-9) * size).all())
    assert (fit.kept is not None) == (kind in ("escalated", "hopeless"))
    if kind == "hopeless":
        assert torch.equal(fit.kept.flatten(), torch.tensor([True, True, True, True, False, True]))
        assert torch.equal(found[1, 1], found[1, 1].diagonal().diag())
        assert bool(found[1, 1].any())
    if kind == "zero":
        assert not found.any()


@both_dtypes
def test_failures_elsewhere_make_no_difference(dtype):
    alone = covariances("healthy", dtype)[1]
    by_factor = torch.randn(3, 4, 4, dtype=dtype, generator=torch.Generator().manual_seed(1))
    expected, together = factorise(alone), factorise(covariances("hopeless", dtype)[1])
    for i in (0, 2):
        assert torch.equal(together.factor[i], expected.factor[i])
        found = pull_back(together, by_factor)
        torch.testing.assert_close(found[i], pull_back(expected, by_factor)[i])
    broken = alone.clone()
    broken[1, 2, 2] = float("nan")
    found = pull_back(factorise(broken), by_factor)
    assert not found[1].isfinite().all()
    torch.testing.assert_close(found[[0, 2]], pull_back(expected, by_factor)[[0, 2]])


@both_dtypes
@pytest.mark.parametrize("kind", KINDS)
def test_it_makes_no_difference_whether_failures_are_asked_for(dtype, kind, monkeypatch):
    """On a GPU they are not: every covariance goes through the escalation."""
    covariance = covariances(kind, dtype)
    by_factor = torch.randn(covariance.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    asked = factorise(covariance)
    monkeypatch.setattr(cholesky, "_any", lambda failed: True)
    not_asked = factorise(covariance)
    assert torch.equal(not_asked.factor, asked.factor)
    assert torch.equal(not_asked.jitter, asked.jitter)
    assert not_asked.kept is not None
    assert torch.equal(pull_back(not_asked, by_factor), pull_back(asked, by_factor))
