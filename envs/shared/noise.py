"""Random numbers of many sub-environments, each with a generator of its own, at the price of few calls."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from gymnasium.utils import seeding

from envs.shared.arrays import FloatArray

Indices = npt.NDArray[np.intp]

NORMAL_ROWS = 32
"""Rows of D standard normals that a plant draws at a time: start, first observation and 30 steps."""


class NormalBlocks:
    """Standard normals for n sub-environments, drawn from n generators in blocks of `NORMAL_ROWS` rows of D.

    The single environment draws the same blocks, hence the same numbers. Generators that were never seeded
    take fresh entropy at first use.

    Args:
        num_envs: n.
        dims: D.
    """

    def __init__(self, num_envs: int, dims: int) -> None:
        self._generators: list[np.random.Generator | None] = [None] * num_envs
        self._seeds = [-1] * num_envs
        self._blocks = np.empty((num_envs, NORMAL_ROWS, dims))
        self._next = np.full(num_envs, NORMAL_ROWS)

    @property
    def generators(self) -> tuple[np.random.Generator, ...]:
        """The n generators."""
        return tuple(self._generator(index) for index in range(len(self._generators)))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The n seeds."""
        return tuple(self._seeds) if self.generators else ()

    def seed(self, indices: Indices, seeds: Sequence[int | None]) -> None:
        """Give those of the sub-environments `indices` new generators whose seed, of n, is not None."""
        for index in indices.tolist():
            if seeds[index] is not None:
                self._generators[index], self._seeds[index] = seeding.np_random(seeds[index])

    def restart(self, indices: Indices) -> None:
        """Let the sub-environments `indices` begin a new block."""
        self._next[indices] = NORMAL_ROWS

    def draw(self, indices: Indices) -> FloatArray:
        """Return the next row of each of k sub-environments, (k, D)."""
        for index in indices[self._next[indices] >= NORMAL_ROWS].tolist():
            self._generator(index).standard_normal(out=self._blocks[index])
            self._next[index] = 0
        rows: FloatArray = self._blocks[indices, self._next[indices]]
        self._next[indices] += 1
        return rows

    def _generator(self, index: int) -> np.random.Generator:
        generator = self._generators[index]
        if generator is None:
            generator, self._seeds[index] = seeding.np_random()
            self._generators[index] = generator
        return generator
