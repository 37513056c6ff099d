"""Exported policies that remember do what `predict` does all along an episode."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from mbrl_agent.policies.memory import MemoryPolicy
from mbrl_agent.run.export import FORMATS, ExportError, compare_with_agent, export
from mbrl_agent.run.export.inputs import made_up_inputs, visited_inputs
from tests.support.exporting import (
    ABOUT,
    ACTIONS,
    HERE,
    HIGH,
    OURS,
    STATES,
    make_agent,
    run_alone,
    share,
    visited,
)

HIDDEN = 7
COPIED = {4: 0, 1: 2}
SEEN = [0, 2, 3]
STEPS, SIDE_BY_SIDE = 15, 4
STARTS = np.random.default_rng(8).random((STEPS, SIDE_BY_SIDE)) < 0.2  # the second and later episodes of each


def remembering(policy=f"recurrent:hidden={HIDDEN}", copied_dims=COPIED, **options):
    """An agent with two episodes whose policy remembers, and has learned something of each parameter."""
    agent = make_agent(policy, copied_dims=copied_dims, **options)
    agent.add_episode(visited(np.random.default_rng(1), 21).astype(np.float32), np.full((20, ACTIONS), HIGH))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in agent.policy.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    return agent


@pytest.fixture(params=HERE)
def file_format(request):
    return FORMATS[request.param]


def episodes():
    """(STEPS, SIDE_BY_SIDE, D), what is observed."""
    states = visited(np.random.default_rng(5), STEPS * SIDE_BY_SIDE)
    return states.reshape(STEPS, SIDE_BY_SIDE, STATES).astype(np.float32)


def predicted(agent, observations=None, starts=STARTS):
    """What `predict` does along episodes side by side, of which some begin anew."""
    state, found = None, []
    for observation, start in zip(episodes() if observations is None else observations, starts, strict=True):
        actions, state = agent.predict(observation, state, start)
        found.append(actions)
    return np.array(found)


# the same as predict ---------------------------------------------------------------------------------------


def test_it_follows_predict_along_episodes(tmp_path, file_format):
    agent = remembering()
    exported = export(agent, file_format, tmp_path / "policy", ABOUT)
    assert {kind: one.states for kind, one in exported.comparisons.items()} == {"visited": 81, "beyond": 1000}
    act = file_format.load(exported.files[0])
    memory, found = np.zeros((SIDE_BY_SIDE, HIDDEN), np.float32), []
    for observation, start in zip(episodes(), STARTS, strict=True):
        memory[start] = 0.0
        actions, memory = act(observation[:, SEEN], memory)
        memory = memory.copy()
        found.append(actions)
    assert actions.dtype == np.float32
    expected = predicted(agent)
    without = np.array([agent.predict(observation)[0] for observation in episodes()])
    assert share(expected, without) > 0.05  # a policy whose memory matters
    assert share(expected, predicted(agent, starts=np.zeros_like(STARTS))) > 0.05  # and being reset
    assert share(np.array(found), expected) < 1e-5


ALONE = """
found, memory = [], None
for observation, start in zip(states, {starts}):
    if start or memory is None:
        memory = {initial}
    action, memory = {call}
    found.append(np.asarray(action))
