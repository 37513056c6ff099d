"""A Bayesian neural network by Monte Carlo dropout: the model of Deep PILCO.

Dropout is not switched off after the fit. A network with one set of dropped units is a draw of a function
from an approximate posterior, and a particle that keeps its set over a rollout follows that function.

Reference:
    Gal, McAllister, Rasmussen (2016), Improving PILCO with Bayesian Neural Network Dynamics Models.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from mbrl_agent.dynamics.base import DynamicsModel, DynamicsOptions, FitReport, Score
from mbrl_agent.dynamics.dropout_fit import fit_network
from mbrl_agent.dynamics.dropout_predictor import Dropout as Masks
from mbrl_agent.dynamics.dropout_predictor import DropoutPredictor, Network
from mbrl_agent.dynamics.ensemble_fit import negative_log_likelihood
from mbrl_agent.dynamics.scalings import fit_scalings, standardise
from mbrl_agent.features import AngleFeatures
from mbrl_agent.options import refused
from mbrl_agent.options.validation import (
    require_choice,
    require_count,
    require_counts,
    require_flag,
    require_positive,
)
from mbrl_agent.standardization import Scaling, inverse
from mbrl_agent.targets import Integration, Targets
from mbrl_agent.types import Prediction, Transitions

MIN_TRANSITIONS = 5
JUDGED = 20  # networks that a score looks at


@dataclass(frozen=True)
class Dropout(DynamicsOptions):
    """Options of the network with dropout.

    Example:
        >>> str(Dropout(rate=0.05))
        'dropout:rate=0.05'
        >>> model = Dropout().build(AngleFeatures(4, (2,)), 1, torch.Generator().manual_seed(0))
        >>> model.predict(torch.zeros(10, 4), torch.zeros(10, 1)).mean.shape
        torch.Size([10, 4])
    """

    name: ClassVar[str] = "dropout"

    hidden: tuple[int, ...] = (100, 100)
    """Units of each hidden layer."""
    rate: float = 0.1
    """Share of the hidden units that is dropped; with `concrete` only where the fit starts."""
    concrete: bool = False
    """Learn the rate of each layer (concrete dropout) instead of keeping it."""
    propagation: Literal["fixed", "per-step"] = "fixed"
    """A particle keeps its dropped units over a rollout, or draws them anew at every step."""
    functions: int = 150
    """Masks drawn after a fit, M: of P particles, particle i keeps mask i M // P; 150 is one a particle."""
    prior_scale: float = 1.0
    """Standard deviation of the prior of the weights."""
    fit_steps: int = 1500
    """Optimiser steps a fit."""
    learning_rate: float = 3e-3
    """Adam's step size at the start of a fit; it decays to zero along a cosine."""

    def __post_init__(self) -> None:
        require_counts("hidden", self.hidden)
        if not self.hidden:
            raise refused("hidden", "needs at least one layer, for example 100x100")
        require_positive("rate", self.rate)
        if self.rate > 0.5:
            raise refused("rate", f"must be at most 0.5, got {self.rate}")
        require_flag("concrete", self.concrete)
        require_choice("propagation", self.propagation, ("fixed", "per-step"))
        for name in ("functions", "fit_steps"):
            require_count(name, getattr(self, name))
        for name in ("prior_scale", "learning_rate"):
            require_positive(name, getattr(self, name))

    def build(
        self,
        features: AngleFeatures,
        action_dims: int,
        generator: torch.Generator,
        targets: Targets | None = None,
    ) -> DropoutModel:
        """Make an unfitted network."""
        return DropoutModel(self, features, action_dims, generator, targets or Targets(features))


