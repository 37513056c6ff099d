"""What every dynamics model promises."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mbrl_agent.contract.agents import learns_and_is_saved, particles_for
from mbrl_agent.contract.choices import CHOICE_RULES
from mbrl_agent.contract.rules import (
    DTYPES,
    REPLICATES,
    check_all,
    generator,
    normal,
    nothing_global,
    refuses,
    require,
    require_close,
    require_same,
    require_tensor,
    tolerance_of,
)
from mbrl_agent.dynamics.base import DynamicsModel, DynamicsOptions, FitReport, Predictor, Score
from mbrl_agent.features import AngleFeatures
from mbrl_agent.targets import Targets
from mbrl_agent.types import Prediction, Transitions

D, U, N = 3, 2, 40
ANGLE = 1
CONSTANT = 2
"""The dimension that never changes in `make_transitions(constant=True)`."""
POSITION, VELOCITY, STEP = 0, 2, 0.1
"""The dimension that is the integral of another in `make_mechanical_transitions`, and the time step."""
COPIES = ((0, 1), (2, D + 1))
"""Copies and their sources in `make_remembering_transitions`: a dimension, and the second of the actions."""

Inputs = tuple[Tensor, Tensor, Tensor | None]
"""State, action and the columns of noise that the model asks for."""


def make_transitions(model: DynamicsModel, count: int = N, constant: bool = False) -> Transitions:
    """Transitions of a linear system with noise, in the dtype that the model asks for."""
    states = normal(count, D) * torch.linspace(0.5, 2, D, dtype=torch.float64) + 1.0
    actions = torch.rand(count, U, generator=generator(1), dtype=torch.float64) * 2 - 1
    change = 0.3 * states.roll(1, -1) + 0.5 * actions[:, :1] - 0.2 * actions[:, 1:]
    change = change + 0.1 * normal(count, D, seed=2)
    if constant:
        states[:, CONSTANT], change[:, CONSTANT] = 0.7, 0.0
    values = (states, actions, states + change)
    return Transitions(*(value.to(model.data_dtype) for value in values))


def make_mechanical_transitions(model: DynamicsModel) -> Transitions:
    """Return the same, of which one dimension follows from another: x' = x + h (v + v') / 2."""
    transitions = make_transitions(model)
    speed = (transitions.states[:, VELOCITY] + transitions.next_states[:, VELOCITY]) / 2
    transitions.next_states[:, POSITION] = transitions.states[:, POSITION] + STEP * speed
    return transitions


def make_remembering_transitions(model: DynamicsModel) -> Transitions:
    """Return the same, of which two dimensions hold what another one and an action were a step before."""
    transitions = make_transitions(model)
    before = torch.cat([transitions.states, transitions.actions], dim=-1)
    for index, source in COPIES:
        transitions.next_states[:, index] = before[:, source]
    return transitions


def build(options: DynamicsOptions, integrated: bool = False, remembering: bool = False) -> DynamicsModel:
    """Make a model that is not fitted, told or not that one dimension integrates or copies another."""
    features = AngleFeatures(D, (ANGLE,))
    if integrated or remembering:
        pairs = ((POSITION, VELOCITY),) if integrated else ()
        targets = Targets(features, pairs, COPIES if remembering else ())
        return options.build(features, U, generator(), targets)
    return options.build(features, U, generator())


def fitted(
    options: DynamicsOptions, dtype: torch.dtype = torch.float64, constant: bool = False
) -> DynamicsModel:
    """Make a fitted model, the caller's own."""
    return copy.deepcopy(_fitted(options, dtype, constant))


@functools.lru_cache(maxsize=8)
def _fitted(options: DynamicsOptions, dtype: torch.dtype, constant: bool) -> DynamicsModel:
    model = build(options).to(dtype)
    model.fit(make_transitions(model, constant=constant), generator(1))
    return model


