"""The fused mixture steps against plain formulations that autograd differentiates."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl_agent.gaussians import em
from mbrl_agent.gaussians.mixture_redraw import mixture_redraw_vjp
from mbrl_agent.resampling import DetachedMixture, Mixture, Tangent
from mbrl_agent.types import Prediction
from mbrl_agent.vjp import on_tape
from tests.support import plain_mixture as plain

F32, F64 = torch.float32, torch.float64
KINDS = ["spread", "collapsed", "line", "point", "units", "far", "certain"]


def mixture_redraw(mean, std, noise, log_weights, iterations, detach):
    """As the resampler has it on a tape."""

    def vjp(*tensors):
        return mixture_redraw_vjp(*tensors, iterations, detach)

    return on_tape(vjp, mean, std, noise, log_weights)


def inputs(kind, replicates=(), own=12, components=3, dims=3, dtype=F64, seed=0, weights=None):
    """Leaves mean, std and log W, the noise, and adjoints of particles, shares and log W."""
    generator = torch.Generator().manual_seed(seed)
    count = own * components

    def normal(*shape):
        return torch.randn(*replicates, *shape, dtype=F64, generator=generator)

    mean, std = normal(count, dims), 0.1 + normal(count, dims).abs()
    if kind == "collapsed":
        mean[..., 0], std[..., 0] = 0.0, 0.0  # exactly, in both formulations
    if kind == "line":
        mean, std = normal(count, 1) * torch.arange(1.0, dims + 1), torch.zeros_like(std)
    if kind == "point":
        mean, std = torch.full_like(mean, 0.3), torch.zeros_like(std)
    if kind == "units":
        units = 10.0 ** torch.linspace(-6, 6, dims, dtype=F64)
        mean, std = mean * units, std * units
    if kind == "far":
        mean = mean + 100.0
    if kind == "certain":
        std = torch.zeros_like(std)
    log_weights = normal(components).log_softmax(-1) if weights is None else torch.tensor(weights, dtype=F64)
    log_weights = log_weights.expand(*replicates, components)
    leaves = [t.to(dtype).requires_grad_() for t in (mean, std, log_weights)]
    adjoints = [t.to(dtype) for t in (normal(count, dims), normal(count) * count, normal(components))]
    return leaves, normal(count, dims).to(dtype), adjoints


def step(function, leaves, noise, adjoints, iterations, detach):
    """Values, and the gradient of their product with the adjoints."""
    mean, std, log_weights = leaves
    out = function(mean, std, noise, log_weights, iterations, detach)
    loss = sum((part * adjoint).sum() for part, adjoint in zip(out[:3], adjoints, strict=True))
    return [part.detach() for part in out], torch.autograd.grad(loss, leaves)


def compare(ours, theirs, error):
    """In units of the largest number of each dimension (columns of (N, D), else of all)."""
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        scale = b.abs().amax(-2, keepdim=True) if b.ndim > 1 else b.abs().amax()
        assert ((a - b).abs() <= error * scale + 1e-300).all(), ((a - b).abs() / scale).max()


@settings(max_examples=60)
@given(
    kind=st.sampled_from(["spread", "collapsed", "units", "far", "certain"]),
    replicates=st.sampled_from([(), (1,), (2,), (2, 3)]),
    components=st.integers(1, 5),
    dims=st.integers(1, 5),
    extra=st.integers(0, 20),
    iterations=st.integers(1, 5),
    detach=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_values_and_gradients_are_those_of_the_plain_formulation(
    kind, replicates, components, dims, extra, iterations, detach, seed
):
    own = dims + 2 + extra
    given = inputs(kind, replicates, own, components, dims, seed=seed)
    ours, gradients = step(mixture_redraw, *given, iterations, detach)
    theirs, expected = step(plain.mixture_redraw, *given, iterations, detach)
    compare(ours, theirs, 1e-9)
    size = max(float(g.abs().max()) for g in expected[2:])
    for a, b in zip(gradients[:2], expected[:2], strict=True):
        compare([a], [b], 1e-8)
    assert (gradients[2] - expected[2]).abs().max() <= 1e-8 * max(size, 1.0)


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("iterations", [1, 3])
def test_gradients_agree_to_rounding(iterations, detach):
    for dtype, error in ((F64, 1e-10), (F32, 1e-5)):
        given = inputs("spread", (2,), 100, 3, 4, dtype=dtype)
        _, gradients = step(mixture_redraw, *given, iterations, detach)
        _, expected = step(plain.mixture_redraw, *given, iterations, detach)
        for a, b in zip(gradients, expected, strict=True):
            assert (a - b).norm() <= error * b.norm()


@pytest.mark.parametrize("kind", ["spread", "certain", "far"])
@pytest.mark.parametrize("shape", [((), 4, 1, 2), ((), 5, 2, 3), ((2,), 4, 3, 1)], ids=str)
def test_gradcheck(kind, shape):
    leaves, noise, _ = inputs(kind, *shape)
    noise.requires_grad_()

    def outputs(mean, std, log_weights, noise):
        return mixture_redraw(mean, std, noise, log_weights, 3, False)[:3]

    assert torch.autograd.gradcheck(outputs, [*leaves, noise], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weights", [None, [0.0, -1.0, -1e3]], ids=["alive", "dead"])
def test_degenerate_clouds_and_dead_components(kind, weights, dtype):
    given = inputs(kind, (2,), 20, dtype=dtype, weights=weights)
    ours, gradients = step(mixture_redraw, *given, 3, False)
    theirs, expected = step(plain.mixture_redraw, *given, 3, False)
    for part in (*ours, *gradients):
        assert part.isfinite().all()
    assert (ours[3] == 0).all()
    if kind not in ("line", "point"):  # there the plain formulation is rounding, magnified
        compare(ours[:3], theirs[:3], 1e-3 if dtype == F32 else 1e-8)
    if dtype == F64 and kind not in ("line", "point"):
        compare(gradients[:2], expected[:2], 1e-7)


def test_gradient_through_the_mean_of_a_point():
    leaves, noise, _ = inputs("point", dtype=F32)
    particles = mixture_redraw(leaves[0], leaves[1], noise, leaves[2], 3, False)[0]
    (gradient,) = torch.autograd.grad(particles[:, 0].sum(), leaves[0])
    torch.testing.assert_close(gradient.sum(0), torch.tensor([36.0, 0.0, 0.0]), rtol=1e-4, atol=1e-3)


def test_what_is_not_asked_for_is_not_differentiated():
    leaves, noise, (adjoint, _, _) = inputs("spread")
    mean, std, log_weights = (leaf.detach() for leaf in leaves)
    out = mixture_redraw(mean.requires_grad_(), std, noise, log_weights, 2, True)
    (gradient,) = torch.autograd.grad(out[2].sum(), mean, retain_graph=True)
    assert not gradient.any()  # detached: the weights do not depend on the means
    torch.autograd.grad(out[0], mean, adjoint)
    for index in range(3):  # any of the results alone
        out = mixture_redraw(*leaves[:2], noise, leaves[2], 2, False)
        reference = plain.mixture_redraw(*leaves[:2], noise, leaves[2], 2, False)
        ours, theirs = (torch.autograd.grad(part[index].square().sum(), leaves) for part in (out, reference))
        compare(ours, theirs, 1e-9)


def test_a_light_component_is_corrected_for_its_particles_and_not_for_its_mass():
    # Corrected for its mass, n = P W < 2, it doubled its covariance from step to step, without end.
    resampler, state = Mixture(2, 1), torch.tensor([0.0, math.log(1e-3)], dtype=F64).log_softmax(-1)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(300, 2, dtype=F64, generator=generator)
    z[1::2] += 20.0
    before = z[1::2].var(0)
    for _ in range(20):
        noise = torch.randn(300, 2, dtype=F64, generator=generator)
        out = resampler(Prediction(z, torch.zeros_like(z)), z, noise, state)
        z, state = out.particles, out.state
    assert (z[1::2].var(0) < 3 * before).all()
    assert (z[1::2].var(0) > before / 3).all()
    assert state[1].exp().item() == pytest.approx(1e-3, rel=0.01)


@pytest.mark.parametrize("rank", [1, 3, 10])
@pytest.mark.parametrize(("count", "dims"), [(60, 4), (300, 45), (3000, 20)])
def test_e_step_factorises_whatever_the_rank_and_the_units(count, dims, rank):
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        plane = torch.randn(1, count, rank, generator=generator) @ torch.randn(
            rank, dims, generator=generator
        )
        samples = em.standardise(10 + plane * 10 ** (3 * torch.randn(dims, generator=generator)))
        share = (3 * torch.randn(1, 3, count, generator=generator)).softmax(-1)
        moments = em.maximise(samples, share)
        joint = em.expect(samples, torch.zeros(1, 3), em.covariances(moments), moments.centred).log_joint
        assert joint.isfinite().all()


@pytest.mark.parametrize("dtype", [F32, F64], ids=str)
@pytest.mark.parametrize("replicates", [(), (2,), (2, 3)], ids=str)
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("shrinkage", [0.0, 6.0])
def test_detached_mixture_is_that_of_the_plain_formulation(shrinkage, components, replicates, dtype):
    resampler = DetachedMixture(components, shrinkage=shrinkage)
    leaves, noise, (adjoint, label_noise, _) = inputs(
        "far", replicates, 60 // components, components, 3, dtype
    )
    noise = torch.cat([noise, label_noise.unsqueeze(-1) / label_noise.shape[-1]], -1)
    ours, theirs, state, labels = leaves[0], leaves[0], None, None
    for _ in range(2):
        out = resampler(Prediction(ours, ours), ours, noise, state)
        ours, state = 1.5 * out.particles, out.state
        theirs, labels = plain.detached_redraw(theirs, noise, labels, components, 2, shrinkage)
        theirs = 1.5 * theirs
    assert torch.equal(state, labels)
    error = 1e-10 if dtype == F64 else 2e-3
    compare([ours], [theirs], error)
    a, b = (torch.autograd.grad(z, leaves[0], adjoint)[0] for z in (ours, theirs))
    compare([a], [b], error)


@pytest.mark.parametrize("replicates", [(), (2, 3)], ids=str)
@pytest.mark.parametrize("components", [1, 2, 5])
def test_clusters_are_those_of_the_plain_formulation(components, replicates):
    (x, _, _), _, _ = inputs("spread", replicates, 60 // components, components, 3)
    resampler, previous, state = Tangent(components), None, None
    for factor in (1.0, 0.8):
        state = resampler(Prediction(x, x), factor * x.detach().sin(), x, state).state
        previous = plain.soft_clusters(factor * x.detach().sin(), previous, components, 2, 6.0)
        torch.testing.assert_close(state, previous, rtol=1e-9, atol=1e-9)
