"""Probabilistic ensemble of neural networks, batched over members (PETS; bootstrap ensemble).

Each member is a multilayer perceptron that maps features of a state and an action to a Gaussian over
the change of the state. Members differ by their initial weights and by a bootstrap of the data. In a
rollout particle i is propagated by member i // (P / E): contiguous blocks, so that one batched
matrix product a layer serves all members.

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
    bootstrap,
    fit_layers,
    negative_log_likelihood,
)
from mbrl_agent.dynamics.ensemble_predictor import EnsemblePredictor
from mbrl_agent.features import AngleFeatures
from mbrl_agent.replay import Transitions
from mbrl_agent.types import Prediction
from mbrl_agent.validation import (
    require_choice,
    require_count,
    require_counts,
    require_flag,
    require_not_negative,
    require_positive,
)

MIN_TRANSITIONS = 5


@dataclass(frozen=True)
class Ensemble(DynamicsOptions):
    """Options of the ensemble."""

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
    """Decoupled weight decay of AdamW, a unit of step size; raise it where the environment is noisy."""
    warm_start: bool = False
    """Start a fit from the weights of the last one instead of fresh ones; allows fewer fit steps."""

    def __post_init__(self) -> None:
        require_count("members", self.members)
        require_counts("hidden", self.hidden)
        if not self.hidden:
            raise ValueError("hidden needs at least one layer, for example 64,64")
        require_choice("propagation", self.propagation, ("fixed", "per-step"))
        require_count("fit_steps", self.fit_steps)
        require_positive("learning_rate", self.learning_rate)
        require_not_negative("weight_decay", self.weight_decay)
        require_flag("warm_start", self.warm_start)

    def build(self, features: AngleFeatures, action_dims: int, generator: torch.Generator) -> EnsembleModel:
        """Make an unfitted ensemble."""
        return EnsembleModel(self, features, action_dims, generator)


class EnsembleModel(DynamicsModel):
    """The ensemble itself.

    The stored networks see raw features and return raw state changes: the standardisation that a fit
    works with is folded into the first and the last layer, so that a rollout does not pay for it.

    Args:
        options: Sizes and fit settings.
        features: What the networks see of a state.
        action_dims: U.
        generator: Source of the initial weights.
    """

    min_transitions = MIN_TRANSITIONS
    input_mean: Tensor
    input_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self, options: Ensemble, features: AngleFeatures, action_dims: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.options = options
        self.features = features
        self.state_dims = features.state_dims
        self.noise_dims = self.state_dims + (1 if options.propagation == "per-step" else 0)
        inputs = features.feature_dims + action_dims
        self._sizes = (inputs, *options.hidden, 2 * self.state_dims)
        layers = self._draw_layers(generator)
        self.weights = nn.ParameterList([nn.Parameter(w, requires_grad=False) for w, _ in layers])
        self.biases = nn.ParameterList([nn.Parameter(b, requires_grad=False) for _, b in layers])
        self.register_buffer("input_mean", torch.zeros(inputs))
        self.register_buffer("input_std", torch.ones(inputs))
        self.register_buffer("target_mean", torch.zeros(self.state_dims))
        self.register_buffer("target_std", torch.ones(self.state_dims))

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
        """The ensemble as it is now, as a function."""
        layers = list(zip(self.weights, self.biases, strict=True))
        return EnsemblePredictor(self.features, layers, self.target_std)

    def fit(self, transitions: Transitions, generator: torch.Generator) -> FitReport:
        """Fit all members by maximum likelihood on a bootstrap of the data each."""
        if len(transitions) < self.min_transitions:
            raise ValueError(
                f"a fit needs at least {self.min_transitions} transitions, got {len(transitions)}: "
                "collect a longer episode"
            )
        inputs = torch.cat([self.features(transitions.states), transitions.actions], dim=-1)
        targets = self.features.change(transitions.states, transitions.next_states)
        if not (inputs.isfinite().all() and targets.isfinite().all()):
            raise ValueError("the transitions hold values that are not finite")
        fitted = bool((self.target_std != 1).any())
        self.input_mean, self.input_std = _mean_and_std(inputs)
        self.target_mean, self.target_std = _mean_and_std(targets)
        start = self._unfold() if self.options.warm_start and fitted else self._draw_layers(generator)
        result = fit_layers(
            [(weight.to(inputs.dtype), bias.to(inputs.dtype)) for weight, bias in start],
            (inputs - self.input_mean) / self.input_std,
            (targets - self.target_mean) / self.target_std,
            bootstrap(self.options.members, len(inputs), generator),
            self.options,
        )
        self._store(result.layers)
        return FitReport(float(result.curve[-1]), result.curve)

    def score(self, transitions: Transitions) -> Score:
        """Judge the model on transitions: each member's likelihood, and the error of their mean."""
        members = self.options.members
        prediction = self.predict(
            transitions.states.repeat(members, 1), transitions.actions.repeat(members, 1)
        )  # particle i belongs to member i // N
        mean = prediction.mean.view(members, len(transitions), -1)
        log_std = prediction.std.log().view_as(mean)
        error = self.features.change(mean, transitions.next_states)
        nll = negative_log_likelihood(torch.zeros_like(mean), log_std, error) - self.target_std.log()
        rmse = error.mean(0).square().mean(0).sqrt()
        return Score(float(nll.mean()), rmse.tolist())

    def _draw_layers(self, generator: torch.Generator) -> Layers:
        """Fresh weights (E, in, out), LeCun normal, and biases (E, 1, out), zero.

        The columns of the last layer that give the standard deviations start at zero: at first the noise
        is the same everywhere, and only data can make it depend on the input.
        """
        members, device = self.options.members, generator.device
        layers = [
            (
                torch.randn(members, fan_in, fan_out, generator=generator, device=device) / math.sqrt(fan_in),
                torch.zeros(members, 1, fan_out, device=device),
            )
            for fan_in, fan_out in itertools.pairwise(self._sizes)
        ]
        layers[-1][0][..., self.state_dims :] = 0
        return layers

    def _store(self, layers: Layers) -> None:
        """Keep the fitted networks, with the standardisation folded into the outer layers."""
        (first, first_bias), *middle, (last, last_bias) = layers
        first = first / self.input_std[:, None]
        first_bias = first_bias - self.input_mean[None, None] @ first
        scale = torch.cat([self.target_std, torch.ones_like(self.target_std)])
        shift = torch.cat([self.target_mean, torch.zeros_like(self.target_mean)])
        folded = [(first, first_bias), *middle, (last * scale, last_bias * scale + shift)]
        for stored, (weight, _) in zip(self.weights, folded, strict=True):
            stored.data = weight
        for stored, (_, bias) in zip(self.biases, folded, strict=True):
            stored.data = bias

    def _unfold(self) -> Layers:
        """The stored networks as they look to standardised data: the inverse of `_store`."""
        (first, first_bias), *middle, (last, last_bias) = zip(self.weights, self.biases, strict=True)
        scale = torch.cat([self.target_std, torch.ones_like(self.target_std)])
        shift = torch.cat([self.target_mean, torch.zeros_like(self.target_mean)])
        return [
            (first * self.input_std[:, None], first_bias + self.input_mean[None, None] @ first),
            *middle,
            (last / scale, (last_bias - shift) / scale),
        ]


def _mean_and_std(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column; a constant column gets one, so that it is left alone."""
    mean, std = values.mean(0), values.std(0)
    return mean, torch.where(std > 1e-6 * mean.abs().clamp_min(1e-6), std, torch.ones_like(std))
