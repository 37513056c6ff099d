"""What Algorithm 1 says about mixture resampling."""

import pytest
import torch

from mbrl_agent.resampling import Gaussian, Mixture
from mbrl_agent.types import Prediction
from tests.support.package_em import weighted_em
from tests.support.plain_mixture import MixtureFit, log_joint, variance_floor

P, D = 60, 2


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def two_modes(share=0.5, dtype=torch.float64, std=0.1):
    """A prediction with a share of the particles around (5, 0), the others around (-5, 0).

    Even particles are on the right; of the odd ones, as many of the first as make up the share.
    """
    mean = 0.3 * normal(P, D)
    index = torch.arange(P)
    mean[:, 0] += torch.where((index % 2 == 0) | (index < (2 * share - 1) * P), 5.0, -5.0)
    return Prediction(mean.to(dtype), torch.full((P, D), std, dtype=dtype))


def one_cloud(*replicates):
    return Prediction(normal(*replicates, P, D), 0.1 + normal(*replicates, P, D, seed=1).abs())


def draw(resampler, prediction, noise, state=None):
    return resampler(prediction, prediction.mean, noise, state)


@pytest.mark.parametrize("em_iterations", [1, 2, 6])
@pytest.mark.parametrize("cost_weights", ["component", "uniform"])
def test_one_component_is_gaussian_resampling_of_the_predictions(em_iterations, cost_weights):
    prediction, noise = one_cloud(2), normal(2, P, D, seed=2)
    leaves = prediction.mean.requires_grad_(), prediction.std.requires_grad_()
    mixture = draw(Mixture(1, em_iterations, cost_weights), prediction, noise)
    gaussian = draw(Gaussian("predictions"), prediction, noise)
    torch.testing.assert_close(mixture.particles, gaussian.particles, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixture.weights, gaussian.weights, rtol=1e-12, atol=0)
    ours, theirs = (torch.autograd.grad(out.particles.sin().sum(), leaves) for out in (mixture, gaussian))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("components", [2, 3])
def test_component_of_a_particle_is_its_index_modulo_k(components):
    resampler, prediction, noise = Mixture(components), one_cloud(), normal(P, D, seed=2)
    before = draw(resampler, prediction, noise).particles
    for k in range(components):
        own = torch.arange(P) % components == k
        changed = noise.clone()
        changed[own] = 0.0  # without noise, a particle is its component's mean
        after = draw(resampler, prediction, changed).particles
        assert torch.equal(after[~own], before[~own])
        torch.testing.assert_close(after[own], after[own][:1].expand_as(after[own]))
    centres = draw(resampler, prediction, torch.zeros_like(noise)).particles
    assert len(centres.unique(dim=0)) == components


