"""Maximum-likelihood fit of all members of an ensemble at once, judged by what each of them leaves out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import silu

from mbrl_agent.adam import Adam, cosine
from mbrl_agent.dynamics.ensemble_held_out import HeldOut
from mbrl_agent.dynamics.scalings import Scalings
from mbrl_agent.errors import DivergedError

Layers = list[tuple[Tensor, Tensor]]
"""Weights (E, in, out) and biases (E, 1, out) of each layer of E networks."""

LOG_STD_MIN, LOG_STD_MAX = -3.0, 1.0  # a standardised target's standard deviation: 0.05 to 2.7
LOG_NORMALISER = 0.5 * math.log(2 * math.pi)  # of a Gaussian's density

LOOK_EVERY = 5  # steps of a fit between looks at what was held out

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
        noise_factor: (K), by which the networks underestimate the noise of a target.
    """

    layers: Layers
    curve: Tensor
    noise_factor: Tensor


def fit_layers(
    layers: Layers, inputs: Tensor, targets: Tensor, left_out: Tensor, options: FitOptions
) -> FitResult:
    """Minimise the Gaussian negative log-likelihood of all members by AdamW, full batch.

    The step size decays along a cosine. Guards against overfitting are a strong weight decay, and what the
    members leave out: the networks of the step that predicts it best are kept, and their noise is raised to
    what they miss it by.

    Args:
        layers: Initial weights.
        inputs: (N, F + U), standardised.
        targets: (N, D), standardised; a column of zeros never varies, and does not count.
        left_out: (E, N), torch.bool, what a member is not fitted to.
        options: Steps, step size and weight decay.

    Raises:
        DivergedError: The fit ended far above where it began, or nowhere.
    """
    current = [(weight.clone(), bias.clone()) for weight, bias in layers]
    weights, biases = ([layer[part] for layer in current] for part in (0, 1))
    optimizers = Adam(weights, options.weight_decay), Adam(biases)
    varied = (targets != 0).any(0)
    shares = varied.to(targets) / varied.sum().clamp_min(1)  # of the dimensions in the loss
    taken = (~left_out).to(targets)
    terms = (taken / taken.sum(-1, keepdim=True)).unsqueeze(-1) * shares  # (E, N, K)
    inputs = inputs.expand(len(left_out), *inputs.shape).contiguous()
    held_out = HeldOut(left_out, shares, [*weights, *biases])
    curve = []
    for step in range(options.fit_steps):
        found = loss_gradient(current, inputs, targets, terms)
        curve.append(found.losses.mean())
        if step % LOOK_EVERY == 0:
            held_out.look(found.error, [*weights, *biases])
        learning_rate = cosine(options.learning_rate, step, options.fit_steps)
        optimizers[0].step(found.by_weights, learning_rate)
        optimizers[1].step(found.by_biases, learning_rate)
    losses = torch.stack(curve)
    _check_converged([*weights, *biases], losses, options)
    held_out.look(loss_gradient(current, inputs, targets, terms).error, [*weights, *biases])
    kept = held_out.parameters
    best = list(zip(kept[: len(weights)], kept[len(weights) :], strict=True))
    found = loss_gradient(best, inputs, targets, terms)
    return FitResult(best, losses, held_out.noise_factor(found.error, found.log_std))


class LossGradient(NamedTuple):
    """What one pass of all members over the data finds.

    Attributes:
        losses: (E), weighted negative log-likelihoods.
        by_weights: Their derivatives by the weights of each layer.
        by_biases: Likewise.
        error: (E, N, K), predicted mean less target.
        log_std: (E, N, K), the predicted log standard deviation.
    """

    losses: Tensor
    by_weights: list[Tensor]
    by_biases: list[Tensor]
    error: Tensor
    log_std: Tensor


def loss_gradient(layers: Layers, inputs: Tensor, targets: Tensor, terms: Tensor) -> LossGradient:
    """Return the weighted negative log-likelihood of each member, and its gradient by the chain rule.

    With residuals r = (mean - target) / s, a term of weight w has the derivatives w r / s by the mean and
    w (1 - r^2) by log s. Autograd through the same takes half as long again.

    Args:
        layers: Weights (E, in, out) and biases (E, 1, out).
        inputs: (E, N, F + U).
        targets: (N, K).
        terms: (E, N, K), the weight of each in the sum.
    """
    before, hidden = [], [inputs]
    for weight, bias in layers[:-1]:
        before.append(torch.baddbmm(bias, hidden[-1], weight))
        hidden.append(silu(before[-1]))
    weight, bias = layers[-1]
    mean, raw_std = torch.baddbmm(bias, hidden[-1], weight).chunk(2, dim=-1)
    gate = raw_std.sigmoid()
    log_std = LOG_STD_MIN + (LOG_STD_MAX - LOG_STD_MIN) * gate
    error = mean - targets
    by_mean = error * (-2 * log_std).exp() * terms
    squares = error * by_mean  # w r^2
    losses = torch.addcmul(0.5 * squares, log_std + LOG_NORMALISER, terms).sum((-2, -1))
    by_raw = torch.ops.aten.sigmoid_backward(terms - squares, gate) * (LOG_STD_MAX - LOG_STD_MIN)
    gradient = torch.cat([by_mean, by_raw], dim=-1)
    by_weights, by_biases = [hidden[-1].mT @ gradient], [gradient.sum(-2, keepdim=True)]
    for index in range(len(layers) - 2, -1, -1):
        gradient = gradient @ layers[index + 1][0].mT
        gradient = torch.ops.aten.silu_backward(gradient, before[index])
        by_weights.insert(0, hidden[index].mT @ gradient)
        by_biases.insert(0, gradient.sum(-2, keepdim=True))
    return LossGradient(losses, by_weights, by_biases, error, log_std)


def _check_converged(parameters: list[Tensor], curve: Tensor, options: FitOptions) -> None:
    """Raise DivergedError unless the loss stayed finite and did not rise out of all proportion."""
    finite = all(value.isfinite().all() for value in parameters)
    first, last = float(curve[0]), float(curve[-1])
    if not finite or not last < first + DIVERGED:
        raise DivergedError(
            f"the fit of the dynamics model diverged: its loss went from {first:.3g} to {last:.3g} in "
            f"{options.fit_steps} steps; use a smaller learning rate than {options.learning_rate:g}"
        )


def negative_log_likelihood(mean: Tensor, log_std: Tensor, targets: Tensor) -> Tensor:
    """Compute that of a Gaussian with diagonal covariance, by dimension [nats]."""
    return 0.5 * ((targets - mean) * (-log_std).exp()) ** 2 + log_std + LOG_NORMALISER


def seen_from(layers: Layers, old: Scalings, new: Scalings) -> Layers:
    """Return networks that work by the old scalings as they look by the new ones: the same functions."""
    (first, first_bias), *rest = layers
    factor, shift = (part.to(first) for part in old.inputs.seen_from(new.inputs))
    layers = [(factor[:, None] * first, first_bias + (shift @ first).unsqueeze(-2)), *rest]
    *rest, (last, last_bias) = layers
    factor, shift = (part.to(first) for part in new.targets.seen_from(old.targets))
    unit = torch.cat([factor, torch.ones_like(factor)])  # (standard deviations keep their unit)
    zero = torch.cat([shift, torch.zeros_like(shift)])
    return [*rest, (last * unit, last_bias * unit + zero)]
