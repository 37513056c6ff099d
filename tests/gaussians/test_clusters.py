"""Clustering of a particle cloud: where it starts, what it converges to, and its shrunk covariances."""

import pytest
import torch

from mbrl_agent.gaussians.clusters import label_shares
from tests.support.package_em import shrunk_covariance, soft_clusters
from tests.support.plain_mixture import fit_components

F64 = torch.float64


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def shuffled(count, seed=0):
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def hard(labels, components):
    """log r_ik of known labels (*R, P)."""
    return label_shares(labels.unsqueeze(-2) == torch.arange(components).unsqueeze(-1), F64)


def modes(direction, sides, spread=0.1, seed=0):
    """Particles around `sides` along a direction, spread by 1 across it."""
    noise = normal(len(sides), len(direction), seed=seed)
    direction = torch.tensor(direction, dtype=F64)
    direction = direction / direction.norm()
    along = (noise @ direction).unsqueeze(-1) * direction
    return noise - (1 - spread) * along + sides.unsqueeze(-1) * direction


DIRECTIONS = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [1, 1, 0, 0], [1, -1, 1, -1]]


@pytest.mark.parametrize("direction", DIRECTIONS, ids=str)
@pytest.mark.parametrize("share", [0.5, 0.2])
@pytest.mark.parametrize("components", [2, 3, 5])
def test_first_step_tells_two_modes_apart_in_any_dimension_and_order(direction, share, components):
    sides = torch.where(torch.arange(300) < 300 * share, 1.0, -1.0).to(F64)[shuffled(300)]
    shares = soft_clusters(modes(direction, sides), None, components, 2).exp()
    torch.testing.assert_close(shares.sum(-2), torch.ones(300, dtype=F64))
    by_side = torch.stack([shares[:, sides > 0].sum(-1), shares[:, sides < 0].sum(-1)])  # (2, K)
    assert (by_side.amin(0) < 6.0).all()  # no component has more than strays of both sides
    assert (by_side.amax(1) > 50 * min(share, 0.4)).all()


def test_first_step_tells_three_modes_apart():
    sides = torch.tensor([-5.0, 0.0, 5.0], dtype=F64).repeat(100)[shuffled(300)]
    shares = soft_clusters(modes([0, 1, 0, 0], sides), None, 3, 2).exp()
    assert len({int(shares[:, sides == side].sum(-1).argmax()) for side in (-5, 0, 5)}) == 3
    assert (shares.amax(0) > 0.99).all()


def test_later_steps_go_on_from_the_previous_clusters():
    sides = torch.where(torch.arange(60) % 2 == 0, 1.0, -1.0).to(F64)
    particles = modes([1, 0], 5 * sides)
    right_is_two = hard((sides > 0).long() * 2, 3)
    shares = soft_clusters(particles, right_is_two, 3, 1)
    assert (shares.argmax(-2) == (sides > 0).long() * 2).all()
    twice = soft_clusters(particles, soft_clusters(particles, right_is_two, 3, 1), 3, 2)
    torch.testing.assert_close(twice, soft_clusters(particles, right_is_two, 3, 3))
    assert not torch.allclose(twice, shares)


@pytest.mark.parametrize("shrinkage", [0.0, 6.0])
@pytest.mark.parametrize("log_share", [0.0, -1e9])
def test_an_empty_component_stays_defined(shrinkage, log_share):
    particles = normal(60, 2)
    all_in_one = torch.stack([torch.zeros(60, dtype=F64), log_share - 14 + normal(60)])
    for iterations in (1, 2, 30):
        assert soft_clusters(particles, all_in_one, 2, iterations, shrinkage).isfinite().all()
    covariances = shrunk_covariance(fit_components(all_in_one, particles), 60, shrinkage)
    assert covariances.isfinite().all()


def test_the_order_of_the_particles_does_not_matter():
    particles, order = normal(50, 3), shuffled(50)
    first = soft_clusters(particles, None, 3, 2)
    torch.testing.assert_close(soft_clusters(particles[order], None, 3, 2), first[:, order])
    again = soft_clusters(2 * particles, first, 3, 2)
    torch.testing.assert_close(soft_clusters(2 * particles[order], first[:, order], 3, 2), again[:, order])


def test_where_the_cloud_lies_does_not_matter():
    particles = normal(50, 3)
    first = soft_clusters(particles, None, 3, 2)
    torch.testing.assert_close(soft_clusters(particles + 100.0, None, 3, 2), first, rtol=1e-6, atol=1e-6)


def test_no_gradient_and_one_component():
    particles = normal(20, 2).requires_grad_()
    assert not soft_clusters(particles, None, 3, 2).requires_grad
    assert torch.equal(soft_clusters(particles, None, 1, 2), torch.zeros(1, 20, dtype=F64))


def test_shrunk_covariance_equals_the_formula():
    particles, log_shares, nu = normal(40, 2), normal(3, 40, seed=1).log_softmax(-2), 6.0
    shares = log_shares.exp()
    counts = shares.sum(-1)
    scatters = []
    for k in range(3):
        centred = particles - (shares[k, :, None] * particles).sum(0) / counts[k]
        scatters.append((shares[k, :, None] * centred).T @ centred)
    pooled = sum(scatters) / 40
    ours = shrunk_covariance(fit_components(log_shares, particles), 40, nu)
    for k in range(3):
        expected = 40 / 39 * (scatters[k] + nu * pooled) / (counts[k] + nu)
        torch.testing.assert_close(ours[k], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shrinkage", [0.0, 6.0, 1e9])
def test_shrinkage_moves_spread_between_components_of_equal_mass_but_keeps_the_total(shrinkage):
    labels = torch.arange(40) % 4
    particles = (1 + labels.unsqueeze(-1)) * normal(40, 2)
    fit = fit_components(hard(labels, 4) * 1e3, particles)
    covariances = shrunk_covariance(fit, 40, shrinkage)
    between = torch.cov(fit.mean.T, correction=0)
    torch.testing.assert_close(covariances.mean(0) + 40 / 39 * between, torch.cov(particles.T))
    ratio = covariances[3].trace() / covariances[0].trace()
    assert (ratio > 8) == (shrinkage == 0)
    assert (ratio < 1.01) == (shrinkage > 1e6)


def test_distance_between_components_does_not_enter():
    labels = torch.arange(40) % 2
    near = normal(40, 2)
    far = near + 1000.0 * labels.unsqueeze(-1)
    a, b = (shrunk_covariance(fit_components(hard(labels, 2) * 1e3, x), 40, 6.0) for x in (near, far))
    torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("shrinkage", [0.0, 1.0, 6.0])
def test_one_component_has_the_sample_covariance_whatever_the_shrinkage(shrinkage):
    particles = normal(25, 3)
    fit = fit_components(torch.zeros(1, 25, dtype=F64), particles)
    torch.testing.assert_close(shrunk_covariance(fit, 25, shrinkage)[0], torch.cov(particles.T))


def test_few_particles_do_not_make_a_needle():
    # Three particles on a line span no area of their own; the pooled covariance gives it to them.
    particles = torch.cat([normal(57, 2), torch.tensor([[50.0, 0], [51, 0], [52, 0]], dtype=F64)])
    fit = fit_components(hard((torch.arange(60) >= 57).long(), 2) * 1e3, particles)
    needle, shrunk = (shrunk_covariance(fit, 60, nu)[1, 1, 1].item() for nu in (0.0, 6.0))
    assert needle < 1e-12
    assert shrunk > 0.5
