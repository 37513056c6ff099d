"""Probabilistic ensemble of neural networks, batched over members (PETS; deep ensemble).

Each member is a multilayer perceptron that maps features of a state and an action to a Gaussian over
the change of the state. Members differ by their initial weights and by the part of the data that each
leaves out, which tells when a fit has to stop and how noisy the data are. In a rollout particle i is
propagated by member i // (P / E): contiguous blocks, so that one batched matrix product a layer serves
all members.

Reference:
    Chua, Calandra, McAllister, Levine (2018), Deep Reinforcement Learning in a Handful of Trials using
    Probabilistic Dynamics Models.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from mbrl_agent.dynamics.base import DynamicsModel, DynamicsOptions, FitReport, Score
from mbrl_agent.dynamics.ensemble_fit import (
    Layers,
    fit_layers,
    negative_log_likelihood,
    seen_from,
)
from mbrl_agent.dynamics.ensemble_held_out import folds
from mbrl_agent.dynamics.ensemble_predictor import EnsemblePredictor
from mbrl_agent.dynamics.scalings import Scalings, fit_scalings, standardise
from mbrl_agent.features import AngleFeatures
from mbrl_agent.options import refused
from mbrl_agent.options.validation import (
    require_choice,
    require_count,
    require_counts,
    require_flag,
    require_not_negative,
    require_positive,
)
from mbrl_agent.standardization import Scaling, inverse
from mbrl_agent.targets import Integration, Targets
from mbrl_agent.types import Prediction, Transitions

MIN_TRANSITIONS = 5


@dataclass(frozen=True)
class Ensemble(DynamicsOptions):
    """Options of the ensemble.

    Example:
        >>> str(Ensemble(members=7, hidden=(64, 64)))
        'ensemble:members=7'
        >>> model = Ensemble().build(AngleFeatures(4, (2,)), 1, torch.Generator().manual_seed(0))
        >>> model.predict(torch.zeros(10, 4), torch.zeros(10, 1)).mean.shape
        torch.Size([10, 4])
    """

    name: ClassVar[str] = "ensemble"

    members: int = 5
    """Networks in the ensemble, E; the number of particles must be a multiple of it."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer."""
    propagation: Literal["fixed", "per-step"] = "fixed"
    """Member of a particle: fixed over a rollout (TS-infinity in PETS) or redrawn at every step (TS1)."""
    fit_steps: int = 1500
    """Optimiser steps a fit."""
    learning_rate: float = 3e-3
    """Adam's step size at the start of a fit; it decays to zero along a cosine."""
    weight_decay: float = 1.0
    """Decoupled weight decay of AdamW, a unit of step size."""
    warm_start: bool = False
    """Start a fit from the weights of the last one instead of fresh ones; allows fewer fit steps."""

    def __post_init__(self) -> None:
        require_count("members", self.members)
        require_counts("hidden", self.hidden)
        if not self.hidden:
            raise refused("hidden", "needs at least one layer, for example 64x64")
        require_choice("propagation", self.propagation, ("fixed", "per-step"))
        require_count("fit_steps", self.fit_steps)
        require_positive("learning_rate", self.learning_rate)
        require_not_negative("weight_decay", self.weight_decay)
        require_flag("warm_start", self.warm_start)

    def build(
        self,
        features: AngleFeatures,
        action_dims: int,
        generator: torch.Generator,
        targets: Targets | None = None,
    ) -> EnsembleModel:
        """Make an unfitted ensemble."""
        return EnsembleModel(self, features, action_dims, generator, targets)


