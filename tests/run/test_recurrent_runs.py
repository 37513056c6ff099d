"""Runs whose policy remembers: every command on them, resuming, and mistakes."""

import numpy as np
import pytest

from mbrl_agent import ParticlePILCO
from mbrl_agent.run.commands import evaluate as evaluate_command
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.environment import make_env
from mbrl_agent.run.evaluation import acting, evaluate
from mbrl_agent.run.experiment import new_agent, new_run, open_run
from mbrl_agent.run.export import FORMATS
from mbrl_agent.study.__main__ import main as study
from tests.support.programs import error_line, run
from tests.support.tiny_run import TINY, assert_same_run, quick_figures

SMALL = {name: value for name, value in TINY.items() if name != "policy.centers"}
CHANGES = {
    **SMALL,
    "observe": (0, 2),
    "history": 3,
    "policy": "recurrent:hidden=6",
    "resampling": "none",
    "gradient_probe": 2,
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """The directory of a tiny run."""
    made = new_run(TrainConfig().updated({**CHANGES, "logdir": str(tmp_path_factory.mktemp("memory"))}))
    with quick_figures():
        made.run()
    return made.directory


def test_the_policy_sees_the_newest_positions(directory):
    agent = ParticlePILCO.load(directory / "agent.zip")
    assert agent.state_dims == 8
    assert agent.policy.inputs.shape == (3, 18)  # x, and sine and cosine of theta; three times 6 numbers


@pytest.mark.parametrize("words", [("evaluate", "--episodes", 2), ("watch", "--gif", "OUT.gif")])
def test_commands_on_it(words, directory, tmp_path, capsys):
    name, *rest = words
    rest = [str(word).replace("OUT", str(tmp_path / "out")) for word in rest]
    with quick_figures():
        assert run(capsys, name, directory, *rest)


def test_inspect_draws_the_model_alone(directory, tmp_path, capsys):
    with quick_figures():
        told = run(capsys, "inspect", directory, "--out", tmp_path)
    assert "note: the policy remembers" in told
    assert (tmp_path / "prediction_errors.png").is_file()
    assert not (tmp_path / "policy_map.png").exists()
    assert "RecurrentPolicy remembers" in error_line(
        capsys, "inspect", directory, "--out", tmp_path, "--dims", "0,1"
    )


@pytest.mark.parametrize("name", ["numpy", "torchscript"])
def test_an_export_acts_on_the_newest_positions(name, directory, tmp_path, capsys):
    """On the rig nobody keeps a history for a policy that does not look at it."""
    out = tmp_path / f"mine{FORMATS[name].suffixes[0]}"
    shown = run(capsys, "export", directory, "--out", out, "--format", name)
    assert "observation (2) and memory (6) -> action (1) from [-1.0] to [1.0] and memory (6)\n" in shown
    assert "  0  x [m]\n  1  theta [rad]\nwrote " in shown
    assert "memory = " in shown.splitlines()[-1]
    act, agent = FORMATS[name].load(out), ParticlePILCO.load(directory / "agent.zip")
    env = make_env(TrainConfig().updated(CHANGES).environment)
    for seed in (4, 5):
        observation, _ = env.reset(seed=seed)
        memory, state, done = np.zeros(6, np.float32), None, False
        while not done:
            action, memory = act(observation[:2], memory)
            expected, state = agent.predict(observation, state)
            np.testing.assert_allclose(action, expected, atol=2e-5)
            observation, _, terminated, truncated, _ = env.step(action)
            done = terminated or truncated


def test_studies_compare_what_keeps_particles(directory, tmp_path, capsys):
    words = ["landscape", "--run", str(directory), "--out", str(tmp_path), "--resampling", "none", "gaussian"]
    assert study([*words, "--particles", "30", "--repeats", "2"]) == 2
    assert "use one that keeps particles" in capsys.readouterr().err


def test_evaluation_is_that_of_single_episodes(directory):
    agent, environment = (
        ParticlePILCO.load(directory / "agent.zip"),
        TrainConfig().updated(CHANGES).environment,
    )
    found = evaluate(acting(agent), environment, 2, seed=3)
    env = make_env(environment)
    observation, _ = env.reset(seed=4)
    total, done, state = 0.0, False, None
    while not done:
        action, state = agent.predict(observation, state)
        observation, reward, terminated, truncated, _ = env.step(action)
        total, done = total + float(reward), terminated or truncated
    assert found.returns[1] == pytest.approx(total, rel=1e-4)


def test_episodes_one_batch_after_the_other_begin_without_a_past(directory, monkeypatch):
    monkeypatch.setattr(evaluate_command, "SIDE_BY_SIDE", 2)
    agent, environment = (
        ParticlePILCO.load(directory / "agent.zip"),
        TrainConfig().updated(CHANGES).environment,
    )
    found = evaluate_command.run_episodes(lambda: acting(agent), environment, 4, 3)
    np.testing.assert_allclose(found.returns, evaluate(acting(agent), environment, 4, 3).returns, rtol=1e-4)
    told = []
    monkeypatch.setattr(evaluate_command, "acting", lambda one: told.append(one) or acting(one))
    evaluate_command.run(evaluate_command.Options(path=str(directory), episodes=4))
    assert len(told) == 2


def test_it_is_resumed(directory, tmp_path):
    changes = {**CHANGES, "logdir": str(tmp_path)}
    with quick_figures():
        short = new_run(TrainConfig().updated({**changes, "trials": 2}))
        short.run()
        config = TrainConfig.load(short.directory / "config.yaml").updated({"trials": 3})
        open_run(short.directory, config).run()
    assert_same_run(short.directory, directory)


def test_what_is_said_where_the_model_cannot_know(tmp_path):
    config = TrainConfig().updated({**CHANGES, "history": 1, "logdir": str(tmp_path)})
    with pytest.warns(UserWarning, match="the model predicts from one observation alone: add --history 3"):
        agent = new_agent(config, make_env(config.environment))
    assert np.isfinite(agent.predict(np.zeros(2, np.float32))[0]).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "resampling 'gaussian' makes each particle anew from all of them"),
        (
            ("--resampling", "none", "--estimator", "total-propagation"),
            "estimator 'total-propagation' does not see",
        ),
        (("--resampling", "none", "--dynamics", "gp", "--rollout", "moment-matching"), "got RecurrentPolicy"),
        (("--resampling", "none", "--policy.hidden", "0"), "--policy.hidden: must be at least 1, got 0"),
    ],
)
def test_mistakes_are_one_line(words, message, capsys, tmp_path):
    assert message in error_line(capsys, "train", "--policy", "recurrent", "--logdir", tmp_path, *words)
