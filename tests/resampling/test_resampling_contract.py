"""Every strategy, with other options too, keeps the contract; and what the package asks beyond it."""

import ast
import inspect

import pytest
import torch

from mbrl_agent.contract.resampling import RULES, make_inputs, two_steps
from mbrl_agent.contract.rules import check_all
from mbrl_agent.resampling import (
    RESAMPLERS,
    DetachedMixture,
    Gaussian,
    Interpolated,
    LiuWest,
    Mixture,
    Resampler,
    Tangent,
)
from mbrl_agent.resampling.ot_interpolated import OtInterpolated
from mbrl_agent.resampling.scored_mixture import ScoredMixture
from mbrl_agent.types import Prediction

VARIANTS: list[Resampler] = [
    *(cls() for cls in RESAMPLERS.classes.values()),
    Gaussian(moments="predictions"),
    Interpolated(ratio=0.9, moments="predictions"),
    Mixture(components=2, em_iterations=1, cost_weights="uniform"),
    Mixture(components=6, em_iterations=2),
    Mixture(components=2, detach_responsibilities=True),
    LiuWest(ratio=0.9, moments="predictions"),
    DetachedMixture(components=1),
    DetachedMixture(components=6, em_iterations=1, shrinkage=0.0),
    Tangent(components=1),
    OtInterpolated(ratio=0.0),
    OtInterpolated(ratio=0.9, moments="predictions"),
    OtInterpolated(straight_through=True),
    ScoredMixture(components=1),
    ScoredMixture(components=6, em_iterations=1, shrinkage=0.0),
]
every = pytest.mark.parametrize("resampler", VARIANTS, ids=repr)
every_class = pytest.mark.parametrize("cls", RESAMPLERS.classes.values(), ids=list(RESAMPLERS.classes))
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@every
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_contract(resampler, rule):
    check_all([rule], resampler, repr(resampler))


# beyond the contract ---------------------------------------------------------------------------------------


@every
def test_noise_has_an_effect_only_where_it_is_used(resampler):
    mean, std, particles, noise = make_inputs(resampler)
    moved = resampler(Prediction(mean, std), particles, noise + 0.5, None).particles
    same = torch.equal(moved, resampler(Prediction(mean, std), particles, noise, None).particles)
    assert same == (not resampler.mixes_particles)


@every
def test_what_is_held_constant_shows_in_finite_differences(resampler):
    if resampler.exact_gradient:
        pytest.skip("the contract has looked")
    *values, noise = make_inputs(resampler, particles=12 if resampler.min_particles(2) <= 12 else 24)
    leaves = [value.clone().requires_grad_() for value in values]

    def outputs(mean, std, x):
        first, second = two_steps(resampler, mean, std, x, noise)
        return first.particles, first.weights, second.particles, second.weights

    assert not torch.autograd.gradcheck(outputs, leaves, raise_exception=False, check_undefined_grad=False)


@every
@both_dtypes
def test_units_do_not_matter(resampler, dtype):
    mean, std, particles, noise = make_inputs(resampler, particles=30, dims=3, dtype=dtype)
    units = torch.tensor([2.0**20, 2.0**-20, 2.0**4], dtype=dtype)  # powers of two scale without rounding
    plain = resampler(Prediction(mean, std), particles, noise, None)
    scaled = resampler(Prediction(units * mean, units * std), units * particles, noise, None)
    torch.testing.assert_close(scaled.particles / units, plain.particles, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scaled.weights, plain.weights, rtol=1e-5, atol=1e-6)


@every
def test_the_message_for_too_few_particles(resampler):
    fewest = resampler.min_particles(4)
    message = rf"{resampler.name}.*at least {fewest} particles.*got {fewest - 1}: raise"
    with pytest.raises(ValueError, match=message):
        resampler.validate(fewest - 1, 4)


@every_class
def test_is_saved_by_its_name(cls):
    assert cls().noise_dims(4) >= 4
    assert RESAMPLERS.to_dict(cls())["name"] == cls.name


@every_class
def test_every_option_is_documented_where_it_is_declared(cls):
    body = ast.parse(inspect.getsource(cls)).body[0].body
    for statement, following in zip(body, [*body[1:], None], strict=True):
        option = isinstance(statement, ast.AnnAssign) and "ClassVar" not in ast.unparse(statement.annotation)
        if option:
            assert isinstance(following, ast.Expr), ast.unparse(statement)
            assert isinstance(following.value.value, str)
            assert "\n" not in following.value.value


def test_the_four_strategies_of_the_paper_are_registered():
    assert set(RESAMPLERS.names()) >= {"none", "gaussian", "interpolated", "mixture"}
