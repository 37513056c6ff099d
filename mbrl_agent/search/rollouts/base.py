"""The interface of every kind of rollout.

A rollout carries the belief about the state through the model, and gives the expected cost of a policy. It is
a frozen dataclass in a file of its own in this folder, with its options as fields.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from mbrl_agent.dynamics import DynamicsOptions
from mbrl_agent.options import Choice
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.search.estimators.base import Estimator
from mbrl_agent.search.initial_states import StartDistribution
from mbrl_agent.types import Terminated


@dataclass(frozen=True)
class Rollout(Choice, ABC):
    """Base class of the kinds of rollout."""

    name: ClassVar[str]
    """Name on the command line."""

    @abstractmethod
    def gradient(self, estimator: Estimator, start: StartDistribution) -> Estimator:
        """Give what takes the gradient of the expected cost through such a rollout.

        Args:
            estimator: How the gradient of a particle rollout is estimated.
            start: Where rollouts start.
        """

    def validate(
        self,
        dynamics: DynamicsOptions,
        policy: SearchPolicy,
        estimator: Estimator,
        terminated: Terminated | None,
    ) -> None:
        """Check that these can be used together.

        Raises:
            ValueError: They cannot; the message names what works.
        """
