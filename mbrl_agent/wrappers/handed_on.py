"""What a task is handed on as, where states begin with a part of the observations that it is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mbrl_agent.costs.base import TaskCost

PROBES = 256
"""States at which a cost is compared with itself where something else is in the place of what is hidden."""


@dataclass(frozen=True)
class OfObserved:
    """A function of whole states for states that begin with a part of them; it can be pickled.

    What is hidden is taken as zero: the function must not depend on it.

    Attributes:
        function: States (..., D), and perhaps actions (..., U), -> (...).
        observed: Which dimensions the new states begin with, in this order.
        state_dims: D.
    """

    function: Callable[..., Tensor]
    observed: tuple[int, ...]
    state_dims: int

    def __call__(self, state: Tensor, *actions: Tensor) -> Tensor:
        """Compute it (...) for states (..., at least as many dimensions as are observed)."""
        hidden = torch.zeros_like(state[..., :1])
        columns = {index: state[..., place : place + 1] for place, index in enumerate(self.observed)}
        whole = [columns.get(index, hidden) for index in range(self.state_dims)]
        return self.function(torch.cat(whole, dim=-1), *actions)


class CostOfObserved(OfObserved, TaskCost):
    """The same of a cost, which adds up and scales as costs do."""


@dataclass(frozen=True)
class NeedsHidden:
    """Stands for a function that depends on what is hidden.

    Attributes:
        name: What it is.
        hidden: Indices of the dimensions that it depends on.
    """

    name: str
    hidden: tuple[int, ...]

    def __call__(self, *arguments: Any) -> Any:
        """Refuse.

        Raises:
            ValueError: Always.
        """
        dims = ", ".join(map(str, self.hidden))
        raise ValueError(
            f"the environment's {self.name} depends on dimension {dims} of its observations, which is not "
            f"observed: observe it, too, or pass a {self.name} of what is observed"
        )


@dataclass(frozen=True)
class RepeatedStarts:
    """A sampler of initial states that remember nothing yet: each observation repeated, and zeros.

    Attributes:
        draw: (count, generator) -> (count, D).
        observed: Which dimensions are observed.
        length: How often each is repeated.
        zeros: How many zeros follow, for the actions.
    """

    draw: Callable[[int, torch.Generator], Any]
    observed: tuple[int, ...]
    length: int
    zeros: int

    def __call__(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, length * number of observed dimensions + zeros)."""
        states = torch.as_tensor(self.draw(count, generator))
        seen = torch.stack([states[:, index] for index in self.observed], dim=-1)
        return torch.cat([*[seen] * self.length, seen.new_zeros(count, self.zeros)], dim=-1)


@dataclass(frozen=True)
class NormalStarts:
    """Draws initial states that are normal and independent in every dimension.

    Attributes:
        mean: (D).
        std: (D).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw (count, D)."""
        like: dict[str, Any] = {"dtype": torch.float32, "device": generator.device}
        normal = torch.randn(count, len(self.mean), generator=generator, **like)
        return torch.tensor(self.mean, **like) + torch.tensor(self.std, **like) * normal


def depends_on(function: Callable[..., Tensor], index: int, dims: int, *actions: Tensor) -> bool:
    """Tell whether a function of states (..., D) has another value where one of their dimensions is another.

    Args:
        function: Of states, and of the actions below.
        index: Of the dimension.
        dims: D.
        actions: (`PROBES`, U), if it takes any.
    """
    generator = torch.Generator().manual_seed(0)
    size = 10 ** (2 * torch.rand(PROBES, 1, generator=generator, dtype=torch.float32) - 1)
    state = size * torch.randn(PROBES, dims, generator=generator, dtype=torch.float32)
    other = state.clone()
    other[:, index] = state[:, index].roll(1) + 1
    try:
        with torch.no_grad():
            one, two = function(state, *actions), function(other, *actions)
            return not np.array_equal(one.numpy(), two.numpy(), equal_nan=True)
    except Exception:  # it is the user's code, which may raise anything; the agent tries it, too, and tells
        return False
