"""A limit on the size of the networks that a file describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class AllocationLimit(TorchFunctionMode):
    """Refuse to make more numbers than a network takes whose weights are those of the file.

    The options in the file say how large the networks are, and may say anything.

    Args:
        stored: Numbers in the file's tensors.
    """

    factories: tuple[Callable[..., Tensor], ...] = (
        torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye, torch.arange
    )  # fmt: skip

    def __init__(self, stored: int) -> None:
        super().__init__()
        self._left = 4 * stored + 2**16

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func in self.factories:
            planned = {name: value for name, value in given.items() if name != "generator"}
            self._left -= func(*args, **planned | {"device": "meta"}).numel()
            if self._left < 0:
                raise ValueError("its options describe larger networks than those whose weights it holds")
        return func(*args, **given)
