"""Gaussian processes: likelihood and posterior against scikit-learn, function draws against the posterior."""

import math
import warnings

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor, kernels

from mbrl_agent.contract.dynamics import RULES
from mbrl_agent.contract.rules import check_all
from mbrl_agent.dynamics import gp_fit
from mbrl_agent.dynamics.gp import Gp
from mbrl_agent.dynamics.gp_fit import LEAST_NOISE, _Problem, fit_hyperparameters
from mbrl_agent.dynamics.gp_kernels import KERNELS, Hyperparameters
from mbrl_agent.dynamics.gp_subset import evenly, recent_and_far
from mbrl_agent.features import AngleFeatures
from mbrl_agent.targets import Targets
from mbrl_agent.types import Transitions
from mbrl_agent.vjp import by_autograd

D, U = 2, 1
LENGTHS, SIGNAL, NOISE, SLOPE = (0.7, 1.5, 2.5), 1.3, 0.2, 0.6


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def hyperparameters(kernel, noise=NOISE):
    slopes = math.log(SLOPE) * torch.ones(3 if kernel.linear else 0, dtype=torch.float64)
    values = (
        torch.tensor(LENGTHS, dtype=torch.float64).log(),
        torch.tensor(SIGNAL, dtype=torch.float64).log(),
    )
    return Hyperparameters(*values, torch.tensor(noise, dtype=torch.float64).log(), slopes)


def reference(name):
    """scikit-learn's regressor with the same numbers."""
    stationary = kernels.Matern(LENGTHS, nu=2.5) if name == "matern52" else kernels.RBF(LENGTHS)
    kernel = SIGNAL**2 * stationary
    if name == "se-linear":
        kernel = kernel + SLOPE**2 * kernels.DotProduct(0.0, "fixed")
    return GaussianProcessRegressor(kernel + kernels.WhiteKernel(NOISE**2), optimizer=None)


def plant(count=40, seed=0, noise=0.05):
    states = normal(count, D, seed=seed) * torch.tensor([1.0, 2.0]) + torch.tensor([0.0, 5.0])
    actions = normal(count, U, seed=seed + 1).tanh()
    change = torch.stack([states[:, 0].sin() + actions[:, 0], 0.3 * states[:, 1] * actions[:, 0]], dim=1)
    return Transitions(states, actions, states + change + noise * normal(count, D, seed=seed + 2))


def fitted(dtype=torch.float64, transitions=None, **options):
    model = (
        Gp(**{"functions": 12, "fit_steps": 15, **options}).build(AngleFeatures(D), U, generator()).to(dtype)
    )
    model.fit(transitions or plant(), generator(3))
    return model


@pytest.mark.parametrize("name", KERNELS)
def test_likelihood_and_covariance_are_those_of_scikit_learn(name):
    kernel, inputs, targets = KERNELS[name], normal(25, 3), normal(25, seed=1)
    regressor = reference(name).fit(inputs.numpy(), targets.numpy())
    problem, known = _Problem(kernel, inputs, targets), hyperparameters(KERNELS[name])
    own = torch.tensor([0.5 * math.log(NOISE**2 - LEAST_NOISE**2)], dtype=torch.float64)
    vector = torch.cat([known.log_lengthscales, known.log_signal.view(1), own, known.log_slopes])
    problem.value_and_gradient(vector)
    expected = -regressor.log_marginal_likelihood(regressor.kernel_.theta) / 25
    assert problem.curve[0] == pytest.approx(expected, rel=1e-8)
    points = normal(7, 3, seed=2)
    covariance = known.covariance(kernel, points, inputs)
    white = regressor.kernel_(points.numpy(), inputs.numpy())  # (white noise is nothing between two sets)
    np.testing.assert_allclose(covariance, white, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        known.variance(kernel, points), np.diag(regressor.kernel_(points.numpy())) - NOISE**2, rtol=1e-10
    )


