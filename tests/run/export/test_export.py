"""Exported policies do what `predict` does, in processes in which there is nothing of this package."""

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from mbrl_agent import ParticlePILCO
from mbrl_agent.policies.base import SearchPolicy
from mbrl_agent.policies.rbf import RbfPolicy
from mbrl_agent.run.export import FORMATS, About, ExportError, compare_with_agent, export
from tests.support.exporting import (
    ABOUT,
    ACTIONS,
    HERE,
    HIGH,
    LOW,
    OURS,
    STATES,
    Plant,
    make_agent,
    run_alone,
    share,
    visited,
)

POLICIES = ["rbf:centers=9", "linear", "mlp:hidden=8x6"]


@pytest.fixture(params=HERE)
def file_format(request):
    return FORMATS[request.param]


# the same as predict ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("angle_dims", [(3, 1), (), (0, 1, 2, 3, 4)])
def test_an_export_is_the_policy(policy, angle_dims, tmp_path, file_format):
    if file_format is FORMATS["onnx"] and angle_dims != (3, 1):
        pytest.skip("seconds each")
    agent = make_agent(policy, angle_dims)
    found = export(agent, file_format, tmp_path / "policy", ABOUT)
    assert {kind: one.states for kind, one in found.comparisons.items()} == {"visited": 60, "beyond": 1000}
    act = file_format.load(found.files[0])
    states = visited(np.random.default_rng(5), 300).astype(np.float32)
    expected, _ = agent.predict(states)
    actions = act(states)
    assert np.ptp(expected, axis=0)[:2].min() > 0.05  # of a policy that does something
    assert share(actions, expected) < 1e-5
    assert actions.dtype == np.float32
    assert agent.action_space.contains(actions[7])
    np.testing.assert_allclose(act(states[:1]), actions[:1], atol=1e-5)


def test_one_observation_gives_one_action(tmp_path):
    agent = make_agent()
    state = visited(np.random.default_rng(3))[0].astype(np.float32)
    for name in ("numpy", "torchscript"):
        act = FORMATS[name].load(export(agent, FORMATS[name], tmp_path / "policy", ABOUT).files[0])
        assert act(state).shape == (ACTIONS,)
        assert share(act(state), agent.predict(state)[0]) < 1e-5


def test_observations_of_double_precision_are_seen_as_the_policy_sees_them(tmp_path, file_format):
    """101325.004 is 101325.0078 in float32: the policy has learned from that, and acts on that."""
    agent = make_agent(dtype=np.float64)
    act = file_format.load(export(agent, file_format, tmp_path / "policy", ABOUT).files[0])
    states = visited(np.random.default_rng(5), 300)
    assert share(act(states), agent.predict(states)[0]) < 1e-5


def test_actions_stay_within_bounds_by_rounding(tmp_path, file_format):
    """0.5 low + 0.5 high + (0.5 high - 0.5 low) may round to more than high."""
    agent = make_agent("linear")
    with torch.no_grad():
        agent.policy.weights.zero_()
    for sign in (1.0, -1.0):
        with torch.no_grad():
            agent.policy.bias.fill_(sign * np.pi / 2)
        act = file_format.load(
            export(agent, file_format, tmp_path / "policy", ABOUT, overwrite=True).files[0]
        )
        actions = act(visited(np.random.default_rng(0)).astype(np.float32))
        assert all(agent.action_space.contains(action) for action in actions)
        np.testing.assert_array_equal(actions[0], np.array(HIGH if sign > 0 else LOW, np.float32))


# without this package --------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
def test_the_numpy_files_need_numpy_alone(policy, tmp_path):
    agent = make_agent(policy)
    export(agent, FORMATS["numpy"], tmp_path / "policy", ABOUT)
    code = (
        f"sys.path.insert(0, {str(tmp_path)!r})\nimport policy\nactions = policy.act(states)\n"
        "others = {name.partition('.')[0] for name in sys.modules} & {'torch', 'mbrl_agent', 'scipy'}\n"
        "assert not others, others\nassert policy.act(states[0]).shape == (3,)"
    )
    states = visited(np.random.default_rng(5), 50).astype(np.float32)
    actions = run_alone(code, [*OURS, "torch", "scipy", "matplotlib"], states, tmp_path)
    assert share(actions, agent.predict(states)[0]) < 1e-5


