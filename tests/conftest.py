"""What all tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_run import quick_figures, tiny

# the tensors of the tests are small: a second thread only waits for the first
torch.set_num_threads(1)


@pytest.fixture(scope="module")
def quickly() -> Iterator[None]:
    """Runs in this module draw no figures."""
    with quick_figures():
        yield


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny run without figures to which nothing happened; not to be changed."""
    run = tiny(tmp_path_factory.mktemp("undisturbed"))
    with quick_figures():
        run.run()
    return run.directory
