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
        observation_dims: D.
        action_dims: U.
    """

    def __init__(self, function: nn.Module, observation_dims: int, action_dims: int) -> None:
        super().__init__()
        self.function = function
        self.observation_dims = observation_dims
        self.action_dims = action_dims

    def forward(self, observation: Tensor) -> Tensor:
        """Return the actions (..., U) for observations (..., D)."""
        _require_width(observation, self.observation_dims, "an observation")
        actions: Tensor = self.function(observation.reshape(-1, self.observation_dims))
        return actions.reshape(list(observation.size()[:-1]) + [self.action_dims])  # noqa: RUF005


class _AnyShapeWithMemory(nn.Module):
    """The same of a function that takes a memory (N, H) as well, and returns the next one behind the actions.

    Args:
        function: The traced one, of observations (N, D) and memories (N, H).
        observation_dims: D.
        action_dims: U.
        memory_dims: H.
    """

    def __init__(
        self, function: nn.Module, observation_dims: int, action_dims: int, memory_dims: int
    ) -> None:
        super().__init__()
        self.function = function
        self.observation_dims = observation_dims
        self.action_dims = action_dims
        self.memory_dims = memory_dims
        self.register_buffer("start", torch.zeros(memory_dims, dtype=torch.float32, device="cpu"))

    @jit.export  # type: ignore[untyped-decorator]
    def initial_memory(self) -> Tensor:
        """Return the memory at the start of an episode, (H)."""
        assert isinstance(self.start, Tensor)
        return self.start.clone()

    def forward(self, observation: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Return the actions (..., U) and the next memories (..., H).

        Args:
            observation: (..., D).
            memory: (..., H); (H) is taken for all observations.
        """
        _require_width(observation, self.observation_dims, "an observation")
        _require_width(memory, self.memory_dims, "a memory")
        lead = list(observation.size()[:-1])
        actions, following = self.function(
            observation.reshape(-1, self.observation_dims),
            memory.expand(lead + [self.memory_dims]).reshape(-1, self.memory_dims),  # noqa: RUF005
        )
        return actions.reshape(lead + [self.action_dims]), following.reshape(lead + [self.memory_dims])  # noqa: RUF005


def _require_width(value: Tensor, width: int, name: str) -> None:
    if value.dim() == 0 or value.size(-1) != width:
        raise ValueError("the last axis of " + name + " must have " + str(width) + " numbers")


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
            dims = (function.observation_dims, function.action_dims)
            wrapped = (
                _AnyShapeWithMemory(traced, *dims, about.memory) if about.memory else _AnyShape(traced, *dims)
            )
            script = jit.script(wrapped.eval())
            jit.save(script, buffer, _extra_files={METADATA: json.dumps(about.metadata())})
        return {".pt": buffer.getvalue()}

    def load(self, path: Path) -> Action:
        """See `Format.load`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's plans for TorchScript
            script = jit.load(str(path))

        def act(*inputs: NDArray[Any]) -> NDArray[Any] | tuple[NDArray[Any], ...]:
            with torch.no_grad():
                found = script(*map(torch.as_tensor, inputs))
            if isinstance(found, tuple):
                return tuple(part.numpy() for part in found)
            action: NDArray[Any] = found.numpy()
            return action

        return act

    def usage(self, path: Path, about: About) -> str:
        """See `Format.usage`."""
        load = f'policy = torch.jit.load("{path.name}"); '
        if not about.memory:
            return f"{load}action = policy(torch.as_tensor(observation))"
        return (
            f"{load}memory = policy.initial_memory(); "
            "action, memory = policy(torch.as_tensor(observation), memory)"
        )


@contextmanager
def _first_tracer_warning(name: str) -> Iterator[None]:
    """Show, of the block's warnings, the first that the tracer gives, which are of the policy `name`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for entry in caught:
        if issubclass(entry.category, jit.TracerWarning):
            warnings.warn(f"{name}: {' '.join(str(entry.message).split())}", stacklevel=3)
            break
