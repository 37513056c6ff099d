"""What all costs share: they add up and scale."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from torch import Tensor

from mbrl_agent.options.validation import require_count, require_number
from mbrl_agent.types import Cost


class TaskCost(ABC):
    """A cost that can be added to others, and multiplied by a number.

    A pure, differentiable function in torch; dtype and device of the costs are those of the states, float32
    or float64. `mbrl_agent.contract.check_cost` checks one. With a class attribute `name`, one that lies in a
    plug-in can be named.
    """

    __array_ufunc__ = None  # a NumPy number on the left leaves the product to us

    @abstractmethod
    def __call__(self, state: Tensor, action: Tensor) -> Tensor:
        """Compute the costs (...) of states (..., D) and the actions (..., U) in [-1, 1] that led to them."""

    def __add__(self, other: Cost) -> TaskCost:
        """Add another cost, which may be any function of states and actions."""
        return Sum((*_terms(self), *_terms(other))) if _is_cost(other) else NotImplemented

    def __radd__(self, other: Cost | int) -> TaskCost:
        """Add to a function; 0 is there for `sum([...])`."""
        if isinstance(other, int) and not isinstance(other, bool) and other == 0:
            return self
        return Sum((*_terms(other), *_terms(self))) if _is_cost(other) else NotImplemented

    def __mul__(self, factor: float) -> TaskCost:
        """Scale by a number."""
        if isinstance(factor, bool) or not isinstance(factor, Real):
            return NotImplemented
        return Scaled(self, float(factor))

    def __rmul__(self, factor: float) -> TaskCost:
        """Scale by a number."""
        return self * factor


@dataclass(frozen=True, repr=False)
class Sum(TaskCost):
    """cost = sum_k cost_k(state, action); written `a + b`.

    Attributes:
        terms: The costs.

    Raises:
        TypeError: A term is not a function.
        ValueError: There is none.
    """

    terms: tuple[Cost, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(self.terms))
        if not self.terms:
            raise ValueError("a sum of costs must have at least one term, got none")
        for term in self.terms:
            if not _is_cost(term):
                raise TypeError(f"a term of a cost must be a function of states and actions, got {term!r}")

    def __call__(self, state: Tensor, action: Tensor) -> Tensor:
        """Compute the costs (...)."""
        return add_up([term(state, action) for term in self.terms])

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.terms))


@dataclass(frozen=True, repr=False)
class Scaled(TaskCost):
    """cost = factor * cost(state, action); written `factor * cost`.

    Attributes:
        cost: The cost.
        factor: Any finite number; below zero what was dear becomes cheap.

    Raises:
        TypeError: The cost is not a function, or the factor is not a number.
        ValueError: The factor is not finite.
    """

    cost: Cost
    factor: float

    def __post_init__(self) -> None:
        if not _is_cost(self.cost):
            raise TypeError(f"cost must be a function of states and actions, got {self.cost!r}")
        require_number("the factor of a cost", self.factor)

    def __call__(self, state: Tensor, action: Tensor) -> Tensor:
        """Compute the costs (...)."""
        return self.factor * self.cost(state, action)

    def __repr__(self) -> str:
        return f"{self.factor:g} * {f'({self.cost!r})' if isinstance(self.cost, Sum) else repr(self.cost)}"


@dataclass(frozen=True)
class FirstDimensions(TaskCost):
    """A cost of the first dimensions of a state, for a state to which further ones were appended.

    Attributes:
        cost: The cost.
        dims: How many dimensions it sees.

    Raises:
        TypeError: The cost is not a function, or `dims` is not a whole number.
        ValueError: `dims` is below 1.
    """

    cost: Cost
    dims: int

    def __post_init__(self) -> None:
        if not _is_cost(self.cost):
            raise TypeError(f"cost must be a function of states and actions, got {self.cost!r}")
        require_count("dims", self.dims)

    def __call__(self, state: Tensor, action: Tensor) -> Tensor:
        """Compute the costs (...)."""
        return self.cost(state[..., : self.dims], action)


def add_up(parts: Sequence[Tensor]) -> Tensor:
    """Compute the sum of at least one tensor, from the first to the last."""
    return sum(parts[1:], start=parts[0])


def _is_cost(value: Any) -> bool:
    """Tell whether it can be called; a class that nobody made an instance of is a mistake."""
    return callable(value) and not isinstance(value, type)


def _terms(cost: Any) -> tuple[Cost, ...]:
    return cost.terms if isinstance(cost, Sum) else (cost,)
