"""What the model sees of a state, and what it is given of the episodes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mbrl_agent.agent.replay import Episode, Replay
from mbrl_agent.features import AngleFeatures

CARTPOLE = AngleFeatures(4, (2,))
FINITE = st.floats(-100, 100)
DTYPES = [torch.float32, torch.float64]


@st.composite
def layouts(draw):
    """A number of dimensions and some of them as angles, in any order."""
    dims = draw(st.integers(1, 6))
    return dims, tuple(draw(st.lists(st.integers(0, dims - 1), unique=True)))


@st.composite
def features_and_states(draw):
    """Features and a batch of float64 states that they apply to."""
    dims, angles = draw(layouts())
    shape = (*draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3)), dims)
    return AngleFeatures(dims, angles), torch.from_numpy(draw(hnp.arrays(np.float64, shape, elements=FINITE)))


def split(features, values):
    """Feature vectors as (other dimensions, sines, cosines)."""
    count = len(features.angle_dims)
    return values.split([features.state_dims - count, count, count], dim=-1)


# features --------------------------------------------------------------------------------------------------


def test_the_cart_poles_features():
    state = torch.tensor([0.1, 0.2, math.pi / 6, 0.4], dtype=torch.float64)
    expected = torch.tensor([0.1, 0.2, 0.4, 0.5, math.sqrt(3) / 2], dtype=torch.float64)
    torch.testing.assert_close(CARTPOLE(state), expected)
    assert CARTPOLE.feature_dims == 5


def test_sines_come_before_cosines_in_the_order_of_the_angles():
    features = AngleFeatures(4, (3, 1))
    state = torch.tensor([10.0, 0.0, 20.0, math.pi / 2], dtype=torch.float64)
    expected = torch.tensor([10.0, 20.0, 1.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(features(state), expected, atol=1e-15, rtol=0)


@given(features_and_states())
def test_layout(pair):
    features, states = pair
    values = features(states)
    assert values.shape == (*states.shape[:-1], features.feature_dims)
    assert features.feature_dims == features.state_dims + len(features.angle_dims)
    plain, sines, cosines = split(features, values)
    others = [index for index in range(features.state_dims) if index not in features.angle_dims]
    assert torch.equal(plain, states[..., others])
    angles = states[..., list(features.angle_dims)]
    torch.testing.assert_close(sines, torch.from_numpy(np.sin(angles.numpy())), atol=1e-15, rtol=0)
    torch.testing.assert_close(cosines, torch.from_numpy(np.cos(angles.numpy())), atol=1e-15, rtol=0)


@given(features_and_states(), st.integers(-3, 3))
def test_a_full_turn_is_the_same_point(pair, turns):
    features, states = pair
    turned = states.clone()
    turned[..., list(features.angle_dims)] += 2 * math.pi * turns
    torch.testing.assert_close(features(turned), features(states), atol=1e-12, rtol=0)


def test_half_a_turn_is_not():
    state = torch.tensor([0.0, 0.0, 1.0, 0.0])
    turned = state + torch.tensor([0.0, 0.0, math.pi, 0.0])
    assert (CARTPOLE(turned) - CARTPOLE(state)).abs().max() > 1


@given(features_and_states())
def test_sine_and_cosine_lie_on_the_unit_circle(pair):
    features, states = pair
    _, sines, cosines = split(features, features(states))
    torch.testing.assert_close(sines**2 + cosines**2, torch.ones_like(sines), atol=1e-15, rtol=0)


@given(features_and_states())
def test_states_can_be_told_from_their_features(pair):
    """Up to full turns: nothing but the number of turns is lost."""
    features, states = pair
    plain, sines, cosines = split(features, features(states))
    restored = torch.empty_like(states)
    restored[..., list(features.plain_dims)] = plain
    restored[..., list(features.angle_dims)] = torch.atan2(sines, cosines)
    turns = (states - restored) / (2 * math.pi)
    torch.testing.assert_close(turns, turns.round(), atol=1e-12, rtol=0)
    assert (turns[..., list(features.plain_dims)] == 0).all()


@pytest.mark.parametrize("angles", [(), (0,), (2, 0), (0, 1, 2)])
def test_gradients_agree_with_finite_differences(angles):
    features = AngleFeatures(3, angles)
    states = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    states.requires_grad_()
    assert torch.autograd.gradcheck(features, states)
    assert torch.autograd.gradgradcheck(features, states)


@given(features_and_states(), st.integers(0, 99))
def test_the_pull_back_is_autograds(pair, seed):
    features, states = pair
    leaf = states.clone().requires_grad_()
    values = features(leaf)
    gradient = torch.randn(values.shape, dtype=values.dtype, generator=torch.Generator().manual_seed(seed))
    (expected,) = torch.autograd.grad(values, leaf, gradient)
    phi, held = values.detach(), gradient.clone()
    found = features.pull_back(phi, gradient)
    assert found.shape == states.shape
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    assert torch.equal(gradient, held)
    assert torch.equal(torch.cat(features.parts(states), dim=-1), phi)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("angles", [(), (1,)])
def test_dtype_is_kept_and_the_state_untouched(dtype, angles):
    states = torch.linspace(-4, 4, 6, dtype=dtype).reshape(3, 2)
    before = states.clone()
    assert AngleFeatures(2, angles)(states).dtype == dtype
    assert torch.equal(states, before)


def test_replicates_particles_and_single_states_agree():
    states = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    one_by_one = torch.stack([CARTPOLE(state) for state in states.reshape(-1, 4)]).reshape(2, 3, 5, 5)
    torch.testing.assert_close(CARTPOLE(states), one_by_one, atol=1e-6, rtol=0)


def test_runs_under_vmap():
    states = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.vmap(CARTPOLE)(states), CARTPOLE(states))


def test_indices_of_numpy_become_plain_integers():
    features = AngleFeatures(4, np.array([2]))
    assert features.angle_dims == (2,)
    assert type(features.angle_dims[0]) is int


@pytest.mark.parametrize("angles", [(4,), (-1,), (0, 4)])
def test_an_angle_out_of_range(angles):
    with pytest.raises(ValueError, match=r"angle_dims \[.*\]: a state has dimensions 0 to 3"):
        AngleFeatures(4, angles)


def test_an_angle_given_twice():
    with pytest.raises(ValueError, match=r"angle_dims \[2, 1, 2\] names a dimension twice"):
        AngleFeatures(4, (2, 1, 2))


@given(features_and_states(), st.sampled_from([0.0, 1e-6, 1e6, 1e30]))
def test_features_and_changes_of_any_finite_state_are_finite(pair, scale):
    features, states = pair
    states = scale * torch.as_tensor(states, dtype=torch.float64)
    assert features(states).isfinite().all()
    assert features.change(states, -states).isfinite().all()
    angles = list(features.angle_dims)
    assert (features.change(states, -states)[..., angles].abs() <= math.pi + 1e-9).all()


# replay ----------------------------------------------------------------------------------------------------


def episode(steps: int, start: float = 0, dims: int = 2, actions: int = 1) -> Episode:
    """Observations that count up from `start`, actions their negatives in 1e-3, rewards their tenths."""
    observations = start + np.arange((steps + 1) * dims, dtype=float).reshape(steps + 1, dims)
    return Episode(observations, -1e-3 * observations[:-1, :actions], observations[:-1, 0] / 10)


def replay_of(*episodes: Episode) -> Replay:
    replay = Replay()
    for one in episodes:
        replay.add(one)
    return replay


def test_transitions_follow_the_order_of_collection():
    transitions = replay_of(episode(2), episode(1, start=100)).transitions(torch.float64)
    assert transitions.states.tolist() == [[0, 1], [2, 3], [100, 101]]
    assert transitions.actions.tolist() == [[0], [-0.002], [-0.1]]
    assert transitions.next_states.tolist() == [[2, 3], [4, 5], [102, 103]]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(1, 3), st.integers(1, 3))
def test_any_episodes(lengths, dims, actions):
    episodes = [episode(steps, 1000.0 * i, dims, min(actions, dims)) for i, steps in enumerate(lengths)]
    replay = replay_of(*episodes)
    transitions = replay.transitions(torch.float64)
    assert len(replay) == len(transitions) == sum(lengths)
    rows = [
        (one.observations[t].tolist(), one.actions[t].tolist(), one.observations[t + 1].tolist())
        for one in episodes
        for t in range(len(one))
    ]
    columns = (transitions.states, transitions.actions, transitions.next_states)
    assert [tuple(column[i].tolist() for column in columns) for i in range(len(transitions))] == rows
    assert [column.shape[1] for column in columns] == [dims, min(actions, dims), dims]


ANY_ARRAY = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
    elements=st.sampled_from([0.0, -1.5, 1e300, 5e-324]) | st.floats(width=64),
)


@given(ANY_ARRAY, ANY_ARRAY, ANY_ARRAY)
def test_any_arrays_are_an_episode_or_refused(observations, actions, rewards):
    """What is refused leaves the replay as it was; what is not comes out as it went in."""
    replay = replay_of(episode(2))
    fits = (
        observations.ndim == actions.ndim == 2
        and observations.shape == (len(actions) + 1, 2)
        and actions.shape[1:] == (1,)
        and rewards.shape == (len(actions),)
        and all(np.isfinite(array).all() for array in (observations, actions, rewards))
    )
    if fits:
        replay.add(Episode(observations, actions, rewards))
        assert np.array_equal(replay.transitions(torch.float64).next_states[2:], observations[1:])
    else:
        with pytest.raises(ValueError, match=r"must have|not finite"):
            replay.add(Episode(observations, actions, rewards))
        assert len(replay.episodes) == 1


@given(st.data())
def test_any_episode_that_fits_is_kept_bitwise(data):
    steps = data.draw(st.integers(0, 3))
    finite = st.floats(allow_nan=False, allow_infinity=False)
    shapes = ((steps + 1, 2), (steps, 1), (steps,))
    one = Episode(*(data.draw(hnp.arrays(np.float64, shape, elements=finite)) for shape in shapes))
    kept = replay_of(one).episodes[0]
    for given_array, array in zip(vars(one).values(), vars(kept).values(), strict=True):
        assert array.tobytes() == given_array.tobytes()
        assert array is not given_array


def test_no_transition_crosses_from_one_episode_to_the_next():
    transitions = replay_of(episode(3), episode(3, start=100)).transitions(torch.float64)
    assert torch.equal(
        transitions.next_states - transitions.states, torch.full((6, 2), 2.0, dtype=torch.float64)
    )


def test_initial_states_are_the_first_observations():
    replay = replay_of(episode(2, start=5), episode(0, start=7), episode(1, start=9))
    assert replay.initial_states().tolist() == [[5, 6], [7, 8], [9, 10]]
    assert replay.initial_states().dtype == np.float64


def test_initial_states_have_those_of_other_episodes_last():
    replay = Replay([episode(2, start=5)], [np.array([1.0, 2.0])])
    replay.add(episode(1, start=9))
    assert replay.initial_states().tolist() == [[5, 6], [9, 10], [1, 2]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_transitions_have_the_dtype_asked_for(dtype):
    transitions = replay_of(episode(2)).transitions(dtype)
    assert {transitions.states.dtype, transitions.actions.dtype, transitions.next_states.dtype} == {dtype}


def test_transitions_are_float32_unless_asked_and_rounded_once():
    third = Episode(np.full((2, 1), 1 / 3), np.full((1, 1), 1 / 3), np.zeros(1))
    transitions = replay_of(third).transitions()
    assert transitions.states.dtype == torch.float32
    assert transitions.states.item() == np.float32(1 / 3)


def test_transitions_are_copies():
    replay = replay_of(episode(2))
    replay.transitions(torch.float64).states.zero_()
    assert replay.transitions(torch.float64).states.tolist() == [[0, 1], [2, 3]]


def test_lengths():
    replay = Replay()
    assert len(replay) == 0
    replay.add(episode(3))
    replay.add(episode(4))
    assert (len(replay), len(replay.episodes), len(replay.episodes[1])) == (7, 2, 4)


def test_replays_do_not_share_their_episodes():
    given_episodes = [episode(1)]
    one, other = Replay(given_episodes), Replay()
    one.add(episode(2))
    assert (len(one), len(other), len(given_episodes)) == (3, 0, 1)


def test_transitions_of_nothing():
    with pytest.raises(ValueError, match="no episodes yet"):
        Replay().transitions()


@pytest.mark.parametrize(
    ("observations", "rewards"),
    [(3, 3), (5, 3), (4, 2), (4, 4)],
    ids=["too few observations", "too many observations", "too few rewards", "too many rewards"],
)
def test_lengths_that_do_not_fit(observations, rewards):
    replay = replay_of(episode(1))
    bad = Episode(np.zeros((observations, 2)), np.zeros((3, 1)), np.zeros(rewards))
    message = rf"shapes \(4, 2\), \(3, 1\), \(3,\), got \({observations}, 2\), \(3, 1\), \({rewards},\)"
    with pytest.raises(ValueError, match=message):
        replay.add(bad)
    assert len(replay) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    ("label", "step", "dimension"), [("observation", 3, 1), ("observation", 0, 0), ("action", 2, 1)]
)
def test_what_is_not_finite_is_named_by_step_and_dimension(label, step, dimension, value):
    replay = replay_of(episode(2, dims=2, actions=2))
    bad = episode(3, dims=2, actions=2)
    (bad.observations if label == "observation" else bad.actions)[step, dimension] = value
    with pytest.raises(
        ValueError, match=f"^{label} dimension {dimension} of step {step} is {value}, not finite"
    ):
        replay.add(bad)
    assert len(replay) == 2  # what was collected before is not lost


def test_the_change_of_an_angle_goes_the_shorter_way_round():
    features = AngleFeatures(2, (1,))
    before = torch.tensor([[0.0, 3.0], [5.0, -3.0], [0.0, 1.0]])
    after = torch.tensor([[9.0, -3.0], [5.0, 3.0], [0.0, 1.5]])
    seam = 2 * math.pi - 6
    torch.testing.assert_close(
        features.change(before, after), torch.tensor([[9, seam], [0, -seam], [0, 0.5]])
    )
    plain = AngleFeatures(2)
    torch.testing.assert_close(plain.change(before, after), after - before)


def test_a_reward_that_is_not_finite_is_named():
    bad = episode(3)
    bad.rewards[2] = np.nan
    with pytest.raises(ValueError, match=r"^reward of step 2 is nan, not finite"):
        Replay().add(bad)


def test_episodes_of_other_widths_are_refused():
    replay = replay_of(episode(2))
    with pytest.raises(ValueError, match=r"must have shapes .*got"):
        replay.add(episode(2, dims=3))
    with pytest.raises(ValueError, match=r"must have two axes, got shapes \(3,\)"):
        Replay([Episode(np.zeros(3), np.zeros((2, 1)), np.zeros(2))])


def test_an_episode_is_copied():
    given = episode(2)
    replay = replay_of(given)
    given.observations[:] = np.nan
    assert np.isfinite(replay.episodes[0].observations).all()


@pytest.mark.parametrize("index", [0.5, True])
def test_an_angle_index_must_be_a_whole_number(index):
    with pytest.raises(TypeError, match="whole numbers"):
        AngleFeatures(4, (index,))


def test_the_first_of_several_is_named():
    bad = episode(3)
    bad.observations[3, 0] = bad.observations[1, 1] = np.nan
    with pytest.raises(ValueError, match="observation dimension 1 of step 1 is nan"):
        Replay().add(bad)
