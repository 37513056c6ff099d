"""Runs made by hand, whose curves are known."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import envs  # noqa: F401
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.study.baseline.config import BaselineConfig


def make_run(
    path: Path,
    success: Sequence[float],
    seed: int = 0,
    trials: int | None = None,
    finished: bool = True,
    trial_seconds: float = 8.0,
    **changes: Any,
) -> Path:
    """A run of train.py: 30 steps a trial, of 8 s of learning, 1.5 s of evaluation and 0.5 s of figures."""
    path.mkdir(parents=True)
    config = {"trials": trials or len(success), "seed": seed, "logdir": str(path.parent)}
    options = {key.replace("__", "."): value for key, value in changes.items()}
    TrainConfig().updated(config | options).save(path / "config.yaml")
    write_progress(path, [30 * (i + 1) for i in range(len(success))], success, trial_seconds)
    if finished:
        (path / "agent.zip").write_bytes(b"")
    return path


def make_baseline_run(
    path: Path,
    steps: Sequence[int],
    success: Sequence[float],
    finished: bool = True,
    budget: int = 3000,
    **settings: Any,
) -> Path:
    path.mkdir(parents=True)
    BaselineConfig(**{"eval_every": 300, "steps": budget, **settings}).save(path / "config.yaml")
    write_progress(path, steps, success, 2.0)
    if finished:
        (path / "agent.zip").write_bytes(b"")
    return path


def write_progress(path: Path, steps: Sequence[int], success: Sequence[float], trial_seconds: float) -> None:
    if not steps:
        return
    names = ["time/trial", "time/total_timesteps", "time/evaluate", "eval/mean_reward", "eval/success_rate"]
    with (path / "progress.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["dynamics/rmse_0", *names, "time/log"])
        for count, rate in zip(steps, success, strict=True):
            writer.writerow(["", trial_seconds, count, 1.5, 25 * rate, rate, 0.5])


def make_evaluations(
    path: Path, steps: Sequence[int], outcomes: Sequence[Sequence[int]] | None, **more: Any
) -> Path:
    """What EvalCallback writes: a return of 10 for a success, of 0 for a failure."""
    path.mkdir(parents=True, exist_ok=True)
    episodes = np.array(outcomes if outcomes is not None else [[0, 1]] * len(steps))
    arrays = {
        "timesteps": np.array(steps),
        "results": 10.0 * episodes,
        "ep_lengths": 30 * np.ones_like(episodes),
    }
    if outcomes is not None:
        arrays["successes"] = episodes.astype(bool)
    np.savez(path / "evaluations.npz", **(arrays | more))
    return path
