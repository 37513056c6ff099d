"""The contract accepts a sound class of each kind, and says which rule a wrong one breaks."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from mbrl_agent import Gaussian, Prediction, Reparameterization, Resampled, Resampler, equal_weights
from mbrl_agent.contract import (
    ContractError,
    check_cost,
    check_dynamics,
    check_estimator,
    check_policy,
    check_resampler,
)
from mbrl_agent.dynamics.base import Predictor
from mbrl_agent.policies.base import DifferentiableController, SearchPolicy
from mbrl_agent.policies.jacobian import ExplicitJacobian
from mbrl_agent.policies.recurrent import Recurrent, RecurrentPolicy
from tests.support import plugin_of_each_kind as sound


@pytest.mark.parametrize(
    ("check", "instance"),
    [
        (check_resampler, sound.Shrink()),
        (check_resampler, sound.Shrink(amount=0.75)),
        (check_estimator, sound.Pathwise()),
        (check_dynamics, sound.LeastSquares()),
        (check_policy, sound.Cubic()),
        (check_policy, sound.Cubic(gain=0.25)),
        (check_cost, sound.Distance()),
        (check_cost, lambda state, action: state[..., 3].square() + action[..., 1]),
    ],
)
def test_what_is_sound_passes(check, instance):
    check(instance)


# strategies ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wrong(sound.Shrink):
    name: ClassVar[str] = "wrong"


class ReturnsParticles(Wrong):
    def __call__(self, prediction, particles, noise, state):
        return particles


class DrawsItsOwnNoise(Wrong):
    def __call__(self, prediction, particles, noise, state):
        moved = particles.mean(-2, keepdim=True) + 0.1 * torch.randn_like(particles)
        return Resampled(moved, equal_weights(moved))


class DrawsFromNumpy(Wrong):
    def __call__(self, prediction, particles, noise, state):
        return super().__call__(prediction, particles + float(np.random.rand()), noise, state)


class WritesIntoItsInput(Wrong):
    def __call__(self, prediction, particles, noise, state):
        result = super().__call__(prediction, particles, noise, state)
        noise.zero_()
        return result


class MixesReplicates(Wrong):
    def __call__(self, prediction, particles, noise, state):
        whole = particles.reshape(-1, particles.shape[-1]).mean(0)
        moved = torch.lerp(particles, whole.expand_as(particles), 0.1)
        return Resampled(moved, equal_weights(moved))


class WrongDerivative(Gaussian):
    name: ClassVar[str] = "wrong"

    def vjp(self, prediction, particles, noise, state):
        result, pull_back = super().vjp(prediction, particles, noise, state)
        return result, lambda *by: tuple(None if v is None else 1.001 * v for v in pull_back(*by))


class DetachesInSilence(Wrong):
    def __call__(self, prediction, particles, noise, state):
        moved = torch.lerp(particles, particles.mean(-2, keepdim=True).detach(), self.amount)
        return Resampled(moved, equal_weights(moved))


class KeepsToItself(Wrong):
    def __call__(self, prediction, particles, noise, state):
        return Resampled(0.9 * particles, equal_weights(particles))


class SharesTooMuch(Wrong):
    def __call__(self, prediction, particles, noise, state):
        return replace(
            super().__call__(prediction, particles, noise, state), weights=torch.ones_like(particles[..., 0])
        )


class SinglePrecision(Wrong):
    def __call__(self, prediction, particles, noise, state):
        moved = super().__call__(prediction, particles, noise, state).particles.float()
        return Resampled(moved, equal_weights(moved))


class DividesByTheSpread(Wrong):
    def __call__(self, prediction, particles, noise, state):
        moved = particles / particles.std(-2, keepdim=True)
        return Resampled(moved, equal_weights(moved))


class AcceptsAnyNumber(Wrong):
    def validate(self, num_particles, state_dims):
        pass


@dataclass(frozen=True)
class ListOption(sound.Shrink):
    name: ClassVar[str] = "wrong"
    sizes: tuple[float, ...] = field(default_factory=lambda: [1.0])  # type: ignore[assignment]


class Shouts(Wrong):
    name: ClassVar[str] = "WRONG NAME"


@pytest.mark.parametrize(
    ("strategy", "rule"),
    [
        (ReturnsParticles, "must return Resampled, got Tensor"),
        (DrawsItsOwnNoise, "must not draw from the global random generators"),
        (DrawsFromNumpy, "must not draw from the global random generators"),
        (WritesIntoItsInput, "must not change the tensors"),
        (MixesReplicates, "side by side with others must give what it gives alone"),
        (WrongDerivative, "derivative of vjp must be that of the function"),
        (DetachesInSilence, "exact_gradient is True, but finite differences"),
        (KeepsToItself, "mixes_particles is True, but .* does not change the others"),
        (SharesTooMuch, "weights must sum to one"),
        (SinglePrecision, "particles must have the dtype of the inputs"),
        (DividesByTheSpread, "finite for a cloud all at one point"),
        (AcceptsAnyNumber, "validate must raise ValueError for 5 particles"),
        (ListOption, "must be hashable"),
        (Shouts, "`name` must be lower-case"),
    ],
)
def test_a_wrong_strategy_is_told_its_rule(strategy, rule):
    with pytest.raises(ContractError, match=rule):
        check_resampler(strategy())


def test_what_is_no_strategy():
    with pytest.raises(ContractError, match=r"must derive from mbrl_agent\.Resampler"):
        check_resampler(sound.Pathwise())
    assert issubclass(ContractError, AssertionError)
    assert issubclass(sound.Shrink, Resampler)


# the other kinds -------------------------------------------------------------------------------------------


class Tripled(sound.Pathwise):
    name: ClassVar[str] = "tripled"

    def __call__(self, parameters, simulation):
        estimate = super().__call__(parameters, simulation)
        return replace(estimate, gradient={key: 3 * value for key, value in estimate.gradient.items()})


class KnowsItIsTripled(Tripled):
    unbiased: ClassVar[bool] = False


class NoJitter(sound.Pathwise):
    def __call__(self, parameters, simulation):
        return replace(super().__call__(parameters, simulation), diagnostics={})


class AveragesReplicates(sound.Pathwise):
    def __call__(self, parameters, simulation):
        estimate = super().__call__(parameters, simulation)
        mean = {key: value.mean(0, keepdim=True).expand_as(value) for key, value in estimate.gradient.items()}
        return replace(estimate, gradient=mean)


class Noisy(sound.Pathwise):
    def __call__(self, parameters, simulation):
        estimate = super().__call__(parameters, simulation)
        moved = {key: value + 1e-3 * torch.randn_like(value) for key, value in estimate.gradient.items()}
        return replace(estimate, gradient=moved)


@pytest.mark.parametrize(
    ("estimator", "rule"),
    [
        (Tripled, "unbiased is True, but on a linear-Gaussian system"),
        (NoJitter, "diagnostics must have 'jitter'"),
        (AveragesReplicates, "must give the gradient that it gives alone"),
        (Noisy, "must not draw from the global random generators"),
    ],
)
def test_a_wrong_estimator_is_told_its_rule(estimator, rule):
    with pytest.raises(ContractError, match=rule):
        check_estimator(estimator())


def test_an_estimator_that_claims_nothing_may_be_biased():
    check_estimator(KnowsItIsTripled())
    assert Reparameterization.unbiased


def model_with(**methods):
    """Least squares with other methods of the model."""

    @dataclass(frozen=True)
    class Options(sound.LeastSquares):
        def build(self, features, action_dims, generator, targets=None):
            return type("Other", (sound.LinearModel,), methods)(features, action_dims)

    return Options()


def centred(self, state, action, extra_noise=None):
    mean = sound.LinearModel.predict(self, state, action).mean
    return Prediction(mean - 0.1 * state.mean(-2, keepdim=True), self.std.expand_as(mean))


def forgetful(self, transitions, generator):
    report = sound.LinearModel.fit(self, transitions, generator)
    self.factor = 1.0 + float(transitions.states.std())  # not a buffer
    return report


def rescaled(self, state, action, extra_noise=None):
    prediction = sound.LinearModel.predict(self, state, action)
    return Prediction(prediction.mean, prediction.std * getattr(self, "factor", 1.0))


def integrated_wrongly():
    """Least squares that give positions as many columns as there are targets."""

    @dataclass(frozen=True)
    class Options(sound.LeastSquares):
        def build(self, features, action_dims, generator, targets=None):
            model = sound.LinearModel(features, action_dims)
            if targets is not None and targets.positions:
                whole = model.predict
                model.predict = lambda *inputs: Prediction(
                    *(getattr(whole(*inputs), name)[..., list(targets.predicted)] for name in ("mean", "std"))
                )
            return model

    return Options()


class WrongPredictor(Predictor):
    def vjp(self, state, action, extra_noise=None):
        prediction, pull_back = super().vjp(state, action, extra_noise)
        return prediction, lambda *by: tuple(-v for v in pull_back(*by))


class OneShot(Predictor):
    """Whose pull-back works in place."""

    def vjp(self, state, action, extra_noise=None):
        prediction, pull_back = super().vjp(state, action, extra_noise)
        factor = torch.ones_like(state[..., :1])

        def once(*by):
            found = tuple(factor * v for v in pull_back(*by))
            factor.mul_(0.5)
            return found

        return prediction, once


def greedy(self, transitions, generator):
    transitions.states[0] = 0.0
    return sound.LinearModel.fit(self, transitions, generator)


def in_turns(self, state, action, extra_noise=None):
    mean = sound.LinearModel.predict(self, state, action).mean
    turn = torch.arange(mean.shape[-2], dtype=mean.dtype) % 2
    return Prediction(mean + 0.1 * turn.unsqueeze(-1), self.std.expand_as(mean))


@pytest.mark.parametrize(
    ("methods", "rule"),
    [
        (
            {"noise_dims": property(lambda self: None, lambda self, value: None)},
            "noise_dims, set in __init__, must be .*, got None",
        ),
        ({"predict": lambda self, state, *rest: (state, state)}, "predict must return Prediction, got tuple"),
        ({"functions": 2}, "functions is 2, but all particles follow one"),
        ({"functions": 2, "predict": in_turns}, "3 in a row must follow the same function"),
        ({"predict": centred}, "must not depend on the states of others"),
        ({"fit": greedy}, "must not change the tensors"),
        ({"fit": forgetful, "predict": rescaled}, "register buffers"),
        (
            {"predictor": lambda self: WrongPredictor(self.predict)},
            "derivative must be that of its prediction",
        ),
        ({"predictor": lambda self: OneShot(self.predict)}, "the same whenever it is called"),
        ({"min_transitions": 0}, "min_transitions must be"),
    ],
)
def test_a_wrong_model_is_told_its_rule(methods, rule):
    with pytest.raises(ContractError, match=rule):
        check_dynamics(model_with(**methods))


def test_a_model_that_forgets_integrated_positions_is_told_so():
    with pytest.raises(ContractError, match="with targets, the predicted mean must have the shape"):
        check_dynamics(integrated_wrongly())


def policy_with(**methods):
    """The cubic policy with other methods."""
    cls = type("Other", (sound.CubicPolicy,), methods)

    @dataclass(frozen=True)
    class Options(sound.Cubic):
        policy_class: ClassVar[type[SearchPolicy]] = cls

    return Options()


class WrongController(DifferentiableController):
    def gradient(self):
        return {key: 2 * value for key, value in super().gradient().items()}


class WrongJacobian(ExplicitJacobian):
    def square_sum(self, by_action):
        return {key: value.sqrt() for key, value in super().square_sum(by_action).items()}


def with_wrong_squares(self, parameters):
    general = SearchPolicy.jacobian(self, parameters)
    return lambda state: WrongJacobian(general(state).rows, general(state).shapes)


def fixed(self, states, replicates, generator):
    drawn = sound.CubicPolicy.initial_parameters(self, states, replicates, generator)
    return {key: torch.ones_like(value) for key, value in drawn.items()}


def unbounded(self, parameters):
    return lambda state: self.standardized(state) @ parameters["slope"] + parameters["offset"].unsqueeze(-2)


@pytest.mark.parametrize(
    ("methods", "rule"),
    [
        ({"controller": unbounded}, r"actions must lie in \[-1, 1\]"),
        ({"initial_parameters": fixed}, "must be drawn with the generator"),
        ({"change_inputs": lambda self, p, factor, shift: dict(p)}, "must stay the same function"),
        (
            {"change_inputs": SearchPolicy.change_inputs},
            "without change_inputs a policy must take raw features",
        ),
        (
            {"differentiable_controller": lambda self, p: WrongController(self.controller, p)},
            "derivative by the parameter 'slope' must be autograd's",
        ),
        ({"jacobian": with_wrong_squares}, "square_sum of the jacobian by the parameter 'slope'"),
    ],
)
def test_a_wrong_policy_is_told_its_rule(methods, rule):
    with pytest.raises(ContractError, match=rule):
        check_policy(policy_with(**methods))


def forgetful(self, parameters):
    act = RecurrentPolicy.controller(self, parameters)
    return lambda state: act(torch.cat([state[..., :3], torch.zeros_like(state[..., 3:])], -1))


def without_starts(self, observation, state=None, episode_start=None, deterministic=False):
    return RecurrentPolicy.predict(self, observation, state)


def remembering_with(**methods):
    """The options of a policy that remembers, some of whose methods are wrong."""
    cls = type("Changed", (RecurrentPolicy,), methods)

    @dataclass(frozen=True)
    class Options(Recurrent):
        policy_class: ClassVar[type[SearchPolicy]] = cls

    return Options(hidden=4)


@pytest.mark.parametrize(
    ("methods", "rule"),
    [
        ({"controller": forgetful}, "what a policy remembers must make a difference"),
        ({"predict": without_starts}, "where an episode starts, predict must act as it does without a state"),
    ],
)
def test_a_wrong_memory_is_told_its_rule(methods, rule):
    with pytest.raises(ContractError, match=rule):
        check_policy(remembering_with(**methods))


@pytest.mark.parametrize(
    ("cost", "rule"),
    [
        (lambda state, action: state.square().sum(-1).detach(), "must be differentiable"),
        (lambda state, action: state.square().sum(-1, keepdim=True), "must have the shape"),
        (lambda state, action: (state - state.mean()).square().sum(-1), "must not depend on others"),
        (lambda state, action: state.square().sum(-1) * torch.tensor([math.pi]).sum(), "dtype of the inputs"),
        (
            lambda state, action: state.square().sum(-1) + 0 * torch.rand((), dtype=state.dtype),
            "global random generators",
        ),
        (lambda state, action: state.nosuch(), "cannot be called"),
        (3, "must be a function"),
    ],
)
def test_a_wrong_cost_is_told_its_rule(cost, rule):
    with pytest.raises(ContractError, match=rule):
        check_cost(cost)
