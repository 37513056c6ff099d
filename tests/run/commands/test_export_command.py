"""The command line of `export`, on a tiny run and on files alone."""

import shutil

import numpy as np
import pytest

from mbrl_agent import ParticlePILCO
from mbrl_agent.__main__ import main
from mbrl_agent.run.export import FORMATS, torchscript_format


@pytest.fixture
def run(undisturbed, tmp_path):
    """A copy of a tiny run, to be written into."""
    return shutil.copytree(undisturbed, tmp_path / "run")


def test_a_run_is_exported_beside_its_agent(run, capsys):
    assert main(["export", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "2  theta [rad]" in shown
    assert "observation (4) -> action (1) from [-1.0] to [1.0]" in shown
    assert "largest difference from predict on " in shown
    act = FORMATS["numpy"].load(run / "agent_policy.py")
    agent = ParticlePILCO.load(run / "agent.zip")
    states = agent.replay.episodes[0].observations.astype(np.float32)
    np.testing.assert_allclose(act(states), agent.predict(states)[0], atol=2e-5)


@pytest.mark.parametrize(
    ("words", "file"),
    [
        (["--trial", "1"], "trial_001_policy.py"),
        (["--best"], "best_policy.npz"),
        (["--format", "torchscript"], "agent_policy.pt"),
        (["--format", "torchscript", "--out", "{run}/my-policy.pt"], "my-policy.pt"),
        (["--out", "{run}/mine.npz"], "mine.py"),
        (["--out", "{run}/mine"], "mine.py"),
        (["--out", "{run}/new/"], "new/agent_policy.py"),
        (["--out", "{run}/figures"], "figures/agent_policy.py"),
    ],
)
def test_where_files_go(words, file, run):
    assert main(["export", str(run), *(word.format(run=run) for word in words)]) == 0
    assert (run / file).is_file()


def test_a_file_alone_has_dimensions_without_names(run, tmp_path, capsys):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(run / "agent.zip", alone / "1-a.zip")
    assert main(["export", str(alone / "1-a.zip")]) == 0
    assert "2  dimension 2" in capsys.readouterr().out
    assert sorted(file.name for file in alone.iterdir()) == ["1-a.zip", "_1_a_policy.npz", "_1_a_policy.py"]
    assert main(["export", str(alone / "1-a.zip"), "--env", "CartPoleSwingUp-v0", "--force"]) == 0
    assert "2  theta [rad]" in capsys.readouterr().out


def test_an_environment_that_is_gone_costs_the_names_alone(run, capsys):
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("env: CartPoleSwingUp-v0", "env: nowhere:Gone-v0"))
    assert main(["export", str(run)]) == 0
    shown = capsys.readouterr()
    assert "2  dimension 2" in shown.out
    assert "warning: dimensions have numbers instead of names" in shown.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "{run}/policy.txt"], "--out: must end with .py or .npz, or be a directory"),
        (["--out", "{run}/my-policy.py"], "cannot be imported under that name"),
        (["--out", "{run}/agent.zip/policy.py"], "agent.zip is a file"),
        (["--format", "matlab"], "expected one of"),
        (["--trial", "9"], "no checkpoint after trial 9"),
        (["--env", "Pendulum-v1"], "does not fit Pendulum-v1"),
        (["--oversize"], "unknown option --oversize"),
    ],
)
def test_mistakes_are_one_line(words, message, run, capsys):
    before = sorted(run.rglob("*"))
    assert main(["export", str(run), *(word.format(run=run) for word in words)]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1
    assert sorted(run.rglob("*")) == before


def test_a_second_export_is_refused_without_force(run, capsys):
    assert main(["export", str(run)]) == 0
    written = (run / "agent_policy.py").read_bytes()
    assert main(["export", str(run)]) == 2
    assert "agent_policy.py is there already: give --force" in capsys.readouterr().err
    assert main(["export", str(run), "--force"]) == 0
    assert (run / "agent_policy.py").read_bytes() == written


def test_an_export_that_differs_is_an_error_and_not_written(run, capsys, monkeypatch):
    class Wrong(torchscript_format.PolicyFunction):
        def forward(self, observation):
            return super().forward(observation) + 1e-3

    monkeypatch.setattr(torchscript_format, "PolicyFunction", Wrong)
    assert main(["export", str(run), "--format", "torchscript"]) == 1
    assert "what was exported is not the policy" in capsys.readouterr().err
    assert not list(run.glob("*.pt"))
