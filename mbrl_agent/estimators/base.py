"""The interface of every gradient estimator.

An estimator turns a particle rollout, given as a function of the policy's parameters, into the
gradient of its expected cost. It is a frozen dataclass in a file of its own in this folder, with
its options as fields.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from mbrl_agent.options import Choice
from mbrl_agent.resampling.base import Resampler
from mbrl_agent.rollout import Simulation
from mbrl_agent.types import GradientEstimate, Parameters


@dataclass(frozen=True)
class Estimator(Choice, ABC):
    """Base class of the gradient estimators."""

    name: ClassVar[str]
    """Name on the command line."""

    @abstractmethod
    def __call__(self, parameters: Parameters, simulation: Simulation) -> GradientEstimate:
        """Estimate the gradient of the expected cost.

        Args:
            parameters: Where the gradient is taken; leading replicate axes *R are independent.
            simulation: The rollout as a function of the parameters.

        Returns:
            The gradient, the expected cost, and the diagnostic "jitter": how many Cholesky
            factorisations needed more than the base jitter.
        """

    def validate(self, resampler: Resampler) -> None:
        """Check that the estimator is usable with this resampling strategy.

        Raises:
            ValueError: It is not; the message names the combinations that work.
        """
