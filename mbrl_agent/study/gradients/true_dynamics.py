"""The environment's own equations of motion in the place of a learned model."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import torch
from torch import Tensor

from mbrl_agent.dynamics.base import DynamicsModel, FitReport, Score
from mbrl_agent.options.validation import require_not_negative
from mbrl_agent.types import Prediction, Transitions

Step = Callable[[Tensor, Tensor], Tensor]
"""States (..., D) and actions (..., U) in [-1, 1] -> next states (..., D), differentiable."""


class TrueDynamics(DynamicsModel):
    """A model that is right: the true next state, and independent noise of a fixed size.

    Args:
        step: The environment's dynamics (`env.unwrapped.dynamics`).
        state_dims: D.
        noise_std: Standard deviation of every dimension's noise, in the units of the state.
    """

    def __init__(self, step: Step, state_dims: int, noise_std: float = 0.0) -> None:
        super().__init__()
        require_not_negative("noise_std", noise_std)
        self.step = step
        self.noise_dims = state_dims
        self.noise_std = noise_std

    def predict(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        """See `DynamicsModel.predict`."""
        mean = self.step(state, action)
        return Prediction(mean, mean.new_full((), self.noise_std).expand_as(mean))

    def fit(self, transitions: Transitions, generator: torch.Generator) -> FitReport:
        """Refuse: there is nothing to learn."""
        self._refuse()

    def score(self, transitions: Transitions) -> Score:
        """Refuse: it is what others are judged by."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise NotImplementedError("the true dynamics are neither fitted nor judged")
