"""Strategies as they work in a task: angles on one turn, particles of one function among themselves."""

import math
from dataclasses import fields

import pytest
import torch

from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.dynamics.ensemble import Ensemble
from mbrl_agent.gaussians.turns import whole_turns
from mbrl_agent.resampling import RESAMPLERS, ExactGaussian, FunctionGaussian, Gaussian, NoResampling, Tangent
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.resampling.kernel_tangent import KernelTangent, doubly_stochastic
from mbrl_agent.resampling.own_residual import OwnResidual
from mbrl_agent.types import Prediction

P, D, ANGLE = 60, 3, 1
WRAPPING = [cls for cls in RESAMPLERS.classes.values() if "wrap" in {field.name for field in fields(cls)}]
TURN = 2 * math.pi


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def cloud(resampler, *replicates):
    """Particles around an angle of 3, a prediction that they are samples of, and noise."""
    mean = 0.3 * normal(*replicates, P, D) + torch.tensor([0.5, 3.0, -1.0])
    std = 0.1 + 0.05 * normal(*replicates, P, D, seed=1).abs()
    particles = mean + std * normal(*replicates, P, D, seed=2)
    return Prediction(mean, std), particles, normal(*replicates, P, resampler.noise_dims(D), seed=3)


def turned(prediction, particles):
    """The same with each particle on some other turn, and the turns."""
    turns = torch.zeros_like(particles)
    turns[..., ANGLE] = TURN * torch.randint(-2, 3, particles.shape[:-1], generator=generator(9)).double()
    return Prediction(prediction.mean + turns, prediction.std), particles + turns, turns


def test_the_strategies_that_fit_gaussians_can_wrap():
    fitting = {"gaussian", "exact-gaussian", "interpolated", "liu-west", "mixture", "tangent"}
    assert fitting <= {cls.name for cls in WRAPPING}


def test_turns_are_whole_and_counted_from_the_circular_mean():
    angles = torch.tensor([[3.0], [3.3], [-3.1], [3.0 + 3 * TURN]], dtype=torch.float64)
    assert (whole_turns(angles, (0,)) / TURN).flatten().tolist() == pytest.approx([0, 0, -1, 3])
    assert not whole_turns(torch.randn(5, 2), ()).any()


