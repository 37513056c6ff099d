"""What the score of the labels must be: nothing in value, and in the derivative how their chances change."""

import math

import pytest
import torch

from mbrl_agent.gaussians import em
from mbrl_agent.gaussians.labelled_redraw import pull_back_scores
from mbrl_agent.resampling import RESAMPLERS, DetachedMixture, Gaussian
from mbrl_agent.resampling.scored_mixture import ScoredMixture
from mbrl_agent.search.estimators import ESTIMATORS
from mbrl_agent.types import Prediction
from tests.search.test_adjoint import adjoint, assert_same, assert_slopes, cost_without_slope, make, reference

P, D = 60, 2
F64 = torch.float64


def normal(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def draw(resampler, particles, noise, state=None):
    return resampler(Prediction(particles, torch.ones_like(particles)), particles, noise, state)


def scores(strategy, labelled, particles):
    """log r of every particle and component, written out, and of its label."""
    mean = labelled.share @ particles
    centred = particles.unsqueeze(-3) - mean.unsqueeze(-2)
    scatter = (labelled.share.unsqueeze(-1) * centred).mT @ centred
    covariance = em.mixed(labelled.matrix, scatter.flatten(0, 1)).view_as(scatter)
    density = torch.distributions.MultivariateNormal(mean.unsqueeze(-2), covariance.unsqueeze(-3))
    joint = density.log_prob(particles.unsqueeze(-3)) + labelled.log_mass.unsqueeze(-1)
    log_responsibilities = joint.log_softmax(-2)
    return log_responsibilities, (log_responsibilities * labelled.is_label).sum(-2)


@pytest.mark.parametrize("dtype", [torch.float32, F64], ids=str)
@pytest.mark.parametrize("components", [1, 3])
def test_values_are_those_of_the_detached_mixture_bitwise(components, dtype):
    z, y, states = normal(2, P, D, dtype=dtype), normal(2, P, D, dtype=dtype), [None, None]
    for step in range(3):
        noise = normal(2, P, D + 1, seed=step, dtype=dtype)
        ours = draw(ScoredMixture(components), 1.5 * z.sin(), noise, states[0])
        theirs = draw(DetachedMixture(components), 1.5 * y.sin(), noise, states[1])
        assert torch.equal(ours.particles, theirs.particles)
        assert torch.equal(ours.weights, theirs.weights)
        assert torch.equal(ours.state[:, :-1], theirs.state)
        assert not ours.state[:, -1].any()
        z, y, states = ours.particles, theirs.particles, [ours.state, theirs.state]


def test_one_component_is_gaussian_with_a_score_of_zero():
    particles, noise = (5 + normal(2, P, D)).requires_grad_(), normal(2, P, D + 1, seed=1)
    ours = draw(ScoredMixture(1), particles, noise)
    (by_weights,) = torch.autograd.grad(
        (ours.weights * normal(2, P, seed=2)).sum(), particles, retain_graph=True, materialize_grads=True
    )
    assert not by_weights.any()
    theirs = draw(Gaussian(), particles, noise[..., :D]).particles
    a, b = (torch.autograd.grad(z.sin().sum(), particles)[0] for z in (ours.particles, theirs))
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_particles_have_the_derivative_of_the_detached_mixture():
    particles, noise = normal(2, P, D).requires_grad_(), normal(2, P, D + 1, seed=1)
    both = (draw(strategy(3), particles, noise).particles for strategy in (ScoredMixture, DetachedMixture))
    ours, theirs = (torch.autograd.grad(z.sin().sum(), particles)[0] for z in both)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("components", [2, 3])
def test_weights_and_what_is_carried_have_the_derivative_of_the_formula(components):
    strategy, by = ScoredMixture(components), normal(2, P, seed=3)
    particles, noise = normal(2, P, D).requires_grad_(), normal(2, P, D + 1, seed=1)
    out = draw(strategy, particles, noise)
    _, score = scores(strategy, strategy.label(particles, noise, None), particles)
    ours = torch.autograd.grad((out.weights * by).sum(), particles, retain_graph=True)[0]
    assert ours.abs().max() > 1e-3
    log_weight = score - score.detach()
    theirs = torch.autograd.grad((log_weight.softmax(-1) * by).sum(), particles, retain_graph=True)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    carried = torch.autograd.grad((out.state[:, -1] * by).sum(), particles)[0]
    theirs = torch.autograd.grad((log_weight * by).sum(), particles)[0]
    torch.testing.assert_close(carried, theirs, rtol=1e-6, atol=1e-9)


def test_scores_add_up_over_the_steps():
    strategy, by = ScoredMixture(2), normal(2, P, seed=3)
    first, second = normal(2, P, D).requires_grad_(), normal(2, P, D, seed=5).requires_grad_()
    noise = normal(2, P, D + 1, seed=1)
    state = draw(strategy, first, noise).state
    weights = draw(strategy, second, noise, state).weights
    found = torch.autograd.grad((weights * by).sum(), (first, second))
    alone = draw(strategy, first, noise).weights
    torch.testing.assert_close(found[0], torch.autograd.grad((alone * by).sum(), first)[0])
    assert found[1].abs().max() > 1e-3


def test_the_mean_of_the_scores_is_the_derivative_of_the_chances():
    """Over many draws of the labels, the weights' gradient is that of the mean cost of the labels."""
    repeats, count, strategy = 20_000, 12, ScoredMixture(2)
    particles = normal(count, 1).requires_grad_()
    costs = torch.tensor([1.0, 3.0], dtype=F64)
    noise = normal(repeats, count, 2, seed=1)
    labelled = strategy.label(particles.expand(repeats, count, 1), noise, None)
    cost_of = (costs.view(1, 2, 1) * labelled.is_label).sum(-2)
    by_scores = (cost_of - cost_of.mean(-1, keepdim=True)) / count
    drawn = pull_back_scores(labelled, by_scores)
    one = strategy.label(particles.unsqueeze(0), noise[:1], None)
    log_responsibilities, _ = scores(strategy, one, particles.unsqueeze(0))
    expected = (log_responsibilities.exp() * costs.view(1, 2, 1)).sum(-2).mean()
    exact = torch.autograd.grad(expected, particles)[0] * (1 - 1 / count)  # a particle is in its own baseline
    # the labels are drawn by the last E step, the score is of one after it: nearly the same chances
    error = drawn.mean(0) - exact
    tolerance = 5 * drawn.std(0) / math.sqrt(repeats) + 0.03 * exact.abs().max()
    assert exact.abs().max() > 0.01
    assert (error.abs() < tolerance).all()


def test_a_cloud_that_moves_as_a_whole_moves_no_mass():
    strategy, noise = ScoredMixture(3), normal(2, P, D + 1, seed=1)
    labelled = strategy.label(normal(2, P, D), noise, None)
    by = pull_back_scores(labelled, normal(2, P, seed=3))
    assert by.abs().max() > 0.1
    assert by.sum(-2).abs().max() < 1e-9 * by.abs().sum(-2).max()


def test_ended_particles_and_labels_are_carried_along():
    state = draw(ScoredMixture(2), normal(2, P, D), normal(2, P, D + 1, seed=1)).state
    state[:, -1] = torch.arange(P, dtype=F64)
    index = torch.arange(P).flip(0).expand(2, -1)
    assert torch.equal(ScoredMixture(2).carry(state, index), state.flip(-1))


@pytest.mark.parametrize("steps", [1, 100])
def test_the_score_reaches_the_expected_cost_in_the_sweep_as_in_autograd(steps):
    simulation, parameters = make(ScoredMixture(2), cost=cost_without_slope, horizon=5)
    rows = steps * simulation.initial_particles[..., 0].numel()
    found = adjoint(parameters, simulation, recorded_rows=rows)
    assert_slopes(found[1])  # through the weights alone
    assert_same(found, reference(parameters, simulation), 1e-10)


def test_the_pathwise_gradient_sees_the_weights():
    simulation, parameters = make(ScoredMixture(2), cost=cost_without_slope)
    assert_slopes(ESTIMATORS.resolve("reparameterization")(parameters, simulation).gradient)


@pytest.mark.parametrize("name", ["gaussian-shaping", "likelihood-ratio", "total-propagation"])
def test_estimators_that_cannot_see_the_weights_say_what_works(name):
    estimator = ESTIMATORS.resolve(name)
    with pytest.raises(ValueError, match=r"'scored-mixture'.*use resampling 'none', or estimator 'reparam"):
        estimator.validate(ScoredMixture())


def test_it_is_registered():
    assert RESAMPLERS.resolve("scored-mixture:2") == ScoredMixture(components=2)
