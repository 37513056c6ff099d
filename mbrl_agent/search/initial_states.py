"""Where rollouts start: a normal distribution, a set of states, or a function that draws them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

Sampler = Callable[[int, torch.Generator], Tensor | ArrayLike]
"""How many, and the source of randomness -> states (count, D)."""

MOMENT_SAMPLES = 1000  # states from which the moments of a sampler are estimated
UNIFORM_STD = math.pi / math.sqrt(3)  # of angles all round the circle


class StartDistribution(Protocol):
    """A distribution of initial states."""

    @property
    def mean(self) -> Tensor:
        """(D); of angles, on their turn."""

    @property
    def std(self) -> Tensor:
        """(D); of angles, the shorter way round."""

    @property
    def covariance(self) -> Tensor:
        """(D, D); likewise."""

    def sample(self, replicates: int, particles: int, generator: torch.Generator) -> Tensor:
        """Draw (R, P, D)."""

    def double(self) -> StartDistribution:
        """Return the same in float64."""


@dataclass(frozen=True)
class InitialStates:
    """A normal distribution over initial states, independent in every dimension.

    Attributes:
        mean: (D).
        std: (D).
    """

    mean: Tensor
    std: Tensor

    @property
    def covariance(self) -> Tensor:
        """(D, D), diagonal."""
        return torch.diag(self.std.square())

    def sample(self, replicates: int, particles: int, generator: torch.Generator) -> Tensor:
        """Draw (R, P, D)."""
        shape = (replicates, particles, len(self.mean))
        normal = torch.randn(shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + self.std * normal

    def double(self) -> InitialStates:
        """Return the same in float64."""
        return InitialStates(self.mean.double(), self.std.double())


@dataclass(frozen=True)
class StateSet:
    """Initial states that are drawn from a set, with replacement.

    Attributes:
        states: (N, D).
        mean: (D).
        covariance: (D, D).
        weights: (N), how often each is drawn in proportion; None draws all alike.
    """

    states: Tensor
    mean: Tensor
    covariance: Tensor
    weights: Tensor | None = None

    @property
    def std(self) -> Tensor:
        """(D)."""
        return self.covariance.diagonal().sqrt()

    @classmethod
    def of(cls, states: NDArray[np.float64], angle_dims: tuple[int, ...], device: torch.device) -> StateSet:
        """Take the moments from the states; float32.

        Args:
            states: (N, D).
            angle_dims: Indices of the angles [rad].
            device: Where the tensors go.
        """
        arrays = (states, *moments(states, angle_dims))
        return cls(*(torch.as_tensor(array, dtype=torch.float32, device=device) for array in arrays))

    @classmethod
    def observed(
        cls,
        starts: NDArray[np.float64],
        visited: NDArray[np.float64],
        angle_dims: tuple[int, ...],
        device: torch.device,
    ) -> StateSet:
        """Take the observed starts, and states visited on the way, which stand for one more start.

        One start, or a few, do not tell how far starts spread, and a policy that is improved from a point
        fails beside it. States that were visited soon after lie around it and, unlike draws from a fitted
        distribution, are possible states. Of N starts they take a share of 1 / (N + 1).

        Args:
            starts: (N, D), of all real episodes; angles that the environment wraps are put on one turn.
            visited: (M, D), of the first episode, in order; its angles are put on the turn of its start.
            angle_dims: Indices of the angles [rad].
            device: Where the tensors go.
        """
        placed = on_one_turn(starts, angle_dims)
        known = cls.of(placed, angle_dims, device)
        followed = visited.copy()
        for index in angle_dims:
            followed[:, index] = placed[0, index] + np.unwrap(visited[:, index]) - visited[0, index]
        states = torch.as_tensor(followed, dtype=known.states.dtype, device=device)
        weights = torch.cat([torch.ones(len(starts)), torch.full((len(states),), 1 / len(states))])
        return cls(torch.cat([known.states, states]), known.mean, known.covariance, weights.to(known.states))

    def sample(self, replicates: int, particles: int, generator: torch.Generator) -> Tensor:
        """Draw (R, P, D)."""
        count, device = replicates * particles, self.states.device
        if self.weights is None:
            drawn = torch.randint(len(self.states), (count,), generator=generator, device=device)
        else:
            drawn = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        return self.states[drawn].view(replicates, particles, -1)

    def double(self) -> StateSet:
        """Return the same in float64, with the same weights, so that the same states are drawn."""
        return StateSet(self.states.double(), self.mean.double(), self.covariance.double(), self.weights)


@dataclass(frozen=True)
class SampledStates:
    """Initial states that a function of the user's own draws.

    Attributes:
        sampler: As `Sampler`.
        state_dims: D.
        angle_dims: Indices of the angles [rad].
        device: Where the tensors go.
        dtype: Of what is drawn.
    """

    sampler: Sampler
    state_dims: int
    angle_dims: tuple[int, ...]
    device: torch.device
    dtype: torch.dtype = torch.float32

    def sample(self, replicates: int, particles: int, generator: torch.Generator) -> Tensor:
        """Draw (R, P, D).

        Raises:
            ValueError: The sampler fails, or what it returns has another shape or is not finite.
        """
        count = replicates * particles
        try:
            drawn = self.sampler(count, generator)
            states = torch.as_tensor(drawn, dtype=self.dtype, device=self.device).detach()
        except Exception as error:  # it is the user's code, which may raise anything
            if isinstance(self.sampler, NotSaved):
                raise
            raise ValueError(
                f"initial_states failed to draw {count} states: {error}; it must be a function (count, "
                f"torch.Generator) -> states (count, {self.state_dims}); 'none' leaves the environment's out"
            ) from error
        if states.shape != (count, self.state_dims):
            raise ValueError(
                f"initial_states must draw {count} states of {self.state_dims} dimensions, "
                f"{(count, self.state_dims)}, got {tuple(states.shape)}"
            )
        if not bool(states.isfinite().all()):
            raise ValueError("initial_states drew a state that is not finite")
        return states.reshape(replicates, particles, -1)

    @property
    def mean(self) -> Tensor:
        """(D), of a sample."""
        return self._moments[0]

    @property
    def covariance(self) -> Tensor:
        """(D, D), of a sample."""
        return self._moments[1]

    @property
    def std(self) -> Tensor:
        """(D), of a sample."""
        return self.covariance.diagonal().sqrt()

    def double(self) -> SampledStates:
        """Return the same in float64."""
        return SampledStates(self.sampler, self.state_dims, self.angle_dims, self.device, torch.float64)

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        generator = torch.Generator(self.device).manual_seed(0)
        states = self.sample(1, MOMENT_SAMPLES, generator)[0]
        mean, covariance = moments(states.double().cpu().numpy(), self.angle_dims)
        return (
            torch.as_tensor(mean, dtype=self.dtype, device=self.device),
            torch.as_tensor(covariance, dtype=self.dtype, device=self.device),
        )


@dataclass(frozen=True)
class NotSaved:
    """Stands for a function of the user's own in an agent that was loaded without it.

    Attributes:
        name: What it is called as an argument.
    """

    name: str

    def __call__(self, *arguments: Any) -> Any:
        """Refuse.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"the agent was saved with a function {self.name} of its own, and code is not saved: pass "
            f"{self.name}=... to load again"
        )


