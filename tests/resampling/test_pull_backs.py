"""What a strategy says of its derivative is what autograd says of its function."""

import pytest
import torch

from mbrl_agent.contract.resampling import check_written_derivative
from mbrl_agent.gaussians.moments import gaussian_redraw, gaussian_redraw_vjp
from mbrl_agent.resampling import Interpolated, LiuWest, Resampler
from mbrl_agent.types import Prediction

P, D = 24, 3
BOTH = ("particles", "predictions")
VARIANTS: list[Resampler] = [  # those of the contract's tests and further ones
    *(cls(ratio=r, moments=m) for cls in (Interpolated, LiuWest) for r in (0.0, 0.3, 1.0) for m in BOTH),
]
every = pytest.mark.parametrize("resampler", VARIANTS, ids=repr)
every_shape = pytest.mark.parametrize("replicates", [(), (2,), (2, 3)])
every_redraw = pytest.mark.parametrize("moments", BOTH)


def inputs(*shape, columns=D, seed=0):
    """A prediction, particles of their own (so that what depends on which shows), noise."""
    g = torch.Generator().manual_seed(seed)
    mean, x = (torch.randn(*shape, D, dtype=torch.float64, generator=g) for _ in range(2))
    std = 0.1 + torch.rand(*shape, D, dtype=torch.float64, generator=g)
    return Prediction(mean, std), x, torch.randn(*shape, columns, dtype=torch.float64, generator=g)


def like(value, seed):
    return torch.randn(value.shape, dtype=value.dtype, generator=torch.Generator().manual_seed(seed))


def assert_equal_or_zero(found, expected):
    """None stands for zero."""
    for ours, theirs in zip(found, expected, strict=True):
        if ours is None or theirs is None:
            assert all(value is None or not value.any() for value in (ours, theirs))
        else:
            torch.testing.assert_close(ours.expand_as(theirs), theirs, rtol=1e-10, atol=1e-12)


@every
def test_the_derivative_is_autograds(resampler):
    check_written_derivative(resampler)


@every_redraw
@every_shape
def test_the_redraws_derivative_is_autograds(moments, replicates):
    prediction, x, noise = inputs(*replicates, P)
    leaves = [value.clone().requires_grad_() for value in (prediction.mean, prediction.std, x)]
    expected, jitter = gaussian_redraw(moments, Prediction(*leaves[:2]), leaves[2], noise)
    draw, own_jitter, pull_back = gaussian_redraw_vjp(moments, prediction, x, noise)
    assert torch.equal(draw, expected)
    assert torch.equal(jitter, own_jitter)
    by_draw = like(draw, 1)
    reference = torch.autograd.grad(expected, leaves, by_draw, allow_unused=True)
    assert_equal_or_zero(pull_back(by_draw), reference)
    assert [value is None for value in pull_back(by_draw)] == [value is None for value in reference]


@every_redraw
def test_the_redraws_derivative_is_that_of_finite_differences(moments):
    prediction, x, noise = inputs(6)

    class Redraw(torch.autograd.Function):
        @staticmethod
        def forward(ctx, mean, std, x):
            draw, _, ctx.pull_back = gaussian_redraw_vjp(moments, Prediction(mean, std), x, noise)
            return draw

        @staticmethod
        def backward(ctx, by_draw):
            return ctx.pull_back(by_draw)

    leaves = [value.clone().requires_grad_() for value in (prediction.mean, prediction.std, x)]
    assert torch.autograd.gradcheck(Redraw.apply, leaves)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@every_redraw
def test_a_cloud_that_is_a_point_but_for_rounding(dtype, moments):
    """All points alike, yet not their mean: the rounding must not be blown up to a spread."""
    x = torch.full((7, D), 0.1, dtype=dtype) * torch.tensor([1.0, 3.0, 0.7], dtype=dtype)
    noise = torch.randn(7, D, dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert bool((x != x.mean(0)).any())
    draw, _, pull_back = gaussian_redraw_vjp(moments, Prediction(x, torch.zeros_like(x)), x, noise)
    by_draw = like(draw, 1)
    by_points = next(by for by in pull_back(by_draw)[::-2] if by is not None)
    # moving all points alike moves all draws alike
    torch.testing.assert_close(by_points.sum(0), by_draw.sum(0), rtol=1e-3, atol=1e-3)
