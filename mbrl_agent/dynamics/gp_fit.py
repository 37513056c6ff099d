"""Hyperparameters of a Gaussian process by marginal likelihood, with PILCO's penalties.

Maximised is log p(y | X) minus ((log(s / n) / log 200)^30 + sum_d (log l_d / log 100)^30), of standardised
data: neither a signal of 200 times the noise nor a length-scale of 100 spreads is believed.

Reference:
    Rasmussen, Williams (2006), Gaussian Processes for Machine Learning, chapter 5; Deisenroth, Rasmussen
    (2011), PILCO (its toolbox has the penalties).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl_agent.dynamics.gp_kernels import Hyperparameters, Kernel

LEAST_NOISE = 0.02
"""Floor under the standard deviation of the noise, of standardised targets."""
MOST_SIGNAL_TO_NOISE = 200.0
LONGEST_LENGTHSCALE = 100.0
POWER = 30
START_LENGTHSCALES = (1.0, 3.0)
START_NOISE = 0.1
START_SLOPE = 0.1


@dataclass(frozen=True)
class GpFit:
    """The best hyperparameters that were found.

    Attributes:
        hyperparameters: Of one target.
        curve: (evaluations,), negative log marginal likelihood [nats a transition] of the best so far.
    """

    hyperparameters: Hyperparameters
    curve: Tensor


class _Problem:
    """Negative log marginal likelihood of one target as a function of a vector, with its derivative."""

    def __init__(self, kernel: Kernel, inputs: Tensor, targets: Tensor) -> None:
        self.kernel, self.inputs, self.targets = kernel, inputs, targets
        self.best: tuple[float, Tensor | None] = (math.inf, None)
        self.curve: list[float] = []

    def read(self, vector: Tensor) -> Hyperparameters:
        """Unpack the vector (l, s, n, a), all logs but n: that is above its floor."""
        count = self.inputs.shape[1]
        noise = 0.5 * torch.logaddexp(2 * vector[count + 1], vector.new_tensor(2 * math.log(LEAST_NOISE)))
        return Hyperparameters(vector[:count], vector[count], noise, vector[count + 2 :])

    def start(self, lengthscale: float) -> Tensor:
        """Compute a vector to start from."""
        count, like = self.inputs.shape[1], self.inputs
        slopes = count if self.kernel.linear else 0
        return torch.cat([
            like.new_full((count,), math.log(lengthscale)),
            like.new_tensor([0.0, math.log(START_NOISE)]),
            like.new_full((slopes,), math.log(START_SLOPE)),
        ])  # fmt: skip

    def value_and_gradient(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Return the penalised negative log likelihood a transition, and its derivative.

        The derivative by the covariance is (K^-1 - a a^T) / 2 with a = K^-1 y, which spares autograd the
        way through a factorisation.
        """
        leaf = vector.detach().requires_grad_()
        with torch.enable_grad():
            hyperparameters = self.read(leaf)
            covariance = hyperparameters.covariance(self.kernel, self.inputs, self.inputs)
            covariance = covariance + hyperparameters.noise_variance() * torch.eye(
                len(self.inputs), dtype=self.inputs.dtype, device=self.inputs.device
            )
            penalty = _penalty(hyperparameters)
        factor = torch.linalg.cholesky(covariance.detach())
        inverse = torch.cholesky_inverse(factor)
        weights = inverse @ self.targets
        count = len(self.targets)
        value = (self.targets @ weights) / 2 + factor.diagonal().log().sum()
        value = value / count + 0.5 * math.log(2 * math.pi)
        by_covariance = (inverse - torch.outer(weights, weights)) / (2 * count)
        by_both = [by_covariance, penalty.new_ones(())]
        (gradient,) = torch.autograd.grad([covariance, penalty], [leaf], by_both)
        self._remember(value, value + penalty.detach(), vector)
        return value + penalty.detach(), gradient

    def _remember(self, value: Tensor, penalised: Tensor, vector: Tensor) -> None:
        if bool(penalised.isfinite()) and float(penalised) < self.best[0]:
            self.best = (float(penalised), vector.detach().clone())
            self.curve.append(float(value))
        elif self.curve:
            self.curve.append(self.curve[-1])


def _penalty(hyperparameters: Hyperparameters) -> Tensor:
    ratio = (hyperparameters.log_signal - hyperparameters.log_noise) / math.log(MOST_SIGNAL_TO_NOISE)
    scales = hyperparameters.log_lengthscales / math.log(LONGEST_LENGTHSCALE)
    return ratio**POWER + (scales**POWER).sum()


def fit_hyperparameters(
    kernel: Kernel,
    inputs: Tensor,
    targets: Tensor,
    steps: int,
    last: Hyperparameters | None,
) -> GpFit:
    """Maximise the marginal likelihood of one target by L-BFGS, from several starts.

    Warns where no start could be improved; what it then returns is `last`, or the first start.

    Args:
        kernel: Covariance function.
        inputs: (N, F), float64, standardised.
        targets: (N), float64, standardised.
        steps: Iterations from each start.
        last: Of the last fit, one more start.
    """
    problem = _Problem(kernel, inputs, targets)
    starts = [problem.start(length) for length in START_LENGTHSCALES]
    if not bool(targets.any()):  # of what never varies nothing can be learned
        return GpFit(problem.read(starts[0]), _curve([0.0]))
    if last is not None:
        starts.insert(0, _as_vector(last))
    failure: Exception | None = None
    for start in starts:
        try:
            _minimise(problem, start, steps)
        except (IndexError, RuntimeError) as error:  # of torch's line search, of a factorisation
            failure = error
    found = problem.best[1]
    if found is None:
        warnings.warn(
            f"the hyperparameters of a Gaussian process could not be fitted ({failure}); "
            f"{'those of the last fit' if last is not None else 'its first guess'} is kept",
            stacklevel=3,
        )
        found, problem.curve = starts[0], [0.0]
    return GpFit(problem.read(found), _curve(problem.curve))


def _curve(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device="cpu")  # whatever torch's defaults are


def _minimise(problem: _Problem, start: Tensor, steps: int) -> None:
    """Run L-BFGS; the problem remembers the best vector."""
    vector = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS(
        [vector], max_iter=steps, line_search_fn="strong_wolfe", tolerance_change=1e-7
    )

    def closure() -> Tensor:
        value, vector.grad = problem.value_and_gradient(vector.detach())
        return value

    optimiser.step(closure)  # type: ignore[no-untyped-call]


def _as_vector(known: Hyperparameters) -> Tensor:
    """Compute the vector of `_Problem.read`, but for the floor under the noise."""
    noise = (2 * known.log_noise).exp() - LEAST_NOISE**2
    own = 0.5 * noise.clamp_min((LEAST_NOISE / 10) ** 2).log()
    return torch.cat([known.log_lengthscales, known.log_signal.view(1), own.view(1), known.log_slopes])
