"""Transitions as a model sees them: standardised inputs, and standardised changes of what is predicted."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mbrl_agent.features import AngleFeatures
from mbrl_agent.standardization import Scaling, feature_resolution, inverse, mean_and_std, resolution
from mbrl_agent.targets import Targets
from mbrl_agent.types import Transitions


class Scalings(NamedTuple):
    """How inputs and targets are standardised.

    Attributes:
        inputs: Of the features and the actions, (F + U).
        targets: Of the predicted changes, (K); the scale of one that has never varied is zero.
    """

    inputs: Scaling
    targets: Scaling


def fit_scalings(
    features: AngleFeatures, targets: Targets, transitions: Transitions, dtype: torch.dtype
) -> Scalings:
    """Standardise to mean zero and variance one what varies by more than rounding.

    Args:
        features: What the model sees of a state.
        targets: What it predicts of a step.
        transitions: All so far.
        dtype: In which the model works.

    Raises:
        ValueError: A value is not finite.
    """
    states, actions, after = transitions.states, transitions.actions, transitions.next_states
    if not all(values.to(dtype).isfinite().all() for values in (states, actions, after)):
        raise ValueError(f"the transitions hold values that are not finite in {dtype}")
    least = torch.cat([feature_resolution(features, states, dtype), resolution(actions, dtype)])
    mean, std = mean_and_std(_inputs(features, transitions), least)
    changes = targets.changes(transitions)
    noise = resolution(torch.cat([states, after]), dtype)[list(targets.predicted)]
    change, spread = mean_and_std(changes, noise)
    # rounding noise is not a drift, but a clock ticks
    ticks = (spread > 0) | (change.abs() > noise / len(changes) ** 0.5)
    change = torch.where(ticks, change, 0.0)
    return Scalings(Scaling(mean, inverse(std)), Scaling(change, inverse(spread)))


def standardise(
    features: AngleFeatures, targets: Targets, transitions: Transitions, scalings: Scalings
) -> tuple[Tensor, Tensor]:
    """Compute inputs (N, F + U) and targets (N, K) in standardised coordinates, in the transitions' dtype."""
    return scalings.inputs(_inputs(features, transitions)), scalings.targets(targets.changes(transitions))


def _inputs(features: AngleFeatures, transitions: Transitions) -> Tensor:
    return torch.cat([features(transitions.states), transitions.actions], dim=-1)
