"""What every format offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.version import __version__

Action = Callable[..., Any]
"""Raw observations (N, D) -> actions (N, U) in the units of the environment, NumPy arrays.

Of a policy that remembers: the dimensions of observations that it sees, and its memory (N, H) -> a tuple of
such actions and of the memory for the next step. It is zero at the start of an episode.
"""


@dataclass(frozen=True)
class About:
    """What a file says of the policy in it.

    Attributes:
        source: Where the policy comes from, in words.
        observation: (D), name of each dimension, with its unit where that is known.
        memory: H, how many numbers the policy remembers.
    """

    source: str
    observation: tuple[str, ...]
    memory: int = 0

    def of(self, policy: SearchPolicy) -> Self:
        """Return what the files of this policy say: of its memory, and of the dimensions that it sees."""
        seen = tuple(self.observation[index] for index in policy.seen_dims)
        return replace(self, observation=seen, memory=policy.memory_dims)

    def metadata(self) -> dict[str, Any]:
        """Return the same as plain data, and the version of the package."""
        found = {"mbrl_agent": __version__, "source": self.source, "observation": list(self.observation)}
        return found | {"memory": self.memory} if self.memory else found


class Format(ABC):
    """A way to write a policy down.

    Attributes:
        suffixes: Of the files; the first is the one that the user calls or loads.
    """

    suffixes: tuple[str, ...]

    def require(self, policy: SearchPolicy, stem: str) -> None:  # noqa: B027  (most formats ask for nothing)
        """Check that this policy can be written under this name, with what is installed.

        Args:
            policy: What is to be exported.
            stem: Name of the files without their suffixes.

        Raises:
            ValueError: It cannot; the message says what can.
        """

    @abstractmethod
    def encode(self, policy: SearchPolicy, about: About, stem: str) -> Mapping[str, bytes]:
        """Write a policy down, at its own parameters.

        Args:
            policy: On the CPU.
            about: What the files say of it; `About.of` this policy.
            stem: Name of the files without their suffixes.

        Returns:
            The contents of each file by its suffix.

        Raises:
            ValueError: The policy cannot be written in this format.
        """

    @abstractmethod
    def load(self, path: Path) -> Action:
        """Read the function back from its files as a user would, without this package's policies.

        Args:
            path: The file of the first suffix.
        """

    @abstractmethod
    def usage(self, path: Path, about: About) -> str:
        """Say in a line of code how the file is used.

        Args:
            path: The file of the first suffix.
            about: What it says of the policy.
        """
