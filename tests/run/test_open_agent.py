"""What the path of a command may be: a run, a checkpoint, an agent file; and every mistake."""

import re
import shutil

import pytest

import envs  # noqa: F401
from mbrl_agent import CheckpointError
from mbrl_agent.run.environment import make_env
from mbrl_agent.run.open_agent import find_run, open_agent


@pytest.fixture
def run(undisturbed, tmp_path):
    """A run that a test may change."""
    return shutil.copytree(undisturbed, tmp_path / "X")


def test_a_run_is_its_final_agent(undisturbed):
    opened = open_agent(undisturbed)
    assert (opened.file, opened.agent.trials) == (undisturbed / "agent.zip", 3)
    assert opened.config.env == "CartPoleSwingUp-v0"
    assert opened.run.path == undisturbed
    assert opened.name == f"{undisturbed / 'agent.zip'}, after trial 3"


def test_of_an_unfinished_run_the_last_checkpoint_is_taken(run):
    (run / "agent.zip").unlink()
    (run / "checkpoints/trial_003.zip").unlink()
    opened = open_agent(run)
    assert (opened.file.name, opened.agent.trials) == ("trial_002.zip", 2)


def test_a_trial_and_the_best(undisturbed):
    assert open_agent(undisturbed, trial=2).agent.trials == 2
    assert open_agent(undisturbed, best=True).file == undisturbed / "best.zip"


@pytest.mark.parametrize("name", ["agent.zip", "agent", "best.zip", "checkpoints/trial_002.zip"])
def test_a_file_of_a_run_belongs_to_it(name, undisturbed):
    opened = open_agent(undisturbed / name)
    assert opened.run.path == undisturbed.resolve()
    assert opened.environment().name == "CartPoleSwingUp-v0"


def test_a_file_in_the_current_directory(undisturbed, monkeypatch):
    monkeypatch.chdir(undisturbed / "checkpoints")
    assert open_agent("trial_001.zip").config is not None


def test_a_copy_elsewhere_belongs_to_no_run(undisturbed, tmp_path):
    shutil.copy(undisturbed / "agent.zip", tmp_path / "mine.zip")
    opened = open_agent(tmp_path / "mine.zip")
    assert (opened.run, opened.config) == (None, None)
    with pytest.raises(ValueError, match=r"does not say in which environment.* --env ID"):
        opened.environment()
    assert opened.environment("CartPoleSwingUp-v0").name == "CartPoleSwingUp-v0"


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("nowhere", {}, "there is no .*nowhere"),
        ("X", {"trial": 9}, "no checkpoint after trial 9: it has checkpoints after trials 1-3"),
        ("X", {"trial": 2, "best": True}, "--trial or --best, not both"),
        ("X/agent.zip", {"trial": 2}, "--trial belongs to the directory of a run"),
        ("X/agent.zip", {"best": True}, "--best belongs to the directory of a run"),
        (".", {}, "is not the directory of a run, it has no config.yaml; runs in it are .*X"),
        ("X/figures", {}, "is not the directory of a run, it has no config.yaml$"),
        ("X/config.yaml", {}, "not a zip file"),
    ],
)
def test_a_mistake_says_what_is_there(path, options, message, run):
    with pytest.raises(ValueError, match=message):
        open_agent(run.parent / path, **options)


def test_trials_that_are_missing_are_told_in_ranges(run):
    (run / "checkpoints/trial_002.zip").unlink()
    with pytest.raises(ValueError, match="trial 2: it has checkpoints after trials 1, 3"):
        open_agent(run, trial=2)


def test_a_run_without_what_is_asked_for(run):
    (run / "best.zip").unlink()
    with pytest.raises(ValueError, match=r"has no best\.zip.*it has checkpoints after trials 1-3"):
        open_agent(run, best=True)
    shutil.rmtree(run / "checkpoints")
    (run / "agent.zip").unlink()
    with pytest.raises(ValueError, match="holds no agent yet: it has no checkpoints"):
        open_agent(run)
    with pytest.raises(ValueError, match="has no checkpoints"):
        find_run(run)


def test_a_damaged_agent_is_refused(run):
    (run / "agent.zip").write_bytes((run / "agent.zip").read_bytes()[:-200])
    with pytest.raises(CheckpointError, match=r"agent\.zip"):
        open_agent(run)


# the environment -------------------------------------------------------------------------------------------


def test_options_of_the_environment_reach_its_constructor(undisturbed):
    found = open_agent(undisturbed).environment(options={"noise_scale": "2"}, max_episode_steps=7)
    env = make_env(found)
    assert env.spec.max_episode_steps == 7
    assert env.spec.kwargs["noise_scale"] == 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nose_scale": "2"}, "has no such option; did you mean noise-scale"),
        ({"noise_scale": "fast"}, "expected a number"),
        ({"noise_scale": "-1"}, "cannot be made: noise_scale must be finite and >= 0"),
    ],
)
def test_options_that_the_environment_does_not_have(options, message, undisturbed):
    with pytest.raises(ValueError, match=message):
        open_agent(undisturbed).environment(options=options)


def test_an_environment_with_other_spaces_is_refused(undisturbed):
    with pytest.raises(ValueError, match=re.escape("does not fit Pendulum-v1: Observation spaces")):
        open_agent(undisturbed).environment("Pendulum-v1")
