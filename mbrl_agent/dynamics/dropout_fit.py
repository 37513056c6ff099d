"""Variational fit of a network with dropout: weights, noise and, where asked for, dropout rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import silu

from mbrl_agent.adam import Adam, cosine
from mbrl_agent.dynamics.dropout_predictor import Network
from mbrl_agent.dynamics.ensemble_fit import negative_log_likelihood
from mbrl_agent.errors import DivergedError

TEMPERATURE = 0.1  # of the relaxed Bernoulli distribution, as Gal, Hron and Kendall use it
LEAST_LOG_STD, LARGEST_LOG_STD = -4.0, 1.0  # of the noise of a standardised change
LEAST_RATE, LARGEST_RATE = 0.002, 0.5


class DropoutFitOptions(Protocol):
    """The options that a fit reads; documented in `mbrl_agent.dynamics.dropout.Dropout`."""

    @property
    def rate(self) -> float: ...  # noqa: D102
    @property
    def concrete(self) -> bool: ...  # noqa: D102
    @property
    def prior_scale(self) -> float: ...  # noqa: D102
    @property
    def fit_steps(self) -> int: ...  # noqa: D102
    @property
    def learning_rate(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class DropoutFitResult:
    """A fitted network and the way to it.

    Attributes:
        network: Of standardised inputs and changes.
        log_std: (K), of the noise of a standardised change.
        rates: (L), the dropout rate of each hidden layer.
        curve: (steps,), the mean negative log-likelihood a dimension before each step.
    """

    network: Network
    log_std: Tensor
    rates: Tensor
    curve: Tensor


def fit_network(
    network: Network, inputs: Tensor, targets: Tensor, options: DropoutFitOptions, generator: torch.Generator
) -> DropoutFitResult:
    """Maximise the evidence lower bound by Adam, full batch, with a fresh mask for each transition and step.

    With N transitions the loss is the mean negative log-likelihood plus, of each layer,

        (1 - p) |W|^2 / (2 N s^2) - H(p) units / N,

    p the dropout rate of the units that the weights W come from (0 for the inputs), s the standard deviation
    of the weights' prior, and H the entropy of the choice, which only matters where the rate is learned.

    Args:
        network: Initial weights.
        inputs: (N, F + U), standardised.
        targets: (N, K), standardised; a column of zeros never varies, and does not count.
        options: Rates, steps, step size.
        generator: Source of the masks.

    Raises:
        DivergedError: The loss, or a weight, is not finite at the end.

    Reference:
        Gal, Ghahramani (2016), Dropout as a Bayesian Approximation; Gal, Hron, Kendall (2017), Concrete
        Dropout.
    """
    leaves = [(weight.clone().requires_grad_(), bias.clone().requires_grad_()) for weight, bias in network]
    varied = (targets != 0).any(0)
    shares = varied.to(targets) / varied.sum().clamp_min(1)
    log_std = torch.zeros_like(targets[0]).requires_grad_()
    logits = inputs.new_full((len(network) - 1,), options.rate).logit().requires_grad_(options.concrete)
    parameters = [value for layer in leaves for value in layer] + [log_std, *([logits] * options.concrete)]
    optimizer = Adam(parameters)
    curve = []
    for step in range(options.fit_steps):
        rates = logits.sigmoid().clamp(LEAST_RATE, LARGEST_RATE)
        mean = _forward(leaves, inputs, rates, options.concrete, generator)
        bounded = log_std.clamp(LEAST_LOG_STD, LARGEST_LOG_STD)
        likelihood = (negative_log_likelihood(mean, bounded, targets) @ shares).mean()
        curve.append(likelihood.detach())
        prior = _prior(leaves, rates, options) / len(inputs) * shares.max()  # a mean over dimensions, too
        gradients = torch.autograd.grad(likelihood + prior, parameters)
        optimizer.step(gradients, cosine(options.learning_rate, step, options.fit_steps))
    fitted = [(weight.detach(), bias.detach()) for weight, bias in leaves]
    rates = logits.detach().sigmoid().clamp(LEAST_RATE, LARGEST_RATE)
    found = DropoutFitResult(
        fitted, log_std.detach().clamp(LEAST_LOG_STD, LARGEST_LOG_STD), rates, torch.stack(curve)
    )
    finite = all(value.isfinite().all() for layer in fitted for value in layer)
    if not finite or not found.curve[-1].isfinite():
        raise DivergedError(
            f"the fit of the dynamics model diverged: its loss went from {float(found.curve[0]):.3g} to "
            f"{float(found.curve[-1]):.3g} in {options.fit_steps} steps; use a smaller learning rate than "
            f"{options.learning_rate:g}"
        )
    return found


def _forward(
    network: Network, inputs: Tensor, rates: Tensor, relaxed: bool, generator: torch.Generator
) -> Tensor:
    """Run the network with a fresh mask for each row."""
    hidden = inputs
    for (weight, bias), rate in zip(network[:-1], rates, strict=True):
        linear = hidden @ weight + bias
        uniform = torch.rand(linear.shape, generator=generator, dtype=linear.dtype, device=linear.device)
        if relaxed:  # differentiable by the rate
            uniform = uniform.clamp(1e-6, 1 - 1e-6)
            keep = 1 - ((rate.logit() + uniform.logit()) / TEMPERATURE).sigmoid()
        else:
            keep = (uniform >= rate).to(linear)
        hidden = silu(linear) * keep / (1 - rate)
    weight, bias = network[-1]
    return hidden @ weight + bias


def _prior(network: Network, rates: Tensor, options: DropoutFitOptions) -> Tensor:
    """Return N times what the prior adds to the loss."""
    kept = torch.cat([torch.ones_like(rates[:1]), 1 - rates])  # of what each layer takes in
    squares = torch.stack([weight.square().sum() for weight, _ in network])
    total = (kept * squares).sum() / (2 * options.prior_scale**2)
    if options.concrete:
        entropy = -(rates * rates.log() + (1 - rates) * (1 - rates).log())
        units = torch.tensor([len(weight) for weight, _ in network[1:]], dtype=rates.dtype).to(rates.device)
        total = total - (entropy * units).sum()
    return total
