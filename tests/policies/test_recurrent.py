"""The recurrent policy: a gated recurrent unit whose memory goes in and comes out."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl_agent.policies.recurrent import Recurrent, RecurrentPolicy

D, U, H = 3, 2, 5
OBSERVATIONS = spaces.Box(-np.inf, np.inf, (D,), np.float32)
BOUNDS = spaces.Box(np.array([-2, 1], np.float32), np.array([2, 5], np.float32))


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(copied: tuple[int, ...] = (), dtype: torch.dtype = torch.float64) -> RecurrentPolicy:
    """With biases, too, and standardised to some states."""
    policy = RecurrentPolicy(OBSERVATIONS, BOUNDS, angle_dims=(1,), copied_dims=copied, hidden=H).double()
    policy.restandardize(2 + 3 * normal(20, D, seed=9))
    values = {name: 0.7 * normal(*value.shape, seed=3) for name, value in policy.named_parameters()}
    policy.set_parameters(values)
    return policy.to(dtype)


def test_it_is_pytorchs_unit():
    policy = make()
    unit, p = torch.nn.GRUCell(4, H).double(), policy.parameter_dict()
    with torch.no_grad():
        unit.weight_ih.copy_(p["inputs"].T)
        unit.weight_hh.copy_(p["recurrent"].T)
        unit.bias_ih.copy_(p["bias"])
        unit.bias_hh.copy_(torch.cat([torch.zeros(2 * H, dtype=torch.float64), p["recurrent_bias"]]))
        states, memory = normal(7, D), normal(7, H, seed=1)
        action, following = policy.act(states, memory)
        x, theta, z = states.unbind(-1)
        phi = torch.stack([x, z, theta.sin(), theta.cos()], -1)
        expected = unit((phi - policy.feature_mean) * policy.feature_scale, memory)
    torch.testing.assert_close(following, expected)
    torch.testing.assert_close(action, torch.tanh(expected @ p["outputs"] + p["output_bias"]))


@pytest.mark.parametrize("copied", [(), (0,), (1, 2)])
def test_gradients_are_exact(copied):
    policy = make(copied)
    parameters = {
        key: value.expand(2, *value.shape).clone() for key, value in policy.parameter_dict().items()
    }
    names, leaves = list(parameters), [value.requires_grad_() for value in parameters.values()]

    def act(state, *values):
        return policy.controller(dict(zip(names, values, strict=True)))(state)

    assert torch.autograd.gradcheck(act, (normal(2, 3, D + H).requires_grad_(), *leaves))


@pytest.mark.parametrize("copied", [(), (0,), (1, 2)])
def test_it_does_not_see_what_only_remembers(copied):
    policy, memory = make(copied), normal(6, H)
    before, _ = policy.act(normal(6, D), memory)
    for dim in range(D):
        moved = normal(6, D)
        moved[:, dim] += 1.0
        after, _ = policy.act(moved, memory)
        assert torch.equal(after, before) == (dim in copied)


def test_it_must_see_something():
    with pytest.raises(ValueError, match="must see some dimension"):
        make((0, 1, 2))


def test_what_was_learned_is_kept_where_a_part_is_seen():
    policy, states, memory = make((0,)), normal(6, D), normal(6, H)
    before = policy.act(states, memory)
    policy.restandardize(100 * normal(30, D, seed=5))
    torch.testing.assert_close(policy.act(states, memory), before, rtol=1e-5, atol=1e-5)


# as a policy of Stable-Baselines3 ------------------------------------------------------------------------


def test_predict_with_a_state_is_stepping():
    policy, observations = make(dtype=torch.float32), normal(4, 6, D).float()
    memory, state = torch.zeros(6, H), None
    for observation in observations:
        with torch.no_grad():
            unit, memory = policy.act(observation, memory)
        actions, state = policy.predict(observation.numpy(), state, episode_start=np.zeros(6, dtype=bool))
        expected = BOUNDS.low + (unit.numpy() + 1) / 2 * (BOUNDS.high - BOUNDS.low)
        np.testing.assert_allclose(actions, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(state[0], memory.numpy())


def test_environments_whose_episodes_end_at_different_times_do_not_meet():
    """Each acts as it would alone, from the start of its own episode."""
    policy, observations = make(dtype=torch.float32), normal(6, 3, D).float().numpy()
    starts = np.zeros((6, 3), dtype=bool)
    starts[0], starts[2, 1], starts[4, 2] = True, True, True
    together, state = [], None
    for observation, start in zip(observations, starts, strict=True):
        actions, state = policy.predict(observation, state, start, deterministic=True)
        together.append(actions)
    for index in range(3):
        state = None
        for step in range(6):
            state = None if starts[step, index] else state
            action, state = policy.predict(observations[step, index], state)
            assert action.shape == (U,)
            np.testing.assert_allclose(action, together[step][index], rtol=1e-5)


def test_predict_leaves_the_state_that_it_is_given():
    policy = make(dtype=torch.float32)
    _, state = policy.predict(np.ones((2, D), np.float32))
    held = state[0].copy()
    policy.predict(np.ones((2, D), np.float32), state, np.array([True, False]))
    np.testing.assert_array_equal(state[0], held)


@pytest.mark.parametrize(
    ("state", "starts", "message"),
    [
        ((np.zeros((3, H)),), None, r"one array \(2, 5\) in a tuple"),
        (np.zeros((2, H)), None, "got ndarray"),
        ((np.zeros((2, H)), np.zeros((2, H))), None, "in a tuple"),
        ((np.zeros((2, H)),), np.zeros(3, dtype=bool), "episode_start must say it of 2 environments"),
    ],
)
def test_mistakes_are_named(state, starts, message):
    with pytest.raises(ValueError, match=message):
        make().predict(np.zeros((2, D), np.float32), state, starts)


def test_options_are_checked():
    with pytest.raises(ValueError, match="hidden must be"):
        Recurrent(hidden=0)
    assert Recurrent(hidden=7).policy_kwargs() == {"hidden": 7}
