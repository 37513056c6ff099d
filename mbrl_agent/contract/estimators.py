"""What every gradient estimator promises."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mbrl_agent.contract.agents import learns_and_is_saved
from mbrl_agent.contract.choices import CHOICE_RULES
from mbrl_agent.contract.linear_gaussian import (
    HORIZON,
    PARAMETERS,
    copies,
    exact_gradient,
    replicate,
    simulate,
)
from mbrl_agent.contract.rules import (
    DTYPES,
    check_all,
    nothing_global,
    refuses,
    require,
    require_close,
    require_same,
    require_tensor,
    tolerance_of,
)
from mbrl_agent.resampling import RESAMPLERS, NoResampling, Resampler
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.types import GradientEstimate, Prediction, Resampled

REPEATS = 400
"""Estimates whose mean is compared with the exact gradient."""


def working_strategy(estimator: Estimator) -> Resampler:
    """Return the first of the package's strategies, "none" before all others, with which the estimator works.

    Raises:
        ContractError: There is none.
    """
    strategies = [NoResampling(), *(RESAMPLERS.resolve(name) for name in RESAMPLERS.own)]
    usable = [each for each in strategies if not refuses(lambda each=each: estimator.validate(each))]  # type: ignore[misc]
    require(bool(usable), "validate must accept at least one of the package's strategies")
    return usable[0]


def few(estimator: Estimator, at_least: int = 12) -> int:
    """Return a small number of particles with which it works."""
    return max(at_least, estimator.min_particles(2, 1))


def check_is_estimator(estimator: Estimator) -> None:
    """It is one, and says what it claims."""
    require(isinstance(estimator, Estimator), "it must derive from mbrl_agent.Estimator")
    require(isinstance(estimator.unbiased, bool), "unbiased must be True or False")
    working_strategy(estimator)


def check_shapes(estimator: Estimator) -> None:
    """A tensor a parameter, of its shape and dtype; a number a replicate for all else."""
    strategy, count = working_strategy(estimator), few(estimator)
    for dtype in DTYPES:
        parameters = copies(3, dtype)
        estimate = estimator(parameters, simulate(3, strategy, count, dtype))
        require(
            isinstance(estimate, GradientEstimate),
            f"it must return GradientEstimate, got {type(estimate).__name__}",
        )
        require(
            set(estimate.gradient) == set(parameters),
            "gradient must hold a tensor for each parameter, by name",
        )
        for key, value in parameters.items():
            require_tensor(estimate.gradient[key], value.shape, dtype, f"the gradient by {key!r}")
        require_tensor(estimate.expected_cost, (3,), dtype, "expected_cost")
        require("jitter" in estimate.diagnostics, "diagnostics must have 'jitter'")
        for key, value in estimate.diagnostics.items():
            require_tensor(value, (3,), None, f"diagnostic {key!r}", finite=False)
        values = [*estimate.gradient.values(), estimate.expected_cost, *estimate.diagnostics.values()]
        require(not any(v.requires_grad for v in values), "what is returned must be detached")


def check_expected_cost(estimator: Estimator) -> None:
    """It is the rollout's."""
    simulation = simulate(2, working_strategy(estimator), few(estimator))
    expected = simulation(copies(2)).expected_cost()
    found = estimator(copies(2), simulation).expected_cost
    require_close(found, expected, "expected_cost must be that of the rollout")


def check_purity(estimator: Estimator) -> None:
    """The same noise gives the same estimate, bitwise, also where gradients are switched off."""
    simulation, parameters = simulate(2, working_strategy(estimator), few(estimator)), copies(2)
    with nothing_global("an estimator", *parameters.values(), simulation.initial_particles):
        once = estimator(parameters, simulation)
    require(
        not any(value.requires_grad for value in parameters.values()), "the parameters must be left alone"
    )
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        again = estimator(parameters, simulation)
    require_same(list(once.gradient.values()), list(again.gradient.values()), "an estimator")