def make_inputs(model: DynamicsModel, *replicates: int, dtype: torch.dtype = torch.float64) -> Inputs:
    """States, actions and noise for as many particles as the model can deal out."""
    count = particles_for(model.validate, 12)
    state = normal(*replicates, count, D, seed=4, dtype=dtype)
    action = normal(*replicates, count, U, seed=5, dtype=dtype).tanh()
    extra = model.noise_dims - D
    return state, action, normal(*replicates, count, extra, seed=6, dtype=dtype) if extra else None


def check_is_model(options: DynamicsOptions) -> None:
    """It builds a model that says what it consumes."""
    require(isinstance(options, DynamicsOptions), "it must derive from mbrl_agent.DynamicsOptions")
    with nothing_global("build"):
        model = build(options)
    require(
        isinstance(model, DynamicsModel), f"build must return a DynamicsModel, got {type(model).__name__}"
    )
    columns = getattr(model, "noise_dims", None)
    require(
        isinstance(columns, int) and columns >= D,
        f"noise_dims, set in __init__, must be at least the number of state dimensions, {D}, got {columns!r}",
    )
    require(
        isinstance(model.min_transitions, int) and model.min_transitions >= 1,
        f"min_transitions must be a whole number of at least 1, got {model.min_transitions!r}",
    )


