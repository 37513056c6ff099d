"""Moment matching: exact where it must be, next to particles, and in the agent."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

import envs  # noqa: F401
from mbrl_agent import Gp, MomentMatching, OptionError, ParticlePILCO, SearchOptions
from mbrl_agent.costs import Quadratic, Saturating
from mbrl_agent.dynamics.base import MomentPredictor
from mbrl_agent.features import AngleFeatures
from mbrl_agent.gaussians.mapped import affine
from mbrl_agent.policies.linear import LinearPolicy
from mbrl_agent.policies.rbf import RbfPolicy
from mbrl_agent.resampling import Gaussian
from mbrl_agent.search.rollouts.moment_matching import (
    expectation,
    propagate,
    quasi_normal,
    with_features,
)
from mbrl_agent.targets import Targets
from mbrl_agent.types import Transitions

DTYPE = torch.float64


def fitted_gp(count=80, velocity_dims=((0, 1), (2, 3))):
    """Processes that know a bit of the cart-pole."""
    torch.manual_seed(0)
    step = gymnasium.make("CartPoleSwingUp-v0").unwrapped.dynamics
    states = torch.randn(count, 4, dtype=DTYPE) * torch.tensor([0.5, 1.0, 1.5, 3.0], dtype=DTYPE)
    actions = 2 * torch.rand(count, 1, dtype=DTYPE) - 1
    features = AngleFeatures(4, (2,))
    model = Gp(functions=10).build(
        features, 1, torch.Generator().manual_seed(0), Targets(features, velocity_dims)
    )
    after = step(states, actions) + 0.02 * torch.randn(count, 4, dtype=DTYPE)
    model.fit(Transitions(states, actions, after), torch.Generator().manual_seed(0))
    return model


def gaussian(dims, scale=1.0):
    root = torch.randn(dims, dims, dtype=DTYPE)
    return torch.randn(dims, dtype=DTYPE), scale * root @ root.T / dims


def test_features_against_samples():
    torch.manual_seed(1)
    features, (mean, covariance) = AngleFeatures(4, (1, 3)), gaussian(4)
    found = with_features(mean, covariance, features)
    state = mean + torch.randn(1_000_000, 4, dtype=DTYPE) @ torch.linalg.cholesky(covariance).T
    seen = features(state)
    torch.testing.assert_close(found.mean, seen.mean(0), atol=4e-3, rtol=0)
    torch.testing.assert_close(found.covariance, seen.T.cov(), atol=1e-2, rtol=0)
    both = torch.cat([state, seen], dim=-1).T.cov()
    torch.testing.assert_close(covariance @ found.gain, both[:4, 4:], atol=1e-2, rtol=0)


@pytest.mark.parametrize("policy_class", [LinearPolicy, RbfPolicy])
def test_actions_against_samples(policy_class):
    torch.manual_seed(2)
    policy = policy_class(Box(-9, 9, (4,)), Box(-1, 1, (2,)), angle_dims=(2,)).double()
    policy.restandardize(torch.randn(50, 4, dtype=DTYPE) + 3)
    parameters = {name: value.double() for name, value in policy.parameter_dict().items()}
    mean, covariance = gaussian(5, 0.3)
    found = policy.moments(parameters)(mean, covariance)
    seen = mean + torch.randn(1_000_000, 5, dtype=DTYPE) @ torch.linalg.cholesky(covariance).T
    action = policy_on_features(policy, seen)
    torch.testing.assert_close(found.mean, action.mean(0), atol=4e-3, rtol=0)
    torch.testing.assert_close(found.covariance, action.T.cov(), atol=4e-3, rtol=0)
    both = torch.cat([seen, action], dim=-1).T.cov()
    torch.testing.assert_close(covariance @ found.gain, both[:5, 5:], atol=4e-3, rtol=0)


def policy_on_features(policy, seen):
    """The actions of a policy that is told the features themselves."""
    with torch.no_grad():
        plain = type(policy)(Box(-9, 9, (5,)), Box(-1, 1, (2,))).double()
        plain.feature_mean.copy_(policy.feature_mean)
        plain.feature_scale.copy_(policy.feature_scale)
        return plain.controller({name: value.double() for name, value in policy.parameter_dict().items()})(
            seen
        )


def test_changes_against_samples():
    """What the processes predict at uncertain inputs: the mean of the functions and all their covariance."""
    model = fitted_gp()
    torch.manual_seed(3)
    mean, covariance = gaussian(6, 0.2)
    found = model.moments().change(mean, covariance)
    inputs = mean + torch.randn(200_000, 6, dtype=DTYPE) @ torch.linalg.cholesky(covariance).T
    mean_change, variance = posterior(model, inputs)
    torch.testing.assert_close(found.mean, mean_change.mean(0), atol=2e-2, rtol=1e-2)
    expected = mean_change.T.cov() + torch.diag(variance.mean(0))
    torch.testing.assert_close(found.covariance, expected, atol=3e-2, rtol=2e-2)
    both = torch.cat([inputs, mean_change], dim=-1).T.cov()
    torch.testing.assert_close(covariance @ found.gain, both[:6, 6:], atol=2e-2, rtol=2e-2)


def posterior(model, inputs):
    """Mean and variance of the functions' changes at features and actions, from the textbook's formulas."""
    known, z = model.hyperparameters, (inputs - model.input_mean) * model.input_scale.double()
    points = model.inputs.expand(2, -1, -1)
    noise = torch.diag_embed(known.noise_variance()[:, None].expand(points.shape[:2]))
    inverse = torch.linalg.inv(known.covariance(model.kernel, points, points) + noise)
    cross = known.covariance(model.kernel, z.expand(2, -1, -1), points)
    mean = (cross @ inverse @ model.targets_seen.unsqueeze(-1)).squeeze(-1).T
    variance = known.variance(model.kernel, z.expand(2, -1, -1)).T - ((cross @ inverse) * cross).sum(-1).T
    unit = model.target_std.double()
    return mean * unit + model.target_mean, variance * unit.square()


def linear_system(velocity_dims):
    """A model whose changes are linear, and its matrices."""
    torch.manual_seed(4)
    features = AngleFeatures(3)
    targets = Targets(features, velocity_dims)
    integration = Gp(functions=1).build(features, 1, torch.Generator(), targets).integration
    integration.step.fill_(0.1)
    integration.noise.fill_(0.05)
    weights = 0.3 * torch.randn(4, len(targets), dtype=DTYPE)
    noise = torch.full((len(targets),), 0.2, dtype=DTYPE)
    return MomentPredictor(lambda m, s: affine(m, s, weights), noise, integration.rule().double()), weights


@pytest.mark.parametrize("velocity_dims", [(), ((0, 1),)])
def test_it_is_exact_on_a_linear_system_with_gaussian_noise(velocity_dims):
    model, weights = linear_system(velocity_dims)

    class Unsquashed(LinearPolicy):
        def moments(self, parameters):
            return lambda m, s: affine(m, s, parameters["weights"], parameters["bias"])

    policy = Unsquashed(Box(-9, 9, (3,)), Box(-1, 1, (1,)))
    gains = {"weights": 0.2 * torch.randn(3, 1, dtype=DTYPE), "bias": 0.1 * torch.randn(1, dtype=DTYPE)}
    start = gaussian(3)
    quadratic = lambda m, s: (m[:3] ** 2).sum() + s[:3, :3].trace()  # noqa: E731
    beliefs = propagate(policy, gains, model, quadratic, start, 5)
    rule = model.integration
    way = rule.weights(3, weights)  # (x, c) -> x'
    closed = torch.eye(3, dtype=DTYPE) @ way[:3] + (weights[:3] + gains["weights"] @ weights[3:]) @ way[3:]
    mean, covariance, costs = *start, []
    for _ in range(5):
        mean = mean @ closed + (gains["bias"] @ weights[3:]) @ way[3:]
        covariance = closed.T @ covariance @ closed + torch.diag(rule.noise_std(model.noise) ** 2)
        costs.append(mean.square().sum() + covariance.trace())
    torch.testing.assert_close(beliefs.mean[-1], mean)
    torch.testing.assert_close(beliefs.covariance[-1], covariance)
    torch.testing.assert_close(beliefs.costs, torch.stack(costs))


def test_next_state_and_action_are_jointly_right():
    """Costs see the action that led to a state: their covariance counts."""
    model, weights = linear_system(())
    policy = LinearPolicy(Box(-9, 9, (3,)), Box(-1, 1, (1,)))
    gains = {"weights": 0.01 * torch.randn(3, 1, dtype=DTYPE), "bias": torch.zeros(1, dtype=DTYPE)}
    seen = []
    propagate(policy, gains, model, lambda m, s: seen.append(s) or m.sum(), gaussian(3), 1)
    start = gaussian(3)
    propagate(policy, gains, model, lambda m, s: seen.append(s) or m.sum(), start, 1)
    state = start[0] + torch.randn(1_000_000, 3, dtype=DTYPE) @ torch.linalg.cholesky(start[1]).T
    action = policy.controller(gains)(state)
    after = state + torch.cat([state, action], -1) @ weights + 0.2 * torch.randn_like(state)
    expected = torch.cat([after, action], dim=-1).T.cov()
    torch.testing.assert_close(seen[-1], expected, atol=1e-2, rtol=0)


def test_the_expected_angle_cost_is_exact():
    torch.manual_seed(5)
    cost = gymnasium.make("CartPoleSwingUp-v0").unwrapped.cost
    mean, covariance = gaussian(4)
    state = mean + torch.randn(1_000_000, 4, dtype=DTYPE) @ torch.linalg.cholesky(covariance).T
    assert float(cost.expected(mean, covariance)) == pytest.approx(float(cost(state, None).mean()), abs=2e-3)

    def without_expectation(state, action):
        return cost(state, action)

    by_points = expectation(without_expectation, 4096, mean)(mean, covariance)
    assert float(by_points) == pytest.approx(float(cost.expected(mean, covariance)), abs=1e-3)


def test_any_other_cost_is_averaged_over_fixed_points():
    torch.manual_seed(6)
    mean, covariance = gaussian(4)
    quadratic = Quadratic(target=(0.1, 0, 0))
    found = expectation(quadratic, 4096, mean[:3])(mean, covariance)
    exact = (mean[0] - 0.1) ** 2 + mean[1:3].square().sum() + covariance[:3, :3].trace()
    assert float(found) == pytest.approx(float(exact), rel=1e-3)
    points = quasi_normal(1024, 3)
    torch.testing.assert_close(points.mean(0), torch.zeros(3, dtype=DTYPE), atol=1e-2, rtol=0)
    torch.testing.assert_close(points.T.cov(), torch.eye(3, dtype=DTYPE), atol=2e-2, rtol=0)


def small_agent(**changes):
    arguments = {
        "dynamics": "gp:functions=20,fit-steps=10",
        "rollout": "moment-matching",
        "search": SearchOptions(steps=2, num_particles=20, candidates=2),
        "seed": 0,
    }
    return ParticlePILCO("rbf:centers=5", "CartPoleSwingUp-v0", **(arguments | changes))


def test_the_gradient_is_that_of_the_expected_cost():
    agent = small_agent()
    agent.learn(30)
    search = agent.learner.policy_search(agent.replay)
    parameters = {name: value[:1] for name, value in agent.candidates.items()}
    simulation = search.simulation(1, torch.Generator().manual_seed(0))
    estimate = search.estimator(parameters, simulation)
    direction = {name: torch.randn_like(value) for name, value in parameters.items()}

    def at(step):
        moved = {name: value.double() + step * direction[name] for name, value in parameters.items()}
        return float(search.estimator(moved, simulation).expected_cost.double())

    slope = sum(float((estimate.gradient[name] * direction[name]).sum()) for name in parameters)
    assert slope == pytest.approx((at(1e-3) - at(-1e-3)) / 2e-3, rel=2e-2, abs=1e-3)


def test_it_is_what_resampled_particles_tend_to():
    """The expected cost of Gaussian resampling with fresh draws at each step, of many particles."""
    agent = small_agent(dynamics="gp:propagation=independent,fit-steps=30", resampling=Gaussian())
    agent.learn(60)
    search = agent.learner.policy_search(agent.replay)
    parameters = {name: value[:1] for name, value in agent.candidates.items()}
    exact = search.estimator(parameters, search.simulation(1, torch.Generator().manual_seed(0)))
    with torch.no_grad():
        simulation = search.simulation(1, torch.Generator().manual_seed(1), particles=4000)
        resampled = simulation(parameters).expected_costs()[:10].sum()
        costs = short_costs(search, parameters, 10)
    assert float(resampled) == pytest.approx(costs, rel=0.02)
    assert exact.expected_cost.isfinite().all()


def short_costs(search, parameters, horizon):
    double = {name: value[0].double() for name, value in parameters.items()}
    start = search.initial_states
    beliefs = propagate(
        search.policy,
        double,
        search.dynamics.moments(),
        expectation(search.cost, 256, start.mean.double()),
        (start.mean.double(), torch.diag(start.std.double().square())),
        horizon,
    )
    return float(beliefs.costs.sum())


def test_an_agent_learns_is_saved_and_goes_on_alike(tmp_path):
    agent = small_agent()
    agent.learn(60)
    agent.save(tmp_path / "agent")
    loaded = ParticlePILCO.load(tmp_path / "agent", env="CartPoleSwingUp-v0")
    assert loaded.rollout == MomentMatching()
    for each in (agent, loaded):
        each.learn(30, reset_num_timesteps=False)
    for name, value in agent.policy.state_dict().items():
        assert torch.equal(value, loaded.policy.state_dict()[name])


def test_another_cost_and_a_plain_state_work():
    cost = Saturating(target=(1.0, 0.0, 0.0), width=1.0)
    agent = ParticlePILCO(
        "linear",
        "Pendulum-v1",
        cost=cost,
        max_episode_steps=12,
        dynamics="gp:fit-steps=5",
        rollout="moment-matching",
        search=SearchOptions(steps=2, num_particles=10, candidates=2),
        seed=0,
    )
    agent.learn(24)
    assert np.isfinite(agent.candidate_costs.numpy()).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dynamics": "ensemble"}, "needs dynamics 'gp' with the kernel se, got ensemble"),
        ({"dynamics": "gp:kernel=matern52"}, "needs dynamics 'gp' with the kernel se"),
        ({"estimator": "likelihood-ratio"}, "has no particles for the estimator 'likelihood-ratio'"),
        ({"terminated": lambda state: state[..., 0] > 3}, "knows no episodes that end early"),
    ],
)
def test_what_cannot_work_is_refused(changes, message):
    with pytest.raises(OptionError, match=message):
        small_agent(**changes)


def test_a_policy_without_moments_is_refused():
    with pytest.raises(OptionError, match="'rbf' or 'linear', got MlpPolicy"):
        ParticlePILCO("mlp", "CartPoleSwingUp-v0", dynamics="gp", rollout="moment-matching")
