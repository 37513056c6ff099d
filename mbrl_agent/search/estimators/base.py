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
from mbrl_agent.search.rollout import Simulation
from mbrl_agent.types import GradientEstimate, Parameters


@dataclass(frozen=True)
class Estimator(Choice, ABC):
    """Base class of the gradient estimators.

    A pure function of tensors, in which replicates never meet. The gradient has the dtype and the device of
    the parameters, and the expected cost those of the particles: float32 or float64. What it returns is
    detached, also where gradients are switched off. It is given no random numbers but `simulation.noise`,
    which moves the particles: what it draws beside them (directions, say) must follow from that noise without
    being correlated with it, for example from a hash of its bits, replicate by replicate.
    `mbrl_agent.search.adjoint.value_and_gradient` is the pathwise gradient; more rollouts side by side are
    one more replicate axis in front of the parameters, the particles and (behind time) the noise.
    `mbrl_agent.contract.check_estimator` checks an instance.
    """

    name: ClassVar[str]
    """Name on the command line."""
    unbiased: ClassVar[bool] = True
    """Whether the mean of many estimates is the exact gradient of a linear system with Gaussian noise and a
    quadratic cost, where particles are not resampled; the contract suite holds it to that."""
    follows_memory: ClassVar[bool] = True
    """Whether it differentiates the whole rollout, what a `MemoryPolicy` remembers included."""

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

    def min_particles(self, state_dims: int, action_dims: int) -> int:
        """Return the fewest particles with which the estimate is defined."""
        return 1

    def validate_particles(self, num_particles: int, state_dims: int, action_dims: int) -> None:
        """Check that the estimator can work with this many particles.

        Raises:
            ValueError: There are too few.
        """
        fewest = self.min_particles(state_dims, action_dims)
        if num_particles < fewest:
            raise ValueError(
                f"estimator {self.name!r} compares particles and needs at least {fewest} of them for "
                f"{state_dims} state and {action_dims} action dimensions, got {num_particles}: raise the "
                "number of particles, or use estimator 'reparameterization'"
            )
