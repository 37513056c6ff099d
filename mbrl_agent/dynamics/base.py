"""The interface of every dynamics model.

A choice of model is a frozen dataclass of options (`DynamicsOptions`, in a file of its own in this
folder) which builds the model itself, a torch module that is fitted to transitions and predicts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mbrl_agent.features import AngleFeatures
from mbrl_agent.gaussians.mapped import Mapped
from mbrl_agent.options import Choice
from mbrl_agent.targets import IntegrationRule, Targets
from mbrl_agent.types import Prediction, Step, Transitions
from mbrl_agent.vjp import PullBack, by_autograd, keep_in_step


@dataclass(frozen=True)
class FitReport:
    """What a fit tells about itself.

    Attributes:
        train_nll: Negative log-likelihood of the training data at the end [nats a dimension], of
            standardised targets; dimensions that are predicted exactly do not count.
        curve: (steps,), the same by optimiser step.
    """

    train_nll: float
    curve: Tensor


@dataclass(frozen=True)
class Score:
    """How well a model predicts transitions, best ones that it was not fitted to.

    Attributes:
        nll: Negative log-likelihood of one network [nats a dimension], of standardised targets;
            dimensions that are predicted exactly do not count.
        rmse: (D), root mean squared one-step error of the mean prediction, in the state's units.
    """

    nll: float
    rmse: list[float]


class Predictor:
    """A fitted model as a function; made once a rollout.

    Args:
        predict: As `DynamicsModel.predict`.
    """

    def __init__(self, predict: Callable[[Tensor, Tensor, Tensor | None], Prediction]) -> None:
        self._predict = predict

    def __call__(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        """Predict the next states; see `DynamicsModel.predict`."""
        return self._predict(state, action, extra_noise)

    def vjp(
        self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None
    ) -> tuple[Prediction, PullBack]:
        """Predict, and return the pull-back (by_mean, by_std) -> (by_state, by_action); by autograd.

        It may be called again, with other derivatives.
        """

        def values(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
            prediction = self(state, action, extra_noise)
            return prediction.mean, prediction.std

        (mean, std), pull_back = by_autograd(values, state, action)
        assert mean is not None
        assert std is not None
        return Prediction(mean, std), pull_back


@dataclass(frozen=True)
class MomentPredictor:
    """A fitted model that takes Gaussians instead of points; float64.

    Attributes:
        change: Mean (*R, F + U) and covariance of features and action -> the moments of the K changes that
            the model's functions predict, without noise.
        noise: (K), standard deviation of the noise of a change.
        integration: From changes to next states.
    """

    change: Callable[[Tensor, Tensor], Mapped]
    noise: Tensor
    integration: IntegrationRule


class DynamicsModel(nn.Module, ABC):
    """A learned, probabilistic model of one environment step.

    `predict` is a pure function of tensors, in which replicates never meet, of the dtype and the device of
    the state: float32, or float64 after `.double()`. `fit` and `score` get transitions of `data_dtype`,
    draw from the given generator alone, and compute in the dtype of the module. All that a fit has found is
    in `state_dict`. `mbrl_agent.contract.check_dynamics` checks the options that build one.
    """

    noise_dims: int
    """Standard-normal columns consumed a step: D to sample the next state, and any more for the model."""
    min_transitions: int = 1
    """Fewest transitions to which the model can be fitted."""
    data_dtype: ClassVar[torch.dtype] = torch.float32
    """Of the transitions that an agent gives to `fit` and `score`; float64 is as they were observed."""

    @property
    def functions(self) -> int:
        """M, the number of functions of which particle i keeps function i // (P / M) over a rollout.

        More than one for a model that holds several (members, draws from a posterior). Where P is no multiple
        of M, particle i takes function i M // P, or `validate` refuses.
        """
        return 1

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        keep_in_step(cls, "predict", "predictor", DynamicsModel.predictor)

    def __repr__(self) -> str:
        """Show the options instead of the parts."""
        return f"{type(self).__name__}({getattr(self, 'options', '')})"

    @abstractmethod
    def predict(self, state: Tensor, action: Tensor, extra_noise: Tensor | None = None) -> Prediction:
        """Predict each particle's NEXT state.

        Args:
            state: (*R, P, D).
            action: (*R, P, U), in [-1, 1].
            extra_noise: (*R, P, noise_dims - D), standard normal; None where there are no more columns.
        """

    def predictor(self) -> Predictor:
        """`predict` as a function that knows its derivatives.

        What does not depend on the state is prepared here, once a rollout.
        """
        return Predictor(self.predict)

    def renew(self, generator: torch.Generator) -> None:
        """Draw anew, in place, what stands for all that the model does not know; nothing unless overridden.

        A search calls it with fresh random numbers for a rollout, and for the comparison of candidates.
        What is then drawn is no part of what a fit has found.
        """

    def attach(self, step: Step | None) -> None:
        """Take the environment's true dynamics, where the options say that the model needs them.

        Args:
            step: What the environment offers; None where it does not.

        Raises:
            ValueError: The model needs them, and there are none.
        """

    def moments(self) -> MomentPredictor:
        """Prepare the model for uncertain inputs; only some models know the moments of their predictions.

        Raises:
            ValueError: This one does not.
        """
        raise ValueError(f"{type(self).__name__} does not know the moments of its predictions")

    @abstractmethod
    def fit(self, transitions: Transitions, generator: torch.Generator) -> FitReport:
        """Fit the model to all transitions so far.

        Raises:
            ValueError: Too few transitions, or non-finite ones.
        """

    @abstractmethod
    def score(self, transitions: Transitions) -> Score:
        """Judge the fitted model on transitions."""

    def validate(self, num_particles: int) -> None:
        """Check that rollouts with this many particles are possible; raise ValueError if not."""


@dataclass(frozen=True)
class DynamicsOptions(Choice, ABC):
    """Base class of the options of a dynamics model; knows how to build it."""

    name: ClassVar[str]
    """Name on the command line."""
    needs_step: ClassVar[bool] = False
    """Whether the model is the environment's own dynamics, which `DynamicsModel.attach` gives it."""

    @abstractmethod
    def build(
        self,
        features: AngleFeatures,
        action_dims: int,
        generator: torch.Generator,
        targets: Targets | None = None,
    ) -> DynamicsModel:
        """Make an unfitted model.

        Args:
            features: What the model sees of a state of D dimensions.
            action_dims: U.
            generator: Source of the initial weights.
            targets: What the model predicts of a step; None for the change of every dimension, which is
                `Targets(features)`. `dynamics.scalings` has the standardised inputs and targets of a fit. An
                `Integration(targets, action_dims)`, a part of the model that is fitted with it, goes from
                changes to next states: `rule().vjp(state, action, change, std)[0]` is the `Prediction`. A
                model that leaves targets alone predicts positions, too.
        """
