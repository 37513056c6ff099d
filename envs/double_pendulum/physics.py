"""Physics of a double pendulum in SI units, written once for floats, NumPy arrays and torch tensors.

Two uniform rods: the first on a fixed hinge, the second on the tip of the first. Absolute angles th_1, th_2,
0 upright, with rates w_1, w_2. With a, b, c and A_1, A_2 of `TwoLinks` and d = th_1 - th_2, the Lagrangian
gives

    a w_1' + c cos(d) w_2' = Q_1 - c sin(d) w_2^2 + g A_1 sin(th_1)
    c cos(d) w_1' + b w_2' = Q_2 + c sin(d) w_1^2 + g A_2 sin(th_2)

    Q_1 = u_1 - u_2 - b_1 w_1 + b_2 (w_2 - w_1),  Q_2 = u_2 - b_2 (w_2 - w_1)

with the torques u_1 of a motor between ground and first rod, and u_2 of one between the rods, which pushes
back on the first.

Reference: the double pendulum of Deisenroth's PILCO toolbox, and its pendubot, which has one motor less.
"""

from envs.shared.arrays import Component, trigonometry
from envs.shared.links import TwoLinks
from envs.shared.mechanics import runge_kutta, solve_two


def step_components(
    components: tuple[Component, ...],
    torques: tuple[Component | float, Component | float],
    links: TwoLinks,
) -> tuple[Component, ...]:
    """Advance th_1, w_1, th_2, w_2 (each (...)) by one step under constant torques u_1, u_2 [N m]."""
    first, w1, second, w2 = components
    u1, u2 = torques
    sin, cos = trigonometry(first)
    a, b, c = links.inertia
    weight1, weight2 = (links.gravity * moment for moment in links.moments)
    b1, b2 = links.friction

    def accelerate(q: tuple[Component, ...], v: tuple[Component, ...]) -> tuple[Component, ...]:
        (th1, th2), (r1, r2) = q, v
        coupling, twist = c * cos(th1 - th2), c * sin(th1 - th2)
        joint = b2 * (r2 - r1) - u2  # what acts on the first rod, and back on the second
        f1 = weight1 * sin(th1) - twist * (r2 * r2) - b1 * r1 + joint + u1
        f2 = weight2 * sin(th2) + twist * (r1 * r1) - joint
        return solve_two((a, coupling, b), (f1, f2))

    q, v = runge_kutta(accelerate, (first, second), (w1, w2), links.time_step, links.substeps)
    return q[0], v[0], q[1], v[1]
