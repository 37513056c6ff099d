"""The command `evaluate`: what a policy is worth, by fresh episodes of the real task."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mbrl_agent.files.atomic import write_atomically
from mbrl_agent.options import refused
from mbrl_agent.options.validation import require_count
from mbrl_agent.run.commands.agent_options import ActingOptions, check_target
from mbrl_agent.run.environment import Environment, make_env
from mbrl_agent.run.evaluation import Evaluation, Predict, acting, evaluate
from mbrl_agent.run.intervals import Interval, bootstrap, wilson
from mbrl_agent.run.table import Table, TableCell, align

HELP = "Run fresh episodes: return, success, and whatever number the info of their last step offers."
NOTES = """\
examples:
  mbrl-agent evaluate runs/X
  mbrl-agent evaluate runs/X --env.noise-scale 2 --csv episodes.csv
  mbrl-agent evaluate runs/X --random      # to compare with
"""
SIDE_BY_SIDE = 200
"""Environments that are made at a time."""
SEEDS = 2**31
"""Environments are seeded with smaller numbers."""
RESAMPLES = 10_000
OF_MEANS = (
    f"95 % intervals: of a mean by the bootstrap over the episodes (percentiles, {RESAMPLES} resamples)"
)
OF_SUCCESS = ", of success by Wilson's score"


@dataclass(frozen=True)
class Options(ActingOptions):
    """Which agent is judged, how often, and in which environment."""

    episodes: int = 100
    """Number of episodes."""
    csv: str | None = None
    """File for the table of the episodes, one row each."""
    random: bool = False
    """Act at random instead, to compare with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("episodes", self.episodes)
        if self.seed + self.episodes > SEEDS:
            raise refused("seed", f"must be at most {SEEDS} less the episodes, got {self.seed}")


def run(options: Options) -> int:
    """Run the episodes, and show a table.

    Raises:
        ValueError: The agent or the environment cannot be had.
        OSError: A file cannot be read or written.
        RunFailure: The environment failed.
    """
    if options.csv is not None:
        check_target("csv", Path(options.csv))
    opened = options.open()
    environment = options.environment(opened)
    policy = _random(environment, options.seed) if options.random else partial(acting, opened.agent)
    result = run_episodes(policy, environment, options.episodes, options.seed)
    who = "random actions" if options.random else opened.name
    lines = [f"{who}: {options.episodes} episodes of {environment.name}, seed {options.seed}", ""]
    sys.stdout.write("\n".join([*lines, *summary_lines(result), ""]))
    if options.csv is not None:
        path = Path(options.csv)
        write_atomically(path, episodes_table(result, options.seed).text().encode())
        sys.stdout.write(f"wrote {path}\n")
    return 0


def run_episodes(
    begin: Callable[[], Predict], environment: Environment, episodes: int, seed: int
) -> Evaluation:
    """Run any number of episodes, not too many at a time.

    Args:
        begin: Gives the policy at the start of some episodes.
        environment: Where it acts.
        episodes: How many.
        seed: Episode i starts from seed + i.
    """
    parts = [
        evaluate(begin(), environment, min(SIDE_BY_SIDE, episodes - first), seed + first)
        for first in range(0, episodes, SIDE_BY_SIDE)
    ]
    told = [part.successes for part in parts if part.successes is not None]
    names = dict.fromkeys(name for part in parts for name in part.scalars)
    return Evaluation(
        np.concatenate([part.returns for part in parts]),
        np.concatenate([part.lengths for part in parts]),
        np.concatenate(told) if len(told) == len(parts) else None,
        {
            name: np.concatenate([p.scalars.get(name, np.full(len(p.returns), np.nan)) for p in parts])
            for name in names
        },
    )


def _random(environment: Environment, seed: int) -> Callable[[], Predict]:
    """Return a policy that draws evenly from the action space, by one generator for all episodes."""
    env = make_env(environment)
    low, high = env.action_space.low, env.action_space.high  # type: ignore[attr-defined]
    env.close()
    generator = np.random.default_rng(seed)

    def act(states: NDArray[Any]) -> NDArray[Any]:
        return generator.uniform(low, high, (len(states), *low.shape)).astype(low.dtype)

    return lambda: act


def summary_lines(result: Evaluation) -> list[str]:
    """Return the lines of the table, and how its intervals were made."""
    rows = [["", "mean", "95 % interval", "min", "median", "max"]]
    rows.append(_row("return", result.returns))
    rows.append(_row("length", result.lengths.astype(np.float64)))
    if result.successes is not None:
        share = wilson(int(result.successes.sum()), len(result.successes))
        rows.append(["success", f"{share.value:.1%}", f"{share.low:.1%} to {share.high:.1%}", "", "", ""])
    rows += [_row(name, values) for name, values in result.scalars.items()]
    return [*align(rows), "", OF_MEANS + ("" if result.successes is None else OF_SUCCESS)]


def _row(name: str, values: NDArray[np.float64]) -> list[str]:
    """Return mean, interval and range of what is finite; the name says of how many, if not of all."""
    finite = values[np.isfinite(values)]
    label = name if len(finite) == len(values) else f"{name} ({len(finite)} of {len(values)} episodes)"
    if len(finite) == 0:
        return [label, *["-"] * 5]
    mean = bootstrap(finite, lambda sample: sample.mean(axis=-1), RESAMPLES)
    spread = (finite.min(), np.median(finite), finite.max())
    return [label, _number(mean.value), _range(mean), *(_number(float(value)) for value in spread)]


def _range(interval: Interval) -> str:
    return f"{_number(interval.low)} to {_number(interval.high)}" if np.isfinite(interval.low) else "-"


def _number(value: float) -> str:
    """Write four digits, without a sign before zero."""
    return f"{value + 0.0:.4g}"


def episodes_table(result: Evaluation, seed: int) -> Table:
    """Lay out one row an episode."""
    columns = ["episode", "seed", "return", "length", *([] if result.successes is None else ["success"])]
    taken = {*columns}
    columns += [f"info_{name}" if name in taken else name for name in result.scalars]
    rows: list[list[TableCell]] = []
    for index, (total, length) in enumerate(zip(result.returns, result.lengths, strict=True)):
        row: list[TableCell] = [index, seed + index, float(total), int(length)]
        row += [] if result.successes is None else [int(result.successes[index])]
        rows.append([*row, *(float(values[index]) for values in result.scalars.values())])
    return Table(columns, rows)
