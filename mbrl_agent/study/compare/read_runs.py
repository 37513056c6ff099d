"""Find runs below directories and read what they have left: config.yaml and progress.csv."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mbrl_agent.config import CHOICES, TrainConfig
from mbrl_agent.experiment import step_duration
from mbrl_agent.options import options_of, to_plain, to_text
from mbrl_agent.plain_data import read_file
from mbrl_agent.run_directory import RunDirectory
from mbrl_agent.study.baseline.config import MARK, BaselineConfig
from mbrl_agent.study.compare.read_evaluations import FILE, read_evaluations
from mbrl_agent.study.compare.records import Run
from mbrl_agent.study.compare.statistics import Array
from mbrl_agent.study.scene import find_env
from mbrl_agent.yaml_data import read_yaml

STEPS, SUCCESS, REWARD = "time/total_timesteps", "eval/success_rate", "eval/mean_reward"
CLOCK = ("time/trial", "time/evaluate", "time/log")
"""Wall clock of a row: learning, evaluation, figures; only the start of the program is in none of them."""

MAX_PROGRESS = 2**24
"""The largest progress.csv [bytes] that is read: that of some ten thousand trials."""


def find_runs(arguments: Sequence[Path]) -> list[Run]:
    """Every run at or below the directories, each once.

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
    """The directories of runs, in the order of their names.

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
    """`seed2` before `seed10`."""
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
    step = find_time_step(config.env)
    done = len(rows) >= config.trials and files.agent.is_file()
    budget = None  # in steps it is known when the first trial is over: episodes may have any length
    if rows:
        budget = round(rows[-1][STEPS] * config.trials / len(rows))
    choices = {key: choice_label(key, getattr(config, key)) for key in CHOICES}
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
        time_step=find_time_step(config.env),
        budget=config.steps,
        finished=finished,
        keeps=finished and bool(rows) and rows[-1][STEPS] + config.eval_every <= config.steps,
        episodes=config.eval_episodes,
    )


def _run(files: RunDirectory, rows: list[dict[str, float]], **known: Any) -> Run:
    """A run from the rows of its progress.csv, those without an evaluation left out of the curves."""
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


def read_progress(path: Path) -> list[dict[str, float]]:
    """The numbers of a progress.csv that a comparison needs, a row a trial; none where there is no file.

    Raises:
        ValueError: It is not such a table; the message says where.
    """
    if not path.exists():
        return []
    try:
        text = read_file(path, MAX_PROGRESS).decode()
        table = list(csv.reader(io.StringIO(text), strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{path} is not a table of comma-separated values: {error}") from error
    if not table:
        return []
    header = table[0]
    if STEPS not in header:
        raise ValueError(f"{path} has no column {STEPS}: it is not the progress of a run")
    rows = [_progress_row(path, number, header, cells) for number, cells in enumerate(table[1:], start=2)]
    for number, (before, after) in enumerate(pairwise(rows), start=3):
        if not before[STEPS] < after[STEPS]:
            raise ValueError(f"{path}, line {number}: {STEPS} must grow, got {after[STEPS]:g}")
    return rows


def _progress_row(path: Path, number: int, header: list[str], cells: list[str]) -> dict[str, float]:
    if len(cells) != len(header):
        raise ValueError(f"{path}, line {number}: {len(cells)} cells for {len(header)} columns")
    row = {}
    for name, cell in zip(header, cells, strict=True):
        if name not in (STEPS, SUCCESS, REWARD, *CLOCK) or not cell:
            continue
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        fits = 0 <= value <= 1 if name == SUCCESS else value >= 0 or name == REWARD
        if not math.isfinite(value) or not fits:
            raise ValueError(f"{path}, line {number}: {name} cannot be {cell[:40]!r}")
        row[name] = value
    if STEPS not in row:
        raise ValueError(f"{path}, line {number}: {STEPS} is empty")
    return row


def choice_label(key: str, value: Any) -> str:
    """`mixture:components=5`: a choice as the command line of the studies takes it, defaults left out."""
    name, options = CHOICES[key].to_dict(value)["name"], options_of(type(value))
    own = {k: v for k, v in vars(value).items() if k in options and v != options[k].default}
    words = [f"{k.replace('_', '-')}={to_text(to_plain(v))}" for k, v in own.items()]
    return f"{name}:{','.join(words)}" if words else str(name)


@lru_cache
def find_time_step(env_id: str) -> float | None:
    """Seconds of an environment step; None where the environment cannot be made here or does not tell."""
    try:
        env = find_env(env_id)
    except ValueError:
        return None
    try:
        return step_duration(env)
    finally:
        env.close()