def check_fit(options: DynamicsOptions) -> None:
    """A fit repeats bitwise from its generator, reports, and leaves all else alone."""
    models = [build(options) for _ in range(2)]
    for seed, model in enumerate(models):
        transitions = make_transitions(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            with nothing_global("fit", *vars(transitions).values()):
                report = model.fit(transitions, generator(7))
        require(isinstance(report, FitReport), f"fit must return FitReport, got {type(report).__name__}")
        require(math.isfinite(report.train_nll), f"train_nll must be finite, got {report.train_nll}")
        require(report.curve.isfinite().all(), "the curve of a fit must be finite")
    one, other = (list(model.state_dict().values()) for model in models)
    require_same(one, other, "fit")


def check_score(options: DynamicsOptions) -> None:
    """A score is finite, one error a dimension, and changes nothing."""
    model = fitted(options)
    before = [value.clone() for value in model.state_dict().values()]
    transitions = make_transitions(model, N + 1)
    with nothing_global("score", *vars(transitions).values()):
        score = model.score(transitions)
    require(isinstance(score, Score), f"score must return Score, got {type(score).__name__}")
    require(math.isfinite(score.nll), f"nll must be finite, got {score.nll}")
    require(len(score.rmse) == D, f"rmse must hold {D} numbers, one a dimension, got {len(score.rmse)}")
    require(
        all(math.isfinite(value) and value >= 0 for value in score.rmse),
        f"rmse must be finite, got {score.rmse}",
    )
    require_same(before, list(model.state_dict().values()), "score")


def check_prediction(options: DynamicsOptions) -> None:
    """Replicate axes go through, the dtype is that of the inputs, a deviation is not negative."""
    for dtype in DTYPES:
        model = fitted(options, dtype)
        for replicates in REPLICATES:
            inputs = make_inputs(model, *replicates, dtype=dtype)
            prediction = model.predict(*inputs)
            kind = type(prediction).__name__
            require(isinstance(prediction, Prediction), f"predict must return Prediction, got {kind}")
            require_tensor(prediction.mean, inputs[0].shape, dtype, "the predicted mean")
            require_tensor(prediction.std, inputs[0].shape, dtype, "the predicted std")
            require((prediction.std >= 0).all(), "the predicted std must not be negative")


def check_purity(options: DynamicsOptions) -> None:
    """The same inputs give the same prediction, bitwise."""
    model = fitted(options)
    inputs = make_inputs(model, 2)
    with nothing_global("predict", *(value for value in inputs if value is not None)):
        once = model.predict(*inputs)
    again = model.predict(*inputs)
    require_same([once.mean, once.std], [again.mean, again.std], "predict")
    prepared = model.predictor()(*inputs)
    require_close(prepared.mean, once.mean, "predictor() must predict what predict does")
    require_close(prepared.std, once.std, "predictor() must predict what predict does")


def check_replicates(options: DynamicsOptions) -> None:
    """Particles never mix across replicates, and one particle's state is its own affair."""
    for dtype in DTYPES:
        model = fitted(options, dtype)
        state, action, extra = make_inputs(model, 2, 3, dtype=dtype)
        together = model.predict(state, action, extra)
        for i in range(2):
            for j in range(3):
                alone = model.predict(state[i, j], action[i, j], None if extra is None else extra[i, j])
                rule = "a replicate side by side with others must give what it gives alone"
                require_close(together.mean[i, j], alone.mean, rule, tolerance_of(dtype))
                require_close(together.std[i, j], alone.std, rule, tolerance_of(dtype))
        moved = state.clone()
        moved[..., 5, :] += 0.3
        others = torch.arange(state.shape[-2]) != 5
        after = model.predict(moved, action, extra)
        rule = "the prediction of a particle must not depend on the states of others"
        require_close(after.mean[..., others, :], together.mean[..., others, :], rule, tolerance_of(dtype))


def check_functions(options: DynamicsOptions) -> None:
    """Particle i keeps function i // (P / M) over a rollout, M the model's `functions`."""
    model = fitted(options)
    count = model.functions
    require(
        isinstance(count, int) and count >= 1,
        f"functions must be a whole number of at least 1, got {count!r}",
    )
    if count == 1 or refuses(lambda: model.validate(3 * count)):
        return
    extra = model.noise_dims - D
    state, action = (
        normal(dims, seed=seed).tanh().expand(3 * count, dims) for dims, seed in ((D, 4), (U, 5))
    )
    noise = normal(extra, seed=6).expand(3 * count, extra) if extra else None
    mean = model.predict(state, action, noise).mean.view(count, 3, D)
    rule = f"functions is {count}, so of {3 * count} particles 3 in a row must follow the same function"
    require_close(mean, mean[:, :1].expand_as(mean), rule)
    require(bool((mean[1:] != mean[:-1]).any()), f"functions is {count}, but all particles follow one")


def check_derivative(options: DynamicsOptions) -> None:
    """The predictor's derivative is that of its prediction, with a constant dimension too."""
    for constant in (False, True):
        model = fitted(options, constant=constant)
        for replicates in REPLICATES:
            inputs = make_inputs(model, *replicates)
            by = [normal(*inputs[0].shape, seed=seed) for seed in (8, 9)]
            prediction, pull_back = model.predictor().vjp(*inputs)
            called = model.predict(*inputs)
            require_close(prediction.mean, called.mean, "vjp must return what predict returns")
            require_close(prediction.std, called.std, "vjp must return what predict returns")
            reference = Predictor(model.predict).vjp(*inputs)[1]
            found = pull_back(*by)
            for own, expected in zip(found, reference(*by), strict=True):
                require(own is None or own.isfinite().all(), "the predictor's derivative must be finite")
                require_close(own, expected, "the predictor's derivative must be that of its prediction")
            pull_back(*(2 * value for value in by))
            for own, again in zip(found, pull_back(*by), strict=True):
                require_close(own, again, "a pull-back must give the same whenever it is called")


def check_min_transitions(options: DynamicsOptions) -> None:
    """It can be fitted to as few transitions as it says; none, and what is not finite, are refused."""
    model = build(options)
    model.fit(make_transitions(model, model.min_transitions), generator())
    inputs = make_inputs(model, dtype=next(iter(model.state_dict().values())).dtype)
    prediction = model.predict(*inputs)
    few = f"{model.min_transitions} transitions, its min_transitions"
    require(prediction.mean.isfinite().all(), f"the predicted mean must be finite after a fit to {few}")
    require(prediction.std.isfinite().all(), f"the predicted std must be finite after a fit to {few}")
    none = Transitions(*(value[:0] for value in vars(make_transitions(model)).values()))
    require(refuses(lambda: model.fit(none, generator())), "fit must raise ValueError for no transitions")
    broken = make_transitions(model)
    broken.next_states[3, 0] = math.nan
    require(
        refuses(lambda: model.fit(broken, generator())),
        "fit must raise ValueError for transitions that are NaN",
    )


def check_constant_dimension(options: DynamicsOptions) -> None:
    """A dimension that never changed is predicted to stay, with next to no spread."""
    model = fitted(options, constant=True)
    inputs = make_inputs(model)
    inputs[0][..., CONSTANT] = 0.7
    prediction = model.predict(*inputs)
    require(prediction.mean.isfinite().all(), "the mean must be finite where a dimension never changes")
    require(prediction.std.isfinite().all(), "the std must be finite where a dimension never changes")
    mean, std = prediction.mean[..., CONSTANT], prediction.std[..., CONSTANT]
    near = float((mean - 0.7).abs().max()) < 1e-3 and float(std.max()) < 1e-2
    require(near, "a dimension that never changed must be predicted to stay as it is")


def check_saving(options: DynamicsOptions) -> None:
    """All that a fit has found is in `state_dict`."""
    _require_saved(fitted(options), build(options))


def _require_saved(model: DynamicsModel, other: DynamicsModel) -> None:
    other = other.to(torch.float64)
    other.load_state_dict(model.state_dict(), strict=True)
    inputs = make_inputs(model, 2)
    one, again = model.predict(*inputs), other.predict(*inputs)
    same = torch.equal(one.mean, again.mean) and torch.equal(one.std, again.std)
    require(same, "a new model with the state_dict of a fitted one must predict the same: register buffers")


def check_integration(options: DynamicsOptions) -> None:
    """Where a position follows from its velocity, it predicts, scores, differentiates and saves the same."""
    _check_targets(options, make_mechanical_transitions, integrated=True)


def check_copies(options: DynamicsOptions) -> None:
    """Where dimensions are copies of others and of actions, it does so, too."""
    _check_targets(options, make_remembering_transitions, remembering=True)


def _check_targets(
    options: DynamicsOptions, make: Callable[[DynamicsModel], Transitions], **kind: bool
) -> None:
    model = build(options, **kind).to(torch.float64)
    transitions = make(model)
    model.fit(transitions, generator(1))
    inputs = make_inputs(model, 2)
    prediction, pull_back = model.predictor().vjp(*inputs)
    require_tensor(prediction.mean, inputs[0].shape, torch.float64, "with targets, the predicted mean")
    require_tensor(prediction.std, inputs[0].shape, torch.float64, "with targets, the predicted std")
    rmse = model.score(transitions).rmse
    require(len(rmse) == D, f"with targets, rmse must hold {D} numbers, one a dimension, got {len(rmse)}")
    by = [normal(*inputs[0].shape, seed=seed) for seed in (8, 9)]
    reference = Predictor(model.predict).vjp(*inputs)[1]
    for own, expected in zip(pull_back(*by), reference(*by), strict=True):
        require_close(own, expected, "with targets, the derivative must be that of the prediction")
    _require_saved(model, build(options, **kind))


def check_in_agent(options: DynamicsOptions) -> None:
    """It learns, is saved and goes on in a tiny agent."""
    learns_and_is_saved(dynamics=options)


RULES: tuple[Callable[[Any], None], ...] = (
    check_is_model,
    *CHOICE_RULES,
    check_fit,
    check_prediction,
    check_score,
    check_purity,
    check_replicates,
    check_functions,
    check_derivative,
    check_min_transitions,
    check_constant_dimension,
    check_saving,
    check_integration,
    check_copies,
    check_in_agent,
)


def check_dynamics(options: Any) -> None:
    """Check everything that a dynamics model promises.

    Args:
        options: An instance of its options, best with few steps of a fit: it is fitted some ten times.

    Raises:
        ContractError: A rule is broken; the message says which.
    """
    check_all(RULES, options, f"dynamics {options!r}")
