"""TorchScript: one .pt file, which torch alone reads, in Python or in C++."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.run.export.base import About, Action, Format
from mbrl_agent.run.export.function import PolicyFunction
from mbrl_agent.run.messages import one_line

jit: Any = torch.jit  # it has no types
METADATA = "mbrl_agent.json"
"""Name of the text inside the file that says what it is."""


class _AnyShape(nn.Module):
    """Let a function of (N, D) take (D), (N, D) or any (..., D).

    Args:
        function: The traced one.
        state_dims: D.
        action_dims: U.
    """

    def __init__(self, function: nn.Module, state_dims: int, action_dims: int) -> None:
        super().__init__()
        self.function = function
        self.state_dims = state_dims
        self.action_dims = action_dims

    def forward(self, observation: Tensor) -> Tensor:
        """Return the actions (..., U) for observations (..., D)."""
        if observation.dim() == 0 or observation.size(-1) != self.state_dims:
            raise ValueError("the last axis of an observation must have " + str(self.state_dims) + " numbers")
        actions: Tensor = self.function(observation.reshape(-1, self.state_dims))
        return actions.reshape(list(observation.size()[:-1]) + [self.action_dims])  # noqa: RUF005


class TorchScriptFormat(Format):
    """One file for `torch.jit.load`."""

    suffixes = (".pt",)

    def encode(self, policy: SearchPolicy, about: About, stem: str) -> Mapping[str, bytes]:
        """See `Format.encode`."""
        function = PolicyFunction(policy)
        buffer = io.BytesIO()
        with _first_tracer_warning(type(policy).__name__), torch.no_grad():
            try:
                traced = jit.trace(function, function.example())
            except Exception as error:  # code of the user's own, and of torch's tracer, may raise anything
                raise ValueError(
                    f"{type(policy).__name__} cannot be traced by torch ({type(error).__name__}: "
                    f"{one_line(error)[:200]}); its controller must compute with torch's functions alone"
                ) from error
            script = jit.script(_AnyShape(traced, function.state_dims, function.action_dims).eval())
            jit.save(script, buffer, _extra_files={METADATA: json.dumps(about.metadata())})
        return {".pt": buffer.getvalue()}

    def load(self, path: Path) -> Action:
        """See `Format.load`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's plans for TorchScript
            script = jit.load(str(path))

        def act(observation: NDArray[Any]) -> NDArray[Any]:
            with torch.no_grad():
                action: NDArray[Any] = script(torch.as_tensor(observation)).numpy()
            return action

        return act

    def usage(self, path: Path) -> str:
        """See `Format.usage`."""
        return f'policy = torch.jit.load("{path.name}"); action = policy(torch.as_tensor(observation))'


@contextmanager
def _first_tracer_warning(name: str) -> Iterator[None]:
    """Of the block's warnings show the first that the tracer gives, which are of the policy `name`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for entry in caught:
        if issubclass(entry.category, jit.TracerWarning):
            warnings.warn(f"{name}: {' '.join(str(entry.message).split())}", stacklevel=3)
            break
