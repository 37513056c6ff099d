"""Read the evaluations.npz of Stable-Baselines3's EvalCallback, as data that anyone may have written."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from mbrl_agent.files.plain_data import decode_array, decode_zip, read_file
from mbrl_agent.study.compare.records import Run
from mbrl_agent.study.compare.statistics import Array

FILE = "evaluations.npz"
DIRECTORY = "directory"
"""The one setting of a run that left nothing but evaluations: what its group is called."""
MAX_EVALUATIONS_BYTES = 2**26
"""Of the file: far above any evaluation, far below what would exhaust the memory."""
SEED = re.compile(r"(^|[-_ ])(seed|run|rep)[-_ ]?\d+$|^\d+$", re.IGNORECASE)
"""What tells the runs of a group apart, at the end of a directory's name or all of it.

Another number may be a setting, as in `lr_0.001` and `net_64`, or part of a name, as in `td3`.
"""


def read_evaluations(directory: Path) -> Run:
    """Make a run that knows its evaluations only; not its environment, its settings or its wall clock.

    Raises:
        ValueError: The file is not what EvalCallback writes; the message names it.
    """
    path = directory / FILE
    try:
        arrays = _load(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as evaluations: {error}") from error
    steps, results = arrays["timesteps"], arrays["results"]
    count = len(steps)
    group = group_directory(directory)
    success = arrays.get("successes")
    return Run(
        path=directory,
        kind=group.name,
        label=group.name,
        settings={DIRECTORY: str(group)},
        env=None,
        time_step=None,
        budget=None,
        finished=True,
        keeps=False,
        episodes=results.shape[1],
        trials=np.arange(1.0, count + 1),
        steps=steps,
        success=np.full(count, np.nan) if success is None else success.mean(axis=1),
        reward=results.mean(axis=1),
        clock=np.full(count, np.nan),
        end_steps=float(steps[-1]),
        end_clock=float("nan"),
    )


def group_directory(directory: Path) -> Path:
    """Return the directory without the seed at its end: `logs/sac` for `logs/sac_seed3` and `logs/sac/3`."""
    directory = directory.resolve()
    name = SEED.sub("", directory.name)
    return directory.with_name(name) if name else directory.parent


def _load(path: Path) -> dict[str, Array]:
    """Return `timesteps` (E,), `results` (E, N) and perhaps `successes` (E, N), checked, as float64."""
    members = decode_zip(read_file(path, MAX_EVALUATIONS_BYTES))
    found = {}
    for name in ("timesteps", "results", "successes"):
        if f"{name}.npy" in members:
            found[name] = _numbers(name, members[f"{name}.npy"])
        elif name != "successes":
            raise ValueError(f"it has no array {name!r}")
    steps = found["timesteps"]
    if steps.ndim != 1 or not len(steps) or steps[0] < 1 or (np.diff(steps) <= 0).any():
        raise ValueError("timesteps must be growing numbers of steps, from 1")
    for name, array in found.items():
        if name != "timesteps" and (array.ndim != 2 or len(array) != len(steps) or not array.shape[1]):
            raise ValueError(f"{name} must have a row of episodes for each of {len(steps)} evaluations, "
                             f"got the shape {array.shape}")  # fmt: skip
    if "successes" in found and not np.isin(found["successes"], (0, 1)).all():
        raise ValueError("successes must be true or false")
    return found


def _numbers(name: str, payload: bytes) -> Array:
    try:
        array = decode_array(payload)
    except ValueError as error:
        raise ValueError(f"{name} does not hold numbers: {error}") from error
    if array.dtype.kind == "c":
        raise ValueError(f"{name} does not hold numbers, but complex ones")
    numbers: Array = array.astype(np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name} holds a value that is not finite")
    return numbers
