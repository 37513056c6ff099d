"""Cart-pole physics in SI units, written once for floats, NumPy arrays and torch tensors.

A cart of mass M on a straight track carries a uniform rod of mass m and length l on a frictionless hinge; a
horizontal force u pushes the cart, viscous friction b slows it. State (x, x_dot, theta, theta_dot): theta = 0
is upright, a positive theta leans towards +x and is not wrapped. With f = u - b x', the Lagrangian of cart
and rod gives

    x''     = (2 m l theta'^2 sin(theta) - 3 m g sin(theta) cos(theta) + 4 f) / (4 (M + m) - 3 m cos^2(theta))
    theta'' = (-3 m l theta'^2 sin(theta) cos(theta) + 6 (M + m) g sin(theta) - 6 f cos(theta))
              / (l (4 (M + m) - 3 m cos^2(theta)))

Reference: Deisenroth and Rasmussen, "PILCO", 2011, describes this plant.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import cast

import numpy as np
import torch

from envs.shared.arrays import Array, Component, constants, trigonometry


@dataclass(frozen=True)
class CartPoleParameters:
    """Constants of the cart-pole, in SI units.

    Attributes:
        cart_mass: M [kg].
        pole_mass: m [kg], spread evenly along the rod.
        pole_length: l [m], from hinge to tip.
        friction: b, viscous friction between cart and track [N s/m].
        gravity: g [m/s^2].
        max_force: Force of a full action [N].
        time_step: Duration of one step, over which the force is held [s].
        substeps: Runge-Kutta steps in one step.

    Raises:
        ValueError: A constant is not finite, negative, or zero where only a positive value makes sense.
    """

    cart_mass: float = 0.5
    pole_mass: float = 0.5
    pole_length: float = 0.5
    friction: float = 0.1
    gravity: float = 9.82
    max_force: float = 10.0
    time_step: float = 0.1
    substeps: int = 10

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            may_be_zero = field.name in ("friction", "gravity")
            if not math.isfinite(value) or value < 0 or (value == 0 and not may_be_zero):
                bound = "finite and >= 0" if may_be_zero else "finite and > 0"
                raise ValueError(f"{field.name} must be {bound}, got {value!r}.")
        if not isinstance(self.substeps, int):
            raise ValueError(f"substeps must be a whole number, got {self.substeps!r}.")


DEFAULT_PARAMETERS = CartPoleParameters()


def step(state: Array, force: Array, parameters: CartPoleParameters = DEFAULT_PARAMETERS) -> Array:
    """Advance the state by one step of `time_step` seconds under a constant force; differentiable in torch.

    Args:
        state: (..., 4), in m, m/s, rad, rad/s.
        force: (...), in N.
        parameters: Physical constants and number of substeps.

    Returns:
        The next state, (..., 4), of the type, device and (in torch) dtype of `state`.
    """
    if isinstance(state, torch.Tensor):
        tensors = cast("tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]", state.unbind(-1))
        return torch.stack(step_components(tensors, force, parameters), dim=-1)
    arrays = (state[..., 0], state[..., 1], state[..., 2], state[..., 3])
    return np.stack(step_components(arrays, force, parameters), axis=-1)


def step_components(
    components: tuple[Component, Component, Component, Component],
    force: Component,
    parameters: CartPoleParameters = DEFAULT_PARAMETERS,
) -> tuple[Component, Component, Component, Component]:
    """`step` on separate components: the classical Runge-Kutta method (RK4) under zero-order hold.

    Floats and arrays go through the same arithmetic and give the same bits. Nothing accelerates because of
    where the cart is, so the stages leave x out.

    Args:
        components: x [m], x_dot [m/s], theta [rad], theta_dot [rad/s], each (...).
        force: (...), in N.
        parameters: Physical constants and number of substeps.

    Returns:
        The next x, x_dot, theta, theta_dot, each (...).
    """
    x, v, theta, w = components
    accelerate = _equations_of_motion(theta, force, parameters)
    h = parameters.time_step / parameters.substeps
    h, half, sixth = constants(theta, h, h / 2, h / 6)
    for _ in range(parameters.substeps):
        a1, b1 = accelerate(v, theta, w)
        v2, w2 = v + half * a1, w + half * b1
        a2, b2 = accelerate(v2, theta + half * w, w2)
        v3, w3 = v + half * a2, w + half * b2
        a3, b3 = accelerate(v3, theta + half * w2, w3)
        v4, w4 = v + h * a3, w + h * b3
        a4, b4 = accelerate(v4, theta + h * w3, w4)
        v23, w23, a23, b23 = v2 + v3, w2 + w3, a2 + a3, b2 + b3
        x = x + sixth * (v + (v23 + v23) + v4)
        theta = theta + sixth * (w + (w23 + w23) + w4)
        v = v + sixth * (a1 + (a23 + a23) + a4)
        w = w + sixth * (b1 + (b23 + b23) + b4)
    return x, v, theta, w


def energy(state: Array, parameters: CartPoleParameters = DEFAULT_PARAMETERS) -> Array:
    """Return the mechanical energy, kinetic and potential.

    With v = x_dot, w = theta_dot, c = cos(theta) and the moment of inertia m l^2 / 3 about the hinge:

    E = (M + m) v^2 / 2 + m l v w c / 2 + m l^2 w^2 / 6 + m g l c / 2.

    It is constant without force and friction; the potential energy is zero where the rod lies level with the
    hinge.

    Args:
        state: (..., 4), in m, m/s, rad, rad/s.
        parameters: Physical constants.

    Returns:
        Energy [J], (...).
    """
    m, l_ = parameters.pole_mass, parameters.pole_length
    v, w = state[..., 1], state[..., 3]
    cos_theta = trigonometry(state)[1](state[..., 2])
    translation = 0.5 * (parameters.cart_mass + m) * v * v
    rotation = m * l_ * w * (0.5 * v * cos_theta + l_ * w / 6)
    return translation + rotation + 0.5 * m * parameters.gravity * l_ * cos_theta


def _equations_of_motion(
    theta: Component, force: Component, parameters: CartPoleParameters
) -> Callable[[Component, Component, Component], tuple[Component, Component]]:
    """Return the function (x_dot, theta, theta_dot) -> (x'', theta'') under a given force.

    The formulas of the module's head, numerators and denominators halved, with q = m l theta'^2 sin(theta) +
    2 f: x'' = (q - k_1 sin cos) / d and theta'' = (k_2 sin - k_3 q cos) / d with d = 2 (M + m) - 3/2 m cos^2.
    """
    m, l_, g = parameters.pole_mass, parameters.pole_length, parameters.gravity
    total = parameters.cart_mass + m
    sin, cos = trigonometry(theta)
    ml, inertia, coupling = constants(theta, m * l_, 2 * total, 1.5 * m)
    k1, k2, k3 = constants(theta, 1.5 * m * g, 3 * total * g / l_, 1.5 / l_)
    (double_friction,) = constants(theta, 2 * parameters.friction)
    double_force = force + force

    def accelerate(v: Component, theta: Component, w: Component) -> tuple[Component, Component]:
        s, c = sin(theta), cos(theta)
        q = ml * (w * w * s) + (double_force - double_friction * v)
        d = inertia - coupling * (c * c)
        return (q - k1 * (s * c)) / d, (k2 * s - k3 * (q * c)) / d

    return accelerate
