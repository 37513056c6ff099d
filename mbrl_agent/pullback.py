"""Values together with the way back: functions that carry derivatives from outputs to inputs.

A pull-back is a vector-Jacobian product: given the derivatives of some scalar J by a function's outputs
(None where J does not depend on one), it returns the derivatives of J by the function's inputs, None for
zero. A function written with its own pull-back costs a fraction of what a tape of all its operations
does; `by_autograd` makes one from such a tape for everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Gradients = tuple[Tensor | None, ...]
PullBack = Callable[..., Gradients]


def by_autograd(
    function: Callable[..., Sequence[Tensor | None]], *inputs: Tensor | None
) -> tuple[list[Tensor | None], PullBack]:
    """Evaluate a function of tensors, and make its pull-back by automatic differentiation.

    Args:
        function: Returns a sequence of tensors; None is allowed among its inputs and outputs.
        inputs: What to call it with.
    """
    leaves = [None if value is None else value.detach().requires_grad_() for value in inputs]
    with torch.enable_grad():
        outputs = function(*leaves)

    def pull_back(*by_outputs: Tensor | None) -> Gradients:
        live = [
            (value, by)
            for value, by in zip(outputs, by_outputs, strict=True)
            if value is not None and by is not None and value.requires_grad
        ]
        wanted = [leaf for leaf in leaves if leaf is not None]
        if not live:
            return (None,) * len(leaves)
        found = iter(
            torch.autograd.grad(
                [value for value, _ in live], wanted, [by for _, by in live], allow_unused=True
            )
        )
        return tuple(None if leaf is None else next(found) for leaf in leaves)

    return [None if value is None else value.detach() for value in outputs], pull_back


def on_tape(
    linearize: Callable[..., tuple[Sequence[Tensor], PullBack]], *inputs: Tensor
) -> tuple[Tensor, ...]:
    """Evaluate a function that knows its pull-back so that autograd knows it, too; once differentiable.

    Args:
        linearize: Tensors -> outputs and their pull-back.
        inputs: What to call it with.
    """
    outputs: tuple[Tensor, ...] = _OnTape.apply(linearize, *inputs)  # type: ignore[no-untyped-call]
    return outputs


class _OnTape(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, linearize: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        outputs, ctx.pull_back = linearize(*inputs)
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *by_outputs: Tensor | None) -> Gradients:
        return None, *ctx.pull_back(*by_outputs)


def total(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Sum of two derivatives of which either may be zero."""
    if one is None or other is None:
        return other if one is None else one
    return one + other
