"""Figures of a benchmark run as a JSON file: what was timed, on which machine, of which commit."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

DIRECTORY = Path(".benchmarks")


@dataclass(frozen=True)
class Figure:
    """Times of one thing.

    Attributes:
        name: What was timed, with its settings.
        median: [ms].
        low: Lower quartile [ms].
        high: Upper quartile [ms].
        rounds: How often.
    """

    name: str
    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, name: str, seconds: Sequence[float]) -> Figure:
        """Summarise wall times [s]."""
        times = [1e3 * value for value in seconds]
        low, median, high = statistics.quantiles(times, method="inclusive") if len(times) > 1 else times * 3
        return cls(name, median, low, high, len(times))


class Records:
    """The figures of one run."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []

    def add(self, name: str, seconds: Sequence[float]) -> Figure:
        """Keep and print a figure; returns it."""
        figure = Figure.of(name, seconds)
        self.figures.append(figure)
        spread = f"quartiles {figure.low:.2f} to {figure.high:.2f}, {figure.rounds} rounds"
        print(f"\n{name}: {figure.median:.2f} ms ({spread})", end="")  # noqa: T201
        return figure

    def write(self, directory: Path = DIRECTORY) -> Path | None:
        """Write a new file; None where nothing was timed."""
        if not self.figures:
            return None
        directory.mkdir(parents=True, exist_ok=True)
        known = commit()
        path = directory / f"{time.strftime('%Y%m%d-%H%M%S')}_{known[:9]}.json"
        data = {"commit": known, "machine": machine(), "figures": [asdict(figure) for figure in self.figures]}
        path.write_text(json.dumps(data, indent=1))
        return path


def commit() -> str:
    """The commit that is checked out, with a + where files differ from it."""
    try:
        found = [
            subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found[0] + ("+" if found[1] else "")


def machine() -> dict[str, Any]:
    """Processor, cores, threads and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