class EnsembleModel(DynamicsModel):
    """The ensemble itself.

    The stored networks see standardised features and actions and return standardised state changes. What
    has never varied has a scale of zero: as an input it is ignored, and as a change it is predicted exactly.

    Args:
        options: Sizes and fit settings.
        features: What the networks see of a state.
        action_dims: U.
        generator: Source of the initial weights.
        targets: What the networks predict of a step; None for the change of every dimension.
    """

    min_transitions = MIN_TRANSITIONS
    data_dtype = torch.float64  # changes of large numbers are taken before they are rounded

    input_mean: Tensor
    input_scale: Tensor
    target_mean: Tensor
    target_std: Tensor
    noise_factor: Tensor

    def __init__(
        self,
        options: Ensemble,
        features: AngleFeatures,
        action_dims: int,
        generator: torch.Generator,
        targets: Targets | None = None,
    ) -> None:
        super().__init__()
        self.options = options
        self.features = features
        self.targets = targets = targets or Targets(features)
        self.integration = Integration(targets, action_dims, generator.device)
        self.noise_dims = features.state_dims + (1 if options.propagation == "per-step" else 0)
        inputs = features.feature_dims + action_dims
        self._sizes = (inputs, *options.hidden, 2 * len(targets))
        layers = self._draw_layers(generator)
        self.weights = nn.ParameterList([nn.Parameter(w, requires_grad=False) for w, _ in layers])
        self.biases = nn.ParameterList([nn.Parameter(b, requires_grad=False) for _, b in layers])
        for name, count, value in (
            ("input_mean", inputs, 0.0),
            ("input_scale", inputs, 1.0),
            ("target_mean", len(targets), 0.0),
            ("target_std", len(targets), 1.0),
            ("noise_factor", len(targets), 1.0),
        ):
            self.register_buffer(name, layers[0][0].new_full((count,), value))

    @property
    def functions(self) -> int:
        """The members, of which each particle keeps one."""
        return self.options.members if self.options.propagation == "fixed" else 1

    def validate(self, num_particles: int) -> None:
        """Raise ValueError unless the particles split evenly over the members."""
        members = self.options.members
        if num_particles % members:
            nearest = max(1, round(num_particles / members)) * members
            raise ValueError(
                f"{num_particles} particles do not split evenly over {members} ensemble members: "
                f"use a multiple of {members}, for example {nearest}"
            )

    def predict(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        """Predict each particle's next state with the member that the particle belongs to."""
        # (not `self.predictor`: that of a subclass with a `predict` of its own asks for this one)
        return EnsembleModel.predictor(self)(state, action, extra_noise)

    def predictor(self) -> EnsemblePredictor:
        """Return the ensemble as it is now, as a function."""
        (first, first_bias), *middle, (last, last_bias) = self._layers()
        # what scales inputs and outputs is folded into the outer layers: a rollout does not pay for it
        unit = torch.cat([self.target_std, torch.ones_like(self.target_std)])
        zero = torch.cat([self.target_mean, torch.zeros_like(self.target_mean)])
        layers = [
            (first * self.input_scale[:, None], first_bias),
            *middle,
            (last * unit, last_bias * unit + zero),
        ]
        return EnsemblePredictor(
            self.features,
            self.input_mean,
            layers,
            self.target_std * self.noise_factor,
            self.integration.rule(),
        )

    def fit(self, transitions: Transitions, generator: torch.Generator) -> FitReport:
        """Fit all members by maximum likelihood, each to all of the data but for a part of its own."""
        if len(transitions) < self.min_transitions:
            raise ValueError(
                f"a fit needs at least {self.min_transitions} transitions, got {len(transitions)}: "
                "collect a longer episode"
            )
        like = self.target_std
        scalings = fit_scalings(self.features, self.targets, transitions, like.dtype)
        inputs, targets = standardise(self.features, self.targets, transitions, scalings)
        if self.options.warm_start and bool((like != 1).any()):
            start = seen_from(self._layers(), self._scalings(), scalings)
        else:
            start = self._draw_layers(generator)
        result = fit_layers(
            [(weight.to(like), bias.to(like)) for weight, bias in start],
            inputs.to(like),
            targets.to(like),
            folds(self.options.members, len(inputs), generator),
            self.options,
        )
        self._store(scalings, result.layers)
        self.noise_factor.copy_(result.noise_factor)
        self.integration.fit(transitions)
        return FitReport(float(result.curve[-1]), result.curve)

    def score(self, transitions: Transitions) -> Score:
        """Judge the model on transitions: each member's likelihood, and the error of their mean."""
        members, like = self.options.members, self.target_std
        prediction = self.predict(
            transitions.states.to(like).repeat(members, 1), transitions.actions.to(like).repeat(members, 1)
        )  # particle i belongs to member i // N
        mean = prediction.mean.view(members, len(transitions), -1)
        error = self.features.change(mean, transitions.next_states.to(like))
        rmse = error.mean(0).square().mean(0).sqrt()
        varied, predicted = self.target_std > 0, list(self.targets.predicted)
        log_std = prediction.std.log().view_as(mean)[..., predicted][..., varied]
        nll = negative_log_likelihood(torch.zeros_like(log_std), log_std, error[..., predicted][..., varied])
        nll = nll - self.target_std[varied].log()
        return Score(float(nll.mean()) if varied.any() else 0.0, rmse.tolist())

    def _layers(self) -> Layers:
        return list(zip(self.weights, self.biases, strict=True))

    def _scalings(self) -> Scalings:
        return Scalings(
            Scaling(self.input_mean, self.input_scale), Scaling(self.target_mean, inverse(self.target_std))
        )

    def _store(self, scalings: Scalings, layers: Layers) -> None:
        """Keep the fitted networks, and what they were fitted to."""
        self.input_mean.copy_(scalings.inputs.mean)
        self.input_scale.copy_(scalings.inputs.scale)
        self.target_mean.copy_(scalings.targets.mean)
        self.target_std.copy_(inverse(scalings.targets.scale))
        for stored, (weight, _) in zip(self.weights, layers, strict=True):
            stored.data = weight
        for stored, (_, bias) in zip(self.biases, layers, strict=True):
            stored.data = bias

    def _draw_layers(self, generator: torch.Generator) -> Layers:
        """Draw fresh weights (E, in, out), LeCun normal, and make biases (E, 1, out), zero.

        The columns of the last layer that give the standard deviations start at zero: at first the noise
        is the same everywhere, and only data can make it depend on the input.
        """
        members, device = self.options.members, generator.device
        single = torch.float32  # whatever torch's default is
        layers = [
            (
                torch.randn((members, fan_in, fan_out), generator=generator, dtype=single, device=device)
                / math.sqrt(fan_in),
                torch.zeros((members, 1, fan_out), dtype=single, device=device),
            )
            for fan_in, fan_out in itertools.pairwise(self._sizes)
        ]
        layers[-1][0][..., len(self.targets) :] = 0
        return layers