@pytest.mark.parametrize("cls", WRAPPING, ids=lambda cls: cls.name)
@pytest.mark.parametrize("replicates", [(), (2,)])
def test_particles_on_several_turns_are_resampled_as_on_one_and_keep_their_turns(cls, replicates):
    strategy = cls(wrap=True).for_task((ANGLE,))
    prediction, particles, noise = cloud(strategy, *replicates)
    expected = cls()(prediction, particles, noise, None)
    other, moved, turns = turned(prediction, particles)
    found, pull_back = strategy.vjp(other, moved, noise, None)
    called = strategy(other, moved, noise, None)
    torch.testing.assert_close(found.particles, expected.particles + turns)
    torch.testing.assert_close(called.particles, expected.particles + turns)
    torch.testing.assert_close(found.weights, expected.weights)
    by = normal(*replicates, P, D, seed=5)
    weights = torch.zeros_like(found.weights)
    ours = pull_back(by, weights, None if found.state is None else torch.zeros_like(found.state))
    plain = cls().vjp(prediction, particles, noise, None)[1]
    theirs = plain(by, weights, None if found.state is None else torch.zeros_like(found.state))
    for one, another in zip(ours[:3], theirs[:3], strict=True):
        assert (one is None) == (another is None)
        if one is not None:
            torch.testing.assert_close(one, another, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("cls", WRAPPING, ids=lambda cls: cls.name)
def test_without_angles_nothing_is_wrapped(cls):
    strategy = cls(wrap=True)
    assert strategy.for_task(()) is strategy
    assert cls().for_task((ANGLE,)) == cls()


def test_what_keeps_its_values_keeps_them_to_the_last_bit():
    strategy = Tangent(components=1, wrap=True).for_task((ANGLE,))
    prediction, particles, noise = cloud(strategy)
    other, moved, _ = turned(prediction, particles)
    assert torch.equal(strategy(other, moved, noise, None).particles, moved)


def test_unwrapped_a_gaussian_fills_the_angles_between_two_turns():
    """The fault that wrapping mends: half-way up there was no particle."""
    prediction, particles, noise = cloud(Gaussian())
    other, moved, _ = turned(prediction, particles)
    upright = (Gaussian()(other, moved, noise, None).particles[..., ANGLE].cos() > 0.5).double().mean()
    wrapped = Gaussian(wrap=True).for_task((ANGLE,))(other, moved, noise, None).particles
    assert float(upright) > 0.2
    assert float((wrapped[..., ANGLE].cos() > 0.5).double().mean()) == 0


@pytest.mark.parametrize("moments", ["particles", "predictions"])
def test_exact_draws_have_exactly_the_moments(moments):
    prediction, particles, noise = cloud(Gaussian(), 2)
    drawn = ExactGaussian(moments)(prediction, particles, noise, None).particles
    points = particles if moments == "particles" else prediction.mean
    for r in range(2):
        covariance = torch.cov(points[r].mT)
        if moments == "predictions":
            covariance = covariance + torch.diag(prediction.std[r].square().mean(0))
        torch.testing.assert_close(drawn[r].mean(0), points[r].mean(0))
        torch.testing.assert_close(torch.cov(drawn[r].mT), covariance, rtol=1e-4, atol=1e-6)


def test_exact_draws_of_too_little_noise_are_finite():
    prediction, particles, _ = cloud(Gaussian())
    drawn = ExactGaussian()(prediction, particles, torch.zeros(P, D, dtype=torch.float64), None).particles
    torch.testing.assert_close(drawn, particles.mean(0).expand(P, -1))


def test_functions_are_resampled_among_themselves():
    strategy = FunctionGaussian().for_task((), functions=4)
    prediction, particles, noise = cloud(strategy, 2)
    particles = particles + 100 * torch.arange(P)[:, None] // (P // 4)
    found, pull_back = strategy.vjp(prediction, particles, noise, None)
    by = normal(2, P, D, seed=7)
    (_, _, by_particles, _) = pull_back(by, torch.zeros(2, P, dtype=torch.float64), None)
    for m in range(4):
        own = slice(m * P // 4, (m + 1) * P // 4)
        alone, own_pull_back = Gaussian().vjp(
            Prediction(prediction.mean[:, own], prediction.std[:, own]),
            particles[:, own],
            noise[:, own],
            None,
        )
        torch.testing.assert_close(found.particles[:, own], alone.particles)
        expected = own_pull_back(by[:, own], alone.weights, None)[2]
        torch.testing.assert_close(by_particles[:, own], expected)
    torch.testing.assert_close(strategy(prediction, particles, noise, None).particles, found.particles)
    assert found.weights.shape == (2, P)
    assert FunctionGaussian().for_task((), functions=1) == FunctionGaussian()


def test_functions_of_too_few_particles_are_refused():
    strategy = FunctionGaussian().for_task((), functions=5)
    strategy.validate(25, 3)
    with pytest.raises(ValueError, match=r"at least 5 particles of each of the model's 5 functions.*got 4"):
        strategy.validate(20, 3)
    with pytest.raises(ValueError, match="32 is not a multiple of that"):
        strategy.validate(32, 3)


@pytest.mark.parametrize(
    "dynamics", ["ensemble:members=2,hidden=8,fit-steps=20", "gp:functions=2,fit-steps=5"]
)
@pytest.mark.parametrize("resampling", ["function-gaussian:wrap=true", "exact-gaussian:wrap=true"])
def test_an_agent_tells_its_strategy_of_angles_and_functions(dynamics, resampling):
    search = SearchOptions(steps=2, num_particles=12, candidates=2)
    agent = ParticlePILCO(
        "linear", "CartPoleSwingUp-v0", resampling=resampling, dynamics=dynamics, search=search, seed=0
    ).learn(1)
    made = agent.policy_search().resampler
    assert isinstance(made, Resampler)
    assert made != agent.resampling
    assert made.name == agent.resampling.name
    assert str(agent.resampling) == resampling


def test_an_agent_refuses_a_gaussian_a_function_where_each_has_one_particle():
    with pytest.raises(ValueError, match="particles of each of the model's 150 functions"):
        ParticlePILCO("linear", "CartPoleSwingUp-v0", resampling="function-gaussian", dynamics="gp")


def test_a_model_says_how_many_functions_its_particles_keep():
    def functions(options):
        return ParticlePILCO("linear", "CartPoleSwingUp-v0", dynamics=options).dynamics.functions

    assert functions(Ensemble(members=3)) == 3
    assert functions(Ensemble(propagation="per-step")) == 1
    assert functions("gp:functions=10") == 10
    assert functions("gp:propagation=independent") == 1
    assert NoResampling().for_task((2,), 5) == NoResampling()


# values kept, derivatives changed --------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", [OwnResidual(), OwnResidual("predictions"), KernelTangent()], ids=str)
def test_values_are_those_of_the_particles(strategy):
    prediction, particles, noise = cloud(strategy, 2)
    torch.testing.assert_close(strategy(prediction, particles, noise, None).particles, particles)


def test_own_residuals_pull_back_as_a_draw_that_happens_to_be_the_particles():
    prediction, particles, _ = cloud(Gaussian())
    residual = OwnResidual().prepare(particles, prediction, particles)
    by, weights = normal(P, D, seed=5), torch.zeros(P, dtype=torch.float64)
    own = OwnResidual().vjp(prediction, particles, particles, None)[1](by, weights, None)[2]
    drawn = Gaussian().vjp(prediction, particles, residual, None)[1](by, weights, None)[2]
    torch.testing.assert_close(own, drawn)
    assert float((own - by).abs().max()) > 0.1  # it is not what NoResampling does


def pulled_back(strategy, by):
    prediction, particles, noise = cloud(strategy, 2)
    found, pull_back = strategy.vjp(prediction, particles, noise, None)
    return pull_back(by, torch.zeros_like(found.weights), found.state)[2]


def test_a_wide_kernel_is_the_tangent_projection_and_a_narrow_one_is_nothing():
    by = normal(2, P, D, seed=5)
    torch.testing.assert_close(
        pulled_back(KernelTangent(1e4), by), pulled_back(Tangent(1), by), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(pulled_back(KernelTangent(1e-4), by), by, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("width", [0.1, 0.5, 2.0])
def test_the_kernel_is_a_doubly_stochastic_contraction(width):
    kernel = doubly_stochastic(normal(2, P, D), width)
    torch.testing.assert_close(kernel, kernel.mT)
    torch.testing.assert_close(kernel.sum(-1), torch.ones(2, P, dtype=torch.float64), atol=1e-3, rtol=0)
    eigenvalues = torch.linalg.eigvalsh(kernel)
    assert -1e-9 < float(eigenvalues.min()) <= float(eigenvalues.max()) < 1 + 1e-3
    by = normal(2, P, D, seed=5)
    smooth = pulled_back(KernelTangent(width), by)
    assert (smooth.norm(dim=(1, 2)) < by.norm(dim=(1, 2))).all()
    affine = torch.ones(2, P, D, dtype=torch.float64)
    torch.testing.assert_close(pulled_back(KernelTangent(width), affine), affine, atol=1e-6, rtol=0)