def test_every_component_starts_from_its_own_particles():
    # Even particles are on the right, odd ones on the left: a strided start has one component on each.
    prediction = two_modes()
    centres = draw(Mixture(2, 1), prediction, torch.zeros(P, D, dtype=torch.float64)).particles
    torch.testing.assert_close(centres[0], prediction.mean[::2].mean(0), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(centres[1], prediction.mean[1::2].mean(0), rtol=1e-6, atol=1e-6)


def test_step_equals_algorithm_one_written_out():
    components, iterations = 3, 4
    prediction, noise = one_cloud(), normal(P, D, seed=2)
    previous = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    variances = prediction.std**2
    own = [prediction.mean[k::components] for k in range(components)]
    log_sample_weights = previous[torch.arange(P) % components].log()
    init = MixtureFit(
        previous.log(),
        torch.stack([m.mean(0) for m in own]),
        torch.stack([torch.cov(m.T) for m in own]),
        torch.stack([variances[k::components].mean(0) for k in range(components)]),
    )
    before, fit = (
        weighted_em(prediction.mean, variances, log_sample_weights, init, n)
        for n in (iterations - 1, iterations)
    )
    joint = log_joint(before, prediction.mean, variance_floor(prediction.mean, variances))
    share = (joint.log_softmax(-2) + log_sample_weights).softmax(-1)
    count = 1 / share.square().sum(-1)
    expected = torch.empty(P, D, dtype=torch.float64)
    for i in range(P):
        k = i % components
        covariance = count[k] / (count[k] - 1) * fit.scatter[k] + torch.diag(fit.variance[k])
        expected[i] = fit.mean[k] + torch.linalg.cholesky(covariance) @ noise[i]
    out = draw(Mixture(components, iterations), prediction, noise, previous.log())
    torch.testing.assert_close(out.particles, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(out.state, fit.log_weights)
    torch.testing.assert_close(out.weights, fit.log_weights.exp().repeat(P // components) * components / P)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_two_components_keep_two_modes_where_one_gaussian_does_not(dtype):
    prediction, noise = two_modes(dtype=dtype), normal(P, D, seed=2).to(dtype)
    generous = Mixture(components=2, em_iterations=25)
    apart = draw(generous, prediction, noise).particles[:, 0]
    assert ((apart.abs() - 5).abs() < 2).all()
    assert (apart > 0).sum() == (apart < 0).sum() == P // 2
    merged = draw(Gaussian("predictions"), prediction, noise).particles[:, 0]
    assert (merged.abs() < 3).sum() > P // 5


def test_component_weights_carry_the_mass_of_unequal_modes():
    share = 0.75
    prediction, noise = two_modes(share), normal(P, D, seed=2)
    weighted = draw(Mixture(2, 25), prediction, noise)
    printed = draw(Mixture(2, 25, "uniform"), prediction, noise)
    assert torch.equal(weighted.particles, printed.particles)
    right = weighted.particles[:, 0] > 0
    assert right.sum() == P // 2  # each component always gets its share of the particles
    assert weighted.weights[right].sum().item() == pytest.approx(share, abs=1e-6)
    assert printed.weights[right].sum().item() == pytest.approx(0.5)
    assert weighted.state.exp().max().item() == pytest.approx(share, abs=1e-6)


def test_the_mass_is_remembered_from_step_to_step():
    # The particles after one step come half and half from both modes; their weights must not be forgotten.
    resampler, noise = Mixture(2, 25), normal(P, D, seed=2)
    out = draw(resampler, two_modes(0.75), noise)
    for seed in (3, 4):
        out = draw(
            resampler,
            Prediction(out.particles, torch.full_like(out.particles, 0.1)),
            normal(P, D, seed=seed),
            out.state,
        )
    assert out.weights[out.particles[:, 0] > 0].sum().item() == pytest.approx(0.75, abs=1e-6)
    forgotten = draw(resampler, Prediction(out.particles, torch.full_like(out.particles, 0.1)), noise, None)
    assert forgotten.weights[forgotten.particles[:, 0] > 0].sum().item() == pytest.approx(0.5, abs=1e-6)


def test_predicted_variance_is_added_to_the_covariance():
    prediction, identity = two_modes(std=2.0), torch.zeros(P, D, dtype=torch.float64)
    identity[0], identity[2] = torch.eye(2)  # particles 0 and 2, of component 0, show the columns of L
    drawn = draw(Mixture(2, 25), prediction, identity).particles
    factor = (drawn[[0, 2]] - drawn[4]).T
    expected = torch.cov(prediction.mean[::2].T) + 4.0 * torch.eye(2)
    torch.testing.assert_close(factor @ factor.T, expected, rtol=0.01, atol=0.01)


def test_detached_responsibilities_leave_the_values_alone():
    prediction, noise = one_cloud(), normal(P, D, seed=2)
    prediction.mean.requires_grad_()
    flowing, held = (draw(Mixture(3, 3, detach_responsibilities=d), prediction, noise) for d in (False, True))
    assert torch.equal(flowing.particles, held.particles)
    assert torch.equal(flowing.weights, held.weights)
    (by_weights,) = torch.autograd.grad(held.weights.square().sum(), prediction.mean, retain_graph=True)
    assert not by_weights.any()
    a, b = (torch.autograd.grad(out.particles.sum(), prediction.mean)[0] for out in (flowing, held))
    assert not torch.allclose(a, b, atol=1e-3)


def test_the_explosion_is_the_gradient_of_the_responsibilities():
    # In miniature what many steps of the paper's setting show; the values are the same in both cases.
    norms = {}
    for detach in (False, True):
        resampler = Mixture(5, 5, detach_responsibilities=detach)
        start = normal(P, D).requires_grad_()
        particles, state = start, None
        for step in range(15):
            mean = 1.5 * torch.sin(2 * particles)
            out = resampler(
                Prediction(mean, torch.full_like(mean, 0.05)), mean, normal(P, D, seed=step), state
            )
            particles, state = out.particles, out.state
        (gradient,) = torch.autograd.grad((out.weights * particles.cos().sum(-1)).sum(), start)
        norms[detach] = gradient.norm().item()
    assert norms[False] > 100 * norms[True]


def test_validate_explains_what_to_change():
    Mixture(3).validate(300, 4)
    with pytest.raises(ValueError, match=r"300 particles cannot be split among 7 components; use 294 or 301"):
        Mixture(7).validate(300, 4)
    with pytest.raises(
        ValueError, match=r"3 components needs at least 18 particles.*6 a component.*got 15.*lower comp"
    ):
        Mixture(3).validate(15, 4)


@pytest.mark.parametrize("option", ["components", "em_iterations"])
def test_counts_are_checked(option):
    for value in (0, -1):
        with pytest.raises(
            ValueError, match=f"{option} of resampling 'mixture' must be at least 1, got {value}"
        ):
            Mixture(**{option: value})
    for value in (True, 2.0, "2", None):
        with pytest.raises(TypeError, match=f"{option} of resampling 'mixture' must be a whole number"):
            Mixture(**{option: value})


def test_the_other_options_are_checked():
    with pytest.raises(ValueError, match=r"cost_weights .* one of component, uniform, got 'equal'"):
        Mixture(cost_weights="equal")
    with pytest.raises(TypeError, match=r"cost_weights .* must be a string"):
        Mixture(cost_weights=1)
    with pytest.raises(TypeError, match=r"detach_responsibilities .* True or False, got 'yes'"):
        Mixture(detach_responsibilities="yes")
