"""The environment's own equations of motion in the place of a learned model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mbrl_agent.dynamics.base import DynamicsModel, DynamicsOptions, FitReport, Score
from mbrl_agent.features import AngleFeatures
from mbrl_agent.options.validation import require_flag, require_not_negative
from mbrl_agent.targets import Targets
from mbrl_agent.types import Prediction, Step, Transitions


@dataclass(frozen=True)
class Simulator(DynamicsOptions):
    """Options of the true dynamics.

    The environment offers them as an attribute `dynamics`: states (..., D) and actions (..., U) in [-1, 1] ->
    next states (..., D), differentiable, in torch. A search in them shows what is left of a method's
    difficulties when the model is perfect.

    Example:
        >>> str(Simulator(noise=False))
        'simulator:noise=false'
    """

    name: ClassVar[str] = "simulator"
    needs_step: ClassVar[bool] = True

    noise: bool = True
    """Add normal noise of the size of what the equations leave of the real transitions."""

    def __post_init__(self) -> None:
        require_flag("noise", self.noise)

    def build(
        self,
        features: AngleFeatures,
        action_dims: int,
        generator: torch.Generator,
        targets: Targets | None = None,
    ) -> SimulatorModel:
        """Make the model; `attach` gives it the equations."""
        return SimulatorModel(features, fits_noise=self.noise)


class SimulatorModel(DynamicsModel):
    """The true next state, and independent noise.

    Args:
        features: Which dimensions of a state are angles.
        step: The equations; None until `attach`.
        noise_std: Standard deviation of every dimension's noise, in the units of the state.
        fits_noise: Whether `fit` takes the noise from the transitions.
    """

    noise_std: Tensor

    def __init__(
        self,
        features: AngleFeatures,
        step: Step | None = None,
        noise_std: float = 0.0,
        fits_noise: bool = False,
    ) -> None:
        super().__init__()
        require_not_negative("noise_std", noise_std)
        self.features = features
        self.noise_dims = features.state_dims
        self._step, self._fits_noise = step, fits_noise
        std = torch.full((features.state_dims,), float(noise_std), dtype=torch.float32, device="cpu")
        self.register_buffer("noise_std", std)

    def attach(self, step: Step | None) -> None:
        """Take the environment's equations.

        Raises:
            ValueError: It has none.
        """
        if step is None:
            raise ValueError(
                "dynamics 'simulator' needs an environment with an attribute `dynamics`, a differentiable "
                "function in torch of states (..., D) and actions (..., U) in [-1, 1] to next states, "
                "and this one has none: learn a model instead, dynamics 'ensemble' or 'gp'"
            )
        self._step = step

    def predict(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        """Compute the next states; see `DynamicsModel.predict`."""
        if self._step is None:
            raise ValueError("the model 'simulator' is the environment's own: give the agent an environment")
        mean = self._step(state, action)
        return Prediction(mean, self.noise_std.to(mean).expand_as(mean))

    def fit(self, transitions: Transitions, generator: torch.Generator) -> FitReport:
        """Measure the noise, if that is asked for; there is nothing else to learn."""
        if self._fits_noise:
            self.noise_std.copy_(self._errors(transitions).square().mean(0).sqrt())
        return FitReport(self.score(transitions).nll, torch.zeros_like(self.noise_std[:1]))

    def score(self, transitions: Transitions) -> Score:
        """Judge the equations on transitions."""
        error = self._errors(transitions)
        std = self.noise_std.to(error)
        varied = std > 0
        ratio = error[:, varied] / std[varied]
        nll = ratio.square() / 2 + std[varied].log() + 0.5 * math.log(2 * math.pi)
        return Score(float(nll.mean()) if varied.any() else 0.0, error.square().mean(0).sqrt().tolist())

    def _errors(self, transitions: Transitions) -> Tensor:
        """Return those of the next states, (N, D), angles the shorter way round."""
        with torch.no_grad():
            mean = self.predict(transitions.states, transitions.actions).mean
        return self.features.change(mean, transitions.next_states)