def check_replicates(estimator: Estimator) -> None:
    """Replicates are independent, each with its own parameters."""
    strategy, count = working_strategy(estimator), few(estimator, 20)
    for dtype in DTYPES:
        whole, parameters = simulate(3, strategy, count, dtype), copies(3, dtype)
        next(iter(parameters.values()))[1] += 0.5
        together = estimator(parameters, whole)
        for index in range(3):
            own = {key: value[index] for key, value in parameters.items()}
            alone = estimator(own, replicate(whole, index))
            for key, value in alone.gradient.items():
                rule = "a replicate side by side with others must give the gradient that it gives alone"
                require_close(together.gradient[key][index], value, rule, tolerance_of(dtype))


@dataclass(frozen=True)
class Jittery(NoResampling):
    """Claims that each step needed jitter in the second of two replicates."""

    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """Leave the particles alone."""
        resampled = super().__call__(prediction, particles, noise, state)
        return replace(resampled, jitter=torch.tensor([0.0, 1e-3], dtype=particles.dtype))


def check_jitter(estimator: Estimator) -> None:
    """The diagnostic "jitter" counts the steps that needed it."""
    if refuses(lambda: estimator.validate(Jittery())):
        return
    found = estimator(copies(2), simulate(2, Jittery(), few(estimator))).diagnostics["jitter"].tolist()
    expected = [0, HORIZON]
    require(found == expected, f"diagnostic 'jitter' must count factorisations, {expected}, got {found}")


def check_ends(estimator: Estimator) -> None:
    """It works where particles end before the horizon."""
    simulation = simulate(
        2, working_strategy(estimator), few(estimator, 20), terminated=lambda state: state[..., 0] > 1.2
    )
    estimate = estimator(copies(2), simulation)
    for value in estimate.gradient.values():
        require(value.isfinite().all(), "the gradient must be finite where particles end early")
    expected = simulation(copies(2)).expected_cost()
    require_close(
        estimate.expected_cost, expected, "expected_cost must be that of the rollout where particles end"
    )


def check_min_particles(estimator: Estimator) -> None:
    """It works with as few particles as it says, and refuses fewer."""
    fewest = estimator.min_particles(2, 1)
    estimator.validate_particles(fewest, 2, 1)
    strategy = working_strategy(estimator)
    count = max(fewest, strategy.min_particles(2))
    for value in estimator(copies(2), simulate(2, strategy, count)).gradient.values():
        require(value.isfinite().all(), f"the gradient must be finite with the fewest particles, {count}")
    require(
        refuses(lambda: estimator.validate_particles(fewest - 1, 2, 1)),
        f"validate_particles must raise ValueError for {fewest - 1} particles, as min_particles is {fewest}",
    )


def check_bias(estimator: Estimator) -> None:
    """Where it says `unbiased`, the mean of many estimates is the gradient of a linear-Gaussian system."""
    if not estimator.unbiased or refuses(lambda: estimator.validate(NoResampling())):
        return
    estimate = estimator(copies(REPEATS), simulate(REPEATS, NoResampling(), few(estimator, 100)))
    drawn = torch.cat([estimate.gradient[key].flatten(1) for key in PARAMETERS], dim=1)
    exact = torch.cat([value.flatten() for value in exact_gradient().values()])
    error, standard_error = drawn.mean(0) - exact, drawn.std(0) / math.sqrt(REPEATS)
    require(
        (standard_error < 0.1 * exact.norm()).all(),
        "unbiased is True, but the estimate is so noisy on a linear-Gaussian system that it cannot be told",
    )
    require(
        (error.abs() < 4 * standard_error + 1e-12).all(),
        f"unbiased is True, but on a linear-Gaussian system the mean of {REPEATS} gradients is "
        f"{drawn.mean(0).tolist()}, and the exact one {exact.tolist()}",
    )


def check_in_agent(estimator: Estimator) -> None:
    """It learns, is saved and goes on in a tiny agent."""
    learns_and_is_saved(estimator=estimator, resampling=working_strategy(estimator))


RULES = (
    check_is_estimator,
    *CHOICE_RULES,
    check_shapes,
    check_expected_cost,
    check_purity,
    check_replicates,
    check_jitter,
    check_ends,
    check_min_particles,
    check_bias,
    check_in_agent,
)


def check_estimator(estimator: Any) -> None:
    """Check everything that a gradient estimator promises.

    Args:
        estimator: An instance with any options.

    Raises:
        ContractError: A rule is broken; the message says which.
    """
    check_all(RULES, estimator, f"estimator {estimator!r}")
