"""Physics of a double pendulum on a cart in SI units, for floats, NumPy arrays and torch tensors.

A cart of mass M on a straight track carries two uniform rods: the first hinged to the cart, the second to the
tip of the first; a horizontal force u pushes the cart, viscous friction b slows it. Absolute angles th_1,
th_2, 0 upright, with rates w_1, w_2. With a, b, c and A_1, A_2 of `TwoLinks` and d = th_1 - th_2, the
Lagrangian gives

    (M + m_1 + m_2) x'' + A_1 cos(th_1) w_1' + A_2 cos(th_2) w_2'
                                  = u - b x' + A_1 sin(th_1) w_1^2 + A_2 sin(th_2) w_2^2
    A_1 cos(th_1) x'' + a w_1' + c cos(d) w_2' = Q_1 - c sin(d) w_2^2 + g A_1 sin(th_1)
    A_2 cos(th_2) x'' + c cos(d) w_1' + b w_2' = Q_2 + c sin(d) w_1^2 + g A_2 sin(th_2)

with the joints' friction Q_1 = -b_1 w_1 + b_2 (w_2 - w_1), Q_2 = -b_2 (w_2 - w_1).

Reference: the cart-double-pendulum of Deisenroth's PILCO toolbox.
"""

from dataclasses import dataclass

from envs.shared.arrays import Array, Component, trigonometry
from envs.shared.links import TwoLinks, links_energy
from envs.shared.mechanics import runge_kutta, solve_three


@dataclass(frozen=True)
class CartWithLinks(TwoLinks):
    """Constants of cart and rods, in SI units.

    Attributes:
        cart_mass: M [kg].
        cart_friction: b, viscous friction between cart and track [N s/m].
        max_force: Force of a full action [N].
    """

    lengths: tuple[float, float] = (0.6, 0.6)
    cart_mass: float = 0.5
    cart_friction: float = 0.1
    max_force: float = 20.0


def step_components(
    components: tuple[Component, ...], force: Component, plant: CartWithLinks
) -> tuple[Component, ...]:
    """Advance x, v, th_1, w_1, th_2, w_2 (each (...)) by one step under a constant force [N]."""
    x, speed, first, w1, second, w2 = components
    sin, cos = trigonometry(first)
    a, b, c = plant.inertia
    a1, a2 = plant.moments
    total = plant.cart_mass + sum(plant.masses)
    b1, b2 = plant.friction
    g, friction = plant.gravity, plant.cart_friction

    def accelerate(q: tuple[Component, ...], v: tuple[Component, ...]) -> tuple[Component, ...]:
        (_, th1, th2), (u, r1, r2) = q, v
        s1, s2 = a1 * sin(th1), a2 * sin(th2)
        k1, k2 = a1 * cos(th1), a2 * cos(th2)
        coupling, twist = c * cos(th1 - th2), c * sin(th1 - th2)
        joint = b2 * (r2 - r1)
        pushes = force - friction * u + s1 * (r1 * r1) + s2 * (r2 * r2)
        f1 = g * s1 - twist * (r2 * r2) - b1 * r1 + joint
        f2 = g * s2 + twist * (r1 * r1) - joint
        return solve_three((total, k1, k2, a, coupling, b), (pushes, f1, f2))

    q, v = runge_kutta(accelerate, (x, first, second), (speed, w1, w2), plant.time_step, plant.substeps)
    return q[0], v[0], q[1], v[1], q[2], v[2]


def energy(state: Array, plant: CartWithLinks) -> Array:
    """Return the energy [J], (...), of states (..., 6); zero potential where both rods lie level."""
    v, w1, w2 = state[..., 1], state[..., 3], state[..., 5]
    first, second = state[..., 2], state[..., 4]
    _, cos = trigonometry(first)
    a1, a2 = plant.moments
    total = plant.cart_mass + sum(plant.masses)
    cart = 0.5 * total * (v * v) + v * (a1 * cos(first) * w1 + a2 * cos(second) * w2)
    return cart + links_energy(plant, (first, second), (w1, w2))
