"""How many processes share the tests."""

import os
from pathlib import Path

import pytest

MOST = 8
"""Each holds torch, half a gigabyte."""


def workers(config: pytest.Config, cores: int | None = None) -> int:
    """Say how many workers pytest-xdist shall start.

    Returns:
        0 where the process itself runs the tests: single files, which are done before workers would have
        started, the timings, which others would disturb, and output that shall be seen (`-s`).
    """
    cores = cores or available_cores()
    single = all(Path(argument.split("::")[0]).is_file() for argument in config.args)
    timings = config.option.markexpr == "benchmark"
    if single or timings or cores == 1 or config.option.capture == "no":
        return 0
    return min(cores, MOST)


def available_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
