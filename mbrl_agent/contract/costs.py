"""What every cost promises: that of a task, a term of one, or a plain function."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mbrl_agent.contract.rules import (
    DTYPES,
    EXACT,
    Rule,
    check_all,
    generator,
    normal,
    nothing_global,
    require,
    require_close,
    require_same,
    require_tensor,
)
from mbrl_agent.types import Cost

SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (2, 1, 5))
MOST_DIMS = 32

Dims = tuple[int, int]
"""State and action dimensions."""


def batch(dims: Dims, *shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """States and actions."""
    action = torch.rand(*shape, dims[1], generator=generator(1), dtype=torch.float64) * 2 - 1
    return normal(*shape, dims[0], dtype=dtype), action.to(dtype)


def check_shapes(cost: Cost, dims: Dims) -> None:
    """One finite number a state, in its dtype, whatever the leading axes and torch's default dtype."""
    default = torch.get_default_dtype()
    for dtype in DTYPES:
        for shape in SHAPES:
            state, action = batch(dims, *shape, dtype=dtype)
            try:
                torch.set_default_dtype(torch.float64 if dtype == torch.float32 else torch.float32)
                found = cost(state, action)
            finally:
                torch.set_default_dtype(default)
            require_tensor(found, shape, dtype, f"the costs of states {tuple(state.shape)}")


def check_batch(cost: Cost, dims: Dims) -> None:
    """A batch is a loop: the cost of a state does not depend on the others."""
    state, action = batch(dims, 6)
    one_by_one = torch.stack([cost(s, a) for s, a in zip(state, action, strict=True)])
    require_close(cost(state, action), one_by_one, "the cost of a state must not depend on others", EXACT)


def check_purity(cost: Cost, dims: Dims) -> None:
    """The same state and action cost the same, bitwise."""
    state, action = batch(dims, 6)
    with nothing_global("a cost", state, action):
        once = cost(state, action)
    require_same([once], [cost(state, action)], "a cost")


def check_derivative(cost: Cost, dims: Dims) -> None:
    """It is differentiable by the state (or the action), and finite differences agree."""
    state, action = (value.requires_grad_() for value in batch(dims, 3))
    require(cost(state, action).requires_grad, "the cost must be differentiable: compute it in torch")
    exact = torch.autograd.gradcheck(cost, (state, action), raise_exception=False)
    require(exact, "the derivative of the cost must be that of its values: finite differences disagree")


RULES: tuple[Callable[[Cost, Dims], None], ...] = (check_shapes, check_batch, check_purity, check_derivative)


def find_dims(cost: Cost) -> Dims:
    """Return the fewest state dimensions, and action dimensions, that a cost can be called with.

    Raises:
        ContractError: It can be called with none.
    """
    reason: Exception = ValueError("no dimensions")
    for state_dims in range(1, MOST_DIMS + 1):
        for action_dims in (1, 2, 3):
            try:
                cost(*batch((state_dims, action_dims), 2))
            except Exception as error:  # code of the user's own may raise anything
                reason = error
            else:
                return state_dims, action_dims
    require(False, f"the cost cannot be called with states of 1 to {MOST_DIMS} dimensions: {reason}")
    raise reason


def _with_dims(rule: Callable[[Cost, Dims], None], dims: Dims) -> Rule:
    @functools.wraps(rule)
    def check(cost: Any) -> None:
        rule(cost, dims)

    return check


def check_cost(cost: Any, state_dims: int | None = None, action_dims: int | None = None) -> None:
    """Check everything that a cost promises.

    Args:
        cost: States (..., D) and actions (..., U) in [-1, 1] -> (...).
        state_dims: D; None tries the fewest that it takes.
        action_dims: U; likewise.

    Raises:
        ContractError: A rule is broken; the message says which.
    """
    require(callable(cost), f"a cost must be a function of states and actions, got {cost!r}")
    found = (0, 0) if state_dims and action_dims else find_dims(cost)
    dims = (state_dims or found[0], action_dims or found[1])
    rules = [_with_dims(rule, dims) for rule in RULES]
    check_all(rules, cost, f"cost {cost!r}")
