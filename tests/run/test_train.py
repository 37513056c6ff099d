"""train.py, and strangers' modules that are called `envs` or `train` as well."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_train_from(directory: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """`python -m train` in a directory, which comes first on the path there; train.py is found behind it."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "train", *argv]
    return subprocess.run(command, cwd=directory, env=variables, capture_output=True, text=True, check=False)


SMALL = ["--trials", "1", "--eval-episodes", "1", "--gradient-probe", "0", "--search.steps", "1"]
SMALL += ["--search.candidates", "1", "--search.num-particles", "10", "--dynamics.fit-steps", "2"]
THEIRS = """
import gymnasium
from gymnasium.envs.classic_control import PendulumEnv
import torch

class Theirs(PendulumEnv):
    cost = staticmethod(lambda state, action: state[..., 0] ** 2)

gymnasium.register("Theirs-v0", entry_point=Theirs, max_episode_steps=12)
"""


@pytest.mark.parametrize("file", ["envs/__init__.py", "envs.py", "envs/cartpole_swingup.py"])
def test_a_strangers_envs_is_not_imported_for_ours(file, tmp_path):
    (tmp_path / "envs").mkdir()
    (tmp_path / file).write_text("raise RuntimeError('this was executed')")
    result = run_train_from(tmp_path, *SMALL)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", ["envs", "train"])
def test_ours_is_not_imported_for_a_strangers(name, tmp_path):
    (tmp_path / f"{name}.py").write_text(THEIRS)
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "train.py"), "--env", f"{name}:Theirs-v0", *SMALL]
    result = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_users_module_imports_its_own_envs(tmp_path):
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text(THEIRS)
    (tmp_path / "mine.py").write_text("import envs\ncost = envs.Theirs.cost\n")
    command = [sys.executable, str(ROOT / "train.py"), "--env", "mine:Theirs-v0", *SMALL]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    command = [sys.executable, str(ROOT / "train.py"), "--cost", "mine:cost", *SMALL]  # ours and theirs
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "one process cannot use both" in result.stderr


def test_train_is_thin():
    assert len((ROOT / "train.py").read_text().splitlines()) <= 40