actions = np.array(found)
assert actions.shape == ({steps}, 3) and memory.shape == (7,)
"""


@pytest.mark.parametrize("name", ["numpy", "torchscript"])
def test_files_alone_follow_one_episode_after_the_other(name, tmp_path):
    agent = remembering()
    (file, *_) = export(agent, FORMATS[name], tmp_path / "policy", ABOUT).files
    if name == "numpy":
        begin, forbidden = (
            f"sys.path.insert(0, {str(tmp_path)!r})\nimport policy\n",
            [*OURS, "torch", "scipy"],
        )
        initial, call = "policy.initial_memory()", "policy.act(observation, memory)"
    else:
        begin, forbidden = f"import torch\npolicy = torch.jit.load({str(file)!r})\n", OURS
        initial, call = "policy.initial_memory()", "policy(torch.as_tensor(observation), memory)"
    code = ALONE.format(starts=STARTS[:, 0].tolist(), initial=initial, call=call, steps=STEPS)
    observations = episodes()[:, 0]
    actions = run_alone(begin + code, forbidden, observations[:, SEEN], tmp_path)
    assert share(actions, predicted(agent, observations, STARTS[:, :1])) < 1e-5


@pytest.mark.parametrize("name", ["numpy", "torchscript"])
def test_one_memory_serves_all_observations(name, tmp_path):
    act = FORMATS[name].load(export(remembering(), FORMATS[name], tmp_path / "policy", ABOUT).files[0])
    states = episodes()[0][:, SEEN]
    one = np.linspace(-1, 1, HIDDEN, dtype=np.float32)
    for found, expected in zip(act(states, one), act(states, np.tile(one, (len(states), 1))), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_observations_of_double_precision_are_seen_as_it_sees_them(tmp_path, file_format):
    agent = remembering(dtype=np.float64, copied_dims=None)
    act = file_format.load(export(agent, file_format, tmp_path / "policy", ABOUT).files[0])
    states = visited(np.random.default_rng(5), 100)
    assert share(act(states, np.zeros((100, HIDDEN)))[0], agent.predict(states)[0]) < 1e-5


# what the files say ----------------------------------------------------------------------------------------

METADATA = {"source": "agent.zip", "observation": ["x0 [m]", "x2 [m]", "x3 [m]"], "memory": HIDDEN}


@pytest.mark.filterwarnings("ignore:.*torch.jit.load")
def test_the_torchscript_file_says_what_it_takes(tmp_path):
    (file,) = export(remembering(), FORMATS["torchscript"], tmp_path / "policy", ABOUT).files
    extra = {"mbrl_agent.json": ""}
    torch.jit.load(file, _extra_files=extra)
    found = json.loads(extra["mbrl_agent.json"])
    del found["mbrl_agent"]
    assert found == METADATA


@pytest.mark.skipif("onnx" not in HERE, reason="onnx is not installed")
def test_the_onnx_file_says_what_it_takes(tmp_path):
    import onnxruntime

    (file,) = export(remembering(), FORMATS["onnx"], tmp_path / "policy", ABOUT).files
    session = onnxruntime.InferenceSession(file.read_bytes())
    assert [(one.name, one.shape) for one in session.get_inputs()] == [
        ("observation", ["N", 3]),
        ("memory", ["N", HIDDEN]),
    ]
    assert [(one.name, one.shape) for one in session.get_outputs()] == [
        ("action", ["N", ACTIONS]),
        ("next_memory", ["N", HIDDEN]),
    ]
    meta = session.get_modelmeta()
    assert "zero at the start of an episode" in meta.description
    assert json.loads(meta.custom_metadata_map["memory"]) == HIDDEN
    assert json.loads(meta.custom_metadata_map["observation"]) == METADATA["observation"]


@pytest.mark.parametrize("memory", [np.zeros(6), 0.0, np.zeros((2, HIDDEN)), [np.nan] * HIDDEN])
def test_wrong_memories_are_refused(memory, tmp_path):
    act = FORMATS["numpy"].load(export(remembering(), FORMATS["numpy"], tmp_path / "policy", ABOUT).files[0])
    with pytest.raises(ValueError, match=r"expected a memory \(7,\), or one an observation|not finite"):
        act(np.zeros(3), memory)


@pytest.mark.filterwarnings("ignore:.*torch.jit.load")
def test_a_memory_that_does_not_fit_is_refused_in_torchscript(tmp_path):
    (file,) = export(remembering(), FORMATS["torchscript"], tmp_path / "policy", ABOUT).files
    policy = torch.jit.load(file)
    with pytest.raises(torch.jit.Error, match="a memory must have"):
        policy(torch.zeros(3), torch.zeros(6))
    with pytest.raises(torch.jit.Error, match="an observation must have"):
        policy(torch.zeros(STATES), policy.initial_memory())


# comparing -------------------------------------------------------------------------------------------------


def test_memories_are_those_of_the_episodes():
    agent = remembering()
    observations, memories = visited_inputs(agent)
    first, second = (episode.observations.astype(np.float32) for episode in agent.replay.episodes)
    np.testing.assert_array_equal(observations, np.concatenate([first, second]))
    state = (np.zeros((1, HIDDEN), np.float32),)
    for step, observation in enumerate(second):
        np.testing.assert_allclose(memories[len(first) + step], state[0][0], atol=1e-6)
        _, state = agent.predict(observation, state)
    assert [part.shape for part in visited_inputs(agent, 9)] == [(9, STATES), (9, HIDDEN)]
    assert [part.shape for part in made_up_inputs(agent, (observations, memories))] == [
        (1000, STATES),
        (1000, HIDDEN),
    ]


@pytest.mark.parametrize(
    ("by_action", "by_memory", "agrees"), [(0, 0, True), (1e-4, 0, False), (0, 1e-4, False)]
)
def test_actions_and_memories_are_compared(by_action, by_memory, agrees):
    agent = remembering(copied_dims=None)

    def act(states, memory):
        actions, (following,) = agent.predict(states, (memory,))
        return actions + by_action, following + by_memory

    found = compare_with_agent(agent, act)["visited"]
    assert found.agrees == agrees
    assert "the action's and the memory's range" in str(found)


def test_a_function_without_a_memory_is_not_the_policy():
    agent = remembering(copied_dims=None)
    with pytest.raises(ExportError, match=r"shapes \[\(81, 3\)\], not \[\(81, 3\), \(81, 7\)\]"):
        compare_with_agent(agent, lambda states, memory: agent.predict(states, (memory,))[0])


# policies of the user's own --------------------------------------------------------------------------------


class Summing(MemoryPolicy):
    """What it remembers is a sum, in units of its own."""

    memory_dims = 2

    def __init__(self, observation_space, action_space, lr_schedule=None, angle_dims=(), copied_dims=()):
        super().__init__(observation_space, action_space, lr_schedule, angle_dims, copied_dims)
        self.gain = nn.Parameter(0.1 * torch.ones(2, ACTIONS))

    def controller(self, parameters):
        def act(state):
            memory = state[..., self.state_dims :] + 1000 * self.see(state)[..., :2]
            return torch.cat([(memory / 1000 @ parameters["gain"]).tanh(), memory], dim=-1)

        return act

    def initial_parameters(self, states, replicates, generator):
        raise NotImplementedError


class Looking(Summing):
    """It looks at dimensions that it is not to see."""

    def see(self, state):
        return state[..., [1, 4]]


def test_a_memory_of_ones_own_is_recorded(tmp_path, file_format):
    agent = remembering(Summing, draw=False)
    if file_format is FORMATS["numpy"]:
        with pytest.raises(ValueError, match=r"Summing cannot be written for NumPy.*torchscript"):
            export(agent, file_format, tmp_path / "policy", ABOUT)
        return
    act = file_format.load(export(agent, file_format, tmp_path / "policy", ABOUT).files[0])
    states, memory = visited_inputs(agent)
    assert np.abs(memory).max() > 1000
    assert share(act(states[:, SEEN], memory)[0], agent.predict(states, (memory,))[0]) < 1e-5


def test_a_policy_that_looks_at_what_only_remembers_is_not_written(tmp_path):
    with pytest.raises(ExportError, match="not the policy"):
        export(remembering(Looking, draw=False), FORMATS["torchscript"], tmp_path / "policy", ABOUT)
    assert list(tmp_path.iterdir()) == []


def test_without_episodes_it_is_compared_on_made_up_ones(tmp_path):
    agent = remembering()
    agent.replay.episodes.clear()
    assert list(export(agent, FORMATS["numpy"], tmp_path / "policy", ABOUT).comparisons) == ["beyond"]
