"""What the theory says about tangent projection: values untouched, derivatives regressed on the state."""

import math

import pytest
import torch

from mbrl_agent.resampling import NoResampling, Resampler, Tangent
from mbrl_agent.search.estimators import ESTIMATORS
from mbrl_agent.types import Prediction
from tests.support.package_em import projection_basis, soft_clusters

P, D = 60, 2
F64 = torch.float64
components_1_and_3 = pytest.mark.parametrize("components", [1, 3])


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def apply(resampler, particles, state=None):
    return resampler(Prediction(particles, particles), particles, normal(*particles.shape, seed=9), state)


def smoother(particles, log_shares):
    """H by the normal equations, component by component."""
    design = torch.cat([torch.ones(len(particles), 1, dtype=F64), particles], dim=1)
    total = torch.zeros(len(particles), len(particles), dtype=F64)
    for share in log_shares.exp():
        weighted = share.unsqueeze(-1) * design
        total += weighted @ torch.linalg.inv(design.T @ weighted) @ weighted.T
    return total


@components_1_and_3
def test_values_are_those_of_the_particles_bitwise(components):
    resampler, x = Tangent(components), 3.0 + normal(2, P, D)
    first = apply(resampler, x)
    assert torch.equal(first.particles, x)
    second = apply(resampler, x.sin(), first.state)
    assert torch.equal(second.particles, x.sin())
    assert torch.equal(second.weights, torch.full((2, P), 1 / P, dtype=F64))


@components_1_and_3
def test_backward_pass_is_the_regression_written_out(components):
    resampler, x = Tangent(components), normal(P, D).requires_grad_()
    state = apply(resampler, 0.8 * x.detach()).state
    for previous in (None, state):
        matrix = smoother(x.detach(), soft_clusters(x, previous, components, 2))
        adjoint, out = normal(P, D, seed=1), apply(resampler, x, previous)
        (gradient,) = torch.autograd.grad(out.particles, x, adjoint)
        torch.testing.assert_close(gradient, matrix.T @ adjoint, rtol=1e-8, atol=1e-8)
    moved = torch.func.jvp(lambda x: apply(resampler, x).particles, (x.detach(),), (adjoint,))[1]
    matrix = smoother(x.detach(), soft_clusters(x, None, components, 2))
    torch.testing.assert_close(moved, matrix @ adjoint, rtol=1e-8, atol=1e-8)


@components_1_and_3
def test_the_matrix_is_symmetric_a_contraction_and_keeps_ones(components):
    x = normal(P, D)
    basis, _ = projection_basis(x, soft_clusters(x, None, components, 2))
    matrix = basis @ basis.T
    torch.testing.assert_close(matrix, smoother(x, soft_clusters(x, None, components, 2)))
    torch.testing.assert_close(matrix @ torch.ones(P, dtype=F64), torch.ones(P, dtype=F64))
    eigenvalues = torch.linalg.eigvalsh(matrix)
    assert eigenvalues.min() > -1e-9
    assert eigenvalues.max() < 1 + 1e-9
    assert matrix.trace() < components * (D + 1) + 1e-6


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
@components_1_and_3
def test_an_affine_field_is_left_as_it_is(components, dtype, error):
    x = (4.0 + normal(P, D)).to(dtype).requires_grad_()
    affine = x.detach() @ torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=dtype) + 7.0
    (gradient,) = torch.autograd.grad(apply(Tangent(components), x).particles, x, affine)
    torch.testing.assert_close(gradient, affine, rtol=error, atol=error)
    bent = affine + 5 * x.detach().square()
    (gradient,) = torch.autograd.grad(apply(Tangent(components), x).particles, x, bent)
    assert (gradient - bent).norm() > 0.05 * (bent - bent.mean(0)).norm()


def test_what_the_state_does_not_explain_is_averaged_out():
    x = normal(300, D).requires_grad_()
    independent = normal(300, D, seed=5)
    for components in (1, 3):
        (gradient,) = torch.autograd.grad(apply(Tangent(components), x).particles, x, independent)
        share = gradient.square().sum() / independent.square().sum()
        assert share < 2 * components * (D + 1) / 300


def linear_gradients(resampler: Resampler, repeats: int, particles: int = 30, steps: int = 5):
    """Gradient of a quadratic cost by gain and offset, (repeats, 3), of a linear system with noise."""
    transition = torch.tensor([[1.0, 0.3], [-0.2, 0.9]], dtype=F64)
    push = torch.tensor([0.1, 0.5], dtype=F64)
    theta = torch.tensor([-0.3, -0.6, 0.2], dtype=F64).repeat(repeats, 1, 1).requires_grad_()
    z, state, total = 1.0 + 0.3 * normal(repeats, particles, D), None, torch.zeros(repeats, dtype=F64)
    for step in range(steps):
        action = (z * theta[..., :2]).sum(-1, keepdim=True) + theta[..., 2:]
        mean = z @ transition.T + action * push
        prediction = Prediction(mean, torch.full_like(mean, 0.4))
        sample = mean + 0.4 * normal(repeats, particles, D, seed=step + 1)
        out = resampler(prediction, sample, sample, state)
        z, state = out.particles, out.state
        total = total + (out.weights * (z.square().sum(-1) + (z[..., 0] * z[..., 1]))).sum(-1)
    return torch.autograd.grad(total.sum(), theta)[0].squeeze(-2)


@components_1_and_3
def test_on_a_linear_gaussian_system_the_gradient_is_unbiased(components):
    repeats = 3000
    plain = linear_gradients(NoResampling(), repeats)
    smooth = linear_gradients(Tangent(components), repeats)
    difference = smooth - plain  # the same noise in both, so that their distance is seen more sharply
    standard_error = difference.std(0) / math.sqrt(repeats)
    assert (standard_error < 0.01 * plain.mean(0).norm()).all()
    assert (standard_error[:2] > 1e-4).all()  # the gains' gradients do differ, estimate by estimate
    assert (difference.mean(0).abs() < 4 * standard_error + 1e-9).all(), difference.mean(0) / standard_error
    torch.testing.assert_close(smooth[:, 2], plain[:, 2])  # an offset moves all particles alike, and H1 = 1


def test_order_of_the_particles_changes_nothing_but_the_order():
    order = torch.randperm(P, generator=torch.Generator().manual_seed(0))
    x, adjoint = normal(P, D).requires_grad_(), normal(P, D, seed=1)
    shuffled = x.detach()[order].requires_grad_()
    first, other = apply(Tangent(), x), apply(Tangent(), shuffled)
    torch.testing.assert_close(other.state, first.state[:, order])
    (plain,) = torch.autograd.grad(first.particles, x, adjoint)
    (permuted,) = torch.autograd.grad(other.particles, shuffled, adjoint[order])
    torch.testing.assert_close(permuted, plain[order])


@pytest.mark.parametrize("name", ESTIMATORS.names())
def test_every_estimator_takes_it_because_values_do_not_mix(name):
    ESTIMATORS.resolve(name).validate(Tangent())


def test_options_are_checked():
    for option in ("components", "em_iterations"):
        with pytest.raises(ValueError, match=f"{option} of resampling 'tangent' must be at least 1, got 0"):
            Tangent(**{option: 0})
        with pytest.raises(TypeError, match=f"{option} of resampling 'tangent' must be a whole number"):
            Tangent(**{option: 2.0})
    with pytest.raises(ValueError, match=r"'tangent' needs at least 18 particles for 4 state dimensions"):
        Tangent(3).validate(17, 4)
