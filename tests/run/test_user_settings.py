"""A module of the user's in the current directory, and settings of matplotlib and Python."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest

from mbrl_agent.options.modules import find_module
from mbrl_agent.run.figures import encode_png, prediction_figure
from tests.support.deadly_run import ROOT
from tests.support.tiny_run import flags

MODULE = """
import gymnasium, numpy as np
from gymnasium import spaces
from beside_it import END

class Mass(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": "fast"}
    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Box(-1, 1, (1,), np.float32)
    observation_labels = ["$x"]
    cost = staticmethod(lambda state, action: state[..., 0] ** 2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.x = 0, self.np_random.normal()
        return np.array([self.x]), {}

    def step(self, action):
        self.steps += 1
        self.x += float(action[0])
        return np.array([self.x]), -self.x**2, self.steps == END, False, {"is_success": np.array([True])}

    def render(self):
        return np.zeros((40, 60, 4), np.uint8)

gymnasium.register("Mass-v0", entry_point=Mass, max_episode_steps=50)
"""
ENV = "a_module_of_a_user:Mass-v0"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of a user's with a module, and with files that bear names of ours and of libraries."""
    (tmp_path / "a_module_of_a_user.py").write_text(MODULE)
    (tmp_path / "beside_it.py").write_text("END = 9\n")
    for name in ("envs", "mbrl_agent", "yaml", "gymnasium", "json"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('this was executed')\n")
    return tmp_path


def variables(**changes: str) -> dict[str, str]:
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(ROOT), **changes}


def test_a_run_a_sweep_a_baseline_and_a_study_find_the_module(folder, tmp_path):
    """With settings of matplotlib that spoil figures, or its very import."""
    (folder / "mpl").mkdir()
    (folder / "mpl" / "matplotlibrc").write_text("text.usetex: True\nfont.family: NoSuchFont\n")
    changes = {
        "MPLCONFIGDIR": str(folder / "mpl"),
        "MPLBACKEND": "module://of_a_notebook.backend",
        "LC_ALL": "C",
    }

    def succeeds(*words: str) -> None:
        command = [sys.executable, *words]
        result = subprocess.run(
            command, cwd=folder, env=variables(**changes), capture_output=True, text=True, check=False
        )
        assert (result.returncode, "Traceback" in result.stderr) == (0, False), result.stderr

    small = flags(env=ENV, trials=2, eval_episodes=1)
    succeeds(str(ROOT / "train.py"), *small, "--logdir", "runs")
    (run,) = (folder / "runs").iterdir()
    assert (run / "figures/episode_trial_002.gif").exists()
    assert (run / "figures/prediction_trial_002.png").exists()
    study = ("-m", "mbrl_agent.study")
    small = [word for word in small if word != "--quiet"]
    succeeds(*study, "sweep", "--resampling", "none", "--seeds", "0", "--out", "sweep", "--jobs", "1", *small)
    budget = ["--steps", "20", "--eval-every", "10", "--eval-episodes", "1"]
    succeeds(
        *study,
        "baseline",
        "--algorithm",
        "ppo",
        "--env",
        ENV,
        "--out",
        "b",
        "--seeds",
        "0-1",
        "--jobs",
        "2",
        *budget,
    )
    succeeds(*study, "trajectories", "--run", str(run), "--resampling", "none", "--particles", "20")


def test_a_module_that_is_nowhere_is_one_line(folder):
    words = [str(ROOT / "train.py"), "--env", "nowhere_at_all:X-v0", "--logdir", "runs"]
    result = subprocess.run(
        [sys.executable, *words], cwd=folder, env=variables(), capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "env 'nowhere_at_all:X-v0' cannot be made: No module named 'nowhere_at_all'" in result.stderr
    assert not (folder / "runs").exists()


def test_the_current_directory_comes_last_and_only_if_it_is_needed(folder, monkeypatch):
    path = [entry for entry in sys.path if entry]
    monkeypatch.setattr(sys, "path", list(path))
    monkeypatch.chdir(folder)
    for name in ("gymnasium", "json", "sys", "mbrl_agent.study"):
        find_module(name)
    assert sys.path == path
    find_module("a_module_of_a_user.part")
    find_module("a_module_of_a_user")
    assert sys.path == [*path, str(folder)]


def test_a_folder_without_code_does_not_hide_a_module(folder, tmp_path, monkeypatch):
    (tmp_path / "elsewhere" / "a_module_of_a_user").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "elsewhere"), *filter(None, sys.path)])
    monkeypatch.chdir(folder)
    find_module("a_module_of_a_user")
    assert sys.path[-1] == str(folder)


def test_a_module_that_ends_the_program_is_one_line(folder, monkeypatch, capsys):
    from mbrl_agent.run import cli

    (folder / "a_script_of_a_user.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(folder)
    assert cli.main(["--env", "a_script_of_a_user:X-v0", "--logdir", "runs"]) == 2
    error = capsys.readouterr().err
    assert "it ended the program (SystemExit)" in error
    assert error.count("\n") == 1


# figures ---------------------------------------------------------------------------------------------------


def test_a_figure_does_not_depend_on_the_users_style():
    def png() -> bytes:
        particles = np.linspace(0, 1, 60).reshape(5, 6, 2)
        labels = ["$broken \\math$", "50 % läuft 测"]
        return encode_png(prediction_figure(particles, particles[:, 0], labels, "a $title", 0.1))

    plain = png()
    style = {"text.usetex": True, "font.size": 30, "savefig.dpi": 20, "axes.formatter.use_locale": True}
    with matplotlib.rc_context(style):
        before = dict(matplotlib.rcParams)
        assert png() == plain
        assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("backend", ["svg", "no-such-backend"])
def test_the_users_backend_is_kept_where_there_is_one(backend):
    code = "import os, mbrl_agent, matplotlib; print(os.environ['MPLBACKEND'], matplotlib.get_backend())"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=variables(MPLBACKEND=backend),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == [backend, "svg" if backend == "svg" else "agg"]
