"""Maximum-likelihood fit of all members of an ensemble at once, full batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import silu

from mbrl_agent.adam import Adam, cosine
from mbrl_agent.dynamics.scalings import Scalings
from mbrl_agent.errors import DivergedError

Layers = list[tuple[Tensor, Tensor]]
"""Weights (E, in, out) and biases (E, 1, out) of each layer of E networks."""

LOG_STD_MIN, LOG_STD_MAX = -3.0, 1.0  # a standardised target's standard deviation: 0.05 to 2.7

DIVERGED = 100.0  # nats a dimension by which a fit may end above its beginning: a good one ends below


class FitOptions(Protocol):
    """The options that a fit reads; documented in `mbrl_agent.dynamics.ensemble.Ensemble`."""

    @property
    def fit_steps(self) -> int: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102
    @property
    def weight_decay(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class FitResult:
    """Fitted layers and the way to them.

    Attributes:
        layers: The fitted weights and biases.
        curve: (steps,), the members' mean negative log-likelihood a dimension before each step.
    """

    layers: Layers
    curve: Tensor


def forward(layers: Layers, inputs: Tensor) -> Tensor:
    """Run all members: (E, N, in) -> (E, N, out), one batched matrix product a layer."""
    hidden = inputs
    for weight, bias in layers[:-1]:
        hidden = silu(torch.baddbmm(bias, hidden, weight))
    weight, bias = layers[-1]
    return torch.baddbmm(bias, hidden, weight)


def bounded_log_std(raw: Tensor) -> Tensor:
    """A network's raw output as log standard deviation of a standardised target, within fixed bounds."""
    return LOG_STD_MIN + (LOG_STD_MAX - LOG_STD_MIN) * raw.sigmoid()


def bootstrap(members: int, count: int, generator: torch.Generator) -> Tensor:
    """Weights (E, N) of N transitions in each member's loss, of mean one a member.

    This is Rubin's Bayesian bootstrap: exponential weights, the smooth counterpart of drawing with
    replacement. Members differ as much, but none loses the third of a handful of transitions that a
    draw with replacement leaves out.

    Reference:
        Rubin (1981), The Bayesian Bootstrap.
    """
    uniform = torch.rand((members, count), generator=generator, dtype=torch.float32, device=generator.device)
    weights = -(1 - uniform).log()
    return weights / weights.mean(-1, keepdim=True)


def fit_layers(
    layers: Layers, inputs: Tensor, targets: Tensor, sample_weights: Tensor, options: FitOptions
) -> FitResult:
    """Minimise the Gaussian negative log-likelihood of all members by AdamW, full batch.

    The step size decays along a cosine. The guard against overfitting is the weight decay, which is
    strong, rather than early stopping: with 30 to 300 transitions, data held out to stop early are
    missed more than they help.

    Args:
        layers: Initial weights.
        inputs: (N, F + U), standardised.
        targets: (N, D), standardised; a column of zeros never varies, and does not count.
        sample_weights: (E, N), of mean one a member.
        options: Steps, step size and weight decay.

    Raises:
        DivergedError: The fit ended far above where it began, or nowhere.
    """
    weights = [weight.clone().requires_grad_() for weight, _ in layers]
    biases = [bias.clone().requires_grad_() for _, bias in layers]
    current = list(zip(weights, biases, strict=True))
    optimizers = Adam(weights, options.weight_decay), Adam(biases)
    varied = (targets != 0).any(0)
    shares = varied.to(targets) / varied.sum().clamp_min(1)  # of the dimensions in the loss
    inputs = inputs.expand(len(sample_weights), *inputs.shape)
    curve = []
    for step in range(options.fit_steps):
        mean, raw_std = forward(current, inputs).chunk(2, dim=-1)
        nll = negative_log_likelihood(mean, bounded_log_std(raw_std), targets) @ shares  # (E, N)
        losses = (nll * sample_weights).mean(-1)
        curve.append(losses.detach().mean())
        gradients = torch.autograd.grad(losses.sum(), [*weights, *biases])
        learning_rate = cosine(options.learning_rate, step, options.fit_steps)
        optimizers[0].step(gradients[: len(weights)], learning_rate)
        optimizers[1].step(gradients[len(weights) :], learning_rate)
    fitted = [(weight.detach(), bias.detach()) for weight, bias in current]
    result = FitResult(fitted, torch.stack(curve))
    _check_converged(result, options)
    return result


def _check_converged(result: FitResult, options: FitOptions) -> None:
    """Raise DivergedError unless the loss stayed finite and did not rise out of all proportion."""
    finite = all(value.isfinite().all() for layer in result.layers for value in layer)
    first, last = float(result.curve[0]), float(result.curve[-1])
    if not finite or not last < first + DIVERGED:
        raise DivergedError(
            f"the fit of the dynamics model diverged: its loss went from {first:.3g} to {last:.3g} in "
            f"{options.fit_steps} steps; use a smaller learning rate than {options.learning_rate:g}"
        )


def negative_log_likelihood(mean: Tensor, log_std: Tensor, targets: Tensor) -> Tensor:
    """Of a Gaussian with diagonal covariance, by dimension [nats]."""
    return 0.5 * ((targets - mean) * (-log_std).exp()) ** 2 + log_std + 0.5 * math.log(2 * math.pi)


def seen_from(layers: Layers, old: Scalings, new: Scalings) -> Layers:
    """Networks that work by the old scalings as they look by the new ones: the same functions."""
    (first, first_bias), *rest = layers
    factor, shift = (part.to(first) for part in old.inputs.seen_from(new.inputs))
    layers = [(factor[:, None] * first, first_bias + (shift @ first).unsqueeze(-2)), *rest]
    *rest, (last, last_bias) = layers
    factor, shift = (part.to(first) for part in new.targets.seen_from(old.targets))
    unit = torch.cat([factor, torch.ones_like(factor)])  # (standard deviations keep their unit)
    zero = torch.cat([shift, torch.zeros_like(shift)])
    return [*rest, (last * unit, last_bias * unit + zero)]