@pytest.mark.parametrize("name", KERNELS)
def test_the_derivative_of_the_likelihood_is_that_of_differences(name):
    problem = _Problem(KERNELS[name], normal(15, 3), normal(15, seed=1))
    vector = problem.start(1.3) + 0.1 * normal(len(problem.start(1.3)), seed=4)
    _, gradient = problem.value_and_gradient(vector)
    for index in range(len(vector)):
        ahead, behind = vector.clone(), vector.clone()
        ahead[index] += 1e-5
        behind[index] -= 1e-5
        difference = (problem.value_and_gradient(ahead)[0] - problem.value_and_gradient(behind)[0]) / 2e-5
        assert float(gradient[index]) == pytest.approx(float(difference), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", KERNELS)
def test_the_posterior_is_that_of_scikit_learn(name):
    model = fitted(kernel=name)
    known = model.hyperparameters
    state, action = normal(9, D, seed=7), normal(9, U, seed=8).tanh()
    prediction = model._posterior()(state, action, None)
    seen = (torch.cat([state, action], 1) - model.input_mean) * model.input_scale
    for k in range(D):
        lengths, signal = known.log_lengthscales[k].exp().numpy(), float(known.log_signal[k].exp())
        stationary = kernels.Matern(lengths, nu=2.5) if name == "matern52" else kernels.RBF(lengths)
        kernel = signal**2 * stationary
        inputs, points = model.inputs.numpy(), seen.numpy()
        if name == "se-linear":
            slopes = known.log_slopes[k].exp().numpy()
            inputs, points = np.hstack([inputs, inputs * slopes]), np.hstack([points, points * slopes])
            kernel = Parts(kernel, kernels.DotProduct(0.0, "fixed"), 3)
        noise = float(known.noise_variance()[k])
        regressor = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None).fit(
            inputs, model.targets_seen[k]
        )
        mean, std = regressor.predict(points, return_std=True)
        unit = float(model.target_std[k])
        expected = state[:, k].numpy() + float(model.target_mean[k]) + unit * mean
        np.testing.assert_allclose(prediction.mean[:, k], expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(prediction.std[:, k], unit * np.sqrt(std**2 + noise), rtol=1e-5)


class Parts(kernels.Kernel):
    """One kernel on the first columns plus another one on the others."""

    def __init__(self, one, other, columns):
        self.one, self.other, self.columns = one, other, columns

    def __call__(self, X, Y=None, eval_gradient=False):
        n = self.columns
        rest = (None, None) if Y is None else (Y[:, :n], Y[:, n:])
        return self.one(X[:, :n], rest[0]) + self.other(X[:, n:], rest[1])

    def diag(self, X):
        return self.one.diag(X[:, : self.columns]) + self.other.diag(X[:, self.columns :])

    def is_stationary(self):
        return False


@pytest.mark.parametrize("name", KERNELS)
def test_draws_have_the_mean_and_the_covariance_of_the_posterior(name):
    """Also between two points."""
    functions = 4000
    data = plant(noise=0.5)
    model = fitted(transitions=data, functions=functions, fourier_features=2000, kernel=name)
    known, points = model.hyperparameters, 2 * normal(3, D + U, seed=9)
    state = points[:, :D] / model.input_scale[:D] + model.input_mean[:D]
    action = points[:, D:] / model.input_scale[D:] + model.input_mean[D:]
    rows = (
        model.predict(
            state[:, None].expand(-1, functions, -1), action[:, None].expand(-1, functions, -1)
        ).mean
        - state[:, None]
    )
    values = (rows - model.target_mean) / model.target_std  # (points, functions, K)
    inputs = model.inputs.expand(D, -1, -1)
    covariance = known.covariance(model.kernel, inputs, inputs) + torch.diag_embed(
        known.noise_variance()[:, None].expand(inputs.shape[:2])
    )
    at = points.expand(D, -1, -1)
    cross = known.covariance(model.kernel, at, inputs)
    mean = (cross @ torch.linalg.solve(covariance, model.targets_seen.unsqueeze(-1))).squeeze(-1)
    spread = known.covariance(model.kernel, at, at) - cross @ torch.linalg.solve(covariance, cross.mT)
    for k in range(D):
        drawn = values[..., k]
        std = spread[k].diagonal().sqrt()
        error = (drawn.mean(1) - mean[k]).abs() / std
        assert float(error.max()) < 5 / math.sqrt(functions) + 0.02
        sample = torch.cov(drawn) / torch.outer(std, std)
        assert float((sample - spread[k] / torch.outer(std, std)).abs().max()) < 0.15


@pytest.mark.parametrize("pairs", [(), ((0, 1),)])
@pytest.mark.parametrize("name", KERNELS)
def test_the_written_derivative_is_that_of_autograd(name, pairs):
    features = AngleFeatures(D, (0,))
    model = Gp(functions=5, fit_steps=5, kernel=name).build(
        features, U, generator(), Targets(features, pairs)
    )
    model = model.double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the pairs are not those of this plant
        model.fit(plant(), generator(1))
    state, action = normal(3, 10, D, seed=5), normal(3, 10, U, seed=6).tanh()
    predictor = model.predictor()
    prediction, pull_back = predictor.vjp(state, action)
    by_mean, by_std = normal(3, 10, D, seed=7), normal(3, 10, D, seed=8)

    def values(*inputs):
        found = predictor.vjp(*inputs)[0]
        return found.mean, found.std

    (mean, _), expected = by_autograd(values, state, action)
    torch.testing.assert_close(prediction.mean, mean)
    for ours, theirs in zip(pull_back(by_mean, by_std), expected(by_mean, by_std), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_particle_keeps_its_function_and_many_share_one():
    model = fitted(functions=6)
    state, action = torch.zeros(1, D).double(), torch.zeros(1, U).double()

    def changes(count):
        return model.predict(state.expand(count, -1), action.expand(count, -1)).mean[:, 0]

    six = changes(6)
    assert len(six.unique()) == 6
    torch.testing.assert_close(changes(18), six.repeat_interleave(3))
    torch.testing.assert_close(changes(3), six[::2])
    torch.testing.assert_close(
        model.predict(state.expand(2, 6, -1), action.expand(2, 6, -1)).mean[1, :, 0], six
    )


def test_single_precision_stays_near_double():
    """The documented bound: 0.005 of the spread of the observed changes, over where data are."""
    data = plant(200)
    single, double = fitted(torch.float32, data), fitted(torch.float64, data)
    for name in (
        "input_mean",
        "input_scale",
        "target_mean",
        "target_std",
        "frequencies",
        "cosines",
        "sines",
        "corrections",
    ):
        setattr(double, name, getattr(single, name).double())
    for name in ("inputs", "log_lengthscales", "log_noise"):
        setattr(double, name, getattr(single, name))
    states, actions = data.states.float(), data.actions.float()
    one = single.predict(states, actions).mean.double() - states.double()
    other = double.predict(states.double(), actions.double()).mean - states.double()
    assert float(((one - other).abs() / single.target_std).max()) < 5e-3


def test_it_predicts_what_it_was_not_fitted_to():
    model, fresh = fitted(transitions=plant(80)), plant(200, seed=20)
    score = model.score(fresh)
    spread = (fresh.next_states - fresh.states).std(0)
    assert all(error < 0.35 * float(width) for error, width in zip(score.rmse, spread, strict=True))
    assert score.nll < 0.5  # a standard normal has 1.4


def test_a_fit_that_fails_keeps_what_there_was(monkeypatch):
    kernel, inputs, targets = KERNELS["se"], normal(10, 3), normal(10, seed=1)
    last = hyperparameters(kernel)

    def broken(*_):
        raise torch.linalg.LinAlgError("not positive definite")

    monkeypatch.setattr(_Problem, "value_and_gradient", broken)
    with pytest.warns(
        UserWarning, match=r"could not be fitted \(not positive definite\); those of the last fit"
    ):
        kept = fit_hyperparameters(kernel, inputs, targets, 5, last).hyperparameters
    torch.testing.assert_close(kept.log_lengthscales, last.log_lengthscales)
    torch.testing.assert_close(kept.log_noise, last.log_noise)
    with pytest.warns(UserWarning, match="its first guess is kept"):
        fit_hyperparameters(kernel, inputs, targets, 5, None)


def test_a_line_search_that_breaks_off_keeps_its_best(monkeypatch):
    """torch's strong-Wolfe search can raise IndexError."""
    calls = []

    def minimise(problem, start, steps):
        calls.append(float(problem.value_and_gradient(start)[0]))
        raise IndexError("list index out of range")

    monkeypatch.setattr(gp_fit, "_minimise", minimise)
    fit = fit_hyperparameters(KERNELS["se"], normal(10, 3), normal(10, seed=1), 5, None)
    assert len(calls) == 2
    assert len(fit.curve) >= 1


def test_beyond_max_points_the_latest_and_the_farthest_are_kept():
    data = plant(60)
    with pytest.warns(UserWarning, match="of 60 transitions the Gaussian processes keep 20"):
        model = fitted(transitions=data, max_points=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(data, generator())  # it has said so once
    assert len(model.inputs) == 20
    inputs = torch.tensor([[0.0], [10.0], [0.1], [5.0], [0.0], [0.0], [0.05], [0.0]])
    assert recent_and_far(inputs, 4).tolist() == [1, 3, 6, 7]
    assert recent_and_far(inputs, 1).tolist() == [7]
    assert recent_and_far(inputs, 8).tolist() == list(range(8))
    assert evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly(3, 4).tolist() == [0, 1, 2]


def test_a_model_of_other_sizes_is_refused():
    model = fitted()
    other = Gp(functions=12, fit_steps=15).build(AngleFeatures(D, (0,)), U, generator())
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(model.state_dict())


@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "rbf"},
        {"functions": 0},
        {"propagation": "fixed"},
        {"max_points": 0},
        {"fit_steps": 0},
        {"renewal": "step"},
    ],
)
def test_options_that_cannot_be(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Gp(**options)


DRAWN = ("frequencies", "cosines", "sines", "corrections", "slopes")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", KERNELS)
def test_renewed_functions_are_drawn_as_those_of_the_fit_are(name, dtype):
    model = fitted(dtype, kernel=name, renewal="rollout")
    first = {key: value.clone() for key, value in model.state_dict().items()}
    storage = [getattr(model, key).data_ptr() for key in DRAWN]  # a captured step reads there
    model.renew(generator(4))
    after = model.state_dict()
    assert [getattr(model, key).data_ptr() for key in DRAWN] == storage
    for key, value in first.items():
        assert torch.equal(value, after[key]) == (key not in DRAWN or value.numel() == 0), key
    model.renew(generator(3))  # with which it was fitted
    tolerance = 1e-9 if dtype == torch.float64 else 1e-2  # the data were rounded with the model
    for key in DRAWN:
        torch.testing.assert_close(getattr(model, key), first[key], rtol=tolerance, atol=tolerance)


def test_functions_stay_until_the_next_fit_unless_asked_for():
    model = fitted()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.renew(generator(4))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_functions_are_renewed_from_the_latest_data_and_from_a_checkpoint():
    model, other = fitted(renewal="rollout"), fitted(renewal="rollout", transitions=plant(30, seed=5))
    model.renew(generator(4))
    model.fit(plant(55, seed=8), generator(5))
    model.renew(generator(6))
    assert model.corrections.shape[-1] == 55
    other.renew(generator(7))
    other.load_state_dict(model.state_dict())
    for each in (model, other):
        each.renew(generator(9))
    assert all(torch.equal(getattr(model, key), getattr(other, key)) for key in DRAWN)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_contract_with_renewed_functions(rule):
    check_all([rule], Gp(functions=12, fit_steps=15, renewal="rollout"), "gp")


def test_torchs_defaults_do_not_matter():
    data = plant(20)
    expected = fitted(torch.float32, data, fit_steps=3)
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in (0, 3)]
        model = Gp(functions=12, fit_steps=3).build(AngleFeatures(D), U, generators[0])
        model.fit(data, generators[1])
        found = model.predict(data.states.float(), data.actions.float())
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device("cpu")
    wanted = expected.predict(data.states.float(), data.actions.float())
    torch.testing.assert_close(found.mean, wanted.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.std, wanted.std, rtol=1e-4, atol=1e-4)
