"""The command line of `inspect`, on a tiny run and on files alone."""

import csv
import shutil

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from PIL import Image

from mbrl_agent import ParticlePILCO, SearchOptions
from mbrl_agent.__main__ import main

NAMES = {"prediction_errors", "prediction_spread", "errors_over_trials", "policy_map"}


@pytest.fixture
def run(undisturbed, tmp_path):
    """A copy of a tiny run, to be written into."""
    return shutil.copytree(undisturbed, tmp_path / "run")


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_written(folder, names):
    assert (
        {file.stem for file in folder.glob("*.png")} == {file.stem for file in folder.glob("*.csv")} == names
    )
    for file in folder.glob("*.png"):
        assert Image.open(file).format == "PNG"


def test_a_final_model_is_not_judged_by_what_it_has_seen(run, capsys):
    assert main(["inspect", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "the model after trial 3 has seen every episode" in shown
    assert "judged is that after trial 2" in shown
    assert_written(run / "inspection", NAMES)
    rows = read(run / "inspection" / "errors_over_trials.csv")
    assert [(row["trial"], row["unseen_episodes"]) for row in rows[::8]] == [("1", "2"), ("2", "1")]
    assert {row["steps_ahead"] for row in rows} == {"1", "30"}
    assert rows[2]["dimension"] == "theta [rad]"
    errors = read(run / "inspection" / "prediction_errors.csv")
    assert len(errors) == 30 * 4
    assert errors[0]["predictions"] == "30"
    # the same model, and the same episode
    assert errors[0]["rms_error"] == rows[8]["rms_error"]


def test_an_earlier_model_is_judged_by_what_came_later(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["inspect", str(run), "--trial", "1", "--steps", "4", "--out", str(out)]) == 0
    assert "note" not in capsys.readouterr().out
    rows = read(out / "prediction_errors.csv")
    assert rows[0]["predictions"] == "60"
    assert rows[-1]["steps_ahead"] == "4"
    # the errors are those that one finds by hand
    agent = ParticlePILCO.load(run / "checkpoints" / "trial_001.zip")
    later = ParticlePILCO.load(run / "agent.zip").replay.episodes[1:]
    states = np.concatenate([e.observations[:-1] for e in later])
    actions = np.concatenate([e.actions for e in later])
    change = np.concatenate([np.diff(e.observations, axis=0) for e in later])
    assert len(agent.replay.episodes) == 1
    assert float(rows[0]["rms_error_unchanged"]) == pytest.approx(
        np.sqrt(np.mean(change[:, 0] ** 2)), rel=1e-4
    )
    particles = agent.search.num_particles
    state, action = (
        torch.as_tensor(a, dtype=torch.float32)[:, None].expand(-1, particles, -1) for a in (states, actions)
    )
    with torch.no_grad():
        mean = agent.dynamics.predict(state, action, None).mean.mean(1).numpy()
    error = np.sqrt(np.mean((mean - states - change)[:, 1] ** 2))
    assert float(rows[1]["rms_error"]) == pytest.approx(error, rel=1e-3)


@pytest.mark.parametrize(
    ("dims", "columns", "name"),
    [
        ("theta,theta_dot", ["theta [rad]", "theta_dot [rad/s]"], "policy_map"),
        ("3,x", ["theta_dot [rad/s]", "x [m]"], "policy_map"),
        ("x_dot [m/s]", ["x_dot [m/s]"], "policy_curve"),
    ],
)
def test_dimensions_by_name_or_index(dims, columns, name, run):
    assert main(["inspect", str(run), "--dims", dims, "--steps", "1"]) == 0
    assert list(read(run / "inspection" / f"{name}.csv")[0]) == [*columns, "action_0"]


def test_a_checkpoint_that_is_damaged_is_left_out(run, capsys):
    (run / "checkpoints" / "trial_002.zip").write_bytes(b"no")
    assert main(["inspect", str(run), "--steps", "1"]) == 0
    shown = capsys.readouterr()
    assert "judged is that after trial 1" in shown.out
    assert "trial_002.zip is left out" in shown.err
    assert [row["trial"] for row in read(run / "inspection" / "errors_over_trials.csv")] == ["1"] * 4


def test_a_run_without_checkpoints_is_judged_by_its_own_data(run, capsys):
    shutil.rmtree(run / "checkpoints")
    assert main(["inspect", str(run), "--steps", "2"]) == 0
    assert "no episodes that the model has not seen" in capsys.readouterr().out
    assert_written(run / "inspection", NAMES - {"errors_over_trials"})


class Line(gymnasium.Env):
    """One dimension and two actions."""

    def __init__(self):
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = spaces.Box(np.float32([-1, 0]), np.float32([1, 5]))
        self.cost = lambda state, action: state[..., 0] ** 2
        self.observation_labels = ["pressure $ [kPa_]"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal(size=1)
        return self.x.astype(np.float32), {}

    def step(self, action):
        self.x = self.x + 0.1 * action[:1]
        return self.x.astype(np.float32), 0.0, False, False, {}


def line_agent():
    env = gymnasium.wrappers.TimeLimit(Line(), 12)
    search = SearchOptions(steps=2, num_particles=10, candidates=2)
    return ParticlePILCO(
        "linear", env, seed=0, search=search, dynamics="ensemble:fit-steps=5", gradient_probe=0
    )


def test_an_agent_file_with_one_dimension(tmp_path, capsys):
    agent = line_agent().learn(24)
    agent.save(tmp_path / "mine.zip")
    assert main(["inspect", str(tmp_path / "mine.zip")]) == 0
    assert "no episodes that the model has not seen" in capsys.readouterr().out
    assert_written(tmp_path / "inspection", {"prediction_errors", "prediction_spread", "policy_curve"})
    rows = read(tmp_path / "inspection" / "policy_curve.csv")
    assert list(rows[0]) == ["dimension 0", "action_0", "action_1"]
    agent = ParticlePILCO.load(tmp_path / "mine.zip")
    states = np.array([[float(row["dimension 0"])] for row in rows], np.float32)
    expected = agent.predict(states)[0]
    np.testing.assert_allclose([float(row["action_1"]) for row in rows], expected[:, 1], atol=1e-5)


def test_labels_may_hold_anything(tmp_path, monkeypatch, run):
    """A dollar sign does not begin a formula, and a user's matplotlibrc does not matter."""
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "text.usetex", True)
    monkeypatch.setattr(
        "mbrl_agent.run.commands.task_names.state_labels", lambda env: ["a $", "$_{", "\\x", "b"]
    )
    assert main(["inspect", str(run), "--steps", "2"]) == 0
    assert_written(run / "inspection", NAMES)


def test_a_model_that_was_never_fitted(tmp_path, capsys):
    line_agent().save(tmp_path / "fresh.zip")
    assert main(["inspect", str(tmp_path / "fresh.zip")]) == 2
    shown = capsys.readouterr().err
    assert "holds no fitted model" in shown
    assert len(shown.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["fresh.zip"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dims", "thta,x"], "there is no dimension 'thta'"),
        (["--dims", "theta,4"], "there is no dimension '4'"),
        (["--dims", "theta,2"], "names dimension theta twice"),
        (["--dims", "0,1,2"], "must be one or two dimensions, got 3"),
        (["--steps", "0"], "must be at least 1"),
        (["--out", "{run}/agent.zip"], "must be a directory"),
        (["--trial", "1", "--best"], "give --trial or --best"),
    ],
)
def test_mistakes_are_one_line(words, message, run, capsys):
    before = sorted(run.rglob("*"))
    assert main(["inspect", str(run), *(word.format(run=run) for word in words)]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert sorted(run.rglob("*")) == before