def moments(
    states: NDArray[np.float64], angle_dims: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean (D) and covariance (D, D) of states (N, D), of angles the shorter way round.

    The spread of a single state is not known: it is taken as zero.
    """
    placed = on_one_turn(states, angle_dims)
    mean = placed.mean(0)
    rest = placed - mean
    return mean, rest.T @ rest / max(len(placed) - 1, 1)


def on_one_turn(states: NDArray[np.float64], angle_dims: tuple[int, ...]) -> NDArray[np.float64]:
    """Put angles that lie on both sides of a seam next to each other.

    Environments wrap their angles, to [-pi, pi) or [0, 2 pi) say, and a start on the seam is then observed
    on either side of it. Each angle is moved by whole turns to where it is nearest to the circular mean,
    on that turn on which most of them are already. Angles that are all round the circle, or of which some
    are more than a turn apart (then nothing is wrapped), stay as they are.

    Args:
        states: (N, D).
        angle_dims: Indices of the angles [rad].
    """
    placed = states.copy()
    for index in angle_dims:
        angle = states[:, index]
        resultant = np.exp(1j * angle).mean()
        spread = math.sqrt(max(0.0, -2 * math.log(max(abs(resultant), 1e-300))))  # circular std
        if spread >= UNIFORM_STD or np.ptp(angle) > 2 * math.pi:
            continue
        turns = np.round((np.angle(resultant) - angle) / (2 * math.pi))
        values, counts = np.unique(turns, return_counts=True)
        often = values[counts == counts.max()]
        usual = often[np.abs(often).argmin()]  # of two turns that are as good, the one nearer to zero
        placed[:, index] = angle + 2 * math.pi * (turns - usual)
    return placed
