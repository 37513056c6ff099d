"""The physics against an independent integration, conservation laws and the theory of small oscillations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.cartpole.physics import DEFAULT_PARAMETERS, CartPoleParameters, energy, step, step_components

REFERENCE = np.loadtxt(Path(__file__).parent / "cartpole_steps.csv", delimiter=",", skiprows=1)
STATES, FORCES, NEXT_STATES = REFERENCE[:, :4], REFERENCE[:, 4], REFERENCE[:, 5:]


def reference_error(substeps: int) -> np.ndarray:
    return np.abs(step(STATES, FORCES, replace(DEFAULT_PARAMETERS, substeps=substeps)) - NEXT_STATES)


@pytest.mark.parametrize("index", range(64))
def test_step_agrees_with_the_reference(index):
    np.testing.assert_allclose(step(STATES[index], FORCES[index]), NEXT_STATES[index], rtol=0, atol=1e-4)


def test_error_falls_with_the_fourth_power_of_the_substep():
    errors = [reference_error(substeps).max() for substeps in (10, 20, 40, 80)]
    print(f"largest error after one step with 10, 20, 40, 80 substeps: {errors}")  # noqa: T201
    assert errors[0] < 6e-5
    assert errors[-1] < 3e-8
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (orders > 3.5).all(), orders


def test_numpy_and_torch_agree():
    torch_next = step(torch.tensor(STATES), torch.tensor(FORCES))
    np.testing.assert_allclose(torch_next.numpy(), step(STATES, FORCES), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(energy(torch.tensor(STATES)).numpy(), energy(STATES), rtol=1e-13)


def test_floats_and_batches_give_the_same_bits():
    batch = step(STATES, FORCES)
    for state, force, expected in zip(STATES.tolist(), FORCES.tolist(), batch, strict=True):
        assert step_components(tuple(state), force) == tuple(expected)


def test_leading_shapes_and_dtypes_are_kept():
    np.testing.assert_array_equal(
        step(STATES.reshape(4, 16, 4), FORCES.reshape(4, 16)).reshape(64, 4), step(STATES, FORCES)
    )
    assert step(torch.zeros(2, 3, 4), torch.zeros(2, 3)).dtype == torch.float32


def test_gradient_of_the_step():
    state = torch.tensor(STATES[:5], requires_grad=True)
    force = torch.tensor(FORCES[:5], requires_grad=True)
    assert torch.autograd.gradcheck(step, (state, force))


def test_energy_is_conserved_without_force_and_friction():
    free = CartPoleParameters(friction=0.0, substeps=200)
    state = np.array([[0.0, 0.3, 3.0, 0.5], [1.0, -1.0, 0.2, 7.0]])
    before = energy(state, free)
    for _ in range(50):
        state = step(state, np.zeros(2), free)
    np.testing.assert_allclose(energy(state, free), before, atol=1e-6)


def test_power_of_force_and_friction_is_the_change_of_energy():
    fine = CartPoleParameters(time_step=1e-5, substeps=1)
    change = energy(step(STATES, FORCES, fine), fine) - energy(STATES, fine)
    power = (FORCES - fine.friction * STATES[:, 1]) * STATES[:, 1]
    np.testing.assert_allclose(change / fine.time_step, power, rtol=1e-3, atol=2e-2)


@pytest.mark.parametrize("theta", [0.0, np.pi])
def test_equilibria_stay(theta):
    np.testing.assert_allclose(
        step(np.array([0.3, 0.0, theta, 0.0]), np.array(0.0)), [0.3, 0, theta, 0], atol=1e-13
    )


def test_upright_is_unstable_and_hanging_is_stable():
    upright, hanging = np.array([0.0, 0.0, 1e-3, 0.0]), np.array([0.0, 0.0, np.pi + 1e-3, 0.0])
    for _ in range(10):
        upright, hanging = step(upright, np.array(0.0)), step(hanging, np.array(0.0))
    assert upright[2] > 0.1
    assert abs(hanging[2] - np.pi) < 1.1e-3


def test_frequency_of_small_oscillations_of_the_hanging_pole():
    """Linearised about theta = pi without friction: omega^2 = 6 (M + m) g / (l (4 M + m))."""
    p = CartPoleParameters(friction=0.0, time_step=1e-3, substeps=1)
    mass = p.cart_mass + p.pole_mass
    omega = np.sqrt(6 * mass * p.gravity / (p.pole_length * (4 * mass - 3 * p.pole_mass)))
    state, offsets = np.array([0.0, 0.0, np.pi + 1e-4, 0.0]), []
    for _ in range(1000):
        offsets.append(state[2] - np.pi)
        state = step(state, np.array(0.0), p)
    np.testing.assert_allclose(offsets, 1e-4 * np.cos(omega * p.time_step * np.arange(1000)), atol=1e-9)


def test_push_to_the_right_leaves_the_upright_pole_behind():
    x, x_dot, theta, _ = step(np.zeros(4), np.array(5.0))
    assert x > 0
    assert x_dot > 0
    assert theta < 0


def test_mirror_image():
    np.testing.assert_allclose(step(-STATES, -FORCES), -step(STATES, FORCES), atol=1e-12)


@pytest.mark.parametrize(
    ("field", "value"),
    [("cart_mass", 0.0), ("pole_length", -1.0), ("friction", -0.1), ("gravity", np.nan), ("substeps", 0)],
)
def test_impossible_parameters(field, value):
    with pytest.raises(ValueError, match=f"{field} must be finite"):
        CartPoleParameters(**{field: value})


def test_substeps_are_whole():
    with pytest.raises(ValueError, match="whole number"):
        CartPoleParameters(substeps=2.5)