def test_the_torchscript_file_needs_torch_alone(tmp_path):
    agent = make_agent()
    (file,) = export(agent, FORMATS["torchscript"], tmp_path / "policy", ABOUT).files
    code = (
        f"import torch\npolicy = torch.jit.load({str(file)!r})\n"
        "actions = policy(torch.as_tensor(states)).numpy()\n"
        "assert policy(torch.as_tensor(states[0])).shape == (3,)\n"
        "assert not policy(torch.as_tensor(states)).requires_grad"
    )
    states = visited(np.random.default_rng(5), 50).astype(np.float32)
    actions = run_alone(code, OURS, states, tmp_path)
    assert share(actions, agent.predict(states)[0]) < 1e-5


def test_files_may_be_moved_together(tmp_path):
    found = export(make_agent(), FORMATS["numpy"], tmp_path / "policy", ABOUT)
    there = tmp_path / "there"
    there.mkdir()
    for file in found.files:
        file.rename(there / file.name)
    assert FORMATS["numpy"].load(there / "policy.py")(np.zeros(STATES)).shape == (ACTIONS,)


# what the numpy file says ----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [*POLICIES, "recurrent:hidden=7"])
def test_the_python_file_is_clean(policy, tmp_path):
    labels = (
        "x [m]",
        'quo"ted',
        "back\\slash '\"",
        "\N{GREEK SMALL LETTER THETA} [\N{DEGREE SIGN}]",
        '"""\n',
    )
    path = tmp_path / "policy.py"
    export(make_agent(policy), FORMATS["numpy"], tmp_path / "policy", About('a"""b\\', labels))
    assert len(path.read_text().splitlines()) < 70
    config = Path(__file__).resolve().parents[3] / "pyproject.toml"
    for words in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *words, "--config", str(config), str(path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert labels == module.OBSERVATION
    assert module.SOURCE == 'a"""b\\'


def test_files_of_two_exports_do_not_work_together(tmp_path):
    for name, policy in (("a", "linear"), ("b", "rbf:centers=9")):
        (tmp_path / name).mkdir()
        export(make_agent(policy), FORMATS["numpy"], tmp_path / name / "policy", ABOUT)
    (tmp_path / "b" / "policy.npz").replace(tmp_path / "a" / "policy.npz")
    with pytest.raises(ValueError, match="do not belong together"):
        FORMATS["numpy"].load(tmp_path / "a" / "policy.py")


@pytest.mark.parametrize("value", [np.zeros(4), np.zeros((2, 3, STATES)), np.float64(3), [np.nan] * STATES])
def test_wrong_observations_are_refused(value, tmp_path):
    act = FORMATS["numpy"].load(export(make_agent(), FORMATS["numpy"], tmp_path / "policy", ABOUT).files[0])
    with pytest.raises(ValueError, match=r"expected observations \(5,\)|not finite"):
        act(value)


# policies of the user's own --------------------------------------------------------------------------------


class Own(SearchPolicy):
    """A policy that torch can record."""

    def __init__(self, observation_space, action_space, lr_schedule=None, angle_dims=()):
        super().__init__(observation_space, action_space, lr_schedule, angle_dims)
        self.gain = nn.Parameter(0.1 * torch.ones(STATES, ACTIONS))

    def controller(self, parameters):
        return lambda state: ((state - state.new_tensor(7.0)).tanh() @ parameters["gain"]).tanh()

    def initial_parameters(self, states, replicates, generator):
        raise NotImplementedError


class Branching(Own):
    """A policy whose program depends on the numbers."""

    def controller(self, parameters):
        def act(state):
            factor = 1.0 if float(state.sum()) > 1000 else -1.0
            return (factor * state.tanh() @ parameters["gain"]).tanh()

        return act


class Changed(RbfPolicy):
    """A subclass that does something else."""

    def controller(self, parameters):
        inner = super().controller(parameters)
        return lambda state: -inner(state)


@pytest.mark.parametrize("policy", [Own, Changed])
def test_a_policy_of_ones_own_is_recorded(policy, tmp_path, file_format):
    agent = make_agent(policy, draw=False)
    if file_format is FORMATS["numpy"]:
        with pytest.raises(ValueError, match=f"{policy.__name__} cannot be written for NumPy.*torchscript"):
            export(agent, file_format, tmp_path / "policy", ABOUT)
        return
    act = file_format.load(export(agent, file_format, tmp_path / "policy", ABOUT).files[0])
    states = visited(np.random.default_rng(5), 300).astype(np.float32)
    assert share(act(states), agent.predict(states)[0]) < 1e-5


def test_what_is_not_the_policy_is_not_written(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ExportError, match="not the policy"):
            export(make_agent(Branching, draw=False), FORMATS["torchscript"], tmp_path / "policy", ABOUT)
    assert any("Branching" in str(entry.message) for entry in caught)
    assert list(tmp_path.iterdir()) == []


# comparing -------------------------------------------------------------------------------------------------


def test_a_difference_is_measured_by_the_range():
    agent = make_agent("linear")

    def shifted(by):
        return lambda states: agent.predict(states)[0] + np.array([by, 0, 0])

    found = compare_with_agent(agent, shifted(3e-3))["visited"]  # the first action's range is 3
    assert found.difference == pytest.approx(1e-3, rel=1e-2)
    assert not found.agrees
    assert compare_with_agent(agent, shifted(0.0))["visited"].agrees
    assert not compare_with_agent(agent, shifted(np.nan))["visited"].agrees


def test_predicts_own_rounding_is_allowed_for(tmp_path):
    """A bias of two thousand turns leaves little of float32 for the rest."""
    agent = make_agent("linear")
    with torch.no_grad():
        agent.policy.bias += 2000 * 2 * np.pi
    found = export(agent, FORMATS["numpy"], tmp_path / "policy", ABOUT).comparisons["visited"]
    assert found.rounding > 1e-5
    assert found.difference > 1e-5
    assert found.agrees
    wrong = compare_with_agent(
        agent, lambda states: agent.predict(states)[0] + 3 * found.rounding * np.array([3, 0, 0])
    )
    assert not wrong["visited"].agrees


def test_an_agent_without_episodes_is_compared_on_made_up_states(tmp_path):
    env = gymnasium.wrappers.TimeLimit(Plant(), 60)
    agent = ParticlePILCO("linear", env, seed=0)
    assert list(export(agent, FORMATS["numpy"], tmp_path / "policy", ABOUT).comparisons) == ["beyond"]


# writing ---------------------------------------------------------------------------------------------------


def test_files_are_replaced_only_on_demand(tmp_path):
    (tmp_path / "policy.npz").write_text("mine")
    with pytest.raises(ValueError, match=r"policy.npz is there already: give --force"):
        export(make_agent(), FORMATS["numpy"], tmp_path / "policy", ABOUT)
    assert [file.name for file in tmp_path.iterdir()] == ["policy.npz"]
    assert (tmp_path / "policy.npz").read_text() == "mine"
    export(make_agent(), FORMATS["numpy"], tmp_path / "policy", ABOUT, overwrite=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["policy.npz", "policy.py"]


@pytest.mark.parametrize("stem", ["my-policy", "1policy", "class", "numpy"])
def test_modules_that_python_cannot_import_are_refused(stem, tmp_path):
    with pytest.raises(ValueError, match="cannot be imported under that name"):
        export(make_agent(), FORMATS["numpy"], tmp_path / stem, ABOUT)


@pytest.mark.skipif("onnx" in HERE, reason="onnx is installed")
def test_onnx_says_what_it_needs(tmp_path):
    with pytest.raises(ValueError, match=r"pip install onnx.*\[onnx\]"):
        export(make_agent(), FORMATS["onnx"], tmp_path / "policy", ABOUT)
