"""The interface of every resampling strategy, and the checks of options that they share.

A resampler stands between two time steps of a particle rollout. It is given each particle's
predicted Gaussian (means m, variances S) and one sample x of it, and returns the particles from
which the next step starts. All randomness comes in as standard-normal numbers.

A strategy is a frozen dataclass in a file of its own in this folder: its fields are its options
(each with a docstring, which is the command line's help), its class attribute `name` is the name on
the command line, and `__post_init__` refuses bad options with ValueError.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from mbrl_agent.gaussians.turns import whole_turns
from mbrl_agent.options import Choice, OptionName
from mbrl_agent.types import Prediction, Resampled
from mbrl_agent.vjp import Gradients, PullBack, by_autograd, keep_in_step


@dataclass(frozen=True)
class Resampler(Choice, ABC):
    """Base class of the resampling strategies.

    A pure function of tensors, in which particles of different replicates never meet. The dtype and the
    device of all that it returns are those of the particles, float32 or float64: make no tensor of another.
    Particles may be alike, lie on a line or be NaN, and nothing may raise then: `robust_cholesky` and
    `mbrl_agent.gaussians.moments` do not, `torch.linalg.cholesky` does. A strategy that averages has an
    option `wrap`, so that `for_task` lets it work on angles.
    `mbrl_agent.contract.check_resampler` checks an instance.
    """

    name: ClassVar[str]
    """Name on the command line."""
    mixes_particles: ClassVar[bool]
    """Whether the value of one particle's output depends on the others. Derivatives do not count: whoever
    asks credits particles by their values, and does not differentiate through the resampler."""

    by_function: ClassVar[bool] = False
    """Whether particles are resampled among those of one function of the model only."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        keep_in_step(cls, "__call__", "vjp", Resampler.vjp)

    @abstractmethod
    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """Resample the particles of one time step.

        Args:
            prediction: Means m and standard deviations sqrt(S) of the next state, (*R, P, D).
            particles: (*R, P, D), one sample x of `prediction` a particle.
            noise: (*R, P, noise_dims(D)), standard normal.
            state: `Resampled.state` of the previous step, None at the first.
        """

    def vjp(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[Resampled, PullBack]:
        """Resample, and return the pull-back, too; by autograd unless a strategy knows better.

        Returns:
            What a call returns, and the function from the derivatives by (particles, weights, state) of
            the result to those by (prediction.mean, prediction.std, particles, state) of the arguments.
        """
        result: list[Resampled] = []

        def values(mean: Tensor, std: Tensor, particles: Tensor, state: Tensor | None) -> list[Tensor | None]:
            result.append(self(Prediction(mean, std), particles, noise, state))
            return [result[0].particles, result[0].weights, result[0].state]

        outputs, pull_back = by_autograd(values, prediction.mean, prediction.std, particles, state)
        drawn, weights, carried = outputs
        assert drawn is not None
        assert weights is not None
        return replace(result[0], particles=drawn, weights=weights, state=carried), pull_back

    def carry(self, state: Tensor, index: Tensor) -> Tensor:
        """Let what is carried follow the particles, where slot i takes over the particle of slot index[i].

        A strategy that carries something of each particle (a label) moves it along; what belongs to all of
        them, or to the slots, stays as it is.

        Args:
            state: `Resampled.state`.
            index: (*R, P), slots.
        """
        return state

    def for_task(self, angle_dims: Sequence[int], functions: int = 1) -> Resampler:
        """Make the strategy as it works in a task, where there is more to know than its options.

        Args:
            angle_dims: Indices of the angles [rad], for a strategy that is to `wrap` them.
            functions: M of the model, for a strategy that works `by_function`.
        """
        made: Resampler = self
        if angle_dims and getattr(self, "wrap", False):
            made = _Wrapping(made, tuple(angle_dims))
        return _ByFunction(made, functions) if self.by_function and functions > 1 else made

    @property
    def exact_gradient(self) -> bool:
        """Whether the backward pass is the derivative of the output; False if a part is held constant."""
        return True

    def noise_dims(self, state_dims: int) -> int:
        """Count the standard-normal columns that a step consumes for a state of D dimensions."""
        return state_dims

    def min_particles(self, state_dims: int) -> int:
        """Return the fewest particles with which the strategy's moments are defined."""
        return state_dims + 2 if self.mixes_particles else 1

    def called(self, option: str) -> OptionName:
        """Write out an option's name, as messages call it."""
        return OptionName(option, f"resampling {self.name!r}")

    def validate(self, num_particles: int, state_dims: int) -> None:
        """Check that the strategy can work with this many particles.

        Raises:
            ValueError: Too few particles, or a number that the strategy cannot split.
        """
        fewest = self.min_particles(state_dims)
        if num_particles < fewest:
            raise ValueError(
                f"resampling {self.name!r} needs at least {fewest} particles for {state_dims} state "
                f"dimensions, got {num_particles}: raise the number of particles"
            )


@dataclass(frozen=True)
class _Adapted(Resampler):
    """A strategy inside another one that prepares its particles."""

    inner: Resampler

    @property
    def name(self) -> str:  # type: ignore[override]
        """That of the strategy inside."""
        return self.inner.name

    @property
    def mixes_particles(self) -> bool:  # type: ignore[override]
        """As the strategy inside."""
        return self.inner.mixes_particles

    @property
    def exact_gradient(self) -> bool:
        """As the strategy inside."""
        return self.inner.exact_gradient

    def carry(self, state: Tensor, index: Tensor) -> Tensor:
        """Do as the strategy inside. See `Resampler.carry`."""
        return self.inner.carry(state, index)

    def noise_dims(self, state_dims: int) -> int:
        """Do as the strategy inside."""
        return self.inner.noise_dims(state_dims)

    def min_particles(self, state_dims: int) -> int:
        """Do as the strategy inside."""
        return self.inner.min_particles(state_dims)

    def validate(self, num_particles: int, state_dims: int) -> None:
        """Do as the strategy inside."""
        self.inner.validate(num_particles, state_dims)


@dataclass(frozen=True)
class _Wrapping(_Adapted):
    """Resample angles on the turn of their circular mean, and give each particle its own turn back."""

    angle_dims: tuple[int, ...]

    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """See `Resampler.__call__`."""
        turns = whole_turns(particles, self.angle_dims)
        placed = particles - turns
        found = self.inner(Prediction(prediction.mean - turns, prediction.std), placed, noise, state)
        return self._back(found, particles, placed)

    def vjp(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[Resampled, PullBack]:
        """See `Resampler.vjp`: the turns are constants, so the pull-back is that of the strategy inside."""
        turns = whole_turns(particles, self.angle_dims)
        placed = particles - turns
        moved = Prediction(prediction.mean - turns, prediction.std)
        found, pull_back = self.inner.vjp(moved, placed, noise, state)
        return self._back(found, particles, placed), pull_back

    def _back(self, found: Resampled, particles: Tensor, placed: Tensor) -> Resampled:
        """Put what was drawn on the particles' own turns; what was kept is exactly what it was."""
        drawn = particles.detach() + (found.particles - placed.detach())
        return replace(found, particles=drawn)


@dataclass(frozen=True)
class _ByFunction(_Adapted):
    """Resample the particles of each function of the model among themselves: blocks of P / M."""

    functions: int

    def validate(self, num_particles: int, state_dims: int) -> None:
        """Raise ValueError unless there are enough particles of each function, and as many of each."""
        each, rest = divmod(num_particles, self.functions)
        if rest:
            raise ValueError(
                f"resampling {self.name!r} needs as many particles of each of the model's {self.functions} "
                f"functions: {num_particles} is not a multiple of that"
            )
        fewest = self.inner.min_particles(state_dims)
        if each < fewest:
            raise ValueError(
                f"resampling {self.name!r} needs at least {fewest} particles of each of the model's "
                f"{self.functions} functions for {state_dims} state dimensions, got {each}: raise the number "
                "of particles, or give the model fewer functions"
            )

    def __call__(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> Resampled:
        """See `Resampler.__call__`."""
        split = self._split
        inner = Prediction(split(prediction.mean), split(prediction.std))
        return self._joined(self.inner(inner, split(particles), split(noise), state))

    def vjp(
        self, prediction: Prediction, particles: Tensor, noise: Tensor, state: Tensor | None
    ) -> tuple[Resampled, PullBack]:
        """See `Resampler.vjp`."""
        split = self._split
        inner = Prediction(split(prediction.mean), split(prediction.std))
        found, pull_back_inner = self.inner.vjp(inner, split(particles), split(noise), state)

        def pull_back(by_particles: Tensor, by_weights: Tensor, by_state: Tensor | None) -> Gradients:
            by_weights = by_weights.view(*by_weights.shape[:-1], self.functions, -1)
            gradients = pull_back_inner(split(by_particles), by_weights, by_state)
            return tuple(None if by is None else by.flatten(-3, -2) for by in gradients)

        return self._joined(found), pull_back

    def _split(self, values: Tensor) -> Tensor:
        """Split (*R, P, D) into (*R, M, P / M, D)."""
        *shape, particles, dims = values.shape
        return values.reshape(*shape, self.functions, particles // self.functions, dims)

    def _joined(self, found: Resampled) -> Resampled:
        particles = found.particles.flatten(-3, -2)
        jitter = None if found.jitter is None else found.jitter.amax(-1)
        return Resampled(particles, equal_weights(particles), jitter=jitter)


def equal_weights(particles: Tensor) -> Tensor:
    """Compute the weight 1/P for each of the particles (*R, P, D): (*R, P).

    Example:
        >>> equal_weights(torch.zeros(4, 2))
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    return particles.new_full(particles.shape[:-1], 1.0 / particles.shape[-2])
