"""Sweeps of tiny runs in an environment that makes trouble when it is told to."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import gymnasium

from mbrl_agent.randomness import derive_seed
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.study.sweep.cells import Cell, make_cells
from mbrl_agent.study.sweep.grid import points_of
from tests.support.tiny_run import flags

ROOT = Path(__file__).resolve().parents[2]
TINY = flags(trials=2, eval_episodes=3)[:-1]  # without --quiet, which every cell is
TROUBLED = """
import os, signal, time
from pathlib import Path

import gymnasium
import gymnasium
from envs.cartpole.environment import CartPoleSwingUpEnv

class Troubled(CartPoleSwingUpEnv):
    def reset(self, *, seed=None, options=None):
        if seed == {seed} and not Path({calm!r}).exists():
            {trouble}
        return super().reset(seed=seed, options=options)

gymnasium.register("Troubled-v0", Troubled, max_episode_steps=30)
"""
FIRST_TIME_ONLY = "Path({calm!r}).touch(); "


def troubled(directory: Path, monkeypatch, trouble: str, seed: int = 0, once: bool = False) -> Path:
    """Make `troubled:Troubled-v0`, in which something happens as the second trial of one seed begins.

    Returns:
        A file; while it exists, nothing happens.
    """
    calm = directory / "calm"
    trouble = (FIRST_TIME_ONLY.format(calm=str(calm)) if once else "") + trouble
    values = {"seed": derive_seed(seed, "episode", 1) % 2**31, "calm": str(calm), "trouble": trouble}
    (directory / "troubled.py").write_text(TROUBLED.format(**values))
    monkeypatch.syspath_prepend(directory)
    monkeypatch.setenv("PYTHONPATH", f"{directory}:{ROOT}")
    sys.modules.pop("troubled", None)
    gymnasium.registry.pop("Troubled-v0", None)
    return calm


def cells(out: Path, *resampling: str, seeds=(0,), **options) -> list[Cell]:
    """The cells of a sweep."""
    return make_cells(points_of(TrainConfig().updated(options), resampling or ("gaussian",)), seeds, out)


def start_sweep(*words: str) -> subprocess.Popen[str]:
    """A sweep in a process of its own."""
    command = [sys.executable, "-m", "mbrl_agent.study", "sweep", *words]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:  # a child of tests that run in the background would ignore Ctrl-C, as they do
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)


def wait_until(condition, seconds=60.0) -> None:
    """Wait for something that has to happen."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


def directories(out: Path) -> list[Path]:
    """The run directories of a sweep."""
    return sorted(path for path in out.iterdir() if path.is_dir())
