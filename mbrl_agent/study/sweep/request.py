"""What a sweep is asked for: read from the command line, and written to sweep.yaml."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mbrl_agent.files.yaml_data import read_yaml
from mbrl_agent.options import to_plain
from mbrl_agent.resampling import RESAMPLERS
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.study.seeds import parse_seeds
from mbrl_agent.study.sweep.cells import NOT_RESULT, Cell, make_cells
from mbrl_agent.study.sweep.grid import Grid, read_grid
from mbrl_agent.study.sweep.options import SweepOptions
from mbrl_agent.version import __version__

NOT_HERE = {
    "--seed": "a sweep takes --seeds, for example --seeds 0-19",
    "--logdir": "the cells lie in the directory of --out",
    "--resume": "give the command of the sweep again and it goes on",
    "--version": "python -m mbrl_agent --version shows it",
    "--quiet": "the cells of a sweep are always quiet",
    "--no-quiet": "the cells of a sweep are always quiet; what they write is in their log files",
}
MAX_SWEEP_BYTES = 2**20
"""The largest sweep.yaml that is read: that of a thousand requests."""
STRATEGY_OPTION = "--resampling."
HEADER = """\
# A sweep of mbrl_agent: an entry for each request that this directory got. A cell, a strategy with a
# seed (and a value of each option in `grid`), is the run directory STRATEGY_..._seedN_HASH, and its output
# is in the .log beside it.
"""


@dataclass(frozen=True)
class Request:
    """What is compared, seeds and directory.

    Attributes:
        grid: Strategies, and the combinations of all options.
        seeds: Seeds.
        out: The sweep's directory.
        command: A command line that asks for the same.
    """

    grid: Grid
    seeds: tuple[int, ...]
    out: Path
    command: str

    def cells(self) -> list[Cell]:
        """Return one for each point of the grid and each seed.

        Raises:
            ValueError: Something is given twice.
        """
        return make_cells(self.grid.points, self.seeds, self.out)

    def record(self) -> None:
        """Make the directory, and write the request to its sweep.yaml unless it is there.

        An entry is appended in one go, so that of two sweeps that start at once both are recorded.

        Raises:
            ValueError: It is no directory, that of a run, or not writable, or its sweep.yaml is none.
            OSError: It cannot be made or written.
        """
        make_directory(self.out)
        entry = self._entry()
        if any(_asked(other) == _asked(entry) for other in read_requests(self._file)):
            return
        text = yaml.safe_dump([entry], sort_keys=False, default_flow_style=None, width=2**20)
        with self._file.open("ab") as file:
            file.write(((HEADER if file.tell() == 0 else "") + text).encode())

    def other_versions(self) -> list[str]:
        """Return the versions of the package, other than this one, that were asked to work in this directory.

        Raises:
            ValueError: Its sweep.yaml is none.
        """
        versions = {str(entry.get("version", "unknown")) for entry in read_requests(self._file)}
        return sorted(versions - {__version__})

    @property
    def _file(self) -> Path:
        return self.out / "sweep.yaml"

    def _entry(self) -> dict[str, Any]:
        configs = [point.config for point in self.grid.points]
        strategies = [to_plain(RESAMPLERS.to_dict(config.resampling)) for config in configs]
        default, flat = TrainConfig().flat(), [config.flat() for config in configs]
        common = {k: v for k, v in flat[0].items() if all(k in other and other[k] == v for other in flat)}
        options = {
            key: value
            for key, value in common.items()
            if key not in (*NOT_RESULT, "seed")
            and not key.startswith("resampling")
            and default.get(key) != value
        }
        grid = {key: list(values) for key, values in self.grid.axes.items()}
        return {
            "command": self.command,
            "version": __version__,
            "resampling": [one for i, one in enumerate(strategies) if one not in strategies[:i]],
            "seeds": list(self.seeds),
            **({"grid": grid} if grid else {}),
            "options": options,
        }


def make_directory(out: Path) -> None:
    """Make the directory of a sweep, where it is not there.

    Raises:
        ValueError: It is no directory, that of a run, or not writable.
        OSError: It cannot be made.
    """
    if (out / "config.yaml").exists():
        raise ValueError(f"out {out} is the directory of a run; give a sweep one of its own")
    if out.exists() and not out.is_dir():
        raise ValueError(f"out {out} is not a directory")
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise ValueError(f"out {out} is not writable")


def _asked(entry: dict[str, Any]) -> list[Any]:
    return [entry.get(key) for key in ("version", "resampling", "seeds", "grid", "options")]


def read_requests(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a sweep.yaml, none where there is no such file.

    Raises:
        ValueError: It is not YAML, or does not hold requests.
    """
    if not path.exists():
        return []
    try:
        entries = read_yaml(path, MAX_SWEEP_BYTES)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{path} does not hold the requests of a sweep; give another --out, or delete it")
    return entries


def read_request(options: SweepOptions, command: str) -> Request:
    """Check what is asked for, down to the options of the runs.

    Args:
        options: What is asked for.
        command: A command line that asks for the same.

    Raises:
        ValueError: An option is unknown, has no place in a sweep, or has a wrong value.
    """
    for word in options.train_options:
        name = word.partition("=")[0]
        if name in NOT_HERE:
            raise ValueError(f"{name}: {NOT_HERE[name]}")
        if name.startswith(STRATEGY_OPTION):
            raise ValueError(f"{name}: write a strategy's options with its name, as in interpolated:0.25")
    local = options.engine == "local"
    grid = read_grid(options.train_options, options.resampling, device_is_here=local)
    device = grid.points[0].config.device
    if not local and device.startswith("cuda:"):
        raise ValueError(f"--device {device}: Ray gives every cell a GPU of its own; give --device cuda")
    return Request(grid, tuple(parse_seeds(options.seeds)), options.out, command)
