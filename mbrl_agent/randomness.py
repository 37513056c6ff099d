"""Random generators derived from the seed of a run.

Every use of randomness has a generator of its own, derived from the seed, the use's name and its
number (say the trial). There is no generator whose state would have to be saved: a resumed run
derives the same ones.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch


def derive_seed(seed: int, purpose: str, index: int = 0) -> int:
    """Return a seed of 63 bits for the `index`-th use of randomness for `purpose`."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), index])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))


def derive_generator(
    seed: int, purpose: str, index: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a torch generator for the `index`-th use of randomness for `purpose`."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, purpose, index))
