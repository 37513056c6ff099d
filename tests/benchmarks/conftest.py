"""What benchmarks share: one thread, and a file with all figures of a run in `.benchmarks/`."""

from collections.abc import Iterator

import pytest
import torch

from tests.benchmarks.records import Records


@pytest.fixture(scope="session")
def records() -> Iterator[Records]:
    """The figures of this run, which are written when it ends."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = Records()
    yield found
    torch.set_num_threads(threads)
    if path := found.write():
        print(f"\nwrote {path}")  # noqa: T201