class DropoutModel(DynamicsModel):
    """The network itself; it sees standardised features and actions, and predicts standardised changes.

    Args:
        options: Sizes and fit settings.
        features: What the network sees of a state.
        action_dims: U.
        generator: Source of the initial weights and masks.
        targets: What it predicts of a step.
    """

    min_transitions = MIN_TRANSITIONS
    data_dtype = torch.float64  # changes of large numbers are taken before they are rounded

    input_mean: Tensor
    input_scale: Tensor
    target_mean: Tensor
    target_std: Tensor
    log_std: Tensor
    rates: Tensor
    kept: Tensor

    def __init__(
        self,
        options: Dropout,
        features: AngleFeatures,
        action_dims: int,
        generator: torch.Generator,
        targets: Targets,
    ) -> None:
        super().__init__()
        self.options, self.features, self.targets = options, features, targets
        self.integration = Integration(targets, action_dims, generator.device)
        extra = sum(options.hidden) if options.propagation == "per-step" else 0
        self.noise_dims = features.state_dims + extra
        inputs, outputs = features.feature_dims + action_dims, len(targets)
        self._sizes = (inputs, *options.hidden, outputs)
        layers = self._draw_layers(generator)
        self.weights = nn.ParameterList([nn.Parameter(w, requires_grad=False) for w, _ in layers])
        self.biases = nn.ParameterList([nn.Parameter(b, requires_grad=False) for _, b in layers])
        like = layers[0][0]
        for name, count, value in (
            ("input_mean", inputs, 0.0),
            ("input_scale", inputs, 1.0),
            ("target_mean", outputs, 0.0),
            ("target_std", outputs, 1.0),
            ("log_std", outputs, 0.0),
            ("rates", len(options.hidden), options.rate),
        ):
            self.register_buffer(name, like.new_full((count,), value))
        kept = torch.zeros(options.functions, sum(options.hidden), dtype=torch.bool, device=like.device)
        self.register_buffer("kept", kept)
        self.kept.copy_(self._draw_masks(generator))

    @property
    def functions(self) -> int:
        """The masks, of which each particle keeps one."""
        return self.options.functions if self.options.propagation == "fixed" else 1

    def predict(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        """Predict each particle's next state with its dropped units."""
        return DropoutModel.predictor(self)(state, action, extra_noise)

    def predictor(self) -> DropoutPredictor:
        """Return the network as it is now, as a function."""
        *hidden, (last, last_bias) = self._network()
        network = [*hidden, (last * self.target_std, last_bias * self.target_std + self.target_mean)]
        keep = 1 / (1 - self.rates)
        parts = self.kept.split(list(self.options.hidden), dim=1)  # type: ignore[no-untyped-call]
        thresholds = None
        if self.options.propagation == "per-step":
            thresholds = math.sqrt(2) * torch.erfinv(1 - 2 * self.rates)
        masks = [part * factor for part, factor in zip(parts, keep, strict=True)]
        return DropoutPredictor(
            self.features,
            Scaling(self.input_mean, self.input_scale),
            network,
            Masks(masks, thresholds, keep),
            self.log_std.exp() * self.target_std,
            self.integration.rule(),
        )

    def fit(self, transitions: Transitions, generator: torch.Generator) -> FitReport:
        """Fit weights, noise and, with `concrete`, the rates; then draw the masks."""
        if len(transitions) < self.min_transitions:
            raise ValueError(
                f"a fit needs at least {self.min_transitions} transitions, got {len(transitions)}: "
                "collect a longer episode"
            )
        like = self.target_std
        scalings = fit_scalings(self.features, self.targets, transitions, like.dtype)
        inputs, targets = standardise(self.features, self.targets, transitions, scalings)
        start = [(weight.to(like), bias.to(like)) for weight, bias in self._draw_layers(generator)]
        result = fit_network(start, inputs.to(like), targets.to(like), self.options, generator)
        self.input_mean.copy_(scalings.inputs.mean)
        self.input_scale.copy_(scalings.inputs.scale)
        self.target_mean.copy_(scalings.targets.mean)
        self.target_std.copy_(inverse(scalings.targets.scale))
        self.log_std.copy_(result.log_std)
        self.rates.copy_(result.rates)
        for stored, (weight, _) in zip(self.weights, result.network, strict=True):
            stored.data = weight
        for stored, (_, bias) in zip(self.biases, result.network, strict=True):
            stored.data = bias
        self.kept.copy_(self._draw_masks(generator))
        self.integration.fit(transitions)
        return FitReport(float(result.curve[-1]), result.curve)

    def score(self, transitions: Transitions) -> Score:
        """Judge the model on transitions: the likelihood of single networks, and the error of their mean."""
        like, networks, count = self.target_std, min(JUDGED, self.options.functions), len(transitions)
        predictor = self.predictor()
        masks = [mask[:networks].repeat_interleave(count, 0) for mask in predictor.dropout.masks]
        predictor.dropout = Masks(masks, None, predictor.dropout.kept)  # row i has the mask i // N
        states, actions = transitions.states.to(like), transitions.actions.to(like)
        prediction = predictor(states.repeat(networks, 1), actions.repeat(networks, 1))
        mean = prediction.mean.view(networks, count, -1)
        error = self.features.change(mean, transitions.next_states.to(like))
        rmse = error.mean(0).square().mean(0).sqrt()
        varied, predicted = self.target_std > 0, list(self.targets.predicted)
        own = error[..., predicted][..., varied] / self.target_std[varied]
        nll = negative_log_likelihood(torch.zeros_like(own), self.log_std[varied], own)
        return Score(float(nll.mean()) if varied.any() else 0.0, rmse.tolist())

    def _network(self) -> Network:
        return list(zip(self.weights, self.biases, strict=True))

    def _draw_layers(self, generator: torch.Generator) -> Network:
        """Draw fresh weights (in, out), LeCun normal, and make biases (out), zero."""
        single = torch.float32  # whatever torch's default is
        return [
            (
                torch.randn((fan_in, fan_out), generator=generator, dtype=single, device=generator.device)
                / math.sqrt(fan_in),
                torch.zeros(fan_out, dtype=single, device=generator.device),
            )
            for fan_in, fan_out in itertools.pairwise(self._sizes)
        ]

    def _draw_masks(self, generator: torch.Generator) -> Tensor:
        """Draw whether each unit of all hidden layers is kept, (M, units); bool."""
        uniform = torch.rand(
            self.kept.shape, generator=generator, dtype=torch.float32, device=generator.device
        )
        rates = [rate.expand(units) for rate, units in zip(self.rates, self.options.hidden, strict=True)]
        return (uniform.to(self.rates.device) >= torch.cat(rates)).to(self.kept.device)
