"""Find runs below directories and read what they have left: config.yaml and progress.csv."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mbrl_agent.files.yaml_data import read_yaml
from mbrl_agent.options import to_text
from mbrl_agent.run.config import CHOICES, TrainConfig
from mbrl_agent.run.directory import RunDirectory
from mbrl_agent.run.environment import Environment, make_env
from mbrl_agent.run.experiment import step_duration
from mbrl_agent.study.baseline.config import MARK, BaselineConfig
from mbrl_agent.study.compare.read_evaluations import FILE, read_evaluations
from mbrl_agent.study.compare.records import Run
from mbrl_agent.study.compare.statistics import Array
from mbrl_agent.study.progress_table import CLOCK, REWARD, STEPS, SUCCESS, read_progress


def find_runs(arguments: Sequence[Path]) -> list[Run]:
    """Find every run at or below the directories, each once.

    Raises:
        ValueError: A directory is not there or holds no run, or a run's files are broken.
    """
    found: dict[Path, Run] = {}
    for argument in arguments:
        if not argument.is_dir():
            raise ValueError(f"{argument} is not a directory")
        paths = list(_run_directories(argument, set()))
        if not paths:
            raise ValueError(f"{argument} holds no run: no config.yaml of ours and no {FILE} in it or below")
        for path in paths:
            if path.resolve() not in found:
                found[path.resolve()] = read_run(path)
    return list(found.values())


def _run_directories(directory: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield the directories of runs, in the order of their names.

    A config.yaml without progress.csv may be that of a run that was killed early, or that of a sweep: it is
    a run's if there are no runs below.
    """
    if directory.resolve() in seen:  # a link that leads back
        return
    seen.add(directory.resolve())
    files = RunDirectory(directory)
    if files.config.is_file() and files.progress.is_file():
        yield directory
        return
    below = False
    for child in sorted(directory.iterdir(), key=_natural):
        for path in _run_directories(child, seen) if child.is_dir() else ():
            below = True
            yield path
    if (directory / FILE).is_file() or (files.config.is_file() and not below):
        yield directory


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts `seed2` before `seed10`."""
    words = "".join(c if c.isdigit() else f" {c} " for c in path.name).split()
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in words]


def read_run(path: Path) -> Run:
    """Read one run directory.

    Raises:
        ValueError: A file is broken; the message names it.
    """
    files = RunDirectory(path)
    if not files.config.is_file() or ((path / FILE).is_file() and not files.progress.is_file()):
        return read_evaluations(path)
    try:
        data = read_yaml(files.config)
    except (OSError, ValueError) as error:
        raise ValueError(f"{files.config} cannot be read: {error}") from error
    if isinstance(data, Mapping) and MARK in data:
        return _baseline(files, BaselineConfig.from_dict(data, files.config))
    return _ours(files, TrainConfig.load(files.config))


def _ours(files: RunDirectory, config: TrainConfig) -> Run:
    rows = read_progress(files.progress)
    step = find_time_step(config.environment)
    done = len(rows) >= config.trials and files.agent.is_file()
    budget = None  # in steps it is known when the first trial is over: episodes may have any length
    if rows and rows[-1][STEPS]:  # a trial that learned from added episodes takes no steps
        budget = round(rows[-1][STEPS] * config.trials / len(rows))
    choices = {key: str(getattr(config, key)) for key in CHOICES}
    return _run(
        files,
        rows,
        kind=config.resampling.name,
        label=choices["resampling"],
        settings=config.flat() | choices,
        env=config.env,
        time_step=step,
        budget=budget,
        finished=done,
        keeps=False,
        episodes=config.eval_episodes,
    )


def _baseline(files: RunDirectory, config: BaselineConfig) -> Run:
    rows = read_progress(files.progress)
    options = ",".join(f"{key}={to_text(value)}" for key, value in config.own_options().items())
    finished = files.agent.is_file()
    return _run(
        files,
        rows,
        kind=config.algorithm,
        label=f"{config.algorithm}:{options}" if options else config.algorithm,
        settings=config.flat(),
        env=config.env,
        time_step=find_time_step(config.environment),
        budget=config.steps,
        finished=finished,
        keeps=finished and bool(rows) and rows[-1][STEPS] + config.eval_every <= config.steps,
        episodes=config.eval_episodes,
    )


def _run(files: RunDirectory, rows: list[dict[str, float]], **known: Any) -> Run:
    """Make a run from the rows of its progress.csv, those without an evaluation left out of the curves."""
    clock = np.cumsum([sum(row.get(name, 0.0) for name in CLOCK) for row in rows]) if rows else np.zeros(0)
    judged = [i for i, row in enumerate(rows) if REWARD in row or SUCCESS in row]

    def column(name: str) -> Array:
        return np.array([rows[i].get(name, math.nan) for i in judged], dtype=np.float64)

    return Run(
        path=files.path,
        trials=np.array(judged, dtype=np.float64) + 1,
        steps=column(STEPS),
        success=column(SUCCESS),
        reward=column(REWARD),
        clock=clock[judged],
        end_steps=rows[-1][STEPS] if rows else 0.0,
        end_clock=float(clock[-1]) if rows else 0.0,
        **known,
    )


@lru_cache
def find_time_step(environment: Environment) -> float | None:
    """Return the seconds of an environment step; None where it cannot be made here or does not tell."""
    try:
        env = make_env(environment)
    except ValueError:
        return None
    try:
        return step_duration(env)
    finally:
        env.close()
