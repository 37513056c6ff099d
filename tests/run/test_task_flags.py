"""The task from the command line: a run, its resumption and a scene find the functions again."""

import gymnasium
import numpy as np
import pytest
import torch

from mbrl_agent import costs
from mbrl_agent.options import OptionError
from mbrl_agent.run import cli
from mbrl_agent.run.config import TrainConfig
from mbrl_agent.run.experiment import new_run, open_run
from mbrl_agent.run.task_flags import load_arguments, task_arguments
from mbrl_agent.study.gradients.scene import run_scene
from tests.support.tiny_run import TINY, assert_same_run, resume, tiny

MODULE = """
import torch
from mbrl_agent import costs
def cost(state, action): return (state ** 2).sum(-1)
COST = costs.Quadratic(target=(1.0, 0.0, 0.0))
def factory(): return COST
def fallen(state): return state[..., 0] < -2
def start(count, generator): return torch.randn(count, 3, generator=generator)
def broken(): raise RuntimeError("no luck")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "task_of_a_user.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_names_become_functions_and_factories_are_called(folder):
    texts = {"cost": "task_of_a_user:factory", "terminated": "task_of_a_user:fallen", "angle_dims": "0,2"}
    found = task_arguments(texts | {"initial_states": "none"})
    assert isinstance(found["cost"], costs.Quadratic)
    assert found["terminated"](torch.zeros(2, 3)).dtype == torch.bool
    assert (found["angle_dims"], found["initial_states"]) == ((0, 2), "none")
    assert isinstance(task_arguments({"cost": "mbrl_agent.costs:ActionPenalty"})["cost"], costs.ActionPenalty)
    assert task_arguments(TrainConfig().task) == {}


def test_states_come_from_a_file_that_a_checkpoint_does_not_need(tmp_path):
    np.save(tmp_path / "s.npy", np.ones((4, 3)))
    texts = {"initial_states": str(tmp_path / "s.npy")}
    assert task_arguments(texts)["initial_states"].shape == (4, 3)
    assert load_arguments(texts) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task_of_a_user:nothing", "has no attribute 'nothing'"),
        ("no_module_at_all:cost", "No module named"),
        ("task_of_a_user:broken", "failed when it was called without arguments: no luck"),
    ],
)
def test_what_cannot_be_had_is_an_error_of_the_option(text, message, folder):
    with pytest.raises(OptionError, match=message):
        task_arguments({"cost": text})


def test_a_run_a_resumption_and_a_scene_have_the_task(folder):
    name = "task_of_a_user"
    task = {"cost": f"{name}:cost", "terminated": f"{name}:fallen", "initial_states": f"{name}:start"}
    other = {"env": {"name": "Pendulum-v1", "g": 1.5}, "max_episode_steps": 12, "angle_dims": "none"}
    changes = {**TINY, **task, **other, "trials": 1, "logdir": str(folder / "runs")}
    run = new_run(TrainConfig().updated(changes))
    run.run()
    assert run.env.unwrapped.g == 1.5
    assert len(run.agent.replay.episodes[0].actions) == 12
    config = TrainConfig.load(run.files.config)
    again = open_run(run.directory, config.updated({"trials": 2}))
    again.run()
    assert again.agent.task.terminated is not None
    scene = run_scene(run.directory)
    assert scene.cost(torch.ones(2, 3), torch.zeros(2, 1)).tolist() == [3, 3]
    with pytest.raises(ValueError, match="angle_dims"):
        open_run(run.directory, config.updated({"trials": 3, "angle_dims": "0"}))


PAIRS = ((0, 1), (2, 3))


@pytest.mark.parametrize(("text", "pairs"), [("environment", PAIRS), ("none", ()), ("0:1", ((0, 1),))])
def test_velocities_stay_with_a_run_that_is_resumed_bitwise(text, pairs, tmp_path):
    whole = tiny(tmp_path / "whole", velocity_dims=text)
    whole.run()
    assert whole.agent.task.velocity_dims == pairs
    part = tiny(tmp_path / "part", velocity_dims=text, trials=2)
    part.run()
    assert TrainConfig.load(part.files.config).velocity_dims == text
    again = resume(part.directory, trials=3)
    again.run()
    assert again.agent.task.velocity_dims == pairs
    assert_same_run(part.directory, whole.directory)


def test_velocities_cannot_change_when_a_run_is_resumed(tmp_path):
    run = tiny(tmp_path, trials=1)
    run.run()
    with pytest.raises(ValueError, match=r"was changed since the checkpoint \(velocity_dims\)"):
        resume(run.directory, trials=2, velocity_dims="none")
    assert resume(run.directory, trials=2, velocity_dims="2:3,0:1").agent.task.velocity_dims == PAIRS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:4", "velocity_dims 0:4: a state has dimensions 0 to 3"),
        ("0:0", "dimension 0 cannot be its own velocity"),
        ("0:1,0:3", "velocity_dims: 0:1,0:3 gives a position twice"),
        ("0:1,1:3", "dimension 1 is a position and a velocity"),
        ("0:2", "dimension 2 is an angle, not a velocity"),
    ],
)
def test_velocities_that_do_not_fit_are_one_line(text, message, tmp_path, capsys):
    assert cli.main(["--velocity-dims", text, "--logdir", str(tmp_path)]) == 2
    written = capsys.readouterr()
    assert message in written.err
    assert written.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_an_environment_without_a_cost_says_which_flag_to_give(tmp_path):
    with pytest.raises(ValueError, match="give --cost my_module:function"):
        new_run(TrainConfig().updated({"env": "Pendulum-v1", "logdir": str(tmp_path)}))
    assert "Pendulum-v1" in gymnasium.registry
